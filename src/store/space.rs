//! Frames and segments: which segment a frame belongs to, and where the next item is written.
//!
//! A segment is one frame to which items are appended, or a run of frames with one item larger than
//! a frame. Items of more than an eighth of a frame have segments of their own, which take up to 16
//! frames: a full one extends into the next frame if that is free, until its rest is at most 1/64
//! of it. So few units are lost where the next item does not fit.
//!
//! Segments of *young* items form one queue, segments of *main* items, which were used while young,
//! another. Both queues are in order of creation. Each queue has up to two open segments for each
//! class of times to live, and one of large items, so that items that expire together lie together.
//! This module does not read items; see [`super::evict`].
//!
//! One lock protects all of it. A thread holds it for a few instructions to allocate, or to empty a
//! segment.

use super::ahead::Eviction;
use super::arena::Offset;
use super::incoming::INCOMING_PART;
use super::stale::Staleness;
use std::ops::Range;

/// No segment.
pub(super) const NONE: u32 = u32::MAX;
/// Limit of the classes of times to live: one for items that never expire, and one for each power
/// of 2 of seconds, up to 194 days.
pub(super) const CLASSES_MAX: usize = 25;

/// Divisor: items above this part of a frame go to segments of large items.
const LARGE_PART: u32 = 8;
/// Limit of the frames of a segment of large items.
const LARGE_FRAMES_MAX: u32 = 16;
/// Divisor: a segment of large items does not extend if at most this part of it is free.
const LARGE_REST_PART: u32 = 64;
/// Divisor: the hash table takes at most this part of the frames.
pub(super) const TABLE_PART: u32 = 4;
/// Free frames of which the one with the highest number becomes a frame of the table.
const FREE_TRIED_MAX: usize = 64;
/// Divisor: the share of frames above which young items are evicted first.
const YOUNG_PART: u32 = 10;

/// The queue of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Queue {
    /// Items that were not used since they were stored.
    #[default]
    Young,
    /// Items that were used.
    Main,
    /// Empty segments that cannot be freed yet: a pin or a reservation refers to them.
    Deferred,
    /// Values that clients are still sending. No entry refers to them, so they are not evicted.
    Incoming,
}

/// The role of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Free,
    /// The continuation of a segment.
    Body,
    /// The first frame of a segment.
    Head,
    /// A frame of the hash table.
    Table,
}

/// A frame of the hash table. Only [`Space::frame_for_table_at`] makes one, so it is given once.
#[derive(Debug)]
pub(super) struct TableFrame(u32);

impl TableFrame {
    #[cfg(test)]
    pub(super) fn of(frame: u32) -> TableFrame {
        TableFrame(frame)
    }

    pub(super) fn frame(&self) -> u32 {
        self.0
    }
}

/// State of a frame. Except for `state` and `stacked`, the fields are valid for the first frame of
/// a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Segment {
    pub(super) state: State,
    pub(super) queue: Queue,
    pub(super) class: u8,
    /// The low 8 bits of the generation at the last sweep.
    pub(super) swept: u8,
    /// Whether the stack of free frames contains this frame.
    stacked: bool,
    /// Whether it is a segment of large items, each of up to a frame.
    large: bool,
    /// TLABs in this segment; see [`super::tlab`].
    pub(super) tlabs: u16,
    /// The owner of a segment of [`Queue::Incoming`].
    shard: u16,
    pub(super) frames: u32,
    /// Units allocated from the start of the segment.
    pub(super) used: u32,
    /// Creation time, in Unix seconds.
    pub(super) begun: u32,
    /// The value of [`Space::written`] at the last append.
    written: u32,
    before: u32,
    after: u32,
}

/// Ends and size of a queue.
#[derive(Clone, Copy, Debug)]
struct QueueState {
    first: u32,
    last: u32,
    frames: u32,
}

/// Segments with incoming values of one shard.
#[derive(Clone, Copy, Debug)]
struct Incoming {
    /// The segment to which values are appended.
    open: u32,
    /// Frames of all segments.
    frames: u32,
}

/// The state that the lock of the space protects.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) segments: Box<[Segment]>,
    queues: [QueueState; 4],
    /// Open segments of the young and main queues, for each class: the newest, and one that is
    /// fuller but still takes smaller items.
    open: [[[u32; 2]; CLASSES_MAX]; 2],
    /// Open segments of large items, in the same order.
    open_large: [[u32; CLASSES_MAX]; 2],
    /// Segments of incoming values, for each shard.
    incoming: Box<[Incoming]>,
    stack: Vec<u32>,
    /// The eviction that is under way.
    pub(super) eviction: Eviction,
    /// Which main segments are stale.
    pub(super) staleness: Staleness,
    /// The cost of clearing each frame; scratch memory of [`Space::window`].
    costs: Box<[u32]>,
    /// Frames that [`Space::free_frame`] must not return.
    held: Range<u32>,
    pub(super) free_frames: u32,
    /// Number of flush_all calls that took effect, modulo 256.
    pub(super) flushes: u8,
    /// Frames of the hash table.
    pub(super) table_frames: u32,
    /// The frames up to here are left to the hash table.
    pub(super) table_end: u32,
    /// Whether the hash table waits until the items of a segment have moved.
    pub(super) table_waits: bool,
    /// The frame where the next sweep continues.
    pub(super) cursor: u32,
    /// The frame where the next search for a run begins.
    pub(super) run_cursor: u32,
    /// Frames that new items were written to, modulo 2^32. The age of a segment is measured in it.
    written: u32,
    /// The position where the next search for a frame for incoming values continues.
    pub(super) incoming_cursor: u32,
    /// Frames kept free, for items that move while a segment is emptied.
    pub(super) spare_frames: u32,
    frame_units: u32,
    pub(super) classes: u32,
    pub(super) segments_expired: u64,
}

/// Number of classes for `frames` frames. The open segments of two queues take at most a sixteenth
/// of them.
pub(super) fn classes(frames: u32) -> u32 {
    (frames / 32).clamp(2, CLASSES_MAX as u32)
}

/// The class, of `classes`, of an item that expires in `ttl` seconds; `None` means never.
pub(super) fn class(ttl: Option<u32>, classes: u32) -> usize {
    let Some(ttl) = ttl else { return 0 };
    let power = ttl.max(1).ilog2().min(CLASSES_MAX as u32 - 2);
    (1 + power * (classes - 1) / (CLASSES_MAX as u32 - 1)) as usize
}

/// All frames, the first one to be allocated last. The hash table grows into the first frames, so
/// these are allocated after all others, in blocks from the last to the first. Within a block the
/// lowest frame comes first, so that a segment can extend into the next one.
fn stack(frames: u32) -> Vec<u32> {
    let last = frames / TABLE_PART;
    let blocks = (0..last).step_by(LARGE_FRAMES_MAX as usize);
    let block = |first: u32| (first..last.min(first + LARGE_FRAMES_MAX)).rev();
    blocks.flat_map(block).chain((last..frames).rev()).collect()
}

/// The offset of a unit in a frame.
fn offset(frame: u32, frame_units: u32, units: u32) -> Offset {
    Offset::from(frame) * Offset::from(frame_units) + Offset::from(units)
}

impl Space {
    pub(super) fn new(frames: u32, frame_units: u32, shards: usize) -> Space {
        let segments = vec![Segment { stacked: true, ..Segment::default() }; frames as usize];
        Space {
            segments: segments.into(),
            queues: [QueueState { first: NONE, last: NONE, frames: 0 }; 4],
            open: [[[NONE; 2]; CLASSES_MAX]; 2],
            open_large: [[NONE; CLASSES_MAX]; 2],
            incoming: vec![Incoming { open: NONE, frames: 0 }; shards].into(),
            stack: stack(frames),
            eviction: Eviction::default(),
            staleness: Staleness::default(),
            costs: vec![0; frames as usize].into(),
            held: 0..0,
            free_frames: frames,
            cursor: 0,
            incoming_cursor: 0,
            run_cursor: frames / TABLE_PART,
            flushes: 0,
            table_frames: 0,
            table_end: frames / TABLE_PART,
            table_waits: false,
            written: 0,
            spare_frames: 2 + frames / 128,
            frame_units,
            classes: classes(frames),
            segments_expired: 0,
        }
    }

    /// Allocates frames from the highest number down.
    #[cfg(test)]
    pub(super) fn begin_at_the_end(&mut self) {
        self.stack.sort_unstable();
    }

    /// Bytes that [`Space::new`] allocates for each frame.
    pub(super) const FRAME_BYTES: usize = size_of::<Segment>() + 2 * size_of::<u32>();

    /// The class of an item that expires in `ttl` seconds; `None` means never.
    pub(super) fn class(&self, ttl: Option<u32>) -> usize {
        class(ttl, self.classes)
    }

    /// The exclusive upper bound of the times to live of a class; 0 if it has none.
    pub(super) fn ttl_below(&self, class: usize) -> u32 {
        let powers = 0..CLASSES_MAX as u32 - 1;
        let longer = |power: &u32| self.class(Some(1 << power)) > class;
        if class == 0 { 0 } else { powers.into_iter().find(longer).map_or(0, |power| 1 << power) }
    }

    /// The offset of the first unit of a frame.
    pub(super) fn start(&self, frame: u32) -> Offset {
        offset(frame, self.frame_units, 0)
    }

    /// Allocates `units` in an open segment, in the fuller one if it has the space.
    pub(super) fn append(&mut self, units: u32, queue: Queue, class: usize) -> Option<Offset> {
        let head = self.open_segment_with(units, queue, class)?;
        let segment = &mut self.segments[head as usize];
        segment.used += units;
        segment.written = self.written;
        Some(offset(head, self.frame_units, segment.used - units))
    }

    /// The frame in which a TLAB with this end lies, and the units of the frame up to there.
    fn used_to(&self, end: Offset) -> (u32, u32) {
        let (last, frame_units) = (end - 1, u64::from(self.frame_units));
        ((last / frame_units) as u32, (last % frame_units) as u32 + 1)
    }

    /// Whether [`Space::append`] would succeed.
    pub(super) fn has_capacity(&self, units: u32, queue: Queue, class: usize) -> bool {
        self.open_segment_with(units, queue, class).is_some()
    }

    /// Whether items of `units` go to segments of large items.
    fn is_large(&self, units: u32) -> bool {
        (self.frame_units / LARGE_PART + 1..=self.frame_units).contains(&units)
    }

    /// The open segment of large items, if `units` fit once it extends into the next frame, and
    /// that frame is free. Small items have none.
    pub(super) fn extensible(&self, units: u32, queue: Queue, class: usize) -> Option<u32> {
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
    pub(super) fn extend(&mut self, units: u32, queue: Queue, class: usize) -> Option<u32> {
        let head = self.extensible(units, queue, class)?;
        let segment = &mut self.segments[head as usize];
        let next = head + segment.frames;
        segment.frames += 1;
        self.segments[next as usize].state = State::Body;
        self.queues[queue as usize].frames += 1;
        self.free_frames -= 1;
        self.written = self.written.wrapping_add(u32::from(queue != Queue::Main));
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
    pub(super) fn grow(&mut self, end: Offset, max: u32) -> u32 {
        let (head, used) = self.used_to(end);
        if self.segments[head as usize].used != used {
            return 0;
        }
        let units = max.min(self.frame_units - used);
        self.segments[head as usize].used += units;
        self.segments[head as usize].written = self.written;
        units
    }

    /// Returns the last `units` of a TLAB that ends at `end` to its segment. Fails, with `false`,
    /// if the segment has allocations after the TLAB.
    pub(super) fn shrink(&mut self, end: Offset, units: u32) -> bool {
        let (head, used) = self.used_to(end);
        let segment = &mut self.segments[head as usize];
        let is_last = segment.used == used;
        segment.used -= if is_last { units } else { 0 };
        is_last
    }

    /// Units left in a segment; 0 if there is no segment.
    fn free_units(&self, head: u32) -> u32 {
        let all = |segment: &Segment| segment.frames * self.frame_units;
        self.segments.get(head as usize).map_or(0, |segment| all(segment) - segment.used)
    }

    /// Creates a segment at the free frame `head`, with an item of `units`.
    pub(super) fn begin(
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
    pub(super) fn append_incoming(
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
    pub(super) fn begin_incoming(
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
    pub(super) fn incoming_frames(&self, shard: usize) -> u32 {
        self.incoming[shard].frames
    }

    /// Moves a segment with one incoming value to the young queue.
    pub(super) fn admit(&mut self, head: u32, class: usize) {
        self.requeue(head, Queue::Young);
        self.segments[head as usize].written = self.written;
        self.segments[head as usize].class = class as u8;
    }

    /// Creates a segment at the free frame `head` for `units`. Returns its frames. `owner` is a
    /// shard for incoming values, a class otherwise.
    fn occupy(&mut self, head: u32, units: u32, queue: Queue, owner: u16, now: u32) -> u32 {
        let frames = units.div_ceil(self.frame_units);
        for frame in head..head + frames {
            assert_eq!(self.segments[frame as usize].state, State::Free, "a frame taken twice");
            self.segments[frame as usize].state = State::Body;
        }
        self.free_frames -= frames;
        if queue != Queue::Main {
            self.written = self.written.wrapping_add(frames);
        }
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
            written: self.written,
            before: NONE,
            after: NONE,
        };
        self.push(head);
        frames
    }

    /// A free frame that is not reserved.
    pub(super) fn free_frame(&mut self) -> Option<u32> {
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
    pub(super) fn frame_for_table(&mut self) -> Option<TableFrame> {
        let tried = self.stack.len().saturating_sub(FREE_TRIED_MAX)..;
        let highest = self.stack[tried].iter().filter(|frame| self.is_free(**frame)).max();
        self.frame_for_table_at(*highest?)
    }

    /// Gives the last frame of its part to the hash table for spare buckets, if it is free.
    pub(super) fn spare_frame_for_table(&mut self) -> Option<TableFrame> {
        let frame = self.frame_for_table_at(self.table_end.checked_sub(1)?)?;
        self.table_end -= 1;
        Some(frame)
    }

    /// Gives one frame to the hash table, if it is free.
    pub(super) fn frame_for_table_at(&mut self, frame: u32) -> Option<TableFrame> {
        if !self.is_free(frame) {
            return None;
        }
        self.segments[frame as usize].state = State::Table;
        self.free_frames -= 1;
        self.table_frames += 1;
        Some(TableFrame(frame))
    }

    /// Frames that new items were written to, modulo 2^32.
    pub(super) fn written(&self) -> u32 {
        self.written
    }

    /// Frames that new items were written to since the last append to a segment.
    pub(super) fn age(&self, head: u32) -> u32 {
        self.written.wrapping_sub(self.segments[head as usize].written)
    }

    /// The start of a run of `frames` free frames in a range. At first among the frames that
    /// neither the table grows into nor incoming values prefer, then among those of the table, the
    /// last run first.
    pub(super) fn free_run(&self, frames: u32, among: Range<u32>) -> Option<u32> {
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

    pub(super) fn is_free(&self, frame: u32) -> bool {
        self.segments[frame as usize].state == State::Free
    }

    /// The start of the run of `frames` frames in a range that costs least to clear. `cost` returns
    /// the cost of emptying a segment; `None` if it cannot be emptied.
    pub(super) fn window(
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
    pub(super) fn head(&self, frame: u32) -> Option<u32> {
        match self.segments[frame as usize].state {
            State::Free | State::Table => None,
            State::Head => Some(frame),
            State::Body => self.head(frame - 1),
        }
    }

    /// Frees the frames of a segment. It must hold no item and no reservation.
    pub(super) fn free(&mut self, head: u32) {
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
    pub(super) fn missing_frames(&self) -> u32 {
        let missing = (self.spare_frames + 1).saturating_sub(self.free_frames);
        missing.max(self.table_waits.into())
    }

    /// Whether young items hold more than their share of the memory.
    pub(super) fn has_many_young(&self) -> bool {
        self.frames(Queue::Young) > self.segments.len() as u32 / YOUNG_PART
    }

    fn stack(&mut self, frame: u32) {
        if !std::mem::replace(&mut self.segments[frame as usize].stacked, true) {
            self.stack.push(frame);
        }
    }

    /// Keeps free frames of `run` from [`Space::free_frame`] until [`Space::release_frames`].
    pub(super) fn reserve_frames(&mut self, run: Range<u32>) {
        self.held = run;
    }

    /// Ends [`Space::reserve_frames`].
    pub(super) fn release_frames(&mut self) {
        for frame in std::mem::take(&mut self.held) {
            if self.segments[frame as usize].state == State::Free {
                self.stack(frame);
            }
        }
    }

    /// Closes a segment to appends.
    pub(super) fn close(&mut self, head: u32) {
        let Segment { queue, class, shard, .. } = self.segments[head as usize];
        if queue == Queue::Incoming {
            let open = &mut self.incoming[usize::from(shard)].open;
            *open = if *open == head { NONE } else { *open };
        }
        if let Some(classes) = self.open_large.get_mut(queue as usize) {
            let open = &mut classes[usize::from(class)];
            *open = if *open == head { NONE } else { *open };
        }
        let Some(classes) = self.open.get_mut(queue as usize) else { return };
        let open = &mut classes[usize::from(class)];
        *open = match *open {
            [first, second] if first == head => [second, NONE],
            [first, second] if second == head => [first, NONE],
            others => others,
        };
    }

    /// Whether a segment is a run with one item larger than a frame.
    pub(super) fn is_run(&self, head: u32) -> bool {
        let segment = &self.segments[head as usize];
        segment.frames > 1 && !segment.large
    }

    /// The frames of a segment.
    pub(super) fn frames_of(&self, head: u32) -> Range<u32> {
        head..head + self.segments[head as usize].frames
    }

    /// Whether eviction may empty a segment. Segments that wait for readers or uploads are
    /// excluded.
    pub(super) fn is_evictable(&self, head: u32) -> bool {
        let Segment { state, queue, .. } = self.segments[head as usize];
        state == State::Head && matches!(queue, Queue::Young | Queue::Main)
    }

    /// Whether a segment is open to appends.
    pub(super) fn is_open(&self, head: u32) -> bool {
        let Segment { queue, class, shard, .. } = self.segments[head as usize];
        match queue {
            Queue::Young | Queue::Main => {
                let class = usize::from(class);
                self.open[queue as usize][class].contains(&head)
                    || self.open_large[queue as usize][class] == head
            }
            Queue::Deferred => false,
            Queue::Incoming => self.incoming[usize::from(shard)].open == head,
        }
    }

    /// Moves a closed segment to the end of a queue.
    pub(super) fn requeue(&mut self, head: u32, queue: Queue) {
        self.unlink(head);
        self.segments[head as usize].queue = queue;
        self.push(head);
    }

    /// The oldest segment of a queue.
    pub(super) fn first(&self, queue: Queue) -> Option<u32> {
        Some(self.queues[queue as usize].first).filter(|head| *head != NONE)
    }

    /// Frames of the segments in a queue.
    pub(super) fn frames(&self, queue: Queue) -> u32 {
        self.queues[queue as usize].frames
    }

    fn push(&mut self, head: u32) {
        let Segment { queue, frames, shard, .. } = self.segments[head as usize];
        if queue == Queue::Incoming {
            self.incoming[usize::from(shard)].frames += frames;
        }
        let line = &mut self.queues[queue as usize];
        let last = std::mem::replace(&mut line.last, head);
        line.frames += frames;
        match self.segments.get_mut(last as usize) {
            Some(segment) => segment.after = head,
            None => line.first = head,
        }
        let segment = &mut self.segments[head as usize];
        (segment.before, segment.after) = (last, NONE);
    }

    fn unlink(&mut self, head: u32) {
        let Segment { queue, frames, before, after, shard, .. } = self.segments[head as usize];
        if queue == Queue::Incoming {
            self.incoming[usize::from(shard)].frames -= frames;
        }
        let line = &mut self.queues[queue as usize];
        line.frames -= frames;
        match self.segments.get_mut(before as usize) {
            Some(segment) => segment.after = after,
            None => line.first = after,
        }
        match self.segments.get_mut(after as usize) {
            Some(segment) => segment.before = before,
            None => line.last = before,
        }
    }
}
