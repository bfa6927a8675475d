//! The admin endpoint: metrics in the text format of Prometheus, and health checks.
//!
//! One thread serves up to [`CONNECTIONS`] clients and never blocks on one: sockets are
//! non-blocking, and each connection has a deadline. It reads the snapshots of the workers and does
//! not touch the data path.
//!
//! | target | answer |
//! |---|---|
//! | `/metrics` | all counters ([`exposition`]) |
//! | `/healthz`, `/livez` | 200 as long as the process answers |
//! | `/readyz` | 200, or 503 with the reasons why clients should go elsewhere |

mod connection;
mod exposition;
mod respond;

use crate::clock::timespec;
use crate::control::{CommandReceiver, CommandSender, command_channel};
use crate::listening::{ADMIN, Listeners};
use crate::metrics::Registry;
use crate::panics::{self, Panic};
use crate::readiness::Readiness;
use connection::Connection;
pub(crate) use exposition::METRICS;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Limit of the clients. For a further one, the oldest client without a request is closed.
const CONNECTIONS: usize = 64;
/// Pause in accepting after accept(2) failed, for example for lack of file descriptors.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The data that answers are built from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The counters of all workers.
    pub registry: Registry,
    /// Whether the server can serve new clients.
    pub readiness: Arc<Readiness>,
    /// The addresses where the server listens.
    pub listeners: Listeners,
    /// Panics of the endpoint itself.
    pub panics: Arc<AtomicU64>,
}

impl Source {
    /// Counts and logs a panic of the endpoint.
    fn note_panic(&self, panic: &Panic) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        panics::log(panic, panics::Ended::Connection(Some(ADMIN)));
    }
}

/// The running endpoint. Dropping it ends the thread.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    command_sender: Option<CommandSender>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Listens at `address` and answers from `source`.
    pub fn start(address: SocketAddr, source: Source) -> io::Result<Admin> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (command_sender, commands) = command_channel()?;
        let endpoint =
            Endpoint { listener, commands, source, connections: VecDeque::new(), accept_at: None };
        let thread = thread::Builder::new().name("admin".into()).spawn(move || endpoint.run())?;
        Ok(Admin { address, command_sender: Some(command_sender), thread: Some(thread) })
    }

    /// The address of the listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(command_sender) = self.command_sender.take() {
            let waker = command_sender.waker();
            // Without a sender, the channel returns the command to leave.
            drop(command_sender);
            waker.wake();
        }
        if let Some(thread) = self.thread.take() {
            // The thread has logged its own panic.
            let _ = thread.join();
        }
    }
}

/// The state of the thread.
struct Endpoint {
    listener: TcpListener,
    commands: CommandReceiver,
    source: Source,
    /// In the order in which they were accepted.
    connections: VecDeque<Connection>,
    /// When to accept again after a failure.
    accept_at: Option<Instant>,
}

impl Endpoint {
    /// Serves until the channel returns a command. A panic closes the open connections; after a
    /// pause the endpoint serves again.
    fn run(mut self) {
        panics::reported_here();
        while self.commands.take().is_none() {
            if let Err(panic) = panics::catch(|| self.turn()) {
                self.source.note_panic(&panic);
                self.connections.clear();
                thread::sleep(RETRY_PAUSE);
            }
        }
    }

    fn turn(&mut self) {
        let now = Instant::now();
        self.accept(now);
        let source = &self.source;
        self.connections.retain_mut(|connection| connection.advance(source, now));
        self.wait();
    }

    /// Accepts up to [`CONNECTIONS`] waiting clients.
    fn accept(&mut self, now: Instant) {
        if self.accept_at.is_some_and(|at| at > now) {
            return;
        }
        self.accept_at = None;
        for _ in 0..CONNECTIONS {
            match self.listener.accept() {
                Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                    self.make_space();
                    let mut connection = Connection::new(stream, now);
                    // Answers a request that has already arrived before a later client can displace
                    // it.
                    if connection.advance(&self.source, now) {
                        self.connections.push_back(connection);
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => {
                    self.accept_at = Some(now + RETRY_PAUSE);
                    return;
                }
            }
        }
    }

    /// If the limit is reached, closes the oldest connection without a request, or else the oldest.
    fn make_space(&mut self) {
        if self.connections.len() >= CONNECTIONS {
            let idle = self.connections.iter().position(Connection::is_idle);
            self.connections.remove(idle.unwrap_or(0));
        }
    }

    /// Waits until a socket or the command channel is ready, or until a deadline.
    fn wait(&self) {
        let listens = if self.accept_at.is_none() { PollFlags::IN } else { PollFlags::empty() };
        let own =
            [PollFd::new(&self.commands, PollFlags::IN), PollFd::new(&self.listener, listens)];
        let clients = self
            .connections
            .iter()
            .map(|connection| PollFd::new(connection, connection.interest()));
        let mut fds: Vec<PollFd<'_>> = own.into_iter().chain(clients).collect();
        let deadlines = self.connections.iter().map(Connection::deadline).chain(self.accept_at);
        let timeout = deadlines.min().map(|at| {
            // Round up: a wait that ends just before the deadline would be repeated.
            let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            timespec(left)
        });
        // The only error is EINTR. The loop then checks everything again.
        let _ = poll(&mut fds, timeout.as_ref());
    }
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
