//! The addresses of interfaces, by rtnetlink(7). getifaddrs(3), and with it pnet, names the label
//! of an IPv4 address, if it has one, in place of its interface.

use super::rtnetlink::{refusal, send};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, Parseable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use std::io;
use std::net::IpAddr;

/// Attempts to read all addresses while they change.
const ATTEMPTS: usize = 4;

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    /// The interface's index.
    pub(super) index: u32,
    pub(super) address: IpAddr,
    pub(super) prefix_len: u8,
    /// The state of duplicate address detection, among others.
    pub(super) flags: AddressHeaderFlags,
}

impl Assigned {
    /// Whether it is also the broadcast address of its network.
    pub(super) fn is_broadcast(&self) -> bool {
        let IpAddr::V4(address) = self.address else { return false };
        let host = u32::MAX.checked_shr(self.prefix_len.into()).unwrap_or(0);
        self.prefix_len < 31 && address.to_bits() & host == host
    }
}

/// The addresses of all interfaces in the calling thread's namespace, in the kernel's order.
pub(super) fn assigned() -> io::Result<Vec<Assigned>> {
    for _ in 0..ATTEMPTS {
        let (found, is_whole) = dump()?;
        if is_whole {
            return Ok(found);
        }
    }
    Err(io::Error::other(format!(
        "the addresses of the interfaces changed during each of {ATTEMPTS} attempts to read them"
    )))
}

/// All addresses, and whether none changed meanwhile: then some may be missing.
fn dump() -> io::Result<(Vec<Assigned>, bool)> {
    let socket = send(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
    let (mut found, mut is_whole) = (Vec::new(), true);
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(&rest).map_err(io::Error::other)?;
            is_whole &= message.flags() & NLM_F_DUMP_INTR == 0;
            match message.message_type() {
                NLMSG_DONE => return Ok((found, is_whole)),
                NLMSG_ERROR => refusal(message.payload())?,
                _ => found.extend(parse(message.payload())),
            }
            let length = (message.length() as usize).next_multiple_of(size_of::<u32>());
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

/// An address of a kernel's reply. The far end of a point-to-point link is left out.
fn parse(message: &[u8]) -> Option<Assigned> {
    let AddressMessage { header, attributes, .. } = AddressMessage::parse(message).ok()?;
    let (mut address, mut local) = (None, None);
    for attribute in attributes {
        match attribute {
            AddressAttribute::Address(found) => address = Some(found),
            AddressAttribute::Local(found) => local = Some(found),
            _ => {}
        }
    }
    let address = local.or(address)?;
    let (index, prefix_len, flags) = (header.index, header.prefix_len, header.flags);
    Some(Assigned { index, address, prefix_len, flags })
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::Emitable;

    fn message(attributes: Vec<AddressAttribute>) -> Vec<u8> {
        let mut message = AddressMessage::default();
        (message.header.index, message.header.prefix_len) = (7, 24);
        message.header.flags = AddressHeaderFlags::Tentative;
        message.attributes = attributes;
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    #[test]
    fn the_near_end_of_a_link_is_the_address() {
        let [near, far] = ["198.18.0.1", "198.18.0.9"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let label = AddressAttribute::Label("s0:vip".to_owned());
        let both = [AddressAttribute::Address(far), label, AddressAttribute::Local(near)];
        let found = parse(&message(both.to_vec())).unwrap();
        assert_eq!((found.address, found.index, found.prefix_len), (near, 7, 24));
        assert_eq!(found.flags, AddressHeaderFlags::Tentative);
        let one = parse(&message(vec![AddressAttribute::Address(far)])).unwrap();
        assert_eq!(one.address, far);
        assert_eq!(parse(&message(Vec::new())), None);
        assert_eq!(parse(&[0; 3]), None);
    }

    #[test]
    fn a_broadcast_address_ends_in_ones() {
        let is_broadcast = |address: &str, prefix_len| {
            let (index, flags) = (1, AddressHeaderFlags::empty());
            let address = address.parse().unwrap();
            Assigned { index, address, prefix_len, flags }.is_broadcast()
        };
        for (address, prefix_len, expected) in [
            ("198.18.0.255", 24, true),
            ("198.18.0.254", 24, false),
            ("198.18.0.255", 16, false),
            ("198.18.0.3", 30, true),
            ("198.18.0.1", 31, false),
            ("198.18.0.255", 32, false),
            ("255.255.255.255", 0, true),
            ("2001:db8::ffff", 112, false),
        ] {
            assert_eq!(is_broadcast(address, prefix_len), expected, "{address}/{prefix_len}");
        }
    }

    #[test]
    fn the_loopback_interface_has_its_address() {
        let localhost = IpAddr::from([127, 0, 0, 1]);
        let found = assigned().unwrap();
        assert!(found.iter().any(|one| (one.index, one.address) == (1, localhost)), "{found:?}");
    }
}
