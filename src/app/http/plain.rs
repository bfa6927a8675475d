//! The fast path of a request: parses a plain head in one pass. Input: bytes. Output: a path, a
//! host and the length of the head, or nothing.
//!
//! A head is *plain* if all of this holds. Most requests are plain.
//!
//! - It has arrived whole, within the limits.
//! - Its request line is GET, an absolute path without escapes, dot segments, empty segments and
//!   query, and HTTP/1.1.
//! - Host comes once. Connection, if present, is `keep-alive` or `close`. Accept-Encoding, if
//!   present, has no weights. Each other field has no meaning for this server, and no folded line.
//!
//! The parser refuses nothing. It returns `None` for all other heads, valid or not, and the general
//! path (`head` and `request`) decides. For a plain head both return the same, which a property
//! test checks.
//!
//! Behind the path, most heads are the same as the last one, which one comparison tells. The other
//! heads are read eight bytes at a time: each byte of a `u64` is compared at once, and the first
//! one that differs is the position of the lowest set bit.

use super::fields::{self, Field};
use super::head::is_tchar;
use super::options::HeadLimits;
use super::request::FIELDS_MAX;

/// A plain head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain<'b> {
    pub(super) path: &'b [u8],
    /// The value of Host.
    pub(super) host: &'b [u8],
    /// Whether there is an Accept-Encoding field. It refuses no coding, and not the plain content.
    pub(super) accepts_codings: bool,
    /// Whether the connection closes behind the answer.
    pub(super) closes: bool,
    /// Length of the head, with its empty line.
    pub(super) len: usize,
}

/// Longest end of a head that is remembered.
const KNOWN_MAX_BYTES: usize = 1024;

/// A head behind its path: the version, the fields and the empty line. All places count from the
/// end of the path.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// Where the value of Host begins and ends.
    host: (usize, usize),
    accepts_codings: bool,
    closes: bool,
    len: usize,
}

/// The end of the last plain head. A client sends the same end with each request, and so do the
/// clients of one program, so that most heads need one comparison behind the path.
#[derive(Clone, Debug)]
pub(super) struct KnownEnd {
    bytes: [u8; KNOWN_MAX_BYTES],
    /// Its `len` is 0 if none is known.
    end: End,
}

impl Default for KnownEnd {
    fn default() -> KnownEnd {
        KnownEnd { bytes: [0; KNOWN_MAX_BYTES], end: End::default() }
    }
}

impl KnownEnd {
    /// The end, if `rest` begins with it: it is a whole head, whatever follows.
    #[inline(always)]
    fn at_start_of(&self, rest: &[u8]) -> Option<End> {
        let known = self.bytes.get(..self.end.len)?;
        (!known.is_empty() && rest.starts_with(known)).then_some(self.end)
    }

    /// Remembers the end of a plain head.
    fn remember(&mut self, end: &[u8], parsed: End) {
        if let Some(bytes) = self.bytes.get_mut(..end.len()) {
            bytes.copy_from_slice(end);
            self.end = parsed;
        }
    }

    /// The end of the value that begins at `start`, if it is the host of the known end and its line
    /// ends behind it.
    #[inline(always)]
    fn host_end_in(&self, rest: &[u8], start: usize) -> Option<usize> {
        let host = self.bytes.get(self.end.host.0..self.end.host.1)?;
        let end = start + host.len();
        let is_whole = !host.is_empty() && rest.get(end) == Some(&b'\r');
        (is_whole && rest.get(start..end)? == host).then_some(end)
    }
}

const START: &[u8] = b"GET /";
const VERSION: &[u8] = b" HTTP/1.1\r\n";
/// The name of Host in lower case, its colon, and a space.
const HOST: u64 = u64::from_le_bytes(*b"host: \0\0");
/// The bytes of [`HOST`] in a word.
const HOST_MASK: u64 = u64::MAX >> 16;
/// Lines of a head behind the request line: its fields and the empty line.
const LINES_MAX: usize = FIELDS_MAX + 1;
/// Makes the letters of [`HOST`] lower-case.
const HOST_CASE: u64 = 0x2020_2020;

/// Parses the plain head at the start of `bytes`.
#[inline(always)]
pub(super) fn parse<'b>(
    bytes: &'b [u8],
    known: &mut KnownEnd,
    limits: HeadLimits,
) -> Option<Plain<'b>> {
    if !bytes.starts_with(START) {
        return None;
    }
    let path_end = path_end(bytes)?;
    let (path, rest) = (&bytes[START.len() - 1..path_end], &bytes[path_end..]);
    let end = match known.at_start_of(rest) {
        Some(end) => end,
        None => parse_end(rest, known)?,
    };
    let (line_bytes, len) = (path_end + VERSION.len() - "\r\n".len(), path_end + end.len);
    if line_bytes > usize::from(limits.line_max_bytes) || len > usize::from(limits.head_max_bytes) {
        return None;
    }
    let host = rest.get(end.host.0..end.host.1)?;
    let End { accepts_codings, closes, .. } = end;
    Some(Plain { path, host, accepts_codings, closes, len })
}

/// Parses the head in `rest` behind its path, and remembers it.
#[inline(never)]
fn parse_end(rest: &[u8], known: &mut KnownEnd) -> Option<End> {
    let mut at = VERSION.len();
    if !rest.starts_with(VERSION) {
        return None;
    }
    let (mut host, mut accepts_codings, mut closes) = (None, false, false);
    // An inclusive range would be asked at each line whether it has ended before.
    for _ in 0..LINES_MAX {
        let word = word_at(rest, at)?;
        if word as u16 == u16::from_le_bytes(*b"\r\n") {
            let end = End { host: host?, accepts_codings, closes, len: at + 2 };
            known.remember(&rest[..end.len], end);
            return Some(end);
        }
        at = if (word | HOST_CASE) & HOST_MASK == HOST && host.is_none() {
            let start = at + "host: ".len();
            let end = match known.host_end_in(rest, start) {
                Some(end) => end,
                None => host_end(rest, start)?,
            };
            host = Some((start, end));
            end
        } else {
            let (end, meaning) = field_end(rest, at)?;
            accepts_codings |= meaning == Some(Meaning::AcceptsCodings);
            closes |= meaning == Some(Meaning::Closes);
            end
        };
        if rest.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    None
}

/// The end of the path that begins at the end of [`START`]. `None` if it is not plain.
#[inline(always)]
fn path_end(bytes: &[u8]) -> Option<usize> {
    let mut at = START.len();
    // Whether the byte before `at` is a slash, as the highest bit of a byte.
    let mut after_slash = 0x80;
    loop {
        let word = word_at(bytes, at)?;
        let path = path_bytes(word);
        let end = (!path & HIGH).trailing_zeros() / 8;
        let slashes = within(word, b'/', b'/');
        // Dots and slashes behind a slash: segments that `path::resolve` removes.
        let removed = within(word, b'.', b'/') & (slashes << 8 | after_slash);
        if removed.trailing_zeros() / 8 < end {
            return None;
        }
        if end < 8 {
            at += end as usize;
            return (bytes.get(at) == Some(&b' ')).then_some(at);
        }
        (at, after_slash) = (at + 8, slashes >> 56);
    }
}

/// The end of the value of Host that begins at `start`: a registered name or an IPv4 address, and a
/// port if there is one. `None` for other forms.
#[inline(always)]
fn host_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = run(bytes, start, name_bytes)?;
    if bytes.get(at) == Some(&b':') {
        at = run(bytes, at + 1, |word| within(word, b'0', b'9'))?;
    }
    Some(at)
}

/// What a field of a plain head means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    AcceptsCodings,
    Closes,
}

/// The end of the value of the field whose name begins at `start`, and what the field means. `None`
/// if the head is not plain.
#[inline(always)]
fn field_end(bytes: &[u8], start: usize) -> Option<(usize, Option<Meaning>)> {
    let mut colon = run(bytes, start, name_bytes)?;
    while is_tchar(*bytes.get(colon)?) {
        colon += 1;
    }
    let name = bytes.get(start..colon)?;
    if name.is_empty() || bytes[colon] != b':' {
        return None;
    }
    let value = colon + 1;
    let end = run(bytes, value, value_bytes)?;
    match fields::of(name) {
        None => Some((end, None)),
        Some(field) => Some((end, meaning(field, bytes.get(value..end)?)?)),
    }
}

/// What a field that this server reads means, if anything. `None` unless this value is plain.
fn meaning(field: Field, value: &[u8]) -> Option<Option<Meaning>> {
    match field {
        Field::Connection if value.trim_ascii().eq_ignore_ascii_case(b"keep-alive") => Some(None),
        Field::Connection if value.trim_ascii().eq_ignore_ascii_case(b"close") => {
            Some(Some(Meaning::Closes))
        }
        Field::AcceptEncoding if !value.contains(&b';') => Some(Some(Meaning::AcceptsCodings)),
        _ => None,
    }
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
/// The highest bit of each byte.
const HIGH: u64 = ONES << 7;

/// The eight bytes at `at`, the first one lowest, with zeros behind the end of `bytes`. `None` if
/// `at` is the end or `bytes` is short.
#[inline(always)]
fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    let rest = bytes.get(at..)?;
    if let Some(word) = rest.first_chunk() {
        return Some(u64::from_le_bytes(*word));
    }
    let word = u64::from_le_bytes(*bytes.last_chunk()?);
    word.checked_shr(64 - 8 * rest.len() as u32)
}

/// The position of the first byte, from `at` on, that `is_member` does not mark in a word.
#[inline(always)]
fn run(bytes: &[u8], mut at: usize, is_member: impl Fn(u64) -> u64) -> Option<usize> {
    loop {
        let others = !is_member(word_at(bytes, at)?) & HIGH;
        if others != 0 {
            return Some(at + (others.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
}

/// Marks, by its highest bit, each byte from `first` to `last`, both below 0x80.
#[inline(always)]
const fn within(word: u64, first: u8, last: u8) -> u64 {
    let low = word & !HIGH;
    let from_first = low + ONES * (0x80 - first as u64);
    let behind_last = low + ONES * (0x7f - last as u64);
    from_first & !behind_last & !word & HIGH
}

/// Marks the bytes of names of fields and hosts: letters, digits, hyphens and dots.
#[inline(always)]
const fn name_bytes(word: u64) -> u64 {
    // Bit 5 distinguishes the cases of a letter.
    within(word | (ONES << 5), b'a', b'z') | within(word, b'0', b'9') | within(word, b'-', b'.')
}

/// Marks the bytes of plain paths: those of names, slashes and underscores.
#[inline(always)]
const fn path_bytes(word: u64) -> u64 {
    within(word | (ONES << 5), b'a', b'z') | within(word, b'-', b'9') | within(word, b'_', b'_')
}

/// Marks the bytes of values: all but controls. A tab is one.
#[inline(always)]
const fn value_bytes(word: u64) -> u64 {
    within(word, b' ', b'~') | (word & HIGH)
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
