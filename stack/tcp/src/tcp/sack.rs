//! Selective acknowledgements, sent and received (RFC 2018), and D-SACK (RFC 2883).

use super::{ConnFlags, Shared, Tcb};
use crate::flight::AckSample;
use crate::seq::Seq;
use crate::wire::{Options, Segment};
use simoom_io::send::Blob;

/// Applies the SACK blocks of an acknowledgement to the scoreboard. SND.UNA has advanced already.
/// Returns the duplicate that the blocks report.
pub(super) fn take<C, B: Blob>(
    tcb: &mut Tcb<C>,
    segment: &Segment<'_>,
    sample: &mut AckSample,
    shared: &mut Shared<B>,
) -> Option<(Seq, Seq)> {
    if !tcb.hot.flags.has(ConnFlags::SACK) {
        return None;
    }
    let blocks = &segment.options.sack[..usize::from(segment.options.sack_count)];
    let duplicate = reported_duplicate(blocks, segment.ack);
    shared.counters.dsacks_received += u64::from(duplicate.is_some());
    let (una, nxt) = (tcb.hot.snd.una, tcb.hot.snd.nxt);
    for &(left, right) in &blocks[usize::from(duplicate.is_some())..] {
        // Ignore a block below SND.UNA. A block beyond SND.NXT is invalid.
        if !left.before(right) || right.after(nxt) || left.before(una) {
            shared.counters.sack_blocks_discarded += u64::from(!right.at_or_before(una));
            continue;
        }
        let is_noted = tcb.warm.flight.sack(&mut shared.flight, una, left, right, sample);
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

/// Records a duplicate for the next acknowledgement to report.
pub(super) fn note_duplicate<C>(tcb: &mut Tcb<C>, left: Seq, right: Seq) {
    if tcb.hot.flags.has(ConnFlags::SACK) && left.before(right) {
        tcb.hot.flags.set(ConnFlags::REPORT_OWED);
        tcb.cold.duplicate = (left, right);
    }
}

/// Whether an acknowledgement has SACK blocks to send.
#[inline]
pub(super) fn has_report<C>(tcb: &Tcb<C>) -> bool {
    tcb.hot.flags.has(ConnFlags::SACK) && (tcb.owes_report() || !tcb.cold.reassembly.is_empty())
}

/// Adds SACK blocks: the duplicate, if any, then the run with the latest segment, then earlier
/// runs, the latest first. As many as fit beside timestamps (RFC 2018 §4, RFC 2883 §4).
pub(super) fn report<C, B>(tcb: &mut Tcb<C>, shared: &mut Shared<B>, options: &mut Options) {
    let fitting = if options.timestamps.is_some() { 3 } else { 4 };
    let duplicate = tcb.owes_report().then_some(tcb.cold.duplicate);
    // A run at RCV.NXT only waits for memory: the peer may have to retransmit it.
    let runs = tcb.cold.reassembly.latest_runs::<4>(&shared.inputs.reassembly, tcb.hot.rcv.nxt + 1);
    for (block, run) in options.sack.iter_mut().zip(duplicate.into_iter().chain(runs)).take(fitting)
    {
        *block = run;
        options.sack_count += 1;
    }
}
