//! What a command is to do, as checked values: flags and configuration file in, one [`Serve`] out.
//!
//! Nothing here opens a socket or looks at a network interface: whether an interface or an address
//! exists is found out when it is used.

mod check;
pub(crate) mod complaint;
mod cores;
mod endpoints;
mod file;
mod options;
pub(crate) mod values;

pub use cores::usable_cores;
pub use options::{LogOptions, ServeOptions};
pub use values::{
    CONNECTIONS_MAX, CORES_MAX, Cores, Ecn, Endpoint, InterfaceChange, LogFormat, LogLevel,
    MEMORY_LIMIT_MIN_BYTES, TIMEOUT_MAX, Transport, XdpMode,
};

use crate::error::{Error, Result};
use crate::hosted::PortNames;
use crate::server::setup::{Datagrams, Service, Setup};
use crate::store;
use clap::{ArgMatches, FromArgMatches, ValueEnum};
pub(crate) use cores::chosen_cores;
use endpoints::Endpoints;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
pub(crate) use values::{endpoint, interface as interface_name};

/// Connections held at once unless `--connections` says otherwise: ten thousand with room to spare,
/// for at most 16 MiB of connection tables.
pub const CONNECTIONS_DEFAULT: u32 = 16_384;
/// The port unless `--http` says otherwise: one that needs no privilege.
pub const PORT_DEFAULT: u16 = 8080;
/// The port unless `--memcached` says otherwise: the one that its clients try.
pub const MEMCACHED_PORT_DEFAULT: u16 = 11211;
/// How long a connection to memcached may be idle unless `--memcached-idle-timeout` says otherwise:
/// longer than clients leave a pooled connection unused.
pub const MEMCACHED_IDLE_DEFAULT: Duration = Duration::from_secs(3600);
/// RFC 5227 §1.1, PROBE_MIN.
pub const ADDRESS_PROBE_DEFAULT: Duration = Duration::from_secs(1);
/// The timeouts unless flags say otherwise. A minute of idleness outlasts what browsers and load
/// balancers keep a connection for; ten seconds suffice for any honest request head.
pub const TIMEOUTS_DEFAULT: Timeouts = Timeouts {
    header: Duration::from_secs(10),
    idle: Duration::from_secs(60),
    send: Duration::from_secs(60),
    keep_alive: Duration::from_secs(7200),
    drain: Duration::from_secs(10),
};

/// The name of HTTP in the log and in metrics.
pub(crate) const HTTP: &str = "HTTP";
/// The name of memcached there.
pub(crate) const MEMCACHED: &str = "memcached";

/// The environment variable that stands for `--log-level`.
const LOG_VARIABLE: &str = "SIMOOM_LOG";

/// What `simoom serve` is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    /// The interface whose queues are bound; `None`: kernel sockets only.
    pub interface: Option<String>,
    /// Where HTTP is served, if it is. Without an address, only beside an interface: at
    /// [`Serve::addresses`] and on loopback. Port 0 (the kernel chooses) only without an interface.
    pub http: Option<Endpoint>,
    /// The same of memcached, and its memory. One of the two is served.
    pub memcached: Option<Memcached>,
    /// The addresses claimed from the interface; none: those that it has.
    pub addresses: Vec<IpAddr>,
    /// The pace of asking whether another host has one of them (RFC 5227); zero asks nobody.
    pub address_probe: Duration,
    /// The directory served; `None`: the built-in page.
    pub root: Option<PathBuf>,
    /// Whether names that begin with a dot are served.
    pub dotfiles: bool,
    /// One worker on each of these cores, at most; never empty, ascending.
    pub cores: Vec<usize>,
    /// Connections held at once, by all workers together.
    pub connections: u32,
    /// Connections to HTTP at once; `None`: all but an eighth of them if
    /// there is another service beside it.
    pub http_connections: Option<u32>,
    /// The same of memcached.
    pub memcached_connections: Option<u32>,
    /// Connections that one worker holds from one source /24 of IPv4 or /64 of IPv6; `None`: no
    /// such limit.
    pub connections_per_prefix: Option<u32>,
    /// Which way the packets come in.
    pub transport: Transport,
    /// How AF_XDP sockets are bound.
    pub xdp_mode: XdpMode,
    /// Whether connections use explicit congestion notification.
    pub ecn: Ecn,
    /// What a change of the interface leads to.
    pub on_interface_change: InterfaceChange,
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
    /// Where, as [`Serve::http`].
    pub endpoint: Endpoint,
    /// Where over UDP, if at all.
    pub udp: Option<Endpoint>,
    /// Nobody asked for it: where its port is taken, the rest is served without it.
    pub optional: bool,
    /// Memory for items.
    pub memory_bytes: u64,
    /// The largest item.
    pub item_max_bytes: u64,
    /// For a client to send its next request; zero: for ever.
    pub idle: Duration,
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
    /// For a silent client to be asked whether it is still there; zero: never (RFC 9293 §3.8.4).
    pub keep_alive: Duration,
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
    /// Reads what the command line and its `--config` file say and checks that it goes together.
    /// `environment` is the level that the environment names; `cores` are those that the process
    /// may use.
    pub fn from_matches(
        matches: &ArgMatches,
        environment: Option<LogLevel>,
        cores: &[usize],
    ) -> Result<Serve> {
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
        let store = store::Settings::default();
        let serve = Serve {
            http: endpoints.http,
            memcached: endpoints.memcached.map(|endpoint| Memcached {
                endpoint,
                udp: endpoints.memcached_udp,
                optional: endpoints.memcached_is_optional,
                memory_bytes: options.memory.unwrap_or(store.memory_bytes),
                item_max_bytes: options.item_size_max.unwrap_or(store.item_max_bytes),
                idle: options.memcached_idle_timeout.unwrap_or(MEMCACHED_IDLE_DEFAULT),
            }),
            addresses: options.address.unwrap_or_default(),
            cores: chosen_cores(options.cores.map(|cores| cores.0), cores)?,
            interface: options.interface,
            address_probe: options.address_probe.unwrap_or(ADDRESS_PROBE_DEFAULT),
            root: options.root,
            dotfiles: options.dotfiles.unwrap_or_default(),
            connections: options.connections.unwrap_or(CONNECTIONS_DEFAULT),
            http_connections: options.http_connections,
            memcached_connections: options.memcached_connections,
            connections_per_prefix: options.connections_per_prefix,
            transport: options.transport.unwrap_or_default(),
            xdp_mode: options.xdp_mode.unwrap_or_default(),
            ecn: options.ecn.unwrap_or_default(),
            on_interface_change: options.on_interface_change.unwrap_or_default(),
            busy_poll: options.busy_poll.unwrap_or_default(),
            memory_limit_bytes: options.memory_limit,
            admin: options.admin.map(|admin| admin.at(Ipv4Addr::LOCALHOST.into())),
            timeouts: Timeouts {
                header: options.header_timeout.unwrap_or(TIMEOUTS_DEFAULT.header),
                idle: options.idle_timeout.unwrap_or(TIMEOUTS_DEFAULT.idle),
                send: options.send_timeout.unwrap_or(TIMEOUTS_DEFAULT.send),
                keep_alive: options.tcp_keepalive.unwrap_or(TIMEOUTS_DEFAULT.keep_alive),
                drain: options.drain_timeout.unwrap_or(TIMEOUTS_DEFAULT.drain),
            },
            log: options.log.into(),
        };
        let setup = serve.setup();
        setup.check_endpoints()?;
        setup.check_addresses()?;
        serve.check_shares()?;
        setup.check()?;
        serve.check_root()?;
        if let Some(memcached) = serve.memcached {
            memcached.store(1).check()?;
        }
        Ok(serve)
    }

    /// What is asked of the server, apart from its handlers.
    pub(crate) fn setup(&self) -> Setup {
        let memcached =
            self.memcached.as_ref().map(|memcached| Arc::new(self.memcached_service(memcached)));
        let udp = self.memcached.and_then(|memcached| memcached.udp);
        let udp = memcached.clone().zip(udp);
        let datagrams = udp.map(|(service, endpoint)| Datagrams { service, endpoint });
        let http = self.http.map(|endpoint| Arc::new(self.http_service(endpoint)));
        Setup {
            interface: self.interface.clone(),
            addresses: self.addresses.clone(),
            address_probe: self.address_probe,
            cores: self.cores.clone(),
            connections: self.connections,
            connections_per_prefix: self.connections_per_prefix,
            transport: self.transport,
            xdp_mode: self.xdp_mode,
            ecn: self.ecn,
            on_interface_change: self.on_interface_change,
            busy_poll: self.busy_poll,
            memory_limit_bytes: self.memory_limit_bytes,
            admin: self.admin,
            send_timeout: self.timeouts.send,
            keep_alive: self.timeouts.keep_alive,
            drain_timeout: self.timeouts.drain,
            services: http.into_iter().chain(memcached).collect(),
            datagrams,
        }
    }

    fn http_service(&self, endpoint: Endpoint) -> Service {
        Service {
            name: HTTP,
            option: "--http".into(),
            connections_option: "--http-connections".into(),
            port_names: PortNames::of(HTTP),
            endpoints: vec![endpoint],
            connections: self.http_connections,
            optional: false,
        }
    }

    fn memcached_service(&self, memcached: &Memcached) -> Service {
        Service {
            name: MEMCACHED,
            option: "--memcached".into(),
            connections_option: "--memcached-connections".into(),
            port_names: PortNames::of(MEMCACHED),
            endpoints: vec![memcached.endpoint],
            connections: self.memcached_connections,
            optional: memcached.optional,
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

impl From<LogOptions> for Log {
    fn from(options: LogOptions) -> Log {
        Log {
            format: options.log_format.unwrap_or_default(),
            level: options.log_level.unwrap_or_default(),
        }
    }
}

/// The level that SIMOOM_LOG names, if it is set: the flag wins over it, it wins over the file.
pub fn level_from_environment() -> Result<Option<LogLevel>> {
    let Some(value) = std::env::var_os(LOG_VARIABLE).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let level = value.to_str().and_then(|text| LogLevel::from_str(text, true).ok());
    level.map(Some).ok_or_else(|| {
        Error::usage(format!(
            "{LOG_VARIABLE}={}: expected one of error, warn, info, debug, trace",
            value.to_string_lossy()
        ))
    })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
