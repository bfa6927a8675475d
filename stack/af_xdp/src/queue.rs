//! One receive queue with its four rings.
//!
//! In come frames from the wire (`receive`) and frames to send (`transmit`, then `flush`); frames
//! that were sent go to the pool (`complete`). Nothing here allocates, and the kernel is called
//! only where a ring asks for it. The queue never looks into a packet.

use super::deferral::Deferral;
use super::depth::Depth;
use super::metadata::Checksum;
use super::ring::{Consumer, Producer};
use super::umem::Holder;
use super::{Error, Frame, FramePool, KernelCounters, QueueCounters, QueueFrames, Umem, sys};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::xdp::{XdpDesc, XdpDescOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// The fill ring is refilled when it lacks this many frames, to save updates of its index.
const REFILL_BATCH: u32 = 16;

/// Wakeups without effect after which busy polling is given up: some milliseconds.
const STALLED_KICKS_MAX: u32 = 4096;

/// The four rings of a queue.
pub(crate) struct Rings {
    pub(crate) fill: Producer<u64>,
    pub(crate) rx: Consumer<XdpDesc>,
    pub(crate) tx: Producer<XdpDesc>,
    pub(crate) completion: Consumer<u64>,
}

/// What a queue can do, the same for all queues of a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capabilities {
    pub(crate) zero_copy: bool,
    pub(crate) multi_buffer: bool,
    pub(crate) busy_poll: bool,
    /// Whether the kernel or the NIC completes checksums on request.
    pub(crate) checksums: bool,
}

/// A receive queue of the interface, bound to an AF_XDP socket.
///
/// One thread owns it: it is `Send`, and every method that touches a ring takes it exclusively.
/// Drop the [`super::Device`] first: a program whose queues are gone passes their frames to the
/// kernel's stack, which resets connections that it does not know.
pub struct Queue {
    id: u32,
    rings: Rings,
    umem: Arc<Umem>,
    capabilities: Capabilities,
    depth: Depth,
    counters: QueueCounters,
    frames: QueueFrames,
    /// Wakeups since the TX ring has last moved, in busy polling.
    stalled_kicks: u32,
    /// What keeps the interrupts of the NIC masked during busy polling.
    deferral: Option<Arc<Deferral>>,
    socket: OwnedFd,
}

impl Queue {
    pub(crate) fn new(
        id: u32,
        socket: OwnedFd,
        rings: Rings,
        umem: Arc<Umem>,
        capabilities: Capabilities,
    ) -> Queue {
        let (counters, frames) = (QueueCounters::default(), QueueFrames::default());
        let depth = Depth::new(rings.fill.size());
        Queue {
            id,
            rings,
            umem,
            capabilities,
            depth,
            counters,
            frames,
            stalled_kicks: 0,
            deferral: None,
            socket,
        }
    }

    /// Notes what the kernel has chosen at bind(2).
    pub(crate) fn bound(mut self, zero_copy: bool) -> Queue {
        self.capabilities.zero_copy = zero_copy;
        self
    }

    /// Notes whether checksums are completed on request.
    pub(crate) fn complete_checksums(&mut self, on: bool) {
        self.capabilities.checksums = on;
    }

    /// Holds the interrupts masked until the queue is dropped, or gives up busy polling.
    pub(crate) fn defer_interrupts(&mut self, deferral: Arc<Deferral>) {
        self.deferral = Some(deferral);
    }

    /// Closes the socket, and returns the frames that the kernel held to `pool`.
    pub(crate) fn close(self, pool: &mut FramePool) {
        let Queue { id, umem, socket, rings, .. } = self;
        drop((socket, rings));
        for holder in [Holder::receive(id), Holder::transmit(id)] {
            umem.reclaim(holder).for_each(|frame| pool.give(frame));
        }
    }

    /// The receive queue's number on its interface.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The packet memory of this queue and of its device's other queues.
    #[inline]
    pub fn umem(&self) -> &Arc<Umem> {
        &self.umem
    }

    /// Whether a chain of frames ([`Frame::set_more`]) may be transmitted as one packet.
    pub fn multi_buffer(&self) -> bool {
        self.capabilities.multi_buffer
    }

    /// Whether checksums are completed on request ([`Umem::request_checksum`]). Without it a
    /// request leaves the packet with a wrong checksum.
    #[inline]
    pub fn completes_checksums(&self) -> bool {
        self.capabilities.checksums
    }

    /// Appends about `max` received frames to `out`, refills the fill ring from `pool` to the depth
    /// that recent bursts need, and returns the number of frames appended.
    ///
    /// A packet is not split over two calls: fewer than `max` frames come if the next packet would
    /// not fit or has not arrived whole, and more if a single packet has more frames. With capacity
    /// for `max` + 32, `out` does not grow.
    #[inline]
    pub fn receive(&mut self, pool: &mut FramePool, out: &mut Vec<Frame>, max: usize) -> usize {
        let before = out.len();
        let taken = self.whole_packets(u32::try_from(max).unwrap_or(u32::MAX));
        self.accept(taken, out);
        let accepted = out.len() - before;
        self.frames.receive -= accepted;
        self.counters.rx_frames += accepted as u64;
        if taken > 0 {
            self.rings.rx.release(taken);
            self.depth.received(taken);
        }
        self.lend(self.depth.frames(), pool);
        if self.capabilities.busy_poll
            || (taken == 0 && self.capabilities.zero_copy && self.rings.fill.needs_wakeup())
        {
            self.counters.rx_wakeups += 1;
            // `check` or the next transmission reports an error.
            let _ = sys::kick_rx(&self.socket);
        }
        accepted
    }

    /// Descriptors to take so that no packet is split: the last one ends a packet.
    #[inline]
    fn whole_packets(&mut self, max: u32) -> u32 {
        let waiting = self.rings.rx.available(self.rings.rx.size());
        self.depth.observe(waiting);
        let mut available = waiting.min(max);
        if available == 0 || self.ends_packet(available - 1) {
            return available;
        }
        if let Some(last) = (0..available).rev().find(|ahead| self.ends_packet(*ahead)) {
            return last + 1;
        }
        // One packet longer than `max`, or not all of it has arrived. A ring full of one packet
        // never holds its end: the packet is returned truncated.
        let tried = available;
        available = self.rings.rx.available(self.rings.rx.size());
        match (tried..available).find(|ahead| self.ends_packet(*ahead)) {
            Some(last) => last + 1,
            None if available == self.rings.rx.size() => available,
            None => 0,
        }
    }

    #[inline]
    fn ends_packet(&self, ahead: u32) -> bool {
        !self.rings.rx.peek(ahead).options.contains(XdpDescOptions::XDP_PKT_CONTD)
    }

    /// Appends the frames of the next `count` descriptors, without the invalid ones.
    #[inline]
    fn accept(&mut self, count: u32, out: &mut Vec<Frame>) {
        let taker = self.umem.taker(Holder::receive(self.id));
        let (before, mut bytes, mut continued, mut invalid) = (out.len(), 0, 0, 0);
        // In two passes, so that each has all that it needs in registers.
        out.extend(self.rings.rx.values(count).map(|desc| taker.unchecked(desc)));
        for frame in &mut out[before..] {
            if taker.takes(frame) {
                bytes += frame.len() as u64;
                continued += u64::from(frame.more());
            } else {
                *frame = taker.none();
                invalid += 1;
            }
        }
        self.counters.rx_bytes += bytes;
        self.counters.rx_continued += continued;
        if invalid > 0 {
            self.counters.rx_bad_descriptors += invalid;
            out.retain(|frame| !frame.is_none());
        }
    }

    /// Fills the fill ring, for a burst of any length. Call it before waiting for frames.
    #[inline]
    pub fn refill(&mut self, pool: &mut FramePool) {
        self.lend(self.rings.fill.size(), pool);
    }

    /// Puts frames on the fill ring until the kernel has `level` of them to receive into, or the
    /// pool is empty. The kernel never has more than the fill ring has slots, so the RX ring, which
    /// is no smaller, never overflows.
    #[inline]
    fn lend(&mut self, level: u32, pool: &mut FramePool) {
        let wanted = level.saturating_sub(self.frames.receive as u32);
        if wanted < REFILL_BATCH.min(self.rings.fill.size() / 4) {
            return;
        }
        let space = wanted.min(self.rings.fill.free(wanted));
        let (umem, holder) = (&*self.umem, Holder::receive(self.id));
        let frames = pool.take_all(space as usize);
        let lent =
            self.rings.fill.push_all(space, frames.map(|frame| umem.lend(&frame, holder).addr));
        self.counters.rx_pool_empty += u64::from(lent < space);
        if lent > 0 {
            self.rings.fill.submit();
            self.frames.receive += lent as usize;
        }
    }

    /// Puts a frame on the TX ring; [`Queue::flush`] sends it. Returns the frame if the ring is
    /// full: flush, complete, then try again or drop the packet. Returns a frame without bytes,
    /// too.
    ///
    /// [`Frame::more`] is set for each frame of a chain but the last. Put on all frames of a chain
    /// or none: ask [`Queue::transmit_space`] first.
    #[inline]
    pub fn transmit(&mut self, frame: Frame) -> Result<(), Frame> {
        if frame.is_empty() {
            return Err(frame);
        }
        if self.rings.tx.free(1) == 0 {
            self.counters.tx_ring_full += 1;
            return Err(frame);
        }
        self.counters.tx_frames += 1;
        self.counters.tx_bytes += frame.len() as u64;
        self.counters.tx_checksum_requests += u64::from(frame.has_metadata());
        self.frames.transmit += 1;
        let desc = self.umem.lend(&frame, Holder::transmit(self.id));
        self.rings.tx.push(desc);
        Ok(())
    }

    /// Writes a packet into a frame of `pool`, and puts it on the TX ring. Returns `false` if the
    /// pool or the ring has no more. `write` and `checksum` are those of
    /// [`Queue::transmit_batch`].
    ///
    /// # Panics
    /// If the packet is empty, or longer than its frame.
    #[inline(always)]
    pub fn transmit_packet(
        &mut self,
        pool: &mut FramePool,
        checksum: Option<Checksum>,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool {
        if self.rings.tx.free(1) == 0 {
            self.counters.tx_ring_full += 1;
            return false;
        }
        let Some(frame) = pool.take() else { return false };
        let desc = self.umem.lend_written(frame, Holder::transmit(self.id), checksum, write);
        self.counters.tx_frames += 1;
        self.counters.tx_bytes += u64::from(desc.len);
        self.counters.tx_checksum_requests += u64::from(checksum.is_some());
        self.frames.transmit += 1;
        self.rings.tx.push(desc);
        true
    }

    /// Writes up to `count` packets into frames of `pool`, and puts them on the TX ring. Costs less
    /// than as many calls of [`Queue::transmit`]. Returns their number: fewer if the pool or the
    /// ring has no more.
    ///
    /// `write` gets the bytes of a frame ([`Umem::chunk_mut`]) and returns the length of its
    /// packet. `checksum` is requested for each packet ([`Umem::request_checksum`]).
    ///
    /// # Panics
    /// If a packet is empty, or longer than its frame.
    #[inline]
    pub fn transmit_batch(
        &mut self,
        pool: &mut FramePool,
        count: usize,
        checksum: Option<Checksum>,
        mut write: impl FnMut(&mut [u8]) -> usize,
    ) -> usize {
        let wanted = count.min(pool.len());
        let space = self.rings.tx.free(wanted as u32) as usize;
        self.counters.tx_ring_full += u64::from(space == 0 && wanted > 0);
        let (umem, holder) = (&*self.umem, Holder::transmit(self.id));
        let count = wanted.min(space);
        let mut bytes = 0;
        let descs = pool.take_all(count).map(|frame| {
            let desc = umem.lend_written(frame, holder, checksum, &mut write);
            bytes += u64::from(desc.len);
            desc
        });
        let frames = self.rings.tx.push_all(count as u32, descs) as usize;
        self.counters.tx_frames += frames as u64;
        self.counters.tx_bytes += bytes;
        self.counters.tx_checksum_requests += checksum.map_or(0, |_| frames as u64);
        self.frames.transmit += frames;
        frames
    }

    /// Whether the TX ring has a free slot. Cheaper than [`Queue::transmit_space`].
    #[inline]
    pub fn can_transmit(&mut self) -> bool {
        self.rings.tx.free(1) > 0
    }

    /// Free slots of the TX ring.
    #[inline]
    pub fn transmit_space(&mut self) -> usize {
        self.rings.tx.free(self.rings.tx.size()) as usize
    }

    /// Frames put on the TX ring that the kernel has not taken. While this is not 0 after a flush,
    /// do not sleep without flushing again.
    #[inline]
    pub fn unsent(&self) -> usize {
        self.rings.tx.pending() as usize
    }

    /// Sends the frames on the TX ring; calls the kernel only if it asks for a wakeup. Frames that
    /// the kernel does not take now stay on the ring for the next flush. The error is
    /// [`Error::Gone`].
    #[inline]
    pub fn flush(&mut self) -> Result<(), Error> {
        self.rings.tx.submit();
        let mut pending = self.rings.tx.pending();
        while pending > 0 && self.rings.tx.needs_wakeup() {
            self.counters.tx_wakeups += 1;
            match sys::kick_tx(&self.socket) {
                // The driver was woken and sends on its own time.
                Ok(()) if self.capabilities.zero_copy => {
                    if self.capabilities.busy_poll {
                        self.prove_busy_polling(pending);
                    }
                    return Ok(());
                }
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => self.counters.tx_retries += 1,
                Err(Errno::BUSY) if self.capabilities.zero_copy => self.counters.tx_retries += 1,
                Err(Errno::BUSY) => self.counters.tx_dropped += 1,
                Err(Errno::NETDOWN) => {
                    self.counters.tx_interface_down += 1;
                    return self.check();
                }
                Err(Errno::NXIO) => {
                    return Err(Error::Gone { queue: self.id, source: Errno::NXIO.into() });
                }
                Err(_) => self.counters.tx_errors += 1,
            }
            let left = self.rings.tx.pending();
            if left == pending {
                self.counters.tx_stalled += 1;
                return Ok(());
            }
            pending = left;
        }
        Ok(())
    }

    /// Gives up busy polling if wakeups do not move the TX ring, on which `pending` frames were.
    ///
    /// With SO_PREFER_BUSY_POLL the kernel polls one NAPI instead of waking the driver, that of the
    /// receive queue. A driver with another NAPI for the transmit queue (igb with up to 4 queues,
    /// virtio-net) then sends nothing. A stall is also reported for ixgbe on Linux 6.14
    /// (github.com/xdp-project/bpf-examples issue 138).
    fn prove_busy_polling(&mut self, pending: u32) {
        self.stalled_kicks =
            if self.rings.tx.pending() < pending { 0 } else { self.stalled_kicks + 1 };
        if self.stalled_kicks < STALLED_KICKS_MAX {
            return;
        }
        self.capabilities.busy_poll = false;
        if let Some(deferral) = self.deferral.take() {
            deferral.restore();
        }
        let ended = sys::end_busy_poll(self.socket.as_fd());
        let failure = ended.err().map(tracing::field::display);
        tracing::warn!(
            queue = self.id,
            failure,
            "busy polling ended: it does not send with this driver; spinning with its interrupts"
        );
        let _ = sys::kick_tx(&self.socket);
    }

    /// Returns the frames that were sent to `pool`, and their number.
    #[inline]
    pub fn complete(&mut self, pool: &mut FramePool) -> usize {
        let done = self.rings.completion.available(1);
        if done == 0 {
            return 0;
        }
        let taker = self.umem.taker(Holder::transmit(self.id));
        let mut invalid = 0;
        // An iterator of known length: the pool looks for space once.
        pool.give_empty(self.rings.completion.values(done).map(|addr| {
            let frame = taker.take_sent(addr).unwrap_or(taker.none());
            invalid += u32::from(frame.is_none());
            frame
        }));
        if invalid > 0 {
            pool.forget_none();
        }
        self.rings.completion.release(done);
        let completed = done - invalid;
        self.frames.transmit -= completed as usize;
        self.counters.tx_completed += u64::from(completed);
        self.counters.tx_bad_completions += u64::from(invalid);
        done as usize
    }

    /// Whether the queue is still bound: [`Error::Gone`] if the interface was removed. Call it when
    /// poll(2) reports POLLERR. Call it every second or so as well: not every kernel wakes poll(2)
    /// when an interface is removed.
    pub fn check(&self) -> Result<(), Error> {
        match sockopt::socket_error(&self.socket) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) | Err(error) => {
                Err(Error::Gone { queue: self.id, source: error.into() })
            }
        }
    }

    /// The queue's counters.
    pub fn counters(&self) -> &QueueCounters {
        &self.counters
    }

    /// The kernel's counters of the socket. Makes a system call.
    pub fn kernel_counters(&self) -> Result<KernelCounters, Error> {
        let gone = |error: Errno| Error::Gone { queue: self.id, source: error.into() };
        let raw = sockopt::xdp_statistics(&self.socket).map_err(gone)?;
        Ok(KernelCounters {
            xsk_rx_dropped: raw.rx_dropped,
            xsk_rx_invalid_descs: raw.rx_invalid_descs,
            xsk_tx_invalid_descs: raw.tx_invalid_descs,
            xsk_rx_ring_full: raw.rx_ring_full.unwrap_or(0),
            xsk_fill_ring_empty: raw.rx_fill_ring_empty_descs.unwrap_or(0),
            xsk_tx_ring_empty: raw.tx_ring_empty_descs.unwrap_or(0),
        })
    }

    /// Frames of this queue that the kernel holds.
    pub fn frames(&self) -> QueueFrames {
        self.frames
    }
}

/// Readable when a frame was received.
impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("id", &self.id)
            .field("capabilities", &self.capabilities)
            .field("frames", &self.frames)
            .finish()
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
