//! What a command is to do, as checked values: flags and configuration file in, one [`Serve`] out.
//!
//! Nothing here opens a socket or looks at a network interface: whether an interface or an address exists is found
//! out when it is used.

pub(crate) mod complaint;
mod file;
mod options;
pub(crate) mod values;

pub use options::{LogOptions, ServeOptions};
pub use values::{
    CONNECTIONS_MAX, CORES_MAX, Cores, Endpoint, LogFormat, LogLevel, MEMORY_LIMIT_MIN_BYTES, TIMEOUT_MAX,
    Transport, XdpMode,
};

use crate::error::{Error, Result};
use clap::{ArgMatches, FromArgMatches, ValueEnum};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Connections held at once unless `--connections` says otherwise: ten thousand with room to spare, for at most
/// 16 MiB of connection tables.
pub const CONNECTIONS_DEFAULT: u32 = 16_384;
/// The port unless `--http` says otherwise: one that needs no privilege.
pub const PORT_DEFAULT: u16 = 8080;
/// The timeouts unless flags say otherwise. A minute of idleness outlasts what browsers and load balancers
/// keep a connection for; ten seconds suffice for any honest request head.
pub const TIMEOUTS_DEFAULT: Timeouts = Timeouts {
    header: Duration::from_secs(10),
    idle: Duration::from_secs(60),
    send: Duration::from_secs(60),
    drain: Duration::from_secs(10),
};

/// The environment variable that stands for `--log-level`.
const LOG_VARIABLE: &str = "SIMOOM_LOG";

/// What `simoom serve` is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    /// The interface whose queues are bound; `None`: kernel sockets only.
    pub interface: Option<String>,
    /// Where the kernel's sockets listen; its port is the port claimed from the interface. Port 0 (the kernel
    /// chooses) only without an interface.
    pub http: SocketAddr,
    /// The addresses claimed from the interface; none: those that it has.
    pub addresses: Vec<IpAddr>,
    /// The directory served; `None`: the built-in page.
    pub root: Option<PathBuf>,
    /// One worker on each of these cores, at most; never empty, ascending.
    pub cores: Vec<usize>,
    /// Connections held at once, by all workers together.
    pub connections: u32,
    /// Which way the packets come in.
    pub transport: Transport,
    /// How AF_XDP sockets are bound.
    pub xdp_mode: XdpMode,
    /// Whether workers spin for ever.
    pub busy_poll: bool,
    /// The most memory that may be planned for.
    pub memory_limit_bytes: Option<u64>,
    /// Where metrics are served.
    pub admin: Option<SocketAddr>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How the log is written.
    pub log: Log,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a request's head to be complete.
    pub header: Duration,
    /// Between an answer and the next request.
    pub idle: Duration,
    /// For a client to take something of its answer.
    pub send: Duration,
    /// For open answers to finish at shutdown; may be zero.
    pub drain: Duration,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// How much.
    pub level: LogLevel,
}

impl Serve {
    /// Reads what the command line and its `--config` file say and checks that it goes together. `environment` is
    /// the level that the environment names; `cores` are those that the process may use.
    pub fn from_matches(matches: &ArgMatches, environment: Option<LogLevel>, cores: &[usize]) -> Result<Serve> {
        let internal = |error: clap::Error| Error::failed(error.to_string());
        let given = ServeOptions::from_arg_matches(matches).map_err(internal)?;
        let mut options = match &given.config {
            Some(path) => file::read(path)?,
            None => ServeOptions::default(),
        };
        options.update_from_arg_matches(matches).map_err(internal)?;
        options.log.log_level = given.log.log_level.or(environment).or(options.log.log_level);
        Serve::resolve(options, cores)
    }

    /// Fills in the defaults and checks that everything goes together.
    pub fn resolve(options: ServeOptions, cores: &[usize]) -> Result<Serve> {
        let given = options.http.unwrap_or(Endpoint { address: None, port: PORT_DEFAULT });
        let default_address = match options.interface {
            Some(_) => Ipv4Addr::UNSPECIFIED,
            None => Ipv4Addr::LOCALHOST,
        };
        let serve = Serve {
            http: given.at(default_address.into()),
            addresses: claimed_addresses(&options, given)?,
            cores: chosen_cores(options.cores, cores)?,
            interface: options.interface,
            root: options.root,
            connections: options.connections.unwrap_or(CONNECTIONS_DEFAULT),
            transport: options.transport.unwrap_or_default(),
            xdp_mode: options.xdp_mode.unwrap_or_default(),
            busy_poll: options.busy_poll.unwrap_or_default(),
            memory_limit_bytes: options.memory_limit,
            admin: options.admin.map(|admin| admin.at(Ipv4Addr::LOCALHOST.into())),
            timeouts: Timeouts {
                header: options.header_timeout.unwrap_or(TIMEOUTS_DEFAULT.header),
                idle: options.idle_timeout.unwrap_or(TIMEOUTS_DEFAULT.idle),
                send: options.send_timeout.unwrap_or(TIMEOUTS_DEFAULT.send),
                drain: options.drain_timeout.unwrap_or(TIMEOUTS_DEFAULT.drain),
            },
            log: options.log.into(),
        };
        serve.check_transport()?;
        serve.check_places()?;
        Ok(serve)
    }

    /// What only AF_XDP can do is not asked of kernel sockets.
    fn check_transport(&self) -> Result<()> {
        let (without, remedy) = match (&self.interface, self.transport) {
            (None, _) => ("without --interface", "name the network interface"),
            (Some(_), Transport::Epoll) => ("with --transport epoll", "leave one of the two out"),
            (Some(_), Transport::IoUring) => ("with --transport io-uring", "leave one of the two out"),
            (Some(_), _) => return Ok(()),
        };
        let refuse = |flag: &str| Err(Error::usage(format!("{flag}: means nothing {without}; {remedy}")));
        if self.transport == Transport::Xdp {
            return refuse("--transport xdp");
        }
        if self.xdp_mode != XdpMode::Auto {
            let mode = self.xdp_mode.to_possible_value().map_or_else(String::new, |mode| mode.get_name().into());
            return refuse(&format!("--xdp-mode {mode}"));
        }
        if self.busy_poll {
            return refuse("--busy-poll");
        }
        Ok(())
    }

    /// Ports and directories can be used as asked.
    fn check_places(&self) -> Result<()> {
        if self.http.port() == 0 && self.interface.is_some() {
            return Err(Error::usage("--http 0: with --interface, a port from 1 to 65535"));
        }
        if let Some(admin) = self.admin {
            let overlap =
                admin.ip() == self.http.ip() || admin.ip().is_unspecified() || self.http.ip().is_unspecified();
            if overlap && admin.port() == self.http.port() && admin.port() != 0 {
                return Err(Error::usage(format!(
                    "--admin {admin}: HTTP is served on port {} already; choose another port",
                    admin.port()
                )));
            }
        }
        match &self.root {
            Some(root) if !root.is_dir() => {
                Err(Error::usage(format!("--root {}: there is no such directory", root.display())))
            }
            _ => Ok(()),
        }
    }
}

impl From<LogOptions> for Log {
    fn from(options: LogOptions) -> Log {
        Log { format: options.log_format.unwrap_or_default(), level: options.log_level.unwrap_or_default() }
    }
}

/// The level that SIMOOM_LOG names, if it is set: the flag wins over it, it wins over the file.
pub fn level_from_environment() -> Result<Option<LogLevel>> {
    let Some(value) = std::env::var_os(LOG_VARIABLE).filter(|value| !value.is_empty()) else { return Ok(None) };
    let level = value.to_str().and_then(|text| LogLevel::from_str(text, true).ok());
    level.map(Some).ok_or_else(|| {
        Error::usage(format!(
            "{LOG_VARIABLE}={}: it is one of error, warn, info, debug, trace",
            value.to_string_lossy()
        ))
    })
}

/// What `--address` and the address in `--http` say together.
fn claimed_addresses(options: &ServeOptions, http: Endpoint) -> Result<Vec<IpAddr>> {
    let addresses = options.address.clone().unwrap_or_default();
    if let (None, Some(address)) = (&options.interface, addresses.first()) {
        return Err(Error::usage(format!(
            "--address {address}: means nothing without --interface; name the network interface, or write \
             --http {} to listen there through kernel sockets",
            SocketAddr::new(*address, http.port)
        )));
    }
    let twice = addresses.iter().enumerate().find(|(at, address)| addresses[..*at].contains(address));
    if let Some((_, address)) = twice {
        return Err(Error::usage(format!("--address {address}: given twice")));
    }
    match http.address.filter(|address| options.interface.is_some() && !address.is_unspecified()) {
        Some(address) if addresses.is_empty() => Ok(vec![address]),
        Some(address) if !addresses.contains(&address) => Err(Error::usage(format!(
            "--http {}: not one of the addresses given with --address; write --http {}",
            SocketAddr::new(address, http.port),
            http.port
        ))),
        _ => Ok(addresses),
    }
}

/// The cores that `--cores` names, or all of those `usable`.
fn chosen_cores(given: Option<Cores>, usable: &[usize]) -> Result<Vec<usize>> {
    let Some(Cores(cores)) = given else { return Ok(usable.to_vec()) };
    match cores.iter().find(|core| !usable.contains(core)) {
        Some(core) => Err(Error::usage(format!(
            "--cores {}: core {core} cannot be used; this process may use {}",
            ranges(&cores),
            ranges(usable)
        ))),
        None => Ok(cores),
    }
}

/// Ascending numbers in the notation of `--cores`: `0-3,6`.
fn ranges(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [one] => one.to_string(),
        _ => format!("{}-{}", run[0], run[run.len() - 1]),
    });
    runs.collect::<Vec<_>>().join(",")
}

/// The cores that this process may use, in ascending order.
pub fn usable_cores() -> Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)
        .map_err(|error| Error::because("asking which cores this process may use", error))?;
    Ok((0..CORES_MAX).filter(|core| set.is_set(*core)).collect())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
