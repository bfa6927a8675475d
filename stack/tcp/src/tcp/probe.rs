//! Tail loss probes (RFC 8985 §7): if the end of the flight is not acknowledged, one more segment
//! makes the peer report what is missing, long before the retransmission timer expires.

use super::congestion::Signal;
use super::{ConnFlags, Context, Hot, Phase, Shared, State, Tcb, Transmit, output, recovery};
use crate::seq::Seq;
use crate::wire::Segment;
use simoom_io::application::Application;

/// §7.2, TLP.max_ack_delay: how long a peer may delay the acknowledgement of a single segment.
const MAX_ACK_DELAY_MS: u32 = 200;
/// Twice the timers' resolution, so that a probe is never early.
const RESOLUTION_MS: u32 = 2;

/// §7.2: time until a probe is due, at most `rto_ms`; `None` if no probe is allowed. `is_single`:
/// no more than one segment is in flight.
#[inline]
pub(super) fn timeout_ms<C>(tcb: &Tcb<C>, is_single: bool, rto_ms: u32) -> Option<u32> {
    let Hot { phase, flags, state, .. } = &tcb.hot;
    if *phase != Phase::Open || !flags.has(ConnFlags::SACK) || *state == State::SynReceived {
        return None;
    }
    let delay = if is_single { MAX_ACK_DELAY_MS } else { RESOLUTION_MS };
    match tcb.warm.rtt.srtt_us() {
        // §7.3: no probe before a round trip was measured.
        0 => None,
        _ if delay >= rto_ms => Some(rto_ms),
        srtt_us => Some(((2 * srtt_us).div_ceil(1000) + delay).min(rto_ms)),
    }
}

/// §7.3: sends the next segment, or retransmits the last one.
pub(super) fn send<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    cx: &mut Context<'_, A, T>,
) {
    let mss = u32::from(tcb.hot.mss);
    let (una, nxt) = (tcb.hot.snd.una, tcb.hot.snd.nxt);
    let window = tcb.hot.snd.wnd.saturating_sub(nxt.since(una));
    let new = (tcb.hot.queue.unread() as u32).min(mss).min(window);
    recovery::watch(tcb);
    let sent = if new > 0 && tcb.warm.flight.has_capacity(&cx.shared.flight) {
        output::send_next(tcb, new, cx.shared, cx.tx)
    } else {
        // The last segment may have carried the FIN beside a full payload.
        let fin = u32::from(tcb.hot.flags.has(ConnFlags::FIN_SENT));
        let len = nxt.since(una).min(mss + fin);
        output::retransmit(tcb, nxt - len, nxt, cx.shared, cx.tx).is_some()
    };
    if sent {
        cx.shared.counters.loss_probes += 1;
        tcb.recovery.probe = Some((tcb.hot.snd.nxt, tcb.hot.snd.nxt == nxt));
        tcb.recovery.owes_rtt = true;
    }
}

/// §7.4.1: checks the outstanding probe against an acknowledgement of `acked` bytes.
pub(super) fn acknowledged<C, B>(
    tcb: &mut Tcb<C>,
    segment: &Segment<'_>,
    acked: u32,
    duplicate: Option<(Seq, Seq)>,
    shared: &mut Shared<B>,
) {
    let Some((end, is_retransmission)) = tcb.recovery.probe else { return };
    if segment.ack.before(end) {
        return;
    }
    let both_arrived = duplicate.is_some_and(|(_, right)| right == end)
        || (acked == 0 && segment.options.sack_count == 0 && segment.is_empty());
    if !is_retransmission || both_arrived {
        tcb.recovery.probe = None;
    } else if segment.ack.after(end) {
        // Only one of the two arrived: the probe has repaired a loss, to which congestion control
        // responds.
        tcb.recovery.probe = None;
        shared.counters.loss_probe_recoveries += 1;
        if matches!(tcb.hot.phase, Phase::Open | Phase::Disorder) {
            recovery::reduce(tcb, Signal::ProbeRepaired, shared);
            tcb.hot.snd.cwnd = tcb.hot.snd.cwnd.min(tcb.control.ssthresh);
        }
    }
}
