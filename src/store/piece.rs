//! Pieces of open segments that a stripe appends to by itself, so that workers that store do not
//! wait for each other.
//!
//! A piece is cut from a segment with the lock of the space; places in it are taken, one after the
//! other, with that of the stripe's pieces alone. Who walks over a segment ends the pieces in it
//! first: then no place in it is taken without the lock of the space, and what a piece had left is
//! given back to the segment, or bridged by the header of an item that nothing names. Until then a
//! piece counts as live, so that its segment is not freed.
//!
//! What is bridged is less than an item for each piece. A store for one worker has no pieces.

use super::arena::{Arena, HEADER_BYTES, Place, UNIT_BYTES};
use super::layout::{END, Shape};
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
const BRIDGE_UNITS: u32 = (HEADER_BYTES + END.len()).div_ceil(UNIT_BYTES) as u32;

/// The units from `at` to `end` are left; an `end` of 0 is no piece.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Piece {
    at: Place,
    end: Place,
}

/// A stripe's pieces, by class of times to live.
pub(super) type Pieces = [Piece; CLASSES_MAX];

/// Units of a piece, where so many stripes share a memory of so many frames; 0 if there are to be
/// none.
pub(super) fn units(stripes: usize, frames: usize, frame_units: usize) -> u32 {
    let all = frames * frame_units / MEMORY_PART;
    let each = all / stripes / space::classes(frames as u32) as usize;
    if stripes == 1 { 0 } else { each.min(frame_units / SEGMENT_PART) as u32 }
}

impl Piece {
    fn left(self) -> u32 {
        (self.end - self.at) as u32
    }

    /// Whether `units` may be taken: what is left then is nothing, or enough for a bridge.
    fn fits(self, units: u32) -> bool {
        self.left() == units || self.left() >= units + BRIDGE_UNITS
    }

    #[inline]
    fn take(&mut self, units: u32) -> Option<Place> {
        let at = self.at;
        self.fits(units).then(|| self.at += u64::from(units)).map(|()| at)
    }

    /// Makes an item that nothing names of what is left, for who walks over the segment.
    fn bridge(self, arena: &Arena) {
        let value_bytes = self.left() as usize * UNIT_BYTES - HEADER_BYTES - END.len();
        let header = arena.header(self.at);
        header.marks.store(0, Relaxed);
        Shape { key_bytes: 0, frill_bytes: 0, value_bytes }.store(header);
    }
}

impl Store {
    /// A place for `units` in this stripe's piece, if it has room; `occupy` makes it one that can
    /// be walked over.
    #[inline]
    pub(super) fn take_from_piece(
        &self,
        units: u32,
        class: usize,
        occupy: impl Fn(Place),
    ) -> Option<Place> {
        if !self.is_for_pieces(units) {
            return None;
        }
        let mut pieces = self.stripe().pieces();
        let at = pieces[class].take(units)?;
        occupy(at);
        Some(at)
    }

    /// Whether an item of `units` is small enough.
    pub(super) fn is_for_pieces(&self, units: u32) -> bool {
        units <= self.piece_units / ITEM_PART
    }

    /// Gives this stripe's piece room for `units`, if it can: by what lies behind it in its
    /// segment, or by another piece. There is none if memory is out, or if as much as the item
    /// takes, but no whole piece, is left of an open segment.
    pub(super) fn renew_piece(&self, space: &mut Space, units: u32, class: usize, now: u32) {
        if self.lengthen_piece(space, units, class) {
            return;
        }
        if let Some(at) = space.append(self.piece_units, Queue::Young, class) {
            self.begin_piece(space, at, class);
        } else if !space.has_room(units, Queue::Young, class)
            && let Some(at) = self.append(space, self.piece_units, class, now)
        {
            self.begin_piece(space, at, class);
        }
    }

    /// Whether this stripe's piece has room for `units`, or got it; if not, it is ended.
    fn lengthen_piece(&self, space: &mut Space, units: u32, class: usize) -> bool {
        let piece = &mut self.stripe().pieces()[class];
        if piece.end != 0 && !piece.fits(units) {
            piece.end += u64::from(space.lengthen(piece.end, self.piece_units - piece.left()));
        }
        if !piece.fits(units) {
            self.end_piece(space, piece);
        }
        piece.end != 0
    }

    /// Makes this stripe's piece of the units from `at` on that were just appended. It has none:
    /// only with the lock of the space does it get one.
    fn begin_piece(&self, space: &mut Space, at: Place, class: usize) {
        let piece = Piece { at, end: at + u64::from(self.piece_units) };
        let before = std::mem::replace(&mut self.stripe().pieces()[class], piece);
        assert_eq!(before.end, 0, "a piece lost");
        space.segments[self.memory.frame(at)].pieces += 1;
        self.memory.add(at, 0);
    }

    /// Ends the pieces in a segment: until the lock of the space is given back no place in it is
    /// taken.
    pub(super) fn end_pieces(&self, space: &mut Space, head: u32) {
        let class = usize::from(space.segments[head as usize].class);
        for stripe in &self.stripes {
            if space.segments[head as usize].pieces == 0 {
                return;
            }
            let piece = &mut stripe.pieces()[class];
            if piece.end != 0 && self.memory.frame(piece.end - 1) == head as usize {
                self.end_piece(space, piece);
            }
        }
    }

    fn end_piece(&self, space: &mut Space, piece: &mut Piece) {
        let piece = std::mem::take(piece);
        if piece.end == 0 {
            return;
        }
        if !space.shorten(piece.end, piece.left()) && piece.left() > 0 {
            piece.bridge(&self.memory.arena);
        }
        let last = piece.end - 1;
        space.segments[self.memory.frame(last)].pieces -= 1;
        self.memory.subtract(last, 0);
    }
}
