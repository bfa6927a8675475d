//! One connection as the application sees it, whatever the transport's way to read and write.
//!
//! In come the transport's events, out go calls to the application ([`simoom_io::exchange`]) and,
//! from what that asks for in return, the connection's phase and deadlines. Nothing here makes a
//! system call or knows of readiness: `S`, the transport's own part of a connection, is only
//! carried along.

use super::counters::Counters;
use crate::clock::{NEVER, millis};
use crate::handler::Handler;
use crate::later::Completed;
use simoom_io::connection::Buffered;
use simoom_io::send::Pool;
use simoom_io::{Application, Closed, Connection, Exchange, Opened, Requests, input};
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

/// One connection. Must be ended with [`AppDriver::end`], or it keeps what it holds of the pools.
pub(super) struct Session<A: Application, S> {
    /// The transport's own part.
    pub(super) io: S,
    pub(super) connection: Connection<A>,
    /// The FIN is sent.
    lingers: bool,
    /// Bytes that were dropped since the FIN was sent.
    pub(super) lingered_bytes: u32,
    /// Bytes that the socket has taken since the send timeout began to run.
    pub(super) taken_bytes: u32,
    application_ms: u64,
    transport_ms: u64,
    /// The end of the linger timeout, which a drain may look at earlier.
    lingers_until_ms: u64,
}

impl<A: Application, S> Session<A, S> {
    pub(super) fn new(io: S) -> Self {
        Session {
            io,
            connection: Connection::default(),
            lingers: false,
            lingered_bytes: 0,
            taken_bytes: 0,
            application_ms: NEVER,
            transport_ms: NEVER,
            lingers_until_ms: NEVER,
        }
    }

    /// How far the connection has come.
    pub(super) fn phase(&self) -> Phase {
        let flow = self.connection.flow;
        if flow.is_aborted() {
            Phase::Aborted
        } else if self.lingers {
            Phase::Lingering
        } else if flow.is_closing() {
            Phase::Closing
        } else {
            Phase::Open
        }
    }

    /// When this connection must be looked at, at the latest; [`NEVER`] if that does not matter.
    pub(super) fn next_deadline_ms(&self) -> u64 {
        // A connection that closes has no deadline of the application.
        self.application_ms.min(self.transport_ms)
    }

    /// Whether what is queued is the last that is sent.
    pub(super) fn sends_last(&self) -> bool {
        self.phase() == Phase::Closing
    }

    /// Whether the transport holds nothing of a request or an answer.
    pub(super) fn holds_nothing(&self) -> bool {
        self.connection.is_idle()
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
pub(super) struct AppDriver<A: Application> {
    pub(super) app: A,
    pub(super) pool: Pool<A::Blob>,
    pub(super) inputs: input::Pool,
    pub(super) counters: Counters,
    /// The time of this turn of the loop.
    pub(super) now_ms: u64,
    pub(super) send_timeout: Duration,
    pub(super) linger_timeout: Duration,
}

impl<A: Handler> AppDriver<A> {
    pub(super) fn opened<S>(&mut self, session: &mut Session<A, S>, opened: Opened) {
        self.event(session, |app, exchange| exchange.open(app, opened));
    }

    /// Bytes were taken from the socket. Returns how many of them are done with; the others must be
    /// brought again.
    pub(super) fn receive<S>(&mut self, session: &mut Session<A, S>, bytes: &[u8]) -> usize {
        self.event(session, |app, exchange| exchange.receive(app, bytes))
    }

    /// `n` bytes were read into the space behind those held.
    pub(super) fn receive_held<S>(&mut self, session: &mut Session<A, S>, n: usize) {
        session.connection.input.extend(&mut self.inputs, n);
        self.event(session, |app, exchange| exchange.receive_held(app));
    }

    /// `all` is what is held, and input behind it that stays in the socket. Returns how many of
    /// these bytes are consumed.
    pub(super) fn receive_peeked<S>(&mut self, session: &mut Session<A, S>, all: &[u8]) -> usize {
        self.event(session, |app, exchange| exchange.receive_peeked(app, all))
    }

    /// Calls the application if it waits for capacity and there is. Returns whether it did.
    pub(super) fn resume<S>(&mut self, session: &mut Session<A, S>) -> bool {
        self.event(session, |app, exchange| exchange.resume(app))
    }

    /// The iteration after a yield of the application has come: it goes on. Returns whether it had
    /// yielded.
    pub(super) fn iterate<S>(&mut self, session: &mut Session<A, S>) -> bool {
        let has_yielded = session.connection.flow.has_yielded();
        if has_yielded {
            self.event(session, |app, exchange| exchange.iterate(app));
        }
        has_yielded
    }

    /// Another thread has completed what the application left to it. Returns whether the
    /// application was told.
    pub(super) fn complete<S>(
        &mut self,
        session: &mut Session<A, S>,
        completed: Completed,
    ) -> bool {
        self.event(session, |app, exchange| {
            exchange.complete(app, |app, conn, reply| app.completed(conn, completed, reply))
        })
    }

    /// The peer has finished, and all that it sent was read.
    pub(super) fn finish<S>(&mut self, session: &mut Session<A, S>) {
        self.event(session, |_, exchange| exchange.finish());
    }

    /// Looks which deadline has passed, and tells the application if it was its own.
    pub(super) fn due<S>(&mut self, session: &mut Session<A, S>) -> Due {
        if session.transport_ms <= self.now_ms {
            session.transport_ms = NEVER;
            return match session.phase() {
                Phase::Lingering => Due::Linger,
                _ if session.connection.queue.is_empty() => Due::Held,
                _ => Due::Send,
            };
        }
        if session.application_ms > self.now_ms {
            return Due::Nothing;
        }
        session.application_ms = NEVER;
        self.counters.timeouts += 1;
        self.event(session, |app, exchange| exchange.expire(app));
        Due::Application
    }

    /// The socket took `n` bytes of the queue. If some are left, the send timeout runs anew once
    /// the socket has taken what a peer must take in that time.
    pub(super) fn sent<S>(&mut self, session: &mut Session<A, S>, n: usize) {
        self.counters.bytes_sent += n as u64;
        session.connection.queue.acknowledge(&mut self.pool, n as u64);
        session.taken_bytes =
            session.taken_bytes.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
        if session.connection.queue.is_empty() {
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

    /// Delivers no more input, and closes once everything queued is sent.
    pub(super) fn close<S>(&mut self, session: &mut Session<A, S>) {
        self.event(session, |_, exchange| exchange.close());
    }

    /// The connection is to be reset.
    pub(super) fn abort<S>(&mut self, session: &mut Session<A, S>) {
        self.event(session, |_, exchange| exchange.abort());
    }

    /// Limits how long a connection with nothing queued waits for what others hold: room, or a
    /// buffer for input.
    pub(super) fn limit_wait<S>(&self, session: &mut Session<A, S>, waits: bool) {
        if session.phase() != Phase::Open || !session.connection.queue.is_empty() {
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

    /// The FIN was sent: from now on the peer has the linger timeout to close.
    pub(super) fn linger<S>(&mut self, session: &mut Session<A, S>) {
        session.lingers = true;
        session.lingers_until_ms = self.now_ms.saturating_add(millis(self.linger_timeout));
        session.transport_ms = session.lingers_until_ms;
    }

    /// Has [`AppDriver::due`] return [`Due::Linger`] in at most this long.
    pub(super) fn shorten_linger<S>(&self, session: &mut Session<A, S>, at_most_ms: u64) {
        session.transport_ms = session.transport_ms.min(self.now_ms.saturating_add(at_most_ms));
    }

    /// Whether the peer has had the whole linger timeout.
    pub(super) fn is_linger_over<S>(&self, session: &Session<A, S>) -> bool {
        session.lingers_until_ms <= self.now_ms
    }

    /// Has [`AppDriver::due`] return [`Due::Linger`] again: in so long, or when the linger timeout ends.
    pub(super) fn resume_linger<S>(&self, session: &mut Session<A, S>, after_ms: u64) {
        session.transport_ms = session.lingers_until_ms.min(self.now_ms.saturating_add(after_ms));
    }

    /// Whether draining may close this connection now.
    pub(super) fn idle<S>(&self, session: &Session<A, S>) -> bool {
        session.holds_nothing() && self.app.idle(&session.connection.conn)
    }

    /// Ends a connection: gives back all it holds, and the transport's part of it.
    pub(super) fn end<S>(&mut self, mut session: Session<A, S>, how: Closed) -> S {
        match how {
            Closed::Finished => self.counters.closed_finished += 1,
            Closed::ResetByPeer | Closed::Refused => self.counters.closed_reset_by_peer += 1,
            Closed::TimedOut | Closed::Unreachable => self.counters.closed_timed_out += 1,
            Closed::Aborted => self.counters.closed_aborted += 1,
        }
        self.app.closed(&mut session.connection.conn, how);
        session.connection.release(&mut self.pool, &mut self.inputs);
        session.io
    }

    /// Handles an event between transport and application, and does what is asked for.
    fn event<S, R>(
        &mut self,
        session: &mut Session<A, S>,
        event: impl FnOnce(&mut A, &mut Exchange<'_, A::Conn, A::Blob, Buffered<'_>>) -> R,
    ) -> R {
        let was_open = session.connection.flow.is_open();
        let mut exchange = session.connection.exchange(&mut self.pool, &mut self.inputs);
        let result = event(&mut self.app, &mut exchange);
        let Requests { deadline, wants_capacity: _, yields: _, overflow, overfull } =
            exchange.requests();
        if let Some(deadline) = deadline {
            session.application_ms = deadline.map_or(NEVER, |after| {
                self.now_ms.saturating_add(millis(Duration::from_micros(after.total_micros())))
            });
        }
        self.counters.answer_overflow += u64::from(overflow);
        self.counters.overfull += u64::from(overfull);
        // What is not queued does not wait for the peer any more.
        if was_open && session.connection.flow.is_closing() && session.connection.queue.is_empty() {
            session.transport_ms = NEVER;
        }
        result
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
