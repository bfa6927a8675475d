//! Converts a request target to decoded segments (RFC 3986 §§2.1, 3.3, 6.2.2).
//!
//! The parser first splits the path at its slashes, then decodes each segment. So an encoded slash
//! is data of its segment and never splits one. Dot segments are removed after decoding: `%2e%2e`
//! acts like `..`, and a route never sees a segment `.` or `..`. Empty segments count: `/a`, `/a/`
//! and `//a` are three paths.

use crate::app::http::path::hex;

/// The reason that a target has no segments. The router answers 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The path of the current request. All requests of a worker reuse its memory.
pub(super) struct Path {
    /// The decoded segments, separated by slashes.
    bytes: Vec<u8>,
    /// Start and end of each segment in `bytes`.
    segments: Vec<(u16, u16)>,
}

impl Path {
    /// Space for the path of any target of up to `target_max_bytes`, below 2¹⁶.
    pub(super) fn new(target_max_bytes: usize) -> Path {
        assert!(target_max_bytes < usize::from(u16::MAX));
        Path {
            bytes: Vec::with_capacity(target_max_bytes + 1),
            segments: Vec::with_capacity(target_max_bytes + 1),
        }
    }

    /// Parses the path of `target` without its query. An empty target, which absolute form allows,
    /// becomes `/`.
    pub(super) fn read(&mut self, target: &[u8]) -> Result<(), Malformed> {
        self.bytes.clear();
        self.segments.clear();
        let end = memchr::memchr2(b'?', b'#', target).unwrap_or(target.len());
        if target.get(end) == Some(&b'#') {
            return Err(Malformed);
        }
        let path = target[..end].strip_prefix(b"/").unwrap_or(b"");
        let mut ends_in_dots = false;
        for segment in path.split(|&byte| byte == b'/') {
            ends_in_dots = self.push(segment)?;
        }
        if ends_in_dots {
            self.push(b"")?;
        }
        Ok(())
    }

    /// Decodes and appends one segment. Returns true for a dot segment, which appends nothing.
    fn push(&mut self, segment: &[u8]) -> Result<bool, Malformed> {
        let before = self.bytes.len();
        if !self.segments.is_empty() {
            self.bytes.push(b'/');
        }
        let start = self.bytes.len();
        decode_to(segment, &mut self.bytes)?;
        match &self.bytes[start..] {
            b"." => self.bytes.truncate(before),
            b".." => {
                self.segments.pop().ok_or(Malformed)?;
                let end = self.segments.last().map_or(0, |(_, end)| usize::from(*end));
                self.bytes.truncate(end);
            }
            _ => {
                self.segments.push((start as u16, self.bytes.len() as u16));
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The number of segments, at least 1.
    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }

    /// The segment at `index`, decoded.
    pub(super) fn segment(&self, index: usize) -> &[u8] {
        let (start, end) = self.segments[index];
        &self.bytes[usize::from(start)..usize::from(end)]
    }

    /// The decoded path from the segment at `index` on. `None` if it would lead out of a directory
    /// that a handler joins it to: if it is empty, if it begins with a slash (`//etc`), or if a
    /// segment contains an encoded slash (`..%2f..`).
    pub(super) fn rest(&self, index: usize) -> Option<&[u8]> {
        let rest = &self.bytes[usize::from(self.segments.get(index)?.0)..];
        let has_slash = |at| memchr::memchr(b'/', self.segment(at)).is_some();
        let is_relative = !matches!(rest, [] | [b'/', ..]);
        (is_relative && !(index..self.len()).any(has_slash)).then_some(rest)
    }
}

/// Percent-decodes and appends `bytes`. Refuses NUL, because it ends file names in C.
fn decode_to(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(b'%', rest) {
        out.extend_from_slice(&rest[..at]);
        let [high, low] = rest.get(at + 1..at + 3).ok_or(Malformed)? else { return Err(Malformed) };
        match (hex(*high).ok_or(Malformed)? << 4) | hex(*low).ok_or(Malformed)? {
            0 => return Err(Malformed),
            byte => out.push(byte),
        }
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(target: &str) -> Result<Vec<String>, Malformed> {
        let mut path = Path::new(8192);
        path.read(target.as_bytes())?;
        let text = |index| String::from_utf8_lossy(path.segment(index)).into_owned();
        Ok((0..path.len()).map(text).collect())
    }

    #[test]
    fn targets_and_their_segments() {
        let table: [(&str, &[&str]); 18] = [
            ("/", &[""]),
            ("", &[""]),
            ("?x", &[""]),
            ("/a", &["a"]),
            ("/a/", &["a", ""]),
            ("//a", &["", "a"]),
            ("/a/b?c/d", &["a", "b"]),
            ("/caf%C3%A9/%41", &["café", "A"]),
            ("/a%2Fb/c", &["a/b", "c"]),
            ("/a/./b", &["a", "b"]),
            ("/a/../b", &["b"]),
            ("/a/..", &[""]),
            ("/a/.", &["a", ""]),
            ("/a/b/%2e%2E/c", &["a", "c"]),
            ("/..a/...", &["..a", "..."]),
            ("/a%3Fb", &["a?b"]),
            ("/a+b", &["a+b"]),
            ("/./a", &["a"]),
        ];
        for (target, expected) in table {
            assert_eq!(read(target).unwrap(), expected, "{target}");
        }
    }

    #[test]
    fn malformed_targets_are_refused() {
        for target in ["/%", "/%4", "/%zz", "/a#b", "/..", "/a/../..", "/%00", "/%2e%2e/a"] {
            assert_eq!(read(target), Err(Malformed), "{target}");
        }
    }

    #[test]
    fn a_rest_is_not_empty_and_holds_no_encoded_slash() {
        let table = [
            ("/f/a/b", Some("a/b")),
            ("/f/a", Some("a")),
            ("/f/", None),
            ("/f", None),
            ("/f//", None),
            ("/f//etc/passwd", None),
            ("/f/./", None),
            ("/f/a//b", Some("a//b")),
            ("/f/a%2fb", None),
            ("/f/..%2f..%2fetc", None),
            ("/x%2fy/../f/a", Some("a")),
            ("/f/a/../b", Some("b")),
            ("/f/b/a%2fa/..", Some("b/")),
        ];
        for (target, expected) in table {
            let mut path = Path::new(8192);
            path.read(target.as_bytes()).unwrap();
            assert_eq!(path.rest(1), expected.map(str::as_bytes), "{target}");
        }
    }
}
