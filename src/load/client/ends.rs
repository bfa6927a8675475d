//! The ends of requests and connections: good answers, and errors counted once by kind.

use super::super::protocol::{Lookups, Protocol, Text};
use super::super::stats::Fault;
use super::opening::OPEN_RETRY_US;
use super::{Client, ClientConnection, State};
use simoom_io::{Closed, Reply};

impl<P: Protocol> Client<P> {
    /// Counts a good answer.
    #[inline]
    pub(super) fn answered(
        &mut self,
        conn: &mut ClientConnection<P::Progress>,
        due_us: u64,
        lookups: Lookups,
    ) {
        (conn.outstanding, conn.answered) = (conn.outstanding - 1, conn.answered + 1);
        self.proven = true;
        self.answers += 1;
        if self.schedule.measures() {
            self.stats.response(lookups);
        }
        if self.schedule.counts(due_us) {
            self.stats.latency(self.now_us - due_us);
        }
    }

    /// Counts an error. If not even the first request succeeds, the run ends.
    pub(super) fn fault(&mut self, fault: Fault, detail: impl FnOnce() -> String) {
        self.stats.fault(fault, detail);
        if !self.proven {
            self.end();
        }
    }

    /// Counts an error that ends the connection.
    pub(super) fn fail(
        &mut self,
        conn: &mut ClientConnection<P::Progress>,
        fault: Fault,
        detail: String,
        reply: &mut Reply<'_, Text>,
    ) {
        self.fault(fault, || detail);
        self.forget_outstanding(conn);
        conn.state = State::Failed;
        reply.abort();
    }

    /// Counts the bytes from `at` on as surplus: nothing asked for them.
    pub(super) fn surplus(
        &mut self,
        conn: &mut ClientConnection<P::Progress>,
        bytes: &[u8],
        at: usize,
        reply: &mut Reply<'_, Text>,
    ) -> usize {
        let detail = format!("{} bytes more than requested", bytes.len() - at);
        self.fail(conn, Fault::Surplus, detail, reply);
        bytes.len()
    }

    pub(super) fn forget_outstanding(&mut self, conn: &mut ClientConnection<P::Progress>) {
        self.note_if_none_was_free();
        self.in_flight -= u32::from(conn.outstanding > 0);
        conn.outstanding = 0;
    }

    /// Called when all requests sent on a connection are answered.
    #[inline]
    pub(super) fn requests_done(
        &mut self,
        conn: &mut ClientConnection<P::Progress>,
        reply: &mut Reply<'_, Text>,
    ) {
        self.note_if_none_was_free();
        self.in_flight -= 1;
        if conn.closes {
            // The deadline stays: the server announced that it would close.
            conn.state = State::Ending;
        } else if self.plan.connection_per_request || self.schedule.is_over() {
            reply.close();
        } else if !self.slots.has_resting() && self.may_send() && !self.schedule.is_opening() {
            // The connection may send again at once.
            self.send(conn, reply);
        } else {
            reply.set_timeout(None);
            self.slots.rest(conn.slot);
        }
    }

    /// Counts a failed attempt to connect.
    pub(super) fn not_opened(&mut self, how: Closed) {
        self.opening -= 1;
        self.attempts_over += 1;
        self.opening_paused_until_us = self.now_us + OPEN_RETRY_US;
        match how {
            Closed::Refused | Closed::ResetByPeer => {
                self.fault(Fault::Refused, || "connection refused".to_owned());
            }
            Closed::TimedOut => {
                self.fault(Fault::Unanswered, || "the SYN was not answered".to_owned());
            }
            Closed::Unreachable => {
                self.fault(Fault::Unanswered, || "the next hop did not answer".to_owned());
            }
            Closed::Finished | Closed::Aborted => {}
        }
    }

    /// Counts the end of an open connection.
    pub(super) fn ended(&mut self, conn: &ClientConnection<P::Progress>, how: Closed) {
        self.open -= 1;
        let waits = conn.outstanding > 0;
        match (conn.state, how) {
            (State::Failed, _) | (_, Closed::Aborted) => {}
            (_, Closed::ResetByPeer | Closed::Refused) => {
                self.fault(Fault::Reset, || "connection reset by the server".to_owned());
            }
            (_, Closed::TimedOut | Closed::Unreachable) => {
                self.fault(Fault::Timeout, || {
                    "the server acknowledged nothing any more".to_owned()
                });
            }
            (_, Closed::Finished) if waits => match self.protocol.cut(&conn.progress) {
                Some(detail) => self.fault(Fault::Short, || detail),
                None => self.fault(Fault::ClosedEarly, || "closed before the answer".to_owned()),
            },
            (_, Closed::Finished) => {
                self.stats.closed_between += u64::from(!self.plan.connection_per_request);
            }
        }
    }
}
