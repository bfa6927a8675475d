//! Frames in a run for a large value: which segments are emptied for them.
//!
//! A run is chosen by what the items in it are worth: how much is live, how long ago it was stored
//! and how often it was used. What was stored lately is not considered while there is anything
//! else: the newest item is never evicted for the next one. A segment may turn out not to be freed,
//! since a reader or a writer holds an item in it. Then another run is cleared.

use super::space::{Queue, Space, State};
use super::*;
use std::ops::Range;

/// Segments written to within the last one in this many frames are left alone, if possible.
const RECENT_PART: u32 = 4;
/// Within the last one in this many frames, they are left alone unless there is nothing else.
const NEWEST_PART: u32 = 16;
/// Each time that no run is found, this part of those segments remains.
const RECENT_LESS: u32 = 4;
/// Rows that are cleared, at most, before the value is refused.
const ATTEMPTS: usize = 8;
/// Frames among which a run is searched each time, besides those of one run.
const RUN_SEARCH_FRAMES: u32 = 8192;
/// The age of segments in quarters of the memory: those of this many quarters cost least.
const AGE_QUARTERS: u32 = 3;

impl Store {
    /// The first of `frames` frames in a run, all free, emptied if need be.
    pub(super) fn allocate_run(&self, space: &mut Space, frames: u32, now: u32) -> Option<u32> {
        for _ in 0..ATTEMPTS {
            let among = Store::search_range(space, frames);
            let free = space.free_run(frames, among.clone());
            if let Some(first) = free.or_else(|| self.clear_run(space, frames, among, now)) {
                return Some(first);
            }
        }
        None
    }

    /// One frame, emptied; whether it is free now.
    pub(super) fn free_frame_at(&self, space: &mut Space, frame: u32, now: u32) -> bool {
        space.is_free(frame) || self.clear_run(space, 1, frame..frame + 1, now).is_some()
    }

    /// Whether the items of a frame's segment may be among the newest.
    pub(super) fn is_recent(&self, space: &Space, frame: u32, recent: u32) -> bool {
        let head = space.head(frame).unwrap_or(frame);
        let is_young =
            space.is_evictable(head) && space.segments[head as usize].queue == Queue::Young;
        let segment = &space.segments[head as usize];
        is_young && (space.is_open(head) || segment.tlabs > 0 || space.age(head) < recent)
    }

    /// The age below which segments are recent, in frames.
    pub(super) fn recent_frames(space: &Space) -> u32 {
        space.segments.len() as u32 / RECENT_PART
    }

    /// The age below which segments may hold the newest items, in frames.
    pub(super) fn newest_frames(space: &Space) -> u32 {
        space.segments.len() as u32 / NEWEST_PART
    }

    /// The part of a large memory in which the next run is searched.
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

    /// Empties the segments in the run among these that costs least; the first frame, if all
    /// became free.
    fn clear_run(
        &self,
        space: &mut Space,
        frames: u32,
        among: Range<u32>,
        now: u32,
    ) -> Option<u32> {
        let mut recent = Store::recent_frames(space);
        let first = loop {
            let cost = |space: &Space, head| self.cost(space, head, recent);
            match space.window(frames, among.clone(), cost) {
                Some(first) => break first,
                None if recent == 0 => return None,
                None => recent /= RECENT_LESS,
            }
        };
        let run = first..first + frames;
        self.clear(space, run.clone(), now);
        let mut segments = space.segments[run.start as usize..run.end as usize].iter();
        segments.all(|segment| segment.state == State::Free).then_some(first)
    }

    /// What it costs to empty a segment; `None` if that is impossible, or if it is recent.
    fn cost(&self, space: &Space, head: u32, recent: u32) -> Option<u32> {
        let segment = &space.segments[head as usize];
        let is_recent = recent > 0 && self.is_recent(space, head, recent);
        if !space.is_evictable(head) || is_recent || self.is_pinned(segment, head) {
            return None;
        }
        let quarters = 4 * u64::from(space.age(head)) / space.segments.len() as u64;
        let newer = AGE_QUARTERS.saturating_sub(quarters as u32);
        let uses = if segment.frames > 1 { self.uses(space.start(head)) } else { 0 };
        Some(self.memory.live(head).1 * (1 + newer + u32::from(uses)))
    }

    /// Empties all segments that have a part in a run.
    fn clear(&self, space: &mut Space, run: Range<u32>, now: u32) {
        for frame in run.clone() {
            if let Some(head) = space.head(frame) {
                space.close(head);
            }
        }
        // Items that are moved out must not be moved into another frame of the run.
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
