//! A server: the parts joined, run until told to stop, and taken apart again in order.
//!
//! A [`Builder`] makes a [`Server`]: shared memory is taken, the memory plan is checked, the device
//! is opened, kernel sockets are bound, workers are started, traffic is claimed, and only then do
//! the kernel sockets listen. [`Server::drain`] goes the other way: workers drain while their
//! traffic is still claimed; when all have drained the claims are removed, the workers leave, and
//! the program comes off. A worker that fails is reported by [`Server::wait`]; the process goes
//! down with that reason rather than leave a queue unserved. [`watch`] looks at what changes
//! outside meanwhile.

pub(crate) mod address_check;
mod builder;
mod change_log;
mod check;
mod factories;
mod health;
pub(crate) mod host;
mod kernel;
pub(crate) mod places;
mod plan;
pub(crate) mod setup;
pub(crate) mod signals;
mod udp;
mod watch;
pub(crate) mod xdp;

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
use crate::metrics::{self, Count, Metric, Registry, Snapshot};
use crate::panics;
use crate::readiness::{Readiness, Reason};
use crate::thread::Failure;
use af_xdp::Mode;
use crossbeam_channel::{Receiver, Sender, never, select, tick};
use host::Host;
use places::Places;
use rustix::io::Errno;
use setup::Setup;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use watch::Watch;

pub(crate) use watch::Events;

/// The option of memcached over UDP.
pub(crate) const UDP_OPTION: &str = "--memcached-udp";
/// How often it is looked whether all workers have ended, if they do not say so themselves.
const END_CHECK_PERIOD: std::time::Duration = std::time::Duration::from_millis(10);
/// How often it is looked whether something has changed outside: noticed within a second.
const WATCH_PERIOD: std::time::Duration = std::time::Duration::from_millis(500);
/// How often the counters are read that no worker publishes, and the store is looked after.
const PUBLISH_PERIOD: std::time::Duration = std::time::Duration::from_secs(1);

/// "1 queue", "2 queues".
fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn failed(failure: &Failure) -> Error {
    Error::failed(format!("worker {}: {}", failure.worker, failure.reason))
}

/// Workers at work. Dropped without [`Server::drain`], it cuts all connections off.
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
    device: Option<xdp::Claims>,
    watch: Option<Watch>,
    every_second: Vec<Maintain>,
    registry: Registry,
    readiness: Arc<Readiness>,
    admin: Option<Admin>,
}

/// Ends the wait for a server, from any thread.
#[derive(Clone, Debug)]
pub struct Stopper(Sender<&'static str>);

impl Stopper {
    /// Has [`Server::wait`] return, now or when it is called.
    pub fn stop(&self) {
        // Full: it is told already. Without a receiver: the server is gone.
        let _ = self.0.try_send("stop");
    }
}

/// Takes memory that handlers share, of so many bytes left; says how many it took.
type Prepare = Box<dyn FnOnce(usize) -> Result<usize>>;
/// Is told of an address before the first client can connect there.
type Listens = Box<dyn Fn(&Listening) -> Result<()>>;
/// Looks after what no worker does.
type Maintain = Box<dyn Fn(&Registry) -> Result<()> + Send + Sync>;

/// What is called at the turning points of a server.
#[derive(Default)]
pub(crate) struct Hooks {
    prepare: Vec<(&'static str, Prepare)>,
    listens: Vec<Listens>,
    every_second: Vec<Maintain>,
    snapshots: Vec<Arc<Snapshot>>,
    udp: Option<UdpFactory>,
}

/// A worker's thread and the way to give it orders.
struct Running {
    command_sender: CommandSender,
    thread: JoinHandle<()>,
    /// Set by a worker over AF_XDP that has drained and waits for [`Command::Leave`].
    drained: Option<Arc<AtomicBool>>,
}

impl Running {
    /// Whether nothing is open there any more. A worker that has failed has nothing left to wait
    /// for.
    fn has_drained(&self) -> bool {
        let drained = self.drained.as_ref().is_some_and(|drained| drained.load(Ordering::Acquire));
        drained || self.thread.is_finished()
    }
}

/// What all workers of a server are made from.
struct Common<'a, L> {
    setup: &'a Setup,
    factories: &'a L,
    /// Memory that handlers share, in bytes.
    shared: Vec<(&'static str, usize)>,
    listens: Vec<Listens>,
    /// The limit of the system that leaves the least memory, as it was before any was taken.
    bound: Option<limits::Bound>,
    /// The interfaces here, if one is named.
    host: Option<Host>,
    /// Where the services are reached.
    places: Places,
    /// How many applications were made.
    made: Cell<usize>,
    /// What is published, by name.
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

    /// Notes what is published. A name that has another declaration already is an error.
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

/// The interfaces here, if one is named, and where the services are reached.
fn places(setup: &Setup) -> Result<(Option<Host>, Places)> {
    let around = |name: &String| {
        Host::around(name).map_err(|error| Error::failed(format!("--interface {name}: {error}")))
    };
    let host = setup.interface.as_ref().map(around).transpose()?;
    let places = Places::of(setup, host.as_ref())?;
    for address in host.iter().flat_map(|host| places.off_link(host)) {
        tracing::warn!(
            %address, interface = setup.interface,
            "--address: in none of the interface's networks; clients reach it only by a route to this host"
        );
    }
    Ok((host, places))
}

/// Starts a server, in the network namespace of the calling thread.
fn start<L: Factories>(
    setup: &Setup,
    factories: &L,
    hooks: Hooks,
    signals: Signals,
) -> Result<Server> {
    panics::install();
    let (signals, starting) = match signals {
        Signals::Drain => {
            signals::watch_start().map(|(signals, starting)| (signals, Some(starting)))?
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
    // First of all, so that it can be asked whether the server is still starting.
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
            // What was started is stopped; the reason to report is the first.
            let _ = server.stop();
            Err(error)
        }
    }
}

impl Server {
    /// Takes shared memory, checks the memory plan and starts all workers.
    fn start_services<L: Factories>(
        &mut self,
        setup: &Setup,
        factories: &L,
        hooks: Hooks,
        failures: Sender<Failure>,
    ) -> Result<()> {
        let Hooks { prepare, listens, every_second, snapshots, udp } = hooks;
        // What is shared may alone be more than the system allows: it is refused before the plan is
        // known.
        let bound = limits::tightest(plan::threads(setup));
        let left_bytes = bound.as_ref().map(limits::Bound::left_bytes);
        let limit_bytes = setup.memory_limit_bytes.into_iter().chain(left_bytes).min();
        let limit_bytes =
            limit_bytes.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let taken = prepare.into_iter().map(|(what, take)| Ok((what, take(limit_bytes)?)));
        let shared = taken.collect::<Result<Vec<_>>>()?;
        let poller = kernel::poller(setup.transport)?;
        let (host, places) = places(setup)?;
        let made = Cell::new(0);
        let declared = RefCell::new(metrics::catalog::declarations());
        let common = Common {
            setup,
            factories,
            shared,
            listens,
            bound,
            host,
            places,
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

    /// A place where clients are served from now on.
    fn listens<L>(&self, common: &Common<'_, L>, listening: Listening) -> Result<()> {
        self.listeners.add(listening);
        common.listens.iter().try_for_each(|listens| listens(&listening))
    }

    /// Takes the best transport that works, and says in one line which and why not a better one.
    fn start_transport<L: Factories>(&mut self, common: &Common<'_, L>) -> Result<()> {
        let Some(interface) = common.setup.interface.as_deref() else {
            return self.start_kernel(common);
        };
        let opened = match common.setup.transport {
            Transport::Epoll | Transport::IoUring => return self.start_kernel(common),
            Transport::Xdp => xdp::open(common, interface)?,
            Transport::Auto => match xdp::open_if_possible(common, interface)? {
                Ok(opened) => opened,
                Err(reason) => {
                    tracing::warn!(interface, reason, "serving through kernel sockets, not AF_XDP");
                    return self.start_kernel(common);
                }
            },
        };
        self.start_xdp(common, opened)
    }

    /// Waits until the server is to end: for a signal or a [`Stopper`], which it names, or for a
    /// worker's failure, or for a change outside that ends the server. Meanwhile it looks after
    /// what no worker does: call it in the network namespace that the server was started in.
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
                    Err(_) => Error::failed("all workers have ended"),
                }),
                recv(publish) -> _ => self.publish()?,
                recv(look) -> _ => watch.check(self.device.as_mut(), &self.registry)?,
            }
        }
    }

    /// Serves until the server is to end (see [`Server::wait`]), then drains, within the time that
    /// the builder was given. Returns the last counters.
    pub fn run(mut self) -> Result<Vec<Count>> {
        tracing::info!(transport = %self.transport, addresses = ?self.addresses, "serving");
        let outcome = self.wait();
        let limit = self.setup.drain_timeout;
        match &outcome {
            Ok(signal) => tracing::info!(signal, ?limit, "draining"),
            Err(error) => tracing::error!("{error}; stopping"),
        }
        let totals = self.drain(limit)?;
        let requests = totals.iter().find(|(name, _)| *name == "http_requests");
        tracing::info!(requests = requests.map(|(_, requests)| requests), "stopped");
        outcome.map(|_| totals)
    }

    /// An error says that what handlers share can no longer be relied on.
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
        // The process is ending, or a reader asks: there is nothing to be done about the store
        // here.
        let _ = self.publish();
        self.registry.totals()
    }

    /// Where clients reach the server over TCP.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where memcached is reached over UDP, if it is.
    pub fn udp(&self) -> &[SocketAddr] {
        &self.udp
    }

    /// Which transport serves, in words: "AF_XDP, generic mode, 1 queue on 1 core".
    pub fn transport(&self) -> &str {
        &self.transport
    }

    /// Where each handler is reached, and which way.
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// A way to end [`Server::wait`] from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stops.0.clone())
    }

    /// How the AF_XDP sockets are bound, if there are any.
    pub fn xdp_mode(&self) -> Option<Mode> {
        self.device.as_ref().map(xdp::Claims::mode)
    }

    /// Where `/metrics` is served, if it is.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// As [`Server::drain`], without time for open answers.
    pub fn stop(self) -> Result<Vec<Count>> {
        self.drain(std::time::Duration::ZERO)
    }

    /// Stops accepting, lets open answers finish for at most `limit`, closes, detaches. A signal
    /// ends that at once, unless signals are ignored. Returns the last counters.
    pub fn drain(mut self, limit: std::time::Duration) -> Result<Vec<Count>> {
        self.readiness.set(Reason::Draining);
        self.listeners.close();
        self.send_to_all(Command::Drain(limit));
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

    fn send_to_all(&self, command: Command) {
        self.workers.iter().for_each(|worker| worker.command_sender.send(command));
    }

    /// Once all workers over AF_XDP have drained: leaves the interface's traffic to the kernel,
    /// then lets them leave. Until then each still refuses what its queues receive, and passes on
    /// what belongs to another one. Returns whether that is done.
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

    /// Waits until all workers have ended; meanwhile publishes what no worker does, and looks at
    /// signals. Returns the first failure.
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
                        self.send_to_all(Command::Drain(std::time::Duration::ZERO));
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
