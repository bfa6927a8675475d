//! The flags of `simoom load`, and the checked plan that they make.

mod memcached;

use super::client::{Plan, ReadThrottle, SLOW_MAX};
use super::pace::{Arrivals, Rate};
use super::schedule::RunLimits;
use super::sources::Source;
use super::xdp::{ACK_DELAY_DEFAULT, XdpOptions};
use crate::config::{LogOptions, TxChecksum, XdpMode, values};
use crate::error::{Error, Result};
use clap::Args;
pub(crate) use memcached::MemcachedOptions;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How long is measured unless the flags say.
const DURATION_DEFAULT: Duration = Duration::from_secs(10);
/// How long is warmed up before a run of a certain duration.
const WARM_UP_DEFAULT: Duration = Duration::from_secs(1);
/// Requests that may be sent on a connection at once.
const PIPELINE_MAX: u16 = 256;
/// Requests a second that may be asked for: more than any one core sends.
const RATE_MAX: f64 = 1e8;
/// RFC 9293 §3.8.6.3: an acknowledgement must not be delayed by more.
const ACK_DELAY_MAX: Duration = Duration::from_millis(500);

/// The flags of `load`.
#[derive(Args, Clone, Debug)]
pub struct LoadOptions {
    /// Target: `http://HOST[:PORT]/PATH` or `memcached://HOST[:PORT]`
    #[arg(value_name = "URL")]
    pub url: String,

    /// Further paths of HTTP, requested in turn with that of the URL
    ///
    /// Each answer is compared with the first one for its path.
    #[arg(long, value_name = "PATH,…", value_delimiter = ',', value_parser = path, help_heading = "Load")]
    pub path: Vec<String>,

    /// Further field of each HTTP request: `Accept-Encoding: gzip`
    ///
    /// May be given several times.
    #[arg(long, value_name = "FIELD", value_parser = field, help_heading = "Load")]
    pub header: Vec<String>,

    /// Number of open connections
    #[arg(long, value_name = "N", value_parser = values::connections, default_value = "50", help_heading = "Load")]
    pub connections: u32,

    /// Largest number of connections that wait for an answer at once [default: all]
    ///
    /// The next request goes to the connection that was idle longest, so that all are used in turn.
    #[arg(long, value_name = "M", value_parser = values::connections, help_heading = "Load")]
    pub in_flight: Option<u32>,

    /// Number of requests sent at once on a connection
    #[arg(long, value_name = "D", value_parser = pipeline, default_value = "1", help_heading = "Load")]
    pub pipeline: u16,

    /// Requests a second, however slow the answers are: an open loop
    ///
    /// Each request has a scheduled time, and its latency counts from that time. A request waits
    /// while all connections (or --in-flight of them) wait for an answer; with --pipeline, up to
    /// that many waiting requests are sent at once. Give as many --connections as the rate times
    /// the longest latency of interest.
    #[arg(long, value_name = "R", value_parser = rate, help_heading = "Load")]
    pub rate: Option<f64>,

    /// Distribution of the requests of --rate in time [default: poisson]
    #[arg(long, value_name = "HOW", value_enum, help_heading = "Load")]
    pub arrivals: Option<Arrivals>,

    /// Read answers at most this fast on each connection, as slow clients do
    ///
    /// The receive window is small. --timeout then limits the wait for the next bytes, and if the
    /// run ends within an answer, the bytes received count. The first answer is read at full speed.
    #[arg(long, value_name = "BYTES_PER_SECOND", value_parser = slow, help_heading = "Load")]
    pub slow: Option<u32>,

    /// Seed of the random numbers
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Load")]
    pub seed: u64,

    /// Open a connection for each request
    ///
    /// --connections is then the number of concurrent requests. Latencies include the handshake.
    #[arg(long, help_heading = "Load")]
    pub connection_per_request: bool,

    /// Measure for this long [default: 10s, or until --requests are answered]
    #[arg(long, value_name = "TIME", value_parser = values::timeout, help_heading = "How long (500ms, 30s, 5m)")]
    pub duration: Option<Duration>,

    /// Number of requests to measure
    #[arg(long, value_name = "R", value_parser = requests, help_heading = "How long (500ms, 30s, 5m)")]
    pub requests: Option<u64>,

    /// Warm-up before the measurement [default: 1s, or 0 with --requests]
    ///
    /// It begins when all connections are open. Errors count from the first connection on.
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "How long (500ms, 30s, 5m)")]
    pub warm_up: Option<Duration>,

    /// Time for an answer
    #[arg(
        long, value_name = "TIME", value_parser = values::timeout, default_value = "10s",
        help_heading = "How long (500ms, 30s, 5m)"
    )]
    pub timeout: Duration,

    /// Send over AF_XDP from this network interface, with Simoom's own TCP [default: kernel
    /// sockets]
    ///
    /// One thread that spins takes all receive queues. Needs --source, and root or the capabilities
    /// that `simoom probe` names.
    #[arg(long, value_name = "IF", value_parser = values::interface, help_heading = "Interface")]
    pub interface: Option<String>,

    /// Source addresses, which no other host and not the kernel may have
    ///
    /// With 198.18.64.1/24, addresses from 198.18.64.1 on are used: one for each 50,000
    /// connections, and up to 16 with --connection-per-request. Simoom answers ARP, or neighbour
    /// discovery, for them.
    #[arg(long, value_name = "ADDR[/PREFIX]", value_parser = Source::parse, help_heading = "Interface")]
    pub source: Option<Source>,

    /// Next hop, if the target is behind a router [default: from the routes of the kernel]
    ///
    /// Its hardware address is resolved by ARP or neighbour discovery, as that of a target on the
    /// same network.
    #[arg(long, value_name = "IP", value_parser = values::address, help_heading = "Interface")]
    pub gateway: Option<IpAddr>,

    /// How AF_XDP sockets are bound to the queues of the interface [default: auto]
    #[arg(long, value_name = "MODE", value_enum, help_heading = "Interface")]
    pub xdp_mode: Option<XdpMode>,

    /// Who computes the checksums of transmitted segments [default: auto]
    #[arg(long, value_name = "WHO", value_enum, help_heading = "Interface")]
    pub tx_checksum: Option<TxChecksum>,

    /// Longest wait of an acknowledgement for a request that carries it, at most 500ms [default:
    /// 100ms]
    ///
    /// With 0ms, an answer is acknowledged at once, by a segment of its own if the connection's
    /// next request is not due at that moment. So it is with users who pause.
    #[arg(long, value_name = "TIME", value_parser = ack_delay, help_heading = "Interface")]
    pub ack_delay: Option<Duration>,

    /// Core to run on [default: any]
    #[arg(long, value_name = "CORE", value_parser = core, help_heading = "Interface")]
    pub core: Option<usize>,

    /// Check the content of every answer
    ///
    /// HTTP: the content must equal that of the first answer. memcached: a value must be one that
    /// was stored under its key. Without --verify, the status (200 to 299) or the key, and the
    /// length are checked.
    #[arg(long, help_heading = "Checks and output")]
    pub verify: bool,

    /// Write the result as JSON instead of text
    #[arg(long, help_heading = "Checks and output")]
    pub json: bool,

    /// Write a line for each second to this CSV file
    ///
    /// Requests sent, answers, errors, open connections, and latencies in microseconds, to two
    /// digits. The file is written at the end of the run.
    #[arg(long, value_name = "FILE", help_heading = "Checks and output")]
    pub csv: Option<PathBuf>,

    /// Write the latencies to this file as percentile text of HdrHistogram (.hgrm), in milliseconds
    ///
    /// For plotFiles.html of HdrHistogram, hdr-plot and others.
    #[arg(long, value_name = "FILE", help_heading = "Checks and output")]
    pub hdr: Option<PathBuf>,

    /// What memcached is asked.
    #[command(flatten)]
    pub memcached: MemcachedOptions,

    /// The log.
    #[command(flatten)]
    pub log: LogOptions,
}

fn core(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "not a core number; write 0 or 1".to_owned())
}

fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err("not a path; write /a/b, and spaces and other characters as %20 and the like".to_owned())
}

fn field(text: &str) -> Result<String, String> {
    let is_field = text.split_once(':').is_some_and(|(name, value)| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
    });
    if is_field { Ok(text.to_owned()) } else { Err("not a field; write Name: value".to_owned()) }
}

fn pipeline(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(depth) if (1..=PIPELINE_MAX).contains(&depth) => Ok(depth),
        _ => Err(format!("not a number from 1 to {PIPELINE_MAX}")),
    }
}

fn requests(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(count) if count >= 1 => Ok(count),
        _ => Err("not a number of at least 1".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("not a number of requests a second above 0 and up to {RATE_MAX}")),
    }
}

fn ack_delay(text: &str) -> Result<Duration, String> {
    match values::duration(text)? {
        time if time <= ACK_DELAY_MAX => Ok(time),
        _ => Err(format!("more than {} ms", ACK_DELAY_MAX.as_millis())),
    }
}

fn slow(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(bytes) if (1..=SLOW_MAX).contains(&bytes) => Ok(bytes),
        _ => Err(format!("not a number of bytes a second from 1 to {SLOW_MAX}")),
    }
}

/// Refuses the first of these flags that is given, with the reason.
fn refuse_given(flags: &[(&str, bool)], why: &str) -> Result<()> {
    match flags.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(Error::usage(format!("{flag}: {why}"))),
        None => Ok(()),
    }
}

impl LoadOptions {
    /// Where to send from over AF_XDP; `None` for kernel sockets.
    pub(crate) fn xdp_options(&self) -> Result<Option<XdpOptions<'_>>> {
        let Some(interface) = self.interface.as_deref() else {
            let given = [
                ("--source", self.source.is_some()),
                ("--gateway", self.gateway.is_some()),
                ("--xdp-mode", self.xdp_mode.is_some()),
                ("--tx-checksum", self.tx_checksum.is_some()),
                ("--ack-delay", self.ack_delay.is_some()),
            ];
            refuse_given(&given, "cannot be used without --interface")?;
            return Ok(None);
        };
        let source = self.source.ok_or_else(|| {
            Error::usage(format!(
                "--interface {interface}: --source is missing; give addresses that no host has, such as 198.18.64.1/24"
            ))
        })?;
        Ok(Some(XdpOptions {
            interface,
            source,
            gateway: self.gateway,
            mode: self.xdp_mode.unwrap_or_default(),
            tx_checksum: self.tx_checksum.unwrap_or_default(),
            ack_delay: self.ack_delay.unwrap_or(ACK_DELAY_DEFAULT),
        }))
    }

    /// Refuses flags of HTTP for a target of memcached.
    pub(crate) fn refuse_http(&self) -> Result<()> {
        let given = [("--path", !self.path.is_empty()), ("--header", !self.header.is_empty())];
        refuse_given(&given, "only for http:// targets")
    }

    /// Checks that the flags go together, and fills in the defaults.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let LoadOptions { connections, in_flight, pipeline, .. } = *self;
        if self.verify && !self.path.is_empty() {
            return Err(Error::usage("--verify: cannot be used with --path"));
        }
        if self.path.len() >= usize::from(u16::MAX) {
            return Err(Error::usage(format!("--path: at most {} paths", u16::MAX - 1)));
        }
        if let Some(in_flight) = in_flight.filter(|in_flight| *in_flight > connections) {
            return Err(Error::usage(format!(
                "--in-flight {in_flight}: at most --connections, {connections}"
            )));
        }
        if self.connection_per_request {
            if let Some(in_flight) = in_flight {
                return Err(Error::usage(format!(
                    "--in-flight {in_flight}: cannot be used with --connection-per-request; --connections says how \
                     many are under way"
                )));
            }
            if pipeline > 1 {
                return Err(Error::usage(format!(
                    "--pipeline {pipeline}: cannot be used with --connection-per-request"
                )));
            }
        }
        let rate = match (self.rate, self.arrivals) {
            (None, Some(_)) => {
                return Err(Error::usage("--arrivals: cannot be used without --rate"));
            }
            (None, None) => None,
            (Some(per_second), arrivals) => {
                Some(Rate { per_second, arrivals: arrivals.unwrap_or_default(), seed: self.seed })
            }
        };
        let timed = self.duration.or(self.requests.is_none().then_some(DURATION_DEFAULT));
        let warm_up = if self.requests.is_some() { Duration::ZERO } else { WARM_UP_DEFAULT };
        Ok(Plan {
            connections,
            in_flight: in_flight.unwrap_or(connections),
            pipeline,
            connection_per_request: self.connection_per_request,
            rate,
            slow: self.slow.map(|bytes_per_second| ReadThrottle { bytes_per_second }),
            verify: self.verify,
            timeout: self.timeout,
            limits: RunLimits {
                duration: timed,
                requests: self.requests,
                warm_up: self.warm_up.unwrap_or(warm_up),
            },
            by_second: self.csv.is_some(),
        })
    }
}
