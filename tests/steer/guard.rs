//! The guard at tc ingress, run by the kernel over frames that come past the XDP program.

use super::{CLIENT_PORT, CLIENT4, CLIENT6, DESTINATION, FRAGMENT, HTTP, ICMPV6, OTHER6};
use super::{Row, SHARED4, SHARED6, SSH, TAKE, TCP, UDP};
use super::{
    counter, ethernet, extension, fragment, ipv4_with, ipv6, kernel_connection, sent_tcp, socket,
    tcp,
};
use crate::common::{TEST_TIMEOUT, skip, wait_until};
use af_xdp::{Program, Verdict, features};
use pnet::packet::ethernet::EtherTypes;
use pnet::packet::ipv6::MutableIpv6Packet;
use pnet::packet::tcp::{MutableTcpPacket, TcpFlags};
use simoom::netns::{self, Namespace};
use simoom::steer::{Claim, Steering};
use std::net::IpAddr;
use std::time::{Duration, Instant};

const GUARD: &str = "guard";
/// Two transmissions of a SYN are this far apart at least, of a source that was steered last three.
const PROOF: Duration = Duration::from_millis(500);
const STRICT_PROOF: Duration = Duration::from_millis(1500);
/// The kernel's coarse clock advances in steps of up to 10 ms.
const CLOCK: Duration = Duration::from_millis(20);

/// The program with the claims of a port at each shared address, as with the guard attached.
fn guarded() -> Option<(Program, Steering)> {
    if let Err(error) = features::can_open_sockets() {
        skip(&error.to_string());
        return None;
    }
    let (program, mut steering) = Steering::load(4).unwrap();
    steering.learn_sources();
    for address in [IpAddr::V4(SHARED4), IpAddr::V6(SHARED6)] {
        steering.add_claim(Claim::Port((address, HTTP).into())).unwrap();
    }
    Some((program, steering))
}

/// Whether the kernel gets a frame.
fn passes(program: &mut Program, frame: &[u8]) -> bool {
    program.test_run_guard(GUARD, frame).unwrap()
}

/// A segment of a client to the claimed port.
fn segment(client: IpAddr, port: u16, seq: u32, flags: u8) -> Vec<u8> {
    let mut bytes = sent_tcp(port, HTTP);
    let mut segment = MutableTcpPacket::new(&mut bytes).unwrap();
    segment.set_sequence(seq);
    segment.set_flags(flags);
    match client {
        IpAddr::V4(client) => {
            let packet = ipv4_with(SHARED4, TCP, &bytes, 5, |packet| packet.set_source(client));
            ethernet(EtherTypes::Ipv4, false, &packet)
        }
        IpAddr::V6(client) => {
            let mut packet = ipv6(SHARED6, TCP, &bytes);
            MutableIpv6Packet::new(&mut packet).unwrap().set_source(client);
            ethernet(EtherTypes::Ipv6, false, &packet)
        }
    }
}

fn syn(client: IpAddr, port: u16) -> Vec<u8> {
    segment(client, port, u32::from(port) << 16, TcpFlags::SYN)
}

/// Sends a SYN to the guard until that passes it. Returns for how long it was dropped.
fn insist(program: &mut Program, frame: &[u8]) -> Duration {
    let start = Instant::now();
    wait_until("the guard passes it", TEST_TIMEOUT, || passes(program, frame));
    start.elapsed()
}

#[test]
fn a_client_that_the_program_does_not_see_any_more_is_the_kernels() {
    let Some((mut program, _steering)) = guarded() else { return };
    let socket = socket();
    program.set_socket(0, &socket).unwrap();
    for client in [IpAddr::V4(CLIENT4), IpAddr::V6(CLIENT6)] {
        let took = insist(&mut program, &syn(client, 1000));
        assert!(took >= PROOF - CLOCK, "{client}: a duplicate that comes at once: {took:?}");
        assert!(passes(&mut program, &syn(client, 1001)), "{client}: its way is known");
        // One SYN that the program sees, be it forged, delays the next connection.
        assert_eq!(program.test_run(&syn(client, 1002)).unwrap(), TAKE);
        let took = insist(&mut program, &syn(client, 1003));
        assert!(took >= STRICT_PROOF - CLOCK, "{client}: {took:?}");
        assert!(passes(&mut program, &syn(client, 1004)), "{client}: its way is known again");
        let data = segment(client, 1004, 1, TcpFlags::ACK);
        assert!(!passes(&mut program, &data), "{client}: the kernel has no such connection");
    }
}

/// Whichever comes first, and while the kernel gets other connections of the same client.
#[test]
fn duplicates_of_syns_that_are_steered_are_dropped() {
    for is_first in [false, true] {
        let Some((mut program, steering)) = guarded() else { return };
        let socket = socket();
        program.set_socket(0, &socket).unwrap();
        for client in [IpAddr::V4(CLIENT4), IpAddr::V6(CLIENT6)] {
            let (steered, other) = (syn(client, 1000), syn(client, 1001));
            let both = |program: &mut Program| {
                let early = is_first && passes(program, &steered);
                assert_eq!(program.test_run(&steered).unwrap(), TAKE);
                let late = !is_first && passes(program, &steered);
                assert!(!early && !late, "{client}, the duplicate first: {is_first}");
            };
            wait_until("the guard passes another SYN", TEST_TIMEOUT, || {
                both(&mut program);
                passes(&mut program, &other)
            });
            both(&mut program);
            assert!(!passes(&mut program, &steered), "{client}: it is alone now");
        }
        assert!(counter(&steering, "steer_guard_dropped") > 4);
    }
}

#[test]
fn a_syn_that_the_program_passes_is_passed() {
    let Some((mut program, _steering)) = guarded() else { return };
    for client in [IpAddr::V4(CLIENT4), IpAddr::V6(CLIENT6)] {
        let frame = syn(client, CLIENT_PORT);
        assert_eq!(program.test_run(&frame).unwrap(), Verdict::Pass, "no socket");
        assert!(passes(&mut program, &frame), "{client}");
        let another = segment(client, CLIENT_PORT, 1, TcpFlags::SYN);
        assert!(!passes(&mut program, &another), "{client}: of the next connection");
    }
}

/// A frame with these tags, each of VLAN 0.
fn tagged(tags: &[u16], row: &Row) -> Vec<u8> {
    let mut frame = ethernet(row.1, false, &row.2);
    let tags: Vec<u8> = tags.iter().flat_map(|tag| [(tag >> 8) as u8, *tag as u8, 0, 0]).collect();
    frame.splice(12..12, tags);
    frame
}

/// `count` headers before a header of `next`.
fn behind(count: usize, next: pnet::packet::ip::IpNextHeaderProtocol, payload: &[u8]) -> Vec<u8> {
    let (mut next, mut payload) = (next, payload.to_vec());
    for _ in 0..count {
        payload = extension(next, 0, [0, 0], &payload);
        next = DESTINATION;
    }
    ipv6(SHARED6, next, &payload)
}

/// The kernel reassembles, and removes any number of headers and of tags of VLAN 0.
#[test]
fn what_the_program_does_not_parse_does_not_come_to_the_kernel() {
    let Some((mut program, steering)) = guarded() else { return };
    let (claimed, other) = (tcp(HTTP), tcp(SSH));
    let mut dropped = 0;
    let mut check = |name: &str, frame: &[u8], expected: bool| {
        assert_eq!(passes(&mut program, frame), expected, "{name}");
        dropped += u64::from(!expected);
    };
    for count in [0, 1, 5, 6, 7, 12, 31, 32, 33, 100] {
        let rows = [
            ("to the claimed port", behind(count, TCP, &claimed), false),
            // Too many to be read: it may be one to the claimed port.
            ("to another port", behind(count, TCP, &other), count <= 32),
            ("UDP", behind(count, UDP, &claimed), count <= 32),
        ];
        for (name, packet, expected) in rows {
            let frame = ethernet(EtherTypes::Ipv6, false, &packet);
            check(&format!("{count} headers, {name}"), &frame, expected);
        }
    }
    let fragments = [
        ("a first fragment", fragment(DESTINATION, 0, true, &claimed), false),
        ("a later fragment", fragment(DESTINATION, 4, false, &claimed), false),
        ("a later fragment of TCP", fragment(TCP, 4, false, &claimed), false),
        ("a fragment of UDP", fragment(UDP, 4, true, &claimed), true),
        ("a fragment of ICMP", fragment(ICMPV6, 4, true, &claimed), true),
    ];
    for (name, payload, expected) in fragments {
        let frame = ethernet(EtherTypes::Ipv6, false, &ipv6(SHARED6, FRAGMENT, &payload));
        check(name, &frame, expected);
        let unclaimed = ethernet(EtherTypes::Ipv6, false, &ipv6(OTHER6, FRAGMENT, &payload));
        check(&format!("{name} to another address"), &unclaimed, true);
    }
    for count in 0..=9 {
        for tag in [0x8100, 0x88a8] {
            let mut tags = vec![0x8100; count];
            tags.iter_mut().take(1).for_each(|first| *first = tag);
            for (port, is_claimed) in [(HTTP, true), (SSH, false)] {
                let v4 = ipv4_with(SHARED4, TCP, &tcp(port), 7, |_| ());
                let v6 = behind(6, TCP, &tcp(port));
                for row in
                    [("IPv4", EtherTypes::Ipv4, v4, TAKE), ("IPv6", EtherTypes::Ipv6, v6, TAKE)]
                {
                    let name = format!("{count} tags, the first {tag:x}, {} to {port}", row.0);
                    check(&name, &tagged(&tags, &row), !is_claimed && count <= 8);
                }
            }
        }
    }
    assert_eq!(counter(&steering, "steer_guard_dropped"), dropped);
}

/// In each form.
#[test]
fn segments_of_the_kernels_connections_are_passed() {
    let Some((mut program, _steering)) = guarded() else { return };
    let namespace = Namespace::new().unwrap();
    namespace.run(|| {
        for (address, prefix) in [(IpAddr::V4(SHARED4), 32), (IpAddr::V6(SHARED6), 128)] {
            netns::set_address("lo", address, prefix).unwrap();
            let (_listener, client) = kernel_connection(address);
            let port = client.local_addr().unwrap().port();
            for (port, expected) in [(port, true), (port ^ 1, false)] {
                let plain = segment(address, port, 1, TcpFlags::ACK);
                let row = (
                    "",
                    if address.is_ipv4() { EtherTypes::Ipv4 } else { EtherTypes::Ipv6 },
                    match address {
                        IpAddr::V4(_) => plain[14..].to_vec(),
                        IpAddr::V6(own) => {
                            let mut packet = behind(12, TCP, &plain[54..]);
                            MutableIpv6Packet::new(&mut packet).unwrap().set_source(own);
                            packet
                        }
                    },
                    TAKE,
                );
                assert_eq!(passes(&mut program, &plain), expected, "{address}, port {port}");
                let odd = tagged(&[0x8100, 0x8100], &row);
                assert_eq!(passes(&mut program, &odd), expected, "{address}, port {port}");
            }
        }
    });
}
