//! The addresses of this host: those of the interface to claim from, and those of all others.

use crate::netns::{self, Interface};
use crate::steer::is_host_address;
use simoom_tcp::Address;
use std::net::{IpAddr, Ipv4Addr};

/// The interfaces of the calling thread's network namespace.
pub(crate) struct Host {
    /// The interface to claim from.
    interface: Interface,
    /// Addresses of the other interfaces, each with the interface's name.
    others: Vec<(IpAddr, String)>,
    /// Addresses of other interfaces that count as the interface's own.
    adopted: Vec<IpAddr>,
}

impl Host {
    pub(crate) fn around(name: &str) -> std::io::Result<Host> {
        Ok(Host::of(netns::interface(name)?, &netns::interfaces()))
    }

    pub(crate) fn of(interface: Interface, all: &[Interface]) -> Host {
        let others = all.iter().filter(|other| other.index != interface.index);
        let of_one = |other: &Interface| {
            let name = other.name.clone();
            other.addresses.iter().map(|(address, _)| (*address, name.clone())).collect::<Vec<_>>()
        };
        Host { others: others.flat_map(of_one).collect(), interface, adopted: Vec::new() }
    }

    /// Counts those of `addresses` that other interfaces have as the interface's own: packets to
    /// them come through it, in tunnels.
    pub(crate) fn adopt(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            let Some(at) = self.others.iter().position(|(other, _)| other == address) else {
                continue;
            };
            self.others.swap_remove(at);
            let prefix_len = if address.is_ipv4() { 32 } else { 128 };
            self.interface.addresses.push((*address, prefix_len));
            self.adopted.push(*address);
        }
    }

    /// The addresses of hosts that the interface has itself. Tunnels through it end there.
    pub(crate) fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let own = self.interface.addresses.iter().map(|(address, _)| *address);
        own.filter(|address| is_host_address(*address) && !self.adopted.contains(address))
    }

    pub(crate) fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Whether the interface has `address`.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.interface.addresses.iter().any(|(own, _)| *own == address)
    }

    /// The other interface that has `address`.
    pub(crate) fn other_with(&self, address: IpAddr) -> Option<&str> {
        self.others.iter().find(|(other, _)| *other == address).map(|(_, name)| name.as_str())
    }

    /// Whether `address` is in a network of the interface, so that neighbours resolve it there.
    pub(crate) fn is_on_link(&self, address: IpAddr) -> bool {
        self.interface.addresses.iter().any(|(own, prefix_len)| match (own, address) {
            (IpAddr::V4(own), IpAddr::V4(address)) => {
                (own.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(*prefix_len)
            }
            (IpAddr::V6(own), IpAddr::V6(address)) => {
                (own.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(*prefix_len)
            }
            _ => false,
        })
    }

    /// Addresses that no peer on the network can have: those of the host and the broadcast
    /// addresses.
    pub(crate) fn no_peers(&self) -> Vec<Address> {
        let own = self.interface.addresses.iter().map(|(address, _)| *address);
        let others = self.others.iter().map(|(address, _)| *address);
        own.chain(others)
            .filter(|address| is_host_address(*address))
            .chain(self.broadcasts())
            .map(Address::from)
            .collect()
    }

    /// The broadcast addresses of the interface's networks (RFC 919 §7). Networks of one or two
    /// addresses have none.
    pub(crate) fn broadcasts(&self) -> impl Iterator<Item = IpAddr> {
        self.interface.addresses.iter().filter_map(|(address, prefix_len)| match address {
            IpAddr::V4(v4) if *prefix_len < 31 => {
                Some(IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() | u32::MAX >> prefix_len)))
            }
            _ => None,
        })
    }
}
