//! The memory plans of both transports: what each worker's tables and pools take, for so many
//! connections.

use crate::app::content::Content;
use crate::app::memcached::{Memcached, Shared};
use crate::app::{Service, Services};
use crate::config;
use crate::error::Result;
use crate::kernel::{self, Poller, Settings};
use crate::limits::{self, Bound, Limit, Plan};
use af_xdp::OpenOptions;
use simoom_tcp::Limits;

/// Limits of one of `workers` stacks that hold `connections` together, each `per_prefix` of one
/// source prefix.
pub(super) fn stack_limits(connections: u32, per_prefix: Option<u32>, workers: u32) -> Limits {
    let limits = Limits::for_connections(connections.div_ceil(workers).min(Limits::MAX));
    Limits { connections_per_prefix: per_prefix.unwrap_or(0), ..limits }
}

/// Bounds of one of `workers` kernel workers that hold `connections` together.
pub(super) fn kernel_settings(
    config: &config::Serve,
    connections: u32,
    workers: usize,
) -> Settings {
    let each = (connections as usize).div_ceil(workers);
    let config::Timeouts { send, keep_alive, .. } = config.timeouts;
    let connections_per_prefix = config.connections_per_prefix.unwrap_or(0);
    Settings {
        connections_per_prefix,
        send_timeout: send,
        keep_alive,
        ..Settings::for_connections(each)
    }
}

/// The most connections to each of `ports`, of one of `workers` workers that holds `connections`.
pub(super) fn port_limits(
    config: &config::Serve,
    ports: &[(u16, Service)],
    connections: usize,
    workers: usize,
) -> Vec<(u16, u32)> {
    let limit =
        config.connection_limits(u32::try_from(connections).unwrap_or(u32::MAX), workers as u32);
    ports.iter().map(|(port, service)| (*port, limit(*service))).collect()
}

/// Checks what `workers` stacks on a device of `queues` queues take, a kernel worker beside them.
pub(super) fn check_xdp(
    config: &config::Serve,
    bound: Option<&Bound>,
    content: &Content,
    options: &OpenOptions,
    queues: u32,
    workers: u32,
    beside: (u32, Poller),
) -> Result<()> {
    let plan = |connections| {
        let mut plan = add_memcached(config, connections, workers as usize, begin(config, content));
        plan = plan.add("packet memory", queues as usize, options.memory_bytes(1));
        let limits = stack_limits(connections, config.connections_per_prefix, workers);
        for (what, count, bytes) in limits.memory::<Services>() {
            let (count, bytes) = (count.max(1) * u64::from(workers), bytes * u64::from(workers));
            plan = plan.add(what, count as usize, bytes.div_ceil(count) as usize);
        }
        let (most, poller) = beside;
        let beside_connections = connections.min(most);
        plan = add_memcached(config, beside_connections, 1, plan);
        let beside = kernel_settings(config, beside_connections, 1);
        plan.add("the kernel worker beside", 1, beside.memory_bytes::<Services>(poller))
    };
    check(config, bound, plan)
}

/// Checks what `workers` kernel workers take.
pub(super) fn check_kernel(
    config: &config::Serve,
    bound: Option<&Bound>,
    content: &Content,
    workers: usize,
    poller: Poller,
) -> Result<()> {
    let plan = |connections| {
        let settings = kernel_settings(config, connections, workers);
        let plan = add_memcached(config, connections, workers, begin(config, content));
        plan.add("kernel workers", workers, settings.memory_bytes::<Services>(poller))
    };
    check(config, bound, plan)
}

/// What all workers share.
fn begin(config: &config::Serve, content: &Content) -> Plan {
    let plan = Plan::new().add("content", 1, content.memory_bytes()).add(
        "log queue",
        1,
        crate::log::MEMORY_BYTES,
    );
    match config.memcached {
        Some(memcached) => {
            let plan = plan.add("store of memcached", 1, memcached.memory_bytes as usize);
            let udp =
                kernel::udp::memory_bytes() + Memcached::memory_bytes(1) + Shared::UDP_MEMORY_BYTES;
            plan.add("memcached over UDP", usize::from(memcached.udp.is_some()), udp)
        }
        None => plan,
    }
}

/// What the handlers of `workers` workers take that hold `connections` together.
fn add_memcached(config: &config::Serve, connections: u32, workers: usize, plan: Plan) -> Plan {
    match config.memcached {
        Some(_) => {
            let each = (connections as usize).div_ceil(workers);
            plan.add("memcached handlers", workers, Memcached::memory_bytes(each))
        }
        None => plan,
    }
}

/// Threads that are started at most: a worker for each core, one beside them, and those for UDP,
/// signals, the log and the admin endpoint.
pub(super) fn threads(config: &config::Serve) -> usize {
    config.cores.len() + 5
}

fn check(config: &config::Serve, bound: Option<&Bound>, plan: impl Fn(u32) -> Plan) -> Result<()> {
    if let Some(bound) = bound {
        limits::check_bound(bound, config.connections, &plan)?;
    }
    let plan =
        limits::check(Limit::from_flag(config.memory_limit_bytes), config.connections, plan)?;
    tracing::info!("memory plan for {} connections", config.connections);
    for row in plan.to_string().lines() {
        tracing::info!("{row}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_connections_take_at_most_a_kibibyte_each() {
        let bytes: u64 = stack_limits(1_000_000, Some(1), 1)
            .memory::<Services>()
            .map(|(_, _, bytes)| bytes)
            .sum();
        assert!(bytes <= 1_000_000 * 1024, "{} bytes each", bytes / 1_000_000);
    }
}
