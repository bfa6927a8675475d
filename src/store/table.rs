//! The hash table: from the hash of a key to the offsets of candidate items.
//!
//! Bulk chaining: a bucket is one cache line with seven entries and the number of the next bucket
//! of the chain. Chains grow by spare buckets. An entry holds 24 bits of the hash and 40 bits of
//! offset. Readers take no lock. A writer holds the lock of the chain and replaces entries in
//! place; it never moves one. So a reader always finds a key that is in the table throughout the
//! search.
//!
//! The table starts with a sixteenth of the memory. Where items are small it takes frames of the
//! arena for more spare buckets, up to a quarter of all frames, and keeps them. In a table that has
//! grown an item takes 11 to 15 bytes: 8 for its entry, the rest for empty slots and links.

use super::arena::{OFFSET_BITS, Offset, UNIT_BYTES, prefetch};
use super::memory::Memory;
use super::space::TableFrame;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Slots of a bucket.
const SLOTS: usize = 7;
/// Divisor: spare buckets at start-up, as a part of the main buckets.
const SPARE_PART: usize = 8;
/// Bits of the hash in an entry.
const HASH_BITS: u32 = u64::BITS - OFFSET_BITS;
/// Number of locks. Several chains share a lock.
const LOCKS: usize = 4096;
/// Flag in `next` of a spare bucket. A reader that is still in that bucket takes it for the last
/// one.
const SPARE: u64 = 1 << 63;
/// Units of the arena that a bucket takes.
const BUCKET_UNITS: u64 = (size_of::<Bucket>() / UNIT_BYTES) as u64;

/// Where a bucket begins in a frame that the space gave to the table.
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

    #[inline]
    pub(super) fn may_be(self, hash: u64) -> bool {
        (self.0 ^ hash << OFFSET_BITS) >> OFFSET_BITS == 0 && self != Entry::NONE
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
const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    #[inline]
    pub(super) fn slots(&self) -> &[Slot; SLOTS] {
        &self.slots
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

/// Holds the lock of a chain.
pub(super) struct ChainGuard<'a>(
    #[expect(dead_code, reason = "held until dropped")] MutexGuard<'a, ()>,
);

/// The hash table of the store.
#[derive(Debug)]
pub(super) struct Table {
    /// The main buckets, one for each chain, then the first spare buckets. Higher numbers refer to
    /// buckets in the arena.
    buckets: Box<[Bucket]>,
    main: usize,
    locks: Box<[Mutex<()>]>,
    spare: Mutex<Spare>,
    memory: Arc<Memory>,
}

impl Table {
    /// Builds a table of `bytes`, which grows into frames of `memory`.
    pub(super) fn new(bytes: usize, memory: Arc<Memory>) -> Table {
        let (main, spare) = Table::bucket_counts(bytes);
        let table = Table {
            buckets: (0..main + spare).map(|_| Bucket::default()).collect(),
            main,
            locks: (0..LOCKS.min(main)).map(|_| Mutex::default()).collect(),
            spare: Mutex::default(),
            memory,
        };
        table.add_spare((main as u64..(main + spare) as u64).rev());
        table
    }

    /// Bytes of memory that [`Table::new`] allocates when called with `bytes`.
    pub(super) fn memory_bytes(bytes: usize) -> usize {
        let (main, spare) = Table::bucket_counts(bytes);
        (main + spare) * size_of::<Bucket>() + LOCKS.min(main) * size_of::<Mutex<()>>()
    }

    fn bucket_counts(bytes: usize) -> (usize, usize) {
        let each = size_of::<Bucket>() * (SPARE_PART + 1);
        let spare = (bytes / each).max(1);
        (spare * SPARE_PART, spare)
    }

    /// Slots of all buckets.
    pub(super) fn slot_count(&self) -> usize {
        (self.main + self.spare_buckets().all) * SLOTS
    }

    fn spare_buckets(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bucket with this number.
    #[inline]
    fn bucket(&self, number: u64) -> &Bucket {
        match self.buckets.get(number as usize) {
            Some(bucket) => bucket,
            None => {
                let at = (number - self.buckets.len() as u64) * BUCKET_UNITS;
                self.memory.arena.bucket(BucketOffset(at))
            }
        }
    }

    /// Whether the items of one more frame may need more spare buckets than are left.
    pub(super) fn is_short(&self) -> bool {
        let (of_frame, of_first) = (1 << self.memory.frame_shift, self.buckets.len() - self.main);
        self.spare_buckets().count < (of_frame / BUCKET_UNITS as usize / 2).min(of_first / 4)
    }

    /// Makes spare buckets of a frame. The table keeps the frame.
    pub(super) fn grow(&self, frame: &TableFrame) {
        let buckets = (1 << self.memory.frame_shift) / BUCKET_UNITS;
        let first = self.buckets.len() as u64 + u64::from(frame.frame()) * buckets;
        for number in first..first + buckets {
            self.bucket(number).slots.iter().for_each(|slot| slot.store(Entry::NONE));
        }
        self.add_spare((first..first + buckets).rev());
    }

    fn add_spare(&self, numbers: impl Iterator<Item = u64>) {
        let mut spare = self.spare_buckets();
        for number in numbers {
            spare.push(self, number);
            spare.all += 1;
        }
    }

    /// Number of chains, to iterate over all entries.
    pub(super) fn chains(&self) -> usize {
        self.main
    }

    /// The chain of a hash.
    #[inline]
    pub(super) fn chain(&self, hash: u64) -> usize {
        (((hash >> 32) * self.main as u64) >> 32) as usize
    }

    /// Prefetches the first bucket of a chain.
    #[inline]
    pub(super) fn prefetch(&self, chain: usize) {
        prefetch(&raw const self.buckets[chain]);
    }

    /// The offset of the first candidate for a hash in the first bucket of its chain. Reads no
    /// second bucket.
    #[inline]
    pub(super) fn first_candidate(&self, hash: u64) -> Option<Offset> {
        let slots = self.first(hash).slots();
        slots.iter().map(Slot::load).find(|entry| entry.may_be(hash)).map(Entry::offset)
    }

    /// Takes the lock of a chain.
    #[inline]
    pub(super) fn lock(&self, chain: usize) -> ChainGuard<'_> {
        let lock = &self.locks[chain % self.locks.len()];
        ChainGuard(lock.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether none of the locks is poisoned.
    pub(super) fn is_sound(&self) -> bool {
        !self.spare.is_poisoned() && !self.locks.iter().any(Mutex::is_poisoned)
    }

    /// The first bucket of the chain of a hash.
    #[inline]
    pub(super) fn first(&self, hash: u64) -> &Bucket {
        &self.buckets[self.chain(hash)]
    }

    /// The bucket after `bucket` in its chain.
    #[inline]
    pub(super) fn next(&self, bucket: &Bucket) -> Option<&Bucket> {
        match bucket.next.load(Acquire) {
            0 | SPARE.. => None,
            next => Some(self.bucket(next)),
        }
    }

    /// The slots of a chain, in order.
    #[inline]
    pub(super) fn slots(&self, chain: usize) -> impl Iterator<Item = &Slot> {
        let buckets = std::iter::successors(Some(&self.buckets[chain]), |bucket| self.next(bucket));
        buckets.flat_map(Bucket::slots)
    }

    /// An empty slot of a chain. Adds a spare bucket if need be; `None` if none is left. The caller
    /// holds the lock of the chain.
    pub(super) fn free_slot(&self, chain: usize) -> Option<&Slot> {
        if let Some(slot) = self.slots(chain).find(|slot| slot.load() == Entry::NONE) {
            return Some(slot);
        }
        let spare = self.spare_buckets().pop(self)?;
        let mut last = &self.buckets[chain];
        while let next @ 1.. = last.next.load(Relaxed) {
            last = self.bucket(next);
        }
        last.next.store(spare, Release);
        self.bucket(spare).slots.first()
    }

    /// Returns empty buckets at the end of a chain to the spare list. The caller holds the lock of
    /// the chain.
    ///
    /// A reader that is still in such a bucket may follow it into another chain. It does not miss
    /// its key: the bucket was empty when it left the chain.
    pub(super) fn shrink(&self, chain: usize) {
        loop {
            let (mut before, mut last) = (None, &self.buckets[chain]);
            while let next @ 1.. = last.next.load(Relaxed) {
                before = Some((last, next));
                last = self.bucket(next);
            }
            match before {
                Some((before, number))
                    if last.slots.iter().all(|slot| slot.load() == Entry::NONE) =>
                {
                    before.next.store(0, Release);
                    self.spare_buckets().push(self, number);
                }
                _ => return,
            }
        }
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
mod tests {
    use super::*;

    fn table(bytes: usize) -> Table {
        Table::new(bytes, Arc::new(Memory::new(2, 11).unwrap()))
    }

    #[test]
    fn entries_tell_a_part_of_the_hash_and_the_place() {
        let entry = Entry::new(0xdead_beef_0000_0001, 0);
        assert!(entry.may_be(0x1234_5678_0000_0001) && !entry.may_be(2) && entry.offset() == 0);
        let last = (1 << OFFSET_BITS) - 2;
        assert_eq!(Entry::new(u64::MAX, last).offset(), last);
        assert!(Entry::new(u64::MAX, last).may_be(u64::MAX) && Entry::new(7, last).may_be(7));
        assert!(!Entry::NONE.may_be(0));
    }

    #[test]
    fn a_chain_grows_into_spare_buckets_and_gives_them_back() {
        let table = table(64 * 1024);
        assert!(Table::memory_bytes(64 * 1024) <= 64 * 1024 + LOCKS * 8);
        let (free, spare) = table.spare();
        assert_eq!(free, spare);
        let _held = table.lock(0);
        let mut used = 0;
        while let Some(slot) = table.free_slot(0) {
            slot.store(Entry::new(used, used as Offset));
            used += 1;
        }
        assert_eq!((used as usize, table.spare().0), ((spare + 1) * SLOTS, 0));
        assert!(table.is_short());
        table.grow(&TableFrame::of(1));
        let (free, spare) = table.spare();
        assert_eq!((free, table.is_short()), ((1 << 11) / BUCKET_UNITS as usize, false));
        while let Some(slot) = table.free_slot(0) {
            slot.store(Entry::new(used, used as Offset));
            used += 1;
        }
        assert_eq!((used as usize, table.spare().0), ((spare + 1) * SLOTS, 0));
        assert_eq!(table.slots(0).count(), used as usize);
        for slot in table.slots(0) {
            slot.store(Entry::NONE);
        }
        table.shrink(0);
        assert_eq!((table.spare().0, table.slots(0).count()), (spare, SLOTS));
    }

    #[test]
    fn every_hash_has_a_chain() {
        let table = table(100_000);
        assert!(table.chain(u64::MAX) == table.chains() - 1 && table.chain(0) == 0);
    }
}
