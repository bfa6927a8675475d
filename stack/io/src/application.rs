//! The handler's side of the contract.
//!
//! In come bytes in stream order, out go ranges of bytes (see [`crate::send`]). A handler never
//! sees a segment, a window or a retransmission, and never blocks: every call runs to completion.
//! Every transport drives the same trait, through [`crate::exchange`], so a handler is written
//! once.

use crate::reply::Reply;
use crate::send::Blob;
use std::net::SocketAddr;

/// A handler: one value per worker, called for every connection of that worker.
///
/// The calls for one connection come in this order: `opened`, then any number of `received`,
/// `resumed` and `timeout`, then `closed` exactly once. `prefetch` is of no connection. After
/// [`Reply::close`], [`Reply::abort`] and `overfull` only `closed` follows.
pub trait Application {
    /// Immutable bytes that answers share.
    type Blob: Blob;
    /// The handler's state of one connection, from `opened` to `closed`. It lies beside the
    /// control block, so it should be small (at most 64 bytes).
    type Conn: Default;

    /// Whether the application uses [`Opened::ends`] of connections to this port. A transport may
    /// need a system call to get them.
    fn wants_ends(&self, local_port: u16) -> bool {
        let _ = local_port;
        false
    }

    /// A connection is established. `conn` is its default, or the value that the caller of an
    /// active open passed. Set the first deadline here.
    fn opened(&mut self, conn: &mut Self::Conn, opened: Opened, reply: &mut Reply<'_, Self::Blob>) {
        let _ = (conn, opened, reply);
    }

    /// Reads the next bytes of the stream, and returns how many are consumed (at most
    /// `bytes.len()`).
    ///
    /// Input that is not consumed is delivered again at the front of what follows, within the
    /// transport's bound for one connection. Consume everything before the first incomplete
    /// request. Stop early, whatever is left, when [`Reply::has_capacity`] says no: no input is
    /// delivered before `resumed`, which follows when there is capacity, unless the handler
    /// [reads on](Reply::read_on).
    ///
    /// Delivered input never shrinks. If a call was delivered `n` bytes and consumed `c`, the next
    /// call is delivered the same `n - c` bytes and possibly more behind them. So a handler may
    /// remember a position up to `n - c`. A transport without memory for the rest waits until all
    /// of it is there again, or ends the connection.
    fn received(
        &mut self,
        conn: &mut Self::Conn,
        bytes: &[u8],
        reply: &mut Reply<'_, Self::Blob>,
    ) -> usize;

    /// Whether [`prefetch`](Application::prefetch) does anything, so that the inputs are worth
    /// collecting.
    #[inline]
    fn prefetches(&self) -> bool {
        true
    }

    /// These inputs will be delivered next, as far as they come in order, each with the local port
    /// that it came to. For a handler whose data is far away in memory: it fetches the data for all
    /// of them at once.
    fn prefetch(&mut self, inputs: &[(u16, &[u8])]) {
        let _ = inputs;
    }

    /// The input reaches the transport's bound for one connection although none of it was consumed.
    /// `bytes` is all that is held. Queue an answer to that; the connection closes behind it.
    /// Unless defined, the connection is reset.
    fn overfull(&mut self, conn: &mut Self::Conn, bytes: &[u8], reply: &mut Reply<'_, Self::Blob>) {
        let _ = (conn, bytes);
        reply.abort();
    }

    /// The application may go on: there is capacity again after [`Reply::has_capacity`] said no, or
    /// the iteration after [`Reply::yield_now`] has come, which promises no capacity. Input that is
    /// held is delivered through `received` right after this call.
    fn resumed(&mut self, conn: &mut Self::Conn, reply: &mut Reply<'_, Self::Blob>) {
        let _ = (conn, reply);
    }

    /// The deadline set with [`Reply::set_timeout`] has passed. This call clears the deadline and
    /// [`Reply::read_later`]: input that was put off is delivered through `received` right after
    /// it. A connection that closes has no deadline. Unless defined, it closes the connection.
    fn timeout(&mut self, conn: &mut Self::Conn, reply: &mut Reply<'_, Self::Blob>) {
        let _ = conn;
        reply.close();
    }

    /// The connection is closed. `conn` is reset to its default afterwards.
    fn closed(&mut self, conn: &mut Self::Conn, how: Closed) {
        let _ = (conn, how);
    }
}

/// How a connection was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The local port, in host byte order. On a passive open it identifies the service.
    pub local_port: u16,
    /// Whether this side sent the first SYN.
    pub active: bool,
    /// The token that the caller of an active open passed, by which it recognizes the connection; 0
    /// on a passive open.
    pub token: u32,
    /// Names the connection on its transport for as long as it is open.
    pub id: ConnectionId,
    /// The endpoints, peer and local, if [`Application::wants_ends`] is true for the port. `None`
    /// also if the peer had reset the connection before a kernel socket accepted it.
    pub ends: Option<Ends>,
}

/// Names a connection among all that its transport has had: a place, and which of the connections
/// that were there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// The two endpoints of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The peer.
    pub remote: SocketAddr,
    /// This side.
    pub local: SocketAddr,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Both directions were closed in order.
    Finished,
    /// The peer sent a reset.
    ResetByPeer,
    /// This side gave up: the retransmission limit, the user timeout or a dead keep-alive peer.
    TimedOut,
    /// An active open was refused.
    Refused,
    /// The next hop of an active open did not answer ARP or neighbour discovery.
    Unreachable,
    /// This side reset the connection: the application requested it, or the process is shutting
    /// down.
    Aborted,
}
