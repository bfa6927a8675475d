//! The calls of a transport: received bytes, deadlines, and the ends of connections.

use super::super::protocol::{Parsed, Protocol, Text, Verdict};
use super::super::stats::Fault;
use super::{Client, ClientConnection, ReadThrottle, State};
use crate::handler::Handler;
use crate::metrics::Metric;
use simoom_io::{Application, Closed, Duration, Opened, Reply};

impl<P: Protocol> Application for Client<P> {
    type Blob = Text;
    type Conn = ClientConnection<P::Progress>;

    fn prefetches(&self) -> bool {
        false
    }

    fn opened(&mut self, conn: &mut Self::Conn, _: Opened, reply: &mut Reply<'_, Text>) {
        self.opening -= 1;
        self.open += 1;
        self.attempts_over += 1;
        self.stats.opened += 1;
        self.worked = true;
        if conn.outstanding > 0 {
            conn.state = State::Unsent;
            self.resumed(conn, reply);
        } else {
            conn.state = State::Open;
            self.note_if_none_was_free();
            self.slots.begin(conn.slot);
        }
    }

    #[inline]
    fn received(
        &mut self,
        conn: &mut Self::Conn,
        bytes: &[u8],
        reply: &mut Reply<'_, Text>,
    ) -> usize {
        self.worked = true;
        match self.slow() {
            None => self.read(conn, bytes, reply),
            Some(throttle) => self.read_throttled(throttle, conn, bytes, reply),
        }
    }

    fn overfull(&mut self, conn: &mut Self::Conn, bytes: &[u8], reply: &mut Reply<'_, Text>) {
        let detail = format!("no end of the {} within {} bytes", P::BEGINS_WITH, bytes.len());
        self.fail(conn, Fault::Garbled, detail, reply);
    }

    /// Sends the connection's first request if there was no space for it before.
    fn resumed(&mut self, conn: &mut Self::Conn, reply: &mut Reply<'_, Text>) {
        let place = self.first_place(conn.slot);
        if conn.state == State::Unsent
            && self.protocol.ask(&mut self.pending[place..=place], reply) == 1
        {
            conn.state = State::Open;
            self.sent(place, 1, reply);
        }
    }

    fn timeout(&mut self, conn: &mut Self::Conn, reply: &mut Reply<'_, Text>) {
        if std::mem::take(&mut conn.pauses) {
            // The connection reads on, and waits for further bytes.
            reply.set_timeout(Some(self.timeout));
        } else if conn.outstanding > 0 {
            let detail = format!("no answer within {:?}", self.plan.timeout);
            self.fail(conn, Fault::Timeout, detail, reply);
        } else if conn.state == State::Ending {
            reply.close();
        }
    }

    fn closed(&mut self, conn: &mut Self::Conn, how: Closed) {
        // Connections that end with the run are not errors.
        let how = if self.schedule.is_over() { Closed::Aborted } else { how };
        if conn.state == State::Opening {
            self.not_opened(how);
        } else {
            self.ended(conn, how);
        }
        self.forget_outstanding(conn);
        self.slots.end(conn.slot);
    }
}

impl<P: Protocol> Client<P> {
    /// Reads part of the input if the connection may read yet, and another part if it is late. The
    /// rest waits for the next deadline.
    fn read_throttled(
        &mut self,
        throttle: ReadThrottle,
        conn: &mut ClientConnection<P::Progress>,
        bytes: &[u8],
        reply: &mut Reply<'_, Text>,
    ) -> usize {
        let mut taken = 0;
        while conn.read_at_us <= self.now_us && taken < bytes.len() {
            let rest = &bytes[taken..];
            let mut read =
                self.read(conn, &rest[..rest.len().min(throttle.bytes_per_read())], reply);
            if read == 0 {
                // This part must arrive whole and is longer. The connection waits longer for its
                // next reads.
                read = self.read(conn, rest, reply);
            }
            if read == 0 {
                // It has not arrived yet, so there is nothing to delay.
                return taken;
            }
            if conn.state == State::Failed {
                return bytes.len();
            }
            taken += read;
            conn.read_at_us = throttle.after(conn.read_at_us, read, self.now_us);
        }
        if conn.read_at_us > self.now_us && conn.outstanding > 0 {
            conn.pauses = true;
            reply.read_later();
            reply.set_timeout(Some(Duration::from_micros(conn.read_at_us - self.now_us)));
        }
        taken
    }

    /// Reads the answers in `bytes`.
    #[inline]
    fn read(
        &mut self,
        conn: &mut ClientConnection<P::Progress>,
        bytes: &[u8],
        reply: &mut Reply<'_, Text>,
    ) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if conn.outstanding == 0 {
                return self.surplus(conn, bytes, at, reply);
            }
            let pending = self.pending[self.first_place(conn.slot) + usize::from(conn.answered)];
            let Parsed { bytes: taken, content, closes, verdict } =
                self.protocol.read(&pending.what, &mut conn.progress, &bytes[at..]);
            at += taken;
            conn.closes |= closes;
            if self.schedule.measures() {
                self.stats.content_bytes += content as u64;
            }
            let is_last = conn.outstanding == 1;
            match verdict {
                Verdict::More => return at,
                Verdict::Lost(fault, detail) => {
                    self.fail(conn, fault, detail, reply);
                    return bytes.len();
                }
                _ if is_last && at < bytes.len() => return self.surplus(conn, bytes, at, reply),
                Verdict::Good(lookups) => self.answered(conn, pending.due_us, lookups),
                Verdict::Bad(fault, detail) => {
                    (conn.outstanding, conn.answered) = (conn.outstanding - 1, conn.answered + 1);
                    self.fault(fault, || detail);
                }
            }
        }
        if conn.outstanding == 0 {
            self.requests_done(conn, reply);
        }
        at
    }
}

impl<P: Protocol> Handler for Client<P> {
    fn clock(&mut self, _: crate::handler::Seconds) {}

    fn drain(&mut self) {
        self.end();
    }

    fn publish(&self, _: &mut dyn FnMut(&'static Metric, u64)) {}
}
