//! The clocks of a worker: the time since its start, and the time of day in seconds when it has
//! changed. Never wakes a thread.

use crate::handler::Seconds;
use rustix::event::Timespec;
use simoom_io::timer::Tick;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// A deadline that never comes.
pub(crate) const NEVER: u64 = u64::MAX;
/// Maximum distance of a deadline in a timing wheel: 12 days, where ticks still compare.
const FARTHEST_MS: u64 = 1 << 30;

pub(crate) struct Clock {
    start: Instant,
    next_second_ms: u64,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock { start: Instant::now(), next_second_ms: 0 }
    }

    /// A clock that starts at boot. Later processes never read less than earlier ones, so initial
    /// sequence numbers (RFC 6528) and timestamps (RFC 7323) do not go back.
    pub(crate) fn since_boot() -> Clock {
        let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let uptime = Duration::new(uptime.tv_sec.unsigned_abs(), uptime.tv_nsec as u32);
        let now = Instant::now();
        Clock { start: now.checked_sub(uptime).unwrap_or(now), next_second_ms: 0 }
    }

    /// Milliseconds since the start, rounded down.
    pub(crate) fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// Microseconds since the start.
    pub(crate) fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// The time in seconds, if it may have changed since the last call. Reads the system clock only
    /// then, so a step of that clock is noticed within 1 s.
    pub(crate) fn new_second(&mut self, now_ms: u64) -> Option<Seconds> {
        if now_ms < self.next_second_ms {
            return None;
        }
        let (unix, steady) = (unix_time(), steady_time());
        let soonest = u64::from(unix.subsec_millis().max(steady.subsec_millis()));
        self.next_second_ms = now_ms + 1000 - soonest;
        Some(Seconds { unix: unix.as_secs(), steady: steady.as_secs() })
    }
}

/// A timeout for poll(2) and epoll_pwait2(2).
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}

/// Time since the Unix epoch; zero before it.
pub(crate) fn unix_time() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// The value of [`Seconds::steady`].
fn steady_time() -> Duration {
    static START: OnceLock<(Duration, Instant)> = OnceLock::new();
    let (unix, start) = START.get_or_init(|| (unix_time(), Instant::now()));
    *unix + start.elapsed()
}

/// The current [`Seconds::steady`], for threads without a worker.
pub(crate) fn steady_seconds() -> u64 {
    steady_time().as_secs()
}

/// Whole milliseconds, rounded up so that no deadline comes early.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(NEVER)
}

/// The tick at which a timing wheel checks a deadline. A distant deadline is checked early.
pub(crate) fn look_at(deadline_ms: u64, now_ms: u64) -> Tick {
    Tick::from_millis(deadline_ms.clamp(now_ms, now_ms + FARTHEST_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_told_once_and_again_when_it_ends() {
        let mut clock = Clock::new();
        let seconds = clock.new_second(0).unwrap();
        assert!(seconds.unix > 1_600_000_000 && seconds.steady > 1_600_000_000);
        let ends_ms = clock.next_second_ms;
        assert!((1..=1000).contains(&ends_ms));
        assert_eq!(clock.new_second(ends_ms - 1), None);
        assert!(clock.new_second(ends_ms).is_some());
    }

    #[test]
    fn a_clock_since_boot_goes_on_from_one_to_the_next() {
        let earlier = Clock::since_boot().now_us();
        let next = Clock::since_boot().now_us();
        assert!(earlier > Clock::new().now_us() && next + 1 >= earlier, "{earlier}, {next}");
    }

    #[test]
    fn a_deadline_is_looked_at_in_its_tick_or_as_near_to_it_as_a_wheel_can() {
        let now = Tick::from_millis(5000);
        let after = |deadline_ms| now.until(look_at(deadline_ms, 5000));
        assert_eq!([after(0), after(5000), after(5001), after(65_000)], [0, 0, 1, 60_000]);
        assert_eq!(after(NEVER), 1 << 30);
    }

    #[test]
    fn parts_of_a_millisecond_count_as_a_whole_one() {
        assert_eq!(millis(Duration::ZERO), 0);
        assert_eq!(millis(Duration::from_micros(1)), 1);
        assert_eq!(millis(Duration::from_micros(2000)), 2);
        assert_eq!(millis(Duration::MAX), NEVER);
    }
}
