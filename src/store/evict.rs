//! Making room: which segment is emptied, which of its items are kept, and where these go.
//!
//! What is replaced, deleted or expired leaves gaps. While there is a segment that consists of them
//! by a third, the one with the most is emptied, and all that is left in it is kept: nothing is
//! evicted for want of tidiness.
//!
//! New items are *young*. When room is short, the segment of young items that was begun first is
//! emptied if they hold more than a tenth of the memory, else that of main items. What is worth
//! keeping, by its uses and its size, moves to the end of a queue, the main one if it was used, and
//! loses a use; the rest is evicted. Of a segment at most three quarters are kept, those worth
//! most, so that emptying one always frees something. A key that comes back soon after its item was
//! evicted ([`super::ghost`]) has a use from the start: so the main items follow the clients. This
//! joins S3-FIFO's two queues, Segcache's merging of segments and the sizes of GreedyDual.

use super::arena::Offset;
use super::layout::{self, FETCHED, LINKED, Layout, USES_MAX, USES_SHIFT};
use super::shard::{ShardStats, add};
use super::space::{Queue, Segment};
use super::table::{ChainGuard, Entry, Slot};
use super::*;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// Sizes beyond so many doublings above or below the mean count as that.
const SMALLER_MAX: i32 = 6;
/// A doubling of uses counts as much as so many halvings of size.
const USES_WEIGHT: i32 = 3;
/// The largest worth: that of a small item that is used most.
const WORTH_MAX: usize = (USES_WEIGHT * USES_MAX as i32 + 2 * SMALLER_MAX) as usize;
/// What is worth less is evicted: items that were not used, unless they are smaller than the mean.
const WORTH_KEPT: usize = SMALLER_MAX as usize + 1;
/// Young items may hold one in so many frames before they are looked at first.
const YOUNG_PART: u32 = 10;
/// Of an emptied segment, what is left of it after this division by 4 is kept at most.
const KEPT_QUARTERS: u32 = 3;
/// A segment is tidied, rather than another evicted from, if one in so many of its units lies in
/// gaps.
const GAPS_PART: u32 = 3;
/// The hash table grows into at most one in this many frames.
const TABLE_FRAMES_PART: u32 = 4;
/// Frames that are looked at for a sparse one each time.
const SPARSE_SEARCHED_MAX: usize = 8192;
/// Segments whose dead items are removed before live ones are evicted.
const SWEEPS_MAX: usize = 8;
/// Pinned and new segments that are passed over in the search for one to empty.
const SKIPPED_MAX: u32 = 4096;
/// Segments that wait for their last pin and are looked at each time.
const DEFERRED_SCAN_MAX: usize = 16;

/// Which items of a segment to keep: all above a worth, and some of that worth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cutoff {
    worth: usize,
    units_left: u32,
    /// The logarithm of the mean item's units, against which sizes are measured.
    mean: u32,
}

impl Store {
    /// Frames for `units` more: the first of them, all free. `None` if what there is cannot be
    /// evicted.
    pub(super) fn make_space(&self, space: &mut Space, units: u32, now: u32) -> Option<u32> {
        let frames = units.div_ceil(1 << self.memory.frame_shift);
        self.grow_table(space, now);
        if !self.free_frames(space, frames.min(2), now) {
            return None;
        }
        match frames {
            1 => space.free_frame(),
            _ => self.allocate_run(space, frames, now),
        }
    }

    /// Gives the hash table a frame, if it has few spare buckets left for the next items.
    fn grow_table(&self, space: &mut Space, now: u32) {
        let max = space.segments.len() as u32 / TABLE_FRAMES_PART;
        if self.table.is_short() {
            self.sweep_one(space, now);
        }
        if self.table.is_short()
            && space.table_frames < max
            && self.free_frames(space, 1, now)
            && let Some(frame) = space.free_frame()
        {
            space.give_to_table(frame);
            self.table.grow(frame);
        }
    }

    /// Sees to it that so many frames are free besides the spare ones; whether they are.
    pub(super) fn free_frames(&self, space: &mut Space, frames: u32, now: u32) -> bool {
        let mut segments_tried = 0;
        while space.free_frames < frames + space.spare_frames {
            segments_tried += 1;
            if segments_tried > space.segments.len() || !self.evict_segment(space, now) {
                return false;
            }
        }
        true
    }

    /// Empties one segment; whether there was one to empty.
    fn evict_segment(&self, space: &mut Space, now: u32) -> bool {
        let free = space.free_frames;
        self.free_deferred(space);
        if space.free_frames > free {
            return true;
        }
        // Dead items go before live ones.
        for _ in 0..SWEEPS_MAX {
            if !self.sweep_one(space, now) {
                break;
            }
            if space.free_frames > free {
                return true;
            }
        }
        if let Some(head) = self.sparsest(space) {
            self.empty(space, head, Cutoff { worth: 0, units_left: u32::MAX, mean: 0 }, now);
            return true;
        }
        let young = space.frames(Queue::Young) > space.segments.len() as u32 / YOUNG_PART;
        let newest = Store::newest_frames(space);
        let (young_first, main) = ((Queue::Young, newest), (Queue::Main, 0));
        let order = if young { [young_first, main] } else { [main, young_first] };
        let mut order = order.into_iter().chain([(Queue::Young, 0)]);
        let Some(head) = order.find_map(|(queue, newest)| self.victim(space, queue, newest)) else {
            return false;
        };
        if !self.keep_large(space, head, now) {
            let cutoff = self.cutoff(space, head, now);
            self.empty(space, head, cutoff, now);
        }
        true
    }

    /// The segment of one frame with the most gaps, if they are a third of it or more, and nobody
    /// pins it.
    fn sparsest(&self, space: &Space) -> Option<u32> {
        let frames = space.segments.len();
        let some = (space.cursor as usize..frames)
            .chain(0..space.cursor as usize)
            .take(SPARSE_SEARCHED_MAX);
        let ends = some.filter(|frame| {
            let segment = &space.segments[*frame];
            space.is_evictable(*frame as u32) && segment.frames == 1
        });
        let gaps = ends
            .map(|head| (space.segments[head].used - self.memory.live(head as u32).1, head as u32));
        let sparse = gaps.filter(|(gap, head)| {
            *gap >= (1 << self.memory.frame_shift) / GAPS_PART
                && !space.is_open(*head)
                && !self.is_pinned(&space.segments[*head as usize], *head)
        });
        sparse.max().map(|(_, head)| head)
    }

    /// The first segment of a queue that no sender pins, and to which nothing was written while the
    /// last `newest` frames were. The segments before it go to the end of the queue.
    fn victim(&self, space: &mut Space, queue: Queue, newest: u32) -> Option<u32> {
        for _ in 0..SKIPPED_MAX.min(space.frames(queue)) {
            let head = space.first(queue)?;
            let is_newest = newest > 0 && self.is_recent(space, head, newest);
            if !is_newest && !self.is_pinned(&space.segments[head as usize], head) {
                return Some(head);
            }
            if !is_newest {
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

    /// Frees segments that were emptied before and are no longer in use.
    pub(super) fn free_deferred(&self, space: &mut Space) {
        for _ in 0..DEFERRED_SCAN_MAX {
            let Some(head) = space.first(Queue::Deferred) else { return };
            if !self.free_if_empty(space, head) {
                // A reservation that was in it may have become an item: then it is like any other
                // segment.
                let only_reserved = self.linked(space, head).next().is_none();
                space.requeue(head, if only_reserved { Queue::Deferred } else { Queue::Main });
            }
        }
    }

    /// Frees a segment in which nothing is left and that nobody pins; whether it did.
    ///
    /// The order matters: live counts are 0 only after the entries are gone, and stay 0 under the
    /// lock of the space, so a pin that is taken after this look finds no entry any more.
    pub(super) fn free_if_empty(&self, space: &mut Space, head: u32) -> bool {
        let segment = space.segments[head as usize];
        if self.memory.live(head).0 != 0 || self.is_pinned(&segment, head) {
            return false;
        }
        space.free(head);
        self.memory.reset_expiry(head);
        true
    }

    /// The items of a segment that were linked when they were looked at. No piece of it is left.
    pub(super) fn linked<'a>(
        &'a self,
        space: &mut Space,
        head: u32,
    ) -> impl Iterator<Item = (Offset, Layout)> + use<'a> {
        self.retire_tlabs(space, head);
        let mut at = space.start(head);
        let end = at + u64::from(space.segments[head as usize].used);
        std::iter::from_fn(move || {
            while at < end {
                let (offset, header) = (at, self.memory.arena.header(at));
                let layout = Layout::read(header);
                at += u64::from(layout.units());
                if header.item_flags.load(Acquire) & LINKED != 0 {
                    return Some((offset, layout));
                }
            }
            None
        })
    }

    pub(super) fn uses(&self, at: Offset) -> u8 {
        self.memory.arena.header(at).item_flags.load(Relaxed) >> USES_SHIFT
    }

    /// A large item that was used stays where it is, with a use less; whether that is so.
    fn keep_large(&self, space: &mut Space, head: u32, now: u32) -> bool {
        if space.segments[head as usize].frames == 1 {
            return false;
        }
        let Some((at, _)) = self.linked(space, head).next() else { return false };
        let header = self.memory.arena.header(at);
        if self.uses(at) == 0 || !self.is_alive(header, now) {
            return false;
        }
        let _ = header.item_flags.fetch_update(AcqRel, Relaxed, |item_flags| {
            (item_flags >> USES_SHIFT > 0).then(|| item_flags - (1 << USES_SHIFT))
        });
        space.requeue(head, Queue::Main);
        true
    }

    /// Moves what is worth keeping out of a segment, evicts the rest, and frees it.
    pub(super) fn empty(&self, space: &mut Space, head: u32, mut cutoff: Cutoff, now: u32) {
        space.close(head);
        let items = self.sum(|stats| &stats.items);
        for (at, layout) in self.linked(space, head) {
            let key = layout::key(&self.memory.arena, at);
            let hash = self.hash_key.hash(key);
            let held = self.table.lock(self.table.chain(hash));
            let entry = Entry::new(hash, at);
            let Some(slot) =
                self.table.slots(self.table.chain(hash)).find(|slot| slot.load() == entry)
            else {
                continue;
            };
            if !self.is_alive(self.memory.arena.header(at), now) {
                self.expire(slot, at);
            } else if !(cutoff.keeps(self.uses(at), layout)
                && self.relocate(space, slot, hash, at, layout, now))
            {
                self.evict_item(slot, at);
                self.ghost.remember(hash, items);
            }
            self.table.shrink(self.table.chain(hash));
            drop(held);
        }
        if !self.free_if_empty(space, head) {
            space.requeue(head, Queue::Deferred);
        }
    }

    /// What to keep of a segment so that at most [`KEPT_QUARTERS`] of it are, and nothing below
    /// [`WORTH_KEPT`].
    pub(super) fn cutoff(&self, space: &mut Space, head: u32, now: u32) -> Cutoff {
        let mean = self.mean_units().ilog2();
        let mut units = [0u32; WORTH_MAX + 1];
        for (at, layout) in self.linked(space, head) {
            if self.is_alive(self.memory.arena.header(at), now) {
                units[worth(self.uses(at), layout, mean)] += layout.units();
            }
        }
        let mut units_left = (KEPT_QUARTERS << self.memory.frame_shift) / 4;
        for worth in (WORTH_KEPT..=WORTH_MAX).rev() {
            if units[worth] > units_left {
                return Cutoff { worth, units_left, mean };
            }
            units_left -= units[worth];
        }
        Cutoff { worth: WORTH_KEPT, units_left: u32::MAX, mean }
    }

    /// Units of the mean item, at least 1.
    fn mean_units(&self) -> u64 {
        let (bytes, items) = (self.sum(|stats| &stats.bytes), self.sum(|stats| &stats.items));
        (bytes / items.max(1) / UNIT_BYTES as u64).max(1)
    }

    /// The sum of a counter over all stripes.
    pub(super) fn sum(&self, of: fn(&ShardStats) -> &AtomicU64) -> u64 {
        self.shards.iter().map(|shard| of(&shard.stats).load(Relaxed)).fold(0, u64::wrapping_add)
    }

    /// Moves an item into the main queue, or if it was not used to the end of the young one, if
    /// there is room without emptying another segment; whether it did. The chain's lock is held.
    fn relocate(
        &self,
        space: &mut Space,
        slot: &Slot,
        hash: u64,
        at: Offset,
        layout: Layout,
        now: u32,
    ) -> bool {
        let (arena, units) = (&self.memory.arena, layout.units());
        let exptime = arena.header(at).exptime.load(Relaxed);
        let class = space.class((exptime != 0).then(|| exptime.saturating_sub(now)));
        if (units - 1) >> self.memory.frame_shift > 0 {
            return false;
        }
        let queue = if self.uses(at) > 0 { Queue::Main } else { Queue::Young };
        let to = match space.append(units, queue, class) {
            Some(to) => to,
            None => match space.free_frame() {
                Some(head) => space.begin(head, units, queue, class, now),
                None => return false,
            },
        };
        layout::copy(arena, at, to);
        self.memory.add(to, units);
        self.memory.extend(to, exptime);
        let header = arena.header(to);
        let uses = header.item_flags.load(Relaxed) >> USES_SHIFT;
        let less = if uses > 0 { 1 << USES_SHIFT } else { 0 };
        header.item_flags.store((header.item_flags.load(Relaxed) - less) | LINKED, Release);
        let stats = &self.shard().stats;
        add(&stats.moved, 1);
        add(&stats.items, 1);
        add(&stats.bytes, layout.total_bytes() as u64);
        slot.store(Entry::new(hash, to));
        self.forget(at);
        true
    }

    /// Evicts the item that a slot names; its chain's lock is held.
    fn evict_item(&self, slot: &Slot, at: Offset) {
        let stats = &self.shard().stats;
        add(&stats.evictions, 1);
        if self.memory.arena.header(at).item_flags.load(Relaxed) & FETCHED == 0 {
            add(&stats.evicted_unfetched, 1);
        }
        slot.store(Entry::NONE);
        self.forget(at);
    }

    /// An empty slot of a chain whose lock is held; where there is none an item gives way.
    pub(super) fn free_slot<'a>(
        &'a self,
        _held: &ChainGuard<'_>,
        chain: usize,
        now: u32,
    ) -> Option<&'a Slot> {
        self.table.free_slot(chain).or_else(|| self.evict_from_chain(chain, now))
    }

    /// Empties a slot of a full chain: that of a dead item, else of the one used least, among those
    /// of the one not used for longest. The newest item stays.
    #[cold]
    fn evict_from_chain(&self, chain: usize, now: u32) -> Option<&Slot> {
        let header = |slot: &Slot| self.memory.arena.header(slot.load().offset());
        let newest = self.table.slots(chain).map(|slot| header(slot).cas.load(Relaxed)).max()?;
        let slot = self.table.slots(chain).min_by_key(|slot| {
            let (at, header) = (slot.load().offset(), header(slot));
            let (is_alive, cas) = (self.is_alive(header, now), header.cas.load(Relaxed));
            (
                is_alive,
                is_alive && cas == newest,
                self.uses(at),
                header.last_access.load(Relaxed),
                cas,
            )
        })?;
        let at = slot.load().offset();
        match self.is_alive(header(slot), now) {
            true => self.evict_item(slot, at),
            false => self.expire(slot, at),
        }
        Some(slot)
    }
}

/// What an item is worth keeping: a doubling of its uses counts as much as being eight times
/// smaller. Hits are what a cache is for, and a large item takes the place of many; but what is
/// large and much used stays.
fn worth(uses: u8, layout: Layout, mean: u32) -> usize {
    let smaller = (mean as i32 - layout.units().ilog2() as i32).clamp(-SMALLER_MAX, SMALLER_MAX);
    (USES_WEIGHT * i32::from(uses) + smaller + SMALLER_MAX) as usize
}

impl Cutoff {
    fn keeps(&mut self, uses: u8, layout: Layout) -> bool {
        let worth = worth(uses, layout, self.mean);
        if worth == self.worth && layout.units() <= self.units_left {
            self.units_left -= layout.units();
            return true;
        }
        worth > self.worth
    }
}
