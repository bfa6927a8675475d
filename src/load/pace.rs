//! The times at which requests are due. Closed loop: whenever a connection is free. Open loop: at
//! scheduled times.
//!
//! The schedule of the open loop does not depend on the server. A request that finds no free
//! connection waits, and its latency counts from its scheduled time. So a server that stalls cannot
//! hide that from the figures ("coordinated omission"). Waiting requests take no memory: the seed
//! determines the sequence of times, and those that wait are between the last one sent and now.

use super::random::Random;
use clap::ValueEnum;

/// Distribution of the requests of the open loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Arrivals {
    /// Independent of one another, as many users are: exponential gaps, with bursts
    #[default]
    Poisson,
    /// All gaps the same
    Uniform,
}

impl Arrivals {
    /// The name in the flag.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Arrivals::Poisson => "poisson",
            Arrivals::Uniform => "uniform",
        }
    }
}

/// An offered load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    /// Requests a second.
    pub(crate) per_second: f64,
    /// Distribution of the requests.
    pub(crate) arrivals: Arrivals,
    /// Seed of the gaps.
    pub(crate) seed: u64,
}

/// The time of the next request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// `None` for the closed loop.
    rate: Option<Rate>,
    random: Random,
    gap_us: f64,
    /// When the next request is due; in the past for the closed loop.
    next_us: f64,
}

impl Pace {
    pub(crate) fn new(rate: Option<Rate>) -> Pace {
        let gap_us = rate.map_or(0.0, |rate| 1e6 / rate.per_second);
        Pace { rate, random: Random::new(rate.map_or(0, |rate| rate.seed)), gap_us, next_us: 0.0 }
    }

    /// Starts the open loop at `now_us`. Requests due before are skipped.
    pub(crate) fn begin(&mut self, now_us: u64) {
        if self.rate.is_some() {
            self.next_us = now_us as f64;
            self.move_on();
        }
    }

    /// Whether this is an open loop.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.rate.is_some()
    }

    /// Whether a request is due.
    #[inline]
    pub(crate) fn is_due(&self, now_us: u64) -> bool {
        self.next_us <= now_us as f64
    }

    /// Takes the next request if it is due. Returns its scheduled time; `now_us` in the closed
    /// loop.
    #[inline]
    pub(crate) fn take(&mut self, now_us: u64) -> Option<u64> {
        if self.rate.is_none() {
            return Some(now_us);
        }
        let due_us = self.next_us;
        if due_us > now_us as f64 {
            return None;
        }
        self.move_on();
        Some(due_us as u64)
    }

    /// When the next request is due, in the open loop.
    pub(crate) fn next_us(&self) -> Option<u64> {
        self.rate.map(|_| self.next_us as u64)
    }

    /// Requests due from `from_us` to before `until_us` that were not taken.
    pub(crate) fn waiting(&self, from_us: u64, until_us: u64) -> u64 {
        if self.rate.is_none() {
            return 0;
        }
        let (mut ahead, mut count) = (*self, 0);
        while ahead.next_us < until_us as f64 {
            count += u64::from(ahead.next_us >= from_us as f64);
            ahead.move_on();
        }
        count
    }

    fn move_on(&mut self) {
        self.next_us += match self.rate {
            Some(Rate { arrivals: Arrivals::Poisson, .. }) => {
                -self.gap_us * self.random.unit().ln()
            }
            _ => self.gap_us,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(per_second: f64, arrivals: Arrivals) -> Pace {
        let mut pace = Pace::new(Some(Rate { per_second, arrivals, seed: 1 }));
        pace.begin(1_000);
        pace
    }

    #[test]
    fn in_the_closed_loop_a_request_is_always_due_and_none_waits() {
        let mut pace = Pace::new(None);
        pace.begin(5);
        assert!(pace.is_due(5) && pace.take(7) == Some(7) && !pace.is_open());
        assert_eq!((pace.next_us(), pace.waiting(0, 100)), (None, 0));
    }

    #[test]
    fn uniform_gaps_are_the_same_and_do_not_drift() {
        let mut pace = pace(3.0, Arrivals::Uniform);
        assert_eq!(pace.take(334_332), None);
        let times: Vec<u64> = (0..300).map(|_| pace.take(u64::MAX).unwrap()).collect();
        assert_eq!((times[0], times[2], times[299].div_ceil(10)), (334_333, 1_001_000, 10_000_100));
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_the_exponential_distribution() {
        let mut pace = pace(1000.0, Arrivals::Poisson);
        let times: Vec<u64> = (0..200_000).map(|_| pace.take(u64::MAX).unwrap()).collect();
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // The seed is fixed, so every run has the same result. Mean and deviation are both 1000.
        assert!(
            (mean - 1000.0).abs() < 10.0 && (variance.sqrt() - 1000.0).abs() < 20.0,
            "{mean}, {variance}"
        );
        let longer = gaps.iter().filter(|gap| **gap > 2000.0).count() as f64 / gaps.len() as f64;
        assert!((longer - (-2f64).exp()).abs() < 0.005, "{longer}");
    }

    #[test]
    fn what_waits_is_counted_without_being_taken() {
        let mut pace = pace(1e6, Arrivals::Uniform);
        for due_us in 1_001..=1_010 {
            assert_eq!(pace.take(2_000), Some(due_us));
        }
        assert_eq!((pace.waiting(1_000, 1_100), pace.waiting(1_050, 1_100)), (89, 50));
        assert_eq!(pace.take(2_000), Some(1_011));
    }
}
