//! Parsers of flags and configuration keys. An error names the allowed range.

#[cfg(feature = "cli")]
use crate::app::content::Template;
#[cfg(feature = "cli")]
use crate::app::http::Network;
use crate::steer::is_host_address;
use af_xdp::Mode;
#[cfg(feature = "cli")]
use clap::ValueEnum;
#[cfg(feature = "cli")]
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
#[cfg(feature = "cli")]
use simoom_tcp::Congestion;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Upper bound of `--connections`. Above it, the tables of one process would take tens of
/// gigabytes.
pub const CONNECTIONS_MAX: u32 = 1 << 24;
/// Exclusive upper bound of core numbers, as in the kernel's `cpu_set_t`.
pub const CORES_MAX: usize = 1024;
/// Upper bound of timeouts.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Lower bound of `--memory-limit`. The program and its smallest tables need more.
pub const MEMORY_LIMIT_MIN_BYTES: u64 = 1 << 20;
/// Limit of the length of an interface name in Linux.
const INTERFACE_NAME_MAX_BYTES: usize = 15;

/// How packets are received and sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(ValueEnum))]
pub enum Transport {
    /// AF_XDP if --interface is given and works; else kernel sockets, with io_uring if allowed,
    /// else with epoll
    #[default]
    Auto,
    /// AF_XDP, or fail with the reason
    Xdp,
    /// Kernel sockets with io_uring, or fail with the reason
    IoUring,
    /// Kernel sockets with epoll
    Epoll,
}

/// The mode of AF_XDP sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(ValueEnum))]
pub enum XdpMode {
    /// The fastest mode that works and is known to be sound with the driver
    #[default]
    Auto,
    /// The NIC reads and writes packet memory directly
    ZeroCopy,
    /// Native XDP in the driver, with one copy of each packet
    Copy,
    /// Generic XDP, after the driver; works everywhere and is the fastest mode on veth
    Generic,
}

impl Transport {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Auto => "auto",
            Transport::Xdp => "xdp",
            Transport::IoUring => "io-uring",
            Transport::Epoll => "epoll",
        }
    }
}

impl XdpMode {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            XdpMode::Auto => "auto",
            XdpMode::ZeroCopy => "zero-copy",
            XdpMode::Copy => "copy",
            XdpMode::Generic => "generic",
        }
    }

    /// The mode of the device that this forces, if any.
    pub(crate) fn forced(self) -> Option<Mode> {
        match self {
            XdpMode::Auto => None,
            XdpMode::ZeroCopy => Some(Mode::ZeroCopy),
            XdpMode::Copy => Some(Mode::Copy),
            XdpMode::Generic => Some(Mode::Generic),
        }
    }
}

/// Who computes the checksums of transmitted segments over AF_XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(ValueEnum))]
pub enum TxChecksum {
    /// The kernel or the NIC where one of them does it right, else Simoom
    #[default]
    Auto,
    /// Simoom
    Software,
}

impl TxChecksum {
    /// Whether the kernel or the NIC may do it.
    pub(crate) fn may_offload(self) -> bool {
        self == TxChecksum::Auto
    }
}

/// Whether the kernel or the NIC cuts long answers into segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(ValueEnum))]
pub enum SegmentationOffload {
    /// In copy and generic mode, where it costs less than a frame for each segment
    #[default]
    Auto,
    /// In zero-copy mode too
    On,
    /// Simoom writes each segment into a frame
    Off,
}

impl SegmentationOffload {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            SegmentationOffload::Auto => "auto",
            SegmentationOffload::On => "on",
            SegmentationOffload::Off => "off",
        }
    }

    /// Whether it is used with sockets in this mode, if checksums are computed so.
    pub(crate) fn is_for(self, mode: Mode, checksums: TxChecksum) -> bool {
        match self {
            SegmentationOffload::Auto => mode != Mode::ZeroCopy && checksums == TxChecksum::Auto,
            SegmentationOffload::On => true,
            SegmentationOffload::Off => false,
        }
    }
}

/// Whether connections use explicit congestion notification (RFC 3168).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(ValueEnum))]
pub enum Ecn {
    /// Use ECN with clients that offer it
    #[default]
    Accept,
    /// Decline ECN
    Off,
}

/// The reaction to a change of the interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(ValueEnum))]
pub enum InterfaceChange {
    /// Attach the XDP program again; keep the queues of the start and report others on /readyz
    #[default]
    Repair,
    /// End with exit code 1, for a supervisor to restart the server
    End,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(ValueEnum))]
pub enum LogFormat {
    /// Text, one line an event
    #[default]
    Text,
    /// JSON, one object a line
    Json,
}

/// Format of the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(ValueEnum))]
pub enum AccessLogFormat {
    /// The common log format, and the fields Referer and User-Agent
    #[default]
    Combined,
    /// The common log format: address, time, request, status, bytes
    Common,
    /// JSON, one object a line, with the time taken and X-Forwarded-For
    Json,
}

/// Least severe level that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(ValueEnum))]
pub enum LogLevel {
    /// Failures
    Error,
    /// Conditions that may lead to a failure
    Warn,
    /// Decisions and events at start and end
    #[default]
    Info,
    /// Details of each decision
    Debug,
    /// Everything
    Trace,
}

/// `[ADDR:]PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address, if given.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// As a socket address, with the address `default` if none was given.
    pub fn at(self, default: IpAddr) -> SocketAddr {
        SocketAddr::new(self.address.unwrap_or(default), self.port)
    }
}

/// In the notation of the command line.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => SocketAddr::new(address, self.port).fmt(f),
            None => self.port.fmt(f),
        }
    }
}

/// Core numbers, ascending, without duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores(pub Vec<usize>);

/// The error of a number that is no port.
const PORT_RANGE: &str = "a port is from 0 to 65535";

/// Parses `8080`, `127.0.0.1:8080` or `[::1]:8080`.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, String> {
    if let Ok(at) = text.parse::<SocketAddr>() {
        return Ok(Endpoint { address: Some(at.ip()), port: at.port() });
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let port = text.parse().map_err(|_| PORT_RANGE.to_owned())?;
        return Ok(Endpoint { address: None, port });
    }
    // `0.0.0.0:80000`
    if let Some((address, port)) = text.rsplit_once(':')
        && format!("{address}:0").parse::<SocketAddr>().is_ok()
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(PORT_RANGE.to_owned());
    }
    Err("neither a port nor ADDR:PORT; write 8080, 192.0.2.1:8080 or [2001:db8::1]:8080".to_owned())
}

/// Parses a local address.
pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr =
        text.parse().map_err(|_| "not an IP address; write 192.0.2.1 or 2001:db8::1".to_owned())?;
    if !is_host_address(address) {
        return Err("not the address of one host on a network".to_owned());
    }
    Ok(address)
}

/// Parses the name of an interface.
pub(crate) fn interface(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > INTERFACE_NAME_MAX_BYTES {
        return Err(format!("an interface name has 1 to {INTERFACE_NAME_MAX_BYTES} bytes"));
    }
    if text.contains('/') || text.contains(char::is_whitespace) || text == "." || text == ".." {
        return Err("not an interface name; `ip -br link` lists them".to_owned());
    }
    Ok(text.to_owned())
}

/// Parses the name of a congestion control. Help and errors list all of them.
#[cfg(feature = "cli")]
pub(super) fn congestion() -> impl TypedValueParser<Value = Congestion> {
    let name = |known: &Congestion| PossibleValue::new(known.name()).help(known.about());
    PossibleValuesParser::new(Congestion::ALL.iter().map(name)).try_map(|name| {
        Congestion::named(&name).ok_or_else(|| format!("{name} is no congestion control"))
    })
}

/// Parses a list of cores and ranges of cores: `0-3`, `0,2`, `0-1,4-5`.
pub(crate) fn cores(text: &str) -> Result<Cores, String> {
    let number = |text: &str| match text.trim().parse::<usize>() {
        Ok(core) if core < CORES_MAX => Ok(core),
        Ok(core) => Err(format!("core {core}: cores are numbered up to {}", CORES_MAX - 1)),
        Err(_) => Err(format!("{:?} is not a core number; write 0-3 or 0,2", text.trim())),
    };
    let mut cores = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("the range {first}-{last} is reversed; write {last}-{first}"));
        }
        for core in first..=last {
            if !cores.insert(core) {
                return Err(format!("core {core} is given twice; a core has one worker"));
            }
        }
    }
    Ok(Cores(cores.into_iter().collect()))
}

/// Parses a number of connections.
pub(crate) fn connections(text: &str) -> Result<u32, String> {
    match text.parse::<u128>() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(count) if count <= u128::from(CONNECTIONS_MAX) => Ok(count as u32),
        Ok(_) => Err(format!("at most {CONNECTIONS_MAX}; for more, serve from several interfaces")),
        Err(_) => Err(format!("not a number; write one from 1 to {CONNECTIONS_MAX}")),
    }
}

/// Parses a number above zero.
#[cfg(feature = "cli")]
pub(super) fn count(text: &str) -> Result<u32, String> {
    match text.parse::<u128>() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(count) => u32::try_from(count).map_err(|_| format!("at most {}", u32::MAX)),
        Err(_) => Err(format!("not a number; write one from 1 to {}", u32::MAX)),
    }
}

/// Parses a size of at least [`MEMORY_LIMIT_MIN_BYTES`]; see [`bytes`].
pub(super) fn size(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        ..MEMORY_LIMIT_MIN_BYTES => Err("at least 1M".to_owned()),
        bytes => Ok(bytes),
    }
}

/// Parses the memory for parts of files: 1 MiB to 64 GiB.
pub(super) fn file_buffers(text: &str) -> Result<u64, String> {
    match size(text)? {
        bytes if bytes > 64 << 30 => Err("at most 64G".to_owned()),
        bytes => Ok(bytes),
    }
}

/// Parses a size in bytes: `1048576`, `512M`, `2GiB`. The letters stand for powers of 1024.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let malformed = || "not a size; write 512M or 2G".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let shift = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(malformed()),
    };
    if digits == 0 {
        return Err(malformed());
    }
    let count: u64 = text[..digits].parse().map_err(|_| "at most 16383T".to_owned())?;
    count.checked_mul(1 << shift).ok_or_else(|| "at most 16383T".to_owned())
}

/// Parses a time above zero; see [`duration`].
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time < Duration::from_millis(1) => Err("at least 1ms".to_owned()),
        time => Ok(time),
    }
}

/// Parses a time: `30` (seconds), `2.5s`, `500ms`, `5m`, `1h`; at most [`TIMEOUT_MAX`].
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let malformed = || "not a time; write 30s, 500ms or 5m".to_owned();
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let unit_ms = match &text[digits..] {
        "ms" => 1.0,
        "" | "s" => 1e3,
        "m" => 60e3,
        "h" => 3600e3,
        _ => return Err(malformed()),
    };
    let count: f64 = text[..digits].parse().map_err(|_| malformed())?;
    let time_ms = count * unit_ms;
    if time_ms > TIMEOUT_MAX.as_millis() as f64 {
        return Err("at most 24h".to_owned());
    }
    Ok(Duration::from_secs_f64(time_ms / 1e3))
}

#[cfg(all(test, feature = "cli"))]
#[path = "values_tests.rs"]
mod tests;

/// The path of a file.
#[cfg(feature = "cli")]
pub(super) fn fallback(text: &str) -> Result<Template, String> {
    Template::path(text, 0)
}

/// A network.
#[cfg(feature = "cli")]
pub(super) fn network(text: &str) -> Result<Network, String> {
    Network::parse(text)
}
