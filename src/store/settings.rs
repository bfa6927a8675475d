//! Settings of the store and their bounds.

use super::arena::{OFFSET_BITS, UNIT_BYTES};
use crate::error::{Error, Result};
use crate::limits::Bytes;

/// Lower bound of `--memory`.
pub const MEMORY_MIN_BYTES: u64 = 1 << 20;
/// Upper bound of `--memory`.
pub const MEMORY_MAX_BYTES: u64 = 1 << 40;
const _: () = assert!(
    MEMORY_MAX_BYTES / (UNIT_BYTES as u64) < 1 << OFFSET_BITS,
    "offsets do not reach so far"
);
/// Lower bound of `--item-size-max`, as in memcached.
pub const ITEM_MIN_BYTES: u64 = 1 << 10;
/// Divisor: `--item-size-max` is at most this part of `--memory`.
pub const ITEM_MAX_PART: u64 = 8;

/// Upper bound of `--item-size-max`, as in memcached.
const ITEM_MAX_BYTES: u64 = 1 << 30;

/// Settings of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Memory of the store in total: `--memory`.
    pub memory_bytes: u64,
    /// Size limit of an item with key, value and metadata: `--item-size-max`.
    pub item_max_bytes: u64,
    /// Number of threads that use the store. More threads share shards.
    pub workers: usize,
    /// Seed of the hash, for repeatable tests; random if `None`.
    pub hash_key: Option<[u64; 2]>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { memory_bytes: 64 << 20, item_max_bytes: 1 << 20, workers: 1, hash_key: None }
    }
}

impl Settings {
    /// Bytes of a frame: a power of 2, about 1/512 of the memory, from 16 to 256 KiB.
    pub(super) fn frame_bytes(&self) -> usize {
        (1 << (self.memory_bytes / 512).max(1).ilog2()).clamp(16 << 10, 256 << 10)
    }

    /// Checks the bounds. An error names the flag, the value and the range.
    pub fn check(&self) -> Result<()> {
        let Settings { memory_bytes, item_max_bytes, workers: _, hash_key: _ } = *self;
        if !(MEMORY_MIN_BYTES..=MEMORY_MAX_BYTES).contains(&memory_bytes) {
            return Err(Error::usage(format!(
                "--memory {}: must be from {} to {}",
                Bytes(memory_bytes),
                Bytes(MEMORY_MIN_BYTES),
                Bytes(MEMORY_MAX_BYTES)
            )));
        }
        let max = (memory_bytes / ITEM_MAX_PART).min(ITEM_MAX_BYTES);
        if !(ITEM_MIN_BYTES..=max).contains(&item_max_bytes) {
            return Err(Error::usage(format!(
                "--item-size-max {}: with --memory {} it must be from {} to {}",
                Bytes(item_max_bytes),
                Bytes(memory_bytes),
                Bytes(ITEM_MIN_BYTES),
                Bytes(max)
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_flag_the_value_and_the_bound() {
        let refusal = |memory_bytes, item_max_bytes| {
            Settings { memory_bytes, item_max_bytes, ..Settings::default() }
                .check()
                .unwrap_err()
                .to_string()
        };
        assert_eq!(refusal(1000, 1024), "--memory 1000 B: must be from 1.0 MiB to 1.0 TiB");
        assert_eq!(
            refusal(1 << 20, 1 << 20),
            "--item-size-max 1.0 MiB: with --memory 1.0 MiB it must be from 1.0 KiB to 128.0 KiB"
        );
        assert!(refusal(1 << 20, 10).starts_with("--item-size-max 10 B"));
        assert!(Settings::default().check().is_ok());
    }
}
