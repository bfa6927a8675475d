//! The Ethernet groups of neighbour discovery. Solicitations for an IPv6 address are sent to a
//! group (RFC 4861 §2.3), and a NIC receives only the groups that the host has joined. This module
//! joins them for addresses that the kernel does not have.
//!
//! It changes only the filter of the NIC. No frame passes through here.

use super::sys;
use simoom_tcp::Address;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

/// The joined groups of an interface, until this value is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Groups {
    socket: OwnedFd,
    ifindex: u32,
    joined: BTreeSet<Ipv6Addr>,
}

impl Groups {
    /// No joined groups, for an interface in the network namespace of the calling thread.
    pub(crate) fn new(ifindex: u32) -> io::Result<Groups> {
        Ok(Groups { socket: sys::packet_socket()?, ifindex, joined: BTreeSet::new() })
    }

    /// Joins the group of `address`. ARP requests are broadcast and need no group.
    pub(crate) fn join(&mut self, address: IpAddr) -> io::Result<()> {
        match address {
            IpAddr::V6(address) if self.joined.insert(address) => self.change(address, true),
            _ => Ok(()),
        }
    }

    /// Leaves the group of `address`. No effect if it is not joined.
    pub(crate) fn leave(&mut self, address: IpAddr) -> io::Result<()> {
        match address {
            IpAddr::V6(address) if self.joined.remove(&address) => self.change(address, false),
            _ => Ok(()),
        }
    }

    /// Leaves all groups.
    pub(crate) fn leave_all(&mut self) -> io::Result<()> {
        std::mem::take(&mut self.joined)
            .into_iter()
            .try_for_each(|address| self.change(address, false))
    }

    /// Joins or leaves a group. The kernel counts: a group that several addresses share is left
    /// with the last.
    fn change(&self, address: Ipv6Addr, join: bool) -> io::Result<()> {
        let membership = |group: Address| {
            sys::membership(self.socket.as_fd(), self.ifindex, group.multicast_mac(), join)
        };
        membership(Address::from(IpAddr::V6(address)).solicited_node())?;
        // Unsolicited advertisements are sent to all nodes.
        membership(Address::ALL_NODES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4291_section_2_7_1_and_rfc_2464_section_7_the_groups_example() {
        let [address, group] = ["4037::1:800:200e:8c6c", "ff02::1:ff0e:8c6c"]
            .map(|text| text.parse::<IpAddr>().unwrap());
        let joined = Address::from(address).solicited_node();
        assert_eq!(joined, Address::from(group));
        assert_eq!(joined.multicast_mac(), [0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]);
    }
}
