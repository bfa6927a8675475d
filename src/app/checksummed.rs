//! Immutable bytes in memory with their checksums, made once and used by all segments that carry
//! them.

use simoom_io::checksum::PrefixSums;

/// Shorter bytes have no sums: they fill less than two segments, which are summed up as they are
/// copied.
const SUMMED_MIN_BYTES: usize = 2048;

/// Bytes, such as the content of a file, and the sums of their blocks.
#[derive(Debug)]
pub struct Checksummed {
    bytes: Box<[u8]>,
    sums: Option<PrefixSums>,
}

impl Checksummed {
    /// Sums up `bytes`.
    pub fn new(bytes: Box<[u8]>) -> Checksummed {
        let sums = (bytes.len() >= SUMMED_MIN_BYTES).then(|| PrefixSums::of(&bytes));
        Checksummed { bytes, sums }
    }

    /// Returns the bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the sums, if the bytes are long enough to have them.
    #[inline]
    pub fn sums(&self) -> Option<&PrefixSums> {
        self.sums.as_ref()
    }

    /// Bytes of memory outside the struct.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.sums.as_ref().map_or(0, PrefixSums::memory_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_take_less_than_two_percent() {
        assert_eq!(Checksummed::new(vec![1; 2047].into()).memory_bytes(), 2047);
        for bytes in [2048, 65_536, 1_000_000] {
            let sums = Checksummed::new(vec![1; bytes].into()).memory_bytes() - bytes;
            assert!(sums > 0 && sums < bytes / 50, "{sums} bytes for {bytes}");
        }
    }
}
