//! Runs of frames for large values: which segments are emptied for them.
//!
//! The cost of a run is the value of its items: how much is live, how old it is, and how often it
//! was used. Main segments cost more while young items hold more than their share of the memory, so
//! that a scan of large values does not evict what is used. Recent segments are excluded as long as
//! others suffice, and the newest item always: it is never evicted for the next one. A segment with
//! a reservation, that is, an item that a writer has not completed, cannot be freed: another run is
//! cleared then.

use super::evict::DEFERRED_SCAN_MAX;
use super::space::{Queue, Space, State};
use super::*;
use std::ops::Range;

/// Divisor: segments are recent while less than this part of the frames was written since.
const RECENT_PART: u32 = 4;
/// Divisor: segments are the newest while less than this part of the frames was written since.
const NEWEST_PART: u32 = 16;
/// Limit of the runs that are cleared before the allocation fails.
const ATTEMPTS: usize = 8;
/// Limit of the segments with reservations that one allocation avoids. A thread has one or two.
const RESERVED_MAX: usize = 64;
/// Frames of one search, in addition to the length of the run.
const RUN_SEARCH_FRAMES: u32 = 8192;
/// Factor of the cost of main segments while young items hold more than their share.
const MAIN_COST: u32 = 8;
/// Segments of this age, in quarters of the memory, cost least.
const AGE_QUARTERS: u32 = 3;

/// What eviction leaves alone, of the segments of young items: those that were written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spared {
    /// The segment of the item that was stored last, and others if they may be that.
    Last,
    /// Open segments, and those of the last [`NEWEST_PART`].
    Newest,
    /// Open segments, and those of the last [`RECENT_PART`].
    Recent,
}

/// Segments that were found to hold reservations.
struct Reserved {
    heads: [u32; RESERVED_MAX],
    len: usize,
}

impl Reserved {
    const NONE: Reserved = Reserved { heads: [0; RESERVED_MAX], len: 0 };

    fn contains(&self, head: u32) -> bool {
        self.heads[..self.len].contains(&head)
    }

    /// Adds a segment, unless there are too many.
    fn add(&mut self, head: u32) {
        if let Some(next) = self.heads.get_mut(self.len) {
            *next = head;
            self.len += 1;
        }
    }
}

impl Store {
    /// Allocates a run of `frames` frames, emptying segments if need be, but none that `spared`
    /// tells. Returns the first frame.
    pub(super) fn allocate_run(
        &self,
        space: &mut Space,
        frames: u32,
        spared: Spared,
        now: u32,
    ) -> Option<u32> {
        let (mut reserved, mut attempts) = (Reserved::NONE, 0);
        while attempts < ATTEMPTS {
            let avoided = reserved.len;
            let among = Store::search_range(space, frames);
            if let Some(first) = space.free_run(frames, among.clone()) {
                return Some(first);
            }
            // Readers and writers may be done with segments that were emptied before.
            self.free_deferred(space, DEFERRED_SCAN_MAX);
            let first = space
                .free_run(frames, among.clone())
                .or_else(|| self.clear_run(space, frames, among, spared, &mut reserved, now));
            if first.is_some() {
                return first;
            }
            attempts += usize::from(reserved.len == avoided);
        }
        None
    }

    /// Empties one frame, unless `spared` tells its segment. Returns whether it is free.
    pub(super) fn free_frame_at(
        &self,
        space: &mut Space,
        frame: u32,
        spared: Spared,
        now: u32,
    ) -> bool {
        let (mut reserved, among) = (Reserved::NONE, frame..frame + 1);
        space.is_free(frame)
            || self.clear_run(space, 1, among, spared, &mut reserved, now).is_some()
    }

    /// The range of frames for the next search; the whole memory if it is small.
    fn search_range(space: &mut Space, frames: u32) -> Range<u32> {
        let (all, part) = (space.segments.len() as u32, RUN_SEARCH_FRAMES + frames);
        if all <= part {
            return 0..all;
        }
        let start = space.run_cursor % (all - part + 1);
        space.run_cursor =
            if start == all - part { 0 } else { (start + RUN_SEARCH_FRAMES).min(all - part) };
        start..start + part
    }

    /// Empties the segments of the run in this range that costs least. Returns its first frame if
    /// all its frames became free. Empties nothing if the run has segments with reservations, and
    /// adds these to `reserved`.
    fn clear_run(
        &self,
        space: &mut Space,
        frames: u32,
        among: Range<u32>,
        spared: Spared,
        reserved: &mut Reserved,
        now: u32,
    ) -> Option<u32> {
        let each = [Spared::Recent, Spared::Newest, Spared::Last].into_iter();
        let first = each.filter(|each| *each >= spared).find_map(|spared| {
            let cost = |space: &Space, head| match reserved.contains(head) {
                true => None,
                false => self.cost(space, head, spared),
            };
            space.window(frames, among.clone(), cost)
        })?;
        let run = first..first + frames;
        let len = reserved.len;
        for frame in run.clone() {
            if let Some(head) = space.head(frame)
                && frame == head.max(run.start)
                && self.has_reservation(space, head)
            {
                reserved.add(head);
            }
        }
        if reserved.len > len {
            return None;
        }
        self.clear(space, run.clone(), now);
        let mut segments = space.segments[run.start as usize..run.end as usize].iter();
        segments.all(|segment| segment.state == State::Free).then_some(first)
    }

    /// The cost of emptying a segment; `None` if it is spared or cannot be emptied.
    fn cost(&self, space: &Space, head: u32, spared: Spared) -> Option<u32> {
        let segment = &space.segments[head as usize];
        let is_spared = space.is_spared(head, spared);
        if !space.is_evictable(head) || is_spared || self.is_pinned(segment, head) {
            return None;
        }
        let quarters = 4 * u64::from(space.age(head)) / space.segments.len() as u64;
        let newer = AGE_QUARTERS.saturating_sub(quarters as u32);
        let uses = if space.is_run(head) { self.uses(space.start(head), space) } else { 0 };
        let is_protected =
            segment.queue == Queue::Main && space.has_many_young() && !space.is_stale(head);
        let factor = if is_protected { MAIN_COST } else { 1 } * (1 + newer + u32::from(uses));
        Some(self.memory.live_in(space.frames_of(head)).1.saturating_mul(factor))
    }

    /// Whether a segment counts more items than entries refer to.
    pub(super) fn has_reservation(&self, space: &mut Space, head: u32) -> bool {
        let mut walk = self.walk(space, head);
        let linked = self.linked(space, &mut walk).count();
        self.memory.live_in(space.frames_of(head)).0 as usize > linked
    }

    /// Empties all segments that overlap a run.
    fn clear(&self, space: &mut Space, run: Range<u32>, now: u32) {
        for frame in run.clone() {
            if let Some(head) = space.head(frame) {
                space.close(head);
            }
        }
        // Items must not move to another frame of the run.
        space.reserve_frames(run.clone());
        for frame in run {
            if let Some(head) = space.head(frame) {
                let cutoff = self.cutoff(space, head, now);
                self.empty(space, head, cutoff, now);
            }
        }
        space.release_frames();
    }
}

impl Space {
    /// Whether eviction leaves the segment of a frame alone.
    pub(super) fn is_spared(&self, frame: u32, spared: Spared) -> bool {
        let head = self.head(frame).unwrap_or(frame);
        let segment = &self.segments[head as usize];
        if !self.is_evictable(head) || segment.queue != Queue::Young {
            return false;
        }
        let frames = self.segments.len() as u32;
        let (age, may_be_open) = match spared {
            // An item that is stored after a frame was counted as written is newer.
            Spared::Last => (1, false),
            // The frame of an item may be filled right after it.
            Spared::Newest => (1 + frames.div_ceil(NEWEST_PART), true),
            Spared::Recent => (frames / RECENT_PART, true),
        };
        self.age(head) < age || segment.tlabs > 0 || (may_be_open && self.is_open(head))
    }
}
