//! Extension headers and neighbour discovery: messages that pnet and smoltcp build, and what is
//! made of them.

use super::ndp::Message;
use super::*;
use pnet::packet::Packet as _;
use pnet::packet::icmpv6::ndp::{
    MutableNeighborAdvertPacket, MutableNeighborSolicitPacket, NdpOption, NdpOptionType,
};
use pnet::packet::icmpv6::{self, Icmpv6Packet, Icmpv6Type, MutableIcmpv6Packet};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv6::{
    DestinationPacket, FragmentPacket, HopByHopPacket, MutableDestinationPacket,
    MutableFragmentPacket, MutableHopByHopPacket, MutableIpv6Packet, MutableRoutingPacket,
    RoutingPacket,
};
use proptest::collection::vec;
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{self as other, Icmpv6Repr, NdiscNeighborFlags, NdiscRepr};
use std::net::Ipv6Addr;

const OURS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const THEIRS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2);
const MAPPED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0xc612, 2);
const MAC: Mac = [2, 0, 0, 0, 0, 1];

const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;
const NO_NEXT_HEADER: u8 = 59;
const DESTINATION: u8 = 60;

/// A packet that pnet writes, in an Ethernet frame.
fn packet(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next: u8,
    hop_limit: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
    frame.resize(14 + 40 + payload.len(), 0);
    let mut ip = MutableIpv6Packet::new(&mut frame[14..]).unwrap();
    ip.set_version(6);
    ip.set_payload_length(payload.len() as u16);
    ip.set_next_header(IpNextHeaderProtocol(next));
    ip.set_hop_limit(hop_limit);
    ip.set_source(source);
    ip.set_destination(destination);
    ip.set_payload(payload);
    frame
}

/// A segment from them to us, with a text.
fn tcp(text: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0; 20], text].concat();
    let mut segment = pnet::packet::tcp::MutableTcpPacket::new(&mut bytes).unwrap();
    segment.set_source(4000);
    segment.set_destination(80);
    segment.set_data_offset(5);
    segment.set_flags(0x10);
    let sum = pnet::packet::tcp::ipv6_checksum(&segment.to_immutable(), &THEIRS, &OURS);
    segment.set_checksum(sum);
    bytes
}

/// One extension header as pnet writes it, its options or rest all `fill`.
fn extension(kind: u8, next: u8, units: u8, fill: &[u8]) -> Vec<u8> {
    let next = IpNextHeaderProtocol(next);
    let mut bytes = vec![0; 8 + 8 * usize::from(units)];
    match kind {
        HOP_BY_HOP => {
            let mut header = MutableHopByHopPacket::new(&mut bytes).unwrap();
            header.set_next_header(next);
            header.set_hdr_ext_len(units);
        }
        DESTINATION => {
            let mut header = MutableDestinationPacket::new(&mut bytes).unwrap();
            header.set_next_header(next);
            header.set_hdr_ext_len(units);
        }
        _ => {
            let mut header = MutableRoutingPacket::new(&mut bytes).unwrap();
            header.set_next_header(next);
            header.set_hdr_ext_len(units);
        }
    }
    bytes[2..2 + fill.len()].copy_from_slice(fill);
    bytes
}

fn fragment(next: u8, offset: u16, more: bool) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    let mut header = MutableFragmentPacket::new(&mut bytes).unwrap();
    header.set_next_header(IpNextHeaderProtocol(next));
    header.set_fragment_offset_with_flags(offset << 3 | u16::from(more));
    bytes
}

fn read(frame: &[u8]) -> Result<Vec<u8>, DropReason> {
    match parse(Packet(&[frame]), ChecksumPolicy::Verify)? {
        Incoming::Tcp(segment) => Ok(segment.payload.parts().flatten().copied().collect()),
        other => panic!("{other:?}"),
    }
}

/// What it is, the first header's kind, the headers, and what is made of them.
type Row = (&'static str, u8, Vec<Vec<u8>>, Result<(), DropReason>);

/// What stands between the IPv6 header and the segment, and what is made of it.
#[test]
fn rfc_8200_section_4_extension_headers() {
    use DropReason::{Fragment, IpExtension, Protocol};
    let padding = [1, 4, 0, 0, 0, 0];
    let known = |kind, next| extension(kind, next, 0, &padding);
    let behind = |action: u8| extension(DESTINATION, TCP, 0, &[action << 6 | 0x1e, 4]);
    let rows: Vec<Row> = vec![
        ("none", TCP, vec![], Ok(())),
        ("hop-by-hop options of padding", HOP_BY_HOP, vec![known(HOP_BY_HOP, TCP)], Ok(())),
        (
            "a router alert",
            HOP_BY_HOP,
            vec![extension(HOP_BY_HOP, TCP, 0, &[5, 2, 0, 0, 1, 0])],
            Ok(()),
        ),
        (
            "single bytes of padding",
            DESTINATION,
            vec![extension(DESTINATION, TCP, 0, &[0; 6])],
            Ok(()),
        ),
        ("destination options", DESTINATION, vec![known(DESTINATION, TCP)], Ok(())),
        ("the longest", DESTINATION, vec![extension(DESTINATION, TCP, 150, &[])], Ok(())),
        (
            "every kind, in the order of §4.1",
            HOP_BY_HOP,
            vec![
                known(HOP_BY_HOP, DESTINATION),
                known(DESTINATION, ROUTING),
                extension(ROUTING, DESTINATION, 2, &[4, 0]),
                known(DESTINATION, TCP),
            ],
            Ok(()),
        ),
        ("five of them", DESTINATION, vec![known(DESTINATION, DESTINATION); 5], Err(IpExtension)),
        (
            "five of them and then a segment",
            DESTINATION,
            [vec![known(DESTINATION, DESTINATION); 4], vec![known(DESTINATION, TCP)]].concat(),
            Ok(()),
        ),
        (
            "six of them",
            DESTINATION,
            [vec![known(DESTINATION, DESTINATION); 5], vec![known(DESTINATION, TCP)]].concat(),
            Err(IpExtension),
        ),
        ("a route at its end", ROUTING, vec![extension(ROUTING, TCP, 2, &[0, 0])], Ok(())),
        (
            "RFC 5095: a route of type 0",
            ROUTING,
            vec![extension(ROUTING, TCP, 2, &[0, 1])],
            Err(IpExtension),
        ),
        (
            "a route of segments",
            ROUTING,
            vec![extension(ROUTING, TCP, 2, &[4, 1])],
            Err(IpExtension),
        ),
        (
            "hop-by-hop options behind others",
            DESTINATION,
            vec![known(DESTINATION, HOP_BY_HOP), known(HOP_BY_HOP, TCP)],
            Err(IpExtension),
        ),
        ("§4.2: an option to pass over", DESTINATION, vec![behind(0)], Ok(())),
        ("§4.2: an option to drop for", DESTINATION, vec![behind(1)], Err(IpExtension)),
        ("§4.2: an option to complain of", DESTINATION, vec![behind(2)], Err(IpExtension)),
        (
            "§4.2: an option to complain of, to hosts",
            DESTINATION,
            vec![behind(3)],
            Err(IpExtension),
        ),
        (
            "RFC 2675: a jumbogram",
            HOP_BY_HOP,
            vec![extension(HOP_BY_HOP, TCP, 0, &[0xc2, 4, 0, 1, 0, 0])],
            Err(IpExtension),
        ),
        (
            "an option too long",
            DESTINATION,
            vec![extension(DESTINATION, TCP, 0, &[1, 5])],
            Err(IpExtension),
        ),
        (
            "an option without a length",
            DESTINATION,
            vec![extension(DESTINATION, TCP, 0, &[0, 0, 0, 0, 0, 1])],
            Err(IpExtension),
        ),
        ("RFC 6946: a fragment that is all", FRAGMENT, vec![fragment(TCP, 0, false)], Ok(())),
        ("a first fragment", FRAGMENT, vec![fragment(TCP, 0, true)], Err(Fragment)),
        ("a later fragment", FRAGMENT, vec![fragment(TCP, 181, false)], Err(Fragment)),
        (
            "a fragment behind options",
            HOP_BY_HOP,
            vec![known(HOP_BY_HOP, FRAGMENT), fragment(TCP, 1, true)],
            Err(Fragment),
        ),
        ("nothing more", NO_NEXT_HEADER, vec![], Err(Protocol)),
        (
            "nothing more behind options",
            DESTINATION,
            vec![known(DESTINATION, NO_NEXT_HEADER)],
            Err(Protocol),
        ),
        ("UDP", 17, vec![], Err(Protocol)),
    ];
    for (name, first, chain, expected) in rows {
        let payload = [chain.concat(), tcp(b"hello")].concat();
        let mut frame = packet(THEIRS, OURS, first, 64, &payload);
        frame.extend([0; 9]);
        assert_eq!(read(&frame), expected.map(|()| b"hello".to_vec()), "{name}");
    }
}

/// The chains of the table are what their names say by pnet's reading too.
#[test]
fn the_table_is_of_well_formed_headers() {
    let bytes = extension(HOP_BY_HOP, TCP, 0, &[1, 4]);
    assert_eq!(HopByHopPacket::new(&bytes).unwrap().get_next_header(), IpNextHeaderProtocols::Tcp);
    let bytes = extension(DESTINATION, TCP, 3, &[]);
    assert_eq!(DestinationPacket::new(&bytes).unwrap().get_hdr_ext_len(), 3);
    let bytes = extension(ROUTING, TCP, 2, &[4, 1]);
    let route = RoutingPacket::new(&bytes).unwrap();
    assert_eq!((route.get_routing_type(), route.get_segments_left()), (4, 1));
    let bytes = fragment(TCP, 181, true);
    let header = FragmentPacket::new(&bytes).unwrap();
    assert_eq!((header.get_fragment_offset(), header.is_last_fragment()), (181 * 8, false));
}

/// Nobody may come to a connection of IPv4 under an address that IPv6 maps to it, nor from where
/// nobody is.
#[test]
fn addresses_that_no_host_has() {
    let segment = tcp(b"hello");
    let from = |source: Ipv6Addr| packet(source, OURS, TCP, 64, &segment);
    for source in [MAPPED, Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, GROUP] {
        assert_eq!(read(&from(source)), Err(DropReason::IpSource), "{source}");
    }
    assert_eq!(read(&packet(THEIRS, MAPPED, TCP, 64, &segment)), Err(DropReason::NotOurs));
    let mut frame = from(THEIRS);
    frame[14] = 0x50;
    assert_eq!(read(&frame), Err(DropReason::IpHeader));
}

proptest! {
    /// Any bytes where extension headers may be: read within their bounds, cut off anywhere, in two
    /// buffers.
    #[test]
    fn rubbish_chains_are_survived(
        first in prop_oneof![Just(0u8), Just(43), Just(44), Just(60), Just(58), any::<u8>()],
        rubbish in vec(prop_oneof![0u8..3, Just(6u8), Just(43), Just(44), Just(58), Just(60), any::<u8>()], 0..200),
        cut: prop::sample::Index,
    ) {
        let frame = packet(THEIRS, OURS, first, 255, &rubbish);
        let cut = cut.index(frame.len() + 1);
        let _ = parse(Packet(&[&frame]), ChecksumPolicy::AcceptPartial);
        let _ = parse(Packet(&[&frame[..cut]]), ChecksumPolicy::AcceptPartial);
        let _ = parse(Packet(&[&frame[..cut], &frame[cut..]]), ChecksumPolicy::AcceptPartial);
    }
}

/// An ICMPv6 message with its checksum, in a frame.
fn message(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, mut body: Vec<u8>) -> Vec<u8> {
    let mut icmp = MutableIcmpv6Packet::new(&mut body).unwrap();
    let sum = icmpv6::checksum(&icmp.to_immutable(), &source, &destination);
    icmp.set_checksum(sum);
    packet(source, destination, ICMPV6, hop_limit, &body)
}

fn option(kind: u8, mac: Mac) -> Vec<NdpOption> {
    vec![NdpOption { option_type: NdpOptionType(kind), length: 1, data: mac.to_vec() }]
}

fn solicitation(target: Ipv6Addr, options: &[NdpOption]) -> Vec<u8> {
    let mut body = vec![0; 24 + 8 * options.len()];
    let mut packet = MutableNeighborSolicitPacket::new(&mut body).unwrap();
    packet.set_icmpv6_type(Icmpv6Type(135));
    packet.set_target_addr(target);
    packet.set_options(options);
    body
}

fn advertisement(target: Ipv6Addr, flags: u8, options: &[NdpOption]) -> Vec<u8> {
    let mut body = vec![0; 24 + 8 * options.len()];
    let mut packet = MutableNeighborAdvertPacket::new(&mut body).unwrap();
    packet.set_icmpv6_type(Icmpv6Type(136));
    packet.set_flags(flags);
    packet.set_target_addr(target);
    packet.set_options(options);
    body
}

fn discovered(frame: &[u8]) -> Result<Message, DropReason> {
    match parse(Packet(&[frame]), ChecksumPolicy::Verify)? {
        Incoming::Icmpv6(link, header, body) => {
            assert_eq!(link.mac, MAC);
            assert!(ndp::is_ours(body));
            ndp::parse(&header, body)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn rfc_4861_section_7_1_1_what_a_solicitation_must_be() {
    let target = Address::from(std::net::IpAddr::from(OURS));
    let ask =
        |source, to, hop_limit, body: Vec<u8>| discovered(&message(source, to, hop_limit, body));
    let plain = || solicitation(OURS, &[]);
    let with_mac = || solicitation(OURS, &option(1, MAC));
    let good = |source_mac| Ok(Message::Solicitation { target, source_mac });
    let bad = Err(DropReason::Ndp);
    assert_eq!(ask(THEIRS, GROUP, 255, with_mac()), good(Some(MAC)));
    assert_eq!(ask(THEIRS, OURS, 255, plain()), good(None));
    assert_eq!(
        ask(Ipv6Addr::UNSPECIFIED, GROUP, 255, plain()),
        good(None),
        "a host that probes for the address"
    );
    let nonce = NdpOption { option_type: NdpOptionType(14), length: 1, data: vec![1; 6] };
    assert_eq!(ask(THEIRS, OURS, 255, solicitation(OURS, &[nonce])), good(None), "another option");

    assert_eq!(ask(THEIRS, GROUP, 254, with_mac()), bad, "it came through a router");
    assert_eq!(ask(THEIRS, GROUP, 255, plain()[..23].to_vec()), bad, "too short");
    assert_eq!(ask(THEIRS, GROUP, 255, [plain(), vec![1]].concat()), bad, "an option cut off");
    assert_eq!(
        ask(THEIRS, GROUP, 255, [plain(), vec![1, 0, 0, 0, 0, 0, 0, 0]].concat()),
        bad,
        "one of no length"
    );
    assert_eq!(
        ask(THEIRS, GROUP, 255, [plain(), vec![1, 2, 0, 0, 0, 0, 0, 0]].concat()),
        bad,
        "one too long"
    );
    assert_eq!(
        ask(THEIRS, GROUP, 255, solicitation(GROUP, &[])),
        bad,
        "a group's hardware address"
    );
    assert_eq!(
        ask(Ipv6Addr::UNSPECIFIED, OURS, 255, plain()),
        bad,
        "from nowhere, not to the group"
    );
    assert_eq!(
        ask(Ipv6Addr::UNSPECIFIED, GROUP, 255, with_mac()),
        bad,
        "from nowhere, with a hardware address"
    );
    let mut coded = plain();
    coded[1] = 1;
    assert_eq!(ask(THEIRS, GROUP, 255, coded), bad, "a code");
    let mut frame = message(THEIRS, GROUP, 255, plain());
    frame[14 + 40 + 2] ^= 1;
    assert_eq!(discovered(&frame), Err(DropReason::Icmp), "a wrong checksum");
}

#[test]
fn rfc_4861_section_7_1_2_what_an_advertisement_must_be() {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let target = Address::from(std::net::IpAddr::from(THEIRS));
    let tell =
        |source, to, hop_limit, body: Vec<u8>| discovered(&message(source, to, hop_limit, body));
    let good = |solicited, target_mac| {
        Ok(Message::Advertisement { target, target_mac, router: false, solicited, overrides: true })
    };
    let answer = || advertisement(THEIRS, 0x60, &option(2, MAC));
    assert_eq!(tell(THEIRS, OURS, 255, answer()), good(true, Some(MAC)));
    assert_eq!(tell(THEIRS, OURS, 255, advertisement(THEIRS, 0x60, &[])), good(true, None));
    assert_eq!(
        tell(THEIRS, all_nodes, 255, advertisement(THEIRS, 0x20, &option(2, MAC))),
        good(false, Some(MAC))
    );
    let bad = Err(DropReason::Ndp);
    assert_eq!(tell(THEIRS, all_nodes, 255, answer()), bad, "solicited, and to all");
    assert_eq!(tell(Ipv6Addr::UNSPECIFIED, OURS, 255, answer()), bad, "from nowhere");
    assert_eq!(tell(THEIRS, OURS, 64, answer()), bad, "from afar");
    assert_eq!(tell(THEIRS, OURS, 255, answer()[..20].to_vec()), bad, "too short");
    assert_eq!(tell(THEIRS, OURS, 255, advertisement(GROUP, 0x60, &[])), bad, "a group's");
}

fn address() -> impl Strategy<Value = Ipv6Addr> {
    any::<[u8; 14]>().prop_map(|rest| {
        let mut octets = [0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        octets[2..].copy_from_slice(&rest);
        Ipv6Addr::from(octets)
    })
}

proptest! {
    /// What is written is read again as it was, and by smoltcp the same.
    #[test]
    fn messages_are_read_as_they_were_written(
        source in address(), destination in address(), target in address(), mac: Option<Mac>,
        flags: (bool, bool, bool), asks: bool, vlan in 0u16..4095,
    ) {
        let ends = [source, destination, target].map(|ip| Address::from(std::net::IpAddr::from(ip)));
        let mac = mac.map(|mac| [mac[0] & 0xfe, mac[1], mac[2], mac[3], mac[4], mac[5]]);
        let (router, solicited, overrides) = flags;
        let written = if asks {
            Message::Solicitation { target: ends[2], source_mac: mac }
        } else {
            Message::Advertisement { target: ends[2], target_mac: mac, router, solicited, overrides }
        };
        let link = Link { mac: [2, 0, 0, 0, 0, 2], vlan };
        let mut frame = [0xee; ndp::MAX_BYTES];
        let len = ndp::emit(&mut frame, &MAC, &link, [&ends[0], &ends[1]], &written);
        prop_assert_eq!(discovered(&frame[..len]), Ok(written));

        let at = if vlan == 0 { 14 } else { 18 };
        let ip = other::Ipv6Packet::new_checked(&frame[at..len]).expect("smoltcp takes the IP header");
        prop_assert_eq!((ip.src_addr(), ip.dst_addr(), ip.hop_limit()), (source, destination, 255));
        let icmp = other::Icmpv6Packet::new_checked(ip.payload()).expect("smoltcp takes the ICMPv6 header");
        let read = Icmpv6Repr::parse(&source, &destination, &icmp, &ChecksumCapabilities::default());
        let lladdr = mac.map(|mac| other::EthernetAddress(mac).into());
        let mut expected = NdiscNeighborFlags::empty();
        expected.set(NdiscNeighborFlags::ROUTER, router);
        expected.set(NdiscNeighborFlags::SOLICITED, solicited);
        expected.set(NdiscNeighborFlags::OVERRIDE, overrides);
        let expected = if asks {
            NdiscRepr::NeighborSolicit { target_addr: target, lladdr }
        } else {
            NdiscRepr::NeighborAdvert { flags: expected, target_addr: target, lladdr }
        };
        prop_assert_eq!(read, Ok(Icmpv6Repr::Ndisc(expected)));
        let icmp = Icmpv6Packet::new(ip.payload()).expect("a message");
        prop_assert_eq!(icmp.get_checksum(), icmpv6::checksum(&icmp, &source, &destination));
        prop_assert_eq!(icmp.packet().len(), if mac.is_some() { 32 } else { 24 });
    }

    #[test]
    fn rubbish_messages_are_survived(kind in 130u8..140, rubbish in vec(any::<u8>(), 3..120), hop_limit: u8) {
        let body = [&[kind][..], &rubbish].concat();
        let body = if body.len() < 4 { return Ok(()) } else { body };
        let frame = message(THEIRS, OURS, hop_limit, body);
        let parts = [&frame[..]];
        let Ok(Incoming::Icmpv6(_, header, body)) = parse(Packet(&parts), ChecksumPolicy::Verify) else {
            panic!("its checksum is right")
        };
        let _ = ndp::parse(&header, body);
    }
}

/// RFC 6437 §3: a label for each flow, the same in all of its packets, and spread evenly: a quarter
/// of a million flows get about as many labels as that many even draws from 2²⁰ would, 231,940.
#[test]
fn rfc_6437_section_3_flows_are_labelled_evenly() {
    let label = |host: u16, local_port: u16, remote_port: u16, flags| {
        let remote = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host);
        let (local, remote) = (Address::from_v6(OURS.octets()), Address::from_v6(remote.octets()));
        let header = tcp::Header {
            local: &local,
            local_port,
            remote: &remote,
            remote_port,
            seq: crate::seq::Seq(1),
            ack: crate::seq::Seq(2),
            flags,
            ecn: Ecn::CAPABLE,
            window: 9,
        };
        let mut packet = [0; 100];
        tcp::emit(&mut packet, &header, &tcp::Options::default(), 0, |_| 0);
        assert_eq!(
            (packet[0], packet[1] >> 4),
            (0x60, 0x2),
            "version and traffic class are as they were"
        );
        u32::from_be_bytes([0, packet[1] & 0xf, packet[2], packet[3]])
    };
    assert_eq!(label(1, 80, 4000, Flags::ACK), label(1, 80, 4000, Flags::RST));
    let mut seen = std::collections::BTreeSet::new();
    for host in 1..=4 {
        for port in 0..u16::MAX {
            seen.insert(label(host, 80, port, Flags::ACK));
        }
    }
    assert!(!seen.contains(&0));
    assert!((230_500..=233_500).contains(&seen.len()), "{} labels", seen.len());
}
