//! What may still be sent to an address: in come addresses and byte counts, out goes whether to answer.
//!
//! A datagram's source is what its sender says. So that nobody can have Simoom flood somebody else, each source has a
//! credit: it grows by what the source sends and by [`BYTES_PER_SECOND`], up to [`BURST_BYTES`], and answers use it
//! up. Sources share it whose hashes fall together, keyed so that nobody can make them; IPv6 addresses that share
//! their first 64 bits are one source.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// What each source may be sent beyond what it sends.
pub(crate) const BYTES_PER_SECOND: u64 = 1 << 20;
/// The most credit that is saved up.
const BURST_BYTES: i64 = 64 << 10;
/// Credits kept.
const PLACES: usize = 4096;

pub(super) struct Credits {
    places: Box<[Credit]>,
    hash: RandomState,
}

#[derive(Clone, Copy)]
struct Credit {
    /// Below zero by at most one answer.
    bytes: i64,
    /// When it was reckoned.
    at_ms: u64,
}

impl Credits {
    pub(super) const MEMORY_BYTES: usize = PLACES * size_of::<Credit>();

    pub(super) fn new() -> Credits {
        let full = Credit { bytes: BURST_BYTES, at_ms: 0 };
        Credits { places: vec![full; PLACES].into_boxed_slice(), hash: RandomState::new() }
    }

    /// A source has sent so many bytes: whether it may be answered.
    pub(super) fn earn(&mut self, source: IpAddr, sent: usize, now_ms: u64) -> bool {
        let credit = self.of(source);
        let earned = (now_ms.saturating_sub(credit.at_ms)).min(60_000) * BYTES_PER_SECOND / 1000;
        *credit = Credit { bytes: BURST_BYTES.min(credit.bytes + earned as i64 + sent as i64), at_ms: now_ms };
        credit.bytes > 0
    }

    /// It was answered with so many.
    pub(super) fn spend(&mut self, source: IpAddr, answered: usize) {
        self.of(source).bytes -= answered as i64;
    }

    fn of(&mut self, source: IpAddr) -> &mut Credit {
        let bits = match source {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        let place = self.hash.hash_one((source.is_ipv4(), bits)) % PLACES as u64;
        &mut self.places[place as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_is_answered_until_its_credit_is_used_up_and_again_when_time_has_passed() {
        let (mut credits, at) = (Credits::new(), source("198.18.0.2"));
        for _ in 0..6 {
            assert!(credits.earn(at, 0, 1000));
            credits.spend(at, 11_000);
        }
        // 66,000 bytes are more than 64 KiB by 464, which takes less than a millisecond.
        assert!(!credits.earn(at, 0, 1000));
        assert!(credits.earn(at, 0, 1001));
        credits.spend(at, 10_000_000);
        assert!(!credits.earn(at, 0, 10_000) && credits.earn(at, 0, 11_000));
    }

    #[test]
    fn what_a_source_sends_it_may_be_sent() {
        let (mut credits, at) = (Credits::new(), source("2001:db8::2"));
        credits.spend(at, 1 << 17);
        for _ in 0..100 {
            assert!(!credits.earn(at, 100, 0));
            credits.spend(at, 100);
        }
        assert!(credits.earn(at, 1 << 17, 0));
    }

    #[test]
    fn credit_is_not_saved_up_beyond_a_burst() {
        let (mut credits, at) = (Credits::new(), source("198.18.0.2"));
        assert!(credits.earn(at, 1 << 30, u64::MAX));
        credits.spend(at, BURST_BYTES as usize);
        assert!(!credits.earn(at, 0, u64::MAX));
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let mut credits = Credits::new();
        credits.spend(source("2001:db8:0:1::2"), 1 << 20);
        assert!(!credits.earn(source("2001:db8:0:1:ffff::9"), 0, 0));
    }
}
