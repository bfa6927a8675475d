//! Builds the head of one answer from text, numbers and keys. All answers of a worker use the same
//! buffer.

use super::base64;
use crate::digits;

/// The guaranteed capacity of the send queue. It exceeds the longest head: a key with every byte
/// escaped, and a dozen numbers.
const OUT_MAX_BYTES: usize = simoom_io::send::CAPACITY_COPY_BYTES;

/// The head under construction.
pub(super) struct Out {
    bytes: [u8; OUT_MAX_BYTES],
    len: usize,
}

impl Out {
    pub(super) fn new() -> Out {
        Out { bytes: [0; OUT_MAX_BYTES], len: 0 }
    }

    /// Clears the buffer.
    pub(super) fn clear(&mut self) -> &mut Out {
        self.len = 0;
        self
    }

    /// The bytes of the head.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) -> &mut Out {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        self
    }

    /// Appends decimal digits.
    #[inline]
    pub(super) fn number(&mut self, number: u64) -> &mut Out {
        self.len += digits::count(number);
        digits::write_before(&mut self.bytes, self.len, number);
        self
    }

    /// Appends a space, the flag, and its number.
    pub(super) fn flag(&mut self, flag: u8, number: u64) -> &mut Out {
        self.push(&[b' ', flag]).number(number)
    }

    /// Appends the return flag `k`: the key as the client sent it.
    pub(super) fn key(&mut self, key: &[u8], binary: bool) -> &mut Out {
        self.push(b" k");
        if binary { self.base64(key).push(b" b") } else { self.push(key) }
    }

    pub(super) fn base64(&mut self, bytes: &[u8]) -> &mut Out {
        for four in base64::encode(bytes) {
            self.push(&four);
        }
        self
    }

    /// Appends bytes, percent-encoded as in a URI (RFC 3986 §2).
    pub(super) fn escaped(&mut self, bytes: &[u8]) -> &mut Out {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        for byte in bytes {
            match byte {
                b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' => {
                    self.push(&[*byte])
                }
                _ => self.push(&[
                    b'%',
                    DIGITS[usize::from(byte >> 4)],
                    DIGITS[usize::from(byte & 15)],
                ]),
            };
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_put_together() {
        let mut out = Out::new();
        out.push(b"HD").flag(b'c', 0).flag(b't', u64::MAX).key(b"a", false).key(b"a", true);
        assert_eq!(out.bytes(), b"HD c0 t18446744073709551615 ka kYQ== b");
        assert_eq!(out.clear().push(b"x").bytes(), b"x");
        assert_eq!(out.clear().escaped(b"a-~/\xff").bytes(), b"a-~%2F%FF");
    }
}
