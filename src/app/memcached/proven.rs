//! Addresses that completed a TCP handshake, so that a host there receives packets for them. The
//! source address of a datagram may be forged; the address of a handshake is not. Workers write the
//! table, the UDP thread reads it.
//!
//! The table has a fixed size and uses a keyed hash. A new entry may overwrite that of another
//! address, which then gets a lower limit and no other restriction.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The number of entries.
const SLOTS: usize = 4096;
/// Lifetime of an entry after the address's last handshake.
const LIFE_SECONDS: u32 = 3600;

/// The table.
#[derive(Debug)]
pub(super) struct Proven {
    /// The upper half of an address's hash, and the second of its last handshake. 0 marks a free
    /// entry.
    slots: Box<[AtomicU64]>,
    hash: RandomState,
}

impl Proven {
    pub(super) const MEMORY_BYTES: usize = SLOTS * size_of::<AtomicU64>();

    pub(super) fn new() -> Proven {
        Proven { slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(), hash: RandomState::new() }
    }

    /// Records a handshake with `address`.
    pub(super) fn note(&self, address: IpAddr, now: u32) {
        let (slot, tag) = self.find(address);
        slot.store(tag | u64::from(now), Relaxed);
    }

    /// Whether a handshake with `address` was completed within the lifetime.
    pub(super) fn contains(&self, address: IpAddr, now: u32) -> bool {
        let (slot, tag) = self.find(address);
        let entry = slot.load(Relaxed);
        entry & TAG == tag && entry != 0 && now.saturating_sub(entry as u32) <= LIFE_SECONDS
    }

    fn find(&self, address: IpAddr) -> (&AtomicU64, u64) {
        let hash = self.hash.hash_one(address.to_canonical());
        (&self.slots[hash as usize % SLOTS], hash & TAG)
    }
}

const TAG: u64 = 0xffff_ffff_0000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_proven_for_an_hour_after_its_handshake_and_no_other_is() {
        let proven = Proven::new();
        let [client, other] =
            ["198.18.0.1", "198.18.0.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let now = 1_700_000_000;
        assert!(!proven.contains(client, now));
        proven.note(client, now);
        assert!(proven.contains(client, now) && proven.contains(client, now + LIFE_SECONDS));
        assert!(!proven.contains(client, now + LIFE_SECONDS + 1) && !proven.contains(other, now));
    }
}
