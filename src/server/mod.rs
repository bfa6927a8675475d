//! A server: starts the parts in order, runs until it is told to stop, and stops them in reverse
//! order.
//!
//! A [`Builder`] creates a [`Server`] in these steps: shared memory is allocated, the memory plan
//! is checked, the device is opened, kernel sockets are bound, workers are started and traffic is
//! claimed. Kernel sockets listen last. [`Server::drain`] reverses the order. Workers drain while
//! their traffic is still claimed. After that the claims are removed, the workers leave, and the
//! program is detached. [`Server::wait`] reports a worker that fails; the process ends with that
//! reason, so that no queue is left unserved. [`watch`] checks for external changes.

mod addresses;
mod blindness;
mod builder;
mod change_log;
mod check;
mod claims;
mod factories;
mod health;
mod kernel;
mod late_addresses;
mod plan;
mod udp;
mod watch;
mod xdp;

pub(crate) use crate::kernel::udp::Socket;
pub(crate) use builder::UdpFactory;
pub use builder::{Builder, IntoEndpoints, Signals};
pub use factories::{Factories, Ports, With, WorkerInfo};

use crate::admin::{self, Admin};
use crate::app::contained::Contained;
use crate::config::Transport;
use crate::control::{Command, CommandSender};
use crate::error::{Error, Result};
use crate::handler::Handler;
use crate::kernel::Poller;
use crate::kernel::listener::ListenError;
use crate::limits;
use crate::listening::{self, Listeners, Listening, Via};
use crate::log;
use crate::metrics::{self, Count, Metric, Registry, Snapshot};
use crate::panics;
use crate::readiness::{Readiness, Reason};
use crate::setup::Setup;
use crate::setup::endpoints::ResolvedEndpoints;
use crate::setup::host::Host;
use crate::signals;
use crate::thread::Failure;
use af_xdp::Mode;
use claims::Claims;
use crossbeam_channel::{Receiver, Sender, never, select, tick};
use rustix::io::Errno;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use watch::Watch;

pub(crate) use watch::Events;

/// Interval at which the server checks whether all workers have ended.
const END_CHECK_PERIOD: Duration = Duration::from_millis(10);
/// Interval of the checks for external changes, which are noticed within 1 s.
const WATCH_PERIOD: Duration = Duration::from_millis(500);
/// Interval of publishing the counters that no worker publishes, and of store maintenance.
const PUBLISH_PERIOD: Duration = Duration::from_secs(1);

/// "1 queue", "2 queues".
fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn failed(failure: &Failure) -> Error {
    Error::failed(format!("worker {}: {}", failure.worker, failure.reason))
}

/// A running server. Dropping it without [`Server::drain`] resets all connections.
pub struct Server {
    setup: Setup,
    transport: String,
    addresses: Vec<SocketAddr>,
    udp: Vec<SocketAddr>,
    listeners: Listeners,
    failures: Receiver<Failure>,
    signals: Receiver<&'static str>,
    stops: (Sender<&'static str>, Receiver<&'static str>),
    workers: Vec<Running>,
    device: Option<Claims>,
    watch: Option<Watch>,
    every_second: Vec<Maintain>,
    registry: Registry,
    readiness: Arc<Readiness>,
    admin: Option<Admin>,
}

/// Ends [`Server::wait`] from any thread.
#[derive(Clone, Debug)]
pub struct Stopper(Sender<&'static str>);

impl Stopper {
    /// Makes [`Server::wait`] return, now or when it is called.
    pub fn stop(&self) {
        // Full: a stop is already pending. Disconnected: the server has ended.
        let _ = self.0.try_send("stop");
    }
}

/// Allocates memory that handlers share, of the given free bytes. Returns its size.
type Prepare = Box<dyn FnOnce(usize) -> Result<usize>>;
/// Called for each address before the first client can connect there.
type Listens = Box<dyn Fn(&Listening) -> Result<()>>;
/// Maintenance that no worker does.
type Maintain = Box<dyn Fn(&Registry) -> Result<()> + Send + Sync>;

/// Callbacks at the start and during the run of a server.
#[derive(Default)]
pub(crate) struct Hooks {
    prepare: Vec<(&'static str, Prepare)>,
    listens: Vec<Listens>,
    every_second: Vec<Maintain>,
    snapshots: Vec<Arc<Snapshot>>,
    udp: Option<UdpFactory>,
    requests: signals::Requests,
}

/// The thread of a worker and the sender of its commands.
struct Running {
    command_sender: CommandSender,
    thread: JoinHandle<()>,
    /// Set by an AF_XDP worker that has drained and waits for [`Command::Leave`].
    drained: Option<Arc<AtomicBool>>,
}

impl Running {
    /// Whether the worker has no open connection. A failed worker has drained.
    fn has_drained(&self) -> bool {
        let drained = self.drained.as_ref().is_some_and(|drained| drained.load(Ordering::Acquire));
        drained || self.thread.is_finished()
    }
}

/// Inputs that all workers of a server are created from.
struct Common<'a, L> {
    setup: &'a Setup,
    factories: &'a L,
    /// Memory that handlers share, in bytes.
    shared: Vec<(&'static str, usize)>,
    listens: Vec<Listens>,
    /// The lowest memory limit of the system, as it was before any allocation.
    bound: Option<limits::Bound>,
    /// The interfaces of this host, if one is named.
    host: Option<Host>,
    /// The endpoints of the services.
    endpoints: ResolvedEndpoints,
    /// Number of created applications.
    made: Cell<usize>,
    /// Published metrics by name.
    declared: RefCell<BTreeMap<&'static str, Metric>>,
    poller: Poller,
    failures: Sender<Failure>,
}

impl<L: Factories> Common<'_, L> {
    /// The next worker.
    fn worker(
        &self,
        core: Option<usize>,
        connections: usize,
        via: Via,
        command_sender: &CommandSender,
    ) -> WorkerInfo {
        let number = self.made.replace(self.made.get() + 1);
        WorkerInfo {
            number,
            workers: self.setup.workers(),
            core,
            connections,
            via,
            later: command_sender.later(),
        }
    }

    /// Declares published metrics. A name with two declarations is an error.
    fn declare(&self, metrics: impl IntoIterator<Item = Metric>) -> Result<()> {
        metrics::check(&mut self.declared.borrow_mut(), metrics).map_err(Error::Usage)
    }

    /// The handlers of the next worker.
    fn handlers(
        &self,
        ports: &Ports,
        core: Option<usize>,
        connections: usize,
        via: Via,
        command_sender: &CommandSender,
    ) -> Result<Contained<L::Handlers>> {
        let worker = self.worker(core, connections, via, command_sender);
        let handlers = Contained::new(self.factories.make(worker, ports)?);
        let mut metrics = Vec::new();
        handlers.publish(&mut |metric, _| metrics.push(*metric));
        self.declare(metrics)?;
        Ok(handlers)
    }
}

/// The interfaces of this host, if one is named, and the endpoints of the services.
fn resolve_endpoints(setup: &Setup) -> Result<(Option<Host>, ResolvedEndpoints)> {
    let around = |name: &String| {
        let mut host = Host::around(name)
            .map_err(|error| Error::about_named(&error, format!("--interface {name}: {error}")))?;
        if !setup.tunnels.is_empty() {
            host.adopt(&setup.addresses);
        }
        Ok::<_, Error>(host)
    };
    let host = setup.interface.as_ref().map(around).transpose()?;
    let endpoints = ResolvedEndpoints::of(setup, host.as_ref())?;
    for address in host.iter().flat_map(|host| endpoints.off_link(host)) {
        tracing::warn!(
            %address, interface = setup.interface,
            "--address: in none of the interface's networks; clients reach it only by a route to this host"
        );
    }
    Ok((host, endpoints))
}

/// Starts a server, in the network namespace of the calling thread.
fn start<L: Factories>(
    setup: &Setup,
    factories: &L,
    mut hooks: Hooks,
    signals: Signals,
) -> Result<Server> {
    panics::install();
    let (signals, starting) = match signals {
        Signals::Drain => {
            let requests = std::mem::take(&mut hooks.requests);
            signals::watch_start(requests).map(|(signals, starting)| (signals, Some(starting)))?
        }
        Signals::Ignore => (never(), None),
    };
    let (failures, failed) = crossbeam_channel::unbounded();
    let mut server = Server {
        setup: setup.clone(),
        transport: String::new(),
        addresses: Vec::new(),
        udp: Vec::new(),
        listeners: Listeners::default(),
        failures: failed,
        signals,
        stops: crossbeam_channel::bounded(1),
        workers: Vec::new(),
        device: None,
        watch: None,
        every_second: Vec::new(),
        registry: Registry::default(),
        readiness: Arc::new(Readiness::starting()),
        admin: None,
    };
    // First step: a probe can ask whether the server is still starting.
    let started = server
        .start_admin(setup)
        .and_then(|()| server.start_services(setup, factories, hooks, failures));
    match started {
        Ok(()) => {
            server.readiness.clear(Reason::Starting);
            drop(starting);
            Ok(server)
        }
        Err(error) => {
            // Stops the started workers. The first error is reported.
            let _ = server.stop();
            Err(error)
        }
    }
}

impl Server {
    /// Allocates shared memory, checks the memory plan and starts all workers.
    fn start_services<L: Factories>(
        &mut self,
        setup: &Setup,
        factories: &L,
        hooks: Hooks,
        failures: Sender<Failure>,
    ) -> Result<()> {
        let Hooks { prepare, listens, every_second, snapshots, udp, .. } = hooks;
        // Shared memory alone may exceed the limit of the system: check it before the plan is
        // complete.
        let bound = limits::tightest(plan::threads(setup));
        let left_bytes = bound.as_ref().map(limits::Bound::left_bytes);
        let limit_bytes = setup.memory_limit_bytes.into_iter().chain(left_bytes).min();
        let limit_bytes =
            limit_bytes.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let taken = prepare.into_iter().map(|(what, take)| Ok((what, take(limit_bytes)?)));
        let shared = taken.collect::<Result<Vec<_>>>()?;
        let poller = kernel::poller(setup.transport)?;
        let (host, endpoints) = resolve_endpoints(setup)?;
        let made = Cell::new(0);
        let declared = RefCell::new(metrics::catalog::declarations());
        let common = Common {
            setup,
            factories,
            shared,
            listens,
            bound,
            host,
            endpoints,
            made,
            declared,
            poller,
            failures,
        };
        self.start_transport(&common)?;
        self.start_udp(&common, udp)?;
        for snapshot in snapshots {
            common.declare(snapshot.read().into_iter().map(|(metric, _)| *metric))?;
            self.registry.add(snapshot);
        }
        self.every_second = every_second;
        self.maintain()
    }

    /// Announces an address that is served from now on.
    fn listens<L>(&self, common: &Common<'_, L>, listening: Listening) -> Result<()> {
        self.listeners.add(listening);
        common.listens.iter().try_for_each(|listens| listens(&listening))
    }

    /// Starts the best transport that works, and logs the choice and its reason in one line.
    fn start_transport<L: Factories>(&mut self, common: &Common<'_, L>) -> Result<()> {
        let Some(interface) = common.setup.interface.as_deref() else {
            return self.start_kernel(common);
        };
        let opened = match common.setup.transport {
            Transport::Epoll | Transport::IoUring => return self.start_kernel(common),
            Transport::Xdp => xdp::open(common, interface)?,
            Transport::Auto => match xdp::open_if_possible(common, interface)? {
                xdp::Choice::Xdp(opened) => *opened,
                xdp::Choice::KernelSockets(reason) => {
                    tracing::warn!(interface, reason, "serving through kernel sockets, not AF_XDP");
                    return self.start_kernel(common);
                }
            },
        };
        self.start_xdp(common, opened)
    }

    /// Waits for a signal or a [`Stopper`], and returns its name. Fails if a worker fails or an
    /// external change ends the server. Runs the maintenance that no worker does. Call it in the
    /// network namespace that the server was started in.
    pub fn wait(&mut self) -> Result<&'static str> {
        let policy = self.setup.on_interface_change;
        let mut watch = self.watch.take().unwrap_or_else(|| {
            Watch::new(policy, self.readiness.clone(), &self.registry, &self.setup.services)
        });
        let outcome = self.wait_watching(&mut watch);
        self.watch = Some(watch);
        outcome
    }

    fn wait_watching(&mut self, watch: &mut Watch) -> Result<&'static str> {
        let (publish, look) = (tick(PUBLISH_PERIOD), tick(WATCH_PERIOD));
        loop {
            select! {
                recv(self.signals) -> signal => return Ok(signal.unwrap_or_default()),
                recv(self.stops.1) -> stop => return Ok(stop.unwrap_or_default()),
                recv(self.failures) -> failure => return Err(match failure {
                    Ok(failure) => failed(&failure),
                    Err(_) => Error::failed("all workers ended unexpectedly"),
                }),
                recv(publish) -> _ => self.publish()?,
                recv(look) -> _ => watch.check(self.device.as_mut(), &self.registry)?,
            }
        }
    }

    /// Serves until [`Server::wait`] returns, then drains within the drain timeout. Returns the
    /// last counters, when the log is written or a second has passed.
    pub fn run(self) -> Result<Vec<Count>> {
        let outcome = self.run_and_go_on_logging();
        // The thread that writes the log would end with the process.
        log::flush();
        outcome
    }

    pub(crate) fn run_and_go_on_logging(mut self) -> Result<Vec<Count>> {
        tracing::info!(transport = %self.transport, addresses = ?self.addresses, "serving");
        let outcome = self.wait();
        let limit = self.setup.drain_timeout;
        match &outcome {
            Ok(signal) => tracing::info!(signal, ?limit, "draining"),
            Err(error) => tracing::error!("{error}; stopping"),
        }
        let totals = self.drain(limit)?;
        let of_http = |name: &str| matches!(name, "http_requests" | "router_requests");
        let requests = totals.iter().filter(|(metric, _)| of_http(metric.name));
        let requests = requests.map(|(_, requests)| *requests).reduce(|sum, more| sum + more);
        tracing::info!(requests, "stopped");
        outcome.map(|_| totals)
    }

    /// Publishes counters. An error means that the shared state of handlers is unreliable.
    fn publish(&self) -> Result<()> {
        panics::log_suppressed();
        if let Some(device) = &self.device {
            device.publish();
        }
        self.maintain()
    }

    fn maintain(&self) -> Result<()> {
        self.every_second.iter().try_for_each(|maintain| maintain(&self.registry))
    }

    fn start_admin(&mut self, setup: &Setup) -> Result<()> {
        if let Some(address) = setup.admin {
            let cannot = |error: io::Error| match Errno::from_io_error(&error) {
                Some(source) => {
                    Error::failed(format!("--admin {address}: {}", ListenError { address, source }))
                }
                None => Error::failed(format!("--admin {address}: {error}")),
            };
            let (registry, readiness) = (self.registry.clone(), self.readiness.clone());
            let listeners = self.listeners.clone();
            let source = admin::Source { registry, readiness, listeners, panics: Arc::default() };
            let admin = self.admin.insert(Admin::start(address, source).map_err(cannot)?);
            let (service, address) = (listening::ADMIN, admin.address());
            self.listeners.add(Listening { service, protocol: "tcp", address, via: Via::Kernel });
        }
        Ok(())
    }

    /// The counters of all workers, summed, and those of the steering program.
    pub fn totals(&self) -> Vec<Count> {
        // An error of the store cannot be handled here: the process is ending, or a reader asks.
        let _ = self.publish();
        self.registry.totals()
    }

    /// TCP addresses of the server.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// UDP addresses of memcached, if any.
    pub fn udp(&self) -> &[SocketAddr] {
        &self.udp
    }

    /// Description of the transport: "AF_XDP, generic mode, 1 queue on 1 core".
    pub fn transport(&self) -> &str {
        &self.transport
    }

    /// Endpoints of each handler, with the transport.
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// A handle that ends [`Server::wait`] from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stops.0.clone())
    }

    /// Mode of the AF_XDP sockets, if there are any.
    pub fn xdp_mode(&self) -> Option<Mode> {
        self.device.as_ref().map(Claims::mode)
    }

    /// Address of `/metrics`, if it is served.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Drains as [`Server::drain`] does, without time for open answers.
    pub fn stop(self) -> Result<Vec<Count>> {
        self.drain(Duration::ZERO)
    }

    /// Stops accepting, lets open answers finish for at most `limit`, closes and detaches. A signal
    /// ends the drain at once, unless signals are ignored. Returns the last counters.
    pub fn drain(mut self, limit: Duration) -> Result<Vec<Count>> {
        self.readiness.set(Reason::Draining);
        self.listeners.close();
        self.drain_all(limit);
        let failure = self.await_workers();
        let mut outcome = Ok(());
        for worker in self.workers.drain(..) {
            if worker.thread.join().is_err() {
                outcome = Err(Error::failed("a worker thread could not be joined"));
            }
        }
        let totals = self.totals();
        if let Some(failure) = failure.or_else(|| self.failures.try_recv().ok()) {
            outcome = Err(failed(&failure));
        }
        outcome.map(|()| totals)
    }

    fn drain_all(&self, limit: Duration) {
        let drain = |worker: &Running| worker.command_sender.send(Command::Drain(limit));
        self.workers.iter().for_each(drain);
    }

    /// Returns the traffic of the interface to the kernel after all AF_XDP workers have drained,
    /// then lets them leave. Until then each worker refuses new connections and passes on segments
    /// of other workers. Returns whether that is done.
    fn release_queues(&mut self) -> bool {
        let mut queues = self.workers.iter().filter(|worker| worker.drained.is_some());
        if !queues.all(Running::has_drained) {
            return false;
        }
        if let Some(device) = &mut self.device {
            device.release();
        }
        let queues = self.workers.iter().filter(|worker| worker.drained.is_some());
        queues.for_each(|worker| worker.command_sender.send(Command::Leave));
        true
    }

    /// Waits until all workers have ended. Publishes counters and handles signals meanwhile.
    /// Returns the first failure.
    fn await_workers(&mut self) -> Option<Failure> {
        let (publish, look) = (tick(PUBLISH_PERIOD), tick(END_CHECK_PERIOD));
        let (mut signals, mut first, mut released) = (self.signals.clone(), None, false);
        while !self.workers.iter().all(|worker| worker.thread.is_finished()) {
            released = released || self.release_queues();
            select! {
                recv(self.failures) -> failure => match failure {
                    Ok(failure) => drop(first.get_or_insert(failure)),
                    // No worker is left that could fail.
                    Err(_) => return first,
                },
                recv(signals) -> signal => match signal {
                    Ok(signal) => {
                        tracing::warn!(signal, "ending the drain at once");
                        self.drain_all(Duration::ZERO);
                    }
                    Err(_) => signals = never(),
                },
                // All are draining already.
                recv(publish) -> _ => drop(self.publish()),
                recv(look) -> _ => {}
            }
        }
        first
    }
}
