//! Fifth step of RFC 9293 §3.10.7.4: an acceptable acknowledgement. It frees space in the send
//! queue, measures the round trip, updates the congestion window and the peer's window, and
//! advances the close.

use super::congestion::{control, initial_window};
use super::rtt::MAX_RTO_MS;
use super::{
    ConnFlags, Context, Outcome, Phase, Shared, State, Stop, Tcb, TimerEvent, Transmit, recovery,
    timeout,
};
use crate::config::READ_RATE_MIN;
use crate::flight::AckSample;
use crate::seq::Seq;
use crate::wire::Segment;
use simoom_io::application::{Application, Closed};
use simoom_io::send::Blob;
use simoom_io::timer::Tick;

/// Fifth step: processes an acknowledgement with SEG.ACK at or after SND.UNA.
#[inline(always)]
pub(super) fn process_ack<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Result<(), Stop> {
    let old_wnd = tcb.hot.snd.wnd;
    if tcb.hot.snd.wl1.at_or_before(segment.seq) {
        tcb.hot.snd.wnd = u32::from(segment.window) << tcb.hot.scales.snd();
        tcb.hot.snd.wl1 = segment.seq;
        tcb.cold.max_wnd = tcb.cold.max_wnd.max(tcb.hot.snd.wnd);
    }
    let acked = segment.ack.since(tcb.hot.snd.una);
    let has_blocks = segment.options.sack_count > 0;
    if acked == 0 {
        let is_duplicate = segment.is_empty() && tcb.in_flight() > 0 && tcb.hot.snd.wnd == old_wnd;
        cx.shared.counters.duplicate_acks_received += u64::from(is_duplicate);
        if is_duplicate || (has_blocks && tcb.hot.flags.has(ConnFlags::SACK)) {
            recovery::acknowledged(tcb, segment, is_duplicate, cx);
        }
        return Ok(());
    }
    if tcb.hot.phase == Phase::Open && !has_blocks {
        plain_progress(tcb, segment, cx.shared);
    } else {
        recovery::acknowledged(tcb, segment, false, cx);
    }
    if tcb.hot.flags.has(ConnFlags::FIN_SENT) && segment.ack == tcb.hot.snd.nxt {
        return fin_acknowledged(tcb, cx.shared);
    }
    if is_stalled(tcb, cx.shared) {
        // The timer handler resets the connection.
        (tcb.cold.timer_event, tcb.hot.retransmit_at) =
            (TimerEvent::Retransmission, cx.shared.tick);
    }
    Ok(())
}

/// The fast path: nothing is lost or out of order.
#[inline(always)]
fn plain_progress<C, B: Blob>(tcb: &mut Tcb<C>, segment: &Segment<'_>, shared: &mut Shared<B>) {
    debug_assert_eq!(
        (tcb.recovery.lost, tcb.recovery.sacked),
        (0, 0),
        "something is out of order after all"
    );
    // A window that was not fully used says nothing about the path (RFC 7661 §4.3).
    let needs_sample = tcb.hot.flags.has(ConnFlags::RATE_BASED.with(ConnFlags::CWND_LIMITED));
    if !needs_sample && let Some(sent_at_us) = tcb.warm.flight.acknowledge_single(segment.ack) {
        free_acknowledged(tcb, segment.ack, shared);
        let rtt_us = shared.now_us().wrapping_sub(sent_at_us);
        tcb.warm.rtt.measured(rtt_us);
        tcb.warm.rtt.shortest(rtt_us, shared.tick);
        tcb.hot.retransmit_at = Tick::NEVER;
        return;
    }
    sampled_progress(tcb, segment, shared);
}

/// The same with a sample, for a part of the flight, or for the congestion controller.
#[inline(never)]
fn sampled_progress<C, B: Blob>(tcb: &mut Tcb<C>, segment: &Segment<'_>, shared: &mut Shared<B>) {
    if tcb.hot.flags.has(ConnFlags::RATE_BASED) {
        return rate_sampled_progress(tcb, segment, shared);
    }
    let mut sample = AckSample::default();
    advance(tcb, segment.ack, &mut sample, shared);
    measure(tcb, &sample, segment, shared);
    if tcb.hot.flags.has(ConnFlags::CWND_LIMITED) {
        recovery::grow(tcb, &sample, shared);
    }
    timeout::rearm(tcb, shared);
}

/// The fast path with a congestion controller by rate, which gets a sample each time.
#[cold]
fn rate_sampled_progress<C, B: Blob>(
    tcb: &mut Tcb<C>,
    segment: &Segment<'_>,
    shared: &mut Shared<B>,
) {
    control::check_app_limited(tcb, shared);
    let mut sample = AckSample::default();
    advance(tcb, segment.ack, &mut sample, shared);
    measure(tcb, &sample, segment, shared);
    control::sampled(tcb, &sample, 0, shared);
    timeout::rearm(tcb, shared);
}

/// Takes a round-trip measurement: from data that was sent once (RFC 6298 §3), otherwise from the
/// timestamp (RFC 7323 §4.1).
#[inline]
pub(super) fn measure<C, B>(
    tcb: &mut Tcb<C>,
    sample: &AckSample,
    segment: &Segment<'_>,
    shared: &Shared<B>,
) {
    let now_us = shared.now_us();
    let rtt = &mut tcb.warm.rtt;
    if let Some((first_us, last_us)) = sample.sent_once
        // Karn's algorithm. A retransmission may also have delayed the acknowledgement of the rest.
        && !sample.retransmitted
    {
        rtt.measured(now_us.wrapping_sub(first_us));
        rtt.shortest(now_us.wrapping_sub(last_us), shared.tick);
    } else if sample.bytes > 0
        && let Some(age_ms) = echo_age_ms(tcb, segment, shared)
    {
        tcb.warm.rtt.measured(age_ms * 1000);
    }
}

/// Whether [`measure`] takes a measurement. Apart, for the sake of the fast path, which does not
/// ask.
pub(super) fn is_measured<C, B>(
    tcb: &Tcb<C>,
    sample: &AckSample,
    segment: &Segment<'_>,
    shared: &Shared<B>,
) -> bool {
    (sample.sent_once.is_some() && !sample.retransmitted)
        || (sample.bytes > 0 && echo_age_ms(tcb, segment, shared).is_some())
}

/// Age of the timestamp that a segment echoes, or `None` if the age is not plausible.
pub(super) fn echo_age_ms<C, B>(
    tcb: &Tcb<C>,
    segment: &Segment<'_>,
    shared: &Shared<B>,
) -> Option<u32> {
    let (_, echo) =
        segment.options.timestamps.filter(|_| tcb.hot.flags.has(ConnFlags::TIMESTAMPS))?;
    let age_ms = shared.tick.millis().wrapping_add(tcb.hot.ts_offset).wrapping_sub(echo);
    (age_ms < MAX_RTO_MS).then_some(age_ms)
}

/// Advances SND.UNA and frees what was acknowledged.
#[inline]
pub(super) fn advance<C, B: Blob>(
    tcb: &mut Tcb<C>,
    ack: Seq,
    sample: &mut AckSample,
    shared: &mut Shared<B>,
) {
    tcb.warm.flight.acknowledge(&mut shared.flight, tcb.hot.snd.una, ack, sample);
    free_acknowledged_apart(tcb, ack, shared);
}

/// As [`free_acknowledged`], off the path of most acknowledgements.
#[inline(never)]
fn free_acknowledged_apart<C, B: Blob>(tcb: &mut Tcb<C>, ack: Seq, shared: &mut Shared<B>) {
    free_acknowledged(tcb, ack, shared);
}

/// Advances SND.UNA and frees the send queue up to it. The flight was acknowledged.
#[inline(always)]
fn free_acknowledged<C, B: Blob>(tcb: &mut Tcb<C>, ack: Seq, shared: &mut Shared<B>) {
    let fin = tcb.hot.flags.has(ConnFlags::FIN_SENT) && ack == tcb.hot.snd.nxt;
    let acked = ack.since(tcb.hot.snd.una);
    tcb.hot.snd.una = ack;
    tcb.hot.queue.acknowledge(&mut shared.send, u64::from(acked - u32::from(fin)));
    tcb.cold.timeouts = 0;
    if acked >= u32::from(tcb.hot.mss) {
        // Not set by the acknowledgement of a short answer: the flag lies in a cache line that
        // nothing else of a request uses.
        tcb.cold.full_arrived = true;
    }
    if ack.after(tcb.cold.recover) {
        // Keep it close behind, so that it still compares after 2^31 bytes without loss.
        tcb.cold.recover = ack - 1;
    }
    if ack == tcb.hot.snd.nxt && tcb.hot.snd.cwnd > initial_window(u32::from(tcb.hot.mss), 0) {
        tcb.control.went_idle(shared.tick);
    }
    tcb.cold.stalled_since = if ack == tcb.hot.snd.nxt && tcb.hot.queue.is_empty() {
        Tick::NEVER
    } else {
        credited(tcb.cold.stalled_since, acked, shared.tick)
    };
}

/// The new start of a stall after the peer has acknowledged `acked` bytes. Every
/// [`READ_RATE_MIN`]/1000 bytes move the start by a millisecond. So a peer that acknowledges less
/// than [`READ_RATE_MIN`] on average times out in the end.
#[inline]
fn credited(stalled_since: Tick, acked: u32, now: Tick) -> Tick {
    match stalled_since {
        Tick::NEVER => now,
        since => since.plus((acked / (READ_RATE_MIN / 1000)).min(1 << 30)).sooner(now),
    }
}

/// Whether the peer acknowledges too slowly. A peer that acknowledges a byte now and then never
/// lets the timer expire, so acknowledgements check this too.
#[inline]
pub(super) fn is_stalled<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> bool {
    tcb.cold.stalled_since != Tick::NEVER
        && tcb.cold.stalled_since.until(shared.tick)
            >= shared.config.send_timeout_ms(tcb.hot.tuple.local_port) as i32
}

/// The peer has acknowledged everything, including this side's FIN.
fn fin_acknowledged<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) -> Result<(), Stop> {
    match tcb.hot.state {
        State::FinWait1 => {
            tcb.hot.state = State::FinWait2;
            tcb.warm.app_at = shared.tick.plus(shared.config.close_timeout_ms);
            Ok(())
        }
        State::Closing => Err(Stop::Over(Outcome::TimeWait)),
        State::LastAck => Err(Stop::Over(Outcome::Closed(Closed::Finished))),
        _ => Ok(()),
    }
}
