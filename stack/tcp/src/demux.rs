//! Maps a segment's four-tuple to its owner: a connection, a half-open one, or a TIME-WAIT entry.
//!
//! Open addressing with linear probing over 8-byte slots, so a lookup usually reads one cache line.
//! The table holds hashes and owners; the four-tuple is compared in the owner's own table. The size
//! is fixed: twice as many slots as there can be owners.

use crate::wire::{Address, Segment};
use simoom_io::application::Ends;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// The owner of a four-tuple: its table and its index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A connection with a control block.
    Connection(u32),
    /// A half-open connection.
    HalfOpen(u32),
    /// A connection in TIME-WAIT.
    TimeWait(u32),
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tuple {
    /// The peer's address.
    pub(crate) remote: Address,
    /// This side's address.
    pub(crate) local: Address,
    /// The peer's port.
    pub(crate) remote_port: u16,
    /// This side's port.
    pub(crate) local_port: u16,
}

impl Tuple {
    /// The four-tuple that a received segment belongs to.
    #[inline]
    pub(crate) fn of(segment: &Segment<'_>) -> Tuple {
        Tuple {
            remote: segment.remote,
            local: segment.local,
            remote_port: segment.remote_port,
            local_port: segment.local_port,
        }
    }

    /// The two endpoints as the application gets them: link-local addresses with `zone`
    /// (RFC 4007 §6), as the kernel has them.
    pub(crate) fn ends(&self, zone: u32) -> Ends {
        Ends {
            remote: endpoint(self.remote.into(), self.remote_port, zone),
            local: endpoint(self.local.into(), self.local_port, zone),
        }
    }
}

fn endpoint(address: IpAddr, port: u16, zone: u32) -> SocketAddr {
    match address {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            SocketAddrV6::new(address, port, 0, zone).into()
        }
        address => SocketAddr::new(address, port),
    }
}

/// The secret that keeps a peer from choosing four-tuples that collide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashKey(pub(crate) [u64; 4]);

impl HashKey {
    /// A keyed hash of a four-tuple: two folded multiplications over IPv4, three over IPv6, as in
    /// wyhash.
    #[inline]
    pub(crate) fn hash(&self, tuple: &Tuple) -> u32 {
        let [k0, k1, k2, k3] = self.0;
        let (r0, r1) = tuple.remote.halves();
        let (l0, l1) = tuple.local.halves();
        let ports = u64::from(tuple.remote_port) << 16 | u64::from(tuple.local_port);
        let mixed = if tuple.remote.is_v4() && tuple.local.is_v4() {
            let addresses = (r1 & !u64::from(u32::MAX)) | l1 >> 32;
            fold(addresses ^ k0, ports ^ k1)
        } else {
            fold(r0 ^ k0, r1 ^ k1) ^ fold(l0 ^ k2, l1 ^ k3) ^ ports
        };
        (fold(mixed ^ k3, k2 | 1) >> 16) as u32
    }
}

/// Both halves of the product of two words.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    owner: u32,
}

const EMPTY: u32 = u32::MAX;
const KIND_SHIFT: u32 = 30;

impl Owner {
    /// Tables are limited to this many entries each, so that an owner fits 32 bits.
    pub(crate) const MAX_INDEX: u32 = (1 << KIND_SHIFT) - 2;

    const fn pack(self) -> u32 {
        match self {
            Owner::Connection(index) => index,
            Owner::HalfOpen(index) => 1 << KIND_SHIFT | index,
            Owner::TimeWait(index) => 2 << KIND_SHIFT | index,
        }
    }

    const fn unpack(packed: u32) -> Owner {
        let index = packed & ((1 << KIND_SHIFT) - 1);
        match packed >> KIND_SHIFT {
            0 => Owner::Connection(index),
            1 => Owner::HalfOpen(index),
            _ => Owner::TimeWait(index),
        }
    }
}

/// The table.
pub(crate) struct Demux {
    /// A power of two of them.
    slots: Vec<Slot>,
    len: u32,
    capacity: u32,
}

impl Demux {
    /// A table for at most `capacity` owners.
    pub(crate) fn new(capacity: u32) -> Demux {
        let slots = Self::slots(capacity);
        Demux { slots: vec![Slot { hash: 0, owner: EMPTY }; slots], len: 0, capacity }
    }

    fn slots(capacity: u32) -> usize {
        (capacity.max(8) as usize * 2).next_power_of_two()
    }

    /// Bytes of memory that [`Demux::new`] takes.
    pub(crate) fn memory_bytes(capacity: u32) -> usize {
        Self::slots(capacity) * size_of::<Slot>()
    }

    /// The slot where the search for this hash begins. From the length, so that the compiler knows
    /// that it is within the table.
    #[inline(always)]
    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    #[inline(always)]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    /// The owner with this hash for which `is_it` holds.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u32, is_it: impl Fn(Owner) -> bool) -> Option<Owner> {
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at];
            if slot.owner == EMPTY {
                return None;
            }
            if slot.hash == hash && is_it(Owner::unpack(slot.owner)) {
                return Some(Owner::unpack(slot.owner));
            }
            at = self.after(at);
        }
    }

    /// Prefetches the first slot of this hash.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u32) -> u32 {
        self.slots[self.home(hash)].owner
    }

    /// The first owner with this hash, which is probably the right one: used to prefetch its
    /// memory.
    #[inline]
    pub(crate) fn guess(&self, hash: u32) -> Option<Owner> {
        self.find(hash, |_| true)
    }

    /// Adds an owner that is not in the table.
    pub(crate) fn insert(&mut self, hash: u32, owner: Owner) {
        assert!(self.len < self.capacity, "more owners than the tables behind them can hold");
        let mut at = self.home(hash);
        while self.slots[at].owner != EMPTY {
            at = self.after(at);
        }
        self.slots[at] = Slot { hash, owner: owner.pack() };
        self.len += 1;
    }

    /// Replaces `from` by `to`: a connection moves to another table.
    pub(crate) fn replace(&mut self, hash: u32, from: Owner, to: Owner) {
        let at = self.position(hash, from);
        self.slots[at].owner = to.pack();
    }

    /// Removes an owner that is in the table, and closes the gap so that no probe ends early.
    pub(crate) fn remove(&mut self, hash: u32, owner: Owner) {
        let mut gap = self.position(hash, owner);
        let mut at = gap;
        loop {
            at = self.after(at);
            let slot = self.slots[at];
            if slot.owner == EMPTY {
                break;
            }
            // A slot may move back to the gap unless the gap lies before its home slot.
            let from = |earlier: usize| at.wrapping_sub(earlier) & (self.slots.len() - 1);
            if from(self.home(slot.hash)) >= from(gap) {
                self.slots[gap] = slot;
                gap = at;
            }
        }
        self.slots[gap].owner = EMPTY;
        self.len -= 1;
    }

    fn position(&self, hash: u32, owner: Owner) -> usize {
        let packed = owner.pack();
        let mut at = self.home(hash);
        while self.slots[at].owner != packed {
            assert!(self.slots[at].owner != EMPTY, "{owner:?} is not in the table");
            at = self.after(at);
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn rfc_4007_section_6_link_local_addresses_have_the_zone_of_the_interface() {
        let at = |address: &str| endpoint(address.parse().unwrap(), 80, 7).to_string();
        assert_eq!(at("fe80::1"), "[fe80::1%7]:80");
        assert_eq!(at("2001:db8::1"), "[2001:db8::1]:80");
        assert_eq!(at("169.254.0.1"), "169.254.0.1:80");
    }

    /// Tuples that differ in any part, of one client or of many, spread over the table.
    #[test]
    fn hashes_of_similar_tuples_are_spread() {
        let v4 = |a: u8, b: u8| Address::from_v4([198, 18, a, b]);
        let v6 = |a: u8, b: u8| {
            Address::from_v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, a, 0, 0, 0, 0, 0, 0, 0, b])
        };
        let key = HashKey([0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 3, 1 << 63]);
        let families: [&dyn Fn(u8, u8) -> Address; 2] = [&v4, &v6];
        for address in families {
            for step in [1, 2, 256] {
                let tuples = (0..4096u32).map(|n| {
                    let [.., a, b] = (n % 64).to_be_bytes();
                    Tuple {
                        remote: address(a, b),
                        local: address(7, (n / 2048) as u8),
                        remote_port: (n / 64 % 32 * step) as u16,
                        local_port: 80,
                    }
                });
                let slots: std::collections::HashSet<u32> =
                    tuples.map(|tuple| key.hash(&tuple) & 0xffff).collect();
                // As many as random numbers occupy of 65,536 slots: 3,970.
                assert!(slots.len() > 3850, "{} slots, step {step}", slots.len());
            }
        }
    }

    proptest! {
        /// Few distinct hashes, so that runs form, wrap and close.
        #[test]
        fn behaves_like_a_map(steps in proptest::collection::vec((0u32..24, 0u32..3, 0u32..40), 1..400)) {
            let mut demux = Demux::new(32);
            let mut model: HashMap<u32, u32> = HashMap::new();
            for (hash, action, index) in steps {
                let hash = hash.wrapping_sub(8) | (hash & 1) << 20;
                match action {
                    0 | 1 if !model.contains_key(&index) && model.len() < 32 => {
                        demux.insert(hash, Owner::Connection(index));
                        model.insert(index, hash);
                    }
                    2 => if let Some(hash) = model.remove(&index) {
                        demux.remove(hash, Owner::Connection(index));
                    },
                    _ => {}
                }
                prop_assert_eq!(demux.len as usize, model.len());
                for (&index, &hash) in &model {
                    let wanted = Owner::Connection(index);
                    prop_assert_eq!(demux.find(hash, |owner| owner == wanted), Some(wanted));
                }
            }
        }
    }

    #[test]
    fn owners_keep_their_kind() {
        for owner in [Owner::Connection(7), Owner::HalfOpen(0), Owner::TimeWait(Owner::MAX_INDEX)] {
            assert_eq!(Owner::unpack(owner.pack()), owner);
        }
    }
}
