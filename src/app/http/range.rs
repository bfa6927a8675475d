//! Selects byte ranges (RFC 9110 §14). Input: the value of Range and the length of the file.
//! Output: the ranges to send. Sends nothing.
//!
//! A client may ask for far more bytes than the file has, or for very small parts (§17.15). So a
//! Range is ignored, as §14.2 allows, if it is malformed, has more than [`RANGES_MAX`] ranges, more
//! than two overlapping ranges, more than [`UNORDERED_MAX`] ranges that do not ascend, or if its
//! ranges together are longer than the file. The response is then the whole file.

/// The maximum number of ranges in one response.
pub(super) const RANGES_MAX: usize = 64;
/// The maximum number of ranges that do not ascend.
const UNORDERED_MAX: usize = 8;
/// Ranges with a shorter gap are sent as one (§15.3.7.2): the framing of a part is longer.
const GAP_MIN_BYTES: u64 = 80;

/// The bytes from `start` up to `end`, which is exclusive. Not empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ByteRange {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl ByteRange {
    pub(super) fn len(self) -> u64 {
        self.end - self.start
    }

    fn overlaps(self, other: ByteRange) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// The part of a file that a request selects.
#[allow(clippy::large_enum_variant, reason = "a box would allocate")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// The whole file, with status 200: Range is ignored.
    Whole,
    /// These ranges, with status 206.
    Ranges(Ranges),
    /// Nothing, with status 416: no range begins within the file.
    Unsatisfiable,
}

/// Up to [`RANGES_MAX`] ranges, at least one.
#[derive(Clone, Debug)]
pub(super) struct Ranges {
    ranges: [ByteRange; RANGES_MAX],
    count: usize,
}

impl Ranges {
    pub(super) fn as_slice(&self) -> &[ByteRange] {
        &self.ranges[..self.count]
    }

    pub(super) fn are_several(&self) -> bool {
        self.count > 1
    }

    /// Appends a range, or extends the last range if the gap is short. Returns `false` if there is
    /// no space.
    fn push(&mut self, range: ByteRange) -> bool {
        if let Some(last) = self.ranges[..self.count].last_mut()
            && (last.start..last.end.saturating_add(GAP_MIN_BYTES)).contains(&range.start)
        {
            last.end = last.end.max(range.end);
            return true;
        }
        let Some(free) = self.ranges.get_mut(self.count) else { return false };
        *free = range;
        self.count += 1;
        true
    }

    /// Whether a server may refuse to send so many ranges in this order (§14.2).
    fn is_excessive(&self, file_len: u64) -> bool {
        let ranges = self.as_slice();
        let ascend = ranges.windows(2).all(|pair| pair[0].end <= pair[1].start);
        if ascend {
            return false;
        }
        let overlapping = |(at, range): (usize, &ByteRange)| {
            ranges[..at].iter().filter(|before| before.overlaps(*range)).count()
        };
        ranges.len() > UNORDERED_MAX
            || ranges.iter().enumerate().map(overlapping).sum::<usize>() > 1
            || ranges.iter().map(|range| range.len()).sum::<u64>() > file_len
    }
}

impl PartialEq for Ranges {
    fn eq(&self, other: &Ranges) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Ranges {}

/// The part that `value`, a field value of Range, selects of a file of `len` bytes.
#[cold]
pub(super) fn select(value: &[u8], len: u64) -> Selection {
    let mut ranges = Ranges { ranges: [ByteRange::default(); RANGES_MAX], count: 0 };
    let Some(specs) = specs(value) else { return Selection::Whole };
    let mut members = 0;
    for spec in specs.split(|&byte| byte == b',') {
        let spec = trim(spec);
        if spec.is_empty() {
            continue;
        }
        members += 1;
        let Some(range) = resolve(spec, len) else { return Selection::Whole };
        if range.start < range.end && !ranges.push(range) {
            return Selection::Whole;
        }
    }
    match ranges.count {
        // §14.1.1: at least one range.
        _ if members == 0 => Selection::Whole,
        // Content-Range cannot describe a part of an empty file, and the whole file is as good.
        0 if len == 0 && has_suffix(specs) => Selection::Whole,
        0 => Selection::Unsatisfiable,
        _ if ranges.is_excessive(len) => Selection::Whole,
        _ => Selection::Ranges(ranges),
    }
}

/// The list after `bytes=`. `None` for another unit (§14.1: names of units have no case).
fn specs(value: &[u8]) -> Option<&[u8]> {
    let (unit, specs) = value.split_at_checked(6)?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(specs)
}

/// The range of one member of the list (§14.1.2): `0-99`, `100-` or `-100`. Its start is at or
/// beyond its end if it is not satisfiable. `None` if it is malformed.
fn resolve(spec: &[u8], len: u64) -> Option<ByteRange> {
    let dash = memchr::memchr(b'-', spec)?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        let suffix = number(last)?;
        return Some(ByteRange { start: len.saturating_sub(suffix), end: len });
    }
    let start = number(first)?;
    if last.is_empty() {
        return Some(ByteRange { start, end: len });
    }
    let last = number(last)?;
    (start <= last).then(|| ByteRange { start, end: last.saturating_add(1).min(len) })
}

/// Whether any range is a suffix that is not empty: of an empty file, it is satisfiable (§14.1.2).
fn has_suffix(specs: &[u8]) -> bool {
    specs
        .split(|&byte| byte == b',')
        .map(trim)
        .any(|spec| spec.first() == Some(&b'-') && spec[1..].iter().any(|digit| *digit != b'0'))
}

/// Digits, at least one. A number above the range of `u64` saturates: no file is as long.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(super::request::saturating_number(digits))
}

/// Without optional white space (§5.6.3).
fn trim(spec: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = spec.iter().position(|byte| !is_space(byte)).unwrap_or(spec.len());
    let end = spec.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &spec[start..end]
}

#[cfg(test)]
#[path = "range_tests.rs"]
mod tests;
