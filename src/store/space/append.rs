//! Where the next item is written: open segments, and the creation of new ones.
//!
//! Comes in: the units, the queue and the class of an item. Goes out: its offset. Evicts nothing:
//! if no open segment has the units, the caller brings a free frame.

use super::*;

/// Divisor: items above this part of a frame go to segments of large items.
const LARGE_PART: u32 = 8;
/// Divisor: a segment of large items does not extend if at most this part of it is free.
const LARGE_REST_PART: u32 = 64;

impl Space {
    /// Allocates `units` in an open segment, in the fuller one if it has the space.
    pub(in crate::store) fn append(
        &mut self,
        units: u32,
        queue: Queue,
        class: usize,
    ) -> Option<Offset> {
        let head = self.open_segment_with(units, queue, class)?;
        Some(self.append_to(head, units))
    }

    /// As [`Space::append`] in the young queue, for a new item or a TLAB: counts it as written.
    #[inline(always)]
    pub(in crate::store) fn append_new(&mut self, units: u32, class: usize) -> Option<Offset> {
        let head = self.open_segment_with(units, Queue::Young, class)?;
        self.count_written(units);
        Some(self.append_to(head, units))
    }

    #[inline(always)]
    fn append_to(&mut self, head: u32, units: u32) -> Offset {
        let segment = &mut self.segments[head as usize];
        segment.used += units;
        segment.written = self.written;
        offset(head, self.frame_units, segment.used - units)
    }

    /// Counts a segment that was begun for a new item of `units`. All frames of a large item count.
    pub(in crate::store) fn count_begun(&mut self, head: u32, units: u32) {
        let frames = self.segments[head as usize].frames;
        self.count_written(if frames > 1 { frames * self.frame_units } else { units });
        self.touch(head);
    }

    /// Counts `units` that were allocated for a new item or a TLAB. Items that move are not
    /// counted: they would make those look old that were stored last.
    #[inline]
    fn count_written(&mut self, units: u32) {
        self.written_rest += units;
        if self.written_rest >= self.frame_units {
            self.count_frames_written();
        }
    }

    #[inline(never)]
    fn count_frames_written(&mut self) {
        let frames = self.written_rest / self.frame_units;
        self.written_rest -= frames * self.frame_units;
        self.written = self.written.wrapping_add(frames);
    }

    /// Takes back what [`Space::count_written`] counted and nobody used.
    fn uncount_written(&mut self, units: u32) {
        let frames = units.saturating_sub(self.written_rest).div_ceil(self.frame_units);
        self.written_rest = self.written_rest + frames * self.frame_units - units;
        self.written = self.written.wrapping_sub(frames);
    }

    /// Notes that a segment was written just now.
    pub(super) fn touch(&mut self, head: u32) {
        self.segments[head as usize].written = self.written;
    }

    /// The frame in which a TLAB with this end lies, and the units of the frame up to there.
    pub(super) fn used_to(&self, end: Offset) -> (u32, u32) {
        let (last, frame_units) = (end - 1, u64::from(self.frame_units));
        ((last / frame_units) as u32, (last % frame_units) as u32 + 1)
    }

    /// Whether [`Space::append`] would succeed.
    pub(in crate::store) fn has_capacity(&self, units: u32, queue: Queue, class: usize) -> bool {
        self.open_segment_with(units, queue, class).is_some()
    }

    /// Whether items of `units` go to segments of large items.
    pub(super) fn is_large(&self, units: u32) -> bool {
        (self.frame_units / LARGE_PART + 1..=self.frame_units).contains(&units)
    }

    /// The open segment of large items, if `units` fit once it extends into the next frame, and
    /// that frame is free. Small items have none.
    pub(in crate::store) fn extensible(
        &self,
        units: u32,
        queue: Queue,
        class: usize,
    ) -> Option<u32> {
        let head = self.open_large[queue as usize][class];
        let segment = self.segments.get(head as usize).filter(|_| self.is_large(units))?;
        let next = head + segment.frames;
        let rest = self.free_units(head);
        let suits = segment.frames < LARGE_FRAMES_MAX
            && rest > (segment.frames * self.frame_units) / LARGE_REST_PART
            && rest + self.frame_units >= units
            && self.segments.get(next as usize).is_some_and(|next| next.state == State::Free)
            && !self.held.contains(&next);
        suits.then_some(head)
    }

    /// Extends the open segment of large items by a frame, if that helps to allocate `units`.
    /// Returns the frame.
    pub(in crate::store) fn extend(
        &mut self,
        units: u32,
        queue: Queue,
        class: usize,
    ) -> Option<u32> {
        let head = self.extensible(units, queue, class)?;
        let segment = &mut self.segments[head as usize];
        let next = head + segment.frames;
        segment.frames += 1;
        self.segments[next as usize].state = State::Body;
        self.queues[queue as usize].frames += 1;
        self.free_frames -= 1;
        Some(next)
    }

    fn open_segment_with(&self, units: u32, queue: Queue, class: usize) -> Option<u32> {
        if self.is_large(units) {
            let open = self.open_large[queue as usize][class];
            return (self.free_units(open) >= units).then_some(open);
        }
        let [open, fuller] = self.open[queue as usize][class];
        [fuller, open].into_iter().find(|head| self.free_units(*head) >= units)
    }

    /// Extends a TLAB that ends at `end` by up to `max` units. Returns the number of units: 0 if
    /// the segment has allocations after the TLAB.
    pub(in crate::store) fn grow(&mut self, end: Offset, max: u32) -> u32 {
        let (head, used) = self.used_to(end);
        if self.segments[head as usize].used != used {
            return 0;
        }
        let units = max.min(self.frame_units - used);
        self.segments[head as usize].used += units;
        self.count_written(units);
        self.touch(head);
        units
    }

    /// Ends a TLAB that ends at `end`: returns its last `units` to its segment. Fails, with
    /// `false`, if the segment has allocations after the TLAB.
    pub(in crate::store) fn shrink(&mut self, end: Offset, units: u32) -> bool {
        let (head, used) = self.used_to(end);
        let is_last = self.segments[head as usize].used == used;
        if is_last {
            self.segments[head as usize].used -= units;
            self.uncount_written(units);
        }
        // What was stored there since the TLAB began may be the newest.
        self.touch(head);
        is_last
    }

    /// Units left in a segment; 0 if there is no segment.
    pub(super) fn free_units(&self, head: u32) -> u32 {
        let all = |segment: &Segment| segment.frames * self.frame_units;
        self.segments.get(head as usize).map_or(0, |segment| all(segment) - segment.used)
    }

    /// Creates a segment at the free frame `head`, with an item of `units`.
    pub(in crate::store) fn begin(
        &mut self,
        head: u32,
        units: u32,
        queue: Queue,
        class: usize,
        now: u32,
    ) -> Offset {
        let frames = self.occupy(head, units, queue, class as u16, now);
        if self.is_large(units) {
            self.segments[head as usize].large = true;
            self.open_large[queue as usize][class] = head;
        } else if frames == 1 {
            // The two with the most free units stay open.
            let [open, fuller] = self.open[queue as usize][class];
            let mut heads = [head, open, fuller];
            heads.sort_by_key(|head| std::cmp::Reverse(self.free_units(*head)));
            self.open[queue as usize][class] = [heads[0], heads[1]];
        }
        self.start(head)
    }

    /// Allocates `units` in the open segment of a shard's incoming values. `is_empty` tells whether
    /// a segment holds no value any more; its space is then reused.
    pub(in crate::store) fn append_incoming(
        &mut self,
        units: u32,
        shard: usize,
        is_empty: impl Fn(u32) -> bool,
    ) -> Option<Offset> {
        let head = self.incoming[shard].open;
        let segment = self.segments.get_mut(head as usize)?;
        if is_empty(head) {
            segment.used = 0;
        }
        if self.frame_units - segment.used < units {
            return None;
        }
        segment.used += units;
        Some(offset(head, self.frame_units, segment.used - units))
    }

    /// Creates a segment for incoming values of a shard, as [`Space::begin`] does.
    pub(in crate::store) fn begin_incoming(
        &mut self,
        head: u32,
        units: u32,
        shard: usize,
        now: u32,
    ) -> Offset {
        if self.occupy(head, units, Queue::Incoming, shard as u16, now) == 1 {
            self.incoming[shard].open = head;
        }
        self.start(head)
    }

    /// Frames with incoming values of a shard.
    pub(in crate::store) fn incoming_frames(&self, shard: usize) -> u32 {
        self.incoming[shard].frames
    }

    /// Moves a segment with one incoming value to the young queue.
    pub(in crate::store) fn admit(&mut self, head: u32, class: usize) {
        self.requeue(head, Queue::Young);
        self.count_begun(head, self.segments[head as usize].used);
        self.segments[head as usize].class = class as u8;
    }

    /// Creates a segment at the free frame `head` for `units`. Returns its frames. `owner` is a
    /// shard for incoming values, a class otherwise.
    pub(super) fn occupy(
        &mut self,
        head: u32,
        units: u32,
        queue: Queue,
        owner: u16,
        now: u32,
    ) -> u32 {
        let frames = units.div_ceil(self.frame_units);
        for frame in head..head + frames {
            assert_eq!(self.segments[frame as usize].state, State::Free, "a frame taken twice");
            self.segments[frame as usize].state = State::Body;
        }
        self.free_frames -= frames;
        let written = self.written;
        let segment = &mut self.segments[head as usize];
        let stacked = segment.stacked;
        *segment = Segment {
            state: State::Head,
            queue,
            class: if queue == Queue::Incoming { 0 } else { owner as u8 },
            swept: self.flushes,
            stacked,
            large: false,
            tlabs: 0,
            shard: owner,
            frames,
            used: units,
            begun: now,
            written,
            before: NONE,
            after: NONE,
        };
        self.push(head);
        frames
    }
}
