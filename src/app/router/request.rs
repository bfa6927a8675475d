//! The request as a handler sees it.

use super::path::Path;
use super::query;
use super::response::Response;
use crate::app::http::conditional::{self, Validators, Verdict};
use crate::handler::Seconds;
use httparse::Header;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::str::FromStr;

/// A request: its head, the parameters of its path, and its body.
///
/// Everything is borrowed from the transport's buffers. Copy the parts that must outlive the call.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a [u8],
    pub(super) fields: &'a [Header<'a>],
    pub(super) path: &'a Path,
    pub(super) params: &'a [Param],
    pub(super) body: &'a [u8],
    pub(super) peer: Option<SocketAddr>,
    pub(super) seconds: Seconds,
}

/// A parameter of a pattern and the position of its value.
#[derive(Clone, Debug)]
pub(super) struct Param {
    pub(super) name: Box<str>,
    /// Index of the segment.
    pub(super) segment: usize,
    /// Whether the value includes all later segments.
    pub(super) is_rest: bool,
}

/// The result of the preconditions of a request (RFC 9110 §13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// No precondition failed: continue.
    Perform,
    /// The client has the current version: answer with [`Response::new`]`(304)`.
    NotModified,
    /// A precondition failed: answer with [`Response::error`]`(412)`.
    Failed,
}

impl<'a> Request<'a> {
    /// The method, as sent. Method names are case-sensitive.
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The path and query, as sent, without decoding.
    pub fn target(&self) -> &'a [u8] {
        self.target
    }

    /// The value of the parameter `name` of the route's pattern, decoded. `None` if the pattern has
    /// no such parameter, or if the value is not UTF-8: see [`Request::param_bytes`]. The value of
    /// `{name}` may hold a slash that the client encoded; the value of `{*name}` never does, and
    /// has no `..` segment.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.param_bytes(name)?).ok()
    }

    /// As [`Request::param`], for values that need not be UTF-8.
    pub fn param_bytes(&self, name: &str) -> Option<&'a [u8]> {
        let param = self.params.iter().find(|param| &*param.name == name)?;
        if param.is_rest {
            self.path.rest(param.segment)
        } else {
            Some(self.path.segment(param.segment))
        }
    }

    /// The value of the parameter `name` as a `T`, a number for example. The error is an answer
    /// with 400 that names the parameter.
    pub fn parse_param<T: FromStr>(&self, name: &str) -> Result<T, Response> {
        self.param(name)
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| Response::error(400).text(format!("malformed path parameter: {name}\n")))
    }

    /// The first value of `name` in the query, decoded.
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        self.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// As [`Request::query`], as a `T`. `Ok(None)` if the query has no `name`. The error is an
    /// answer with 400 that names it.
    pub fn parse_query<T: FromStr>(&self, name: &str) -> Result<Option<T>, Response> {
        let malformed =
            || Response::error(400).text(format!("malformed query parameter: {name}\n"));
        self.query(name).map(|value| value.parse().map_err(|_| malformed())).transpose()
    }

    /// The names and values of the query in order, decoded.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        let query = memchr::memchr(b'?', self.target).map_or(&b""[..], |at| &self.target[at + 1..]);
        query::pairs(query)
    }

    /// The first value of the field `name`, whatever its case. `None` if there is no such field, or
    /// if the value is not UTF-8: see [`Request::header_bytes`].
    pub fn header(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.header_bytes(name)?).ok()
    }

    /// As [`Request::header`], for values that need not be UTF-8.
    pub fn header_bytes(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All fields in order, with names as sent.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.fields.iter().map(|field| (field.name, field.value))
    }

    /// The body, without chunk framing. Empty without a body, and for routes that stream the body.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Parses the body as JSON. The error is a response: 415 if Content-Type is present and not
    /// JSON, or 400 if the body is not a `T`, with reason and position.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Response> {
        if self.header_bytes("Content-Type").is_some_and(|value| !is_json(value)) {
            let text = "expected a body of type application/json\n";
            return Err(Response::error(415).text(text));
        }
        serde_json::from_slice(self.body)
            .map_err(|error| Response::error(400).text(format!("malformed JSON body: {error}\n")))
    }

    /// The names and values of a body of type application/x-www-form-urlencoded, decoded.
    pub fn form(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        query::pairs(self.body)
    }

    /// The address and port of the peer. `None` if the peer had reset the connection before a
    /// kernel socket accepted it, so that the kernel no longer knows the address. A link-local
    /// address has no zone here.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The time in whole seconds.
    pub fn seconds(&self) -> Seconds {
        self.seconds
    }

    /// Evaluates If-Match, If-None-Match, If-Modified-Since and If-Unmodified-Since in the order of
    /// RFC 9110 §13.2.2 for a resource that exists: `etag` is its entity tag with its quotes, and
    /// `modified` the unix seconds of its last modification, if it has one.
    pub fn precondition(&self, etag: &str, modified: Option<u64>) -> Precondition {
        let validators = Validators { etag: etag.as_bytes(), modified };
        match conditional::evaluate(self.fields, validators, self.seconds.unix) {
            Verdict::Perform => Precondition::Perform,
            // §13.1.2: only GET and HEAD are answered with 304.
            Verdict::NotModified if matches!(self.method, "GET" | "HEAD") => {
                Precondition::NotModified
            }
            Verdict::NotModified | Verdict::Failed => Precondition::Failed,
        }
    }
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, String::from_utf8_lossy(self.target))
    }
}

/// `application/json` or a type with the suffix `+json` (RFC 6839 §3.1), parameters aside.
fn is_json(content_type: &[u8]) -> bool {
    let end = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
    let essence = content_type[..end].trim_ascii();
    essence.eq_ignore_ascii_case(b"application/json")
        || essence
            .len()
            .checked_sub(b"+json".len())
            .is_some_and(|at| essence[at..].eq_ignore_ascii_case(b"+json"))
}
