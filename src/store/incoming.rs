//! Values that clients are still sending: space for them, apart from that of items, until they are
//! complete.
//!
//! A client may never finish what it began. So values in progress lie in segments of their own, at
//! most a quarter of the memory, of which each shard has its share: whatever they hold, a value
//! that is complete finds the rest. A value of up to a frame is copied among the items when it is
//! complete; a larger one stays where it is, and its segment becomes one of the young.

use super::layout::Layout;
use super::run::Spared;
use super::space::{Queue, Space};
use super::*;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

/// Incoming values take at most one in this many frames.
pub(super) const INCOMING_PART: usize = 4;
/// Frames that are looked at each time for one that is free.
const FRAMES_SEARCHED_MAX: usize = 256;
/// Segments of incoming values that are looked at each time for one that is empty.
const EMPTY_SEARCHED_MAX: usize = 16;

/// Frames that the incoming values of one shard may take: its share, or those of the largest item
/// and one more.
pub(super) fn shard_frames(
    frames: usize,
    frame_bytes: usize,
    shards: usize,
    item_max_bytes: usize,
) -> u32 {
    (frames / INCOMING_PART / shards).max(1 + item_max_bytes.div_ceil(frame_bytes)) as u32
}

/// What came of looking for space.
enum Search {
    Found(Reservation),
    /// The shard has its share already, or all shards have theirs.
    ShareIsFull,
    OutOfMemory,
}

impl Store {
    /// Reserves space for a value that is still to come. While this thread's share of the memory
    /// for such values is full, `give_up` is called: it drops one other reservation of this thread,
    /// or says that there is none or that the value should wait.
    pub fn reserve_incoming(
        &self,
        new: &NewItem<'_>,
        now: u32,
        mut give_up: impl FnMut() -> Full,
    ) -> Result<Reservation, ReserveError> {
        self.tick(now);
        let layout = self.checked_layout(new)?;
        let mut found = self.search_incoming(layout, new.exptime, Some(self.incoming_max), now);
        while matches!(found, Search::ShareIsFull) {
            let limit = match give_up() {
                Full::Dropped => Some(self.incoming_max),
                Full::Exceed => None,
                Full::Wait => return Err(ReserveError::OutOfMemory),
            };
            found = self.search_incoming(layout, new.exptime, limit, now);
        }
        let Search::Found(mut reservation) = found else {
            self.out_of_memory::<()>(self.class(new.exptime, now));
            return Err(ReserveError::OutOfMemory);
        };
        reservation.render(layout, new);
        Ok(reservation.incoming())
    }

    /// Takes space if this shard has no more than `limit` frames then, and all have their part.
    fn search_incoming(
        &self,
        layout: Layout,
        exptime: u32,
        limit: Option<u32>,
        now: u32,
    ) -> Search {
        let (units, shard) = (layout.units(), self.shard_index());
        let frames = units.div_ceil(1 << self.memory.frame_shift);
        let mut space = self.space();
        let at = match space.append_incoming(units, shard, |head| self.memory.live(head).0 == 0) {
            Some(at) => at,
            None => {
                self.free_empty_incoming(&mut space);
                if limit.is_some_and(|limit| space.incoming_frames(shard) + frames > limit) {
                    return Search::ShareIsFull;
                }
                let all = space.frames(Queue::Incoming) + frames;
                if all as usize > self.memory.frames() / INCOMING_PART {
                    // In a small memory the shares of many shards are more than there is.
                    let may_give_up = limit.is_some();
                    return if may_give_up { Search::ShareIsFull } else { Search::OutOfMemory };
                }
                // Others end before the newest items give way to a value that may never end.
                let spared = if limit.is_some() { Spared::Newest } else { Spared::Last };
                let Some(head) = self.free_incoming(&mut space, frames, spared, now) else {
                    let may_give_up = limit.is_some();
                    return if may_give_up { Search::ShareIsFull } else { Search::OutOfMemory };
                };
                space.begin_incoming(head, units, shard, now)
            }
        };
        Search::Found(self.occupy(at, layout, exptime, &*space))
    }

    /// Frames for incoming values: the first of them, all free. Single ones are among the last of
    /// all frames: scattered over all they would leave no run for a large value that is complete.
    fn free_incoming(
        &self,
        space: &mut Space,
        frames: u32,
        spared: Spared,
        now: u32,
    ) -> Option<u32> {
        if !self.free_frames(space, frames.min(2), now) {
            return None;
        }
        if frames > 1 {
            return self.allocate_run(space, frames, spared, now);
        }
        let all = self.memory.frames() as u32;
        let last = all - all / INCOMING_PART as u32..all;
        let is_small = |space: &Space, frame| space.segments[frame as usize].frames == 1;
        self.free_one(space, &last, Space::is_free, Spared::Recent, now)
            .or_else(|| self.free_one(space, &last, is_small, Spared::Recent, now))
            .or_else(|| self.free_one(space, &last, is_small, Spared::Newest, now))
            // A large item, however much it is used.
            .or_else(|| self.free_one(space, &last, |_, _| true, Spared::Newest, now))
            // A free one elsewhere, before the newest items are evicted.
            .or_else(|| space.free_frame())
            .or_else(|| self.free_one(space, &last, |_, _| true, spared, now))
    }

    /// A frame among these for which `suits` holds, emptied if need be; `None` if none is within
    /// reach, or `spared` tells all of their segments.
    fn free_one(
        &self,
        space: &mut Space,
        among: &Range<u32>,
        suits: impl Fn(&Space, u32) -> bool,
        spared: Spared,
        now: u32,
    ) -> Option<u32> {
        for _ in 0..FRAMES_SEARCHED_MAX.min(among.len()) {
            let frame = among.start + space.incoming_cursor % among.len() as u32;
            let is_spared = space.is_spared(frame, spared);
            if !is_spared && suits(space, frame) && self.free_frame_at(space, frame, spared, now) {
                return Some(frame);
            }
            space.incoming_cursor = space.incoming_cursor.wrapping_add(1);
        }
        None
    }

    /// Frees segments of incoming values of which none is left, the oldest first.
    pub(super) fn free_empty_incoming(&self, space: &mut Space) {
        for _ in 0..EMPTY_SEARCHED_MAX {
            let Some(head) = space.first(Queue::Incoming) else { return };
            if !self.free_if_empty(space, head) {
                space.requeue(head, Queue::Incoming);
            }
        }
    }

    /// Moves a complete value to the items; `None` if no memory can be had for it.
    pub(super) fn admit(&self, reservation: Reservation, now: u32) -> Option<Reservation> {
        let layout = reservation.layout();
        let exptime = reservation.header().exptime.load(Relaxed);
        if (layout.units() - 1) >> self.memory.frame_shift > 0 {
            let (mut space, class) = (self.space(), self.class(exptime, now));
            let head = self.memory.frame(reservation.offset()) as u32;
            space.admit(head, class);
            self.memory.set_class(space.frames_of(head), class);
            return Some(reservation.admitted());
        }
        let mut admitted = self.take(layout, exptime, now)?;
        admitted.copy(reservation.offset(), &reservation);
        Some(admitted)
    }
}
