//! What handles outlive the store with: the arena, and what is left in each of its frames. No lock
//! is needed for any of it.

use super::arena::{Arena, Offset, UNIT_BYTES};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// What has cache lines to itself, for it is written often and by all.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct CachePadded<T>(pub(super) T);

/// The arena, and for each of its frames what is left of the items that begin in it.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) arena: Arena,
    /// Units of a frame, as a power of 2.
    pub(super) frame_shift: u32,
    /// Items, reservations and pieces in the upper half, the units of items and reservations in the
    /// lower.
    live: Box<[AtomicU64]>,
    /// When the last of the items expires, or `u32::MAX`.
    expiry: Box<[AtomicU32]>,
}

impl Memory {
    /// Takes memory for `frames` frames of 2 to the power of `frame_shift` units.
    pub(super) fn new(frames: usize, frame_shift: u32) -> std::io::Result<Memory> {
        Ok(Memory::of(Arena::new((frames << frame_shift) * UNIT_BYTES)?, frames, frame_shift))
    }

    /// As [`Memory::new`], but the frames take memory only when they are written.
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
        }
    }

    /// Bytes of memory that [`Memory::new`] takes for each frame besides the frame.
    pub(super) const FRAME_BYTES: usize = size_of::<AtomicU64>() + size_of::<AtomicU32>();

    pub(super) fn frames(&self) -> usize {
        self.live.len()
    }

    #[inline]
    pub(super) fn frame(&self, at: Offset) -> usize {
        (at >> self.frame_shift) as usize
    }

    /// Counts an item, a reservation or a piece in; with the lock of the space, or in a piece,
    /// which itself counts: so a count of 0 stays 0 under the lock.
    pub(super) fn add(&self, at: Offset, units: u32) {
        self.live[self.frame(at)].fetch_add(1 << 32 | u64::from(units), SeqCst);
    }

    /// Counts one out, after the entry that named its place was removed.
    pub(super) fn subtract(&self, at: Offset, units: u32) {
        self.live[self.frame(at)].fetch_sub(1 << 32 | u64::from(units), SeqCst);
    }

    /// Items, reservations and pieces that begin in a frame, and the units of the former two.
    pub(super) fn live(&self, frame: u32) -> (u32, u32) {
        let live = self.live[frame as usize].load(SeqCst);
        ((live >> 32) as u32, live as u32)
    }

    /// An item in this frame lives until `exptime`.
    pub(super) fn extend(&self, at: Offset, exptime: u32) {
        let (expiry, exptime) =
            (&self.expiry[self.frame(at)], if exptime == 0 { u32::MAX } else { exptime });
        // Most items change nothing; then the line stays with whoever else has it.
        if expiry.load(SeqCst) < exptime {
            expiry.fetch_max(exptime, SeqCst);
        }
    }

    pub(super) fn expiry(&self, frame: u32) -> u32 {
        self.expiry[frame as usize].load(Relaxed)
    }

    /// With the lock of the space, on a frame in which nothing is left.
    pub(super) fn reset_expiry(&self, frame: u32) {
        self.expiry[frame as usize].store(0, SeqCst);
    }
}
