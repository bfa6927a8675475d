//! Explicit congestion notification (RFC 3168 §6.1): congestion that routers mark instead of
//! dropping packets.
//!
//! In comes what a segment's bits say; out go bits for segments that leave, and a reduction of the
//! congestion window once a round trip. Both sides have agreed to it by their SYNs
//! ([`Marks::ECN`]), or nothing here is asked.

use super::{Marks, Phase, Shared, Tcb, recovery};
use crate::config::EcnPolicy;
use crate::seq::Seq;
use crate::wire::{Ecn, Flags, Segment};

/// What ECN remembers of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    /// The peer is to hear of a mark, until it says that it has reduced its window.
    echoes: bool,
    /// The peer is to hear that this side's window was reduced.
    owes_cwr: bool,
    /// The window was reduced at this SND.NXT: not again before more than that is acknowledged.
    reduced_at: Option<Seq>,
    /// ... because of a mark.
    for_mark: bool,
}

/// Whether a SYN asks for ECN (§6.1.1), and it is to be agreed to. Where a SYN itself is marked as
/// capable, something on the way writes those bits for purposes of its own.
pub(crate) fn is_asked(syn: &Segment<'_>, policy: EcnPolicy) -> bool {
    let asks = syn.flags.has(Flags::ECE.with(Flags::CWR)) && syn.ecn == Ecn::NOT_CAPABLE;
    asks && policy != EcnPolicy::Off
}

/// Whether the answer to this side's SYN agrees to what it asked (§6.1.1): another SYN, or a
/// SYN-ACK.
pub(super) fn is_agreed(answer: &Segment<'_>, policy: EcnPolicy) -> bool {
    let echoes_only = answer.flags.has(Flags::ECE) && !answer.flags.has(Flags::CWR);
    let agrees = if answer.flags.has(Flags::ACK) { echoes_only } else { is_asked(answer, policy) };
    agrees && policy == EcnPolicy::Request
}

/// What this side's SYN, or its answer to one, says of ECN. A SYN that had to be repeated no longer
/// asks: something on the way may drop those that do (§6.1.1.1).
pub(super) fn of_syn<C>(tcb: &Tcb<C>, is_answer: bool, policy: EcnPolicy) -> Flags {
    match is_answer {
        true if tcb.hot.marks.has(Marks::ECN) => Flags::ECE,
        false if policy == EcnPolicy::Request && tcb.cold.timeouts == 0 => {
            Flags::ECE.with(Flags::CWR)
        }
        _ => Flags::default(),
    }
}

/// A segment within the window has come.
#[inline]
pub(super) fn arrived<C, B>(tcb: &mut Tcb<C>, segment: &Segment<'_>, shared: &mut Shared<B>) {
    let speaks =
        segment.ecn == Ecn::CONGESTED || segment.flags.has_any(Flags::ECE.with(Flags::CWR));
    if speaks && tcb.hot.marks.has(Marks::ECN) {
        take(tcb, segment, shared);
    }
}

#[cold]
fn take<C, B>(tcb: &mut Tcb<C>, segment: &Segment<'_>, shared: &mut Shared<B>) {
    if segment.flags.has(Flags::CWR) {
        tcb.cold.ecn.echoes = false;
        if !segment.payload.is_empty() {
            // Its window may be a single segment now, which is not to wait for the acknowledgement.
            tcb.hot.marks.set(Marks::ACK_NOW);
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

/// §6.1.2: the peer says that a router was congested. The window comes down, once for each window
/// of data.
fn echoed<C, B>(tcb: &mut Tcb<C>, ack: Seq, shared: &mut Shared<B>) {
    let acked = if ack.after(tcb.hot.snd.una) { ack.since(tcb.hot.snd.una) } else { 0 };
    shared.counters.delivered_marked += u64::from(acked.div_ceil(u32::from(tcb.hot.mss)));
    // An echo lasts until the peer hears of the reduction.
    let is_news = !tcb.cold.ecn.owes_cwr && tcb.cold.ecn.reduced_at.is_none_or(|at| ack.after(at));
    if is_news && tcb.in_flight() > 0 && matches!(tcb.hot.phase, Phase::Open | Phase::Disorder) {
        shared.counters.congestion_echoes += 1;
        tcb.cold.ecn.for_mark = false;
        recovery::reduce_for_mark(tcb, shared);
        tcb.cold.ecn.for_mark = true;
    }
}

/// The window was reduced, for whatever reason: the peer hears of it (§6.1.2), and the same round
/// trip's marks bring no further reduction.
pub(super) fn reduced<C>(tcb: &mut Tcb<C>) {
    if tcb.hot.marks.has(Marks::ECN) {
        tcb.cold.ecn.owes_cwr = true;
        tcb.cold.ecn.reduced_at = Some(tcb.hot.snd.nxt);
        tcb.cold.ecn.for_mark = false;
    }
}

/// Whether a mark has reduced the window within this round trip: it is not reduced again for a
/// loss, nor does it grow.
#[inline]
pub(super) fn has_reduced<C>(tcb: &Tcb<C>) -> bool {
    let State { for_mark, reduced_at, .. } = &tcb.cold.ecn;
    tcb.hot.marks.has(Marks::ECN)
        && *for_mark
        && reduced_at.is_some_and(|at| tcb.hot.snd.una.at_or_before(at))
}

/// The bits of every segment after the handshake.
#[inline]
pub(super) fn flags<C>(tcb: &Tcb<C>) -> Flags {
    if tcb.hot.marks.has(Marks::ECN) { flags_once_agreed(tcb) } else { Flags::ACK }
}

/// Apart, as [`new_text_once_agreed`] is: to save itself a branch, the compiler would read of every
/// connection what only this one asks, and that lies in a cache line that nothing else of a request
/// touches.
#[cold]
#[inline(never)]
fn flags_once_agreed<C>(tcb: &Tcb<C>) -> Flags {
    if tcb.cold.ecn.echoes { Flags::ACK.with(Flags::ECE) } else { Flags::ACK }
}

/// The bits of a segment with `len` bytes of text that was never sent before (§6.1.2, §6.1.4),
/// besides [`flags`].
#[inline]
pub(super) fn of_new_text<C>(tcb: &Tcb<C>, len: u32) -> (Flags, Ecn) {
    if !tcb.hot.marks.has(Marks::ECN) || len == 0 {
        return (Flags::default(), Ecn::NOT_CAPABLE);
    }
    (new_text_once_agreed(tcb), Ecn::CAPABLE)
}

#[cold]
#[inline(never)]
fn new_text_once_agreed<C>(tcb: &Tcb<C>) -> Flags {
    if tcb.cold.ecn.owes_cwr { Flags::CWR } else { Flags::default() }
}

/// New text was sent: the peer has heard of a reduction.
#[inline]
pub(super) fn sent_new_text<C>(tcb: &mut Tcb<C>) {
    if tcb.hot.marks.has(Marks::ECN) {
        tcb.cold.ecn.owes_cwr = false;
    }
}
