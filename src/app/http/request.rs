//! Parses a request. Input: the bytes of a whole head. Output: a request, or the reason for
//! refusing it.
//!
//! httparse splits the head. This module reads the fields strictly that decide where the message
//! ends and whether the connection persists. Two recipients that read these fields differently make
//! request smuggling possible (RFC 9112 §11.2).

use super::error::HttpError;
use super::fields::{self, Field};
use super::head::HEAD_MAX_BYTES;
use super::response::Persistence;
use super::target::{authority_of, is_authority, path_of};
use httparse::Header;
use std::mem::MaybeUninit;

/// The maximum number of fields in one head.
pub(in crate::app) const FIELDS_MAX: usize = 100;

/// The methods, grouped by their handling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// OPTIONS.
    Options,
    /// Defined by RFC 9110 §9 or RFC 5789. Not allowed on any resource of Simoom.
    Other,
    /// Not allowed, and the bytes after the head may not be HTTP (RFC 9110 §9.3.6).
    Connect,
    /// Not implemented. Method names are case-sensitive.
    Unknown,
}

/// The content after the head (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum Framing {
    /// No content.
    None,
    /// Content of this length in bytes, at least 1.
    Length(u64),
    /// Content in the chunked coding.
    Chunked,
}

/// A parsed head.
#[derive(Clone, Copy, Debug)]
pub(in crate::app) struct Request<'h, 'b> {
    pub(in crate::app) method: Method,
    /// The method, as sent.
    pub(in crate::app) method_name: &'b str,
    /// The target without scheme and authority: a path, possibly with a query. `None` for `*` and
    /// for authority form.
    pub(in crate::app) target: Option<&'b [u8]>,
    pub(in crate::app) persistence: Persistence,
    /// The minor version of HTTP/1, 0 or 1.
    pub(in crate::app) minor: u8,
    pub(in crate::app) framing: Framing,
    /// Whether the client waits for 100 (Continue) before it sends the content.
    pub(in crate::app) expects_continue: bool,
    /// Whether any field is a precondition, besides If-Range.
    pub(in crate::app) conditional: bool,
    /// Whether there is an Accept-Encoding field.
    pub(in crate::app) accepts_codings: bool,
    /// The value of Host; empty if it is missing.
    host: &'b [u8],
    /// The target, as sent.
    raw_target: &'b [u8],
    /// Whether the request is a GET with a Range. RFC 9110 §14.2: ignore Range in other requests.
    pub(in crate::app) ranged: bool,
    pub(in crate::app) fields: &'h [Header<'b>],
}

impl<'h, 'b> Request<'h, 'b> {
    /// The query of the target, with the question mark. `None` if the query is empty or missing.
    pub(in crate::app) fn query(&self) -> Option<&'b [u8]> {
        let target = self.target?;
        let query = &target[memchr::memchr(b'?', target)?..];
        (query.len() > 1).then_some(query)
    }

    /// The authority that the request is for: of the target, or else of Host.
    pub(in crate::app) fn host(&self) -> &'b [u8] {
        self.host
    }

    /// The target, as sent.
    pub(in crate::app) fn raw_target(&self) -> &'b [u8] {
        self.raw_target
    }

    /// The values of the fields with this name.
    pub(in crate::app) fn values(
        &self,
        name: &'static str,
    ) -> impl Iterator<Item = &'b [u8]> + Clone {
        let of_name = move |field: &&Header<'b>| field.name.eq_ignore_ascii_case(name);
        self.fields.iter().filter(of_name).map(|field| field.value)
    }

    /// Parses `head`. [`super::head::find_end`] found its end.
    #[inline(always)]
    pub(in crate::app) fn parse(
        head: &'b [u8],
        space: &'h mut [MaybeUninit<Header<'b>>; FIELDS_MAX],
    ) -> Result<Request<'h, 'b>, HttpError> {
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(head, space) {
            Ok(httparse::Status::Complete(len)) if len == head.len() => {}
            Ok(_) => return Err(HttpError::BadSyntax),
            Err(httparse::Error::TooManyHeaders) => return Err(HttpError::TooManyFields),
            Err(httparse::Error::Version) if version(head).is_some() => {
                return Err(HttpError::UnknownVersion);
            }
            Err(_) => return Err(HttpError::BadSyntax),
        }
        let (Some(method), Some(target), Some(minor)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(HttpError::BadSyntax);
        };
        let fields: &'h [Header<'b>] = parsed.headers;
        let (method_name, method) = (method, method_of(method));
        let mut noted = Noted::default();
        for field in fields {
            noted.note(field)?;
        }
        if minor == 1 && !noted.has_host {
            return Err(HttpError::BadHost);
        }
        Ok(Request {
            method,
            method_name,
            target: path_of(target.as_bytes(), method)?,
            persistence: noted.persistence(minor),
            minor,
            framing: noted.framing(minor)?,
            // RFC 9110 §10.1.1: ignore it in a request of HTTP/1.0.
            expects_continue: noted.expects_continue && minor == 1,
            conditional: noted.conditional,
            accepts_codings: noted.accepts_codings,
            raw_target: target.as_bytes(),
            host: authority_of(target.as_bytes()).unwrap_or(noted.host),
            ranged: noted.ranged && method == Method::Get,
            fields,
        })
    }
}

#[inline]
fn method_of(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "DELETE" | "PATCH" | "POST" | "PUT" | "TRACE" => Method::Other,
        _ => Method::Unknown,
    }
}

/// Copies `head` to `buffer` with the version HTTP/1.1, if httparse refuses `head` only for a
/// version HTTP/1.2 to HTTP/1.9. RFC 9110 §2.5: process a later minor version as the highest minor
/// version that the recipient knows.
#[cold]
pub(in crate::app) fn as_minor_1<'b>(
    head: &[u8],
    buffer: &'b mut [u8; HEAD_MAX_BYTES],
) -> Result<&'b [u8], HttpError> {
    let Some((at, [b'1', b'.', b'2'..=b'9'])) = version(head) else {
        return Err(HttpError::UnknownVersion);
    };
    let copy = &mut buffer[..head.len()];
    copy.copy_from_slice(head);
    copy[at + 2] = b'1';
    Ok(copy)
}

/// The version of a request line, digits and dot, and its offset. `None` if the line is not a
/// request line.
fn version(head: &[u8]) -> Option<(usize, [u8; 3])> {
    let line = head.split(|&byte| byte == b'\r').next()?;
    let mut words = line.split(|&byte| byte == b' ').skip(2);
    let (version, None) = (words.next()?.strip_prefix(b"HTTP/")?, words.next()) else {
        return None;
    };
    match *version {
        [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Some((line.len() - version.len(), [major, b'.', minor]))
        }
        _ => None,
    }
}

/// The meaning of the fields for the message and the connection.
#[derive(Default)]
struct Noted<'b> {
    has_host: bool,
    host: &'b [u8],
    accepts_codings: bool,
    content_length: Option<u64>,
    coded: bool,
    coding: Coding,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    conditional: bool,
    ranged: bool,
}

/// The transfer codings so far.
#[derive(Clone, Copy, Default)]
struct Coding {
    chunked_last: bool,
    chunked_before: bool,
    unknown: bool,
}

impl<'b> Noted<'b> {
    #[inline(always)]
    fn note(&mut self, field: &Header<'b>) -> Result<(), HttpError> {
        let Some(known) = fields::of(field.name.as_bytes()) else { return Ok(()) };
        match known {
            Field::Host => {
                if self.has_host || !is_authority(field.value) {
                    return Err(HttpError::BadHost);
                }
                self.has_host = true;
                self.host = field.value;
            }
            Field::Expect => {
                for expectation in members(field.value) {
                    if !expectation.eq_ignore_ascii_case(b"100-continue") {
                        return Err(HttpError::UnknownExpectation);
                    }
                    self.expects_continue = true;
                }
            }
            Field::Connection => {
                for option in members(field.value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            Field::ContentLength => self.note_content_length(field.value)?,
            Field::TransferEncoding => self.note_codings(field.value),
            Field::IfMatch
            | Field::IfModifiedSince
            | Field::IfNoneMatch
            | Field::IfUnmodifiedSince => self.conditional = true,
            Field::AcceptEncoding => self.accepts_codings = true,
            Field::Range => self.ranged = true,
            // Without Range it has no meaning (RFC 9110 §13.1.5).
            Field::IfRange => {}
        }
        Ok(())
    }

    /// RFC 9110 §8.6: digits, once. Refuse a second Content-Length even if it has the same value. A
    /// number above the range of `u64` saturates, and exceeds every limit.
    fn note_content_length(&mut self, value: &[u8]) -> Result<(), HttpError> {
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(HttpError::BadFraming);
        }
        match self.content_length.replace(saturating_number(value)) {
            None => Ok(()),
            Some(_) => Err(HttpError::BadFraming),
        }
    }

    fn note_codings(&mut self, value: &[u8]) {
        self.coded = true;
        for coding in members(value) {
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.coding.chunked_before |= self.coding.chunked_last;
            self.coding.chunked_last = chunked;
            self.coding.unknown |= !chunked;
        }
    }

    /// RFC 9112 §6.1 and §6.3.
    fn framing(&self, minor: u8) -> Result<Framing, HttpError> {
        if self.coded {
            let Coding { chunked_last, chunked_before, unknown } = self.coding;
            if minor == 0 || self.content_length.is_some() || !chunked_last || chunked_before {
                return Err(HttpError::BadFraming);
            }
            return if unknown { Err(HttpError::UnknownCoding) } else { Ok(Framing::Chunked) };
        }
        Ok(match self.content_length {
            None | Some(0) => Framing::None,
            Some(length) => Framing::Length(length),
        })
    }

    /// RFC 9112 §9.3.
    fn persistence(&self, minor: u8) -> Persistence {
        match (self.close, minor) {
            (true, _) => Persistence::Close,
            (false, 0) if self.keep_alive => Persistence::KeepAndSay,
            (false, 0) => Persistence::Close,
            (false, _) => Persistence::Keep,
        }
    }
}

/// The value of decimal digits, or the largest number.
pub(super) fn saturating_number(digits: &[u8]) -> u64 {
    digits
        .iter()
        .fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

/// The non-empty members of a comma-separated list (RFC 9110 §5.6.1).
fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
