//! The plan of a run, from the flags.

use super::ReadThrottle;
use crate::load::pace::Rate;
use crate::load::schedule::RunLimits;

/// What to send, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Open connections.
    pub(crate) connections: u32,
    /// Limit of the connections that wait for an answer.
    pub(crate) in_flight: u32,
    /// Limit of the requests in one batch on a connection.
    pub(crate) pipeline: u16,
    /// Whether each request uses a new connection.
    pub(crate) connection_per_request: bool,
    /// Rate of the open loop; `None` for the closed loop.
    pub(crate) rate: Option<Rate>,
    /// Read throttling of each connection; `None` if it reads at full speed.
    pub(crate) slow: Option<ReadThrottle>,
    /// Whether to check the content of each answer.
    pub(crate) verify: bool,
    /// Limit of the wait for an answer.
    pub(crate) timeout: std::time::Duration,
    /// Duration or number of requests.
    pub(crate) limits: RunLimits,
    /// Whether to record each second.
    pub(crate) by_second: bool,
}
