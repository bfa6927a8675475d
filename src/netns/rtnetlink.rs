//! Requests to the kernel's rtnetlink(7): create and configure interfaces in the calling thread's
//! namespace. Each call opens a socket, sends one request and reads its acknowledgement. Not for
//! the data path.

use netlink_packet_core::{
    ErrorBuffer, ErrorMessage, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST,
    NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator,
    Parseable, ParseableParametrized,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of `struct ifinfomsg`, in front of the attributes of a link message.
const LINK_HEADER_BYTES: usize = 16;

/// Adds `address` with a prefix of `prefix_len` bits to the interface. An IPv6 address is usable at
/// once, without duplicate address detection.
pub fn set_address(interface: &str, address: IpAddr, prefix_len: u8) -> io::Result<()> {
    let mut message = AddressMessage::default();
    message.header.index = index_of(interface)?;
    message.header.family = family(address);
    message.header.prefix_len = prefix_len;
    if address.is_ipv6() {
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL).map_err(|error| {
        explain(&error, &format!("giving {interface} the address {address}/{prefix_len}"))
    })
}

/// Brings the interface up.
pub fn set_up(interface: &str) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index_of(interface)?;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    request(RouteNetlinkMessage::SetLink(message), 0)
        .map_err(|error| explain(&error, &format!("bringing {interface} up")))
}

/// Sets the MTU of the interface.
pub fn set_mtu(interface: &str, mtu_bytes: u32) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index_of(interface)?;
    message.attributes = vec![LinkAttribute::Mtu(mtu_bytes)];
    request(RouteNetlinkMessage::SetLink(message), 0)
        .map_err(|error| explain(&error, &format!("setting the MTU of {interface} to {mtu_bytes}")))
}

/// Adds a permanent neighbour entry: `address` has the hardware address `mac`.
pub fn add_neighbour(interface: &str, address: IpAddr, mac: [u8; 6]) -> io::Result<()> {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = index_of(interface)?;
    message.header.family = family(address);
    message.header.state = NeighbourState::Permanent;
    let destination = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes = vec![
        NeighbourAttribute::Destination(destination),
        NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
    ];
    request(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE).map_err(
        |error| explain(&error, &format!("adding {address} to the neighbours of {interface}")),
    )
}

/// The gateway of the kernel's route to `destination` from this interface; `None` if the
/// destination is on-link. An error if there is no route.
pub fn gateway(interface: &str, destination: IpAddr) -> io::Result<Option<IpAddr>> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(destination);
    message.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
    let address = match destination {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    };
    message.attributes =
        vec![RouteAttribute::Destination(address), RouteAttribute::Oif(index_of(interface)?)];
    let reply = exchange(RouteNetlinkMessage::GetRoute(message), 0)?;
    let body = NetlinkBuffer::new_checked(&reply).map_err(io::Error::other)?.payload();
    let route = RouteMessage::parse(body).map_err(io::Error::other)?;
    Ok(route.attributes.into_iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => Some(gateway.into()),
        RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) => Some(gateway.into()),
        _ => None,
    }))
}

/// Sets the congestion control of the kernel's TCP to `algorithm`, for example `cubic`, towards the
/// network of the interface's IPv4 `address`. A route may name any algorithm that the kernel has;
/// the default of a namespace is limited to those that the first namespace allows.
pub fn set_congestion_control(
    interface: &str,
    address: Ipv4Addr,
    prefix_len: u8,
    algorithm: &str,
) -> io::Result<()> {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0);
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = prefix_len;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Kernel;
    message.header.scope = RouteScope::Link;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        RouteAttribute::Destination(RouteAddress::Inet(Ipv4Addr::from_bits(
            address.to_bits() & mask,
        ))),
        RouteAttribute::PrefSource(RouteAddress::Inet(address)),
        RouteAttribute::Oif(index_of(interface)?),
        RouteAttribute::Metrics(vec![RouteMetric::CcAlgo(algorithm.to_owned())]),
    ];
    request(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
        .map_err(|error| explain(&error, &format!("having TCP use {algorithm} on {interface}")))
}

/// Creates a veth pair: `name` in the calling thread's namespace, `peer_name` in `peer_namespace`.
pub(super) fn add_veth(
    name: &str,
    peer_name: &str,
    peer_namespace: BorrowedFd<'_>,
    queues: u32,
) -> io::Result<()> {
    let end = |name: &str| {
        vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::NumTxQueues(queues),
            LinkAttribute::NumRxQueues(queues),
        ]
    };
    let mut peer = LinkMessage::default();
    peer.attributes = end(peer_name);
    peer.attributes.push(LinkAttribute::NetNsFd(peer_namespace.as_raw_fd()));
    let mut message = LinkMessage::default();
    message.attributes = end(name);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).map_err(|error| {
        explain(&or_no_veth(error), &format!("making the veth pair {name} and {peer_name}"))
    })
}

/// Adds a hint to the error of a kernel without veth, which only says that it is not supported.
fn or_no_veth(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) {
        let remedy = "this kernel has no veth: load it (`modprobe veth`), or take a kernel built with CONFIG_VETH";
        return io::Error::new(error.kind(), format!("{error}; {remedy}"));
    }
    error
}

/// The attributes of the interface that can be parsed. A newer kernel may send others.
pub(super) fn link_attributes(index: u32) -> io::Result<Vec<LinkAttribute>> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let reply = exchange(RouteNetlinkMessage::GetLink(message), 0)?;
    let body = NetlinkBuffer::new_checked(&reply).map_err(io::Error::other)?.payload();
    let attributes = body.get(LINK_HEADER_BYTES..).unwrap_or_default();
    Ok(NlasIterator::new(attributes)
        .map_while(Result::ok)
        .filter_map(|attribute| {
            LinkAttribute::parse_with_param(&attribute, AddressFamily::Unspec).ok()
        })
        .collect())
}

fn index_of(interface: &str) -> io::Result<u32> {
    Ok(super::interface(interface)?.index)
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn explain(error: &io::Error, doing: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{doing}: {error}"))
}

/// Sends a change and waits for its acknowledgement.
fn request(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    exchange(message, flags | NLM_F_ACK).map(drop)
}

/// Sends a request and returns the first message of the reply. An error message becomes an error.
fn exchange(message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<u8>> {
    let (reply, _) = send(message, flags)?.recv_from_full()?;
    let buffer = NetlinkBuffer::new_checked(&reply).map_err(io::Error::other)?;
    if buffer.message_type() == NLMSG_ERROR {
        refusal(buffer.payload())?;
    }
    Ok(reply)
}

/// Sends a request. The reply is to be read from the socket.
pub(super) fn send(message: RouteNetlinkMessage, flags: u16) -> io::Result<Socket> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    Ok(socket)
}

/// The error of an error message; an acknowledgement has none.
pub(super) fn refusal(payload: &[u8]) -> io::Result<()> {
    let error = ErrorBuffer::new_checked(&payload)
        .and_then(|error| ErrorMessage::parse(&error))
        .map_err(io::Error::other)?;
    if error.code.is_some() { Err(error.to_io()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_veth_is_named_as_such() {
        let told = |errno: Errno| or_no_veth(errno.into()).to_string();
        assert!(told(Errno::OPNOTSUPP).contains("modprobe veth"));
        assert!(!told(Errno::EXIST).contains("veth"));
    }
}
