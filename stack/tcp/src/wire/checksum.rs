//! The Internet checksum (RFC 1071): a ones'-complement sum of 16-bit words.
//!
//! Sums have 64 bits in the machine's own byte order, which does not change the result (RFC 1071
//! §2(B)). A carry out of the highest bit counts as 1 at any width, so eight bytes are added at a
//! time.

use super::Address;

/// A running ones'-complement sum, not yet folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Adds `bytes`, which start at an even offset; an odd last byte is padded with zero.
    #[inline(always)]
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Sum {
        let (blocks, rest) = bytes.as_chunks::<128>();
        // Two sums, so that neither waits for the other's carries.
        let (mut sum, mut other) = (self, Sum::default());
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            (sum, other) = (sum.add_words(&words[..8]), other.add_words(&words[8..]));
        }
        sum = sum.add_sum(other);
        let (blocks, rest) = rest.as_chunks::<32>();
        for block in blocks {
            sum = sum.add_words(block.as_chunks::<8>().0);
        }
        let (words, tail) = rest.as_chunks::<8>();
        let sum = words.iter().fold(sum, |sum, word| sum.add_u64(u64::from_ne_bytes(*word)));
        sum.add_u64(match bytes.last_chunk() {
            // The tail is the end of the last eight bytes.
            Some(last) if !tail.is_empty() => {
                let behind = 64 - 8 * tail.len() as u32;
                u64::from_ne_bytes((u64::from_le_bytes(*last) >> behind).to_le_bytes())
            }
            Some(_) => 0,
            None => return sum.add_few(tail),
        })
    }

    /// Adds up to seven bytes, of which none lie before them.
    #[inline(always)]
    fn add_few(self, bytes: &[u8]) -> Sum {
        let (fours, tail) = bytes.as_chunks::<4>();
        let (twos, last) = tail.as_chunks::<2>();
        let sum =
            fours.iter().fold(self, |sum, four| sum.add_u64(u32::from_ne_bytes(*four).into()));
        let sum = twos.iter().fold(sum, |sum, two| sum.add_u64(u16::from_ne_bytes(*two).into()));
        last.iter().fold(sum, |sum, &byte| sum.add_u64(u16::from_ne_bytes([byte, 0]).into()))
    }

    /// Adds a few words, the carry of each with the next.
    #[inline(always)]
    fn add_words(self, words: &[[u8; 8]]) -> Sum {
        let (mut sum, mut carry) = (self.0, false);
        for word in words {
            (sum, carry) = sum.carrying_add(u64::from_ne_bytes(*word), carry);
        }
        Sum(sum + u64::from(carry))
    }

    #[inline(always)]
    fn add_u64(self, word: u64) -> Sum {
        let (sum, carry) = self.0.overflowing_add(word);
        Sum(sum + u64::from(carry))
    }

    /// Adds the parts of one run of bytes; a part may start at an odd offset.
    #[must_use]
    pub fn add_parts<'a>(self, parts: impl Iterator<Item = &'a [u8]>) -> Sum {
        let (mut sum, mut odd) = (self, false);
        for part in parts {
            let added = Sum::default().add_bytes(part);
            sum = sum.add_u64(if odd { added.fold().swap_bytes().into() } else { added.0 });
            odd ^= part.len() % 2 == 1;
        }
        sum
    }

    /// Adds another run of bytes, already summed, which starts at an even offset.
    #[inline]
    #[must_use]
    pub fn add_sum(self, other: Sum) -> Sum {
        self.add_u64(other.0)
    }

    /// Adds one 16-bit field given in host byte order.
    #[inline]
    #[must_use]
    pub fn add_u16(self, value: u16) -> Sum {
        self.add_u64(value.to_be().into())
    }

    /// The pseudo-header of `len` bytes over IP (RFC 9293 §3.1, RFC 8200 §8.1). What maps an IPv4
    /// address into an IPv6 one sums up to nothing, so both versions are one.
    #[inline]
    pub fn pseudo_header(source: &Address, destination: &Address, protocol: u8, len: u16) -> Sum {
        let add = |sum: Sum, address: &Address| {
            sum.add_u64(address.ne_halves().0).add_u64(address.ne_halves().1)
        };
        add(add(Sum::default(), source), destination).add_u16(u16::from(protocol)).add_u16(len)
    }

    /// The sum in 16 bits, in memory order: 0xffff when all that was added includes its right
    /// checksum.
    #[inline]
    pub fn fold(self) -> u16 {
        // The upper half takes the carry out of the lower one: twice the sum, and half of that is
        // it.
        let sum = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
    }

    /// The checksum field's two bytes: the complement of the sum.
    #[inline]
    pub fn finish(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }

    /// Whether the sum, which includes a checksum, is correct.
    #[inline]
    pub fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_other_code(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let ours = u16::from_be_bytes(Sum::default().add_bytes(&bytes).finish());
            prop_assert_eq!(!ours, smoltcp::wire::checksum::data(&bytes));
        }

        #[test]
        fn parts_sum_up_like_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 1..3000),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let parts = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            prop_assert_eq!(Sum::default().add_parts(parts).fold(), Sum::default().add_bytes(&bytes).fold());
        }
    }
}
