//! ProbeBW (§5.3.3): slows down, cruises, refills the pipe, and probes for more, in turn.

use super::{AckPhase, Bbr, Event, HEADROOM_PERCENT, INFINITE, State};
use crate::tcp::congestion::Path;

/// §5.3.3.6: round trips after which the rate is probed, for coexistence with Reno and CUBIC.
const RENO_ROUNDS_MAX: u32 = 63;
/// §5.3.3.6: the shortest wait before the next probe. A random time up to a second is added.
const PROBE_WAIT_MS: u32 = 2000;

impl<const LOSS_PERCENT: u32> Bbr<LOSS_PERCENT> {
    /// §5.3.3.7, IsInAProbeBWState.
    pub(super) fn is_in_probe_bw(&self) -> bool {
        matches!(
            self.state,
            State::ProbeBwDown | State::ProbeBwCruise | State::ProbeBwRefill | State::ProbeBwUp
        )
    }

    pub(super) fn start_probe_bw_down(&mut self, path: &Path) {
        self.reset_congestion_signals();
        self.probe_up_acked_per_inc = INFINITE;
        self.pick_probe_wait(path);
        self.cycle_at = path.now;
        self.ack_phase = AckPhase::ProbeStopping;
        self.start_round();
        self.state = State::ProbeBwDown;
    }

    pub(super) fn start_probe_bw_refill(&mut self) {
        self.reset_short_term_model();
        (self.bw_probe_up_rounds, self.bw_probe_up_acked) = (0, 0);
        self.prev_probe_precautionary = false;
        self.ack_phase = AckPhase::Refilling;
        self.start_round();
        self.state = State::ProbeBwRefill;
    }

    fn start_probe_bw_up(&mut self, event: &Event<'_>) {
        self.ack_phase = AckPhase::ProbeStarting;
        self.start_round();
        self.reset_full_bw(event.rs.delivery_rate);
        self.state = State::ProbeBwUp;
        self.raise_inflight_longterm_slope(event);
    }

    /// §5.3.3.7, UpdateProbeBWCyclePhase.
    pub(super) fn update_probe_bw_cycle_phase(&mut self, event: &Event<'_>) {
        if !self.full_bw_reached || self.adapt_long_term_model(event) {
            return;
        }
        match self.state {
            State::ProbeBwDown => self.update_down(event),
            State::ProbeBwCruise => _ = self.is_time_to_probe_bw(event),
            State::ProbeBwRefill if self.round_start => {
                self.is_bw_probe_sample = true;
                self.start_probe_bw_up(event);
            }
            State::ProbeBwUp => self.update_up(event),
            _ => {}
        }
    }

    fn update_down(&mut self, event: &Event<'_>) {
        if !self.is_time_to_probe_bw(event) && self.is_time_to_cruise(event) {
            self.state = State::ProbeBwCruise;
        }
    }

    fn update_up(&mut self, event: &Event<'_>) {
        if self.is_time_to_go_down(event) {
            self.prev_probe_too_high = false;
            self.start_probe_bw_down(event.path);
        }
    }

    /// §5.3.3.6, IsTimeToProbeBW: refills the pipe if so.
    fn is_time_to_probe_bw(&mut self, event: &Event<'_>) -> bool {
        let has_elapsed = self.cycle_at.until(event.path.now) > self.bw_probe_wait_ms as i32;
        let reno_rounds = self.target_inflight(event.cwnd) / event.path.mss.max(1);
        let is_due = has_elapsed || self.rounds_since_probe_up >= reno_rounds.min(RENO_ROUNDS_MAX);
        if is_due {
            self.start_probe_bw_refill();
        }
        is_due
    }

    /// §5.3.3.6, PickProbeWait. The time and the data delivered are the randomness.
    fn pick_probe_wait(&mut self, path: &Path) {
        let random = (path.now_us ^ self.delivered.rotate_left(16)).wrapping_mul(0x9e37_79b1);
        self.rounds_since_probe_up = random >> 31;
        self.bw_probe_wait_ms = PROBE_WAIT_MS + (random >> 8) % 1000;
    }

    /// §5.3.3.7, IsTimeToCruise.
    fn is_time_to_cruise(&self, event: &Event<'_>) -> bool {
        let in_flight = event.path.in_flight;
        in_flight <= self.inflight_with_headroom(event.path)
            && in_flight <= self.inflight_at(self.max_bw(), 100, event.path)
    }

    /// §5.3.3.7, IsTimeToGoDown.
    fn is_time_to_go_down(&mut self, event: &Event<'_>) -> bool {
        let Event { path, rs, cwnd, .. } = event;
        if self.prev_probe_too_high && path.in_flight >= self.inflight_longterm {
            self.prev_probe_precautionary = true;
            return true;
        }
        if rs.is_cwnd_limited && *cwnd >= self.inflight_longterm {
            // The bound limits the rate, so that the rate shows nothing.
            self.reset_full_bw(rs.delivery_rate);
            return false;
        }
        self.full_bw_now
    }

    /// §5.3.3.7, InflightWithHeadroom: leaves space for other flows.
    pub(super) fn inflight_with_headroom(&self, path: &Path) -> u32 {
        if self.inflight_longterm == INFINITE {
            return INFINITE;
        }
        let headroom = (u64::from(self.inflight_longterm) * HEADROOM_PERCENT / 100) as u32;
        let headroom = headroom.max(path.mss);
        self.inflight_longterm.saturating_sub(headroom).max(super::window::min_pipe_cwnd(path))
    }

    /// §5.3.3.7, RaiseInflightLongtermSlope.
    fn raise_inflight_longterm_slope(&mut self, event: &Event<'_>) {
        let growth_this_round = 1 << self.bw_probe_up_rounds;
        self.bw_probe_up_rounds = (self.bw_probe_up_rounds + 1).min(30);
        self.probe_up_acked_per_inc = (event.cwnd / growth_this_round).max(event.path.mss);
    }

    /// §5.3.3.7, ProbeInflightLongtermUpward.
    fn probe_inflight_longterm_upward(&mut self, event: &Event<'_>) {
        if !event.rs.is_cwnd_limited || event.cwnd < self.inflight_longterm {
            return;
        }
        self.bw_probe_up_acked = self.bw_probe_up_acked.saturating_add(event.acked);
        let delta = self.bw_probe_up_acked / self.probe_up_acked_per_inc;
        self.bw_probe_up_acked -= delta * self.probe_up_acked_per_inc;
        let grown = self.inflight_longterm.saturating_add(delta.saturating_mul(event.path.mss));
        self.inflight_longterm = grown.min(INFINITE - 1);
        if self.round_start {
            self.raise_inflight_longterm_slope(event);
        }
    }

    /// §5.3.3.7, AdaptLongTermModel. Returns whether it changed the state.
    fn adapt_long_term_model(&mut self, event: &Event<'_>) -> bool {
        let rs = event.rs;
        if self.ack_phase == AckPhase::ProbeStarting && self.round_start {
            self.ack_phase = AckPhase::ProbeFeedback;
        }
        if self.ack_phase == AckPhase::ProbeStopping && self.round_start {
            self.is_bw_probe_sample = false;
            self.ack_phase = AckPhase::Init;
            if self.is_in_probe_bw() && !rs.is_app_limited {
                self.advance_max_bw_filter();
            }
            if self.is_in_probe_bw() && self.prev_probe_precautionary && !self.prev_probe_too_high {
                self.start_probe_bw_refill();
                return true;
            }
        }
        if Self::is_inflight_too_high(rs.lost, rs.sent_in_flight, event.path)
            || self.inflight_longterm == INFINITE
        {
            return false;
        }
        self.inflight_longterm = self.inflight_longterm.max(rs.sent_in_flight);
        if self.state == State::ProbeBwUp {
            self.probe_inflight_longterm_upward(event);
        }
        false
    }
}
