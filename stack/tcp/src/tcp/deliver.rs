//! Seventh and eighth step of RFC 9293 §3.10.7.4: the segment's text and its FIN.
//!
//! Text in order is delivered to the application where it lies, in the received frame, by
//! [`simoom_io::exchange`]. What the application leaves is held ([`super::held`]), and delivered
//! again with what follows; text ahead of a gap waits in the reassembly. What finds no memory is
//! not acknowledged, and so comes again.

use super::{Context, Fate, Marks, Shared, State, Tcb, Transmit};
use super::{output, sack, window};
use crate::drop::DropReason;
use crate::seq::Seq;
use crate::wire::{Flags, Payload, Segment};
use simoom_io::{Application, Blob};

/// Takes text and FIN of a segment that passed all checks. Compiled into the way of every segment.
#[inline(always)]
pub(super) fn text_and_fin<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Fate {
    if tcb.hot.marks.has(Marks::FIN_TAKEN) {
        cx.shared.drop(DropReason::LateData);
        tcb.hot.marks.set(Marks::ACK_NOW);
        return Fate::Lives;
    }
    let end = segment.seq + segment.payload.len() as u32;
    note_fin(tcb, segment, end);
    // As a rule it is what comes next, all of it fits the window, it lies in one buffer, and
    // nothing waits behind it.
    let is_plain = segment.seq == tcb.hot.rcv.nxt
        && end.at_or_before(tcb.hot.rcv.edge)
        && tcb.cold.reassembly.is_empty();
    match segment.payload.in_one() {
        Some(text) if is_plain && !text.is_empty() => {
            take(tcb, text, cx);
        }
        _ if take_what_fits(tcb, segment, cx) => {}
        _ => return Fate::Lives,
    }
    acknowledge_text(tcb);
    take_fin_if_next(tcb, cx.id, cx.shared)
}

/// The same for what a SYN-ACK bears behind its SYN.
#[inline(never)]
pub(super) fn behind_syn<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Fate {
    text_and_fin(tcb, segment, cx)
}

/// Keeps text and FIN of a SYN that crossed this side's, until the connection is established (RFC
/// 9293 §3.10.7.3). What finds no memory comes again: nothing of it is acknowledged yet.
pub(super) fn queue<C, B: Blob>(tcb: &mut Tcb<C>, segment: &Segment<'_>, shared: &mut Shared<B>) {
    let text = segment.payload.take(tcb.hot.rcv.edge.since(segment.seq) as usize);
    let most_blocks = window::reassembly_blocks(tcb.hot.widened, &shared.config);
    if tcb
        .cold
        .reassembly
        .insert(&mut shared.inputs.reassembly, most_blocks, segment.seq, text)
        .is_err()
    {
        shared.drop(DropReason::ReassemblyFull);
    }
    note_fin(tcb, segment, segment.seq + segment.payload.len() as u32);
}

/// The connection is established: takes what came with the peer's SYN.
pub(super) fn queued<A: Application, T>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) {
    if !tcb.cold.reassembly.is_empty() {
        take_from_reassembly(tcb, cx);
        acknowledge_text(tcb);
    }
    let fate = take_fin_if_next(tcb, cx.id, cx.shared);
    debug_assert_eq!(fate, Fate::Lives, "this side has sent no FIN");
}

/// Remembers where the peer's FIN is, behind text that ends at `end`, unless that is beyond the
/// window.
#[inline]
fn note_fin<C>(tcb: &mut Tcb<C>, segment: &Segment<'_>, end: Seq) {
    if segment.flags.has(Flags::FIN) && end.at_or_before(tcb.hot.rcv.edge) {
        tcb.hot.marks.set(Marks::FIN_SEEN);
        tcb.cold.peer_fin = end;
    }
}

/// Takes the peer's FIN if all text before it is taken.
#[inline]
fn take_fin_if_next<C, B: Blob>(tcb: &mut Tcb<C>, id: u32, shared: &mut Shared<B>) -> Fate {
    let fin_is_next = tcb.hot.marks.has(Marks::FIN_SEEN) && tcb.cold.peer_fin == tcb.hot.rcv.nxt;
    if fin_is_next { take_fin(tcb, id, shared) } else { Fate::Lives }
}

/// Takes what is new of a segment's text, and not beyond the window, and what waited behind it.
/// Returns `false` if it lies ahead of a gap.
#[inline(never)]
fn take_what_fits<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> bool {
    let text = segment.payload.take(tcb.hot.rcv.edge.since(segment.seq) as usize);
    if segment.seq.after(tcb.hot.rcv.nxt) && text.is_empty() && !segment.payload.is_empty() {
        // All of it is beyond the window.
        tcb.hot.marks.set(Marks::ACK_NOW);
        return false;
    }
    if segment.seq.after(tcb.hot.rcv.nxt) {
        ahead_of_gap(tcb, segment.seq, text, cx);
        return false;
    }
    let old = tcb.hot.rcv.nxt.since(segment.seq) as usize;
    if old > 0 || text.len() < segment.payload.len() {
        // RFC 9293 §3.10.7.4: what was already received, or does not fit, is answered with an
        // acknowledgement.
        tcb.hot.marks.set(Marks::ACK_NOW);
    }
    note_received_before(tcb, segment.seq, text, cx.shared);
    for part in text.skip(old).parts() {
        if take(tcb, part, cx) < part.len() {
            break;
        }
    }
    if !tcb.cold.reassembly.is_empty() {
        take_from_reassembly(tcb, cx);
    }
    true
}

/// Notes for a report the first part of `text` that was received before: already taken, or held
/// beyond a gap (RFC 2883 §4.2).
fn note_received_before<C, B>(tcb: &mut Tcb<C>, seq: Seq, text: Payload<'_>, shared: &Shared<B>) {
    let end = seq + text.len() as u32;
    if seq.before(tcb.hot.rcv.nxt) {
        sack::note_duplicate(
            tcb,
            seq,
            if end.before(tcb.hot.rcv.nxt) { end } else { tcb.hot.rcv.nxt },
        );
    } else if let Some((left, right)) =
        tcb.cold.reassembly.held_of(&shared.inputs.reassembly, seq, end)
    {
        sack::note_duplicate(tcb, left, right);
    }
}

/// Keeps text that arrived ahead of a gap, and says so at once: each such segment is answered by a
/// duplicate acknowledgement (RFC 5681 §4.2).
fn ahead_of_gap<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    seq: Seq,
    text: Payload<'_>,
    cx: &mut Context<'_, A, T>,
) {
    cx.shared.counters.out_of_order += 1;
    note_received_before(tcb, seq, text, cx.shared);
    let most_blocks = window::reassembly_blocks(tcb.hot.widened, &cx.shared.config);
    if tcb.cold.reassembly.insert(&mut cx.shared.inputs.reassembly, most_blocks, seq, text).is_err()
    {
        cx.shared.drop(DropReason::ReassemblyFull);
        window::narrow(tcb, cx.shared);
    }
    tcb.cold.reassembly.mark_latest(&mut cx.shared.inputs.reassembly, seq);
    if !output::acknowledge(tcb, cx.shared, cx.tx) {
        tcb.hot.marks.set(Marks::ACK_NOW);
    }
}

/// The gap is filled: takes what follows it.
fn take_from_reassembly<A: Application, T>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) {
    // RFC 5681 §4.2: a segment that fills a gap is acknowledged at once.
    tcb.hot.marks.set(Marks::ACK_NOW);
    // The list is detached while its blocks are offered, for the application may close and give
    // everything back.
    let mut held = std::mem::take(&mut tcb.cold.reassembly);
    let mut block = [0; crate::reassembly::BLOCK_BYTES];
    while let Some(bytes) = held.front(&mut cx.shared.inputs.reassembly, tcb.hot.rcv.nxt) {
        let len = bytes.len();
        block[..len].copy_from_slice(bytes);
        if take(tcb, &block[..len], cx) < len {
            break;
        }
    }
    tcb.cold.reassembly = held;
}

/// Takes the next bytes of the stream; returns how many. RCV.NXT moves past them.
fn take<A: Application, T>(
    tcb: &mut Tcb<A::Conn>,
    bytes: &[u8],
    cx: &mut Context<'_, A, T>,
) -> usize {
    let app = &mut *cx.app;
    let taken = tcb.event(cx.id, cx.shared, |exchange| exchange.receive(app, bytes));
    if taken < bytes.len() {
        cx.shared.drop(DropReason::NoReceiveBuffer);
        window::narrow(tcb, cx.shared);
    }
    tcb.hot.rcv.nxt += taken as u32;
    window::received(tcb, cx.shared);
    cx.shared.counters.bytes_received += taken as u64;
    taken
}

/// The send pool has capacity again: the application goes on, first with what it was writing, then
/// with its input.
pub(crate) fn resume<A: Application, T>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) {
    let app = &mut *cx.app;
    tcb.event(cx.id, cx.shared, |exchange| exchange.resume(app));
}

/// The iteration after a yield has come: the application goes on.
pub(crate) fn iterate<A: Application, T>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) {
    let app = &mut *cx.app;
    tcb.event(cx.id, cx.shared, |exchange| exchange.iterate(app));
}

/// The application's deadline has passed: it is told, and goes on with its input if it put that off
/// until now.
pub(crate) fn deadline<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    cx: &mut Context<'_, A, T>,
) {
    let app = &mut *cx.app;
    tcb.event(cx.id, cx.shared, |exchange| exchange.expire(app));
}

/// Marks what was taken for acknowledgement: at once for more than a full segment (RFC 9293
/// §3.8.6.3), else with the answer or after a while.
#[inline]
fn acknowledge_text<C>(tcb: &mut Tcb<C>) {
    let hot = &mut tcb.hot;
    let owed = hot.rcv.nxt.since(hot.rcv.acked);
    if owed > u32::from(hot.mss) {
        hot.marks.set(Marks::ACK_NOW);
    } else if owed > 0 {
        hot.marks.set(Marks::ACK_OWED);
    }
}

/// Eighth step: the peer has sent everything.
fn take_fin<C, B: Blob>(tcb: &mut Tcb<C>, id: u32, shared: &mut Shared<B>) -> Fate {
    let hot = &mut tcb.hot;
    hot.rcv.nxt += 1;
    hot.rcv.edge = hot.rcv.edge.max(hot.rcv.nxt);
    hot.marks.set(Marks::FIN_TAKEN);
    hot.marks.set(Marks::ACK_NOW);
    match hot.state {
        State::Established => {
            hot.state = State::CloseWait;
            // No input follows: once what was read is answered, this side closes too.
            tcb.event(id, shared, |exchange| {
                exchange.finish();
            });
            Fate::Lives
        }
        // This side's FIN is not acknowledged, or the fifth step would have seen to it.
        State::FinWait1 => {
            hot.state = State::Closing;
            Fate::Lives
        }
        State::FinWait2 => Fate::Lingers,
        _ => Fate::Lives,
    }
}
