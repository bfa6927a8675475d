//! NewReno's window: slow start, congestion avoidance and halving (RFC 5681), counted in bytes (RFC
//! 3465). A receiver cannot change the growth by splitting its acknowledgements.

use super::{Ack, Controller, Path, Signal, Window};

/// NewReno's state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NewReno {
    /// Bytes acknowledged in congestion avoidance since the window last grew.
    acked: u32,
}

impl Controller for NewReno {
    #[inline]
    fn on_ack(&mut self, ack: &Ack<'_>, window: &mut Window) {
        let mss = ack.path.mss;
        let step = if window.cwnd < window.ssthresh {
            slow_start(ack.acked, mss, window.ssthresh == u32::MAX)
        } else {
            self.avoid(window.cwnd, mss, ack.acked)
        };
        window.cwnd = window.cwnd.saturating_add(step);
    }

    fn on_congestion(&mut self, _: Signal, path: &Path, window: &mut Window) {
        // A window that was not fully used says nothing about the path (RFC 5681 §3.1).
        window.ssthresh = self.lost(window.cwnd.min(path.flight_size), path.mss);
    }
}

impl NewReno {
    /// The growth in congestion avoidance for `acked` bytes: a segment for each acknowledged window
    /// (RFC 5681 §3.1; RFC 3465 §2.1).
    fn avoid(&mut self, cwnd: u32, mss: u32, acked: u32) -> u32 {
        self.acked = self.acked.saturating_add(acked);
        if self.acked < cwnd {
            return 0;
        }
        self.acked -= cwnd;
        mss
    }

    /// Loss was detected with `in_flight` bytes outstanding. Returns the slow-start threshold (RFC
    /// 5681, equation (4)).
    fn lost(&mut self, in_flight: u32, mss: u32) -> u32 {
        self.acked = 0;
        (in_flight / 2).max(2 * mss)
    }
}

/// The growth in slow start for `acked` bytes. In the `first` slow start one acknowledgement adds
/// up to two segments (RFC 3465 §2.3, L = 2), for a peer that delays them. After a loss it adds at
/// most one: it may cover data that had arrived long before (RFC 5681 §3.1, equation (2)).
fn slow_start(acked: u32, mss: u32, first: bool) -> u32 {
    acked.min(if first { 2 * mss } else { mss })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::Seq;

    #[test]
    fn rfc_5681_section_3_1_slow_start_then_avoidance() {
        let grown = |ssthresh, cwnd, acked| {
            let mut window = Window { cwnd, ssthresh };
            let path = Path { mss: 1460, ..Path::default() };
            let (una, nxt) = (Seq(1), Seq(2));
            let ack =
                Ack { path: &path, acked, rtt_us: None, una, nxt, is_paced: false, rate: None };
            NewReno::default().on_ack(&ack, &mut window);
            window.cwnd
        };
        assert_eq!(grown(u32::MAX, 14_600, 1460), 16_060);
        assert_eq!(grown(u32::MAX, 14_600, 100), 14_700);
        assert_eq!(grown(14_600, 14_600, 1460), 14_600);
        assert_eq!(grown(14_600, 14_600, 14_600), 16_060);
        assert_eq!(grown(1, 1 << 30, 1), 1 << 30);
    }

    #[test]
    fn rfc_3465_section_2_1_a_segment_for_a_window_of_bytes_however_they_are_acknowledged() {
        for acked in [1, 146, 1460, 2920, 14_600] {
            let (mut reno, mut grown) = (NewReno::default(), 0);
            for _ in 0..29_200 / acked {
                grown += reno.avoid(14_600, 1460, acked);
            }
            assert_eq!(grown, 2920, "in acknowledgements of {acked}");
        }
    }

    #[test]
    fn rfc_3465_section_2_3_two_segments_an_acknowledgement_at_first_and_one_after_a_loss() {
        assert_eq!(
            [1460, 2920, 4380].map(|acked| slow_start(acked, 1460, true)),
            [1460, 2920, 2920]
        );
        assert_eq!(
            [100, 1460, 4380].map(|acked| slow_start(acked, 1460, false)),
            [100, 1460, 1460]
        );
    }

    #[test]
    fn rfc_5681_equation_4_half_the_flight_but_two_segments() {
        assert_eq!(NewReno::default().lost(100_000, 1460), 50_000);
        assert_eq!(NewReno::default().lost(1460, 1460), 2920);
    }

    #[test]
    fn after_a_loss_bytes_are_counted_anew() {
        let mut reno = NewReno::default();
        assert_eq!(reno.avoid(14_600, 1460, 14_599), 0);
        reno.lost(14_600, 1460);
        assert_eq!((reno.avoid(7300, 1460, 7299), reno.avoid(7300, 1460, 1)), (0, 1460));
    }
}
