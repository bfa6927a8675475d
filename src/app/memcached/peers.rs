//! Counts the memory of each peer's unfinished values, and what it has wasted. A peer is an IPv4
//! address or an IPv6 /64. Connections prove their address, unlike datagrams.
//!
//! A table of fixed size counts peers under a keyed hash. Peers in the same slot count as one. The
//! key is secret, so no peer can choose its slot.

use super::uploads::NONE;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

const SLOTS: usize = 1024;
/// Seconds after which a peer's waste counts half.
const HALVING_SECONDS: u32 = 8;
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
    /// Bytes that each peer has lately had for values that it did not finish in time.
    wasted: Box<[u64]>,
    /// The number of halvings of `wasted` since the clock began.
    halvings: u32,
    held: Box<[Held]>,
    hash: RandomState,
}

impl Peers {
    pub(super) const MEMORY_BYTES: usize = SLOTS * (size_of::<Held>() + 2 * size_of::<u64>());

    pub(super) fn new() -> Peers {
        let held = vec![Held::NOTHING; SLOTS].into();
        let zeros = || vec![0; SLOTS].into();
        let hash = RandomState::new();
        Peers { bytes: zeros(), wasted: zeros(), halvings: 0, held, hash }
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

    /// Bytes that a peer has lately wasted.
    pub(super) fn wasted(&self, peer: Peer) -> u64 {
        self.wasted[usize::from(peer.0)]
    }

    /// A peer had memory for a value that it did not finish in time.
    pub(super) fn waste(&mut self, peer: Peer, bytes: u64, now: u32) {
        self.forget(now);
        self.wasted[usize::from(peer.0)] += bytes;
    }

    /// Forgets waste as time passes.
    pub(super) fn forget(&mut self, now: u32) {
        let halvings = now / HALVING_SECONDS;
        let due = halvings.saturating_sub(self.halvings);
        if due > 0 {
            self.wasted
                .iter_mut()
                .for_each(|wasted| *wasted = wasted.checked_shr(due).unwrap_or(0));
        }
        self.halvings = halvings;
    }

    /// The peers that have and have wasted the most memory, of those that have some. Several if
    /// they have equal amounts.
    pub(super) fn heaviest(&self) -> impl Iterator<Item = (u64, &Held)> {
        let weight = |(bytes, wasted): (&u64, &u64)| if *bytes > 0 { bytes + wasted } else { 0 };
        let weights = move || self.bytes.iter().zip(&self.wasted).map(weight);
        let most = weights().max().unwrap_or(0);
        let peers = self.bytes.iter().copied().zip(&self.held).zip(weights());
        peers.filter(move |(_, weight)| *weight == most && most > 0).map(|(peer, _)| peer)
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
