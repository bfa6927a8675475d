//! The result of a run in words and as JSON. Nothing is measured here.

mod json;
mod text;

use super::Outcome;
use super::client::Plan;
use super::memcached::WorkloadSpec;
use super::target::Target;

/// The percentiles that are told, with the names that they have in JSON.
const PERCENTILES: [(f64, &str, &str); 5] = [
    (50.0, "p50", "p50"),
    (90.0, "p90", "p90"),
    (99.0, "p99", "p99"),
    (99.9, "p99.9", "p99_9"),
    (99.99, "p99.99", "p99_99"),
];

/// A generator that works for more than this share of the time is taken to be the limit.
const BUSY_MAX: f64 = 0.95;
/// More than this share of requests that leave late put the latencies in doubt.
const LATE_MAX: f64 = 0.01;

/// All that is told of a run.
pub(crate) struct Report {
    pub(crate) target: Target,
    /// What memcached was asked.
    pub(crate) workload: Option<WorkloadSpec>,
    pub(crate) plan: Plan,
    pub(crate) outcome: Outcome,
}

impl Report {
    fn per_second(&self, count: u64) -> f64 {
        if self.outcome.measured.is_zero() {
            0.0
        } else {
            count as f64 / self.outcome.measured.as_secs_f64()
        }
    }

    fn retransmissions(&self) -> Option<u64> {
        self.outcome
            .stack
            .iter()
            .find(|(name, _)| *name == "retransmissions")
            .map(|(_, count)| *count)
    }

    /// The faults that were met, in words; `None` without any.
    pub(crate) fn faults(&self) -> Option<String> {
        let met = self.outcome.stats.faults().filter(|(_, count)| *count > 0);
        let list: Vec<String> =
            met.map(|(name, count)| format!("{count} {}", name.replace('_', " "))).collect();
        (!list.is_empty()).then(|| list.join(", "))
    }

    /// The share of the measured time that the generator was at work.
    fn busy(&self) -> f64 {
        if self.outcome.measured.is_zero() {
            0.0
        } else {
            self.outcome.stats.busy_us as f64 / self.outcome.measured.as_micros() as f64
        }
    }

    /// The share of requests that left late although a connection was free.
    fn late(&self) -> f64 {
        if self.outcome.stats.sent == 0 {
            0.0
        } else {
            self.outcome.stats.late as f64 / self.outcome.stats.sent as f64
        }
    }

    /// Why the figures may be the generator's rather than the server's; `None` if nothing speaks
    /// for that.
    fn doubt(&self) -> Option<&'static str> {
        let saturated = self.busy() > BUSY_MAX;
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
