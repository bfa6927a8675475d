//! The Ethernet groups of neighbour discovery: questions for an IPv6 address are sent to one of
//! them (RFC 4861 §2.3), and a NIC lets through only the groups that somebody on the host has asked
//! for. For addresses that the kernel does not have, that is done here.
//!
//! In come addresses, out goes what the NIC's filter is told. No frame passes through here.

use super::sys;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

/// RFC 4291 §2.7.1, all nodes: where a host says to everybody that it has an address.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The groups that an interface is asked to receive, until this value goes, or the process does.
#[derive(Debug)]
pub(crate) struct Groups {
    socket: OwnedFd,
    ifindex: u32,
    joined: BTreeSet<Ipv6Addr>,
}

impl Groups {
    /// None yet, of an interface in the calling thread's network namespace.
    pub(crate) fn new(ifindex: u32) -> io::Result<Groups> {
        Ok(Groups { socket: sys::packet_socket()?, ifindex, joined: BTreeSet::new() })
    }

    /// Receives what neighbour discovery sends about `address` from now on. (ARP's questions go to
    /// everybody.)
    pub(crate) fn join(&mut self, address: IpAddr) -> io::Result<()> {
        match address {
            IpAddr::V6(address) if self.joined.insert(address) => self.change(address, true),
            _ => Ok(()),
        }
    }

    /// No longer; without effect if it does not.
    pub(crate) fn leave(&mut self, address: IpAddr) -> io::Result<()> {
        match address {
            IpAddr::V6(address) if self.joined.remove(&address) => self.change(address, false),
            _ => Ok(()),
        }
    }

    /// Leaves all of them.
    pub(crate) fn leave_all(&mut self) -> io::Result<()> {
        std::mem::take(&mut self.joined)
            .into_iter()
            .try_for_each(|address| self.change(address, false))
    }

    /// The kernel counts: a group that several addresses share is left with the last of them.
    fn change(&self, address: Ipv6Addr, join: bool) -> io::Result<()> {
        let membership =
            |group| sys::membership(self.socket.as_fd(), self.ifindex, ethernet(group), join);
        membership(solicited_node(address))?;
        membership(ALL_NODES)
    }
}

/// RFC 4291 §2.7.1.
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// RFC 2464 §7.
fn ethernet(group: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4291_section_2_7_1_and_rfc_2464_section_7_the_groups_example() {
        let address: Ipv6Addr = "4037::1:800:200e:8c6c".parse().unwrap();
        assert_eq!(solicited_node(address), "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap());
        assert_eq!(ethernet(solicited_node(address)), [0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]);
    }
}
