//! The queues of a worker and its free frames: transmits the segments of the stack and collects
//! frames.

use crate::metrics::{self, Count, Metric};
use af_xdp::{Checksum, Counter, Frame, FrameIo, FramePool, GsoSender, Queue, Umem};
use simoom_tcp::wire::tcp;
use simoom_tcp::{Gso, Transmit};
use std::sync::Arc;

/// Frames written before the kernel is asked to send them. That is the number the kernel accepts at
/// one call where it copies. More waiting frames would leave the cache before they are copied.
const FLUSH_FRAMES: u32 = 32;

/// A worker's queues and frames.
pub struct Outbound<Q = Queue> {
    queues: Vec<Q>,
    /// Declarations of the counters of a queue.
    metrics: Box<[&'static Metric]>,
    pool: FramePool,
    umem: Arc<Umem>,
    /// Whether the device completes checksums on request.
    completes_checksums: bool,
    /// Whether a segment found no free frame since the last call of [`Outbound::is_behind`].
    refused: bool,
    /// Frames written since the last flush.
    written: u32,
    /// Sends GSO packets of the first queue's interface.
    gso: Option<GsoSender>,
}

impl<Q: FrameIo> Outbound<Q> {
    /// Joins the frames of all `queues`, at least one, in one pool.
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
        let completes_checksums = queues[0].completes_checksums();
        Outbound {
            queues,
            metrics,
            pool,
            umem,
            completes_checksums,
            refused: false,
            written: 0,
            gso: None,
        }
    }

    /// The same, which sends GSO packets by `gso`.
    pub(crate) fn with_gso(self, gso: Option<GsoSender>) -> Outbound<Q> {
        Outbound { gso, ..self }
    }

    pub(super) fn queues(&self) -> &[Q] {
        &self.queues
    }

    pub(crate) fn umem(&self) -> &Arc<Umem> {
        &self.umem
    }

    /// Appends about `max` frames that queue `index` received to `frames`.
    pub(crate) fn receive(&mut self, index: usize, frames: &mut Vec<Frame>, max: usize) -> usize {
        self.queues[index].receive(&mut self.pool, frames, max)
    }

    /// Fills the fill rings with free frames, up to a burst.
    pub(crate) fn refill(&mut self) {
        for queue in &mut self.queues {
            queue.refill(&mut self.pool);
        }
    }

    pub(crate) fn give(&mut self, frame: Frame) {
        self.pool.give(frame);
    }

    pub(super) fn give_all(&mut self, frames: impl Iterator<Item = Frame>) {
        self.pool.give_all(frames);
    }

    /// Asks the kernel to send the written frames, and frees the sent ones.
    pub(crate) fn flush(&mut self) -> Result<(), Q::Error> {
        self.written = 0;
        self.queues[0].flush()?;
        self.queues[0].complete(&mut self.pool);
        Ok(())
    }

    /// Whether data waits for space: frames that the kernel has not accepted, or segments without a
    /// free frame since the last call. No event reports that space.
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

    /// Whether the kernel has all frames, so that a packet which leaves another way does not
    /// overtake them: the peer would take a retransmission that arrives behind new data as lost.
    #[inline]
    fn has_sent_all(&mut self) -> bool {
        if self.queues[0].unsent() > 0 {
            // The flush at the end of the iteration reports an error.
            let _ = self.flush();
        }
        self.queues[0].unsent() == 0
    }

    /// The request for the checksum of segments that begin at byte `partial_from`, or, if the
    /// device does not complete checksums, where they begin.
    #[inline(always)]
    fn checksum(&self, partial_from: Option<usize>) -> (Option<Checksum>, Option<usize>) {
        match partial_from {
            Some(at) if self.completes_checksums => (Some(checksum_at(at)), None),
            by_software => (None, by_software),
        }
    }

    /// Makes the TX ring have a slot, and the pool a frame, by a flush of the written frames.
    /// Returns whether they do.
    #[cold]
    #[inline(never)]
    fn make_space(&mut self) -> bool {
        // The flush at the end of the iteration reports an error.
        let _ = self.flush();
        self.queues[0].can_transmit() && !self.pool.is_empty()
    }
}

/// The checksum of a segment that begins at byte `at` of a frame.
#[inline]
fn checksum_at(at: usize) -> Checksum {
    Checksum { start: at as u16, offset: tcp::CHECKSUM_OFFSET }
}

/// The metric that `counter` is exported as.
pub(crate) const fn metric_of(counter: &Counter) -> Metric {
    let metric = Metric::new(counter.name, counter.help);
    if counter.is_bytes { metric.bytes() } else { metric }
}

impl<Q: FrameIo> Transmit for Outbound<Q> {
    #[inline]
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        self.transmit_segment(None, write)
    }

    #[inline]
    fn transmit_segment(
        &mut self,
        partial_from: Option<usize>,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool {
        let has_space = self.queues[0].can_transmit() && !self.pool.is_empty();
        if !has_space && !self.make_space() {
            self.refused = true;
            return false;
        }
        let (checksum, by_software) = self.checksum(partial_from);
        let is_queued = self.queues[0].transmit_packet(&mut self.pool, checksum, |chunk| {
            let len = write(chunk);
            if let Some(at) = by_software {
                tcp::complete_checksum(&mut chunk[at..len]);
            }
            len
        });
        debug_assert!(is_queued, "there is a slot and a frame");
        self.written += 1;
        if self.written >= FLUSH_FRAMES {
            // The flush at the end of the iteration reports an error.
            let _ = self.flush();
        }
        true
    }

    #[inline]
    fn transmit_run(
        &mut self,
        partial_from: Option<usize>,
        count: u32,
        mut write: impl FnMut(&mut [u8]) -> usize,
    ) -> u32 {
        let (checksum, by_software) = self.checksum(partial_from);
        let mut sent = 0;
        while sent < count {
            let batch = (count - sent).min(FLUSH_FRAMES - self.written) as usize;
            let queued = self.queues[0].transmit_batch(&mut self.pool, batch, checksum, |chunk| {
                let len = write(chunk);
                if let Some(at) = by_software {
                    tcp::complete_checksum(&mut chunk[at..len]);
                }
                len
            });
            sent += queued as u32;
            self.written += queued as u32;
            if self.written >= FLUSH_FRAMES || queued == 0 {
                // The flush at the end of the iteration reports an error.
                let _ = self.flush();
            }
            if queued == 0 && (!self.queues[0].can_transmit() || self.pool.is_empty()) {
                self.refused = true;
                break;
            }
        }
        sent
    }

    #[inline]
    fn gso_max_bytes(&self) -> usize {
        if self.gso.is_some() { GsoSender::MAX_BYTES } else { 0 }
    }

    fn transmit_gso(&mut self, gso: Gso, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        if !self.has_sent_all() {
            return false;
        }
        let Some(sender) = &mut self.gso else { return false };
        let Gso { is_ipv6, tcp_at, header_bytes, segment_bytes } = gso;
        sender.send(af_xdp::Gso { is_ipv6, tcp_at, header_bytes, segment_bytes }, write).is_ok()
    }
}
