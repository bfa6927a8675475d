//! The content of requests, which is discarded: from its head to its last byte. Then the request is
//! answered as if it had none.

use super::body::Discard;
use super::connection::{Answer, Body, Connection, Phase};
use super::error::HttpError;
use super::heads::{Kept, Slot};
use super::request::{FIELDS_MAX, Request};
use super::response::{CONTINUE, Persistence};
use super::steps::Step;
use super::{Access, Http};
use crate::app::Blob;
use simoom_io::Reply;
use std::mem::MaybeUninit;

impl Http {
    /// RFC 9110 §10.1.1: a client that waits for 100 (Continue) gets an answer at once. After an
    /// error the client may or may not send the content. So the connection closes after an error,
    /// and also if there is no space for the head.
    #[cold]
    pub(super) fn begin_body(
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

    pub(super) fn read_body(
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
    pub(super) fn end_body(
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
}
