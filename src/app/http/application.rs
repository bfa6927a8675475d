//! The calls of a transport for each connection.

use super::Http;
use super::connection::{Connection, Phase, Waiting};
use super::error::HttpError;
use super::steps::Step;
use crate::app::Blob;
use simoom_io::{Application, Closed, Opened, Reply};

impl Application for Http {
    type Blob = Blob;
    type Conn = Connection;

    fn wants_ends(&self, _: u16) -> bool {
        self.access.is_some() || !self.proxies.is_empty()
    }

    fn prefetches(&self) -> bool {
        false
    }

    fn closed(&mut self, conn: &mut Connection, _: Closed) {
        self.drop_head(conn);
        if let Some(files) = &mut self.files {
            files.closed(conn.place);
        }
        self.places.give_back(conn.place);
    }

    fn opened(&mut self, conn: &mut Connection, opened: Opened, reply: &mut Reply<'_, Blob>) {
        conn.place = self.places.take();
        if let Some(access) = &mut self.access {
            access.opened(conn.place, opened.ends);
        }
        if let Some(files) = &mut self.files {
            files.opened(conn.place, opened.id);
        }
        if let Some(ends) = opened.ends
            && self.proxies.iter().any(|network| network.contains(ends.remote.ip()))
        {
            conn.phase = Phase::Proxy;
        }
        self.counters.http_connections += 1;
        self.wait(conn, Waiting::Idle, reply);
    }

    fn received(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        if self.current.version() != self.version {
            self.take_current();
        }
        self.forget_request();
        let (mut at, mut steps) = (0, 0);
        let waiting = loop {
            if at == bytes.len() {
                break if matches!(conn.phase, Phase::Body(..)) {
                    Waiting::Body
                } else {
                    Waiting::Idle
                };
            }
            if !reply.has_capacity() {
                break Waiting::Idle;
            }
            if steps == self.options.pipeline_max {
                self.counters.http_pipeline_limits += 1;
                reply.yield_now();
                break Waiting::Idle;
            }
            steps += 1;
            self.whole = reply.queued();
            match self.step(conn, &bytes[at..], reply) {
                Step::Took(n) => at += n,
                Step::Wait(waiting) => break waiting,
            }
        };
        self.wait(conn, waiting, reply);
        self.whole = 0;
        at
    }

    fn overfull(&mut self, conn: &mut Connection, bytes: &[u8], reply: &mut Reply<'_, Blob>) {
        if matches!(conn.phase, Phase::Proxy) {
            return self.reset_proxy(conn, reply);
        }
        self.forget_request();
        self.whole = reply.queued();
        let error = match conn.phase {
            Phase::Head(search) => search.overfull(),
            _ => HttpError::HeadTooLarge,
        };
        self.refuse(conn, error, bytes, reply);
        self.wait(conn, Waiting::Idle, reply);
        self.whole = 0;
    }

    fn resumed(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        if matches!(conn.phase, Phase::Reading) {
            self.go_on_reading(conn, reply);
        }
    }

    fn timeout(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        self.forget_request();
        self.whole = reply.queued();
        match (conn.deadline.waiting, conn.phase) {
            (Waiting::Head, Phase::Proxy) => {
                self.whole = 0;
                return self.reset_proxy(conn, reply);
            }
            (Waiting::Head, _) => self.refuse(conn, HttpError::HeadTimeout, b"", reply),
            (Waiting::Body, Phase::Body(_, slot)) => {
                self.end_body(conn, slot, Some(HttpError::BodyTimeout), reply);
            }
            // The request comes again with the next input, which follows at once.
            (Waiting::Password, _) => {
                conn.deadline.checks += 1;
                conn.deadline.waiting = Waiting::Unset;
                self.whole = 0;
                return;
            }
            _ => {
                self.whole = 0;
                return self.idle(conn, reply);
            }
        }
        self.wait(conn, Waiting::Idle, reply);
        self.whole = 0;
    }
}
