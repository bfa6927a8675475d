//! Converts expiration times of clients to seconds of the store's clock. Setting the system's clock
//! does not change the store's clock. So an item keeps its lifetime, and the handler converts a
//! date when the client sends it.

use crate::store::EXPIRED;

/// Above 30 days, in seconds, an expiration time is a unix time.
const RELATIVE_MAX: u32 = 60 * 60 * 24 * 30;

/// The two clocks at one time, in unix seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The store's clock.
    pub(super) now: u32,
    /// The system's clock.
    pub(super) time_of_day: u32,
}

impl Times {
    /// Converts a time of the store to a time of day.
    pub(super) fn date(self, time: u32) -> u32 {
        shift(time, self.now, self.time_of_day)
    }
}

/// The expiration time for `exptime`. 0 means never. A negative value or a unix time in the past
/// means expired.
pub(super) fn expiry(exptime: i32, times: Times) -> u32 {
    match u32::try_from(exptime) {
        Ok(exptime) => expiry_unsigned(exptime, times),
        Err(_) => EXPIRED,
    }
}

/// As the text protocol's conversion, for the binary protocol, where times have no sign.
pub(super) fn expiry_unsigned(exptime: u32, times: Times) -> u32 {
    match exptime {
        0 => 0,
        1..=RELATIVE_MAX => times.now.saturating_add(exptime),
        _ => shift(exptime, times.time_of_day, times.now),
    }
}

/// Seconds until that time, for the meta flag `R`.
pub(super) fn seconds_until(exptime: i32, times: Times) -> u32 {
    expiry(exptime, times).saturating_sub(times.now)
}

/// Converts `time` from one clock to another. The first shows `from` now, the second `to`.
fn shift(time: u32, from: u32, to: u32) -> u32 {
    let shifted = i64::from(time) - i64::from(from) + i64::from(to);
    u32::try_from(shifted.max(i64::from(EXPIRED))).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_days_are_relative_and_a_second_more_is_a_date() {
        let now = 1_700_000_000;
        let times = Times { now, time_of_day: now };
        assert_eq!(expiry(0, times), 0);
        assert_eq!(expiry(-1, times), EXPIRED);
        assert_eq!(expiry(1, times), now + 1);
        assert_eq!(expiry(2_592_000, times), now + 2_592_000);
        assert_eq!(expiry(2_592_001, times), 2_592_001);
        assert_eq!(expiry_unsigned(u32::MAX, times), u32::MAX);
        assert_eq!(
            [seconds_until(30, times), seconds_until(-1, times), seconds_until(0, times)],
            [30, 0, 0]
        );
    }

    #[test]
    fn a_clock_that_is_set_moves_dates_and_nothing_else() {
        let now = 1_700_000_000;
        for step in [-90_000, -3600, 0, 3600, 90_000_000] {
            let time_of_day = (i64::from(now) + step) as u32;
            let times = Times { now, time_of_day };
            assert_eq!([expiry(0, times), expiry(600, times)], [0, now + 600]);
            assert_eq!(expiry_unsigned(time_of_day + 600, times), now + 600);
            assert_eq!(expiry_unsigned(time_of_day - 600, times), now - 600);
            assert_eq!(times.date(now + 600), time_of_day + 600);
        }
        assert_eq!(expiry_unsigned(3_000_000, Times { now: 10, time_of_day: 1 << 30 }), EXPIRED);
        assert_eq!(expiry_unsigned(u32::MAX, Times { now: 20, time_of_day: 10 }), u32::MAX);
    }
}
