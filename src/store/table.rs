//! The hash table: from the hash of a key to the offsets of candidate items.
//!
//! Bulk chaining: a bucket is one cache line with seven entries and the number of the next bucket
//! of the chain. An entry holds 24 bits of the hash and 40 bits of offset. Readers take no lock. A
//! writer holds the lock of the chain and replaces entries in place.
//!
//! The number of chains grows with the number of items, by linear hashing: chain after chain is
//! split in two, so that a chain has about [`LOAD`] items. The first bucket of chain *n* is bucket
//! *n* of the arena. The store gives the table one frame after another from the start of the arena,
//! up to a quarter of all frames, and the table keeps them. Chains grow longer by spare buckets,
//! from the end of that quarter on, so that frames of the table leave runs for large values.
//!
//! A chain number consists of the group, which is a number of upper bits of the hash, and above
//! them a number of the lowest bits of the hash, which entries hold too. So a split reads no keys,
//! and entries never leave the chains of their group, which share a lock. A split copies entries to
//! the new chain, then publishes the number of chains, then removes them from the old chain. A
//! reader that does not find its key looks at the number of chains once more.
//!
//! An item takes 13 to 17 bytes of the table: 8 for its entry, the rest for empty slots and links.
//! Longer chains would take less: with 17 items and three buckets each, 12 bytes, which is a
//! twelfth more items of one byte in the same memory. But most gets would read two or three cache
//! lines of the table instead of one.

use super::arena::{OFFSET_BITS, Offset, UNIT_BYTES};
use super::memory::Memory;
use super::space::TableFrame;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// Slots of a bucket.
pub(super) const SLOTS: usize = 7;
/// Items of a chain, on average, above which chains are split.
const LOAD: usize = 5;
/// Chains split at once.
const SPLITS: usize = 2;
/// Divisor: the part of the frames that a new table has.
const FIRST_PART: usize = 256;
/// Bits of the hash in an entry.
const HASH_BITS: u32 = u64::BITS - OFFSET_BITS;
const HASH_MASK: usize = (1 << HASH_BITS) - 1;
/// Limit of the number of locks. Several chains share a lock.
const LOCKS_MAX: usize = 4096;
/// Flag in `next` of a spare bucket. A reader that is still in that bucket takes it for the last
/// one.
const SPARE: u64 = 1 << 63;
/// Size of a bucket: a cache line.
pub(super) const BUCKET_BYTES: usize = 64;
/// Units of the arena that a bucket takes.
const BUCKET_UNITS: u64 = (BUCKET_BYTES / UNIT_BYTES) as u64;

/// Where a bucket begins in a frame that the space gave to the table: a multiple of
/// [`BUCKET_BYTES`] from the start of the arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct BucketOffset(Offset);

impl BucketOffset {
    #[inline]
    pub(super) fn offset(self) -> Offset {
        self.0
    }
}

/// The low bits of the hash in the upper bits, offset + 1 in the lower ones; 0 if empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(u64);

impl Entry {
    pub(super) const NONE: Entry = Entry(0);

    #[inline]
    pub(super) fn new(hash: u64, at: Offset) -> Entry {
        debug_assert!(at + 1 < 1 << OFFSET_BITS, "a place beyond what an entry holds");
        Entry(hash << OFFSET_BITS | (at + 1))
    }

    #[inline(always)]
    pub(super) fn may_be(self, hash: u64) -> bool {
        // Equal bits of the hash leave offset + 1, which is not 0. Anything else is too large, or
        // wraps.
        (self.0 ^ hash << OFFSET_BITS).wrapping_sub(1) < (1 << OFFSET_BITS) - 1
    }

    /// The low bits of the hash.
    #[inline]
    fn hash(self) -> u64 {
        self.0 >> OFFSET_BITS
    }

    #[inline]
    pub(super) fn offset(self) -> Offset {
        (self.0 << HASH_BITS >> HASH_BITS).wrapping_sub(1)
    }
}

/// The memory of one entry.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(super) struct Slot(AtomicU64);

impl Slot {
    #[inline]
    pub(super) fn load(&self) -> Entry {
        Entry(self.0.load(Acquire))
    }

    /// Whether the slot still holds `entry`. Called after a pin was taken; sequentially consistent
    /// with pins and [`Slot::store`].
    #[inline]
    pub(super) fn confirm(&self, entry: Entry) -> bool {
        self.0.load(SeqCst) == entry.0
    }

    /// Replaces the entry. The caller holds the lock of the chain.
    pub(super) fn store(&self, entry: Entry) {
        self.0.store(entry.0, SeqCst);
    }
}

/// Seven slots and the link to the next bucket. Consists of atomics, as the arena requires.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    slots: [Slot; SLOTS],
    /// Number of the next bucket of the chain; 0 at the end (bucket 0 is never spare). In a spare
    /// bucket: the number of the next spare bucket, with [`SPARE`].
    next: AtomicU64,
}
const _: () = assert!(size_of::<Bucket>() == BUCKET_BYTES);

impl Bucket {
    /// The first slot from `from` on whose entry may be that of a hash, and the entry.
    #[inline(always)]
    pub(super) fn candidate(&self, from: usize, hash: u64) -> Option<(usize, Entry)> {
        let bits = hash << OFFSET_BITS;
        let has_bits = |entry: Entry| (entry.0 ^ bits) < 1 << OFFSET_BITS;
        let mut entries = (from..SLOTS).map(|at| (at, self.slots[at].load()));
        match entries.find(|(_, entry)| has_bits(*entry)) {
            // Only if the bits of the hash are 0.
            Some((at, Entry::NONE)) => self.candidate_among_empty(at + 1, hash),
            found => found,
        }
    }

    /// As [`Bucket::candidate`], past empty slots that look like candidates.
    #[cold]
    fn candidate_among_empty(&self, from: usize, hash: u64) -> Option<(usize, Entry)> {
        (from..SLOTS).map(|at| (at, self.slots[at].load())).find(|(_, entry)| entry.may_be(hash))
    }

    /// The slot `at`, if its entry may be that of a hash, and the entry.
    #[inline(always)]
    pub(super) fn candidate_at(&self, at: usize, hash: u64) -> Option<(&Slot, Entry)> {
        let slot = self.slots.get(at)?;
        let entry = slot.load();
        entry.may_be(hash).then_some((slot, entry))
    }

    #[inline]
    pub(super) fn slots(&self) -> &[Slot; SLOTS] {
        &self.slots
    }

    fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.load() == Entry::NONE)
    }
}

/// The list of buckets that are in no chain.
#[derive(Debug, Default)]
struct Spare {
    /// Number of the first spare bucket; 0 if the list is empty.
    first: u64,
    count: usize,
    /// Spare buckets ever made, in chains or not.
    all: usize,
}

/// The number of a chain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chain(usize);

/// The number of chains at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chains {
    count: usize,
    /// The bits of a chain number.
    mask: usize,
    group_bits: u32,
}

impl Chains {
    /// The chain of a hash.
    #[inline(always)]
    pub(super) fn of(self, hash: u64) -> Chain {
        let group = (hash >> (u64::BITS - self.group_bits)) as usize;
        let bits = group | (hash as usize) << self.group_bits;
        let chain = bits & self.mask;
        // The chain of the longer number does not exist yet.
        Chain(if chain < self.count { chain } else { bits & self.mask >> 1 })
    }
}

/// Holds the lock of a chain.
pub(super) struct ChainGuard<'a>(
    #[expect(dead_code, reason = "held until dropped")] MutexGuard<'a, ()>,
);

/// The hash table of the store.
#[derive(Debug)]
pub(super) struct Table {
    memory: Arc<Memory>,
    /// Binary logarithm of the number of groups: chains at the start.
    group_bits: u32,
    /// Number of chains.
    chains: AtomicUsize,
    /// Number of chains for which there is memory.
    capacity: AtomicUsize,
    /// Whether an item found the first bucket of its chain full while there was memory for more
    /// chains.
    is_crowded: AtomicBool,
    /// Held by the thread that splits a chain.
    splitting: Mutex<()>,
    /// A power of 2, at most one for each group.
    locks: Box<[Mutex<()>]>,
    spare: Mutex<Spare>,
}

impl Table {
    /// Builds a table in the first frames of `memory`, which has never been used.
    pub(super) fn new(frames: &[TableFrame], memory: Arc<Memory>) -> Table {
        let groups = frames.len() << memory.frame_shift >> BUCKET_UNITS.ilog2();
        assert!(groups.is_power_of_two() && groups > 1, "{groups} groups of chains");
        assert!((0..).zip(frames).all(|(at, frame)| frame.frame() == at), "not the first frames");
        Table {
            memory,
            group_bits: groups.ilog2(),
            chains: groups.into(),
            capacity: groups.into(),
            is_crowded: false.into(),
            splitting: Mutex::default(),
            locks: (0..LOCKS_MAX.min(groups)).map(|_| Mutex::default()).collect(),
            spare: Mutex::default(),
        }
    }

    /// Frames of a new table.
    pub(super) fn first_frames(frames: usize) -> usize {
        1 << (frames / FIRST_PART).max(1).ilog2()
    }

    /// Upper bound of the bytes that [`Table::new`] allocates for this number of bytes of frames.
    pub(super) fn memory_bytes(frame_bytes: usize) -> usize {
        LOCKS_MAX.min(frame_bytes / BUCKET_BYTES) * size_of::<Mutex<()>>()
    }

    /// Slots of all buckets.
    pub(super) fn slot_count(&self) -> usize {
        (self.capacity.load(Relaxed) + self.spare_buckets().all) * SLOTS
    }

    fn spare_buckets(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bucket with this number.
    #[inline]
    fn bucket(&self, number: u64) -> &Bucket {
        self.memory.arena.bucket(BucketOffset(number * BUCKET_UNITS))
    }

    /// Buckets of a frame.
    fn frame_buckets(&self) -> usize {
        1 << self.memory.frame_shift >> BUCKET_UNITS.ilog2()
    }

    /// Whether the items of one more frame may need more spare buckets than are left.
    pub(super) fn is_short(&self) -> bool {
        self.spare_buckets().count < self.frame_buckets() / 2
    }

    /// Whether few spare buckets are left.
    pub(super) fn is_nearly_out(&self) -> bool {
        self.spare_buckets().count < self.frame_buckets() / 8
    }

    /// The frame that the table needs for more chains, if `items` items are nearly too many for the
    /// memory that it has.
    pub(super) fn wanted_frame(&self, items: u64) -> Option<u32> {
        let capacity = self.capacity.load(Relaxed);
        let is_nearly_full = items > ((capacity - self.frame_buckets() / 2) * LOAD) as u64;
        is_nearly_full.then_some((capacity / self.frame_buckets()) as u32)
    }

    /// Adds memory for more chains. The table keeps the frame.
    pub(super) fn widen(&self, frame: &TableFrame) {
        let capacity = self.capacity.load(Relaxed);
        assert_eq!(frame.frame() as usize * self.frame_buckets(), capacity, "another frame");
        self.clear(capacity as u64);
        self.capacity.store(capacity + self.frame_buckets(), Release);
    }

    /// Makes spare buckets of a frame. The table keeps the frame.
    pub(super) fn grow(&self, frame: &TableFrame) {
        let first = u64::from(frame.frame()) * self.frame_buckets() as u64;
        self.clear(first);
        let mut spare = self.spare_buckets();
        for number in (first..first + self.frame_buckets() as u64).rev() {
            spare.push(self, number);
            spare.all += 1;
        }
    }

    /// Empties the buckets of a frame, from `first` on.
    fn clear(&self, first: u64) {
        for number in first..first + self.frame_buckets() as u64 {
            let bucket = self.bucket(number);
            bucket.slots.iter().for_each(|slot| slot.store(Entry::NONE));
            bucket.next.store(0, Release);
        }
    }

    /// The group of a hash.
    #[inline]
    fn group(&self, hash: u64) -> usize {
        (hash >> (u64::BITS - self.group_bits)) as usize
    }

    /// The chain of a hash, as of now: see [`Table::first_of`].
    #[inline]
    pub(super) fn chain_of(&self, hash: u64) -> Chain {
        Chain(self.chain(hash))
    }

    /// The chains that exist now.
    #[inline]
    pub(super) fn chains(&self) -> Chains {
        let count = self.chains.load(Acquire);
        let mask = usize::MAX >> count.leading_zeros();
        Chains { count, mask, group_bits: self.group_bits }
    }

    /// The chain of a hash. It stays the same only while the lock of the chain is held.
    #[inline]
    fn chain(&self, hash: u64) -> usize {
        self.chains().of(hash).0
    }

    /// Prefetches the first bucket of a chain.
    #[inline]
    pub(super) fn prefetch(&self, chain: Chain) {
        self.memory.arena.prefetch_bucket(BucketOffset(chain.0 as u64 * BUCKET_UNITS));
    }

    /// The first candidate for a hash in the first bucket of its chain, and its slot. Reads no
    /// second bucket.
    #[inline]
    pub(super) fn first_candidate(&self, chain: Chain, hash: u64) -> Option<(usize, Entry)> {
        self.first_of(chain).candidate(0, hash)
    }

    /// Takes the lock of the chain of a hash.
    #[inline]
    pub(super) fn lock(&self, hash: u64) -> ChainGuard<'_> {
        self.lock_group(self.group(hash))
    }

    #[inline]
    fn lock_group(&self, group: usize) -> ChainGuard<'_> {
        let lock = &self.locks[group & (self.locks.len() - 1)];
        ChainGuard(lock.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether none of the locks is poisoned.
    pub(super) fn is_sound(&self) -> bool {
        !self.spare.is_poisoned()
            && !self.splitting.is_poisoned()
            && !self.locks.iter().any(Mutex::is_poisoned)
    }

    /// The first bucket of the chain of a hash.
    #[inline]
    pub(super) fn first(&self, hash: u64) -> &Bucket {
        self.bucket(self.chain(hash) as u64)
    }

    /// The first bucket of a chain. If the chain has been split since, what it had may be in the
    /// chain that [`Table::first`] tells now.
    #[inline]
    pub(super) fn first_of(&self, Chain(number): Chain) -> &Bucket {
        self.bucket(number as u64)
    }

    /// The bucket after `bucket` in its chain.
    #[inline]
    pub(super) fn next(&self, bucket: &Bucket) -> Option<&Bucket> {
        match bucket.next.load(Acquire) {
            0 | SPARE.. => None,
            next => Some(self.bucket(next)),
        }
    }

    /// The slots of the chain of a hash, in order. The caller holds the lock of the chain.
    #[inline]
    pub(super) fn slots(&self, hash: u64) -> impl Iterator<Item = &Slot> {
        self.slots_of(self.chain(hash))
    }

    fn slots_of(&self, chain: usize) -> impl Iterator<Item = &Slot> {
        let first = self.bucket(chain as u64);
        std::iter::successors(Some(first), |bucket| self.next(bucket)).flat_map(Bucket::slots)
    }

    /// An empty slot of the chain of a hash. Adds a spare bucket if need be; `None` if none is
    /// left. The caller holds the lock of the chain.
    pub(super) fn free_slot(&self, hash: u64) -> Option<&Slot> {
        let chain = self.chain(hash);
        let slots = self.bucket(chain as u64).slots();
        if let Some(slot) = slots.iter().find(|slot| slot.load() == Entry::NONE) {
            return Some(slot);
        }
        if self.chains.load(Relaxed) < self.capacity.load(Relaxed) && !self.is_crowded.load(Relaxed)
        {
            self.is_crowded.store(true, Relaxed);
        }
        self.free_slot_of(chain)
    }

    fn free_slot_of(&self, chain: usize) -> Option<&Slot> {
        if let Some(slot) = self.slots_of(chain).find(|slot| slot.load() == Entry::NONE) {
            return Some(slot);
        }
        let spare = self.spare_buckets().pop(self)?;
        let mut last = self.bucket(chain as u64);
        while let next @ 1.. = last.next.load(Relaxed) {
            last = self.bucket(next);
        }
        last.next.store(spare, Release);
        self.bucket(spare).slots.first()
    }

    /// Returns empty buckets at the end of a hash's chain to the spare list. The caller holds the
    /// lock of the chain.
    ///
    /// A reader that is still in such a bucket may follow it into another chain. It does not miss
    /// its key: the bucket was empty when it left the chain.
    pub(super) fn shrink(&self, hash: u64) {
        self.shrink_chain(self.chain(hash));
    }

    fn shrink_chain(&self, chain: usize) {
        loop {
            let (mut before, mut last) = (None, self.bucket(chain as u64));
            while let next @ 1.. = last.next.load(Relaxed) {
                before = Some((last, next));
                last = self.bucket(next);
            }
            match before {
                Some((before, number)) if last.is_empty() => {
                    before.next.store(0, Release);
                    self.spare_buckets().push(self, number);
                }
                _ => return,
            }
        }
    }

    /// Whether a chain should be split, if the items are too many for the chains.
    #[inline]
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded.load(Relaxed)
    }

    /// Splits up to [`SPLITS`] chains if `items` items are too many for the chains. The caller
    /// holds no lock of a chain.
    #[cold]
    pub(super) fn split(&self, items: u64) {
        let Some(_splitting) = Table::unless_locked(&self.splitting) else { return };
        self.is_crowded.store(false, Relaxed);
        for _ in 0..SPLITS {
            let is_enough = items <= (self.chains.load(Relaxed) * LOAD) as u64;
            if is_enough || !self.split_next() {
                return;
            }
        }
    }

    fn unless_locked(lock: &Mutex<()>) -> Option<MutexGuard<'_, ()>> {
        match lock.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Splits the next chain. Returns whether it did: there may be no memory.
    fn split_next(&self) -> bool {
        let new = self.chains.load(Relaxed);
        if new >= self.capacity.load(Acquire) || new >> self.group_bits > HASH_MASK {
            return false;
        }
        let half = 1 << new.ilog2();
        let old = new - half;
        let _held = self.lock_group(old & ((1 << self.group_bits) - 1));
        // The bit of the hash that tells the two chains apart.
        let moves = |entry: Entry| {
            entry != Entry::NONE && entry.hash() & (half >> self.group_bits) as u64 != 0
        };
        for entry in self.slots_of(old).map(Slot::load).filter(|entry| moves(*entry)) {
            let Some(slot) = self.free_slot_of(new) else {
                self.slots_of(new).for_each(|slot| slot.store(Entry::NONE));
                self.shrink_chain(new);
                return false;
            };
            slot.store(entry);
        }
        self.chains.store(new + 1, SeqCst);
        for slot in self.slots_of(old).filter(|slot| moves(slot.load())) {
            slot.store(Entry::NONE);
        }
        self.shrink_chain(old);
        true
    }

    /// Passes the entries of one chain that a dump has not seen to `visit`, with the position of
    /// the dump after each, under the lock of the chain. Returns the position after the chain;
    /// `None` at the end of the table.
    ///
    /// A position is a group and, in reverse order, the bits of the hash that entries hold. A split
    /// changes neither, and the entries of each chain are a range of positions.
    pub(super) fn dump(
        &self,
        position: u64,
        mut visit: impl FnMut(u64, Entry, &ChainGuard<'_>),
    ) -> Option<u64> {
        let group = (position >> HASH_BITS) as usize;
        if group >> self.group_bits > 0 {
            return None;
        }
        let held = self.lock_group(group);
        let reversed = |bits: u64| bits.reverse_bits() >> (u64::BITS - HASH_BITS);
        let upper = u64::BITS - self.group_bits;
        let chain = self.chain((group as u64) << upper | reversed(position & HASH_MASK as u64));
        for entry in self.slots_of(chain).map(Slot::load).filter(|entry| *entry != Entry::NONE) {
            let at = (group as u64) << HASH_BITS | reversed(entry.hash());
            if at >= position {
                visit(at + 1, entry, &held);
            }
        }
        let chains = self.chains.load(Relaxed);
        let half = 1 << chains.ilog2();
        let is_split = chain >= half || chain < chains - half;
        let bits = half.ilog2() - self.group_bits + u32::from(is_split);
        let range = HASH_MASK as u64 >> bits;
        Some((position | range) + 1)
    }

    /// Spare buckets in no chain, and spare buckets ever made.
    #[cfg(test)]
    pub(super) fn spare(&self) -> (usize, usize) {
        let spare = self.spare_buckets();
        (spare.count, spare.all)
    }
}

impl Spare {
    fn push(&mut self, table: &Table, number: u64) {
        table.bucket(number).next.store(self.first | SPARE, Release);
        self.first = number;
        self.count += 1;
    }

    fn pop(&mut self, table: &Table) -> Option<u64> {
        let number = Some(self.first).filter(|number| *number != 0)?;
        let next = &table.bucket(number).next;
        self.first = next.load(Relaxed) & !SPARE;
        self.count -= 1;
        next.store(0, Release);
        Some(number)
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
