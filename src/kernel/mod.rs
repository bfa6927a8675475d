//! The kernel transport: serves the applications of the user-space stack over kernel sockets.
//!
//! It is used where AF_XDP is not available, and beside AF_XDP for clients that do not arrive
//! through the claimed interface. Each worker thread runs one `Server` and shares nothing. Each
//! binds its own `SO_REUSEPORT` socket to each address ([`listener`]), and the kernel distributes
//! the connections.
//!
//! The path of a request: the driver of a `server`, `epoll` or `uring`, waits for a batch of events
//! and finds the connection of each event in the `table`. `session` delivers the received bytes to
//! the application without a copy and carries out the actions that the application returns. Bytes
//! that were not consumed stay in an [input buffer](simoom_io::input). Answers are ranges of shared
//! bytes and are sent in one call. Over epoll, `visit` reads and writes. io_uring receives and
//! sends by itself and falls back to `visit` if a socket is full or a buffer is missing. The
//! deadlines of all connections are in a [`timer`](simoom_io::timer) wheel. Connections with more
//! work wait in the `run_queue`; connections that wait for memory wait in a `wait_queue`. `accept`
//! and `drain` are the other parts of the loop. `table`, `session`, the queues and [`listener`] are
//! independent of the driver.
//! With --busy-poll, `polling` decides when epoll polls the NIC, and
//! [`Suspension`](crate::suspension::Suspension) holds the settings of its NAPI instance.
//!
//! What happens when a resource is exhausted:
//!
//! | exhausted resource | effect | counter |
//! |---|---|---|
//! | connections | a new connection is accepted and reset at once: its client or load balancer notices within a round trip, instead of a timeout in the backlog | `connections_refused` |
//! | connections to one port, or from one network | the same | `http_connections_refused`, `memcached_connections_refused`, `prefix_refused` |
//! | file descriptors | accepting pauses for 100 ms; clients wait in the backlog | `accept_pauses` |
//! | ranges or chunks of the send pool | the application pauses, the socket is not read, and both resume when other connections have sent | `send_pool_exhausted` |
//! | input buffers | the bytes stay in the socket buffer. They are read with `MSG_PEEK` and removed when consumed, so complete requests are still answered | `input_pool_exhausted` |
//! | io_uring's receive buffers | the bytes stay in the socket buffer and are read from there, as over epoll | `receive_buffers_exhausted` |
//! | a connection's [`INPUT_BYTES`] | `Application::overfull` answers and closes | `overfull` |
//!
//! What a connection waits for, and the deadline of each wait. epoll always reports a reset,
//! because its registration lasts as long as the connection. io_uring reports it as follows.
//!
//! | wait for | reset reported by | deadline |
//! |---|---|---|
//! | the first request | the receive | the application's; keep-alive ends it if the peer is gone |
//! | another request | the receive, or the poll for a hang-up beside it | the same |
//! | the rest of a request that stays in the kernel, or an input buffer for it | the poll for everything | the send timeout, or the application's |
//! | a free receive buffer | the poll for everything | as for a request: the input is read without one |
//! | space in the send pool | the poll for everything | the send timeout |
//! | the deadline of the application, to resume reading | the poll for everything | that deadline |
//! | the socket, to accept queued bytes | the poll for writability, or for everything | the send timeout |
//! | the peer, to acknowledge bytes in the socket buffer | as for a request | the application's; `net.ipv4.tcp_retries2` if the peer is gone |
//! | the peer's FIN | the receive, or the poll for everything | the linger timeout |
//!
//! memcached over UDP runs on its own thread, [`udp`].
//!
//! All memory is allocated when a `Server` is created: see [`Settings::memory_bytes`].

mod accept;
mod admission;
mod counters;
mod drain;
mod epoll;
pub mod listener;
mod polling;
mod run_queue;
mod server;
mod session;
mod socket;
#[expect(unsafe_code, reason = "system calls without a safe form, and the rings of io_uring")]
mod sys;
mod table;
pub mod udp;
mod uring;
mod visit;
mod wait_queue;

pub use counters::Counters;
pub use listener::{Listener, Presence, Reserved};

use crate::control::CommandReceiver;
use crate::handler::Handler;
use crate::metrics::Snapshot;
use epoll::Epoll;
use server::Server;
use simoom_io::Application;
use simoom_io::input;
use simoom_io::send::{Pool, QUEUE_ENTRIES};
use simoom_tcp::prefix::PrefixLengths;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use uring::Uring;

/// Capacity of a large input buffer: a connection with more unconsumed input is overfull.
pub const INPUT_BYTES: usize = input::OVERFULL_BYTES;

/// How a worker receives and sends on its sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poller {
    /// The worker waits for readiness, then reads and writes.
    Epoll,
    /// The kernel receives and sends for the worker.
    IoUring,
}

impl fmt::Display for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Poller::Epoll => "epoll",
            Poller::IoUring => "io_uring",
        })
    }
}

/// Checks whether io_uring can be used, by setting up a temporary ring. The error says why not, and
/// the remedy.
pub fn io_uring() -> Result<(), String> {
    uring::ability::ability()
}

/// Runs one worker on the calling thread until it has drained or a system call fails that the
/// server cannot do without. Allocates all memory first, publishes its counters, and calls `ready`.
pub fn run<A: Handler>(
    poller: Poller,
    settings: &Settings,
    listeners: Vec<Listener>,
    app: A,
    commands: CommandReceiver,
    snapshot: Arc<Snapshot>,
    ready: impl FnOnce(),
) -> io::Result<()> {
    match poller {
        Poller::Epoll => {
            Server::<A, Epoll>::new(settings, listeners, app, commands, snapshot)?.run(ready)
        }
        Poller::IoUring => {
            Server::<A, Uring>::new(settings, listeners, app, commands, snapshot)?.run(ready)
        }
    }
}

/// The limits of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Maximum of open connections; each takes a file descriptor.
    pub connections: usize,
    /// Maximum of open connections to each of these ports. Other ports have no limit of their own.
    pub port_limits: Vec<(u16, u32)>,
    /// Maximum of open connections from one source prefix. 0: no limit.
    pub connections_per_prefix: u32,
    /// The length of the source prefixes.
    pub prefix_lengths: PrefixLengths,
    /// Queued ranges of answers over all connections: at least 64.
    pub send_entries: usize,
    /// Chunks of 512 bytes for copied parts of answers, over all connections: at least 64.
    pub send_chunks: usize,
    /// Input buffers of 2 KiB, for incomplete requests.
    pub small_inputs: usize,
    /// Input buffers of 16 KiB, for incomplete requests: at least 1.
    pub large_inputs: usize,
    /// Receive buffers of 2 KiB for io_uring, over all connections: 1 to 32768. Not used by epoll.
    pub receive_buffers: usize,
    /// A peer that accepts no byte of its answer for this long is reset.
    pub send_timeout: Duration,
    /// A peer that is silent for this long is probed (SO_KEEPALIVE). Zero disables probes.
    pub keep_alive: Duration,
    /// Ports with a send timeout and a silence before probes of their own.
    pub timeouts_of_ports: Vec<(u16, Duration, Duration)>,
    /// While draining, time that an idle connection has to send its next request.
    pub drain_idle: Duration,
    /// Time that a peer has to close after the last answer and the FIN.
    pub linger_timeout: Duration,
    /// Whether the worker polls the NIC itself and suspends its interrupts while there is work.
    /// epoll alone, from Linux 6.13.
    pub busy_poll: bool,
}

impl Settings {
    /// Default limits for `connections`. The queues hold 2 KiB of answers for each connection,
    /// beyond the socket buffers. One connection in four can have an input buffer; one eighth of
    /// these are large.
    pub fn for_connections(connections: usize) -> Settings {
        let per_worker = usize::from(QUEUE_ENTRIES) * 16;
        Settings {
            connections,
            port_limits: Vec::new(),
            connections_per_prefix: 0,
            prefix_lengths: PrefixLengths::default(),
            send_entries: connections * 8 + per_worker,
            send_chunks: connections * 4 + per_worker,
            small_inputs: connections / 4 + 64,
            large_inputs: connections / 32 + 64,
            receive_buffers: connections.clamp(64, 1024),
            send_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(7200),
            timeouts_of_ports: Vec::new(),
            drain_idle: Duration::from_millis(500),
            linger_timeout: Duration::from_secs(5),
            busy_poll: false,
        }
    }

    /// The send timeout, and the silence before probes, of connections to this port.
    pub(crate) fn timeouts_of(&self, port: u16) -> (Duration, Duration) {
        let own = self.timeouts_of_ports.iter().find(|(own, ..)| *own == port);
        own.map_or((self.send_timeout, self.keep_alive), |(_, send, keep_alive)| {
            (*send, *keep_alive)
        })
    }

    /// Bytes of memory that a worker of application `A` allocates with these settings, without the
    /// socket buffers of the kernel.
    pub fn memory_bytes<A: Application>(&self, poller: Poller) -> usize {
        let driven = match poller {
            Poller::Epoll => server::memory_bytes::<A, Epoll>(self),
            Poller::IoUring => server::memory_bytes::<A, Uring>(self),
        };
        driven
            + Pool::<A::Blob>::memory_bytes(self.send_entries, self.send_chunks)
            + input::Pool::memory_bytes_with(self.small_inputs, self.large_inputs, INPUT_BYTES)
    }

    /// Returns an error that names the first setting out of range.
    fn check(&self) -> io::Result<()> {
        let min = usize::from(QUEUE_ENTRIES);
        let max = u32::MAX as usize / 2;
        let bounds = [
            ("connections", self.connections, 1),
            ("send_entries", self.send_entries, min),
            ("send_chunks", self.send_chunks, min),
            ("small_inputs", self.small_inputs, 0),
            ("large_inputs", self.large_inputs, 1),
        ];
        let bounds = bounds.map(|(name, value, min)| (name, value, min, max));
        let receive = ("receive_buffers", self.receive_buffers, 1, sys::BUFFERS_MAX);
        for (name, value, min, max) in bounds.into_iter().chain([receive]) {
            if !(min..=max).contains(&value) {
                let message =
                    format!("kernel transport: {name} is {value}; it must be {min} to {max}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
