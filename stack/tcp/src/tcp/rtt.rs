//! Round-trip time and the retransmission timeout computed from it (RFC 6298).

use simoom_io::timer::Tick;

/// Smoothed round-trip time, its variation, and the shortest recent one. Before the first
/// measurement `srtt_us` is 0 and `rttvar_us` is the minimum of the timeout.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RttEstimator {
    srtt_us: u32,
    rttvar_us: u32,
    min_us: u32,
    min_at: Tick,
}

/// RFC 6298 §2.1: the timeout before the first measurement.
const INITIAL_RTO_MS: u32 = 1000;
/// RFC 6298 §2.5 allows a bound of 60 s or more.
pub(crate) const MAX_RTO_MS: u32 = 120_000;

/// The shortest round trip expires after this time: the path may have changed.
const MIN_LIFE_MS: i32 = 300_000;

/// RFC 6298 §5.7: the timeout when data transmission begins after a SYN that timed out.
const RTO_AFTER_LOST_SYN_US: u32 = 3_000_000;

impl RttEstimator {
    /// The handshake's SYN or SYN-ACK was retransmitted, so there is no measurement (§5.7).
    pub(crate) fn handshake_retransmitted(&mut self) {
        if self.srtt_us == 0 {
            self.rttvar_us = RTO_AFTER_LOST_SYN_US;
        }
    }

    /// Adds one measurement, of a segment that was sent only once (Karn's algorithm, §3).
    #[inline(always)]
    pub(crate) fn measured(&mut self, rtt_us: u32) {
        // 2^28 µs are four minutes: more than any RTO, and far from overflowing below.
        let rtt_us = rtt_us.clamp(1, 1 << 28);
        if self.srtt_us == 0 {
            (self.srtt_us, self.rttvar_us) = (rtt_us, rtt_us / 2);
        } else {
            self.rttvar_us = (3 * (self.rttvar_us / 4)) + self.srtt_us.abs_diff(rtt_us) / 4;
            self.srtt_us = self.srtt_us - self.srtt_us / 8 + rtt_us / 8;
            self.srtt_us = self.srtt_us.max(1);
        }
    }

    /// Updates the shortest round trip, from which other algorithms learn how long the path is.
    #[inline]
    pub(crate) fn shortest(&mut self, rtt_us: u32, now: Tick) {
        let is_stale = self.min_at == Tick::NEVER || self.min_at.until(now) > MIN_LIFE_MS;
        if rtt_us <= self.min_us || is_stale {
            (self.min_us, self.min_at) = (rtt_us.max(1), now);
        }
    }

    /// The smoothed round trip; 0 before the first measurement.
    #[inline]
    pub(crate) fn srtt_us(&self) -> u32 {
        self.srtt_us
    }

    /// The shortest round trip of the last 5 minutes; 0 before the first measurement.
    #[inline]
    pub(crate) fn min_us(&self) -> u32 {
        self.min_us
    }

    /// The timeout after `timeouts` consecutive timeouts (§5.5), in milliseconds.
    #[inline]
    pub(crate) fn rto_ms(&self, min_rto_ms: u32, timeouts: u8) -> u32 {
        let base = match self.srtt_us {
            0 => INITIAL_RTO_MS.max(self.rttvar_us / 1000).max(min_rto_ms),
            srtt => match srtt + (4 * self.rttvar_us).max(1000) {
                // Most paths are so short. Saves a division.
                us if u64::from(us) <= 1000 * u64::from(min_rto_ms) => min_rto_ms,
                us => us.div_ceil(1000),
            },
        };
        let base = base.min(MAX_RTO_MS);
        if timeouts == 0 {
            return base;
        }
        base.checked_shl(u32::from(timeouts.min(16))).unwrap_or(MAX_RTO_MS).min(MAX_RTO_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_2_1_one_second_before_any_measurement() {
        assert_eq!(RttEstimator::default().rto_ms(200, 0), 1000);
    }

    #[test]
    fn section_5_7_three_seconds_after_a_lost_syn() {
        let mut rtt = RttEstimator::default();
        rtt.handshake_retransmitted();
        assert_eq!((rtt.rto_ms(200, 0), rtt.rto_ms(200, 1)), (3000, 6000));
        rtt.measured(100_000);
        assert_eq!(rtt.rto_ms(200, 0), 300);
        rtt.handshake_retransmitted();
        assert_eq!(rtt.rto_ms(200, 0), 300);
    }

    #[test]
    fn section_2_2_first_measurement() {
        let mut rtt = RttEstimator::default();
        rtt.measured(100_000);
        assert_eq!((rtt.srtt_us, rtt.rto_ms(200, 0)), (100_000, 300));
    }

    #[test]
    fn section_2_3_steady_round_trips_converge() {
        let mut rtt = RttEstimator::default();
        for _ in 0..100 {
            rtt.measured(400_000);
        }
        assert!(rtt.srtt_us.abs_diff(400_000) < 100);
        assert!((400..=410).contains(&rtt.rto_ms(200, 0)));
    }

    #[test]
    fn section_5_5_backs_off_to_the_bound() {
        let mut rtt = RttEstimator::default();
        rtt.measured(1000);
        assert_eq!((0..4).map(|n| rtt.rto_ms(200, n)).collect::<Vec<_>>(), [200, 400, 800, 1600]);
        assert_eq!(rtt.rto_ms(200, 255), MAX_RTO_MS);
    }

    #[test]
    fn absurd_measurements_stay_in_bounds() {
        let mut rtt = RttEstimator::default();
        for us in [0, u32::MAX, 0, u32::MAX] {
            rtt.measured(us);
            assert!((200..=MAX_RTO_MS).contains(&rtt.rto_ms(200, 0)));
        }
    }
}
