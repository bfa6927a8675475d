//! BBRv3 (draft-ietf-ccwg-bbr, of August 2026): a model of the path instead of a response to each
//! loss.
//!
//! The model has the rate that the path delivers ([`model`]), its shortest round trip
//! ([`probe_rtt`]), and the data in flight that it carries without loss above 2 %. The connection
//! is paced at that rate. [`startup`] finds it, [`probe_bw`] probes for more now and then, and
//! [`window`] computes pacing rate and window from the model. Section numbers are the draft's,
//! names too: `C` of the draft is [`Path`] and [`Window`], `RS` is [`RateSample`].
//!
//! Rates are in bytes a second, data in bytes; `u64::MAX` and `u32::MAX` stand for the draft's
//! infinity. Gains are in percent.

mod model;
mod probe_bw;
mod probe_rtt;
mod startup;
mod window;

use super::{Ack, Controller, Idle, Lost, Path, RateSample, Signal, Window};
use crate::seq::Seq;
use simoom_io::timer::Tick;

/// §2.7, BBR.LossThresh, in percent: how much may be lost while the rate is probed.
pub(super) const LOSS_THRESH_PERCENT: u32 = 2;
/// §2.7, BBR.Beta, in percent.
const BETA_PERCENT: u64 = 70;
/// §2.7, BBR.Headroom, in percent.
const HEADROOM_PERCENT: u64 = 15;
/// §2.7, BBR.MinPipeCwnd, in segments.
const MIN_PIPE_SEGMENTS: u32 = 4;
/// Infinite data.
const INFINITE: u32 = u32::MAX;
/// An infinite rate.
const INFINITE_RATE: u64 = u64::MAX;

/// §5.1.1: the states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Doubles the rate each round trip until it no longer grows.
    #[default]
    Startup,
    /// Empties the queue that Startup has made.
    Drain,
    /// Sends slower than the path delivers.
    ProbeBwDown,
    /// Sends as fast as the path delivers.
    ProbeBwCruise,
    /// Fills the pipe for one round trip.
    ProbeBwRefill,
    /// Sends faster than the path delivers.
    ProbeBwUp,
    /// Drains the path to measure its shortest round trip.
    ProbeRtt,
}

/// §2.12: what acknowledgements say about a probe of the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum AckPhase {
    #[default]
    Init,
    Refilling,
    ProbeStarting,
    ProbeFeedback,
    ProbeStopping,
}

/// The state of a connection, by the names of §2.
///
/// `LOSS_PERCENT` is [`LOSS_THRESH_PERCENT`] for BBR as the draft has it. With more, up to so much
/// loss is taken for that of the path and not of its queue, in every state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bbr<const LOSS_PERCENT: u32 = LOSS_THRESH_PERCENT> {
    /// Whether the first event has come (§5.2.1, OnInit).
    has_begun: bool,
    has_seen_rtt: bool,
    state: State,
    ack_phase: AckPhase,
    pacing_rate: u64,

    /// BBR.max_bw_filter: the maxima of the previous and of the current cycle.
    max_bw_filter: [u64; 2],
    bw_shortterm: u64,
    bw: u64,
    bw_latest: u64,
    inflight_latest: u32,
    inflight_longterm: u32,
    inflight_shortterm: u32,

    /// C.delivered, as of the last event.
    delivered: u32,
    round_count: u32,
    round_start: bool,
    next_round_delivered: u32,
    loss_round_start: bool,
    loss_round_delivered: u32,
    is_loss_in_round: bool,
    /// Discontiguous ranges lost in this round trip, and where the last one ended.
    loss_events_in_round: u32,
    last_lost_end: Option<Seq>,

    full_bw: u64,
    full_bw_count: u8,
    full_bw_now: bool,
    full_bw_reached: bool,
    drain_start_round: u32,
    /// C.delivered when Startup ended; `None` in Startup.
    startup_end_delivered: Option<u32>,

    is_bw_probe_sample: bool,
    bw_probe_up_acked: u32,
    probe_up_acked_per_inc: u32,
    bw_probe_up_rounds: u8,
    rounds_since_probe_up: u32,
    bw_probe_wait_ms: u32,
    cycle_at: Tick,
    prev_probe_too_high: bool,
    prev_probe_precautionary: bool,

    extra_acked_start_us: u32,
    extra_acked_delivered: u32,
    /// BBR.extra_acked_filter: the maxima of the previous and of the current half of its window.
    extra_acked_filter: [u32; 2],
    extra_acked_rounds: u8,

    min_rtt_us: u32,
    min_rtt_at: Tick,
    probe_rtt_min_delay_us: u32,
    probe_rtt_min_at: Tick,
    probe_rtt_expired: bool,
    /// BBR.probe_rtt_done_stamp; [`Tick::NEVER`] for 0.
    probe_rtt_done_at: Tick,
    probe_rtt_round_done: bool,
    idle_restart: bool,

    prior_cwnd: u32,
    /// Whether the state before this loss episode is saved.
    is_saved: bool,
    undo_state: Option<State>,
    undo_bw_shortterm: u64,
    undo_inflight_shortterm: u32,
    undo_inflight_longterm: u32,
}

impl<const LOSS_PERCENT: u32> Default for Bbr<LOSS_PERCENT> {
    fn default() -> Self {
        Bbr {
            has_begun: false,
            has_seen_rtt: false,
            state: State::Startup,
            ack_phase: AckPhase::Init,
            pacing_rate: 0,
            max_bw_filter: [0; 2],
            bw_shortterm: INFINITE_RATE,
            bw: 0,
            bw_latest: 0,
            inflight_latest: 0,
            inflight_longterm: INFINITE,
            inflight_shortterm: INFINITE,
            delivered: 0,
            round_count: 0,
            round_start: false,
            next_round_delivered: 0,
            loss_round_start: false,
            loss_round_delivered: 0,
            is_loss_in_round: false,
            loss_events_in_round: 0,
            last_lost_end: None,
            full_bw: 0,
            full_bw_count: 0,
            full_bw_now: false,
            full_bw_reached: false,
            drain_start_round: 0,
            startup_end_delivered: None,
            is_bw_probe_sample: false,
            bw_probe_up_acked: 0,
            probe_up_acked_per_inc: INFINITE,
            bw_probe_up_rounds: 0,
            rounds_since_probe_up: 0,
            bw_probe_wait_ms: 0,
            cycle_at: Tick::NEVER,
            prev_probe_too_high: false,
            prev_probe_precautionary: false,
            extra_acked_start_us: 0,
            extra_acked_delivered: 0,
            extra_acked_filter: [0; 2],
            extra_acked_rounds: 0,
            min_rtt_us: INFINITE,
            min_rtt_at: Tick::NEVER,
            probe_rtt_min_delay_us: INFINITE,
            probe_rtt_min_at: Tick::NEVER,
            probe_rtt_expired: false,
            probe_rtt_done_at: Tick::NEVER,
            probe_rtt_round_done: false,
            idle_restart: false,
            prior_cwnd: 0,
            is_saved: false,
            undo_state: None,
            undo_bw_shortterm: 0,
            undo_inflight_shortterm: 0,
            undo_inflight_longterm: 0,
        }
    }
}

/// An acknowledgement, as the steps of §5.2.3 see it.
#[derive(Clone, Copy)]
struct Event<'a> {
    path: &'a Path,
    rs: &'a RateSample,
    /// RS.newly_acked.
    acked: u32,
    /// RS.rtt.
    rtt_us: Option<u32>,
    /// C.cwnd, before this acknowledgement changes it.
    cwnd: u32,
}

impl<const LOSS_PERCENT: u32> Controller for Bbr<LOSS_PERCENT> {
    /// §5.2.3.
    fn on_ack(&mut self, ack: &Ack<'_>, window: &mut Window) {
        let Some(rs) = ack.rate else { return };
        self.begin(ack.path);
        self.delivered = rs.total_delivered;
        let (acked, rtt_us, cwnd) = (ack.acked, ack.rtt_us, window.cwnd);
        let event = Event { path: ack.path, rs, acked, rtt_us, cwnd };
        self.update_model_and_state(&event, window);
        self.update_control_parameters(&event, window);
    }

    /// §5.6.4.4, OnEnterRTO and OnEnterFastRecovery, and §3.8: a mark is congestion.
    fn on_congestion(&mut self, signal: Signal, path: &Path, window: &mut Window) {
        self.begin(path);
        match signal {
            // Before fast recovery the first lost packet has saved it.
            Signal::Loss | Signal::Timeout => self.save_state_upon_loss(path, window.cwnd),
            Signal::ProbeRepaired => self.note_loss(path, window.cwnd),
            Signal::Mark => {
                self.note_loss(path, window.cwnd);
                self.respond_to_mark(path, window.cwnd);
            }
        }
    }

    /// §5.6.4.4: RestoreCwnd. The model bounds the window at the end of the acknowledgement.
    fn on_recovered(&mut self, _: Signal, _: &Path, window: &mut Window) {
        window.cwnd = window.cwnd.max(self.prior_cwnd);
        self.is_saved = false;
    }

    /// §5.5.11.2, HandleSpuriousLossDetection.
    fn on_undo(&mut self, before: &Window, _: &Path, window: &mut Window) {
        window.cwnd = window.cwnd.max(self.prior_cwnd).max(before.cwnd);
        self.undo_model();
    }

    /// §5.4.1, HandleRestartFromIdle.
    fn on_restart(&mut self, idle: &Idle, path: &Path, window: &mut Window) {
        self.begin(path);
        if !idle.is_app_limited {
            return;
        }
        self.idle_restart = true;
        self.extra_acked_start_us = path.now_us;
        if self.is_in_probe_bw() {
            self.set_pacing_rate(100);
        } else if self.state == State::ProbeRtt {
            self.check_probe_rtt_done(path, window);
        }
    }

    /// §5.5.10.2, HandleLostPacket.
    fn on_lost(&mut self, lost: &Lost, path: &Path, window: &mut Window) {
        self.begin(path);
        self.delivered = lost.delivered;
        if !self.is_left_from_startup(lost) {
            self.note_loss(path, window.cwnd);
        }
        if self.last_lost_end != Some(lost.start) {
            self.loss_events_in_round += 1;
        }
        self.last_lost_end = Some(lost.end);
        self.handle_lost_packet(lost, path, window.cwnd);
    }

    fn pacing_rate(&self, path: &Path, _: &Window) -> u64 {
        if self.has_begun { self.pacing_rate } else { initial_pacing_rate(path) }
    }

    /// §5.6.3.
    fn send_quantum(&self, path: &Path, window: &Window) -> u32 {
        let per_tick = self.pacing_rate(path, window) / 1000;
        (per_tick.min(64 << 10) as u32).max(2 * path.mss)
    }

    fn state(&self) -> &'static str {
        match self.state {
            State::Startup => "Startup",
            State::Drain => "Drain",
            State::ProbeBwDown => "ProbeBW_DOWN",
            State::ProbeBwCruise => "ProbeBW_CRUISE",
            State::ProbeBwRefill => "ProbeBW_REFILL",
            State::ProbeBwUp => "ProbeBW_UP",
            State::ProbeRtt => "ProbeRTT",
        }
    }

    fn is_rate_based(&self) -> bool {
        true
    }

    /// §5.3.4.3: low rate samples of ProbeRTT are ignored.
    fn holds_back(&self) -> bool {
        self.state == State::ProbeRtt
    }
}

impl<const LOSS_PERCENT: u32> Bbr<LOSS_PERCENT> {
    /// §5.2.1, OnInit.
    fn begin(&mut self, path: &Path) {
        if !self.has_begun {
            self.has_begun = true;
            self.min_rtt_us = if path.srtt_us == 0 { INFINITE } else { path.srtt_us };
            (self.min_rtt_at, self.probe_rtt_min_at) = (path.now, path.now);
            self.probe_rtt_min_delay_us = self.min_rtt_us;
            self.extra_acked_start_us = path.now_us;
        }
        if !self.has_seen_rtt {
            self.has_seen_rtt = path.srtt_us > 0;
            self.pacing_rate = initial_pacing_rate(path);
        }
    }

    /// §5.2.3.
    fn update_model_and_state(&mut self, event: &Event<'_>, window: &mut Window) {
        self.update_latest_delivery_signals(event.rs);
        self.update_congestion_signals(event);
        self.update_ack_aggregation(event);
        self.check_full_bw_reached(event.rs);
        self.check_startup_done(event);
        self.check_drain_done(event);
        self.update_probe_bw_cycle_phase(event);
        self.update_min_rtt(event);
        self.check_probe_rtt(event, window);
        self.advance_latest_delivery_signals(event.rs);
        self.bw = self.max_bw().min(self.bw_shortterm);
    }

    /// §5.5.11.1, SaveStateUponLoss: once for each loss episode. A later call, after the episode
    /// has changed the model, would save what undo must not restore.
    fn save_state_upon_loss(&mut self, path: &Path, cwnd: u32) {
        self.save_cwnd(path, cwnd);
        if std::mem::replace(&mut self.is_saved, true) {
            return;
        }
        self.undo_state = None;
        self.undo_bw_shortterm = self.bw_shortterm;
        self.undo_inflight_shortterm = self.inflight_shortterm;
        self.undo_inflight_longterm = self.inflight_longterm;
    }

    fn save_cwnd(&mut self, path: &Path, cwnd: u32) {
        let is_modulated = path.in_recovery || self.state == State::ProbeRtt;
        self.prior_cwnd = if is_modulated { self.prior_cwnd.max(cwnd) } else { cwnd };
    }

    fn undo_model(&mut self) {
        (self.is_loss_in_round, self.is_saved) = (false, false);
        self.reset_full_bw(0);
        self.bw_shortterm = self.bw_shortterm.max(self.undo_bw_shortterm);
        self.inflight_shortterm = self.inflight_shortterm.max(self.undo_inflight_shortterm);
        self.inflight_longterm = self.inflight_longterm.max(self.undo_inflight_longterm);
        match self.undo_state.take() {
            Some(State::Startup) if self.state != State::Startup => {
                (self.full_bw_reached, self.startup_end_delivered) = (false, None);
                if self.state != State::ProbeRtt {
                    self.state = State::Startup;
                }
            }
            Some(State::ProbeBwUp) if !matches!(self.state, State::ProbeBwUp | State::ProbeRtt) => {
                self.start_probe_bw_refill();
            }
            _ => {}
        }
    }

    /// §3.8: the draft leaves the response to ECN marks open, but that they are congestion. A mark
    /// while the rate is probed ends the probe, as too much loss does.
    fn respond_to_mark(&mut self, path: &Path, cwnd: u32) {
        match self.state {
            State::Startup => self.leave_startup_for_loss(),
            State::ProbeBwRefill | State::ProbeBwUp => {
                self.handle_inflight_too_high(path.in_flight, false, path, cwnd);
            }
            _ => {}
        }
    }
}

/// §5.6.2, InitPacingRate.
fn initial_pacing_rate(path: &Path) -> u64 {
    let rtt_us = if path.srtt_us == 0 { 1000 } else { path.srtt_us };
    u64::from(path.initial_window()) * startup::PACING_GAIN_PERCENT * 10_000 / u64::from(rtt_us)
}

#[cfg(test)]
mod tests;
