//! Rate limits of UDP answers: decides by source address and byte counts whether to answer.
//!
//! The source of a datagram can be forged. Budgets for each source, each network and all sources
//! together prevent floods of a third party. A budget grows by the received bytes and by its rate,
//! up to a burst; answers use it up. An answer no longer than its request is always sent: it
//! amplifies nothing, so forged requests do not silence clients that store.
//!
//! A source that is proven to receive answers (see [`DatagramHandler::is_proven`])
//! has only its own budget. Sources with the same hash share a budget; the hash is keyed, so an
//! attacker cannot choose collisions.

#[cfg(doc)]
use crate::datagrams::DatagramHandler;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// Growth rate and maximum of a budget.
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
/// Number of budgets for sources.
const SOURCES: usize = 4096;
/// Number of budgets for networks.
const NETWORKS: usize = 1024;
/// Longest time counted between two requests: a longer one fills any budget.
const LONGEST_MS: u64 = 60_000;

/// The exhausted budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UsedUp {
    /// The budget of the source.
    Source,
    /// The budget of the network.
    Network,
    /// The budget of all sources.
    Total,
}

/// A request and its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    pub(super) source: IpAddr,
    /// Whether the source is proven to receive answers.
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
    /// Time of the last update.
    at_ms: u64,
}

impl Credit {
    const fn full(rate: Rate) -> Credit {
        Credit { bytes: rate.burst_bytes, at_ms: 0 }
    }

    /// Adds the growth since the last update. Returns whether the budget is positive.
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

    /// Subtracts the answer from its budgets, or returns the exhausted one.
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

    /// Index of the budget of an address. The first `bits` of an IPv6 address count.
    fn place(&self, address: IpAddr, bits: u32, places: usize) -> usize {
        let key = match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits() >> (128 - bits),
        };
        (self.hash.hash_one((address.is_ipv4(), bits, key)) % places as u64) as usize
    }
}

/// The /24 of an IPv4 address. IPv6 addresses are not changed.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() & !0xff).into()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
#[path = "credit_tests.rs"]
mod tests;
