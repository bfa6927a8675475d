//! Fifth step of RFC 9293 §3.10.7.4: what an acceptable acknowledgement brings. Room in the send queue, a measurement,
//! a wider or narrower congestion window, the window that the peer offers, and progress in closing.

use super::{Context, Fate, Marks, Shared, State, Stop, Tcb, Transmit, congestion, output};
use crate::application::{Application, Closed};
use crate::send::Blob;
use crate::seq::Seq;
use crate::timer::Tick;
use crate::wire::Segment;

/// Fifth step: what the acknowledgement brings, SEG.ACK being at least SND.UNA.
#[inline]
pub(super) fn process_ack<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Result<(), Stop> {
    let old_wnd = tcb.hot.snd.wnd;
    if tcb.hot.snd.wl1.at_or_before(segment.seq) {
        tcb.hot.snd.wnd = u32::from(segment.window) << tcb.hot.snd_scale;
        tcb.hot.snd.wl1 = segment.seq;
        tcb.cold.max_wnd = tcb.cold.max_wnd.max(tcb.hot.snd.wnd);
    }
    if segment.ack == tcb.hot.snd.una {
        let is_duplicate = segment.is_empty() && tcb.in_flight() > 0 && tcb.hot.snd.wnd == old_wnd;
        if is_duplicate {
            duplicate_ack(tcb, cx);
        }
        return Ok(());
    }
    let acked = segment.ack.since(tcb.hot.snd.una);
    measure(tcb, segment.ack, cx.shared);
    let is_partial = grow_or_recover(tcb, segment.ack, acked);
    advance(tcb, segment.ack, acked, cx.shared);
    if is_partial {
        output::retransmit(tcb, segment.ack, cx.shared, cx.tx);
    }
    if tcb.hot.marks.has(Marks::FIN_SENT) && segment.ack == tcb.hot.snd.nxt {
        return fin_acknowledged(tcb, cx.shared);
    }
    Ok(())
}

/// Takes a round-trip measurement if the timed segment is acknowledged (RFC 6298 §3: one per round trip).
#[inline]
pub(super) fn measure<C, B>(tcb: &mut Tcb<C>, ack: Seq, shared: &Shared<B>) {
    if tcb.hot.marks.has(Marks::TIMED) && ack.at_or_after(tcb.warm.timed_seq) {
        tcb.hot.marks.clear(Marks::TIMED);
        let now_us = shared.now.total_micros() as u32;
        tcb.warm.rtt.measured(now_us.wrapping_sub(tcb.warm.timed_at_us));
    }
}

/// Moves SND.UNA and gives back what was delivered.
#[inline]
fn advance<C, B: Blob>(tcb: &mut Tcb<C>, ack: Seq, acked: u32, shared: &mut Shared<B>) {
    let fin = tcb.hot.marks.has(Marks::FIN_SENT) && ack == tcb.hot.snd.nxt;
    tcb.hot.snd.una = ack;
    tcb.hot.queue.acknowledge(&mut shared.send, u64::from(acked - u32::from(fin)));
    tcb.hot.duplicate_acks = 0;
    tcb.cold.timeouts = 0;
    if ack.after(tcb.cold.recover) {
        // Kept close behind, so that it still compares after 2^31 bytes without loss.
        tcb.cold.recover = ack - 1;
    }
    if ack == tcb.hot.snd.nxt {
        tcb.hot.resend_at = Tick::NEVER;
        tcb.cold.stalled_since = Tick::NEVER;
        tcb.hot.marks.clear(Marks::RESENDING);
    } else {
        tcb.cold.stalled_since = shared.tick;
        // RFC 6298 §5.3.
        tcb.hot.resend_at = shared.tick.plus(tcb.warm.rtt.rto_ms(shared.config.min_rto_ms, 0));
        if tcb.hot.marks.has(Marks::RESENDING) {
            tcb.cold.resend = tcb.cold.resend.max(ack);
        }
    }
}

/// The congestion window after something new was acknowledged (RFC 5681 §3.1, RFC 6582 §3.2 step 3). Returns
/// whether it was a partial acknowledgement, after which the next segment is known to be lost.
#[inline]
fn grow_or_recover<C>(tcb: &mut Tcb<C>, ack: Seq, acked: u32) -> bool {
    let mss = u32::from(tcb.hot.mss);
    if tcb.hot.marks.has(Marks::RECOVERY) {
        if ack.before(tcb.cold.recover) {
            tcb.hot.snd.cwnd = congestion::deflate(tcb.hot.snd.cwnd, acked, mss);
            return true;
        }
        tcb.hot.marks.clear(Marks::RECOVERY);
        let in_flight = tcb.hot.snd.nxt.since(ack);
        tcb.hot.snd.cwnd = tcb.cold.ssthresh.min(in_flight.max(mss) + mss);
    } else if tcb.in_flight() + mss > tcb.hot.snd.cwnd || tcb.hot.marks.has(Marks::RESENDING) {
        // A window that was not in full use says nothing about the path (RFC 7661 §4.3).
        tcb.hot.snd.cwnd = congestion::grow(tcb.hot.snd.cwnd, tcb.cold.ssthresh, acked, mss);
    }
    false
}

/// RFC 5681 §3.2: the third in a row means loss; further ones mean that segments leave the path.
fn duplicate_ack<A: Application, T: Transmit>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) {
    const THRESHOLD: u8 = 3;
    let mss = u32::from(tcb.hot.mss);
    tcb.hot.duplicate_acks = tcb.hot.duplicate_acks.saturating_add(1);
    if tcb.hot.marks.has(Marks::RECOVERY) {
        tcb.hot.snd.cwnd = tcb.hot.snd.cwnd.saturating_add(mss).min(1 << 30);
        return;
    }
    // RFC 6582 §3.2 step 2: not for what was sent before the last recovery or timeout.
    let covered = tcb.hot.snd.una.after(tcb.cold.recover) && !tcb.hot.marks.has(Marks::RESENDING);
    if tcb.hot.duplicate_acks == THRESHOLD && covered {
        cx.shared.counters.fast_retransmissions += 1;
        tcb.cold.recover = tcb.hot.snd.nxt;
        tcb.cold.ssthresh = congestion::threshold_after_loss(tcb.in_flight(), mss);
        tcb.hot.snd.cwnd = tcb.cold.ssthresh + u32::from(THRESHOLD) * mss;
        tcb.hot.marks.set(Marks::RECOVERY);
        tcb.hot.marks.clear(Marks::TIMED);
        output::retransmit(tcb, tcb.hot.snd.una, cx.shared, cx.tx);
    }
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
