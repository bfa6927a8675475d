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
//! segment is stale any more. What is kept of a stale segment is not stale until as much as the
//! memory was written.
//!
//! A scan looks like a change, until clients ask again for what they asked for before it. So the
//! ghost queue remembers the items of stale segments that were evicted. If a twelfth of them or
//! more are stored again, eviction was wrong (*regret*), and the next scan makes no segment stale.
//! Regret is halved now and then, so that a later change is followed.

use super::ghost::Evicted;
use super::shard::add;
use super::space::{Queue, Space};
use super::*;

/// Divisor: frames written in an epoch, as a part of all frames.
const EPOCH_PART: u32 = 16;
/// Divisors: below this part of the items stored, hits are few, and keys from the ghost queue are
/// few. The ghost queue has false positives, about 1 in 50.
const HITS_PART: u64 = 16;
const RETURNS_PART: u64 = 8;
/// Divisor: regret is high above this part of the items evicted from stale segments. Each of them
/// has false positives, about 1 in 25.
const REGRET_PART: u64 = 12;
/// Regret is halved after so many epochs.
const REGRET_EPOCHS: u32 = 512;
/// Uses that an item in a stale segment must have had to be worth anything.
pub(super) const DISCOUNT: u8 = 1;

/// Counters at the start of the epoch, and its outcome.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Staleness {
    /// [`Space::written`] at the start of the epoch.
    began: u32,
    hits: u64,
    returns: u64,
    regrets: u64,
    /// Main segments that were last written before this value of [`Space::written`] are stale.
    before: Option<u32>,
    regret: Regret,
}

/// Whether evictions from stale segments were right.
#[derive(Clone, Copy, Debug, Default)]
struct Regret {
    /// Items evicted from stale segments.
    evicted: u64,
    /// How many of their keys were stored again, at most as many as were evicted.
    returned: u64,
    /// Epochs since `returned` was halved.
    epochs: u32,
}

impl Store {
    /// Ends the epoch if it is over, and decides which main segments are stale.
    pub(super) fn end_epoch(&self, space: &mut Space) {
        let Staleness { began, hits, returns, regrets, before, mut regret } = space.staleness;
        let (now, frames) = (space.written(), space.segments.len() as u32);
        let written = now.wrapping_sub(began);
        if written < (frames / EPOCH_PART).max(1) {
            return;
        }
        let hits_now = self.sum(|stats| &stats.hits);
        let returns_now = self.sum(|stats| &stats.returns);
        let regrets_now = self.sum(|stats| &stats.regrets);
        regret.end_epoch(regrets_now.wrapping_sub(regrets), self.sum(|stats| &stats.items));
        let items = (u64::from(written) << self.memory.frame_shift) / self.mean_units();
        let has_few_hits = hits_now.wrapping_sub(hits) < items / HITS_PART;
        let has_few_returns = returns_now.wrapping_sub(returns) < items / RETURNS_PART;
        let before = match (has_few_hits, has_few_returns) {
            (false, _) => None,
            (true, true) if regret.is_high() => None,
            (true, true) => {
                before.filter(|before| now.wrapping_sub(*before) < frames).or(Some(now))
            }
            (true, false) => before,
        };
        space.staleness = Staleness {
            began: now,
            hits: hits_now,
            returns: returns_now,
            regrets: regrets_now,
            before,
            regret,
        };
    }

    /// Counts a key that is stored and that the ghost queue remembers.
    pub(super) fn note_return(&self, evicted: Evicted) {
        let stats = &self.shard().stats;
        add(&stats.returns, 1);
        if evicted == Evicted::Stale {
            add(&stats.regrets, 1);
        }
    }
}

impl Staleness {
    /// Counts an item that was evicted from a stale segment.
    pub(super) fn count_eviction(&mut self) {
        self.regret.evicted += 1;
    }
}

#[cfg(test)]
impl Staleness {
    /// Begins the first epoch at this value of [`Space::written`].
    pub(super) fn begin_at(&mut self, written: u32) {
        self.began = written;
    }
}

impl Regret {
    /// Adds the keys that returned in an epoch. `items` is the number of items in the store: older
    /// evictions count less.
    fn end_epoch(&mut self, returned: u64, items: u64) {
        self.returned = (self.returned + returned).min(self.evicted);
        if self.evicted > items {
            self.evicted /= 2;
            self.returned /= 2;
        }
        self.epochs += 1;
        if self.epochs == REGRET_EPOCHS {
            self.epochs = 0;
            self.returned /= 2;
        }
    }

    fn is_high(&self) -> bool {
        self.returned * REGRET_PART > self.evicted
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

#[cfg(test)]
impl Space {
    /// Makes all main segments stale, or none, and begins an epoch.
    pub(super) fn declare_stale(&mut self, is_stale: bool) {
        let now = self.written();
        self.staleness.began = now;
        self.staleness.before = is_stale.then(|| now.wrapping_add(1));
    }
}
