//! The applications: bytes in, ranges of bytes out; the same ones over every transport.
//!
//! A transport drives one [`Services`] per worker. Each connection is served by the service that owns the port it
//! came to; a service knows nothing of the others, nor of ports.

pub mod content;
pub mod http;
#[doc(hidden)]
pub mod testing;

use crate::hosted::Hosted;
use content::Content;
use http::Http;
use simoom_stack::{Application, Closed, Opened, Reply};
use std::sync::Arc;

/// The immutable bytes that answers are made of.
#[derive(Clone, Debug)]
pub enum Blob {
    /// Bytes built into the program.
    Static(&'static [u8]),
    /// Bytes held in memory, a file's say, shared by all answers that carry them.
    Shared(Arc<[u8]>),
}

impl simoom_stack::Blob for Blob {
    fn bytes(&self) -> &[u8] {
        match self {
            Blob::Static(bytes) => bytes,
            Blob::Shared(bytes) => bytes,
        }
    }
}

/// What can be served on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// HTTP/1.1 over the content.
    Http,
}

/// All services of one worker, as one application.
pub struct Services {
    ports: Box<[(u16, Service)]>,
    http: Http,
}

/// What the service of a connection keeps for it.
#[derive(Debug, Default)]
pub enum Conn {
    /// Not opened, or to a port that no service owns.
    #[default]
    Unserved,
    /// A connection of [`Http`].
    Http(http::Conn),
}

impl Services {
    /// The services on `ports`. Memory for content is shared with the other workers', all else is this worker's.
    pub fn new(ports: &[(u16, Service)], content: Arc<Content>, http: http::Options) -> Services {
        Services { ports: ports.into(), http: Http::new(content, http) }
    }
}

impl Hosted for Services {
    fn clock(&mut self, unix_seconds: u64) {
        self.http.clock(unix_seconds);
    }

    fn drain(&mut self) {
        self.http.drain();
    }

    fn idle(&self, conn: &Conn) -> bool {
        match conn {
            Conn::Http(conn) => conn.is_between_requests(),
            Conn::Unserved => true,
        }
    }

    fn publish(&self, sink: &mut dyn FnMut(&'static str, u64)) {
        for (name, value) in self.http.counters().iter() {
            sink(name, value);
        }
    }
}

impl Application for Services {
    type Blob = Blob;
    type Conn = Conn;

    fn opened(&mut self, conn: &mut Conn, opened: Opened, reply: &mut Reply<'_, Blob>) {
        let service = self.ports.iter().find(|(port, _)| *port == opened.local_port);
        match service {
            Some((_, Service::Http)) => {
                let mut fresh = http::Conn::default();
                self.http.opened(&mut fresh, opened, reply);
                *conn = Conn::Http(fresh);
            }
            None => reply.abort(),
        }
    }

    #[inline]
    fn received(&mut self, conn: &mut Conn, bytes: &[u8], reply: &mut Reply<'_, Blob>) -> usize {
        match conn {
            Conn::Http(conn) => self.http.received(conn, bytes, reply),
            Conn::Unserved => bytes.len(),
        }
    }

    fn overfull(&mut self, conn: &mut Conn, bytes: &[u8], reply: &mut Reply<'_, Blob>) {
        match conn {
            Conn::Http(conn) => self.http.overfull(conn, bytes, reply),
            Conn::Unserved => reply.abort(),
        }
    }

    fn resumed(&mut self, conn: &mut Conn, reply: &mut Reply<'_, Blob>) {
        if let Conn::Http(conn) = conn {
            self.http.resumed(conn, reply);
        }
    }

    fn timeout(&mut self, conn: &mut Conn, reply: &mut Reply<'_, Blob>) {
        match conn {
            Conn::Http(conn) => self.http.timeout(conn, reply),
            Conn::Unserved => reply.abort(),
        }
    }

    fn closed(&mut self, conn: &mut Conn, how: Closed) {
        if let Conn::Http(conn) = conn {
            self.http.closed(conn, how);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Line;
    use super::*;

    fn services() -> Services {
        Services::new(&[(8080, Service::Http)], Arc::new(Content::built_in()), http::Options::default())
    }

    #[test]
    fn a_connection_is_served_by_the_owner_of_its_port() {
        let mut line = Line::open(services(), 8080);
        line.offer(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(line.take().starts_with(b"HTTP/1.1 200 OK\r\n"));
        let mut requests = None;
        line.app.publish(&mut |name, value| requests = requests.or((name == "http_requests").then_some(value)));
        assert_eq!(requests, Some(1));
    }

    #[test]
    fn a_port_that_nobody_owns_is_reset() {
        let line = Line::open(services(), 8081);
        assert!(line.aborted());
    }

    #[test]
    fn the_state_of_a_connection_stays_within_its_bound() {
        assert!(size_of::<Conn>() <= 40);
    }
}
