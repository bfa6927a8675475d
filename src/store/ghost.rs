//! The ghost queue of S3-FIFO: fingerprints of the keys of young items that were recently evicted.
//!
//! A key that is stored again soon after its eviction belongs to the working set. Its item starts
//! with one use, so it moves to the main queue and displaces items of an earlier working set.
//!
//! A hash selects a word of five fingerprints, the newest in the lowest bits. A fingerprint has 8
//! bits of the hash and 4 bits of the epoch. An epoch ends once half as many items were evicted as
//! the store holds. Fingerprints of the current epoch and of the two before count, so the queue
//! remembers about as many keys as the store has items.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Fingerprints in a word.
const FINGERPRINTS: u32 = 5;
/// Bits of a fingerprint, its epoch included.
const FINGERPRINT_BITS: u32 = HASH_BITS + EPOCH_BITS;
const HASH_BITS: u32 = 8;
const EPOCH_BITS: u32 = 4;
/// Epochs before the current one whose fingerprints count.
const EPOCHS_BEFORE: u64 = 2;
/// Lower bound of the number of items in the length of an epoch.
const ITEMS_MIN: u64 = 64;

#[derive(Debug)]
pub(super) struct Ghost {
    words: Box<[AtomicU64]>,
    /// The current epoch, from 1; 0 before the first eviction.
    epoch: AtomicU32,
    /// Evictions in the current epoch.
    evicted: AtomicU64,
}

impl Ghost {
    /// Allocates `bytes` of memory.
    pub(super) fn new(bytes: usize) -> Ghost {
        let words = (bytes / size_of::<AtomicU64>()).max(1);
        Ghost {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            epoch: 0.into(),
            evicted: 0.into(),
        }
    }

    /// The word of a hash. It uses other bits than the chain and the fingerprint do.
    fn word(&self, hash: u64) -> &AtomicU64 {
        &self.words[(((hash >> 8 & 0xffff_ffff) * self.words.len() as u64) >> 32) as usize]
    }

    /// Prefetches the word of a hash.
    pub(super) fn prefetch(&self, hash: u64) {
        super::arena::prefetch(self.word(hash));
    }

    /// The fingerprint of a hash in an epoch; never 0.
    fn fingerprint(hash: u64, epoch: u32) -> u64 {
        let hash = (hash & 0xff).max(1);
        ((u64::from(epoch) % (1 << EPOCH_BITS)) << HASH_BITS) | hash
    }

    /// Adds an evicted item. `items` is the number of items in the store. The caller holds the lock
    /// of the space.
    pub(super) fn remember(&self, hash: u64, items: u64) {
        let evicted = self.evicted.load(Relaxed) + 1;
        let is_over = evicted > items.max(ITEMS_MIN) / 2;
        self.evicted.store(if is_over { 0 } else { evicted }, Relaxed);
        let epoch = self.epoch.load(Relaxed);
        let epoch = if is_over || epoch == 0 { epoch.wrapping_add(1).max(1) } else { epoch };
        self.epoch.store(epoch, Relaxed);
        let word = self.word(hash);
        word.store(
            (word.load(Relaxed) << FINGERPRINT_BITS) | Ghost::fingerprint(hash, epoch),
            Relaxed,
        );
    }

    /// How many epochs ago an item with this hash was evicted; `None` if the queue does not know
    /// it. False positives occur.
    #[inline]
    pub(super) fn epochs_since(&self, hash: u64) -> Option<u64> {
        let epoch = self.epoch.load(Relaxed);
        if epoch == 0 {
            return None;
        }
        let word = self.word(hash).load(Relaxed);
        let prints = (0..FINGERPRINTS).map(|n| word >> (n * FINGERPRINT_BITS));
        let print = prints
            .map(|print| print & ((1 << FINGERPRINT_BITS) - 1))
            .find(|print| print & 0xff == (hash & 0xff).max(1))?;
        Some(u64::from(epoch).wrapping_sub(print >> HASH_BITS) % (1 << EPOCH_BITS))
    }

    /// Whether an item that was evicted so many epochs ago belongs to the working set: in this
    /// epoch or the two before.
    #[inline]
    pub(super) fn is_recent(epochs_since: u64) -> bool {
        epochs_since <= EPOCHS_BEFORE
    }

    /// Whether an item with this hash was evicted recently.
    #[cfg(test)]
    fn remembers(&self, hash: u64) -> bool {
        self.epochs_since(hash).is_some_and(Ghost::is_recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> u64 {
        (n + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(17)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[test]
    fn what_was_evicted_lately_is_remembered() {
        let ghost = Ghost::new(8 << 10);
        assert!(!(0..1000).any(|n| ghost.remembers(hash(n))));
        (0..1000).for_each(|n| ghost.remember(hash(n), 1000));
        assert!((500..1000).all(|n| ghost.remembers(hash(n))));
        let others = (5000..15_000).filter(|n| ghost.remembers(hash(*n))).count();
        assert!(others < 500, "{others} of 10,000 seem to be remembered");
    }

    #[test]
    fn what_was_evicted_long_ago_is_forgotten() {
        let ghost = Ghost::new(64 << 10);
        (0..5000).for_each(|n| ghost.remember(hash(n), 1000));
        assert!((4000..5000).all(|n| ghost.remembers(hash(n))));
        assert!((0..3000).filter(|n| ghost.remembers(hash(*n))).count() < 100);
    }
}
