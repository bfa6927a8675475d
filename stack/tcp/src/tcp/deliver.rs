//! Seventh and eighth step of RFC 9293 §3.10.7.4: the segment's text and its FIN.
//!
//! Text in order is offered to the application where it lies, in the received frame. What the
//! application leaves is held ([`super::held`]), and offered again with what follows; text ahead of
//! a gap waits in the reassembly. What finds no memory is not acknowledged, and so comes again.
//! Until all of it has, nothing is offered that the application has seen more of.

use super::held::PutOff;
use super::{Context, Fate, Marks, Shared, State, Tcb, Transmit};
use super::{output, sack, window};
use crate::drop::DropReason;
use crate::seq::Seq;
use crate::wire::{Flags, Payload, Segment};
use simoom_io::application::Application;
use simoom_io::keep::OVERFULL_BYTES;
use simoom_io::send::{Blob, Reply, Wishes};

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
    take_fin_if_next(tcb, cx.shared)
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
    let most_blocks = window::reassembly_blocks(tcb, shared);
    if tcb.cold.reassembly.insert(&mut shared.reassembly, most_blocks, segment.seq, text).is_err() {
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
    let fate = take_fin_if_next(tcb, cx.shared);
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
fn take_fin_if_next<C: Default, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) -> Fate {
    let fin_is_next = tcb.hot.marks.has(Marks::FIN_SEEN) && tcb.cold.peer_fin == tcb.hot.rcv.nxt;
    if fin_is_next { take_fin(tcb, shared) } else { Fate::Lives }
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
    } else if let Some((left, right)) = tcb.cold.reassembly.held_of(&shared.reassembly, seq, end) {
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
    let most_blocks = window::reassembly_blocks(tcb, cx.shared);
    if tcb.cold.reassembly.insert(&mut cx.shared.reassembly, most_blocks, seq, text).is_err() {
        cx.shared.drop(DropReason::ReassemblyFull);
        window::narrow(tcb, cx.shared);
    }
    tcb.cold.reassembly.mark_latest(&mut cx.shared.reassembly, seq);
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
    while let Some(bytes) = held.front(&mut cx.shared.reassembly, tcb.hot.rcv.nxt) {
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
    let taken = if tcb.hot.marks.has(Marks::CLOSING) {
        bytes.len()
    } else if tcb.reads_in_place() {
        take_where_it_lies(tcb, bytes, cx)
    } else {
        take_behind(tcb, bytes, cx)
    };
    if taken < bytes.len() {
        cx.shared.drop(DropReason::NoReceiveBuffer);
        window::narrow(tcb, cx.shared);
    }
    tcb.hot.rcv.nxt += taken as u32;
    window::received(tcb, cx.shared);
    cx.shared.counters.bytes_received += taken as u64;
    taken
}

/// Offers bytes where they lie, and holds what is left.
#[inline]
fn take_where_it_lies<A: Application, T>(
    tcb: &mut Tcb<A::Conn>,
    bytes: &[u8],
    cx: &mut Context<'_, A, T>,
) -> usize {
    let app = &mut *cx.app;
    let consumed = tcb
        .call::<A, _>(cx.id, cx.shared, |conn, reply| app.received(conn, bytes, reply))
        .min(bytes.len());
    if consumed == bytes.len() || tcb.hot.marks.has(Marks::CLOSING) {
        return bytes.len();
    }
    tcb.cold.kept.offered(bytes.len(), consumed);
    let held = tcb.hold(&bytes[consumed..], cx.shared);
    if consumed == 0 && is_overfull(tcb, bytes.len()) {
        refuse_overfull(tcb, bytes, cx);
    }
    consumed + held
}

/// Takes bytes behind those that are held, or that have to be there again before any are offered.
///
/// An application that left input for want of room is not asked again before there is room, nor one
/// that reads later; one that only has more to send, and reads all it is offered, goes on reading.
fn take_behind<A: Application, T>(
    tcb: &mut Tcb<A::Conn>,
    bytes: &[u8],
    cx: &mut Context<'_, A, T>,
) -> usize {
    let held = tcb.hold(bytes, cx.shared);
    if tcb.holds_input() {
        return held;
    }
    let tail = &bytes[held..];
    let done = held + offer_with(tcb, tail, cx);
    if done == bytes.len() || tcb.hot.marks.has(Marks::CLOSING) {
        return bytes.len();
    }
    // Something was consumed, perhaps: there may be memory now.
    done + tcb.hold(&bytes[done..], cx.shared)
}

/// Offers what is held once more.
pub(crate) fn offer_held<A: Application, T>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) {
    offer_with(tcb, &[], cx);
}

/// Offers what is held, and `tail` behind it, for which there is no memory. Goes on while the
/// application consumes something and has not seen all of it. Returns how much of the tail is
/// consumed.
fn offer_with<A: Application, T>(
    tcb: &mut Tcb<A::Conn>,
    tail: &[u8],
    cx: &mut Context<'_, A, T>,
) -> usize {
    let mut done = 0;
    loop {
        let held = tcb.held();
        let all = held + tail.len() - done;
        if all == 0 {
            return done;
        }
        let Some((offered, consumed)) = offer_once(tcb, &tail[done..], cx) else { return done };
        if tcb.hot.marks.has(Marks::CLOSING) {
            return tail.len();
        }
        let from_held = consumed.min(held);
        tcb.drop_held(from_held, cx.shared);
        done += consumed - from_held;
        if consumed == 0 || offered == all || tcb.holds_input() {
            return done;
        }
    }
}

/// Offers what is held and `tail` behind it, up to [`LARGE_BYTES`](simoom_io::keep::LARGE_BYTES) of
/// them, in one piece. Returns how many were offered and consumed; `None` if the application has
/// seen more than there is now.
fn offer_once<A: Application, T>(
    tcb: &mut Tcb<A::Conn>,
    tail: &[u8],
    cx: &mut Context<'_, A, T>,
) -> Option<(usize, usize)> {
    let (app, shared) = (&mut *cx.app, &mut *cx.shared);
    let in_buffer = tail.is_empty() && tcb.is_in_buffer();
    let gathered = if in_buffer { 0 } else { tcb.gather(tail, shared) };
    let kept = tcb.cold.kept;
    let bytes = if in_buffer { kept.bytes(&shared.keep) } else { &shared.scratch[..gathered] };
    let len = bytes.len();
    if !kept.may_offer(len) {
        return None;
    }
    let (consumed, wishes) =
        tcb.ask::<A, _>(&mut shared.send, |conn, reply| app.received(conn, bytes, reply));
    let consumed = consumed.min(len);
    tcb.act(cx.id, wishes, shared);
    if tcb.hot.marks.has(Marks::CLOSING) {
        return Some((len, consumed));
    }
    tcb.cold.kept.offered(len, consumed);
    if consumed == 0 && is_overfull(tcb, len) {
        let bytes = if in_buffer { kept.bytes(&shared.keep) } else { &shared.scratch[..len] };
        shared.counters.input_overfull += 1;
        let ((), wishes) =
            tcb.ask::<A, _>(&mut shared.send, |conn, reply| app.overfull(conn, bytes, reply));
        end_overfull(tcb, cx.id, wishes, shared);
    }
    Some((len, consumed))
}

/// Whether the application waits for more although it was offered the most that it may leave.
#[inline]
fn is_overfull<C>(tcb: &Tcb<C>, offered: usize) -> bool {
    offered >= OVERFULL_BYTES && !tcb.holds_input()
}

/// Tells the application that its input is overfull.
#[cold]
fn refuse_overfull<A: Application, T>(
    tcb: &mut Tcb<A::Conn>,
    bytes: &[u8],
    cx: &mut Context<'_, A, T>,
) {
    let app = &mut *cx.app;
    cx.shared.counters.input_overfull += 1;
    let ((), wishes) =
        tcb.ask::<A, _>(&mut cx.shared.send, |conn, reply| app.overfull(conn, bytes, reply));
    end_overfull(tcb, cx.id, wishes, cx.shared);
}

/// Closes, and resets unless the application has closed: nothing that it could still read would
/// fit.
fn end_overfull<C, B: Blob>(tcb: &mut Tcb<C>, id: u32, wishes: Wishes, shared: &mut Shared<B>) {
    tcb.act(id, wishes, shared);
    if !tcb.hot.marks.has(Marks::CLOSING) {
        tcb.hot.marks.set(Marks::ABORT);
    }
    tcb.close(shared);
}

/// The send pool has room again: the application goes on, first with what it was writing, then with
/// its input.
pub(crate) fn resume<A: Application, T>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) {
    if !tcb.hot.marks.has(Marks::WANTS_ROOM) || !Reply::room(&cx.shared.send, &tcb.hot.queue) {
        return;
    }
    tcb.hot.marks.clear(Marks::WANTS_ROOM);
    let app = &mut *cx.app;
    tcb.call::<A, _>(cx.id, cx.shared, |conn, reply| app.resumed(conn, reply));
    go_on(tcb, cx);
}

/// The application's deadline has passed: it is told, and goes on with its input if it put that off
/// until now.
pub(crate) fn deadline<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    cx: &mut Context<'_, A, T>,
) {
    let put_off = tcb.cold.put_off.clear(PutOff::READS_LATER);
    let app = &mut *cx.app;
    tcb.call::<A, _>(cx.id, cx.shared, |conn, reply| app.timeout(conn, reply));
    if put_off {
        go_on(tcb, cx);
    }
}

/// Offers what was held back, unless it is to be held back still; after the last of it this side
/// closes too if the peer has.
fn go_on<A: Application, T>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) {
    if !tcb.holds_input() {
        offer_held(tcb, cx);
    }
    if tcb.hot.marks.has(Marks::FIN_TAKEN) && !tcb.holds_input() {
        tcb.close(cx.shared);
    }
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
fn take_fin<C: Default, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) -> Fate {
    let hot = &mut tcb.hot;
    hot.rcv.nxt += 1;
    hot.rcv.edge = hot.rcv.edge.max(hot.rcv.nxt);
    hot.marks.set(Marks::FIN_TAKEN);
    hot.marks.set(Marks::ACK_NOW);
    match hot.state {
        State::Established => {
            hot.state = State::CloseWait;
            // No input follows: once what was read is answered, this side closes too.
            if !tcb.holds_input() {
                tcb.close(shared);
            }
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
