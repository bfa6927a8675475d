//! Conditional requests (RFC 9110 §13). Input: the fields of a request and the validators of a
//! file. Output: a verdict, or the Range that applies.
//!
//! Only for GET and HEAD of an existing file: a server ignores preconditions if the answer without
//! them is not a 2xx (§13.2.1).

use super::date;
use httparse::Header;

/// The validators of the current version of a file (RFC 9110 §8.8).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validators<'a> {
    /// The strong entity tag, with quotes.
    pub(crate) etag: &'a [u8],
    /// The last modification in unix seconds, if known.
    pub(crate) modified: Option<u64>,
}

/// The result of the preconditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum Verdict {
    /// Answer as without preconditions.
    Perform,
    /// Answer 304: the client has the current version.
    NotModified,
    /// Answer 412.
    Failed,
}

/// Evaluates the preconditions in the order of RFC 9110 §13.2.2; `now` in unix seconds.
pub(in crate::app) fn evaluate(fields: &[Header<'_>], file: Validators<'_>, now: u64) -> Verdict {
    let values = |name: &'static str| {
        fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    };
    let modified = file.modified.and_then(|seconds| i64::try_from(seconds).ok());
    let moment = |name| only(values(name)).and_then(|value| date::parse(value, now)).zip(modified);

    if values("If-Match").next().is_some() {
        if !matches(values("If-Match"), file.etag, Comparison::Strong) {
            return Verdict::Failed;
        }
    } else if let Some((date, modified)) = moment("If-Unmodified-Since")
        && modified > date
    {
        return Verdict::Failed;
    }
    if values("If-None-Match").next().is_some() {
        if matches(values("If-None-Match"), file.etag, Comparison::Weak) {
            return Verdict::NotModified;
        }
    } else if let Some((date, modified)) = moment("If-Modified-Since")
        && modified <= date
    {
        return Verdict::NotModified;
    }
    Verdict::Perform
}

/// The value of Range, if it applies: if there is no If-Range, or If-Range has a strong validator
/// of the current version (RFC 9110 §13.1.5). Range and If-Range have one value: a request with
/// more gets the whole file.
pub(super) fn range<'a>(fields: &[Header<'a>], file: Validators<'_>, now: u64) -> Option<&'a [u8]> {
    let values = |name: &'static str| {
        fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    };
    let range = only(values("Range"))?;
    if values("If-Range").next().is_none() {
        return Some(range);
    }
    let validator = only(values("If-Range"))?;
    let matches = if validator.ends_with(b"\"") {
        validator == file.etag
    } else {
        // §8.8.2.2: a date is a strong validator if the file cannot have changed twice within the
        // second. That is certain once the second is over.
        let date = date::parse(validator, now).and_then(|date| u64::try_from(date).ok());
        file.modified.is_some_and(|modified| date == Some(modified) && modified < now)
    };
    matches.then_some(range)
}

/// §13.1.3 and §13.1.4: ignore a date field with more than one member.
fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    values.next().filter(|_| values.next().is_none())
}

/// RFC 9110 §8.8.3.2.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether any member of the list is `*` or equals `etag`, a strong tag. The list may span several
/// lines.
fn matches<'a>(
    mut values: impl Iterator<Item = &'a [u8]>,
    etag: &[u8],
    comparison: Comparison,
) -> bool {
    values.any(|value| {
        value == b"*"
            || EntityTags(value)
                .any(|(weak, tag)| tag == etag && (comparison == Comparison::Weak || !weak))
    })
}

/// The entity tags of a list: for each, whether it is weak, and the quoted tag with quotes. Stops
/// at the first invalid member, because no later member can be delimited.
struct EntityTags<'a>(&'a [u8]);

impl<'a> Iterator for EntityTags<'a> {
    type Item = (bool, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.0.iter().position(|byte| !b" \t,".contains(byte))?;
        let list = &self.0[start..];
        let (weak, list) = list.strip_prefix(b"W/").map_or((false, list), |rest| (true, rest));
        let inner = list.strip_prefix(b"\"")?;
        let quote = memchr::memchr(b'"', inner)?;
        let (tag, rest) = list.split_at(quote + 2);
        self.0 = rest;
        Some((weak, tag))
    }
}

#[cfg(test)]
#[path = "conditional_tests.rs"]
mod tests;
