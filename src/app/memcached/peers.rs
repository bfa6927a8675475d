//! How much memory the unfinished values of each peer hold. A peer is an IPv4 address or an IPv6
//! /64: connections prove their address, unlike datagrams.
//!
//! Peers are counted under a keyed hash in a table of fixed size. Peers that meet in a slot count
//! as one; nobody can choose whom he meets.

use super::uploads::NONE;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

const SLOTS: usize = 1024;

/// The number of a peer's slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Peer(u16);

/// The unfinished values of one peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) bytes: u64,
    /// The ends of their list, which is in the order of their last progress.
    pub(super) first: u32,
    pub(super) last: u32,
}

/// The peers of one worker.
#[derive(Debug)]
pub(super) struct Peers {
    held: Box<[Held]>,
    hash: RandomState,
}

impl Peers {
    pub(super) const MEMORY_BYTES: usize = SLOTS * size_of::<Held>();

    pub(super) fn new() -> Peers {
        let none = Held { bytes: 0, first: NONE, last: NONE };
        Peers { held: vec![none; SLOTS].into(), hash: RandomState::new() }
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

    /// The first values of the peers that hold the most: of several, if they hold equally much.
    pub(super) fn heaviest(&self) -> impl Iterator<Item = u32> {
        let most = self.held.iter().map(|held| held.bytes).max().unwrap_or(0);
        let heaviest = self.held.iter().filter(move |held| held.bytes == most);
        heaviest.map(|held| held.first).filter(|first| *first != NONE)
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
        // Few of these meet: which ones do is random.
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
