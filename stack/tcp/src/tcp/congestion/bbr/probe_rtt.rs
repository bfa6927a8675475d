//! ProbeRTT (§5.3.4): every five seconds without a shorter round trip, the queue is drained to
//! measure one.

use super::model::data;
use super::{AckPhase, Bbr, Event, State};
use crate::tcp::congestion::{Path, Window};
use simoom_io::timer::Tick;

/// §2.14.1, BBR.MinRTTFilterLen.
const MIN_RTT_FILTER_MS: i32 = 10_000;
/// §2.14.2, BBR.ProbeRTTInterval.
const INTERVAL_MS: i32 = 5000;
/// §2.14.2, BBR.ProbeRTTDuration.
const DURATION_MS: u32 = 200;
/// §2.14.2, BBR.ProbeRTTCwndGain, in percent.
pub(super) const CWND_GAIN_PERCENT: u64 = 50;

impl<const LOSS_PERCENT: u32> Bbr<LOSS_PERCENT> {
    /// §5.3.4.3, UpdateMinRTT.
    pub(super) fn update_min_rtt(&mut self, event: &Event<'_>) {
        let now = event.path.now;
        self.probe_rtt_expired = self.probe_rtt_min_at.until(now) > INTERVAL_MS;
        if let Some(rtt_us) = event.rtt_us
            && (rtt_us < self.probe_rtt_min_delay_us || self.probe_rtt_expired)
        {
            (self.probe_rtt_min_delay_us, self.probe_rtt_min_at) = (rtt_us, now);
        }
        let is_expired = self.min_rtt_at.until(now) > MIN_RTT_FILTER_MS;
        if self.probe_rtt_min_delay_us < self.min_rtt_us || is_expired {
            self.min_rtt_us = self.probe_rtt_min_delay_us;
            self.min_rtt_at = self.probe_rtt_min_at;
        }
    }

    /// §5.3.4.3, CheckProbeRTT.
    pub(super) fn check_probe_rtt(&mut self, event: &Event<'_>, window: &mut Window) {
        if self.state != State::ProbeRtt && self.probe_rtt_expired && !self.idle_restart {
            self.save_cwnd(event.path, window.cwnd);
            self.state = State::ProbeRtt;
            self.probe_rtt_done_at = Tick::NEVER;
            self.ack_phase = AckPhase::ProbeStopping;
            self.start_round();
        }
        if self.state == State::ProbeRtt {
            self.handle_probe_rtt(event, window);
        }
        if event.rs.delivered > 0 {
            self.idle_restart = false;
        }
    }

    /// §5.3.4.3, HandleProbeRTT. `holds_back` marks the connection application-limited.
    fn handle_probe_rtt(&mut self, event: &Event<'_>, window: &mut Window) {
        let path = event.path;
        if self.probe_rtt_done_at == Tick::NEVER {
            if path.in_flight <= self.probe_rtt_cwnd(path) {
                self.probe_rtt_done_at = path.now.plus(DURATION_MS);
                self.probe_rtt_round_done = false;
                self.start_round();
            }
            return;
        }
        self.probe_rtt_round_done |= self.round_start;
        if self.probe_rtt_round_done {
            self.check_probe_rtt_done(path, window);
        }
    }

    /// §5.3.4.3, CheckProbeRTTDone, and §5.3.4.4, ExitProbeRTT.
    pub(super) fn check_probe_rtt_done(&mut self, path: &Path, window: &mut Window) {
        let is_done = self.probe_rtt_done_at != Tick::NEVER;
        if !is_done || self.probe_rtt_done_at.until(path.now) <= 0 {
            return;
        }
        self.probe_rtt_min_at = path.now;
        window.cwnd = window.cwnd.max(self.prior_cwnd);
        self.reset_short_term_model();
        if self.full_bw_reached {
            self.start_probe_bw_down(path);
            self.state = State::ProbeBwCruise;
        } else {
            self.state = State::Startup;
        }
    }

    /// §5.6.4.5, ProbeRTTCwnd.
    pub(super) fn probe_rtt_cwnd(&self, path: &Path) -> u32 {
        let half = match self.min_rtt_us {
            super::INFINITE => u64::from(path.initial_window()),
            min_rtt_us => data(self.bw, min_rtt_us) * CWND_GAIN_PERCENT / 100,
        };
        (half.min(u64::from(u32::MAX - 1)) as u32).max(super::window::min_pipe_cwnd(path))
    }
}
