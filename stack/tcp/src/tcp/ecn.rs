//! Explicit congestion notification (RFC 3168 §6.1): congestion that routers mark instead of
//! dropping packets.
//!
//! Reads the bits of received segments, sets those of sent segments, and reduces the congestion
//! window at most once a round trip. Active only if both SYNs agreed ([`ConnFlags::ECN`]).

use super::{ConnFlags, Phase, Shared, Tcb, recovery};
use crate::config::EcnPolicy;
use crate::seq::Seq;
use crate::wire::{Ecn, Flags, Segment};

/// ECN state of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    /// Send ECE until the peer sends CWR.
    echoes: bool,
    /// Send CWR with the next new data.
    owes_cwr: bool,
    /// SND.NXT at the last reduction. No second reduction until it is acknowledged.
    reduced_at: Option<Seq>,
    /// Whether an ECN mark caused the last reduction.
    for_mark: bool,
    /// This side has sent a SYN that does not ask for ECN. It echoes marks, and sends nothing that
    /// is ECN-capable (§6.1.1).
    only_echoes: bool,
}

/// Whether to agree to ECN: the SYN asks for it (§6.1.1) and the policy allows it. A SYN that is
/// itself ECN-capable is ignored: something on the path uses those bits for its own purposes.
pub(crate) fn is_asked(syn: &Segment<'_>, policy: EcnPolicy) -> bool {
    let asks = syn.flags.has(Flags::ECE.with(Flags::CWR)) && syn.ecn == Ecn::NOT_CAPABLE;
    asks && policy != EcnPolicy::Off
}

/// Whether the peer's SYN-ACK, or its SYN in a simultaneous open, agrees to ECN (§6.1.1).
pub(super) fn is_agreed(answer: &Segment<'_>, policy: EcnPolicy) -> bool {
    let echoes_only = answer.flags.has(Flags::ECE) && !answer.flags.has(Flags::CWR);
    let agrees = if answer.flags.has(Flags::ACK) { echoes_only } else { is_asked(answer, policy) };
    agrees && policy == EcnPolicy::Request
}

/// Both sides agree to ECN. `is_repeated`: this side's SYN was retransmitted, without asking.
pub(super) fn agreed<C, B>(tcb: &mut Tcb<C>, is_repeated: bool, shared: &mut Shared<B>) {
    tcb.hot.flags.set(ConnFlags::ECN);
    tcb.cold.ecn.only_echoes = is_repeated;
    shared.counters.ecn_connections += 1;
}

/// The ECN flags of this side's SYN or SYN-ACK. A retransmitted SYN no longer asks for ECN:
/// something on the path may drop such SYNs (§6.1.1.1).
pub(super) fn of_syn<C>(tcb: &Tcb<C>, is_answer: bool, policy: EcnPolicy) -> Flags {
    match is_answer {
        true if tcb.hot.flags.has(ConnFlags::ECN) => Flags::ECE,
        false if policy == EcnPolicy::Request && tcb.cold.timeouts == 0 => {
            Flags::ECE.with(Flags::CWR)
        }
        _ => Flags::default(),
    }
}

/// Processes the ECN bits of a segment within the window.
#[inline]
pub(super) fn arrived<C, B>(tcb: &mut Tcb<C>, segment: &Segment<'_>, shared: &mut Shared<B>) {
    let has_ecn_bits =
        segment.ecn == Ecn::CONGESTED || segment.flags.has_any(Flags::ECE.with(Flags::CWR));
    if has_ecn_bits && tcb.hot.flags.has(ConnFlags::ECN) {
        take(tcb, segment, shared);
    }
}

#[cold]
fn take<C, B>(tcb: &mut Tcb<C>, segment: &Segment<'_>, shared: &mut Shared<B>) {
    if segment.flags.has(Flags::CWR) {
        tcb.cold.ecn.echoes = false;
        if !segment.payload.is_empty() {
            // The peer's window may be one segment now, which must not wait for a delayed ACK.
            tcb.hot.flags.set(ConnFlags::ACK_NOW);
        }
    }
    if segment.ecn == Ecn::CONGESTED && !segment.payload.is_empty() {
        shared.counters.congestion_marks += 1;
        tcb.cold.ecn.echoes = true;
    }
    if segment.flags.has(Flags::ECE) {
        echoed(tcb, segment.ack, shared);
    }
}

/// §6.1.2: the peer reports an ECN mark. Reduces the window, once for each window of data.
fn echoed<C, B>(tcb: &mut Tcb<C>, ack: Seq, shared: &mut Shared<B>) {
    let acked = ack.since(tcb.hot.snd.una);
    shared.counters.delivered_marked += u64::from(acked.div_ceil(u32::from(tcb.hot.mss)));
    // The peer repeats ECE until it receives CWR.
    let is_news = !tcb.cold.ecn.owes_cwr && tcb.cold.ecn.reduced_at.is_none_or(|at| ack.after(at));
    if is_news && tcb.in_flight() > 0 && matches!(tcb.hot.phase, Phase::Open | Phase::Disorder) {
        shared.counters.congestion_echoes += 1;
        tcb.cold.ecn.for_mark = false;
        recovery::reduce_for_mark(tcb, shared);
        tcb.cold.ecn.for_mark = true;
    }
}

/// The window was reduced, for any reason. CWR is sent (§6.1.2), and marks of the same round trip
/// cause no further reduction.
pub(super) fn reduced<C>(tcb: &mut Tcb<C>) {
    if tcb.hot.flags.has(ConnFlags::ECN) {
        tcb.cold.ecn.owes_cwr = true;
        tcb.cold.ecn.reduced_at = Some(tcb.hot.snd.nxt);
        tcb.cold.ecn.for_mark = false;
    }
}

/// Whether an ECN mark has reduced the window within this round trip. If so, a loss does not reduce
/// it again, and it does not grow.
#[inline]
pub(super) fn has_reduced<C>(tcb: &Tcb<C>) -> bool {
    let State { for_mark, reduced_at, .. } = &tcb.cold.ecn;
    tcb.hot.flags.has(ConnFlags::ECN)
        && *for_mark
        && reduced_at.is_some_and(|at| tcb.hot.snd.una.at_or_before(at))
}

/// The flags of every segment after the handshake.
#[inline]
pub(super) fn flags<C>(tcb: &Tcb<C>) -> Flags {
    if tcb.hot.flags.has(ConnFlags::ECN) { flags_once_agreed(tcb) } else { Flags::ACK }
}

/// Not inlined, like [`new_text_once_agreed`]. Otherwise the compiler reads the ECN state of every
/// connection, to save a branch, from a cache line that nothing else of a request uses.
#[cold]
#[inline(never)]
fn flags_once_agreed<C>(tcb: &Tcb<C>) -> Flags {
    if tcb.cold.ecn.echoes { Flags::ACK.with(Flags::ECE) } else { Flags::ACK }
}

/// The ECN bits of a segment with `len` bytes of new text (§6.1.2, §6.1.4), in addition to
/// [`flags`].
#[inline]
pub(super) fn of_new_text<C>(tcb: &Tcb<C>, len: u32) -> (Flags, Ecn) {
    if !tcb.hot.flags.has(ConnFlags::ECN) || len == 0 {
        return (Flags::default(), Ecn::NOT_CAPABLE);
    }
    new_text_once_agreed(tcb)
}

#[cold]
#[inline(never)]
fn new_text_once_agreed<C>(tcb: &Tcb<C>) -> (Flags, Ecn) {
    if tcb.cold.ecn.only_echoes {
        return (Flags::default(), Ecn::NOT_CAPABLE);
    }
    (if tcb.cold.ecn.owes_cwr { Flags::CWR } else { Flags::default() }, Ecn::CAPABLE)
}

/// New text was sent, and CWR with it.
#[inline]
pub(super) fn sent_new_text<C>(tcb: &mut Tcb<C>) {
    if tcb.hot.flags.has(ConnFlags::ECN) {
        tcb.cold.ecn.owes_cwr = false;
    }
}
