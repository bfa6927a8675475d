//! The hash of keys: folded 64 × 64-bit multiplication (the construction of wyhash), with a seed
//! for each process.
//!
//! Clients choose the keys, so the hash is seeded. If chains grow long nevertheless, the table
//! bounds their length.

use std::hash::{BuildHasher, RandomState};

/// Digits of π, used so that a seed does not make a multiplicand zero.
const PI: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];

/// The seed of the hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct HashKey([u64; 2]);

impl HashKey {
    /// Uses `seed`, or a random seed.
    pub(super) fn new(seed: Option<[u64; 2]>) -> HashKey {
        seed.map_or_else(HashKey::random, HashKey)
    }

    fn random() -> HashKey {
        let state = RandomState::new();
        HashKey([state.hash_one(1u8), state.hash_one(2u8)])
    }

    #[inline]
    pub(super) fn hash(self, key: &[u8]) -> u64 {
        let HashKey([first, second]) = self;
        let mut state = first ^ key.len() as u64;
        let mut rest = key;
        while let Some((words, after)) =
            rest.split_first_chunk::<16>().filter(|(_, after)| !after.is_empty())
        {
            state = fold(word(&words[..8]) ^ PI[0] ^ second, word(&words[8..]) ^ state);
            rest = after;
        }
        let (low, high) = ends(rest);
        fold(fold(low ^ PI[1] ^ second, high ^ state) ^ first, PI[0])
    }
}

/// 1 to 16 bytes as two words, which overlap below 16 bytes.
#[inline]
fn ends(bytes: &[u8]) -> (u64, u64) {
    match bytes.len() {
        8.. => (word(&bytes[..8]), word(&bytes[bytes.len() - 8..])),
        4.. => (half(&bytes[..4]), half(&bytes[bytes.len() - 4..])),
        0 => (0, 0),
        len => (u64::from(bytes[0]) << 8 | u64::from(bytes[len / 2]), u64::from(bytes[len - 1])),
    }
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

#[inline]
fn half(bytes: &[u8]) -> u64 {
    u64::from(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_of_every_length_hash_apart() {
        let key = HashKey::random();
        let bytes = [b'x'; 250];
        let hashes: HashSet<u64> = (1..=250).map(|len| key.hash(&bytes[..len])).collect();
        assert_eq!(hashes.len(), 250);
    }

    #[test]
    fn every_byte_counts() {
        let key = HashKey::random();
        for len in [1, 2, 3, 4, 7, 8, 9, 16, 17, 31, 32, 33, 250] {
            let plain = vec![b'x'; len];
            for at in 0..len {
                let mut other = plain.clone();
                other[at] = b'y';
                assert_ne!(key.hash(&plain), key.hash(&other), "byte {at} of {len}");
            }
        }
    }

    #[test]
    fn numbered_keys_spread_evenly_over_both_halves_of_the_hash() {
        let key = HashKey::random();
        let (mut high, mut low) = ([0u32; 256], [0u32; 256]);
        let (keys, within) = if cfg!(miri) { (256, 0..=8) } else { (256 * 256, 150..=370) };
        for n in 0..keys {
            let hash = key.hash(format!("key:{n}").as_bytes());
            high[(hash >> 56) as usize] += 1;
            low[(hash & 255) as usize] += 1;
        }
        // 256 in each bin on average, so the standard deviation is 16. Under Miri 1 in each bin:
        // more than 8 occur once in a million.
        assert!(high.iter().chain(&low).all(|count| within.contains(count)), "{high:?} {low:?}");
    }
}
