//! Whether the main items belong to a working set that clients have left.
//!
//! The main queue is protected from new items. After a change of the working set that is wrong:
//! nobody asks for main items, and new items are evicted before they are asked for again. An LRU
//! follows such a change at once, because it only looks at recency.
//!
//! An epoch is the time in which a sixteenth of the memory is written. If it brings few hits, and
//! few of the keys stored are in the ghost queue, then all main segments of this time are *stale*:
//! eviction begins with them, and discounts uses. Keys in the ghost queue tell a loop over more
//! than the memory from a change: there the main items are what is hit. Once hits are back, no
//! segment is stale any more.

use super::space::{Queue, Space};
use super::*;

/// Divisor: frames written in an epoch, as a part of all frames.
const EPOCH_PART: u32 = 16;
/// Divisors: below this part of the items stored, hits are few, and keys from the ghost queue are
/// few. The ghost queue has false positives, about 1 in 50.
const HITS_PART: u64 = 16;
const RETURNS_PART: u64 = 8;
/// Uses that an item in a stale segment must have had to be worth anything.
pub(super) const DISCOUNT: u8 = 2;

/// Counters at the start of the epoch, and its outcome.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Staleness {
    /// [`Space::written`] at the start of the epoch.
    began: u32,
    hits: u64,
    returns: u64,
    /// Main segments that were last written before this value of [`Space::written`] are stale.
    before: Option<u32>,
}

impl Store {
    /// Ends the epoch if it is over, and decides which main segments are stale.
    pub(super) fn end_epoch(&self, space: &mut Space) {
        let Staleness { began, hits, returns, before } = space.staleness;
        let (now, frames) = (space.written(), space.segments.len() as u32);
        let written = now.wrapping_sub(began);
        if written < (frames / EPOCH_PART).max(1) {
            return;
        }
        let hits_now = self.sum(|stats| &stats.hits);
        let returns_now = self.sum(|stats| &stats.returns);
        let items = (u64::from(written) << self.memory.frame_shift) / self.mean_units();
        let has_few_hits = hits_now.wrapping_sub(hits) < items / HITS_PART;
        let has_few_returns = returns_now.wrapping_sub(returns) < items / RETURNS_PART;
        let before = match (has_few_hits, has_few_returns) {
            (false, _) => None,
            (true, true) => Some(now),
            (true, false) => before,
        };
        space.staleness = Staleness { began: now, hits: hits_now, returns: returns_now, before };
    }
}

impl Space {
    /// Whether a segment holds main items that nobody asks for any more.
    pub(super) fn is_stale(&self, head: u32) -> bool {
        let segment = &self.segments[head as usize];
        let age = |before: u32| before.wrapping_sub(self.written()).wrapping_add(self.age(head));
        segment.queue == Queue::Main
            && self.staleness.before.is_some_and(|before| (age(before) as i32) > 0)
    }
}
