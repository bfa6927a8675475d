//! A packet longer than the MTU arrives whole where the devices have segmentation offload, and in
//! right segments where they have none.

use crate::frames::{frame, next_on_wire};
use crate::net::{CLIENT, DEDICATED, Net, SERVER_MAC, ethtool};
use af_xdp::{Gso, GsoSender, features};
use pnet::packet::Packet;
use pnet::packet::ipv4::{self, Ipv4Packet};
use pnet::packet::tcp::{self, MutableTcpPacket, TcpFlags, TcpPacket};
use std::io::ErrorKind;

const SEQUENCE: u32 = 4_294_967_000;
const SEGMENT_BYTES: usize = 1400;

/// A segment of TCP with this payload, and the sum of the pseudo-header for checksum.
fn long_packet(payload: &[u8]) -> Vec<u8> {
    let tcp_len = 20 + payload.len();
    frame(false, [DEDICATED, CLIENT], true, tcp_len, |bytes| {
        bytes[20..].copy_from_slice(payload);
        let mut segment = MutableTcpPacket::new(bytes).unwrap();
        segment.set_source(80);
        segment.set_destination(7000);
        segment.set_sequence(SEQUENCE);
        segment.set_data_offset(5);
        segment.set_flags(TcpFlags::ACK | TcpFlags::PSH | TcpFlags::FIN);
        // What remains of the checksum over no bytes but the pseudo-header's.
        let empty = TcpPacket::new(&[0; 20]).unwrap();
        let of_header = tcp::ipv4_checksum(&empty, &DEDICATED, &CLIENT);
        let sum = u32::from(!of_header) + (tcp_len - 20) as u32;
        segment.set_checksum(((sum & 0xffff) + (sum >> 16)) as u16);
    })
}

#[test]
fn a_long_packet_is_cut_where_no_device_takes_it_whole() {
    let Some(net) = Net::new(1) else { return };
    let gso =
        Gso { is_ipv6: false, tcp_at: 34, header_bytes: 54, segment_bytes: SEGMENT_BYTES as u16 };
    let mut sender =
        net.server.run(|| GsoSender::open(features::interface_index("s0").unwrap()).unwrap());
    for (offload, is_whole) in [("on", true), ("off", false)] {
        net.server.run(|| ethtool(&["-K", "s0", "tx", offload, "tso", offload]));
        let (_, mut receiver) = net.wire();
        for len in [0, 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 10_000, 45 * SEGMENT_BYTES] {
            let payload: Vec<u8> = (0..len).map(|at| (at * 7 % 251) as u8).collect();
            let packet = long_packet(&payload);
            sender
                .send(gso, |buffer| {
                    buffer[..packet.len()].copy_from_slice(&packet);
                    packet.len()
                })
                .unwrap();
            let mut came = Vec::new();
            loop {
                let bytes =
                    next_on_wire(&mut receiver, |bytes| bytes[6..12] == SERVER_MAC.octets());
                let ip = Ipv4Packet::new(&bytes[14..]).unwrap();
                let segment = TcpPacket::new(ip.payload()).unwrap();
                let at = SEQUENCE.wrapping_add(came.len() as u32);
                assert_eq!(segment.get_sequence(), at, "tx {offload}: {len} bytes");
                assert_eq!(ip.get_checksum(), ipv4::checksum(&ip));
                came.extend_from_slice(segment.payload());
                let is_last = came.len() == len;
                let flags = segment.get_flags() & (TcpFlags::FIN | TcpFlags::PSH);
                assert_eq!(flags != 0, is_last, "tx {offload}: {len} bytes, {} came", came.len());
                if is_whole {
                    assert!(is_last, "{} of {len} bytes in the first packet", came.len());
                } else {
                    assert!(segment.payload().len() <= SEGMENT_BYTES);
                    let checksum = tcp::ipv4_checksum(&segment, &DEDICATED, &CLIENT);
                    assert_eq!(segment.get_checksum(), checksum, "tx {offload}: {len} bytes");
                }
                if is_last {
                    break;
                }
            }
            assert!(came == payload, "tx {offload}: {len} bytes");
        }
    }
}

#[test]
fn a_packet_for_an_interface_that_is_gone_is_an_error() {
    let Some(net) = Net::new(1) else { return };
    let mut sender =
        net.server.run(|| GsoSender::open(features::interface_index("s0").unwrap()).unwrap());
    let gso = Gso { is_ipv6: false, tcp_at: 34, header_bytes: 54, segment_bytes: 1400 };
    net.server.run(|| crate::net::ip("link set s0 down"));
    let packet = long_packet(&[1; 5000]);
    let error = sender.send(gso, |buffer| {
        buffer[..packet.len()].copy_from_slice(&packet);
        packet.len()
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NetworkDown);
    net.server.run(|| assert!(GsoSender::open(9999).is_err()));
}
