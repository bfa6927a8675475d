//! Pacing rate and congestion window (§5.6), from the model.

use super::model::data;
use super::{Bbr, Event, INFINITE, MIN_PIPE_SEGMENTS, State, probe_rtt, startup};
use crate::tcp::congestion::{Controller, Path, Window};

/// §2.5, BBR.PacingMarginPercent: paces this far below the rate, for short queues.
const PACING_MARGIN_PERCENT: u64 = 1;

impl<const LOSS_PERCENT: u32> Bbr<LOSS_PERCENT> {
    /// §5.2.3, UpdateControlParameters.
    pub(super) fn update_control_parameters(&mut self, event: &Event<'_>, window: &mut Window) {
        self.set_pacing_rate(self.pacing_gain_percent());
        self.set_cwnd(event, window);
    }

    /// §5.6.1.
    fn pacing_gain_percent(&self) -> u64 {
        match self.state {
            State::Startup => startup::PACING_GAIN_PERCENT,
            State::Drain => 50,
            State::ProbeBwDown => 90,
            State::ProbeBwCruise | State::ProbeBwRefill | State::ProbeRtt => 100,
            State::ProbeBwUp => 125,
        }
    }

    /// §5.6.1.
    fn cwnd_gain_percent(&self) -> u64 {
        match self.state {
            State::ProbeBwUp => 225,
            State::ProbeRtt => probe_rtt::CWND_GAIN_PERCENT,
            _ => 200,
        }
    }

    /// §5.6.2, SetPacingRateWithGain.
    pub(super) fn set_pacing_rate(&mut self, gain_percent: u64) {
        let rate =
            self.bw.saturating_mul(gain_percent * (100 - PACING_MARGIN_PERCENT)) / (100 * 100);
        if self.full_bw_reached || rate > self.pacing_rate {
            self.pacing_rate = rate.max(1);
        }
    }

    /// §5.6.4.2, BDPMultiple; `None` without a round trip.
    pub(super) fn bdp_multiple(&self, gain_percent: u64) -> Option<u64> {
        (self.min_rtt_us != INFINITE)
            .then(|| data(self.bw, self.min_rtt_us).saturating_mul(gain_percent) / 100)
    }

    /// §5.6.4.2, QuantizationBudget.
    fn quantization_budget(&self, inflight_cap: u64, path: &Path) -> u32 {
        let window = Window { cwnd: 0, ssthresh: INFINITE };
        let offload_budget = u64::from(3 * self.send_quantum(path, &window));
        let mut cap = inflight_cap.max(offload_budget).max(u64::from(min_pipe_cwnd(path)));
        if self.state == State::ProbeBwUp {
            cap += 2 * u64::from(path.mss);
        }
        cap.min(u64::from(INFINITE - 1)) as u32
    }

    /// §5.6.4.2, Inflight.
    pub(super) fn inflight(&self, gain_percent: u64, path: &Path) -> u32 {
        self.inflight_at(self.bw, gain_percent, path)
    }

    /// The same for another rate.
    pub(super) fn inflight_at(&self, bw: u64, gain_percent: u64, path: &Path) -> u32 {
        let bdp = match self.min_rtt_us {
            INFINITE => u64::from(path.initial_window()),
            min_rtt_us => data(bw, min_rtt_us).saturating_mul(gain_percent) / 100,
        };
        self.quantization_budget(bdp, path)
    }

    /// §5.6.4.2, UpdateMaxInflight.
    pub(super) fn max_inflight(&self, path: &Path) -> u32 {
        let bdp = self.bdp_multiple(self.cwnd_gain_percent());
        let bdp = bdp.unwrap_or_else(|| u64::from(path.initial_window()));
        self.quantization_budget(bdp.saturating_add(u64::from(self.extra_acked())), path)
    }

    /// §5.6.4.6, SetCwnd.
    fn set_cwnd(&self, event: &Event<'_>, window: &mut Window) {
        let Event { path, acked, rs, .. } = event;
        let max_inflight = self.max_inflight(path);
        let grown = window.cwnd.saturating_add(*acked);
        if self.full_bw_reached {
            window.cwnd = grown.min(max_inflight);
        } else if window.cwnd < max_inflight || rs.total_delivered < path.initial_window() {
            window.cwnd = grown;
        }
        window.cwnd = window.cwnd.max(min_pipe_cwnd(path));
        if self.state == State::ProbeRtt {
            window.cwnd = window.cwnd.min(self.probe_rtt_cwnd(path));
        }
        window.cwnd = window.cwnd.min(self.cap(path));
    }

    /// §5.6.4.7, BoundCwndForModel.
    fn cap(&self, path: &Path) -> u32 {
        let long_term = match self.state {
            State::ProbeBwDown | State::ProbeBwRefill | State::ProbeBwUp => self.inflight_longterm,
            State::ProbeBwCruise | State::ProbeRtt => self.inflight_with_headroom(path),
            State::Startup | State::Drain => INFINITE,
        };
        long_term.min(self.inflight_shortterm).max(min_pipe_cwnd(path))
    }
}

/// §2.7, BBR.MinPipeCwnd.
pub(super) fn min_pipe_cwnd(path: &Path) -> u32 {
    MIN_PIPE_SEGMENTS * path.mss
}
