//! Sends responses. A response is a head, an optional Connection field, and a rendered tail.
//!
//! The *head* (status line, [`COMMON_FIELDS`], Date) is the same for all responses of one status
//! within one second. A worker renders it once a second. The *tail* (the other fields, the empty
//! line, the content) never changes, and is rendered at start-up. A response copies two ranges, and
//! shares the content if it is large. No request formats or allocates anything here.

use super::date::{DATE_BYTES, imf_fixdate};
use crate::app::{Blob, Checksummed};
use simoom_io::Reply;
use simoom_io::send::{CAPACITY_COPY_BYTES, CHUNK_BYTES};
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

/// The fields of all responses besides Date, whole lines. All limits of this file follow from them.
const COMMON_FIELDS: &str = "Server: simoom\r\n";

/// A tail up to this size is copied, head and content together. So a small response is one entry of
/// the send queue and needs no reference count. With the head of a 200 it fits one chunk.
pub(crate) const COPY_MAX_BYTES: usize = CHUNK_BYTES - head_bytes("200 OK".len());

/// The longest insertion of [`Rendered::send_inserting`]: the remaining bytes that one response may
/// copy.
pub(super) const INSERTED_MAX_BYTES: usize =
    CAPACITY_COPY_BYTES - HEAD_MAX_BYTES - CONNECTION_KEEP_ALIVE.len();
const _: () = assert!(COPY_MAX_BYTES <= INSERTED_MAX_BYTES, "a response with a copied tail");

/// `HTTP/1.1 100 Continue`, the one interim answer (RFC 9110 §15.2.1).
pub(in crate::app) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// The methods of all resources (RFC 9110 §10.2.1).
pub(crate) const ALLOW: &str = "Allow: GET, HEAD, OPTIONS\r\n";
pub(in crate::app) const CONNECTION_CLOSE: &[u8] = b"Connection: close\r\n";
pub(in crate::app) const CONNECTION_KEEP_ALIVE: &[u8] = b"Connection: keep-alive\r\n";

/// The final statuses that this server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    NoContent,
    PartialContent,
    MovedPermanently,
    Found,
    SeeOther,
    NotModified,
    TemporaryRedirect,
    PermanentRedirect,
    BadRequest,
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    PreconditionFailed,
    ContentTooLarge,
    UriTooLong,
    RangeNotSatisfiable,
    ExpectationFailed,
    FieldsTooLarge,
    InternalServerError,
    NotImplemented,
    ServiceUnavailable,
    VersionNotSupported,
}

/// The statuses in the order of the enum: code, reason phrase (RFC 9110 §15, RFC 6585 §5), and the
/// text of the error page.
const STATUSES: [(Status, &str, &str); 25] = [
    (Status::Ok, "200 OK", ""),
    (Status::NoContent, "204 No Content", ""),
    (Status::PartialContent, "206 Partial Content", ""),
    (Status::MovedPermanently, "301 Moved Permanently", "The resource has another address."),
    (Status::Found, "302 Found", "The resource has another address for now."),
    (Status::SeeOther, "303 See Other", "The answer is at another address."),
    (Status::NotModified, "304 Not Modified", ""),
    (
        Status::TemporaryRedirect,
        "307 Temporary Redirect",
        "The resource has another address for now.",
    ),
    (Status::PermanentRedirect, "308 Permanent Redirect", "The resource has another address."),
    (Status::BadRequest, "400 Bad Request", "The request is malformed."),
    (Status::Unauthorized, "401 Unauthorized", "The page needs a name and a password."),
    (Status::NotFound, "404 Not Found", "The requested file was not found."),
    (Status::MethodNotAllowed, "405 Method Not Allowed", "Only GET, HEAD and OPTIONS are allowed."),
    (
        Status::NotAcceptable,
        "406 Not Acceptable",
        "The request accepts none of the available content codings.",
    ),
    (Status::RequestTimeout, "408 Request Timeout", "The request did not arrive in time."),
    (
        Status::PreconditionFailed,
        "412 Precondition Failed",
        "A precondition of the request failed.",
    ),
    (
        Status::ContentTooLarge,
        "413 Content Too Large",
        "The content of the request is longer than the limit.",
    ),
    (
        Status::UriTooLong,
        "414 URI Too Long",
        "The request line is longer than the limit, or its query is too long for a redirect.",
    ),
    (
        Status::RangeNotSatisfiable,
        "416 Range Not Satisfiable",
        "The requested range begins past the end of the file.",
    ),
    (
        Status::ExpectationFailed,
        "417 Expectation Failed",
        "Only the expectation 100-continue is supported.",
    ),
    (
        Status::FieldsTooLarge,
        "431 Request Header Fields Too Large",
        "The head of the request is longer than the limit or has more than 100 fields.",
    ),
    (Status::InternalServerError, "500 Internal Server Error", ""),
    (
        Status::NotImplemented,
        "501 Not Implemented",
        "The method or transfer coding is not supported.",
    ),
    (
        Status::ServiceUnavailable,
        "503 Service Unavailable",
        "The request cannot be answered at the moment. Send it again.",
    ),
    (
        Status::VersionNotSupported,
        "505 HTTP Version Not Supported",
        "Only HTTP/1.0 and HTTP/1.1 are supported.",
    ),
];

impl Status {
    /// The status with this code, if the server sends it.
    pub(in crate::app) fn of_code(code: u16) -> Option<Status> {
        STATUSES.iter().map(|(status, ..)| *status).find(|status| status.code() == code)
    }

    /// The three digits.
    pub(in crate::app) fn code(self) -> u16 {
        let (_, line, _) = STATUSES[self as usize];
        line.bytes().take(3).fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
    }
}

/// Whether the connection persists after a response, and the Connection field (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum Persistence {
    /// The connection persists, the default of HTTP/1.1. No field.
    Keep,
    /// The connection persists. The field confirms it to an HTTP/1.0 client that asked for it.
    KeepAndSay,
    /// The connection closes after the response.
    Close,
}

/// The constant part of a response: fields after Date, the empty line, content.
#[derive(Clone, Debug)]
pub(crate) struct Rendered {
    /// The fields and the empty line. The response's own content follows.
    bytes: Arc<[u8]>,
    /// Bytes of the fields and the empty line.
    content_start: usize,
    /// Content that responses with other fields may share.
    content: Option<Arc<Checksummed>>,
}

impl Rendered {
    /// A response with its own content. `fields` are whole lines, each with a CR LF.
    pub(crate) fn new(fields: &str, content: &[u8]) -> Rendered {
        let bytes = [fields.as_bytes(), b"\r\n", content].concat();
        Rendered { bytes: bytes.into(), content_start: fields.len() + 2, content: None }
    }

    /// As [`Rendered::new`]. Shares `content` unless it is short.
    pub(crate) fn sharing(fields: &str, content: &Arc<Checksummed>) -> Rendered {
        if fields.len() + 2 + content.as_slice().len() <= COPY_MAX_BYTES {
            return Rendered::new(fields, content.as_slice());
        }
        Rendered { content: Some(content.clone()), ..Rendered::new(fields, b"") }
    }

    /// The body of a response without a file: a short page. `fields` come before its own fields.
    pub(crate) fn status_body(status: Status, fields: &str) -> Rendered {
        let (_, title, sentence) = STATUSES[status as usize];
        let page =
            format!("<!doctype html>\n<title>{title}</title>\n<h1>{title}</h1>\n<p>{sentence}\n");
        let mut all = fields.to_string();
        let _ = write!(
            all,
            "Content-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n",
            page.len()
        );
        Rendered::new(&all, page.as_bytes())
    }

    /// Bytes of memory outside the struct, without shared content.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.len() + 2 * size_of::<usize>()
    }

    /// The bytes of the fields before the field that begins at `end`, which responses may share.
    pub(crate) fn fields(&self, end: usize) -> Shared<'_> {
        Shared { source: Source::Rendered(&self.bytes), range: 0..end }
    }

    /// The content, which responses may share.
    pub(crate) fn content(&self) -> Shared<'_> {
        match &self.content {
            Some(content) => {
                Shared { source: Source::Content(content), range: 0..content.as_slice().len() }
            }
            None => {
                let range = self.content_start..self.bytes.len();
                Shared { source: Source::Rendered(&self.bytes), range }
            }
        }
    }

    /// The whole response, if it shares nothing.
    #[inline(always)]
    fn copied(&self, with_content: bool) -> Option<&[u8]> {
        let bytes = if with_content { &self.bytes } else { &self.bytes[..self.content_start] };
        let is_whole = self.content.is_none() || !with_content;
        (is_whole && bytes.len() <= COPY_MAX_BYTES).then_some(bytes)
    }

    #[inline(always)]
    pub(super) fn send(&self, with_content: bool, reply: &mut Reply<'_, Blob>) {
        let bytes = if with_content { &self.bytes } else { &self.bytes[..self.content_start] };
        if bytes.len() <= COPY_MAX_BYTES {
            reply.copy(bytes);
        } else {
            reply.share(Blob::Shared(self.bytes.clone()), 0..bytes.len());
        }
        if let (Some(content), true) = (&self.content, with_content) {
            reply.share(Blob::Checksummed(content.clone()), 0..content.as_slice().len());
        }
    }

    /// As [`Rendered::send`], with `inserted` before the byte at `at` of the fields. `inserted` has
    /// up to [`INSERTED_MAX_BYTES`]. For a response with its own content.
    fn send_inserting(
        &self,
        at: usize,
        inserted: &[u8],
        with_content: bool,
        reply: &mut Reply<'_, Blob>,
    ) {
        let end = if with_content { self.bytes.len() } else { self.content_start };
        reply.share(Blob::Shared(self.bytes.clone()), 0..at);
        reply.copy(inserted);
        reply.share(Blob::Shared(self.bytes.clone()), at..end);
    }
}

/// Bytes that responses share without a copy.
pub(crate) struct Shared<'a> {
    source: Source<'a>,
    range: Range<usize>,
}

/// Where such bytes lie.
#[derive(Clone, Copy)]
enum Source<'a> {
    Rendered(&'a Arc<[u8]>),
    Content(&'a Arc<Checksummed>),
}

impl Shared<'_> {
    pub(crate) fn len(&self) -> u64 {
        self.range.len() as u64
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        let bytes = match self.source {
            Source::Rendered(bytes) => bytes,
            Source::Content(content) => content.as_slice(),
        };
        &bytes[self.range.clone()]
    }

    /// Shares the bytes from `start` to `end`, which lie within these bytes.
    pub(super) fn send(&self, start: u64, end: u64, reply: &mut Reply<'_, Blob>) {
        let range = self.range.start + start as usize..self.range.start + end as usize;
        let blob = match self.source {
            Source::Rendered(bytes) => Blob::Shared(bytes.clone()),
            Source::Content(content) => Blob::Checksummed(content.clone()),
        };
        reply.share(blob, range);
    }
}

/// A redirect to one location. A response may append to it.
#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    status: Status,
    rendered: Rendered,
    location_end: usize,
}

impl Redirect {
    /// `location` is in URI form. `fields` are further lines, each with a CR LF.
    pub(crate) fn new(status: Status, location: &str, fields: &str) -> Redirect {
        let field = format!("Location: {location}");
        let rendered = Rendered::status_body(status, &format!("{field}\r\n{fields}"));
        Redirect { status, rendered, location_end: field.len() }
    }

    pub(crate) fn status(&self) -> Status {
        self.status
    }

    /// The response without a query.
    pub(crate) fn rendered(&self) -> &Rendered {
        &self.rendered
    }

    /// Bytes of memory outside the struct.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.rendered.memory_bytes()
    }
}

/// The parts of responses that belong to no file, constant and changing.
pub(super) struct Answers {
    unix_seconds: u64,
    heads: [ResponseHead; STATUSES.len()],
    status_bodies: [Rendered; STATUSES.len()],
}

/// The longest code with its reason phrase.
const STATUS_MAX_BYTES: usize = 40;
/// The longest start of a response.
const HEAD_MAX_BYTES: usize = head_bytes(STATUS_MAX_BYTES);

/// The length of the start of a response whose code and reason phrase have `status_bytes`.
const fn head_bytes(status_bytes: usize) -> usize {
    let fields = COMMON_FIELDS.len() + "Date: ".len() + DATE_BYTES;
    "HTTP/1.1 ".len() + status_bytes + "\r\n".len() + fields + "\r\n".len()
}

/// The start of a response: status line, [`COMMON_FIELDS`] and Date.
#[derive(Clone, Copy)]
pub(in crate::app) struct ResponseHead {
    bytes: [u8; HEAD_MAX_BYTES],
    len: usize,
}

impl ResponseHead {
    /// `status` is the code and the reason phrase, up to [`STATUS_MAX_BYTES`].
    pub(in crate::app) fn new(status: &str) -> ResponseHead {
        let date = " ".repeat(DATE_BYTES);
        let text = format!("HTTP/1.1 {status}\r\n{COMMON_FIELDS}Date: {date}\r\n");
        let mut bytes = [0; HEAD_MAX_BYTES];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        ResponseHead { bytes, len: text.len() }
    }

    pub(in crate::app) fn set_date(&mut self, date: &[u8; DATE_BYTES]) {
        let end = self.len - 2;
        self.bytes[end - DATE_BYTES..end].copy_from_slice(date);
    }

    /// Status line, [`COMMON_FIELDS`] and Date.
    #[inline]
    pub(in crate::app) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Answers {
    /// Renders all responses. Their Date is the epoch until the first call of
    /// [`Answers::set_date`].
    pub(super) fn new() -> Answers {
        let mut answers = Answers {
            unix_seconds: 0,
            heads: STATUSES.map(|(_, line, _)| ResponseHead::new(line)),
            status_bodies: STATUSES.map(|(status, ..)| match status {
                Status::MethodNotAllowed => Rendered::status_body(status, ALLOW),
                // RFC 9110 §8.6: no Content-Length.
                Status::NoContent => Rendered::new(ALLOW, b""),
                // The method may be unknown here, and a response to HEAD has no content.
                Status::InternalServerError => Rendered::new("Content-Length: 0\r\n", b""),
                Status::ServiceUnavailable => Rendered::status_body(status, "Retry-After: 1\r\n"),
                status => Rendered::status_body(status, ""),
            }),
        };
        answers.render_date(0);
        answers
    }

    /// The Date of the responses.
    pub(super) fn date(&self) -> u64 {
        self.unix_seconds
    }

    /// Sets the Date of all further responses.
    pub(super) fn set_date(&mut self, unix_seconds: u64) {
        if unix_seconds != self.unix_seconds {
            self.render_date(unix_seconds);
        }
    }

    fn render_date(&mut self, unix_seconds: u64) {
        self.unix_seconds = unix_seconds;
        let date = imf_fixdate(unix_seconds);
        for head in &mut self.heads {
            head.set_date(&date);
        }
    }

    /// Sends a response: the head, the Connection field and `tail`.
    #[inline(always)]
    pub(super) fn send(
        &self,
        status: Status,
        persistence: Persistence,
        tail: &Rendered,
        with_content: bool,
        reply: &mut Reply<'_, Blob>,
    ) {
        if let (Persistence::Keep, Some(tail)) = (persistence, tail.copied(with_content)) {
            return reply.copy_all([self.heads[status as usize].bytes(), tail]);
        }
        self.begin(status, persistence, reply);
        tail.send(with_content, reply);
    }

    /// Sends the redirect with `appended` at the end of its location.
    pub(super) fn redirect(
        &self,
        redirect: &Redirect,
        appended: &[u8],
        persistence: Persistence,
        with_content: bool,
        reply: &mut Reply<'_, Blob>,
    ) {
        self.begin(redirect.status, persistence, reply);
        redirect.rendered.send_inserting(redirect.location_end, appended, with_content, reply);
    }

    #[inline(always)]
    pub(super) fn begin(
        &self,
        status: Status,
        persistence: Persistence,
        reply: &mut Reply<'_, Blob>,
    ) {
        let head = &self.heads[status as usize];
        reply.copy(head.bytes());
        match persistence {
            Persistence::Keep => {}
            Persistence::KeepAndSay => reply.copy(CONNECTION_KEEP_ALIVE),
            Persistence::Close => reply.copy(CONNECTION_CLOSE),
        }
    }

    /// The body that describes the error.
    pub(super) fn status_body(&self, status: Status) -> &Rendered {
        &self.status_bodies[status as usize]
    }
}

/// The start of a response at the time of the tests: 784,111,777 seconds.
#[cfg(test)]
pub(in crate::app) fn test_head(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{COMMON_FIELDS}Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_stands_in_its_place_and_fits_one_chunk() {
        for (place, (status, line, _)) in STATUSES.into_iter().enumerate() {
            assert_eq!(status as usize, place);
            let head = ResponseHead::new(line);
            assert!(head.bytes.starts_with(format!("HTTP/1.1 {line}\r\n").as_bytes()));
            let page = Rendered::status_body(status, ALLOW);
            assert!(page.bytes.len() <= COPY_MAX_BYTES, "{line}");
        }
        assert_eq!(ResponseHead::new("200 OK").len + COPY_MAX_BYTES, CHUNK_BYTES);
        assert_eq!(ResponseHead::new(&"x".repeat(STATUS_MAX_BYTES)).len, HEAD_MAX_BYTES);
    }

    #[test]
    fn the_guide_has_the_limit_of_redirects() {
        let page = include_str!("../../guide/http.md");
        let limit = format!("{INSERTED_MAX_BYTES} bytes");
        for (before, after) in
            [("up to ", "; a longer one is refused"), ("A location of more than ", "")]
        {
            // The number that stands in the sentence now.
            let found = page.match_indices(before).find_map(|(at, _)| {
                let text = &page[at + before.len()..];
                let end = text.find(" bytes")? + " bytes".len();
                let is_number = text[..end].bytes().next()?.is_ascii_digit() && end < 16;
                (is_number && text[end..].starts_with(after)).then_some(&text[..end])
            });
            let old = found.unwrap_or_else(|| panic!("src/guide/http.md: no {before:?} N bytes"));
            assert!(
                old == limit,
                "src/guide/http.md: replace \"{before}{old}\" by \"{before}{limit}\""
            );
        }
    }

    #[test]
    fn the_date_changes_and_nothing_else() {
        let mut answers = Answers::new();
        let text = |answers: &Answers| {
            let head = &answers.heads[Status::Ok as usize];
            String::from_utf8(head.bytes[..head.len].to_vec()).unwrap()
        };
        let expected = test_head("200 OK");
        let epoch = expected.replace("Sun, 06 Nov 1994 08:49:37", "Thu, 01 Jan 1970 00:00:00");
        assert_eq!(text(&answers), epoch);
        answers.set_date(784_111_777);
        assert_eq!(text(&answers), expected);
        assert!(expected.starts_with("HTTP/1.1 200 OK\r\nServer: simoom\r\n"));
    }
}
