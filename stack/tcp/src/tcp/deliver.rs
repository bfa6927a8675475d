//! Seventh and eighth step of RFC 9293 §3.10.7.4: the segment's text and its FIN.
//!
//! [`simoom_io::exchange`] delivers text in order to the application in place, in the received
//! frame. Input that the application does not consume is held ([`super::held`]) and delivered again
//! with what follows. Text ahead of a gap waits in the reassembly. Text that finds no memory is not
//! acknowledged, so the peer retransmits it.

use super::{ConnFlags, Context, Outcome, Shared, State, Tcb, Transmit};
use super::{output, sack, window};
use crate::drop::DropReason;
use crate::seq::Seq;
use crate::wire::{Flags, Payload, Segment};
use simoom_io::exchange::{self, Received};
use simoom_io::{Application, Blob, Flow};

/// Processes text and FIN of a segment that passed all checks. Inlined into the path of every
/// segment.
#[inline(always)]
pub(super) fn text_and_fin<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Outcome {
    if tcb.hot.flags.has(ConnFlags::FIN_TAKEN) {
        cx.shared.drop(DropReason::LateData);
        tcb.hot.flags.set(ConnFlags::ACK_NOW);
        return Outcome::Continue;
    }
    let end = segment.seq + segment.payload.len() as u32;
    note_fin(tcb, segment, end);
    // The usual case: the segment is next in order, fits the window, lies in one buffer, and
    // nothing waits behind it.
    let is_plain = segment.seq == tcb.hot.rcv.nxt
        && end.at_or_before(tcb.hot.rcv.edge)
        && tcb.cold.reassembly.is_empty();
    match segment.payload.in_one() {
        Some(text) if is_plain && !text.is_empty() => {
            take(tcb, text, cx);
        }
        // A FIN alone.
        Some(_) if is_plain => {}
        _ if take_what_fits(tcb, segment, cx) => {}
        _ => return Outcome::Continue,
    }
    acknowledge_text(tcb);
    take_fin_if_next(tcb, cx.id, cx.shared)
}

/// Processes text and FIN of a SYN-ACK. Not inlined, unlike [`text_and_fin`].
#[inline(never)]
pub(super) fn behind_syn<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Outcome {
    text_and_fin(tcb, segment, cx)
}

/// Stores text and FIN of a SYN that crossed this side's SYN, until the connection is established
/// (RFC 9293 §3.10.7.3). The peer retransmits what finds no memory: nothing of it is acknowledged
/// yet.
pub(super) fn queue<C, B: Blob>(tcb: &mut Tcb<C>, segment: &Segment<'_>, shared: &mut Shared<B>) {
    let text = segment.payload.take(tcb.hot.rcv.edge.since(segment.seq) as usize);
    let max_blocks = window::reassembly_blocks(tcb.hot.window_doublings, &shared.config);
    if tcb
        .cold
        .reassembly
        .insert(&mut shared.inputs.reassembly, max_blocks, segment.seq, text)
        .is_err()
    {
        shared.drop(DropReason::ReassemblyFull);
    }
    note_fin(tcb, segment, segment.seq + segment.payload.len() as u32);
}

/// The connection is established: processes what came with the peer's SYN.
pub(super) fn queued<A: Application, T>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) {
    if !tcb.cold.reassembly.is_empty() {
        take_from_reassembly(tcb, cx);
        acknowledge_text(tcb);
    }
    let outcome = take_fin_if_next(tcb, cx.id, cx.shared);
    debug_assert_eq!(outcome, Outcome::Continue, "this side has sent no FIN");
}

/// Records where the peer's FIN is, behind text that ends at `end`, unless `end` is beyond the
/// window.
#[inline]
fn note_fin<C>(tcb: &mut Tcb<C>, segment: &Segment<'_>, end: Seq) {
    if segment.flags.has(Flags::FIN) && end.at_or_before(tcb.hot.rcv.edge) {
        tcb.hot.flags.set(ConnFlags::FIN_SEEN);
        tcb.cold.peer_fin = end;
    }
}

/// Processes the peer's FIN if all text before it has been received.
#[inline]
fn take_fin_if_next<C, B: Blob>(tcb: &mut Tcb<C>, id: u32, shared: &mut Shared<B>) -> Outcome {
    let fin_is_next =
        tcb.hot.flags.has(ConnFlags::FIN_SEEN) && tcb.cold.peer_fin == tcb.hot.rcv.nxt;
    if fin_is_next { take_fin(tcb, id, shared) } else { Outcome::Continue }
}

/// Takes the new part of a segment's text within the window, and what waited behind it. Returns
/// `false` if the text lies ahead of a gap.
#[inline(never)]
fn take_what_fits<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> bool {
    let text = segment.payload.take(tcb.hot.rcv.edge.since(segment.seq) as usize);
    if segment.seq.after(tcb.hot.rcv.nxt) && text.is_empty() && !segment.payload.is_empty() {
        // All of it is beyond the window.
        tcb.hot.flags.set(ConnFlags::ACK_NOW);
        return false;
    }
    if segment.seq.after(tcb.hot.rcv.nxt) {
        ahead_of_gap(tcb, segment.seq, text, cx);
        return false;
    }
    let old = tcb.hot.rcv.nxt.since(segment.seq) as usize;
    if old > 0 || text.len() < segment.payload.len() {
        // RFC 9293 §3.10.7.4: acknowledge text that was already received, or does not fit.
        tcb.hot.flags.set(ConnFlags::ACK_NOW);
    }
    note_received_before(tcb, segment.seq, text, cx.shared);
    for part in text.skip(old).parts() {
        if take_apart(tcb, part, cx) < part.len() {
            break;
        }
    }
    if !tcb.cold.reassembly.is_empty() {
        take_from_reassembly(tcb, cx);
    }
    true
}

/// Records the first part of `text` that was received before, for a D-SACK: already consumed, or
/// held beyond a gap (RFC 2883 §4.2).
fn note_received_before<C, B>(tcb: &mut Tcb<C>, seq: Seq, text: Payload<'_>, shared: &Shared<B>) {
    let end = seq + text.len() as u32;
    if seq.before(tcb.hot.rcv.nxt) {
        sack::note_duplicate(tcb, seq, end.min(tcb.hot.rcv.nxt));
    } else if let Some((left, right)) =
        tcb.cold.reassembly.held_of(&shared.inputs.reassembly, seq, end)
    {
        sack::note_duplicate(tcb, left, right);
    }
}

/// Stores text that arrived ahead of a gap, and sends a duplicate acknowledgement at once (RFC 5681
/// §4.2).
fn ahead_of_gap<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    seq: Seq,
    text: Payload<'_>,
    cx: &mut Context<'_, A, T>,
) {
    cx.shared.counters.out_of_order += 1;
    note_received_before(tcb, seq, text, cx.shared);
    let max_blocks = window::reassembly_blocks(tcb.hot.window_doublings, &cx.shared.config);
    if tcb.cold.reassembly.insert(&mut cx.shared.inputs.reassembly, max_blocks, seq, text).is_err()
    {
        cx.shared.drop(DropReason::ReassemblyFull);
        window::shrink(tcb, cx.shared);
    }
    tcb.cold.reassembly.mark_latest(&mut cx.shared.inputs.reassembly, seq);
    if !output::acknowledge(tcb, cx.shared, cx.tx) {
        tcb.hot.flags.set(ConnFlags::ACK_NOW);
    }
}

/// The gap is filled: takes the text that follows it.
fn take_from_reassembly<A: Application, T>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) {
    // RFC 5681 §4.2: a segment that fills a gap is acknowledged at once.
    tcb.hot.flags.set(ConnFlags::ACK_NOW);
    // Detach the list while its blocks are delivered: the application may close, which frees
    // everything.
    let mut held = std::mem::take(&mut tcb.cold.reassembly);
    let mut block = [0; crate::reassembly::BLOCK_BYTES];
    while let Some(bytes) = held.front(&mut cx.shared.inputs.reassembly, tcb.hot.rcv.nxt) {
        let len = bytes.len();
        block[..len].copy_from_slice(bytes);
        if take_apart(tcb, &block[..len], cx) < len {
            break;
        }
    }
    tcb.cold.reassembly = held;
}

/// As [`take`], where it is no part of the path of every segment.
#[inline(never)]
fn take_apart<A: Application, T>(
    tcb: &mut Tcb<A::Conn>,
    bytes: &[u8],
    cx: &mut Context<'_, A, T>,
) -> usize {
    take(tcb, bytes, cx)
}

/// Takes the next bytes of the stream; returns how many. RCV.NXT moves past them.
#[inline(always)]
fn take<A: Application, T>(
    tcb: &mut Tcb<A::Conn>,
    bytes: &[u8],
    cx: &mut Context<'_, A, T>,
) -> usize {
    let taken = deliver(tcb, bytes, cx);
    if taken < bytes.len() {
        cx.shared.drop(DropReason::NoReceiveBuffer);
        window::shrink(tcb, cx.shared);
    }
    tcb.hot.rcv.nxt += taken as u32;
    window::received(tcb, cx.shared);
    cx.shared.counters.bytes_received += taken as u64;
    taken
}

/// Delivers the next bytes of the stream to the application; returns how many are taken.
#[inline(always)]
fn deliver<A: Application, T>(
    tcb: &mut Tcb<A::Conn>,
    bytes: &[u8],
    cx: &mut Context<'_, A, T>,
) -> usize {
    let Context { id, shared, app, .. } = cx;
    if tcb.warm.flow != Flow::default() || !tcb.holds_nothing() {
        return tcb.event(*id, shared, |exchange| exchange.receive(*app, bytes));
    }
    let parts = (&mut tcb.conn, &mut tcb.hot.queue, &mut shared.send);
    match exchange::receive_plain(*app, parts, bytes) {
        Received::All(deadline) => {
            tcb.set_deadline(deadline, shared);
            shared.make_ready(&mut tcb.hot, *id);
            bytes.len()
        }
        Received::Part(consumed, effects) => {
            let part = (consumed, effects);
            tcb.event(*id, shared, |exchange| exchange.received_plain(*app, bytes, part))
        }
    }
}

/// The send pool has capacity again: the application resumes writing, then reading.
pub(crate) fn resume<A: Application, T>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) {
    let app = &mut *cx.app;
    tcb.reads_again(cx.shared.tick);
    tcb.event(cx.id, cx.shared, |exchange| exchange.resume(app));
}

/// The iteration after a yield: the application continues.
pub(crate) fn iterate<A: Application, T>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) {
    let app = &mut *cx.app;
    tcb.event(cx.id, cx.shared, |exchange| exchange.iterate(app));
}

/// The application's deadline has passed. It then reads input that it had postponed until now.
pub(crate) fn deadline<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    cx: &mut Context<'_, A, T>,
) {
    let app = &mut *cx.app;
    if tcb.warm.flow.reads_later() {
        tcb.reads_again(cx.shared.tick);
    }
    tcb.event(cx.id, cx.shared, |exchange| exchange.expire(app));
}

/// Schedules the acknowledgement of received text: at the next flush for more than a full segment
/// (RFC 9293 §3.8.6.3), otherwise with the answer or after the delayed-ACK time.
#[inline]
fn acknowledge_text<C>(tcb: &mut Tcb<C>) {
    let hot = &mut tcb.hot;
    let owed = hot.rcv.nxt.since(hot.rcv.acked);
    if owed > u32::from(hot.mss) {
        hot.flags.set(ConnFlags::ACK_NOW);
    } else if owed > 0 {
        hot.flags.set(ConnFlags::ACK_OWED);
    }
}

/// Eighth step: the peer has sent everything.
fn take_fin<C, B: Blob>(tcb: &mut Tcb<C>, id: u32, shared: &mut Shared<B>) -> Outcome {
    let hot = &mut tcb.hot;
    hot.rcv.nxt += 1;
    hot.rcv.edge = hot.rcv.edge.max(hot.rcv.nxt);
    hot.flags.set(ConnFlags::FIN_TAKEN);
    hot.flags.set(ConnFlags::ACK_NOW);
    match hot.state {
        State::Established => {
            hot.state = State::CloseWait;
            // No input follows: once what was read is answered, this side closes too.
            tcb.event(id, shared, |exchange| {
                exchange.finish();
            });
            Outcome::Continue
        }
        // The peer has not acknowledged this side's FIN, or the fifth step would have changed the
        // state.
        State::FinWait1 => {
            hot.state = State::Closing;
            Outcome::Continue
        }
        State::FinWait2 => Outcome::TimeWait,
        _ => Outcome::Continue,
    }
}
