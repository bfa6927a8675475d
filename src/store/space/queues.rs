//! The queues of segments: their order, their sizes, and which segments are open to appends.

use super::*;

/// Divisor: the share of frames above which young items are evicted first.
const YOUNG_PART: u32 = 10;

impl Space {
    /// Frames that new items have filled, modulo 2^32. The age of a segment is measured in it.
    pub(in crate::store) fn written(&self) -> u32 {
        self.written
    }

    /// Frames that new items have filled since the last append to a segment.
    pub(in crate::store) fn age(&self, head: u32) -> u32 {
        self.written.wrapping_sub(self.segments[head as usize].written)
    }

    /// Whether young items hold more than their share of the memory.
    pub(in crate::store) fn has_many_young(&self) -> bool {
        self.frames(Queue::Young) > self.segments.len() as u32 / YOUNG_PART
    }

    /// Closes a segment to appends.
    pub(in crate::store) fn close(&mut self, head: u32) {
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
    pub(in crate::store) fn is_run(&self, head: u32) -> bool {
        let segment = &self.segments[head as usize];
        segment.frames > 1 && !segment.large
    }

    /// The frames of a segment.
    pub(in crate::store) fn frames_of(&self, head: u32) -> Range<u32> {
        head..head + self.segments[head as usize].frames
    }

    /// Whether eviction may empty a segment. Segments that wait for readers or uploads are
    /// excluded.
    pub(in crate::store) fn is_evictable(&self, head: u32) -> bool {
        let Segment { state, queue, .. } = self.segments[head as usize];
        state == State::Head && matches!(queue, Queue::Young | Queue::Main)
    }

    /// Whether a segment is open to appends.
    pub(in crate::store) fn is_open(&self, head: u32) -> bool {
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
    pub(in crate::store) fn requeue(&mut self, head: u32, queue: Queue) {
        self.unlink(head);
        self.segments[head as usize].queue = queue;
        self.push(head);
    }

    /// Moves a closed segment to the end of the young queue, as if it was written just now.
    pub(in crate::store) fn requeue_as_newest(&mut self, head: u32) {
        self.requeue(head, Queue::Young);
        self.touch(head);
    }

    /// The oldest segment of a queue.
    pub(in crate::store) fn first(&self, queue: Queue) -> Option<u32> {
        Some(self.queues[queue as usize].first).filter(|head| *head != NONE)
    }

    /// Frames of the segments in a queue.
    pub(in crate::store) fn frames(&self, queue: Queue) -> u32 {
        self.queues[queue as usize].frames
    }

    pub(super) fn push(&mut self, head: u32) {
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

    pub(super) fn unlink(&mut self, head: u32) {
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
