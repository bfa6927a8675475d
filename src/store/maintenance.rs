//! Work outside of requests: expiry, flush_all, statistics, dumps.

use super::arena::Offset;
use super::evict::DEFERRED_SCAN_MAX;
use super::layout;
use super::shard::{ClassStats, ShardStats};
use super::space::{CLASSES_MAX, Queue, Segment, State};
use super::table::Entry;
use super::*;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Frames inspected in one search for a segment with dead items.
const SWEEP_FRAMES: u32 = 2048;
/// Segments swept by one call of [`Store::maintain`].
const SWEEP_SEGMENTS: u32 = 4;
/// The floor rises at least once in this number of flushes, half of the generations.
const ROUND: u32 = 128;

/// Chains that one call of [`Store::dump`] walks.
const DUMP_CHAINS: usize = 256;
/// To lock a chain and to read its entries costs about as much as to copy this.
const DUMP_CHAIN_WORK_BYTES: usize = 256;

impl Store {
    /// Frees expired and flushed items, a bounded number at a time. Any worker calls this a few
    /// times a second. Returns whether more work is waiting.
    pub fn maintain(&self, now: u32) -> bool {
        self.tick(now);
        let mut space = self.space();
        self.free_deferred(&mut space, DEFERRED_SCAN_MAX);
        self.free_empty_incoming(&mut space);
        let is_waiting = (0..SWEEP_SEGMENTS).all(|_| self.sweep_one(&mut space, now));
        // No connection has asked for this work.
        work::forget();
        is_waiting
    }

    /// Sweeps the next segment that is likely to hold dead items. Returns whether there was one.
    pub(super) fn sweep_one(&self, space: &mut Space, now: u32) -> bool {
        for _ in 0..SWEEP_FRAMES.min(space.segments.len() as u32) {
            let head = space.cursor;
            space.cursor = (head + 1) % space.segments.len() as u32;
            if self.wants_sweep(space, head, now) {
                self.sweep(space, head, now);
                return true;
            }
        }
        false
    }

    pub(super) fn wants_sweep(&self, space: &Space, head: u32, now: u32) -> bool {
        let segment = &space.segments[head as usize];
        space.is_evictable(head)
            && (self.memory.expiry(space.frames_of(head)) <= now
                || self.memory.live_in(space.frames_of(head)).0 == u32::from(segment.tlabs)
                || segment.swept != space.flushes)
    }

    /// Removes the dead items of a segment, and frees it if no live ones are left.
    fn sweep(&self, space: &mut Space, head: u32, now: u32) {
        self.begin_sweep(space, head);
        let mut walk = self.walk(space, head);
        for (at, _) in self.linked(space, &mut walk) {
            self.remove_if_dead(space, at, now);
        }
        self.end_sweep(space, head, now);
    }

    /// Notes that a segment is swept. Items that die later want another sweep.
    pub(super) fn begin_sweep(&self, space: &mut Space, head: u32) {
        space.segments[head as usize].swept = space.flushes;
    }

    /// Frees a segment, whose dead items were removed, if no live ones are left.
    pub(super) fn end_sweep(&self, space: &mut Space, head: u32, now: u32) {
        let expired = self.memory.expiry(space.frames_of(head)) <= now;
        if self.memory.live_in(space.frames_of(head)).0 == 0 {
            space.segments_expired += u64::from(expired);
            self.free_or_defer(space, head);
        }
    }

    pub(super) fn remove_if_dead(&self, space: &Space, at: Offset, now: u32) {
        work::add(ITEM_WORK_BYTES / 4);
        let header = self.memory.arena.header(at, space);
        if self.is_alive(header, now) {
            return;
        }
        let hash = self.hash_key.hash(layout::key(&self.memory.arena, at, space));
        let held = self.table.lock(hash);
        let entry = Entry::new(hash, at);
        if let Some(slot) = self.table.slots(hash).find(|slot| slot.load() == entry)
            && !self.is_alive(header, now)
        {
            self.expire(&held, slot, at);
            self.table.shrink(hash);
        }
    }

    /// Schedules a flush_all: once `now` reaches `at`, all items stored before are dead. Replaces a
    /// pending flush_all.
    pub fn flush(&self, at: u32, now: u32) {
        self.tick(now);
        self.flush_at.store(at.min(u32::MAX - 1), Release);
        self.tick(now);
    }

    /// Applies a pending flush_all whose time has come. Every call of the store begins with this.
    #[inline]
    pub(super) fn tick(&self, now: u32) {
        if self.flush_at.load(Acquire) <= now {
            self.flush_now(now);
        }
    }

    /// Makes all items dead, without a look at them. See [`Store::is_alive`].
    ///
    /// No clock is more than a second ahead, so no item was accessed after the floor. An item of
    /// this generation modulo 256 that was stored 256 flushes ago is below the floor: that has
    /// risen since the first flush after it.
    #[cold]
    fn flush_now(&self, now: u32) {
        let mut space = self.space();
        if self.flush_at.load(Acquire) > now {
            return;
        }
        space.flushes = space.flushes.wrapping_add(1);
        let rise = u32::from(space.flushes.is_multiple_of(ROUND));
        let floor = self.floor.load(Relaxed).saturating_add(rise).max(now.saturating_add(1));
        self.floor.store(floor, Release);
        self.generation.store(space.flushes as u8, Release);
        self.flush_at.store(u32::MAX, Release);
        self.flushes.fetch_add(1, Relaxed);
    }

    /// Counters and gauges.
    pub fn statistics(&self) -> Statistics {
        work::add(self.shards.len() * size_of::<ShardStats>());
        let space = self.space();
        Statistics {
            curr_items: self.sum(|stats| &stats.items),
            total_items: self.sum(|stats| &stats.stored) + self.sum_classes(|class| &class.sets),
            bytes: self.sum(|stats| &stats.bytes),
            limit_maxbytes: self.memory_bytes as u64,
            evictions: self.sum_classes(|class| &class.evicted),
            reclaimed: self.sum_classes(|class| &class.reclaimed),
            expired_unfetched: self.sum_classes(|class| &class.expired_unfetched),
            evicted_unfetched: self.sum_classes(|class| &class.evicted_unfetched),
            pin_copied: self.sum(|stats| &stats.pin_copied),
            frames_pinned: self.shards.iter().map(|shard| u64::from(shard.pinned())).sum(),
            frames: space.segments.len() as u64,
            frames_free: space.free_frames.into(),
            frames_table: space.table_frames.into(),
            frames_limbo: space.frames(Queue::Deferred).into(),
            segments_expired: space.segments_expired,
            items_moved: self.sum(|stats| &stats.moved),
            hash_places: self.table.slot_count() as u64,
            flushes: self.flushes.load(Relaxed),
            reserved_bytes: self.shards.iter().map(|shard| shard.incoming()).sum::<u64>()
                * UNIT_BYTES as u64,
        }
    }

    /// The sum of a counter over all shards and classes.
    fn sum_classes(&self, of: fn(&ClassStats) -> &AtomicU64) -> u64 {
        (0..CLASSES_MAX).map(|class| self.sum_class(class, of)).sum()
    }

    /// The sum of a counter of a class over all shards.
    fn sum_class(&self, class: usize, of: fn(&ClassStats) -> &AtomicU64) -> u64 {
        self.shards.iter().map(|shard| of(&shard.stats.classes[class]).load(Relaxed)).sum()
    }

    /// The counters of a class; its gauges are 0.
    fn count_class(&self, class: usize) -> ClassStatistics {
        let sum = |of| self.sum_class(class, of);
        let last_evicted =
            |shard: &Arc<Shard>| shard.stats.classes[class].last_evicted.load(Relaxed);
        ClassStatistics {
            class: class as u32 + 1,
            sets: sum(|stats| &stats.sets) + sum(|stats| &stats.refused),
            cas_hits: sum(|stats| &stats.cas_hits),
            cas_badval: sum(|stats| &stats.cas_badval),
            evicted: sum(|stats| &stats.evicted),
            evicted_unfetched: sum(|stats| &stats.evicted_unfetched),
            evicted_nonzero: sum(|stats| &stats.evicted_nonzero),
            evicted_idle: self.shards.iter().map(last_evicted).max().unwrap_or(0) as u32,
            reclaimed: sum(|stats| &stats.reclaimed),
            expired_unfetched: sum(|stats| &stats.expired_unfetched),
            out_of_memory: sum(|stats| &stats.out_of_memory),
            ..ClassStatistics::default()
        }
    }

    /// Statistics of the classes that had an item, a set, or an allocation that failed.
    pub fn classes(&self, now: u32) -> Vec<ClassStatistics> {
        let space = self.space();
        work::add(space.segments.len() * size_of::<Segment>());
        let mut classes: [_; CLASSES_MAX] = std::array::from_fn(|class| self.count_class(class));
        let heads = space.segments.iter().enumerate().filter(|(_, part)| part.state == State::Head);
        for (head, segment) in heads.filter(|(_, part)| part.queue != Queue::Incoming) {
            let class = &mut classes[usize::from(segment.class)];
            let (items, units) = self.memory.live_in(space.frames_of(head as u32));
            class.items += u64::from(items.saturating_sub(segment.tlabs.into()));
            class.bytes += u64::from(units) * UNIT_BYTES as u64;
            class.segments += 1;
            class.segment_bytes +=
                u64::from(segment.frames) << self.memory.frame_shift << UNIT_BYTES.ilog2();
            class.age = class.age.max(now.saturating_sub(segment.begun));
        }
        for (number, class) in classes.iter_mut().enumerate() {
            class.ttl_below = space.ttl_below(number);
        }
        let was_used = |class: &ClassStatistics| class.items + class.sets + class.out_of_memory > 0;
        classes.into_iter().filter(was_used).collect()
    }

    /// Passes up to `limit` items to `visit`, from `cursor` on (0 at first), of at most
    /// [`DUMP_CHAINS`] chains. Items that share a cursor, which is rare, are passed together.
    /// Returns the next cursor, `None` at the end. An item that exists throughout is visited once:
    /// its cursor depends on its key alone.
    pub fn dump(
        &self,
        cursor: u64,
        limit: usize,
        now: u32,
        visit: &mut dyn FnMut(Visit<'_>),
    ) -> Option<u64> {
        self.tick(now);
        let (mut cursor, mut shown, mut chains) = (cursor, 0, 0);
        while shown < limit && chains < DUMP_CHAINS {
            work::add(DUMP_CHAIN_WORK_BYTES);
            let (items, next) = self.dump_next(cursor, now);
            (cursor, shown, chains) = (next?, shown + items.len(), chains + 1);
            items.iter().for_each(|item| visit(self.visit_of(item, now)));
        }
        Some(cursor)
    }

    /// The first live item at `cursor` or behind it in one chain, with others at the same cursor,
    /// pinned, and the cursor behind it.
    fn dump_next(&self, cursor: u64, now: u32) -> (Vec<Item>, Option<u64>) {
        let (mut items, mut found) = (Vec::new(), None);
        let end = self.table.dump(cursor, |next, entry, held| {
            let at = entry.offset();
            let is_alive = self.is_alive(self.memory.arena.header(at, held), now);
            if !is_alive || found.is_some_and(|found| found < next) {
                return;
            }
            if found != Some(next) {
                items.clear();
            }
            found = Some(next);
            items.push(Item::pin(self.shard(), at, held).0);
        });
        (items, found.or(end))
    }

    fn visit_of<'a>(&self, item: &'a Item, now: u32) -> Visit<'a> {
        let meta = item.meta();
        let class = self.class(meta.exptime, now) as u32 + 1;
        Visit { key: item.key(), meta, size_bytes: item.size_bytes(), class }
    }
}
