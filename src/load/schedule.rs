//! The course of a run: open, warm up, measure, end. In come the time and how far the connections
//! are; out goes whether requests may be sent and whether answers count. Knows nothing of how
//! anything is sent.
//!
//! What comes while measuring is what was served in that time, whenever it was asked for: in an
//! overload, requests that have waited since the warm-up. Latencies are another matter. In the open
//! loop they are those of the requests that were due while measuring, and when that is over their
//! answers are waited for: those that take longest must not be left out.

use std::time::Duration;

/// How long, or how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunLimits {
    /// Measure for at most this long.
    pub(crate) duration: Option<Duration>,
    /// Measure at most so many requests.
    pub(crate) requests: Option<u64>,
    /// Before that, with all connections open, send for this long without counting.
    pub(crate) warm_up: Duration,
}

/// Where the connections are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// The first answer is there and was good, and each connection was opened or found that it
    /// cannot be.
    pub(crate) ready: bool,
    /// Whether all was sent that must be before the run begins; `None` if nothing must.
    pub(crate) prepared: Option<bool>,
    /// Requests, or batches of them, that wait for an answer.
    pub(crate) in_flight: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connections are opened, and send one request each, for servers close those that never do.
    Opening,
    /// All are open. What must be sent first is,
    Preparing,
    /// and answered.
    Settling,
    WarmUp {
        until_us: u64,
    },
    /// What was sent uncounted is answered first, so that exactly the requests asked for are
    /// counted.
    Emptying,
    Measuring {
        from_us: u64,
    },
    /// Of an open loop, nothing more is sent, and what is under way is answered.
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
    /// Requests have times of their own.
    open_loop: bool,
    phase: Phase,
    /// Requests that may still be sent.
    budget: u64,
}

impl Schedule {
    pub(crate) fn new(limits: RunLimits, open_loop: bool) -> Schedule {
        Schedule { limits, open_loop, phase: Phase::Opening, budget: u64::MAX }
    }

    /// Goes on to the next phase when it is time. Says whether requests begin to be sent at the
    /// pace of the run.
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

    /// Ends the run now: it was interrupted, or there is no sense in going on.
    pub(crate) fn end(&mut self, now_us: u64) {
        self.phase = match self.phase {
            Phase::Measuring { from_us } => Phase::Over { took_us: now_us - from_us },
            Phase::Trailing { took_us, .. } | Phase::Over { took_us } => Phase::Over { took_us },
            _ => Phase::Over { took_us: 0 },
        };
    }

    /// How many of `wanted` requests may be sent now; they are then taken to be sent.
    #[inline]
    pub(crate) fn take(&mut self, wanted: u64) -> u64 {
        let granted = if self.sends() { wanted.min(self.budget) } else { 0 };
        self.budget -= granted;
        granted
    }

    /// So many requests that were taken are not sent after all.
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

    /// Whether connections may still be opened for later requests.
    pub(crate) fn opens(&self) -> bool {
        !matches!(self.phase, Phase::Trailing { .. } | Phase::Over { .. }) && self.budget > 0
    }

    /// Whether requests are sent at the pace of the run, and not as connections are opened.
    #[inline]
    pub(crate) fn is_paced(&self) -> bool {
        matches!(self.phase, Phase::WarmUp { .. } | Phase::Measuring { .. })
    }

    /// Whether connections are still opened for the first time.
    #[inline]
    pub(crate) fn is_opening(&self) -> bool {
        self.phase == Phase::Opening
    }

    /// Whether it is being measured: whether what comes now was served in the measured time.
    #[inline]
    pub(crate) fn measures(&self) -> bool {
        matches!(self.phase, Phase::Measuring { .. })
    }

    /// Whether a request that was due at `due_us` counts, as sent, and with its latency when it is
    /// answered.
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

    /// How long was measured, so far or in all.
    pub(crate) fn measured(&self, now_us: u64) -> Duration {
        Duration::from_micros(match self.phase {
            Phase::Measuring { from_us } => now_us - from_us,
            Phase::Trailing { took_us, .. } | Phase::Over { took_us } => took_us,
            _ => 0,
        })
    }

    /// The phase in a word.
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
