//! Drives a connection step by step, from input to responses.

use super::conn::{Connection, Phase};
use super::request::Request;
use super::response::Response;
use super::routes::{Found, Handler};
use super::send::{self, Asked};
use super::upload::{Pending, Sink, Upload};
use super::{Router, status};
use crate::app::Blob;
use crate::app::http;
use crate::app::http::HeadLimits;
use crate::app::http::body::Discard;
use crate::app::http::connection::Waiting;
use crate::app::http::error::HttpError;
use crate::app::http::head::{self, HEAD_MAX_BYTES, Search};
use crate::app::http::request::{FIELDS_MAX, Framing, Request as Head, as_minor_1};
use crate::app::http::response::{CONTINUE, Persistence};
use simoom_io::Reply;
use std::mem::MaybeUninit;

/// The result of one step through the input.
enum Step {
    /// The number of consumed bytes.
    Took(usize),
    /// The router needs more input.
    Wait(Waiting),
}

impl<S> Router<S> {
    /// Consumes `bytes` and sends responses as far as possible. Returns the number of consumed
    /// bytes.
    pub(super) fn advance(
        &mut self,
        conn: &mut Connection<S>,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let mut at = 0;
        let waiting = loop {
            if matches!(conn.phase, Phase::Sending(_)) {
                if !self.go_on_sending(conn, reply) {
                    break Waiting::Idle;
                }
                continue;
            }
            if at == bytes.len() {
                let is_body = matches!(conn.phase, Phase::Body(_) | Phase::Files(_));
                break if is_body { Waiting::Body } else { Waiting::Idle };
            }
            if conn.share.is_used_up() || !reply.has_capacity() {
                break Waiting::Idle;
            }
            self.whole = reply.queued();
            match self.step(conn, &bytes[at..], reply) {
                Step::Took(n) => at += n,
                Step::Wait(waiting) => break waiting,
            }
            conn.share.count();
        };
        conn.share.settle(reply);
        self.wait(conn, waiting, reply);
        self.whole = 0;
        at
    }

    fn step(
        &mut self,
        conn: &mut Connection<S>,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        match (&mut conn.phase, bytes) {
            (Phase::Closing, _) => Step::Took(bytes.len()),
            (Phase::Body(_), _) => Step::Took(self.read_body(conn, bytes, reply)),
            (Phase::Files(_), _) => Step::Took(self.read_past(conn, bytes, reply)),
            // RFC 9112 §2.2: ignore empty lines before a request line. They start no head.
            (Phase::Head(_), [b'\r']) => Step::Wait(Waiting::Idle),
            (Phase::Head(_), [b'\r', b'\n', ..]) => Step::Took(2),
            (Phase::Head(search), _) => {
                match head::find_end(bytes, search, HeadLimits::default()) {
                    Ok(None) => Step::Wait(Waiting::Head),
                    Ok(Some(len)) => {
                        let (head, behind) = bytes.split_at(len);
                        Step::Took(len + self.handle(conn, head, behind, reply))
                    }
                    Err(error) => {
                        self.refuse(conn, error, Asked::unknown(bytes), reply);
                        Step::Took(bytes.len())
                    }
                }
            }
            (Phase::Sending(_), _) => Step::Wait(Waiting::Idle),
        }
    }

    /// Handles the request with this head. Returns the number of consumed bytes of `behind`, which
    /// follow the head.
    fn handle(
        &mut self,
        conn: &mut Connection<S>,
        head: &[u8],
        behind: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        self.counters.router_requests += 1;
        conn.phase = Phase::Head(Search::default());
        conn.is_head = send::is_head(head);
        let handled = match self.handle_parsed(conn, head, behind, reply) {
            Err(HttpError::UnknownVersion) => self.handle_later_minor(conn, head, behind, reply),
            handled => handled,
        };
        handled.unwrap_or_else(|error| {
            self.refuse(conn, error, Asked::unknown(head), reply);
            0
        })
    }

    /// RFC 9110 §2.5: process a later minor version as HTTP/1.1.
    #[cold]
    fn handle_later_minor(
        &mut self,
        conn: &mut Connection<S>,
        head: &[u8],
        behind: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Result<usize, HttpError> {
        let mut buffer = [0; HEAD_MAX_BYTES];
        let head = as_minor_1(head, &mut buffer)?;
        self.handle_parsed(conn, head, behind, reply)
    }

    #[inline]
    fn handle_parsed(
        &mut self,
        conn: &mut Connection<S>,
        bytes: &[u8],
        behind: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Result<usize, HttpError> {
        let mut space = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let head = Head::parse(bytes, &mut space)?;
        let response = match self.find(&head)? {
            Found::Route(route) => return self.call(conn, route, bytes, &head, behind, reply),
            Found::Nothing if self.files.is_some() && head.target.is_some() => {
                self.answer_from_files(conn, bytes, reply);
                return Ok(0);
            }
            Found::Nothing => self.answer_unrouted(&head),
            Found::Methods(methods) => {
                let allow = self.routes.allow(methods);
                self.answer_method(head.method_name, &allow)
            }
        };
        let limit = self.options.body_max_bytes;
        match Discard::of(head.framing, limit)? {
            None => self.answer(conn, response, Asked::of(&head), reply),
            Some(discard) => {
                self.begin_body(conn, &head, discard, Sink::Drop(response), behind, reply);
            }
        }
        Ok(0)
    }

    /// Finds the route of a request. Leaves its path in `self.path`.
    #[inline]
    fn find(&mut self, head: &Head<'_, '_>) -> Result<Found, HttpError> {
        let Some(target) = head.target else { return Ok(Found::Nothing) };
        self.path.read(target).map_err(|_| HttpError::BadTarget)?;
        Ok(self.routes.find(head.method_name, &self.path))
    }

    /// The response to a request with a target that is no path, or with a path that has no route.
    #[cold]
    fn answer_unrouted(&mut self, head: &Head<'_, '_>) -> Response {
        let method = head.method_name;
        if head.target.is_none() {
            // `OPTIONS *` asks for the methods of the server, CONNECT for a tunnel.
            let allow = self.routes.allow(self.routes.all_methods());
            return self.answer_method(method, &allow);
        }
        if !self.routes.knows(method) {
            return Response::error(501);
        }
        self.counters.router_not_found += 1;
        Response::error(404)
    }

    /// The response if the path has no route for the method.
    #[cold]
    fn answer_method(&mut self, method: &str, allow: &str) -> Response {
        if method == "OPTIONS" {
            return Response::new(204).header("Allow", allow);
        }
        if !self.routes.knows(method) {
            return Response::error(501);
        }
        self.counters.router_method_not_allowed += 1;
        Response::error(405).header("Allow", allow)
    }

    /// Calls the handler of `route`, or begins to read the body first.
    #[inline]
    fn call(
        &mut self,
        conn: &mut Connection<S>,
        route: usize,
        bytes: &[u8],
        head: &Head<'_, '_>,
        behind: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Result<usize, HttpError> {
        let limit = match &self.routes.route(route).handler {
            Handler::Whole(_) => self.options.body_max_bytes,
            Handler::Stream(_) => self.options.stream_max_bytes,
        };
        let discard = Discard::of(head.framing, limit)?;
        if let Handler::Stream(begin) = &self.routes.route(route).handler {
            let begun = begin(&self.request(conn, head, route, b""), &self.state);
            self.begin_stream(conn, head, begun, discard, behind, reply);
            return Ok(0);
        }
        let len = match head.framing {
            Framing::None => 0,
            Framing::Length(length) if length <= behind.len() as u64 => length as usize,
            Framing::Length(_) | Framing::Chunked => {
                if let Some(discard) = discard {
                    let sink = Sink::Whole { head: bytes.into(), body: Vec::new(), route };
                    self.begin_body(conn, head, discard, sink, behind, reply);
                }
                return Ok(0);
            }
        };
        self.counters.router_body_bytes += len as u64;
        let response = self.run(conn, head, route, &behind[..len]);
        self.answer(conn, response, Asked::of(head), reply);
        Ok(len)
    }

    /// Begins to pass a body on. If the handler refuses it, discards the body, up to the limit of
    /// gathered bodies.
    fn begin_stream(
        &mut self,
        conn: &mut Connection<S>,
        head: &Head<'_, '_>,
        begun: Result<Box<dyn Upload<S>>, Response>,
        discard: Option<Discard>,
        behind: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) {
        let past = Discard::of(head.framing, self.options.body_max_bytes);
        let asked = Asked::of(head);
        match (begun, discard) {
            (Ok(upload), None) => {
                let response = upload.finish(self.seconds, &self.state);
                self.answer(conn, response, asked, reply);
            }
            (Ok(upload), Some(discard)) => {
                self.begin_body(conn, head, discard, Sink::Stream(upload), behind, reply);
            }
            (Err(response), None) => self.answer(conn, response, asked, reply),
            (Err(response), Some(_)) => match past {
                Ok(Some(discard)) => {
                    self.begin_body(conn, head, discard, Sink::Drop(response), behind, reply);
                }
                _ => self.answer(conn, response.close(), asked, reply),
            },
        }
    }

    /// Runs the handler with a whole body.
    #[inline]
    fn run(
        &self,
        conn: &Connection<S>,
        head: &Head<'_, '_>,
        route: usize,
        body: &[u8],
    ) -> Response {
        match &self.routes.route(route).handler {
            Handler::Whole(handler) => handler(&self.request(conn, head, route, body), &self.state),
            Handler::Stream(_) => unreachable!("a body is gathered for its handler alone"),
        }
    }

    #[inline]
    fn request<'a>(
        &'a self,
        conn: &Connection<S>,
        head: &'a Head<'_, '_>,
        route: usize,
        body: &'a [u8],
    ) -> Request<'a> {
        Request {
            method: head.method_name,
            target: head.target.unwrap_or(b""),
            fields: head.fields,
            path: &self.path,
            params: &self.routes.route(route).params,
            body,
            peer: conn.peer.get(),
            seconds: self.seconds,
        }
    }

    /// RFC 9110 §10.1.1: a client that waits for 100 (Continue) gets an answer at once. After an
    /// error the client may or may not send the body. So the connection closes after an error.
    fn begin_body(
        &mut self,
        conn: &mut Connection<S>,
        head: &Head<'_, '_>,
        discard: Discard,
        sink: Sink<S>,
        behind: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) {
        let asked = Asked::of(head);
        match sink {
            Sink::Drop(response) if head.expects_continue => {
                return self.answer(conn, response.close(), asked, reply);
            }
            _ if head.expects_continue && behind.is_empty() => {
                self.counters.router_continues += 1;
                reply.copy(CONTINUE);
            }
            _ => {}
        }
        conn.phase = Phase::Body(Box::new(Pending { discard, asked, sink, progress: 0 }));
    }

    /// Reads more of a body. Returns the number of consumed bytes.
    fn read_body(
        &mut self,
        conn: &mut Connection<S>,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let Phase::Body(mut pending) = std::mem::take(&mut conn.phase) else { return 0 };
        // A panic from here on finds the memory of the body freed already.
        self.held -= pending.held();
        let Pending { discard, asked, sink, progress } = &mut *pending;
        let asked = *asked;
        let mut failed = None;
        let read = discard.read_data(bytes, |data| {
            self.counters.router_body_bytes += data.len() as u64;
            match sink {
                Sink::Whole { body, .. } => body.extend_from_slice(data),
                Sink::Stream(upload) if failed.is_none() => {
                    *progress += data.len() as u64;
                    failed = upload.write(data, &self.state).err();
                }
                Sink::Stream(_) | Sink::Drop(_) => {}
            }
        });
        match (read, failed) {
            (_, Some(response)) => {
                self.answer(conn, response.close(), asked, reply);
                return bytes.len();
            }
            (Err(error), None) => {
                self.refuse(conn, error, asked, reply);
                return bytes.len();
            }
            (Ok(n), None) if discard.is_over() => {
                self.finish_body(conn, *pending, reply);
                return n;
            }
            (Ok(_), None) => {}
        }
        if self.held + pending.held() > self.options.bodies_max_bytes {
            self.counters.router_bodies_full += 1;
            let response = Response::error(503).header("Retry-After", "1").close();
            self.answer(conn, response, asked, reply);
            return bytes.len();
        }
        self.held += pending.held();
        if pending.progress >= self.options.stream_least_bytes() {
            // A stream has no total time limit, only a minimum rate.
            pending.progress = 0;
            conn.deadline.waiting = Waiting::Unset;
        }
        conn.phase = Phase::Body(pending);
        bytes.len()
    }

    /// Answers the request after its body is complete.
    fn finish_body(
        &mut self,
        conn: &mut Connection<S>,
        pending: Pending<S>,
        reply: &mut Reply<'_, Blob>,
    ) {
        let response = match pending.sink {
            Sink::Drop(response) => response,
            Sink::Stream(upload) => upload.finish(self.seconds, &self.state),
            Sink::Whole { head, body, route } => {
                let mut space = [const { MaybeUninit::uninit() }; FIELDS_MAX];
                match Head::parse(&head, &mut space) {
                    Ok(head) => {
                        // Other requests have overwritten the path meanwhile.
                        let _ = self.path.read(head.target.unwrap_or(b"/"));
                        self.run(conn, &head, route, &body)
                    }
                    Err(_) => unreachable!("the same head was parsed before its body was read"),
                }
            }
        };
        self.answer(conn, response, pending.asked, reply);
    }

    /// Makes the content handler answer the request with this head.
    fn answer_from_files(
        &mut self,
        conn: &mut Connection<S>,
        head: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) {
        let Some(files) = &mut self.files else { return };
        self.counters.router_files += 1;
        let mut file_conn = http::Connection::default();
        files.handle(&mut file_conn, head, reply);
        self.follow_files(conn, file_conn);
    }

    /// The content handler discards the content of a request. Returns the number of consumed bytes.
    fn read_past(
        &mut self,
        conn: &mut Connection<S>,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let Phase::Files(mut file_conn) = std::mem::take(&mut conn.phase) else { return 0 };
        let Some(files) = &mut self.files else { return 0 };
        let n = files.read_on(&mut file_conn, bytes, reply);
        self.follow_files(conn, *file_conn);
        n
    }

    /// Updates the connection after the content handler has run.
    fn follow_files(&mut self, conn: &mut Connection<S>, file_conn: http::Connection) {
        conn.phase = match file_conn.phase {
            http::connection::Phase::Head(_) | http::connection::Phase::Proxy => {
                conn.deadline.waiting = Waiting::Unset;
                Phase::default()
            }
            http::connection::Phase::Body(..) => Phase::Files(Box::new(file_conn)),
            // The content handler sends several parts only if it can read the head again, and has
            // no files on disk.
            http::connection::Phase::Closing
            | http::connection::Phase::Parts(_)
            | http::connection::Phase::Reading => {
                conn.deadline.waiting = Waiting::Unset;
                Phase::Closing
            }
        };
    }

    /// Sends more of a response of unknown length. Returns whether it is complete.
    fn go_on_sending(&mut self, conn: &mut Connection<S>, reply: &mut Reply<'_, Blob>) -> bool {
        let Phase::Sending(sending) = &mut conn.phase else { return true };
        let queued = reply.queued();
        let is_complete = sending.send(&mut conn.share, reply);
        if reply.queued() > queued {
            // The client has read some bytes, so restart its timeout.
            conn.deadline.waiting = Waiting::Unset;
        }
        if !is_complete {
            return false;
        }
        let persistence = sending.persistence;
        self.finish_answer(conn, persistence, reply);
        true
    }

    /// Sends `response` as far as there is capacity.
    #[inline]
    pub(super) fn answer(
        &mut self,
        conn: &mut Connection<S>,
        response: Response,
        mut asked: Asked,
        reply: &mut Reply<'_, Blob>,
    ) {
        let ends_body = !asked.chunked && response.is_of_unknown_length();
        if self.draining || response.close || ends_body {
            asked.persistence = Persistence::Close;
        }
        self.counters.note_answer(response.status);
        let rest = send::send(&self.heads, &mut self.head, response, asked, reply);
        match rest {
            None => self.finish_answer(conn, asked.persistence, reply),
            Some(sending) => {
                conn.deadline.waiting = Waiting::Unset;
                conn.phase = Phase::Sending(Box::new(sending));
            }
        }
    }

    #[inline]
    fn finish_answer(
        &mut self,
        conn: &mut Connection<S>,
        persistence: Persistence,
        reply: &mut Reply<'_, Blob>,
    ) {
        conn.deadline.waiting = Waiting::Unset;
        conn.phase = Phase::default();
        if persistence == Persistence::Close {
            conn.phase = Phase::Closing;
            reply.close();
        }
    }

    /// Refuses a request and closes the connection.
    #[cold]
    pub(super) fn refuse(
        &mut self,
        conn: &mut Connection<S>,
        error: HttpError,
        asked: Asked,
        reply: &mut Reply<'_, Blob>,
    ) {
        self.counters.router_refused += 1;
        self.refuse_with(conn, error.status().code(), asked, reply);
    }

    #[cold]
    pub(super) fn refuse_with(
        &mut self,
        conn: &mut Connection<S>,
        code: u16,
        asked: Asked,
        reply: &mut Reply<'_, Blob>,
    ) {
        debug_assert!(status::line(code).is_some());
        self.answer(conn, Response::error(code).close(), asked, reply);
    }
}
