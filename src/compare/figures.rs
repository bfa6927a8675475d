//! Figures of cases, and their spread over repeats: minimum, median, maximum.

use super::results::{Case, Results};
use serde::{Deserialize, Serialize};

/// The figure that a plan reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Figure {
    /// Responses a second.
    Rate,
    /// Content bytes a second.
    ContentRate,
    /// Responses a second against the number of connections.
    Scale,
    /// Latency percentiles.
    Latency,
    /// CPU use of an idle server.
    Idle,
}

/// A figure over several repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Spread {
    /// The spread of these values; `None` if there are none.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Spread { min, median, max })
    }
}

impl Case {
    /// A number in the report of the load.
    pub(super) fn number(&self, path: &[&str]) -> Option<f64> {
        if self.error.is_some() {
            return None;
        }
        path.iter().try_fold(self.report.as_ref()?, |value, key| value.get(key))?.as_f64()
    }

    /// Responses a second.
    pub(super) fn rate(&self) -> Option<f64> {
        self.number(&["responses_per_second"])
    }

    /// A latency percentile in microseconds, by its key, such as `p50`. `None` if the report says
    /// 0: under overload every measured response may have waited since the warm-up, so none has a
    /// latency.
    pub(super) fn latency_us(&self, key: &str) -> Option<f64> {
        self.number(&["latency_us", key]).filter(|us| *us > 0.0)
    }

    /// Content bytes a second.
    pub(super) fn content_rate(&self) -> Option<f64> {
        self.number(&["content_bytes_per_second"])
    }

    /// Busy share of the server's core.
    pub(super) fn server_core(&self) -> Option<f64> {
        Some(self.cpu?.server_core)
    }

    /// CPU time of a request on both cores, in microseconds. The kernel may do a server's work on
    /// either core.
    pub(super) fn cpu_us(&self) -> Option<f64> {
        let cpu = self.cpu?;
        Some((cpu.server_core + cpu.client_core) * 1e6 / self.rate().filter(|rate| *rate > 0.0)?)
    }

    /// Memory of the server and of the kernel on its behalf, in bytes.
    pub(super) fn memory_bytes(&self) -> Option<f64> {
        self.error.is_none().then_some(())?;
        self.memory.map(|memory| (memory.process_bytes + memory.kernel_bytes) as f64)
    }
}

impl Results {
    /// The spread of a figure at a point of a plan.
    pub(super) fn spread(
        &self,
        (plan, point, target): (&str, &str, &str),
        figure: impl Fn(&Case) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(
            self.cases.iter().filter(|case| case.is_of(plan, point, target)).filter_map(figure),
        )
    }

    /// The spread of the rate in a plan with one point.
    pub(super) fn rate(&self, plan: &str, target: &str) -> Option<Spread> {
        self.spread((plan, "", target), Case::rate)
    }

    /// The failed cases.
    pub(super) fn failed(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| case.error.is_some())
    }

    /// Memory of one more connection, between two points of a plan over connections.
    pub(super) fn bytes_per_connection(
        &self,
        plan: &str,
        target: &str,
        few: u32,
        many: u32,
    ) -> Option<f64> {
        let at = |connections: u32| {
            let spread =
                self.spread((plan, &connections.to_string(), target), Case::memory_bytes)?;
            Some(spread.median)
        };
        Some((at(many)? - at(few)?) / f64::from(many - few))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_of_what_there_is() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([f64::NAN, 1.0]).unwrap().max, 1.0);
    }
}
