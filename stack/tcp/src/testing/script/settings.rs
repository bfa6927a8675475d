//! `set NAME VALUE`: the fields of a configuration that a packet script may change, by their names.

use crate::config::{Config, EcnPolicy, Limits, PortTimeouts};
use crate::neighbour::Route;
use crate::tcp::congestion::Congestion;
use crate::testing::pair::{PORT, over_ipv6};
use std::net::Ipv4Addr;

/// The configuration that scripts start from: a small stack at 198.18.0.2, with a short TIME-WAIT
/// and without auto-tuning.
pub(super) fn start() -> Config {
    Config {
        time_wait_ms: 10_000,
        max_receive_window_bytes: 0,
        ..crate::testing::pair::config(2, Limits::for_connections(64))
    }
}

/// Changes one field.
pub(super) fn set(config: &mut Config, name: &str, value: u64) -> Result<(), String> {
    let wide = u32::try_from(value).map_err(|_| format!("{value} is out of range"))?;
    let limits = &mut config.limits;
    let field = match name {
        "mtu" => return narrow(value).map(|value| config.mtu = value),
        "keep_alive_probes" => return narrow(value).map(|value| config.keep_alive_probes = value),
        "syn_retries" => return narrow(value).map(|value| config.syn_retries = value),
        "announces" => {
            config.announces = value != 0;
            return Ok(());
        }
        "gateway" | "on_link" => return route(config, name, value),
        "ipv6" => {
            if value != 0 {
                *config = over_ipv6(config);
            }
            return Ok(());
        }
        _ if Congestion::named(name).is_some() => {
            // `cubic 1`, by its name.
            config.congestion = Congestion::named(name).filter(|_| value != 0).unwrap_or_default();
            return Ok(());
        }
        "ecn" => {
            let policies = [EcnPolicy::Off, EcnPolicy::Accept, EcnPolicy::Request];
            config.ecn = *policies.get(value as usize).ok_or("0 is off, 1 accepts, 2 requests")?;
            return Ok(());
        }
        "syn_cookies" => {
            config.syn_cookies = value != 0;
            return Ok(());
        }
        "reports_strays" => {
            config.reports_strays = value != 0;
            return Ok(());
        }
        "receive_window_bytes" => &mut config.receive_window_bytes,
        "max_receive_window_bytes" => &mut config.max_receive_window_bytes,
        "min_rto_ms" => &mut config.min_rto_ms,
        "paced_from_us" => &mut config.paced_from_us,
        "delayed_ack_ms" => &mut config.delayed_ack_ms,
        // Of the listening port alone.
        "port_keep_alive_ms" => {
            config.timeouts_of_ports = vec![PortTimeouts {
                port: PORT,
                send_timeout_ms: config.send_timeout_ms,
                keep_alive_ms: wide,
            }];
            return Ok(());
        }
        "send_timeout_ms" => &mut config.send_timeout_ms,
        "close_timeout_ms" => &mut config.close_timeout_ms,
        "time_wait_ms" => &mut config.time_wait_ms,
        "keep_alive_ms" => &mut config.keep_alive_ms,
        "keep_alive_interval_ms" => &mut config.keep_alive_interval_ms,
        "neighbour_retry_ms" => &mut config.neighbour_retry_ms,
        "responses_per_second" => &mut config.responses_per_second,
        "connections" => &mut limits.connections,
        "connections_per_prefix" => &mut limits.connections_per_prefix,
        "connections_per_port" => &mut limits.connections_per_port,
        "half_open" => &mut limits.half_open,
        "time_wait" => &mut limits.time_wait,
        "send_entries" => &mut limits.send_entries,
        "send_chunks" => &mut limits.send_chunks,
        "small_input_buffers" => &mut limits.small_input_buffers,
        "large_input_buffers" => &mut limits.large_input_buffers,
        "flight_runs" => &mut limits.flight_runs,
        "neighbours" => &mut limits.neighbours,
        "unresolved" => &mut limits.unresolved,
        "reassembly_blocks" => &mut limits.reassembly_blocks,
        _ => return Err(format!("`{name}` is no setting")),
    };
    *field = wide;
    Ok(())
}

/// `gateway N`: a default route by 198.18.0.N. `on_link N`: the first N bits of 198.18.0.0 are
/// neighbours' addresses.
fn route(config: &mut Config, name: &str, value: u64) -> Result<(), String> {
    let value: u8 = narrow(value)?;
    config.routes.push(match name {
        "gateway" => Route::new(
            Ipv4Addr::UNSPECIFIED.into(),
            0,
            Some(Ipv4Addr::new(198, 18, 0, value).into()),
        ),
        _ => Route::new(Ipv4Addr::new(198, 18, 0, 0).into(), value, None),
    });
    Ok(())
}

fn narrow<T: TryFrom<u64>>(value: u64) -> Result<T, String> {
    T::try_from(value).map_err(|_| format!("{value} is out of range"))
}
