//! The kernel transport: the applications of the user-space stack, served over kernel sockets.
//!
//! It serves where AF_XDP is not to be had, and beside it for clients that do not come through the
//! claimed interface. One `Server` a worker thread, nothing shared between them: each binds its own
//! `SO_REUSEPORT` socket to each address ([`listener`]) and the kernel spreads the connections.
//!
//! The way of a request: a `server`'s driver, `epoll` or `uring`, waits for a batch of events and
//! finds each one's connection in the `table`; the bytes, where they were read, go to the
//! application through `session`, which acts on what the application asks for; what was not
//! consumed is kept in an [input buffer](simoom_io::input); the answers, ranges of shared bytes, go
//! to the socket in one call. Over epoll reading and writing is the work of `visit`; io_uring reads
//! and writes for itself and leaves to `visit` what cannot go its way. Deadlines of any number of
//! connections lie in the stack's [`timer`](simoom_io::timer), and connections that must wait for
//! their turn stand in a line of `turns`. The loop's other duties are `accept` and `drain`.
//! `table`, `session`, `turns` and [`listener`] know nothing of readiness or completions.
//!
//! What happens when something runs out:
//!
//! | what | then | counter |
//! |---|---|---|
//! | connections | the new one is accepted and reset at once: its client, or the balancer before it, learns within a round trip, where one left in the backlog would only time out | `connections_refused` |
//! | connections to one port, or from one network | the same | `http_connections_refused`, `memcached_connections_refused`, `prefix_refused` |
//! | file descriptors | accepting pauses for 100 ms; clients wait in the backlog | `accept_pauses` |
//! | ranges or chunks for answers | the application is asked to stop, the socket is not read, and it resumes when others have sent | `send_pool_exhausted` |
//! | buffers for kept input | the bytes stay in the kernel's socket buffer: read with `MSG_PEEK`, removed as far as they are consumed, so whole requests are still answered | `input_pool_exhausted` |
//! | io_uring's receive buffers | the bytes stay in the kernel's socket buffer and are read from there, as over epoll | `receive_buffers_exhausted` |
//! | a connection's [`INPUT_BYTES`] | `Application::overfull` answers and closes | `overfull` |
//!
//! What a connection waits for, and why it does not wait for ever. A reset is always told of: by
//! epoll, whose registration lasts as long as the connection, and by io_uring, as said here.
//!
//! | it waits for | a reset is told by | the deadline is |
//! |---|---|---|
//! | a request, its first | the receive | the application's; keep-alive ends it if the peer is gone |
//! | a request, another one | the receive, or the poll for a hang-up beside it | the same |
//! | the rest of a request that is held back, or for a buffer for it | the poll for everything | the send timeout, or the application's |
//! | a free receive buffer | the poll for everything | as for a request: the input is read without one |
//! | room for answers that others hold | the poll for everything | the send timeout |
//! | the application's deadline, to read on | the poll for everything | that deadline |
//! | the socket, to take what is queued, also the last | the poll for room, or for everything | the send timeout |
//! | the peer, to acknowledge what the kernel took | as for a request | the application's; `net.ipv4.tcp_retries2` if the peer is gone |
//! | the peer's FIN | the receive, or the poll for everything | the linger timeout |
//!
//! memcached over UDP is a thread of its own, [`udp`].
//!
//! All memory is fixed when a `Server` is made: see [`Settings::memory_bytes`].

mod accept;
mod admission;
mod counters;
mod drain;
mod epoll;
pub mod listener;
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
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use uring::Uring;

/// Bytes of input that are kept for one connection: what a large buffer holds, and where input is
/// overfull.
pub const INPUT_BYTES: usize = input::OVERFULL_BYTES;

/// How a worker learns from the kernel what happens at its sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poller {
    /// It asks which are ready, and reads and writes them itself.
    Epoll,
    /// The kernel reads and writes for it.
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

/// Whether io_uring can be used here, or what stands in the way, with its remedy. A ring is made to
/// find out, and thrown away.
pub fn io_uring() -> Result<(), String> {
    uring::ability::ability()
}

/// Serves on the calling thread, as one worker, until an order to drain has been carried out, or
/// the kernel refuses what a server cannot do without. Takes all the memory it will ever use first,
/// publishes its counters, and calls `ready`.
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

/// The bounds of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Connections open at once; each takes a file descriptor.
    pub connections: usize,
    /// Connections open at once to each of these ports; other ports have no limit of their own.
    pub port_limits: Vec<(u16, u32)>,
    /// Connections open at once from one /24 of IPv4 or /64 of IPv6; 0 for no such limit.
    pub connections_per_prefix: u32,
    /// Ranges of answers that are queued at once, over all connections: at least 64.
    pub send_entries: usize,
    /// Chunks of 512 bytes for copied parts of answers, over all connections: at least 64.
    pub send_chunks: usize,
    /// Buffers of 2 KiB for input that is not yet a whole request.
    pub small_inputs: usize,
    /// Buffers of 16 KiB for the same: at least 1.
    pub large_inputs: usize,
    /// Buffers of 2 KiB that io_uring receives into, over all connections: 1 to 32768. epoll takes
    /// none.
    pub receive_buffers: usize,
    /// A peer that takes none of its answer for this long is reset.
    pub send_timeout: Duration,
    /// A peer that is silent for this long is probed (SO_KEEPALIVE); zero: none is.
    pub keep_alive: Duration,
    /// While draining, a connection that is idle has at most this long to send its next request.
    pub drain_idle: Duration,
    /// After the last answer and the FIN, a peer that does not close is waited for at most this
    /// long.
    pub linger_timeout: Duration,
}

impl Settings {
    /// Bounds that suit `connections`: answers for all of them to have 2 KiB queued, beyond what
    /// the kernel holds, and kept input for one in four, of which an eighth may be large.
    pub fn for_connections(connections: usize) -> Settings {
        let per_worker = usize::from(QUEUE_ENTRIES) * 16;
        Settings {
            connections,
            port_limits: Vec::new(),
            connections_per_prefix: 0,
            send_entries: connections * 8 + per_worker,
            send_chunks: connections * 4 + per_worker,
            small_inputs: connections / 4 + 64,
            large_inputs: connections / 32 + 64,
            receive_buffers: connections.clamp(64, 1024),
            send_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(7200),
            drain_idle: Duration::from_millis(500),
            linger_timeout: Duration::from_secs(5),
        }
    }

    /// Bytes of memory that a worker of application `A` takes with these settings, whatever its
    /// clients do; the kernel's socket buffers are not among them.
    pub fn memory_bytes<A: Application>(&self, poller: Poller) -> usize {
        let driven = match poller {
            Poller::Epoll => server::memory_bytes::<A, Epoll>(self),
            Poller::IoUring => server::memory_bytes::<A, Uring>(self),
        };
        driven
            + Pool::<A::Blob>::memory_bytes(self.send_entries, self.send_chunks)
            + input::Pool::memory_bytes_with(self.small_inputs, self.large_inputs, INPUT_BYTES)
    }

    /// Says which setting a worker cannot run with.
    fn check(&self) -> io::Result<()> {
        let least = usize::from(QUEUE_ENTRIES);
        let most = u32::MAX as usize / 2;
        let bounds = [
            ("connections", self.connections, 1),
            ("send_entries", self.send_entries, least),
            ("send_chunks", self.send_chunks, least),
            ("small_inputs", self.small_inputs, 0),
            ("large_inputs", self.large_inputs, 1),
        ];
        let bounds = bounds.map(|(name, value, least)| (name, value, least, most));
        let receive = ("receive_buffers", self.receive_buffers, 1, sys::BUFFERS_MAX);
        for (name, value, least, most) in bounds.into_iter().chain([receive]) {
            if !(least..=most).contains(&value) {
                let message =
                    format!("kernel transport: {name} is {value}; it must be {least} to {most}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
