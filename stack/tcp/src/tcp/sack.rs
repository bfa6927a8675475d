//! Selective acknowledgements both ways (RFC 2018), and reports of duplicates (RFC 2883).

use super::{Marks, Shared, Tcb};
use crate::flight::Delivery;
use crate::seq::Seq;
use crate::wire::{Options, Segment};
use simoom_io::send::Blob;

/// Notes the blocks of an acknowledgement, SND.UNA having moved already; returns the duplicate that
/// it reports.
pub(super) fn take<C, B: Blob>(
    tcb: &mut Tcb<C>,
    segment: &Segment<'_>,
    delivery: &mut Delivery,
    shared: &mut Shared<B>,
) -> Option<(Seq, Seq)> {
    if !tcb.hot.marks.has(Marks::SACK) {
        return None;
    }
    let blocks = &segment.options.sack[..usize::from(segment.options.sack_count)];
    let duplicate = reported_duplicate(blocks, segment.ack);
    shared.counters.dsacks_received += u64::from(duplicate.is_some());
    let (una, nxt) = (tcb.hot.snd.una, tcb.hot.snd.nxt);
    for &(left, right) in &blocks[usize::from(duplicate.is_some())..] {
        // An old block is no news; one of what was never sent is nonsense.
        if !left.before(right) || right.after(nxt) || left.before(una) {
            shared.counters.sack_blocks_discarded += u64::from(!right.at_or_before(una));
            continue;
        }
        let is_noted = tcb.warm.flight.sack(&mut shared.flight, una, left, right, delivery);
        shared.counters.sack_blocks_unnoted += u64::from(!is_noted);
    }
    duplicate
}

/// RFC 2883 §4: the first block reports a duplicate if it lies below the acknowledgement, or within
/// the second block.
fn reported_duplicate(blocks: &[(Seq, Seq)], ack: Seq) -> Option<(Seq, Seq)> {
    let (&first, rest) = blocks.split_first()?;
    let holds = |outer: &(Seq, Seq)| first.0.at_or_after(outer.0) && first.1.at_or_before(outer.1);
    let is_duplicate =
        first.0.before(first.1) && (first.1.at_or_before(ack) || rest.first().is_some_and(holds));
    is_duplicate.then_some(first)
}

/// Remembers that this was received before, to be reported with the next acknowledgement.
pub(super) fn note_duplicate<C>(tcb: &mut Tcb<C>, left: Seq, right: Seq) {
    if tcb.hot.marks.has(Marks::SACK) && left.before(right) {
        tcb.hot.marks.set(Marks::REPORT_OWED);
        tcb.cold.duplicate = (left, right);
    }
}

/// Whether an acknowledgement has something to report.
#[inline]
pub(super) fn has_report<C>(tcb: &Tcb<C>) -> bool {
    tcb.hot.marks.has(Marks::SACK) && (tcb.owes_report() || !tcb.cold.reassembly.is_empty())
}

/// Puts in the duplicate, if there was one, then the run with the latest segment, then those
/// reported before it, the latest first, as many as fit beside timestamps (RFC 2018 §4, RFC 2883
/// §4).
pub(super) fn report<C, B>(tcb: &mut Tcb<C>, shared: &mut Shared<B>, options: &mut Options) {
    let fitting = if options.timestamps.is_some() { 3 } else { 4 };
    let duplicate = tcb.owes_report().then_some(tcb.cold.duplicate);
    // What begins at RCV.NXT only waits for memory: the peer may have to send it again.
    let runs = tcb.cold.reassembly.latest_runs::<4>(&shared.inputs.reassembly, tcb.hot.rcv.nxt + 1);
    for (block, run) in options.sack.iter_mut().zip(duplicate.into_iter().chain(runs)).take(fitting)
    {
        *block = run;
        options.sack_count += 1;
    }
}
