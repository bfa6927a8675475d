//! What time alone brings about: retransmission, probes, delayed acknowledgements, the
//! application's deadline, and the end of patience.

use super::{
    Context, Due, Fate, Marks, Shared, State, Tcb, Transmit, deliver, handshake, output, path,
    probe, recovery, window,
};
use simoom_io::application::{Application, Closed};
use simoom_io::timer::Tick;

/// The wheel has come to this connection: does what is due, and sets the wheel to the next
/// deadline.
pub(crate) fn expire<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    cx: &mut Context<'_, A, T>,
) -> Fate {
    let now = cx.shared.tick;
    if tcb.warm.flow.is_closing() && tcb.warm.app_at.is_due(now) {
        // The peer never closed. It gets no TIME_WAIT: nothing of it is to be expected.
        return Fate::Ends(Closed::Finished);
    }
    if tcb.hot.resend_at.is_due(now) {
        tcb.hot.resend_at = Tick::NEVER;
        match std::mem::take(&mut tcb.cold.due) {
            Due::LossProbe if tcb.in_flight() > 0 => {
                probe::send(tcb, cx);
                rearm(tcb, cx.shared);
            }
            Due::Reordering if tcb.in_flight() > 0 => recovery::look_again(tcb, cx.shared),
            Due::Pacing => rearm(tcb, cx.shared),
            _ => {
                if let fate @ Fate::Ends(_) = unanswered(tcb, cx) {
                    return fate;
                }
            }
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
    if window::rests_at(tcb).is_due(now) {
        window::narrow(tcb, cx.shared);
    }
    if let fate @ Fate::Ends(_) = keep_alive(tcb, cx) {
        return fate;
    }
    cx.shared.make_ready(&mut tcb.hot, cx.id);
    Fate::Lives
}

/// The retransmission or persist timer ran out.
fn unanswered<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    cx: &mut Context<'_, A, T>,
) -> Fate {
    let stalled_ms = tcb.cold.stalled_since.until(cx.shared.tick).max(0) as u32;
    // A SYN has a patience of its own (RFC 9293 §3.8.3 MUST-23).
    let is_opening = matches!(tcb.hot.state, State::SynSent | State::SynReceived);
    if !is_opening
        && tcb.cold.stalled_since != Tick::NEVER
        && stalled_ms >= cx.shared.config.send_timeout_ms
    {
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
        _ if tcb.in_flight() > 0 => {
            recovery::timed_out(tcb, cx.shared);
            path::timed_out(tcb, cx.shared);
        }
        _ if tcb.hot.queue.unread() > 0 && tcb.hot.snd.wnd > 0 => {
            let mss = u32::from(tcb.hot.mss);
            let len =
                (tcb.hot.queue.unread() as u32).min(mss).min(tcb.hot.snd.wnd).min(tcb.hot.snd.cwnd);
            output::send_next(tcb, len, cx.shared, cx.tx);
        }
        _ if tcb.hot.queue.unread() > 0 => {
            cx.shared.counters.zero_window_probes += 1;
            output::probe(tcb, cx.shared, cx.tx);
        }
        _ => return Fate::Lives,
    }
    let rto_ms = tcb.warm.rtt.rto_ms(cx.shared.config.min_rto_ms, tcb.cold.timeouts);
    let at = cx.shared.tick.plus(rto_ms);
    tcb.hot.resend_at = if is_opening { at } else { within_patience(tcb, at, cx.shared) };
    Fate::Lives
}

/// `at`, or when the send timeout is over if that is sooner: the timer backs off to minutes,
/// patience ends on time.
fn within_patience<C, B>(tcb: &Tcb<C>, at: Tick, shared: &Shared<B>) -> Tick {
    match tcb.cold.stalled_since {
        Tick::NEVER => at,
        since => at.sooner(since.plus(shared.config.send_timeout_ms)),
    }
}

/// The time that what is in flight has to be acknowledged starts anew (RFC 6298 §5.1 to §5.3). A
/// probe comes first, if there is to be one (RFC 8985 §7.2).
#[inline]
pub(super) fn rearm<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) {
    if tcb.in_flight() == 0 {
        tcb.hot.resend_at = Tick::NEVER;
        return;
    }
    let rto_ms = tcb.warm.rtt.rto_ms(shared.config.min_rto_ms, tcb.cold.timeouts);
    let (due, after_ms) = match probe::timeout_ms(tcb) {
        Some(probe_ms) => (Due::LossProbe, probe_ms.min(rto_ms)),
        None => (Due::Retransmission, rto_ms),
    };
    tcb.cold.due = due;
    let at = shared.tick.plus(after_ms);
    tcb.hot.resend_at = if tcb.cold.timeouts == 0 { at } else { within_patience(tcb, at, shared) };
}

/// After an acknowledgement that is more than plain progress: what is late is looked at again in
/// time (RFC 8985 §6.3).
pub(super) fn look_again_in<C, B>(
    tcb: &mut Tcb<C>,
    again_us: Option<u32>,
    progress: bool,
    shared: &Shared<B>,
) {
    // A duplicate that brings nothing puts nothing off: anybody may have provoked it.
    if progress || tcb.cold.due == Due::Reordering || tcb.hot.resend_at == Tick::NEVER {
        rearm(tcb, shared);
    }
    if let Some(again_us) = again_us {
        // A tick may be over in a moment.
        let at = shared.tick.plus(again_us.div_ceil(1000) + 1);
        if at.is_sooner_than(tcb.hot.resend_at) {
            (tcb.cold.due, tcb.hot.resend_at) = (Due::Reordering, at);
        }
    }
}

/// RFC 9293 §3.8.4: an idle peer is asked whether it is still there, and given up if it never
/// answers.
fn keep_alive<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    cx: &mut Context<'_, A, T>,
) -> Fate {
    let config = &cx.shared.config;
    if config.keep_alive_ms == 0 || tcb.in_flight() > 0 {
        return Fate::Lives;
    }
    let patience_ms =
        config.keep_alive_ms + u32::from(tcb.cold.probes) * config.keep_alive_interval_ms;
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
