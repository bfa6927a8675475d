//! Settings of the HTTP handler.

use simoom_io::Duration;

/// Timeouts of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Time for a whole head, from its first byte. Then the handler sends a 408.
    pub head: Duration,
    /// Time for the whole content of a request. Then the handler sends a 408.
    pub body: Duration,
    /// Idle timeout: time without a request, or with queued answers of which the client reads
    /// nothing. Then the handler closes or resets the connection.
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

/// Settings of the HTTP handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Timeouts of a connection.
    pub timeouts: Timeouts,
    /// Limit of the content of a request, with chunk framing and trailers, in bytes. Above it the
    /// handler sends a 413.
    pub body_max_bytes: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options { timeouts: Timeouts::default(), body_max_bytes: 1 << 20 }
    }
}
