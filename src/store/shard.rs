//! What each worker keeps for itself, so that workers do not wait for each other's cache lines:
//! pins, counters and pieces of open segments ([`super::tlab`]).
//!
//! A pin on a frame keeps it from being used anew. The frames that one stripe pins are bounded, and
//! so is what all of them pin together. A glance is a pin that ends before its thread does anything
//! else: it counts towards no bound.

use super::arena::Offset;
use super::layout::Layout;
use super::memory::Memory;
use super::space::CLASSES_MAX;
use super::tlab::Tlabs;
use std::cell::Cell;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The counters of one stripe, in the names of [`super::Statistics`]; items and bytes are those
/// linked less those unlinked, which for one stripe may be below zero.
#[derive(Debug, Default)]
pub(super) struct ShardStats {
    pub(super) items: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Items stored otherwise than by [`super::Store::commit`].
    pub(super) stored: AtomicU64,
    pub(super) classes: [ClassStats; CLASSES_MAX],
    pub(super) evictions: AtomicU64,
    pub(super) reclaimed: AtomicU64,
    pub(super) expired_unfetched: AtomicU64,
    pub(super) evicted_unfetched: AtomicU64,
    pub(super) too_large: AtomicU64,
    pub(super) no_memory: AtomicU64,
    pub(super) pin_copied: AtomicU64,
    pub(super) moved: AtomicU64,
}

/// What [`super::Store::commit`] did with items of one class, as in [`super::ClassStatistics`].
#[derive(Debug, Default)]
pub(super) struct ClassStats {
    pub(super) sets: AtomicU64,
    pub(super) cas_hits: AtomicU64,
    pub(super) cas_badval: AtomicU64,
}

/// Adds to a counter; with `u64::MAX` takes one off.
#[inline]
pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

/// One glance among the pins of a frame.
const GUARD: u64 = 1 << 32;

/// One worker's part. The alignment keeps two of them off the same cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Shard {
    pub(super) memory: Arc<Memory>,
    /// For each frame, the pins on items that begin in it in the lower half, glances at them in the
    /// upper one.
    pins: Box<[AtomicU64]>,
    /// For each frame, the pins on an item that goes on beyond it.
    large: Box<[AtomicU32]>,
    /// Frames kept by the pins of this stripe.
    pinned: AtomicU32,
    /// Units of values that are still coming.
    incoming: AtomicU64,
    tlabs: Mutex<Tlabs>,
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
            stats: ShardStats::default(),
        }
    }

    /// Bytes of memory that [`Shard::new`] takes for each frame.
    pub(super) const FRAME_BYTES: usize = size_of::<AtomicU64>() + size_of::<AtomicU32>();

    /// Pins the frame in which an item may begin; says whether it was not pinned before.
    #[inline]
    pub(super) fn pin(&self, at: Offset) -> bool {
        let first = self.pins[self.memory.frame(at)].fetch_add(1, SeqCst) as u32 == 0;
        if first {
            self.pinned.fetch_add(1, Relaxed);
        }
        first
    }

    /// Takes back a [`Shard::pin`].
    #[inline]
    pub(super) fn unpin(&self, at: Offset) {
        if self.pins[self.memory.frame(at)].fetch_sub(1, SeqCst) as u32 == 1 {
            self.pinned.fetch_sub(1, Relaxed);
        }
    }

    /// Pins a frame for a glance.
    #[inline]
    pub(super) fn pin_guard(&self, at: Offset) {
        self.pins[self.memory.frame(at)].fetch_add(GUARD, SeqCst);
    }

    /// Takes back a [`Shard::pin_guard`].
    #[inline]
    pub(super) fn unpin_guard(&self, at: Offset) {
        self.pins[self.memory.frame(at)].fetch_sub(GUARD, SeqCst);
    }

    /// Frames beyond the first that an item keeps.
    #[inline]
    fn further(&self, layout: Layout) -> u32 {
        (layout.units() - 1) >> self.memory.frame_shift
    }

    /// Counts the further frames of an item that is pinned.
    #[inline]
    pub(super) fn hold(&self, at: Offset, layout: Layout) {
        let further = self.further(layout);
        if further > 0 && self.large[self.memory.frame(at)].fetch_add(1, SeqCst) == 0 {
            self.pinned.fetch_add(further, Relaxed);
        }
    }

    /// Takes back a [`Shard::hold`]; before the pin is.
    #[inline]
    pub(super) fn release(&self, at: Offset, layout: Layout) {
        let further = self.further(layout);
        if further > 0 && self.large[self.memory.frame(at)].fetch_sub(1, SeqCst) == 1 {
            self.pinned.fetch_sub(further, Relaxed);
        }
    }

    /// Frames kept by the pins of this stripe.
    #[inline]
    pub(super) fn pinned(&self) -> u32 {
        self.pinned.load(Relaxed)
    }

    /// Whether no panic cut off a change of the pieces.
    pub(super) fn is_sound(&self) -> bool {
        !self.tlabs.is_poisoned()
    }

    /// Its pieces of open segments.
    #[inline]
    pub(super) fn tlabs(&self) -> MutexGuard<'_, Tlabs> {
        self.tlabs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the units of a value that is still coming.
    pub(super) fn begin_incoming(&self, units: u32) {
        self.incoming.fetch_add(units.into(), Relaxed);
    }

    /// Takes back a [`Shard::begin_incoming`].
    pub(super) fn end_incoming(&self, units: u32) {
        self.incoming.fetch_sub(units.into(), Relaxed);
    }

    /// Units of values that are still coming.
    pub(super) fn incoming(&self) -> u64 {
        self.incoming.load(Relaxed)
    }

    /// Whether any item that begins in the frame is pinned.
    pub(super) fn is_pinned(&self, frame: u32) -> bool {
        self.pins[frame as usize].load(SeqCst) != 0
    }
}

thread_local! {
    /// The number of this thread among those that used a store, and a state of pseudo-random
    /// numbers.
    static THREAD: (usize, Cell<u64>) = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        let number = THREADS.fetch_add(1, Relaxed);
        (number, Cell::new(number as u64 + 1))
    };
}

/// The number of this thread among those that used a store.
#[inline]
pub(super) fn thread_number() -> usize {
    THREAD.with(|(number, _)| *number)
}

/// True about once in 2 to the power of `power`: what decides whether a use of an item that is used
/// often counts.
#[inline]
pub(super) fn chance(power: u8) -> bool {
    THREAD.with(|(_, state)| {
        // Knuth's MMIX generator; its upper bits are the random ones.
        state.set(
            state
                .get()
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407),
        );
        power == 0 || state.get() >> (64 - power) == 0
    })
}
