//! The steering program, run by the kernel over a table of frames that another library built
//! (BPF_PROG_TEST_RUN), and its compiled object held against its source.

mod common;
#[path = "steer/earlier.rs"]
mod earlier;
#[path = "steer/guard.rs"]
mod guard;
#[path = "steer/tunnels.rs"]
mod tunnels;
#[path = "steer/veth.rs"]
mod veth;

use af_xdp::{Program, Verdict, features};
use common::TEST_TIMEOUT;
use common::{skip, wait_until};
use pnet::packet::Packet;
use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv4::{MutableIpv4Packet, checksum};
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::tcp::MutableTcpPacket;
use pnet::packet::vlan::MutableVlanPacket;
use pnet::util::MacAddr;
use simoom::steer::{Claim, Steering};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

const SHARED4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const DEDICATED4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const OTHER4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);
const SHARED6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const DEDICATED6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const OTHER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const CLIENT4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 9);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
/// The port claimed at the shared addresses, and one that is not.
const HTTP: u16 = 80;
const SSH: u16 = 22;
const CLIENT_PORT: u16 = 50_000;
/// Fragmentation needed and DF set (RFC 792), packet too big (RFC 4443 §3.2).
const TOO_BIG4: [u8; 2] = [3, 4];
const TOO_BIG6: [u8; 2] = [2, 0];

const TCP: IpNextHeaderProtocol = IpNextHeaderProtocols::Tcp;
const UDP: IpNextHeaderProtocol = IpNextHeaderProtocols::Udp;
const ICMP: IpNextHeaderProtocol = IpNextHeaderProtocols::Icmp;
const ICMPV6: IpNextHeaderProtocol = IpNextHeaderProtocols::Icmpv6;
const HOP_BY_HOP: IpNextHeaderProtocol = IpNextHeaderProtocols::Hopopt;
const ROUTING: IpNextHeaderProtocol = IpNextHeaderProtocols::Ipv6Route;
const FRAGMENT: IpNextHeaderProtocol = IpNextHeaderProtocols::Ipv6Frag;
const DESTINATION: IpNextHeaderProtocol = IpNextHeaderProtocols::Ipv6Opts;

/// The claims of all tests: a port of one address of each family, and the whole of another.
fn steering() -> Option<(Program, Steering)> {
    // Where sockets can be opened a program that cannot be loaded is a fault.
    if let Err(error) = features::can_open_sockets() {
        skip(&error.to_string());
        return None;
    }
    let (program, mut steering) = Steering::load(4).unwrap();
    for claim in [
        Claim::Port((SHARED4, HTTP).into()),
        Claim::Port((SHARED6, HTTP).into()),
        Claim::Dedicated(IpAddr::V4(DEDICATED4)),
        Claim::Dedicated(IpAddr::V6(DEDICATED6)),
    ] {
        steering.add_claim(claim).unwrap();
    }
    Some((program, steering))
}

/// A socket for queue 0, which is the one that test runs come in on. It need not be bound to be
/// redirected to.
fn socket() -> rustix::fd::OwnedFd {
    rustix::net::socket(rustix::net::AddressFamily::XDP, rustix::net::SocketType::RAW, None)
        .unwrap()
}

fn ethernet(ethertype: pnet::packet::ethernet::EtherType, tagged: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 14 + 4 * usize::from(tagged) + payload.len()];
    let mut frame = MutableEthernetPacket::new(&mut bytes).unwrap();
    frame.set_destination(MacAddr::new(2, 0, 0, 0, 0, 1));
    frame.set_source(MacAddr::new(2, 0, 0, 0, 0, 9));
    frame.set_ethertype(if tagged { EtherTypes::Vlan } else { ethertype });
    if tagged {
        let mut vlan = MutableVlanPacket::new(&mut bytes[14..]).unwrap();
        vlan.set_vlan_identifier(7);
        vlan.set_ethertype(ethertype);
        vlan.set_payload(payload);
    } else {
        frame.set_payload(payload);
    }
    bytes
}

fn tcp(port: u16) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    let mut segment = MutableTcpPacket::new(&mut bytes).unwrap();
    segment.set_source(CLIENT_PORT);
    segment.set_destination(port);
    segment.set_data_offset(5);
    bytes
}

fn ipv4(to: Ipv4Addr, protocol: IpNextHeaderProtocol, payload: &[u8]) -> Vec<u8> {
    ipv4_with(to, protocol, payload, 5, |_| ())
}

fn ipv4_with(
    to: Ipv4Addr,
    protocol: IpNextHeaderProtocol,
    payload: &[u8],
    header_words: u8,
    change: impl FnOnce(&mut MutableIpv4Packet<'_>),
) -> Vec<u8> {
    let header = usize::from(header_words.max(5)) * 4;
    // The option kind "no operation" fills what room there is for options.
    let mut bytes = vec![1; header];
    bytes.extend(payload);
    let total = bytes.len() as u16;
    bytes[..20].fill(0);
    let mut packet = MutableIpv4Packet::new(&mut bytes).unwrap();
    packet.set_version(4);
    packet.set_header_length(header_words);
    packet.set_total_length(total);
    packet.set_ttl(64);
    packet.set_next_level_protocol(protocol);
    packet.set_source(CLIENT4);
    packet.set_destination(to);
    change(&mut packet);
    if header_words >= 5 {
        packet.set_checksum(checksum(&packet.to_immutable()));
    }
    bytes
}

fn ipv6(to: Ipv6Addr, protocol: IpNextHeaderProtocol, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 40 + payload.len()];
    let mut packet = MutableIpv6Packet::new(&mut bytes).unwrap();
    packet.set_version(6);
    packet.set_payload_length(payload.len() as u16);
    packet.set_hop_limit(64);
    packet.set_next_header(protocol);
    packet.set_source(CLIENT6);
    packet.set_destination(to);
    packet.set_payload(payload);
    bytes
}

/// An extension header of `units` × 8 bytes more than the least; `second` is the routing header's
/// word.
fn extension(next: IpNextHeaderProtocol, units: u8, second: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + 8 * usize::from(units)];
    bytes[..4].copy_from_slice(&[next.0, units, second[0], second[1]]);
    bytes.extend(payload);
    bytes
}

/// RFC 8200 §4.5.
fn fragment(next: IpNextHeaderProtocol, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let word = (offset << 3 | u16::from(more)).to_be_bytes();
    let mut bytes = vec![next.0, 0, word[0], word[1], 0, 0, 0, 1];
    bytes.extend(payload);
    bytes
}

fn arp(target: Ipv4Addr, reply: bool) -> Vec<u8> {
    arp_from(CLIENT4, target, reply)
}

fn arp_from(sender: Ipv4Addr, target: Ipv4Addr, reply: bool) -> Vec<u8> {
    let mut bytes = vec![0; 28];
    let mut packet = MutableArpPacket::new(&mut bytes).unwrap();
    packet.set_hardware_type(ArpHardwareTypes::Ethernet);
    packet.set_protocol_type(EtherTypes::Ipv4);
    packet.set_hw_addr_len(6);
    packet.set_proto_addr_len(4);
    packet.set_operation(if reply { ArpOperations::Reply } else { ArpOperations::Request });
    packet.set_sender_proto_addr(sender);
    packet.set_target_proto_addr(target);
    bytes
}

/// What a router says of a packet that was sent to the client: type and code, and its quote.
fn too_big(kind: [u8; 2], quote: &[u8]) -> Vec<u8> {
    [&[kind[0], kind[1], 0, 0, 0, 0, 5, 120], quote].concat()
}

/// The head of a packet of which routers speak, as far as they have to quote it (RFC 792).
fn sent4(from: Ipv4Addr, port: u16, protocol: IpNextHeaderProtocol) -> Vec<u8> {
    ipv4_with(CLIENT4, protocol, &sent_tcp(port, CLIENT_PORT)[..8], 5, |packet| {
        packet.set_source(from);
    })
}

fn sent6(from: Ipv6Addr, port: u16, protocol: IpNextHeaderProtocol) -> Vec<u8> {
    let mut bytes = ipv6(CLIENT6, protocol, &sent_tcp(port, CLIENT_PORT)[..8]);
    MutableIpv6Packet::new(&mut bytes).unwrap().set_source(from);
    bytes
}

fn sent_tcp(from: u16, to: u16) -> Vec<u8> {
    let mut bytes = tcp(to);
    MutableTcpPacket::new(&mut bytes).unwrap().set_source(from);
    bytes
}

/// RFC 4861 §4.3, without options.
fn solicitation(target: Ipv6Addr) -> Vec<u8> {
    let mut bytes = vec![135, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(target.octets());
    bytes
}

/// RFC 4861 §4.4, without options.
fn advertisement(target: Ipv6Addr) -> Vec<u8> {
    let mut bytes = solicitation(target);
    bytes[0] = 136;
    bytes
}

fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = target.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// One row: what it is, the frame's type and payload, and what is to be done with it.
type Row = (&'static str, pnet::packet::ethernet::EtherType, Vec<u8>, Verdict);

const TAKE: Verdict = Verdict::Redirect;
const PASS: Verdict = Verdict::Pass;
const DROP: Verdict = Verdict::Drop;

fn rows4() -> Vec<Row> {
    let more = |packet: &mut MutableIpv4Packet<'_>| packet.set_flags(0b001);
    let later = |packet: &mut MutableIpv4Packet<'_>| packet.set_fragment_offset(185);
    let whole = |packet: &mut MutableIpv4Packet<'_>| packet.set_flags(0b010);
    let rows = vec![
        ("a claimed port", ipv4(SHARED4, TCP, &tcp(HTTP)), TAKE),
        ("another port", ipv4(SHARED4, TCP, &tcp(SSH)), PASS),
        ("port 0, which fills empty slots", ipv4(SHARED4, TCP, &tcp(0)), PASS),
        ("the port at another address", ipv4(OTHER4, TCP, &tcp(HTTP)), PASS),
        (
            "the claimed port as the source",
            ipv4(SHARED4, TCP, &{
                let mut tcp = tcp(SSH);
                tcp[1] = 80;
                tcp
            }),
            PASS,
        ),
        ("UDP to the claimed port", ipv4(SHARED4, UDP, &tcp(HTTP)), PASS),
        ("ICMP to a shared address", ipv4(SHARED4, ICMP, &[8, 0, 0, 0, 0, 0, 0, 0]), PASS),
        ("do not fragment", ipv4_with(SHARED4, TCP, &tcp(HTTP), 5, whole), TAKE),
        ("any port of a dedicated address", ipv4(DEDICATED4, TCP, &tcp(SSH)), TAKE),
        ("port 0 of a dedicated address", ipv4(DEDICATED4, TCP, &tcp(0)), TAKE),
        ("ICMP to a dedicated address", ipv4(DEDICATED4, ICMP, &[8, 0, 0, 0, 0, 0, 0, 0]), TAKE),
        ("UDP to a dedicated address", ipv4(DEDICATED4, UDP, &tcp(53)), PASS),
        ("options before a claimed port", ipv4_with(SHARED4, TCP, &tcp(HTTP), 6, |_| ()), TAKE),
        ("the most options", ipv4_with(SHARED4, TCP, &tcp(HTTP), 15, |_| ()), TAKE),
        (
            "the most options before another port",
            ipv4_with(SHARED4, TCP, &tcp(SSH), 15, |_| ()),
            PASS,
        ),
        ("a header too short to be one", ipv4_with(SHARED4, TCP, &tcp(HTTP), 4, |_| ()), PASS),
        (
            "another version",
            ipv4_with(SHARED4, TCP, &tcp(HTTP), 5, |packet| packet.set_version(5)),
            PASS,
        ),
        ("a first fragment", ipv4_with(SHARED4, TCP, &tcp(HTTP), 5, more), DROP),
        ("a later fragment", ipv4_with(SHARED4, TCP, &tcp(HTTP), 5, later), DROP),
        ("a fragment to an unclaimed address", ipv4_with(OTHER4, TCP, &tcp(HTTP), 5, more), PASS),
        ("a UDP fragment", ipv4_with(SHARED4, UDP, &tcp(HTTP), 5, more), PASS),
        (
            "an ICMP fragment to a shared address",
            ipv4_with(SHARED4, ICMP, &[8; 16], 5, later),
            PASS,
        ),
        (
            "an ICMP fragment to a dedicated address",
            ipv4_with(DEDICATED4, ICMP, &[8; 16], 5, later),
            DROP,
        ),
        (
            "a TCP fragment to a dedicated address",
            ipv4_with(DEDICATED4, TCP, &tcp(HTTP), 5, later),
            DROP,
        ),
    ];
    let mut rows: Vec<Row> = rows
        .into_iter()
        .map(|(name, packet, verdict)| (name, EtherTypes::Ipv4, packet, verdict))
        .collect();
    rows.extend([
        ("a request for a dedicated address", EtherTypes::Arp, arp(DEDICATED4, false), TAKE),
        ("a reply to a dedicated address", EtherTypes::Arp, arp(DEDICATED4, true), TAKE),
        ("a request for a shared address", EtherTypes::Arp, arp(SHARED4, false), PASS),
        ("a request for another address", EtherTypes::Arp, arp(OTHER4, false), PASS),
        (
            "a request from a dedicated address",
            EtherTypes::Arp,
            arp_from(DEDICATED4, OTHER4, false),
            TAKE,
        ),
        (
            "a request from a shared address",
            EtherTypes::Arp,
            arp_from(SHARED4, OTHER4, false),
            PASS,
        ),
        ("a reply to a shared address", EtherTypes::Arp, arp(SHARED4, true), PASS),
        (
            "an IPv4 packet that says it is IPv6",
            EtherTypes::Ipv6,
            ipv4(SHARED4, TCP, &tcp(HTTP)),
            PASS,
        ),
        ("neither IP nor ARP", EtherTypes::Lldp, ipv4(SHARED4, TCP, &tcp(HTTP)), PASS),
    ]);
    rows
}

/// Routers' messages to a shared address.
fn too_big_rows() -> Vec<Row> {
    let said4 = |kind, quote: &[u8]| ipv4(SHARED4, ICMP, &too_big(kind, quote));
    let said6 = |kind, quote: &[u8]| ipv6(SHARED6, ICMPV6, &too_big(kind, quote));
    let (ours4, ours6) = (sent4(SHARED4, HTTP, TCP), sent6(SHARED6, HTTP, TCP));
    let with_options = ipv4_with(CLIENT4, TCP, &sent_tcp(HTTP, CLIENT_PORT), 6, |packet| {
        packet.set_source(SHARED4);
    });
    let behind_options = ipv4_with(SHARED4, ICMP, &too_big(TOO_BIG4, &ours4), 6, |_| ());
    let in_parts =
        ipv4_with(SHARED4, ICMP, &too_big(TOO_BIG4, &ours4), 5, |packet| packet.set_flags(0b001));
    let rows4 = [
        ("of a claimed port's packet", said4(TOO_BIG4, &ours4), TAKE),
        ("behind options", behind_options, TAKE),
        ("of another port's packet", said4(TOO_BIG4, &sent4(SHARED4, SSH, TCP)), PASS),
        ("of a packet from elsewhere", said4(TOO_BIG4, &sent4(OTHER4, HTTP, TCP)), PASS),
        ("of a datagram", said4(TOO_BIG4, &sent4(SHARED4, HTTP, UDP)), PASS),
        ("of a packet with options", said4(TOO_BIG4, &with_options), PASS),
        ("of a packet it does not quote to the ports", said4(TOO_BIG4, &ours4[..23]), PASS),
        ("in a fragment", in_parts, PASS),
        ("that it is not to be reached", said4([3, 1], &ours4), PASS),
        ("that its time was over", said4([11, 0], &ours4), PASS),
    ];
    let rows6 = [
        ("of a claimed port's packet", said6(TOO_BIG6, &ours6), TAKE),
        (
            "behind an extension",
            ipv6(SHARED6, DESTINATION, &extension(ICMPV6, 0, [0, 0], &too_big(TOO_BIG6, &ours6))),
            TAKE,
        ),
        ("of another port's packet", said6(TOO_BIG6, &sent6(SHARED6, SSH, TCP)), PASS),
        ("of a packet from elsewhere", said6(TOO_BIG6, &sent6(OTHER6, HTTP, TCP)), PASS),
        ("of a datagram", said6(TOO_BIG6, &sent6(SHARED6, HTTP, UDP)), PASS),
        ("of a packet it does not quote to the ports", said6(TOO_BIG6, &ours6[..43]), PASS),
        ("that it is not to be reached", said6([1, 0], &ours6), PASS),
    ];
    let over =
        |ethertype| move |(name, packet, verdict)| -> Row { (name, ethertype, packet, verdict) };
    rows4
        .into_iter()
        .map(over(EtherTypes::Ipv4))
        .chain(rows6.into_iter().map(over(EtherTypes::Ipv6)))
        .collect()
}

fn rows() -> impl Iterator<Item = Row> {
    rows4().into_iter().chain(rows6()).chain(too_big_rows()).chain(martian_rows())
}

/// Packets whose source no host has (RFC 1122 §3.2.1.3, RFC 4291 §2.5), and which the kernel
/// refuses as well.
fn martian_rows() -> Vec<Row> {
    let from4 = |source: &str, to, protocol, payload: &[u8]| {
        ipv4_with(to, protocol, payload, 5, |packet| packet.set_source(source.parse().unwrap()))
    };
    let from6 = |source: &str, to, protocol, payload: &[u8]| {
        let mut bytes = ipv6(to, protocol, payload);
        MutableIpv6Packet::new(&mut bytes).unwrap().set_source(source.parse().unwrap());
        bytes
    };
    let mut rows = Vec::new();
    for source in [
        "0.0.0.0",
        "0.0.0.9",
        "127.0.0.1",
        "127.9.9.9",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
    ] {
        for (name, packet, verdict) in [
            ("a claimed port", from4(source, SHARED4, TCP, &tcp(HTTP)), DROP),
            ("another port", from4(source, SHARED4, TCP, &tcp(SSH)), PASS),
            ("a dedicated address", from4(source, DEDICATED4, TCP, &tcp(SSH)), DROP),
            (
                "a dedicated address, ICMP",
                from4(source, DEDICATED4, ICMP, &[8, 0, 0, 0, 0, 0, 0, 0]),
                DROP,
            ),
            ("an address without a claim", from4(source, OTHER4, TCP, &tcp(HTTP)), PASS),
        ] {
            rows.push((name, EtherTypes::Ipv4, packet, verdict));
        }
    }
    for source in ["::", "::1", "ff02::1", "::ffff:198.18.0.9"] {
        let echo = if source == "::" { TAKE } else { DROP };
        for (name, packet, verdict) in [
            ("a claimed port", from6(source, SHARED6, TCP, &tcp(HTTP)), DROP),
            ("another port", from6(source, SHARED6, TCP, &tcp(SSH)), PASS),
            ("a dedicated address", from6(source, DEDICATED6, TCP, &tcp(SSH)), DROP),
            ("a dedicated address, ICMPv6", from6(source, DEDICATED6, ICMPV6, &[128; 8]), echo),
        ] {
            rows.push((name, EtherTypes::Ipv6, packet, verdict));
        }
    }
    // In the map of claims an IPv4 address stands as an address of IPv6.
    for (address, protocol, payload) in
        [(SHARED4, TCP, tcp(HTTP)), (DEDICATED4, TCP, tcp(SSH)), (DEDICATED4, ICMPV6, vec![128; 8])]
    {
        let packet = ipv6(address.to_ipv6_mapped(), protocol, &payload);
        rows.push(("an IPv4 address in a header of IPv6", EtherTypes::Ipv6, packet, DROP));
    }
    rows.push((
        "a host of a high network",
        EtherTypes::Ipv4,
        from4("223.255.255.254", SHARED4, TCP, &tcp(HTTP)),
        TAKE,
    ));
    rows
}

/// RFC 1122 §3.3.6: a segment in a frame to everybody, or to a group, is not for this host; the
/// kernel drops it, too.
/// A connection of the kernel with itself, to the port of HTTP at an address that it has.
fn kernel_connection(address: IpAddr) -> (TcpListener, TcpStream) {
    let mut both = None;
    // An IPv6 address can be bound a moment before there is a route to it.
    wait_until("the address can be used", TEST_TIMEOUT, || {
        both = TcpListener::bind((address, HTTP))
            .and_then(|listener| Ok((listener, TcpStream::connect((address, HTTP))?)))
            .ok();
        both.is_some()
    });
    both.unwrap()
}

#[test]
fn a_claimed_segment_in_a_frame_to_several_hosts_is_dropped() {
    let Some((mut program, steering)) = steering() else { return };
    let socket = socket();
    program.set_socket(0, &socket).unwrap();
    for packet in [
        ethernet(EtherTypes::Ipv4, true, &ipv4(SHARED4, TCP, &tcp(HTTP))),
        ethernet(EtherTypes::Ipv6, false, &ipv6(DEDICATED6, TCP, &tcp(SSH))),
    ] {
        for first in [0xff, 0x01, 0x33] {
            let mut frame = packet.clone();
            frame[0] = first;
            assert_eq!(program.test_run(&frame).unwrap(), DROP, "{first:x}");
        }
        assert_eq!(program.test_run(&packet).unwrap(), TAKE);
    }
    assert_eq!(counter(&steering, "steer_martians_dropped"), 6);
}

fn rows6() -> Vec<Row> {
    let behind = |chain: &[IpNextHeaderProtocol], port: u16| -> Vec<u8> {
        let mut payload = tcp(port);
        for pair in chain.windows(2).rev() {
            payload = extension(pair[1], 1, [0, 0], &payload);
        }
        ipv6(SHARED6, chain[0], &payload)
    };
    let many = |count: usize| {
        let mut chain = vec![DESTINATION; count];
        chain.push(TCP);
        chain
    };
    let to_all = |target| ipv6(ALL_NODES, ICMPV6, &advertisement(target));
    let multicast = |target| ipv6(solicited_node(target), ICMPV6, &solicitation(target));
    let rows = vec![
        ("a claimed port", ipv6(SHARED6, TCP, &tcp(HTTP)), TAKE),
        ("another port", ipv6(SHARED6, TCP, &tcp(SSH)), PASS),
        ("the port at another address", ipv6(OTHER6, TCP, &tcp(HTTP)), PASS),
        ("UDP to the claimed port", ipv6(SHARED6, UDP, &tcp(HTTP)), PASS),
        ("any port of a dedicated address", ipv6(DEDICATED6, TCP, &tcp(SSH)), TAKE),
        ("UDP to a dedicated address", ipv6(DEDICATED6, UDP, &tcp(SSH)), PASS),
        ("an echo request to a shared address", ipv6(SHARED6, ICMPV6, &[128; 8]), PASS),
        ("an echo request to a dedicated address", ipv6(DEDICATED6, ICMPV6, &[128; 8]), TAKE),
        ("a question for a dedicated address", multicast(DEDICATED6), TAKE),
        ("a question for a shared address", multicast(SHARED6), PASS),
        ("a question for another address", multicast(OTHER6), PASS),
        (
            "a question sent to the dedicated address",
            ipv6(DEDICATED6, ICMPV6, &solicitation(DEDICATED6)),
            TAKE,
        ),
        ("an answer to a question of ours", ipv6(DEDICATED6, ICMPV6, &advertisement(OTHER6)), TAKE),
        ("another host's word that it has a dedicated address", to_all(DEDICATED6), TAKE),
        ("another host's word that it has a shared address", to_all(SHARED6), PASS),
        ("a host's word that it has another address", to_all(CLIENT6), PASS),
        (
            "a question cut off",
            ipv6(solicited_node(DEDICATED6), ICMPV6, &solicitation(DEDICATED6)[..20]),
            PASS,
        ),
        ("a router's advertisement to all nodes", ipv6(ALL_NODES, ICMPV6, &[134; 32]), PASS),
        ("hop-by-hop options", behind(&[HOP_BY_HOP, TCP], HTTP), TAKE),
        (
            "all kinds of extension",
            behind(&[HOP_BY_HOP, DESTINATION, ROUTING, DESTINATION, TCP], HTTP),
            TAKE,
        ),
        (
            "all kinds before another port",
            behind(&[HOP_BY_HOP, DESTINATION, ROUTING, DESTINATION, TCP], SSH),
            PASS,
        ),
        ("as many extensions as are walked", behind(&many(5), HTTP), TAKE),
        ("one extension too many", behind(&many(6), HTTP), PASS),
        (
            "a route that is not at its end",
            ipv6(SHARED6, ROUTING, &extension(TCP, 0, [0, 1], &tcp(HTTP))),
            PASS,
        ),
        (
            "UDP behind an extension",
            ipv6(SHARED6, DESTINATION, &extension(UDP, 0, [0, 0], &tcp(HTTP))),
            PASS,
        ),
        (
            "the longest extension",
            ipv6(SHARED6, DESTINATION, &extension(TCP, 150, [0, 0], &tcp(HTTP))),
            TAKE,
        ),
        ("a first fragment", ipv6(SHARED6, FRAGMENT, &fragment(TCP, 0, true, &tcp(HTTP))), DROP),
        ("a later fragment", ipv6(SHARED6, FRAGMENT, &fragment(TCP, 181, false, &tcp(HTTP))), DROP),
        ("the only fragment", ipv6(SHARED6, FRAGMENT, &fragment(TCP, 0, false, &tcp(HTTP))), TAKE),
        (
            "the only fragment to another port",
            ipv6(SHARED6, FRAGMENT, &fragment(TCP, 0, false, &tcp(SSH))),
            PASS,
        ),
        (
            "a fragment of who knows what",
            ipv6(SHARED6, FRAGMENT, &fragment(DESTINATION, 181, true, &[0; 32])),
            DROP,
        ),
        ("a UDP fragment", ipv6(SHARED6, FRAGMENT, &fragment(UDP, 181, true, &[0; 32])), PASS),
        (
            "an ICMP fragment to a shared address",
            ipv6(SHARED6, FRAGMENT, &fragment(ICMPV6, 181, true, &[0; 32])),
            PASS,
        ),
        (
            "an ICMP fragment to a dedicated one",
            ipv6(DEDICATED6, FRAGMENT, &fragment(ICMPV6, 181, true, &[0; 32])),
            DROP,
        ),
        (
            "a fragment to an unclaimed address",
            ipv6(OTHER6, FRAGMENT, &fragment(TCP, 0, true, &tcp(HTTP))),
            PASS,
        ),
    ];
    rows.into_iter()
        .map(|(name, packet, verdict)| (name, EtherTypes::Ipv6, packet, verdict))
        .collect()
}

fn counter(steering: &Steering, name: &str) -> u64 {
    let counters = steering.counters().unwrap();
    counters
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("{name} is a counter"))
        .1
}

#[test]
fn every_frame_of_the_table_goes_where_it_should() {
    let Some((mut program, mut steering)) = steering() else { return };
    let socket = socket();
    program.set_socket(0, &socket).unwrap();
    let mut dropped = 0;
    // Without earlier connections of the kernel, one address is found without a lookup.
    for is_settled in [false, true] {
        if is_settled {
            steering.settle().unwrap();
        }
        for (name, ethertype, payload, expected) in rows() {
            for tagged in [false, true] {
                let frame = ethernet(ethertype, tagged, &payload);
                let verdict = program.test_run(&frame).unwrap();
                let how = format!("tagged: {tagged}, settled: {is_settled}");
                assert_eq!(verdict, expected, "{name} ({ethertype}, {how})");
                dropped += u64::from(verdict == DROP);
            }
        }
    }
    let counted =
        ["steer_fragments_dropped", "steer_martians_dropped"].map(|name| counter(&steering, name));
    assert_eq!(counted.iter().sum::<u64>(), dropped);
    let martians =
        martian_rows().iter().filter(|(_, _, _, verdict)| *verdict == DROP).count() as u64;
    assert_eq!(counted[1], 4 * martians, "with and without a tag, twice");
    assert_eq!(counter(&steering, "steer_no_socket"), 0);
    let extensions = counter(&steering, "steer_too_many_extensions");
    assert_eq!(extensions, 4, "with and without a tag, twice");
}

/// Cut off anywhere, a frame is either taken, if the ports are there, or left to the kernel.
#[test]
fn a_frame_cut_off_anywhere_is_passed() {
    let Some((mut program, mut steering)) = steering() else { return };
    let socket = socket();
    program.set_socket(0, &socket).unwrap();
    steering.settle().unwrap();
    for ((name, ethertype, payload, expected), tagged) in
        rows().flat_map(|row| [(row.clone(), false), (row, true)])
    {
        let frame = ethernet(ethertype, tagged, &payload);
        // The kernel runs no frame shorter than an Ethernet header.
        for len in 14..frame.len() {
            let verdict = program.test_run(&frame[..len]).unwrap();
            assert!(verdict == expected || verdict == PASS, "{name} cut off at {len}: {verdict:?}");
        }
    }
    let before = counter(&steering, "steer_truncated");
    let frame = ethernet(EtherTypes::Ipv4, false, &ipv4(SHARED4, TCP, &tcp(HTTP)));
    assert_eq!(program.test_run(&frame[..14 + 20 + 3]).unwrap(), PASS);
    assert_eq!(
        program.test_run(&frame[..14 + 20 + 4]).unwrap(),
        TAKE,
        "the ports are all it takes"
    );
    assert_eq!(counter(&steering, "steer_truncated"), before + 1);
}

/// A connection that the kernel has at the claimed port hears of the path's MTU from the kernel;
/// all others, which a listener there does not make the kernel's, are the stack's.
#[test]
fn what_concerns_a_connection_of_the_kernels_is_left_to_it() {
    let Some((mut program, _steering)) = steering() else { return };
    let socket = socket();
    program.set_socket(0, &socket).unwrap();
    let namespace = simoom::netns::Namespace::new().unwrap();
    namespace.run(|| {
        for (address, prefix) in [(IpAddr::V4(SHARED4), 32), (IpAddr::V6(SHARED6), 128)] {
            simoom::netns::set_address("lo", address, prefix).unwrap();
            let (_listener, client) = kernel_connection(address);
            let port = client.local_addr().unwrap().port();
            assert_eq!(
                program.test_run(&too_big_to(address, port)).unwrap(),
                PASS,
                "{address}: the kernel's"
            );
            let other = if port == CLIENT_PORT { CLIENT_PORT + 1 } else { CLIENT_PORT };
            assert_eq!(
                program.test_run(&too_big_to(address, other)).unwrap(),
                TAKE,
                "{address}: nobody's"
            );
        }
    });
}

/// A router's message of a packet from `address` to itself and this port.
fn too_big_to(address: IpAddr, port: u16) -> Vec<u8> {
    let segment = sent_tcp(HTTP, port);
    match address {
        IpAddr::V4(address) => {
            let sent = ipv4_with(address, TCP, &segment, 5, |packet| packet.set_source(address));
            ethernet(EtherTypes::Ipv4, false, &ipv4(address, ICMP, &too_big(TOO_BIG4, &sent)))
        }
        IpAddr::V6(address) => {
            let mut sent = ipv6(address, TCP, &segment);
            MutableIpv6Packet::new(&mut sent).unwrap().set_source(address);
            ethernet(EtherTypes::Ipv6, false, &ipv6(address, ICMPV6, &too_big(TOO_BIG6, &sent)))
        }
    }
}

#[test]
fn claims_come_and_go_at_run_time() {
    let Some((mut program, mut steering)) = steering() else { return };
    let socket = socket();
    program.set_socket(0, &socket).unwrap();
    let frame = ethernet(EtherTypes::Ipv4, false, &ipv4(OTHER4, TCP, &tcp(8080)));
    let claim = Claim::Port((OTHER4, 8080).into());
    assert_eq!(program.test_run(&frame).unwrap(), PASS);
    for is_settled in [false, true] {
        steering.add_claim(claim).unwrap();
        if is_settled {
            steering.settle().unwrap();
        }
        assert_eq!(program.test_run(&frame).unwrap(), TAKE);
        steering.remove_claim(claim).unwrap();
        assert_eq!(program.test_run(&frame).unwrap(), PASS, "settled: {is_settled}");
    }
    for port in 1..=16 {
        steering.add_claim(Claim::Port((OTHER4, port * 500).into())).unwrap();
    }
    for port in 1..=16 {
        let frame = ethernet(EtherTypes::Ipv4, false, &ipv4(OTHER4, TCP, &tcp(port * 500)));
        assert_eq!(program.test_run(&frame).unwrap(), TAKE, "each of the most ports");
    }
    steering.settle().unwrap();
    steering.remove_all_claims().unwrap();
    for (name, ethertype, payload, _) in rows() {
        assert_eq!(
            program.test_run(&ethernet(ethertype, false, &payload)).unwrap(),
            PASS,
            "{name}"
        );
    }
}

#[test]
fn a_queue_without_a_socket_leaves_the_frame_to_the_kernel_and_counts_it() {
    let Some((mut program, steering)) = steering() else { return };
    let frame = ethernet(EtherTypes::Ipv4, false, &ipv4(SHARED4, TCP, &tcp(HTTP)));
    assert_eq!(program.test_run(&frame).unwrap(), PASS);
    assert_eq!(counter(&steering, "steer_no_socket"), 1);
    let socket = socket();
    program.set_socket(0, &socket).unwrap();
    assert_eq!(program.test_run(&frame).unwrap(), TAKE);
    drop(socket);
    assert_eq!(program.test_run(&frame).unwrap(), PASS, "a closed socket leaves the map");
    assert_eq!(counter(&steering, "steer_no_socket"), 2);
}

/// The frames are good ones by another parser too, or the table would show nothing.
#[test]
fn the_table_is_of_well_formed_frames() {
    let packet = ipv4_with(SHARED4, TCP, &tcp(HTTP), 7, |_| ());
    let packet = pnet::packet::ipv4::Ipv4Packet::new(&packet).unwrap();
    let segment = pnet::packet::tcp::TcpPacket::new(packet.payload()).unwrap();
    assert_eq!((packet.get_destination(), segment.get_destination()), (SHARED4, HTTP));
    let packet = ipv6(SHARED6, FRAGMENT, &fragment(TCP, 181, true, &tcp(HTTP)));
    let packet = pnet::packet::ipv6::Ipv6Packet::new(&packet).unwrap();
    let header = pnet::packet::ipv6::FragmentPacket::new(packet.payload()).unwrap();
    assert_eq!((header.get_fragment_offset(), header.is_last_fragment()), (181 * 8, false));
}

/// The compiler of the recorded major version, with its strip: as Debian and Ubuntu name them, or
/// the plain ones.
fn compiler(recorded: &str) -> Result<[String; 2], String> {
    let mut found = Vec::new();
    for suffix in [format!("-{recorded}"), String::new()] {
        let tools = [format!("clang{suffix}"), format!("llvm-strip{suffix}")];
        let Ok(output) = Command::new(&tools[0]).arg("-dumpversion").output() else { continue };
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if version.split('.').next() == Some(recorded)
            && Command::new(&tools[1]).arg("--version").output().is_ok()
        {
            return Ok(tools);
        }
        found.push(version);
    }
    Err(format!("needs clang {recorded} and its llvm-strip, found {found:?}"))
}

/// Each committed object is what its source compiles to. Another major version of clang may write
/// other bytes.
#[test]
fn the_committed_objects_are_built_from_the_committed_sources() {
    for (directory, object) in [("bpf", "steer.bpf.o"), ("stack/af_xdp/bpf", "redirect.bpf.o")] {
        let bpf = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        let recorded = fs::read_to_string(bpf.join(format!("{object}.clang"))).unwrap();
        let [clang, strip] = match compiler(recorded.trim()) {
            Ok(tools) => tools,
            Err(reason) => return skip(&reason),
        };
        // Built elsewhere, to show that the bytes do not depend on the directory.
        let elsewhere = tempfile::tempdir().unwrap();
        let sources = fs::read_dir(&bpf).unwrap().map(|entry| entry.unwrap().file_name());
        for name in sources.filter(|name| name != object) {
            fs::copy(bpf.join(&name), elsewhere.path().join(&name)).unwrap();
        }
        let build = elsewhere.path().join("build");
        let output =
            Command::new(build).env("CLANG", clang).env("LLVM_STRIP", strip).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (built, committed) = (elsewhere.path().join(object), bpf.join(object));
        assert!(
            fs::read(built).unwrap() == fs::read(committed).unwrap(),
            "{object} is stale: run {directory}/build"
        );
    }
}
