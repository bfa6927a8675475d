//! Answers of a service: written without regard to capacity, and queued as capacity allows.

use crate::app::{Blob, Bytes};
use simoom_io::Reply;
use simoom_io::send::{CAPACITY_COPY_BYTES, CHUNK_BYTES};
use std::io;
use std::ops::Range;

/// The unsent answers of a service. Only memory limits them.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    shares: Vec<Share>,
    /// Bytes already queued.
    sent: usize,
    /// Shares already queued.
    shared: usize,
    /// Bytes of the shares that are not queued.
    unshared_bytes: usize,
}

/// A range of shared bytes.
#[derive(Debug)]
struct Share {
    /// The offset in `bytes` before which the range belongs.
    at: usize,
    blob: Blob,
    range: Range<usize>,
}

impl Output {
    /// Appends a copy of `bytes`.
    pub fn copy(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends `bytes` without copying, unless they are short.
    pub fn share(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if bytes.as_slice().len() <= CHUNK_BYTES {
            return self.copy(bytes.as_slice());
        }
        let (blob, range) = bytes.into_blob();
        self.unshared_bytes += range.len();
        self.shares.push(Share { at: self.bytes.len(), blob, range });
    }

    /// Whether everything is queued.
    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.bytes.len() && self.shared == self.shares.len()
    }

    /// Empties the output and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.shares.clear();
        (self.sent, self.shared, self.unshared_bytes) = (0, 0, 0);
    }

    /// Bytes in memory, with shared ones.
    pub(super) fn held(&self) -> usize {
        self.bytes.len() + self.unshared_bytes
    }

    /// Bytes of the shares that are not queued. A store may have pinned them.
    pub(super) fn unshared_bytes(&self) -> usize {
        self.unshared_bytes
    }

    /// Moves all of `other`, of which nothing is queued, behind these answers.
    pub(super) fn append(&mut self, other: &mut Output) {
        if self.sent > self.bytes.len() / 2 {
            self.forget_sent();
        }
        let base = self.bytes.len();
        self.bytes.append(&mut other.bytes);
        let behind = |share: Share| Share { at: base + share.at, ..share };
        self.shares.extend(other.shares.drain(..).map(behind));
        self.unshared_bytes += other.unshared_bytes;
        other.clear();
    }

    fn forget_sent(&mut self) {
        self.bytes.drain(..self.sent);
        self.shares.drain(..self.shared);
        self.shares.iter_mut().for_each(|share| share.at -= self.sent);
        (self.sent, self.shared) = (0, 0);
    }

    /// Queues as much as there is capacity for. Returns whether everything is queued.
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
                self.unshared_bytes -= share.range.len();
                reply.share(share.blob.clone(), share.range.clone());
                self.shared += 1;
                self.copy_to_share(CAPACITY_COPY_BYTES - copied, reply);
            }
        }
        true
    }

    /// Copies the bytes before the next share, up to `limit` bytes. Returns their number.
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
