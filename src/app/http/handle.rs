//! Handles a whole head: parses it, and sends the answer that `decide` selects, or begins to
//! discard the content of the request.

use super::connection::{Body, Connection, PASSWORD_CHECKS_MAX};
use super::error::HttpError;
use super::partial::{Delivery, Progress};
use super::request::{self, FIELDS_MAX, Request};
use super::{Http, head};
use crate::app::Blob;
use simoom_io::Reply;
use std::mem::MaybeUninit;

impl Http {
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
    pub(super) fn handle_head(
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
    pub(super) fn handle_again(
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
}
