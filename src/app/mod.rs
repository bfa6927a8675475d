//! The applications: they read bytes and queue byte ranges, and are the same over every transport.
//!
//! A transport drives one [`Services`] per worker. The handler of the local port serves a
//! connection. A handler does not know the other handlers or the ports.

mod bytes;
mod checksummed;
pub mod codec;
pub mod contained;
pub mod content;
pub mod disk;
pub mod http;
pub mod kv;
pub mod memcached;
pub mod resp;
pub mod router;
mod services;
pub mod testing;

pub use bytes::Bytes;
pub use checksummed::Checksummed;
pub use services::{Conn, Nobody, Services};

use crate::store::Item;
use http::Http;
use memcached::Memcached;
use simoom_io::checksum::PrefixSums;
use std::sync::Arc;

/// The immutable bytes of a response.
#[derive(Clone, Debug)]
pub enum Blob {
    /// Bytes built into the program.
    Static(&'static [u8]),
    /// Bytes in memory, shared by all responses that carry them.
    Shared(Arc<[u8]>),
    /// The same with stored checksums, such as the content of a file.
    Checksummed(Arc<Checksummed>),
    /// A version of a store item. It stays unchanged after the key is updated.
    Item(Item),
    /// A part of a file that was read for this response.
    File(disk::FilePart),
}

impl From<&'static [u8]> for Blob {
    fn from(bytes: &'static [u8]) -> Blob {
        Blob::Static(bytes)
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Blob {
        Blob::Shared(bytes.into())
    }
}

impl simoom_io::Blob for Blob {
    fn bytes(&self) -> &[u8] {
        match self {
            Blob::Static(bytes) => bytes,
            Blob::Shared(bytes) => bytes,
            Blob::Checksummed(bytes) => bytes.as_slice(),
            Blob::Item(item) => item.bytes(),
            Blob::File(part) => part.bytes(),
        }
    }

    #[inline]
    fn sums(&self) -> Option<&PrefixSums> {
        match self {
            Blob::Checksummed(bytes) => bytes.sums(),
            _ => None,
        }
    }
}

/// The handlers of `simoom serve`.
pub type HttpAndMemcached = Services<Memcached, Services<Http>>;

#[cfg(test)]
mod tests {
    use super::testing::{Line, services};
    use super::*;
    use crate::handler::Handler;
    use simoom_io::Application;

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
        assert!(size_of::<<HttpAndMemcached as Application>::Conn>() <= 40);
    }
}
