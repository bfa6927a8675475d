//! Answers with files that are read from disk, in parts ([`crate::app::disk`]).
//!
//! The head is queued with the first part, so that a file that cannot be read is answered with 503.
//! While the client takes one part, the next is read: an answer holds up to [`PARTS_MAX`] parts. It
//! goes on when a part has come, when the client has taken one, and when the send queue has
//! capacity again. Input is put off until the answer is complete.
//!
//! A failure after the head resets the connection, so that the client sees that the answer is cut
//! off.

use super::access::{self, Access};
use super::connection::{Answer, Body, Connection, Phase, Waiting};
use super::multipart::Multipart;
use super::places::{PlaceIndex, Places};
use super::range::ByteRange;
use super::response::{Persistence, Status};
use super::{Blob, Http};
use crate::app::content::Content;
use crate::app::disk::{FilePart, FileReader, Reading, Request};
use crate::later::{Completed, Later};
use simoom_io::{ConnectionId, Reply};
use std::sync::Arc;

/// The parts of one answer that are read or in the send queue.
const PARTS_MAX: u32 = 2;
/// The bit of a token's number that tells that a part was taken.
const TAKEN: u32 = 1;

/// The answers of one worker that read files.
pub(super) struct Files {
    reader: FileReader,
    later: Later,
    places: Vec<Place>,
    /// The number of the last answer.
    number: u32,
    /// Answers that wait for a part.
    waiting: u64,
}

/// The place of a connection.
#[derive(Default)]
struct Place {
    id: ConnectionId,
    answer: Option<Box<FileAnswer>>,
}

/// An answer in progress.
struct FileAnswer {
    /// Distinguishes the completions of this answer from those of earlier ones. Even.
    number: u32,
    reading: Arc<Reading>,
    /// What the head depends on, until it is queued.
    head: Option<Head>,
    /// The request, for the access log.
    logged: Option<access::Pending>,
    persistence: Persistence,
    status: Status,
    /// Several ranges.
    multipart: Option<Multipart>,
    /// The next byte to read, and the end of the file or of the current range.
    next: u64,
    end: u64,
    is_reading: bool,
    /// A part that waits for capacity.
    ready: Option<FilePart>,
    /// Parts that are read or in the send queue.
    held: u32,
}

struct Head {
    content: Arc<Content>,
    index: u32,
    /// A single range.
    range: Option<ByteRange>,
}

/// The bytes of a file that a request asks for.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    All,
    /// At least one.
    Ranges(&'a [ByteRange]),
}

impl Files {
    pub(super) fn new(reader: FileReader, later: Later, connections: usize) -> Files {
        let mut places = Vec::new();
        places.resize_with(connections, Place::default);
        Files { reader, later, places, number: 0, waiting: 0 }
    }

    /// Bytes of memory for `connections`.
    pub(super) const fn memory_bytes(connections: usize) -> usize {
        connections * (size_of::<Place>() + Places::BYTES_EACH)
    }

    pub(super) fn opened(&mut self, place: PlaceIndex, id: ConnectionId) {
        if let Some(place) = self.places.get_mut(place.get()) {
            place.id = id;
        }
    }

    pub(super) fn closed(&mut self, place: PlaceIndex) {
        drop(self.take(place));
    }

    /// Whether no answer is in progress.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.places.iter().all(|place| place.answer.is_none())
    }

    /// The number of answers that wait for a part.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Ends an answer.
    fn take(&mut self, place: PlaceIndex) -> Option<Box<FileAnswer>> {
        let answer = self.places.get_mut(place.get())?.answer.take()?;
        self.waiting -= u64::from(answer.is_reading);
        answer.reading.end();
        Some(answer)
    }

    fn answer(&mut self, place: PlaceIndex) -> Option<&mut FileAnswer> {
        self.places.get_mut(place.get())?.answer.as_deref_mut()
    }

    /// Asks for the next part, unless the answer has enough of them or there is no memory.
    fn read_next(&mut self, place: PlaceIndex) {
        let Some(place) = self.places.get_mut(place.get()) else { return };
        let Some(answer) = &mut place.answer else { return };
        let left = answer.end - answer.next;
        let has_enough = answer.is_reading || answer.ready.is_some();
        if has_enough || left == 0 || answer.held >= PARTS_MAX {
            return;
        }
        let charge = match self.reader.grant(left) {
            Some(charge) => charge,
            None if answer.held == 0 => answer.reading.admission().charge(left),
            None => return,
        };
        let (offset, len) = (answer.next, charge.bytes() as u64);
        answer.next += len;
        answer.is_reading = true;
        answer.held += 1;
        self.waiting += 1;
        let [done, taken] = [0, TAKEN].map(|kind| self.later.token(place.id, answer.number | kind));
        let reading = answer.reading.clone();
        self.reader.send(Request { reading, offset, charge, done, taken });
    }
}

impl Http {
    /// Begins the answer to a GET of a file on disk, or of ranges of it.
    #[cold]
    pub(super) fn begin_reading(
        &mut self,
        conn: &mut Connection,
        index: u32,
        wanted: Wanted<'_>,
        answer: Answer,
        reply: &mut Reply<'_, Blob>,
    ) {
        let persistence = self.persistence(conn, answer.persistence);
        let file = self.content.file(index).on_disk().cloned();
        let logged = self.access.as_ref().map(Access::pending);
        let place = self.files.as_mut().and_then(|files| {
            let admission = files.reader.admit()?;
            files.number = files.number.wrapping_add(2);
            let place = files.places.get_mut(conn.place.get())?;
            let of = self.content.file(index);
            let (range, multipart) = match wanted {
                Wanted::All => (None, None),
                Wanted::Ranges([range]) => (Some(*range), None),
                Wanted::Ranges(ranges) => (None, Some(Multipart::new(of, ranges))),
            };
            let first = match wanted {
                Wanted::Ranges([first, ..]) => *first,
                _ => ByteRange { start: 0, end: of.len() },
            };
            let is_partial = range.is_some() || multipart.is_some();
            place.answer = Some(Box::new(FileAnswer {
                number: files.number,
                reading: Reading::new(file?, admission),
                head: Some(Head { content: self.content.clone(), index, range }),
                logged,
                persistence,
                status: if is_partial { Status::PartialContent } else { Status::Ok },
                multipart,
                next: first.start,
                end: first.end,
                is_reading: false,
                ready: None,
                held: 0,
            }));
            files.read_next(conn.place);
            Some(())
        });
        if place.is_none() {
            self.counters.http_file_refusals += 1;
            let body = Body::Status(Status::ServiceUnavailable);
            return self.answer(conn, Answer { body, ..answer }, reply);
        }
        conn.phase = Phase::Reading;
        reply.read_later();
    }

    /// A part was read or taken.
    #[cold]
    pub(super) fn file_completed(
        &mut self,
        conn: &mut Connection,
        completed: Completed,
        reply: &mut Reply<'_, Blob>,
    ) {
        if !matches!(conn.phase, Phase::Reading) {
            return;
        }
        let Some(files) = &mut self.files else { return };
        let Some(answer) = files.answer(conn.place) else { return };
        if completed.number == answer.number | TAKEN {
            answer.held -= 1;
        } else if completed.number == answer.number {
            answer.is_reading = false;
            answer.ready = match completed.answer {
                Some(Blob::File(part)) => Some(part),
                _ => None,
            };
            let has_failed = answer.ready.is_none();
            files.waiting -= 1;
            if has_failed {
                return self.file_failed(conn, reply);
            }
        }
        // Else the client has taken a part of an earlier answer.
        self.go_on_reading(conn, reply);
    }

    /// Queues the part that is ready, and asks for the next.
    #[cold]
    pub(super) fn go_on_reading(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        let Some(answer) = self.file_answer(conn) else { return };
        if answer.ready.is_some() {
            if !reply.has_capacity() {
                // `resumed` follows. No input is delivered before.
                return;
            }
            self.send_head(conn, reply);
            // The head of several ranges is longer.
            if !reply.has_capacity() {
                return;
            }
            if self.send_part(conn, reply) {
                return self.end_reading(conn, reply);
            }
        }
        if let Some(files) = &mut self.files {
            files.read_next(conn.place);
        }
        reply.read_later();
    }

    /// Queues the head of an answer, unless it is queued, and writes its record to the access log.
    fn send_head(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        let Some(answer) = self.file_answer(conn) else { return };
        let (persistence, status) = (answer.persistence, answer.status);
        let Some(Head { content, index, range }) = answer.head.take() else { return };
        let logged = answer.logged.take();
        let multipart = answer.multipart.take();
        let file = content.file(index);
        let whole = reply.queued();
        let len = match (range, &multipart) {
            (None, Some(multipart)) => {
                let (ranges, boundary) = (multipart.ranges(), multipart.boundary());
                self.answers.begin_parts(file, ranges, boundary, persistence, reply)
            }
            (None, None) => {
                self.answers.send(status, persistence, file.ok(), true, reply);
                file.len()
            }
            (Some(range), _) => {
                self.answers.send_range_head(file, range, persistence, reply);
                range.len()
            }
        };
        if let Some(answer) = self.file_answer(conn) {
            answer.multipart = multipart;
        }
        self.counters.note_answer(status);
        if let (Some(access), Some(request)) = (&mut self.access, logged) {
            access.resume(&request);
            self.record(conn, status, reply.queued() - whole + len);
        }
    }

    /// Queues the part that is ready. Returns whether it is the last.
    fn send_part(&mut self, conn: &Connection, reply: &mut Reply<'_, Blob>) -> bool {
        let Some(answer) = self.files.as_mut().and_then(|files| files.answer(conn.place)) else {
            return false;
        };
        let Some(part) = answer.ready.take() else { return false };
        if let Some(multipart) = &mut answer.multipart {
            multipart.send_head(reply);
        }
        let len = part.bytes().len();
        self.counters.http_file_bytes += len as u64;
        reply.share(Blob::File(part), 0..len);
        if answer.next < answer.end {
            return false;
        }
        match answer.multipart.as_mut().and_then(|multipart| multipart.advance(reply)) {
            Some(range) => {
                (answer.next, answer.end) = (range.start, range.end);
                false
            }
            None => true,
        }
    }

    fn end_reading(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        let persistence = self.take_answer(conn).map_or(Persistence::Close, |a| a.persistence);
        self.complete(conn, persistence, reply);
        self.wait(conn, Waiting::Idle, reply);
    }

    fn file_answer(&mut self, conn: &Connection) -> Option<&mut FileAnswer> {
        self.files.as_mut()?.answer(conn.place)
    }

    fn take_answer(&mut self, conn: &Connection) -> Option<Box<FileAnswer>> {
        self.files.as_mut()?.take(conn.place)
    }

    /// A part cannot be read.
    fn file_failed(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        self.counters.http_file_failures += 1;
        let Some(answer) = self.take_answer(conn) else { return };
        if answer.head.is_none() {
            return self.cut(conn, reply);
        }
        if let (Some(access), Some(request)) = (&mut self.access, &answer.logged) {
            access.resume(request);
        }
        let body = Body::Status(Status::ServiceUnavailable);
        let persistence = answer.persistence;
        self.whole = reply.queued();
        self.answer(conn, Answer { body, with_content: true, persistence }, reply);
        self.whole = 0;
        self.wait(conn, Waiting::Idle, reply);
    }

    /// The number of answers that wait for a part of a file.
    pub(super) fn files_waiting(&self) -> u64 {
        self.files.as_ref().map_or(0, Files::waiting)
    }

    /// Puts input off again, which a deadline delivers.
    pub(super) fn keep_reading(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        if self.file_answer(conn).is_some_and(|answer| answer.ready.is_none()) {
            reply.read_later();
        }
    }
}
