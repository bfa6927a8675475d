//! Answers on their way out: written without regard to capacity, queued as far as there is some.

use crate::app::{Blob, Bytes};
use simoom_io::Reply;
use simoom_io::send::{CAPACITY_COPY_BYTES, CHUNK_BYTES};
use std::io;
use std::ops::Range;

/// What a service has answered so far. It takes whatever is written; memory is its only bound.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    shares: Vec<Share>,
    /// Bytes that are queued already.
    sent: usize,
    /// Shares that are queued already.
    shared: usize,
}

/// A range of shared bytes.
#[derive(Debug)]
struct Share {
    /// The place in `bytes` that it stands in front of.
    at: usize,
    blob: Blob,
    range: Range<usize>,
}

impl Output {
    /// Appends a copy of `bytes`.
    pub fn copy(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends `bytes` without copying them, unless they are few.
    pub fn share(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if bytes.as_slice().len() <= CHUNK_BYTES {
            return self.copy(bytes.as_slice());
        }
        let (blob, range) = bytes.into_blob();
        self.shares.push(Share { at: self.bytes.len(), blob, range });
    }

    /// Whether all of it is queued.
    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.bytes.len() && self.shared == self.shares.len()
    }

    /// Whether it is empty, its space being used again.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.shares.clear();
        (self.sent, self.shared) = (0, 0);
    }

    /// Queues what there is room for; returns whether that was all.
    ///
    /// Each round takes what one promise of capacity holds at the least: copies of
    /// [`CAPACITY_COPY_BYTES`] with one share among them.
    pub(super) fn send(&mut self, reply: &mut Reply<'_, Blob>) -> bool {
        while !self.is_sent() {
            if !reply.has_capacity() {
                return false;
            }
            let copied = self.copy_to_share(CAPACITY_COPY_BYTES, reply);
            let Some(share) = self.shares.get(self.shared) else { continue };
            if share.at == self.sent {
                reply.share(share.blob.clone(), share.range.clone());
                self.shared += 1;
                self.copy_to_share(CAPACITY_COPY_BYTES - copied, reply);
            }
        }
        true
    }

    /// Copies what stands before the next share, up to `limit` bytes; returns how many.
    fn copy_to_share(&mut self, limit: usize, reply: &mut Reply<'_, Blob>) -> usize {
        let end = self.shares.get(self.shared).map_or(self.bytes.len(), |share| share.at);
        let n = limit.min(end - self.sent);
        reply.copy(&self.bytes[self.sent..self.sent + n]);
        self.sent += n;
        n
    }
}

/// For `write!`. Never fails.
impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.copy(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
