//! Free frames: a stack, so that the frame whose bytes are still in the cache is taken first.
//!
//! A frame may return to another pool of the same device than it was taken from. No frame is
//! created here.

use super::Frame;
use super::umem::NO_ADDR;

/// Free frames of one device, owned by one thread.
#[derive(Debug)]
pub struct FramePool {
    /// The UMEM's id, its chunk size less one, and all of its chunks: a pool holds them all without
    /// growing.
    umem: u16,
    offset_mask: u64,
    /// Bytes before a transmitted frame.
    headroom: u64,
    /// Where each free frame begins: it has no bytes in use.
    free: Vec<u64>,
}

impl FramePool {
    pub(crate) fn new(
        umem: u16,
        chunk_bytes: u32,
        headroom: u32,
        chunks: u32,
        frames: impl Iterator<Item = Frame>,
    ) -> Self {
        let mut free = Vec::with_capacity(chunks as usize);
        free.extend(frames.map(|frame| frame.addr()));
        FramePool { umem, offset_mask: u64::from(chunk_bytes - 1), headroom: headroom.into(), free }
    }

    /// Takes a free frame, without bytes. `None` if all are in use.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        self.free.pop().map(|addr| Frame::empty(addr, self.umem))
    }

    /// Takes up to `count` free frames. Those that the caller does not ask for are lost.
    #[inline]
    pub(crate) fn take_all(&mut self, count: usize) -> impl Iterator<Item = Frame> + '_ {
        let (umem, kept) = (self.umem, self.free.len().saturating_sub(count));
        self.free.drain(kept..).rev().map(move |addr| Frame::empty(addr, umem))
    }

    /// Returns frames to the pool. Panics if one is another device's.
    #[inline]
    pub fn give_all(&mut self, frames: impl Iterator<Item = Frame>) {
        let (umem, chunk_mask, headroom) = (self.umem, !self.offset_mask, self.headroom);
        self.free.extend(frames.map(|frame| (frame.into_addr(umem) & chunk_mask) + headroom));
    }

    /// As [`FramePool::give_all`], for frames that begin behind their headroom, as those that were
    /// transmitted do.
    #[inline]
    pub(crate) fn give_empty(&mut self, frames: impl Iterator<Item = Frame>) {
        let umem = self.umem;
        self.free.extend(frames.map(|frame| frame.into_addr(umem)));
    }

    /// Removes what stands for no frame ([`Frame::none`]).
    #[cold]
    pub(crate) fn forget_none(&mut self) {
        self.free.retain(|addr| *addr != NO_ADDR);
    }

    /// Returns a frame to the pool. Panics if it is another device's.
    #[inline]
    pub fn give(&mut self, frame: Frame) {
        let chunk = frame.into_addr(self.umem) & !self.offset_mask;
        self.free.push(chunk + self.headroom);
    }

    /// Adds the frames of another pool of the same device, for a thread that serves several queues.
    pub fn append(&mut self, other: FramePool) {
        assert_eq!(self.umem, other.umem, "a frame of another device");
        self.free.extend(other.free);
    }

    /// Free frames.
    #[inline]
    pub fn len(&self) -> usize {
        self.free.len()
    }

    /// Whether none is free.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }
}
