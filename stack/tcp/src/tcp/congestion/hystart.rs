//! HyStart++ (RFC 9406): slow start ends when round trips grow longer, before the bottleneck's
//! queue overflows.
//!
//! The input is acknowledgements with their round trips. The result is how much the window grows,
//! and when slow start ends. Used only in the first slow start of a connection.

use super::Ack;
use crate::seq::Seq;

/// §4.3: the rise of the shortest round trip that ends slow start: an eighth of it, within these
/// bounds.
const MIN_RTT_THRESH_US: u32 = 4000;
const MAX_RTT_THRESH_US: u32 = 16_000;
const MIN_RTT_DIVISOR: u32 = 8;
/// §4.3: measurements that a round needs.
const N_RTT_SAMPLE: u8 = 8;
/// §4.3: conservative slow start divides slow start's growth by this.
const CSS_GROWTH_DIVISOR: u32 = 4;
/// §4.3: the number of rounds of conservative slow start.
const CSS_ROUNDS: u8 = 5;
/// §4.3: segments that one acknowledgement can add without pacing.
const L: u32 = 8;

/// HyStart++'s state. Round trips are in microseconds, 0 before the first measurement.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HyStart {
    /// SND.NXT when the round began, which ends it.
    window_end: Option<Seq>,
    last_min_us: u32,
    min_us: u32,
    samples: u8,
    /// Rounds of conservative slow start; `None` in slow start.
    conservative: Option<u8>,
    /// The shortest round trip when conservative slow start began.
    baseline_us: u32,
}

impl HyStart {
    /// §4.2: by how many bytes the window grows, and whether slow start is over.
    pub(super) fn grow(&mut self, ack: &Ack<'_>) -> (u32, bool) {
        if self.window_end.is_none_or(|end| ack.una.at_or_after(end)) {
            (self.last_min_us, self.min_us, self.samples) = (self.min_us, 0, 0);
            self.window_end = Some(ack.nxt);
            self.conservative = self.conservative.map(|rounds| rounds + 1);
        }
        if let Some(rtt_us) = ack.rtt_us {
            self.min_us = if self.min_us == 0 { rtt_us } else { self.min_us.min(rtt_us) };
            self.samples = self.samples.saturating_add(1);
        }
        if self.samples >= N_RTT_SAMPLE {
            self.update_stage();
        }
        let step = if ack.is_paced { ack.acked } else { ack.acked.min(L * ack.path.mss) };
        match self.conservative {
            Some(rounds) => (step / CSS_GROWTH_DIVISOR, rounds >= CSS_ROUNDS),
            None => (step, false),
        }
    }

    /// Enters conservative slow start, or returns to slow start if the rise was jitter.
    fn update_stage(&mut self) {
        if self.conservative.is_some() {
            if self.min_us < self.baseline_us {
                (self.conservative, self.baseline_us) = (None, 0);
            }
        } else if self.last_min_us > 0 {
            let thresh_us =
                (self.last_min_us / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH_US, MAX_RTT_THRESH_US);
            if self.min_us >= self.last_min_us + thresh_us {
                (self.conservative, self.baseline_us) = (Some(0), self.min_us);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::congestion::Path;

    const MSS: u32 = 1000;

    fn ack(acked: u32) -> Ack<'static> {
        let path = Box::leak(Box::new(Path { mss: MSS, ..Path::default() }));
        let (una, nxt) = (Seq(0), Seq(0));
        Ack { path, acked, rtt_us: None, una, nxt, is_paced: false, rate: None }
    }

    /// A round of ten acknowledgements with this round trip. Returns the growth, and whether slow
    /// start is over.
    fn round(hystart: &mut HyStart, round: u32, rtt_us: u32) -> (u32, bool) {
        let mut total = (0, false);
        for n in 0..10 {
            let una = Seq(round * 10 * MSS + n * MSS);
            let nxt = una + 10 * MSS;
            let (step, over) = hystart.grow(&Ack { rtt_us: Some(rtt_us), una, nxt, ..ack(MSS) });
            total = (total.0 + step, over);
        }
        total
    }

    #[test]
    fn rfc_9406_section_4_2_ends_five_rounds_after_round_trips_rise() {
        let mut hystart = HyStart::default();
        assert_eq!(round(&mut hystart, 0, 20_000), (10 * MSS, false));
        assert_eq!(round(&mut hystart, 1, 23_000), (10 * MSS, false));
        // 4 ms more than the round before: the last acknowledgements of the round add a quarter.
        assert_eq!(round(&mut hystart, 2, 27_000), (7 * MSS + 3 * MSS / 4, false));
        for n in 3..7 {
            assert_eq!(round(&mut hystart, n, 30_000), (10 * MSS / 4, false));
        }
        assert!(round(&mut hystart, 7, 30_000).1);
    }

    #[test]
    fn rfc_9406_section_4_2_resumes_when_the_rise_was_jitter() {
        let mut hystart = HyStart::default();
        for (n, rtt_us) in [20_000, 30_000, 20_000].into_iter().enumerate() {
            round(&mut hystart, n as u32, rtt_us);
        }
        assert_eq!(round(&mut hystart, 3, 20_000), (10 * MSS, false));
    }

    #[test]
    fn rfc_9406_section_4_3_one_acknowledgement_adds_eight_segments_at_most_without_pacing() {
        let ack = ack(40 * MSS);
        assert_eq!(HyStart::default().grow(&ack), (8 * MSS, false));
        assert_eq!(HyStart::default().grow(&Ack { is_paced: true, ..ack }), (40 * MSS, false));
    }
}
