//! The flags of `serve` as the user gives them: every one optional, on the command line or in the file.
//!
//! No flag has a default here: what is not given must stay recognisable, so that flags win over the file.
//! [`super::Serve`] fills in the defaults.

use super::values::{self, Cores, Ecn, Endpoint, InterfaceChange, LogFormat, LogLevel, Transport, XdpMode};
use clap::Args;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The flags of `serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeOptions {
    /// Serve HTTP on this port [default: 127.0.0.1:8080]
    ///
    /// With an address, only there; 0.0.0.0 or [::] is every address of that version of IP. Without
    /// an address and without --interface, on 127.0.0.1; with --interface, at --address or the
    /// addresses of the interface, and on loopback. Loopback and addresses of other interfaces are
    /// served through kernel sockets. Port 0 lets the kernel choose one, which the log names; only
    /// without --interface.
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = values::endpoint, help_heading = "What to serve")]
    pub http: Option<Endpoint>,

    /// Serve the files under this directory [default: a built-in page]
    ///
    /// They are read into memory at start-up, ready to be sent.
    #[arg(long, value_name = "DIR", help_heading = "What to serve")]
    pub root: Option<PathBuf>,

    /// Serve files and directories whose names begin with a dot, too [default: only .well-known]
    ///
    /// .git, .env and .htpasswd often hold what nobody should read.
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true, help_heading = "What to serve"
    )]
    pub dotfiles: Option<bool>,

    /// Serve memcached on this port [default: 127.0.0.1:11211]
    ///
    /// With or without an address as --http. Without any flag that says what to serve, HTTP and memcached are both
    /// served on their default ports, memcached only if its port is free and only without --interface; with a flag
    /// of one of them, that one alone.
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = values::endpoint, help_heading = "What to serve")]
    pub memcached: Option<Endpoint>,

    /// Serve memcached over UDP, too, on this port [default: not at all]
    ///
    /// At the address of --memcached, unless another is given; without an address and with
    /// --interface, at those that the kernel has. A request is one datagram. Who asks may not be
    /// who is answered: an answer takes at most 8 datagrams of 1400 bytes, and each client address
    /// gets at most 1 MiB a second more than it sends, a network 2 MiB and all together 4 MiB, but
    /// for addresses that use TCP too. The datagrams come through the kernel, whatever the
    /// transport.
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = values::endpoint, help_heading = "What to serve")]
    pub memcached_udp: Option<Endpoint>,

    /// Keep items of memcached in this much memory [default: 64M]
    ///
    /// All of it is taken at start-up, for all workers together, and never more.
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "What to serve")]
    pub memory: Option<u64>,

    /// Refuse items of memcached larger than this, key and metadata included [default: 1M]
    #[arg(long, value_name = "SIZE", value_parser = values::bytes, help_heading = "What to serve")]
    pub item_size_max: Option<u64>,

    /// Take the packets for the served ports from this network interface
    ///
    /// Everything else that arrives there goes to the kernel as before. Needs root, or the capabilities that
    /// `simoom probe` names.
    #[arg(long, value_name = "IF", value_parser = values::interface, help_heading = "Where from")]
    pub interface: Option<String>,

    /// Serve at this address [default: the addresses of the interface]
    ///
    /// IPv4 or IPv6; may be given several times. For an address that the interface has, the kernel
    /// goes on answering ARP or neighbour discovery, and ping. An address that no interface has is
    /// Simoom's own: it answers them for it. An address of another interface is refused.
    #[arg(long, value_name = "IP", value_parser = values::address, help_heading = "Where from")]
    pub address: Option<Vec<IpAddr>>,

    /// Ask three times, about so long apart, whether another host has an address of Simoom's own [default: 1s]
    ///
    /// If one has, nothing is served. It takes four to seven times as long before serving begins (RFC 5227); 0 asks nobody.
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Where from")]
    pub address_probe: Option<Duration>,

    /// Which way the packets come in [default: auto]
    #[arg(long, value_name = "HOW", value_enum, help_heading = "Where from")]
    pub transport: Option<Transport>,

    /// How to bind to the interface's queues [default: auto]
    #[arg(long, value_name = "MODE", value_enum, help_heading = "Where from")]
    pub xdp_mode: Option<XdpMode>,

    /// What to do when the XDP program is detached from outside, or the interface has more queues
    /// [default: repair]
    ///
    /// Either is noticed within a second, logged and counted (xdp_detachments, queue_additions).
    #[arg(long, value_name = "WHAT", value_enum, help_heading = "Where from")]
    pub on_interface_change: Option<InterfaceChange>,

    /// Whether routers may mark packets of a connection instead of dropping them (ECN, RFC 3168) [default: accept]
    ///
    /// Over AF_XDP; for kernel sockets, sysctl net.ipv4.tcp_ecn says so.
    #[arg(long, value_name = "WHEN", value_enum, help_heading = "Where from")]
    pub ecn: Option<Ecn>,

    /// Use these cores, one worker on each [default: all that the process may use]
    ///
    /// A list of numbers and ranges: 0-3 or 0,2. Best are cores of the NUMA node that the NIC is attached to.
    #[arg(long, value_name = "LIST", value_parser = values::cores, help_heading = "Resources")]
    pub cores: Option<Cores>,

    /// Hold at most this many connections at once [default: 16384]
    ///
    /// The memory for them is taken at start-up. Whoever comes when all are in use is refused.
    #[arg(long, value_name = "N", value_parser = values::connections, help_heading = "Resources")]
    pub connections: Option<u32>,

    /// Hold at most this many connections to HTTP at once [default: 7/8 of --connections beside memcached, else all]
    ///
    /// So that memcached's clients cannot be kept out by those of HTTP. Further ones are refused.
    #[arg(long, value_name = "N", value_parser = values::connections, help_heading = "Resources")]
    pub http_connections: Option<u32>,

    /// Hold at most this many connections to memcached at once [default: 7/8 of --connections beside HTTP, else all]
    ///
    /// So that HTTP's clients cannot be kept out by those of memcached. Further ones are refused.
    #[arg(long, value_name = "N", value_parser = values::connections, help_heading = "Resources")]
    pub memcached_connections: Option<u32>,

    /// Hold at most this many connections from one network, an IPv4 /24 or an IPv6 /64 [default: no limit]
    ///
    /// Each worker counts its own. Over AF_XDP a SYN beyond the limit is not answered, and half-open connections count
    /// too; kernel sockets reset the connection. Networks are counted in a table of fixed size, by a secret hash: a few
    /// may share a count, so choose the limit with some to spare.
    #[arg(long, value_name = "N", value_parser = values::connections, help_heading = "Resources")]
    pub connections_per_prefix: Option<u32>,

    /// Refuse to start if more memory than this is needed [default: the machine's]
    ///
    /// Limits of cgroups and resource limits hold besides.
    ///
    /// A number of bytes, or with K, M, G or T for powers of 1024: 512M. The log shows what the memory is for.
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Resources")]
    pub memory_limit: Option<u64>,

    /// Let the workers spin for ever instead of sleeping when idle
    ///
    /// Saves the few microseconds of waking up, and costs every core in full. Only over AF_XDP.
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true, help_heading = "Resources"
    )]
    pub busy_poll: Option<bool>,

    /// Close a connection whose request's head takes longer than this [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = values::timeout, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub header_timeout: Option<Duration>,

    /// Close a connection that waits for its next request longer than this [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = values::timeout, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub idle_timeout: Option<Duration>,

    /// Close a connection to memcached that is idle for longer than this, 0s: never [default: 1h]
    ///
    /// memcached itself, unless told otherwise, keeps idle connections for ever, and so each keeps another client out.
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub memcached_idle_timeout: Option<Duration>,

    /// Close a connection whose client takes nothing of its answer for this long [default: 60s]
    ///
    /// Or less than 1000 bytes a second on average.
    #[arg(long, value_name = "TIME", value_parser = values::timeout, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub send_timeout: Option<Duration>,

    /// Probe a client that has been silent for this long [default: 120m]
    ///
    /// A client that is gone does not answer, and its connection is closed after nine probes, 75 seconds apart or TIME
    /// if that is shorter. 0 probes nobody. On kernel sockets in whole seconds.
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub tcp_keepalive: Option<Duration>,

    /// On SIGTERM, let open answers finish for at most this long [default: 10s]
    ///
    /// Idle connections have up to 500 ms for one more request. SIGINT and SIGQUIT are the same; a
    /// second signal ends the wait. SIGHUP, SIGUSR1 and SIGUSR2 reload nothing.
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub drain_timeout: Option<Duration>,

    /// Serve metrics in Prometheus' format and health checks at this address
    ///
    /// GET /metrics, GET /healthz (alive) and GET /readyz (ready for clients, or 503 and why not). With a port alone, on 127.0.0.1.
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = values::endpoint, help_heading = "Operation")]
    pub admin: Option<Endpoint>,

    /// Read flags from this file; those on the command line win
    ///
    /// TOML with the names of the flags as keys: connections = 100000, busy-poll = true,
    /// address = ["192.0.2.1", "192.0.2.2"].
    #[arg(long, value_name = "FILE.toml", help_heading = "Operation")]
    pub config: Option<PathBuf>,

    /// The log.
    #[command(flatten)]
    pub log: LogOptions,
}

/// The flags of every command that logs.
#[derive(Args, Clone, Debug, Default)]
pub struct LogOptions {
    /// How to write the log, which goes to standard error [default: text]
    #[arg(long = "log", value_name = "FORMAT", value_enum, help_heading = "Operation")]
    pub log_format: Option<LogFormat>,

    /// How much to log [default: $SIMOOM_LOG, or else info]
    #[arg(long, value_name = "LEVEL", value_enum, help_heading = "Operation")]
    pub log_level: Option<LogLevel>,
}
