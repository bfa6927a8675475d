//! Free frames: one at a time, a run of them, or one for the hash table; and how frames are freed.
//!
//! Frees what the caller has emptied, and reads no items.

use super::*;
use crate::store::incoming::INCOMING_PART;

/// Free frames of which the one with the highest number becomes a frame of the table.
const FREE_TRIED_MAX: usize = 64;

impl Space {
    /// A free frame that is not reserved.
    pub(in crate::store) fn free_frame(&mut self) -> Option<u32> {
        while let Some(frame) = self.stack.pop() {
            let segment = &mut self.segments[frame as usize];
            segment.stacked = false;
            if segment.state == State::Free && !self.held.contains(&frame) {
                return Some(frame);
            }
        }
        None
    }

    /// Gives a free frame to the hash table, if possible none that it may need for more chains.
    pub(in crate::store) fn frame_for_table(&mut self) -> Option<TableFrame> {
        let tried = self.stack.len().saturating_sub(FREE_TRIED_MAX)..;
        let highest = self.stack[tried].iter().filter(|frame| self.is_free(**frame)).max();
        self.frame_for_table_at(*highest?)
    }

    /// Gives the last frame of its part to the hash table for spare buckets, if it is free.
    pub(in crate::store) fn spare_frame_for_table(&mut self) -> Option<TableFrame> {
        let frame = self.frame_for_table_at(self.table_end.checked_sub(1)?)?;
        self.table_end -= 1;
        Some(frame)
    }

    /// Gives one frame to the hash table, if it is free.
    pub(in crate::store) fn frame_for_table_at(&mut self, frame: u32) -> Option<TableFrame> {
        if !self.is_free(frame) {
            return None;
        }
        self.segments[frame as usize].state = State::Table;
        self.free_frames -= 1;
        self.table_frames += 1;
        Some(TableFrame(frame))
    }

    /// The start of a run of `frames` free frames in a range. At first among the frames that
    /// neither the table grows into nor incoming values prefer, then among those of the table, the
    /// last run first.
    pub(in crate::store) fn free_run(&self, frames: u32, among: Range<u32>) -> Option<u32> {
        let all = self.segments.len() as u32;
        let (table, incoming) = (all / TABLE_PART, all - all / INCOMING_PART as u32);
        let within = |range: Range<u32>| range.start.max(among.start)..range.end.min(among.end);
        let first = |last: u32| last + 1 - frames;
        let in_table = || self.last_of_free_run(frames, within(0..table + frames - 1).rev());
        self.last_of_free_run(frames, within(table..incoming))
            .map(first)
            .or_else(in_table)
            .or_else(|| self.last_of_free_run(frames, within(table..all)).map(first))
    }

    /// The frame at which a walk over frames has passed `frames` free ones in succession.
    fn last_of_free_run(&self, frames: u32, walk: impl Iterator<Item = u32>) -> Option<u32> {
        let mut run = 0;
        walk.into_iter().find(|at| {
            run = if self.is_free(*at) { run + 1 } else { 0 };
            run == frames
        })
    }

    pub(in crate::store) fn is_free(&self, frame: u32) -> bool {
        self.segments[frame as usize].state == State::Free
    }

    /// The start of the run of `frames` frames in a range that costs least to clear. `cost` returns
    /// the cost of emptying a segment; `None` if it cannot be emptied.
    pub(in crate::store) fn window(
        &mut self,
        frames: u32,
        among: Range<u32>,
        cost: impl Fn(&Space, u32) -> Option<u32>,
    ) -> Option<u32> {
        let mut of_segment = Some(0);
        let first = self.head(among.start).unwrap_or(among.start);
        for at in first..among.end {
            let segment = &self.segments[at as usize];
            match segment.state {
                State::Free => of_segment = Some(0),
                State::Head => of_segment = cost(self, at).map(|cost| cost / segment.frames),
                State::Body => {}
                State::Table => of_segment = None,
            }
            self.costs[at as usize] = of_segment.unwrap_or(u32::MAX);
        }
        let costs = &self.costs[among.start as usize..among.end as usize];
        let windows = costs.windows(frames as usize).zip(among);
        let costs = windows.filter(|(costs, _)| !costs.contains(&u32::MAX));
        let sums =
            costs.map(|(costs, at)| (costs.iter().map(|cost| u64::from(*cost)).sum::<u64>(), at));
        sums.min().map(|(_, at)| at)
    }

    /// The first frame of a frame's segment.
    pub(in crate::store) fn head(&self, frame: u32) -> Option<u32> {
        match self.segments[frame as usize].state {
            State::Free | State::Table => None,
            State::Head => Some(frame),
            State::Body => self.head(frame - 1),
        }
    }

    /// Frees the frames of a segment. It must hold no item and no reservation.
    pub(in crate::store) fn free(&mut self, head: u32) {
        self.close(head);
        self.eviction.forget(head);
        self.unlink(head);
        let frames = self.segments[head as usize].frames;
        // The lowest is taken first: a segment of large items then extends into the next.
        for frame in (head..head + frames).rev() {
            self.segments[frame as usize].state = State::Free;
            self.stack(frame);
        }
        self.free_frames += frames;
    }

    /// Frames that eviction should free ahead of need.
    pub(in crate::store) fn missing_frames(&self) -> u32 {
        let missing = (self.spare_frames + 1).saturating_sub(self.free_frames);
        missing.max(self.table_waits.into())
    }

    pub(super) fn stack(&mut self, frame: u32) {
        if !std::mem::replace(&mut self.segments[frame as usize].stacked, true) {
            self.stack.push(frame);
        }
    }

    /// Keeps free frames of `run` from [`Space::free_frame`] until [`Space::release_frames`].
    pub(in crate::store) fn reserve_frames(&mut self, run: Range<u32>) {
        self.held = run;
    }

    /// Ends [`Space::reserve_frames`].
    pub(in crate::store) fn release_frames(&mut self) {
        for frame in std::mem::take(&mut self.held) {
            if self.segments[frame as usize].state == State::Free {
                self.stack(frame);
            }
        }
    }
}
