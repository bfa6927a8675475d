//! Finds the keys of the next requests in unread input, so that their items can be prefetched
//! together. A wrong guess, such as a value that looks like a request, costs a prefetch and has no
//! other effect.

use super::binary::{HEADER_BYTES, REQUEST};
use super::scan;
use super::text::{GET, KEY_MAX_BYTES, first_key_end, single_get};
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

/// The first key of input that starts with a request.
#[inline(always)]
pub(super) fn first_key(input: &[u8]) -> Option<&[u8]> {
    let key =
        first_key_end(input).filter(|end| *end < input.len()).map(|end| &input[GET.len()..end]);
    match key {
        Some(key) if (1..=KEY_MAX_BYTES).contains(&key.len()) => Some(key),
        _ => Keys::of(input).next(),
    }
}

/// A key in unread input.
#[derive(Clone, Copy, Default)]
pub(super) struct Key {
    pub(super) len: usize,
    /// Bytes of the key and its separator, or of the whole line of a get of one key.
    pub(super) wire_len: usize,
    pub(super) hash: Hash,
}

/// The next keys of the input, found and hashed in one pass, so that their items are prefetched
/// together. The caller takes them in order while it consumes the same input.
#[derive(Default)]
pub(super) struct Batch {
    keys: [Key; PREFETCH_MAX],
    next: usize,
    len: usize,
}

impl Batch {
    /// Forgets the keys: the input is another.
    #[inline]
    pub(super) fn clear(&mut self) {
        (self.next, self.len) = (0, 0);
    }

    /// Whether all keys were taken.
    #[inline]
    pub(super) fn is_used_up(&self) -> bool {
        self.next == self.len
    }

    #[inline(always)]
    fn take(&mut self) -> Option<Key> {
        if self.is_used_up() {
            return None;
        }
        let key = self.keys[self.next % PREFETCH_MAX];
        self.next += 1;
        Some(key)
    }

    /// One of the keys, counted from 0.
    #[inline(always)]
    pub(super) fn key(&self, index: usize) -> Key {
        self.keys[index % PREFETCH_MAX]
    }

    /// Takes the keys at the start of a part of a line, up to one that is not valid or that no
    /// separator follows.
    #[inline(never)]
    pub(super) fn fill_from_line(&mut self, store: &Store, bytes: &[u8], now: u32) -> Filled {
        let (hasher, mut at, mut count, mut ends) = (store.hasher(now), 0, 0, false);
        for place in &mut self.keys {
            let Some((end, next, is_last)) = key_of_line(bytes, at) else { break };
            let key = &bytes[at..end];
            if !(1..=KEY_MAX_BYTES).contains(&key.len()) {
                break;
            }
            *place = Key { len: key.len(), wire_len: next - at, hash: hasher.hash(key) };
            (at, count, ends) = (next, count + 1, is_last);
            if is_last {
                break;
            }
        }
        (self.next, self.len) = (0, count);
        self.prefetch(store);
        Filled { count, wire_len: at, ends }
    }

    /// The plain get of one key at the start of `bytes`; `None` if there is another request.
    #[inline(always)]
    pub(super) fn next_get(&mut self, store: &Store, bytes: &[u8]) -> Option<Key> {
        if self.is_used_up() {
            let (key, wire_len) = single_get(bytes)?;
            if wire_len == bytes.len() {
                let hash = store.hash(key);
                return Some(Key { len: key.len(), wire_len, hash });
            }
            self.fill_from_gets(store, bytes);
        }
        self.take()
    }

    #[inline(never)]
    fn fill_from_gets(&mut self, store: &Store, bytes: &[u8]) {
        self.clear();
        let mut at = 0;
        for place in &mut self.keys {
            let Some((key, wire_len)) = single_get(&bytes[at..]) else { break };
            *place = Key { len: key.len(), wire_len, hash: store.hash(key) };
            self.len += 1;
            at += wire_len;
        }
        self.prefetch(store);
    }

    #[inline]
    fn prefetch(&mut self, store: &Store) {
        store.prefetch_hashed(self.keys[..self.len].iter_mut().map(|key| &mut key.hash));
    }
}

/// The keys that [`Batch::fill_from_line`] took.
pub(super) struct Filled {
    pub(super) count: usize,
    /// Bytes of the keys and their separators.
    pub(super) wire_len: usize,
    /// Whether the line ends with the last of them.
    pub(super) ends: bool,
}

/// The end of the key at `at`, the end of its separator, and whether the line ends with the key;
/// `None` if no separator follows.
#[inline(always)]
pub(super) fn key_of_line(bytes: &[u8], at: usize) -> Option<(usize, usize, bool)> {
    let end = scan::blank(bytes, at);
    match bytes.get(end)? {
        b' ' => Some((end, end + 1, false)),
        b'\n' => Some((end, end + 1, true)),
        b'\r' if bytes.get(end + 1) == Some(&b'\n') => Some((end, end + 2, true)),
        _ => odd_key_of_line(bytes, at),
    }
}

/// As [`key_of_line`], for a key with control characters.
#[cold]
fn odd_key_of_line(bytes: &[u8], at: usize) -> Option<(usize, usize, bool)> {
    let end = scan::space_or_line_feed(bytes, at)?;
    let (key, is_last) = (&bytes[at..end], bytes[end] == b'\n');
    let key = if is_last { key.strip_suffix(b"\r").unwrap_or(key) } else { key };
    Some((at + key.len(), end + 1, is_last))
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
