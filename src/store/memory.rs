//! The memory that item handles keep alive after the store is dropped: the arena and the live
//! counts of its frames. Lock-free.

use super::arena::{Arena, Offset, UNIT_BYTES};
use std::ops::Range;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// Gives a value cache lines of its own, because all threads write it often.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct CachePadded<T>(pub(super) T);

/// The arena, and for each frame the live items that begin in it.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) arena: Arena,
    /// Binary logarithm of the units of a frame.
    pub(super) frame_shift: u32,
    /// Upper half: items, reservations and TLABs. Lower half: units of items and reservations.
    live: Box<[AtomicU64]>,
    /// The latest exptime of the items in a frame; `u32::MAX` if one never expires.
    expiry: Box<[AtomicU32]>,
    /// The class of the segment of each frame, for counters: readable without a lock.
    class: Box<[AtomicU8]>,
}

impl Memory {
    /// Allocates `frames` frames of 2^`frame_shift` units.
    pub(super) fn new(frames: usize, frame_shift: u32) -> std::io::Result<Memory> {
        Ok(Memory::of(Arena::new((frames << frame_shift) * UNIT_BYTES)?, frames, frame_shift))
    }

    /// As [`Memory::new`], but a page takes memory at the first write to it.
    #[cfg(all(test, not(miri)))]
    pub(super) fn sparse(frames: usize, frame_shift: u32) -> std::io::Result<Memory> {
        Ok(Memory::of(Arena::sparse((frames << frame_shift) * UNIT_BYTES)?, frames, frame_shift))
    }

    fn of(arena: Arena, frames: usize, frame_shift: u32) -> Memory {
        Memory {
            arena,
            frame_shift,
            live: (0..frames).map(|_| AtomicU64::new(0)).collect(),
            expiry: (0..frames).map(|_| AtomicU32::new(0)).collect(),
            class: (0..frames).map(|_| AtomicU8::new(0)).collect(),
        }
    }

    /// Bytes that [`Memory::new`] allocates for each frame, without the frame.
    pub(super) const FRAME_BYTES: usize =
        size_of::<AtomicU64>() + size_of::<AtomicU32>() + size_of::<AtomicU8>();

    pub(super) fn frames(&self) -> usize {
        self.live.len()
    }

    #[inline]
    pub(super) fn frame(&self, at: Offset) -> usize {
        (at >> self.frame_shift) as usize
    }

    /// Adds an item, a reservation or a TLAB to the live count. The caller holds the lock of the
    /// space, or allocates from a TLAB, which itself counts. So a count of 0 stays 0 under the
    /// lock.
    pub(super) fn add(&self, at: Offset, units: u32) {
        self.live[self.frame(at)].fetch_add(1 << 32 | u64::from(units), SeqCst);
    }

    /// Subtracts from the live count, after the entry of the item was removed.
    pub(super) fn subtract(&self, at: Offset, units: u32) {
        self.live[self.frame(at)].fetch_sub(1 << 32 | u64::from(units), SeqCst);
    }

    /// The items, reservations and TLABs that begin in a frame, and the units of items and
    /// reservations.
    pub(super) fn live(&self, frame: u32) -> (u32, u32) {
        let live = self.live[frame as usize].load(SeqCst);
        ((live >> 32) as u32, live as u32)
    }

    /// The sum of [`Memory::live`] over the frames of a segment.
    pub(super) fn live_in(&self, frames: Range<u32>) -> (u32, u32) {
        let live = frames.map(|frame| self.live(frame));
        live.fold((0, 0), |(items, units), live| (items + live.0, units + live.1))
    }

    /// Raises the expiry of the frame at `at` to `exptime`.
    pub(super) fn extend(&self, at: Offset, exptime: u32) {
        let (expiry, exptime) =
            (&self.expiry[self.frame(at)], if exptime == 0 { u32::MAX } else { exptime });
        // Most items do not raise it. A load leaves the cache line shared.
        if expiry.load(SeqCst) < exptime {
            expiry.fetch_max(exptime, SeqCst);
        }
    }

    /// The latest exptime of the items in these frames; `u32::MAX` if one never expires.
    pub(super) fn expiry(&self, frames: Range<u32>) -> u32 {
        frames.map(|frame| self.expiry[frame as usize].load(Relaxed)).max().unwrap_or(0)
    }

    /// Notes the class of a segment that begins in these frames, or extends into them.
    pub(super) fn set_class(&self, frames: Range<u32>, class: usize) {
        frames.for_each(|frame| self.class[frame as usize].store(class as u8, Relaxed));
    }

    /// The class of the segment of the item at `at`.
    pub(super) fn class(&self, at: Offset) -> usize {
        self.class[self.frame(at)].load(Relaxed).into()
    }

    /// Resets the expiry of empty frames. The caller holds the lock of the space.
    pub(super) fn reset_expiry(&self, frames: Range<u32>) {
        frames.for_each(|frame| self.expiry[frame as usize].store(0, SeqCst));
    }
}
