//! The layout of an item: the parts of its line and the bits of its flags.
//!
//! The line is the only place of the client's flags: they are parsed from its text.

use super::arena::{Arena, HEADER_BYTES, Header, MayRead, MayWrite, Offset, Place, UNIT_BYTES};
use super::{Meta, NewItem};
use crate::digits;
use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

/// Item flag: an entry of the table refers to the item.
pub(super) const LINKED: u8 = 1;
/// Item flag: a client fetched the item since it was stored.
pub(super) const FETCHED: u8 = 1 << 1;
/// Item flag: the item is stale.
pub(super) const STALE: u8 = 1 << 2;
/// Item flag: a client has won the right to recache the item.
pub(super) const TOKEN_SENT: u8 = 1 << 3;
/// Item flag: the client sent the key in base64.
pub(super) const BINARY_KEY: u8 = 1 << 4;
/// Lowest bit of the use count, which is about the binary logarithm of the number of fetches.
pub(super) const USES_SHIFT: u8 = 5;
/// The largest use count.
pub(super) const USES_MAX: u8 = 7;

/// Start of the key in a line.
const KEY_AT: usize = b"VALUE ".len();
/// The end of a line, after the value.
pub(super) const END: &[u8] = b"\r\n";

/// The lengths of the parts of an item's line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) key_bytes: usize,
    pub(super) overhead_bytes: usize,
    pub(super) value_bytes: usize,
}

impl Layout {
    #[inline]
    pub(super) fn of(new: &NewItem<'_>) -> Layout {
        let digits = digits::count(new.flags.into()) + digits::count(new.value_bytes as u64);
        let overhead_bytes = KEY_AT + b" ".len() + b" ".len() + END.len() + digits;
        Layout { key_bytes: new.key.len(), overhead_bytes, value_bytes: new.value_bytes }
    }

    #[inline]
    pub(super) fn read(header: &Header) -> Layout {
        Layout {
            key_bytes: header.key_bytes.load(Relaxed).into(),
            overhead_bytes: header.overhead_bytes.load(Relaxed).into(),
            value_bytes: header.value_bytes.load(Relaxed) as usize,
        }
    }

    pub(super) fn store(self, header: &Header) {
        header.key_bytes.store(self.key_bytes as u8, Relaxed);
        header.overhead_bytes.store(self.overhead_bytes as u8, Relaxed);
        header.value_bytes.store(self.value_bytes as u32, Relaxed);
    }

    #[inline]
    pub(super) fn key(self) -> Range<usize> {
        KEY_AT..KEY_AT + self.key_bytes
    }

    #[inline]
    pub(super) fn value(self) -> Range<usize> {
        let start = self.key_bytes + self.overhead_bytes;
        start..start + self.value_bytes
    }

    #[inline]
    pub(super) fn line_bytes(self) -> usize {
        self.value().end + END.len()
    }

    /// Bytes of the arena that the item takes.
    #[inline]
    pub(super) fn total_bytes(self) -> usize {
        (HEADER_BYTES + self.line_bytes()).next_multiple_of(UNIT_BYTES)
    }

    #[inline]
    pub(super) fn units(self) -> u32 {
        (self.total_bytes() / UNIT_BYTES) as u32
    }
}

/// Writes the line of a new item, except the value.
#[inline]
pub(super) fn render(
    arena: &Arena,
    at: Offset,
    layout: Layout,
    new: &NewItem<'_>,
    held: &mut impl MayWrite,
) {
    arena.write_line(at, 0, b"VALUE ", held);
    arena.write_line(at, KEY_AT, new.key, held);
    let mut numbers = *b"                      \r\n";
    let end = numbers.len() - END.len();
    let value_bytes = digits::write_before(&mut numbers, end, new.value_bytes as u64);
    let flags = digits::write_before(&mut numbers, value_bytes - 1, new.flags.into());
    arena.write_line(at, layout.key().end, &numbers[flags - 1..], held);
    arena.write_line(at, layout.value().end, END, held);
}

/// Copies an item without the flag `LINKED`.
pub(super) fn copy(
    arena: &Arena,
    (from, held): (Offset, &impl MayRead),
    (to, writer): (Offset, &mut impl MayWrite),
) {
    let (source, target) = (arena.header(from, held), arena.header(to, writer));
    let layout = Layout::read(source);
    layout.store(target);
    target.exptime.store(source.exptime.load(Relaxed), Relaxed);
    target.last_access.store(source.last_access.load(Relaxed), Relaxed);
    target.generation.store(source.generation.load(Relaxed), Relaxed);
    target.cas.store(source.cas.load(Acquire), Relaxed);
    target.item_flags.store(source.item_flags.load(Acquire) & !LINKED, Relaxed);
    arena.write_line(to, 0, arena.line(from, 0..layout.line_bytes(), held), writer);
}

/// Parses the client's flags from the line.
fn flags(arena: &Arena, at: Offset, layout: Layout, held: &impl MayRead) -> u32 {
    let digits = arena.line(at, layout.key().end + 1..layout.value().start, held);
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0u32, |flags, digit| flags.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')))
}

/// The metadata of an item. Reads the cas unique first: writers change it after the item flags.
pub(super) fn meta(arena: &Arena, at: Offset, held: &impl MayRead) -> Meta {
    let header = arena.header(at, held);
    let cas = header.cas.load(Acquire);
    let item_flags = header.item_flags.load(Acquire);
    Meta {
        flags: flags(arena, at, Layout::read(header), held),
        cas,
        exptime: header.exptime.load(Relaxed),
        last_access: header.last_access.load(Relaxed),
        fetched: item_flags & FETCHED != 0,
        stale: item_flags & STALE != 0,
        token_sent: item_flags & TOKEN_SENT != 0,
        binary_key: item_flags & BINARY_KEY != 0,
    }
}

/// Whether `key` is the key of an item.
#[inline(always)]
pub(super) fn is_key(place: Place<'_>, key: &[u8], held: &impl MayRead) -> bool {
    usize::from(place.header(held).key_bytes.load(Relaxed)) == key.len()
        && equal(place.line(KEY_AT..KEY_AT + key.len(), held), key)
}

/// Whether two keys of equal length are equal. Compares words: keys are short, so a call to compare
/// memory would cost more than it saves.
#[inline(always)]
fn equal(a: &[u8], b: &[u8]) -> bool {
    const WORD: usize = size_of::<u64>();
    let word = |bytes: &[u8], at: usize| {
        bytes[at..].first_chunk().map_or(0, |word| u64::from_ne_bytes(*word))
    };
    let len = b.len();
    if !(WORD..=2 * WORD).contains(&len) || a.len() != len {
        return equal_of_other_length(a, b);
    }
    let end = len - WORD;
    (word(a, 0) ^ word(b, 0)) | (word(a, end) ^ word(b, end)) == 0
}

/// As [`equal`], for keys of less than 8 or more than 16 bytes.
#[inline]
fn equal_of_other_length(a: &[u8], b: &[u8]) -> bool {
    let (mut a, mut b) = (a, b);
    if let (Some(last_a), Some(last_b)) = (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        while let (Some((word_a, rest_a)), Some((word_b, rest_b))) =
            (a.split_first_chunk::<8>(), b.split_first_chunk::<8>())
        {
            if word_a != word_b {
                return false;
            }
            (a, b) = (rest_a, rest_b);
        }
        return last_a == last_b;
    }
    a == b
}

#[inline]
pub(super) fn key<'a>(arena: &'a Arena, at: Offset, held: &'a impl MayRead) -> &'a [u8] {
    arena.line(at, Layout::read(arena.header(at, held)).key(), held)
}

#[cfg(test)]
mod tests {
    use super::super::arena::OneThread;
    use super::*;

    #[test]
    fn a_line_is_what_a_text_get_returns() {
        let arena = Arena::new(1 << 16).unwrap();
        for (key, flags, value) in [
            (b"k".as_slice(), 0, b"".as_slice()),
            (&[b'k'; 250], u32::MAX, &[b'v'; 1000]),
            (b"abc", 42, b"12345"),
        ] {
            let new =
                NewItem { key, flags, exptime: 0, value_bytes: value.len(), binary_key: false };
            let layout = Layout::of(&new);
            layout.store(arena.header(3, &OneThread));
            assert_eq!(Layout::read(arena.header(3, &OneThread)), layout);
            render(&arena, 3, layout, &new, &mut OneThread);
            arena.write_line(3, layout.value().start, value, &mut OneThread);
            let key_text = String::from_utf8_lossy(key);
            let value_text = String::from_utf8_lossy(value);
            let expected = format!("VALUE {key_text} {flags} {}\r\n{value_text}\r\n", value.len());
            let line = arena.line(3, 0..layout.line_bytes(), &OneThread);
            assert_eq!(line, expected.as_bytes());
            let (own_key, meta) = (super::key(&arena, 3, &OneThread), meta(&arena, 3, &OneThread));
            assert_eq!((own_key, meta.flags), (key, flags));
            assert_eq!(layout.total_bytes(), (24 + expected.len()).next_multiple_of(8));
        }
    }
}
