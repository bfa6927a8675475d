//! The applications: bytes in, ranges of bytes out; the same ones over every transport.
//!
//! A transport drives one [`Services`] per worker. Each connection is served by the service that
//! owns the port it came to; a service knows nothing of the others, nor of ports.

mod bytes;
pub mod codec;
pub mod contained;
pub mod content;
pub mod http;
pub mod kv;
pub mod memcached;
pub mod resp;
pub mod router;
#[doc(hidden)]
pub mod testing;

pub use bytes::Bytes;

use crate::hosted::{Hosted, PortNames, Seconds};
use crate::store::Item;
use content::Content;
use http::Http;
use memcached::Memcached;
use simoom_io::{Application, Closed, Opened, Reply};
use std::sync::Arc;

/// The immutable bytes that answers are made of.
#[derive(Clone, Debug)]
pub enum Blob {
    /// Bytes built into the program.
    Static(&'static [u8]),
    /// Bytes held in memory, a file's say, shared by all answers that carry them.
    Shared(Arc<[u8]>),
    /// An item of the store, as it was when it was asked for.
    Item(Item),
}

impl simoom_io::Blob for Blob {
    fn bytes(&self) -> &[u8] {
        match self {
            Blob::Static(bytes) => bytes,
            Blob::Shared(bytes) => bytes,
            Blob::Item(item) => item.bytes(),
        }
    }
}

/// What can be served on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// HTTP/1.1 over the content.
    Http,
    /// memcached over the store.
    Memcached,
}

impl Service {
    /// The flag of `serve` that asks for it.
    pub fn flag(self) -> &'static str {
        match self {
            Service::Http => "--http",
            Service::Memcached => "--memcached",
        }
    }

    /// The flag of `serve` that limits its connections.
    pub fn connections_flag(self) -> &'static str {
        match self {
            Service::Http => "--http-connections",
            Service::Memcached => "--memcached-connections",
        }
    }

    /// Under which names its connections are counted.
    pub fn port_names(self) -> PortNames {
        match self {
            Service::Http => PortNames {
                open: "http_connections_open",
                limit: "http_connections_limit",
                refused: "http_connections_refused",
            },
            Service::Memcached => PortNames {
                open: "memcached_connections_open",
                limit: "memcached_connections_limit",
                refused: "memcached_connections_refused",
            },
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Service::Http => "HTTP",
            Service::Memcached => "memcached",
        }
    }
}

/// All services of one worker, as one application.
pub struct Services {
    ports: Box<[(u16, Service)]>,
    http: Http,
    memcached: Option<Memcached>,
}

/// What the service of a connection keeps for it.
#[derive(Debug, Default)]
pub enum Conn {
    /// Not opened, or to a port that no service owns.
    #[default]
    Unserved,
    /// A connection of [`Http`].
    Http(http::Conn),
    /// A connection of [`Memcached`].
    Memcached(memcached::Conn),
}

/// The service that a connection belongs to, with the connection's state; the second expression if
/// it has none.
macro_rules! served {
    ($services:ident, $conn:ident, ($service:ident, $state:ident) => $call:expr, $none:expr) => {
        match ($conn, &mut $services.memcached) {
            (Conn::Http($state), _) => {
                let $service = &mut $services.http;
                $call
            }
            (Conn::Memcached($state), Some($service)) => $call,
            _ => $none,
        }
    };
}

impl Services {
    /// The services on `ports`. Memory for content and items is shared with the other workers', all
    /// else is this worker's. Without a handler for memcached its ports are nobody's.
    pub fn new(
        ports: &[(u16, Service)],
        content: Arc<Content>,
        http: http::Options,
        memcached: Option<Memcached>,
    ) -> Services {
        Services { ports: ports.into(), http: Http::new(content, http), memcached }
    }
}

impl Hosted for Services {
    fn clock(&mut self, seconds: Seconds) {
        self.http.clock(seconds.unix);
        if let Some(memcached) = &mut self.memcached {
            memcached.clock(seconds);
        }
    }

    fn drain(&mut self) {
        self.http.drain();
        if let Some(memcached) = &mut self.memcached {
            memcached.drain();
        }
    }

    fn idle(&self, conn: &Conn) -> bool {
        match conn {
            Conn::Http(conn) => conn.is_between_requests(),
            Conn::Memcached(conn) => conn.is_between_requests(),
            Conn::Unserved => true,
        }
    }

    fn panicked(&mut self, conn: &mut Conn, reply: &mut Reply<'_, Blob>) {
        match conn {
            Conn::Http(conn) => self.http.panicked(conn, reply),
            // A protocol of several requests under way has no answer for all of them.
            Conn::Memcached(_) | Conn::Unserved => reply.abort(),
        }
    }

    fn is_sound(&self) -> bool {
        self.memcached.as_ref().is_none_or(Memcached::is_sound)
    }

    fn port_names(&self, port: u16) -> Option<PortNames> {
        let (_, service) = self.ports.iter().find(|(number, _)| *number == port)?;
        Some(service.port_names())
    }

    fn publish(&self, sink: &mut dyn FnMut(&'static str, u64)) {
        for (name, value) in self.http.counters().iter() {
            sink(name, value);
        }
        if let Some(memcached) = &self.memcached {
            memcached.publish(sink);
        }
    }
}

impl Application for Services {
    type Blob = Blob;
    type Conn = Conn;

    fn wants_ends(&self, local_port: u16) -> bool {
        self.memcached.is_some() && self.ports.contains(&(local_port, Service::Memcached))
    }

    fn opened(&mut self, conn: &mut Conn, opened: Opened, reply: &mut Reply<'_, Blob>) {
        let service = self.ports.iter().find(|(port, _)| *port == opened.local_port);
        *conn = match service {
            Some((_, Service::Http)) => Conn::Http(http::Conn::default()),
            Some((_, Service::Memcached)) => Conn::Memcached(memcached::Conn::default()),
            None => Conn::Unserved,
        };
        served!(self, conn, (service, state) => service.opened(state, opened, reply), reply.abort());
    }

    #[inline]
    fn expected(&mut self, inputs: &[(u16, &[u8])]) {
        let Some(memcached) = &self.memcached else { return };
        let is_memcached = |port| self.ports.contains(&(port, Service::Memcached));
        memcached.expected(
            inputs.iter().filter(|(port, _)| is_memcached(*port)).map(|(_, input)| *input),
        );
    }

    #[inline]
    fn received(&mut self, conn: &mut Conn, bytes: &[u8], reply: &mut Reply<'_, Blob>) -> usize {
        served!(self, conn, (service, state) => service.received(state, bytes, reply), bytes.len())
    }

    fn overfull(&mut self, conn: &mut Conn, bytes: &[u8], reply: &mut Reply<'_, Blob>) {
        served!(self, conn, (service, state) => service.overfull(state, bytes, reply), reply.abort());
    }

    fn resumed(&mut self, conn: &mut Conn, reply: &mut Reply<'_, Blob>) {
        served!(self, conn, (service, state) => service.resumed(state, reply), ());
    }

    fn timeout(&mut self, conn: &mut Conn, reply: &mut Reply<'_, Blob>) {
        served!(self, conn, (service, state) => service.timeout(state, reply), reply.abort());
    }

    fn closed(&mut self, conn: &mut Conn, how: Closed) {
        served!(self, conn, (service, state) => service.closed(state, how), ());
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Line, services};
    use super::*;

    #[test]
    fn a_connection_is_served_by_the_owner_of_its_port() {
        let mut line = Line::open(services(), 80);
        line.offer(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(line.take().starts_with(b"HTTP/1.1 200 OK\r\n"));
        let mut requests = None;
        line.app.publish(&mut |name, value| {
            requests = requests.or((name == "http_requests").then_some(value));
        });
        assert_eq!(requests, Some(1));
    }

    #[test]
    fn memcached_has_a_port_of_its_own() {
        let mut line = Line::open(services(), 11211);
        line.offer(b"get a\r\n");
        assert_eq!(line.take(), b"END\r\n");
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
