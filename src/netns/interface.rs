//! Facts about the network interfaces in the calling thread's namespace.

use super::rtnetlink;
use netlink_packet_route::link::LinkAttribute;
use pnet::datalink::{self, NetworkInterface};
use pnet::ipnetwork::IpNetwork;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

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
pub fn named(index: u32) -> Named {
    let all = datalink::interfaces();
    let Some(interface) = all.iter().find(|interface| interface.index == index) else {
        return Named::default();
    };
    let states = detection(index);
    let flags = |address: &IpAddr| states.iter().find(|(one, _)| one == address).map_or(0, |s| s.1);
    let addresses: Vec<IpAddr> =
        interface.ips.iter().filter(|ip| !is_broadcast(ip)).map(IpNetwork::ip).collect();
    let with = |flag: u8| addresses.iter().copied().filter(move |ip| flags(ip) & flag != 0);
    let (failed, tentative): (Vec<_>, Vec<_>) =
        (with(IFA_F_DADFAILED).collect(), with(IFA_F_TENTATIVE).collect());
    let addresses = addresses.iter().copied().filter(|ip| !failed.contains(ip)).collect();
    Named { name: interface.name.clone(), addresses, tentative }
}

fn is_broadcast(network: &IpNetwork) -> bool {
    matches!(network, IpNetwork::V4(v4) if v4.prefix() < 31 && v4.ip() == v4.broadcast())
}

/// linux/if_addr.h
const IFA_F_DADFAILED: u8 = 0x08;
const IFA_F_TENTATIVE: u8 = 0x40;

/// The IPv6 addresses of an interface with the low flags of each; none without IPv6.
fn detection(index: u32) -> Vec<(IpAddr, u8)> {
    let table = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    table.lines().filter_map(|line| inet6_line(line, index)).collect()
}

/// A line of if_inet6, if it is of this interface: address, index, prefix length, scope and flags,
/// all hexadecimal, and the name.
fn inet6_line(line: &str, index: u32) -> Option<(IpAddr, u8)> {
    let mut words = line.split_whitespace();
    let address = u128::from_str_radix(words.next()?, 16).ok()?;
    if u32::from_str_radix(words.next()?, 16).ok()? != index {
        return None;
    }
    let flags = u8::from_str_radix(words.nth(2)?, 16).ok()?;
    Some((Ipv6Addr::from_bits(address).into(), flags))
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
