//! Keys and values, derived from numbers, so that answers can be checked without storing what was
//! sent.
//!
//! The key of number 42 is `k0000002a`. The key determines the length of its value. A value begins
//! with its version, eight hexadecimal digits. The rest is a range of one long random text, which
//! key and version determine. So a value that another connection has stored meanwhile can be
//! checked too.

use super::super::protocol::Text;
use super::super::random::{Random, mix};
use std::ops::Range;

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 9;
/// Bytes of the version at the start of a value. Shorter values have none.
pub(super) const VERSION_BYTES: usize = 8;
/// Number of offsets in the text where a value may begin.
const PLACES: u64 = 1 << 16;
/// Upper bound of the length of a value. Few servers allow more.
pub(crate) const VALUE_MAX_BYTES: u32 = 16 << 20;

/// The source of all values.
#[derive(Clone, Debug)]
pub(super) struct Values {
    lengths: (u32, u32),
    /// Letters and digits, with the line end of values at the end.
    text: Text,
}

impl Values {
    /// Values with lengths in the range `lengths`, both ends included.
    pub(super) fn new(lengths: (u32, u32)) -> Values {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut random = Random::new(0);
        let len = PLACES as usize + lengths.1 as usize;
        let letters = (0..len).map(|_| LETTERS[random.next_u64() as usize % LETTERS.len()]);
        Values { lengths, text: Text(letters.chain(*b"\r\n").collect()) }
    }

    /// The text.
    pub(super) fn text(&self) -> &Text {
        &self.text
    }

    /// The range of the line end in the text.
    pub(super) fn end(&self) -> Range<usize> {
        self.text.0.len() - 2..self.text.0.len()
    }

    /// Length of the values of a key.
    #[inline]
    pub(super) fn len(&self, key: u32) -> u32 {
        let (least, most) = self.lengths;
        if least == most {
            least
        } else {
            least + (mix(u64::from(key)) % u64::from(most - least + 1)) as u32
        }
    }

    /// The range of the text that follows the version; that is the whole value if it is too short
    /// for a version.
    #[inline]
    pub(super) fn place(&self, key: u32, version: u32) -> Range<usize> {
        let len = self.len(key) as usize;
        let versioned = len >= VERSION_BYTES;
        let name = u64::from(key) << 32 | u64::from(if versioned { version } else { 0 });
        let start = (mix(name) % PLACES) as usize;
        start..start + len - if versioned { VERSION_BYTES } else { 0 }
    }

    /// The bytes of a range.
    #[inline]
    pub(super) fn part(&self, place: Range<usize>) -> &[u8] {
        &self.text.0[place]
    }
}

/// The text of a key.
#[inline]
pub(super) fn key(number: u32) -> [u8; KEY_BYTES] {
    let mut text = [b'k'; KEY_BYTES];
    text[1..].copy_from_slice(&hex(number));
    text
}

/// Eight hexadecimal digits.
#[inline]
pub(super) fn hex(number: u32) -> [u8; 8] {
    std::array::from_fn(|place| b"0123456789abcdef"[(number >> (28 - 4 * place)) as usize & 15])
}

/// The number that eight hexadecimal digits represent.
#[inline]
pub(super) fn from_hex(digits: &[u8]) -> Option<u32> {
    let digit = |byte: &u8| (*byte as char).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
    (digits.len() == 8)
        .then(|| digits.iter().try_fold(0, |number, byte| Some(number << 4 | digit(byte)?)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_versions_are_hexadecimal() {
        assert_eq!((&key(42), &hex(0xfedc_ba98)), (b"k0000002a", b"fedcba98"));
        for number in [0, 1, 0x1234_5678, u32::MAX] {
            assert_eq!(from_hex(&hex(number)), Some(number));
        }
        for wrong in [&b"0000000"[..], b"0000000g", b"0000000A", b"000000000", b"+0000001"] {
            assert_eq!(from_hex(wrong), None);
        }
    }

    #[test]
    fn values_follow_from_key_and_version() {
        let values = Values::new((100, 100));
        assert_eq!((values.len(1), values.place(1, 1).len()), (100, 92));
        assert_ne!(values.part(values.place(1, 1)), values.part(values.place(1, 2)));
        assert_ne!(values.part(values.place(1, 1)), values.part(values.place(2, 1)));
        assert_eq!(values.part(values.end()), b"\r\n");
        let tiny = Values::new((3, 3));
        assert_eq!(tiny.place(5, 1), tiny.place(5, 2), "no room for a version");
    }

    #[test]
    fn lengths_differ_from_key_to_key_within_their_bounds() {
        let values = Values::new((10, 20));
        let lengths: Vec<u32> = (0..1000).map(|key| values.len(key)).collect();
        assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&10), Some(&20)));
        assert!((0..1000).all(|key| values.place(key, 9).end <= values.end().start));
    }
}
