//! Source addresses and ports of connections, assigned in turn.
//!
//! Ports are neither hashed nor random (RFC 6056 §3.3): a run needs all of them, each as late as
//! possible after its last use, and loads only its owner's servers.
//! [`simoom_tcp::Connect::local_port`] says when to choose otherwise.
//!
//! An address has about 55,000 ports, so a million connections need twenty addresses. No more are
//! used than needed: each costs the stack a comparison for each packet. The stack tells whether a
//! pair is free.

use crate::config::values;
use crate::error::{Error, Result};
use simoom_tcp::Address;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first port. Lower ones may belong to services or to the kernel.
const FIRST_PORT: u16 = 10_000;
/// Ports of each address.
const PORTS: u32 = (u16::MAX - FIRST_PORT) as u32 + 1;
/// Limit of the addresses.
const ADDRESSES_MAX: u32 = 64;
/// Addresses for a connection per request. Ports repeat within seconds, and later with more
/// addresses.
const SHORT_LIVED_ADDRESSES: u32 = 16;

/// The value of `--source`: an address with its prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The first address.
    pub address: IpAddr,
    /// Prefix length; 32, or 128 with IPv6, for the address alone.
    pub prefix: u8,
}

impl Source {
    /// Parses `ADDRESS` or `ADDRESS/PREFIX`.
    pub(crate) fn parse(text: &str) -> Result<Source, String> {
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address =
            values::address(address).map_err(|why| format!("{why}; or 198.18.64.1/24"))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(longest), |prefix| prefix.parse().ok());
        match prefix.filter(|prefix| (8..=longest).contains(prefix)) {
            Some(prefix) => Ok(Source { address, prefix }),
            None => Err(format!(
                "a prefix is a number from 8 to {longest}; write {address}/{}",
                longest - 8
            )),
        }
    }

    /// Whether `address` is in the same prefix.
    pub(crate) fn is_neighbour(self, address: IpAddr) -> bool {
        let hosts = self.host_bits();
        address.is_ipv4() == self.address.is_ipv4()
            && bits(address) | hosts == bits(self.address) | hosts
    }

    /// The bits of the host part.
    fn host_bits(self) -> u128 {
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        (!0u128 >> (128 - width)).checked_shr(self.prefix.into()).unwrap_or(0)
    }

    /// The host addresses from the first one on, without the network address and IPv4's broadcast
    /// address.
    fn hosts(self) -> impl Iterator<Item = IpAddr> {
        let (first, hosts, is_v4) = (bits(self.address), self.host_bits(), self.address.is_ipv4());
        let (network, last) = (first & !hosts, first | hosts);
        let is_broadcast = move |bits: u128| is_v4 && bits == last;
        let at = move |bits: u128| match is_v4 {
            true => Ipv4Addr::from_bits(bits as u32).into(),
            false => Ipv6Addr::from_bits(bits).into(),
        };
        (first..=last)
            .filter(move |bits| hosts < 2 || *bits != network && !is_broadcast(*bits))
            .map(at)
    }

    /// The addresses that `connections` need, or more for short-lived connections.
    pub(crate) fn addresses(self, connections: u32, short_lived: bool) -> Result<Vec<IpAddr>> {
        // A tenth more than are open: a closed connection does not free its port at once.
        let needed = (connections + connections / 10).div_ceil(PORTS);
        let wished = if short_lived { needed.max(SHORT_LIVED_ADDRESSES) } else { needed };
        let Source { address, prefix } = self;
        if needed > ADDRESSES_MAX {
            return Err(Error::usage(format!(
                "--connections {connections}: at most {} from one interface, with {ADDRESSES_MAX} source addresses",
                ADDRESSES_MAX * PORTS / 11 * 10
            )));
        }
        let addresses: Vec<IpAddr> = self.hosts().take(wished as usize).collect();
        if addresses.len() < needed as usize {
            return Err(Error::usage(format!(
                "--source {address}/{prefix}: {connections} connections need {needed} addresses of {PORTS} ports, \
                 and it has {}",
                addresses.len()
            )));
        }
        Ok(addresses)
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Pairs of address and port, assigned in turn.
#[derive(Debug)]
pub(crate) struct Sources {
    addresses: Vec<Address>,
    next: u64,
}

impl Sources {
    /// All ports of `addresses`, of which there is at least one.
    pub(crate) fn new(addresses: &[IpAddr]) -> Sources {
        assert!(!addresses.is_empty(), "a source has an address");
        Sources {
            addresses: addresses.iter().map(|address| Address::from(*address)).collect(),
            next: 0,
        }
    }

    /// The first address.
    pub(crate) fn first(&self) -> Address {
        self.addresses[0]
    }

    /// Number of pairs.
    pub(crate) fn count(&self) -> u64 {
        self.addresses.len() as u64 * u64::from(PORTS)
    }

    /// The next pair.
    pub(crate) fn next(&mut self) -> (Address, u16) {
        let addresses = self.addresses.len() as u64;
        let pair = self.next % self.count();
        self.next += 1;
        (self.addresses[(pair % addresses) as usize], FIRST_PORT + (pair / addresses) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn sources_are_read_or_refused() {
        let source = Source::parse("198.18.64.1/24").unwrap();
        assert_eq!(source, Source { address: Ipv4Addr::new(198, 18, 64, 1).into(), prefix: 24 });
        assert_eq!(Source::parse("198.18.64.1").unwrap().prefix, 32);
        assert_eq!(Source::parse("2001:db8::1").unwrap().prefix, 128);
        assert_eq!(Source::parse("2001:db8::1/64").unwrap().prefix, 64);
        let wrong = [
            "",
            "198.18.64",
            "198.18.64.1/33",
            "198.18.64.1/",
            "2001:db8::1/129",
            "::1",
            "ff02::1/64",
        ];
        for text in wrong.into_iter().chain(["127.0.0.1", "224.0.0.1/8"]) {
            assert!(Source::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn neighbours_are_in_the_same_prefix() {
        for (source, address, is) in [
            ("198.18.64.1/24", "198.18.64.200", true),
            ("198.18.64.1/24", "198.18.65.1", false),
            ("198.18.64.1/24", "2001:db8::1", false),
            ("198.18.64.1", "198.18.64.1", true),
            ("198.18.64.1", "198.18.64.2", false),
        ] {
            assert_eq!(
                Source::parse(source).unwrap().is_neighbour(address.parse().unwrap()),
                is,
                "{source}, {address}"
            );
        }
    }

    #[test]
    fn as_many_addresses_as_needed() {
        let source = Source::parse("198.18.64.0/24").unwrap();
        assert_eq!(source.addresses(10_000, false).unwrap(), [IpAddr::from([198, 18, 64, 1])]);
        assert_eq!(source.addresses(1_000_000, false).unwrap().len(), 20);
        assert_eq!(source.addresses(10, true).unwrap().len(), 16);
        assert_eq!(Source::parse("198.18.64.9").unwrap().addresses(10, true).unwrap().len(), 1);
        let six = Source::parse("2001:db8::/64").unwrap().addresses(60_000, false).unwrap();
        let expected: [IpAddr; 2] =
            ["2001:db8::1", "2001:db8::2"].map(|address| address.parse().unwrap());
        assert_eq!(six, expected, "::0 is every router's");
        let few = Source::parse("198.18.64.1/30").unwrap().addresses(1_000_000, false).unwrap_err();
        assert!(
            few.to_string().contains("need 20 addresses") && few.to_string().contains("it has 2"),
            "{few}"
        );
        assert!(
            source
                .addresses(16_000_000, false)
                .unwrap_err()
                .to_string()
                .starts_with("--connections 16000000")
        );
    }

    #[test]
    fn every_pair_comes_once_before_any_comes_again() {
        let mut sources = Sources::new(&[[198, 18, 64, 1], [198, 18, 64, 2]].map(IpAddr::from));
        let count = sources.count();
        let first = sources.next();
        let all: HashSet<_> = (1..count).map(|_| sources.next()).chain([first]).collect();
        assert_eq!(all.len() as u64, count);
        assert!(all.iter().all(|(_, port)| *port >= FIRST_PORT));
        assert_eq!(sources.next(), first);
    }
}
