//! The head of one answer, put together before it is queued: text, numbers and keys in, bytes out. One buffer serves
//! all answers of a worker.

use super::base64;

/// Longer than any head: a key in base64, an opaque, and a dozen numbers.
const OUT_MAX_BYTES: usize = 768;

/// The head being put together.
pub(super) struct Out {
    bytes: [u8; OUT_MAX_BYTES],
    len: usize,
}

impl Out {
    pub(super) fn new() -> Out {
        Out { bytes: [0; OUT_MAX_BYTES], len: 0 }
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) -> &mut Out {
        self.len = 0;
        self
    }

    /// What was put together.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) -> &mut Out {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        self
    }

    /// Decimal digits.
    pub(super) fn number(&mut self, mut number: u64) -> &mut Out {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return self.push(&digits[at..]);
            }
        }
    }

    /// A space, the flag, and its number.
    pub(super) fn flag(&mut self, flag: u8, number: u64) -> &mut Out {
        self.push(&[b' ', flag]).number(number)
    }

    /// The return flag `k`: the key as it was given.
    pub(super) fn key(&mut self, key: &[u8], binary: bool) -> &mut Out {
        self.push(b" k");
        if !binary {
            return self.push(key);
        }
        for four in base64::encode(key) {
            self.push(&four);
        }
        self.push(b" b")
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
    }
}
