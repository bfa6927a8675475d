//! Timers of a connection: retransmission, probes, delayed acknowledgements, the application's
//! deadline, and the send timeout.

use super::{
    ConnFlags, Context, Outcome, Phase, Shared, State, Tcb, TimerEvent, Transmit, ack, deliver,
    handshake, output, path, probe, recovery, window,
};
use simoom_io::application::{Application, Closed};
use simoom_io::timer::Tick;

/// A timer of this connection has fired: handles every event that is due.
pub(crate) fn expire<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    cx: &mut Context<'_, A, T>,
) -> Outcome {
    let now = cx.shared.tick;
    if tcb.warm.flow.is_closing() && tcb.warm.app_at.is_due(now) {
        // The peer never closed. No TIME-WAIT follows: no segment of the peer is to be expected.
        return Outcome::Closed(Closed::Finished);
    }
    if tcb.hot.retransmit_at.is_due(now) {
        tcb.hot.retransmit_at = Tick::NEVER;
        match std::mem::take(&mut tcb.cold.timer_event) {
            TimerEvent::LossProbe if tcb.in_flight() > 0 => {
                probe::send(tcb, cx);
                rearm(tcb, cx.shared);
            }
            TimerEvent::Reordering if tcb.in_flight() > 0 => {
                recovery::reordering_timeout(tcb, cx.shared);
            }
            // The pacing tick may have displaced the reordering timer.
            TimerEvent::Pacing if tcb.hot.phase != Phase::Open && tcb.in_flight() > 0 => {
                recovery::reordering_timeout(tcb, cx.shared);
            }
            TimerEvent::Pacing => rearm(tcb, cx.shared),
            _ => {
                if let outcome @ Outcome::Closed(_) = retransmission_timeout(tcb, cx) {
                    return outcome;
                }
            }
        }
    }
    if tcb.warm.ack_at.is_due(now) {
        tcb.warm.ack_at = Tick::NEVER;
        tcb.hot.flags.set(ConnFlags::ACK_NOW);
    }
    if tcb.warm.app_at.is_due(now) {
        tcb.warm.app_at = Tick::NEVER;
        deliver::deadline(tcb, cx);
    }
    if window::shrink_at(tcb).is_due(now) {
        window::shrink(tcb, cx.shared);
    }
    if let outcome @ Outcome::Closed(_) = keep_alive(tcb, cx) {
        return outcome;
    }
    // The timer of a busy connection that has become idle fires for nothing.
    match output::has_nothing_to_send(tcb) {
        true => tcb.arm_any(cx.id, cx.shared),
        false => cx.shared.make_ready(&mut tcb.hot, cx.id),
    }
    Outcome::Continue
}

/// The retransmission or persist timer expired.
fn retransmission_timeout<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    cx: &mut Context<'_, A, T>,
) -> Outcome {
    // A SYN has a limit of its own (RFC 9293 §3.8.3 MUST-23).
    let is_opening = matches!(tcb.hot.state, State::SynSent | State::SynReceived);
    if !is_opening && ack::is_stalled(tcb, cx.shared) {
        output::reset(&tcb.hot, tcb.hot.snd.nxt, cx.shared, cx.tx);
        return Outcome::Closed(Closed::TimedOut);
    }
    tcb.cold.timeouts = tcb.cold.timeouts.saturating_add(1);
    match tcb.hot.state {
        State::SynSent | State::SynReceived => {
            if tcb.cold.timeouts > cx.shared.config.syn_retries {
                return Outcome::Closed(Closed::TimedOut);
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
        _ => return Outcome::Continue,
    }
    let rto_ms = tcb.warm.rtt.rto_ms(cx.shared.config.min_rto_ms, tcb.cold.timeouts);
    let at = cx.shared.tick.plus(rto_ms);
    tcb.hot.retransmit_at = if is_opening { at } else { before_send_timeout(tcb, at, cx.shared) };
    Outcome::Continue
}

/// `at`, or the end of the send timeout if that is sooner. The timer backs off to minutes; the send
/// timeout does not.
fn before_send_timeout<C, B>(tcb: &Tcb<C>, at: Tick, shared: &Shared<B>) -> Tick {
    match tcb.cold.stalled_since {
        Tick::NEVER => at,
        since => {
            let timeout_ms = shared.config.send_timeout_ms(tcb.hot.tuple.local_port);
            at.sooner(since.plus(timeout_ms))
        }
    }
}

/// As [`start`], or stops the timer if nothing is in flight.
pub(super) fn rearm<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) {
    match tcb.in_flight() {
        0 => tcb.hot.retransmit_at = Tick::NEVER,
        in_flight => start(tcb, in_flight <= u32::from(tcb.hot.mss), shared),
    }
}

/// Starts the retransmission timer anew (RFC 6298 §5.1 to §5.3), or the timer of the loss probe
/// that comes before it (RFC 8985 §7.2). `is_single`: no more than one segment is in flight.
#[inline(always)]
pub(super) fn start<C, B>(tcb: &mut Tcb<C>, is_single: bool, shared: &Shared<B>) {
    let rto_ms = tcb.warm.rtt.rto_ms(shared.config.min_rto_ms, tcb.cold.timeouts);
    let (event, after_ms) = match probe::timeout_ms(tcb, is_single, rto_ms) {
        Some(probe_ms) => (TimerEvent::LossProbe, probe_ms),
        None => (TimerEvent::Retransmission, rto_ms),
    };
    tcb.cold.timer_event = event;
    let at = shared.tick.plus(after_ms);
    tcb.hot.retransmit_at =
        if tcb.cold.timeouts == 0 { at } else { before_send_timeout(tcb, at, shared) };
}

/// Arms the reordering timer (RFC 8985 §6.3) after an acknowledgement off the fast path.
pub(super) fn arm_reordering_timer<C, B>(
    tcb: &mut Tcb<C>,
    timer_us: Option<u32>,
    progress: bool,
    shared: &Shared<B>,
) {
    // A duplicate without progress postpones nothing: anybody may have provoked it.
    if progress
        || tcb.cold.timer_event == TimerEvent::Reordering
        || tcb.hot.retransmit_at == Tick::NEVER
    {
        rearm(tcb, shared);
    }
    if let Some(timer_us) = timer_us {
        // The current tick may end at any time.
        let at = shared.tick.plus(timer_us.div_ceil(1000) + 1);
        if at.is_sooner_than(tcb.hot.retransmit_at) {
            (tcb.cold.timer_event, tcb.hot.retransmit_at) = (TimerEvent::Reordering, at);
        }
    }
}

/// RFC 9293 §3.8.4: probes an idle peer, and resets the connection if the peer never answers.
fn keep_alive<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    cx: &mut Context<'_, A, T>,
) -> Outcome {
    if !tcb.keep_alive_at(&cx.shared.config).is_due(cx.shared.tick) {
        return Outcome::Continue;
    }
    if tcb.cold.probes >= cx.shared.config.keep_alive_probes {
        output::reset(&tcb.hot, tcb.hot.snd.nxt, cx.shared, cx.tx);
        return Outcome::Closed(Closed::TimedOut);
    }
    tcb.cold.probes += 1;
    cx.shared.counters.keep_alive_probes += 1;
    output::probe(tcb, cx.shared, cx.tx);
    Outcome::Continue
}
