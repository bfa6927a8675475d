//! What time alone brings about: retransmission, probes, delayed acknowledgements, the application's deadline, and
//! the end of patience.

use super::{Context, Fate, Marks, State, Tcb, Transmit, congestion, deliver, handshake, output};
use crate::application::{Application, Closed};
use crate::timer::Tick;

/// The wheel has come to this connection: does what is due, and sets the wheel to the next deadline.
pub(crate) fn expire<A: Application, T: Transmit>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) -> Fate {
    let now = cx.shared.tick;
    if tcb.hot.marks.has(Marks::CLOSING) && tcb.warm.app_at.is_due(now) {
        // The peer never closed. It gets no TIME_WAIT: nothing of it is to be expected.
        return Fate::Ends(Closed::Finished);
    }
    if tcb.hot.resend_at.is_due(now) {
        tcb.hot.resend_at = Tick::NEVER;
        if let fate @ Fate::Ends(_) = unanswered(tcb, cx) {
            return fate;
        }
    }
    if tcb.warm.ack_at.is_due(now) {
        tcb.warm.ack_at = Tick::NEVER;
        tcb.hot.marks.set(Marks::ACK_NOW);
    }
    if tcb.warm.app_at.is_due(now) {
        tcb.warm.app_at = Tick::NEVER;
        deliver::deadline(tcb, cx);
    }
    if let fate @ Fate::Ends(_) = keep_alive(tcb, cx) {
        return fate;
    }
    cx.shared.make_ready(&mut tcb.hot, cx.id);
    Fate::Lives
}

/// The retransmission or persist timer ran out.
fn unanswered<A: Application, T: Transmit>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) -> Fate {
    let stalled_ms = tcb.cold.stalled_since.until(cx.shared.tick).max(0) as u32;
    // A SYN has a patience of its own (RFC 9293 §3.8.3 MUST-23).
    let is_opening = matches!(tcb.hot.state, State::SynSent | State::SynReceived);
    if !is_opening && tcb.cold.stalled_since != Tick::NEVER && stalled_ms >= cx.shared.config.send_timeout_ms {
        output::reset(&tcb.hot, tcb.hot.snd.nxt, cx.shared, cx.tx);
        return Fate::Ends(Closed::TimedOut);
    }
    tcb.cold.timeouts = tcb.cold.timeouts.saturating_add(1);
    match tcb.hot.state {
        State::SynSent | State::SynReceived => {
            if tcb.cold.timeouts > cx.shared.config.syn_retries {
                return Fate::Ends(Closed::TimedOut);
            }
            handshake::syn(tcb, cx.shared, cx.tx);
        }
        _ if tcb.in_flight() > 0 => retransmission_timeout(tcb, cx),
        _ if tcb.hot.queue.unread() > 0 && tcb.hot.snd.wnd > 0 => {
            output::send_held(tcb, cx.shared, cx.tx);
        }
        _ if tcb.hot.queue.unread() > 0 => {
            cx.shared.counters.zero_window_probes += 1;
            output::probe(tcb, cx.shared, cx.tx);
        }
        _ => return Fate::Lives,
    }
    let rto_ms = tcb.warm.rtt.rto_ms(cx.shared.config.min_rto_ms, tcb.cold.timeouts);
    tcb.hot.resend_at = cx.shared.tick.plus(rto_ms);
    Fate::Lives
}

/// RFC 6298 §5.4 to §5.6, RFC 5681 §3.1: everything in flight is taken for lost and sent again from the start, in
/// slow start.
fn retransmission_timeout<A: Application, T: Transmit>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) {
    cx.shared.counters.retransmission_timeouts += 1;
    let mss = u32::from(tcb.hot.mss);
    if tcb.cold.timeouts == 1 {
        tcb.cold.ssthresh = congestion::threshold_after_loss(tcb.in_flight(), mss);
    }
    tcb.hot.snd.cwnd = mss;
    tcb.hot.duplicate_acks = 0;
    tcb.cold.recover = tcb.hot.snd.nxt;
    tcb.cold.resend = tcb.hot.snd.una;
    tcb.hot.marks.clear(Marks::TIMED.with(Marks::RECOVERY));
    tcb.hot.marks.set(Marks::RESENDING);
}

/// RFC 9293 §3.8.4: an idle peer is asked whether it is still there, and given up if it never answers.
fn keep_alive<A: Application, T: Transmit>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) -> Fate {
    let config = &cx.shared.config;
    if config.keep_alive_ms == 0 || tcb.in_flight() > 0 {
        return Fate::Lives;
    }
    let patience_ms = config.keep_alive_ms + u32::from(tcb.cold.probes) * config.keep_alive_interval_ms;
    if !tcb.warm.heard_at.plus(patience_ms).is_due(cx.shared.tick) {
        return Fate::Lives;
    }
    if tcb.cold.probes >= config.keep_alive_probes {
        output::reset(&tcb.hot, tcb.hot.snd.nxt, cx.shared, cx.tx);
        return Fate::Ends(Closed::TimedOut);
    }
    tcb.cold.probes += 1;
    cx.shared.counters.keep_alive_probes += 1;
    output::probe(tcb, cx.shared, cx.tx);
    Fate::Lives
}
