//! The Redis protocol (RESP2). Parses arrays of bulk strings and inline commands. Encodes simple
//! strings, errors, integers and bulk strings.

use crate::app::Bytes;
use crate::app::codec::{Codec, Decoded, Output};
use std::borrow::Cow;
use std::io::Write;

/// The longest line: an inline command, or the length of an array or bulk string.
const LINE_MAX_BYTES: usize = 64 << 10;
/// The maximum number of arguments of a command.
const ARGUMENTS_MAX: i64 = 1 << 20;
/// Bytes of a command besides its longest argument: other arguments, lengths and line ends.
const OTHER_BYTES: usize = 128 << 10;

/// A codec of the Redis protocol.
#[derive(Clone, Copy, Debug)]
pub struct Resp {
    bulk_max_bytes: usize,
}

/// A command: its name and its arguments. Ignore a command without words.
#[derive(Clone, Debug)]
pub enum Command<'a> {
    /// An array with this number of bulk strings.
    Array(&'a [u8], usize),
    /// An inline command.
    Inline(Vec<Cow<'a, [u8]>>),
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// A short text that is not an error.
    Simple(&'a str),
    /// An error: its kind in capitals, and a text.
    Error(&'a str),
    /// A number.
    Integer(i64),
    /// Bytes.
    Bulk(&'a [u8]),
    /// Bytes to share without copying.
    Shared(Bytes),
    /// The null answer: nothing is stored there.
    Null,
    /// The null answer of RESP3.
    Null3,
}

/// The position within an array.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    /// Bytes read.
    at: usize,
    /// Arguments of the array, once its head is parsed.
    count: Option<usize>,
    /// Arguments that are not parsed yet.
    left: usize,
    /// Bytes of the current line that contain no line end.
    seen: usize,
}

/// The result of reading a line.
enum Line<'a> {
    /// The line without its LF, and its length with the LF.
    Whole(&'a [u8], usize),
    Missing,
    TooLong,
}

impl Resp {
    /// Bulk strings of up to `bulk_max_bytes`.
    pub fn new(bulk_max_bytes: usize) -> Resp {
        Resp { bulk_max_bytes }
    }

    fn decode_array<'a>(&self, bytes: &'a [u8], scan: &mut Scan) -> Decoded<Command<'a>> {
        let count = match scan.count {
            Some(count) => count,
            None => {
                let (number, len) = match line(bytes, &mut scan.seen) {
                    Line::Whole(line, len) => (length(line), len),
                    Line::Missing => return Decoded::Missing(1),
                    Line::TooLong => return malformed("too big mbulk count string"),
                };
                let Some(number) = number.filter(|number| *number <= ARGUMENTS_MAX) else {
                    return malformed("invalid multibulk length");
                };
                let count = usize::try_from(number).unwrap_or(0);
                *scan = Scan { at: len, count: Some(count), left: count, seen: 0 };
                count
            }
        };
        while scan.left > 0 {
            match self.decode_bulk(&bytes[scan.at..], &mut scan.seen) {
                Decoded::Frame((), len) => {
                    scan.at += len;
                    scan.left -= 1;
                    scan.seen = 0;
                }
                Decoded::Missing(missing) => return Decoded::Missing(missing),
                Decoded::Malformed(reason) => return Decoded::Malformed(reason),
            }
        }
        let head = memchr::memchr(b'\n', bytes).map_or(0, |at| at + 1);
        Decoded::Frame(Command::Array(&bytes[head..scan.at], count), scan.at)
    }

    fn decode_bulk(&self, bytes: &[u8], seen: &mut usize) -> Decoded<()> {
        match bytes.first() {
            None => return Decoded::Missing(1),
            Some(b'$') => {}
            Some(byte) => {
                return Decoded::Malformed(
                    format!("Protocol error: expected '$', got '{}'", char::from(*byte)).into(),
                );
            }
        }
        let (bulk_length, head) = match line(bytes, seen) {
            Line::Whole(line, len) => (length(line), len),
            Line::Missing => return Decoded::Missing(1),
            Line::TooLong => return malformed("too big bulk count string"),
        };
        let bulk_length = bulk_length.and_then(|length| usize::try_from(length).ok());
        let Some(length) = bulk_length.filter(|length| *length <= self.bulk_max_bytes) else {
            return malformed("invalid bulk length");
        };
        let len = head + length + 2;
        match bytes.get(head + length..len) {
            Some(b"\r\n") => Decoded::Frame((), len),
            Some(_) => malformed("a bulk string does not end in CR LF"),
            None => Decoded::Missing(len - bytes.len()),
        }
    }
}

impl Codec for Resp {
    type Frame<'a> = Command<'a>;
    type Answer<'a> = Value<'a>;
    type Scan = Scan;

    fn max_frame_bytes(&self) -> usize {
        self.bulk_max_bytes + OTHER_BYTES
    }

    fn decode<'a>(&self, bytes: &'a [u8], scan: &mut Scan) -> Decoded<Command<'a>> {
        if bytes[0] == b'*' {
            return self.decode_array(bytes, scan);
        }
        match line(bytes, &mut scan.seen) {
            Line::Whole(line, len) => match words(line) {
                Some(words) => Decoded::Frame(Command::Inline(words), len),
                None => malformed("unbalanced quotes in request"),
            },
            Line::Missing => Decoded::Missing(1),
            Line::TooLong => malformed("too big inline request"),
        }
    }

    fn encode(&self, answer: Value<'_>, output: &mut Output) {
        // Writing to an output cannot fail.
        let _ = match answer {
            Value::Simple(text) => write!(output, "+{text}\r\n"),
            Value::Error(text) => write!(output, "-{text}\r\n"),
            Value::Integer(number) => write!(output, ":{number}\r\n"),
            Value::Null => write!(output, "$-1\r\n"),
            Value::Null3 => write!(output, "_\r\n"),
            Value::Bulk(bytes) => {
                let _ = write!(output, "${}\r\n", bytes.len());
                output.copy(bytes);
                write!(output, "\r\n")
            }
            Value::Shared(bytes) => {
                let _ = write!(output, "${}\r\n", bytes.as_slice().len());
                output.share(bytes);
                write!(output, "\r\n")
            }
        };
    }
}

impl<'a> Command<'a> {
    /// The name and the arguments in order.
    pub fn words(&self) -> impl Iterator<Item = &[u8]> {
        let (mut rest, inline) = match self {
            Command::Array(bytes, _) => (*bytes, &[][..]),
            Command::Inline(words) => (&b""[..], &words[..]),
        };
        let bulks = std::iter::from_fn(move || {
            let head = memchr::memchr(b'\n', rest)? + 1;
            let length = usize::try_from(length(&rest[..head - 1])?).ok()?;
            let bulk = rest.get(head..head + length)?;
            rest = &rest[head + length + 2..];
            Some(bulk)
        });
        bulks.chain(inline.iter().map(AsRef::as_ref))
    }

    /// The number of words.
    pub fn len(&self) -> usize {
        match self {
            Command::Array(_, count) => *count,
            Command::Inline(words) => words.len(),
        }
    }

    /// Whether there are no words: do and answer nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn malformed<F>(reason: &str) -> Decoded<F> {
    Decoded::Malformed(format!("Protocol error: {reason}").into())
}

/// The line at the start of `bytes`. The first `seen` bytes contain no line end.
fn line<'a>(bytes: &'a [u8], seen: &mut usize) -> Line<'a> {
    let window = &bytes[..bytes.len().min(LINE_MAX_BYTES)];
    let from = (*seen).min(window.len());
    let Some(distance) = memchr::memchr(b'\n', &window[from..]) else {
        *seen = window.len();
        return if window.len() == LINE_MAX_BYTES { Line::TooLong } else { Line::Missing };
    };
    let line = &bytes[..from + distance];
    Line::Whole(line, line.len() + 1)
}

/// The number in the head of an array or bulk string, between its first byte and its CR.
fn length(line: &[u8]) -> Option<i64> {
    number(line.get(1..)?.strip_suffix(b"\r")?)
}

/// Parses all of `digits` as a decimal number. As in Redis, a plus sign, a leading zero or white
/// space is invalid.
pub(super) fn number(digits: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_canonical = matches!(digits, b"0" | [b'1'..=b'9', ..] | [b'-', b'1'..=b'9', ..]);
    if is_canonical { text.parse().ok() } else { None }
}

/// Splits an inline command into words. White space separates words; quotes may enclose it. `None`
/// if quotes are unbalanced, or if no space follows a quoted word.
fn words(line: &[u8]) -> Option<Vec<Cow<'_, [u8]>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| byte.is_ascii_whitespace() || b"\"'".contains(byte));
        match end.map(|end| (end, rest[end])) {
            Some((_, b'"' | b'\'')) => {
                let (word, behind) = quoted(rest)?;
                words.push(Cow::Owned(word));
                rest = behind;
            }
            _ => {
                let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
                words.push(Cow::Borrowed(word));
                rest = behind;
            }
        }
        rest = rest.trim_ascii_start();
    }
    Some(words)
}

/// The quoted word at the start of `text`, and the remaining text.
fn quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [] => return Some((word, rest)),
            [byte, ..] if byte.is_ascii_whitespace() => return Some((word, rest)),
            [quote @ (b'"' | b'\''), inner @ ..] => {
                rest = unquote(*quote, inner, &mut word)?;
                let ends = rest.first().is_none_or(u8::is_ascii_whitespace);
                return ends.then_some((word, rest));
            }
            [byte, behind @ ..] => {
                word.push(*byte);
                rest = behind;
            }
        }
    }
}

/// Appends the quoted text to `word`. Returns the text after the closing quote.
fn unquote<'a>(quote: u8, inner: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut rest = inner;
    loop {
        rest = match (quote, rest) {
            (_, []) => return None,
            (quote, [byte, behind @ ..]) if *byte == quote => return Some(behind),
            (b'\'', [b'\\', b'\'', behind @ ..]) => {
                word.push(b'\'');
                behind
            }
            (b'"', [b'\\', b'x', high, low, behind @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let value = |digit: &u8| char::from(*digit).to_digit(16).unwrap_or(0) as u8;
                word.push(value(high) << 4 | value(low));
                behind
            }
            (b'"', [b'\\', byte, behind @ ..]) => {
                word.push(match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    byte => *byte,
                });
                behind
            }
            (_, [byte, behind @ ..]) => {
                word.push(*byte);
                behind
            }
        };
    }
}
