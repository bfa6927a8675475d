//! NewReno's window: slow start, congestion avoidance and halving (RFC 5681). The rules alone, over two numbers.

/// What congestion avoidance adds for one acknowledgement (RFC 5681 §3.1, equation (3)).
pub(super) fn avoid(cwnd: u32, mss: u32) -> u32 {
    (u64::from(mss) * u64::from(mss) / u64::from(cwnd.max(1))).max(1) as u32
}

/// Loss was detected with `in_flight` bytes out: the slow-start threshold (RFC 5681, equation (4)).
pub(super) fn threshold_after_loss(in_flight: u32, mss: u32) -> u32 {
    (in_flight / 2).max(2 * mss)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_5681_section_3_1_a_segment_a_round_trip() {
        assert_eq!(avoid(14_600, 1460), 146);
        assert_eq!(avoid(1 << 30, 88), 1);
    }

    #[test]
    fn rfc_5681_equation_4_half_the_flight_but_two_segments() {
        assert_eq!(threshold_after_loss(100_000, 1460), 50_000);
        assert_eq!(threshold_after_loss(1460, 1460), 2920);
    }
}
