//! HyStart++ (RFC 9406): slow start ends when round trips grow longer, before the bottleneck's
//! queue overflows. On paced connections it also ends when the bottleneck spreads the
//! acknowledgements of a window over half of the round trip.
//!
//! The input is acknowledgements with their round trips. The result is how much the window grows,
//! and when slow start ends. Used only in the first slow start of a connection.
//!
//! RFC 9406 alone detects a queue only in the round trip after the one that fills the path: the
//! first segments of a round trip meet no queue before. By then the window may be four times what
//! the path carries.

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
/// The part of the shortest round trip over which the acknowledgements of a window are spread.
const SPREAD_DIVISOR: u32 = 2;
/// A gap longer than this part of the shortest round trip is no bottleneck's.
const GAP_DIVISOR: u32 = 4;
/// The part of the round's data that is still to be acknowledged then: more than stragglers.
const REST_DIVISOR: u32 = 8;

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
    /// SND.UNA when the round began.
    round_una: Seq,
    /// When the round began, in microseconds modulo 2³².
    round_at_us: u32,
    /// When the last acknowledgement of the round arrived, if there was no gap before it.
    spread_at_us: u32,
    /// The shortest of the last measurements, of which there are fewer than [`N_RTT_SAMPLE`].
    recent_min_us: u32,
    recent_samples: u8,
}

impl HyStart {
    /// §4.2: by how many bytes the window grows, and whether slow start is over.
    pub(super) fn grow(&mut self, ack: &Ack<'_>) -> (u32, bool) {
        if self.window_end.is_none_or(|end| ack.una.at_or_after(end)) {
            (self.last_min_us, self.min_us, self.samples) = (self.min_us, 0, 0);
            self.window_end = Some(ack.nxt);
            (self.round_at_us, self.spread_at_us) = (ack.path.now_us, ack.path.now_us);
            (self.round_una, self.recent_samples) = (ack.una, 0);
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
        let is_over = ack.is_paced && self.is_spread(ack);
        match self.conservative {
            Some(rounds) => (step / CSS_GROWTH_DIVISOR, is_over || rounds >= CSS_ROUNDS),
            None => (step, is_over),
        }
    }

    /// Whether the bottleneck spreads the acknowledgements of a window over half of the round trip,
    /// and delays its segments. Pacing sends a window in a quarter of the round trip. In half of it
    /// the bottleneck delivers half of what the path carries, so the window with which the round
    /// began is at least that much, and has grown by as much since: it fills the path.
    fn is_spread(&mut self, ack: &Ack<'_>) -> bool {
        let (now_us, min_rtt_us) = (ack.path.now_us, ack.path.min_rtt_us);
        if now_us.wrapping_sub(self.spread_at_us) > min_rtt_us / GAP_DIVISOR {
            return false;
        }
        self.spread_at_us = now_us;
        let Some(recent_us) = self.recent(ack) else { return false };
        let end = self.window_end.unwrap_or(ack.una);
        let (total, rest) = (end.since(self.round_una), end.since(ack.una));
        now_us.wrapping_sub(self.round_at_us) > min_rtt_us / SPREAD_DIVISOR
            && rest >= total / REST_DIVISOR
            && recent_us >= min_rtt_us + rtt_thresh_us(min_rtt_us)
    }

    /// The shortest of each [`N_RTT_SAMPLE`] measurements: a delay that is not jitter.
    fn recent(&mut self, ack: &Ack<'_>) -> Option<u32> {
        let rtt_us = ack.rtt_us?;
        let is_first = self.recent_samples == 0;
        self.recent_min_us = if is_first { rtt_us } else { self.recent_min_us.min(rtt_us) };
        self.recent_samples = (self.recent_samples + 1) % N_RTT_SAMPLE;
        (self.recent_samples == 0).then_some(self.recent_min_us)
    }

    /// Enters conservative slow start, or returns to slow start if the rise was jitter.
    fn update_stage(&mut self) {
        if self.conservative.is_some() {
            if self.min_us < self.baseline_us {
                (self.conservative, self.baseline_us) = (None, 0);
            }
        } else if self.last_min_us > 0
            && self.min_us >= self.last_min_us + rtt_thresh_us(self.last_min_us)
        {
            (self.conservative, self.baseline_us) = (Some(0), self.min_us);
        }
    }
}

/// §4.2, RttThresh for a shortest round trip.
fn rtt_thresh_us(min_us: u32) -> u32 {
    (min_us / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH_US, MAX_RTT_THRESH_US)
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

    /// One round on a paced connection whose shortest round trip is 100 ms: acknowledgements each
    /// `gap_us`, with round trips that begin at `rtt_us` and grow by `rise_us` each. Returns after
    /// how many of them slow start is over.
    fn spread(acks: u32, gap_us: u32, rtt_us: u32, rise_us: u32) -> Option<u32> {
        let mut hystart = HyStart::default();
        (0..acks).find(|n| {
            let now_us = 1_000_000 + n * gap_us;
            let path = Path { mss: MSS, min_rtt_us: 100_000, now_us, ..Path::default() };
            let (una, nxt) = (Seq(n * MSS), Seq((acks + n) * MSS));
            let rtt_us = Some(rtt_us + n * rise_us);
            let ack = Ack { path: &path, rtt_us, una, nxt, is_paced: true, ..ack(MSS) };
            hystart.grow(&ack).1
        })
    }

    #[test]
    fn ends_when_the_bottleneck_spreads_a_window_over_half_of_the_round_trip() {
        // The eighth measurement after 50 ms.
        assert_eq!(spread(100, 1000, 100_000, 500), Some(55));
        // A quarter of the round trip, by pacing. A gap in the middle. No delay by the bottleneck.
        assert_eq!(spread(100, 250, 100_000, 500), None);
        assert_eq!(spread(100, 26_000, 100_000, 500), None);
        assert_eq!(spread(100, 1000, 100_000, 50), None);
        // Only stragglers are left.
        assert_eq!(spread(60, 1000, 100_000, 500), None);
    }

    #[test]
    fn jitter_is_no_spread() {
        let mut hystart = HyStart::default();
        for n in 0..100 {
            let now_us = 1_000_000 + n * 1000;
            let path = Path { mss: MSS, min_rtt_us: 100_000, now_us, ..Path::default() };
            let rtt_us = Some(if n % 8 == 7 { 110_000 } else { 140_000 });
            let (una, nxt) = (Seq(n * MSS), Seq((100 + n) * MSS));
            let ack = Ack { path: &path, rtt_us, una, nxt, is_paced: true, ..ack(MSS) };
            assert!(!hystart.grow(&ack).1);
        }
    }
}
