//! The phases of a run: open, warm up, measure, end. From the time and the state of the connections
//! it follows whether requests may be sent and whether answers count.
//!
//! Throughput counts all answers that arrive during the measurement. Under overload, their requests
//! may have waited since the warm-up. Latencies count differently in the open loop: they are those
//! of the requests due during the measurement, and the run waits for the last of these answers. The
//! longest latencies must not be left out.

use std::time::Duration;

/// The length of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunLimits {
    /// Limit of the duration of the measurement.
    pub(crate) duration: Option<Duration>,
    /// Limit of the requests to measure.
    pub(crate) requests: Option<u64>,
    /// Time before the measurement during which requests are sent and not counted.
    pub(crate) warm_up: Duration,
}

/// The state of the connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// The first answer was good, and each connection was opened or failed to.
    pub(crate) ready: bool,
    /// Whether the requests that precede the run were sent; `None` if there are none.
    pub(crate) prepared: Option<bool>,
    /// Batches of requests that wait for an answer.
    pub(crate) in_flight: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Opens connections and sends one request on each, because servers close silent connections.
    Opening,
    /// Sends the requests that precede the run.
    Preparing,
    /// Waits for the answers to the requests that precede the run.
    Settling,
    WarmUp {
        until_us: u64,
    },
    /// Waits for the answers of the warm-up, so that exactly the requested number is counted.
    Emptying,
    Measuring {
        from_us: u64,
    },
    /// Open loop: sends nothing, and waits for the answers to what was due.
    Trailing {
        from_us: u64,
        took_us: u64,
    },
    Over {
        took_us: u64,
    },
}

/// The phases of a run.
#[derive(Debug)]
pub(crate) struct Schedule {
    limits: RunLimits,
    /// Whether requests have scheduled times.
    open_loop: bool,
    phase: Phase,
    /// Requests that may still be sent.
    budget: u64,
}

impl Schedule {
    pub(crate) fn new(limits: RunLimits, open_loop: bool) -> Schedule {
        Schedule { limits, open_loop, phase: Phase::Opening, budget: u64::MAX }
    }

    /// Changes the phase if it is time. Returns whether the paced requests begin now.
    pub(crate) fn step(&mut self, now_us: u64, progress: Progress) -> bool {
        match self.phase {
            Phase::Opening if progress.ready && progress.prepared.is_some() => {
                self.phase = Phase::Preparing;
            }
            Phase::Preparing if progress.prepared == Some(true) => self.phase = Phase::Settling,
            Phase::Settling if progress.in_flight > 0 => {}
            Phase::Settling | Phase::Opening if progress.ready => {
                self.phase = Phase::WarmUp { until_us: now_us + micros(self.limits.warm_up) };
                return true;
            }
            Phase::WarmUp { until_us } if now_us >= until_us => match self.limits.requests {
                Some(_) => self.phase = Phase::Emptying,
                None => self.phase = Phase::Measuring { from_us: now_us },
            },
            Phase::Emptying if progress.in_flight == 0 => {
                self.budget = self.limits.requests.unwrap_or(u64::MAX);
                self.phase = Phase::Measuring { from_us: now_us };
                return true;
            }
            Phase::Measuring { from_us } => {
                let took_us = now_us - from_us;
                let late = self.limits.duration.is_some_and(|duration| took_us >= micros(duration));
                if late && self.open_loop {
                    self.phase = Phase::Trailing { from_us, took_us };
                } else if late || (self.budget == 0 && progress.in_flight == 0) {
                    self.phase = Phase::Over { took_us };
                }
            }
            Phase::Trailing { took_us, .. } if progress.in_flight == 0 => {
                self.phase = Phase::Over { took_us }
            }
            _ => {}
        }
        false
    }

    /// Ends the run now, on an interruption or because it cannot succeed.
    pub(crate) fn end(&mut self, now_us: u64) {
        self.phase = match self.phase {
            Phase::Measuring { from_us } => Phase::Over { took_us: now_us - from_us },
            Phase::Trailing { took_us, .. } | Phase::Over { took_us } => Phase::Over { took_us },
            _ => Phase::Over { took_us: 0 },
        };
    }

    /// Takes up to `wanted` requests to send now. Returns their number.
    #[inline]
    pub(crate) fn take(&mut self, wanted: u64) -> u64 {
        let granted = if self.sends() { wanted.min(self.budget) } else { 0 };
        self.budget -= granted;
        granted
    }

    /// Returns requests that were taken but not sent.
    pub(crate) fn refund(&mut self, requests: u64) {
        self.budget += requests;
    }

    /// Whether requests may be sent.
    #[inline]
    pub(crate) fn sends(&self) -> bool {
        let sends = !matches!(
            self.phase,
            Phase::Settling | Phase::Emptying | Phase::Trailing { .. } | Phase::Over { .. }
        );
        sends && self.budget > 0
    }

    /// Whether connections may be opened for later requests.
    pub(crate) fn opens(&self) -> bool {
        !matches!(self.phase, Phase::Trailing { .. } | Phase::Over { .. }) && self.budget > 0
    }

    /// Whether requests are paced, rather than sent as connections open.
    #[inline]
    pub(crate) fn is_paced(&self) -> bool {
        matches!(self.phase, Phase::WarmUp { .. } | Phase::Measuring { .. })
    }

    /// Whether connections are still opened for the first time.
    #[inline]
    pub(crate) fn is_opening(&self) -> bool {
        self.phase == Phase::Opening
    }

    /// Whether answers that arrive now count as served.
    #[inline]
    pub(crate) fn measures(&self) -> bool {
        matches!(self.phase, Phase::Measuring { .. })
    }

    /// Whether a request that was due at `due_us` counts, with its latency.
    #[inline]
    pub(crate) fn counts(&self, due_us: u64) -> bool {
        match self.phase {
            Phase::Measuring { from_us } => !self.open_loop || due_us >= from_us,
            Phase::Trailing { from_us, .. } => due_us >= from_us,
            _ => false,
        }
    }

    /// Whether the run is over.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over { .. })
    }

    /// The measured time, so far or in total.
    pub(crate) fn measured(&self, now_us: u64) -> Duration {
        Duration::from_micros(match self.phase {
            Phase::Measuring { from_us } => now_us - from_us,
            Phase::Trailing { took_us, .. } | Phase::Over { took_us } => took_us,
            _ => 0,
        })
    }

    /// The name of the phase.
    pub(crate) fn name(&self) -> &'static str {
        match self.phase {
            Phase::Opening => "opening",
            Phase::Preparing | Phase::Settling => "preparing",
            Phase::WarmUp { .. } | Phase::Emptying => "warming up",
            Phase::Measuring { .. } => "measuring",
            Phase::Trailing { .. } => "awaiting the last answers",
            Phase::Over { .. } => "over",
        }
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Progress = Progress { ready: true, prepared: None, in_flight: 3 };
    const EMPTY: Progress = Progress { in_flight: 0, ..BUSY };

    #[test]
    fn a_timed_run_opens_warms_up_measures_and_ends() {
        let (duration, warm_up) = (Some(Duration::from_micros(100)), Duration::from_micros(10));
        let mut schedule = Schedule::new(RunLimits { duration, requests: None, warm_up }, false);
        schedule.step(5, Progress { ready: false, ..BUSY });
        assert!(schedule.sends() && !schedule.measures() && schedule.name() == "opening");
        assert!(schedule.step(7, BUSY), "the pace begins");
        schedule.step(16, BUSY);
        assert!(!schedule.measures() && schedule.sends());
        assert!(!schedule.step(17, BUSY), "the pace goes on as it was");
        assert!(schedule.measures() && schedule.take(8) == 8 && schedule.counts(3));
        schedule.step(116, EMPTY);
        assert!(!schedule.is_over(), "an empty moment is not the end");
        schedule.step(120, BUSY);
        assert!(schedule.is_over() && schedule.take(1) == 0 && !schedule.opens());
        assert_eq!(schedule.measured(500), Duration::from_micros(103));
    }

    #[test]
    fn a_counted_run_counts_exactly_what_was_asked_for() {
        let mut schedule = Schedule::new(
            RunLimits { duration: None, requests: Some(5), warm_up: Duration::ZERO },
            false,
        );
        assert_eq!(schedule.take(8), 8);
        schedule.step(1, BUSY);
        schedule.step(1, BUSY);
        assert!(!schedule.sends() && schedule.opens(), "what was sent before is answered first");
        schedule.step(2, EMPTY);
        assert!(schedule.measures());
        assert_eq!((schedule.take(3), schedule.take(3), schedule.take(3)), (3, 2, 0));
        schedule.step(3, BUSY);
        assert!(!schedule.is_over());
        schedule.step(9, EMPTY);
        assert_eq!((schedule.is_over(), schedule.measured(50)), (true, Duration::from_micros(7)));
    }

    #[test]
    fn what_must_be_sent_first_is_sent_and_answered_before_the_run_begins() {
        let mut schedule = Schedule::new(
            RunLimits { duration: None, requests: Some(5), warm_up: Duration::ZERO },
            true,
        );
        schedule.step(1, Progress { prepared: Some(false), ..BUSY });
        assert!(
            schedule.sends()
                && !schedule.is_paced()
                && !schedule.is_opening()
                && schedule.name() == "preparing"
        );
        schedule.step(2, Progress { prepared: Some(false), ..EMPTY });
        schedule.step(3, Progress { prepared: Some(true), ..BUSY });
        schedule.step(4, Progress { prepared: Some(true), ..BUSY });
        assert!(!schedule.sends() && schedule.opens(), "the last of it is waited for");
        assert!(
            schedule.step(5, Progress { prepared: Some(true), ..EMPTY }) && schedule.is_paced()
        );
    }

    #[test]
    fn in_an_open_loop_what_was_due_in_time_counts_whenever_it_is_answered() {
        let (duration, warm_up) = (Some(Duration::from_micros(100)), Duration::from_micros(10));
        let mut schedule = Schedule::new(RunLimits { duration, requests: None, warm_up }, true);
        assert!(!schedule.is_paced());
        schedule.step(0, BUSY);
        assert!(schedule.is_paced() && !schedule.counts(5));
        schedule.step(10, BUSY);
        assert!(schedule.counts(10) && !schedule.counts(9), "due while warming up");
        schedule.step(110, BUSY);
        assert!(
            !schedule.is_over() && !schedule.sends() && !schedule.opens() && schedule.counts(109)
        );
        schedule.step(500, BUSY);
        assert_eq!(
            (schedule.is_over(), schedule.measured(500)),
            (false, Duration::from_micros(100))
        );
        schedule.step(900, EMPTY);
        assert_eq!(
            (schedule.is_over(), schedule.measured(900)),
            (true, Duration::from_micros(100))
        );
    }
}
