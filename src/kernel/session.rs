//! One connection as the application sees it, whatever the transport's way to read and write.
//!
//! In come the transport's events, out go calls to the application and, from what it asks for in
//! return (its [`Wishes`]), the connection's phase and deadlines. Nothing here makes a system call
//! or knows of readiness: `S`, the transport's own part of a connection, is only carried along.

use super::INPUT_BYTES;
use super::counters::Counters;
use crate::clock::{NEVER, millis};
use crate::hosted::Hosted;
use simoom_io::keep::{self, Kept};
use simoom_io::send::{Pool, Queue, Wishes};
use simoom_io::{Application, Closed, Opened, Reply};
use simoom_tcp::READ_RATE_MIN;
use std::time::Duration;

/// A peer that sends more than this after the FIN is reset: it does not listen.
const LINGER_BYTES: u32 = 64 << 20;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Input is offered and answered.
    Open,
    /// The application asked to close: what is queued is sent, then the FIN.
    Closing,
    /// The FIN is sent; what still comes is discarded until the peer closes, because closing with
    /// input unread would send a reset that can destroy the last answer on its way (RFC 9112 §9.6).
    Lingering,
    /// The application asked for a reset.
    Aborted,
}

/// One connection. Must be ended with [`Host::end`], or it keeps what it holds of the pools.
pub(super) struct Session<A: Application, S> {
    /// The transport's own part.
    pub(super) io: S,
    pub(super) phase: Phase,
    /// The application was refused room and waits for `resumed`.
    pub(super) wants_room: bool,
    /// It wants input nevertheless.
    pub(super) reads_on: bool,
    /// The application wants no input before its deadline.
    pub(super) reads_later: bool,
    /// Bytes that were dropped since the FIN was sent.
    pub(super) lingered_bytes: u32,
    /// Bytes that the socket has taken since the send timeout began to run.
    pub(super) taken_bytes: u32,
    pub(super) queue: Queue,
    pub(super) kept: Kept,
    conn: A::Conn,
    application_ms: u64,
    transport_ms: u64,
}

impl<A: Application, S> Session<A, S> {
    pub(super) fn new(io: S) -> Self {
        Session {
            io,
            phase: Phase::Open,
            wants_room: false,
            reads_on: false,
            reads_later: false,
            lingered_bytes: 0,
            taken_bytes: 0,
            queue: Queue::default(),
            kept: Kept::default(),
            conn: A::Conn::default(),
            application_ms: NEVER,
            transport_ms: NEVER,
        }
    }

    /// When this connection must be looked at, at the latest; [`NEVER`] if that does not matter.
    pub(super) fn next_deadline_ms(&self) -> u64 {
        match self.phase {
            Phase::Open => self.application_ms.min(self.transport_ms),
            Phase::Closing | Phase::Lingering | Phase::Aborted => self.transport_ms,
        }
    }

    /// Whether what is queued is the last that is sent.
    pub(super) fn sends_last(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// Whether the application takes no input now.
    pub(super) fn takes_no_input(&self) -> bool {
        self.wants_room || self.reads_later
    }

    /// Whether the transport holds nothing of a request or an answer.
    pub(super) fn holds_nothing(&self) -> bool {
        self.phase == Phase::Open
            && !self.takes_no_input()
            && self.kept.is_empty()
            && self.queue.is_empty()
    }
}

/// Which deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// None: it was put off since it was armed.
    Nothing,
    /// The application's; it was told.
    Application,
    /// The peer has taken nothing for the send timeout, as far as is known.
    Send,
    /// The connection has waited for room or a buffer that others hold, for the send timeout.
    Held,
    /// The peer has not closed.
    Linger,
}

/// The application and what all its connections share.
pub(super) struct Host<A: Application> {
    pub(super) app: A,
    pub(super) pool: Pool<A::Blob>,
    pub(super) inputs: keep::Pool,
    pub(super) counters: Counters,
    /// The time of this turn of the loop.
    pub(super) now_ms: u64,
    pub(super) send_timeout: Duration,
    pub(super) linger_timeout: Duration,
}

impl<A: Hosted> Host<A> {
    pub(super) fn opened<S>(&mut self, session: &mut Session<A, S>, opened: Opened) {
        self.call(session, |app, conn, reply| app.opened(conn, opened, reply));
    }

    /// Offers `bytes`, which include whatever was kept, and says how many of them are done with.
    /// None are if the application has seen more than that: a part lies in the socket and must be
    /// read first.
    pub(super) fn offer<S>(&mut self, session: &mut Session<A, S>, bytes: &[u8]) -> usize {
        if !session.kept.may_offer(bytes.len()) {
            return 0;
        }
        let consumed = self.call(session, |app, conn, reply| app.received(conn, bytes, reply));
        assert!(consumed <= bytes.len(), "{consumed} bytes consumed of {}", bytes.len());
        session.kept.offered(bytes.len(), consumed);
        if session.phase == Phase::Open
            && consumed == 0
            && bytes.len() >= INPUT_BYTES
            && !session.takes_no_input()
        {
            self.counters.overfull += 1;
            self.call(session, |app, conn, reply| app.overfull(conn, bytes, reply));
            self.close(session);
        }
        if session.phase == Phase::Open { consumed } else { bytes.len() }
    }

    /// Offers what is kept.
    pub(super) fn offer_kept<S>(&mut self, session: &mut Session<A, S>) {
        // The buffers step aside so that the application can be called with bytes that lie in them.
        let (inputs, kept) = (std::mem::take(&mut self.inputs), session.kept);
        let consumed = self.offer(session, kept.bytes(&inputs));
        self.inputs = inputs;
        self.consume(session, consumed);
    }

    /// Keeps what the application left of a read: no more may have been read than
    /// [`largest_free`](keep::Pool::largest_free) says.
    pub(super) fn keep<S>(&mut self, session: &mut Session<A, S>, rest: &[u8]) {
        let taken = session.kept.append(&mut self.inputs, rest);
        assert_eq!(taken, rest.len(), "more was read than a free buffer keeps");
    }

    /// The first `n` kept bytes are done with. A large buffer that has become too large is given
    /// back.
    pub(super) fn consume<S>(&mut self, session: &mut Session<A, S>, n: usize) {
        session.kept.consume(&mut self.inputs, n);
        session.kept.shrink(&mut self.inputs);
    }

    /// Calls `resumed`, and `received` with what is kept.
    pub(super) fn resumed<S>(&mut self, session: &mut Session<A, S>) {
        session.wants_room = false;
        self.call(session, A::resumed);
        if session.phase == Phase::Open && !session.takes_no_input() && !session.kept.is_empty() {
            self.offer_kept(session);
        }
    }

    /// Whether an application that was refused room may be called again.
    pub(super) fn has_room<S>(&self, session: &Session<A, S>) -> bool {
        Reply::room(&self.pool, &session.queue)
    }

    /// Looks which deadline has passed, and tells the application if it was its own.
    pub(super) fn due<S>(&mut self, session: &mut Session<A, S>) -> Due {
        if session.transport_ms <= self.now_ms {
            session.transport_ms = NEVER;
            return match session.phase {
                Phase::Lingering => Due::Linger,
                _ if session.queue.is_empty() => Due::Held,
                _ => Due::Send,
            };
        }
        if session.phase != Phase::Open || session.application_ms > self.now_ms {
            return Due::Nothing;
        }
        session.application_ms = NEVER;
        self.counters.timeouts += 1;
        let put_off = std::mem::take(&mut session.reads_later);
        self.call(session, A::timeout);
        if put_off
            && session.phase == Phase::Open
            && !session.takes_no_input()
            && !session.kept.is_empty()
        {
            self.offer_kept(session);
        }
        Due::Application
    }

    /// The socket took `n` bytes of the queue. If some are left, the send timeout runs anew once
    /// the socket has taken what a peer must take in that time.
    pub(super) fn sent<S>(&mut self, session: &mut Session<A, S>, n: usize) {
        self.counters.bytes_sent += n as u64;
        session.queue.acknowledge(&mut self.pool, n as u64);
        session.taken_bytes =
            session.taken_bytes.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
        if session.queue.is_empty() {
            (session.transport_ms, session.taken_bytes) = (NEVER, 0);
        } else if session.transport_ms == NEVER || !self.took_too_little(session.taken_bytes) {
            session.transport_ms = self.now_ms.saturating_add(millis(self.send_timeout));
            session.taken_bytes = 0;
        }
    }

    /// Whether a peer that takes so many bytes in the send timeout is too slow.
    pub(super) fn took_too_little(&self, bytes: u32) -> bool {
        u64::from(bytes)
            < (millis(self.send_timeout).saturating_mul(u64::from(READ_RATE_MIN)) / 1000).max(1)
    }

    /// Offers no more input, and closes once everything queued is sent.
    pub(super) fn close<S>(&mut self, session: &mut Session<A, S>) {
        if session.phase == Phase::Open {
            session.phase = Phase::Closing;
            session.wants_room = false;
            session.reads_later = false;
            if session.queue.is_empty() {
                session.transport_ms = NEVER;
            }
        }
    }

    /// Limits how long a connection with nothing queued waits for what others hold: room, or a
    /// buffer for input.
    pub(super) fn limit_wait<S>(&self, session: &mut Session<A, S>, waits: bool) {
        if session.phase != Phase::Open || !session.queue.is_empty() {
            return;
        }
        if !waits {
            session.transport_ms = NEVER;
        } else if session.transport_ms == NEVER {
            session.transport_ms = self.now_ms.saturating_add(millis(self.send_timeout));
        }
    }

    /// Takes note of bytes that were dropped after the FIN. Says whether the peer may send more.
    pub(super) fn dropped<S>(&mut self, session: &mut Session<A, S>, n: usize) -> bool {
        self.counters.bytes_received += n as u64;
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        session.lingered_bytes = session.lingered_bytes.saturating_add(n);
        session.lingered_bytes <= LINGER_BYTES
    }

    /// The peer has at most this long to close.
    pub(super) fn shorten_linger<S>(&self, session: &mut Session<A, S>, at_most_ms: u64) {
        session.transport_ms = session.transport_ms.min(self.now_ms.saturating_add(at_most_ms));
    }

    /// The FIN was sent: from now on the peer has the linger timeout to close.
    pub(super) fn linger<S>(&mut self, session: &mut Session<A, S>) {
        session.phase = Phase::Lingering;
        session.transport_ms = self.now_ms.saturating_add(millis(self.linger_timeout));
        session.kept.clear(&mut self.inputs);
    }

    /// Whether draining may close this connection now.
    pub(super) fn idle<S>(&self, session: &Session<A, S>) -> bool {
        session.holds_nothing() && self.app.idle(&session.conn)
    }

    /// Ends a connection: gives back all it holds, and the transport's part of it.
    pub(super) fn end<S>(&mut self, mut session: Session<A, S>, how: Closed) -> S {
        match how {
            Closed::Finished => self.counters.closed_finished += 1,
            Closed::ResetByPeer | Closed::Refused => self.counters.closed_reset_by_peer += 1,
            Closed::TimedOut | Closed::Unreachable => self.counters.closed_timed_out += 1,
            Closed::Aborted => self.counters.closed_aborted += 1,
        }
        self.app.closed(&mut session.conn, how);
        session.queue.clear(&mut self.pool);
        session.kept.clear(&mut self.inputs);
        session.io
    }

    fn call<S, R>(
        &mut self,
        session: &mut Session<A, S>,
        call: impl FnOnce(&mut A, &mut A::Conn, &mut Reply<'_, A::Blob>) -> R,
    ) -> R {
        let mut wishes = Wishes::default();
        let mut reply = Reply::new(&mut self.pool, &mut session.queue, &mut wishes);
        let result = call(&mut self.app, &mut session.conn, &mut reply);
        self.act(session, wishes);
        result
    }

    fn act<S>(&mut self, session: &mut Session<A, S>, wishes: Wishes) {
        if let Some(timeout) = wishes.timeout {
            session.application_ms = timeout.map_or(NEVER, |after| {
                self.now_ms.saturating_add(millis(Duration::from_micros(after.total_micros())))
            });
        }
        self.counters.answer_overflow += u64::from(wishes.overflow);
        if wishes.abort || wishes.overflow {
            session.phase = Phase::Aborted;
        } else if wishes.close {
            self.close(session);
        } else if session.phase == Phase::Open {
            session.wants_room |= wishes.wants_room;
            session.reads_on = wishes.read_on;
            session.reads_later |= wishes.read_later;
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
