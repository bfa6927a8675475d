//! CUBIC's window (RFC 9438). After loss it returns to its former size along a cubic function of
//! time, independent of the round trip, and grows beyond. On short paths it is at least NewReno's
//! window.

use super::hystart::HyStart;
use super::{Ack, Controller, Path, Signal, Window};
use simoom_io::timer::Tick;

/// §4.6: the factor that loss multiplies the window by.
const BETA: f64 = 0.7;
/// §4.1: how fast the cubic function rises, in segments per second cubed.
const C: f64 = 0.4;
/// §4.3: segments each round trip that match NewReno's throughput with CUBIC's decrease.
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// The window cannot have grown in a pause of four round trips, or of this time (§5.8).
const PAUSE_MS: u32 = 200;

/// CUBIC's state; windows are in segments.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cubic {
    hystart: HyStart,
    /// W_max: the window before the last reduction, or less after fast convergence (§4.7). 0 from
    /// a timeout until the slow start that follows it is over.
    w_max: f32,
    /// The window just before the last reduction.
    cwnd_prior: f32,
    /// W_est: what NewReno's window would be.
    w_est: f64,
    /// K: seconds from the epoch until the window is W_max again.
    k: f32,
    /// When the current congestion avoidance began. [`Tick::NEVER`] if the next acknowledgement
    /// begins it.
    epoch: Tick,
    /// When the window last grew.
    grown_at: Tick,
    /// The bytes of a segment when a window was last noted.
    mss: u32,
}

impl Controller for Cubic {
    #[inline]
    fn on_ack(&mut self, ack: &Ack<'_>, window: &mut Window) {
        window.cwnd = if window.cwnd < window.ssthresh {
            window.cwnd.saturating_add(self.slow_start(ack, window))
        } else {
            self.avoid(window.cwnd, ack)
        };
    }

    fn on_congestion(&mut self, signal: Signal, path: &Path, window: &mut Window) {
        // A window that was not fully used says nothing about the path (§4.6).
        let used = window.cwnd.min(path.flight_size);
        window.ssthresh = self.lost(used, used, path.mss);
        if signal == Signal::Timeout {
            // §4.8: the next epoch begins with K = 0 and W_max = its first window.
            self.w_max = 0.0;
        }
    }
}

impl Cubic {
    /// The growth in slow start: HyStart++ in the first one. Later one acknowledgement adds up to
    /// two segments, and one after a timeout: it may cover data that had arrived long before (RFC
    /// 3465 §2.3).
    fn slow_start(&mut self, ack: &Ack<'_>, window: &mut Window) -> u32 {
        if window.ssthresh != u32::MAX {
            let follows_timeout = self.w_max == 0.0;
            return ack.acked.min(if follows_timeout { 1 } else { 2 } * ack.path.mss);
        }
        let (step, is_over) = self.hystart.grow(ack);
        if is_over {
            window.ssthresh = window.cwnd;
        }
        step
    }

    /// §4.2 to §4.5: congestion avoidance after an acknowledgement; returns the new window in
    /// bytes.
    fn avoid(&mut self, cwnd_bytes: u32, ack: &Ack<'_>) -> u32 {
        let mss = f64::from(ack.path.mss);
        let (cwnd, acked) = (f64::from(cwnd_bytes) / mss, f64::from(ack.acked) / mss);
        self.follow_clock(cwnd, ack.path);
        let elapsed = f64::from(self.epoch.until(ack.path.now).max(0)) / 1000.0;
        // §4.3: beyond the window before the reduction, NewReno's own slope is fair.
        let alpha = if self.w_est >= f64::from(self.cwnd_prior) { 1.0 } else { ALPHA };
        self.w_est += alpha * acked / cwnd;
        let cubic_now = self.window_at(elapsed);
        let window = if cubic_now < self.w_est {
            self.w_est.max(cwnd)
        } else {
            let ahead = self.window_at(elapsed + f64::from(ack.path.srtt_us) / 1e6);
            cwnd + (ahead.clamp(cwnd, 1.5 * cwnd) - cwnd) / cwnd * acked
        };
        ((window * mss) as u32).max(cwnd_bytes)
    }

    /// §4.2, figure 1.
    fn window_at(&self, seconds: f64) -> f64 {
        let t = seconds - f64::from(self.k);
        C * t * t * t + f64::from(self.w_max)
    }

    /// Begins an epoch if there is none, and moves it by a pause in the use of the window.
    fn follow_clock(&mut self, cwnd: f64, path: &Path) {
        if path.mss != self.mss {
            self.resize_segments(path.mss);
        }
        if self.epoch == Tick::NEVER {
            self.epoch = path.now;
            self.w_est = cwnd;
            self.w_max = self.w_max.max(cwnd as f32);
            self.k = ((f64::from(self.w_max) - cwnd) / C).cbrt() as f32;
        } else {
            let pause_ms = self.grown_at.until(path.now).max(0) as u32;
            if pause_ms > PAUSE_MS.max(path.srtt_us / 250) {
                self.epoch = self.epoch.plus(pause_ms);
            }
        }
        self.grown_at = path.now;
    }

    /// Segments have `mss` bytes from now on. Larger ones do not raise windows in bytes, and
    /// smaller ones do not raise them in segments (RFC 4821 §4).
    #[cold]
    fn resize_segments(&mut self, mss: u32) {
        let factor = (self.mss as f32 / mss as f32).min(1.0);
        self.w_max *= factor;
        self.cwnd_prior *= factor;
        self.w_est *= f64::from(factor);
        self.mss = mss;
    }

    /// §4.6 and §4.7: loss; returns the slow-start threshold in bytes.
    fn lost(&mut self, cwnd_bytes: u32, in_flight: u32, mss: u32) -> u32 {
        if mss != self.mss {
            self.resize_segments(mss);
        }
        let cwnd = cwnd_bytes as f32 / mss as f32;
        // Fast convergence: a flow that has not regained its window leaves capacity to others.
        self.w_max = if cwnd < self.w_max { cwnd * (1.0 + BETA as f32) / 2.0 } else { cwnd };
        self.cwnd_prior = cwnd;
        self.epoch = Tick::NEVER;
        ((f64::from(in_flight) * BETA) as u32).max(2 * mss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::Seq;

    const MSS: u32 = 1000;

    fn ack(now_ms: u64, acked: u32, srtt_ms: u32) -> Ack<'static> {
        let now = Tick::from_millis(now_ms);
        let path = Path { now, mss: MSS, srtt_us: srtt_ms * 1000, ..Path::default() };
        let path = Box::leak(Box::new(path));
        let (una, nxt) = (Seq(0), Seq(0));
        Ack { path, acked, rtt_us: None, una, nxt, is_paced: false, rate: None }
    }

    /// A window's worth of acknowledgements each round trip, from the loss on.
    fn run(cubic: &mut Cubic, mut cwnd: u32, seconds: u64, srtt_ms: u32) -> u32 {
        for round in 0..seconds * 1000 / u64::from(srtt_ms) {
            let now = 5000 + round * u64::from(srtt_ms);
            for _ in 0..cwnd / MSS {
                cwnd = cubic.avoid(cwnd, &ack(now, MSS, srtt_ms));
            }
        }
        cwnd
    }

    #[test]
    fn rfc_9406_section_4_3_slow_start_ends_where_hystart_says() {
        let mut cubic = Cubic::default();
        let mut window = Window { cwnd: 10 * MSS, ssthresh: u32::MAX };
        cubic.on_ack(&ack(5000, 4 * MSS, 100), &mut window);
        assert_eq!(window, Window { cwnd: 14 * MSS, ssthresh: u32::MAX });
        window.ssthresh = 20 * MSS;
        cubic.lost(20 * MSS, 20 * MSS, MSS);
        cubic.on_ack(&ack(5000, 4 * MSS, 100), &mut window);
        assert_eq!(window.cwnd, 16 * MSS, "two segments after a loss");
    }

    #[test]
    fn rfc_3465_section_2_3_one_segment_an_acknowledgement_after_a_timeout() {
        let mut cubic = Cubic::default();
        let mut window = Window { cwnd: 40 * MSS, ssthresh: u32::MAX };
        let path = Path { mss: MSS, flight_size: 40 * MSS, ..Path::default() };
        cubic.on_congestion(Signal::Timeout, &path, &mut window);
        window.cwnd = MSS;
        for segments in 2..=28 {
            cubic.on_ack(&ack(5000, 4 * MSS, 100), &mut window);
            assert_eq!(window.cwnd, segments * MSS);
        }
        // Congestion avoidance, and a pause that halves the window: two segments again.
        cubic.on_ack(&ack(5000, MSS, 100), &mut window);
        window.cwnd = 14 * MSS;
        cubic.on_ack(&ack(5000, 4 * MSS, 100), &mut window);
        assert_eq!(window.cwnd, 16 * MSS);
    }

    #[test]
    fn rfc_9438_section_4_6_an_unused_window_does_not_count() {
        let mut window = Window { cwnd: 1000 * MSS, ssthresh: u32::MAX };
        let path = Path { mss: MSS, flight_size: 100 * MSS, ..Path::default() };
        Cubic::default().on_congestion(Signal::Loss, &path, &mut window);
        assert_eq!(window.ssthresh, 70 * MSS);
    }

    #[test]
    fn rfc_9438_section_4_2_comes_back_after_k_seconds_and_goes_beyond() {
        let mut cubic = Cubic::default();
        let start = cubic.lost(1000 * MSS, 1000 * MSS, MSS);
        assert_eq!(start, 700 * MSS);
        // K is the cube root of 300 / 0.4, 9.09 s.
        let back = run(&mut cubic.clone(), start, 9, 100);
        assert!((985 * MSS..1010 * MSS).contains(&back), "{back}");
        let half_way = run(&mut cubic.clone(), start, 5, 100);
        assert!((950 * MSS..985 * MSS).contains(&half_way), "most of it comes early: {half_way}");
        let beyond = run(&mut cubic, start, 16, 100);
        assert!(beyond > 1100 * MSS, "{beyond}");
    }

    #[test]
    fn rfc_9438_section_4_3_is_at_least_newreno_on_short_paths() {
        let mut cubic = Cubic::default();
        let start = cubic.lost(10 * MSS, 10 * MSS, MSS);
        // 200 round trips of 5 ms: 0.53 segments each until it is 10 again, then one each.
        let after = run(&mut cubic, start, 1, 5);
        assert!(after > 150 * MSS, "{after}");
    }

    #[test]
    fn rfc_9438_section_4_7_fast_convergence() {
        let mut cubic = Cubic::default();
        cubic.lost(100 * MSS, 100 * MSS, MSS);
        cubic.lost(80 * MSS, 80 * MSS, MSS);
        assert!((cubic.w_max - 68.0).abs() < 0.01);
    }

    #[test]
    fn rfc_9438_section_4_8_after_a_timeout_the_window_does_not_return_to_the_former_one() {
        let path = Path { mss: MSS, flight_size: 1000 * MSS, ..Path::default() };
        let mut window = Window { cwnd: 1000 * MSS, ssthresh: u32::MAX };
        let mut cubic = Cubic::default();
        cubic.on_congestion(Signal::Timeout, &path, &mut window);
        assert_eq!(window.ssthresh, 700 * MSS);
        // 0.4 * 5^3 is 50 segments more after five seconds; NewReno has 27.
        let after = run(&mut cubic, window.ssthresh, 5, 100);
        assert!((740 * MSS..760 * MSS).contains(&after), "{after}");
    }

    #[test]
    fn rfc_4821_section_4_larger_segments_do_not_raise_windows_in_bytes() {
        let mut cubic = Cubic::default();
        let start = cubic.lost(1000 * MSS, 1000 * MSS, MSS);
        let before = run(&mut cubic, start, 9, 100);
        let path = Path { mss: 2 * MSS, ..*ack(14_000, MSS, 100).path };
        let ack = Ack { path: &path, ..ack(14_000, MSS, 100) };
        let after = (0..500).fold(before, |cwnd, _| cubic.avoid(cwnd, &ack));
        assert!((before..before + 10 * MSS).contains(&after), "{after}");
    }

    #[test]
    fn rfc_4821_section_4_smaller_segments_do_not_raise_windows_in_segments() {
        let mut cubic = Cubic::default();
        let start = cubic.lost(1000 * MSS, 1000 * MSS, MSS);
        let before = run(&mut cubic, start, 9, 100) / 2;
        let path = Path { mss: MSS / 2, ..*ack(14_000, MSS, 100).path };
        let ack = Ack { path: &path, ..ack(14_000, MSS / 2, 100) };
        let after = (0..1000).fold(before, |cwnd, _| cubic.avoid(cwnd, &ack));
        assert!((before..before + 10 * MSS).contains(&after), "{after}");
    }

    #[test]
    fn rfc_9438_section_5_8_idle_time_does_not_count() {
        let mut cubic = Cubic::default();
        let start = cubic.lost(100 * MSS, 100 * MSS, MSS);
        let cwnd = cubic.avoid(start, &ack(5000, MSS, 100));
        let later = cubic.avoid(cwnd, &ack(3_000_000, MSS, 100));
        assert!(later < cwnd + MSS, "{later}");
    }
}
