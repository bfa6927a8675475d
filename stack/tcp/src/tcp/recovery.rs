//! Loss recovery: detects losses, and bounds what may be sent until they are repaired.
//!
//! The input is acknowledgements off the fast path, and timeouts. The result is which runs of the
//! scoreboard are lost, and how much may be sent. SACK connections detect losses by RACK (RFC 8985
//! §6), others by three duplicates and partial acknowledgements (RFC 5681 §3.2, RFC 6582). Segments
//! are sent by `output`.

use super::congestion::{Signal, Window, control};
use super::path_search;
use super::probe;
use super::prr::Prr;
use super::rack::{Detected, Rack, RackState};
use super::{ConnFlags, Context, Phase, Shared, Tcb, Transmit, ack, ecn, sack, timeout};
use crate::flight::{AckSample, Run, Status};
use crate::seq::Seq;
use crate::wire::{Flags, Segment};
use simoom_io::application::Application;
use simoom_io::send::Blob;

/// RFC 5681 §3.2: the number of duplicate acknowledgements that means loss.
const THRESHOLD: u8 = 3;

/// Recovery state of a connection. `lost` and `sacked` are 0 in [`Phase::Open`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recovery {
    pub(crate) rack: Rack,
    pub(crate) prr: Prr,
    /// Bytes beyond SND.UNA that the peer has received. Without SACK: one segment for each
    /// duplicate acknowledgement.
    pub(crate) sacked: u32,
    /// Bytes marked lost and not retransmitted since.
    pub(crate) lost: u32,
    /// Consecutive duplicate acknowledgements, if the peer has no SACK.
    duplicates: u8,
    pub(crate) frto: Frto,
    /// The outstanding tail loss probe: SND.NXT when it was sent, and whether it was a
    /// retransmission.
    pub(crate) probe: Option<(Seq, bool)>,
    /// No round trip was measured since the last tail loss probe, so none may follow (RFC 8985
    /// §7.3).
    pub(crate) owes_rtt: bool,
    /// Timeouts since a round trip was last measured: the retransmission timer stays backed off
    /// (Karn's algorithm, RFC 6298 §3 and §5.5).
    backoff: u8,
    /// Consecutive timeouts without progress.
    pub(super) stalls: u8,
    /// Congestion window and threshold before the last reduction, while that may prove spurious.
    prior: Option<Window>,
    /// Bytes retransmitted since the last reduction, less the bytes reported by D-SACK.
    undo_bytes: u32,
    /// TSval of the first retransmission since the last reduction.
    retransmitted_at: Option<u32>,
}

/// State of F-RTO, which detects spurious timeouts (RFC 5682 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Frto {
    /// F-RTO is not running.
    #[default]
    Off,
    /// Waits for the first acknowledgement after the timeout.
    First,
    /// The first acknowledgement advanced and new data was sent. Waits for the second
    /// acknowledgement.
    Second,
}

/// Bytes in flight that are neither SACKed nor marked lost (RFC 6675 §4, pipe).
#[inline]
pub(super) fn pipe<C>(tcb: &Tcb<C>) -> u32 {
    match tcb.hot.phase {
        Phase::Open => tcb.in_flight(),
        _ => tcb.in_flight().saturating_sub(tcb.recovery.sacked).saturating_sub(tcb.recovery.lost),
    }
}

/// Leaves the fast path: from here on acknowledgements go through [`acknowledged`].
pub(super) fn watch<C>(tcb: &mut Tcb<C>) {
    if tcb.hot.phase == Phase::Open {
        tcb.hot.phase = Phase::Disorder;
        tcb.recovery.rack.begin(tcb.hot.snd.una);
    }
}

/// Processes an acknowledgement off the fast path.
pub(super) fn acknowledged<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    is_duplicate: bool,
    cx: &mut Context<'_, A, T>,
) {
    watch(tcb);
    let shared = &mut *cx.shared;
    if tcb.hot.flags.has(ConnFlags::RATE_BASED) {
        control::check_app_limited(tcb, shared);
    }
    if segment.flags.has(Flags::ECE) && tcb.hot.flags.has(ConnFlags::ECN) {
        // The path is congested, whatever this acknowledgement proves (RFC 4015 §3.4).
        tcb.recovery.prior = None;
    }
    let unreported = tcb.in_flight().saturating_sub(tcb.recovery.sacked);
    let acked = segment.ack.since(tcb.hot.snd.una);
    let mut sample = AckSample { fack: tcb.recovery.rack.fack(), ..AckSample::default() };
    if acked > 0 {
        ack::advance(tcb, segment.ack, &mut sample, shared);
        tcb.recovery.stalls = 0;
    }
    let duplicate = sack::take(tcb, segment, &mut sample, shared);
    let recovery = &mut tcb.recovery;
    recovery.lost -= sample.unmarked_lost;
    recovery.sacked = (recovery.sacked + sample.sacked).saturating_sub(sample.acked_sacked);
    if !tcb.hot.flags.has(ConnFlags::SACK) {
        count_duplicate(tcb, acked, is_duplicate, &mut sample);
    }
    ack::measure(tcb, &sample, segment, shared);
    if ack::is_measured(tcb, &sample, segment, shared) {
        (tcb.recovery.owes_rtt, tcb.recovery.backoff, tcb.cold.timeouts) = (false, 0, 0);
    } else if acked > 0 {
        tcb.cold.timeouts = tcb.recovery.backoff;
    }
    shared.counters.reorderings += u64::from(sample.reordered);
    let now_us = shared.now_us();
    let echo_age_ms = ack::echo_age_ms(tcb, segment, shared);
    tcb.recovery.rack.delivered(&sample, now_us, tcb.warm.rtt.min_us(), echo_age_ms);
    if let Some(duplicate) = duplicate {
        on_dsack(tcb, duplicate, shared);
    }
    probe::acknowledged(tcb, segment, acked, duplicate, shared);
    undo_by_timestamp(tcb, segment, acked, shared);
    leave_if_recovered(tcb, shared);
    forward_rto(tcb, &sample, acked, shared);
    let detected = detect_lost(tcb, acked, shared);
    if tcb.hot.phase == Phase::Disorder
        && tcb.recovery.lost > 0
        && !path_search::explains_loss(tcb, shared)
    {
        enter(tcb, unreported, shared);
    }
    resize(tcb, &sample, acked, detected.bytes, shared);
    reopen_if_in_order(tcb);
    timeout::arm_reordering_timer(tcb, detected.timer_us, acked + sample.sacked > 0, shared);
}

/// Without SACK, a duplicate acknowledgement means that one segment has arrived, but not which (RFC
/// 5681 §3.2). An acknowledgement that advances covers some of them.
fn count_duplicate<C>(tcb: &mut Tcb<C>, acked: u32, is_duplicate: bool, sample: &mut AckSample) {
    let mss = u32::from(tcb.hot.mss);
    let unsure = tcb.in_flight().saturating_sub(tcb.recovery.lost);
    let recovery = &mut tcb.recovery;
    if acked > 0 {
        recovery.duplicates = 0;
        let acked_sacked = recovery.sacked.min(acked.saturating_sub(mss));
        recovery.sacked = (recovery.sacked - acked_sacked).min(unsure);
        sample.bytes = sample.bytes.saturating_sub(acked_sacked);
    } else if is_duplicate {
        recovery.duplicates = recovery.duplicates.saturating_add(1);
        // At least one segment has not arrived: otherwise the peer would acknowledge it.
        let sacked = (recovery.sacked + mss).min(unsure.saturating_sub(mss)).max(recovery.sacked);
        sample.bytes += sacked - recovery.sacked;
        recovery.sacked = sacked;
    }
}

/// A D-SACK reports a spurious retransmission (RFC 8985 §6.2 step 4). If all retransmissions were
/// spurious, so was the reduction.
fn on_dsack<C, B: Blob>(tcb: &mut Tcb<C>, duplicate: (Seq, Seq), shared: &mut Shared<B>) {
    let (una, nxt) = (tcb.hot.snd.una, tcb.hot.snd.nxt);
    tcb.recovery.rack.on_dsack(una, nxt);
    let recovery = &mut tcb.recovery;
    if recovery.undo_bytes > 0 {
        recovery.undo_bytes = recovery.undo_bytes.saturating_sub(duplicate.1.since(duplicate.0));
        if recovery.undo_bytes == 0 && recovery.prior.is_some() {
            shared.counters.undone_by_dsack += 1;
            undo(tcb, shared);
        }
    }
}

/// The Eifel algorithm (RFC 3522 §3): the acknowledged segment was sent before the first
/// retransmission.
fn undo_by_timestamp<C, B: Blob>(
    tcb: &mut Tcb<C>,
    segment: &Segment<'_>,
    acked: u32,
    shared: &mut Shared<B>,
) {
    if let (Some(retransmitted_at), Some((_, echo))) =
        (tcb.recovery.retransmitted_at, segment.options.timestamps)
        && acked > 0
        && tcb.hot.flags.has(ConnFlags::TIMESTAMPS)
        && matches!(tcb.hot.phase, Phase::Recovery | Phase::Loss)
        && Seq(echo).before(Seq(retransmitted_at))
        && tcb.recovery.prior.is_some()
    {
        shared.counters.undone_by_timestamp += 1;
        undo(tcb, shared);
    }
}

/// Undoes the last reduction of the congestion window (RFC 4015 §3.2). No run is marked lost until
/// RACK detects it again.
fn undo<C, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    let Some(before) = tcb.recovery.prior.take() else { return };
    control::undo(tcb, &before, shared);
    tcb.warm.flight.unmark_lost(&mut shared.flight, tcb.hot.snd.una);
    tcb.recovery.lost = 0;
    tcb.recovery.frto = Frto::Off;
    tcb.hot.phase = Phase::Disorder;
    tcb.cold.recover = tcb.hot.snd.una;
}

/// Leaves recovery once everything that was in flight at its start is acknowledged.
fn leave_if_recovered<C, B>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    let is_over = tcb.hot.snd.una.at_or_after(tcb.cold.recover);
    if !is_over || !matches!(tcb.hot.phase, Phase::Recovery | Phase::Loss) {
        return;
    }
    let signal = if tcb.hot.phase == Phase::Loss { Signal::Timeout } else { Signal::Loss };
    if signal == Signal::Loss {
        // Data sent before the reduction does not grow the window after it.
        tcb.hot.flags.clear(ConnFlags::CWND_LIMITED);
    }
    tcb.hot.phase = Phase::Disorder;
    control::recovered(tcb, signal, shared);
    tcb.recovery.frto = Frto::Off;
    tcb.recovery.rack.recovered();
}

/// RFC 5682 §3: detects a spurious timeout.
fn forward_rto<C, B: Blob>(
    tcb: &mut Tcb<C>,
    sample: &AckSample,
    acked: u32,
    shared: &mut Shared<B>,
) {
    if tcb.hot.phase != Phase::Loss || tcb.recovery.frto == Frto::Off {
        return;
    }
    if tcb.recovery.prior.is_none() {
        // There is nothing to restore.
        tcb.recovery.frto = Frto::Off;
        return;
    }
    let (una, nxt, wnd) = (tcb.hot.snd.una, tcb.hot.snd.nxt, tcb.hot.snd.wnd);
    let is_old = |end: Seq| end.at_or_before(tcb.cold.recover);
    if sample.sent_once_end.is_some_and(is_old) {
        // Step 3.b: a segment that was not retransmitted has arrived.
        shared.counters.spurious_timeouts += 1;
        return undo(tcb, shared);
    }
    let has_new = tcb.hot.queue.unread() > 0 && wnd > nxt.since(una);
    tcb.recovery.frto = match tcb.recovery.frto {
        // Step 2.b: new data instead of old.
        Frto::First if acked > 0 && has_new => Frto::Second,
        // Steps 2.a and 3.a: the timeout was not spurious.
        _ => Frto::Off,
    };
}

/// Detects losses. Without SACK only the first segment can be marked lost.
fn detect_lost<C, B: Blob>(tcb: &mut Tcb<C>, acked: u32, shared: &mut Shared<B>) -> Detected {
    if tcb.in_flight() == 0 {
        return Detected::default();
    }
    let una = tcb.hot.snd.una;
    if tcb.hot.flags.has(ConnFlags::SACK) {
        let state = rack_state(tcb, shared);
        let detected =
            tcb.recovery.rack.detect(&mut tcb.warm.flight, &mut shared.flight, una, &state);
        tcb.recovery.lost += detected.bytes;
        if detected.bytes > 0 && !path_search::explains_loss(tcb, shared) {
            control::lost(tcb, shared);
        }
        shared.counters.lost_retransmissions += u64::from(detected.retransmissions);
        return detected;
    }
    // RFC 6582 §3.2 step 2: not for data sent before the last recovery or timeout.
    let is_third = tcb.hot.phase == Phase::Disorder
        && tcb.recovery.duplicates == THRESHOLD
        && una.after(tcb.cold.recover);
    // Step 3: a partial acknowledgement means that the next segment is lost too.
    let is_partial = tcb.hot.phase == Phase::Recovery && acked > 0;
    let mut detected = Detected::default();
    if is_third || is_partial {
        detected.bytes =
            tcb.warm.flight.mark_front_lost(&mut shared.flight, una, u32::from(tcb.hot.mss));
        tcb.recovery.lost += detected.bytes;
        let unsure = tcb.in_flight() - tcb.recovery.lost;
        tcb.recovery.sacked = tcb.recovery.sacked.min(unsure);
        if detected.bytes > 0 {
            control::lost(tcb, shared);
        }
    }
    detected
}

fn rack_state<C, B: Blob>(tcb: &Tcb<C>, shared: &Shared<B>) -> RackState {
    RackState {
        now_us: shared.now_us(),
        srtt_us: tcb.warm.rtt.srtt_us(),
        min_rtt_us: tcb.warm.rtt.min_us(),
        in_recovery: matches!(tcb.hot.phase, Phase::Recovery | Phase::Loss),
        many_sacked: tcb.recovery.sacked > u32::from(THRESHOLD - 1) * u32::from(tcb.hot.mss),
    }
}

/// Enters fast recovery. `unreported` bytes were in flight and not SACKed before this
/// acknowledgement.
fn enter<C, B: Blob>(tcb: &mut Tcb<C>, unreported: u32, shared: &mut Shared<B>) {
    shared.counters.fast_retransmissions += 1;
    reduce(tcb, Signal::Loss, shared);
    tcb.cold.recover = tcb.hot.snd.nxt;
    tcb.recovery.prr = Prr::begin(unreported);
    tcb.hot.phase = Phase::Recovery;
}

/// The congestion control's response to loss, which can be undone. Does nothing if an ECN mark of
/// the same round trip has reduced the window (RFC 3168 §6.1.2).
pub(super) fn reduce<C, B>(tcb: &mut Tcb<C>, signal: Signal, shared: &mut Shared<B>) {
    if ecn::has_reduced(tcb) {
        return;
    }
    tcb.recovery.prior = Some(control::congested(tcb, signal, shared));
    (tcb.recovery.undo_bytes, tcb.recovery.retransmitted_at) = (0, None);
    ecn::reduced(tcb);
}

/// The response to an ECN mark: at once, and it is never undone.
pub(super) fn reduce_for_mark<C, B>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    reduce(tcb, Signal::Mark, shared);
    tcb.recovery.prior = None;
    tcb.hot.snd.cwnd = tcb.hot.snd.cwnd.min(tcb.control.ssthresh);
}

/// Sets the congestion window after an acknowledgement.
fn resize<C, B>(
    tcb: &mut Tcb<C>,
    sample: &AckSample,
    acked: u32,
    lost: u32,
    shared: &mut Shared<B>,
) {
    if tcb.hot.flags.has(ConnFlags::RATE_BASED) {
        return resize_by_rate(tcb, sample, lost, shared);
    }
    let (mss, delivered) = (u32::from(tcb.hot.mss), sample.bytes);
    match tcb.hot.phase {
        Phase::Recovery if delivered > 0 || lost > 0 => {
            let (pipe, ssthresh, is_safe) =
                (pipe(tcb), tcb.control.ssthresh, acked > 0 && lost == 0);
            let cwnd = tcb.recovery.prr.window(delivered, pipe, ssthresh, mss, is_safe);
            // RFC 6582 §3.2 step 3: a partial acknowledgement retransmits the next segment at once.
            let least =
                if lost > 0 && !tcb.hot.flags.has(ConnFlags::SACK) { pipe + mss } else { 0 };
            tcb.hot.snd.cwnd = cwnd.max(least);
        }
        Phase::Loss => match tcb.recovery.frto {
            // RFC 5682 §2.1 step 2.b: two segments.
            Frto::Second => tcb.hot.snd.cwnd = pipe(tcb) + 2 * mss,
            _ => grow(tcb, sample, shared),
        },
        // RFC 3042 §2: duplicate acknowledgements do not grow the window.
        Phase::Disorder if tcb.hot.flags.has(ConnFlags::CWND_LIMITED) && acked > 0 => {
            grow(tcb, sample, shared);
        }
        _ => {}
    }
}

/// Lets a controller by rate set the congestion window, with space for what must be sent now.
#[cold]
fn resize_by_rate<C, B>(tcb: &mut Tcb<C>, sample: &AckSample, lost: u32, shared: &mut Shared<B>) {
    control::sampled(tcb, sample, lost, shared);
    let mss = u32::from(tcb.hot.mss);
    let least = match tcb.recovery.frto {
        // RFC 5682 §2.1 step 2.b: two segments.
        Frto::Second => pipe(tcb) + 2 * mss,
        // RFC 6582 §3.2 step 3: a partial acknowledgement retransmits the next segment at once.
        _ if lost > 0 && !tcb.hot.flags.has(ConnFlags::SACK) => pipe(tcb) + mss,
        _ => 0,
    };
    tcb.hot.snd.cwnd = tcb.hot.snd.cwnd.max(least);
}

/// Grows the window by delivered data, outside fast recovery.
pub(super) fn grow<C, B>(tcb: &mut Tcb<C>, sample: &AckSample, shared: &mut Shared<B>) {
    if sample.bytes == 0 || (tcb.hot.phase != Phase::Loss && ecn::has_reduced(tcb)) {
        return;
    }
    control::acknowledged(tcb, sample, shared);
}

/// Returns to the fast path if nothing is out of order, and a round trip was measured since the
/// last timeout or loss probe.
fn reopen_if_in_order<C>(tcb: &mut Tcb<C>) {
    let recovery = &tcb.recovery;
    if tcb.hot.phase == Phase::Disorder
        && recovery.sacked == 0
        && recovery.lost == 0
        && recovery.probe.is_none()
        && !recovery.owes_rtt
        && recovery.backoff == 0
    {
        tcb.hot.phase = Phase::Open;
        tcb.recovery.duplicates = 0;
    }
}

/// The reordering timer expired (RFC 8985 §6.3): late segments are lost.
pub(super) fn reordering_timeout<C, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    // A segment can be late without a SACK beyond it, if a retransmission has overtaken it.
    watch(tcb);
    let detected = detect_lost(tcb, 0, shared);
    if tcb.hot.phase == Phase::Disorder
        && tcb.recovery.lost > 0
        && !path_search::explains_loss(tcb, shared)
    {
        let unreported = tcb.in_flight().saturating_sub(tcb.recovery.sacked);
        enter(tcb, unreported, shared);
    }
    if detected.bytes > 0 {
        resize(tcb, &AckSample::default(), 0, detected.bytes, shared);
    }
    reopen_if_in_order(tcb);
    timeout::arm_reordering_timer(tcb, detected.timer_us, true, shared);
}

/// RFC 6298 §5.4 to §5.6, RFC 5681 §3.1: the retransmission timer expired. The first segment and
/// all segments that are late are lost, and are retransmitted in slow start.
pub(super) fn timed_out<C, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    shared.counters.retransmission_timeouts += 1;
    tcb.recovery.backoff = tcb.cold.timeouts;
    tcb.recovery.stalls = tcb.recovery.stalls.saturating_add(1);
    let is_first = tcb.recovery.stalls == 1;
    let was = tcb.hot.phase;
    watch(tcb);
    if matches!(was, Phase::Open | Phase::Disorder) || (was == Phase::Loss && is_first) {
        reduce(tcb, Signal::Timeout, shared);
    }
    tcb.hot.phase = Phase::Loss;
    mark_lost(tcb, shared);
    let tries_frto = is_first
        && tcb.hot.flags.has(ConnFlags::SACK)
        && matches!(was, Phase::Open | Phase::Disorder);
    tcb.recovery.frto = if tries_frto { Frto::First } else { Frto::Off };
    (tcb.recovery.duplicates, tcb.recovery.probe) = (0, None);
    tcb.cold.recover = tcb.hot.snd.nxt;
    tcb.hot.snd.cwnd = pipe(tcb) + u32::from(tcb.hot.mss);
}

/// Marks everything in flight lost: it was too big for the path and is retransmitted in smaller
/// segments. This is no congestion (RFC 1191 §6.4).
pub(super) fn cut_smaller<C, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    watch(tcb);
    let una = tcb.hot.snd.una;
    let lose =
        |_, run: &Run| if run.status == Status::Sacked { Status::Sacked } else { Status::Lost };
    let (out, _) = tcb.warm.flight.mark_lost(&mut shared.flight, una, lose);
    tcb.recovery.lost += out;
    if !tcb.hot.flags.has(ConnFlags::SACK) {
        tcb.recovery.sacked = 0;
    }
    tcb.hot.phase = Phase::Loss;
    (tcb.recovery.frto, tcb.recovery.probe, tcb.recovery.duplicates) = (Frto::Off, None, 0);
    tcb.recovery.prior = None;
    tcb.cold.recover = tcb.hot.snd.nxt;
}

/// Marks runs lost after a timeout (RFC 8985 §6.3). Without SACK everything in flight is lost. If
/// the peer has reneged on the first run's SACK, no SACK is trusted (RFC 2018 §8).
fn mark_lost<C, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    let una = tcb.hot.snd.una;
    let has_sack = tcb.hot.flags.has(ConnFlags::SACK);
    let reneges = tcb.warm.flight.front_is_sacked(&shared.flight);
    shared.counters.sack_reneging += u64::from(reneges);
    let state = rack_state(tcb, shared);
    let rack = tcb.recovery.rack;
    let (out, sacked) =
        tcb.warm.flight.mark_lost(&mut shared.flight, una, |start, run| match run.status {
            Status::Sacked if !reneges => Status::Sacked,
            Status::Outstanding
                if has_sack && !reneges && !rack.is_lost_on_timeout(start, una, run, &state) =>
            {
                Status::Outstanding
            }
            _ => Status::Lost,
        });
    tcb.recovery.lost += out + sacked;
    if out + sacked > 0 {
        control::lost(tcb, shared);
    }
    tcb.recovery.sacked = if has_sack { tcb.recovery.sacked - sacked } else { 0 };
}

/// `bytes` from `seq` on were retransmitted.
pub(super) fn retransmitted<C, B: Blob>(
    tcb: &mut Tcb<C>,
    seq: Seq,
    bytes: u32,
    shared: &mut Shared<B>,
) {
    let (una, now_us) = (tcb.hot.snd.una, shared.now_us());
    let stamp = control::stamp(tcb, bytes, pipe(tcb) + bytes, shared);
    let range = (seq, seq + bytes);
    path_search::retransmitted(tcb, range);
    tcb.recovery.lost -=
        tcb.warm.flight.retransmitted(&mut shared.flight, una, range, now_us, stamp);
    sent(tcb, bytes);
    if tcb.recovery.prior.is_some() {
        tcb.recovery.undo_bytes = tcb.recovery.undo_bytes.saturating_add(bytes);
        let clock = shared.tick.millis().wrapping_add(tcb.hot.ts_offset);
        tcb.recovery.retransmitted_at.get_or_insert(clock);
    }
}

/// `bytes` were sent or retransmitted.
#[inline]
pub(super) fn sent<C>(tcb: &mut Tcb<C>, bytes: u32) {
    if tcb.hot.phase != Phase::Open {
        sent_off_fast_path(tcb, bytes);
    }
}

#[cold]
fn sent_off_fast_path<C>(tcb: &mut Tcb<C>, bytes: u32) {
    // The persist timer may have backed off meanwhile, or been forgotten.
    tcb.cold.timeouts = tcb.recovery.backoff;
    if tcb.hot.phase == Phase::Recovery {
        tcb.recovery.prr.sent(bytes);
    }
}
