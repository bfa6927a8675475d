//! HTTP/1.1 (RFC 9110 and 9112): GET and HEAD of the content held in memory.
//!
//! # The life of a request
//!
//! Its bytes come to [`Http::received`], in a frame or wherever the transport has them, possibly in pieces, possibly
//! with requests behind it. A connection is in one of three phases:
//!
//! - *Head*: [`request::find_end`] looks for the empty line. Until it is there nothing is consumed, the transport keeps
//!   the bytes and the search remembers how far it looked. A whole head becomes a [`Request`], and that an [`Answer`]:
//!   the path is decoded ([`path`]), looked up in the [`Content`], and the preconditions evaluated ([`conditional`]).
//! - *Body*: a request that carries content is answered behind it; [`body`] reads past the content while the answer
//!   waits in the connection. `Expect: 100-continue` gets its interim answer first. A request of unacceptable
//!   framing or size is refused before that.
//! - *Closing*: the last answer is queued, and no more input is read.
//!
//! Answers are queued by [`response`]: ranges of bytes rendered before, nothing is formatted per request. When there
//! is no room for one more answer, reading stops, and the rest of the pipeline waits where it is.
//!
//! An error that leaves the framing intact (404, 405, 412, 501 for a method) keeps the connection; any other, a
//! [`Refusal`], ends it, so that nothing behind it can be taken for a request.
//!
//! A connection has one deadline, for what it is [`Waiting`] for. This module reads no clock: the transport calls
//! [`Http::clock`] with the time of day, and `timeout` when a deadline has passed.

mod body;
mod conditional;
mod counters;
pub(crate) mod date;
mod path;
mod request;
pub(crate) mod response;

pub(crate) use conditional::Validators;
pub use counters::Counters;

use super::Blob;
use super::content::{Content, Entry};
use body::Discard;
use conditional::Verdict;
use request::{FIELDS_MAX, Framing, Method, REQUEST_LINE_MAX_BYTES, Refusal, Request, Search};
use response::{Answers, CONTINUE, Persistence, Status};
use simoom_stack::{Application, Duration, Opened, Reply};
use std::mem::MaybeUninit;
use std::sync::Arc;

/// A transport must be able to keep this much unconsumed input for one connection: the longest head.
pub const INPUT_MAX_BYTES: usize = request::HEAD_MAX_BYTES;

/// How long a connection may wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a head to its last; then 408.
    pub head: Duration,
    /// For all content of a request; then 408.
    pub body: Duration,
    /// Without a request, or with answers queued of which the client takes nothing; then the connection is closed,
    /// or reset.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { head: Duration::from_secs(10), body: Duration::from_secs(60), idle: Duration::from_secs(75) }
    }
}

/// What can be chosen about the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a connection may wait.
    pub timeouts: Timeouts,
    /// Most content of a request, chunk framing and trailers included, that is read past; beyond it 413.
    pub body_max_bytes: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options { timeouts: Timeouts::default(), body_max_bytes: 1 << 20 }
    }
}

/// The handler of one worker.
pub struct Http {
    content: Arc<Content>,
    options: Options,
    answers: Answers,
    /// Where paths with escapes or dot segments are decoded.
    scratch: Box<[u8]>,
    draining: bool,
    counters: Counters,
}

/// What the handler keeps for one connection.
#[derive(Debug, Default)]
pub struct Conn {
    phase: Phase,
    waiting: Waiting,
    /// What was queued when the deadline was set, in units of [`QUEUED_UNIT_BYTES`], rounded up.
    queued: u32,
}

const _: () = assert!(size_of::<Conn>() <= 32);
/// So that a full queue of blobs of 4 GiB can be noted in 32 bits. Slower progress than this in a whole idle period
/// counts as none.
const QUEUED_UNIT_BYTES: u64 = 64;

#[derive(Clone, Copy, Debug)]
enum Phase {
    Head(Search),
    Body(Discard, Answer),
    Closing,
}

impl Default for Phase {
    fn default() -> Self {
        Phase::Head(Search::default())
    }
}

/// What the deadline of a connection is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Waiting {
    /// No deadline was set since the last answer.
    #[default]
    Unset,
    /// The next request, or for the client to take the answers.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a request's content.
    Body,
}

/// An answer that is decided on; small enough to wait in the connection.
#[derive(Clone, Copy, Debug)]
struct Answer {
    subject: Subject,
    /// Not for HEAD.
    with_content: bool,
    persistence: Persistence,
}

#[derive(Clone, Copy, Debug)]
enum Subject {
    File(u32),
    NotModified(u32),
    Redirect(u32),
    Page(Status),
}

/// How one step through the input went.
enum Step {
    /// So many bytes are consumed.
    Took(usize),
    /// More input is needed.
    Wait(Waiting),
}

impl Http {
    /// A handler that serves `content`. Its answers carry the epoch as their Date until [`Http::clock`] is called.
    pub fn new(content: Arc<Content>, options: Options) -> Http {
        Http {
            content,
            options,
            answers: Answers::new(),
            scratch: vec![0; REQUEST_LINE_MAX_BYTES].into(),
            draining: false,
            counters: Counters::default(),
        }
    }

    /// Tells the time of day; to be called at least once before the first connection and then about once a second.
    pub fn clock(&mut self, unix_seconds: u64) {
        self.answers.set_date(unix_seconds);
    }

    /// From now on every answer says `Connection: close` and is the last of its connection.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn step(&mut self, conn: &mut Conn, bytes: &[u8], reply: &mut Reply<'_, Blob>) -> Step {
        match (conn.phase, bytes) {
            (Phase::Closing, _) => Step::Took(bytes.len()),
            (Phase::Body(discard, answer), _) => self.read_body(conn, discard, answer, bytes, reply),
            // RFC 9112 §2.2: empty lines before a request line are ignored. They start no head.
            (Phase::Head(_), [b'\r']) => Step::Wait(Waiting::Idle),
            (Phase::Head(_), [b'\r', b'\n', ..]) => Step::Took(2),
            (Phase::Head(search), _) => self.read_head(conn, search, bytes, reply),
        }
    }

    #[inline]
    fn read_head(
        &mut self,
        conn: &mut Conn,
        mut search: Search,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        match request::find_end(bytes, &mut search) {
            Ok(None) => {
                conn.phase = Phase::Head(search);
                Step::Wait(Waiting::Head)
            }
            Ok(Some(len)) => {
                self.handle(conn, &bytes[..len], reply);
                Step::Took(len)
            }
            Err(refusal) => {
                self.refuse(conn, refusal, bytes, reply);
                Step::Took(bytes.len())
            }
        }
    }

    #[inline]
    fn handle(&mut self, conn: &mut Conn, head: &[u8], reply: &mut Reply<'_, Blob>) {
        self.counters.http_requests += 1;
        self.counters.http_head_bytes += head.len() as u64;
        let mut space = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let handled = Request::parse(head, &mut space).and_then(|request| {
            let answer = self.decide(&request)?;
            match self.discard(request.framing)? {
                None => self.answer(conn, answer, reply),
                Some(discard) => self.begin_body(conn, &request, discard, answer, reply),
            }
            Ok(())
        });
        if let Err(refusal) = handled {
            self.refuse(conn, refusal, head, reply);
        }
    }

    #[inline]
    fn decide(&mut self, request: &Request<'_, '_>) -> Result<Answer, Refusal> {
        let subject = match (request.method, request.target) {
            (Method::Get | Method::Head, Some(target)) => self.find(target, request)?,
            (Method::Unknown, _) => Subject::Page(Status::NotImplemented),
            // RFC 9110 §9.1: methods but GET and HEAD are optional. That goes for OPTIONS too, and Allow tells
            // its sender what an answer to it would have told.
            _ => Subject::Page(Status::MethodNotAllowed),
        };
        let persistence = match request.method {
            Method::Connect => Persistence::Close,
            _ => request.persistence,
        };
        Ok(Answer { subject, with_content: request.method != Method::Head, persistence })
    }

    #[inline]
    fn find(&mut self, target: &[u8], request: &Request<'_, '_>) -> Result<Subject, Refusal> {
        let path = match path::resolve(target, &mut self.scratch) {
            Ok(path) => path,
            Err(path::Refused::NoFileName) => return Ok(Subject::Page(Status::NotFound)),
            Err(path::Refused::Malformed | path::Refused::AboveRoot) => return Err(Refusal::BadTarget),
        };
        let index = match self.content.find(path) {
            Some(Entry::File(index)) => index,
            Some(Entry::Redirect(index)) => return Ok(Subject::Redirect(index)),
            None => return Ok(Subject::Page(Status::NotFound)),
        };
        if !request.conditional {
            return Ok(Subject::File(index));
        }
        Ok(match conditional::evaluate(request.fields, self.content.file(index).validators()) {
            Verdict::Perform => Subject::File(index),
            Verdict::NotModified => Subject::NotModified(index),
            Verdict::Failed => Subject::Page(Status::PreconditionFailed),
        })
    }

    /// How the content is read past, if there is any.
    fn discard(&self, framing: Framing) -> Result<Option<Discard>, Refusal> {
        let limit = self.options.body_max_bytes;
        match framing {
            Framing::None => Ok(None),
            Framing::Chunked => Ok(Some(Discard::chunked(limit))),
            Framing::Length(length) => match u32::try_from(length) {
                Ok(length) if length <= limit => Ok(Some(Discard::length(length))),
                _ => Err(Refusal::BodyTooLarge),
            },
        }
    }

    /// RFC 9110 §10.1.1: a client that waits for 100 (Continue) is told at once what it will get. If that is an
    /// error it need not send the content; whether it does cannot be known, so the connection ends with it.
    fn begin_body(
        &mut self,
        conn: &mut Conn,
        request: &Request<'_, '_>,
        discard: Discard,
        answer: Answer,
        reply: &mut Reply<'_, Blob>,
    ) {
        match (request.expects_continue, answer.subject) {
            (true, Subject::Page(_)) => {
                return self.answer(conn, Answer { persistence: Persistence::Close, ..answer }, reply);
            }
            (true, _) => {
                self.counters.http_continues += 1;
                reply.copy(CONTINUE);
            }
            (false, _) => {}
        }
        conn.phase = Phase::Body(discard, answer);
    }

    fn read_body(
        &mut self,
        conn: &mut Conn,
        mut discard: Discard,
        answer: Answer,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        match discard.read(bytes) {
            Ok(n) => {
                self.counters.http_request_content_bytes += n as u64;
                if discard.is_over() {
                    self.answer(conn, answer, reply);
                } else {
                    conn.phase = Phase::Body(discard, answer);
                }
                Step::Took(n)
            }
            Err(refusal) => {
                self.refuse_with(conn, refusal, answer.with_content, reply);
                Step::Took(bytes.len())
            }
        }
    }

    #[inline]
    fn answer(&mut self, conn: &mut Conn, answer: Answer, reply: &mut Reply<'_, Blob>) {
        let persistence = if self.draining { Persistence::Close } else { answer.persistence };
        let (status, rest) = match answer.subject {
            Subject::File(index) => (Status::Ok, self.content.file(index).ok()),
            Subject::NotModified(index) => (Status::NotModified, self.content.file(index).not_modified()),
            Subject::Redirect(index) => (Status::MovedPermanently, self.content.redirect(index)),
            Subject::Page(status) => {
                self.counters.note_page(status);
                (status, self.answers.page(status))
            }
        };
        self.answers.send(status, persistence, rest, answer.with_content, reply);
        self.counters.note_answer(status);
        conn.waiting = Waiting::Unset;
        conn.phase = Phase::default();
        if persistence == Persistence::Close {
            conn.phase = Phase::Closing;
            reply.close();
        }
    }

    #[cold]
    fn refuse(&mut self, conn: &mut Conn, refusal: Refusal, head: &[u8], reply: &mut Reply<'_, Blob>) {
        self.refuse_with(conn, refusal, !head.starts_with(b"HEAD "), reply);
    }

    #[cold]
    fn refuse_with(&mut self, conn: &mut Conn, refusal: Refusal, with_content: bool, reply: &mut Reply<'_, Blob>) {
        self.counters.note_refusal(refusal);
        let status = refusal.status();
        self.answers.send(status, Persistence::Close, self.answers.page(status), with_content, reply);
        self.counters.note_answer(status);
        conn.waiting = Waiting::Unset;
        conn.phase = Phase::Closing;
        reply.close();
    }

    /// Sets the deadline for what the connection waits for now, unless it waits for that already.
    #[inline]
    fn wait(&self, conn: &mut Conn, waiting: Waiting, reply: &mut Reply<'_, Blob>) {
        if conn.waiting != waiting {
            let timeouts = &self.options.timeouts;
            conn.waiting = waiting;
            conn.queued = queued_units(reply);
            reply.set_timeout(Some(match waiting {
                Waiting::Head => timeouts.head,
                Waiting::Body => timeouts.body,
                Waiting::Idle | Waiting::Unset => timeouts.idle,
            }));
        }
    }

    /// An idle period has passed: the connection ends unless the client still takes what is queued.
    fn idle(&mut self, conn: &mut Conn, reply: &mut Reply<'_, Blob>) {
        let queued = queued_units(reply);
        if queued == 0 {
            self.counters.http_idle_timeouts += u64::from(!matches!(conn.phase, Phase::Closing));
            conn.phase = Phase::Closing;
            reply.close();
        } else if queued >= conn.queued {
            self.counters.http_stalled += 1;
            conn.phase = Phase::Closing;
            reply.abort();
        } else {
            conn.waiting = Waiting::Unset;
            self.wait(conn, Waiting::Idle, reply);
        }
    }
}

fn queued_units(reply: &Reply<'_, Blob>) -> u32 {
    u32::try_from(reply.queued().div_ceil(QUEUED_UNIT_BYTES)).unwrap_or(u32::MAX)
}

impl Application for Http {
    type Blob = Blob;
    type Conn = Conn;

    fn opened(&mut self, conn: &mut Conn, _: Opened, reply: &mut Reply<'_, Blob>) {
        self.counters.http_connections += 1;
        self.wait(conn, Waiting::Idle, reply);
    }

    fn received(&mut self, conn: &mut Conn, bytes: &[u8], reply: &mut Reply<'_, Blob>) -> usize {
        let mut at = 0;
        let waiting = loop {
            if at == bytes.len() {
                break if matches!(conn.phase, Phase::Body(..)) { Waiting::Body } else { Waiting::Idle };
            }
            if !reply.has_room() {
                break Waiting::Idle;
            }
            match self.step(conn, &bytes[at..], reply) {
                Step::Took(n) => at += n,
                Step::Wait(waiting) => break waiting,
            }
        };
        self.wait(conn, waiting, reply);
        at
    }

    fn overfull(&mut self, conn: &mut Conn, bytes: &[u8], reply: &mut Reply<'_, Blob>) {
        let refusal = match conn.phase {
            Phase::Head(search) if !search.is_past_line() => Refusal::LineTooLong,
            _ => Refusal::HeadTooLarge,
        };
        self.refuse(conn, refusal, bytes, reply);
        self.wait(conn, Waiting::Idle, reply);
    }

    fn timeout(&mut self, conn: &mut Conn, reply: &mut Reply<'_, Blob>) {
        match (conn.waiting, conn.phase) {
            (Waiting::Head, _) => self.refuse_with(conn, Refusal::HeadTimeout, true, reply),
            (Waiting::Body, Phase::Body(_, answer)) => {
                self.refuse_with(conn, Refusal::BodyTimeout, answer.with_content, reply);
            }
            _ => return self.idle(conn, reply),
        }
        self.wait(conn, Waiting::Idle, reply);
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
