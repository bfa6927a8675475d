//! Selects the answer to a request. Sends nothing.

use super::body::Discard;
use super::conditional::{self, Verdict};
use super::conn::{Answer, Subject};
use super::refusal::Refusal;
use super::request::{Framing, Method, Request};
use super::response::{Persistence, Status};
use super::{Http, path};
use crate::app::content::Entry;

impl Http {
    #[inline]
    pub(super) fn decide(&mut self, request: &Request<'_, '_>) -> Result<Answer, Refusal> {
        let subject = match (request.method, request.target) {
            (Method::Get | Method::Head, Some(target)) => self.find(target, request)?,
            (Method::Unknown, _) => Subject::Page(Status::NotImplemented),
            // RFC 9110 §9.3.7: all resources have the same options, even missing ones. So load
            // balancers can check a server without an index.html.
            (Method::Options, _) => Subject::Page(Status::NoContent),
            // RFC 9110 §9.1: all methods except GET and HEAD are optional.
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
            Err(path::Refused::Malformed | path::Refused::AboveRoot) => {
                return Err(Refusal::BadTarget);
            }
        };
        let index = match self.content.find(path) {
            Some(Entry::File(index)) => index,
            Some(Entry::Redirect(index)) => return Ok(Subject::Redirect(index)),
            None => return Ok(Subject::Page(Status::NotFound)),
        };
        if !request.conditional {
            return Ok(Subject::File(index));
        }
        let file = self.content.file(index).validators();
        Ok(match conditional::evaluate(request.fields, file, self.answers.date()) {
            Verdict::Perform => Subject::File(index),
            Verdict::NotModified => Subject::NotModified(index),
            Verdict::Failed => Subject::Page(Status::PreconditionFailed),
        })
    }

    /// The state for discarding the content, if the request has content.
    #[inline]
    pub(super) fn discard(&self, framing: Framing) -> Result<Option<Discard>, Refusal> {
        Discard::of(framing, self.options.body_max_bytes)
    }
}
