//! Startup and Drain (§5.3.1, §5.3.2): finds the rate of the path by doubling, then empties the
//! queue that this has made.

use super::model::is_at_or_after;
use super::{Bbr, Event, State};
use crate::tcp::congestion::{Lost, RateSample};

/// §2.5, BBR.StartupPacingGain: 4 ln 2.
pub(super) const PACING_GAIN_PERCENT: u64 = 277;
/// §5.3.1.3, BBRStartupFullLossCnt: discontiguous ranges lost in a round trip.
const FULL_LOSS_COUNT: u32 = 6;
/// §5.3.1.2: rounds without much growth.
const FULL_BW_COUNT: u8 = 3;
/// §5.3.2: round trips after which Drain ends anyway.
const DRAIN_ROUNDS: u32 = 3;

impl<const LOSS_PERCENT: u32> Bbr<LOSS_PERCENT> {
    /// §5.3.1.2, ResetFullBW, with a new baseline.
    pub(super) fn reset_full_bw(&mut self, baseline: u64) {
        (self.full_bw, self.full_bw_count, self.full_bw_now) = (baseline, 0, false);
    }

    /// §5.3.1.2, CheckFullBWReached: whether the rate has stopped growing.
    pub(super) fn check_full_bw_reached(&mut self, rs: &RateSample) {
        if self.full_bw_now || !self.round_start || rs.is_app_limited {
            return;
        }
        if rs.delivery_rate >= self.full_bw.saturating_mul(5) / 4 {
            return self.reset_full_bw(rs.delivery_rate);
        }
        self.full_bw_count += 1;
        self.full_bw_now = self.full_bw_count >= FULL_BW_COUNT;
        self.full_bw_reached |= self.full_bw_now;
    }

    /// §5.3.1.1, CheckStartupDone.
    pub(super) fn check_startup_done(&mut self, event: &Event<'_>) {
        self.check_startup_high_loss(event);
        if self.state == State::Startup && self.full_bw_reached {
            self.state = State::Drain;
            self.startup_end_delivered = Some(self.delivered);
            self.drain_start_round = self.round_count;
        }
    }

    /// §5.3.1.3, CheckStartupHighLoss.
    fn check_startup_high_loss(&mut self, event: &Event<'_>) {
        let Event { path, rs, .. } = event;
        if self.state == State::Startup && !self.full_bw_reached && path.in_recovery {
            let is_sustained = self.loss_round_start
                && self.loss_events_in_round >= FULL_LOSS_COUNT
                && Self::is_inflight_too_high(rs.lost, rs.sent_in_flight, path);
            let without_sack = !path.has_sack && rs.newly_lost > 0;
            if is_sustained || without_sack {
                self.undo_state = Some(State::Startup);
                self.leave_startup_for_loss();
            }
        }
        if self.loss_round_start {
            self.loss_events_in_round = 0;
        }
    }

    /// Ends Startup with what the path has delivered as the bound of what it carries.
    pub(super) fn leave_startup_for_loss(&mut self) {
        self.full_bw_reached = true;
        self.full_bw_now = true;
        let bdp = self.bdp_multiple(100).unwrap_or(0).min(u64::from(u32::MAX - 1)) as u32;
        self.inflight_longterm = bdp.max(self.inflight_latest);
    }

    /// Whether lost data was sent in Startup, which is over. What Startup sends beyond the rate of
    /// the path is detected as lost until the end of Drain. It says nothing about the rate in Drain
    /// and after, so the short-term model ignores it.
    pub(super) fn is_left_from_startup(&self, lost: &Lost) -> bool {
        self.startup_end_delivered.is_some_and(|end| !is_at_or_after(lost.prior_delivered, end))
    }

    /// §5.3.2, CheckDrainDone.
    pub(super) fn check_drain_done(&mut self, event: &Event<'_>) {
        if self.state != State::Drain {
            return;
        }
        let rounds = self.round_count.wrapping_sub(self.drain_start_round);
        if event.path.in_flight <= self.inflight(100, event.path) || rounds > DRAIN_ROUNDS {
            self.start_probe_bw_down(event.path);
        }
    }
}
