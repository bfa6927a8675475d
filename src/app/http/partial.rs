//! Sends parts of a file: one range with status 206, several as multipart/byteranges, or 416 (RFC
//! 9110 §§14.4, 14.6, 15.3.7, 15.5.17).
//!
//! A response of several parts may need more of the send queue than a handler is promised. So the
//! head of the request stays in the transport's input until the last part is queued. When the queue
//! has capacity again, the handler parses the same head again and continues with the next part. The
//! connection stores only the number of queued parts. Nothing here allocates. `multipart` sends the
//! parts of a file on disk.

use super::connection::{Answer, Body, Connection, Parts, Phase, Waiting};
use super::range::{self, ByteRange, Selection};
use super::reading::Wanted;
use super::request::Request;
use super::response::{Answers, Persistence, Status};
use super::{Http, conditional};
use crate::app::Blob;
use crate::app::content::File;
use simoom_io::Reply;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::sync::LazyLock;

/// Fields up to this size are copied. Longer fields are shared.
const FIELDS_COPY_MAX_BYTES: usize = 512;

/// Whether the response to a request is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Complete,
    /// Parts are missing: pass the same request again when there is capacity.
    Partial,
    /// The password is being verified: pass the same request again later.
    Pending,
}

/// How the caller delivers a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It cannot deliver the head again: several ranges of a file in memory get the whole file.
    Once,
    /// It keeps the head, and delivers it again if the answer is not complete.
    Kept,
    /// It delivers the head again, for the missing parts of an answer.
    Again,
}

impl Http {
    /// Answers a GET of the file at `index` with the ranges that it asks for.
    #[cold]
    pub(super) fn answer_ranges(
        &mut self,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        index: u32,
        answer: Answer,
        delivery: Delivery,
        reply: &mut Reply<'_, Blob>,
    ) -> Progress {
        let content = self.content.clone();
        let file = content.file(index);
        let now = self.answers.date();
        let selection = match conditional::range(request.fields, file.validators(), now) {
            Some(value) => range::select(value, file.len()),
            None => Selection::Whole,
        };
        match &selection {
            Selection::Ranges(ranges)
                if delivery != Delivery::Once
                    && ranges.are_several()
                    && file.on_disk().is_none() =>
            {
                return self.answer_parts(conn, file, ranges.as_slice(), answer, reply);
            }
            _ if delivery == Delivery::Again => self.cut(conn, reply),
            Selection::Ranges(ranges) if file.on_disk().is_some() => {
                let wanted = Wanted::Ranges(ranges.as_slice());
                self.begin_reading(conn, index, wanted, answer, reply);
            }
            Selection::Ranges(ranges) if !ranges.are_several() => {
                self.answer_range(conn, file, ranges.as_slice()[0], answer, reply);
            }
            Selection::Ranges(_) | Selection::Whole => self.answer(conn, answer, reply),
            Selection::Unsatisfiable => {
                let body = Body::Unsatisfiable(index);
                self.answer(conn, Answer { body, ..answer }, reply);
            }
        }
        Progress::Complete
    }

    /// Resets a connection with a part of an answer, because the file was replaced. The client sees
    /// that the answer is cut off.
    #[cold]
    pub(super) fn cut(&self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        conn.phase = Phase::Closing;
        reply.abort();
    }

    fn answer_range(
        &mut self,
        conn: &mut Connection,
        file: &File,
        range: ByteRange,
        answer: Answer,
        reply: &mut Reply<'_, Blob>,
    ) {
        let persistence = self.persistence(conn, answer.persistence);
        self.answers.send_range(file, range, persistence, reply);
        self.answered(conn, Status::PartialContent, persistence, reply);
    }

    /// Queues the head of a multipart response, then parts while there is capacity.
    fn answer_parts(
        &mut self,
        conn: &mut Connection,
        file: &File,
        ranges: &[ByteRange],
        answer: Answer,
        reply: &mut Reply<'_, Blob>,
    ) -> Progress {
        let boundary = boundary(file);
        let version = boundary as u32;
        let mut queued = match conn.phase {
            Phase::Parts(parts) if parts.version == version => usize::from(parts.queued),
            Phase::Parts(_) => {
                self.cut(conn, reply);
                return Progress::Complete;
            }
            _ => {
                let persistence = self.persistence(conn, answer.persistence);
                let content_len =
                    self.answers.begin_parts(file, ranges, boundary, persistence, reply);
                // Now, with all bytes: the client may leave before the last part is queued.
                self.counters.note_answer(Status::PartialContent);
                if self.access.is_some() {
                    let head_len = reply.queued().saturating_sub(self.whole);
                    self.record(conn, Status::PartialContent, head_len + content_len);
                }
                0
            }
        };
        // The client has read some bytes, or has a new response: restart its timeout.
        conn.deadline.waiting = Waiting::Unset;
        while reply.has_capacity() {
            let Some(range) = ranges.get(queued) else {
                send_last_boundary(boundary, reply);
                let persistence = self.persistence(conn, answer.persistence);
                self.complete(conn, persistence, reply);
                return Progress::Complete;
            };
            let fields = file.fields();
            let content_type = &fields.as_slice()[..content_type_len(file)];
            send_part_head(content_type, *range, file.len(), boundary, reply);
            file.content().send(range.start, range.end, reply);
            queued += 1;
        }
        conn.phase = Phase::Parts(Parts { version, queued: queued as u16 });
        Progress::Partial
    }
}

impl Answers {
    /// Sends one range with status 206.
    fn send_range(
        &self,
        file: &File,
        range: ByteRange,
        persistence: Persistence,
        reply: &mut Reply<'_, Blob>,
    ) {
        self.send_range_head(file, range, persistence, reply);
        file.content().send(range.start, range.end, reply);
    }

    /// Sends the head of an answer with one range.
    pub(super) fn send_range_head(
        &self,
        file: &File,
        range: ByteRange,
        persistence: Persistence,
        reply: &mut Reply<'_, Blob>,
    ) {
        self.begin(Status::PartialContent, persistence, reply);
        send_fields(file, 0, reply);
        Text::new().content_range(range, file.len()).content_length(range.len()).end().send(reply);
    }

    /// Sends 416 with the length of the file.
    #[cold]
    pub(super) fn send_unsatisfiable(
        &self,
        file: &File,
        persistence: Persistence,
        with_content: bool,
        reply: &mut Reply<'_, Blob>,
    ) {
        let status = Status::RangeNotSatisfiable;
        self.begin(status, persistence, reply);
        Text::new().unsatisfied_range(file.len()).send(reply);
        self.status_body(status).send(with_content, reply);
    }

    /// Sends the head of a multipart response. Returns the length of its content.
    pub(super) fn begin_parts(
        &self,
        file: &File,
        ranges: &[ByteRange],
        boundary: u64,
        persistence: Persistence,
        reply: &mut Reply<'_, Blob>,
    ) -> u64 {
        let parts: u64 =
            ranges.iter().map(|range| part_head_len(file, *range, boundary) + range.len()).sum();
        let len = parts + Text::new().last_boundary(boundary).len();
        self.begin(Status::PartialContent, persistence, reply);
        Text::new().content_type(boundary).send(reply);
        send_fields(file, content_type_len(file), reply);
        Text::new().content_length(len).end().send(reply);
        len
    }
}

/// Queues the fields of `file` from the byte at `start` on.
fn send_fields(file: &File, start: usize, reply: &mut Reply<'_, Blob>) {
    let fields = file.fields();
    if fields.len() as usize - start <= FIELDS_COPY_MAX_BYTES {
        reply.copy(&fields.as_slice()[start..]);
    } else {
        fields.send(start as u64, fields.len(), reply);
    }
}

/// The length of the Content-Type field of `file`, the first of its fields.
pub(super) fn content_type_len(file: &File) -> usize {
    memchr::memchr(b'\n', file.fields().as_slice()).map_or(0, |lf| lf + 1)
}

/// Queues what precedes the bytes of a part: the boundary, Content-Type and Content-Range.
pub(super) fn send_part_head(
    content_type: &[u8],
    range: ByteRange,
    file_len: u64,
    boundary: u64,
    reply: &mut Reply<'_, Blob>,
) {
    Text::new().boundary(boundary).send(reply);
    reply.copy(content_type);
    Text::new().content_range(range, file_len).end().send(reply);
}

pub(super) fn send_last_boundary(boundary: u64, reply: &mut Reply<'_, Blob>) {
    Text::new().last_boundary(boundary).send(reply);
}

fn part_head_len(file: &File, range: ByteRange, boundary: u64) -> u64 {
    let content_range = Text::new().content_range(range, file.len()).end().len();
    Text::new().boundary(boundary).len() + content_type_len(file) as u64 + content_range
}

/// The boundary of multipart responses for this version of `file`. Keyed with a secret of the
/// process, so that no file can be made to contain it (RFC 2046 §5.1.1).
pub(super) fn boundary(file: &File) -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEY.hash_one(file.validators().etag)
}

/// Short text of a response, without allocation.
struct Text {
    bytes: [u8; TEXT_MAX_BYTES],
    len: usize,
}

/// Space for Content-Range and Content-Length with the largest numbers.
const TEXT_MAX_BYTES: usize = 160;

impl Text {
    fn new() -> Text {
        Text { bytes: [0; TEXT_MAX_BYTES], len: 0 }
    }

    fn push(mut self, text: std::fmt::Arguments<'_>) -> Text {
        let mut free = &mut self.bytes[self.len..];
        free.write_fmt(text).expect("TEXT_MAX_BYTES suffice for the largest numbers");
        self.len = TEXT_MAX_BYTES - free.len();
        self
    }

    fn content_range(self, range: ByteRange, file_len: u64) -> Text {
        let last = range.end - 1;
        self.push(format_args!("Content-Range: bytes {}-{last}/{file_len}\r\n", range.start))
    }

    fn unsatisfied_range(self, file_len: u64) -> Text {
        self.push(format_args!("Content-Range: bytes */{file_len}\r\n"))
    }

    fn content_length(self, len: u64) -> Text {
        self.push(format_args!("Content-Length: {len}\r\n"))
    }

    fn content_type(self, boundary: u64) -> Text {
        self.push(format_args!("Content-Type: multipart/byteranges; boundary={boundary:016x}\r\n"))
    }

    fn boundary(self, boundary: u64) -> Text {
        self.push(format_args!("\r\n--{boundary:016x}\r\n"))
    }

    fn last_boundary(self, boundary: u64) -> Text {
        self.push(format_args!("\r\n--{boundary:016x}--\r\n"))
    }

    fn end(self) -> Text {
        self.push(format_args!("\r\n"))
    }

    fn len(&self) -> u64 {
        self.len as u64
    }

    fn send(&self, reply: &mut Reply<'_, Blob>) {
        reply.copy(&self.bytes[..self.len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_numbers_fit() {
        let range = ByteRange { start: u64::MAX - 1, end: u64::MAX };
        let text = Text::new().content_range(range, u64::MAX).content_length(u64::MAX).end();
        assert!(text.len() > 100);
        Text::new().content_type(u64::MAX).end();
    }
}
