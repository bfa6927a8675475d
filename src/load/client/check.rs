//! Answers checked, and what went wrong counted by its kind: status, length, content, and how a connection ended.

use super::super::response::Head;
use super::super::tally::Fault;
use super::{Client, Conn, OPENING_PAUSE_US, Reference, Stage, Text, VERIFY_MAX_BYTES};
use simoom_stack::{Closed, Reply};

impl Client {
    /// A head has come: its content follows.
    #[inline]
    pub(super) fn begin_content(&mut self, conn: &mut Conn, head: Head) {
        (conn.length, conn.came, conn.status, conn.same) = (head.length, 0, head.status, true);
        conn.closes |= head.closes;
        conn.stage = Stage::Content;
    }

    /// Takes the part of the content that `bytes` begins with; returns how many bytes that is.
    #[inline]
    pub(super) fn content(&mut self, conn: &mut Conn, bytes: &[u8]) -> usize {
        let n = bytes.len().min(usize::try_from(conn.length - conn.came).unwrap_or(usize::MAX));
        if self.plan.verify && is_good(conn.status) {
            let at = conn.came as usize;
            match &self.reference {
                Some(first) => conn.same &= first.content.get(at..at + n) == Some(&bytes[..n]),
                None if conn.length <= VERIFY_MAX_BYTES => self.draft.extend_from_slice(&bytes[..n]),
                None => {}
            }
        }
        conn.came += n as u64;
        n
    }

    /// A whole answer is there.
    #[inline]
    pub(super) fn answered(&mut self, conn: &mut Conn) {
        conn.outstanding -= 1;
        conn.stage = Stage::Open;
        let Conn { length, status, .. } = *conn;
        if !is_good(status) {
            return self.fault(Fault::Status, || format!("status {status}"));
        }
        let Some(first) = &self.reference else { return self.first_answer(conn) };
        if length != first.length {
            let expected = first.length;
            return self
                .fault(Fault::Length, || format!("{length} bytes of content where the first had {expected}"));
        }
        if !conn.same {
            return self.fault(Fault::Content, || "other content than the first".to_owned());
        }
        self.count(conn);
    }

    #[inline]
    pub(super) fn count(&mut self, conn: &Conn) {
        self.answers += 1;
        if self.course.measures() {
            self.tally.response(self.now_us - conn.sent_us, conn.length);
        }
    }

    pub(super) fn first_answer(&mut self, conn: &Conn) {
        if self.plan.verify && conn.length > VERIFY_MAX_BYTES {
            let length = conn.length;
            return self.fault(Fault::Content, || {
                format!("content of {length} bytes; --verify remembers at most {VERIFY_MAX_BYTES}")
            });
        }
        self.reference = Some(Reference { length: conn.length, content: std::mem::take(&mut self.draft) });
        self.count(conn);
    }

    /// Counts a fault. Where not even the first request is answered well, there is no sense in going on.
    pub(super) fn fault(&mut self, fault: Fault, detail: impl FnOnce() -> String) {
        self.tally.fault(fault, detail);
        if self.reference.is_none() {
            self.end();
        }
    }

    /// Counts a fault that the connection does not survive.
    pub(super) fn fail(&mut self, conn: &mut Conn, fault: Fault, detail: String, reply: &mut Reply<'_, Text>) {
        self.fault(fault, || detail);
        self.forget_outstanding(conn);
        conn.stage = Stage::Failed;
        reply.abort();
    }

    /// From `at` on, `bytes` are more than was asked for.
    pub(super) fn surplus(
        &mut self,
        conn: &mut Conn,
        bytes: &[u8],
        at: usize,
        reply: &mut Reply<'_, Text>,
    ) -> usize {
        let detail = format!("{} bytes more than were asked for", bytes.len() - at);
        self.fail(conn, Fault::Surplus, detail, reply);
        bytes.len()
    }

    pub(super) fn forget_outstanding(&mut self, conn: &mut Conn) {
        self.in_flight -= u32::from(conn.outstanding > 0);
        conn.outstanding = 0;
    }

    /// All that was sent on this connection is answered.
    #[inline]
    pub(super) fn turn_over(&mut self, conn: &mut Conn, reply: &mut Reply<'_, Text>) {
        self.in_flight -= 1;
        if conn.closes {
            // The deadline stands: the server said that it would close.
            conn.stage = Stage::Ending;
        } else if self.plan.connection_per_request || self.course.is_over() {
            reply.close();
        } else if self.resting.is_empty() && self.may_send() && !self.course.is_opening() {
            // Its turn has come again.
            self.send(conn, reply);
        } else {
            reply.set_timeout(None);
            self.rest(conn);
        }
    }

    /// What an attempt to connect that came to nothing is counted as.
    pub(super) fn not_opened(&mut self, how: Closed) {
        self.opening -= 1;
        self.attempts_over += 1;
        self.opening_paused_until_us = self.now_us + OPENING_PAUSE_US;
        match how {
            Closed::Refused | Closed::ResetByPeer => self.fault(Fault::Refused, || "connection refused".to_owned()),
            Closed::TimedOut => self.fault(Fault::Unanswered, || "nobody answered the connection's SYN".to_owned()),
            Closed::Finished | Closed::Aborted => {}
        }
    }

    /// What the end of an open connection is counted as.
    pub(super) fn ended(&mut self, conn: &Conn, how: Closed) {
        self.open -= 1;
        let waits = conn.outstanding > 0;
        match (conn.stage, how) {
            (Stage::Failed, _) | (_, Closed::Aborted) => {}
            (_, Closed::ResetByPeer | Closed::Refused) => {
                self.fault(Fault::Reset, || "connection reset by the server".to_owned());
            }
            (_, Closed::TimedOut) => {
                self.fault(Fault::Timeout, || "the server acknowledged nothing any more".to_owned());
            }
            (Stage::Content, Closed::Finished) => {
                let Conn { length, came, .. } = *conn;
                self.fault(Fault::Short, || format!("closed after {came} of {length} bytes of content"));
            }
            (_, Closed::Finished) if waits => {
                self.fault(Fault::ClosedEarly, || "closed before the answer".to_owned());
            }
            (_, Closed::Finished) => self.tally.closed_between += u64::from(!self.plan.connection_per_request),
        }
    }
}

fn is_good(status: u16) -> bool {
    (200..300).contains(&status)
}
