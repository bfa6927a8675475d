//! The queues of a worker and its free frames: where the stack's segments go, and where received
//! frames return.

use crate::metrics::{self, Count, Metric};
use af_xdp::{Counter, Frame, FrameIo, FramePool, Queue, Umem};
use simoom_tcp::Transmit;
use std::sync::Arc;

/// Frames that are written before the kernel is asked to send them. It takes as many at one call
/// where it copies, and frames that wait for more than these leave the cache before they are
/// copied.
const FLUSH_FRAMES: u32 = 32;

/// A worker's queues and frames.
pub struct Outbound<Q = Queue> {
    queues: Vec<Q>,
    /// The declarations of the counters of a queue.
    metrics: Box<[&'static Metric]>,
    pool: FramePool,
    umem: Arc<Umem>,
    /// Something found no free frame since [`Outbound::is_behind`] was asked.
    refused: bool,
    /// Frames written since the last flush.
    written: u32,
}

impl<Q: FrameIo> Outbound<Q> {
    /// The frames of all `queues`, at least one, in one pool.
    pub(crate) fn new(queues: Vec<(Q, FramePool)>) -> Outbound<Q> {
        let mut parts = queues.into_iter();
        let (first, mut pool) = parts.next().expect("a worker has at least one queue");
        let umem = first.umem().clone();
        let mut queues = vec![first];
        for (queue, frames) in parts {
            queues.push(queue);
            pool.append(frames);
        }
        let counters = Q::COUNTERS.iter().copied().flatten();
        let metrics = counters.map(|counter| metrics::declared(metric_of(counter))).collect();
        Outbound { queues, metrics, pool, umem, refused: false, written: 0 }
    }

    pub(super) fn queues(&self) -> &[Q] {
        &self.queues
    }

    pub(crate) fn umem(&self) -> Arc<Umem> {
        self.umem.clone()
    }

    /// Appends about `max` frames that queue `index` received to `frames`.
    pub(crate) fn receive(&mut self, index: usize, frames: &mut Vec<Frame>, max: usize) -> usize {
        self.queues[index].receive(&mut self.pool, frames, max)
    }

    /// Lends the kernel frames for as long a burst as the fill rings have room for.
    pub(crate) fn refill(&mut self) {
        for queue in &mut self.queues {
            queue.refill(&mut self.pool);
        }
    }

    pub(crate) fn give(&mut self, frame: Frame) {
        self.pool.give(frame);
    }

    /// Has the kernel send what is written, and takes back what is sent.
    pub(crate) fn flush(&mut self) -> Result<(), Q::Error> {
        self.written = 0;
        self.queues[0].flush()?;
        self.queues[0].complete(&mut self.pool);
        Ok(())
    }

    /// Whether something is still to be sent as soon as there is room: frames that the kernel has
    /// not taken, or segments for which no frame was free since this was last asked. Nothing tells
    /// when that room is there.
    pub(super) fn is_behind(&mut self) -> bool {
        std::mem::take(&mut self.refused) || self.queues[0].unsent() > 0
    }

    /// Appends the counters of all queues, summed.
    pub(super) fn count(&self, counts: &mut Vec<Count>) {
        let from = counts.len();
        for queue in &self.queues {
            let mut index = 0;
            queue.counters(&mut |value| {
                match counts.get_mut(from + index) {
                    Some((_, sum)) => *sum += value,
                    None => counts.push((self.metrics[index], value)),
                }
                index += 1;
            });
        }
    }

    /// A frame to write into, if one is free and the TX ring has a place for it; sends what is
    /// written to get there.
    #[inline]
    fn frame(&mut self) -> Option<Frame> {
        if self.queues[0].transmit_space() == 0 || self.pool.is_empty() {
            // An error here is found again by the flush at the end of the turn.
            let _ = self.flush();
            if self.queues[0].transmit_space() == 0 {
                return None;
            }
        }
        self.pool.take()
    }
}

/// The metric that `counter` is exported as.
pub(crate) const fn metric_of(counter: &Counter) -> Metric {
    let metric = Metric::new(counter.name, counter.help);
    if counter.is_bytes { metric.bytes() } else { metric }
}

impl<Q: FrameIo> Transmit for Outbound<Q> {
    #[inline]
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let Some(mut frame) = self.frame() else {
            self.refused = true;
            return false;
        };
        let len = write(self.umem.chunk_mut(&mut frame));
        frame.set_len(len);
        match self.queues[0].transmit(frame) {
            Ok(()) => {
                self.written += 1;
                if self.written >= FLUSH_FRAMES {
                    // An error here is found again by the flush at the end of the turn.
                    let _ = self.flush();
                }
                true
            }
            Err(frame) => {
                self.pool.give(frame);
                false
            }
        }
    }
}
