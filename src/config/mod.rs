//! Checked settings of a command: from flags and configuration file to one [`Serve`].
//!
//! This module opens no socket and queries no network interface. Whether an interface or an address
//! exists is found when it is used.

#[cfg(feature = "cli")]
pub(crate) mod argument_error;
#[cfg(feature = "cli")]
mod check;
mod cores;
#[cfg(feature = "cli")]
mod effects;
#[cfg(feature = "cli")]
mod endpoints;
#[cfg(feature = "cli")]
mod file;
#[cfg(feature = "cli")]
pub(crate) mod hints;
#[cfg(feature = "cli")]
mod http_limits;
#[cfg(feature = "cli")]
mod options;
#[cfg(feature = "cli")]
mod sites;
pub(crate) mod values;

pub use cores::usable_cores;
#[cfg(feature = "cli")]
pub use options::{LogOptions, ServeOptions};
#[cfg(feature = "cli")]
pub use sites::Sites;
pub use values::{
    AccessLogFormat, CONNECTIONS_MAX, CORES_MAX, Cores, Ecn, Endpoint, InterfaceChange, LogFormat,
    LogLevel, MEMORY_LIMIT_MIN_BYTES, SegmentationOffload, TIMEOUT_MAX, Transport, TxChecksum,
    XdpMode,
};

#[cfg(feature = "cli")]
use crate::app::{content, disk, http};
use crate::error::{Error, Result};
use crate::handler::PortNames;
use crate::setup::{Datagrams, Service, Setup};
use crate::steer::Tunnel;
use crate::store;
#[cfg(feature = "cli")]
use clap::{ArgMatches, FromArgMatches, ValueEnum};
pub(crate) use cores::chosen_cores;
#[cfg(feature = "cli")]
use endpoints::Endpoints;
#[cfg(feature = "cli")]
use simoom_tcp::Congestion;
#[cfg(feature = "cli")]
use simoom_tcp::prefix::PrefixLengths;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
#[cfg(feature = "cli")]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
pub(crate) use values::{endpoint, interface as interface_name};

/// Default of `--connections`: more than ten thousand, with at most 16 MiB of connection tables.
pub const CONNECTIONS_DEFAULT: u32 = 16_384;
/// Default port of HTTP. It needs no privilege.
pub const PORT_DEFAULT: u16 = 8080;
/// Default port of memcached.
pub const MEMCACHED_PORT_DEFAULT: u16 = 11211;
/// Default of `--large-file-size`.
pub const LARGE_FILE_DEFAULT_BYTES: u64 = 256 << 20;
/// Default of `--memcached-idle-timeout`: longer than clients leave a pooled connection unused.
pub const MEMCACHED_IDLE_DEFAULT: Duration = Duration::from_secs(3600);
/// RFC 5227 §1.1, PROBE_MIN.
pub const ADDRESS_PROBE_DEFAULT: Duration = Duration::from_secs(1);
/// Default timeouts. An idle time of 75 seconds is the default of nginx, and exceeds the time for
/// which load balancers reuse a connection. Ten seconds are enough for the request head of any
/// ordinary client.
pub const TIMEOUTS_DEFAULT: Timeouts = Timeouts {
    header: Duration::from_secs(10),
    idle: Duration::from_secs(75),
    send: Duration::from_secs(60),
    keep_alive: Duration::from_secs(7200),
    drain: Duration::from_secs(10),
};

/// The name of HTTP in log and metrics.
pub(crate) const HTTP: &str = "HTTP";
/// The name of memcached in log and metrics.
pub(crate) const MEMCACHED: &str = "memcached";

/// The environment variable for `--log-level`.
const LOG_VARIABLE: &str = "SIMOOM_LOG";

/// The timeouts of one service. `None`: those of the server.
#[cfg(feature = "cli")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceTimeouts {
    /// See [`Timeouts::send`].
    pub send: Option<Duration>,
    /// See [`Timeouts::keep_alive`].
    pub keep_alive: Option<Duration>,
}

/// The settings of `simoom serve`.
#[cfg(feature = "cli")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    /// The interface to bind to; `None` for kernel sockets only.
    pub interface: Option<String>,
    /// The endpoint of HTTP; `None` if not served. With an interface it may have no address: it is
    /// then served at [`Serve::addresses`] and on loopback. Port 0 is allowed without an interface
    /// only.
    pub http: Option<Endpoint>,
    /// The settings of memcached; `None` if not served. At least one service is served.
    pub memcached: Option<Memcached>,
    /// The addresses to claim; empty for the addresses of the interface.
    pub addresses: Vec<IpAddr>,
    /// Interval of the duplicate-address check (RFC 5227); 0 turns it off.
    pub address_probe: Duration,
    /// Kinds of tunnels that packets are taken out of.
    pub tunnels: Vec<Tunnel>,
    /// The files to serve and their rules.
    pub content: content::Settings,
    /// How files are read from disk.
    pub files: disk::Settings,
    /// Whether to prepare for files on disk although there may be none yet.
    pub reads_files: bool,
    /// Whether to reload files that change.
    pub watch: bool,
    /// The file of the access log; `None` for no access log.
    pub access_log: Option<PathBuf>,
    /// The format of the access log.
    pub access_log_format: AccessLogFormat,
    /// Networks whose connections begin with a header of the PROXY protocol.
    pub proxy_protocol: Vec<http::Network>,
    /// Networks whose X-Forwarded-For names the client in the access log.
    pub trusted_proxies: Vec<http::Network>,
    /// The cores of the workers, ascending; at least one.
    pub cores: Vec<usize>,
    /// Limit of the open connections, over all workers.
    pub connections: u32,
    /// Limit of the open HTTP connections; `None`: seven eighths of [`Serve::connections`] beside
    /// another service, otherwise all.
    pub http_connections: Option<u32>,
    /// Limit of the open memcached connections; `None` as for HTTP.
    pub memcached_connections: Option<u32>,
    /// Limit of the connections of one worker from one source network; `None` for no limit.
    pub connections_per_prefix: Option<u32>,
    /// The length of the source networks.
    pub prefix_lengths: PrefixLengths,
    /// How packets are received and sent.
    pub transport: Transport,
    /// The mode of the AF_XDP sockets.
    pub xdp_mode: XdpMode,
    /// Who computes the checksums of transmitted segments.
    pub tx_checksum: TxChecksum,
    /// Who cuts long answers into segments.
    pub segmentation_offload: SegmentationOffload,
    /// Whether connections use explicit congestion notification.
    pub ecn: Ecn,
    /// The congestion control of services without one of their own.
    pub congestion: Congestion,
    /// The congestion control of HTTP.
    pub http_congestion: Option<Congestion>,
    /// Timeouts of HTTP connections alone.
    pub http_timeouts: ServiceTimeouts,
    /// Timeouts of memcached connections alone.
    pub memcached_timeouts: ServiceTimeouts,
    /// The congestion control of memcached.
    pub memcached_congestion: Option<Congestion>,
    /// The reaction to a change of the interface.
    pub on_interface_change: InterfaceChange,
    /// Whether workers poll the NIC.
    pub busy_poll: bool,
    /// Limit of the memory plan, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Address of the admin endpoint.
    pub admin: Option<SocketAddr>,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// The limits of HTTP.
    pub http_options: http::Options,
    /// Format and level of the log.
    pub log: Log,
}

/// The settings of memcached.
#[cfg(feature = "cli")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memcached {
    /// The endpoint, as in [`Serve::http`].
    pub endpoint: Endpoint,
    /// The endpoint over UDP; `None` if not served.
    pub udp: Option<Endpoint>,
    /// Whether memcached was not requested. If its port is taken, the server runs without it.
    pub optional: bool,
    /// Memory for items, in bytes.
    pub memory_bytes: u64,
    /// Size limit of an item, in bytes.
    pub item_max_bytes: u64,
    /// Time between requests; zero for no limit.
    pub idle: Duration,
}

/// Timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Time for a complete request head.
    pub header: Duration,
    /// Time between an answer and the next request.
    pub idle: Duration,
    /// Time in which a client must take part of its answer.
    pub send: Duration,
    /// Silence after which a keep-alive probe is sent; zero for never (RFC 9293 §3.8.4).
    pub keep_alive: Duration,
    /// Time for open answers to finish at shutdown; may be zero.
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

#[cfg(feature = "cli")]
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
        options.check_effects(&endpoints)?;
        let store = store::Settings::default();
        let memory_bytes = options.memory.unwrap_or(store.memory_bytes);
        let item_max_bytes = store.item_max_bytes.min(memory_bytes / store::ITEM_MAX_PART);
        let files = disk::Settings::default();
        let fallback: Vec<_> = options.fallback.into_iter().collect();
        let serve = Serve {
            http: endpoints.http,
            memcached: endpoints.memcached.map(|endpoint| Memcached {
                endpoint,
                udp: endpoints.memcached_udp,
                optional: endpoints.memcached_is_optional,
                memory_bytes,
                item_max_bytes: options.item_size_max.unwrap_or(item_max_bytes),
                idle: options.memcached_idle_timeout.unwrap_or(MEMCACHED_IDLE_DEFAULT),
            }),
            addresses: options.address.unwrap_or_default(),
            watch: options.watch.unwrap_or(true),
            access_log: options.access_log,
            proxy_protocol: options.proxy_protocol.unwrap_or_default(),
            trusted_proxies: options.trusted_proxy.unwrap_or_default(),
            access_log_format: options.access_log_format.unwrap_or_default(),
            cores: chosen_cores(options.cores.map(|cores| cores.0), cores)?,
            interface: options.interface,
            address_probe: options.address_probe.unwrap_or(ADDRESS_PROBE_DEFAULT),
            tunnels: options.tunnel.unwrap_or_default(),
            content: content::Settings {
                limit_bytes: 0,
                // The memory limit is known when the server starts.
                disk: Some(content::Disk {
                    large_bytes: options.large_file_size.unwrap_or(LARGE_FILE_DEFAULT_BYTES),
                    memory_bytes: 0,
                    buffers_bytes: 0,
                }),
                compress: options.compress.unwrap_or_default(),
                site: content::Site {
                    root: options.root,
                    dotfiles: options.dotfiles.unwrap_or_default(),
                    autoindex: options.autoindex.unwrap_or_default(),
                    try_files: [options.sites.site.try_files, fallback].concat(),
                    ..options.sites.site
                },
                hosts: options.sites.hosts,
            },
            reads_files: options.large_file_size.is_some(),
            files: disk::Settings {
                threads: options.file_threads.map_or(files.threads, usize::from),
                buffer_bytes: options.file_buffers.map_or(files.buffer_bytes, |n| n as usize),
            },
            connections: options.connections.unwrap_or(CONNECTIONS_DEFAULT),
            http_connections: options.http_connections,
            memcached_connections: options.memcached_connections,
            connections_per_prefix: options.connections_per_prefix,
            prefix_lengths: PrefixLengths {
                v4: options.prefix_length_v4.unwrap_or(PrefixLengths::default().v4),
                v6: options.prefix_length_v6.unwrap_or(PrefixLengths::default().v6),
            },
            transport: options.transport.unwrap_or_default(),
            xdp_mode: options.xdp_mode.unwrap_or_default(),
            tx_checksum: options.tx_checksum.unwrap_or_default(),
            segmentation_offload: options.segmentation_offload.unwrap_or_default(),
            ecn: options.ecn.unwrap_or_default(),
            congestion: options.congestion.unwrap_or_default(),
            http_congestion: options.http_congestion,
            http_timeouts: ServiceTimeouts {
                send: options.http_send_timeout,
                keep_alive: options.http_tcp_keepalive,
            },
            memcached_timeouts: ServiceTimeouts {
                send: options.memcached_send_timeout,
                keep_alive: options.memcached_tcp_keepalive,
            },
            memcached_congestion: options.memcached_congestion,
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
            http_options: options.http_limits.resolve()?,
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
            tunnels: self.tunnels.clone(),
            cores: self.cores.clone(),
            connections: self.connections,
            connections_per_prefix: self.connections_per_prefix,
            prefix_lengths: self.prefix_lengths,
            transport: self.transport,
            xdp_mode: self.xdp_mode,
            tx_checksum: self.tx_checksum,
            segmentation_offload: self.segmentation_offload,
            ecn: self.ecn,
            congestion: self.congestion,
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
            congestion_option: "--http-congestion".into(),
            congestion: self.http_congestion,
            send_timeout: self.http_timeouts.send,
            keep_alive: self.http_timeouts.keep_alive,
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
            congestion_option: "--memcached-congestion".into(),
            congestion: self.memcached_congestion,
            send_timeout: self.memcached_timeouts.send,
            keep_alive: self.memcached_timeouts.keep_alive,
            optional: memcached.optional,
        }
    }
}

#[cfg(feature = "cli")]
impl Memcached {
    /// The store for `workers` workers.
    pub fn store(&self, workers: usize) -> store::Settings {
        let (memory_bytes, item_max_bytes) = (self.memory_bytes, self.item_max_bytes);
        store::Settings { memory_bytes, item_max_bytes, workers, hash_key: None }
    }
}

#[cfg(feature = "cli")]
impl From<LogOptions> for Log {
    fn from(options: LogOptions) -> Log {
        Log {
            format: options.log_format.unwrap_or_default(),
            level: options.log_level.unwrap_or_default(),
        }
    }
}

#[cfg(feature = "cli")]
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
