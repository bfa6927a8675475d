//! What is sent, and how: the flags as the client sees them.

use super::ReadThrottle;
use crate::load::pace::Rate;
use crate::load::schedule::RunLimits;

/// What is sent, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Connections open at once.
    pub(crate) connections: u32,
    /// Connections that wait for an answer at once.
    pub(crate) in_flight: u32,
    /// Requests sent on a connection at once, at most.
    pub(crate) pipeline: u16,
    /// Each request has a connection of its own.
    pub(crate) connection_per_request: bool,
    /// The open loop's rate; `None` for the closed loop.
    pub(crate) rate: Option<Rate>,
    /// How slowly connections read, if they do.
    pub(crate) slow: Option<ReadThrottle>,
    /// The content of each answer is checked.
    pub(crate) verify: bool,
    /// The longest wait for an answer.
    pub(crate) timeout: std::time::Duration,
    /// How long, or how many.
    pub(crate) limits: RunLimits,
    /// Whether to keep what each second brought.
    pub(crate) by_second: bool,
}
