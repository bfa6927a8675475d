//! A segment arrives on a connection (RFC 9293 §3.10.7.3 and §3.10.7.4), in the order of the steps
//! given there.
//!
//! This updates the control block and sets its flags. The next flush sends what the update calls
//! for, so that a burst of segments is answered once. Only what must be sent per segment is sent at
//! once: duplicate acknowledgements, retransmissions and resets.

use super::ack::process_ack;
use super::handshake::{established, syn_sent};
use super::{
    BUSY_MS, ConnFlags, Context, Hot, Outcome, Shared, State, Stop, Tcb, Transmit, deliver, ecn,
    output, sack,
};
use crate::drop::DropReason;
use crate::rate_limit::Response;
use crate::seq::Seq;
use crate::wire::{Flags, Segment};
use simoom_io::application::{Application, Closed};
use simoom_io::send::Blob;
use simoom_io::timer::Tick;

/// Handles one segment whose four-tuple is the connection's.
pub(crate) fn segment_arrives<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Outcome {
    let steps = if tcb.hot.state == State::SynSent {
        syn_sent(tcb, segment, cx).and_then(stop_unless_continued)
    } else {
        synchronized(tcb, segment, cx)
    };
    match steps {
        Ok(()) if output::has_nothing_to_send(tcb) => tcb.arm_any(cx.id, cx.shared),
        Ok(()) => cx.shared.make_ready(&mut tcb.hot, cx.id),
        Err(stop) => return stopped(stop, tcb, cx),
    }
    Outcome::Continue
}

#[inline]
fn stop_unless_continued(outcome: Outcome) -> Result<(), Stop> {
    match outcome {
        Outcome::Continue => Ok(()),
        outcome => Err(Stop::Over(outcome)),
    }
}

#[cold]
fn stopped<A: Application, T>(
    stop: Stop,
    tcb: &mut Tcb<A::Conn>,
    cx: &mut Context<'_, A, T>,
) -> Outcome {
    match stop {
        Stop::Over(outcome) => outcome,
        Stop::Dropped(reason) => {
            cx.shared.drop(reason);
            cx.shared.make_ready(&mut tcb.hot, cx.id);
            Outcome::Continue
        }
    }
}

/// §3.10.7.4: any state in which the peer's initial sequence number is known.
fn synchronized<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Result<(), Stop> {
    if tcb.hot.state == State::SynReceived {
        return opening(tcb, segment, cx).and_then(stop_unless_continued);
    }
    if is_expected(&tcb.hot, segment) {
        debug_assert!(check_each(tcb, segment, cx).is_ok(), "an expected segment is acceptable");
    } else {
        check_each(tcb, segment, cx)?;
    }
    arrived(tcb, segment, cx.shared.tick);
    ecn::arrived(tcb, segment, cx.shared);
    if segment.ack.at_or_after(tcb.hot.snd.una) {
        process_ack(tcb, segment, cx)?;
    }
    if !segment.payload.is_empty() || segment.flags.has(Flags::FIN) {
        return stop_unless_continued(deliver::text_and_fin(tcb, segment, cx));
    }
    Ok(())
}

/// SYN-RECEIVED after a simultaneous open. Not inlined, unlike what it has in common with the path
/// of every segment.
#[cold]
#[inline(never)]
fn opening<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Result<Outcome, Stop> {
    let bare = without_retransmitted_syn(&tcb.hot, segment);
    check_each(tcb, &bare, cx)?;
    arrived(tcb, &bare, cx.shared.tick);
    Ok(established(tcb, &bare, bare.seq != segment.seq, cx))
}

/// Header prediction: whether the segment is what the peer sends next, within the window, with no
/// control bits but ACK, PSH and FIN, and acknowledges a part of what is in flight or nothing new.
/// Such a segment passes [`check_each`].
#[inline(always)]
fn is_expected(hot: &Hot, segment: &Segment<'_>) -> bool {
    const USUAL: u8 = Flags::PSH.with(Flags::FIN).0;
    let Hot { snd, rcv, .. } = hot;
    let is_older = |(value, _)| Seq(value).before(Seq(rcv.ts_recent));
    Flags(segment.flags.0 & !USUAL) == Flags::ACK
        && segment.seq == rcv.nxt
        && (segment.seq + segment.len()).at_or_before(rcv.edge)
        && segment.ack.at_or_after(snd.una)
        && segment.ack.at_or_before(snd.nxt)
        && !segment.options.timestamps.is_some_and(is_older)
}

/// First to fifth step: whether the segment is acceptable, is no reset or SYN, and acknowledges
/// what it may.
#[inline(never)]
fn check_each<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Result<(), Stop> {
    check_sequence(tcb, segment, cx.shared)?;
    check_reset_and_syn(&mut tcb.hot, segment, cx.shared)?;
    if !segment.flags.has(Flags::ACK) {
        return Err(Stop::Dropped(DropReason::NoAck));
    }
    check_ack(tcb, segment, cx)
}

/// An acceptable segment has arrived.
#[inline(always)]
fn arrived<C>(tcb: &mut Tcb<C>, segment: &Segment<'_>, now: Tick) {
    tcb.cold.probes = 0;
    if !segment.payload.is_empty() {
        tcb.warm.is_busy = tcb.warm.last_received_at.until(now) < BUSY_MS;
    }
    tcb.warm.last_received_at = now;
    // Reply along the path of the last segment, so that a new router is used from its first segment
    // on.
    tcb.hot.link = segment.link;
    update_ts_recent(&mut tcb.hot, segment);
}

/// In a simultaneous open the peer's SYN-ACK retransmits the SYN that was already processed. Only
/// its ACK is new.
#[cold]
fn without_retransmitted_syn<'a>(hot: &Hot, segment: &Segment<'a>) -> Segment<'a> {
    let mut segment = *segment;
    let is_syn = segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::RST);
    if is_syn && segment.seq + 1 == hot.rcv.nxt {
        segment.flags.0 &= !Flags::SYN.0;
        segment.seq += 1;
    }
    segment
}

/// First step: the sequence number, and PAWS before it (RFC 7323 §5.3).
fn check_sequence<C, B: Blob>(
    tcb: &mut Tcb<C>,
    segment: &Segment<'_>,
    shared: &mut Shared<B>,
) -> Result<(), Stop> {
    let hot = &mut tcb.hot;
    let is_reset = segment.flags.has(Flags::RST);
    if let Some((value, _)) = segment.options.timestamps
        && hot.flags.has(ConnFlags::TIMESTAMPS)
        && !is_reset
        && Seq(value).before(Seq(hot.rcv.ts_recent))
        && !is_outdated(tcb.warm.last_received_at, shared.tick)
    {
        return Err(unacceptable(hot, segment, DropReason::Paws, shared));
    }
    if is_acceptable(hot, segment) {
        return Ok(());
    }
    if !segment.payload.is_empty()
        && (segment.seq + segment.payload.len() as u32).at_or_before(hot.rcv.nxt)
    {
        sack::note_duplicate(tcb, segment.seq, segment.seq + segment.payload.len() as u32);
    }
    let hot = &mut tcb.hot;
    let stop = unacceptable(hot, segment, DropReason::OutsideWindow, shared);
    // §3.10.7.4: a zero window still lets valid acknowledgements and resets through. The window is
    // also used up for a peer that has filled it, of whose bytes some are missing here.
    if segment.seq == hot.rcv.edge && !segment.flags.has(Flags::SYN) {
        return Ok(());
    }
    Err(stop)
}

/// Acknowledges an unacceptable segment, unless it is a reset. Returns why it is dropped.
///
/// Text is acknowledged without a rate limit, once a flush: the peer learns from it that the text
/// had arrived. A SYN is challenged wherever its number lies (RFC 5961 §4.2).
#[cold]
fn unacceptable<B: Blob>(
    hot: &mut Hot,
    segment: &Segment<'_>,
    reason: DropReason,
    shared: &mut Shared<B>,
) -> Stop {
    if segment.flags.has(Flags::RST) {
        return Stop::Dropped(reason);
    }
    if segment.flags.has(Flags::SYN) {
        challenge(hot, shared);
        return Stop::Dropped(DropReason::BlindSyn);
    }
    if !segment.is_empty() || shared.may_respond(Response::Challenge) {
        hot.flags.set(ConnFlags::ACK_NOW);
    }
    Stop::Dropped(reason)
}

/// RFC 7323 §5.5: 24 days after the last accepted segment the peer's clock may have wrapped, and
/// its last timestamp is invalid.
fn is_outdated(last_received_at: Tick, now: Tick) -> bool {
    const DAYS_24_MS: i32 = 24 * 24 * 3600 * 1000;
    !(0..DAYS_24_MS).contains(&last_received_at.until(now))
}

/// The four cases of §3.10.7.4's table. A segment without text may also stand at the right edge of
/// an open window: that is SND.NXT of a peer that has filled the window, and its acknowledgements
/// count while a part of the window's bytes is lost.
fn is_acceptable(hot: &Hot, segment: &Segment<'_>) -> bool {
    let (nxt, edge) = (hot.rcv.nxt, hot.rcv.edge);
    let (start, len) = (segment.seq, segment.len());
    match len {
        0 => start.at_or_after(nxt) && start.at_or_before(edge),
        // Never true for a zero window, whose edge is RCV.NXT.
        _ => start.before(edge) && (start + len).after(nxt),
    }
}

/// Second and fourth step: RST and SYN. Each gets a challenge ACK unless its sequence number proves
/// it (RFC 5961 §3.2 and §4.2).
fn check_reset_and_syn<B: Blob>(
    hot: &mut Hot,
    segment: &Segment<'_>,
    shared: &mut Shared<B>,
) -> Result<(), Stop> {
    if segment.flags.has(Flags::RST) {
        if segment.seq == hot.rcv.nxt {
            return Err(Stop::Over(Outcome::Closed(match hot.state {
                State::SynReceived => Closed::Refused,
                _ => Closed::ResetByPeer,
            })));
        }
        challenge(hot, shared);
        return Err(Stop::Dropped(DropReason::BlindReset));
    }
    if segment.flags.has(Flags::SYN) {
        challenge(hot, shared);
        return Err(Stop::Dropped(DropReason::BlindSyn));
    }
    Ok(())
}

/// Sends a challenge ACK at the next flush, within the limit of RFC 5961 §7.
fn challenge<B: Blob>(hot: &mut Hot, shared: &mut Shared<B>) {
    if shared.may_respond(Response::Challenge) {
        shared.counters.challenge_acks += 1;
        hot.flags.set(ConnFlags::ACK_NOW);
    }
}

/// Fifth step, its checks: SND.UNA - MAX.SND.WND ≤ SEG.ACK ≤ SND.NXT (RFC 5961 §5.2).
fn check_ack<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Result<(), Stop> {
    let snd = &tcb.hot.snd;
    let is_fine =
        segment.ack.at_or_before(snd.nxt) && segment.ack.at_or_after(snd.una - tcb.cold.max_wnd);
    if tcb.hot.state == State::SynReceived && !(is_fine && segment.ack.after(snd.una)) {
        output::refuse_ack(&tcb.hot, segment.ack, cx.shared, cx.tx);
        return Err(Stop::Dropped(DropReason::BadAck));
    }
    if is_fine {
        return Ok(());
    }
    challenge(&mut tcb.hot, cx.shared);
    Err(Stop::Dropped(DropReason::BadAck))
}

/// RFC 7323 §4.3: TS.Recent follows segments that span the last acknowledgement sent.
#[inline(always)]
fn update_ts_recent(hot: &mut Hot, segment: &Segment<'_>) {
    if let Some((value, _)) = segment.options.timestamps
        && segment.seq.at_or_before(hot.rcv.acked)
    {
        hot.rcv.ts_recent = value;
    }
}
