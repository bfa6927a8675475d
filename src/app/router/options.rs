//! Settings of a router.

use crate::app::http::{self, Timeouts};

/// Settings of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Timeouts of a connection. A streamed body gets [`Timeouts::body`] again each time that it
    /// has delivered 1000 bytes for each second of it.
    pub timeouts: Timeouts,
    /// Limit of a gathered body, with chunk framing and trailers, in bytes. Above it the router
    /// sends a 413. The default is 1 MiB.
    pub body_max_bytes: u32,
    /// Limit of a streamed body, in bytes. Above it the router sends a 413. The default is 4 GiB -
    /// 1, the largest value.
    pub stream_max_bytes: u32,
    /// Limit of all bodies that one worker gathers at a time, in bytes. Above it the router sends a
    /// 503. A body that arrives with its head in one chunk does not count. The default is 64 MiB.
    /// The memory plan does not include it: add it with
    /// [`Builder::memory`](crate::Builder::memory), for each worker.
    pub bodies_max_bytes: usize,
}

/// The minimum rate of a stream, in bytes per second.
const STREAM_LEAST_RATE: u64 = 1000;

impl Options {
    /// The options of the content handler beside the routes.
    pub(super) fn http(&self) -> http::Options {
        let Options { timeouts, body_max_bytes, .. } = *self;
        http::Options { timeouts, body_max_bytes, ..http::Options::default() }
    }

    /// Bytes that a stream must deliver to restart its deadline.
    pub(super) fn stream_least_bytes(&self) -> u64 {
        (self.timeouts.body.total_millis() * STREAM_LEAST_RATE / 1000).max(1)
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            timeouts: Timeouts::default(),
            body_max_bytes: 1 << 20,
            stream_max_bytes: u32::MAX,
            bodies_max_bytes: 64 << 20,
        }
    }
}
