//! The claimed traffic, in the form of the map of the steering program: one entry for each address.

use super::Error;
use super::plain::PlainClaim;
use simoom_tcp::Address;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// `CLAIM_PORTS` of bpf/layout.h: ports of one address that can be claimed.
pub const CLAIM_PORTS: usize = 16;
/// `CLAIM_ADDRESSES` of bpf/layout.h: addresses that can be claimed.
pub const CLAIM_ADDRESSES: usize = 256;
/// `CLAIM_DEDICATED` of bpf/layout.h.
const CLAIM_DEDICATED: u32 = 1;
/// `CLAIM_LEARNS` of bpf/layout.h.
pub(crate) const CLAIM_LEARNS: u32 = 2;
/// `CLAIM_EARLIER` of bpf/layout.h.
pub(crate) const CLAIM_EARLIER: u32 = 4;

/// Whether a host on a network can have this address. It must not be unspecified, loopback,
/// multicast, reserved or broadcast (RFC 1122 §3.2.1.3, RFC 4291 §2.5), nor an IPv4-mapped IPv6
/// address. Only host addresses can be claimed: the kernel accepts no packet for others from the
/// wire. The broadcast addresses of networks are not known here.
pub fn is_host_address(address: IpAddr) -> bool {
    let is_mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    !is_mapped && Address::from(address).is_unicast()
}

/// One claim on the interface's traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// Segments to a TCP port of an address of the kernel. The port is not 0.
    Port(SocketAddr),
    /// All TCP ports, ICMP, ARP and neighbour discovery of an address that the kernel does not
    /// have.
    Dedicated(IpAddr),
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claim::Port(address) => write!(f, "TCP {address}"),
            Claim::Dedicated(address) => write!(f, "all of {address}"),
        }
    }
}

/// `struct address` of bpf/layout.h: 16 bytes of an IPv6 address, an IPv4 address mapped into one.
pub(crate) type AddressKey = [u8; 16];

pub(crate) fn address_key(address: IpAddr) -> AddressKey {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// `struct claim` of bpf/layout.h. A slot without a port holds 0; ports are in network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClaimValue {
    pub(crate) flags: u32,
    pub(crate) ports: [u16; CLAIM_PORTS],
}

impl ClaimValue {
    /// Bytes of the map's value.
    pub(crate) const BYTES: usize = 4 + 2 * CLAIM_PORTS;

    /// The map's value: the members of the C structure, which has no padding.
    pub(crate) fn bytes(&self) -> [u8; ClaimValue::BYTES] {
        let ports = self.ports.iter().flat_map(|port| port.to_ne_bytes());
        let mut members = self.flags.to_ne_bytes().into_iter().chain(ports);
        std::array::from_fn(|_| members.next().expect("as many bytes as the members have"))
    }

    fn is_empty(&self) -> bool {
        *self == ClaimValue::default()
    }
}

/// All claims, in the form of the map.
#[derive(Debug, Default)]
pub(crate) struct ClaimTable(BTreeMap<AddressKey, ClaimValue>);

impl ClaimTable {
    /// Adds a claim and returns the new entry of the map. Adding a claim again changes nothing. The
    /// kernel may have connections to a new port.
    pub(crate) fn add(&mut self, claim: Claim) -> Result<(AddressKey, ClaimValue), Error> {
        if !is_host_address(address_of(claim)) {
            return Err(Error::NoHostAddress { claim });
        }
        let key = address_key(address_of(claim));
        if self.room() == 0 && !self.0.contains_key(&key) {
            let bound = format!(
                "{claim} cannot be claimed: {CLAIM_ADDRESSES} addresses are claimed, the maximum; claim fewer"
            );
            return Err(Error::TooManyClaims { bound });
        }
        let mut value = self.0.get(&key).copied().unwrap_or_default();
        match claim {
            Claim::Dedicated(_) => value.flags |= CLAIM_DEDICATED,
            Claim::Port(address) => add_port(&mut value, address)?,
        }
        self.0.insert(key, value);
        Ok((key, value))
    }

    /// Addresses that may still be claimed beside those that are.
    pub(crate) fn room(&self) -> usize {
        CLAIM_ADDRESSES - self.0.len()
    }

    /// Removes a claim and returns the new entry of the map, `None` if it is to be removed.
    pub(crate) fn remove(&mut self, claim: Claim) -> (AddressKey, Option<ClaimValue>) {
        let key = address_key(address_of(claim));
        let Some(value) = self.0.get_mut(&key) else { return (key, None) };
        match claim {
            Claim::Dedicated(_) => value.flags &= !CLAIM_DEDICATED,
            Claim::Port(address) => {
                let port = address.port().to_be();
                value.ports.iter_mut().filter(|slot| **slot == port).for_each(|slot| *slot = 0);
                if value.ports == [0; CLAIM_PORTS] {
                    value.flags &= !CLAIM_EARLIER;
                }
            }
        }
        let left = *value;
        if left.is_empty() {
            self.0.remove(&key);
            return (key, None);
        }
        (key, Some(left))
    }

    /// The kernel has no earlier connections to an address any more. Returns the new entry of the
    /// map, if there is one.
    pub(crate) fn settle(&mut self, address: IpAddr) -> Option<(AddressKey, ClaimValue)> {
        let key = address_key(address);
        let value = self.0.get_mut(&key)?;
        value.flags &= !CLAIM_EARLIER;
        Some((key, *value))
    }

    /// The first claims that are plain, or none.
    pub(crate) fn plain(&self) -> PlainClaim {
        self.0.iter().find_map(|(key, value)| PlainClaim::of(key, value)).unwrap_or_default()
    }

    /// The kernel may have connections to all claimed ports again. Returns the new entries of the
    /// map.
    pub(crate) fn ask_again(&mut self) -> Vec<(AddressKey, ClaimValue)> {
        let with_ports = self.0.iter_mut().filter(|(_, value)| value.ports != [0; CLAIM_PORTS]);
        with_ports
            .map(|(key, value)| {
                value.flags |= CLAIM_EARLIER;
                (*key, *value)
            })
            .collect()
    }

    /// The claimed ports.
    pub(crate) fn ports(&self) -> impl Iterator<Item = SocketAddr> + use<'_> {
        self.0.iter().flat_map(|(key, value)| {
            let ip = Ipv6Addr::from(*key).to_canonical();
            let claimed = value.ports.iter().filter(|port| **port != 0);
            claimed.map(move |port| SocketAddr::new(ip, u16::from_be(*port)))
        })
    }

    /// Removes all claims. Returns the entries that the map still has.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = (AddressKey, ClaimValue)> + use<> {
        std::mem::take(&mut self.0).into_iter()
    }
}

fn add_port(value: &mut ClaimValue, address: SocketAddr) -> Result<(), Error> {
    let port = address.port().to_be();
    if port == 0 {
        let bound = format!("{address} cannot be claimed: give a port from 1 to 65535");
        return Err(Error::TooManyClaims { bound });
    }
    if value.ports.contains(&port) {
        return Ok(());
    }
    let Some(slot) = value.ports.iter_mut().find(|slot| **slot == 0) else {
        let bound = format!(
            "{address} cannot be claimed: {CLAIM_PORTS} ports of {} are claimed, the maximum; \
             claim fewer, or use a dedicated address, which has no limit",
            address.ip()
        );
        return Err(Error::TooManyClaims { bound });
    };
    *slot = port;
    value.flags |= CLAIM_EARLIER;
    Ok(())
}

fn address_of(claim: Claim) -> IpAddr {
    match claim {
        Claim::Port(address) => address.ip(),
        Claim::Dedicated(address) => address,
    }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
