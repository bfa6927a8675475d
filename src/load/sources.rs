//! Where connections come from: source addresses and ports, dealt out in turn.
//!
//! An address has some 55,000 ports, so a million connections need twenty addresses. As few are used as are enough:
//! each costs the stack a comparison per packet. None of it is looked up: whether a pair is free, the stack tells.

use crate::error::{Error, Result};
use simoom_stack::Address;
use std::net::{IpAddr, Ipv4Addr};

/// The first port that is used; those below may be services' or the kernel's own choice.
const FIRST_PORT: u16 = 10_000;
/// Ports of each address.
const PORTS: u32 = (u16::MAX - FIRST_PORT) as u32 + 1;
/// The most addresses used at once.
const ADDRESSES_MAX: u32 = 64;
/// With a connection for each request, ports come round again within seconds: the more addresses, the later.
const SHORT_LIVED_ADDRESSES: u32 = 16;

/// What `--source` says: an address, and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The first address.
    pub address: Ipv4Addr,
    /// Its prefix, 32 for the address alone.
    pub prefix: u8,
}

impl Source {
    /// Reads `ADDRESS` or `ADDRESS/PREFIX`.
    pub(crate) fn parse(text: &str) -> Result<Source, String> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr = address.parse().map_err(|_| "not an IPv4 address; write 198.18.64.1/24")?;
        let prefix = prefix.parse().ok().filter(|prefix| (8..=32).contains(prefix));
        let prefix = prefix.ok_or("a prefix is a number from 8 to 32; write 198.18.64.1/24")?;
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() || address.is_broadcast() {
            return Err("not the address of one host on a network".to_owned());
        }
        Ok(Source { address, prefix })
    }

    /// Whether `address` is in the same prefix.
    pub(crate) fn is_neighbour(self, address: IpAddr) -> bool {
        let hosts = (!0u32).checked_shr(self.prefix.into()).unwrap_or(0);
        matches!(address, IpAddr::V4(address) if address.to_bits() | hosts == self.address.to_bits() | hosts)
    }

    /// Addresses from the first on that a host can have.
    fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        let (first, hosts) = (self.address.to_bits(), (!0u32).checked_shr(self.prefix.into()).unwrap_or(0));
        let all_zeros_and_ones = [first & !hosts, first | hosts];
        (first..=first | hosts)
            .filter(move |bits| hosts < 2 || !all_zeros_and_ones.contains(bits))
            .map(Ipv4Addr::from_bits)
    }

    /// As many addresses as `connections` need, or as short-lived ones had better have.
    pub(crate) fn addresses(self, connections: u32, short_lived: bool) -> Result<Vec<Ipv4Addr>> {
        // A tenth more than are open: what has just been closed is not free at once.
        let needed = (connections + connections / 10).div_ceil(PORTS);
        let wished = if short_lived { needed.max(SHORT_LIVED_ADDRESSES) } else { needed };
        let Source { address, prefix } = self;
        if needed > ADDRESSES_MAX {
            return Err(Error::usage(format!(
                "--connections {connections}: at most {} from one interface, with {ADDRESSES_MAX} source addresses",
                ADDRESSES_MAX * PORTS / 11 * 10
            )));
        }
        let addresses: Vec<Ipv4Addr> = self.hosts().take(wished as usize).collect();
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

/// The pairs of address and port, dealt out in turn for ever.
#[derive(Debug)]
pub(crate) struct Sources {
    addresses: Vec<Address>,
    next: u64,
}

impl Sources {
    /// All ports of `addresses`, at least one.
    pub(crate) fn new(addresses: &[Ipv4Addr]) -> Sources {
        assert!(!addresses.is_empty(), "a source has an address");
        Sources { addresses: addresses.iter().map(|address| Address::from(*address)).collect(), next: 0 }
    }

    /// The first address.
    pub(crate) fn first(&self) -> Address {
        self.addresses[0]
    }

    /// How many pairs there are.
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
        assert_eq!(source, Source { address: Ipv4Addr::new(198, 18, 64, 1), prefix: 24 });
        assert_eq!(Source::parse("198.18.64.1").unwrap().prefix, 32);
        for text in ["", "198.18.64", "198.18.64.1/33", "198.18.64.1/", "2001:db8::1", "127.0.0.1", "224.0.0.1/8"] {
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
        assert_eq!(source.addresses(10_000, false).unwrap(), [Ipv4Addr::new(198, 18, 64, 1)]);
        assert_eq!(source.addresses(1_000_000, false).unwrap().len(), 20);
        assert_eq!(source.addresses(10, true).unwrap().len(), 16);
        assert_eq!(Source::parse("198.18.64.9").unwrap().addresses(10, true).unwrap().len(), 1);
        let few = Source::parse("198.18.64.1/30").unwrap().addresses(1_000_000, false).unwrap_err();
        assert!(few.to_string().contains("need 20 addresses") && few.to_string().contains("it has 2"), "{few}");
        assert!(source.addresses(16_000_000, false).unwrap_err().to_string().starts_with("--connections 16000000"));
    }

    #[test]
    fn every_pair_comes_once_before_any_comes_again() {
        let mut sources = Sources::new(&[Ipv4Addr::new(198, 18, 64, 1), Ipv4Addr::new(198, 18, 64, 2)]);
        let count = sources.count();
        let first = sources.next();
        let all: HashSet<_> = (1..count).map(|_| sources.next()).chain([first]).collect();
        assert_eq!(all.len() as u64, count);
        assert!(all.iter().all(|(_, port)| *port >= FIRST_PORT));
        assert_eq!(sources.next(), first);
    }
}
