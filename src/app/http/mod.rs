//! HTTP/1.1 (RFC 9110 and 9112): GET and HEAD of the content held in memory.
//!
//! # The life of a request
//!
//! The transport delivers input to `received`, in a frame or in its own buffer. A request may
//! arrive in several chunks, and further requests may follow it. A connection is in one of five
//! phases:
//!
//! - *Head*: `plain` recognizes the heads of most requests in one pass, and their answer needs no
//!   decision. For all others `head::find_end` looks for the empty line. Until it arrives, the
//!   handler consumes nothing, the transport buffers the bytes, and the search remembers its
//!   position. A whole head becomes a `Request`, and then an `Answer`: `decide` decodes the path,
//!   looks it up in the `Content` and evaluates the preconditions.
//! - *Body*: the handler answers a request with content after the content. `body` discards the
//!   content while the head waits in `heads`. `Expect: 100-continue` gets its interim answer first.
//!   A request with unacceptable framing or size is refused before that.
//! - *Parts*: a response with several ranges is queued in part (`partial`).
//! - *Reading*: the answer waits for parts of a file on disk (`reading`).
//! - *Closing*: the last answer is queued. The handler reads no more input.
//!
//! `response` queues answers: ranges of pre-rendered bytes. No request formats anything. When the
//! send queue has no capacity for one more answer, the handler stops reading, and the remaining
//! pipeline stays in the transport.
//!
//! An error that leaves the framing intact (404, 405, 412, 501 for a method) keeps the connection
//! open. Any other error, an `HttpError`, closes it, so that no later byte is taken for a request.
//!
//! A connection has one deadline, for the event that it is `Waiting` for. This module reads no
//! clock. The transport passes the time of day to [`Http::clock`], and calls `timeout` when a
//! deadline fires.

mod access;
pub(super) mod body;
pub(super) mod conditional;
pub(super) mod connection;
mod counters;
pub(crate) mod date;
mod decide;
pub(super) mod error;
mod fields;
mod handler;
pub(super) mod head;
mod heads;
mod multipart;
mod options;
mod partial;
pub(super) mod path;
mod places;
mod plain;
mod proxy;
mod range;
mod reading;
pub(super) mod request;
pub(crate) mod response;
mod target;

pub use access::{Access, BUFFER_BYTES, Buffer, Record, records};
pub(crate) use conditional::Validators;
pub use connection::Connection;
pub use counters::Counters;
pub(crate) use date::imf_fixdate;
pub use options::{HeadLimits, Options, Timeouts};
pub use proxy::Network;

use super::Blob;
use super::content::{Content, Current, Entry};
use super::disk::FileReader;
use crate::later::Later;
use body::Discard;
use connection::{Answer, Body, PASSWORD_CHECKS_MAX, Phase, Waiting};
use error::HttpError;
use head::Search;
use heads::{Heads, Kept, Slot};
use partial::{Delivery, Progress};
use places::Places;
use reading::{Files, Wanted};
use request::{FIELDS_MAX, Request};
use response::{Answers, CONTINUE, Persistence, Status};
use simoom_io::{Application, Closed, Opened, Reply};
use std::mem::MaybeUninit;
use std::sync::Arc;

/// Input that a transport must be able to buffer for one connection: the longest head.
pub const INPUT_MAX_BYTES: usize = head::HEAD_MAX_BYTES;

/// The handler of one worker.
pub struct Http {
    content: Arc<Content>,
    /// The version of `content` in `current`.
    version: u32,
    current: Arc<Current>,
    options: Options,
    answers: Answers,
    /// Buffer for decoded paths: paths with escapes or dot segments.
    scratch: Box<[u8]>,
    /// Buffer for the location of a redirect.
    location: Box<[u8]>,
    /// Heads of requests whose content arrives.
    heads: Heads,
    /// Bytes queued on the current connection, up to its last whole answer. 0 between calls.
    whole: u64,
    draining: bool,
    access: Option<Access>,
    /// Networks whose connections begin with a header of the PROXY protocol.
    proxies: Arc<[Network]>,
    /// Answers with files that are read from disk.
    files: Option<Files>,
    places: Places,
    counters: Counters,
}

/// Capacity for the decoded path of the longest target.
fn scratch_bytes(options: &Options) -> usize {
    usize::from(options.head.line_max_bytes)
}

/// The result of one step through the input.
enum Step {
    /// The number of consumed bytes.
    Took(usize),
    /// The handler needs more input.
    Wait(Waiting),
}

impl Http {
    /// A handler that serves `content`. The Date of its answers is the epoch until the first call
    /// of [`Http::clock`].
    pub fn new(content: Arc<Content>, options: Options) -> Http {
        Http::following(Arc::new(Current::new(content)), options)
    }

    /// As [`Http::new`]. Serves what `current` is replaced with from the next request on.
    pub fn following(current: Arc<Current>, options: Options) -> Http {
        let (content, version) = current.get();
        Http {
            content,
            version,
            current,
            options,
            answers: Answers::new(),
            scratch: vec![0; scratch_bytes(&options)].into(),
            location: vec![0; response::INSERTED_MAX_BYTES].into(),
            heads: Heads::default(),
            whole: 0,
            draining: false,
            access: None,
            proxies: Arc::default(),
            files: None,
            places: Places::default(),
            counters: Counters::default(),
        }
    }

    /// Writes a record of each answer to this access log.
    pub fn with_access_log(self, access: Option<Access>) -> Http {
        let connections = access.as_ref().map_or(0, Access::connections);
        Http { access, ..self.with_places(connections) }
    }

    /// Expects a header of the PROXY protocol on each connection from these networks.
    pub fn with_proxies(self, proxies: Arc<[Network]>) -> Http {
        Http { proxies, ..self }
    }

    /// Reads the files that the content does not hold in memory with `reader`, for up to
    /// `connections`. Without it they are answered with 503.
    pub fn with_files(self, reader: FileReader, later: Later, connections: usize) -> Http {
        let files = Some(Files::new(reader, later, connections));
        Http { files, ..self.with_places(connections) }
    }

    /// Places for up to `connections`, or more.
    fn with_places(self, connections: usize) -> Http {
        let places = Places::new(connections.max(self.places.count()));
        Http { places, ..self }
    }

    /// Bytes of memory that [`Http::with_files`] takes.
    pub const fn files_memory_bytes(connections: usize) -> usize {
        Files::memory_bytes(connections)
    }

    /// Replaces the options.
    pub(in crate::app) fn set_options(&mut self, options: Options) {
        self.options = options;
        self.scratch = vec![0; scratch_bytes(&options)].into();
    }

    /// Sets the time of day. Call it before the first connection and then about once a second.
    pub fn clock(&mut self, unix_seconds: u64) {
        if self.current.version() != self.version {
            self.take_current();
        }
        self.answers.set_date(unix_seconds);
    }

    /// Takes the content that is served now.
    #[cold]
    fn take_current(&mut self) {
        (self.content, self.version) = self.current.get();
    }

    /// Starts draining: every further answer carries `Connection: close` and is the last of its
    /// connection.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
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

    fn step(&mut self, conn: &mut Connection, bytes: &[u8], reply: &mut Reply<'_, Blob>) -> Step {
        match (conn.phase, bytes) {
            (Phase::Closing, _) => Step::Took(bytes.len()),
            (Phase::Proxy, _) => self.read_proxy_header(conn, bytes, reply),
            (Phase::Body(discard, slot), _) => self.read_body(conn, discard, slot, bytes, reply),
            (Phase::Parts(_), _) => self.continue_parts(conn, bytes, reply),
            (Phase::Reading, _) => {
                self.keep_reading(conn, reply);
                Step::Wait(Waiting::Idle)
            }
            // RFC 9112 §2.2: ignore empty lines before a request line. They start no head.
            (Phase::Head(_), [b'\r']) => Step::Wait(Waiting::Idle),
            (Phase::Head(_), [b'\r', b'\n', ..]) => Step::Took(2),
            (Phase::Head(search), _) => self.read_head(conn, search, bytes, reply),
        }
    }

    /// Reads the header of the PROXY protocol, which comes once, before all requests.
    #[cold]
    fn read_proxy_header(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        match proxy::parse(bytes) {
            Ok(None) => Step::Wait(Waiting::Head),
            Ok(Some(header)) => {
                if let (Some(access), Some(client)) = (&mut self.access, header.client) {
                    access.set_address(conn.place, client);
                }
                conn.phase = Phase::default();
                Step::Took(header.len)
            }
            Err(proxy::Invalid) => {
                self.reset_proxy(conn, reply);
                Step::Took(bytes.len())
            }
        }
    }

    /// Resets a connection whose header of the PROXY protocol is invalid, or incomplete for too
    /// long. The proxy expects no answer before it (HAProxy's proxy-protocol.txt §2).
    #[cold]
    fn reset_proxy(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        self.counters.http_bad_proxy_header += 1;
        conn.phase = Phase::Closing;
        reply.abort();
    }

    #[inline]
    fn read_head(
        &mut self,
        conn: &mut Connection,
        mut search: Search,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        if search.is_new()
            && let Some(len) = self.answer_plain(conn, bytes, reply)
        {
            return Step::Took(len);
        }
        match head::find_end(bytes, &mut search, self.options.head) {
            Ok(None) => {
                conn.phase = Phase::Head(search);
                Step::Wait(Waiting::Head)
            }
            Ok(Some(len)) => match self.handle_head(conn, &bytes[..len], Delivery::Kept, reply) {
                Progress::Complete => Step::Took(len),
                Progress::Partial => Step::Wait(Waiting::Idle),
                Progress::Pending => {
                    // The request is counted when it comes again.
                    self.counters.http_requests -= 1;
                    self.counters.http_head_bytes -= len as u64;
                    conn.phase = Phase::default();
                    reply.read_later();
                    Step::Wait(Waiting::Password)
                }
            },
            Err(error) => {
                self.refuse(conn, error, bytes, reply);
                Step::Took(bytes.len())
            }
        }
    }

    /// The fast path: answers a request with a [plain] head for a file in memory, while there is no
    /// access log. Returns the length of the head; `None` if the general path has to answer.
    #[inline(always)]
    fn answer_plain(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Option<usize> {
        if self.access.is_some() {
            return None;
        }
        let head = plain::parse(bytes, self.options.head)?;
        let entry = self.content.find(self.content.site(head.host), head.path)?;
        let Entry::File(index) = entry else { return None };
        let file = self.content.file(index);
        if file.on_disk().is_some() || head.accepts_codings && file.varies() {
            return None;
        }
        let (status, persistence) = (Status::Ok, self.persistence(conn, Persistence::Keep));
        self.answers.send(status, persistence, file.ok(), true, reply);
        self.counters.http_requests += 1;
        self.counters.http_head_bytes += head.len as u64;
        self.answered(conn, status, persistence, reply);
        Some(head.len)
    }

    /// Discards more content of a request that [`Http::handle`] began. Returns the number of bytes.
    pub(in crate::app) fn read_on(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        match self.step(conn, bytes, reply) {
            Step::Took(n) => n,
            Step::Wait(_) => 0,
        }
    }

    /// Continues a multipart response. Its request is still at the start of the input.
    #[cold]
    fn continue_parts(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        let Ok(Some(len)) = head::find_end(bytes, &mut Search::default(), self.options.head) else {
            unreachable!("the whole head was delivered before");
        };
        match self.handle_again(conn, &bytes[..len], Delivery::Again, reply) {
            Progress::Complete => Step::Took(len),
            Progress::Partial => Step::Wait(Waiting::Idle),
            Progress::Pending => {
                reply.read_later();
                Step::Wait(Waiting::Password)
            }
        }
    }

    /// Answers a request with a whole head, or begins to read its content. The reply has capacity
    /// for an answer. For callers that cannot pass the same head again.
    pub(in crate::app) fn handle(
        &mut self,
        conn: &mut Connection,
        head: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) {
        self.handle_head(conn, head, Delivery::Once, reply);
    }

    /// As [`Http::handle`], for each way of delivery.
    #[inline(always)]
    fn handle_head(
        &mut self,
        conn: &mut Connection,
        head: &[u8],
        delivery: Delivery,
        reply: &mut Reply<'_, Blob>,
    ) -> Progress {
        self.counters.http_requests += 1;
        self.counters.http_head_bytes += head.len() as u64;
        self.handle_again(conn, head, delivery, reply)
    }

    #[inline(always)]
    fn handle_again(
        &mut self,
        conn: &mut Connection,
        head: &[u8],
        delivery: Delivery,
        reply: &mut Reply<'_, Blob>,
    ) -> Progress {
        if let Some(access) = &mut self.access {
            access.begin();
        }
        let handled = match self.handle_parsed(conn, head, delivery, reply) {
            Err(HttpError::UnknownVersion) => self.handle_later_minor(conn, head, delivery, reply),
            handled => handled,
        };
        handled.unwrap_or_else(|error| {
            self.refuse(conn, error, head, reply);
            Progress::Complete
        })
    }

    /// Handles a request of HTTP/1.2 to HTTP/1.9 as HTTP/1.1. Refuses other versions.
    #[cold]
    fn handle_later_minor(
        &mut self,
        conn: &mut Connection,
        head: &[u8],
        delivery: Delivery,
        reply: &mut Reply<'_, Blob>,
    ) -> Result<Progress, HttpError> {
        let mut buffer = [0; head::HEAD_MAX_BYTES];
        let head = request::as_minor_1(head, &mut buffer)?;
        self.handle_parsed(conn, head, delivery, reply)
    }

    #[inline(always)]
    fn handle_parsed(
        &mut self,
        conn: &mut Connection,
        head: &[u8],
        delivery: Delivery,
        reply: &mut Reply<'_, Blob>,
    ) -> Result<Progress, HttpError> {
        let mut space = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let request = Request::parse(head, &mut space)?;
        if let Some(access) = &mut self.access {
            access.request(&request);
        }
        let answer = self.decide(&request)?;
        let discard = self.discard(request.framing)?;
        match (answer.body, discard) {
            // Content that comes with a GET has no meaning, and neither has its Range.
            (Body::File(index), None) if request.ranged => {
                return Ok(self.answer_ranges(conn, &request, index, answer, delivery, reply));
            }
            (Body::Pending, _)
                if delivery != Delivery::Once && conn.deadline.checks < PASSWORD_CHECKS_MAX =>
            {
                return Ok(Progress::Pending);
            }
            _ if delivery == Delivery::Again => self.cut(conn, reply),
            (_, None) => self.answer_request(conn, &request, answer, reply),
            (_, Some(discard)) => self.begin_body(conn, head, &request, discard, answer, reply),
        }
        Ok(Progress::Complete)
    }

    /// Sends the selected answer to a request whose content, if any, has arrived.
    #[inline(always)]
    fn answer_request(
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

    /// RFC 9110 §10.1.1: a client that waits for 100 (Continue) gets an answer at once. After an
    /// error the client may or may not send the content. So the connection closes after an error,
    /// and also if there is no space for the head.
    #[cold]
    fn begin_body(
        &mut self,
        conn: &mut Connection,
        head: &[u8],
        request: &Request<'_, '_>,
        discard: Discard,
        answer: Answer,
        reply: &mut Reply<'_, Blob>,
    ) {
        let is_error = matches!(answer.body, Body::Status(_) | Body::Page(_));
        let waits = !(request.expects_continue && is_error);
        let began = self.access.as_ref().map(Access::began);
        let Some(slot) = waits.then(|| self.heads.keep(head, began)).flatten() else {
            let persistence = Persistence::Close;
            return self.answer_request(conn, request, Answer { persistence, ..answer }, reply);
        };
        if request.expects_continue {
            self.counters.http_continues += 1;
            reply.copy(CONTINUE);
        }
        conn.phase = Phase::Body(discard, slot);
    }

    fn read_body(
        &mut self,
        conn: &mut Connection,
        mut discard: Discard,
        slot: Slot,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        let read = discard.read(bytes);
        if let Ok(n) = read {
            self.counters.http_request_content_bytes += n as u64;
            if !discard.is_over() {
                conn.phase = Phase::Body(discard, slot);
                return Step::Took(n);
            }
        }
        self.end_body(conn, slot, read.err(), reply);
        Step::Took(read.unwrap_or(bytes.len()))
    }

    /// Answers the request whose content has arrived, or refuses it because of its content.
    fn end_body(
        &mut self,
        conn: &mut Connection,
        slot: Slot,
        error: Option<HttpError>,
        reply: &mut Reply<'_, Blob>,
    ) {
        let kept = self.heads.take(slot);
        conn.phase = Phase::default();
        if let (Some(access), Some(began)) = (&mut self.access, kept.began) {
            access.begin_at(began);
        }
        if let Err(error) = self.answer_kept(conn, &kept, error, reply) {
            self.refuse(conn, error, &kept.head, reply);
        }
        self.heads.give_back(slot, kept);
    }

    #[cold]
    fn answer_kept(
        &mut self,
        conn: &mut Connection,
        kept: &Kept,
        error: Option<HttpError>,
        reply: &mut Reply<'_, Blob>,
    ) -> Result<(), HttpError> {
        let mut space = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let request = Request::parse(&kept.head, &mut space)?;
        if let Some(access) = &mut self.access {
            access.request(&request);
        }
        error.map_or(Ok(()), Err)?;
        let answer = self.decide(&request)?;
        self.answer_request(conn, &request, answer, reply);
        Ok(())
    }

    /// Frees the head of a request whose content does not arrive any more.
    pub(in crate::app) fn drop_head(&mut self, conn: &mut Connection) {
        if let Phase::Body(_, slot) = conn.phase {
            let kept = self.heads.take(slot);
            self.heads.give_back(slot, kept);
            conn.phase = Phase::default();
        }
    }

    #[inline(always)]
    fn answer(&mut self, conn: &mut Connection, answer: Answer, reply: &mut Reply<'_, Blob>) {
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
    fn persistence(&self, conn: &Connection, asked: Persistence) -> Persistence {
        let is_last = self.draining || conn.requests + 1 >= self.options.requests_max;
        if is_last { Persistence::Close } else { asked }
    }

    #[inline(always)]
    fn answered(
        &mut self,
        conn: &mut Connection,
        status: Status,
        persistence: Persistence,
        reply: &mut Reply<'_, Blob>,
    ) {
        self.counters.note_answer(status);
        if self.access.is_some() {
            self.record(conn, status, reply.queued().saturating_sub(self.whole));
        }
        self.complete(conn, persistence, reply);
    }

    /// An answer is queued whole. It was counted, and its record is written.
    #[inline(always)]
    fn complete(
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
    fn record(&mut self, conn: &Connection, status: Status, bytes: u64) {
        let now = self.answers.date();
        if let Some(access) = &mut self.access
            && !access.answered(conn.place, status, bytes, now)
        {
            self.counters.http_access_log_lost += 1;
        }
    }

    /// Refuses a request with this head, or with the start of one.
    #[cold]
    fn refuse(
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
        self.counters.note_answer(status);
        if self.access.is_some() {
            self.record(conn, status, reply.queued().saturating_sub(self.whole));
        }
        conn.deadline.waiting = Waiting::Unset;
        conn.phase = Phase::Closing;
        reply.close();
    }

    /// Keeps the access log from naming a request of another connection.
    #[inline]
    fn forget_request(&mut self) {
        if let Some(access) = &mut self.access {
            access.forget();
        }
    }
}

impl Application for Http {
    type Blob = Blob;
    type Conn = Connection;

    fn wants_ends(&self, _: u16) -> bool {
        self.access.is_some() || !self.proxies.is_empty()
    }

    fn closed(&mut self, conn: &mut Connection, _: Closed) {
        self.drop_head(conn);
        if let Some(files) = &mut self.files {
            files.closed(conn.place);
        }
        self.places.give_back(conn.place);
    }

    fn opened(&mut self, conn: &mut Connection, opened: Opened, reply: &mut Reply<'_, Blob>) {
        conn.place = self.places.take();
        if let Some(access) = &mut self.access {
            access.opened(conn.place, opened.ends);
        }
        if let Some(files) = &mut self.files {
            files.opened(conn.place, opened.id);
        }
        if let Some(ends) = opened.ends
            && self.proxies.iter().any(|network| network.contains(ends.remote.ip()))
        {
            conn.phase = Phase::Proxy;
        }
        self.counters.http_connections += 1;
        self.wait(conn, Waiting::Idle, reply);
    }

    fn received(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        if self.current.version() != self.version {
            self.take_current();
        }
        self.forget_request();
        let (mut at, mut steps) = (0, 0);
        let waiting = loop {
            if at == bytes.len() {
                break if matches!(conn.phase, Phase::Body(..)) {
                    Waiting::Body
                } else {
                    Waiting::Idle
                };
            }
            if !reply.has_capacity() {
                break Waiting::Idle;
            }
            if steps == self.options.pipeline_max {
                self.counters.http_pipeline_limits += 1;
                reply.yield_now();
                break Waiting::Idle;
            }
            steps += 1;
            self.whole = reply.queued();
            match self.step(conn, &bytes[at..], reply) {
                Step::Took(n) => at += n,
                Step::Wait(waiting) => break waiting,
            }
        };
        self.wait(conn, waiting, reply);
        self.whole = 0;
        at
    }

    fn overfull(&mut self, conn: &mut Connection, bytes: &[u8], reply: &mut Reply<'_, Blob>) {
        if matches!(conn.phase, Phase::Proxy) {
            return self.reset_proxy(conn, reply);
        }
        self.forget_request();
        self.whole = reply.queued();
        let error = match conn.phase {
            Phase::Head(search) => search.overfull(),
            _ => HttpError::HeadTooLarge,
        };
        self.refuse(conn, error, bytes, reply);
        self.wait(conn, Waiting::Idle, reply);
        self.whole = 0;
    }

    fn resumed(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        if matches!(conn.phase, Phase::Reading) {
            self.go_on_reading(conn, reply);
        }
    }

    fn timeout(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        self.forget_request();
        self.whole = reply.queued();
        match (conn.deadline.waiting, conn.phase) {
            (Waiting::Head, Phase::Proxy) => {
                self.whole = 0;
                return self.reset_proxy(conn, reply);
            }
            (Waiting::Head, _) => self.refuse(conn, HttpError::HeadTimeout, b"", reply),
            (Waiting::Body, Phase::Body(_, slot)) => {
                self.end_body(conn, slot, Some(HttpError::BodyTimeout), reply);
            }
            // The request comes again with the next input, which follows at once.
            (Waiting::Password, _) => {
                conn.deadline.checks += 1;
                conn.deadline.waiting = Waiting::Unset;
                self.whole = 0;
                return;
            }
            _ => {
                self.whole = 0;
                return self.idle(conn, reply);
            }
        }
        self.wait(conn, Waiting::Idle, reply);
        self.whole = 0;
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod access_tests;

#[cfg(test)]
#[path = "agreement_tests.rs"]
mod agreement_tests;

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "reading_tests.rs"]
mod reading_tests;

#[cfg(test)]
#[path = "site_tests.rs"]
mod site_tests;
