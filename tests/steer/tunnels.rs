//! Packets in tunnels: what is taken out of them, byte for byte, and what is left to the kernel.

use super::*;
use pnet::packet::udp::MutableUdpPacket;
use simoom::steer::Tunnel;

/// Where the tunnels end, and a balancer.
const END4: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);
const END6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
const GUE_PORT: u16 = 6080;
const IPIP: IpNextHeaderProtocol = IpNextHeaderProtocols::Ipv4;
const IP6IP: IpNextHeaderProtocol = IpNextHeaderProtocols::Ipv6;
const GRE: IpNextHeaderProtocol = IpNextHeaderProtocols::Gre;
const ALL: [Tunnel; 3] = [Tunnel::Ipip, Tunnel::Gre, Tunnel::Gue(GUE_PORT)];

fn with_tunnels(tunnels: &[Tunnel]) -> Option<(Program, Steering, rustix::fd::OwnedFd)> {
    let (mut program, mut steering) = steering()?;
    for end in [IpAddr::V4(END4), IpAddr::V6(END6)] {
        steering.end_tunnels(end, tunnels).unwrap();
    }
    let socket = socket();
    program.set_socket(0, &socket).unwrap();
    Some((program, steering, socket))
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let [long, short] = (8 + payload.len() as u16).to_be_bytes();
    [&[0xc0, 1, high, low, long, short, 0, 0], payload].concat()
}

/// A GRE header with these optional fields.
fn gre(flags: u16, protocol: u16, inner: &[u8]) -> Vec<u8> {
    let optional = [0x8000, 0x2000, 0x1000].iter().filter(|bit| flags & **bit != 0).count();
    let mut bytes = [flags.to_be_bytes(), protocol.to_be_bytes()].concat();
    bytes.resize(4 + 4 * optional, 7);
    [&bytes, inner].concat()
}

/// A header of GUE variant 0 with so many words of extensions.
fn gue(words: u8, protocol: IpNextHeaderProtocol, inner: &[u8]) -> Vec<u8> {
    let mut bytes = vec![words, protocol.0, 0, 0];
    bytes.resize(4 + 4 * usize::from(words), 9);
    udp(GUE_PORT, &[&bytes, inner].concat())
}

/// Each encapsulation of an inner packet: its name, the protocol of the outer packet, the payload.
fn wrapped(inner: &[u8]) -> Vec<(&'static str, IpNextHeaderProtocol, Vec<u8>)> {
    let is_v4 = inner[0] >> 4 == 4;
    let (protocol, ethertype) = if is_v4 { (IPIP, 0x0800) } else { (IP6IP, 0x86dd) };
    vec![
        ("IP in IP", protocol, inner.to_vec()),
        ("GRE", GRE, gre(0, ethertype, inner)),
        ("GRE with key", GRE, gre(0x2000, ethertype, inner)),
        ("GRE with all fields", GRE, gre(0xb000, ethertype, inner)),
        ("GUE", UDP, gue(0, protocol, inner)),
        ("GUE with extensions", UDP, gue(31, protocol, inner)),
        ("GUE, variant 1", UDP, udp(GUE_PORT, inner)),
    ]
}

/// A destination header with the option that limits further tunnels, as Linux adds it.
fn limited(protocol: IpNextHeaderProtocol, payload: &[u8]) -> Vec<u8> {
    [&[protocol.0, 0, 4, 1, 4, 1, 1, 0], payload].concat()
}

/// The same in an outer packet of either version.
fn frames(inner: &[u8], tagged: bool) -> Vec<(String, Vec<u8>)> {
    let mut frames = Vec::new();
    for (name, protocol, payload) in wrapped(inner) {
        let with_options = ipv4_with(END4, protocol, &payload, 9, |_| ());
        for (outer, ethertype, packet) in [
            ("IPv4", EtherTypes::Ipv4, ipv4(END4, protocol, &payload)),
            ("IPv4 with options", EtherTypes::Ipv4, with_options),
            ("IPv6", EtherTypes::Ipv6, ipv6(END6, protocol, &payload)),
            (
                "IPv6 with a limit",
                EtherTypes::Ipv6,
                ipv6(END6, DESTINATION, &limited(protocol, &payload)),
            ),
        ] {
            frames.push((format!("{name} over {outer}"), ethernet(ethertype, tagged, &packet)));
        }
    }
    frames
}

fn ethertype_of(inner: &[u8]) -> pnet::packet::ethernet::EtherType {
    if inner[0] >> 4 == 4 { EtherTypes::Ipv4 } else { EtherTypes::Ipv6 }
}

#[test]
fn the_packet_in_a_tunnel_is_steered_as_if_it_had_come_alone() {
    let Some((mut program, steering, _socket)) = with_tunnels(&ALL) else { return };
    let inner = [
        ipv4(SHARED4, TCP, &tcp(HTTP)),
        ipv4(SHARED4, TCP, &tcp(SSH)),
        ipv4(DEDICATED4, TCP, &tcp(SSH)),
        ipv4_with(SHARED4, TCP, &tcp(HTTP), 6, |_| ()),
        ipv4_with(SHARED4, TCP, &tcp(HTTP), 5, |packet| packet.set_flags(0b001)),
        ipv4(SHARED4, ICMP, &too_big(TOO_BIG4, &sent4(SHARED4, HTTP, TCP))),
        ipv6(SHARED6, TCP, &tcp(HTTP)),
        ipv6(SHARED6, DESTINATION, &extension(TCP, 0, [0, 0], &tcp(HTTP))),
        ipv6(SHARED6, ICMPV6, &too_big(TOO_BIG6, &sent6(SHARED6, HTTP, TCP))),
    ];
    let mut decapsulated = 0;
    for inner in &inner {
        for tagged in [false, true] {
            let alone = ethernet(ethertype_of(inner), tagged, inner);
            let expected = program.test_run(&alone).unwrap();
            for (name, frame) in frames(inner, tagged) {
                let got = program.test_run_to(&frame).unwrap();
                assert_eq!(got, (expected, alone.clone()), "{name}: {inner:?}");
                decapsulated += 1;
            }
        }
    }
    assert_eq!(counter(&steering, "steer_decapsulated"), decapsulated);
    assert_eq!(counter(&steering, "steer_tunnel_malformed"), 0);
}

/// RFC 6040 §4.2: congestion on the way through the tunnel is told to the connection.
#[test]
fn a_mark_of_the_outer_packet_is_on_the_inner_one() {
    let Some((mut program, steering, _socket)) = with_tunnels(&ALL) else { return };
    let inner4 = |ecn| ipv4_with(SHARED4, TCP, &tcp(HTTP), 5, |packet| packet.set_ecn(ecn));
    let inner6 = |ecn: u8| {
        let mut packet = ipv6(SHARED6, TCP, &tcp(HTTP));
        MutableIpv6Packet::new(&mut packet).unwrap().set_traffic_class(0xa8 | ecn);
        packet
    };
    let mut malformed = 0;
    for (outer_ecn, inner_ecn) in (0..4).flat_map(|outer| (0..4).map(move |inner| (outer, inner))) {
        let told = if outer_ecn == 3 { 3 } else { inner_ecn };
        for (inner, expected) in
            [(inner4(inner_ecn), inner4(told)), (inner6(inner_ecn), inner6(told))]
        {
            let protocol = if inner[0] >> 4 == 4 { IPIP } else { IP6IP };
            let outer4 = ipv4_with(END4, protocol, &inner, 5, |packet| packet.set_ecn(outer_ecn));
            let mut outer6 = ipv6(END6, protocol, &inner);
            MutableIpv6Packet::new(&mut outer6).unwrap().set_traffic_class(outer_ecn);
            for (ethertype, outer) in [(EtherTypes::Ipv4, outer4), (EtherTypes::Ipv6, outer6)] {
                let name = format!("{ethertype}, {outer_ecn} around {inner_ecn}");
                let frame = ethernet(ethertype, false, &outer);
                if outer_ecn == 3 && inner_ecn == 0 {
                    is_left(&mut program, &name, &frame);
                    malformed += 1;
                    continue;
                }
                let expected = ethernet(ethertype_of(&inner), false, &expected);
                assert_eq!(program.test_run_to(&frame).unwrap(), (TAKE, expected), "{name}");
            }
        }
    }
    assert_eq!(counter(&steering, "steer_tunnel_malformed"), malformed);
}

/// Whatever is left to the kernel is left as it came.
fn is_left(program: &mut Program, name: &str, frame: &[u8]) {
    assert_eq!(program.test_run_to(frame).unwrap(), (PASS, frame.to_vec()), "{name}");
}

#[test]
fn a_tunnel_that_was_not_asked_for_is_the_kernels() {
    let inner = ipv4(SHARED4, TCP, &tcp(HTTP));
    for tunnels in [&[][..], &ALL[..1], &ALL[1..2], &ALL[2..]] {
        let Some((mut program, _, _socket)) = with_tunnels(tunnels) else { return };
        for (name, frame) in frames(&inner, false) {
            let kind = [("IP in", ALL[0]), ("GRE", ALL[1]), ("GUE", ALL[2])];
            let (_, kind) = kind.into_iter().find(|(start, _)| name.starts_with(start)).unwrap();
            if tunnels.contains(&kind) {
                assert_eq!(program.test_run(&frame).unwrap(), TAKE, "{name}");
            } else {
                is_left(&mut program, &name, &frame);
            }
        }
    }
    let Some((mut program, steering)) = steering() else { return };
    for (name, frame) in frames(&inner, false) {
        is_left(&mut program, &name, &frame);
    }
    assert_eq!(counter(&steering, "steer_tunnel_malformed"), 0);
}

#[test]
fn what_is_not_for_a_claimed_address_is_left_to_the_kernel() {
    let Some((mut program, steering, _socket)) = with_tunnels(&ALL) else { return };
    for inner in [
        ipv4(OTHER4, TCP, &tcp(HTTP)),
        ipv6(OTHER6, TCP, &tcp(HTTP)),
        ipv6(SHARED4.to_ipv6_mapped(), TCP, &tcp(HTTP)),
        ipv4(END4, IPIP, &ipv4(SHARED4, TCP, &tcp(HTTP))),
    ] {
        for (name, frame) in frames(&inner, false) {
            is_left(&mut program, &name, &frame);
        }
    }
    let inner = ipv4(SHARED4, TCP, &tcp(HTTP));
    for (name, protocol, payload) in wrapped(&inner) {
        let elsewhere = ethernet(EtherTypes::Ipv4, false, &ipv4(OTHER4, protocol, &payload));
        is_left(&mut program, name, &elsewhere);
        let more = |packet: &mut MutableIpv4Packet<'_>| packet.set_flags(0b001);
        let in_parts = ipv4_with(END4, protocol, &payload, 5, more);
        is_left(&mut program, name, &ethernet(EtherTypes::Ipv4, false, &in_parts));
    }
    let other_port = ipv4(END4, UDP, &udp(GUE_PORT + 1, &inner));
    is_left(&mut program, "another port", &ethernet(EtherTypes::Ipv4, false, &other_port));
    assert_eq!(counter(&steering, "steer_decapsulated"), 0);
    assert_eq!(counter(&steering, "steer_tunnel_malformed"), 0);
}

#[test]
fn malformed_tunnels_are_counted_and_left_to_the_kernel() {
    let Some((mut program, steering, _socket)) = with_tunnels(&ALL) else { return };
    let inner = ipv4(SHARED4, TCP, &tcp(HTTP));
    let outer = |protocol, payload: &[u8]| ipv4(END4, protocol, payload);
    let long = |len: u16| {
        let mut inner = inner.clone();
        MutableIpv4Packet::new(&mut inner).unwrap().set_total_length(len);
        outer(IPIP, &inner)
    };
    let mut too_long6 = ipv6(SHARED6, TCP, &tcp(HTTP));
    MutableIpv6Packet::new(&mut too_long6).unwrap().set_payload_length(u16::MAX);
    let short_outer =
        |len: u16| ipv4_with(END4, IPIP, &inner, 5, |packet| packet.set_total_length(len));
    let datagram = |len: u16| {
        let mut datagram = udp(GUE_PORT, &[&[0, 4, 0, 0], &inner[..]].concat());
        MutableUdpPacket::new(&mut datagram).unwrap().set_length(len);
        outer(UDP, &datagram)
    };
    let whole = 12 + inner.len() as u16;
    let rows = [
        ("a datagram shorter than the inner packet", datagram(whole - 1)),
        ("a datagram of no length", datagram(0)),
        ("a datagram longer than the outer packet", datagram(whole + 1)),
        ("the longest datagram", datagram(u16::MAX)),
        ("an inner packet of another version", outer(IPIP, &ipv6(SHARED6, TCP, &tcp(HTTP)))),
        ("an inner packet longer than the outer", long(41)),
        ("the longest inner packet", long(u16::MAX)),
        ("an inner IPv6 packet longer than the outer", outer(IP6IP, &too_long6)),
        ("an outer packet shorter than the inner", short_outer(59)),
        ("an outer packet of no length", short_outer(0)),
        ("GRE with routing", outer(GRE, &gre(0x4000, 0x0800, &inner))),
        ("GRE of version 1", outer(GRE, &gre(0x0001, 0x0800, &inner))),
        ("GRE with another protocol", outer(GRE, &gre(0, 0x6558, &inner))),
        ("GUE of variant 2", outer(UDP, &udp(GUE_PORT, &[&[0x80, 4, 0, 0], &inner[..]].concat()))),
        ("a control message of GUE", outer(UDP, &udp(GUE_PORT, &[0x20, 4, 0, 0]))),
        ("GUE with another protocol", outer(UDP, &gue(0, TCP, &tcp(HTTP)))),
        ("GUE with IP of no version", outer(UDP, &udp(GUE_PORT, &[0x50, 0, 0, 0]))),
    ];
    let broken = |at: usize| {
        let mut packet = ipv4_with(END4, IPIP, &inner, 15, |_| ());
        packet[at] ^= 1;
        ("a broken outer header", packet)
    };
    // Not the version, the length, the fragment's place or the destination: those are not looked
    // at as a tunnel's.
    let broken = [1, 4, 8, 10, 11, 12, 15, 20, 59].map(broken);
    let rows: Vec<_> = rows.into_iter().chain(broken).collect();
    let count = rows.len() as u64;
    for (name, packet) in rows {
        // The kernel runs no frame shorter than the shortest of Ethernet.
        is_left(&mut program, name, &ethernet(EtherTypes::Ipv4, false, &packet));
    }
    assert_eq!(counter(&steering, "steer_tunnel_malformed"), count);
    assert_eq!(counter(&steering, "steer_decapsulated"), 0);
}

/// Cut off anywhere, a frame is steered by a whole inner header or left as it came.
#[test]
fn a_tunnel_cut_off_anywhere_is_never_read_beyond_its_end() {
    let Some((mut program, _, _socket)) = with_tunnels(&ALL) else { return };
    for inner in [ipv4(SHARED4, TCP, &tcp(HTTP)), ipv6(SHARED6, TCP, &tcp(HTTP))] {
        for tagged in [false, true] {
            let alone = ethernet(ethertype_of(&inner), tagged, &inner);
            for (name, frame) in frames(&inner, tagged) {
                for len in 14..frame.len() {
                    let (verdict, left) = program.test_run_to(&frame[..len]).unwrap();
                    let is_inner =
                        alone.starts_with(&left) && left.len() + frame.len() == alone.len() + len;
                    assert!(
                        left == frame[..len] && verdict == PASS || is_inner && verdict != DROP,
                        "{name} cut off at {len}: {verdict:?}, {} bytes",
                        left.len()
                    );
                }
            }
        }
    }
}
