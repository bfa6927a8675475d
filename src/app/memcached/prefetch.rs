//! Finds the keys of the next requests in unread input, so that their items can be prefetched
//! together. A wrong guess, such as a value that looks like a request, costs a prefetch and has no
//! other effect.

use super::binary::{HEADER_BYTES, REQUEST};
use super::scan;
use super::text::KEY_MAX_BYTES;
use crate::store::{Hash, PREFETCH_MAX, Store};
use memchr::memchr;

/// An iterator over the keys of complete requests. Ends at a request with a value.
pub(super) struct Keys<'a> {
    rest: &'a [u8],
    /// Within a line that contains only keys.
    in_line: bool,
}

impl<'a> Keys<'a> {
    /// The keys of input that starts with a request.
    pub(super) fn of(bytes: &'a [u8]) -> Keys<'a> {
        Keys { rest: bytes, in_line: false }
    }

    /// The next key of a line; `None` at the end of the input.
    #[inline]
    fn next_of_line(&mut self) -> Option<&'a [u8]> {
        let len = scan::space_or_line_feed(self.rest, 0)?;
        let (key, behind) = self.rest.split_at(len);
        self.in_line = behind[0] == b' ';
        self.rest = &behind[1..];
        Some(key.strip_suffix(b"\r").unwrap_or(key))
    }

    /// The key of a request with one key.
    fn next_request(&mut self) -> Option<&'a [u8]> {
        if self.rest[0] == REQUEST {
            return self.next_packet();
        }
        let word = &self.rest[..memchr(b' ', self.rest)?];
        let behind = &self.rest[word.len() + 1..];
        if matches!(word, b"get" | b"gets") {
            (self.rest, self.in_line) = (behind, true);
            return self.next_of_line();
        }
        let key = &behind[..behind.iter().position(|byte| *byte <= b' ')?];
        let has_no_value =
            matches!(word, b"mg" | b"md" | b"ma" | b"delete" | b"incr" | b"decr" | b"touch");
        let end = if has_no_value { memchr(b'\n', behind)? + 1 } else { behind.len() };
        self.rest = &behind[end..];
        Some(key)
    }

    /// The key of a binary request, after the header and the extras.
    fn next_packet(&mut self) -> Option<&'a [u8]> {
        let header = self.rest.first_chunk::<HEADER_BYTES>()?;
        let key_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let body_len = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let start = HEADER_BYTES + usize::from(header[4]);
        let key = self.rest.get(start..start + key_len)?;
        self.rest = self.rest.get(HEADER_BYTES + body_len..).unwrap_or_default();
        Some(key)
    }
}

impl<'a> Iterator for Keys<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let key = if self.in_line { self.next_of_line()? } else { self.next_request()? };
            if (1..=KEY_MAX_BYTES).contains(&key.len()) {
                return Some(key);
            }
        }
    }
}

/// The next keys of a line: where they end and their hashes, found in one pass so that their items
/// are prefetched together.
#[derive(Default)]
pub(super) struct Batch {
    /// The position of the separator after each key, and the hash of the key.
    ends: [(usize, Hash); PREFETCH_MAX],
    next: usize,
    len: usize,
}

impl Batch {
    /// The position of the separator after the key at `at`, and the hash of the key. `None` if no
    /// separator follows. Calls of a batch pass the same `bytes`, and each `at` is the end of the
    /// key before.
    #[inline]
    pub(super) fn next(&mut self, store: &Store, bytes: &[u8], at: usize) -> Option<(usize, Hash)> {
        if self.next == self.len {
            self.fill(store, bytes, at);
        }
        let next = *self.ends[..self.len].get(self.next)?;
        self.next += 1;
        Some(next)
    }

    #[inline]
    fn fill(&mut self, store: &Store, bytes: &[u8], mut at: usize) {
        (self.next, self.len) = (0, 0);
        for place in &mut self.ends {
            let Some(end) = scan::space_or_line_feed(bytes, at) else { break };
            *place = (end, store.hash(key_at(bytes, at, end)));
            self.len += 1;
            if bytes[end] == b'\n' {
                break;
            }
            at = end + 1;
        }
        store.prefetch_hashed(self.ends[..self.len].iter().map(|(_, hash)| *hash));
    }
}

/// The key between `start` and the separator at `end`.
#[inline]
pub(super) fn key_at(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    let has_cr = bytes[end] == b'\n' && end > start && bytes[end - 1] == b'\r';
    &bytes[start..end - usize::from(has_cr)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(input: &[u8]) -> Vec<&[u8]> {
        Keys::of(input).collect()
    }

    #[test]
    fn keys_of_whole_requests_are_told() {
        assert_eq!(keys(b"get a\r\n"), [b"a"]);
        assert_eq!(
            keys(b"get a  b\ngets c d\r\nmg e v t\r\ndelete f\r\n"),
            [b"a", b"b", b"c", b"d", b"e", b"f"]
        );
    }

    #[test]
    fn nothing_is_told_of_values_and_of_what_is_cut() {
        assert_eq!(keys(b"set a 0 0 5\r\nget b\r\nget c\r\n"), [b"a"]);
        assert_eq!(keys(b"get a b"), [b"a"]);
        assert_eq!(keys(b"mg a v"), Vec::<&[u8]>::new());
        for cut in
            [&b""[..], b"g", b"get", b"get ", b"\r\n", b"set", b"set ", b"set a", &[REQUEST; 30]]
        {
            assert_eq!(keys(cut), Vec::<&[u8]>::new(), "{cut:?}");
        }
    }

    #[test]
    fn packets_have_their_key_behind_the_extras() {
        let packet = |key: &[u8], extras: u8| {
            let mut packet = vec![REQUEST, 0, 0, key.len() as u8, extras, 0, 0, 0];
            packet.extend((key.len() as u32 + u32::from(extras)).to_be_bytes());
            packet.resize(HEADER_BYTES + usize::from(extras), 0);
            [&packet[..], key].concat()
        };
        let two = [packet(b"first", 4), packet(b"second", 0)].concat();
        assert_eq!(keys(&two), [&b"first"[..], b"second"]);
        assert_eq!(keys(&two[..two.len() - 1]), [b"first"]);
    }
}
