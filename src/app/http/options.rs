//! Settings of the HTTP handler.

use super::head::{HEAD_MAX_BYTES, LINE_MAX_BYTES};
use simoom_io::Duration;

/// Timeouts of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Time for a whole head, from its first byte. Then the handler sends a 408.
    pub head: Duration,
    /// Time for the whole content of a request. Then the handler sends a 408.
    pub body: Duration,
    /// Idle timeout: time without a request after the client has taken all answers. Then the
    /// handler closes the connection. The send timeout of the transport is for clients that take
    /// nothing.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            head: Duration::from_secs(10),
            body: Duration::from_secs(60),
            idle: Duration::from_secs(75),
        }
    }
}

/// Limits of a request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Limit of the request line, without its CR LF, in bytes. Above it the handler sends a 414.
    pub line_max_bytes: u16,
    /// Limit of the head, with its empty line, in bytes. Above it the handler sends a 431. At most
    /// [`INPUT_MAX_BYTES`](super::INPUT_MAX_BYTES).
    pub head_max_bytes: u16,
}

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits { line_max_bytes: LINE_MAX_BYTES as u16, head_max_bytes: HEAD_MAX_BYTES as u16 }
    }
}

/// Settings of the HTTP handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Timeouts of a connection.
    pub timeouts: Timeouts,
    /// Limits of a request head.
    pub head: HeadLimits,
    /// Limit of the content of a request, with chunk framing and trailers, in bytes. Above it the
    /// handler sends a 413.
    pub body_max_bytes: u32,
    /// Limit of the requests on one connection. The last answer closes the connection.
    pub requests_max: u32,
    /// Limit of the pipelined requests that are answered before other connections are served. At
    /// least 1.
    pub pipeline_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            timeouts: Timeouts::default(),
            head: HeadLimits::default(),
            body_max_bytes: 1 << 20,
            requests_max: u32::MAX,
            pipeline_max: 64,
        }
    }
}
