//! The clocks of a worker: in come readings of the system's clocks, out go the time since the worker started and,
//! when it has changed, the second of the day. Never wakes anybody.

use std::time::{Duration, Instant, SystemTime};

/// A deadline that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

pub(crate) struct Clock {
    start: Instant,
    next_second_ms: u64,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { start: Instant::now(), next_second_ms: 0 }
    }

    /// Milliseconds since the start, rounded down.
    pub(crate) fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// Microseconds since the start.
    pub(crate) fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// The Unix time in seconds if it may have changed since it was last told. Reads the system's clock only
    /// then, so a step of that clock is noticed within a second.
    pub(crate) fn new_second(&mut self, now_ms: u64) -> Option<u64> {
        if now_ms < self.next_second_ms {
            return None;
        }
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.next_second_ms = now_ms + 1000 - u64::from(unix.subsec_millis());
        Some(unix.as_secs())
    }
}

/// Whole milliseconds, rounded up so that no deadline comes early.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_told_once_and_again_when_it_ends() {
        let mut clock = Clock::new();
        assert!(clock.new_second(0).is_some_and(|unix| unix > 1_600_000_000));
        let ends_ms = clock.next_second_ms;
        assert!((1..=1000).contains(&ends_ms));
        assert_eq!(clock.new_second(ends_ms - 1), None);
        assert!(clock.new_second(ends_ms).is_some());
    }

    #[test]
    fn parts_of_a_millisecond_count_as_a_whole_one() {
        assert_eq!(millis(Duration::ZERO), 0);
        assert_eq!(millis(Duration::from_micros(1)), 1);
        assert_eq!(millis(Duration::from_micros(2000)), 2);
        assert_eq!(millis(Duration::MAX), NEVER);
    }
}
