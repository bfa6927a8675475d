//! The Internet checksum (RFC 1071): a ones'-complement sum of 16-bit words.
//!
//! Sums are kept unfolded and in the machine's own byte order, which the sum does not depend on (RFC 1071 §2(B)),
//! so that the loop below adds four bytes at a time and the compiler can make it several times that.

use super::Address;

/// A running ones'-complement sum, not yet folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Adds `bytes`, which start at an even offset; an odd last byte is padded with zero.
    #[inline]
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Sum {
        let mut words = bytes.chunks_exact(4);
        let mut sum: u64 =
            words.by_ref().map(|word| u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))).sum();
        let mut tail = [0; 4];
        let rest = words.remainder();
        tail[..rest.len()].copy_from_slice(rest);
        sum += u64::from(u32::from_ne_bytes(tail));
        Sum(self.0 + sum)
    }

    /// Adds the parts of one run of bytes; a part may start at an odd offset.
    #[must_use]
    pub fn add_parts<'a>(self, parts: impl Iterator<Item = &'a [u8]>) -> Sum {
        let (mut sum, mut odd) = (self, false);
        for part in parts {
            let added = Sum::default().add_bytes(part);
            sum.0 += if odd { u64::from(added.fold().swap_bytes()) } else { added.0 };
            odd ^= part.len() % 2 == 1;
        }
        sum
    }

    /// Adds another run of bytes, already summed, which starts at an even offset.
    #[inline]
    #[must_use]
    pub fn add_sum(self, other: Sum) -> Sum {
        Sum(self.0 + other.0)
    }

    /// Adds one 16-bit field given in host byte order.
    #[inline]
    #[must_use]
    pub fn add_u16(self, value: u16) -> Sum {
        Sum(self.0 + u64::from(value.to_be()))
    }

    /// The pseudo-header of `len` bytes over IP (RFC 9293 §3.1, RFC 8200 §8.1). What maps an IPv4 address into an IPv6
    /// one sums up to nothing, so both versions are one.
    #[inline]
    pub fn pseudo_header(source: &Address, destination: &Address, protocol: u8, len: u16) -> Sum {
        let words = |address: &Address| {
            let (first, last) = address.ne_halves();
            (first >> 32) + (first & 0xffff_ffff) + (last >> 32) + (last & 0xffff_ffff)
        };
        Sum(words(source) + words(destination)).add_u16(u16::from(protocol)).add_u16(len)
    }

    /// The sum in 16 bits, in memory order: 0xffff when all that was added includes its right checksum.
    #[inline]
    pub fn fold(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    /// The checksum field's two bytes: the complement of the sum.
    #[inline]
    pub fn finish(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }

    /// Whether what was added, a checksum among it, sums up right.
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
