//! Expiration times: what a client says in, unix seconds out.

use crate::store::EXPIRED;

/// More seconds than this, thirty days, are a unix time.
const RELATIVE_MAX: u32 = 60 * 60 * 24 * 30;

/// When an item expires that a client wants to live until `exptime`: 0 is never, less has always passed, and so has
/// a unix time that has.
pub(super) fn expiry(exptime: i32, now: u32) -> u32 {
    match u32::try_from(exptime) {
        Ok(exptime) => expiry_unsigned(exptime, now),
        Err(_) => EXPIRED,
    }
}

/// The same in the binary protocol, whose times have no sign.
pub(super) fn expiry_unsigned(exptime: u32, now: u32) -> u32 {
    match exptime {
        0 => 0,
        1..=RELATIVE_MAX => now.saturating_add(exptime),
        _ => exptime,
    }
}

/// Seconds left until then, for the meta flag `R`.
pub(super) fn seconds_until(exptime: i32, now: u32) -> u32 {
    expiry(exptime, now).saturating_sub(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_days_are_relative_and_a_second_more_is_a_date() {
        let now = 1_700_000_000;
        assert_eq!(expiry(0, now), 0);
        assert_eq!(expiry(-1, now), EXPIRED);
        assert_eq!(expiry(1, now), now + 1);
        assert_eq!(expiry(2_592_000, now), now + 2_592_000);
        assert_eq!(expiry(2_592_001, now), 2_592_001);
        assert_eq!(expiry_unsigned(u32::MAX, now), u32::MAX);
        assert_eq!([seconds_until(30, now), seconds_until(-1, now), seconds_until(0, now)], [30, 0, 0]);
    }
}
