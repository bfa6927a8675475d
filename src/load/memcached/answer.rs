//! Parses answers of memcached's text protocol.
//!
//! The answer to a get has `VALUE KEY FLAGS BYTES`, a value and a line end for each key that the
//! server has, in the order of the request, and then `END`. The answer to a set is `STORED`. Any
//! other answer is an error.

use super::super::protocol::{Lookups, Parsed, Verdict};
use super::super::stats::Fault;
use super::content::{self, VERSION_BYTES, Values};
use super::workload::{Keys, Kind, Request, Workload};

/// Limit of the length of a line.
const LINE_MAX_BYTES: usize = 1024;

/// The state of a partly read answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Whether part of the answer has arrived.
    begun: bool,
    /// The requested keys that are still to come.
    keys: Keys,
    /// Keys before those: found, and missed.
    hits: u16,
    misses: u16,
    /// The value that is arriving.
    value: Option<Value>,
    /// What is wrong with a value.
    flaw: Flaw,
}

#[derive(Clone, Copy, Debug, Default)]
struct Value {
    key: u32,
    version: u32,
    came: u32,
}

/// An error in a value of an answer that is well formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flaw {
    #[default]
    None,
    Content,
}

/// The values that answers are compared with.
pub(super) struct Reader<'a> {
    pub(super) workload: &'a Workload,
    pub(super) values: &'a Values,
    pub(super) verify: bool,
}

impl Reader<'_> {
    /// Reads on in the answer to `request`.
    #[inline]
    pub(super) fn read(&self, request: &Request, progress: &mut Progress, bytes: &[u8]) -> Parsed {
        let mut parsed = Parsed::more(0, 0);
        loop {
            let rest = &bytes[parsed.bytes..];
            if progress.value.is_some() {
                let (taken, whole) = self.value(progress, rest);
                parsed.bytes += taken;
                parsed.content += taken - if whole { 2 } else { 0 };
                match (whole, progress.value) {
                    (true, _) => progress.value = None,
                    // The content is complete, but no line end follows it.
                    (false, Some(value)) if self.is_overrun(value, &rest[taken..]) => {
                        let key = String::from_utf8_lossy(&content::key(value.key)).into_owned();
                        return Parsed::lost(
                            Fault::Garbled,
                            format!("no end after the value of {key}"),
                        );
                    }
                    (false, _) => return parsed,
                }
                continue;
            }
            let Some((line, line_bytes)) = line(rest) else {
                if rest.len() > LINE_MAX_BYTES {
                    return Parsed::lost(
                        Fault::Garbled,
                        format!("a line of over {LINE_MAX_BYTES} bytes"),
                    );
                }
                return parsed;
            };
            if !progress.begun {
                *progress = Progress {
                    begun: true,
                    keys: self.workload.keys(request),
                    ..Progress::default()
                };
            }
            parsed.bytes += line_bytes;
            match (request.kind, line) {
                (Kind::Get, line) if line.starts_with(b"VALUE ") => {
                    if let Err((fault, detail)) =
                        self.begin_value(progress, &line[b"VALUE ".len()..])
                    {
                        return Parsed::lost(fault, detail);
                    }
                }
                (Kind::Get, b"END") => return self.end(progress, parsed),
                (Kind::Set, b"STORED") => {
                    return done(progress, parsed, Verdict::Good(Lookups::default()));
                }
                (_, line) if is_error(line) => {
                    let verdict =
                        Verdict::Bad(Fault::Status, String::from_utf8_lossy(line).into_owned());
                    return done(progress, parsed, verdict);
                }
                (kind, line) => {
                    let line = String::from_utf8_lossy(line);
                    return Parsed::lost(
                        Fault::Garbled,
                        format!("{line:?} in answer to a {}", kind.name()),
                    );
                }
            }
        }
    }

    /// Checks the line in front of a value: its key must be one that was requested, and its length
    /// that of the key's values.
    fn begin_value(&self, progress: &mut Progress, line: &[u8]) -> Result<(), (Fault, String)> {
        let text = || String::from_utf8_lossy(line).into_owned();
        let mut words = line.split(|byte| *byte == b' ');
        let key = words.next().unwrap_or_default();
        let number = key.strip_prefix(b"k").and_then(content::from_hex);
        let _flags = words.next();
        let length =
            words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse::<u32>().ok());
        let (Some(number), Some(length)) = (number, length) else {
            return Err((Fault::Garbled, format!("\"VALUE {}\" announces no value", text())));
        };
        loop {
            match progress.keys.next(self.workload) {
                Some(pending) if pending == number => break,
                Some(_) => progress.misses += 1,
                None => {
                    return Err((
                        Fault::Content,
                        format!("a value of {}, which was not requested", text()),
                    ));
                }
            }
        }
        let expected = self.values.len(number);
        if length != expected {
            return Err((
                Fault::Length,
                format!(
                    "{length} bytes of {} where {expected} were stored",
                    String::from_utf8_lossy(key)
                ),
            ));
        }
        progress.hits += 1;
        progress.value = Some(Value { key: number, version: 0, came: 0 });
        Ok(())
    }

    /// Consumes part of a value and its line end. Returns the length, and whether the value is
    /// complete.
    #[inline]
    fn value(&self, progress: &mut Progress, bytes: &[u8]) -> (usize, bool) {
        let Some(value) = &mut progress.value else { return (0, false) };
        let len = self.values.len(value.key) as usize;
        let mut at = 0;
        if value.came == 0 && len >= VERSION_BYTES {
            // The version must arrive whole.
            let Some(version) = bytes.get(..VERSION_BYTES) else { return (0, false) };
            match content::from_hex(version) {
                Some(version) => value.version = version,
                None => progress.flaw = Flaw::Content,
            }
            (at, value.came) = (VERSION_BYTES, VERSION_BYTES as u32);
        }
        let came = value.came as usize;
        let part = &bytes[at..bytes.len().min(at + len - came)];
        if self.verify && progress.flaw == Flaw::None {
            let place = self.values.place(value.key, value.version);
            let start = place.end - (len - came);
            if self.values.part(start..start + part.len()) != part {
                progress.flaw = Flaw::Content;
            }
        }
        at += part.len();
        value.came += part.len() as u32;
        let ends = value.came as usize == len && bytes[at..].starts_with(b"\r\n");
        (at + if ends { 2 } else { 0 }, ends)
    }

    /// Whether other bytes than a line end follow a complete value.
    fn is_overrun(&self, value: Value, rest: &[u8]) -> bool {
        value.came == self.values.len(value.key) && !b"\r\n".starts_with(rest)
    }

    /// The verdict on a complete answer to a get.
    #[inline]
    fn end(&self, progress: &mut Progress, parsed: Parsed) -> Parsed {
        let hits = u32::from(progress.hits);
        let misses = u32::from(progress.misses) + progress.keys.left();
        let verdict = match progress.flaw {
            Flaw::None => Verdict::Good(Lookups { hits, misses }),
            Flaw::Content => Verdict::Bad(
                Fault::Content,
                "a value that was never stored under its key".to_owned(),
            ),
        };
        done(progress, parsed, verdict)
    }
}

impl Progress {
    /// Describes how far an answer had arrived when it was cut off.
    pub(super) fn cut(&self, values: &Values) -> Option<String> {
        let Progress { begun, value, hits, .. } = self;
        begun.then(|| match value {
            Some(value) => {
                format!("closed after {} of {} bytes of a value", value.came, values.len(value.key))
            }
            None => format!("closed after {hits} values, before the answer's end"),
        })
    }
}

#[inline]
fn done(progress: &mut Progress, mut parsed: Parsed, verdict: Verdict) -> Parsed {
    progress.begun = false;
    parsed.verdict = verdict;
    parsed
}

/// The first line and its length. A line with CR LF is returned without it. A line without CR is
/// returned whole, so it matches nothing.
#[inline]
fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr::memchr(b'\n', bytes)? + 1;
    let whole = &bytes[..end];
    Some((whole.strip_suffix(b"\r\n").unwrap_or(whole), end))
}

fn is_error(line: &[u8]) -> bool {
    let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    [&b"ERROR"[..], b"CLIENT_ERROR", b"SERVER_ERROR", b"NOT_STORED"].contains(&word)
}
