//! `simoom serve`: the parts joined, run until told to stop, and taken apart again in order.
//!
//! [`start`] makes a [`Server`] of a checked configuration: content is loaded, the memory plan is checked, the device
//! is opened, workers are started, and only then is traffic claimed. [`Server::stop`] goes the other way: workers
//! drain while their traffic is still claimed, then the program comes off. A worker that fails is reported by
//! [`Server::failed`]; the process goes down with that reason rather than leave a queue unserved.

pub(crate) mod address_check;
mod kernel;
mod plan;
pub(crate) mod signals;
mod udp;
pub(crate) mod xdp;

use crate::admin::Admin;
use crate::af_xdp::Mode;
use crate::app::contained::Contained;
use crate::app::content::Content;
use crate::app::memcached::{self, Memcached};
use crate::app::{Service, Services, http};
use crate::config::{self, Transport};
use crate::control::{Order, Orders};
use crate::error::{Error, Result};
use crate::kernel::Poller;
use crate::kernel::listener::ListenError;
use crate::metrics::{Board, Count, Sheet};
use crate::panics;
use crate::store::Store;
use crate::thread::Failure;
use crossbeam_channel::{Receiver, Sender, never, select, tick};
use rustix::io::Errno;
use simoom_stack::Duration;
use std::cell::{Cell, OnceCell};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::SystemTime;

/// How often the counters are read that no worker publishes, and the store is looked after.
const PUBLISH_PERIOD: std::time::Duration = std::time::Duration::from_secs(1);

/// Serves as `config` says, until SIGTERM or SIGINT.
pub fn run(config: &config::Serve) -> Result<()> {
    let (signals, starting) = signals::watch_start()?;
    let server = start(config)?;
    drop(starting);
    tracing::info!(transport = %server.transport, addresses = ?server.addresses, "serving");
    let outcome = server.wait(&signals);
    match &outcome {
        Ok(signal) => tracing::info!(signal, limit = ?config.timeouts.drain, "draining"),
        Err(error) => tracing::error!("{error}; stopping"),
    }
    let totals = server.stop(config.timeouts.drain)?;
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
    pub udp: Option<SocketAddr>,
    /// Told when a worker ends before it should.
    pub failures: Receiver<Failure>,
    workers: Vec<Running>,
    device: Option<xdp::Claimed>,
    store: Option<Stored>,
    board: Board,
    admin: Option<Admin>,
}

/// A worker's thread and the way to give it orders.
struct Running {
    orders: Orders,
    thread: JoinHandle<()>,
}

/// The store of memcached, and where its counters go.
struct Stored {
    store: Arc<Store>,
    sheet: Arc<Sheet>,
}

impl Stored {
    /// Frees what has expired, for workers that sleep do not, and brings the counters to the board.
    fn look_after(&self) {
        let now = u32::try_from(unix_seconds()).unwrap_or(u32::MAX);
        self.store.maintain(now);
        let mut counts = Vec::with_capacity(32);
        memcached::publish_store(&self.store.statistics(), &mut |name, value| counts.push((name, value)));
        self.sheet.publish(counts.into_iter());
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What all workers of a server are made from.
struct Common<'a> {
    config: &'a config::Serve,
    content: Arc<Content>,
    /// Made with the first application that serves memcached, when the memory plan has been checked.
    memcached: OnceCell<Arc<memcached::Shared>>,
    /// How many applications were made.
    made: Cell<usize>,
    poller: Poller,
    failures: Sender<Failure>,
}

impl Common<'_> {
    /// Whether the rest is served if this cannot be.
    fn is_optional(&self, service: Service) -> bool {
        service == Service::Memcached && self.config.memcached.is_some_and(|memcached| memcached.optional)
    }

    /// A fresh application for one worker, which holds so many connections.
    fn services(&self, ports: &[(u16, Service)], connections: usize) -> Result<Contained<Services>> {
        let worker = self.made.replace(self.made.get() + 1);
        let memcached = match self.config.memcached {
            Some(config) if ports.iter().any(|(_, service)| *service == Service::Memcached) => {
                Some(Memcached::new(self.memcached(config)?, worker, connections))
            }
            _ => None,
        };
        let config::Timeouts { header, idle, .. } = self.config.timeouts;
        let timeouts =
            http::Timeouts { head: Duration::from(header), idle: Duration::from(idle), ..Default::default() };
        let options = http::Options { timeouts, ..http::Options::default() };
        Ok(Contained::new(Services::new(ports, self.content.clone(), options, memcached)))
    }

    /// These are the addresses that memcached is served on.
    fn tell_listeners(&self, addresses: &[SocketAddr], over_udp: bool) -> Result<()> {
        let Some(config) = self.config.memcached.filter(|_| !addresses.is_empty()) else { return Ok(()) };
        let shared = self.memcached(config)?;
        addresses.iter().for_each(|address| shared.listens(memcached::Listening { address: *address, over_udp }));
        Ok(())
    }

    /// What the memcached handlers share.
    fn memcached(&self, config: config::Memcached) -> Result<Arc<memcached::Shared>> {
        if let Some(shared) = self.memcached.get() {
            return Ok(shared.clone());
        }
        // One for each core, one beside them for clients that do not come through the interface, one for UDP.
        let threads = self.config.cores.len();
        let workers = threads + 1 + usize::from(config.udp.is_some());
        let options = memcached::Options {
            port: config.address.port(),
            udp_port: config.udp.map_or(0, |udp| udp.port()),
            workers,
            threads,
            connections: self.config.connection_limits(self.config.connections, 1)(Service::Memcached),
            memory_bytes: config.memory_bytes,
            item_max_bytes: config.item_max_bytes,
        };
        let store = Store::new(&config.store(workers))?;
        let shared = memcached::Shared::new(store, options, unix_seconds());
        Ok(self.memcached.get_or_init(|| shared).clone())
    }
}

/// Starts serving as `config` says, in the network namespace of the calling thread.
pub fn start(config: &config::Serve) -> Result<Server> {
    panics::install();
    let limit_bytes =
        config.memory_limit_bytes.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let content =
        Content::load(config.root.as_deref(), limit_bytes).map_err(|error| Error::usage(error.to_string()))?;
    let (failures, failed) = crossbeam_channel::unbounded();
    let poller = kernel::poller(config.transport)?;
    let (content, memcached, made) = (Arc::new(content), OnceCell::new(), Cell::new(0));
    let common = Common { config, content, memcached, made, poller, failures };
    let mut server = Server {
        transport: String::new(),
        addresses: Vec::new(),
        udp: None,
        failures: failed,
        workers: Vec::new(),
        device: None,
        store: None,
        board: Board::default(),
        admin: None,
    };
    let started = server.start_transport(&common).and_then(|()| server.start_udp(&common)).and_then(|()| {
        server.adopt_store(&common);
        server.start_admin(config)
    });
    match started {
        Ok(()) => Ok(server),
        Err(error) => {
            // What was started is stopped; the reason to report is the first.
            let _ = server.stop(std::time::Duration::ZERO);
            Err(error)
        }
    }
}

impl Server {
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

    /// Waits for a signal, which it names, or for a worker's failure; meanwhile publishes what no worker does.
    fn wait(&self, signals: &Receiver<&'static str>) -> Result<&'static str> {
        let publishes = self.device.is_some() || self.store.is_some();
        let publish = if publishes { tick(PUBLISH_PERIOD) } else { never() };
        loop {
            select! {
                recv(signals) -> signal => return Ok(signal.unwrap_or_default()),
                recv(self.failures) -> failure => return Err(match failure {
                    Ok(failure) => failed(&failure),
                    Err(_) => Error::failed("all workers have ended"),
                }),
                recv(publish) -> _ => self.publish(),
            }
        }
    }

    fn publish(&self) {
        if let Some(device) = &self.device {
            device.publish();
        }
        if let Some(stored) = &self.store {
            stored.look_after();
        }
    }

    /// The store outlives its makers' part of the start.
    fn adopt_store(&mut self, common: &Common<'_>) {
        let Some(shared) = common.memcached.get() else { return };
        let sheet = Sheet::new("store");
        self.board.sheets.push(sheet.clone());
        let stored = self.store.insert(Stored { store: shared.store().clone(), sheet });
        stored.look_after();
    }

    fn start_admin(&mut self, config: &config::Serve) -> Result<()> {
        if let Some(address) = config.admin {
            let cannot = |error: io::Error| match Errno::from_io_error(&error) {
                Some(source) => Error::failed(format!("--admin {address}: {}", ListenError { address, source })),
                None => Error::failed(format!("--admin {address}: {error}")),
            };
            self.admin = Some(Admin::start(address, self.board.clone()).map_err(cannot)?);
        }
        Ok(())
    }

    /// The counters of all workers, summed, and those of the steering program.
    pub fn totals(&self) -> Vec<Count> {
        self.publish();
        self.board.totals()
    }

    /// How the AF_XDP sockets are bound, if there are any.
    pub fn xdp_mode(&self) -> Option<Mode> {
        self.device.as_ref().map(xdp::Claimed::mode)
    }

    /// Where `/metrics` is served, if it is.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Stops accepting, lets open responses finish for at most `limit`, closes, detaches. Returns the last counters.
    pub fn stop(mut self, limit: std::time::Duration) -> Result<Vec<Count>> {
        for worker in &self.workers {
            worker.orders.send(Order::Drain(limit));
        }
        let mut outcome = Ok(());
        for worker in self.workers.drain(..) {
            if worker.thread.join().is_err() {
                outcome = Err(Error::failed("a worker thread could not be joined"));
            }
        }
        let totals = self.totals();
        if let Ok(failure) = self.failures.try_recv() {
            outcome = Err(failed(&failure));
        }
        outcome.map(|()| totals)
    }
}
