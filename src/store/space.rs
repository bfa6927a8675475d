//! The arena divided into frames, and the frames into segments: who holds which, and where the next
//! item goes.
//!
//! A segment is one frame that items are appended to, or a run of frames that holds one item larger
//! than a frame. Segments of *young* items wait in one queue, those of *main* items, which were
//! used while they were young, in another; both in the order in which they were begun. Each queue
//! has up to two open segments for each class of times to live, so that what expires together lies
//! together. Nothing here looks at items; see [`super::evict`].
//!
//! All of it is behind one lock, which is held to take space (a few instructions) or to make some
//! (a segment).

use super::arena::Offset;
use std::ops::Range;

/// No segment.
pub(super) const NONE: u32 = u32::MAX;
/// Classes of times to live, at most: one without end, and one for each power of 2 of seconds up to
/// 194 days.
pub(super) const CLASSES_MAX: usize = 25;

/// Which queue a segment is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Queue {
    /// Items as they came.
    #[default]
    Young,
    /// Items that were used.
    Main,
    /// Emptied, but a pin or a reservation is left.
    Deferred,
    /// Values that clients are still sending. The table names nothing in it, so nothing in it is
    /// evicted.
    Incoming,
}

/// What a frame is to its segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Free,
    /// Goes on from the frame before.
    Body,
    /// The first of a segment in a queue.
    Head,
    /// The hash table has it.
    Table,
}

/// One frame's part in the segment that it belongs to; all but `state` mean something for the first
/// one only.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Segment {
    pub(super) state: State,
    pub(super) queue: Queue,
    pub(super) class: u8,
    /// The flush_all up to which its flushed items were looked for.
    pub(super) swept: u8,
    /// Whether this frame's number is on the stack of free ones.
    stacked: bool,
    /// Tlabs of it that stripes append to; see [`super::tlab`].
    pub(super) tlabs: u16,
    /// The stripe that it belongs to, if its queue is [`Queue::Incoming`].
    shard: u16,
    pub(super) frames: u32,
    /// Units taken from its start.
    pub(super) used: u32,
    /// When it was begun, unix seconds.
    pub(super) begun: u32,
    /// [`Space::written`] when it was last appended to.
    written: u32,
    before: u32,
    after: u32,
}

/// A queue's ends, and the frames in it.
#[derive(Clone, Copy, Debug)]
struct QueueState {
    first: u32,
    last: u32,
    frames: u32,
}

/// The segments of one stripe's incoming values.
#[derive(Clone, Copy, Debug)]
struct Incoming {
    /// The segment that values are appended to.
    open: u32,
    /// Frames of all of them.
    frames: u32,
}

/// What the lock of the space protects.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) segments: Box<[Segment]>,
    queues: [QueueState; 4],
    /// The open segments of the young and main queues, by class: the one that was begun last, and
    /// one that another item did not fit in but smaller ones may.
    open: [[[u32; 2]; CLASSES_MAX]; 2],
    /// Each stripe's segments of incoming values.
    incoming: Box<[Incoming]>,
    stack: Vec<u32>,
    /// What clearing each frame would cost; a scratch for [`Space::window`].
    costs: Box<[u32]>,
    /// Free frames among these are not given out one by one.
    held: Range<u32>,
    pub(super) free_frames: u32,
    /// How often flush_all took effect, modulo 256.
    pub(super) flushes: u8,
    /// Frames that the hash table has.
    pub(super) table_frames: u32,
    /// Where the next sweep goes on.
    pub(super) cursor: u32,
    /// Where the next search for a row of frames begins.
    pub(super) run_cursor: u32,
    /// Frames that new items were written to, modulo 2^32: the clock by which segments age.
    written: u32,
    /// Where the next look for a frame of incoming values goes on.
    pub(super) incoming_cursor: u32,
    /// Frames kept free, to move items into while a segment is emptied.
    pub(super) spare_frames: u32,
    frame_units: u32,
    pub(super) classes: u32,
    pub(super) segments_expired: u64,
}

/// How many classes there are with so many frames: the open segments of two queues take a sixteenth
/// at most.
pub(super) fn classes(frames: u32) -> u32 {
    (frames / 32).clamp(2, CLASSES_MAX as u32)
}

/// The class, of so many, of an item that lives for `ttl` seconds more; `None` is without end.
pub(super) fn class(ttl: Option<u32>, classes: u32) -> usize {
    let Some(ttl) = ttl else { return 0 };
    let power = ttl.max(1).ilog2().min(CLASSES_MAX as u32 - 2);
    (1 + power * (classes - 1) / (CLASSES_MAX as u32 - 1)) as usize
}

/// The place so many units into a frame.
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
            incoming: vec![Incoming { open: NONE, frames: 0 }; shards].into(),
            stack: (0..frames).rev().collect(),
            costs: vec![0; frames as usize].into(),
            held: 0..0,
            free_frames: frames,
            cursor: 0,
            incoming_cursor: 0,
            run_cursor: 0,
            flushes: 0,
            table_frames: 0,
            written: 0,
            spare_frames: 2 + frames / 128,
            frame_units,
            classes: classes(frames),
            segments_expired: 0,
        }
    }

    /// Gives free frames out from the last on.
    #[cfg(test)]
    pub(super) fn begin_at_the_end(&mut self) {
        self.stack.reverse();
    }

    /// Bytes of memory that [`Space::new`] takes for each frame.
    pub(super) const FRAME_BYTES: usize = size_of::<Segment>() + 2 * size_of::<u32>();

    /// The class of an item that lives for `ttl` seconds more; `None` is without end.
    pub(super) fn class(&self, ttl: Option<u32>) -> usize {
        class(ttl, self.classes)
    }

    /// Which times to live are too long for a class; 0 if none are, or the class is of those
    /// without end.
    pub(super) fn ttl_below(&self, class: usize) -> u32 {
        let powers = 0..CLASSES_MAX as u32 - 1;
        let longer = |power: &u32| self.class(Some(1 << power)) > class;
        if class == 0 { 0 } else { powers.into_iter().find(longer).map_or(0, |power| 1 << power) }
    }

    /// Where the first unit of a frame is.
    pub(super) fn start(&self, frame: u32) -> Offset {
        offset(frame, self.frame_units, 0)
    }

    /// Takes `units` from an open segment if they fit into one, the fuller one first.
    pub(super) fn append(&mut self, units: u32, queue: Queue, class: usize) -> Option<Offset> {
        let head = self.open_segment_with(units, queue, class)?;
        let segment = &mut self.segments[head as usize];
        segment.used += units;
        segment.written = self.written;
        Some(offset(head, self.frame_units, segment.used - units))
    }

    /// The frame in which a piece ends at `end`, and the units of it up to there.
    fn used_to(&self, end: Offset) -> (u32, u32) {
        let (last, frame_units) = (end - 1, u64::from(self.frame_units));
        ((last / frame_units) as u32, (last % frame_units) as u32 + 1)
    }

    /// Whether [`Space::append`] would find room.
    pub(super) fn has_capacity(&self, units: u32, queue: Queue, class: usize) -> bool {
        self.open_segment_with(units, queue, class).is_some()
    }

    fn open_segment_with(&self, units: u32, queue: Queue, class: usize) -> Option<u32> {
        let [open, fuller] = self.open[queue as usize][class];
        [fuller, open].into_iter().find(|head| self.free_units(*head) >= units)
    }

    /// Appends up to `most` units to the segment in which a piece ends at `end`, if nothing lies
    /// behind that yet; returns how many.
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

    /// Takes the last `units` off the segment in which a piece ends at `end`, if nothing lies
    /// behind that; whether it did.
    pub(super) fn shrink(&mut self, end: Offset, units: u32) -> bool {
        let (head, used) = self.used_to(end);
        let segment = &mut self.segments[head as usize];
        let is_last = segment.used == used;
        segment.used -= if is_last { units } else { 0 };
        is_last
    }

    /// Units that can be appended to an open segment; 0 if there is none.
    fn free_units(&self, head: u32) -> u32 {
        self.segments.get(head as usize).map_or(0, |segment| self.frame_units - segment.used)
    }

    /// Begins a segment on free frames from `head` on, with an item of `units` in it.
    pub(super) fn begin(
        &mut self,
        head: u32,
        units: u32,
        queue: Queue,
        class: usize,
        now: u32,
    ) -> Offset {
        let frames = self.occupy(head, units, queue, class as u16, now);
        if frames == 1 {
            // The two with the most room stay open.
            let [open, fuller] = self.open[queue as usize][class];
            let mut heads = [head, open, fuller];
            heads.sort_by_key(|head| std::cmp::Reverse(self.free_units(*head)));
            self.open[queue as usize][class] = [heads[0], heads[1]];
        }
        self.start(head)
    }

    /// Takes `units` from the open segment of a stripe's incoming values, if they fit. `is_empty`
    /// tells whether none is left in a segment: then its space is used again.
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

    /// Begins a segment of a stripe's incoming values, as [`Space::begin`] does.
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

    /// Frames of a stripe's incoming values.
    pub(super) fn incoming_frames(&self, shard: usize) -> u32 {
        self.incoming[shard].frames
    }

    /// Turns a segment of one incoming value into one of a young item of this class.
    pub(super) fn admit(&mut self, head: u32, class: usize) {
        self.requeue(head, Queue::Young);
        self.segments[head as usize].written = self.written;
        self.segments[head as usize].class = class as u8;
    }

    /// Makes a segment of the free frames from `head` on that `units` take; returns how many. The
    /// owner is a class, or of incoming values a stripe.
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

    /// A free frame.
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

    /// Makes a frame from [`Space::free_frame`] the table's.
    pub(super) fn give_to_table(&mut self, frame: u32) {
        self.segments[frame as usize].state = State::Table;
        self.free_frames -= 1;
        self.table_frames += 1;
    }

    /// Frames that new items were written to since a segment was last appended to.
    pub(super) fn age(&self, head: u32) -> u32 {
        self.written.wrapping_sub(self.segments[head as usize].written)
    }

    /// The first of `frames` free frames in a row among these.
    pub(super) fn free_run(&self, frames: u32, among: Range<u32>) -> Option<u32> {
        let mut run = 0;
        for at in among {
            run = if self.is_free(at) { run + 1 } else { 0 };
            if run == frames {
                return Some(at + 1 - frames);
            }
        }
        None
    }

    pub(super) fn is_free(&self, frame: u32) -> bool {
        self.segments[frame as usize].state == State::Free
    }

    /// Where to clear `frames` frames in a row among these at least cost. `cost` says what it costs
    /// to empty the segment that begins with a frame, `None` if that cannot be done.
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

    /// The first frame of the segment that a frame is part of.
    pub(super) fn head(&self, frame: u32) -> Option<u32> {
        match self.segments[frame as usize].state {
            State::Free | State::Table => None,
            State::Head => Some(frame),
            State::Body => self.head(frame - 1),
        }
    }

    /// Gives a segment's frames back; nothing may be left in it.
    pub(super) fn free(&mut self, head: u32) {
        self.close(head);
        self.unlink(head);
        let frames = self.segments[head as usize].frames;
        for frame in head..head + frames {
            self.segments[frame as usize].state = State::Free;
            self.stack(frame);
        }
        self.free_frames += frames;
    }

    fn stack(&mut self, frame: u32) {
        if !std::mem::replace(&mut self.segments[frame as usize].stacked, true) {
            self.stack.push(frame);
        }
    }

    /// Keeps the frames of `row`, those that become free too, from [`Space::free_frame`] until
    /// [`Space::release_frames`].
    pub(super) fn reserve_frames(&mut self, run: Range<u32>) {
        self.held = run;
    }

    /// Ends a [`Space::reserve_frames`].
    pub(super) fn release_frames(&mut self) {
        for frame in std::mem::take(&mut self.held) {
            if self.segments[frame as usize].state == State::Free {
                self.stack(frame);
            }
        }
    }

    /// Appends no more to a segment.
    pub(super) fn close(&mut self, head: u32) {
        let Segment { queue, class, shard, .. } = self.segments[head as usize];
        if queue == Queue::Incoming {
            let open = &mut self.incoming[usize::from(shard)].open;
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

    /// Whether items may be evicted from a segment: not if readers or uploads hold what is left in
    /// it.
    pub(super) fn is_evictable(&self, head: u32) -> bool {
        let Segment { state, queue, .. } = self.segments[head as usize];
        state == State::Head && matches!(queue, Queue::Young | Queue::Main)
    }

    /// Whether a segment is appended to.
    pub(super) fn is_open(&self, head: u32) -> bool {
        let Segment { queue, class, shard, .. } = self.segments[head as usize];
        match queue {
            Queue::Young | Queue::Main => {
                self.open[queue as usize][usize::from(class)].contains(&head)
            }
            Queue::Deferred => false,
            Queue::Incoming => self.incoming[usize::from(shard)].open == head,
        }
    }

    /// Puts a closed segment at the end of a queue.
    pub(super) fn requeue(&mut self, head: u32, queue: Queue) {
        self.unlink(head);
        self.segments[head as usize].queue = queue;
        self.push(head);
    }

    /// The segment that was begun first among those in a queue.
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
