//! Counts the memory of each peer's unfinished values. A peer is an IPv4 address or an IPv6 /64.
//! Connections prove their address, unlike datagrams.
//!
//! A table of fixed size counts peers under a keyed hash. Peers in the same slot count as one. The
//! key is secret, so no peer can choose its slot.

use super::uploads::NONE;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

const SLOTS: usize = 1024;
const CLASSES: usize = 16;
/// The smallest class is below 2 KiB, the largest starts at 32 MiB.
const SMALLEST_LOG2: u32 = 10;

/// The slot of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Peer(u16);

#[cfg(test)]
impl Peer {
    pub(super) fn numbered(number: u16) -> Peer {
        Peer(number)
    }
}

/// The first and last upload of a list, in the order of their last progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct List {
    pub(super) first: u32,
    pub(super) last: u32,
}

impl List {
    pub(super) const EMPTY: List = List { first: NONE, last: NONE };
}

/// The unfinished values of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) count: u64,
    /// One list for each [`size_class`].
    pub(super) lists: [List; CLASSES],
}

impl Held {
    pub(super) const NOTHING: Held = Held { count: 0, lists: [List::EMPTY; CLASSES] };

    /// The first upload of each non-empty class, starting with the largest class.
    pub(super) fn firsts(&self) -> impl Iterator<Item = u32> {
        self.lists.iter().rev().map(|list| list.first).filter(|first| *first != NONE)
    }
}

/// Within a class, sizes differ by less than a factor of 2, except in the smallest and the largest
/// class.
pub(super) fn size_class(bytes: u64) -> usize {
    (bytes.max(1).ilog2().saturating_sub(SMALLEST_LOG2) as usize).min(CLASSES - 1)
}

/// The peers of one worker.
#[derive(Debug)]
pub(super) struct Peers {
    /// Bytes of unfinished values for each peer.
    bytes: Box<[u64]>,
    held: Box<[Held]>,
    hash: RandomState,
}

impl Peers {
    pub(super) const MEMORY_BYTES: usize = SLOTS * (size_of::<Held>() + size_of::<u64>());

    pub(super) fn new() -> Peers {
        let held = vec![Held::NOTHING; SLOTS].into();
        Peers { bytes: vec![0; SLOTS].into(), held, hash: RandomState::new() }
    }

    /// The peer with this address.
    pub(super) fn find(&self, address: IpAddr) -> Peer {
        let key = match address.to_canonical() {
            IpAddr::V4(address) => (true, u64::from(address.to_bits())),
            IpAddr::V6(address) => (false, (address.to_bits() >> 64) as u64),
        };
        Peer((self.hash.hash_one(key) % SLOTS as u64) as u16)
    }

    pub(super) fn held(&mut self, peer: Peer) -> &mut Held {
        &mut self.held[usize::from(peer.0)]
    }

    pub(super) fn bytes(&mut self, peer: Peer) -> &mut u64 {
        &mut self.bytes[usize::from(peer.0)]
    }

    /// The peers with the most memory. Several if they have equal amounts; none if the maximum is
    /// 0.
    pub(super) fn heaviest(&self) -> impl Iterator<Item = (u64, &Held)> {
        let most = self.bytes.iter().copied().max().unwrap_or(0);
        let peers = self.bytes.iter().copied().zip(&self.held);
        peers.filter(move |(bytes, _)| *bytes == most && most > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_an_ipv4_address_or_an_ipv6_slash_64() {
        let peers = Peers::new();
        let peer = |address: &str| peers.find(address.parse().unwrap());
        assert_eq!(peer("::ffff:198.18.0.1"), peer("198.18.0.1"));
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:0:0:2"));
        // Few peers share a slot, and the hash makes the selection random.
        let differ = |addresses: Vec<String>| {
            let mut slots: Vec<u16> = addresses.iter().map(|address| peer(address).0).collect();
            slots.sort_unstable();
            slots.dedup();
            assert!(slots.len() > 32, "{slots:?} of {addresses:?}");
        };
        differ((0..64).map(|n| format!("198.18.0.{n}")).collect());
        differ((0..64).map(|n| format!("2001:db8:0:{n}::1")).collect());
    }
}
