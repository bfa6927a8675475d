//! Every frame arrives as it was sent, in each mode, for each length.

use crate::frames::{frame, next_on_wire, numbered, segment_from, syn_ack};
use crate::net::{
    CLIENT, DEDICATED, End, MODES, Net, SERVER_MAC, TEST_TIMEOUT, ethtool, ip, skip, until,
};
use af_xdp::{BURST, Checksum, Mode, OpenOptions, features};
use pnet::packet::Packet;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::tcp::{TcpFlags, TcpPacket};
use pnet::packet::udp::{self, MutableUdpPacket};
use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::thread;

#[test]
fn frames_arrive_and_leave_byte_for_byte() {
    let Some(net) = Net::new(1) else { return };
    for mode in MODES {
        let (device, mut end) = net.one_queue(mode);
        let umem = end.umem();
        let (mut sender, mut receiver) = net.wire();
        for payload in [0, 1, 6, 7, 100, 511, 1000, 1459, 1460] {
            let sent = numbered(0, payload as u32, payload);
            sender.send_to(&sent, None).unwrap().unwrap();
            let mut frames = end.receive(BURST);
            assert_eq!(frames.len(), 1, "{mode}");
            let mut frame = frames.pop().unwrap();
            assert!(
                umem.bytes(&frame) == sent && !frame.more(),
                "{mode}: {payload} bytes of payload"
            );
            // The same frame goes back with its addresses turned round.
            let bytes = umem.bytes_mut(&mut frame);
            let (destination, rest) = bytes.split_at_mut(6);
            destination.swap_with_slice(&mut rest[..6]);
            let reflected = umem.bytes(&frame).to_vec();
            assert_eq!(end.queue.transmit(frame), Ok(()));
            end.flush();
            let back = next_on_wire(&mut receiver, |bytes| bytes[6..12] == SERVER_MAC.octets());
            assert!(back == reflected, "{mode}: {payload} bytes of payload on the way back");
        }
        assert_eq!(end.settled(), umem.chunks(), "{mode}: every frame is accounted for");
        assert_eq!(device.ownership().transmit, 0);
    }
}

#[test]
fn the_kernel_receives_what_is_transmitted() {
    let Some(net) = Net::new(1) else { return };
    for mode in MODES {
        let (_device, mut end) = net.one_queue(mode);
        let socket = net.client.run(|| UdpSocket::bind((CLIENT, 7000)).unwrap());
        socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        // More than one system call takes, on a kernel without a budget to raise.
        for number in 0..100u32 {
            let datagram = frame(false, [DEDICATED, CLIENT], false, 12, |bytes| {
                bytes[8..].copy_from_slice(&number.to_be_bytes());
                let mut header = MutableUdpPacket::new(bytes).unwrap();
                header.set_source(9);
                header.set_destination(7000);
                header.set_length(12);
                header.set_checksum(udp::ipv4_checksum(
                    &header.to_immutable(),
                    &DEDICATED,
                    &CLIENT,
                ));
            });
            end.put(&datagram);
        }
        end.flush();
        for number in 0..100u32 {
            let mut payload = [0; 16];
            let (len, from) = socket.recv_from(&mut payload).unwrap();
            assert_eq!((len, from), (4, SocketAddr::from((DEDICATED, 9))));
            assert_eq!(payload[..4], number.to_be_bytes(), "{mode}: in order, none missing");
        }
        assert_eq!(end.settled(), end.umem().chunks());
        let counters = end.queue.counters();
        assert_eq!((counters.tx_frames, counters.tx_completed), (100, 100));
    }
}

#[test]
fn a_chain_is_transmitted_as_one_packet() {
    let Some(net) = Net::new(1) else { return };
    for mode in MODES {
        let (_device, mut end) = net.one_queue(mode);
        if !end.queue.multi_buffer() {
            return skip("needs multi-buffer AF_XDP: Linux 6.6");
        }
        let socket = net.client.run(|| UdpSocket::bind((CLIENT, 7000)).unwrap());
        socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let payload: Vec<u8> = (0..1400u32).map(|at| at as u8).collect();
        let datagram = frame(false, [DEDICATED, CLIENT], false, 8 + payload.len(), |bytes| {
            bytes[8..].copy_from_slice(&payload);
            let mut header = MutableUdpPacket::new(bytes).unwrap();
            header.set_source(9);
            header.set_destination(7000);
            header.set_length(8 + payload.len() as u16);
        });
        let umem = end.umem();
        let pieces: Vec<&[u8]> = datagram.chunks(500).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let mut frame = end.pool.take().unwrap();
            umem.chunk_mut(&mut frame)[..piece.len()].copy_from_slice(piece);
            frame.set_len(piece.len());
            frame.set_more(index + 1 < pieces.len());
            end.queue.transmit(frame).unwrap();
        }
        end.flush();
        let mut received = [0; 2000];
        let (len, _) = socket.recv_from(&mut received).unwrap();
        assert!(received[..len] == payload, "{mode}: {len} bytes");
        assert_eq!(end.settled(), umem.chunks());
    }
}

#[test]
fn small_chunks_and_busy_polling_do_as_well() {
    for mode in MODES {
        let Some(net) = Net::new(1) else { return };
        let (_device, mut parts) = net
            .open(|options| {
                options.mode = Some(mode);
                options.chunk_bytes = 2048;
                options.busy_poll = true;
            })
            .unwrap();
        let (queue, pool) = parts.pop().unwrap();
        let mut end = End { queue, pool };
        let umem = end.umem();
        assert_eq!((umem.chunk_bytes(), umem.receive_bytes()), (2048, 1792));
        let (mut sender, _receiver) = net.wire();
        let sent = numbered(0, 5, 1460);
        sender.send_to(&sent, None).unwrap().unwrap();
        let frames = end.receive(BURST);
        assert!(
            frames.len() == 1 && umem.bytes(&frames[0]) == sent,
            "the longest ordinary frame fits a chunk"
        );
        let polled = end.queue.counters().rx_wakeups > 0;
        assert_eq!(polled, mode == Mode::Copy, "{mode}: the driver is polled, where there is one");
        end.give_all(frames);
        assert_eq!(end.settled(), umem.chunks());
    }
}

/// The kernel peer sends segments longer than a chunk, and its segmentation offload packets of
/// several of them: they come as chains of frames.
#[test]
fn a_packet_longer_than_a_chunk_comes_as_a_chain_that_is_never_split() {
    const MTU: u16 = 9000;
    let Some(net) = Net::new(1) else { return };
    net.server.run(|| ip(&format!("link set s0 mtu {MTU}")));
    net.client.run(|| ip(&format!("link set c0 mtu {MTU}")));
    let (device, mut end) = net.one_queue(Mode::Generic);
    if !device.multi_buffer() {
        return skip("needs multi-buffer AF_XDP: Linux 6.6");
    }
    let umem = end.umem();
    let data: Vec<u8> = (0..60_000u32).map(|at| (at * 7 % 251) as u8).collect();
    let written = data.clone();
    let client = net.client.run(move || {
        thread::spawn(move || {
            let mut stream = TcpStream::connect((DEDICATED, 80)).unwrap();
            stream.write_all(&written).unwrap();
            // The stream is open until the test is over.
            stream
        })
    });
    let (mut stream, mut longest, mut isn, mut port) = (vec![None; data.len()], 0, 0u32, 0);
    until("all data is received", || {
        let frames = end.receive(1);
        assert!(!frames.last().unwrap().more(), "a packet was split");
        assert_eq!(
            frames.iter().filter(|frame| !frame.more()).count(),
            1,
            "one packet, if one frame is asked for"
        );
        longest = longest.max(frames.len());
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| umem.bytes(frame).to_vec()).collect();
        end.give_all(frames);
        let packet = Ipv4Packet::new(&bytes[14..]).unwrap();
        let packet = packet.packet();
        let segment = TcpPacket::new(&packet[20..]).unwrap();
        if segment.get_flags() & TcpFlags::SYN != 0 {
            (isn, port) = (segment.get_sequence(), segment.get_source());
            end.send(&syn_ack(80, port, isn.wrapping_add(1), MTU - 40));
            return false;
        }
        let payload = segment.payload();
        let at = segment.get_sequence().wrapping_sub(isn.wrapping_add(1)) as usize;
        for (slot, byte) in stream[at..at + payload.len()].iter_mut().zip(payload) {
            *slot = Some(*byte);
        }
        let known = stream.iter().take_while(|byte| byte.is_some()).count();
        let next = isn.wrapping_add(1 + known as u32);
        end.send(&segment_from(80, port, 1000, next, TcpFlags::ACK));
        known == data.len()
    });
    assert!(stream.into_iter().flatten().eq(data), "the bytes are those that were written");
    assert!(longest > 1, "the peer sent packets longer than a chunk");
    assert!(end.queue.counters().rx_continued > 0);
    assert_eq!(end.settled(), umem.chunks());
    drop(client.join().unwrap());
}

/// A datagram without a checksum but the sum of its pseudo-header. The kernel at the other end
/// drops it unless the kernel at this end takes the request for a checksum.
#[test]
fn a_requested_checksum_is_completed() {
    let Some(net) = Net::new(1) else { return };
    if let Err(reason) = features::can_register_metadata() {
        return skip(&reason);
    }
    // With an offload the kernel leaves the checksum to the peer, without one it sums itself.
    for offload in ["on", "off"] {
        net.server.run(|| ethtool(&["-K", "s0", "tx", offload]));
        for mode in MODES {
            let open = |options: &mut OpenOptions| {
                (options.mode, options.checksum_offload) = (Some(mode), true);
            };
            let (device, mut parts) = net.open(open).unwrap();
            assert_eq!(device.checksum_offload(), Ok(()), "{mode}");
            let (queue, pool) = parts.pop().unwrap();
            let mut end = End { queue, pool };
            let umem = end.umem();
            let socket = net.client.run(|| UdpSocket::bind((CLIENT, 7000)).unwrap());
            socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
            let (_, mut receiver) = net.wire();
            for len in [0, 1, 2, 3, 100, 501, 1400] {
                let payload: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
                let mut full = 0;
                let datagram =
                    frame(false, [DEDICATED, CLIENT], false, 8 + payload.len(), |bytes| {
                        bytes[8..].copy_from_slice(&payload);
                        let mut header = MutableUdpPacket::new(bytes).unwrap();
                        header.set_source(9);
                        header.set_destination(7000);
                        header.set_length(8 + payload.len() as u16);
                        full = udp::ipv4_checksum(&header.to_immutable(), &DEDICATED, &CLIENT);
                        let partial = pseudo_sum(8 + payload.len() as u16);
                        header.set_checksum(partial);
                    });
                let mut frame = end.pool.take().unwrap();
                umem.chunk_mut(&mut frame)[..datagram.len()].copy_from_slice(&datagram);
                frame.set_len(datagram.len());
                umem.request_checksum(&mut frame, Checksum { start: 34, offset: 6 });
                end.queue.transmit(frame).unwrap();
                end.flush();
                let mut received = [0; 2000];
                let (received_len, _) = socket.recv_from(&mut received).unwrap();
                assert!(received[..received_len] == payload, "{mode}, {offload}: {len} bytes");
                let seen = next_on_wire(&mut receiver, |bytes| bytes[6..12] == SERVER_MAC.octets());
                let expected = if offload == "on" { pseudo_sum(8 + len as u16) } else { full };
                assert_eq!(seen[40..42], expected.to_be_bytes(), "{mode}, {offload}: {len} bytes");
            }
            assert_eq!(end.settled(), umem.chunks(), "{mode}: every frame is accounted for");
            let kernel = end.queue.kernel_counters().unwrap();
            assert_eq!(kernel.xsk_tx_invalid_descs, 0, "{mode}");
        }
    }
}

/// The folded sum of the pseudo-header of a datagram of `len` bytes from DEDICATED to CLIENT.
fn pseudo_sum(len: u16) -> u16 {
    let halves = [DEDICATED, CLIENT].map(|address| {
        let [a, b, c, d] = address.octets();
        u32::from(u16::from_be_bytes([a, b])) + u32::from(u16::from_be_bytes([c, d]))
    });
    let sum: u32 = halves.iter().sum::<u32>() + 17 + u32::from(len);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
