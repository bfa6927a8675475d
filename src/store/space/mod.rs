//! Frames and segments: which segment a frame belongs to, and which are free (`frames`), where the
//! next item is written (`append`), and in which order segments were made (`queues`).
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

mod append;
mod frames;
mod queues;

use super::ahead::Eviction;
use super::arena::Offset;
use super::stale::Staleness;
use std::ops::Range;

/// No segment.
pub(super) const NONE: u32 = u32::MAX;
/// Limit of the classes of times to live: one for items that never expire, and one for each power
/// of 2 of seconds, up to 194 days.
pub(super) const CLASSES_MAX: usize = 25;

/// Limit of the frames of a segment of large items.
const LARGE_FRAMES_MAX: u32 = 16;
/// Divisor: the hash table takes at most this part of the frames.
pub(super) const TABLE_PART: u32 = 4;

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
    /// The value of [`Space::flushes`] at the last sweep.
    pub(super) swept: u32,
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
    /// Number of flush_all calls that took effect, modulo 2^32.
    pub(super) flushes: u32,
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
    /// Frames that new items have filled, modulo 2^32, wherever those were allocated; and units
    /// allocated for new items beyond these, less than a frame.
    written: u32,
    written_rest: u32,
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
            written_rest: 0,
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

    /// Begins the count of frames written at another number than 0.
    #[cfg(test)]
    pub(super) fn begin_at(&mut self, written: u32) {
        self.written = written;
        self.staleness.begin_at(written);
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
}
