//! Selects the answer to a request. Sends nothing.

use super::body::Discard;
use super::conditional::{self, Verdict};
use super::connection::{Answer, Body};
use super::error::HttpError;
use super::request::{Framing, Method, Request};
use super::response::{Persistence, Status};
use super::{Http, path};
use crate::app::content::{Choice, Entry, Outcome, choose};

impl Http {
    #[inline(always)]
    pub(super) fn decide(&mut self, request: &Request<'_, '_>) -> Result<Answer, HttpError> {
        let body = match (request.method, request.target) {
            (Method::Get | Method::Head, Some(target)) => self.find(target, request)?,
            (Method::Unknown, _) => Body::Status(Status::NotImplemented),
            // RFC 9110 §9.3.7: all resources have the same options, even missing ones. So load
            // balancers can check a server without an index.html.
            (Method::Options, target) => self.options(target, request),
            // RFC 9110 §9.1: all methods except GET and HEAD are optional.
            _ => self.error(self.content.site(request.host()), Status::MethodNotAllowed),
        };
        let persistence = match request.method {
            Method::Connect => Persistence::Close,
            _ => request.persistence,
        };
        let with_content = request.method != Method::Head;
        Ok(Answer { body, with_content, persistence })
    }

    #[inline(always)]
    fn find(&mut self, target: &[u8], request: &Request<'_, '_>) -> Result<Body, HttpError> {
        let site = self.content.site(request.host());
        let path = match path::resolve(target, &mut self.scratch) {
            Ok(path) => path,
            Err(path::Refused::NoFileName) => return Ok(self.error(site, Status::NotFound)),
            Err(path::Refused::Malformed | path::Refused::AboveRoot) => {
                return Err(HttpError::BadTarget);
            }
        };
        let index = match self.content.find(site, path) {
            Some(Entry::File(index)) => index,
            Some(Entry::Redirect(index)) => return Ok(Body::Redirect(index)),
            Some(Entry::Ruled(_)) | None => {
                let authorization = request.values("Authorization").next();
                match self.content.resolve(site, path, authorization, &mut self.location) {
                    Outcome::Denied(page) => return Ok(Body::Page(page)),
                    Outcome::Pending => return Ok(Body::Pending),
                    Outcome::File(index) => index,
                    Outcome::Redirect(index) => return Ok(Body::Redirect(index)),
                    Outcome::Moved(index, len) => return Ok(Body::Moved(index, len as u16)),
                    Outcome::NotFound => return Ok(self.error(site, Status::NotFound)),
                    Outcome::TooLong => return Ok(Body::Status(Status::UriTooLong)),
                }
            }
        };
        if !request.accepts_codings && !request.conditional {
            return Ok(Body::File(index));
        }
        Ok(self.select(site, index, request))
    }

    /// Selects the form of a file by Accept-Encoding, and then the answer by the preconditions.
    #[inline]
    fn select(&self, site: u32, index: u32, request: &Request<'_, '_>) -> Body {
        let index = match self.coded(index, request) {
            Some(index) => index,
            None => return self.error(site, Status::NotAcceptable),
        };
        if !request.conditional {
            return Body::File(index);
        }
        let file = self.content.file(index).validators();
        match conditional::evaluate(request.fields, file, self.answers.date()) {
            Verdict::Perform => Body::File(index),
            Verdict::NotModified => Body::NotModified(index),
            Verdict::Failed => self.error(site, Status::PreconditionFailed),
        }
    }

    /// The form of a file that the request accepts most; `None` if it accepts no form. A request
    /// that refuses no coding accepts a file that has one form.
    #[inline]
    fn coded(&self, index: u32, request: &Request<'_, '_>) -> Option<u32> {
        if !request.accepts_codings {
            return Some(index);
        }
        let file = self.content.file(index);
        let accept = || request.values("Accept-Encoding");
        if !file.varies() && !accept().any(|value| memchr::memchr(b';', value).is_some()) {
            return Some(index);
        }
        match choose(accept(), |coding| file.coded(coding).is_some()) {
            Choice::Identity => Some(index),
            Choice::Coded(coding) => file.coded(coding),
            Choice::NotAcceptable => None,
        }
    }

    /// The answer to OPTIONS, with the fields of the file at the target.
    #[cold]
    fn options(&mut self, target: Option<&[u8]>, request: &Request<'_, '_>) -> Body {
        let site = self.content.site(request.host());
        let path = target.and_then(|target| path::resolve(target, &mut self.scratch).ok());
        let entry = path.and_then(|path| match self.content.find(site, path)? {
            Entry::File(index) => self.content.file(index).options(),
            Entry::Redirect(_) | Entry::Ruled(_) => None,
        });
        entry.map_or(Body::Status(Status::NoContent), Body::Page)
    }

    /// The answer for an error: the site's own page, or the common one.
    #[cold]
    pub(super) fn error(&self, site: u32, status: Status) -> Body {
        self.content.error_page(site, status).map_or(Body::Status(status), Body::Page)
    }

    /// The state for discarding the content, if the request has content.
    #[inline]
    pub(super) fn discard(&self, framing: Framing) -> Result<Option<Discard>, HttpError> {
        Discard::of(framing, self.options.body_max_bytes)
    }
}
