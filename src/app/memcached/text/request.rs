//! Command lines of the text protocol: a line in, a request or a refusal out. Nothing is looked up
//! here, and no time is known: expiration times stay as the client gave them.

use crate::app::memcached::number::{self, signed, unsigned, unsigned32};
use crate::app::memcached::tokens::Tokens;

/// Longest key.
pub(crate) const KEY_MAX_BYTES: usize = 250;
/// A line with fewer bytes than this, its end included, is no command.
const LINE_MIN_BYTES: usize = 4;
/// Most bytes that a storage command can announce.
const VALUE_MAX_BYTES: i32 = i32::MAX - 2;

pub(crate) const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format";
const BAD_EXPTIME: &[u8] = b"CLIENT_ERROR invalid exptime argument";
const BAD_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta argument";

/// A command, its arguments read.
#[derive(Debug, PartialEq)]
pub(crate) enum Request<'a> {
    /// `get`, `gets`, `gat`, `gats`.
    Get(Get<'a>),
    /// The storage commands; the value follows.
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
    /// A meta command: its kind; the line is for `meta` to read.
    Meta(MetaKind),
    FlushAll {
        delay: i32,
        noreply: bool,
    },
    /// `lru_crawler metadump` and `mgdump`.
    Dump(Dump),
    /// `stats`, with its argument or none.
    Stats(&'a [u8]),
    Version,
    Quit,
    /// A line whose answer is known without looking anything up.
    Say {
        text: &'static [u8],
        noreply: bool,
    },
    /// A request of HTTP: memcached hangs up, lest a browser be made to send commands.
    HangUp,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Get<'a> {
    /// The rest of the line, from the first key on.
    pub(crate) keys: &'a [u8],
    pub(crate) with_cas: bool,
    /// Set what is found to expire then.
    pub(crate) touch: Option<i32>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Store<'a> {
    pub(crate) how: How,
    pub(crate) key: &'a [u8],
    pub(crate) client_flags: u32,
    pub(crate) exptime: i32,
    /// Bytes of the value, its CR LF not counted.
    pub(crate) len: u32,
    pub(crate) noreply: bool,
}

/// Under which condition a value is stored, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    /// Only over an item with this number.
    Cas(u64),
}

/// What is told of each item.
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

/// Why a line is no request.
#[derive(Debug, PartialEq)]
pub(crate) struct ProtocolError {
    pub(crate) text: &'static [u8],
    /// Bytes behind the line that belong to it, to be read past.
    pub(crate) value_bytes: u32,
    /// The client asked not to be told.
    pub(crate) noreply: bool,
}

impl ProtocolError {
    fn of(text: &'static [u8]) -> ProtocolError {
        ProtocolError { text, value_bytes: 0, noreply: false }
    }
}

/// Reads a line. `wire_len` counts its end, too.
pub(crate) fn parse(line: &[u8], wire_len: usize) -> Result<Request<'_>, ProtocolError> {
    if wire_len < LINE_MIN_BYTES {
        return Err(ProtocolError::of(BAD_FORMAT));
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
            Ok(Request::Say { text: b"CLIENT_ERROR watch commands not allowed", noreply: false })
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
    // Both are cut to 32 bits, as memcached does.
    let (client_flags, exptime) = (client_flags as u32, exptime as i32);
    Ok(Request::Store(Store { how, key, client_flags, exptime, len, noreply }))
}

/// Old clients send a time, which may only be 0. memcached long refused what else stands there;
/// 1.6.45 no longer does, which memcapable, the conformance test of libmemcached, takes for a
/// fault.
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

/// A command that has a key and, itself included, at least `least` tokens.
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

/// A dump of a slab class, and a record of prefixes, are not to be had: memcached's own words for
/// that.
fn stats<'a>(tokens: &Tokens<'a>) -> Request<'a> {
    let about = tokens.get(1);
    let say = |text| Request::Say { text, noreply: false };
    // memcached compares as many bytes as it is given, in this order.
    match about {
        b"" => Request::Stats(about),
        _ if b"reset".starts_with(about) => Request::Stats(b"reset"),
        _ if b"detail".starts_with(about) => say(b"CLIENT_ERROR stats detail not allowed"),
        _ if b"settings".starts_with(about) => Request::Stats(b"settings"),
        _ if b"cachedump".starts_with(about) => say(b"CLIENT_ERROR stats cachedump not allowed"),
        _ if b"conns".starts_with(about) => Request::Stats(b"conns"),
        _ => Request::Stats(about),
    }
}

/// Commands of operators, and those that are none.
#[cold]
fn rare<'a>(tokens: &Tokens<'a>) -> Result<Request<'a>, ProtocolError> {
    let noreply = says_noreply(tokens);
    let say = |text| Ok(Request::Say { text, noreply });
    match tokens.get(0) {
        b"flush_all" => flush_all(tokens, noreply),
        b"verbosity" => say(if unsigned32_at(tokens, 1).is_some() { b"OK" } else { BAD_FORMAT }),
        b"shutdown" => say(b"SERVER_ERROR: shutdown not enabled"),
        b"slabs" if tokens.len() == 4 && b"reassign".starts_with(tokens.get(1)) => {
            say(b"CLIENT_ERROR slab reassignment disabled")
        }
        b"lru_crawler" => lru_crawler(tokens).or_else(say),
        b"cache_memlimit" => say(memory_limit(tokens)),
        _ if tokens.len() > 1 && tokens.last().starts_with(b"HTTP/") => Ok(Request::HangUp),
        _ => say(b"ERROR"),
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

/// There is no crawler to be told anything else: expired items are found by the store itself.
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

/// Memory is fixed when the server starts.
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
