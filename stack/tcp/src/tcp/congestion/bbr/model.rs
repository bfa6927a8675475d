//! The model of the path (§5.5): rounds, the rate it delivers, how acknowledgements aggregate, and
//! what losses say.

use super::{BETA_PERCENT, Bbr, Event, INFINITE, INFINITE_RATE, LOSS_THRESH_PERCENT, State};
use crate::tcp::congestion::{Lost, Path, RateSample};

/// §2.10, BBR.ExtraAckedFilterLen, as two halves: five to ten round trips.
const EXTRA_ACKED_HALF_ROUNDS: u8 = 5;

impl<const LOSS_PERCENT: u32> Bbr<LOSS_PERCENT> {
    /// §5.5.1, StartRound.
    pub(super) fn start_round(&mut self) {
        self.next_round_delivered = self.delivered;
    }

    /// §5.5.1, UpdateRound.
    fn update_round(&mut self, rs: &RateSample) {
        self.round_start = rs
            .prior_delivered
            .is_some_and(|prior| is_at_or_after(prior, self.next_round_delivered));
        if self.round_start {
            self.start_round();
            self.round_count = self.round_count.wrapping_add(1);
            self.rounds_since_probe_up = self.rounds_since_probe_up.saturating_add(1);
        }
    }

    /// BBR.max_bw (§5.5.2): the maximum of the last two cycles.
    pub(super) fn max_bw(&self) -> u64 {
        self.max_bw_filter[0].max(self.max_bw_filter[1])
    }

    /// §5.5.5, UpdateMaxBw.
    fn update_max_bw(&mut self, rs: &RateSample) {
        self.update_round(rs);
        if rs.delivery_rate > 0 && (rs.delivery_rate >= self.max_bw() || !rs.is_app_limited) {
            self.max_bw_filter[1] = self.max_bw_filter[1].max(rs.delivery_rate);
        }
    }

    /// §5.5.6, AdvanceMaxBwFilter. A cycle without samples says nothing: the previous one stays.
    pub(super) fn advance_max_bw_filter(&mut self) {
        if self.max_bw_filter[1] > 0 {
            self.max_bw_filter = [self.max_bw_filter[1], 0];
        }
    }

    /// §5.5.10.3, UpdateLatestDeliverySignals.
    pub(super) fn update_latest_delivery_signals(&mut self, rs: &RateSample) {
        self.bw_latest = self.bw_latest.max(rs.delivery_rate);
        self.inflight_latest = self.inflight_latest.max(rs.delivered);
        self.loss_round_start = rs
            .prior_delivered
            .is_some_and(|prior| is_at_or_after(prior, self.loss_round_delivered));
        if self.loss_round_start {
            self.loss_round_delivered = self.delivered;
        }
    }

    /// §5.5.10.3, AdvanceLatestDeliverySignals.
    pub(super) fn advance_latest_delivery_signals(&mut self, rs: &RateSample) {
        if self.loss_round_start {
            (self.bw_latest, self.inflight_latest) = (rs.delivery_rate, rs.delivered);
        }
    }

    /// §5.5.10.3, ResetCongestionSignals.
    pub(super) fn reset_congestion_signals(&mut self) {
        self.is_loss_in_round = false;
        (self.bw_latest, self.inflight_latest) = (0, 0);
    }

    /// §5.5.10.3, UpdateCongestionSignals: responds to loss once a round trip.
    pub(super) fn update_congestion_signals(&mut self, event: &Event<'_>) {
        self.update_max_bw(event.rs);
        if !self.loss_round_start {
            return;
        }
        let RateSample { lost, sent_in_flight, .. } = *event.rs;
        let counts = LOSS_PERCENT == LOSS_THRESH_PERCENT
            || Self::is_inflight_too_high(lost, sent_in_flight, event.path);
        if self.is_loss_in_round && counts && !self.is_probing_bw() {
            self.lower_short_term_model(event.cwnd);
        }
        self.is_loss_in_round = false;
    }

    /// §5.5.10.3, InitLowerBounds and LossLowerBounds.
    fn lower_short_term_model(&mut self, cwnd: u32) {
        if self.bw_shortterm == INFINITE_RATE {
            self.bw_shortterm = self.max_bw();
        }
        if self.inflight_shortterm == INFINITE {
            self.inflight_shortterm = cwnd;
        }
        self.bw_shortterm = self.bw_latest.max(self.bw_shortterm * BETA_PERCENT / 100);
        self.inflight_shortterm =
            self.inflight_latest.max(percent(self.inflight_shortterm, BETA_PERCENT));
    }

    /// §5.5.10.3, ResetShortTermModel.
    pub(super) fn reset_short_term_model(&mut self) {
        (self.bw_shortterm, self.inflight_shortterm) = (INFINITE_RATE, INFINITE);
    }

    /// §5.3.3, IsProbingBW.
    fn is_probing_bw(&self) -> bool {
        matches!(self.state, State::Startup | State::ProbeBwRefill | State::ProbeBwUp)
    }

    /// BBR.extra_acked (§5.5.9): the largest excess of the last round trips.
    pub(super) fn extra_acked(&self) -> u32 {
        self.extra_acked_filter[0].max(self.extra_acked_filter[1])
    }

    /// §5.5.9, UpdateACKAggregation.
    pub(super) fn update_ack_aggregation(&mut self, event: &Event<'_>) {
        if self.round_start {
            self.extra_acked_rounds = self.extra_acked_rounds.saturating_add(1);
            // In Startup, only one round trip counts.
            let half = if self.full_bw_reached { EXTRA_ACKED_HALF_ROUNDS } else { 1 };
            if self.extra_acked_rounds >= half {
                self.extra_acked_rounds = 0;
                let last = if self.full_bw_reached { self.extra_acked_filter[1] } else { 0 };
                self.extra_acked_filter = [last, 0];
            }
        }
        let interval_us = event.path.now_us.wrapping_sub(self.extra_acked_start_us);
        let mut expected = data(self.bw, interval_us);
        if u64::from(self.extra_acked_delivered) <= expected {
            self.extra_acked_delivered = 0;
            self.extra_acked_start_us = event.path.now_us;
            expected = 0;
        }
        self.extra_acked_delivered = self.extra_acked_delivered.saturating_add(event.acked);
        let extra = u64::from(self.extra_acked_delivered).saturating_sub(expected);
        let extra = extra.min(u64::from(event.cwnd)) as u32;
        self.extra_acked_filter[1] = self.extra_acked_filter[1].max(extra);
    }

    /// §5.5.10.2, NoteLoss.
    pub(super) fn note_loss(&mut self, path: &Path, cwnd: u32) {
        if !self.is_loss_in_round {
            self.loss_round_delivered = self.delivered;
            self.save_state_upon_loss(path, cwnd);
        }
        self.is_loss_in_round = true;
    }

    /// §5.5.10.2, HandleLostPacket: a packet sent while the rate was probed shows how much in
    /// flight is too much.
    pub(super) fn handle_lost_packet(&mut self, lost: &Lost, path: &Path, cwnd: u32) {
        if !self.is_bw_probe_sample {
            return;
        }
        if Self::is_inflight_too_high(lost.lost_since_sent, lost.sent_in_flight, path) {
            self.handle_inflight_too_high(
                Self::inflight_at_loss(lost),
                lost.is_app_limited,
                path,
                cwnd,
            );
        }
    }

    /// §5.5.10.2, HandleInflightTooHigh.
    pub(super) fn handle_inflight_too_high(
        &mut self,
        inflight: u32,
        is_app_limited: bool,
        path: &Path,
        cwnd: u32,
    ) {
        self.prev_probe_too_high = true;
        self.is_bw_probe_sample = false;
        if !is_app_limited {
            let target = percent(self.target_inflight(cwnd), BETA_PERCENT);
            self.inflight_longterm = inflight.max(target);
        }
        if self.state == State::ProbeBwUp {
            self.undo_state = Some(State::ProbeBwUp);
            self.start_probe_bw_down(path);
        }
    }

    /// §5.5.10.2, IsInflightTooHigh.
    pub(super) fn is_inflight_too_high(lost: u32, sent_in_flight: u32, path: &Path) -> bool {
        let threshold = u64::from(sent_in_flight) * u64::from(LOSS_PERCENT);
        u64::from(lost) * 100 > threshold || (lost > 0 && !path.has_sack)
    }

    /// §5.5.10.2, InflightAtLoss: at how much in flight the losses exceeded the threshold.
    pub(super) fn inflight_at_loss(lost: &Lost) -> u32 {
        let size = lost.end.since(lost.start);
        let inflight_prev = lost.sent_in_flight.saturating_sub(size);
        let lost_prev = lost.lost_since_sent.saturating_sub(size);
        let budget = percent(inflight_prev, LOSS_PERCENT.into()).saturating_sub(lost_prev);
        let lost_prefix = u64::from(budget) * 100 / u64::from(100 - LOSS_PERCENT);
        inflight_prev.saturating_add(lost_prefix as u32)
    }

    /// §5.3.3.6, TargetInflight: the estimated bandwidth-delay product, unless congestion cut the
    /// window.
    pub(super) fn target_inflight(&self, cwnd: u32) -> u32 {
        self.bdp_multiple(100).map_or(cwnd, |bdp| bdp.min(u64::from(cwnd)) as u32)
    }
}

/// Whether a count of delivered bytes is at or after another, modulo 2³².
pub(super) fn is_at_or_after(delivered: u32, other: u32) -> bool {
    delivered.wrapping_sub(other) as i32 >= 0
}

/// What a rate delivers in a time.
pub(super) fn data(rate: u64, time_us: u32) -> u64 {
    rate.saturating_mul(u64::from(time_us)) / 1_000_000
}

pub(super) fn percent(bytes: u32, percent: u64) -> u32 {
    (u64::from(bytes) * percent / 100).min(u64::from(INFINITE - 1)) as u32
}
