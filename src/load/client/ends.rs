//! How requests and connections end: good answers and faults, each counted once and by its kind.

use super::super::protocol::{Lookups, Protocol, Text};
use super::super::stats::Fault;
use super::opening::OPEN_RETRY_US;
use super::{Client, ClientConnection, State};
use simoom_io::{Closed, Reply};

impl<P: Protocol> Client<P> {
    /// A whole answer is there, and good.
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

    /// Counts a fault. Where not even the first request is answered well, there is no sense in
    /// going on.
    pub(super) fn fault(&mut self, fault: Fault, detail: impl FnOnce() -> String) {
        self.stats.fault(fault, detail);
        if !self.proven {
            self.end();
        }
    }

    /// Counts a fault that the connection does not survive.
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

    /// From `at` on, `bytes` are more than was asked for.
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

    /// All that was sent on this connection is answered.
    #[inline]
    pub(super) fn requests_done(
        &mut self,
        conn: &mut ClientConnection<P::Progress>,
        reply: &mut Reply<'_, Text>,
    ) {
        self.note_if_none_was_free();
        self.in_flight -= 1;
        if conn.closes {
            // The deadline stands: the server said that it would close.
            conn.state = State::Ending;
        } else if self.plan.connection_per_request || self.schedule.is_over() {
            reply.close();
        } else if !self.slots.has_resting() && self.may_send() && !self.schedule.is_opening() {
            // Its turn has come again.
            self.send(conn, reply);
        } else {
            reply.set_timeout(None);
            self.slots.rest(conn.slot);
        }
    }

    /// What an attempt to connect that came to nothing is counted as.
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

    /// What the end of an open connection is counted as.
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
