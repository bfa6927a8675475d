//! What comes in: from the bytes of a head to a request of known meaning, or to the reason why it has none.
//!
//! Two steps. [`find_end`] looks for the empty line, remembering how far it looked, so that a head that comes byte
//! by byte is searched once. [`Request::parse`] is called once a head is whole: httparse splits it, and the fields
//! that decide where the message ends and what becomes of the connection are read strictly (RFC 9112 §11.2).

use super::conditional::is_precondition;
use super::response::{Persistence, Status};
use httparse::Header;
use std::mem::MaybeUninit;

/// Longest request line, its CR LF not counted.
pub(super) const REQUEST_LINE_MAX_BYTES: usize = 8 * 1024;
/// Longest head, request line and empty line included. No transport may keep less for one connection.
pub(super) const HEAD_MAX_BYTES: usize = 16 * 1024;
/// Most fields of one head.
pub(super) const FIELDS_MAX: usize = 100;

/// Why a request is refused in a way that ends the connection, either because where it ends is not known or because
/// reading on would cost too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The head is not what RFC 9112 §2 and §5 describe.
    BadSyntax,
    /// Host is missing, repeated or malformed (RFC 9112 §3.2).
    BadHost,
    /// Content-Length or Transfer-Encoding do not say where the content ends (RFC 9112 §6).
    BadFraming,
    /// The target names nothing that could be: wrong escapes, or above the root.
    BadTarget,
    /// The chunked coding is broken (RFC 9112 §7.1).
    BadChunk,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The content did not arrive in time.
    BodyTimeout,
    /// More content than is read past.
    BodyTooLarge,
    /// A request line longer than [`REQUEST_LINE_MAX_BYTES`].
    LineTooLong,
    /// An expectation other than 100-continue.
    UnknownExpectation,
    /// A head longer than [`HEAD_MAX_BYTES`].
    HeadTooLarge,
    /// More than [`FIELDS_MAX`] fields.
    TooManyFields,
    /// A transfer coding other than chunked.
    UnknownCoding,
    /// A version of HTTP other than 1.0 and 1.1.
    UnknownVersion,
}

impl Refusal {
    /// What the client is told.
    pub(super) fn status(self) -> Status {
        use Refusal::*;
        match self {
            BadSyntax | BadHost | BadFraming | BadTarget | BadChunk => Status::BadRequest,
            HeadTimeout | BodyTimeout => Status::RequestTimeout,
            BodyTooLarge => Status::ContentTooLarge,
            LineTooLong => Status::UriTooLong,
            UnknownExpectation => Status::ExpectationFailed,
            HeadTooLarge | TooManyFields => Status::FieldsTooLarge,
            UnknownCoding => Status::NotImplemented,
            UnknownVersion => Status::VersionNotSupported,
        }
    }
}

/// How far the search for the end of a head has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Search {
    /// Bytes of the head that hold no LF that was not looked at.
    seen: u16,
    /// Whether the request line ends among them.
    past_line: bool,
}

impl Search {
    /// Whether the request line was seen to its end.
    pub(super) fn is_past_line(self) -> bool {
        self.past_line
    }
}

/// The length of the head that `bytes` begin with, its empty line included; `None` until all of it is there.
/// `bytes` begin with what they began with at the last call. Lines end in CR LF: a bare LF, which RFC 9112 §2.2
/// would let pass, is refused, because others along the way may see a different message in it.
#[inline]
pub(super) fn find_end(bytes: &[u8], search: &mut Search) -> Result<Option<usize>, Refusal> {
    let window = &bytes[..bytes.len().min(HEAD_MAX_BYTES)];
    let mut at = usize::from(search.seen);
    if at == 0 && window.first().is_some_and(|&byte| !TOKEN[usize::from(byte)]) {
        return Err(Refusal::BadSyntax);
    }
    while let Some(distance) = memchr::memchr(b'\n', &window[at..]) {
        let lf = at + distance;
        at = lf + 1;
        if !search.past_line {
            if lf > REQUEST_LINE_MAX_BYTES + 1 {
                return Err(Refusal::LineTooLong);
            }
            search.past_line = true;
        }
        if lf == 0 || window[lf - 1] != b'\r' {
            return Err(Refusal::BadSyntax);
        }
        if lf >= 3 && window[lf - 2] == b'\n' {
            return Ok(Some(at));
        }
    }
    if !search.past_line && window.len() > REQUEST_LINE_MAX_BYTES + 1 {
        return Err(Refusal::LineTooLong);
    }
    if window.len() == HEAD_MAX_BYTES {
        return Err(Refusal::HeadTooLarge);
    }
    search.seen = window.len() as u16;
    Ok(None)
}

/// The methods, by what becomes of them here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// Defined by RFC 9110 §9 or RFC 5789, not allowed on any resource here.
    Other,
    /// The same, but what follows its head may be no HTTP (RFC 9110 §9.3.6).
    Connect,
    /// Not implemented. Method names are case-sensitive.
    Unknown,
}

/// What follows the head (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// No content.
    None,
    /// So many bytes, at least one.
    Length(u64),
    /// The chunked coding.
    Chunked,
}

/// A head, understood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'h, 'b> {
    pub(super) method: Method,
    /// The target without scheme and authority: a path, perhaps a query. `None` for `*` and for authority form.
    pub(super) target: Option<&'b [u8]>,
    pub(super) persistence: Persistence,
    pub(super) framing: Framing,
    /// Whether the client waits for 100 (Continue) before it sends the content.
    pub(super) expects_continue: bool,
    /// Whether any of the fields is a precondition.
    pub(super) conditional: bool,
    pub(super) fields: &'h [Header<'b>],
}

impl<'h, 'b> Request<'h, 'b> {
    /// Understands `head`, whose end [`find_end`] found.
    #[inline]
    pub(super) fn parse(
        head: &'b [u8],
        space: &'h mut [MaybeUninit<Header<'b>>; FIELDS_MAX],
    ) -> Result<Request<'h, 'b>, Refusal> {
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(head, space) {
            Ok(httparse::Status::Complete(len)) if len == head.len() => {}
            Ok(_) => return Err(Refusal::BadSyntax),
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooManyFields),
            Err(httparse::Error::Version) if names_a_version(head) => return Err(Refusal::UnknownVersion),
            Err(_) => return Err(Refusal::BadSyntax),
        }
        let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(Refusal::BadSyntax);
        };
        let fields: &'h [Header<'b>] = parsed.headers;
        let method = method_of(method);
        let mut noted = Noted::default();
        for field in fields {
            noted.note(field)?;
        }
        if minor == 1 && !noted.has_host {
            return Err(Refusal::BadHost);
        }
        Ok(Request {
            method,
            target: path_of(target.as_bytes(), method)?,
            persistence: noted.persistence(minor),
            framing: noted.framing(minor)?,
            // RFC 9110 §10.1.1: a client of HTTP/1.0 cannot mean it.
            expects_continue: noted.expects_continue && minor == 1,
            conditional: noted.conditional,
            fields,
        })
    }
}

fn method_of(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "CONNECT" => Method::Connect,
        "DELETE" | "OPTIONS" | "PATCH" | "POST" | "PUT" | "TRACE" => Method::Other,
        _ => Method::Unknown,
    }
}

/// Tells a request line of another version, which httparse refuses, from one that is no request line.
fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ').skip(2);
    match (words.next().and_then(|word| word.strip_prefix(b"HTTP/")), words.next()) {
        (Some(&[major, b'.', minor]), None) => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    }
}

/// The four forms of RFC 9112 §3.2.
fn path_of(target: &[u8], method: Method) -> Result<Option<&[u8]>, Refusal> {
    if target.starts_with(b"/") && method != Method::Connect {
        return Ok(Some(target));
    }
    match method {
        Method::Connect if is_authority(target) => Ok(None),
        Method::Connect => Err(Refusal::BadTarget),
        Method::Other | Method::Unknown if target == b"*" => Ok(None),
        _ => absolute_form(target).map(Some),
    }
}

/// §3.2.2: accepted, and the authority in it replaces Host; all authorities are the same to this server.
fn absolute_form(target: &[u8]) -> Result<&[u8], Refusal> {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
        })
        .ok_or(Refusal::BadTarget)?;
    let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || !is_authority(authority) {
        return Err(Refusal::BadTarget);
    }
    Ok(path)
}

/// What the fields say of the message and the connection.
#[derive(Default)]
struct Noted {
    has_host: bool,
    content_length: Option<u64>,
    coded: bool,
    coding: Coding,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    conditional: bool,
}

/// The transfer codings listed so far.
#[derive(Clone, Copy, Default)]
struct Coding {
    chunked_last: bool,
    chunked_before: bool,
    unknown: bool,
}

impl Noted {
    /// Names are told apart by their length first: most fields of a request are none of these.
    #[inline]
    fn note(&mut self, field: &Header<'_>) -> Result<(), Refusal> {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            4 if is("Host") => {
                if self.has_host || !is_authority(field.value) {
                    return Err(Refusal::BadHost);
                }
                self.has_host = true;
            }
            6 if is("Expect") => {
                if !field.value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Refusal::UnknownExpectation);
                }
                self.expects_continue = true;
            }
            10 if is("Connection") => {
                for option in members(field.value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if is("Content-Length") => self.note_content_length(field.value)?,
            17 if is("Transfer-Encoding") => self.note_codings(field.value),
            8 | 13 | 17 | 19 => self.conditional |= is_precondition(field.name),
            _ => {}
        }
        Ok(())
    }

    /// RFC 9110 §8.6: digits, once. A second Content-Length is refused even if it says the same. A number too
    /// large to hold stands for the largest, which is past any bound.
    fn note_content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::BadFraming);
        }
        let length =
            value.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        match self.content_length.replace(length) {
            None => Ok(()),
            Some(_) => Err(Refusal::BadFraming),
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
    fn framing(&self, minor: u8) -> Result<Framing, Refusal> {
        if self.coded {
            let Coding { chunked_last, chunked_before, unknown } = self.coding;
            if minor == 0 || self.content_length.is_some() || !chunked_last || chunked_before {
                return Err(Refusal::BadFraming);
            }
            return if unknown { Err(Refusal::UnknownCoding) } else { Ok(Framing::Chunked) };
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

/// The members of a comma-separated list that are not empty (RFC 9110 §5.6.1).
fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Whether each byte is an ASCII letter, a digit or one of `others`.
const fn alphanumeric_or(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

/// `tchar` of RFC 9110 §5.6.2.
static TOKEN: [bool; 256] = alphanumeric_or(b"!#$%&'*+-.^_`|~");
/// `unreserved / pct-encoded / sub-delims` of RFC 3986 §3.2.2; a colon ends a registered name.
static REG_NAME: [bool; 256] = alphanumeric_or(b"-._~%!$&'()*+,;=");
/// What stands between the brackets of an IP literal, a later version's included.
static IP_LITERAL: [bool; 256] = alphanumeric_or(b":-._~!$&'()*+,;=");

/// Whether `value` is `uri-host [":" port]` (RFC 3986 §3.2.2 and §3.2.3), which an empty value is too.
fn is_authority(value: &[u8]) -> bool {
    let host_end = match value.strip_prefix(b"[") {
        Some(literal) => {
            let Some(len) = literal.iter().position(|byte| !IP_LITERAL[usize::from(*byte)]) else {
                return false;
            };
            if len == 0 || literal[len] != b']' {
                return false;
            }
            len + 2
        }
        None => value.iter().position(|byte| !REG_NAME[usize::from(*byte)]).unwrap_or(value.len()),
    };
    match &value[host_end..] {
        [] => true,
        [b':', port @ ..] => port.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
