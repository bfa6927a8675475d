//! FNV-1a with 64 bits: hashes paths for the lookup table.
//!
//! The hash resists no adversary. It need not: the table contains only paths of existing files.

use std::hash::Hasher;

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a of one path.
pub(super) struct PathHasher(u64);

impl Default for PathHasher {
    fn default() -> Self {
        PathHasher(OFFSET_BASIS)
    }
}

impl Hasher for PathHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0 =
            bytes.iter().fold(self.0, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    }

    /// Ignores the length prefix: the hash covers a single slice.
    #[inline]
    fn write_usize(&mut self, _: usize) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hash;

    #[test]
    fn the_published_test_vectors() {
        for (path, hash) in [
            (&b""[..], 0xcbf2_9ce4_8422_2325),
            (b"a", 0xaf63_dc4c_8601_ec8c),
            (b"foobar", 0x8594_4171_f739_67e8),
        ] {
            let mut hasher = PathHasher::default();
            path.hash(&mut hasher);
            assert_eq!(hasher.finish(), hash);
        }
    }
}
