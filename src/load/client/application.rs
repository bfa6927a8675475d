//! What a transport calls: the bytes of answers as they come, deadlines, and the ends of
//! connections.

use super::super::protocol::{Protocol, Text, Then, Took};
use super::super::tally::Fault;
use super::{Client, Conn, Sips, Stage};
use crate::handler::Handler;
use simoom_io::{Application, Closed, Duration, Opened, Reply};

impl<P: Protocol> Application for Client<P> {
    type Blob = Text;
    type Conn = Conn<P::Progress>;

    fn opened(&mut self, conn: &mut Self::Conn, _: Opened, reply: &mut Reply<'_, Text>) {
        self.opening -= 1;
        self.open += 1;
        self.attempts_over += 1;
        self.tally.opened += 1;
        self.worked = true;
        if conn.outstanding > 0 {
            conn.stage = Stage::Unsent;
            self.resumed(conn, reply);
        } else {
            conn.stage = Stage::Open;
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
            Some(sips) => self.sip(sips, conn, bytes, reply),
        }
    }

    fn overfull(&mut self, conn: &mut Self::Conn, bytes: &[u8], reply: &mut Reply<'_, Text>) {
        let detail = format!("no end of the {} within {} bytes", P::BEGINS_WITH, bytes.len());
        self.fail(conn, Fault::Garbled, detail, reply);
    }

    /// There may be room for the request that the connection was opened for.
    fn resumed(&mut self, conn: &mut Self::Conn, reply: &mut Reply<'_, Text>) {
        let place = self.first_place(conn.slot);
        if conn.stage == Stage::Unsent
            && self.protocol.ask(&mut self.asked[place..=place], reply) == 1
        {
            conn.stage = Stage::Open;
            self.sent(place, 1, reply);
        }
    }

    fn timeout(&mut self, conn: &mut Self::Conn, reply: &mut Reply<'_, Text>) {
        if std::mem::take(&mut conn.pauses) {
            // It reads on, and waits for what follows.
            reply.set_timeout(Some(self.timeout));
        } else if conn.outstanding > 0 {
            let detail = format!("no answer within {:?}", self.plan.timeout);
            self.fail(conn, Fault::Timeout, detail, reply);
        } else if conn.stage == Stage::Ending {
            reply.close();
        }
    }

    fn closed(&mut self, conn: &mut Self::Conn, how: Closed) {
        // What the end of the run brings about is no fault.
        let how = if self.course.is_over() { Closed::Aborted } else { how };
        if conn.stage == Stage::Opening {
            self.not_opened(how);
        } else {
            self.ended(conn, how);
        }
        self.forget_outstanding(conn);
        self.slots.end(conn.slot);
    }
}

impl<P: Protocol> Client<P> {
    /// Reads a sip, if the connection may read yet, and another if it is late; puts the rest off.
    fn sip(
        &mut self,
        sips: Sips,
        conn: &mut Conn<P::Progress>,
        bytes: &[u8],
        reply: &mut Reply<'_, Text>,
    ) -> usize {
        let mut taken = 0;
        while conn.read_at_us <= self.now_us && taken < bytes.len() {
            let rest = &bytes[taken..];
            let mut read = self.read(conn, &rest[..rest.len().min(sips.sip_bytes())], reply);
            if read == 0 {
                // What must come in one piece is longer; the connection pays for it with its next
                // sips.
                read = self.read(conn, rest, reply);
            }
            if read == 0 {
                // It has not come yet: there is nothing to put off.
                return taken;
            }
            if conn.stage == Stage::Failed {
                return bytes.len();
            }
            taken += read;
            conn.read_at_us = sips.after(conn.read_at_us, read, self.now_us);
        }
        if conn.read_at_us > self.now_us && conn.outstanding > 0 {
            conn.pauses = true;
            reply.read_later();
            reply.set_timeout(Some(Duration::from_micros(conn.read_at_us - self.now_us)));
        }
        taken
    }

    /// Reads answers as far as `bytes` hold them.
    #[inline]
    fn read(
        &mut self,
        conn: &mut Conn<P::Progress>,
        bytes: &[u8],
        reply: &mut Reply<'_, Text>,
    ) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if conn.outstanding == 0 {
                return self.surplus(conn, bytes, at, reply);
            }
            let asked = self.asked[self.first_place(conn.slot) + usize::from(conn.answered)];
            let Took { bytes: taken, content, closes, then } =
                self.protocol.read(&asked.what, &mut conn.progress, &bytes[at..]);
            at += taken;
            conn.closes |= closes;
            if self.course.measures() {
                self.tally.content_bytes += content as u64;
            }
            let is_last = conn.outstanding == 1;
            match then {
                Then::More => return at,
                Then::Lost(fault, detail) => {
                    self.fail(conn, fault, detail, reply);
                    return bytes.len();
                }
                _ if is_last && at < bytes.len() => return self.surplus(conn, bytes, at, reply),
                Then::Good(lookups) => self.answered(conn, asked.due_us, lookups),
                Then::Bad(fault, detail) => {
                    (conn.outstanding, conn.answered) = (conn.outstanding - 1, conn.answered + 1);
                    self.fault(fault, || detail);
                }
            }
        }
        if conn.outstanding == 0 {
            self.turn_over(conn, reply);
        }
        at
    }
}

impl<P: Protocol> Handler for Client<P> {
    fn clock(&mut self, _: crate::handler::Seconds) {}

    fn drain(&mut self) {
        self.end();
    }

    fn publish(&self, _: &mut dyn FnMut(&'static str, u64)) {}
}
