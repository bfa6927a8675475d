//! What can be chosen about the handler.

use simoom_io::Duration;

/// How long a connection may wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a head to its last; then 408.
    pub head: Duration,
    /// For all content of a request; then 408.
    pub body: Duration,
    /// Without a request, or with answers queued of which the client takes nothing; then the
    /// connection is closed, or reset.
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

/// What can be chosen about the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a connection may wait.
    pub timeouts: Timeouts,
    /// Most content of a request, chunk framing and trailers included, that is read past; beyond it
    /// 413.
    pub body_max_bytes: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options { timeouts: Timeouts::default(), body_max_bytes: 1 << 20 }
    }
}
