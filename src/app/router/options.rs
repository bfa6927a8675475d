//! What can be chosen about a router.

use crate::app::http::Timeouts;

/// What can be chosen about a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a connection may wait. A body that a route takes as it arrives has
    /// [`Timeouts::body`] anew whenever it has brought 1000 bytes for each second of it.
    pub timeouts: Timeouts,
    /// Most bytes of a body that is gathered for its handler, chunk framing and trailers included;
    /// beyond it 413. The default is 1 MiB.
    pub body_max_bytes: u32,
    /// Most bytes of a body that a route takes as it arrives; beyond it 413. The default is
    /// 4 GiB - 1, which is also the largest value.
    pub stream_max_bytes: u32,
    /// Most bytes of all bodies together that one worker gathers at a time; a request beyond it is
    /// answered with 503. A body that arrives with its head in one piece takes none. The default
    /// is 64 MiB. The memory plan does not have it: add it with
    /// [`Builder::memory`](crate::Builder::memory), for each worker.
    pub bodies_max_bytes: usize,
}

/// Bytes that a stream brings in each second, or it ends.
const STREAM_LEAST_RATE: u64 = 1000;

impl Options {
    /// Bytes that a stream must bring to have its deadline set anew.
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
