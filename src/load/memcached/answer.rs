//! The answers to memcached's text protocol: bytes in, verdicts out.
//!
//! A get is answered by `VALUE KEY FLAGS BYTES`, a value and a line end for each key that the
//! server has, in the order in which they were asked for, and by `END`; a set by `STORED`. Anything
//! else is an error that the server tells, or no answer.

use super::super::protocol::{Lookups, Parsed, Verdict};
use super::super::stats::Fault;
use super::content::{self, VERSION_BYTES, Values};
use super::workload::{Keys, Kind, Request, Workload};

/// No line of an answer is longer.
const LINE_MAX_BYTES: usize = 1024;

/// How far an answer has been read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Something of it has come.
    begun: bool,
    /// The keys asked for whose turn has not come,
    keys: Keys,
    /// of those before them, how many the server had, and how many not.
    hits: u16,
    misses: u16,
    /// The value that comes, and how much of it has.
    value: Option<Value>,
    /// What was wrong with a value.
    flaw: Flaw,
}

#[derive(Clone, Copy, Debug, Default)]
struct Value {
    key: u32,
    version: u32,
    came: u32,
}

/// What can be wrong with a value although the answer can be followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flaw {
    #[default]
    None,
    Content,
}

/// What an answer is held against.
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
                    // All of the content is there, but no line end follows it.
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

    /// A line announces a value: it must be of a key that was asked for, and as long as that key's
    /// values are.
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

    /// Takes what `bytes` hold of a value and its line end; returns how much that is, and whether
    /// it is all.
    #[inline]
    fn value(&self, progress: &mut Progress, bytes: &[u8]) -> (usize, bool) {
        let Some(value) = &mut progress.value else { return (0, false) };
        let len = self.values.len(value.key) as usize;
        let mut at = 0;
        if value.came == 0 && len >= VERSION_BYTES {
            // The version comes in one piece.
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

    /// Whether bytes follow a whole value that are not its line end.
    fn is_overrun(&self, value: Value, rest: &[u8]) -> bool {
        value.came == self.values.len(value.key) && !b"\r\n".starts_with(rest)
    }

    /// The answer to a get is there.
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
    /// How far an answer had come when it was cut off.
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

/// The first line, and how many bytes it takes. One that ends as lines do comes without its end;
/// one that does not, with it, and so is none that is known.
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
