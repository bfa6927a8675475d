//! Builder of a server: takes options and handlers, and starts a [`Server`].

use super::factories::{Factories, With, WorkerInfo};
use super::{Hooks, Server, Socket, start};
use crate::app::{Blob, Nobody};
use crate::config::{
    Ecn, Endpoint, InterfaceChange, SegmentationOffload, Transport, TxChecksum, XdpMode,
    chosen_cores, usable_cores,
};
use crate::control::CommandReceiver;
use crate::error::{Error, Result};
use crate::handler::{Handler, PortNames};
use crate::listening::Listening;
use crate::metrics::{Count, Registry, Snapshot, interned};
use crate::setup::{Datagrams, Service, Setup};
use crate::steer::Tunnel;
use simoom_tcp::Congestion;
use simoom_tcp::prefix::PrefixLengths;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The options and handlers of a server. See [`Server::builder`].
#[must_use = "nothing is served before `run` or `start`"]
pub struct Builder<L = Nobody> {
    setup: Setup,
    factories: L,
    hooks: Hooks,
    signals: Signals,
    cores: Option<Vec<usize>>,
    /// The first invalid option.
    wrong: Option<Error>,
    /// Whether errors name flags of the command line instead of methods.
    names_flags: bool,
}

/// How a server handles signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signals {
    /// The first SIGTERM, SIGINT or SIGQUIT begins to drain, the second ends the drain, and the
    /// third ends the process. While the server starts, the first one ends the process with
    /// success.
    #[default]
    Drain,
    /// Signals are ignored: the caller ends the server with [`Server::drain`] or a
    /// [`Stopper`](super::Stopper).
    Ignore,
}

/// Creates the UDP worker for its sockets.
pub(crate) type UdpFactory = Box<
    dyn FnOnce(WorkerInfo, Vec<Socket>, CommandReceiver, Arc<Snapshot>) -> Result<Box<dyn UdpWork>>
        + 'static,
>;

/// The function that the UDP thread runs.
pub(crate) trait UdpWork: FnOnce() -> io::Result<()> + Send {}

impl<W: FnOnce() -> io::Result<()> + Send> UdpWork for W {}

impl Server {
    /// A builder without handlers. By default the server uses kernel sockets on all cores available
    /// to this process.
    ///
    /// ```
    /// use simoom::app::content::Content;
    /// use simoom::app::http::{Http, Options};
    /// use simoom::{Server, Signals};
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// # fn main() -> simoom::Result<()> {
    /// let content = Arc::new(Content::built_in());
    /// let server = Server::builder()
    ///     .handler("web", "127.0.0.1:0", move |_worker| {
    ///         Ok(Http::new(content.clone(), Options::default()))
    ///     })
    ///     .connections(100)
    ///     .signals(Signals::Ignore)
    ///     .start()?;
    /// assert_ne!(server.addresses()[0].port(), 0);
    /// let totals = server.drain(Duration::ZERO)?;
    /// let open = totals.iter().find(|(metric, _)| *metric == "web_connections_open");
    /// assert_eq!(open.map(|(_, open)| *open), Some(0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// An invalid option is an error that names the option, its value and its range:
    ///
    /// ```
    /// # use simoom::Server;
    /// let error = Server::builder().connections(0).start().err().unwrap();
    /// assert_eq!(error.to_string(), "connections 0: from 1 to 16777216");
    /// let error = Server::builder().memory_limit(7).start().err().unwrap();
    /// assert_eq!(error.to_string(), "memory_limit 7: at least 1048576");
    /// ```
    pub fn builder() -> Builder {
        Builder::new(Setup::default(), false)
    }
}

impl Builder {
    fn new(setup: Setup, names_flags: bool) -> Builder {
        Builder {
            setup,
            factories: Nobody,
            hooks: Hooks::default(),
            signals: Signals::default(),
            cores: None,
            wrong: None,
            names_flags,
        }
    }

    /// A builder from command-line flags. The flags are already checked. [`Builder::serve`] adds
    /// the handlers.
    pub(crate) fn of_flags(setup: Setup) -> Builder {
        Builder { cores: Some(setup.cores.clone()), ..Builder::new(setup, true) }
    }
}

impl<L: Factories> Builder<L> {
    /// Serves `at` with handlers that `factory` creates, one for each worker that listens there.
    ///
    /// `name` appears in the log and in metrics, for example `name_connections_open`. `at` is a
    /// port, an address with a port, or several of them. A port alone is served on 127.0.0.1. With
    /// [`Builder::interface`] it is served at [`Builder::address`] or the addresses of the
    /// interface, and on loopback. Workers share the captures of `factory`; each worker owns its
    /// handler.
    pub fn handler<F, H>(
        mut self,
        name: impl AsRef<str>,
        at: impl IntoEndpoints,
        factory: F,
    ) -> Builder<With<F, H, L>>
    where
        F: Fn(WorkerInfo) -> Result<H>,
        H: Handler<Blob = Blob> + Send + 'static,
    {
        let name = name.as_ref();
        let endpoints = at.into_endpoints().unwrap_or_else(|reason| {
            self.refuse(format!("handler {name}: {reason}"));
            Vec::new()
        });
        self.check_name(name);
        let service = Arc::new(Service {
            name: interned(name),
            option: format!("handler {name}"),
            connections_option: format!("handler_connections {name}"),
            congestion_option: format!("handler_congestion {name}"),
            congestion: None,
            send_timeout: None,
            keep_alive: None,
            port_names: PortNames::of(name),
            endpoints,
            connections: None,
            optional: false,
        });
        self.setup.services.push(service.clone());
        self.serve(Some(service), factory)
    }

    /// Serves `service` of the set-up with handlers that `factory` creates.
    pub(crate) fn serve<F, H>(
        self,
        service: Option<Arc<Service>>,
        factory: F,
    ) -> Builder<With<F, H, L>> {
        let Builder { setup, factories, hooks, signals, cores, wrong, names_flags } = self;
        let factories = With::new(service, factory, factories);
        Builder { setup, factories, hooks, signals, cores, wrong, names_flags }
    }

    /// Serves `datagrams` of the set-up over UDP.
    pub(crate) fn udp(mut self, datagrams: Option<Datagrams>, factory: UdpFactory) -> Builder<L> {
        self.setup.datagrams = datagrams;
        self.hooks.udp = Some(factory);
        self
    }
}

/// The addresses and transports of a server.
impl<L: Factories> Builder<L> {
    /// Serves from the receive queues of this interface, over AF_XDP where that works.
    pub fn interface(mut self, name: impl Into<String>) -> Builder<L> {
        let name = name.into();
        match crate::config::interface_name(&name) {
            Ok(name) => self.setup.interface = Some(name),
            Err(reason) => self.refuse(format!("interface {name}: {reason}")),
        }
        self
    }

    /// Claims this address from the interface. Can be called several times. Without a call the
    /// addresses of the interface are claimed.
    pub fn address(mut self, address: impl Into<IpAddr>) -> Builder<L> {
        self.setup.addresses.push(address.into());
        self
    }

    /// Interval of the duplicate-address check (RFC 5227) for dedicated addresses. Zero turns the
    /// check off.
    pub fn address_probe(mut self, interval: Duration) -> Builder<L> {
        self.setup.address_probe = self.checked_time("address_probe", interval);
        self
    }

    /// Takes packets out of tunnels of this kind. Can be called several times, once for each kind.
    pub fn tunnel(mut self, tunnel: Tunnel) -> Builder<L> {
        self.setup.tunnels.push(tunnel);
        self
    }

    /// The transport of packets.
    pub fn transport(mut self, transport: Transport) -> Builder<L> {
        self.setup.transport = transport;
        self
    }

    /// How AF_XDP sockets are bound to the interface.
    pub fn xdp_mode(mut self, mode: XdpMode) -> Builder<L> {
        self.setup.xdp_mode = mode;
        self
    }

    /// Who computes the checksums of segments transmitted over AF_XDP.
    pub fn tx_checksum(mut self, by: TxChecksum) -> Builder<L> {
        self.setup.tx_checksum = by;
        self
    }

    /// Whether the kernel or the NIC cuts long answers over AF_XDP into segments.
    pub fn segmentation_offload(mut self, when: SegmentationOffload) -> Builder<L> {
        self.setup.segmentation_offload = when;
        self
    }

    /// Whether connections over AF_XDP use explicit congestion notification.
    pub fn ecn(mut self, ecn: Ecn) -> Builder<L> {
        self.setup.ecn = ecn;
        self
    }

    /// The congestion control of connections over AF_XDP: one of [`Congestion::ALL`], or a
    /// controller of your own by [`Congestion::of`].
    pub fn congestion(mut self, congestion: Congestion) -> Builder<L> {
        self.setup.congestion = congestion;
        self
    }

    /// The congestion control of connections to the handler `name`. Default:
    /// [`Builder::congestion`].
    pub fn handler_congestion(
        mut self,
        name: impl AsRef<str>,
        congestion: Congestion,
    ) -> Builder<L> {
        let name = name.as_ref();
        self.change_handler("handler_congestion", name, |service| {
            service.congestion = Some(congestion);
        });
        self
    }

    /// Changes the service of the handler `name`, which was added before.
    fn change_handler(&mut self, option: &str, name: &str, change: impl FnOnce(&mut Service)) {
        match self.setup.services.iter_mut().find(|service| service.name == name) {
            Some(service) => change(Arc::make_mut(service)),
            None => {
                self.refuse(format!("{option} {name}: no handler of this name was added before"));
            }
        }
    }

    /// The reaction to a change of the interface.
    pub fn on_interface_change(mut self, policy: InterfaceChange) -> Builder<L> {
        self.setup.on_interface_change = policy;
        self
    }

    /// Whether workers poll the NIC: over AF_XDP they never sleep, over epoll they do when idle and
    /// suspend interrupts otherwise (Linux 6.13).
    pub fn busy_poll(mut self, spins: bool) -> Builder<L> {
        self.setup.busy_poll = spins;
        self
    }

    /// Runs one worker on each of these cores. Default: all cores available to this process.
    pub fn cores(mut self, cores: impl IntoIterator<Item = usize>) -> Builder<L> {
        let mut cores: Vec<usize> = cores.into_iter().collect();
        cores.sort_unstable();
        cores.dedup();
        if cores.is_empty() {
            self.refuse("cores: none is given; name at least one".into());
        }
        self.cores = Some(cores);
        self
    }
}

/// The limits of a server.
impl<L: Factories> Builder<L> {
    /// Maximum of open connections over all workers. Default: 16,384.
    pub fn connections(mut self, connections: u32) -> Builder<L> {
        self.setup.connections = self.checked_count("connections", connections);
        self
    }

    /// Maximum of open connections to each port of the handler `name`, over all workers. Default: a
    /// handler beside others leaves them 1/8 of [`Builder::connections`].
    pub fn handler_connections(mut self, name: impl AsRef<str>, connections: u32) -> Builder<L> {
        let name = name.as_ref();
        let option = format!("handler_connections {name}");
        let connections = self.checked_count(&option, connections);
        match self.setup.services.iter_mut().find(|service| service.name == name) {
            Some(service) => Arc::make_mut(service).connections = Some(connections),
            None => self.refuse(format!("{option}: no handler of this name was added before")),
        }
        self
    }

    /// Maximum of connections of one worker from one source network: see
    /// [`Builder::prefix_lengths`]. Default: no limit.
    pub fn connections_per_prefix(mut self, connections: u32) -> Builder<L> {
        let connections = self.checked_count("connections_per_prefix", connections);
        self.setup.connections_per_prefix = Some(connections);
        self
    }

    /// The length of the source networks, in bits: 1 to 32 for IPv4, and 1 to 128 for IPv6. 32 and
    /// 128 limit each address. Default: 24 and 64.
    pub fn prefix_lengths(mut self, v4: u8, v6: u8) -> Builder<L> {
        if !(1..=32).contains(&v4) || !(1..=128).contains(&v6) {
            self.refuse(format!("prefix_lengths {v4}, {v6}: 1 to 32 for IPv4, 1 to 128 for IPv6"));
        }
        self.setup.prefix_lengths = PrefixLengths { v4, v6 };
        self
    }

    /// Limit of the memory plan, in bytes. Default: the memory of the machine.
    pub fn memory_limit(mut self, bytes: u64) -> Builder<L> {
        let least = crate::config::MEMORY_LIMIT_MIN_BYTES;
        if bytes < least {
            self.refuse(format!("memory_limit {bytes}: at least {least}"));
        }
        self.setup.memory_limit_bytes = Some(bytes);
        self
    }

    /// Adds memory that handlers share to the plan, in bytes.
    pub fn memory(self, what: impl AsRef<str>, bytes: usize) -> Builder<L> {
        self.prepare(what, move |_| Ok(bytes))
    }

    /// Calls `take` when the server starts, before it checks the memory plan and creates handlers.
    /// `take` gets the number of free bytes, allocates memory that handlers share, and returns its
    /// size.
    pub fn prepare(
        mut self,
        what: impl AsRef<str>,
        take: impl FnOnce(usize) -> Result<usize> + 'static,
    ) -> Builder<L> {
        self.hooks.prepare.push((interned(what.as_ref()), Box::new(take)));
        self
    }

    /// Time in which a client must accept a part of its answer. Default: 60 s.
    pub fn send_timeout(mut self, time: Duration) -> Builder<L> {
        if time < Duration::from_millis(1) {
            self.refuse(format!("send_timeout {time:?}: at least 1ms"));
        }
        self.setup.send_timeout = self.checked_time("send_timeout", time);
        self
    }

    /// The send timeout of connections to the handler `name`. Default: [`Builder::send_timeout`].
    pub fn handler_send_timeout(mut self, name: impl AsRef<str>, time: Duration) -> Builder<L> {
        let name = name.as_ref();
        if time < Duration::from_millis(1) {
            self.refuse(format!("handler_send_timeout {name} {time:?}: at least 1ms"));
        }
        let time = self.checked_time("handler_send_timeout", time);
        self.change_handler("handler_send_timeout", name, |service| {
            service.send_timeout = Some(time);
        });
        self
    }

    /// Silence after which a client of the handler `name` is probed. Default:
    /// [`Builder::tcp_keepalive`].
    pub fn handler_tcp_keepalive(mut self, name: impl AsRef<str>, time: Duration) -> Builder<L> {
        let name = name.as_ref();
        let time = self.checked_time("handler_tcp_keepalive", time);
        self.change_handler("handler_tcp_keepalive", name, |service| {
            service.keep_alive = Some(time);
        });
        self
    }

    /// Silence after which a client is probed. Zero disables probes. Default: 2 h.
    pub fn tcp_keepalive(mut self, time: Duration) -> Builder<L> {
        self.setup.keep_alive = self.checked_time("tcp_keepalive", time);
        self
    }

    /// Time for open answers to finish when the server stops. Default: 10 s.
    pub fn drain_timeout(mut self, time: Duration) -> Builder<L> {
        self.setup.drain_timeout = self.checked_time("drain_timeout", time);
        self
    }
}

/// The operation of a server.
impl<L: Factories> Builder<L> {
    /// How signals are handled.
    pub fn signals(mut self, signals: Signals) -> Builder<L> {
        self.signals = signals;
        self
    }

    /// Calls `act` for each signal of this name, SIGHUP for example, on the thread that waits for
    /// signals. Not with [`Signals::Ignore`].
    pub(crate) fn on_signal(
        mut self,
        name: &'static str,
        act: impl Fn() + Send + 'static,
    ) -> Builder<L> {
        self.hooks.requests.push((name, Box::new(act)));
        self
    }

    /// Serves `/metrics`, `/healthz` and `/readyz` at `at`, through a kernel socket.
    pub fn admin(mut self, at: SocketAddr) -> Builder<L> {
        self.setup.admin = Some(at);
        self
    }

    /// Adds the counters of `snapshot` to the metrics of the server.
    pub fn metrics(mut self, snapshot: Arc<Snapshot>) -> Builder<L> {
        self.hooks.snapshots.push(snapshot);
        self
    }

    /// Calls `listens` for each address, before the first client can connect there.
    pub fn on_listen(mut self, listens: impl Fn(&Listening) -> Result<()> + 'static) -> Builder<L> {
        self.hooks.listens.push(Box::new(listens));
        self
    }

    /// Calls `maintain` when the server has started, and then once a second on the thread that
    /// calls [`Server::wait`]. An error ends the server with that reason.
    pub fn every_second(
        mut self,
        maintain: impl Fn(&Registry) -> Result<()> + Send + Sync + 'static,
    ) -> Builder<L> {
        self.hooks.every_second.push(Box::new(maintain));
        self
    }

    /// Serves until a signal or the failure of a worker. Returns the last counters.
    pub fn run(self) -> Result<Vec<Count>> {
        // The program `simoom` has more to log, and ends its log itself.
        let ends_log = !self.names_flags;
        let server = self.start()?;
        if ends_log { server.run() } else { server.run_and_go_on_logging() }
    }

    /// Starts serving, in the network namespace of the calling thread.
    pub fn start(mut self) -> Result<Server> {
        let names_flags = self.names_flags;
        let started = match self.wrong.take() {
            Some(error) => Err(error),
            None => self.start_checked(),
        };
        started.map_err(|error| if names_flags { error } else { naming_methods(error) })
    }

    fn start_checked(self) -> Result<Server> {
        let Builder { mut setup, factories, hooks, signals, cores, names_flags, .. } = self;
        setup.cores = chosen_cores(cores, &usable_cores()?)?;
        if setup.interface.is_none() {
            setup.default_to_loopback();
        }
        if setup.services.is_empty() {
            return Err(Error::usage("handler: none is given; add one"));
        }
        if !names_flags {
            setup.check_endpoints()?;
            setup.check_addresses()?;
            setup.check()?;
        }
        start(&setup, &factories, hooks, signals)
    }
}

impl<L> Builder<L> {
    /// Stores the first error until the server starts, so that calls can be chained.
    fn refuse(&mut self, text: String) {
        self.wrong.get_or_insert(Error::Usage(text));
    }

    fn check_name(&mut self, name: &str) {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(is_word) {
            self.refuse(format!("handler {name:?}: a name has 1 to 32 of a-z, 0-9 and _"));
        } else if name == crate::listening::ADMIN {
            self.refuse(format!("handler {name}: the admin endpoint has this name"));
        } else if self.setup.services.iter().any(|service| service.name == name) {
            self.refuse(format!(
                "handler {name}: added twice; give each handler a name of its own"
            ));
        }
    }

    fn checked_count(&mut self, option: &str, count: u32) -> u32 {
        let max = crate::config::CONNECTIONS_MAX;
        if !(1..=max).contains(&count) {
            self.refuse(format!("{option} {count}: from 1 to {max}"));
        }
        count
    }

    fn checked_time(&mut self, option: &str, time: Duration) -> Duration {
        if time > crate::config::TIMEOUT_MAX {
            self.refuse(format!("{option} {time:?}: at most 24h"));
        }
        time
    }
}

/// Replaces the flags of `simoom serve` in an error by the methods of [`Builder`], which have the
/// same names.
fn naming_methods(error: Error) -> Error {
    let rename = |text: String| {
        let text =
            text.replace("--http or --memcached", "--handler").replace("--http", "--handler");
        let mut parts = text.split("--");
        let mut renamed = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end =
                part.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(part.len());
            let (flag, rest) = part.split_at(end);
            renamed += &flag.replace('-', "_");
            renamed += rest;
        }
        renamed
    };
    match error {
        Error::Usage(text) => Error::Usage(rename(text)),
        Error::Failed(text) => Error::Failed(rename(text)),
    }
}

/// Endpoints of a handler: `80`, `"127.0.0.1:80"`, a [`SocketAddr`], an [`Endpoint`], or several of
/// them.
pub trait IntoEndpoints {
    /// The endpoints, or why they are invalid.
    fn into_endpoints(self) -> Result<Vec<Endpoint>, String>;
}

impl IntoEndpoints for Endpoint {
    fn into_endpoints(self) -> Result<Vec<Endpoint>, String> {
        Ok(vec![self])
    }
}

impl IntoEndpoints for u16 {
    fn into_endpoints(self) -> Result<Vec<Endpoint>, String> {
        Ok(vec![Endpoint { address: None, port: self }])
    }
}

impl IntoEndpoints for SocketAddr {
    fn into_endpoints(self) -> Result<Vec<Endpoint>, String> {
        Ok(vec![Endpoint { address: Some(self.ip()), port: self.port() }])
    }
}

impl IntoEndpoints for &str {
    fn into_endpoints(self) -> Result<Vec<Endpoint>, String> {
        crate::config::endpoint(self).map(|endpoint| vec![endpoint])
    }
}

impl<E: IntoEndpoints, const N: usize> IntoEndpoints for [E; N] {
    fn into_endpoints(self) -> Result<Vec<Endpoint>, String> {
        Vec::from(self).into_endpoints()
    }
}

impl<E: IntoEndpoints> IntoEndpoints for Vec<E> {
    fn into_endpoints(self) -> Result<Vec<Endpoint>, String> {
        let each: Result<Vec<_>, _> = self.into_iter().map(E::into_endpoints).collect();
        let all = each?.concat();
        if all.is_empty() { Err("no endpoint is given; give a port".into()) } else { Ok(all) }
    }
}

#[cfg(test)]
#[path = "builder_tests.rs"]
mod tests;
