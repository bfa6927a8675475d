//! The ghost queue of S3-FIFO: fingerprints of the keys of young items that were recently evicted,
//! and of items evicted because their segment was stale ([`super::stale`]).
//!
//! A key that is stored again soon after its eviction belongs to the working set. Its item starts
//! with one use, so it moves to the main queue and displaces items of an earlier working set.
//!
//! A hash selects a word of five fingerprints, the newest in the lowest bits. A fingerprint has 8
//! bits of the hash and 4 bits of the epoch. An epoch ends once half as many items were evicted as
//! the store holds. Fingerprints of the current epoch and of the two before count, so the queue
//! remembers about as many keys as the store has items. The fingerprint of an item of a stale
//! segment has [`STALE`] in place of an epoch: it counts until newer ones displace it.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Fingerprints in a word.
const FINGERPRINTS: u32 = 5;
/// Bits of a fingerprint, its epoch included.
const FINGERPRINT_BITS: u32 = HASH_BITS + EPOCH_BITS;
const HASH_BITS: u32 = 8;
const EPOCH_BITS: u32 = 4;
/// Epochs before the current one whose fingerprints count.
const EPOCHS_BEFORE: u32 = 2;
/// In place of an epoch: the item was evicted because its segment was stale.
const STALE: u32 = 0;
/// Epochs are numbered from 1 to this, and then from 1 again.
const EPOCHS: u32 = (1 << EPOCH_BITS) - 1;
/// Lower bound of the number of items in the length of an epoch.
const ITEMS_MIN: u64 = 64;

/// How an item was evicted whose key the ghost queue remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evicted {
    /// From the young queue, so many epochs ago.
    Young(u32),
    /// From a stale segment.
    Stale,
}

impl Evicted {
    /// Whether the key belongs to the working set: its item was evicted in this epoch or the two
    /// before, or should not have been evicted.
    #[inline]
    pub(super) fn is_recent(self) -> bool {
        match self {
            Evicted::Young(epochs_since) => epochs_since <= EPOCHS_BEFORE,
            Evicted::Stale => true,
        }
    }
}

#[derive(Debug)]
pub(super) struct Ghost {
    words: Box<[AtomicU64]>,
    /// The current epoch; 0 before the first eviction.
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

    /// The fingerprint of a hash in an epoch, or with [`STALE`]; never 0.
    fn fingerprint(hash: u64, epoch: u32) -> u64 {
        (u64::from(epoch) << HASH_BITS) | (hash & 0xff).max(1)
    }

    fn push(&self, hash: u64, epoch: u32) {
        let word = self.word(hash);
        let others = word.load(Relaxed) << FINGERPRINT_BITS;
        word.store(others | Ghost::fingerprint(hash, epoch), Relaxed);
    }

    /// Adds an item of a stale segment that was evicted. The caller holds the lock of the space.
    pub(super) fn remember_stale(&self, hash: u64) {
        self.epoch.store(self.epoch.load(Relaxed).max(1), Relaxed);
        self.push(hash, STALE);
    }

    /// Adds an evicted young item. `items` is the number of items in the store. The caller holds
    /// the lock of the space.
    pub(super) fn remember(&self, hash: u64, items: u64) {
        let evicted = self.evicted.load(Relaxed) + 1;
        let is_over = evicted > items.max(ITEMS_MIN) / 2;
        self.evicted.store(if is_over { 0 } else { evicted }, Relaxed);
        let epoch = self.epoch.load(Relaxed);
        let epoch = if is_over || epoch == 0 { epoch % EPOCHS + 1 } else { epoch };
        self.epoch.store(epoch, Relaxed);
        self.push(hash, epoch);
    }

    /// How an item with this hash was evicted; `None` if the queue does not know it. False
    /// positives occur.
    #[inline]
    pub(super) fn evicted(&self, hash: u64) -> Option<Evicted> {
        let epoch = self.epoch.load(Relaxed);
        if epoch == 0 {
            return None;
        }
        let word = self.word(hash).load(Relaxed);
        let prints = (0..FINGERPRINTS).map(|n| word >> (n * FINGERPRINT_BITS));
        let print = prints
            .map(|print| print & ((1 << FINGERPRINT_BITS) - 1))
            .find(|print| print & 0xff == (hash & 0xff).max(1))?;
        Some(match (print >> HASH_BITS) as u32 {
            STALE => Evicted::Stale,
            past if past <= epoch => Evicted::Young(epoch - past),
            past => Evicted::Young(epoch + EPOCHS - past),
        })
    }

    /// Whether an item with this hash was evicted recently.
    #[cfg(test)]
    fn remembers(&self, hash: u64) -> bool {
        self.evicted(hash).is_some_and(Evicted::is_recent)
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
    fn items_of_stale_segments_are_told_apart_until_others_displace_them() {
        let ghost = Ghost::new(8 << 10);
        (0..500).for_each(|n| ghost.remember_stale(hash(n)));
        (500..1000).for_each(|n| ghost.remember(hash(n), 100));
        let is_stale = |n: &u64| ghost.evicted(hash(*n)) == Some(Evicted::Stale);
        assert!((0..500).filter(is_stale).count() > 490);
        assert!((500..1000).filter(is_stale).count() < 10);
        (5000..20_000).for_each(|n| ghost.remember(hash(n), 100));
        assert!(!(0..500).any(|n| is_stale(&n)));
    }

    /// The numbers of epochs begin again.
    #[test]
    fn the_newest_are_remembered_in_any_epoch() {
        let ghost = Ghost::new(64 << 10);
        for n in 0..4000 {
            ghost.remember(hash(n), 100);
            assert!(ghost.remembers(hash(n.saturating_sub(90))), "{n}");
            assert!(n < 2000 || !ghost.remembers(hash(n - 400)), "{n}");
        }
    }

    #[test]
    fn what_was_evicted_long_ago_is_forgotten() {
        let ghost = Ghost::new(64 << 10);
        (0..5000).for_each(|n| ghost.remember(hash(n), 1000));
        assert!((4000..5000).all(|n| ghost.remembers(hash(n))));
        assert!((0..3000).filter(|n| ghost.remembers(hash(*n))).count() < 100);
    }
}
