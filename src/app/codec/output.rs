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
