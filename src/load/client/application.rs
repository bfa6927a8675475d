//! What a transport calls: the bytes of answers as they come, deadlines, and the ends of connections.

use super::super::response::Read;
use super::super::tally::Fault;
use super::{Client, Conn, Stage, Text};
use crate::hosted::Hosted;
use simoom_stack::{Application, Closed, Opened, Reply};

impl Application for Client {
    type Blob = Text;
    type Conn = Conn;

    fn opened(&mut self, conn: &mut Conn, _: Opened, reply: &mut Reply<'_, Text>) {
        self.opening -= 1;
        self.open += 1;
        self.attempts_over += 1;
        self.tally.opened += 1;
        conn.stage = Stage::Open;
        if conn.outstanding > 0 {
            self.write(conn.outstanding, reply);
        } else if !std::mem::replace(&mut self.listed[conn.slot as usize], true) {
            self.fresh.push_back(conn.slot);
        }
    }

    #[inline]
    fn received(&mut self, conn: &mut Conn, bytes: &[u8], reply: &mut Reply<'_, Text>) -> usize {
        let mut at = 0;
        loop {
            if conn.stage == Stage::Content {
                at += self.content(conn, &bytes[at..]);
                if conn.came < conn.length {
                    return at;
                }
                if conn.outstanding == 1 && at < bytes.len() {
                    return self.surplus(conn, bytes, at, reply);
                }
                self.answered(conn);
            }
            if at == bytes.len() {
                break;
            }
            if conn.outstanding == 0 {
                return self.surplus(conn, bytes, at, reply);
            }
            match self.heads.read(&bytes[at..]) {
                Read::Whole(len, head) => {
                    at += len;
                    self.begin_content(conn, head);
                }
                Read::Partial => return at,
                Read::Garbled(reason) => {
                    self.fail(conn, Fault::Garbled, reason, reply);
                    return bytes.len();
                }
            }
        }
        if conn.outstanding == 0 {
            self.turn_over(conn, reply);
        }
        at
    }

    fn overfull(&mut self, conn: &mut Conn, bytes: &[u8], reply: &mut Reply<'_, Text>) {
        let detail = format!("no end of the head within {} bytes", bytes.len());
        self.fail(conn, Fault::Garbled, detail, reply);
    }

    fn timeout(&mut self, conn: &mut Conn, reply: &mut Reply<'_, Text>) {
        if conn.outstanding > 0 {
            let detail = format!("no answer within {:?}", self.plan.timeout);
            self.fail(conn, Fault::Timeout, detail, reply);
        } else if conn.stage == Stage::Ending {
            reply.close();
        }
    }

    fn closed(&mut self, conn: &mut Conn, how: Closed) {
        // What the end of the run brings about is no fault.
        let how = if self.course.is_over() { Closed::Aborted } else { how };
        if conn.stage == Stage::Opening {
            self.not_opened(how);
        } else {
            self.ended(conn, how);
        }
        self.forget_outstanding(conn);
        self.unopened.push_back(conn.slot);
    }
}

impl Hosted for Client {
    fn clock(&mut self, _: u64) {}

    fn drain(&mut self) {
        self.end();
    }

    fn publish(&self, _: &mut dyn FnMut(&'static str, u64)) {}
}
