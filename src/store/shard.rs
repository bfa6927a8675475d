//! The state of one worker: pins, counters and TLABs ([`super::tlab`]). Each worker has its own, so
//! that workers do not share cache lines.
//!
//! A pin on a frame prevents its reuse. Two limits bound the pinned frames: one for each shard and
//! one for all shards. A guard is a pin that ends before its thread does anything else. Guards
//! count towards no limit.

use super::arena::Offset;
use super::layout::Layout;
use super::memory::Memory;
use super::space::CLASSES_MAX;
use super::tlab::Tlabs;
use std::cell::Cell;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The counters of one shard, named as in [`super::Statistics`]. `items` and `bytes` are
/// differences of items linked and unlinked: in one shard they may wrap below 0, their sums do not.
#[derive(Debug, Default)]
pub(super) struct ShardStats {
    pub(super) items: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Items stored by other calls than [`super::Store::commit`].
    pub(super) stored: AtomicU64,
    pub(super) classes: [ClassStats; CLASSES_MAX],
    pub(super) pin_copied: AtomicU64,
    pub(super) moved: AtomicU64,
    /// An estimate of the hits.
    pub(super) hits: AtomicU64,
    /// Keys stored that the ghost queue remembers.
    pub(super) returns: AtomicU64,
    /// Keys stored that the ghost queue remembers as evicted from a stale segment.
    pub(super) regrets: AtomicU64,
}

/// Counters of one class, named as in [`super::ClassStatistics`].
#[derive(Debug, Default)]
pub(super) struct ClassStats {
    /// Values stored.
    pub(super) sets: AtomicU64,
    /// Values not stored because of a condition.
    pub(super) refused: AtomicU64,
    pub(super) cas_hits: AtomicU64,
    pub(super) cas_badval: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) evicted_unfetched: AtomicU64,
    pub(super) evicted_nonzero: AtomicU64,
    pub(super) reclaimed: AtomicU64,
    pub(super) expired_unfetched: AtomicU64,
    pub(super) out_of_memory: AtomicU64,
    /// The last eviction: when, in the upper half, and in the lower half the seconds since the
    /// item's last access.
    pub(super) last_evicted: AtomicU64,
}

/// Adds `n` to a counter, modulo 2^64: `u64::MAX` subtracts 1.
#[inline]
pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

/// One guard, in the upper half of a pin count.
const GUARD: u64 = 1 << 32;

/// The state of one worker. The alignment gives each shard cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Shard {
    pub(super) memory: Arc<Memory>,
    /// For each frame: in the lower half, pins on items that begin in it; in the upper half,
    /// guards.
    pins: Box<[AtomicU64]>,
    /// For each frame: pins on an item that extends beyond the frame.
    large: Box<[AtomicU32]>,
    /// Frames pinned by this shard.
    pinned: AtomicU32,
    /// Units of incoming values.
    incoming: AtomicU64,
    tlabs: Mutex<Tlabs>,
    /// Units allocated from TLABs for which nothing was evicted ahead yet. Inexact if threads share
    /// the shard.
    owed: AtomicU32,
    pub(super) stats: ShardStats,
}

impl Shard {
    pub(super) fn new(memory: Arc<Memory>) -> Shard {
        let pins = (0..memory.frames()).map(|_| AtomicU64::new(0)).collect();
        let large = (0..memory.frames()).map(|_| AtomicU32::new(0)).collect();
        Shard {
            memory,
            pins,
            large,
            pinned: 0.into(),
            incoming: 0.into(),
            tlabs: Mutex::default(),
            owed: 0.into(),
            stats: ShardStats::default(),
        }
    }

    /// Bytes that [`Shard::new`] allocates for each frame.
    pub(super) const FRAME_BYTES: usize = size_of::<AtomicU64>() + size_of::<AtomicU32>();

    /// Pins the frame at `at`. Returns whether this is the first pin of this shard on the frame.
    #[inline]
    pub(super) fn pin(&self, at: Offset) -> bool {
        let first = self.pins[self.memory.frame(at)].fetch_add(1, SeqCst) as u32 == 0;
        if first {
            self.pinned.fetch_add(1, Relaxed);
        }
        first
    }

    /// Undoes one [`Shard::pin`].
    #[inline]
    pub(super) fn unpin(&self, at: Offset) {
        if self.pins[self.memory.frame(at)].fetch_sub(1, SeqCst) as u32 == 1 {
            self.pinned.fetch_sub(1, Relaxed);
        }
    }

    /// Pins a frame for an [`super::ItemGuard`]. Returns the pins of the frame.
    #[inline(always)]
    pub(super) fn pin_guard(&self, frame: usize) -> &AtomicU64 {
        let pins = &self.pins[frame];
        pins.fetch_add(GUARD, SeqCst);
        pins
    }

    /// Undoes one [`Shard::pin_guard`], which returned `pins`.
    #[inline]
    pub(super) fn unpin_guard(pins: &AtomicU64) {
        pins.fetch_sub(GUARD, SeqCst);
    }

    /// Frames of an item after its first.
    #[inline]
    fn further(&self, layout: Layout) -> u32 {
        (layout.units() - 1) >> self.memory.frame_shift
    }

    /// Counts the frames after the first of a pinned item.
    #[inline]
    pub(super) fn hold(&self, at: Offset, layout: Layout) {
        let further = self.further(layout);
        if further > 0 && self.large[self.memory.frame(at)].fetch_add(1, SeqCst) == 0 {
            self.pinned.fetch_add(further, Relaxed);
        }
    }

    /// Undoes one [`Shard::hold`]. Called before [`Shard::unpin`].
    #[inline]
    pub(super) fn release(&self, at: Offset, layout: Layout) {
        let further = self.further(layout);
        if further > 0 && self.large[self.memory.frame(at)].fetch_sub(1, SeqCst) == 1 {
            self.pinned.fetch_sub(further, Relaxed);
        }
    }

    /// Frames pinned by this shard.
    #[inline]
    pub(super) fn pinned(&self) -> u32 {
        self.pinned.load(Relaxed)
    }

    /// Whether the lock of the TLABs is free of poison.
    pub(super) fn is_sound(&self) -> bool {
        !self.tlabs.is_poisoned()
    }

    /// The TLABs of this shard.
    #[inline]
    pub(super) fn tlabs(&self) -> MutexGuard<'_, Tlabs> {
        self.tlabs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to the units for which this shard should evict ahead. Returns all of them.
    #[inline]
    pub(super) fn owe(&self, units: u32) -> u32 {
        let owed = self.owed.load(Relaxed).saturating_add(units);
        self.owed.store(owed, Relaxed);
        owed
    }

    /// Notes that the shard evicted ahead for all the units that it owed.
    #[inline]
    pub(super) fn pay(&self) {
        self.owed.store(0, Relaxed);
    }

    /// Adds the units of an incoming value.
    pub(super) fn begin_incoming(&self, units: u32) {
        self.incoming.fetch_add(units.into(), Relaxed);
    }

    /// Subtracts the units of an incoming value.
    pub(super) fn end_incoming(&self, units: u32) {
        self.incoming.fetch_sub(units.into(), Relaxed);
    }

    /// Units of incoming values.
    pub(super) fn incoming(&self) -> u64 {
        self.incoming.load(Relaxed)
    }

    /// Whether the shard holds a pin or a guard on the frame.
    pub(super) fn is_pinned(&self, frame: u32) -> bool {
        self.pins[frame as usize].load(SeqCst) != 0
    }
}

thread_local! {
    /// The number of this thread; `usize::MAX` before it uses a store.
    static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    /// The state of this thread's pseudo-random generator.
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// The number of this thread; `usize::MAX` before it uses a store.
#[inline]
pub(super) fn number() -> usize {
    NUMBER.get()
}

/// The number of this thread modulo `shards`. Threads are numbered in the order in which they first
/// used a store.
#[inline]
pub(super) fn thread_number(shards: usize) -> usize {
    let number = NUMBER.get();
    if number < shards { number } else { assigned_number() % shards }
}

/// The number of a thread that has none yet, or that has one beyond the shards.
#[inline(never)]
fn assigned_number() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    if NUMBER.get() == usize::MAX {
        let number = THREADS.fetch_add(1, Relaxed);
        NUMBER.set(number);
        RANDOM.set(number as u64 + 1);
    }
    NUMBER.get()
}

/// Makes this thread act as the worker with this number.
#[cfg(test)]
pub(super) fn act_as(number: usize) {
    NUMBER.set(number);
}

/// Begins this thread's pseudo-random numbers anew.
#[cfg(test)]
pub(super) fn reseed(seed: u64) {
    RANDOM.set(seed);
}

/// True with a probability of 2^-`power`. Decides whether a fetch increments the use count.
#[inline]
pub(super) fn chance(power: u8) -> bool {
    if power == 0 {
        return true;
    }
    // Knuth's MMIX generator. Only its upper bits are random.
    let state = RANDOM
        .get()
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    RANDOM.set(state);
    state >> (64 - power) == 0
}
