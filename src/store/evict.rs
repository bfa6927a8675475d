//! Eviction: which segment is emptied, which of its items stay in the store, and where they move.
//!
//! Replaced, deleted and expired items leave gaps. If gaps take a third of a segment or more, the
//! segment with the most gaps is emptied and all its live items move: compaction evicts nothing.
//!
//! New items are *young*. If young items hold more than a tenth of the memory, the oldest young
//! segment is emptied, otherwise the oldest main segment. Items worth keeping, by uses and size,
//! move to the end of a queue and lose one use: used items to the main queue, others to the young
//! queue. The rest is evicted. At most three quarters of a segment are kept, so emptying a segment
//! always frees memory. An item whose key was evicted lately from the young queue
//! ([`super::ghost`]) starts with one use, so that the main items follow the working set. This
//! combines the two queues of S3-FIFO, the segment merging of Segcache and the sizes of GreedyDual.

use super::arena::{MayRead, Offset};
use super::layout::{self, FETCHED, LINKED, Layout, USES_MAX, USES_SHIFT};
use super::run::Spared;
use super::shard::{ShardStats, add};
use super::space::{Queue, Segment, TABLE_PART};
use super::table::{ChainGuard, Entry, Slot};
use super::*;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// Limit of the size term: doublings above or below the mean size.
const SMALLER_MAX: i32 = 6;
/// Weight of a doubling of uses, in halvings of size.
const USES_WEIGHT: i32 = 2;
/// The largest worth: a small item with the largest use count.
pub(super) const WORTH_MAX: usize = (USES_WEIGHT * USES_MAX as i32 + 2 * SMALLER_MAX) as usize;
/// Items of less worth are evicted: unused ones, unless they are smaller than the mean.
const WORTH_KEPT: usize = SMALLER_MAX as usize + 1;
/// Limit of what is kept of an emptied segment, in quarters.
const KEPT_QUARTERS: u32 = 3;
/// Divisor: a segment is compacted if gaps take at least this part of it.
const GAPS_PART: u32 = 3;
/// Pinned and recent segments skipped in one search for a victim.
const SKIPPED_MAX: u32 = 4096;
/// Segments of the deferred queue inspected by one call of [`Store::maintain`].
pub(super) const DEFERRED_SCAN_MAX: usize = 16;
/// Segments of the deferred queue inspected in one step of eviction.
pub(super) const DEFERRED_STEP_MAX: usize = 2;

/// Which items of a segment to keep: all above a worth, and items of that worth up to `units_left`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cutoff {
    worth: usize,
    units_left: u32,
    /// Upper bound of the units that are kept: uses may have risen since the items were weighed.
    kept_max: u32,
    /// Binary logarithm of the mean item's units.
    mean: u32,
    /// Uses that do not count.
    discount: u8,
}

/// What the live items of a segment weigh.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weights<'a> {
    /// Units of the items, by worth.
    pub(super) units: &'a [u32; WORTH_MAX + 1],
    /// [`Store::moved_max`].
    pub(super) capacity: u32,
    /// Binary logarithm of the mean item's units.
    pub(super) mean: u32,
    /// Uses that do not count.
    pub(super) discount: u8,
}

/// A walk over the items of a segment, in order.
#[derive(Debug)]
pub(super) struct Walk {
    at: Offset,
    end: Offset,
}

impl Store {
    /// Allocates the frames for `units`. Returns the first; `None` if not enough can be evicted.
    pub(super) fn make_space(&self, space: &mut Space, units: u32, now: u32) -> Option<u32> {
        let frames = units.div_ceil(1 << self.memory.frame_shift);
        self.grow_table(space, now);
        if !self.free_frames(space, frames.min(2), now) {
            return None;
        }
        match frames {
            1 => space.free_frame(),
            _ => self.allocate_run(space, frames, Spared::Last, now),
        }
    }

    /// Gives the hash table a frame for more chains, or for spare buckets if it is short of them.
    fn grow_table(&self, space: &mut Space, now: u32) {
        if self.table.is_short() {
            self.sweep_one(space, now);
        }
        space.table_waits = self.head_for_table(space).is_some();
        if space.table_frames >= table_frames_max(space) {
            return;
        }
        if space.free_frames > 1
            && let Some(frame) = self.frame_for_chains(space)
            && let Some(frame) = space.frame_for_table_at(frame)
        {
            self.table.widen(&frame);
        } else if space.free_frames > 1
            && self.table.is_short()
            && let Some(frame) = space.spare_frame_for_table()
        {
            self.table.grow(&frame);
        } else if self.table.is_nearly_out()
            && self.free_frames(space, 1, now)
            && let Some(frame) = space.frame_for_table()
        {
            self.table.grow(&frame);
        }
    }

    /// The frame that the table needs for more chains.
    fn frame_for_chains(&self, space: &Space) -> Option<u32> {
        let may_grow = space.table_frames < table_frames_max(space);
        may_grow.then(|| self.table.wanted_frame(self.sum(|stats| &stats.items))).flatten()
    }

    /// The frame that the table needs for more chains or for spare buckets.
    fn frame_wanted_by_table(&self, space: &Space) -> Option<u32> {
        let is_short = self.table.is_short() && space.table_frames < table_frames_max(space);
        let spare = is_short.then(|| space.table_end.checked_sub(1)).flatten();
        self.frame_for_chains(space).or(spare)
    }

    /// The segment whose items should move because the table needs a frame of it. None if it is in
    /// use by readers or uploads, if it holds an item larger than a frame, which cannot move, or if
    /// there is no memory to move to.
    pub(super) fn head_for_table(&self, space: &Space) -> Option<u32> {
        let head = space.head(self.frame_wanted_by_table(space)?)?;
        let segment = &space.segments[head as usize];
        let suits = space.is_evictable(head)
            && !space.is_run(head)
            && space.free_frames > segment.frames
            && !self.is_pinned(segment, head);
        suits.then_some(head)
    }

    /// Evicts until `frames` frames are free besides half of the spare ones, which suffice for the
    /// moves of one eviction. Returns whether they are. Each allocation evicts ahead
    /// ([`super::ahead`]), so this rarely finds work to do.
    pub(super) fn free_frames(&self, space: &mut Space, frames: u32, now: u32) -> bool {
        let mut segments_tried = 0;
        while space.free_frames < frames + space.spare_frames / 2 {
            segments_tried += 1;
            if segments_tried > space.segments.len() || !self.evict_segment(space, now) {
                return false;
            }
        }
        true
    }

    /// Units of gaps of a closed, unpinned segment: `None` if less than a third, if it is a run, or
    /// if it may hold one of the newest items: their keys are often the next that are replaced.
    pub(super) fn gaps(&self, space: &Space, head: u32) -> Option<u32> {
        let segment = &space.segments[head as usize];
        if !space.is_evictable(head) || space.is_run(head) {
            return None;
        }
        let live = self.memory.live_in(space.frames_of(head)).1;
        let gaps = segment.used - live;
        let is_sparse = live <= self.moved_max(space, head) / 4 * KEPT_QUARTERS
            && gaps >= (segment.frames << self.memory.frame_shift) / GAPS_PART
            && !space.is_spared(head, Spared::Newest)
            && !space.is_open(head)
            && !self.is_pinned(segment, head);
        is_sparse.then_some(gaps)
    }

    /// The first unpinned segment of a queue that is not `spared`. Moves the segments in front of
    /// it to the end of the queue.
    pub(super) fn victim(&self, space: &mut Space, queue: Queue, spared: Spared) -> Option<u32> {
        for _ in 0..SKIPPED_MAX.min(space.frames(queue)) {
            let head = space.first(queue)?;
            let is_spared = space.is_spared(head, spared);
            if !is_spared && !self.is_pinned(&space.segments[head as usize], head) {
                return Some(head);
            }
            if !is_spared {
                space.close(head);
            }
            space.requeue(head, queue);
        }
        None
    }

    pub(super) fn is_pinned(&self, segment: &Segment, head: u32) -> bool {
        (head..head + segment.frames)
            .any(|frame| self.shards.iter().any(|shard| shard.is_pinned(frame)))
    }

    /// Frees deferred segments that are no longer in use. Inspects up to `max`.
    pub(super) fn free_deferred(&self, space: &mut Space, max: usize) {
        for _ in 0..max {
            let Some(head) = space.first(Queue::Deferred) else { return };
            if !self.free_if_empty(space, head) {
                // A reservation in it may have become an item, even the newest one.
                let mut walk = self.walk(space, head);
                let has_items = self.linked(space, &mut walk).next().is_some();
                match has_items {
                    true => space.requeue_as_newest(head),
                    false => space.requeue(head, Queue::Deferred),
                }
            }
        }
    }

    /// Frees a segment without live items, reservations and pins. Returns whether it did.
    ///
    /// The order matters. The live count is 0 only after the entries are gone, and stays 0 under
    /// the lock of the space. A thread that pins after this check finds no entry.
    pub(super) fn free_if_empty(&self, space: &mut Space, head: u32) -> bool {
        let segment = space.segments[head as usize];
        let frames = space.frames_of(head);
        if self.memory.live_in(frames.clone()).0 != 0 || self.is_pinned(&segment, head) {
            return false;
        }
        space.free(head);
        self.memory.reset_expiry(frames);
        true
    }

    /// Begins a walk over the items of a segment. Retires its TLABs.
    pub(super) fn walk(&self, space: &mut Space, head: u32) -> Walk {
        self.retire_tlabs(space, head);
        let at = space.start(head);
        Walk { at, end: at + u64::from(space.segments[head as usize].used) }
    }

    /// The linked items that are left of a walk.
    pub(super) fn linked<'a>(
        &'a self,
        space: &'a Space,
        walk: &'a mut Walk,
    ) -> impl Iterator<Item = (Offset, Layout)> + use<'a> {
        std::iter::from_fn(move || {
            while walk.at < walk.end {
                let offset = walk.at;
                let (layout, is_linked) = self.layout_at(space, walk.at);
                walk.at += u64::from(layout.units());
                if is_linked {
                    return Some((offset, layout));
                }
            }
            None
        })
    }

    /// The item at `at` in a segment, and whether it is linked; `None` at the end. Retires TLABs.
    pub(super) fn item_at(
        &self,
        space: &mut Space,
        head: u32,
        at: Offset,
    ) -> Option<(Layout, bool)> {
        self.retire_tlabs(space, head);
        let end = space.start(head) + u64::from(space.segments[head as usize].used);
        (at < end).then(|| self.layout_at(space, at))
    }

    fn layout_at(&self, space: &Space, at: Offset) -> (Layout, bool) {
        let header = self.memory.arena.header(at, space);
        (Layout::read(header), header.item_flags.load(Acquire) & LINKED != 0)
    }

    pub(super) fn uses(&self, at: Offset, held: &impl MayRead) -> u8 {
        self.memory.arena.header(at, held).item_flags.load(Relaxed) >> USES_SHIFT
    }

    /// Keeps a large item that was used in place, with one use less, if it is worth it. `discount`
    /// uses do not count. One of the newest stays young. Returns whether it did.
    pub(super) fn keep_large(&self, space: &mut Space, head: u32, discount: u8, now: u32) -> bool {
        if !space.is_run(head) {
            return false;
        }
        let mut walk = self.walk(space, head);
        let Some((at, layout)) = self.linked(space, &mut walk).next() else { return false };
        let header = self.memory.arena.header(at, space);
        let uses = self.uses(at, space).saturating_sub(discount);
        let worth = worth(uses, layout, self.mean_units().ilog2());
        if uses == 0 || worth < WORTH_KEPT || !self.is_alive(header, now) {
            return false;
        }
        let _ = header.item_flags.fetch_update(AcqRel, Relaxed, |item_flags| {
            (item_flags >> USES_SHIFT > 0).then(|| item_flags - (1 << USES_SHIFT))
        });
        let is_newest = space.is_spared(head, Spared::Newest);
        space.requeue(head, if is_newest { Queue::Young } else { Queue::Main });
        true
    }

    /// Empties a segment: moves the items that `cutoff` keeps, evicts the rest, and frees it.
    pub(super) fn empty(&self, space: &mut Space, head: u32, mut cutoff: Cutoff, now: u32) {
        space.close(head);
        let was_young = space.segments[head as usize].queue == Queue::Young;
        let items = self.sum(|stats| &stats.items);
        let mut walk = self.walk(space, head);
        let mut batch = [(0, 0, Layout::default()); PREFETCH_MAX];
        loop {
            let mut len = 0;
            for (next, (at, layout)) in batch.iter_mut().zip(self.linked(space, &mut walk)) {
                let hash = self.hash_key.hash(layout::key(&self.memory.arena, at, space));
                self.table.prefetch(self.table.chain_of(hash));
                self.ghost.prefetch(hash);
                *next = (at, hash, layout);
                len += 1;
            }
            if len == 0 {
                break;
            }
            for (at, hash, layout) in batch[..len].iter().copied() {
                self.remove_or_move(
                    space,
                    (at, hash, layout),
                    &mut cutoff,
                    (was_young, items),
                    now,
                );
            }
        }
        self.free_or_defer(space, head);
    }

    /// Frees a segment that was emptied, now or once nothing refers to it any more.
    pub(super) fn free_or_defer(&self, space: &mut Space, head: u32) {
        if !self.free_if_empty(space, head) {
            space.close(head);
            space.requeue(head, Queue::Deferred);
        }
    }

    /// Moves an item of a segment that is emptied, or evicts it. An item of a compaction that finds
    /// no space stays: others took the free frames since it began. Does nothing if the item is no
    /// longer linked. `items` is the number of items in the store.
    pub(super) fn remove_or_move(
        &self,
        space: &mut Space,
        (at, hash, layout): (Offset, u64, Layout),
        cutoff: &mut Cutoff,
        (was_young, items): (bool, u64),
        now: u32,
    ) {
        work::add(ITEM_WORK_BYTES);
        let held = self.table.lock(hash);
        let entry = Entry::new(hash, at);
        let Some(slot) = self.table.slots(hash).find(|slot| slot.load() == entry) else { return };
        if !self.is_alive(self.memory.arena.header(at, &held), now) {
            self.expire(&held, slot, at);
        } else if !(cutoff.keeps(self.uses(at, &held), layout)
            && (self.relocate(space, &held, slot, (hash, at, layout), now)
                || cutoff.evicts_nothing()))
        {
            self.evict_item(&held, slot, at, now);
            if was_young {
                self.ghost.remember(hash, items);
            } else if cutoff.discount > 0 {
                self.ghost.remember_stale(hash);
                space.staleness.count_eviction();
            }
        }
        self.table.shrink(hash);
    }

    /// The worth above which items of a segment are kept: at least [`WORTH_KEPT`], and at most
    /// [`KEPT_QUARTERS`] of the segment.
    pub(super) fn cutoff(&self, space: &mut Space, head: u32, now: u32) -> Cutoff {
        let mean = self.mean_units().ilog2();
        let mut units = [0u32; WORTH_MAX + 1];
        let mut walk = self.walk(space, head);
        for (at, layout) in self.linked(space, &mut walk) {
            if self.is_alive(self.memory.arena.header(at, space), now) {
                units[worth(self.uses(at, space), layout, mean)] += layout.units();
            }
        }
        let capacity = self.moved_max(space, head);
        Cutoff::of(&Weights { units: &units, capacity, mean, discount: 0 })
    }

    /// Units of a segment, at most those of the free frames: what could move from it.
    pub(super) fn moved_max(&self, space: &Space, head: u32) -> u32 {
        let frames = space.segments[head as usize].frames;
        frames.min(space.free_frames.max(1)) << self.memory.frame_shift
    }

    /// Units of the mean item, at least 1.
    pub(super) fn mean_units(&self) -> u64 {
        let (bytes, items) = (self.sum(|stats| &stats.bytes), self.sum(|stats| &stats.items));
        (bytes / items.max(1) / UNIT_BYTES as u64).max(1)
    }

    /// The sum of a counter over all shards.
    pub(super) fn sum(&self, of: fn(&ShardStats) -> &AtomicU64) -> u64 {
        self.shards.iter().map(|shard| of(&shard.stats).load(Relaxed)).fold(0, u64::wrapping_add)
    }

    /// Moves an item: to the main queue if it was used, otherwise to the end of the young queue.
    /// One of the newest stays young, however much it is used: only as such it is spared. Fails,
    /// with `false`, if no space is free.
    fn relocate(
        &self,
        space: &mut Space,
        held: &ChainGuard<'_>,
        slot: &Slot,
        (hash, at, layout): (u64, Offset, Layout),
        now: u32,
    ) -> bool {
        let (arena, units) = (&self.memory.arena, layout.units());
        let exptime = arena.header(at, held).exptime.load(Relaxed);
        let class = space.class((exptime != 0).then(|| exptime.saturating_sub(now)));
        if (units - 1) >> self.memory.frame_shift > 0 {
            return false;
        }
        let is_newest = space.is_spared(self.memory.frame(at) as u32, Spared::Newest);
        let is_main = !is_newest && self.uses(at, held) > 0;
        let queue = if is_main { Queue::Main } else { Queue::Young };
        let mut to = space.append(units, queue, class);
        if to.is_none() && self.extend_segment(space, units, queue, class) {
            to = space.append(units, queue, class);
        }
        if to.is_none() {
            let head = space.free_frame();
            to = head.map(|head| self.begin_segment(space, head, units, (queue, class), now));
        }
        let Some(to) = to else { return false };
        layout::copy(arena, (at, held), (to, space));
        self.memory.add(to, units);
        self.memory.extend(to, exptime);
        let header = arena.header(to, space);
        let (item_flags, one_use) = (header.item_flags.load(Relaxed), 1 << USES_SHIFT);
        let less = if is_main && item_flags >= one_use { one_use } else { 0 };
        header.item_flags.store((item_flags - less) | LINKED, Release);
        let stats = &self.shard().stats;
        add(&stats.moved, 1);
        add(&stats.items, 1);
        add(&stats.bytes, layout.total_bytes() as u64);
        slot.store(Entry::new(hash, to));
        self.forget(held, at);
        true
    }

    /// Evicts the item of a slot.
    fn evict_item(&self, held: &ChainGuard<'_>, slot: &Slot, at: Offset, now: u32) {
        let (header, stats) = (self.memory.arena.header(at, held), self.class_stats(at));
        add(&stats.evicted, 1);
        if header.item_flags.load(Relaxed) & FETCHED == 0 {
            add(&stats.evicted_unfetched, 1);
        }
        if header.exptime.load(Relaxed) != 0 {
            add(&stats.evicted_nonzero, 1);
        }
        let idle = now.saturating_sub(header.last_access.load(Relaxed));
        stats.last_evicted.store(u64::from(now) << 32 | u64::from(idle), Relaxed);
        slot.store(Entry::NONE);
        self.forget(held, at);
    }

    /// An empty slot of the chain of a hash. Evicts an item if the chain is full.
    pub(super) fn free_slot<'a>(
        &'a self,
        held: &ChainGuard<'_>,
        hash: u64,
        now: u32,
    ) -> Option<&'a Slot> {
        self.table.free_slot(hash).or_else(|| self.evict_from_chain(held, hash, now))
    }

    /// Empties a slot of a full chain: a dead item, otherwise the least used, and of those the
    /// least recently used. Never the newest item.
    #[cold]
    fn evict_from_chain(&self, held: &ChainGuard<'_>, hash: u64, now: u32) -> Option<&Slot> {
        let header = |slot: &Slot| self.memory.arena.header(slot.load().offset(), held);
        let newest = self.table.slots(hash).map(|slot| header(slot).cas.load(Relaxed)).max()?;
        let slot = self.table.slots(hash).min_by_key(|slot| {
            let (at, header) = (slot.load().offset(), header(slot));
            let (is_alive, cas) = (self.is_alive(header, now), header.cas.load(Relaxed));
            (
                is_alive,
                is_alive && cas == newest,
                self.uses(at, held),
                header.last_access.load(Relaxed),
                cas,
            )
        })?;
        let at = slot.load().offset();
        match self.is_alive(header(slot), now) {
            true => self.evict_item(held, slot, at, now),
            false => self.expire(held, slot, at),
        }
        Some(slot)
    }
}

/// Limit of the frames of the hash table.
fn table_frames_max(space: &Space) -> u32 {
    space.segments.len() as u32 / TABLE_PART
}

/// What an item is worth keeping. A doubling of uses counts as much as an item four times smaller.
/// Many small hits outweigh one large one, but a large item with many uses stays.
pub(super) fn worth(uses: u8, layout: Layout, mean: u32) -> usize {
    let smaller = (mean as i32 - layout.units().ilog2() as i32).clamp(-SMALLER_MAX, SMALLER_MAX);
    (USES_WEIGHT * i32::from(uses) + smaller + SMALLER_MAX) as usize
}

impl Cutoff {
    /// Keeps all items.
    pub(super) const ALL: Cutoff =
        Cutoff { worth: 0, units_left: u32::MAX, kept_max: u32::MAX, mean: 0, discount: 0 };

    /// The cutoff for a segment that was weighed.
    pub(super) fn of(weights: &Weights<'_>) -> Cutoff {
        let Weights { units, capacity, mean, discount } = *weights;
        let kept_max = KEPT_QUARTERS * (capacity / 4);
        let all = Cutoff { worth: WORTH_KEPT, units_left: u32::MAX, kept_max, mean, discount };
        let mut units_left = kept_max;
        for worth in (WORTH_KEPT..=WORTH_MAX).rev() {
            if units[worth] > units_left {
                return Cutoff { worth, units_left, ..all };
            }
            units_left -= units[worth];
        }
        all
    }

    /// Whether it is that of a compaction.
    fn evicts_nothing(&self) -> bool {
        self.worth == Cutoff::ALL.worth
    }

    fn keeps(&mut self, uses: u8, layout: Layout) -> bool {
        let uses = uses.saturating_sub(self.discount);
        let (worth, units) = (worth(uses, layout, self.mean), layout.units());
        if worth < self.worth || units > self.kept_max {
            return false;
        }
        if worth == self.worth {
            let Some(units_left) = self.units_left.checked_sub(units) else { return false };
            self.units_left = units_left;
        }
        self.kept_max -= units;
        true
    }
}
