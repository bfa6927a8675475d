//! Frames built and read by another library.

use crate::net::{CLIENT, CLIENT_MAC, DEDICATED, SERVER_MAC, TEST_TIMEOUT};
use pnet::datalink::DataLinkReceiver;
use pnet::packet::MutablePacket;
use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{self, MutableIpv4Packet};
use pnet::packet::tcp::{self, MutableTcpPacket, TcpFlags, TcpOption};
use std::net::Ipv4Addr;
use std::time::Instant;

/// An Ethernet frame with an IPv4 packet, its checksum set; `fill` writes what is in it.
pub fn frame(
    from_client: bool,
    ips: [Ipv4Addr; 2],
    tcp: bool,
    len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let mut bytes = vec![0; 14 + 20 + len];
    let mut ethernet = MutableEthernetPacket::new(&mut bytes).unwrap();
    let (source, destination) =
        if from_client { (CLIENT_MAC, SERVER_MAC) } else { (SERVER_MAC, CLIENT_MAC) };
    ethernet.set_source(source);
    ethernet.set_destination(destination);
    ethernet.set_ethertype(EtherTypes::Ipv4);
    let mut packet = MutableIpv4Packet::new(ethernet.payload_mut()).unwrap();
    packet.set_version(4);
    packet.set_header_length(5);
    packet.set_total_length(20 + len as u16);
    packet.set_ttl(64);
    packet.set_next_level_protocol(if tcp {
        IpNextHeaderProtocols::Tcp
    } else {
        IpNextHeaderProtocols::Udp
    });
    packet.set_source(ips[0]);
    packet.set_destination(ips[1]);
    packet.set_checksum(ipv4::checksum(&packet.to_immutable()));
    fill(packet.payload_mut());
    bytes
}

/// A segment from the client to the dedicated address, with a flow and a number to know it by.
pub fn numbered(flow: u16, number: u32, payload: usize) -> Vec<u8> {
    frame(true, [CLIENT, DEDICATED], true, 20 + payload, |bytes| {
        let mut segment = MutableTcpPacket::new(bytes).unwrap();
        segment.set_source(1024 + flow);
        segment.set_destination(80);
        segment.set_sequence(number);
        segment.set_data_offset(5);
        let mut byte = number as u8;
        for at in &mut bytes[20..] {
            byte = byte.wrapping_mul(5).wrapping_add(1);
            *at = byte;
        }
    })
}

pub fn segment_from(
    source: u16,
    destination: u16,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
) -> Vec<u8> {
    frame(false, [DEDICATED, CLIENT], true, 20, |bytes| {
        let mut segment = MutableTcpPacket::new(bytes).unwrap();
        segment.set_source(source);
        segment.set_destination(destination);
        segment.set_sequence(sequence);
        segment.set_acknowledgement(acknowledgement);
        segment.set_data_offset(5);
        segment.set_flags(flags);
        segment.set_window(65_535);
        segment.set_checksum(tcp::ipv4_checksum(&segment.to_immutable(), &DEDICATED, &CLIENT));
    })
}

/// The answer to a SYN, which lets the peer send segments of up to `mss` bytes.
pub fn syn_ack(source: u16, destination: u16, acknowledgement: u32, mss: u16) -> Vec<u8> {
    frame(false, [DEDICATED, CLIENT], true, 24, |bytes| {
        let mut segment = MutableTcpPacket::new(bytes).unwrap();
        segment.set_source(source);
        segment.set_destination(destination);
        segment.set_sequence(999);
        segment.set_acknowledgement(acknowledgement);
        segment.set_data_offset(6);
        segment.set_flags(TcpFlags::SYN | TcpFlags::ACK);
        segment.set_window(65_535);
        segment.set_options(&[TcpOption::mss(mss)]);
        segment.set_checksum(tcp::ipv4_checksum(&segment.to_immutable(), &DEDICATED, &CLIENT));
    })
}

/// The next frame on the wire that `wanted` wants.
pub fn next_on_wire(
    receiver: &mut Box<dyn DataLinkReceiver>,
    wanted: impl Fn(&[u8]) -> bool,
) -> Vec<u8> {
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        assert!(Instant::now() < deadline, "nothing came over the wire");
        // An error is the read timeout: look at the clock.
        if let Ok(bytes) = receiver.next()
            && wanted(bytes)
        {
            return bytes.to_vec();
        }
    }
}
