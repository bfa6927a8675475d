//! Tlabs of open segments that a stripe appends to by itself, so that workers that store do not
//! wait for each other.
//!
//! A piece is cut from a segment with the lock of the space; places in it are taken, one after the
//! other, with that of the stripe's pieces alone. Who walks over a segment ends the pieces in it
//! first: then no place in it is taken without the lock of the space, and what a piece had left is
//! given back to the segment, or bridged by the header of an item that nothing names. Until then a
//! piece counts as live, so that its segment is not freed.
//!
//! What is bridged is less than an item for each piece. A store for one worker has no pieces.

use super::arena::{Arena, HEADER_BYTES, Offset, UNIT_BYTES};
use super::layout::{END, Layout};
use super::space::{CLASSES_MAX, Queue, Space};
use super::*;
use std::sync::atomic::Ordering::Relaxed;

/// All pieces together are at most one in so many parts of the memory.
const MEMORY_PART: usize = 64;
/// A piece is at most one in so many parts of a segment.
const SEGMENT_PART: usize = 16;
/// What is larger than one in so many parts of a piece is not taken from one.
const ITEM_PART: u32 = 8;
/// Units of the smallest item: what a bridge needs.
const FILLER_UNITS: u32 = (HEADER_BYTES + END.len()).div_ceil(UNIT_BYTES) as u32;

/// The units from `at` to `end` are left; an `end` of 0 is no piece.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tlab {
    at: Offset,
    end: Offset,
}

/// A stripe's pieces, by class of times to live.
pub(super) type Tlabs = [Tlab; CLASSES_MAX];

/// Units of a piece, where so many stripes share a memory of so many frames; 0 if there are to be
/// none.
pub(super) fn units(shards: usize, frames: usize, frame_units: usize) -> u32 {
    let all = frames * frame_units / MEMORY_PART;
    let each = all / shards / space::classes(frames as u32) as usize;
    if shards == 1 { 0 } else { each.min(frame_units / SEGMENT_PART) as u32 }
}

impl Tlab {
    fn left(self) -> u32 {
        (self.end - self.at) as u32
    }

    /// Whether `units` may be taken: what is left then is nothing, or enough for a bridge.
    fn fits(self, units: u32) -> bool {
        self.left() == units || self.left() >= units + FILLER_UNITS
    }

    #[inline]
    fn take(&mut self, units: u32) -> Option<Offset> {
        let at = self.at;
        self.fits(units).then(|| self.at += u64::from(units)).map(|()| at)
    }

    /// Makes an item that nothing names of what is left, for who walks over the segment.
    fn write_filler(self, arena: &Arena) {
        let value_bytes = self.left() as usize * UNIT_BYTES - HEADER_BYTES - END.len();
        let header = arena.header(self.at);
        header.item_flags.store(0, Relaxed);
        Layout { key_bytes: 0, overhead_bytes: 0, value_bytes }.store(header);
    }
}

impl Store {
    /// A place for `units` in this stripe's piece, if it has room; `occupy` makes it one that can
    /// be walked over.
    #[inline]
    pub(super) fn allocate_from_tlab(
        &self,
        units: u32,
        class: usize,
        occupy: impl Fn(Offset),
    ) -> Option<Offset> {
        if !self.fits_tlab(units) {
            return None;
        }
        let mut tlabs = self.shard().tlabs();
        let at = tlabs[class].take(units)?;
        occupy(at);
        Some(at)
    }

    /// Whether an item of `units` is small enough.
    pub(super) fn fits_tlab(&self, units: u32) -> bool {
        units <= self.tlab_units / ITEM_PART
    }

    /// Gives this stripe's piece room for `units`, if it can: by what lies behind it in its
    /// segment, or by another piece. There is none if memory is out, or if as much as the item
    /// takes, but no whole piece, is left of an open segment.
    pub(super) fn refill_tlab(&self, space: &mut Space, units: u32, class: usize, now: u32) {
        if self.grow_tlab(space, units, class) {
            return;
        }
        if let Some(at) = space.append(self.tlab_units, Queue::Young, class) {
            self.install_tlab(space, at, class);
        } else if !space.has_capacity(units, Queue::Young, class)
            && let Some(at) = self.append(space, self.tlab_units, class, now)
        {
            self.install_tlab(space, at, class);
        }
    }

    /// Whether this stripe's piece has room for `units`, or got it; if not, it is ended.
    fn grow_tlab(&self, space: &mut Space, units: u32, class: usize) -> bool {
        let tlab = &mut self.shard().tlabs()[class];
        if tlab.end != 0 && !tlab.fits(units) {
            tlab.end += u64::from(space.grow(tlab.end, self.tlab_units - tlab.left()));
        }
        if !tlab.fits(units) {
            self.retire_tlab(space, tlab);
        }
        tlab.end != 0
    }

    /// Makes this stripe's piece of the units from `at` on that were just appended. It has none:
    /// only with the lock of the space does it get one.
    fn install_tlab(&self, space: &mut Space, at: Offset, class: usize) {
        let tlab = Tlab { at, end: at + u64::from(self.tlab_units) };
        let before = std::mem::replace(&mut self.shard().tlabs()[class], tlab);
        assert_eq!(before.end, 0, "a tlab lost");
        space.segments[self.memory.frame(at)].tlabs += 1;
        self.memory.add(at, 0);
    }

    /// Ends the pieces in a segment: until the lock of the space is given back no place in it is
    /// taken.
    pub(super) fn retire_tlabs(&self, space: &mut Space, head: u32) {
        let class = usize::from(space.segments[head as usize].class);
        for shard in &self.shards {
            if space.segments[head as usize].tlabs == 0 {
                return;
            }
            let tlab = &mut shard.tlabs()[class];
            if tlab.end != 0 && self.memory.frame(tlab.end - 1) == head as usize {
                self.retire_tlab(space, tlab);
            }
        }
    }

    fn retire_tlab(&self, space: &mut Space, tlab: &mut Tlab) {
        let tlab = std::mem::take(tlab);
        if tlab.end == 0 {
            return;
        }
        if !space.shrink(tlab.end, tlab.left()) && tlab.left() > 0 {
            tlab.write_filler(&self.memory.arena);
        }
        let last = tlab.end - 1;
        space.segments[self.memory.frame(last)].tlabs -= 1;
        self.memory.subtract(last, 0);
    }
}
