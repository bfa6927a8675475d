//! What may still be sent over UDP: in come a source and byte counts, out goes whether to answer.
//!
//! A datagram's source is what its sender says. So that nobody can have Simoom flood somebody else,
//! there are budgets for each source, for each network and for all sources together. A budget grows
//! by what its sources send and by its rate, up to a burst, and answers use it up. An answer no
//! longer than its request is always sent: it multiplies nothing, and so a flood of forged requests
//! does not silence clients that store.
//!
//! A source that is known to receive what is sent to it (see
//! [`crate::app::memcached::Shared::is_proven`]) has its own budget alone. Sources share a budget
//! whose hashes fall together, keyed so that nobody can make them.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// How fast a budget grows, and how much of it is saved up.
#[derive(Clone, Copy, Debug)]
struct Rate {
    bytes_per_second: u64,
    burst_bytes: i64,
}

/// An IPv4 address, or an IPv6 /64.
const SOURCE: Rate = Rate { bytes_per_second: 1 << 20, burst_bytes: 64 << 10 };
/// An IPv4 /24, or an IPv6 /56.
const NETWORK: Rate = Rate { bytes_per_second: 2 << 20, burst_bytes: 128 << 10 };
/// All sources that are not proven.
const TOTAL: Rate = Rate { bytes_per_second: 4 << 20, burst_bytes: 256 << 10 };
/// Budgets kept for sources.
const SOURCES: usize = 4096;
/// Budgets kept for networks.
const NETWORKS: usize = 1024;
/// Time that a budget grows for at most between two requests: more fills any budget.
const LONGEST_MS: u64 = 60_000;

/// Which budget was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UsedUp {
    /// The source's.
    Source,
    /// The network's.
    Network,
    /// That of all sources.
    Total,
}

/// A request and its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    pub(super) source: IpAddr,
    /// Whether the source is known to receive what is sent to it.
    pub(super) proven: bool,
    pub(super) received_bytes: usize,
    pub(super) answer_bytes: usize,
}

pub(super) struct Credits {
    sources: Box<[Credit]>,
    networks: Box<[Credit]>,
    total: Credit,
    hash: RandomState,
}

/// The state of one budget.
#[derive(Clone, Copy)]
struct Credit {
    /// Below zero by at most one answer.
    bytes: i64,
    /// When it was last brought up to date.
    at_ms: u64,
}

impl Credit {
    const fn full(rate: Rate) -> Credit {
        Credit { bytes: rate.burst_bytes, at_ms: 0 }
    }

    /// Adds what has been earned. Returns whether anything may be spent.
    fn earn(&mut self, rate: Rate, received_bytes: usize, now_ms: u64) -> bool {
        let elapsed_ms = now_ms.saturating_sub(self.at_ms).min(LONGEST_MS);
        let earned = (elapsed_ms * rate.bytes_per_second / 1000) as i64 + received_bytes as i64;
        *self = Credit { bytes: rate.burst_bytes.min(self.bytes + earned), at_ms: now_ms };
        self.bytes > 0
    }
}

impl Credits {
    pub(super) const MEMORY_BYTES: usize = (SOURCES + NETWORKS) * size_of::<Credit>();

    pub(super) fn new() -> Credits {
        Credits {
            sources: vec![Credit::full(SOURCE); SOURCES].into_boxed_slice(),
            networks: vec![Credit::full(NETWORK); NETWORKS].into_boxed_slice(),
            total: Credit::full(TOTAL),
            hash: RandomState::new(),
        }
    }

    /// Takes the answer off every budget that it counts against, or says which one is used up.
    pub(super) fn take(&mut self, exchange: Exchange, now_ms: u64) -> Result<(), UsedUp> {
        let Exchange { source, proven, received_bytes, answer_bytes } = exchange;
        let (of_source, of_network) =
            (self.place(source, 64, SOURCES), self.place(network(source), 56, NETWORKS));
        let mut budgets = [
            (UsedUp::Source, SOURCE, &mut self.sources[of_source]),
            (UsedUp::Network, NETWORK, &mut self.networks[of_network]),
            (UsedUp::Total, TOTAL, &mut self.total),
        ];
        let counted = if proven { 1 } else { budgets.len() };
        let budgets = &mut budgets[..counted];
        let mut used_up = None;
        for (which, rate, credit) in budgets.iter_mut() {
            if !credit.earn(*rate, received_bytes, now_ms) {
                used_up = used_up.or(Some(*which));
            }
        }
        if let Some(which) = used_up.filter(|_| answer_bytes > received_bytes) {
            return Err(which);
        }
        budgets.iter_mut().for_each(|(_, _, credit)| credit.bytes -= answer_bytes as i64);
        Ok(())
    }

    /// Where the budget of an address is; of an IPv6 address its first `bits` count.
    fn place(&self, address: IpAddr, bits: u32, places: usize) -> usize {
        let key = match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits() >> (128 - bits),
        };
        (self.hash.hash_one((address.is_ipv4(), bits, key)) % places as u64) as usize
    }
}

/// The /24 of an IPv4 address; an IPv6 address as it is.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() & !0xff).into()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
#[path = "credit_tests.rs"]
mod tests;
