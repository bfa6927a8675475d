//! Parses command lines of the text protocol. Input: a line. Output: a request or a protocol error.
//! The parser looks nothing up and knows no time: expiration times stay as sent.

use crate::app::memcached::number::{self, signed, unsigned, unsigned32};
use crate::app::memcached::scan;
use crate::app::memcached::tokens::Tokens;

/// The longest key, in bytes.
pub(crate) const KEY_MAX_BYTES: usize = 250;
/// A shorter line, with its end, is no command.
const LINE_MIN_BYTES: usize = 4;
/// The start of a `get`.
pub(crate) const GET: &[u8; 4] = b"get ";
/// The longest value that a storage command can announce.
const VALUE_MAX_BYTES: i32 = i32::MAX - 2;

pub(crate) const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format";
const BAD_EXPTIME: &[u8] = b"CLIENT_ERROR invalid exptime argument";
const BAD_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta argument";

/// A command with parsed arguments.
#[derive(Debug, PartialEq)]
pub(crate) enum Request<'a> {
    /// `get`, `gets`, `gat`, `gats`.
    Get(Get<'a>),
    /// A storage command. The value follows.
    Store(Store<'a>),
    Delete {
        key: &'a [u8],
        noreply: bool,
    },
    /// `incr` and `decr`.
    Arithmetic {
        key: &'a [u8],
        increment: bool,
        delta: u64,
        noreply: bool,
    },
    Touch {
        key: &'a [u8],
        exptime: i32,
        noreply: bool,
    },
    /// A meta command of this kind. `meta` parses the line.
    Meta(MetaKind),
    FlushAll {
        delay: i32,
        noreply: bool,
    },
    /// `lru_crawler metadump` and `mgdump`.
    Dump(Dump),
    /// `stats` with its argument, if any.
    Stats(&'a [u8]),
    Version,
    Quit,
    /// A line with a fixed answer that needs no lookup.
    Fixed {
        text: &'static [u8],
        noreply: bool,
    },
    /// An HTTP request. As memcached does, close the connection, so that a browser cannot be abused
    /// to send commands.
    HangUp,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Get<'a> {
    /// The line from the first key on.
    pub(crate) keys: &'a [u8],
    pub(crate) with_cas: bool,
    /// Sets this expiration time of each item found.
    pub(crate) touch: Option<i32>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Store<'a> {
    pub(crate) how: How,
    pub(crate) key: &'a [u8],
    pub(crate) client_flags: u32,
    pub(crate) exptime: i32,
    /// Bytes of the value, without its CR LF.
    pub(crate) len: u32,
    pub(crate) noreply: bool,
}

/// The condition for storing a value, and its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    /// Replaces only an item with this CAS number.
    Cas(u64),
}

/// The parts of each item to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dump {
    Metadata,
    Keys,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetaKind {
    Get,
    Set,
    Delete,
    Arithmetic,
    Debug,
    Noop,
}

/// The protocol error of a line.
#[derive(Debug, PartialEq)]
pub(crate) struct ProtocolError {
    pub(crate) text: &'static [u8],
    /// Bytes after the line that belong to it, to discard.
    pub(crate) value_bytes: u32,
    /// The client asked for no answer.
    pub(crate) noreply: bool,
}

impl ProtocolError {
    fn of(text: &'static [u8]) -> ProtocolError {
        ProtocolError { text, value_bytes: 0, noreply: false }
    }
}

/// The key of a plain `get` of one key at the start of `bytes`, and the length of its line with the
/// line's end. `None` for any other request, and for a key with control characters.
#[inline(always)]
pub(crate) fn single_get(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = first_key_end(bytes)?;
    let line_end = match bytes.get(end..)? {
        [b'\r', b'\n', ..] => 2,
        [b'\n', ..] => 1,
        _ => return None,
    };
    let key = &bytes[GET.len()..end];
    (1..=KEY_MAX_BYTES).contains(&key.len()).then_some((key, end + line_end))
}

/// Where the first key of a `get` at the start of `bytes` ends: at a blank or with `bytes`. `None`
/// for any other request.
#[inline(always)]
pub(crate) fn first_key_end(bytes: &[u8]) -> Option<usize> {
    (bytes.first_chunk() == Some(GET)).then(|| scan::blank(bytes, GET.len()))
}

/// A plain `set` at the start of `bytes`, and the length of its line with the line's end. `None`
/// for any other request, for a key with control characters, and for a number with a sign or with
/// more than nine digits.
#[inline]
pub(crate) fn plain_set(bytes: &[u8]) -> Option<(Store<'_>, usize)> {
    const START: usize = b"set ".len();
    if bytes.first_chunk() != Some(b"set ") {
        return None;
    }
    let key_end = scan::blank(bytes, START);
    let key = &bytes[START..key_end];
    let (client_flags, at) = spaced_number(bytes, key_end)?;
    let (exptime, at) = spaced_number(bytes, at)?;
    let (len, at) = spaced_number(bytes, at)?;
    let (noreply, at) = match bytes[at..].strip_prefix(b" noreply") {
        Some(_) => (true, at + b" noreply".len()),
        None => (false, at),
    };
    let line_end = match bytes.get(at..)? {
        [b'\r', b'\n', ..] => 2,
        [b'\n', ..] => 1,
        _ => return None,
    };
    if !(1..=KEY_MAX_BYTES).contains(&key.len()) {
        return None;
    }
    let exptime = exptime as i32;
    Some((Store { how: How::Set, key, client_flags, exptime, len, noreply }, at + line_end))
}

/// A space and a number of up to nine digits at `at`, and the position after it.
#[inline]
fn spaced_number(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    const DIGITS_MAX: usize = 9;
    if *bytes.get(at)? != b' ' {
        return None;
    }
    let (mut number, mut end) = (0, at + 1);
    while let Some(byte @ b'0'..=b'9') = bytes.get(end) {
        if end == at + 1 + DIGITS_MAX {
            return None;
        }
        number = number * 10 + u32::from(byte - b'0');
        end += 1;
    }
    (end > at + 1).then_some((number, end))
}

/// Parses a line. `wire_len` includes the line's end.
pub(crate) fn parse(line: &[u8], wire_len: usize) -> Result<Request<'_>, ProtocolError> {
    if wire_len < LINE_MIN_BYTES {
        return Err(ProtocolError::of(BAD_FORMAT));
    }
    if line.starts_with(GET) {
        return get(&line[GET.len() - 1..], false);
    }
    let word = &line[..memchr::memchr(b' ', line).unwrap_or(line.len())];
    match word {
        b"get" => get(&line[3..], false),
        b"gets" => get(&line[4..], true),
        b"gat" => get_and_touch(line, false),
        b"gats" => get_and_touch(line, true),
        b"set" => store(line, How::Set),
        b"add" => store(line, How::Add),
        b"replace" => store(line, How::Replace),
        b"append" => store(line, How::Append),
        b"prepend" => store(line, How::Prepend),
        b"cas" => store(line, How::Cas(0)),
        b"mg" => Ok(Request::Meta(MetaKind::Get)),
        b"ms" => Ok(Request::Meta(MetaKind::Set)),
        b"md" => Ok(Request::Meta(MetaKind::Delete)),
        b"ma" => Ok(Request::Meta(MetaKind::Arithmetic)),
        b"me" => Ok(Request::Meta(MetaKind::Debug)),
        b"mn" => Ok(Request::Meta(MetaKind::Noop)),
        b"delete" => with_key(line, 2, delete),
        b"incr" => arithmetic(line, true),
        b"decr" => arithmetic(line, false),
        b"touch" => with_key(line, 3, |tokens, key, noreply| match signed(tokens.get(2)) {
            Some(exptime) => Ok(Request::Touch { key, exptime, noreply }),
            None => Err(ProtocolError { noreply, ..ProtocolError::of(BAD_EXPTIME) }),
        }),
        b"stats" => Ok(stats(&Tokens::of(line))),
        b"version" => Ok(Request::Version),
        b"quit" => Ok(Request::Quit),
        b"watch" => {
            Ok(Request::Fixed { text: b"CLIENT_ERROR watch commands not allowed", noreply: false })
        }
        _ => rare(&Tokens::of(line)),
    }
}

#[inline]
fn get(behind: &[u8], with_cas: bool) -> Result<Request<'_>, ProtocolError> {
    match behind.iter().position(|byte| *byte != b' ') {
        Some(start) => Ok(Request::Get(Get { keys: &behind[start..], with_cas, touch: None })),
        None => Err(ProtocolError::of(BAD_FORMAT)),
    }
}

fn get_and_touch(line: &[u8], with_cas: bool) -> Result<Request<'_>, ProtocolError> {
    let tokens = Tokens::of(line);
    if tokens.len() < 3 {
        return Err(ProtocolError::of(BAD_FORMAT));
    }
    let touch = Some(signed(tokens.get(1)).ok_or(ProtocolError::of(BAD_EXPTIME))?);
    Ok(Request::Get(Get { keys: tokens.rest(2), with_cas, touch }))
}

fn store(line: &[u8], how: How) -> Result<Request<'_>, ProtocolError> {
    let tokens = Tokens::of(line);
    let len = signed(tokens.get(4))
        .filter(|len| tokens.len() >= 5 && (0..=VALUE_MAX_BYTES).contains(len));
    let Some(len) = len.map(|len| len as u32) else { return Err(ProtocolError::of(BAD_FORMAT)) };
    let noreply = says_noreply(&tokens);
    let refusal =
        || ProtocolError { value_bytes: len + 2, noreply, ..ProtocolError::of(BAD_FORMAT) };
    let key = tokens.get(1);
    let numbers = number::strtoul(tokens.get(2)).zip(number::strtol(tokens.get(3)));
    let (client_flags, exptime) =
        numbers.filter(|_| key.len() <= KEY_MAX_BYTES).ok_or_else(refusal)?;
    let how = match how {
        How::Cas(_) if tokens.len() > 5 => How::Cas(unsigned(tokens.get(5)).ok_or_else(refusal)?),
        How::Cas(_) => return Err(refusal()),
        how => how,
    };
    // Both are truncated to 32 bits, as in memcached.
    let (client_flags, exptime) = (client_flags as u32, exptime as i32);
    Ok(Request::Store(Store { how, key, client_flags, exptime, len, noreply }))
}

/// Old clients send a time, which must be 0. memcached long refused other values. 1.6.45 accepts
/// them, but memcapable, libmemcached's conformance test, expects the refusal.
fn delete<'a>(
    tokens: &Tokens<'a>,
    key: &'a [u8],
    noreply: bool,
) -> Result<Request<'a>, ProtocolError> {
    let has_time = tokens.len() > 2 && tokens.get(2) == b"0";
    if tokens.len() == 2 + usize::from(has_time) + usize::from(noreply) {
        return Ok(Request::Delete { key, noreply });
    }
    Err(ProtocolError {
        noreply,
        ..ProtocolError::of(b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]")
    })
}

fn arithmetic(line: &[u8], increment: bool) -> Result<Request<'_>, ProtocolError> {
    with_key(line, 3, |tokens, key, noreply| match unsigned(tokens.get(2)) {
        Some(delta) => Ok(Request::Arithmetic { key, increment, delta, noreply }),
        None => Err(ProtocolError { noreply, ..ProtocolError::of(BAD_DELTA) }),
    })
}

/// Parses a command with a key and at least `least` tokens, its name included.
fn with_key<'a>(
    line: &'a [u8],
    least: usize,
    read: impl FnOnce(&Tokens<'a>, &'a [u8], bool) -> Result<Request<'a>, ProtocolError>,
) -> Result<Request<'a>, ProtocolError> {
    let tokens = Tokens::of(line);
    if tokens.len() < least {
        return Err(ProtocolError::of(BAD_FORMAT));
    }
    let noreply = says_noreply(&tokens);
    let key = tokens.get(1);
    if key.len() > KEY_MAX_BYTES {
        return Err(ProtocolError { noreply, ..ProtocolError::of(BAD_FORMAT) });
    }
    read(&tokens, key, noreply)
}

fn says_noreply(tokens: &Tokens<'_>) -> bool {
    tokens.last() == b"noreply"
}

/// Not implemented: a dump of a slab class, and prefix statistics. The texts are memcached's.
fn stats<'a>(tokens: &Tokens<'a>) -> Request<'a> {
    let about = tokens.get(1);
    let fixed = |text| Request::Fixed { text, noreply: false };
    // memcached compares the prefix of this length, in this order.
    match about {
        b"" => Request::Stats(about),
        _ if b"reset".starts_with(about) => Request::Stats(b"reset"),
        _ if b"detail".starts_with(about) => fixed(b"CLIENT_ERROR stats detail not allowed"),
        _ if b"settings".starts_with(about) => Request::Stats(b"settings"),
        _ if b"cachedump".starts_with(about) => fixed(b"CLIENT_ERROR stats cachedump not allowed"),
        _ if b"conns".starts_with(about) => Request::Stats(b"conns"),
        _ => Request::Stats(about),
    }
}

/// Administrative and unknown commands.
#[cold]
fn rare<'a>(tokens: &Tokens<'a>) -> Result<Request<'a>, ProtocolError> {
    let noreply = says_noreply(tokens);
    let fixed = |text| Ok(Request::Fixed { text, noreply });
    match tokens.get(0) {
        b"flush_all" => flush_all(tokens, noreply),
        b"verbosity" => fixed(if unsigned32_at(tokens, 1).is_some() { b"OK" } else { BAD_FORMAT }),
        b"shutdown" => fixed(b"SERVER_ERROR: shutdown not enabled"),
        b"slabs" if tokens.len() == 4 && b"reassign".starts_with(tokens.get(1)) => {
            fixed(b"CLIENT_ERROR slab reassignment disabled")
        }
        b"lru_crawler" => lru_crawler(tokens).or_else(fixed),
        b"cache_memlimit" => fixed(memory_limit(tokens)),
        _ if tokens.len() > 1 && tokens.last().starts_with(b"HTTP/") => Ok(Request::HangUp),
        _ => fixed(b"ERROR"),
    }
}

fn flush_all<'a>(tokens: &Tokens<'a>, noreply: bool) -> Result<Request<'a>, ProtocolError> {
    let bare = tokens.len() == if noreply { 2 } else { 1 };
    match signed(tokens.get(1)) {
        _ if bare => Ok(Request::FlushAll { delay: 0, noreply }),
        Some(delay) => Ok(Request::FlushAll { delay, noreply }),
        None => Err(ProtocolError { noreply, ..ProtocolError::of(BAD_EXPTIME) }),
    }
}

fn unsigned32_at(tokens: &Tokens<'_>, index: usize) -> Option<u32> {
    unsigned32(tokens.get(index)).filter(|_| index < tokens.len())
}

/// Other commands need a crawler. Here the store itself finds expired items.
fn lru_crawler<'a>(tokens: &Tokens<'a>) -> Result<Request<'a>, &'static [u8]> {
    let about = tokens.get(1);
    let dump = match tokens.len() {
        3 if b"crawl".starts_with(about) => return Err(b"CLIENT_ERROR lru crawler disabled"),
        3 if b"metadump".starts_with(about) => Dump::Metadata,
        3 if b"mgdump".starts_with(about) => Dump::Keys,
        _ => return Err(b"ERROR"),
    };
    match tokens.get(2) {
        b"all" | b"hash" => Ok(Request::Dump(dump)),
        _ => Err(b"BADCLASS invalid class id"),
    }
}

/// Memory is fixed at start-up.
fn memory_limit(tokens: &Tokens<'_>) -> &'static [u8] {
    match unsigned32_at(tokens, 1) {
        None => b"ERROR",
        Some(megabytes) if megabytes < 8 => {
            b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m"
        }
        Some(megabytes) if megabytes > 1_000_000_000 => {
            b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes"
        }
        Some(_) => b"MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust",
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
