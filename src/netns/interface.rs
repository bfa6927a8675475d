//! Facts about the network interfaces in the calling thread's namespace.

use super::addresses::{Assigned, assigned};
use super::rtnetlink;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::link::LinkAttribute;
use pnet::datalink::{self, NetworkInterface};
use std::io;
use std::net::IpAddr;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, such as `eth0`.
    pub name: String,
    /// Its index in the kernel.
    pub index: u32,
    /// Its Ethernet address; zero if it has none.
    pub mac: [u8; 6],
    /// Its MTU, that is, the largest IP packet.
    pub mtu_bytes: u32,
    /// Its addresses, with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Whether it is up.
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Receive queues that were created. The driver may use fewer.
    pub rx_queues: u32,
    /// Transmit queues that were created. The driver may use fewer.
    pub tx_queues: u32,
}

/// The interface with this name. For an unknown name, the error lists the known ones.
pub fn interface(name: &str) -> io::Result<Interface> {
    let all = devices();
    match all.iter().find(|interface| interface.name == name) {
        Some(interface) => describe(interface, &assigned()?),
        None => {
            let names: Vec<&str> = all.iter().map(|interface| interface.name.as_str()).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no interface {name:?} here; there is: {known}"),
            ))
        }
    }
}

/// What may change of an interface whose index stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The current name; empty if the interface is gone.
    pub name: String,
    /// Its addresses, without those that are its network's broadcast address, or another host's by
    /// duplicate address detection (RFC 4862 §5.4).
    pub addresses: Vec<IpAddr>,
    /// Those of them that duplicate address detection has not accepted yet.
    pub tentative: Vec<IpAddr>,
}

/// The name and the addresses of the interface with this index.
pub fn named(index: u32) -> io::Result<Named> {
    let Some(interface) = devices().into_iter().find(|interface| interface.index == index) else {
        return Ok(Named::default());
    };
    let mut found = assigned()?;
    found.retain(|one| {
        let is_refused = one.flags.contains(AddressHeaderFlags::Dadfailed);
        one.index == index && !is_refused && !one.is_broadcast()
    });
    let is_tentative = |one: &&Assigned| one.flags.contains(AddressHeaderFlags::Tentative);
    let tentative = found.iter().filter(is_tentative).map(|one| one.address).collect();
    let addresses = found.iter().map(|one| one.address).collect();
    Ok(Named { name: interface.name, addresses, tentative })
}

/// The interfaces that pnet lists, without the labels of addresses: those have a colon, or no
/// index.
fn devices() -> Vec<NetworkInterface> {
    let mut all = datalink::interfaces();
    all.retain(|interface| interface.index != 0 && !interface.name.contains(':'));
    all
}

/// All interfaces in the order of their indices. An interface that is removed meanwhile is left
/// out.
pub fn interfaces() -> Vec<Interface> {
    let assigned = assigned().unwrap_or_default();
    let mut found: Vec<Interface> =
        devices().iter().filter_map(|interface| describe(interface, &assigned).ok()).collect();
    found.sort_by_key(|interface| interface.index);
    found
}

fn describe(interface: &NetworkInterface, assigned: &[Assigned]) -> io::Result<Interface> {
    let own = assigned.iter().filter(|one| one.index == interface.index);
    let mut described = Interface {
        name: interface.name.clone(),
        index: interface.index,
        mac: interface.mac.map_or([0; 6], |mac| mac.octets()),
        mtu_bytes: 0,
        addresses: own.map(|one| (one.address, one.prefix_len)).collect(),
        up: interface.is_up(),
        carrier: interface.is_lower_up(),
        loopback: interface.is_loopback(),
        rx_queues: 1,
        tx_queues: 1,
    };
    for attribute in rtnetlink::link_attributes(interface.index)? {
        match attribute {
            LinkAttribute::Mtu(mtu_bytes) => described.mtu_bytes = mtu_bytes,
            LinkAttribute::NumRxQueues(queues) => described.rx_queues = queues,
            LinkAttribute::NumTxQueues(queues) => described.tx_queues = queues,
            _ => {}
        }
    }
    Ok(described)
}
