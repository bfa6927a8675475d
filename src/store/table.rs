//! The hash table: from a key's hash to the places of the items that it may be.
//!
//! Bulk chaining: a bucket is one cache line, seven entries and the number of a further bucket, taken from a fixed
//! number of spare ones. An entry is 24 bits of the hash and a place of 40. Readers take no lock; who changes a chain holds
//! its lock, replaces an entry in place, and never moves one. So a key that is there all the while is always found.

use super::arena::{PLACE_BITS, Place, prefetch};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Entries of a bucket.
const SLOTS: usize = 7;
/// One spare bucket for so many others.
const SPARE_PART: usize = 8;
/// Bits of the hash in an entry.
const HASH_BITS: u32 = u64::BITS - PLACE_BITS;
/// Locks; a chain has one of them.
const LOCKS: usize = 4096;

/// An entry: the hash's lowest bits above, the place plus one below; 0 if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(u64);

impl Entry {
    pub(super) const NONE: Entry = Entry(0);

    #[inline]
    pub(super) fn new(hash: u64, at: Place) -> Entry {
        debug_assert!(at + 1 < 1 << PLACE_BITS, "a place beyond what an entry holds");
        Entry(hash << PLACE_BITS | (at + 1))
    }

    #[inline]
    pub(super) fn may_be(self, hash: u64) -> bool {
        self.0 >> PLACE_BITS == hash << PLACE_BITS >> PLACE_BITS && self != Entry::NONE
    }

    #[inline]
    pub(super) fn place(self) -> Place {
        (self.0 << HASH_BITS >> HASH_BITS).wrapping_sub(1)
    }
}

/// Where an entry stands.
#[derive(Debug, Default)]
pub(super) struct Slot(AtomicU64);

impl Slot {
    #[inline]
    pub(super) fn load(&self) -> Entry {
        Entry(self.0.load(Acquire))
    }

    /// Reads it again after a pin was taken: in one total order with pins and [`Slot::store`].
    #[inline]
    pub(super) fn confirm(&self, entry: Entry) -> bool {
        self.0.load(SeqCst) == entry.0
    }

    /// With the chain's lock only.
    pub(super) fn store(&self, entry: Entry) {
        self.0.store(entry.0, SeqCst);
    }
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket {
    slots: [Slot; SLOTS],
    /// The chain's next bucket, 0 if there is none (bucket 0 is never spare).
    next: AtomicU32,
}

/// The lock of a chain, held.
pub(super) type Held<'a> = MutexGuard<'a, ()>;

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    /// First those that hashes choose, then the spare ones.
    buckets: Box<[Bucket]>,
    main: usize,
    locks: Box<[Mutex<()>]>,
    /// Buckets in no chain.
    spare: Mutex<Vec<u32>>,
}

impl Table {
    /// A table within `bytes` of memory.
    pub(super) fn new(bytes: usize) -> Table {
        let (main, spare) = Table::shape(bytes);
        Table {
            buckets: (0..main + spare).map(|_| Bucket::default()).collect(),
            main,
            locks: (0..LOCKS.min(main)).map(|_| Mutex::default()).collect(),
            spare: Mutex::new((main as u32..(main + spare) as u32).rev().collect()),
        }
    }

    fn shape(bytes: usize) -> (usize, usize) {
        let each = size_of::<Bucket>() * (SPARE_PART + 1) + size_of::<u32>();
        let spare = (bytes / each).max(1);
        (spare * SPARE_PART, spare)
    }

    /// Bytes of memory that it has taken.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.buckets)
            + size_of_val(&*self.locks)
            + (self.buckets.len() - self.main) * size_of::<u32>()
    }

    /// Entries that fit, if they spread evenly.
    pub(super) fn places(&self) -> usize {
        self.buckets.len() * SLOTS
    }

    /// Chains, for walking over all entries.
    pub(super) fn chains(&self) -> usize {
        self.main
    }

    /// The chain of a hash.
    #[inline]
    pub(super) fn chain(&self, hash: u64) -> usize {
        (((hash >> 32) * self.main as u64) >> 32) as usize
    }

    /// Asks the processor to fetch the first bucket of a chain.
    #[inline]
    pub(super) fn prefetch(&self, chain: usize) {
        prefetch(&self.buckets[chain]);
    }

    /// The place that the first bucket of a hash's chain names for it, if any; without a second bucket being read.
    #[inline]
    pub(super) fn first_guess(&self, hash: u64) -> Option<Place> {
        let slots = &self.buckets[self.chain(hash)].slots;
        slots.iter().map(Slot::load).find(|entry| entry.may_be(hash)).map(Entry::place)
    }

    /// Locks a chain against changes.
    #[inline]
    pub(super) fn lock(&self, chain: usize) -> Held<'_> {
        self.locks[chain % self.locks.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no panic happened while one of its locks was held.
    pub(super) fn is_sound(&self) -> bool {
        !self.spare.is_poisoned() && !self.locks.iter().any(Mutex::is_poisoned)
    }

    /// The places of a chain, in order.
    #[inline]
    pub(super) fn slots(&self, chain: usize) -> impl Iterator<Item = &Slot> {
        let mut bucket = &self.buckets[chain];
        let mut slots = bucket.slots.iter();
        std::iter::from_fn(move || {
            loop {
                if let Some(slot) = slots.next() {
                    return Some(slot);
                }
                bucket = match bucket.next.load(Acquire) {
                    0 => return None,
                    next => &self.buckets[next as usize],
                };
                slots = bucket.slots.iter();
            }
        })
    }

    /// An empty slot of a chain whose lock is held, in a spare bucket if need be; `None` if all of those are taken.
    pub(super) fn vacancy(&self, chain: usize) -> Option<&Slot> {
        if let Some(slot) = self.slots(chain).find(|slot| slot.load() == Entry::NONE) {
            return Some(slot);
        }
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let mut last = &self.buckets[chain];
        while let next @ 1.. = last.next.load(Relaxed) {
            last = &self.buckets[next as usize];
        }
        last.next.store(spare, Release);
        self.buckets[spare as usize].slots.first()
    }

    /// Gives a chain's last buckets back that are spare ones and empty; the chain's lock is held.
    ///
    /// A reader may still stand in such a bucket and follow it into another chain. It cannot find its key there, and
    /// it does not miss it: when the bucket was given back it held nothing.
    pub(super) fn shrink(&self, chain: usize) {
        loop {
            let (mut before, mut last) = (None, &self.buckets[chain]);
            while let next @ 1.. = last.next.load(Relaxed) {
                before = Some((last, next));
                last = &self.buckets[next as usize];
            }
            match before {
                Some((before, number)) if last.slots.iter().all(|slot| slot.load() == Entry::NONE) => {
                    before.next.store(0, Release);
                    self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(number);
                }
                _ => return,
            }
        }
    }

    /// Spare buckets in no chain, and all of them.
    #[cfg(test)]
    pub(super) fn spare(&self) -> (usize, usize) {
        (self.spare.lock().unwrap().len(), self.buckets.len() - self.main)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_tell_a_part_of_the_hash_and_the_place() {
        let entry = Entry::new(0xdead_beef_0000_0001, 0);
        assert!(entry.may_be(0x1234_5678_0000_0001) && !entry.may_be(2) && entry.place() == 0);
        let last = (1 << PLACE_BITS) - 2;
        assert_eq!(Entry::new(u64::MAX, last).place(), last);
        assert!(Entry::new(u64::MAX, last).may_be(u64::MAX) && Entry::new(7, last).may_be(7));
        assert!(!Entry::NONE.may_be(0));
    }

    #[test]
    fn a_chain_grows_into_spare_buckets_and_gives_them_back() {
        let table = Table::new(64 * 1024);
        assert!(table.memory_bytes() <= 64 * 1024 + LOCKS * 8);
        let (free, spare) = table.spare();
        assert_eq!(free, spare);
        let _held = table.lock(0);
        let mut used = 0;
        while let Some(slot) = table.vacancy(0) {
            slot.store(Entry::new(used, used as Place));
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
        let table = Table::new(100_000);
        assert!(table.chain(u64::MAX) == table.chains() - 1 && table.chain(0) == 0);
    }
}
