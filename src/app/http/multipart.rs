//! The framing of a multipart response with ranges of a file on disk (RFC 9110 §14.6).
//!
//! The bytes of the ranges are read one range after another. The framing is kept with the answer:
//! neither the head of the request nor the content that was served then is needed again.

use super::Blob;
use super::partial::{boundary, content_type_len, send_last_boundary, send_part_head};
use super::range::ByteRange;
use crate::app::content::File;
use simoom_io::Reply;

/// The ranges of one response, and the position within them.
pub(super) struct Multipart {
    ranges: Box<[ByteRange]>,
    /// The index of the current range.
    current: usize,
    /// Whether the head of the current part is queued.
    has_head: bool,
    boundary: u64,
    /// The Content-Type field of each part.
    content_type: Box<[u8]>,
    file_len: u64,
}

impl Multipart {
    /// A response with these ranges, at least one.
    pub(super) fn new(file: &File, ranges: &[ByteRange]) -> Multipart {
        Multipart {
            ranges: ranges.into(),
            current: 0,
            has_head: false,
            boundary: boundary(file),
            content_type: file.fields().as_slice()[..content_type_len(file)].into(),
            file_len: file.len(),
        }
    }

    pub(super) fn ranges(&self) -> &[ByteRange] {
        &self.ranges
    }

    pub(super) fn boundary(&self) -> u64 {
        self.boundary
    }

    /// Queues the head of the current part, unless it is queued.
    pub(super) fn send_head(&mut self, reply: &mut Reply<'_, Blob>) {
        if !self.has_head {
            self.has_head = true;
            let range = self.ranges[self.current];
            send_part_head(&self.content_type, range, self.file_len, self.boundary, reply);
        }
    }

    /// The current range is queued: goes on to the next range. After the last range, queues the
    /// last boundary and returns `None`.
    pub(super) fn advance(&mut self, reply: &mut Reply<'_, Blob>) -> Option<ByteRange> {
        (self.current, self.has_head) = (self.current + 1, false);
        let next = self.ranges.get(self.current).copied();
        if next.is_none() {
            send_last_boundary(self.boundary, reply);
        }
        next
    }
}
