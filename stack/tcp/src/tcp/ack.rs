//! Fifth step of RFC 9293 §3.10.7.4: what an acceptable acknowledgement brings. Room in the send
//! queue, a measurement, a wider or narrower congestion window, the window that the peer offers,
//! and progress in closing.

use super::congestion::initial_window;
use super::rtt::MAX_RTO_MS;
use super::{
    Context, Due, Fate, Marks, Phase, Shared, State, Stop, Tcb, Transmit, recovery, timeout,
};
use crate::config::READ_RATE_MIN;
use crate::flight::Delivery;
use crate::seq::Seq;
use crate::wire::Segment;
use simoom_io::application::{Application, Closed};
use simoom_io::send::Blob;
use simoom_io::timer::Tick;

/// Fifth step: what the acknowledgement brings, SEG.ACK being at least SND.UNA.
#[inline]
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
        if is_duplicate || (has_blocks && tcb.hot.marks.has(Marks::SACK)) {
            recovery::acknowledged(tcb, segment, is_duplicate, cx);
        }
        return Ok(());
    }
    if tcb.hot.phase == Phase::Open && !has_blocks {
        plain_progress(tcb, segment, cx.shared);
    } else {
        recovery::acknowledged(tcb, segment, false, cx);
    }
    if tcb.hot.marks.has(Marks::FIN_SENT) && segment.ack == tcb.hot.snd.nxt {
        return fin_acknowledged(tcb, cx.shared);
    }
    if is_stalled(tcb, cx.shared) {
        // The timer gives the peer up.
        (tcb.cold.due, tcb.hot.resend_at) = (Due::Retransmission, cx.shared.tick);
    }
    Ok(())
}

/// Nothing was lost, nothing is out of order.
#[inline]
fn plain_progress<C, B: Blob>(tcb: &mut Tcb<C>, segment: &Segment<'_>, shared: &mut Shared<B>) {
    debug_assert_eq!(
        (tcb.recovery.lost, tcb.recovery.sacked),
        (0, 0),
        "something is out of order after all"
    );
    let mut delivery = Delivery::default();
    advance(tcb, segment.ack, &mut delivery, shared);
    measure(tcb, &delivery, segment, shared);
    if tcb.hot.marks.has(Marks::CWND_LIMITED) {
        // A window that was not in full use says nothing about the path (RFC 7661 §4.3).
        recovery::grow(tcb, &delivery, shared);
    }
    timeout::rearm(tcb, shared);
}

/// Takes a round-trip measurement: of what was sent once (RFC 6298 §3), or else by the timestamp
/// (RFC 7323 §4.1).
#[inline]
pub(super) fn measure<C, B>(
    tcb: &mut Tcb<C>,
    delivery: &Delivery,
    segment: &Segment<'_>,
    shared: &Shared<B>,
) {
    let now_us = shared.now_us();
    let rtt = &mut tcb.warm.rtt;
    if let Some((first_us, last_us)) = delivery.sent_once
        // Karn's algorithm; and what was repeated may have kept the rest waiting.
        && !delivery.repeated
    {
        rtt.measured(now_us.wrapping_sub(first_us));
        rtt.shortest(now_us.wrapping_sub(last_us), shared.tick);
    } else if delivery.bytes > 0
        && let Some(age_ms) = echo_age_ms(tcb, segment, shared)
    {
        tcb.warm.rtt.measured(age_ms * 1000);
    }
}

/// How long ago the timestamp was sent that a segment echoes, if that can be.
pub(super) fn echo_age_ms<C, B>(
    tcb: &Tcb<C>,
    segment: &Segment<'_>,
    shared: &Shared<B>,
) -> Option<u32> {
    let (_, echo) = segment.options.timestamps.filter(|_| tcb.hot.marks.has(Marks::TIMESTAMPS))?;
    let age_ms = shared.tick.millis().wrapping_add(tcb.hot.ts_offset).wrapping_sub(echo);
    (age_ms < MAX_RTO_MS).then_some(age_ms)
}

/// Moves SND.UNA and gives back what was delivered.
#[inline]
pub(super) fn advance<C, B: Blob>(
    tcb: &mut Tcb<C>,
    ack: Seq,
    delivery: &mut Delivery,
    shared: &mut Shared<B>,
) {
    let fin = tcb.hot.marks.has(Marks::FIN_SENT) && ack == tcb.hot.snd.nxt;
    let acked = ack.since(tcb.hot.snd.una);
    tcb.warm.flight.acknowledge(&mut shared.flight, tcb.hot.snd.una, ack, delivery);
    tcb.hot.snd.una = ack;
    tcb.hot.queue.acknowledge(&mut shared.send, u64::from(acked - u32::from(fin)));
    tcb.cold.timeouts = 0;
    if acked >= u32::from(tcb.hot.mss) {
        // Not for a short answer's acknowledgement: the flag lies in a cache line that nothing else
        // of a request touches.
        tcb.cold.full_arrived = true;
    }
    if ack.after(tcb.cold.recover) {
        // InputBuffer close behind, so that it still compares after 2^31 bytes without loss.
        tcb.cold.recover = ack - 1;
    }
    if ack == tcb.hot.snd.nxt && tcb.hot.snd.cwnd > initial_window(u32::from(tcb.hot.mss), 0) {
        tcb.control.rests(shared.tick);
    }
    tcb.cold.stalled_since = if ack == tcb.hot.snd.nxt && tcb.hot.queue.is_empty() {
        Tick::NEVER
    } else {
        credited(tcb.cold.stalled_since, acked, shared.tick)
    };
}

/// Since when a peer counts as stalled that has taken `acked` bytes more: each puts the end of
/// patience off by a millisecond. A peer that takes less than [`READ_RATE_MIN`] on average is given
/// up in the end.
#[inline]
fn credited(stalled_since: Tick, acked: u32, now: Tick) -> Tick {
    match stalled_since {
        Tick::NEVER => now,
        since => since.plus((acked / (READ_RATE_MIN / 1000)).min(1 << 30)).sooner(now),
    }
}

/// Whether the peer takes less than it must. One that acknowledges a byte now and then never lets a
/// timer run out, so this is looked at when it does.
#[inline]
fn is_stalled<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> bool {
    tcb.cold.stalled_since != Tick::NEVER
        && tcb.cold.stalled_since.until(shared.tick) >= shared.config.send_timeout_ms as i32
}

/// The peer has everything, this side's FIN included.
fn fin_acknowledged<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) -> Result<(), Stop> {
    match tcb.hot.state {
        State::FinWait1 => {
            tcb.hot.state = State::FinWait2;
            tcb.warm.app_at = shared.tick.plus(shared.config.close_timeout_ms);
            Ok(())
        }
        State::Closing => Err(Stop::Over(Fate::Lingers)),
        State::LastAck => Err(Stop::Over(Fate::Ends(Closed::Finished))),
        _ => Ok(()),
    }
}
