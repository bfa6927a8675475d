//! Facts about the network interfaces in the calling thread's namespace.

use super::rtnetlink;
use netlink_packet_route::link::LinkAttribute;
use pnet::datalink::{self, NetworkInterface};
use pnet::ipnetwork::IpNetwork;
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
    let all = datalink::interfaces();
    match all.iter().find(|interface| interface.name == name) {
        Some(interface) => describe(interface),
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

/// The addresses of the interface with this index, which stays when the name changes; none if it is
/// gone.
pub fn addresses(index: u32) -> Vec<IpAddr> {
    let all = datalink::interfaces();
    let same = all.iter().filter(|interface| interface.index == index);
    same.flat_map(|interface| interface.ips.iter().map(IpNetwork::ip)).collect()
}

/// All interfaces in the order of their indices. An interface that is removed meanwhile is left
/// out.
pub fn interfaces() -> Vec<Interface> {
    let mut found: Vec<Interface> =
        datalink::interfaces().iter().filter_map(|interface| describe(interface).ok()).collect();
    found.sort_by_key(|interface| interface.index);
    found
}

fn describe(interface: &NetworkInterface) -> io::Result<Interface> {
    let mut described = Interface {
        name: interface.name.clone(),
        index: interface.index,
        mac: interface.mac.map_or([0; 6], |mac| mac.octets()),
        mtu_bytes: 0,
        addresses: interface.ips.iter().map(|network| (network.ip(), network.prefix())).collect(),
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
