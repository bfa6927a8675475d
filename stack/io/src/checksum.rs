//! The Internet checksum (RFC 1071): a ones'-complement sum of 16-bit words.
//!
//! Sums have 64 bits in the machine's own byte order, which does not change the result (RFC 1071
//! §2(B)). A carry out of the highest bit counts as 1 at any width, so eight bytes are added at a
//! time.
//!
//! [`PrefixSums`] are stored with immutable bytes, so that a transport that sends a range of them
//! need not sum it up again.

/// A running ones'-complement sum, not yet folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Adds `bytes`, which start at an even offset; an odd last byte is padded with zero.
    #[inline(always)]
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Sum {
        let (sum, rest) = if bytes.len() < 128 { (self, bytes) } else { self.add_blocks(bytes) };
        sum.add_rest(rest, bytes)
    }

    /// Adds the first bytes, as many as are whole blocks. Returns the bytes behind them.
    #[inline(always)]
    fn add_blocks(self, bytes: &[u8]) -> (Sum, &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<128>();
        // Two sums, so that neither waits for the other's carries.
        let (mut sum, mut other) = (self, Sum::default());
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            (sum, other) = (sum.add_words(&words[..8]), other.add_words(&words[8..]));
        }
        (sum.add_sum(other), rest)
    }

    /// Adds `rest`, up to 127 bytes at the end of `bytes`. A comparison for each power of two costs
    /// less than a loop.
    #[inline(always)]
    fn add_rest(self, rest: &[u8], bytes: &[u8]) -> Sum {
        let (sum, rest) = self.add_if_long::<64>(rest);
        let (sum, rest) = sum.add_if_long::<32>(rest);
        let (sum, rest) = sum.add_if_long::<16>(rest);
        let (sum, tail) = sum.add_if_long::<8>(rest);
        if tail.is_empty() {
            return sum;
        }
        // The tail is the end of the last eight bytes.
        let Some(last) = bytes.last_chunk() else { return sum.add_few(tail) };
        let word = u64::from_le_bytes(*last) >> (64 - 8 * tail.len() as u32);
        sum.add_u64(u64::from_ne_bytes(word.to_le_bytes()))
    }

    /// Adds the first `N` bytes, if there are as many. Returns the bytes behind them.
    #[inline(always)]
    fn add_if_long<const N: usize>(self, bytes: &[u8]) -> (Sum, &[u8]) {
        match bytes.split_first_chunk::<N>() {
            Some((block, behind)) => (self.add_words(block.as_chunks::<8>().0), behind),
            None => (self, bytes),
        }
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

    /// Adds eight bytes, in memory order.
    #[inline(always)]
    #[must_use]
    pub fn add_u64(self, word: u64) -> Sum {
        let (sum, carry) = self.0.overflowing_add(word);
        Sum(sum + u64::from(carry))
    }

    /// Adds the parts of one run of bytes; a part may start at an odd offset.
    #[must_use]
    pub fn add_parts<'a>(self, parts: impl Iterator<Item = &'a [u8]>) -> Sum {
        let (mut sum, mut offset) = (self, 0);
        for part in parts {
            sum = sum.add_sum_at(Sum::default().add_bytes(part), offset);
            offset += part.len();
        }
        sum
    }

    /// Adds another run of bytes, already summed, which starts at an even offset.
    #[inline]
    #[must_use]
    pub fn add_sum(self, other: Sum) -> Sum {
        self.add_u64(other.0)
    }

    /// Adds another run of bytes, already summed, which starts at `offset`.
    #[inline(always)]
    #[must_use]
    pub fn add_sum_at(self, other: Sum, offset: usize) -> Sum {
        // At an odd offset the bytes of all words are swapped (RFC 1071 §2(B)). A rotation of more
        // words by 8 bits does the same modulo 2^16 - 1.
        self.add_u64(other.0.rotate_left(8 * (offset as u32 % 2)))
    }

    /// Takes away what was added with `other`, which started at an even offset.
    #[inline(always)]
    #[must_use]
    fn subtract(self, other: Sum) -> Sum {
        self.add_u64(!other.0)
    }

    /// Whether both are sums of the same bytes. Zero has two forms.
    pub fn is_same(self, other: Sum) -> bool {
        matches!(self.subtract(other).fold(), 0 | 0xffff)
    }

    /// Adds one 16-bit field given in host byte order.
    #[inline]
    #[must_use]
    pub fn add_u16(self, value: u16) -> Sum {
        self.add_u64(value.to_be().into())
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

/// Bytes between two of [`PrefixSums`]: a multiple of 2, so that all blocks start at even offsets.
pub const BLOCK_BYTES: usize = 128;
const _: () = assert!(BLOCK_BYTES <= 128, "the bytes behind a block are a rest");

/// The sums of some bytes up to the start of each block of [`BLOCK_BYTES`]: two bytes of memory for
/// each block. The sum of any range is the difference of two such sums, with the bytes between a
/// start of a block and each end of the range.
///
/// They hold for immutable bytes only. Bytes that change in memory afterwards, by a fault of the
/// memory or of the program, no longer match what is stored: the receiver drops them for their
/// checksum, where a sum of the changed bytes would have passed them on as valid.
#[derive(Clone, Debug)]
pub struct PrefixSums(Box<[u16]>);

impl PrefixSums {
    /// The sums of `bytes`.
    pub fn of(bytes: &[u8]) -> PrefixSums {
        let mut sum = Sum::default();
        let mut sums = Vec::with_capacity(bytes.len() / BLOCK_BYTES + 1);
        sums.push(0);
        for block in bytes.as_chunks::<BLOCK_BYTES>().0 {
            sum = sum.add_bytes(block);
            sums.push(sum.fold());
        }
        PrefixSums(sums.into())
    }

    /// Bytes of memory outside the struct.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// The sum of the first `end` bytes of `bytes`.
    #[inline(always)]
    fn up_to(&self, bytes: &[u8], end: usize) -> Sum {
        let (block, bytes) = (end / BLOCK_BYTES, &bytes[..end]);
        Sum(self.0[block].into()).add_rest(&bytes[block * BLOCK_BYTES..], bytes)
    }
}

/// Tells the sums of ranges of some bytes, each of which begins where the last one ended.
pub struct RangeSums<'a> {
    bytes: &'a [u8],
    prefixes: &'a PrefixSums,
    at: usize,
    /// The sum of the bytes before `at`.
    before: Sum,
}

impl<'a> RangeSums<'a> {
    /// The ranges of `bytes` from `at` on. `prefixes` are the sums of `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8], prefixes: &'a PrefixSums, at: usize) -> RangeSums<'a> {
        let before = if at == 0 { Sum::default() } else { prefixes.up_to(bytes, at) };
        RangeSums { bytes, prefixes, at, before }
    }

    /// The sum of the next `len` bytes, as bytes that start at an even offset.
    #[inline(always)]
    pub fn next(&mut self, len: usize) -> Sum {
        let (start, end) = (self.at, self.at + len);
        let up_to_end = self.prefixes.up_to(self.bytes, end);
        let sum = Sum::default().add_sum_at(up_to_end.subtract(self.before), start);
        (self.at, self.before) = (end, up_to_end);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of any length, and with the bytes whose sums are zero or carry at each word.
    fn content() -> impl Strategy<Value = Vec<u8>> {
        let any_bytes = proptest::collection::vec(any::<u8>(), 0..5000);
        let one_byte = (prop_oneof![Just(0), Just(0xff), any::<u8>()], 0..5000usize);
        prop_oneof![any_bytes, one_byte.prop_map(|(byte, len)| vec![byte; len])]
    }

    #[test]
    fn ranges_at_the_edges_of_blocks_have_their_sums() {
        let bytes: Vec<u8> =
            (0..3 * BLOCK_BYTES + 7).map(|at| (at * 167 + at / 256) as u8).collect();
        let prefixes = PrefixSums::of(&bytes);
        let is_near = |at: &usize| (at + 3) % BLOCK_BYTES < 7 || *at == bytes.len();
        let places: Vec<usize> = (0..=bytes.len()).filter(is_near).collect();
        for (index, &start) in places.iter().enumerate() {
            for &end in &places[index..] {
                let sum = RangeSums::new(&bytes, &prefixes, start).next(end - start);
                let expected = Sum::default().add_bytes(&bytes[start..end]);
                assert!(sum.is_same(expected), "{start}..{end}");
            }
        }
    }

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

        /// Ranges of any length, from any offset on, one after another.
        #[test]
        fn stored_sums_are_those_of_the_bytes(
            bytes in content(),
            start in any::<prop::sample::Index>(),
            lens in proptest::collection::vec(0..1500usize, 1..20),
        ) {
            let prefixes = PrefixSums::of(&bytes);
            let mut at = start.index(bytes.len() + 1);
            let mut sums = RangeSums::new(&bytes, &prefixes, at);
            for len in lens {
                let end = (at + len).min(bytes.len());
                let expected = Sum::default().add_bytes(&bytes[at..end]);
                prop_assert!(sums.next(end - at).is_same(expected), "{}..{}", at, end);
                at = end;
            }
        }
    }
}
