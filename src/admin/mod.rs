//! The admin endpoint: metrics in Prometheus' text format and health checks, for monitoring.
//!
//! One thread serves up to [`CONNECTIONS`] clients at once and waits for none of them: sockets are
//! non-blocking, and each connection has a deadline. It reads what the workers publish and never
//! touches the data path.
//!
//! | target | answer |
//! |---|---|
//! | `/metrics` | all counters ([`exposition`]) |
//! | `/healthz`, `/livez` | 200 as long as the process answers |
//! | `/readyz` | 200, or 503 with the reasons for which clients should go elsewhere |

mod connection;
mod exposition;
mod respond;

use crate::control::{Mailbox, Orders, mailbox};
use crate::listening::Listeners;
use crate::metrics::Board;
use crate::panics;
use crate::readiness::Readiness;
use connection::Connection;
pub(crate) use exposition::METRICS;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Clients served at once. When another comes, the oldest that has not sent its request gives way.
const CONNECTIONS: usize = 64;
/// How long no connection is accepted after accept(2) failed, for want of file descriptors for
/// example.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What answers are made from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The counters of all workers.
    pub board: Board,
    /// Whether the server takes new requests well.
    pub readiness: Arc<Readiness>,
    /// Where the server is reached.
    pub listeners: Listeners,
}

/// The running endpoint. It ends when this value is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    orders: Option<Orders>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Listens at `address` and answers from `source`.
    pub fn start(address: SocketAddr, source: Source) -> io::Result<Admin> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (orders, mailbox) = mailbox()?;
        let endpoint =
            Endpoint { listener, mailbox, source, connections: VecDeque::new(), accept_at: None };
        let thread = thread::Builder::new().name("admin".into()).spawn(move || endpoint.run())?;
        Ok(Admin { address, orders: Some(orders), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(orders) = self.orders.take() {
            let waker = orders.waker();
            // Once its orders are gone, the mailbox tells the thread to end.
            drop(orders);
            waker.wake();
        }
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

/// The thread's state.
struct Endpoint {
    listener: TcpListener,
    mailbox: Mailbox,
    source: Source,
    /// In the order in which they were accepted.
    connections: VecDeque<Connection>,
    /// When accepting goes on, after a failure.
    accept_at: Option<Instant>,
}

impl Endpoint {
    /// Serves until the mailbox says that nobody wants it any more. A panic ends the connections
    /// that are open; health checks are answered again after a pause.
    fn run(mut self) {
        panics::reported_here();
        while self.mailbox.take().is_none() {
            if let Err(panic) = panics::catch(|| self.turn()) {
                panics::log(&panic);
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

    /// Accepts clients that wait, up to [`CONNECTIONS`] of them.
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
                    // A request that is there already is answered before a later client can take
                    // its place.
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

    /// Closes the oldest connection without a request, or else the oldest, if there is no space for
    /// another.
    fn make_space(&mut self) {
        if self.connections.len() >= CONNECTIONS {
            let idle = self.connections.iter().position(Connection::is_idle);
            self.connections.remove(idle.unwrap_or(0));
        }
    }

    /// Waits until a socket or the mailbox is ready, or a deadline has passed.
    fn wait(&self) {
        let listens = if self.accept_at.is_none() { PollFlags::IN } else { PollFlags::empty() };
        let own = [PollFd::new(&self.mailbox, PollFlags::IN), PollFd::new(&self.listener, listens)];
        let clients = self
            .connections
            .iter()
            .map(|connection| PollFd::new(connection, connection.interest()));
        let mut fds: Vec<PollFd<'_>> = own.into_iter().chain(clients).collect();
        let deadlines = self.connections.iter().map(Connection::deadline).chain(self.accept_at);
        let timeout = deadlines.min().map(|at| {
            // Rounded up: a wait that ends just before the deadline would be repeated.
            let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        // An error is a signal that came (EINTR): the loop looks at everything again.
        let _ = poll(&mut fds, timeout.as_ref());
    }
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
