//! A worker's free frames: a stack, so that the one whose bytes are still in the cache goes out first.
//!
//! Frames may come back to another pool of the same device than they were taken from; none is ever made here.

use super::Frame;

/// Free frames of one device, owned by one worker.
#[derive(Debug)]
pub struct FramePool {
    /// The UMEM's id, its chunk size less one, and all of its chunks: a pool holds them all without growing.
    umem: u16,
    offset_mask: u64,
    free: Vec<Frame>,
}

impl FramePool {
    pub(crate) fn new(umem: u16, chunk_bytes: u32, chunks: u32, frames: impl Iterator<Item = Frame>) -> Self {
        let mut free = Vec::with_capacity(chunks as usize);
        free.extend(frames);
        FramePool { umem, offset_mask: u64::from(chunk_bytes - 1), free }
    }

    /// A free frame, without bytes; nothing when all are in use, which is for the caller to count.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        self.free.pop()
    }

    /// Takes a frame back.
    #[inline]
    pub fn give(&mut self, frame: Frame) {
        self.free.push(frame.emptied(self.umem, self.offset_mask));
    }

    /// Takes over the frames of another pool of the same device, for a worker that serves several queues.
    pub fn append(&mut self, other: FramePool) {
        for frame in other.free {
            self.give(frame);
        }
    }

    /// Frames free.
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
