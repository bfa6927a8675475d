//! Requests over netlink: an interface's XDP features (generic netlink family `netdev`), its number
//! of queues and the state of its link.
//!
//! Requests and answers are a header and attributes (length, kind, value, padded to 4 bytes),
//! written and read by hand.

use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use std::io;

/// `<linux/netlink.h>`
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER_BYTES: usize = 16;

/// `<linux/genetlink.h>`: the family that resolves other families.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const GENL_HEADER_BYTES: usize = 4;

/// `<linux/netdev.h>`
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_A_DEV_XDP_ZC_MAX_SEGS: u16 = 4;
const NETDEV_A_DEV_XSK_FEATURES: u16 = 6;

/// `<linux/rtnetlink.h>`, `<linux/if_link.h>`
const RTM_GETLINK: u16 = 18;
const IFINFOMSG_BYTES: usize = 16;
const IFLA_MTU: u16 = 4;
const IFLA_STATS64: u16 = 23;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_CARRIER_CHANGES: u16 = 35;
const IFLA_XDP: u16 = 43;
/// The attributes with a program's identifier, one for each mode: IFLA_XDP_PROG_ID, driver, generic
/// and NIC.
const IFLA_XDP_PROG_IDS: [u16; 4] = [4, 5, 6, 7];
/// `<linux/if.h>`
const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;

/// XDP features of an interface, as its driver reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpFeatures {
    /// Bits of `NETDEV_XDP_ACT_*`.
    pub act: u64,
    /// Frames per packet in zero-copy mode; 1 without multi-buffer.
    pub zero_copy_max_segments: u32,
    /// Bits of `NETDEV_XSK_FLAGS_*`.
    pub xsk: u64,
}

impl XdpFeatures {
    /// The names of the bits of `act`, from the lowest.
    const ACT_NAMES: [&str; 7] =
        ["basic", "redirect", "ndo-xmit", "xsk-zerocopy", "hw-offload", "rx-sg", "ndo-xmit-sg"];
    /// The names of the bits of `xsk`, from the lowest.
    const XSK_NAMES: [&str; 3] = ["tx-timestamp", "tx-checksum", "tx-launch-time-fifo"];

    /// The driver can run the program itself.
    pub fn native(&self) -> bool {
        self.act & 1 != 0
    }

    /// The driver has zero-copy mode.
    pub fn zero_copy(&self) -> bool {
        self.act & 1 << 3 != 0
    }

    /// In native mode a packet may have several buffers.
    pub fn multi_buffer(&self) -> bool {
        self.act & 1 << 5 != 0
    }

    /// The NIC can complete checksums of transmitted packets.
    pub fn tx_checksum(&self) -> bool {
        self.xsk & 1 << 1 != 0
    }

    /// The names of all set bits, as `ynl` prints them.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        let (act, xsk) = (self.act, self.xsk);
        let act = Self::ACT_NAMES.iter().enumerate().filter(move |(bit, _)| act & 1 << bit != 0);
        let xsk = Self::XSK_NAMES.iter().enumerate().filter(move |(bit, _)| xsk & 1 << bit != 0);
        act.chain(xsk).map(|(_, name)| *name)
    }
}

/// The number of the `netdev` family.
fn family() -> io::Result<u16> {
    let name = attribute(CTRL_ATTR_FAMILY_NAME, b"netdev\0");
    let reply = ask_generic(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &name)?;
    find(&reply, CTRL_ATTR_FAMILY_ID)
        .and_then(|value| Some(u16::from_ne_bytes(value.try_into().ok()?)))
        .ok_or_else(malformed)
}

/// The attributes of each answer to a query of the `netdev` family with several answers.
pub(crate) fn dump(query: u8, attributes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let body = generic(query, attributes);
    let socket = send(NETLINK_GENERIC, family()?, NLM_F_REQUEST | NLM_F_DUMP, &body)?;
    let mut answers = Vec::new();
    loop {
        let (replies, _) = socket.recv_from_full()?;
        if !take_answers(&replies, &mut answers)? {
            return Ok(answers);
        }
    }
}

/// Takes the answers of one datagram. Returns whether more datagrams follow.
fn take_answers(mut replies: &[u8], answers: &mut Vec<Vec<u8>>) -> io::Result<bool> {
    while let Some(header) = replies.get(..HEADER_BYTES) {
        if u16::from_ne_bytes([header[4], header[5]]) == NLMSG_DONE {
            return Ok(false);
        }
        let body = answer(replies)?;
        answers.push(body.get(GENL_HEADER_BYTES..).ok_or_else(malformed)?.to_vec());
        let len = (HEADER_BYTES + body.len()).next_multiple_of(4);
        replies = replies.get(len..).unwrap_or_default();
    }
    Ok(true)
}

/// Carries out a command of the `netdev` family that has no answer but its success.
pub(crate) fn command(command: u8, attributes: &[u8]) -> io::Result<()> {
    let body = generic(command, attributes);
    let socket = send(NETLINK_GENERIC, family()?, NLM_F_REQUEST | NLM_F_ACK, &body)?;
    let (reply, _) = socket.recv_from_full()?;
    answer(&reply).map(drop).or_else(|error| match error.raw_os_error() {
        Some(0) => Ok(()),
        _ => Err(error),
    })
}

/// The attributes of the answer to a query of the `netdev` family with one answer.
pub(crate) fn query(query: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    ask_generic(family()?, query, attributes)
}

/// Queries the `netdev` family about the interface.
pub(crate) fn features(ifindex: u32) -> io::Result<XdpFeatures> {
    let request = attribute(NETDEV_A_DEV_IFINDEX, &ifindex.to_ne_bytes());
    let reply = query(NETDEV_CMD_DEV_GET, &request)?;
    Ok(XdpFeatures {
        act: find(&reply, NETDEV_A_DEV_XDP_FEATURES).map_or(0, number),
        zero_copy_max_segments: find(&reply, NETDEV_A_DEV_XDP_ZC_MAX_SEGS).map_or(1, number) as u32,
        xsk: find(&reply, NETDEV_A_DEV_XSK_FEATURES).map_or(0, number),
    })
}

/// The state of an interface's link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkState {
    /// Whether it was brought up.
    pub(crate) up: bool,
    /// Whether it has a carrier.
    pub(crate) carrier: bool,
    /// The identifiers of the XDP programs on it.
    pub(crate) programs: Vec<u32>,
    /// Times the carrier came or went.
    pub(crate) carrier_changes: u32,
    /// Packets that the driver has received.
    pub(crate) rx_packets: u64,
    /// The largest IP packet, in bytes.
    pub(crate) mtu_bytes: u32,
}

/// Queries the state of the link.
pub(crate) fn link_state(ifindex: u32) -> io::Result<LinkState> {
    let reply = ask(NETLINK_ROUTE, RTM_GETLINK, &link_request(ifindex))?;
    let (header, attributes) = reply.split_at_checked(IFINFOMSG_BYTES).ok_or_else(malformed)?;
    let flags = u32::from_ne_bytes(header[8..12].try_into().expect("4 bytes"));
    let xdp = find(attributes, IFLA_XDP).unwrap_or_default();
    let programs = IFLA_XDP_PROG_IDS
        .into_iter()
        .filter_map(|kind| find(xdp, kind))
        .map(|id| number(id) as u32);
    Ok(LinkState {
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        programs: programs.collect(),
        carrier_changes: find(attributes, IFLA_CARRIER_CHANGES).map_or(0, number) as u32,
        // The first field of `struct rtnl_link_stats64`.
        rx_packets: find(attributes, IFLA_STATS64)
            .and_then(|stats| stats.first_chunk())
            .map_or(0, |first| u64::from_ne_bytes(*first)),
        mtu_bytes: find(attributes, IFLA_MTU).map_or(0, number) as u32,
    })
}

fn link_request(ifindex: u32) -> Vec<u8> {
    let mut body = vec![0; IFINFOMSG_BYTES];
    body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    body
}

/// Receive and transmit queues that the interface was created with.
pub(crate) fn queues(ifindex: u32) -> io::Result<(u32, u32)> {
    let reply = ask(NETLINK_ROUTE, RTM_GETLINK, &link_request(ifindex))?;
    let attributes = reply.get(IFINFOMSG_BYTES..).ok_or_else(malformed)?;
    let count = |kind| find(attributes, kind).map(number).ok_or_else(malformed);
    Ok((count(IFLA_NUM_RX_QUEUES)? as u32, count(IFLA_NUM_TX_QUEUES)? as u32))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer over netlink is not as expected")
}

pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = Vec::with_capacity(4 + value.len() + 3);
    attribute.extend((4 + value.len() as u16).to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// The value of the first attribute of a kind; the two highest bits of a kind are flags.
pub(crate) fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while attributes.len() >= 4 {
        let len = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
        let kind = u16::from_ne_bytes([attributes[2], attributes[3]]) & 0x3fff;
        let value = attributes.get(4..len)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
    None
}

/// An unsigned number of 4 or 8 bytes; 0 of any other length.
pub(crate) fn number(value: &[u8]) -> u64 {
    match value.len() {
        4 => u64::from(u32::from_ne_bytes(value.try_into().expect("4 bytes"))),
        8 => u64::from_ne_bytes(value.try_into().expect("8 bytes")),
        _ => 0,
    }
}

/// Sends a command with attributes to a generic family. Returns the attributes of the answer.
fn ask_generic(family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let reply = ask(NETLINK_GENERIC, family, &generic(command, attributes))?;
    reply.get(GENL_HEADER_BYTES..).map(<[u8]>::to_vec).ok_or_else(malformed)
}

/// The body of a generic message.
fn generic(command: u8, attributes: &[u8]) -> Vec<u8> {
    [&[command, 1, 0, 0], attributes].concat()
}

/// Sends one request. Returns the body of its one answer.
fn ask(protocol: isize, kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    let (reply, _) = send(protocol, kind, NLM_F_REQUEST, body)?.recv_from_full()?;
    answer(&reply).map(<[u8]>::to_vec)
}

/// Sends one request over a socket of its own.
fn send(protocol: isize, kind: u16, flags: u16, body: &[u8]) -> io::Result<Socket> {
    let mut request = Vec::with_capacity(HEADER_BYTES + body.len());
    request.extend((HEADER_BYTES as u32 + body.len() as u32).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    // Sequence number and port: one request, a socket of its own.
    request.extend([0; 8]);
    request.extend(body);
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.send_to(&request, &SocketAddr::new(0, 0), 0)?;
    Ok(socket)
}

/// The body of a message, or the error it is.
fn answer(reply: &[u8]) -> io::Result<&[u8]> {
    let header = reply.get(..HEADER_BYTES).ok_or_else(malformed)?;
    let len = u32::from_ne_bytes(header[..4].try_into().expect("4 bytes")) as usize;
    let body = reply.get(HEADER_BYTES..len).ok_or_else(malformed)?;
    if u16::from_ne_bytes([header[4], header[5]]) != NLMSG_ERROR {
        return Ok(body);
    }
    let code = body.get(..4).ok_or_else(malformed)?;
    Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(code.try_into().expect("4 bytes"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_padding_and_a_cut_off_one_is_not() {
        let mut bytes = attribute(1, b"abc");
        bytes.extend(attribute(7, &5u64.to_ne_bytes()));
        assert_eq!(find(&bytes, 1), Some(&b"abc"[..]));
        assert_eq!(find(&bytes, 7).map(number), Some(5));
        assert_eq!(find(&bytes, 2), None);
        assert_eq!(find(&bytes[..bytes.len() - 1], 7), None);
        assert_eq!(find(&[0, 0, 7, 0, 0, 0, 0, 0], 7), None, "a length of nothing ends the search");
    }

    #[test]
    fn an_error_is_told_apart_from_an_answer() {
        let message = |kind: u16, body: &[u8]| {
            let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(body);
            bytes
        };
        assert_eq!(answer(&message(16, b"body")).unwrap(), b"body");
        let error = answer(&message(NLMSG_ERROR, &(-libc::ENODEV).to_ne_bytes())).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        assert_eq!(answer(&[0; 15]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(answer(&[0xff; 20]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn answers_of_a_datagram_are_told_apart_up_to_the_end() {
        let message = |kind: u16, body: &[u8]| {
            let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(body);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let two = [message(20, b"....first"), message(20, b"....second")].concat();
        let mut answers = Vec::new();
        assert!(take_answers(&two, &mut answers).unwrap());
        assert!(!take_answers(&message(NLMSG_DONE, &[0; 4]), &mut answers).unwrap());
        assert_eq!(answers, [b"first".to_vec(), b"second".to_vec()]);
        assert!(take_answers(&two[..20], &mut answers).is_err());
    }

    #[test]
    fn the_bits_have_names() {
        let features = XdpFeatures { act: 0b10_1001, zero_copy_max_segments: 1, xsk: 0b10 };
        assert_eq!(
            features.names().collect::<Vec<_>>(),
            ["basic", "xsk-zerocopy", "rx-sg", "tx-checksum"]
        );
        assert!(
            features.native()
                && features.zero_copy()
                && features.multi_buffer()
                && features.tx_checksum()
        );
    }

    /// Every network namespace has a loopback interface, with index 1.
    #[test]
    fn the_loopback_interface_has_a_queue() {
        assert_eq!(queues(1).unwrap(), (1, 1));
        assert_eq!(link_state(1).unwrap().programs, [0; 0]);
        assert_eq!(link_state(1).unwrap().mtu_bytes, 65_536);
        assert!(link_state(u32::MAX >> 1).is_err());
    }
}
