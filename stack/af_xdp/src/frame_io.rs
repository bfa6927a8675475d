//! The contract between a packet loop and the source and sink of its frames.
//!
//! A loop that is generic over [`FrameIo`] runs over an AF_XDP [`Queue`], over memory in tests, or
//! over any other device that carries Ethernet frames. The frames lie in a [`Umem`] in each case.

use super::{
    Checksum, Counter, Error, Frame, FramePool, KernelCounters, Queue, QueueCounters, Umem,
};
use std::os::fd::AsFd;
use std::sync::Arc;

/// Receives and transmits Ethernet frames for one packet loop.
///
/// A loop calls `receive`, then `transmit_packet` for each packet to send, or `transmit` for each
/// frame, then `flush` and `complete`, and starts again. Before it waits until the file descriptor
/// is readable, it calls `refill`; while `unsent` is not 0 after a flush, it does not wait without
/// flushing again soon.
pub trait FrameIo: AsFd {
    /// The failure after which no frame is received or sent any more.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The memory of all frames that are received and transmitted.
    fn umem(&self) -> &Arc<Umem>;

    /// Appends about `max` received frames to `frames`, whole packets only, and returns their
    /// number. Takes free frames to receive into from `pool`.
    fn receive(&mut self, pool: &mut FramePool, frames: &mut Vec<Frame>, max: usize) -> usize;

    /// Prepares for a burst of any length: takes as many free frames from `pool` as it can receive
    /// into. Does nothing by default.
    fn refill(&mut self, pool: &mut FramePool) {
        let _ = pool;
    }

    /// Queues a frame to send. Returns it if it is empty or there is no space: flush, complete,
    /// then try again or drop it.
    fn transmit(&mut self, frame: Frame) -> Result<(), Frame>;

    /// Writes a packet into a frame of `pool` and queues it to send. Returns `false` if there is no
    /// space or no free frame. `write` and `checksum` are those of [`FrameIo::transmit_batch`].
    #[inline]
    fn transmit_packet(
        &mut self,
        pool: &mut FramePool,
        checksum: Option<Checksum>,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool {
        let mut write = Some(write);
        let packet = |bytes: &mut [u8]| write.take().map_or(0, |write| write(bytes));
        self.transmit_batch(pool, 1, checksum, packet) > 0
    }

    /// Writes up to `count` packets into frames of `pool` and queues them to send. Returns their
    /// number: fewer if there is no space or no free frame.
    ///
    /// `write` gets the bytes of a frame ([`Umem::chunk_mut`]) and returns the length of its
    /// packet, which is not empty. `checksum` is requested for each packet: give it only if
    /// [`FrameIo::completes_checksums`].
    fn transmit_batch(
        &mut self,
        pool: &mut FramePool,
        count: usize,
        checksum: Option<Checksum>,
        mut write: impl FnMut(&mut [u8]) -> usize,
    ) -> usize {
        let mut queued = 0;
        while queued < count
            && self.can_transmit()
            && let Some(mut frame) = pool.take()
        {
            let umem = self.umem();
            let len = write(umem.chunk_mut(&mut frame));
            frame.set_len(len);
            if let Some(checksum) = checksum {
                umem.request_checksum(&mut frame, checksum);
            }
            if let Err(frame) = self.transmit(frame) {
                // The packet is lost, as if on the wire: `write` will not write it again.
                pool.give(frame);
            }
            queued += 1;
        }
        queued
    }

    /// Whether the device completes checksums on request ([`Umem::request_checksum`]). By default
    /// it does not.
    fn completes_checksums(&self) -> bool {
        false
    }

    /// Frames that [`FrameIo::transmit`] accepts now.
    fn transmit_space(&mut self) -> usize;

    /// Whether [`FrameIo::transmit`] accepts a frame now.
    fn can_transmit(&mut self) -> bool {
        self.transmit_space() > 0
    }

    /// Frames queued that the device has not taken.
    fn unsent(&self) -> usize;

    /// Sends the queued frames, as many as the device takes now.
    fn flush(&mut self) -> Result<(), Self::Error>;

    /// Returns the frames that were sent to `pool`, and their number.
    fn complete(&mut self, pool: &mut FramePool) -> usize;

    /// Whether the device still works. Called when poll(2) reports an error, and once in a while.
    /// By default it does.
    fn check(&self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// What is counted, in the order of [`FrameIo::counters`]. Nothing by default.
    const COUNTERS: &'static [&'static [Counter]] = &[];

    /// Calls `count` with the value of each of [`FrameIo::COUNTERS`], in order.
    fn counters(&self, count: &mut dyn FnMut(u64)) {
        let _ = count;
    }
}

impl FrameIo for Queue {
    const COUNTERS: &'static [&'static [Counter]] =
        &[QueueCounters::COUNTERS, KernelCounters::COUNTERS];

    type Error = Error;

    #[inline]
    fn umem(&self) -> &Arc<Umem> {
        Queue::umem(self)
    }

    #[inline]
    fn receive(&mut self, pool: &mut FramePool, frames: &mut Vec<Frame>, max: usize) -> usize {
        Queue::receive(self, pool, frames, max)
    }

    #[inline]
    fn refill(&mut self, pool: &mut FramePool) {
        Queue::refill(self, pool);
    }

    #[inline]
    fn transmit(&mut self, frame: Frame) -> Result<(), Frame> {
        Queue::transmit(self, frame)
    }

    #[inline(always)]
    fn transmit_packet(
        &mut self,
        pool: &mut FramePool,
        checksum: Option<Checksum>,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool {
        Queue::transmit_packet(self, pool, checksum, write)
    }

    #[inline]
    fn transmit_batch(
        &mut self,
        pool: &mut FramePool,
        count: usize,
        checksum: Option<Checksum>,
        write: impl FnMut(&mut [u8]) -> usize,
    ) -> usize {
        Queue::transmit_batch(self, pool, count, checksum, write)
    }

    fn completes_checksums(&self) -> bool {
        Queue::completes_checksums(self)
    }

    #[inline]
    fn transmit_space(&mut self) -> usize {
        Queue::transmit_space(self)
    }

    #[inline]
    fn can_transmit(&mut self) -> bool {
        Queue::can_transmit(self)
    }

    #[inline]
    fn unsent(&self) -> usize {
        Queue::unsent(self)
    }

    #[inline]
    fn flush(&mut self) -> Result<(), Error> {
        Queue::flush(self)
    }

    #[inline]
    fn complete(&mut self, pool: &mut FramePool) -> usize {
        Queue::complete(self, pool)
    }

    fn check(&self) -> Result<(), Error> {
        Queue::check(self)
    }

    /// The queue's own counters, then the kernel's, which are 0 if the socket is gone.
    fn counters(&self, count: &mut dyn FnMut(u64)) {
        let kernel = self.kernel_counters().unwrap_or_default();
        Queue::counters(self).iter().chain(kernel.iter()).for_each(|(_, value)| count(value));
    }
}
