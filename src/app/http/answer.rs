//! Sends answers, and what belongs to each: counters, the record of the access log, whether the
//! connection persists.

use super::Http;
use super::connection::{Answer, Body, Connection, Phase, Waiting};
use super::error::HttpError;
use super::reading::Wanted;
use super::request::Request;
use super::response::{self, Persistence, Status};
use crate::app::Blob;
use simoom_io::Reply;

impl Http {
    /// Sends the selected answer to a request whose content, if any, has arrived.
    #[inline(always)]
    pub(super) fn answer_request(
        &mut self,
        conn: &mut Connection,
        request: &Request<'_, '_>,
        answer: Answer,
        reply: &mut Reply<'_, Blob>,
    ) {
        let query = || request.query().unwrap_or_default();
        match answer.body {
            Body::Redirect(index) if request.query().is_some() => {
                self.redirect(conn, index, 0, query(), answer, reply);
            }
            Body::Moved(index, len) => {
                self.redirect(conn, index, len.into(), query(), answer, reply);
            }
            _ => self.answer(conn, answer, reply),
        }
    }

    /// Answers with a redirect to its location, the `written` bytes of [`Http::location`], and the
    /// query.
    #[cold]
    fn redirect(
        &mut self,
        conn: &mut Connection,
        index: u32,
        written: usize,
        query: &[u8],
        answer: Answer,
        reply: &mut Reply<'_, Blob>,
    ) {
        // A location with a query has its own.
        let has_query = memchr::memchr(b'?', &self.location[..written]).is_some();
        let query = if has_query { b"" } else { query };
        let end = written + query.len();
        if end > response::INSERTED_MAX_BYTES {
            let body = Body::Status(Status::UriTooLong);
            return self.answer(conn, Answer { body, ..answer }, reply);
        }
        let persistence = self.persistence(conn, answer.persistence);
        let redirect = self.content.redirect(index);
        let status = redirect.status();
        self.location[written..end].copy_from_slice(query);
        let appended = &self.location[..end];
        self.answers.redirect(redirect, appended, persistence, answer.with_content, reply);
        self.answered(conn, status, persistence, reply);
    }

    #[inline(always)]
    pub(super) fn answer(
        &mut self,
        conn: &mut Connection,
        answer: Answer,
        reply: &mut Reply<'_, Blob>,
    ) {
        if let Body::File(index) = answer.body
            && answer.with_content
            && self.content.file(index).on_disk().is_some()
        {
            return self.begin_reading(conn, index, Wanted::All, answer, reply);
        }
        let persistence = self.persistence(conn, answer.persistence);
        let (status, tail) = match answer.body {
            Body::Unsatisfiable(index) => {
                let file = self.content.file(index);
                self.answers.send_unsatisfiable(file, persistence, answer.with_content, reply);
                return self.answered(conn, Status::RangeNotSatisfiable, persistence, reply);
            }
            Body::File(index) => (Status::Ok, self.content.file(index).ok()),
            Body::NotModified(index) => {
                (Status::NotModified, self.content.file(index).not_modified())
            }
            Body::Redirect(index) | Body::Moved(index, _) => {
                let redirect = self.content.redirect(index);
                (redirect.status(), redirect.rendered())
            }
            Body::Page(index) => {
                let page = self.content.page(index);
                self.counters.note_status_body(page.status);
                (page.status, &page.rendered)
            }
            Body::Status(status) => {
                self.counters.note_status_body(status);
                (status, self.answers.status_body(status))
            }
            // For a caller that cannot pass the request again, or after a long wait.
            Body::Pending => {
                let status = Status::ServiceUnavailable;
                (status, self.answers.status_body(status))
            }
        };
        self.answers.send(status, persistence, tail, answer.with_content, reply);
        self.answered(conn, status, persistence, reply);
    }

    #[inline(always)]
    pub(super) fn persistence(&self, conn: &Connection, asked: Persistence) -> Persistence {
        let is_last = self.draining || conn.requests + 1 >= self.options.requests_max;
        if is_last { Persistence::Close } else { asked }
    }

    #[inline(always)]
    pub(super) fn answered(
        &mut self,
        conn: &mut Connection,
        status: Status,
        persistence: Persistence,
        reply: &mut Reply<'_, Blob>,
    ) {
        self.note(conn, status, reply);
        self.complete(conn, persistence, reply);
    }

    /// Counts an answer that is queued whole, and writes its record.
    #[inline(always)]
    fn note(&mut self, conn: &Connection, status: Status, reply: &Reply<'_, Blob>) {
        self.counters.note_answer(status);
        if self.access.is_some() {
            self.record(conn, status, reply.queued().saturating_sub(self.whole));
        }
    }

    /// An answer is queued whole. It was counted, and its record is written.
    #[inline(always)]
    pub(super) fn complete(
        &mut self,
        conn: &mut Connection,
        persistence: Persistence,
        reply: &mut Reply<'_, Blob>,
    ) {
        (conn.deadline.waiting, conn.deadline.checks) = (Waiting::Unset, 0);
        conn.phase = Phase::default();
        conn.requests += 1;
        self.counters.http_request_limits += u64::from(conn.requests == self.options.requests_max);
        if persistence == Persistence::Close {
            conn.phase = Phase::Closing;
            reply.close();
        }
    }

    /// Writes the record of an answer of `bytes` to the access log.
    #[cold]
    pub(super) fn record(&mut self, conn: &Connection, status: Status, bytes: u64) {
        let now = self.answers.date();
        if let Some(access) = &mut self.access
            && !access.answered(conn.place, status, bytes, now)
        {
            self.counters.http_access_log_lost += 1;
        }
    }

    /// Refuses a request with this head, or with the start of one.
    #[cold]
    pub(super) fn refuse(
        &mut self,
        conn: &mut Connection,
        error: HttpError,
        head: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) {
        self.counters.note_error(error);
        let status = error.status();
        let with_content = !head.starts_with(b"HEAD ");
        let tail = self.answers.status_body(status);
        self.answers.send(status, Persistence::Close, tail, with_content, reply);
        self.note(conn, status, reply);
        conn.deadline.waiting = Waiting::Unset;
        conn.phase = Phase::Closing;
        reply.close();
    }

    /// Keeps the access log from naming a request of another connection.
    #[inline]
    pub(super) fn forget_request(&mut self) {
        if let Some(access) = &mut self.access {
            access.forget();
        }
    }

    /// Ends a connection after a panic. If no byte of an answer is queued, queues a 500. Otherwise
    /// resets the connection, so that the client sees that the answer is cut off.
    pub(in crate::app) fn panicked(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        let whole = std::mem::take(&mut self.whole);
        let in_answer = matches!(conn.phase, Phase::Closing | Phase::Parts(_) | Phase::Reading);
        if reply.queued() == whole && !in_answer {
            let status = Status::InternalServerError;
            self.answers.send(
                status,
                Persistence::Close,
                self.answers.status_body(status),
                false,
                reply,
            );
            self.counters.note_answer(status);
            reply.close();
        } else {
            reply.abort();
        }
    }
}
