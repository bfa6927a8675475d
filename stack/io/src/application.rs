//! The trait of applications, which every transport drives.
//!
//! An application receives bytes in stream order and answers with ranges of bytes (see
//! [`crate::send`]). It never sees a segment, a window or a retransmission, and never blocks: every
//! call runs to completion. The TCP stack and the kernel-socket transports drive the same trait, so
//! an application is written once.

use crate::reply::Reply;
use crate::send::Blob;
use std::net::SocketAddr;

/// An application: one value per worker, called for every connection of that worker.
///
/// The calls for one connection come in this order: `opened`, then any number of `received`,
/// `resumed` and `timeout`, then `closed` exactly once. `prefetch` belongs to no connection. After
/// [`Reply::close`] no more input is delivered.
pub trait Application {
    /// Immutable bytes that answers share.
    type Blob: Blob;
    /// The application's state for one connection, from `opened` to `closed`. The TCP stack stores
    /// it in the control block, so it should be small (at most 64 bytes).
    type Conn: Default;

    /// Whether the application uses [`Opened::ends`] of connections to this port. A transport may
    /// need a system call to get them.
    fn wants_ends(&self, local_port: u16) -> bool {
        let _ = local_port;
        false
    }

    /// A connection is established. `conn` is its default, or the value given to
    /// [`crate::Stack::connect_with`]. Set the first deadline here.
    fn opened(&mut self, conn: &mut Self::Conn, opened: Opened, reply: &mut Reply<'_, Self::Blob>) {
        let _ = (conn, opened, reply);
    }

    /// Reads the next bytes of the stream, and returns how many are consumed (at most
    /// `bytes.len()`).
    ///
    /// Bytes that are not consumed are delivered again, in front of the bytes that follow, within
    /// the transport's limit for one connection. Consume everything before the first incomplete
    /// request. Stop early if [`Reply::has_capacity`] returns `false`: `resumed` follows when there
    /// is capacity again.
    ///
    /// Delivered input never shrinks. If a call gets `n` bytes and consumes `c`, the next call gets
    /// the same `n - c` bytes and possibly more behind them. So an application may remember a
    /// position up to `n - c`. A transport without memory for the rest waits until all of it is
    /// there again, or ends the connection.
    fn received(
        &mut self,
        conn: &mut Self::Conn,
        bytes: &[u8],
        reply: &mut Reply<'_, Self::Blob>,
    ) -> usize;

    /// Announces the inputs that are delivered next, if they are in order, each with its local
    /// port. An application with data far away in memory can prefetch for all of them at once.
    fn prefetch(&mut self, inputs: &[(u16, &[u8])]) {
        let _ = inputs;
    }

    /// The input exceeds the transport's limit for one connection, and nothing of it was consumed:
    /// answer and close. `bytes` is all of the input. The default resets the connection.
    fn overfull(&mut self, conn: &mut Self::Conn, bytes: &[u8], reply: &mut Reply<'_, Self::Blob>) {
        let _ = (conn, bytes);
        reply.abort();
    }

    /// There is capacity again after [`Reply::has_capacity`] returned `false`. Input that waits is
    /// delivered through `received` right after this call.
    fn resumed(&mut self, conn: &mut Self::Conn, reply: &mut Reply<'_, Self::Blob>) {
        let _ = (conn, reply);
    }

    /// The deadline set with [`Reply::set_timeout`] has passed. The call clears the deadline and
    /// [`Reply::read_later`]: input that waits is delivered through `received` right after it. The
    /// default closes the connection.
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
    /// The token given to [`crate::Stack::connect`], by which a client recognizes its connection; 0
    /// on a passive open.
    pub token: u32,
    /// Both ends, if the application [wants](Application::wants_ends) them.
    pub ends: Option<Ends>,
}

/// The two ends of a connection.
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
