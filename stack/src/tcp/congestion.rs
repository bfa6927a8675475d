//! How much may be in flight: slow start, congestion avoidance (RFC 5681) and the window's part in fast recovery
//! (RFC 6582). The rules alone, over two numbers; when they apply is for [`super::input`] and [`super::timeout`] to
//! say. Another algorithm takes this file's place.

/// RFC 6928 §2: the initial window for a maximum segment size; a single segment once the SYN or SYN-ACK had to be
/// repeated more than once.
pub(crate) fn initial_window(mss: u32, handshake_repeats: u8) -> u32 {
    if handshake_repeats > 1 {
        return mss;
    }
    (10 * mss).min((2 * mss).max(14_600))
}

/// Something new was acknowledged outside recovery; the window was in full use. Returns the new window.
#[inline]
pub(crate) fn grow(cwnd: u32, ssthresh: u32, acked: u32, mss: u32) -> u32 {
    let added = if cwnd < ssthresh {
        // §3.1: at most one segment per acknowledgement; but one acknowledgement may stand for a burst of segments
        // (RFC 3465 §2.2, L = 2).
        acked.min(2 * mss)
    } else {
        // §3.1, equation (3).
        (mss * mss / cwnd.max(1)).max(1)
    };
    cwnd.saturating_add(added).min(1 << 30)
}

/// Loss was detected with `in_flight` bytes out: the slow-start threshold (RFC 5681, equation (4)).
pub(crate) fn threshold_after_loss(in_flight: u32, mss: u32) -> u32 {
    (in_flight / 2).max(2 * mss)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6928_section_2_initial_window() {
        assert_eq!(initial_window(1460, 0), 14_600);
        assert_eq!(initial_window(536, 1), 5360);
        assert_eq!(initial_window(8960, 0), 17_920);
        assert_eq!(initial_window(1460, 2), 1460);
    }

    #[test]
    fn rfc_5681_section_3_1_slow_start_then_avoidance() {
        assert_eq!(grow(14_600, u32::MAX, 1460, 1460), 16_060);
        assert_eq!(grow(14_600, u32::MAX, 100, 1460), 14_700);
        assert_eq!(grow(14_600, 14_600, 1460, 1460), 14_746);
        assert_eq!(grow(1 << 30, 1, 1, 1), 1 << 30);
    }

    #[test]
    fn rfc_5681_equation_4_half_the_flight_but_two_segments() {
        assert_eq!(threshold_after_loss(100_000, 1460), 50_000);
        assert_eq!(threshold_after_loss(1460, 1460), 2920);
    }
}
