//! Thread-local allocation buffers (TLABs): parts of open segments to which one shard appends, so
//! that workers that store do not wait for each other.
//!
//! A shard allocates a TLAB from a segment under the lock of the space. It allocates items from the
//! TLAB under the lock of its TLABs alone. A thread that walks over a segment retires its TLABs
//! first. From then on only the lock of the space allows allocations there. The rest of a retired
//! TLAB returns to the segment or, if that is impossible, becomes a filler: the header of an item
//! that no entry refers to. A TLAB counts as live, so its segment is not freed.
//!
//! Each filler is smaller than one item. A store for one worker has no TLABs.

use super::arena::{Arena, HEADER_BYTES, Offset, UNIT_BYTES};
use super::layout::{END, Layout};
use super::space::{CLASSES_MAX, Queue, Space};
use super::*;
use std::sync::atomic::Ordering::Relaxed;

/// Divisor: all TLABs together take at most this part of the memory.
const MEMORY_PART: usize = 64;
/// Divisor: a TLAB takes at most this part of a segment.
const SEGMENT_PART: usize = 16;
/// Divisor: items above this part of a TLAB are allocated from the segment.
const ITEM_PART: u32 = 8;
/// Units of the smallest item, and so of the smallest filler.
const FILLER_UNITS: u32 = (HEADER_BYTES + END.len()).div_ceil(UNIT_BYTES) as u32;

/// The free units from `at` to `end`. `end` is 0 if there is no TLAB.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tlab {
    at: Offset,
    end: Offset,
}

/// The TLABs of a shard, by class of times to live.
pub(super) type Tlabs = [Tlab; CLASSES_MAX];

/// Units of a TLAB for this number of shards and frames; 0 for a single shard.
pub(super) fn units(shards: usize, frames: usize, frame_units: usize) -> u32 {
    let all = frames * frame_units / MEMORY_PART;
    let each = all / shards / space::classes(frames as u32) as usize;
    if shards == 1 { 0 } else { each.min(frame_units / SEGMENT_PART) as u32 }
}

impl Tlab {
    fn left(self) -> u32 {
        (self.end - self.at) as u32
    }

    /// Whether `units` can be allocated. The rest must be 0 or enough for a filler.
    fn fits(self, units: u32) -> bool {
        self.left() == units || self.left() >= units + FILLER_UNITS
    }

    #[inline]
    fn take(&mut self, units: u32) -> Option<Offset> {
        let at = self.at;
        self.fits(units).then(|| self.at += u64::from(units)).map(|()| at)
    }

    /// Covers the free units with an item that no entry refers to, for walks over the segment.
    fn write_filler(self, arena: &Arena, space: &Space) {
        let value_bytes = self.left() as usize * UNIT_BYTES - HEADER_BYTES - END.len();
        let header = arena.header(self.at, space);
        header.item_flags.store(0, Relaxed);
        Layout { key_bytes: 0, overhead_bytes: 0, value_bytes }.store(header);
    }
}

impl Store {
    /// Allocates an item from the TLAB of this shard.
    #[inline(always)]
    pub(super) fn allocate_from_tlab(
        &self,
        layout: Layout,
        class: usize,
        exptime: u32,
    ) -> Option<Reservation> {
        let units = layout.units();
        if !self.fits_tlab(units) {
            return None;
        }
        let mut tlabs = self.shard().tlabs();
        let at = tlabs[class].take(units)?;
        Some(self.occupy(at, layout, exptime, &*tlabs))
    }

    /// Whether an item of `units` is small enough for a TLAB.
    pub(super) fn fits_tlab(&self, units: u32) -> bool {
        units <= self.tlab_units / ITEM_PART
    }

    /// Makes the TLAB of this shard large enough for `units`: extends it, or replaces it by a new
    /// one. Does neither if memory is exhausted, or if an open segment has enough for the item but
    /// not for a TLAB.
    pub(super) fn refill_tlab(&self, space: &mut Space, units: u32, class: usize, now: u32) {
        if self.grow_tlab(space, units, class) {
            return;
        }
        if let Some(at) = space.append_new(self.tlab_units, class) {
            self.install_tlab(space, at, class);
        } else if !space.has_capacity(units, Queue::Young, class)
            && let Some(at) = self.append(space, self.tlab_units, class, now)
        {
            self.install_tlab(space, at, class);
        }
    }

    /// Extends the TLAB of this shard for `units`, or retires it. Returns whether `units` fit.
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

    /// Makes a TLAB of units that were just appended at `at`. The shard has none: creating one
    /// takes the lock of the space.
    fn install_tlab(&self, space: &mut Space, at: Offset, class: usize) {
        let tlab = Tlab { at, end: at + u64::from(self.tlab_units) };
        let before = std::mem::replace(&mut self.shard().tlabs()[class], tlab);
        assert_eq!(before.end, 0, "a tlab lost");
        space.segments[self.memory.frame(at)].tlabs += 1;
        self.memory.add(at, 0);
    }

    /// Retires the TLABs of a segment. Until the lock of the space is released nothing is allocated
    /// there.
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
            tlab.write_filler(&self.memory.arena, space);
        }
        let last = tlab.end - 1;
        space.segments[self.memory.frame(last)].tlabs -= 1;
        self.memory.subtract(last, 0);
    }
}
