//! Loss recovery: what is done once something is out of order on the way to the peer.
//!
//! In come acknowledgements that are more than plain progress, and time; out goes, in the
//! scoreboard, what is lost, and how much may be sent. SACK connections find losses by RACK (RFC
//! 8985 §6), others by three duplicates and partial acknowledgements (RFC 5681 §3.2, RFC 6582). The
//! sending itself is `output`'s.

use super::congestion::Progress;
use super::pace;
use super::probe;
use super::prr::Prr;
use super::rack::{Circumstances, Found, Rack};
use super::{Context, Marks, Phase, Shared, Tcb, Transmit, ack, ecn, sack, timeout};
use crate::flight::{Delivery, Run, Status};
use crate::seq::Seq;
use crate::wire::Segment;
use simoom_io::application::Application;
use simoom_io::send::Blob;

/// RFC 5681 §3.2: so many duplicates mean loss.
const THRESHOLD: u8 = 3;

/// What recovery remembers of a connection; at rest in [`Phase::Open`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recovery {
    pub(crate) rack: Rack,
    pub(crate) prr: Prr,
    /// Bytes beyond SND.UNA that have arrived. Without SACK: a segment for each duplicate
    /// acknowledgement.
    pub(crate) sacked: u32,
    /// Bytes taken for lost and not sent again since.
    pub(crate) lost: u32,
    /// Duplicate acknowledgements in a row, of a peer without SACK.
    duplicates: u8,
    pub(crate) frto: Frto,
    /// The tail loss probe that is out: SND.NXT then, and whether it repeated something.
    pub(crate) probe: Option<(Seq, bool)>,
    /// Congestion window and threshold before the last reduction, while it may prove to have been
    /// for nothing.
    before: Option<(u32, u32)>,
    /// Bytes sent again since then, less those reported as duplicates.
    repeats: u32,
    /// TSval of the first of them.
    repeated_at: Option<u32>,
}

/// Forward RTO-recovery (RFC 5682 §3): how far the question is whether a timeout was for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Frto {
    /// It is not asked.
    #[default]
    Off,
    /// The first acknowledgement after the timeout is awaited.
    First,
    /// It advanced; new data was sent instead of old, and the second is awaited.
    Second,
}

/// Bytes in flight that are neither reported nor taken for lost (RFC 6675 §4, pipe).
#[inline]
pub(super) fn pipe<C>(tcb: &Tcb<C>) -> u32 {
    match tcb.hot.phase {
        Phase::Open => tcb.in_flight(),
        _ => tcb.in_flight().saturating_sub(tcb.recovery.sacked).saturating_sub(tcb.recovery.lost),
    }
}

/// From here on the connection is watched closely.
pub(super) fn watch<C>(tcb: &mut Tcb<C>) {
    if tcb.hot.phase == Phase::Open {
        tcb.hot.phase = Phase::Disorder;
        tcb.recovery.rack.begin(tcb.hot.snd.una);
    }
}

/// An acknowledgement that is more than plain progress, or comes while the connection is watched.
pub(super) fn acknowledged<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    is_duplicate: bool,
    cx: &mut Context<'_, A, T>,
) {
    watch(tcb);
    let shared = &mut *cx.shared;
    let unreported = tcb.in_flight().saturating_sub(tcb.recovery.sacked);
    let acked = segment.ack.since(tcb.hot.snd.una);
    let mut delivery = Delivery { fack: tcb.recovery.rack.fack(), ..Delivery::default() };
    if acked > 0 {
        ack::advance(tcb, segment.ack, &mut delivery, shared);
    }
    let duplicate = sack::take(tcb, segment, &mut delivery, shared);
    let recovery = &mut tcb.recovery;
    recovery.lost -= delivery.found;
    recovery.sacked = (recovery.sacked + delivery.sacked).saturating_sub(delivery.settled);
    if !tcb.hot.marks.has(Marks::SACK) {
        count_duplicate(tcb, acked, is_duplicate, &mut delivery);
    }
    ack::measure(tcb, &delivery, segment, shared);
    shared.counters.reorderings += u64::from(delivery.reordered);
    let now_us = shared.now_us();
    let echo_age_ms = ack::echo_age_ms(tcb, segment, shared);
    tcb.recovery.rack.delivered(&delivery, now_us, tcb.warm.rtt.min_us(), echo_age_ms);
    if let Some(duplicate) = duplicate {
        needless_repetition(tcb, duplicate, shared);
    }
    probe::acknowledged(tcb, segment, acked, duplicate, shared);
    undo_by_timestamp(tcb, segment, acked, shared);
    leave_if_recovered(tcb);
    forward_rto(tcb, &delivery, acked, shared);
    let found = find_lost(tcb, acked, shared);
    if tcb.hot.phase == Phase::Disorder && tcb.recovery.lost > 0 {
        enter(tcb, unreported, shared);
    }
    resize(tcb, &delivery, acked, found.bytes, shared);
    settle(tcb);
    timeout::look_again_in(tcb, found.again_us, acked + delivery.sacked > 0, shared);
}

/// Without SACK, a duplicate acknowledgement means that a segment has arrived, who knows which (RFC
/// 5681 §3.2); one that advances settles those that it covers.
fn count_duplicate<C>(tcb: &mut Tcb<C>, acked: u32, is_duplicate: bool, delivery: &mut Delivery) {
    let mss = u32::from(tcb.hot.mss);
    let unsure = tcb.in_flight().saturating_sub(tcb.recovery.lost);
    let recovery = &mut tcb.recovery;
    if acked > 0 {
        recovery.duplicates = 0;
        let settled = recovery.sacked.min(acked.saturating_sub(mss));
        recovery.sacked = (recovery.sacked - settled).min(unsure);
        delivery.bytes = delivery.bytes.saturating_sub(settled);
    } else if is_duplicate {
        recovery.duplicates = recovery.duplicates.saturating_add(1);
        // One segment at least has not arrived, or it would be acknowledged.
        let sacked = (recovery.sacked + mss).min(unsure.saturating_sub(mss)).max(recovery.sacked);
        delivery.bytes += sacked - recovery.sacked;
        recovery.sacked = sacked;
    }
}

/// A D-SACK: something was sent again for nothing (RFC 8985 §6.2 step 4). If all was, so was the
/// reduction.
fn needless_repetition<C, B: Blob>(
    tcb: &mut Tcb<C>,
    duplicate: (Seq, Seq),
    shared: &mut Shared<B>,
) {
    let (una, nxt) = (tcb.hot.snd.una, tcb.hot.snd.nxt);
    tcb.recovery.rack.repeated_needlessly(una, nxt);
    let recovery = &mut tcb.recovery;
    if recovery.repeats > 0 {
        recovery.repeats = recovery.repeats.saturating_sub(duplicate.1.since(duplicate.0));
        if recovery.repeats == 0 && recovery.before.is_some() {
            shared.counters.undone_by_dsack += 1;
            undo(tcb, shared);
        }
    }
}

/// The Eifel algorithm (RFC 3522 §3): what is acknowledged was sent before the first repetition.
fn undo_by_timestamp<C, B: Blob>(
    tcb: &mut Tcb<C>,
    segment: &Segment<'_>,
    acked: u32,
    shared: &mut Shared<B>,
) {
    if let (Some(repeated_at), Some((_, echo))) =
        (tcb.recovery.repeated_at, segment.options.timestamps)
        && acked > 0
        && matches!(tcb.hot.phase, Phase::Recovery | Phase::Loss)
        && Seq(echo).before(Seq(repeated_at))
        && tcb.recovery.before.is_some()
    {
        shared.counters.undone_by_timestamp += 1;
        undo(tcb, shared);
    }
}

/// Takes back the last reduction of the congestion window (RFC 4015 §3.2); nothing counts as lost
/// until it is found to be so again.
fn undo<C, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    let Some((cwnd, ssthresh)) = tcb.recovery.before.take() else { return };
    tcb.hot.snd.cwnd = tcb.hot.snd.cwnd.max(cwnd);
    tcb.control.ssthresh = tcb.control.ssthresh.max(ssthresh);
    tcb.warm.flight.hope(&mut shared.flight, tcb.hot.snd.una);
    tcb.recovery.lost = 0;
    tcb.recovery.frto = Frto::Off;
    tcb.hot.phase = Phase::Disorder;
    tcb.cold.recover = tcb.hot.snd.una;
}

/// All that was in flight when recovery began is acknowledged.
fn leave_if_recovered<C>(tcb: &mut Tcb<C>) {
    let is_over = tcb.hot.snd.una.at_or_after(tcb.cold.recover);
    if !is_over || !matches!(tcb.hot.phase, Phase::Recovery | Phase::Loss) {
        return;
    }
    if tcb.hot.phase == Phase::Recovery {
        // RFC 9937 §6.2. What was in flight before the reduction does not widen the window after
        // it.
        tcb.hot.snd.cwnd = tcb.control.ssthresh;
        tcb.hot.marks.clear(Marks::CWND_LIMITED);
    }
    tcb.hot.phase = Phase::Disorder;
    tcb.recovery.frto = Frto::Off;
    tcb.recovery.rack.recovered();
}

/// RFC 5682 §3: whether the timeout was for nothing.
fn forward_rto<C, B: Blob>(
    tcb: &mut Tcb<C>,
    delivery: &Delivery,
    acked: u32,
    shared: &mut Shared<B>,
) {
    if tcb.hot.phase != Phase::Loss || tcb.recovery.frto == Frto::Off {
        return;
    }
    let (una, nxt, wnd) = (tcb.hot.snd.una, tcb.hot.snd.nxt, tcb.hot.snd.wnd);
    let is_old = |end: Seq| end.at_or_before(tcb.cold.recover);
    if delivery.once_end.is_some_and(is_old) {
        // Step 3.b: what was not repeated arrives.
        shared.counters.spurious_timeouts += 1;
        return undo(tcb, shared);
    }
    let has_new = tcb.hot.queue.unread() > 0 && wnd > nxt.since(una);
    tcb.recovery.frto = match tcb.recovery.frto {
        // Step 2.b: new data instead of old.
        Frto::First if acked > 0 && has_new => Frto::Second,
        // Steps 2.a and 3.a: the timeout was right.
        _ => Frto::Off,
    };
}

/// Looks for losses; the front of the flight, where the peer has no SACK.
fn find_lost<C, B: Blob>(tcb: &mut Tcb<C>, acked: u32, shared: &mut Shared<B>) -> Found {
    if tcb.in_flight() == 0 {
        return Found::default();
    }
    let una = tcb.hot.snd.una;
    if tcb.hot.marks.has(Marks::SACK) {
        let at = circumstances(tcb, shared);
        let found = tcb.recovery.rack.detect(&mut tcb.warm.flight, &mut shared.flight, una, &at);
        tcb.recovery.lost += found.bytes;
        shared.counters.lost_retransmissions += u64::from(found.repeats);
        return found;
    }
    // RFC 6582 §3.2 step 2: not for what was sent before the last recovery or timeout.
    let is_third = tcb.hot.phase == Phase::Disorder
        && tcb.recovery.duplicates == THRESHOLD
        && una.after(tcb.cold.recover);
    // Step 3: a partial acknowledgement means that the next segment is lost too.
    let is_partial = tcb.hot.phase == Phase::Recovery && acked > 0;
    let mut found = Found::default();
    if is_third || is_partial {
        found.bytes = tcb.warm.flight.lose_front(&mut shared.flight, una, u32::from(tcb.hot.mss));
        tcb.recovery.lost += found.bytes;
        let unsure = tcb.in_flight() - tcb.recovery.lost;
        tcb.recovery.sacked = tcb.recovery.sacked.min(unsure);
    }
    found
}

fn circumstances<C, B: Blob>(tcb: &Tcb<C>, shared: &Shared<B>) -> Circumstances {
    Circumstances {
        now_us: shared.now_us(),
        srtt_us: tcb.warm.rtt.srtt_us(),
        min_rtt_us: tcb.warm.rtt.min_us(),
        in_recovery: matches!(tcb.hot.phase, Phase::Recovery | Phase::Loss),
        many_sacked: tcb.recovery.sacked > u32::from(THRESHOLD - 1) * u32::from(tcb.hot.mss),
    }
}

/// Fast recovery begins, with so many bytes in flight that were not reported before.
fn enter<C, B: Blob>(tcb: &mut Tcb<C>, unreported: u32, shared: &mut Shared<B>) {
    shared.counters.fast_retransmissions += 1;
    reduce(tcb, shared);
    tcb.cold.recover = tcb.hot.snd.nxt;
    tcb.recovery.prr = Prr::begin(unreported);
    tcb.hot.phase = Phase::Recovery;
}

/// The congestion control's response to loss; it can be taken back. A mark of the same round trip
/// has been responded to already (RFC 3168 §6.1.2).
pub(super) fn reduce<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) {
    if ecn::has_reduced(tcb) {
        return;
    }
    let mss = u32::from(tcb.hot.mss);
    let (cwnd, in_flight) = (tcb.hot.snd.cwnd, tcb.in_flight());
    tcb.recovery.before = Some((cwnd, tcb.control.ssthresh));
    (tcb.recovery.repeats, tcb.recovery.repeated_at) = (0, None);
    tcb.control.lost(shared.config.congestion, cwnd, in_flight, mss);
    ecn::reduced(tcb);
}

/// The response to a router's mark: at once, and for good.
pub(super) fn reduce_for_mark<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) {
    reduce(tcb, shared);
    tcb.recovery.before = None;
    tcb.hot.snd.cwnd = tcb.hot.snd.cwnd.min(tcb.control.ssthresh);
}

/// The congestion window after an acknowledgement.
fn resize<C, B>(tcb: &mut Tcb<C>, delivery: &Delivery, acked: u32, lost: u32, shared: &Shared<B>) {
    let (mss, delivered) = (u32::from(tcb.hot.mss), delivery.bytes);
    match tcb.hot.phase {
        Phase::Recovery if delivered > 0 || lost > 0 => {
            let (pipe, ssthresh, is_safe) =
                (pipe(tcb), tcb.control.ssthresh, acked > 0 && lost == 0);
            let cwnd = tcb.recovery.prr.window(delivered, pipe, ssthresh, mss, is_safe);
            // RFC 6582 §3.2 step 3: a partial acknowledgement repeats the next segment at once.
            let least = if lost > 0 && !tcb.hot.marks.has(Marks::SACK) { pipe + mss } else { 0 };
            tcb.hot.snd.cwnd = cwnd.max(least);
        }
        Phase::Loss => match tcb.recovery.frto {
            // RFC 5682 §2.1 step 2.b: two segments.
            Frto::Second => tcb.hot.snd.cwnd = pipe(tcb) + 2 * mss,
            _ => grow(tcb, delivery, shared),
        },
        // RFC 3042 §2: duplicates do not widen the window.
        Phase::Disorder if tcb.hot.marks.has(Marks::CWND_LIMITED) && acked > 0 => {
            grow(tcb, delivery, shared);
        }
        _ => {}
    }
}

/// Outside fast recovery the window grows with what is delivered.
pub(super) fn grow<C, B>(tcb: &mut Tcb<C>, delivery: &Delivery, shared: &Shared<B>) {
    if delivery.bytes == 0 || (tcb.hot.phase != Phase::Loss && ecn::has_reduced(tcb)) {
        return;
    }
    let sent_once = delivery.sent_once.filter(|_| !delivery.repeated);
    let progress = Progress {
        now: shared.tick,
        acked: delivery.bytes,
        mss: u32::from(tcb.hot.mss),
        rtt_us: sent_once.map(|(_, last_us)| shared.now_us().wrapping_sub(last_us).max(1)),
        srtt_us: tcb.warm.rtt.srtt_us(),
        una: tcb.hot.snd.una,
        nxt: tcb.hot.snd.nxt,
        paced: pace::is_due(tcb, shared),
    };
    tcb.hot.snd.cwnd = tcb.control.grow(shared.config.congestion, tcb.hot.snd.cwnd, &progress);
}

/// Nothing is out of order any more.
fn settle<C>(tcb: &mut Tcb<C>) {
    let recovery = &tcb.recovery;
    if tcb.hot.phase == Phase::Disorder
        && recovery.sacked == 0
        && recovery.lost == 0
        && recovery.probe.is_none()
    {
        tcb.hot.phase = Phase::Open;
        tcb.recovery.duplicates = 0;
    }
}

/// The reordering timer ran out (RFC 8985 §6.3): what was late is lost.
pub(super) fn look_again<C, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    // What a repetition has overtaken can be late although nothing beyond it was reported.
    watch(tcb);
    let found = find_lost(tcb, 0, shared);
    if tcb.hot.phase == Phase::Disorder && tcb.recovery.lost > 0 {
        let unreported = tcb.in_flight().saturating_sub(tcb.recovery.sacked);
        enter(tcb, unreported, shared);
    }
    if found.bytes > 0 {
        resize(tcb, &Delivery::default(), 0, found.bytes, shared);
    }
    settle(tcb);
    timeout::look_again_in(tcb, found.again_us, true, shared);
}

/// RFC 6298 §5.4 to §5.6, RFC 5681 §3.1: the retransmission timer ran out. The first segment is
/// lost, and all that had time enough to arrive; they are sent again in slow start.
pub(super) fn timed_out<C, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    shared.counters.retransmission_timeouts += 1;
    let is_first = tcb.cold.timeouts == 1;
    let was = tcb.hot.phase;
    watch(tcb);
    if matches!(was, Phase::Open | Phase::Disorder) || (was == Phase::Loss && is_first) {
        reduce(tcb, shared);
    }
    tcb.hot.phase = Phase::Loss;
    mark_lost(tcb, shared);
    let asks =
        is_first && tcb.hot.marks.has(Marks::SACK) && matches!(was, Phase::Open | Phase::Disorder);
    tcb.recovery.frto = if asks { Frto::First } else { Frto::Off };
    (tcb.recovery.duplicates, tcb.recovery.probe) = (0, None);
    tcb.cold.recover = tcb.hot.snd.nxt;
    tcb.hot.snd.cwnd = pipe(tcb) + u32::from(tcb.hot.mss);
}

/// What is on its way was too big to arrive, and is sent again in smaller segments. It says nothing
/// of congestion: the window and the threshold stay (RFC 1191 §6.5).
pub(super) fn cut_smaller<C, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    watch(tcb);
    let una = tcb.hot.snd.una;
    let lose =
        |_, run: &Run| if run.status == Status::Sacked { Status::Sacked } else { Status::Lost };
    let (out, _) = tcb.warm.flight.judge(&mut shared.flight, una, lose);
    tcb.recovery.lost += out;
    if !tcb.hot.marks.has(Marks::SACK) {
        tcb.recovery.sacked = 0;
    }
    tcb.hot.phase = Phase::Loss;
    (tcb.recovery.frto, tcb.recovery.probe, tcb.recovery.duplicates) = (Frto::Off, None, 0);
    tcb.recovery.before = None;
    tcb.cold.recover = tcb.hot.snd.nxt;
}

/// RFC 8985 §6.3; without SACK all that is in flight is lost. A peer whose first report was one
/// that it has taken back is believed no longer (RFC 2018 §8).
fn mark_lost<C, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    let una = tcb.hot.snd.una;
    let has_sack = tcb.hot.marks.has(Marks::SACK);
    let reneges = tcb.warm.flight.front_is_sacked(&shared.flight);
    shared.counters.sack_reneging += u64::from(reneges);
    let at = circumstances(tcb, shared);
    let rack = tcb.recovery.rack;
    let (out, sacked) =
        tcb.warm.flight.judge(&mut shared.flight, una, |start, run| match run.status {
            Status::Sacked if !reneges => Status::Sacked,
            Status::Out
                if has_sack && !reneges && !rack.is_lost_on_timeout(start, una, run, &at) =>
            {
                Status::Out
            }
            _ => Status::Lost,
        });
    tcb.recovery.lost += out + sacked;
    tcb.recovery.sacked = if has_sack { tcb.recovery.sacked - sacked } else { 0 };
}

/// `bytes` from `seq` on were sent again.
pub(super) fn resent<C, B: Blob>(tcb: &mut Tcb<C>, seq: Seq, bytes: u32, shared: &mut Shared<B>) {
    let (una, now_us) = (tcb.hot.snd.una, shared.now_us());
    tcb.recovery.lost -= tcb.warm.flight.resent(&mut shared.flight, una, seq, seq + bytes, now_us);
    sent(tcb, bytes);
    if tcb.recovery.before.is_some() {
        tcb.recovery.repeats = tcb.recovery.repeats.saturating_add(bytes);
        let clock = shared.tick.millis().wrapping_add(tcb.hot.ts_offset);
        tcb.recovery.repeated_at.get_or_insert(clock);
    }
}

/// `bytes` were sent, for the first time or again.
#[inline]
pub(super) fn sent<C>(tcb: &mut Tcb<C>, bytes: u32) {
    if tcb.hot.phase == Phase::Recovery {
        tcb.recovery.prr.sent(bytes);
    }
}
