//! Eviction in small steps, ahead of need: each allocation does a part of the work that the next
//! free frame takes, so that no single set waits while a whole segment is emptied.
//!
//! One segment at a time is emptied. The stages, each a few instructions for a frame or an item:
//!
//! 1. search all frames for dead items and for the segment with the most gaps, unless the hash
//!    table needs a frame ([`super::table`]): then the items of its segment move;
//! 2. sweep: remove dead items;
//! 3. weigh the items of the victim ([`super::evict`]), to find the cutoff;
//! 4. empty it: move the items that the cutoff keeps, evict the rest.
//!
//! The space keeps the state, so all of it is under the lock of the space. Between two steps other
//! threads may allocate, free frames, or empty the same segment for a run. A freed segment ends the
//! eviction ([`Space::free`]). What was found is checked again before it is used.
//!
//! Pace: emptying a segment costs as much credit as a frame has units. Each allocation adds its
//! units, times the number of free frames that are missing.

use super::arena::Offset;
use super::evict::{Cutoff, DEFERRED_STEP_MAX, WORTH_MAX, Weights, worth};
use super::layout::{self, Layout};
use super::run::Spared;
use super::space::{NONE, Queue, Space};
use super::*;
use std::sync::TryLockError;
use std::sync::atomic::Ordering::Relaxed;

/// Limit of the frames of one search.
const SEARCHED_MAX: u32 = 8192;
/// Segments swept in one search before live items are evicted.
const SWEEPS_MAX: u8 = 8;
/// Items whose chains are prefetched together.
const BATCH: usize = 4;
/// Units from an item to the header that is prefetched when a walk comes to it: some four items of
/// 100 bytes.
const WALK_AHEAD_UNITS: u64 = 80;
/// Divisors of the credit: the share of a frame's credit that each stage takes.
const SEARCH_PART: u32 = 4;
const WEIGH_PART: u32 = 4;
const EMPTY_PART: u32 = 2;
/// The cost of a step that does not depend on the size of an item.
const STEP_COST: u32 = 4;

/// What the next step does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Begins a search.
    #[default]
    Idle,
    Search,
    Sweep,
    Weigh,
    Empty,
}

/// The eviction that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Eviction {
    stage: Stage,
    /// The segment that is swept, weighed or emptied; [`NONE`] in other stages.
    head: u32,
    /// Where the walk over the segment continues.
    at: Offset,
    /// Frames that the search has not seen yet.
    frames_left: u32,
    sweeps_left: u8,
    /// Units of gaps and first frame of the segment with the most gaps, if they are enough.
    sparsest: Option<(u32, u32)>,
    /// Units of the live items of the victim, by worth.
    weights: [u32; WORTH_MAX + 1],
    cutoff: Cutoff,
    /// Binary logarithm of the mean item's units, and the number of items, at the start.
    mean: u32,
    items: u64,
    /// Uses that do not count, because the segment is stale.
    discount: u8,
    was_young: bool,
    /// The next items, whose chains are prefetched, last one first.
    batch: [(Offset, u64, Layout); BATCH],
    batch_len: usize,
}

impl Default for Eviction {
    fn default() -> Eviction {
        Eviction {
            stage: Stage::Idle,
            head: NONE,
            at: 0,
            frames_left: 0,
            sweeps_left: 0,
            sparsest: None,
            weights: [0; WORTH_MAX + 1],
            cutoff: Cutoff::ALL,
            mean: 0,
            items: 0,
            discount: 0,
            was_young: false,
            batch: [(0, 0, Layout::default()); BATCH],
            batch_len: 0,
        }
    }
}

impl Eviction {
    /// Ends the eviction if it is about this segment, which was freed.
    pub(super) fn forget(&mut self, head: u32) {
        if self.head == head {
            self.end();
        }
    }

    fn end(&mut self) {
        (self.stage, self.head, self.batch_len) = (Stage::Idle, NONE, 0);
    }

    fn begin_walk(&mut self, stage: Stage, head: u32, start: Offset) {
        (self.stage, self.head, self.at, self.batch_len) = (stage, head, start, 0);
    }
}

/// The outcome of one step.
enum Step {
    /// More is to do. The step cost this much credit.
    Went(u32),
    /// A segment was emptied, or moved to the end of its queue.
    Done,
    /// No segment can be emptied.
    Stuck,
}

impl Store {
    /// Does the eviction work that an allocation of `units` should do ahead.
    #[inline]
    pub(super) fn evict_ahead(&self, space: &mut Space, units: u32, now: u32) {
        if space.missing_frames() > 0 || self.is_short.load(Relaxed) {
            self.spend(space, units, now);
        }
    }

    /// As [`Store::evict_ahead`], for an allocation that took no lock of the space. If another
    /// thread holds the lock, a later allocation of this thread does the work.
    #[inline]
    pub(super) fn evict_ahead_of_tlab(&self, units: u32, now: u32) {
        if !self.is_short.load(Relaxed) {
            return;
        }
        let units = self.shard().owe(units);
        let mut space = match self.space.try_lock() {
            Ok(space) => space,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.shard().pay();
        self.evict_ahead(&mut space, units, now);
    }

    #[inline(never)]
    fn spend(&self, space: &mut Space, units: u32, now: u32) {
        self.spend_credit(space, u64::from(units) * u64::from(space.missing_frames()), now);
        self.is_short.store(space.missing_frames() > 0, Relaxed);
    }

    fn spend_credit(&self, space: &mut Space, mut credit: u64, now: u32) {
        while credit > 0 {
            let cost = match self.step(space, now) {
                Step::Went(cost) => cost,
                Step::Done if space.missing_frames() == 0 => return,
                Step::Done => STEP_COST,
                Step::Stuck => return,
            };
            credit = credit.saturating_sub(cost.max(1).into());
        }
    }

    /// Empties one segment. Returns whether there was one to empty.
    pub(super) fn evict_segment(&self, space: &mut Space, now: u32) -> bool {
        loop {
            match self.step(space, now) {
                Step::Went(_) => {}
                Step::Done => return true,
                Step::Stuck => return false,
            }
        }
    }

    fn step(&self, space: &mut Space, now: u32) -> Step {
        match space.eviction.stage {
            Stage::Idle => self.begin_search(space),
            Stage::Search => self.search(space, now),
            Stage::Sweep => self.sweep_item(space, now),
            Stage::Weigh => self.weigh_item(space, now),
            Stage::Empty => self.empty_item(space, now),
        }
    }

    fn begin_search(&self, space: &mut Space) -> Step {
        let free = space.free_frames;
        self.free_deferred(space, DEFERRED_STEP_MAX);
        if space.free_frames > free {
            return Step::Done;
        }
        let frames_left = SEARCHED_MAX.min(space.segments.len() as u32);
        let eviction = &mut space.eviction;
        (eviction.stage, eviction.frames_left) = (Stage::Search, frames_left);
        (eviction.sweeps_left, eviction.sparsest) = (SWEEPS_MAX, None);
        Step::Went(STEP_COST)
    }

    /// Looks at the next frame.
    fn search(&self, space: &mut Space, now: u32) -> Step {
        let Some(frames_left) = space.eviction.frames_left.checked_sub(1) else {
            return self.choose(space, now);
        };
        space.eviction.frames_left = frames_left;
        let head = space.cursor;
        space.cursor = (head + 1) % space.segments.len() as u32;
        if space.eviction.sweeps_left > 0 && self.wants_sweep(space, head, now) {
            space.eviction.sweeps_left -= 1;
            self.begin_sweep(space, head);
            let start = space.start(head);
            space.eviction.begin_walk(Stage::Sweep, head, start);
            return Step::Went(STEP_COST);
        }
        if let Some(gaps) = self.gaps(space, head)
            && space.eviction.sparsest.is_none_or(|(most, _)| gaps > most)
        {
            space.eviction.sparsest = Some((gaps, head));
        }
        let frames = SEARCHED_MAX.min(space.segments.len() as u32);
        Step::Went((1 << self.memory.frame_shift) / SEARCH_PART / frames)
    }

    /// Removes the next item if it is dead, or ends the sweep.
    fn sweep_item(&self, space: &mut Space, now: u32) -> Step {
        let Eviction { head, at, .. } = space.eviction;
        if let Some((layout, is_linked)) = self.item_at(space, head, at) {
            space.eviction.at += u64::from(layout.units());
            if is_linked {
                self.remove_if_dead(space, at, now);
            }
            return Step::Went(layout.units() / EMPTY_PART);
        }
        let free = space.free_frames;
        (space.eviction.stage, space.eviction.head) = (Stage::Search, NONE);
        self.end_sweep(space, head, now);
        if space.free_frames == free {
            return Step::Went(STEP_COST);
        }
        space.eviction.end();
        Step::Done
    }

    /// Chooses the segment to empty, after the search.
    fn choose(&self, space: &mut Space, now: u32) -> Step {
        space.eviction.end();
        if let Some(head) = self.head_for_table(space) {
            return self.begin_emptying(space, head, Cutoff::ALL);
        }
        space.table_waits = false;
        if space.missing_frames() == 0 {
            return Step::Stuck;
        }
        let sparsest = space.eviction.sparsest.take().map(|(_, head)| head);
        if let Some(head) = sparsest.filter(|head| self.gaps(space, *head).is_some()) {
            return self.begin_emptying(space, head, Cutoff::ALL);
        }
        self.end_epoch(space);
        let Some(head) = self.next_victim(space) else { return Step::Stuck };
        let discount = if space.is_stale(head) { stale::DISCOUNT } else { 0 };
        if self.keep_large(space, head, discount, now) {
            return Step::Done;
        }
        space.close(head);
        let (start, mean) = (space.start(head), self.mean_units().ilog2());
        let eviction = &mut space.eviction;
        eviction.weights = [0; WORTH_MAX + 1];
        (eviction.mean, eviction.discount) = (mean, discount);
        eviction.begin_walk(Stage::Weigh, head, start);
        Step::Went(STEP_COST)
    }

    /// The oldest segment of the queue whose turn it is.
    fn next_victim(&self, space: &mut Space) -> Option<u32> {
        let (young, main) = ((Queue::Young, Spared::Newest), (Queue::Main, Spared::Newest));
        let is_stale = space.first(Queue::Main).is_some_and(|head| space.is_stale(head));
        let is_young = space.has_many_young() && !is_stale;
        let order = if is_young { [young, main] } else { [main, young] };
        let mut order = order.into_iter().chain([(Queue::Young, Spared::Last)]);
        order.find_map(|(queue, spared)| self.victim(space, queue, spared))
    }

    /// Weighs the next item, or begins to empty the segment.
    fn weigh_item(&self, space: &mut Space, now: u32) -> Step {
        let Eviction { head, at, mean, discount, .. } = space.eviction;
        let Some((layout, is_linked)) = self.item_at(space, head, at) else {
            let capacity = self.moved_max(space, head);
            let units = &space.eviction.weights;
            let cutoff = Cutoff::of(&Weights { units, capacity, mean, discount });
            return self.begin_emptying(space, head, cutoff);
        };
        space.eviction.at += u64::from(layout.units());
        if is_linked && self.is_alive(self.memory.arena.header(at, space), now) {
            let uses = self.uses(at, space).saturating_sub(discount);
            space.eviction.weights[worth(uses, layout, mean)] += layout.units();
        }
        self.memory.arena.prefetch(at + WALK_AHEAD_UNITS);
        Step::Went(layout.units() / WEIGH_PART)
    }

    fn begin_emptying(&self, space: &mut Space, head: u32, cutoff: Cutoff) -> Step {
        space.close(head);
        let start = space.start(head);
        let was_young = space.segments[head as usize].queue == Queue::Young;
        space.eviction.begin_walk(Stage::Empty, head, start);
        let eviction = &mut space.eviction;
        (eviction.cutoff, eviction.was_young) = (cutoff, was_young);
        eviction.items = self.sum(|stats| &stats.items);
        Step::Went(STEP_COST)
    }

    /// Moves or evicts the next item, or frees the segment.
    fn empty_item(&self, space: &mut Space, now: u32) -> Step {
        let Eviction { head, was_young, items, .. } = space.eviction;
        if space.eviction.batch_len == 0 && !self.fill_batch(space) {
            space.eviction.end();
            self.free_or_defer(space, head);
            return Step::Done;
        }
        space.eviction.batch_len -= 1;
        let item = space.eviction.batch[space.eviction.batch_len];
        let mut cutoff = space.eviction.cutoff;
        self.remove_or_move(space, item, &mut cutoff, (was_young, items), now);
        space.eviction.cutoff = cutoff;
        if space.eviction.batch_len == 0 {
            // The chains arrive in the cache by the next step.
            self.fill_batch(space);
        }
        Step::Went(item.2.units() / EMPTY_PART)
    }

    /// Finds the next items and prefetches their chains. Returns whether there are any.
    fn fill_batch(&self, space: &mut Space) -> bool {
        let Eviction { head, mut at, .. } = space.eviction;
        let mut batch_len = 0;
        while batch_len < BATCH
            && let Some((layout, is_linked)) = self.item_at(space, head, at)
        {
            if is_linked {
                let hash = self.hash_key.hash(layout::key(&self.memory.arena, at, space));
                self.table.prefetch(self.table.chain_of(hash));
                self.ghost.prefetch(hash);
                space.eviction.batch[batch_len] = (at, hash, layout);
                batch_len += 1;
            }
            at += u64::from(layout.units());
            self.memory.arena.prefetch(at + WALK_AHEAD_UNITS);
        }
        space.eviction.batch[..batch_len].reverse();
        (space.eviction.at, space.eviction.batch_len) = (at, batch_len);
        batch_len > 0
    }
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
