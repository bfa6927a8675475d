//! `simoom serve`: the parts joined, run until told to stop, and taken apart again in order.
//!
//! [`start`] makes a [`Server`] of a checked configuration: content is loaded, the memory plan is
//! checked, the device is opened, kernel sockets are bound, workers are started, traffic is
//! claimed, and only then do the kernel sockets listen. [`Server::stop`] goes the other way:
//! workers drain while their traffic is still claimed; when all have drained the claims are
//! removed, the workers leave, and the program comes off. A worker that fails is reported by
//! [`Server::failures`]; the process goes down with that reason rather than leave a queue unserved.
//! [`watch`] looks at what changes outside meanwhile.

pub(crate) mod address_check;
mod change_log;
mod health;
pub(crate) mod host;
mod kernel;
pub(crate) mod places;
mod plan;
pub(crate) mod signals;
mod stored;
mod udp;
mod watch;
pub(crate) mod xdp;

use crate::admin::{self, Admin};
use crate::app::contained::Contained;
use crate::app::content::{self, Content};
use crate::app::memcached::{self, Memcached};
use crate::app::{Service, Services, http};
use crate::clock;
use crate::config::{self, InterfaceChange, Transport};
use crate::control::{Order, Orders};
use crate::error::{Error, Result};
use crate::kernel::Poller;
use crate::kernel::listener::ListenError;
use crate::limits;
use crate::listening::{self, Listeners, Listening, Via};
use crate::metrics::{Board, Count, Sheet};
use crate::panics;
use crate::readiness::{Readiness, Reason};
use crate::store::Store;
use crate::thread::Failure;
use af_xdp::Mode;
use crossbeam_channel::{Receiver, Sender, never, select, tick};
use host::Host;
use places::Places;
use rustix::io::Errno;
use simoom_io::Duration;
use std::cell::{Cell, OnceCell};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use stored::Stored;
use watch::Watch;

/// How often it is looked whether all workers have ended, if they do not say so themselves.
const END_CHECK_PERIOD: std::time::Duration = std::time::Duration::from_millis(10);
/// How often it is looked whether something has changed outside: noticed within a second.
const WATCH_PERIOD: std::time::Duration = std::time::Duration::from_millis(500);
/// How often the counters are read that no worker publishes, and the store is looked after.
const PUBLISH_PERIOD: std::time::Duration = std::time::Duration::from_secs(1);

/// Serves as `config` says, until SIGTERM, SIGINT or SIGQUIT.
pub fn run(config: &config::Serve) -> Result<()> {
    let (signals, starting) = signals::watch_start()?;
    let mut server = start(config)?;
    drop(starting);
    tracing::info!(transport = %server.transport, addresses = ?server.addresses, "serving");
    let outcome = server.wait(&signals, config.on_interface_change);
    match &outcome {
        Ok(signal) => tracing::info!(signal, limit = ?config.timeouts.drain, "draining"),
        Err(error) => tracing::error!("{error}; stopping"),
    }
    let totals = server.drain(config.timeouts.drain, &signals)?;
    tracing::info!(requests = total(&totals, "http_requests"), "stopped");
    outcome.map(drop)
}

/// One counter of many.
fn total(counts: &[Count], name: &str) -> u64 {
    counts.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
}

/// "1 queue", "2 queues".
fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn failed(failure: &Failure) -> Error {
    Error::failed(format!("worker {}: {}", failure.worker, failure.reason))
}

/// Workers at work.
pub struct Server {
    /// Which transport serves, in words: "AF_XDP, generic mode, 1 queue".
    pub transport: String,
    /// Where clients reach it.
    pub addresses: Vec<SocketAddr>,
    /// Where memcached is reached over UDP, if it is.
    pub udp: Vec<SocketAddr>,
    /// Where everything is reached.
    pub listeners: Listeners,
    /// Told when a worker ends before it should.
    pub failures: Receiver<Failure>,
    workers: Vec<Running>,
    device: Option<xdp::Claims>,
    store: Option<Stored>,
    board: Board,
    readiness: Arc<Readiness>,
    admin: Option<Admin>,
}

/// A worker's thread and the way to give it orders.
struct Running {
    orders: Orders,
    thread: JoinHandle<()>,
    /// Set by a worker over AF_XDP that has drained and waits for [`Order::Leave`].
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
struct Common<'a> {
    config: &'a config::Serve,
    /// The limit of the system that leaves the least memory, as it was before any was taken.
    bound: Option<limits::Bound>,
    content: Arc<Content>,
    /// The interfaces here, if one is named.
    host: Option<Host>,
    /// Where the services are reached.
    places: Places,
    /// Made with the first application that serves memcached, when the memory plan has been
    /// checked.
    memcached: OnceCell<Arc<memcached::Shared>>,
    /// How many applications were made.
    made: Cell<usize>,
    poller: Poller,
    failures: Sender<Failure>,
}

impl Common<'_> {
    /// Whether the rest is served if this cannot be.
    fn is_optional(&self, service: Service) -> bool {
        service == Service::Memcached
            && self.config.memcached.is_some_and(|memcached| memcached.optional)
    }

    /// A fresh application for one worker, which holds so many connections.
    fn services(
        &self,
        ports: &[(u16, Service)],
        connections: usize,
    ) -> Result<Contained<Services>> {
        let worker = self.made.replace(self.made.get() + 1);
        let memcached = match self.config.memcached {
            Some(config) if ports.iter().any(|(_, service)| *service == Service::Memcached) => {
                Some(Memcached::new(self.memcached(config)?, worker, connections))
            }
            _ => None,
        };
        let config::Timeouts { header, idle, .. } = self.config.timeouts;
        let timeouts = http::Timeouts {
            head: Duration::from(header),
            idle: Duration::from(idle),
            ..Default::default()
        };
        let options = http::Options { timeouts, ..http::Options::default() };
        Ok(Contained::new(Services::new(ports, self.content.clone(), options, memcached)))
    }

    /// These are the addresses that memcached is served on.
    fn tell_listeners(&self, addresses: &[SocketAddr], over_udp: bool) -> Result<()> {
        let Some(config) = self.config.memcached.filter(|_| !addresses.is_empty()) else {
            return Ok(());
        };
        let shared = self.memcached(config)?;
        addresses.iter().for_each(|address| {
            shared.listens(memcached::Listening { address: *address, over_udp });
        });
        Ok(())
    }

    /// What the memcached handlers share.
    fn memcached(&self, config: config::Memcached) -> Result<Arc<memcached::Shared>> {
        if let Some(shared) = self.memcached.get() {
            return Ok(shared.clone());
        }
        // One for each core, one beside them for clients that do not come through the interface,
        // one for UDP.
        let threads = self.config.cores.len();
        let workers = threads + 1 + usize::from(config.udp.is_some());
        let options = memcached::Options {
            port: config.endpoint.port,
            udp_port: config.udp.map_or(0, |udp| udp.port),
            workers,
            threads,
            connections: self.config.connection_limits(self.config.connections, 1)(
                Service::Memcached,
            ),
            memory_bytes: config.memory_bytes,
            item_max_bytes: config.item_max_bytes,
            idle_seconds: config.idle.as_millis().div_ceil(1000) as u32,
            ..memcached::Options::default()
        };
        let store = Store::new(&config.store(workers))?;
        let shared = memcached::Shared::new(store, options, clock::steady_seconds());
        Ok(self.memcached.get_or_init(|| shared).clone())
    }
}

/// The interfaces here, if `config` names one, and where its services are reached.
fn places(config: &config::Serve) -> Result<(Option<Host>, Places)> {
    let around = |name: &String| {
        Host::around(name).map_err(|error| Error::failed(format!("--interface {name}: {error}")))
    };
    let host = config.interface.as_ref().map(around).transpose()?;
    let places = Places::of(config, host.as_ref())?;
    for address in host.iter().flat_map(|host| places.off_link(host)) {
        tracing::warn!(
            %address, interface = config.interface,
            "--address: in none of the interface's networks; clients reach it only by a route to this host"
        );
    }
    Ok((host, places))
}

/// Starts serving as `config` says, in the network namespace of the calling thread.
pub fn start(config: &config::Serve) -> Result<Server> {
    panics::install();
    let (failures, failed) = crossbeam_channel::unbounded();
    let mut server = Server {
        transport: String::new(),
        addresses: Vec::new(),
        udp: Vec::new(),
        listeners: Listeners::default(),
        failures: failed,
        workers: Vec::new(),
        device: None,
        store: None,
        board: Board::default(),
        readiness: Arc::new(Readiness::starting()),
        admin: None,
    };
    // First of all, so that it can be asked whether the server is still starting.
    let started = server.start_admin(config).and_then(|()| server.start_services(config, failures));
    match started {
        Ok(()) => {
            server.readiness.clear(Reason::Starting);
            Ok(server)
        }
        Err(error) => {
            // What was started is stopped; the reason to report is the first.
            let _ = server.stop(std::time::Duration::ZERO);
            Err(error)
        }
    }
}

impl Server {
    /// Loads the content, checks the memory plan and starts all workers.
    fn start_services(&mut self, config: &config::Serve, failures: Sender<Failure>) -> Result<()> {
        // Content alone may be more than the system allows: it is refused before the plan is known.
        let bound = limits::tightest(plan::threads(config));
        let left_bytes = bound.as_ref().map(limits::Bound::left_bytes);
        let limit_bytes = config.memory_limit_bytes.into_iter().chain(left_bytes).min();
        let limit_bytes =
            limit_bytes.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let settings = content::Settings { limit_bytes, dotfiles: config.dotfiles };
        let content = Content::load(config.root.as_deref(), settings)
            .map_err(|error| Error::usage(error.to_string()))?;
        let poller = kernel::poller(config.transport)?;
        let (content, memcached, made) = (Arc::new(content), OnceCell::new(), Cell::new(0));
        let (host, places) = places(config)?;
        let common =
            Common { config, bound, content, host, places, memcached, made, poller, failures };
        self.start_transport(&common)?;
        self.start_udp(&common)?;
        self.adopt_store(&common)
    }

    /// Takes the best transport that works, and says in one line which and why not a better one.
    fn start_transport(&mut self, common: &Common<'_>) -> Result<()> {
        let config = common.config;
        let Some(interface) = config.interface.as_deref() else { return self.start_kernel(common) };
        let opened = match config.transport {
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

    /// Waits for a signal, which it names, or for a worker's failure, or for a change outside that
    /// ends the server; meanwhile publishes what no worker does. In the network namespace that the
    /// server was started in.
    fn wait(
        &mut self,
        signals: &Receiver<&'static str>,
        policy: InterfaceChange,
    ) -> Result<&'static str> {
        let (publish, look) = (tick(PUBLISH_PERIOD), tick(WATCH_PERIOD));
        let mut watch = Watch::new(policy, self.readiness.clone(), &self.board);
        loop {
            select! {
                recv(signals) -> signal => return Ok(signal.unwrap_or_default()),
                recv(self.failures) -> failure => return Err(match failure {
                    Ok(failure) => failed(&failure),
                    Err(_) => Error::failed("all workers have ended"),
                }),
                recv(publish) -> _ => self.publish()?,
                recv(look) -> _ => watch.look(self.device.as_mut(), &self.board)?,
            }
        }
    }

    /// An error says that the store can no longer be relied on.
    fn publish(&self) -> Result<()> {
        panics::log_suppressed();
        if let Some(device) = &self.device {
            device.publish();
        }
        self.store.as_ref().map_or(Ok(()), Stored::look_after)
    }

    /// The store outlives its makers' part of the start.
    fn adopt_store(&mut self, common: &Common<'_>) -> Result<()> {
        let Some(shared) = common.memcached.get() else { return Ok(()) };
        let sheet = Sheet::new("store");
        self.board.add(sheet.clone());
        self.store.insert(Stored::new(shared.store().clone(), sheet)).look_after()
    }

    fn start_admin(&mut self, config: &config::Serve) -> Result<()> {
        if let Some(address) = config.admin {
            let cannot = |error: io::Error| match Errno::from_io_error(&error) {
                Some(source) => {
                    Error::failed(format!("--admin {address}: {}", ListenError { address, source }))
                }
                None => Error::failed(format!("--admin {address}: {error}")),
            };
            let (board, readiness) = (self.board.clone(), self.readiness.clone());
            let listeners = self.listeners.clone();
            let source = admin::Source { board, readiness, listeners, panics: Arc::default() };
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
        self.board.totals()
    }

    /// How the AF_XDP sockets are bound, if there are any.
    pub fn xdp_mode(&self) -> Option<Mode> {
        self.device.as_ref().map(xdp::Claims::mode)
    }

    /// Where `/metrics` is served, if it is.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Stops accepting, lets open responses finish for at most `limit`, closes, detaches. Returns
    /// the last counters.
    pub fn stop(self, limit: std::time::Duration) -> Result<Vec<Count>> {
        self.drain(limit, &never())
    }

    /// As [`Server::stop`]. The next one of `signals` ends the drain at once.
    fn drain(
        mut self,
        limit: std::time::Duration,
        signals: &Receiver<&'static str>,
    ) -> Result<Vec<Count>> {
        self.readiness.set(Reason::Draining);
        self.listeners.close();
        self.order(Order::Drain(limit));
        let failure = self.await_workers(signals);
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

    fn order(&self, order: Order) {
        self.workers.iter().for_each(|worker| worker.orders.send(order));
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
        queues.for_each(|worker| worker.orders.send(Order::Leave));
        true
    }

    /// Waits until all workers have ended; meanwhile publishes what no worker does, and looks at
    /// signals. Returns the first failure.
    fn await_workers(&mut self, signals: &Receiver<&'static str>) -> Option<Failure> {
        let (publish, look) = (tick(PUBLISH_PERIOD), tick(END_CHECK_PERIOD));
        let (mut signals, mut first, mut released) = (signals.clone(), None, false);
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
                        self.order(Order::Drain(std::time::Duration::ZERO));
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
