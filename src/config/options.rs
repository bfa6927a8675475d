//! The flags of `serve` as the user gives them: every one optional, on the command line or in the
//! file.
//!
//! No flag has a default here: a flag that was not given must stay recognisable, so that flags win
//! over the file. [`super::Serve`] fills in the defaults.

use super::http_limits::HttpLimitOptions;
use super::sites::Sites;
use super::values::{
    self, AccessLogFormat, Cores, Ecn, Endpoint, InterfaceChange, LogFormat, LogLevel,
    SegmentationOffload, Transport, TxChecksum, XdpMode,
};
use crate::app::content::Template;
use crate::app::http::Network;
use crate::steer::Tunnel;
use clap::Args;
use simoom_tcp::Congestion;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The flags of `serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeOptions {
    /// Serve HTTP on this port [default: 127.0.0.1:8080]
    ///
    /// With an address, only at that address; `0.0.0.0` or `[::]` is every address of that version
    /// of IP. Without an address: on 127.0.0.1, or with --interface at --address or the addresses
    /// of the interface, and on loopback. Loopback and addresses of other interfaces are served
    /// through kernel sockets. With port 0 the kernel chooses a port and the log names it; not with
    /// --interface.
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = values::endpoint, help_heading = "What to serve")]
    pub http: Option<Endpoint>,

    /// Serve the files under this directory [default: a built-in page]
    ///
    /// The files are read into memory at start-up, except for large ones: see --large-file-size.
    #[arg(long, value_name = "DIR", help_heading = "What to serve")]
    pub root: Option<PathBuf>,

    /// Also serve files and directories whose names begin with a dot [default: only .well-known]
    ///
    /// .git, .env and .htpasswd often hold secrets.
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true, help_heading = "What to serve"
    )]
    pub dotfiles: Option<bool>,

    /// Reload files that change, within a second [default: true]
    ///
    /// New files are served when all of them are in memory. Old and new files together must fit the
    /// memory limit, and unchanged files count once. SIGHUP reloads in any case.
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true, help_heading = "What to serve"
    )]
    pub watch: Option<bool>,

    /// Compress files at start, in the codings br and gzip
    ///
    /// Only types that compress well, only where it saves bytes, and only while the memory limit
    /// allows. A file NAME.br, NAME.zst or NAME.gz beside NAME is used without this flag.
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true, help_heading = "What to serve"
    )]
    pub compress: Option<bool>,

    /// Answer a directory without index.html with a list of its files
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true, help_heading = "What to serve"
    )]
    pub autoindex: Option<bool>,

    /// Answer a path without a file with the file at this path: /index.html for a page that routes
    /// by itself
    #[arg(long, value_name = "PATH", value_parser = values::fallback, help_heading = "What to serve")]
    pub fallback: Option<Template>,

    /// Read files longer than this from disk for each request [default: 256M]
    ///
    /// Shorter files are held in memory. If they do not fit the memory limit, the largest of them
    /// are read from disk, too. With this flag, the memory of --file-buffers is taken at start-up;
    /// otherwise with the first such file.
    #[arg(long, value_name = "SIZE", value_parser = values::bytes, help_heading = "What to serve")]
    pub large_file_size: Option<u64>,

    /// Threads that read files from disk, 1 to 64 [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64), help_heading = "Resources")]
    pub file_threads: Option<u8>,

    /// Memory for parts of files that are read from disk, 1M to 64G [default: 32M]
    ///
    /// Three quarters are for answers with such files, 2K each: one more is refused with 503 and
    /// counted (http_file_refusals). A quarter is shared, so that fast clients get parts of up to
    /// 256K.
    #[arg(long, value_name = "SIZE", value_parser = values::file_buffers, help_heading = "Resources")]
    pub file_buffers: Option<u64>,

    /// Serve memcached on this port [default: 127.0.0.1:11211]
    ///
    /// Addresses are as for --http. Without any flag that selects a service, HTTP and memcached are
    /// both served on their default ports; memcached only if its port is free, and not with
    /// --interface. A flag of one service selects that service alone.
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = values::endpoint, help_heading = "What to serve")]
    pub memcached: Option<Endpoint>,

    /// Also serve memcached over UDP on this port [default: off]
    ///
    /// The address is that of --memcached unless another is given; without an address and with
    /// --interface, the addresses that the kernel has. Datagrams come through the kernel, whatever
    /// the transport. A request is one datagram, an answer up to 8 datagrams of 1400 bytes. Because
    /// source addresses can be spoofed, answers beyond the bytes received are limited to 1 MiB a
    /// second for each address, 2 MiB for each network and 4 MiB in all. Only the first limit holds
    /// for addresses that also use TCP.
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = values::endpoint, help_heading = "What to serve")]
    pub memcached_udp: Option<Endpoint>,

    /// Memory for items of memcached, which this flag selects [default: 64M]
    ///
    /// All of it is allocated at start-up and shared by all workers. --item-size-max selects
    /// memcached too.
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "What to serve")]
    pub memory: Option<u64>,

    /// Largest item of memcached, with its key and metadata [default: 1M]
    ///
    /// Larger items are refused. At most an eighth of --memory, and by default that if it is less
    /// than 1M.
    #[arg(long, value_name = "SIZE", value_parser = values::bytes, help_heading = "What to serve")]
    pub item_size_max: Option<u64>,

    /// Serve from the receive queues of this network interface, over AF_XDP
    ///
    /// Only packets for the served ports are taken; the kernel gets all others. Needs root, or the
    /// capabilities that `simoom probe` names.
    #[arg(long, value_name = "IF", value_parser = values::interface, help_heading = "Interface and transport")]
    pub interface: Option<String>,

    /// Serve at this address [default: the addresses of the interface]
    ///
    /// IPv4 or IPv6; may be given several times. For an address of the interface, the kernel still
    /// answers ARP or neighbour discovery, and ping. An address that no interface has belongs to
    /// Simoom, which then answers them. An address of another interface is an error.
    #[arg(long, value_name = "IP", value_parser = values::address, help_heading = "Interface and transport")]
    pub address: Option<Vec<IpAddr>>,

    /// Interval of the duplicate-address check (RFC 5227); 0 turns the check off [default: 1s]
    ///
    /// The check takes four to seven intervals before serving begins. If another host has the
    /// address, nothing is served.
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Interface and transport")]
    pub address_probe: Option<Duration>,

    /// Take packets out of tunnels of this kind: ipip, gre, gue or gue:PORT [default: none]
    ///
    /// For an L4 load balancer (IPVS, Katran) that passes packets on in tunnels to the addresses of
    /// the interface. May be given several times. --address names the addresses of the services;
    /// another interface, such as lo, may have them. The port of GUE is 6080 unless given. Anybody
    /// who reaches the interface can send through a tunnel: admit only the balancers.
    #[arg(long, value_name = "KIND", value_parser = Tunnel::parse, help_heading = "Interface and transport")]
    pub tunnel: Option<Vec<Tunnel>>,

    /// How packets are received and sent [default: auto]
    #[arg(long, value_name = "HOW", value_enum, help_heading = "Interface and transport")]
    pub transport: Option<Transport>,

    /// How AF_XDP sockets are bound to the queues of the interface [default: auto]
    #[arg(long, value_name = "MODE", value_enum, help_heading = "Interface and transport")]
    pub xdp_mode: Option<XdpMode>,

    /// Who computes the checksums of transmitted segments over AF_XDP [default: auto]
    ///
    /// On veth the kernel leaves them to the peer, which sees the sum of the pseudo-header alone,
    /// as from the kernel itself. Some NICs compute them in zero-copy mode. The log says which was
    /// chosen.
    #[arg(long, value_name = "WHO", value_enum, help_heading = "Interface and transport")]
    pub tx_checksum: Option<TxChecksum>,

    /// Whether the kernel or the NIC cuts long answers into segments, over AF_XDP [default: auto]
    ///
    /// Such answers leave by a packet socket, in packets of up to 64 KiB. They pass the queueing
    /// discipline and the egress filters of the interface, which other segments do not. auto: not
    /// in zero-copy mode, nor with --tx-checksum software.
    #[arg(long, value_name = "WHEN", value_enum, help_heading = "Interface and transport")]
    pub segmentation_offload: Option<SegmentationOffload>,

    /// What to do when the XDP program is detached from outside, or the interface has more queues
    /// [default: repair]
    ///
    /// Both are noticed within a second, logged and counted (xdp_detachments, queue_additions).
    #[arg(long, value_name = "WHAT", value_enum, help_heading = "Interface and transport")]
    pub on_interface_change: Option<InterfaceChange>,

    /// Explicit congestion notification (ECN, RFC 3168) [default: accept]
    ///
    /// Over AF_XDP only. For kernel sockets, sysctl net.ipv4.tcp_ecn decides.
    #[arg(long, value_name = "WHEN", value_enum, help_heading = "Interface and transport")]
    pub ecn: Option<Ecn>,

    /// Congestion control of connections [default: cubic]
    ///
    /// Over AF_XDP only. For kernel sockets, sysctl net.ipv4.tcp_congestion_control decides.
    #[arg(long, value_name = "NAME", value_parser = values::congestion(), help_heading = "Interface and transport")]
    pub congestion: Option<Congestion>,

    /// Congestion control of HTTP connections [default: --congestion]
    #[arg(
        long, value_name = "NAME", value_parser = values::congestion(), hide_possible_values = true,
        help_heading = "Interface and transport"
    )]
    pub http_congestion: Option<Congestion>,

    /// Congestion control of memcached connections [default: --congestion]
    #[arg(
        long, value_name = "NAME", value_parser = values::congestion(), hide_possible_values = true,
        help_heading = "Interface and transport"
    )]
    pub memcached_congestion: Option<Congestion>,

    /// Cores to use, one worker on each [default: all that the process may use]
    ///
    /// A list of numbers and ranges: 0-3 or 0,2. Use cores of the NUMA node that the NIC is
    /// attached to.
    #[arg(long, value_name = "LIST", value_parser = values::cores, help_heading = "Resources")]
    pub cores: Option<Cores>,

    /// Largest number of open connections [default: 16384]
    ///
    /// Their memory is allocated at start-up. When all are in use, new clients are refused.
    #[arg(long, value_name = "N", value_parser = values::connections, help_heading = "Resources")]
    pub connections: Option<u32>,

    /// Largest number of open HTTP connections [default: 7/8 of --connections beside memcached,
    /// else all]
    ///
    /// Keeps clients of HTTP from taking all connections. Further connections are refused.
    #[arg(long, value_name = "N", value_parser = values::connections, help_heading = "Resources")]
    pub http_connections: Option<u32>,

    /// Largest number of open memcached connections [default: 7/8 of --connections beside HTTP,
    /// else all]
    ///
    /// Keeps clients of memcached from taking all connections. Further connections are refused.
    #[arg(long, value_name = "N", value_parser = values::connections, help_heading = "Resources")]
    pub memcached_connections: Option<u32>,

    /// Largest number of connections from one network [default: no limit]
    ///
    /// A network is an IPv4 /24 or an IPv6 /64, unless --prefix-length-v4 or --prefix-length-v6 is
    /// given. Each worker counts its own. Over AF_XDP a SYN beyond the limit is not answered;
    /// kernel sockets reset the connection. Half-open connections do not count. Networks are
    /// counted in a table of fixed size by a keyed hash: a few may share a count, so choose the
    /// limit with a margin.
    #[arg(long, value_name = "N", value_parser = values::connections, help_heading = "Resources")]
    pub connections_per_prefix: Option<u32>,

    /// Length of the IPv4 networks of --connections-per-prefix, 1 to 32 bits [default: 24]
    ///
    /// 32 limits the connections of each address.
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(1..=32), help_heading = "Resources")]
    pub prefix_length_v4: Option<u8>,

    /// Length of the IPv6 networks of --connections-per-prefix, 1 to 128 bits [default: 64]
    ///
    /// 128 limits the connections of each address. Most IPv6 clients have a /64 of addresses.
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(1..=128), help_heading = "Resources")]
    pub prefix_length_v6: Option<u8>,

    /// Refuse to start if the memory plan exceeds this [default: the machine's memory]
    ///
    /// A number of bytes, or with K, M, G or T for powers of 1024: 512M. The log shows the plan.
    /// Limits of cgroups and resource limits apply as well.
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Resources")]
    pub memory_limit: Option<u64>,

    /// Let workers poll the NIC instead of its interrupts
    ///
    /// Over AF_XDP a worker then spins instead of sleeping when idle: it saves a few microseconds
    /// of wakeup and keeps each core fully busy. With --transport epoll a worker polls while it has
    /// work, and sleeps when idle (Linux 6.13). Changes the interrupt settings of the interface
    /// while it runs.
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        hide_possible_values = true, help_heading = "Resources"
    )]
    pub busy_poll: Option<bool>,

    /// The limits of HTTP.
    #[command(flatten)]
    pub http_limits: HttpLimitOptions,

    /// Time for a whole HTTP request head [default: 10s]
    ///
    /// A slower client is answered with 408.
    #[arg(long, value_name = "TIME", value_parser = values::timeout, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub header_timeout: Option<Duration>,

    /// Time between HTTP requests before a connection is closed [default: 75s]
    #[arg(long, value_name = "TIME", value_parser = values::timeout, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub idle_timeout: Option<Duration>,

    /// Time between memcached requests before a connection is closed; 0s for no limit [default: 1h]
    ///
    /// memcached itself has no limit by default, so that idle clients can keep other clients out.
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub memcached_idle_timeout: Option<Duration>,

    /// Time in which a client must take something of its answer [default: 60s]
    ///
    /// A connection that takes nothing for this long, or less than 1000 bytes a second on average,
    /// is reset.
    #[arg(long, value_name = "TIME", value_parser = values::timeout, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub send_timeout: Option<Duration>,

    /// The same for HTTP connections [default: --send-timeout]
    #[arg(long, value_name = "TIME", value_parser = values::timeout, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub http_send_timeout: Option<Duration>,

    /// The same for memcached connections [default: --send-timeout]
    #[arg(long, value_name = "TIME", value_parser = values::timeout, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub memcached_send_timeout: Option<Duration>,

    /// Silence after which a client is probed (keep-alive); 0 turns probes off [default: 120m]
    ///
    /// A connection is closed after nine unanswered probes, 75 seconds or TIME apart, whichever is
    /// shorter. Kernel sockets take whole seconds.
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub tcp_keepalive: Option<Duration>,

    /// The same for HTTP connections [default: --tcp-keepalive]
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub http_tcp_keepalive: Option<Duration>,

    /// The same for memcached connections [default: --tcp-keepalive]
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub memcached_tcp_keepalive: Option<Duration>,

    /// Time for open answers to finish after SIGTERM [default: 10s]
    ///
    /// Idle connections have up to 500 ms for one more request. SIGINT and SIGQUIT do the same; a
    /// second signal ends the wait.
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub drain_timeout: Option<Duration>,

    /// Serve metrics for Prometheus and health checks on this port
    ///
    /// GET /metrics, GET /healthz (alive), and GET /readyz (ready for clients, or 503 with the
    /// reasons). Without an address, on 127.0.0.1.
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = values::endpoint, help_heading = "Operation")]
    pub admin: Option<Endpoint>,

    /// Expect a header of the PROXY protocol on HTTP connections from this network
    ///
    /// Versions 1 and 2, with at most 2048 bytes. The header names the client, whose address goes
    /// into the access log. A connection from the network without a whole header is reset and
    /// counted (http_bad_proxy_header). May be given several times.
    #[arg(long, value_name = "NET", value_parser = values::network, help_heading = "Operation")]
    pub proxy_protocol: Option<Vec<Network>>,

    /// Take the client's address for the access log from X-Forwarded-For, if this network sends it
    ///
    /// The last address in the field that lies in none of these networks is the client's. May be
    /// given several times.
    #[arg(long, value_name = "NET", value_parser = values::network, help_heading = "Operation")]
    pub trusted_proxy: Option<Vec<Network>>,

    /// Append a line for each HTTP answer to this file
    ///
    /// SIGUSR1 opens the file again, for the rotation of logs. No worker waits for the disk: lines
    /// that it does not accept, or not in time, are lost and counted (http_access_log_lost). A FIFO
    /// needs a reader at the start.
    #[arg(long, value_name = "FILE", help_heading = "Operation")]
    pub access_log: Option<PathBuf>,

    /// Format of the access log [default: combined]
    #[arg(long, value_name = "FORMAT", value_enum, help_heading = "Operation")]
    pub access_log_format: Option<AccessLogFormat>,

    /// Read flags from this TOML file; flags on the command line win
    ///
    /// Keys are the names of the flags: connections = 100000, busy-poll = true,
    /// address = ["192.0.2.1", "192.0.2.2"]. Tables set fields, redirects, media types and hosts:
    /// see `simoom guide http`.
    #[arg(long, value_name = "FILE.toml", help_heading = "Operation")]
    pub config: Option<PathBuf>,

    /// The log.
    #[command(flatten)]
    pub log: LogOptions,

    /// The sites of the file. No flag stands for them.
    #[arg(skip)]
    pub sites: Sites,
}

/// The flags of every command that logs.
#[derive(Args, Clone, Debug, Default)]
pub struct LogOptions {
    /// Format of the log, which goes to standard error [default: text]
    #[arg(long = "log", value_name = "FORMAT", value_enum, help_heading = "Operation")]
    pub log_format: Option<LogFormat>,

    /// Least severe level to log [default: $SIMOOM_LOG, or else info]
    #[arg(long, value_name = "LEVEL", value_enum, help_heading = "Operation")]
    pub log_level: Option<LogLevel>,
}
