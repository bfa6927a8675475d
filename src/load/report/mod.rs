//! The result of a run as text and as JSON.

mod json;
mod text;

use super::Outcome;
use super::client::Plan;
use super::memcached::WorkloadSpec;
use super::target::Target;

/// The percentiles of a report, with their names in text and JSON.
const PERCENTILES: [(f64, &str, &str); 5] = [
    (50.0, "p50", "p50"),
    (90.0, "p90", "p90"),
    (99.0, "p99", "p99"),
    (99.9, "p99.9", "p99_9"),
    (99.99, "p99.99", "p99_99"),
];

/// Share of busy time above which the generator is reported as the limit.
const BUSY_MAX: f64 = 0.95;
/// Share of late requests above which the latencies are doubtful.
const LATE_MAX: f64 = 0.01;

/// The result of a run.
pub(crate) struct Report {
    pub(crate) target: Target,
    /// The workload of memcached.
    pub(crate) workload: Option<WorkloadSpec>,
    pub(crate) plan: Plan,
    pub(crate) outcome: Outcome,
}

impl Report {
    fn retransmissions(&self) -> Option<u64> {
        self.outcome
            .stack
            .iter()
            .find(|(name, _)| *name == "retransmissions")
            .map(|(_, count)| *count)
    }

    /// Share of requests that were sent late although a connection was free.
    fn late(&self) -> f64 {
        if self.outcome.stats.sent == 0 {
            0.0
        } else {
            self.outcome.stats.late as f64 / self.outcome.stats.sent as f64
        }
    }

    /// Why the generator may have limited the figures; `None` if it did not.
    fn doubt(&self) -> Option<&'static str> {
        let saturated = self.outcome.busy() > BUSY_MAX;
        match self.plan.rate {
            Some(_) if saturated || self.late() > LATE_MAX => {
                Some("latencies may be the generator's: offer less, or give it a faster core")
            }
            None if saturated => Some("the server may not be the limit"),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
