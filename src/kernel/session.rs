//! One connection as the application sees it, independent of the driver.
//!
//! Turns transport events into calls of the application ([`simoom_io::exchange`]). Sets the phase
//! and the deadlines of the connection from the actions that the application returns. Makes no
//! system call and knows nothing of readiness. `S` is the state of the transport for a connection;
//! this module only stores it.

use super::counters::Counters;
use crate::clock::{NEVER, millis};
use crate::handler::Handler;
use crate::later::Completed;
use simoom_io::connection::Buffered;
use simoom_io::send::Pool;
use simoom_io::{Application, Closed, Connection, Exchange, Opened, Requests, input};
use simoom_tcp::READ_RATE_MIN;
use std::time::Duration;

/// A peer that sends more bytes than this after the FIN is reset.
const LINGER_BYTES: u32 = 64 << 20;

/// State of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Input is delivered and answered.
    Open,
    /// The application closed the connection: queued bytes are sent, then the FIN.
    Closing,
    /// The FIN is sent, and input is discarded until the peer closes. Closing with unread input
    /// would send a reset that can destroy the last answer (RFC 9112 §9.6).
    Lingering,
    /// The application requested a reset.
    Aborted,
}

/// One connection. Must be ended with [`AppDriver::end`], which returns its memory to the pools.
pub(super) struct Session<A: Application, S> {
    /// State of the transport for this connection.
    pub(super) io: S,
    pub(super) connection: Connection<A>,
    /// Bytes discarded since the FIN was sent.
    pub(super) lingered_bytes: u32,
    /// Bytes that the socket accepted since the send timeout started.
    pub(super) taken_bytes: u32,
    send_timeout_ms: u64,
    application_ms: u64,
    transport_ms: u64,
    /// End of the linger timeout, once the FIN is sent. A drain may check the connection earlier.
    lingers_until_ms: u64,
}

impl<A: Application, S> Session<A, S> {
    pub(super) fn new(io: S, send_timeout_ms: u64) -> Self {
        Session {
            io,
            connection: Connection::default(),
            lingered_bytes: 0,
            taken_bytes: 0,
            send_timeout_ms,
            application_ms: NEVER,
            transport_ms: NEVER,
            lingers_until_ms: NEVER,
        }
    }

    /// The state of the connection.
    pub(super) fn phase(&self) -> Phase {
        let flow = self.connection.flow;
        if flow.is_aborted() {
            Phase::Aborted
        } else if self.lingers_until_ms != NEVER {
            Phase::Lingering
        } else if flow.is_closing() {
            Phase::Closing
        } else {
            Phase::Open
        }
    }

    /// Time of the next deadline; [`NEVER`] if there is none.
    pub(super) fn next_deadline_ms(&self) -> u64 {
        // A closing connection has no deadline of the application.
        self.application_ms.min(self.transport_ms)
    }

    /// Whether the next `bytes` of the queue are the last to be sent.
    pub(super) fn sends_last_with(&self, bytes: u64) -> bool {
        self.phase() == Phase::Closing && bytes == self.connection.queue.len()
    }

    /// Whether a peer that accepts `bytes` in the send timeout is too slow.
    pub(super) fn took_too_little(&self, bytes: u32) -> bool {
        u64::from(bytes)
            < (self.send_timeout_ms.saturating_mul(u64::from(READ_RATE_MIN)) / 1000).max(1)
    }

    /// Whether the transport holds no part of a request or an answer.
    pub(super) fn holds_nothing(&self) -> bool {
        self.connection.is_idle()
    }
}

/// The deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// None: the deadline was moved after the timer was set.
    Nothing,
    /// The deadline of the application, which has been called.
    Application,
    /// The send timeout: the socket accepted too few bytes.
    Send,
    /// The connection waited for send space or an input buffer for the send timeout.
    Held,
    /// The peer has not closed its side.
    Linger,
}

/// The application and the pools that its connections share.
pub(super) struct AppDriver<A: Application> {
    pub(super) app: A,
    pub(super) pool: Pool<A::Blob>,
    pub(super) inputs: input::Pool,
    pub(super) counters: Counters,
    /// The time at the start of this iteration.
    pub(super) now_ms: u64,
    pub(super) linger_timeout: Duration,
}

impl<A: Handler> AppDriver<A> {
    pub(super) fn opened<S>(&mut self, session: &mut Session<A, S>, opened: Opened) {
        self.event(session, |app, exchange| exchange.open(app, opened));
    }

    /// Delivers `bytes` that were read from the socket. Returns the number of bytes that are
    /// consumed or stored. The caller must deliver the others again.
    pub(super) fn receive<S>(&mut self, session: &mut Session<A, S>, bytes: &[u8]) -> usize {
        self.event(session, |app, exchange| exchange.receive(app, bytes))
    }

    /// Delivers the input buffer after `n` bytes were read into its spare space.
    pub(super) fn receive_held<S>(&mut self, session: &mut Session<A, S>, n: usize) {
        session.connection.input.extend(&mut self.inputs, n);
        self.event(session, |app, exchange| exchange.receive_held(app));
    }

    /// Delivers `all`: the input buffer, and input behind it that was peeked in the socket. Returns
    /// the number of consumed bytes.
    pub(super) fn receive_peeked<S>(&mut self, session: &mut Session<A, S>, all: &[u8]) -> usize {
        self.event(session, |app, exchange| exchange.receive_peeked(app, all))
    }

    /// Calls the application if it waits for send space and there is some. Returns whether it was
    /// called.
    pub(super) fn resume<S>(&mut self, session: &mut Session<A, S>) -> bool {
        self.event(session, |app, exchange| exchange.resume(app))
    }

    /// Calls the application in the iteration after it yielded. Returns whether it had yielded.
    pub(super) fn iterate<S>(&mut self, session: &mut Session<A, S>) -> bool {
        let has_yielded = session.connection.flow.has_yielded();
        if has_yielded {
            self.event(session, |app, exchange| exchange.iterate(app));
        }
        has_yielded
    }

    /// Passes a completion of another thread to the application. Returns whether the application
    /// was called.
    pub(super) fn complete<S>(
        &mut self,
        session: &mut Session<A, S>,
        completed: Completed,
    ) -> bool {
        self.event(session, |app, exchange| {
            exchange.complete(app, |app, conn, reply| app.completed(conn, completed, reply))
        })
    }

    /// Tells the application that all input up to the peer's FIN was read.
    pub(super) fn finish<S>(&mut self, session: &mut Session<A, S>) {
        self.event(session, |_, exchange| exchange.finish());
    }

    /// Returns the deadline that has passed. Calls the application if it is the application's.
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

    /// Removes `n` sent bytes from the queue. If bytes are left, the send timeout restarts once the
    /// socket has accepted the minimum for that time.
    pub(super) fn sent<S>(&mut self, session: &mut Session<A, S>, n: usize) {
        self.counters.bytes_sent += n as u64;
        session.connection.queue.acknowledge(&mut self.pool, n as u64);
        session.taken_bytes =
            session.taken_bytes.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
        if session.connection.queue.is_empty() {
            (session.transport_ms, session.taken_bytes) = (NEVER, 0);
        } else if session.transport_ms == NEVER || !session.took_too_little(session.taken_bytes) {
            session.transport_ms = self.now_ms.saturating_add(session.send_timeout_ms);
            session.taken_bytes = 0;
        }
    }

    /// Stops delivering input. Closes once the queue is sent.
    pub(super) fn close<S>(&mut self, session: &mut Session<A, S>) {
        self.event(session, |_, exchange| exchange.close());
    }

    /// Requests a reset of the connection.
    pub(super) fn abort<S>(&mut self, session: &mut Session<A, S>) {
        self.event(session, |_, exchange| exchange.abort());
    }

    /// Starts the limit of a wait for send space or an input buffer, if nothing is queued. Clears
    /// it if `waits` is false.
    pub(super) fn limit_wait<S>(&self, session: &mut Session<A, S>, waits: bool) {
        if session.phase() != Phase::Open || !session.connection.queue.is_empty() {
            return;
        }
        if !waits {
            session.transport_ms = NEVER;
        } else if session.transport_ms == NEVER {
            session.transport_ms = self.now_ms.saturating_add(session.send_timeout_ms);
        }
    }

    /// Counts bytes that were discarded after the FIN. Returns whether the peer may send more.
    pub(super) fn dropped<S>(&mut self, session: &mut Session<A, S>, n: usize) -> bool {
        self.counters.bytes_received += n as u64;
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        session.lingered_bytes = session.lingered_bytes.saturating_add(n);
        session.lingered_bytes <= LINGER_BYTES
    }

    /// Starts the linger timeout after the FIN was sent.
    pub(super) fn linger<S>(&mut self, session: &mut Session<A, S>) {
        session.lingers_until_ms =
            self.now_ms.saturating_add(millis(self.linger_timeout)).min(NEVER - 1);
        session.transport_ms = session.lingers_until_ms;
    }

    /// Makes [`AppDriver::due`] return [`Due::Linger`] in at most `at_most_ms`.
    pub(super) fn shorten_linger<S>(&self, session: &mut Session<A, S>, at_most_ms: u64) {
        session.transport_ms = session.transport_ms.min(self.now_ms.saturating_add(at_most_ms));
    }

    /// Whether the linger timeout has passed.
    pub(super) fn is_linger_over<S>(&self, session: &Session<A, S>) -> bool {
        session.lingers_until_ms <= self.now_ms
    }

    /// Makes [`AppDriver::due`] return [`Due::Linger`] again after `after_ms`, or when the linger
    /// timeout ends.
    pub(super) fn resume_linger<S>(&self, session: &mut Session<A, S>, after_ms: u64) {
        session.transport_ms = session.lingers_until_ms.min(self.now_ms.saturating_add(after_ms));
    }

    /// Whether a drain may close this connection now.
    pub(super) fn idle<S>(&self, session: &Session<A, S>) -> bool {
        session.holds_nothing() && self.app.idle(&session.connection.conn)
    }

    /// Ends a connection. Frees its memory and returns the state of the transport.
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

    /// Runs `event` between transport and application, and carries out the returned actions.
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
        // With an empty queue there is no wait for the peer.
        if was_open && session.connection.flow.is_closing() && session.connection.queue.is_empty() {
            session.transport_ms = NEVER;
        }
        result
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
