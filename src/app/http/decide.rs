//! Selects the answer to a request. Sends nothing.

use super::body::Discard;
use super::conditional::{self, Verdict};
use super::connection::{Answer, Body};
use super::error::HttpError;
use super::request::{Framing, Method, Request};
use super::response::{Persistence, Status};
use super::{Http, path};
use crate::app::content::Entry;

impl Http {
    #[inline]
    pub(super) fn decide(&mut self, request: &Request<'_, '_>) -> Result<Answer, HttpError> {
        let body = match (request.method, request.target) {
            (Method::Get | Method::Head, Some(target)) => self.find(target, request)?,
            (Method::Unknown, _) => Body::Status(Status::NotImplemented),
            // RFC 9110 §9.3.7: all resources have the same options, even missing ones. So load
            // balancers can check a server without an index.html.
            (Method::Options, _) => Body::Status(Status::NoContent),
            // RFC 9110 §9.1: all methods except GET and HEAD are optional.
            _ => Body::Status(Status::MethodNotAllowed),
        };
        let persistence = match request.method {
            Method::Connect => Persistence::Close,
            _ => request.persistence,
        };
        Ok(Answer { body, with_content: request.method != Method::Head, persistence })
    }

    #[inline]
    fn find(&mut self, target: &[u8], request: &Request<'_, '_>) -> Result<Body, HttpError> {
        let path = match path::resolve(target, &mut self.scratch) {
            Ok(path) => path,
            Err(path::Refused::NoFileName) => return Ok(Body::Status(Status::NotFound)),
            Err(path::Refused::Malformed | path::Refused::AboveRoot) => {
                return Err(HttpError::BadTarget);
            }
        };
        let index = match self.content.find(path) {
            Some(Entry::File(index)) => index,
            Some(Entry::Redirect(index)) => return Ok(Body::Redirect(index)),
            None => return Ok(Body::Status(Status::NotFound)),
        };
        if !request.conditional {
            return Ok(Body::File(index));
        }
        let file = self.content.file(index).validators();
        Ok(match conditional::evaluate(request.fields, file, self.answers.date()) {
            Verdict::Perform => Body::File(index),
            Verdict::NotModified => Body::NotModified(index),
            Verdict::Failed => Body::Status(Status::PreconditionFailed),
        })
    }

    /// The state for discarding the content, if the request has content.
    #[inline]
    pub(super) fn discard(&self, framing: Framing) -> Result<Option<Discard>, HttpError> {
        Discard::of(framing, self.options.body_max_bytes)
    }
}
