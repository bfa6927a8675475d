//! What the stack asks of the application above it.
//!
//! In come bytes in stream order, out go ranges of bytes (see [`crate::send`]). An application
//! never sees a segment, a window or a retransmission, and never blocks: every call runs to
//! completion. The same trait is driven by the user-space stack and by the kernel-socket transport,
//! so an application is written once.

use crate::reply::Reply;
use crate::send::Blob;
use std::net::SocketAddr;

/// An application: one value per worker, called for every connection of that worker.
///
/// The calls for one connection come in this order: `opened`, then any number of `received`,
/// `resumed` and `timeout`, then `closed` exactly once; `prefetch` is of no connection. After
/// [`Reply::close`] no more input is offered.
pub trait Application {
    /// The immutable bytes that answers are made of.
    type Blob: Blob;
    /// What the application keeps for one connection, from `opened` to `closed`; held beside the
    /// control block, so it should be small (at most 64 bytes).
    type Conn: Default;

    /// Whether [`Opened::ends`] is of use to it, of connections to this port: a transport may have
    /// to ask for them.
    fn wants_ends(&self, local_port: u16) -> bool {
        let _ = local_port;
        false
    }

    /// A connection is established. `conn` is fresh, or what [`crate::Stack::connect_with`] was
    /// given; set its first deadline here.
    fn opened(&mut self, conn: &mut Self::Conn, opened: Opened, reply: &mut Reply<'_, Self::Blob>);

    /// Reads `bytes`, the stream's next, and returns how many are consumed (at most `bytes.len()`).
    ///
    /// What is not consumed is offered again at the front of what follows, within the transport's
    /// bound for one connection. Consume everything before the first incomplete request. Stop
    /// early, whatever is left, when [`Reply::has_capacity`] says no: `resumed` follows when there
    /// is room again.
    ///
    /// Offered input never shrinks. If a call was offered `n` bytes and consumed `c`, the next call
    /// is offered the same `n - c` bytes and possibly more behind them. So an application may
    /// remember a position up to `n - c`. A transport without memory to keep the rest waits until
    /// all of it is there again, or ends the connection.
    fn received(
        &mut self,
        conn: &mut Self::Conn,
        bytes: &[u8],
        reply: &mut Reply<'_, Self::Blob>,
    ) -> usize;

    /// These inputs will be offered next, as far as they come in order, each with the local port
    /// that it came to: for an application whose data is far away in memory to have it fetched, for
    /// all of them at once.
    fn prefetch(&mut self, inputs: &[(u16, &[u8])]) {
        let _ = inputs;
    }

    /// The input does not fit the transport's bound for one connection although nothing of it was
    /// consumed: answer that and close. `bytes` is all that was kept.
    fn overfull(&mut self, conn: &mut Self::Conn, bytes: &[u8], reply: &mut Reply<'_, Self::Blob>);

    /// The application may go on: there is capacity again after [`Reply::has_capacity`] said no, or
    /// the iteration after [`Reply::yield_now`] has come. Input that was held is delivered through
    /// `received` right after this call.
    fn resumed(&mut self, conn: &mut Self::Conn, reply: &mut Reply<'_, Self::Blob>) {
        let _ = (conn, reply);
    }

    /// The deadline set with [`Reply::set_timeout`] has passed. The deadline is cleared by this
    /// call, and so is
    /// [`Reply::read_later`]: input that was kept is offered through `received` right after it.
    fn timeout(&mut self, conn: &mut Self::Conn, reply: &mut Reply<'_, Self::Blob>);

    /// The connection is over; `conn` is reset to its default after this.
    fn closed(&mut self, conn: &mut Self::Conn, how: Closed) {
        let _ = (conn, how);
    }
}

/// How a connection came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The port on this side, in host byte order; on a passive open it tells which service is
    /// meant.
    pub local_port: u16,
    /// Whether this side sent the first SYN.
    pub active: bool,
    /// What [`crate::Stack::connect`] was given, so that a client knows its own; 0 on a passive
    /// open.
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
    /// The next hop of an active open did not answer the question for its hardware address.
    Unreachable,
    /// This side reset the connection: the application asked for it, or the process is shutting
    /// down.
    Aborted,
}
