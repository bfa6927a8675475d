//! Counts the connections of each source prefix. By default that is a /24 of IPv4 or a /64 of IPv6,
//! about one network.
//!
//! Half-open connections are not counted: anybody can forge their addresses. Counts lie in a table
//! of fixed size, indexed by a keyed hash. Prefixes with the same slot are counted together, so one
//! may be refused because of another; a stranger cannot tell which. Active opens are counted and
//! never refused. Without a limit there is no table.

use crate::config::Limits;
use crate::keyed::Keyed;
use crate::wire::Address;

/// Fewer slots would save little memory and cause collisions.
const SLOTS_MIN: u32 = 1024;

/// The length of the prefixes that are counted, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixLengths {
    /// Of IPv4 addresses: 1 to 32.
    pub v4: u8,
    /// Of IPv6 addresses: 1 to 128.
    pub v6: u8,
}

impl Default for PrefixLengths {
    fn default() -> PrefixLengths {
        PrefixLengths { v4: 24, v6: 64 }
    }
}

/// The counts of one worker.
#[derive(Debug)]
pub struct Prefixes {
    keyed: Keyed,
    /// A power of two of slots, or none without a limit.
    counts: Vec<u32>,
    max: u32,
    lengths: PrefixLengths,
}

impl Prefixes {
    pub(crate) fn new(limits: &Limits, keyed: Keyed) -> Prefixes {
        Prefixes {
            keyed,
            counts: vec![0; Prefixes::slots(limits) as usize],
            max: limits.connections_per_prefix,
            lengths: limits.prefix_lengths,
        }
    }

    /// The counts for a transport other than the stack, with the same limits.
    pub fn with_secret(limits: &Limits, secret: [u64; 4]) -> Prefixes {
        Prefixes::new(limits, Keyed::new(secret))
    }

    /// At least one slot for each connection, so that few prefixes collide.
    pub(crate) fn slots(limits: &Limits) -> u32 {
        match limits.connections_per_prefix {
            0 => 0,
            _ => limits.connections.next_power_of_two().max(SLOTS_MIN),
        }
    }

    /// Whether there is a limit.
    pub fn is_limited(&self) -> bool {
        !self.counts.is_empty()
    }

    /// Bytes of memory that the counts take.
    pub fn memory_bytes(limits: &Limits) -> usize {
        Prefixes::slots(limits) as usize * size_of::<u32>()
    }

    /// How many more connections from this prefix are admitted.
    pub(crate) fn left(&self, remote: &Address) -> u32 {
        self.slot(remote)
            .map_or(u32::MAX, |slot| self.max.saturating_sub(self.counts[slot as usize]))
    }

    /// Whether another connection from the prefix at `slot` is admitted.
    pub fn has_capacity_at(&self, slot: u32) -> bool {
        self.counts[slot as usize] < self.max
    }

    /// A connection with this remote address begins.
    pub(crate) fn add(&mut self, remote: &Address) {
        if let Some(slot) = self.slot(remote) {
            self.add_at(slot);
        }
    }

    /// A connection from the prefix at `slot` begins.
    pub fn add_at(&mut self, slot: u32) {
        self.counts[slot as usize] += 1;
    }

    /// A connection with this remote address has ended.
    pub(crate) fn remove(&mut self, remote: &Address) {
        if let Some(slot) = self.slot(remote) {
            self.remove_at(slot);
        }
    }

    /// A connection from the prefix at `slot` has ended.
    pub fn remove_at(&mut self, slot: u32) {
        self.counts[slot as usize] -= 1;
    }

    /// The number of counted connections.
    pub(crate) fn total(&self) -> usize {
        self.counts.iter().map(|&count| count as usize).sum()
    }

    /// The slot of the prefix of `remote`; `None` without a limit.
    pub fn slot(&self, remote: &Address) -> Option<u32> {
        let last = self.counts.len().checked_sub(1)?;
        Some(self.keyed.prefix(&prefix(remote, self.lengths)) & last as u32)
    }
}

/// The address with all bits beyond the prefix cleared.
fn prefix(address: &Address, lengths: PrefixLengths) -> Address {
    let kept_bits = if address.is_v4() { 96 + lengths.v4 } else { lengths.v6 };
    let mask = u128::MAX.checked_shl(128 - u32::from(kept_bits)).unwrap_or(0);
    Address::from_v6((u128::from_be_bytes(address.octets()) & mask).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(connections: u32, max: u32) -> Prefixes {
        let limits = Limits { connections_per_prefix: max, ..Limits::for_connections(connections) };
        Prefixes::new(&limits, Keyed::new([1, 2, 3, 4]))
    }

    fn v6(network: u8, host: u8) -> Address {
        Address::from_v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, network, 0, 0, 0, 0, 0, 0, 0, host])
    }

    fn has_capacity(prefixes: &Prefixes, remote: &Address) -> bool {
        prefixes.left(remote) > 0
    }

    #[test]
    fn a_24_of_ipv4_and_a_64_of_ipv6_are_counted_as_one() {
        for (one, neighbour, stranger) in [
            (
                Address::from_v4([198, 18, 0, 1]),
                Address::from_v4([198, 18, 0, 255]),
                Address::from_v4([198, 18, 1, 1]),
            ),
            (v6(1, 1), v6(1, 255), v6(2, 1)),
        ] {
            let mut prefixes = prefixes(64, 2);
            prefixes.add(&one);
            assert!(has_capacity(&prefixes, &neighbour));
            prefixes.add(&neighbour);
            assert!(!has_capacity(&prefixes, &one) && !has_capacity(&prefixes, &neighbour));
            assert!(has_capacity(&prefixes, &stranger));
            prefixes.remove(&one);
            assert!(has_capacity(&prefixes, &neighbour));
            assert_eq!(prefixes.total(), 1);
        }
    }

    #[test]
    fn other_lengths_count_each_address_or_larger_networks() {
        let addresses = [
            (v6(1, 1), v6(1, 2), v6(2, 1)),
            (
                Address::from_v4([198, 18, 0, 1]),
                Address::from_v4([198, 18, 0, 2]),
                Address::from_v4([198, 18, 1, 1]),
            ),
        ];
        for (one, neighbour, stranger) in addresses {
            for (lengths, neighbour_is_counted, stranger_is_counted) in [
                (PrefixLengths { v4: 32, v6: 128 }, false, false),
                (PrefixLengths { v4: 31, v6: 126 }, false, false),
                (PrefixLengths { v4: 22, v6: 62 }, true, true),
                (PrefixLengths { v4: 1, v6: 1 }, true, true),
            ] {
                let limits = Limits {
                    connections_per_prefix: 1,
                    prefix_lengths: lengths,
                    ..Limits::for_connections(64)
                };
                let mut prefixes = Prefixes::new(&limits, Keyed::new([1, 2, 3, 4]));
                prefixes.add(&one);
                assert!(!has_capacity(&prefixes, &one));
                let is_counted = |address| !has_capacity(&prefixes, address);
                // 1 and 2 differ in the second last bit: a /31 has 0 and 1, a /126 has 0 to 3.
                let neighbour_is_counted =
                    neighbour_is_counted || lengths.v6 == 126 && !one.is_v4();
                assert_eq!(is_counted(&neighbour), neighbour_is_counted, "{lengths:?}");
                assert_eq!(is_counted(&stranger), stranger_is_counted, "{lengths:?}");
            }
        }
    }

    #[test]
    fn prefixes_that_meet_are_counted_together_and_no_count_is_lost() {
        let mut prefixes = prefixes(64, 1);
        let all =
            || (0..=255).flat_map(|c| (0..16).map(move |b| Address::from_v4([198, 16 + b, c, 1])));
        all().for_each(|address| prefixes.add(&address));
        assert_eq!(prefixes.counts.len(), SLOTS_MIN as usize);
        assert_eq!(prefixes.total(), 4096);
        assert!(all().all(|address| !has_capacity(&prefixes, &address)));
        all().for_each(|address| prefixes.remove(&address));
        assert_eq!(prefixes.total(), 0);
        assert!(all().all(|address| has_capacity(&prefixes, &address)));
    }

    #[test]
    fn there_is_no_table_without_a_limit() {
        let mut prefixes = prefixes(64, 0);
        prefixes.add(&v6(1, 1));
        assert!(has_capacity(&prefixes, &v6(1, 1)));
        assert_eq!((prefixes.total(), prefixes.counts.len()), (0, 0));
    }

    #[test]
    fn the_table_grows_with_the_connections() {
        let limits = Limits { connections_per_prefix: 1, ..Limits::for_connections(1_000_000) };
        assert_eq!(Prefixes::memory_bytes(&limits), 4 << 20);
    }
}
