//! BBR version 1, as Linux has it until 6.18 and longer (`net/ipv4/tcp_bbr.c`): what BBRv3 meets.
//!
//! It takes acknowledgements, and keeps the rate of the path, its shortest round trip, and a window
//! of two bandwidth-delay products. A loss holds the window for one round trip and nothing more.
//! Without Linux's detection of policers, which begins with 20 % of loss.

use simoom_tcp::congestion::{Ack, Controller, Path, Signal, Window};

/// `bbr_high_gain`: 2 / ln 2, in percent.
const HIGH_GAIN: u64 = 289;
const DRAIN_GAIN: u64 = 35;
const CWND_GAIN: u64 = 200;
/// `bbr_pacing_gain`, in percent.
const CYCLE: [u64; 8] = [125, 75, 100, 100, 100, 100, 100, 100];
/// `bbr_bw_rtts`: round trips for which a rate counts.
const BW_ROUNDS: usize = 10;
const MIN_RTT_US: u32 = 10_000_000;
const PROBE_RTT_US: u32 = 200_000;
const MIN_SEGMENTS: u32 = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Startup,
    Drain,
    ProbeBw,
    ProbeRtt,
}

/// The state of a connection, by the names of `struct bbr`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BbrV1 {
    mode: Mode,
    pacing_rate: u64,
    /// The largest rate of each of the last round trips, the current one first.
    bw: [u64; BW_ROUNDS],
    min_rtt_us: u32,
    min_rtt_at_us: u32,
    next_round_delivered: u32,
    round_start: bool,
    full_bw: u64,
    full_bw_count: u8,
    full_bw_reached: bool,
    cycle: usize,
    cycle_at_us: u32,
    probe_rtt_done_at_us: Option<u32>,
    probe_rtt_round_done: bool,
    prior_cwnd: u32,
    packet_conservation: bool,
    was_in_recovery: bool,
    /// Data in flight before the acknowledgement.
    prior_in_flight: u32,
    extra_acked: [u32; 2],
    extra_rounds: u8,
    epoch_acked: u32,
    epoch_at_us: u32,
}

impl Controller for BbrV1 {
    fn on_ack(&mut self, ack: &Ack<'_>, window: &mut Window) {
        let (path, rs) = (ack.path, ack.rate.expect("it is by rate"));
        self.prior_in_flight = path.in_flight + ack.acked + rs.newly_lost;
        self.round_start = rs
            .prior_delivered
            .is_some_and(|prior| prior.wrapping_sub(self.next_round_delivered).cast_signed() >= 0);
        if self.round_start {
            self.next_round_delivered = rs.total_delivered;
            self.bw.copy_within(..BW_ROUNDS - 1, 1);
            self.bw[0] = 0;
            self.packet_conservation = false;
        }
        if !rs.is_app_limited || rs.delivery_rate >= self.max_bw() {
            self.bw[0] = self.bw[0].max(rs.delivery_rate);
        }
        self.update_ack_aggregation(ack, window.cwnd);
        self.update_cycle(path, rs.newly_lost > 0);
        self.check_full_bw(rs.delivery_rate, rs.is_app_limited);
        self.check_drain(path);
        self.update_min_rtt(ack, window);
        self.set_pacing_rate(path);
        self.set_cwnd(ack, rs.newly_lost, rs.total_delivered, window);
    }

    fn on_congestion(&mut self, signal: Signal, path: &Path, window: &mut Window) {
        if signal == Signal::Timeout {
            (self.full_bw, self.round_start) = (0, true);
        }
        self.save_cwnd(path.in_recovery, window.cwnd);
    }

    fn on_recovered(&mut self, _: Signal, _: &Path, window: &mut Window) {
        window.cwnd = window.cwnd.max(self.prior_cwnd);
        self.packet_conservation = false;
    }

    fn pacing_rate(&self, path: &Path, window: &Window) -> u64 {
        let initial = u64::from(window.cwnd) * HIGH_GAIN * 10_000 / u64::from(path.srtt_us.max(1));
        if self.pacing_rate == 0 { initial } else { self.pacing_rate }
    }

    fn send_quantum(&self, path: &Path, window: &Window) -> u32 {
        let per_tick = self.pacing_rate(path, window) / 1000;
        (per_tick.min(64 << 10) as u32).max(2 * path.mss)
    }

    fn is_rate_based(&self) -> bool {
        true
    }

    fn holds_back(&self) -> bool {
        self.mode == Mode::ProbeRtt
    }
}

impl BbrV1 {
    fn max_bw(&self) -> u64 {
        self.bw.into_iter().max().unwrap_or(0)
    }

    /// `bbr_inflight`: so much at a gain, with quantization.
    fn inflight(&self, gain: u64, path: &Path) -> u32 {
        if self.min_rtt_us == 0 {
            return path.initial_window();
        }
        let bdp = self.max_bw() * u64::from(self.min_rtt_us) / 1_000_000 * gain / 100;
        let budget = 3 * self.send_quantum(path, &Window { cwnd: 0, ssthresh: 0 });
        let more = if self.mode == Mode::ProbeBw && self.cycle == 0 { 2 * path.mss } else { 0 };
        bdp as u32 + budget + more
    }

    fn update_ack_aggregation(&mut self, ack: &Ack<'_>, cwnd: u32) {
        if self.round_start {
            self.extra_rounds += 1;
            if self.extra_rounds >= 5 {
                (self.extra_rounds, self.extra_acked) = (0, [0, self.extra_acked[0]]);
            }
        }
        let elapsed_us = ack.path.now_us.wrapping_sub(self.epoch_at_us);
        let mut expected = self.max_bw() * u64::from(elapsed_us) / 1_000_000;
        if u64::from(self.epoch_acked) <= expected {
            (self.epoch_acked, self.epoch_at_us, expected) = (0, ack.path.now_us, 0);
        }
        self.epoch_acked += ack.acked;
        let extra = u64::from(self.epoch_acked).saturating_sub(expected).min(cwnd.into());
        self.extra_acked[0] = self.extra_acked[0].max(extra as u32);
    }

    /// `bbr_update_cycle_phase`.
    fn update_cycle(&mut self, path: &Path, has_lost: bool) {
        if self.mode != Mode::ProbeBw {
            return;
        }
        let is_full = path.now_us.wrapping_sub(self.cycle_at_us) > self.min_rtt_us;
        let is_over = match CYCLE[self.cycle] {
            100 => is_full,
            125 => is_full && (has_lost || self.prior_in_flight >= self.inflight(125, path)),
            _ => is_full || self.prior_in_flight <= self.inflight(100, path),
        };
        if is_over {
            (self.cycle, self.cycle_at_us) = ((self.cycle + 1) % CYCLE.len(), path.now_us);
        }
    }

    fn check_full_bw(&mut self, rate: u64, is_app_limited: bool) {
        if self.full_bw_reached || !self.round_start || is_app_limited {
            return;
        }
        if self.max_bw() >= self.full_bw * 5 / 4 {
            (self.full_bw, self.full_bw_count) = (self.max_bw().max(rate), 0);
            return;
        }
        self.full_bw_count += 1;
        self.full_bw_reached = self.full_bw_count >= 3;
    }

    fn check_drain(&mut self, path: &Path) {
        if self.mode == Mode::Startup && self.full_bw_reached {
            self.mode = Mode::Drain;
        }
        if self.mode == Mode::Drain && path.in_flight <= self.inflight(100, path) {
            self.begin_probe_bw(path);
        }
    }

    /// `bbr_reset_probe_bw_mode`: anywhere in the cycle but where it slows down.
    fn begin_probe_bw(&mut self, path: &Path) {
        self.mode = Mode::ProbeBw;
        let random = path.now_us.wrapping_mul(0x9e37_79b1) >> 16;
        (self.cycle, self.cycle_at_us) = ((2 + random as usize % 7) % CYCLE.len(), path.now_us);
    }

    fn update_min_rtt(&mut self, ack: &Ack<'_>, window: &mut Window) {
        let path = ack.path;
        let is_expired = path.now_us.wrapping_sub(self.min_rtt_at_us) > MIN_RTT_US;
        if let Some(rtt_us) = ack.rtt_us
            && (self.min_rtt_us == 0 || rtt_us <= self.min_rtt_us || is_expired)
        {
            let is_first = self.min_rtt_us == 0;
            (self.min_rtt_us, self.min_rtt_at_us) = (rtt_us, path.now_us);
            if is_expired && !is_first && self.mode != Mode::ProbeRtt {
                self.save_cwnd(path.in_recovery, window.cwnd);
                (self.mode, self.probe_rtt_done_at_us) = (Mode::ProbeRtt, None);
            }
        }
        if self.mode == Mode::ProbeRtt {
            self.probe_rtt(path, window);
        }
    }

    fn probe_rtt(&mut self, path: &Path, window: &mut Window) {
        let Some(done_at_us) = self.probe_rtt_done_at_us else {
            if path.in_flight <= MIN_SEGMENTS * path.mss {
                self.probe_rtt_done_at_us = Some(path.now_us.wrapping_add(PROBE_RTT_US));
                self.probe_rtt_round_done = false;
                self.next_round_delivered = self.next_round_delivered.wrapping_add(path.in_flight);
            }
            return;
        };
        self.probe_rtt_round_done |= self.round_start;
        if self.probe_rtt_round_done && path.now_us.wrapping_sub(done_at_us).cast_signed() > 0 {
            self.min_rtt_at_us = path.now_us;
            window.cwnd = window.cwnd.max(self.prior_cwnd);
            if self.full_bw_reached { self.begin_probe_bw(path) } else { self.mode = Mode::Startup }
        }
    }

    fn set_pacing_rate(&mut self, path: &Path) {
        let gain = match self.mode {
            Mode::Startup => HIGH_GAIN,
            Mode::Drain => DRAIN_GAIN,
            Mode::ProbeBw => CYCLE[self.cycle],
            Mode::ProbeRtt => 100,
        };
        if self.pacing_rate == 0 {
            let window = Window { cwnd: path.initial_window(), ssthresh: 0 };
            self.pacing_rate = self.pacing_rate(path, &window);
        }
        // `bbr_pacing_margin_percent`.
        let rate = self.max_bw() * gain * 99 / 10_000;
        if self.full_bw_reached || rate > self.pacing_rate {
            self.pacing_rate = rate.max(1);
        }
    }

    fn set_cwnd(&mut self, ack: &Ack<'_>, lost: u32, delivered: u32, window: &mut Window) {
        let path = ack.path;
        let has_begun_recovery = path.in_recovery && !self.was_in_recovery;
        self.was_in_recovery = path.in_recovery;
        window.cwnd = window.cwnd.saturating_sub(lost).max(path.mss);
        if has_begun_recovery {
            self.packet_conservation = true;
            self.next_round_delivered = delivered;
            window.cwnd = path.in_flight + ack.acked;
        }
        if self.packet_conservation {
            window.cwnd = window.cwnd.max(path.in_flight + ack.acked);
        } else {
            let gain = if self.full_bw_reached { CWND_GAIN } else { HIGH_GAIN };
            let target = self.inflight(gain, path) + self.extra_acked[0].max(self.extra_acked[1]);
            let grown = window.cwnd.saturating_add(ack.acked);
            if self.full_bw_reached {
                window.cwnd = grown.min(target);
            } else if window.cwnd < target || delivered < path.initial_window() {
                window.cwnd = grown;
            }
        }
        window.cwnd = window.cwnd.max(MIN_SEGMENTS * path.mss);
        if self.mode == Mode::ProbeRtt {
            window.cwnd = window.cwnd.min(MIN_SEGMENTS * path.mss);
        }
    }

    fn save_cwnd(&mut self, in_recovery: bool, cwnd: u32) {
        let is_modulated = in_recovery || self.mode == Mode::ProbeRtt;
        self.prior_cwnd = if is_modulated { self.prior_cwnd.max(cwnd) } else { cwnd };
    }
}
