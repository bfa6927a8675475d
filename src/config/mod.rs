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

use crate::app::Service;
use crate::error::{Error, Result};
use crate::store;
use clap::{ArgMatches, FromArgMatches, ValueEnum};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Connections held at once unless `--connections` says otherwise: ten thousand with room to spare, for at most
/// 16 MiB of connection tables.
pub const CONNECTIONS_DEFAULT: u32 = 16_384;
/// The port unless `--http` says otherwise: one that needs no privilege.
pub const PORT_DEFAULT: u16 = 8080;
/// The port unless `--memcached` says otherwise: the one that its clients try.
pub const MEMCACHED_PORT_DEFAULT: u16 = 11211;
/// RFC 5227 §1.1, PROBE_MIN.
pub const ADDRESS_PROBE_DEFAULT: Duration = Duration::from_secs(1);
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
    /// Where the kernel's sockets listen for HTTP, if it is served; its port is claimed from the interface. Port 0
    /// (the kernel chooses) only without an interface.
    pub http: Option<SocketAddr>,
    /// The same of memcached, and its memory. One of the two is served.
    pub memcached: Option<Memcached>,
    /// The addresses claimed from the interface; none: those that it has.
    pub addresses: Vec<IpAddr>,
    /// The pace of asking whether another host has one of them (RFC 5227); zero asks nobody.
    pub address_probe: Duration,
    /// The directory served; `None`: the built-in page.
    pub root: Option<PathBuf>,
    /// One worker on each of these cores, at most; never empty, ascending.
    pub cores: Vec<usize>,
    /// Connections held at once, by all workers together.
    pub connections: u32,
    /// Connections that one worker holds from one source /24 of IPv4 or /64 of IPv6; `None`: no such limit.
    pub connections_per_prefix: Option<u32>,
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

/// How memcached is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memcached {
    /// Where.
    pub address: SocketAddr,
    /// Where over UDP, if at all.
    pub udp: Option<SocketAddr>,
    /// Nobody asked for it: where its port is taken, the rest is served without it.
    pub optional: bool,
    /// Memory for items.
    pub memory_bytes: u64,
    /// The largest item.
    pub item_max_bytes: u64,
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
        let endpoints = Endpoints::of(&options);
        let default_address = match options.interface {
            Some(_) => Ipv4Addr::UNSPECIFIED,
            None => Ipv4Addr::LOCALHOST,
        };
        let store = store::Settings::default();
        let serve = Serve {
            http: endpoints.http.map(|http| http.at(default_address.into())),
            memcached: endpoints.memcached.map(|memcached| Memcached {
                address: memcached.at(default_address.into()),
                udp: options.memcached_udp.map(|udp| udp.at(memcached.address.unwrap_or(default_address.into()))),
                optional: endpoints.memcached_is_optional,
                memory_bytes: options.memory.unwrap_or(store.memory_bytes),
                item_max_bytes: options.item_size_max.unwrap_or(store.item_max_bytes),
            }),
            addresses: claimed_addresses(&options, &endpoints)?,
            cores: chosen_cores(options.cores, cores)?,
            interface: options.interface,
            address_probe: options.address_probe.unwrap_or(ADDRESS_PROBE_DEFAULT),
            root: options.root,
            connections: options.connections.unwrap_or(CONNECTIONS_DEFAULT),
            connections_per_prefix: options.connections_per_prefix,
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
        if let Some(memcached) = serve.memcached {
            memcached.store(1).check()?;
        }
        Ok(serve)
    }

    /// What is served where.
    pub fn services(&self) -> impl Iterator<Item = (Service, SocketAddr)> + use<> {
        let http = self.http.map(|address| (Service::Http, address));
        http.into_iter().chain(self.memcached.map(|memcached| (Service::Memcached, memcached.address)))
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
        if let Some(most) = self.connections_per_prefix {
            return refuse(&format!("--connections-per-prefix {most}"));
        }
        Ok(())
    }

    /// Ports and directories can be used as asked.
    fn check_places(&self) -> Result<()> {
        for (service, at) in self.services() {
            let (flag, name) = (service.flag(), service.name());
            if at.port() == 0 && self.interface.is_some() {
                return Err(Error::usage(format!("{flag} 0: with --interface, a port from 1 to 65535")));
            }
            let overlap = |admin: &SocketAddr| {
                admin.ip() == at.ip() || admin.ip().is_unspecified() || at.ip().is_unspecified()
            };
            let clashes = |admin: &SocketAddr| overlap(admin) && admin.port() == at.port() && at.port() != 0;
            if let Some(admin) = self.admin.filter(clashes) {
                return Err(Error::usage(format!(
                    "--admin {admin}: {name} is served on port {} already; choose another port",
                    admin.port()
                )));
            }
        }
        // Whose a connection is, is told by its port alone.
        if let (Some(http), Some(Memcached { address, .. })) = (self.http, self.memcached)
            && http.port() == address.port()
            && http.port() != 0
        {
            return Err(Error::usage(format!(
                "--memcached {address}: HTTP is served on port {} already; choose another port",
                http.port()
            )));
        }
        match &self.root {
            Some(root) if !root.is_dir() => {
                Err(Error::usage(format!("--root {}: there is no such directory", root.display())))
            }
            _ => Ok(()),
        }
    }
}

impl Memcached {
    /// The store for `workers` workers.
    pub fn store(&self, workers: usize) -> store::Settings {
        let (memory_bytes, item_max_bytes) = (self.memory_bytes, self.item_max_bytes);
        store::Settings { memory_bytes, item_max_bytes, workers, hash_key: None }
    }
}

/// What is to be served where, as far as flags say.
struct Endpoints {
    http: Option<Endpoint>,
    memcached: Option<Endpoint>,
    memcached_is_optional: bool,
}

impl Endpoints {
    /// A flag of one service asks for that one; without any, both are served, but memcached not to a network: it
    /// would be open to all of it.
    fn of(options: &ServeOptions) -> Endpoints {
        let asks_for_http = options.http.is_some() || options.root.is_some();
        let asks_for_memcached = options.memcached.is_some()
            || options.memcached_udp.is_some()
            || options.memory.is_some()
            || options.item_size_max.is_some();
        let at = |given: Option<Endpoint>, port| given.unwrap_or(Endpoint { address: None, port });
        let memcached_is_optional = !asks_for_memcached && !asks_for_http && options.interface.is_none();
        Endpoints {
            http: (asks_for_http || !asks_for_memcached).then_some(at(options.http, PORT_DEFAULT)),
            memcached: (asks_for_memcached || memcached_is_optional)
                .then_some(at(options.memcached, MEMCACHED_PORT_DEFAULT)),
            memcached_is_optional,
        }
    }

    fn given(&self) -> impl Iterator<Item = (Service, Endpoint)> {
        let http = self.http.map(|endpoint| (Service::Http, endpoint));
        http.into_iter().chain(self.memcached.map(|endpoint| (Service::Memcached, endpoint)))
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

/// What `--address` and the addresses in `--http` and `--memcached` say together.
fn claimed_addresses(options: &ServeOptions, endpoints: &Endpoints) -> Result<Vec<IpAddr>> {
    let mut addresses = options.address.clone().unwrap_or_default();
    if let (None, Some(address)) = (&options.interface, addresses.first()) {
        let write: Vec<String> = endpoints
            .given()
            .map(|(service, at)| format!("{} {}", service.flag(), SocketAddr::new(*address, at.port)))
            .collect();
        return Err(Error::usage(format!(
            "--address {address}: means nothing without --interface; name the network interface, or write {} to \
             listen there through kernel sockets",
            write.join(" ")
        )));
    }
    let twice = addresses.iter().enumerate().find(|(at, address)| addresses[..*at].contains(address));
    if let Some((_, address)) = twice {
        return Err(Error::usage(format!("--address {address}: given twice")));
    }
    for (service, Endpoint { address, port }) in endpoints.given() {
        let Some(address) = address.filter(|address| options.interface.is_some() && !address.is_unspecified())
        else {
            continue;
        };
        if addresses.is_empty() {
            addresses.push(address);
        } else if !addresses.contains(&address) {
            let flag = service.flag();
            return Err(Error::usage(format!(
                "{flag} {}: not one of the addresses given with other flags; write {flag} {port}",
                SocketAddr::new(address, port)
            )));
        }
    }
    Ok(addresses)
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
