//! The AF_XDP layer over real veth pairs: a queue at one end, the kernel at the other, each in a namespace of its own.

mod common;

use common::skip;
use pnet::datalink::{self, Channel, DataLinkReceiver, DataLinkSender};
use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{self, Ipv4Packet, MutableIpv4Packet};
use pnet::packet::tcp::{self, MutableTcpPacket, TcpFlags, TcpPacket};
use pnet::packet::udp::{self, MutableUdpPacket};
use pnet::packet::{MutablePacket, Packet};
use pnet::transport::{TransportChannelType, TransportProtocol, transport_channel};
use pnet::util::MacAddr;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use simoom::af_xdp::{
    BURST, Claim, Device, Error, Frame, FramePool, Mode, OpenOptions, Queue, RingSizes, Umem, features,
};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that does happen.
const PATIENCE: Duration = Duration::from_secs(20);

const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The address that the server's kernel does not have.
const DEDICATED: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 9);
const SERVER_MAC: MacAddr = MacAddr(2, 0, 0, 0, 0, 1);
const CLIENT_MAC: MacAddr = MacAddr(2, 0, 0, 0, 0, 9);

/// A network namespace without a name, gone when nothing uses it any more.
struct Namespace(File);

impl Namespace {
    /// Runs `inside` on a thread within the namespace.
    fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let ran = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                inside()
            });
            ran.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Two namespaces and a veth pair: `s0` in the server's, `c0` in the client's.
struct Net {
    server: Namespace,
    client: Namespace,
}

impl Net {
    /// A pair with `queues` queues each way; nothing, with the reason told, where it cannot be had.
    fn new(queues: u32) -> Option<Net> {
        Net::with(queues, queues)
    }

    /// A pair with `queues` queues at the server's end, and `client_queues` at the client's.
    fn with(queues: u32, client_queues: u32) -> Option<Net> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if let Err(error) = features::can_open_sockets().and_then(|()| features::can_load_program()) {
            skip(&error.to_string());
            return None;
        }
        if Command::new("ip").arg("-V").output().is_err() {
            skip("needs ip (iproute2)");
            return None;
        }
        let base = format!("simoom-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let names = Names([format!("{base}s"), format!("{base}c")]);
        let [server, client] = &names.0;
        ip(&format!("netns add {server}"));
        ip(&format!("netns add {client}"));
        let many = |queues| format!("numrxqueues {queues} numtxqueues {queues}");
        let (here, there) = (many(queues), many(client_queues));
        ip(&format!("-n {server} link add s0 {here} type veth peer name c0 {there} netns {client}"));
        for (namespace, name, mac, address) in
            [(server, "s0", SERVER_MAC, SERVER), (client, "c0", CLIENT_MAC, CLIENT)]
        {
            ip(&format!("-n {namespace} link set {name} address {mac} addrgenmode none up"));
            ip(&format!("-n {namespace} address add {address}/24 dev {name}"));
        }
        ip(&format!("-n {client} neighbour add {DEDICATED} lladdr {SERVER_MAC} dev c0 nud permanent"));
        let open = |name: &str| Namespace(File::open(format!("/run/netns/{name}")).unwrap());
        Some(Net { server: open(server), client: open(client) })
    }

    fn open(&self, change: impl FnOnce(&mut OpenOptions)) -> Result<(Device, Vec<(Queue, FramePool)>), Error> {
        let mut options = OpenOptions::new("s0");
        change(&mut options);
        self.server.run(move || Device::open(&options))
    }

    /// A device in `mode` that has claimed the dedicated address, with its only queue.
    fn one_queue(&self, mode: Mode) -> (Device, End) {
        let (mut device, mut parts) = self.open(|options| options.mode = Some(mode)).unwrap();
        assert_eq!((device.mode(), parts.len()), (mode, 1));
        device.add_claim(Claim::Dedicated(DEDICATED.into())).unwrap();
        let (queue, pool) = parts.pop().unwrap();
        (device, End { queue, pool })
    }

    /// A raw socket at the client's end.
    fn wire(&self) -> (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>) {
        self.client.run(|| {
            let interface = datalink::interfaces().into_iter().find(|interface| interface.name == "c0").unwrap();
            let config = datalink::Config {
                read_timeout: Some(Duration::from_millis(100)),
                read_buffer_size: 1 << 17,
                ..Default::default()
            };
            match datalink::channel(&interface, config).unwrap() {
                Channel::Ethernet(sender, receiver) => (sender, receiver),
                _ => panic!("not an Ethernet channel"),
            }
        })
    }

    /// Whether an XDP program is on `s0`.
    fn program_attached(&self) -> bool {
        let output = self.server.run(|| Command::new("ip").args(["-d", "link", "show", "s0"]).output().unwrap());
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stdout).contains("prog/xdp")
    }
}

/// Names of namespaces, which are only needed while they are set up: a file descriptor keeps them.
struct Names([String; 2]);

impl Drop for Names {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// A queue with its pool, as a worker has them.
struct End {
    queue: Queue,
    pool: FramePool,
}

impl End {
    fn umem(&self) -> std::sync::Arc<Umem> {
        self.queue.umem().clone()
    }

    /// Waits until at least one frame is received; at most `max`, as [`Queue::receive`] has it.
    fn receive(&mut self, max: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        until("a frame is received", || {
            self.queue.receive(&mut self.pool, &mut frames, max);
            if frames.is_empty() {
                let mut fds = [PollFd::new(&self.queue, PollFlags::IN)];
                poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 })).unwrap();
            }
            !frames.is_empty()
        });
        frames
    }

    /// Sends bytes as one frame, without flushing.
    fn put(&mut self, bytes: &[u8]) {
        let umem = self.umem();
        let mut frame = self.pool.take().expect("a free frame");
        umem.room_mut(&mut frame)[..bytes.len()].copy_from_slice(bytes);
        frame.set_len(bytes.len());
        self.queue.transmit(frame).expect("room on the TX ring");
    }

    fn send(&mut self, bytes: &[u8]) {
        self.put(bytes);
        self.flush();
    }

    fn flush(&mut self) {
        until("all is sent", || {
            self.queue.flush().unwrap();
            self.queue.complete(&mut self.pool);
            self.queue.unsent() == 0
        });
    }

    fn give_all(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            self.pool.give(frame);
        }
    }

    /// Frames in the pool and with the kernel, after all transmissions are done.
    fn settled(&mut self) -> usize {
        until("all transmissions are completed", || {
            self.queue.flush().unwrap();
            self.queue.complete(&mut self.pool);
            self.queue.frames().transmit == 0
        });
        self.pool.len() + self.queue.frames().receive
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited for {PATIENCE:?}: {what}");
        thread::yield_now();
    }
}

/// An Ethernet frame with an IPv4 packet, its checksum set; `fill` writes what is in it.
fn frame(from_client: bool, ips: [Ipv4Addr; 2], tcp: bool, len: usize, fill: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = vec![0; 14 + 20 + len];
    let mut ethernet = MutableEthernetPacket::new(&mut bytes).unwrap();
    let (source, destination) = if from_client { (CLIENT_MAC, SERVER_MAC) } else { (SERVER_MAC, CLIENT_MAC) };
    ethernet.set_source(source);
    ethernet.set_destination(destination);
    ethernet.set_ethertype(EtherTypes::Ipv4);
    let mut packet = MutableIpv4Packet::new(ethernet.payload_mut()).unwrap();
    packet.set_version(4);
    packet.set_header_length(5);
    packet.set_total_length(20 + len as u16);
    packet.set_ttl(64);
    packet.set_next_level_protocol(if tcp { IpNextHeaderProtocols::Tcp } else { IpNextHeaderProtocols::Udp });
    packet.set_source(ips[0]);
    packet.set_destination(ips[1]);
    packet.set_checksum(ipv4::checksum(&packet.to_immutable()));
    fill(packet.payload_mut());
    bytes
}

/// A segment from the client to the dedicated address, with a flow and a number to know it by.
fn numbered(flow: u16, number: u32, payload: usize) -> Vec<u8> {
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

fn segment_from(source: u16, destination: u16, sequence: u32, acknowledgement: u32, flags: u8) -> Vec<u8> {
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

/// The next frame on the wire that `wanted` wants.
fn next_on_wire(receiver: &mut Box<dyn DataLinkReceiver>, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let deadline = Instant::now() + PATIENCE;
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

const MODES: [Mode; 2] = [Mode::Generic, Mode::Copy];

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
            assert!(umem.bytes(&frame) == sent && !frame.more(), "{mode}: {payload} bytes of payload");
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
        assert_eq!(device.census().transmit, 0);
    }
}

#[test]
fn the_kernel_receives_what_is_transmitted() {
    let Some(net) = Net::new(1) else { return };
    for mode in MODES {
        let (_device, mut end) = net.one_queue(mode);
        let socket = net.client.run(|| UdpSocket::bind((CLIENT, 7000)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // More than one system call takes, on a kernel without a budget to raise.
        for number in 0..100u32 {
            let datagram = frame(false, [DEDICATED, CLIENT], false, 12, |bytes| {
                bytes[8..].copy_from_slice(&number.to_be_bytes());
                let mut header = MutableUdpPacket::new(bytes).unwrap();
                header.set_source(9);
                header.set_destination(7000);
                header.set_length(12);
                header.set_checksum(udp::ipv4_checksum(&header.to_immutable(), &DEDICATED, &CLIENT));
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
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
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
            umem.room_mut(&mut frame)[..piece.len()].copy_from_slice(piece);
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
        let (mut device, mut parts) = net
            .open(|options| {
                options.mode = Some(mode);
                options.chunk_bytes = 2048;
                options.busy_poll = true;
            })
            .unwrap();
        device.add_claim(Claim::Dedicated(DEDICATED.into())).unwrap();
        let (queue, pool) = parts.pop().unwrap();
        let mut end = End { queue, pool };
        let umem = end.umem();
        assert_eq!((umem.chunk_bytes(), umem.receive_bytes()), (2048, 1792));
        let (mut sender, _receiver) = net.wire();
        let sent = numbered(0, 5, 1460);
        sender.send_to(&sent, None).unwrap().unwrap();
        let frames = end.receive(BURST);
        assert!(frames.len() == 1 && umem.bytes(&frames[0]) == sent, "the longest ordinary frame fits a chunk");
        let polled = end.queue.counters().rx_wakeups > 0;
        assert_eq!(polled, mode == Mode::Copy, "{mode}: the driver is polled, where there is one");
        end.give_all(frames);
        assert_eq!(end.settled(), umem.chunks());
    }
}

/// The kernel peer's segmentation offload hands over packets of many segments: they come as chains of frames.
#[test]
fn a_packet_longer_than_a_chunk_comes_as_a_chain_that_is_never_split() {
    let Some(net) = Net::new(1) else { return };
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
        assert_eq!(frames.iter().filter(|frame| !frame.more()).count(), 1, "one packet, if one frame is asked for");
        longest = longest.max(frames.len());
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| umem.bytes(frame).to_vec()).collect();
        end.give_all(frames);
        let packet = Ipv4Packet::new(&bytes[14..]).unwrap();
        let packet = packet.packet();
        let segment = TcpPacket::new(&packet[20..]).unwrap();
        if segment.get_flags() & TcpFlags::SYN != 0 {
            (isn, port) = (segment.get_sequence(), segment.get_source());
            end.send(&segment_from(80, port, 999, isn.wrapping_add(1), TcpFlags::SYN | TcpFlags::ACK));
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

/// Traffic over two queues that share the memory, each with a worker; then every frame is counted in its place.
#[test]
fn no_frame_is_lost_or_owned_twice() {
    const FRAMES: u32 = 20_000;
    const FLOWS: u32 = 64;
    for mode in MODES {
        // In generic mode a veth takes the number of the queue a frame was sent from, less one, for the one it came
        // in on; in native mode the number itself, and there may be no more at the peer than here.
        let client_queues = if mode == Mode::Generic { 3 } else { 2 };
        let Some(net) = Net::with(2, client_queues) else { return };
        let (mut device, parts) = net.open(|options| options.mode = Some(mode)).unwrap();
        assert_eq!(parts.len(), 2, "all queues of the interface");
        device.add_claim(Claim::Dedicated(DEDICATED.into())).unwrap();
        // The kernel spreads what a raw IP socket sends over the queues, by flow.
        let raw = TransportChannelType::Layer4(TransportProtocol::Ipv4(IpNextHeaderProtocols::Tcp));
        let (mut sender, _receiver) = net.client.run(|| transport_channel(4096, raw).unwrap());
        let received = AtomicU32::new(0);
        let sent = AtomicU32::new(u32::MAX);
        let workers: Vec<(End, BTreeSet<u64>)> = thread::scope(|scope| {
            let workers: Vec<_> = parts
                .into_iter()
                .map(|(queue, pool)| {
                    let (received, sent) = (&received, &sent);
                    scope.spawn(move || reflect(End { queue, pool }, received, sent))
                })
                .collect();
            // At most two hundred under way, so that none is dropped for want of room: a veth in native mode has 256.
            for number in 0..FRAMES {
                until("the workers keep up", || number - received.load(Ordering::Relaxed) < 200);
                let bytes = numbered((number % FLOWS) as u16, number, 60);
                sender.send_to(TcpPacket::new(&bytes[34..]).unwrap(), DEDICATED.into()).unwrap();
            }
            sent.store(FRAMES, Ordering::Relaxed);
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        let umem = device.umem().clone();
        let mut frames = 0;
        let mut numbers = BTreeSet::new();
        for (mut end, seen) in workers {
            assert!(!seen.is_empty(), "{mode}: queue {} got none", end.queue.id());
            numbers.extend(seen);
            frames += end.settled();
            let counters = *end.queue.counters();
            assert_eq!((counters.rx_bad_descriptors, counters.tx_bad_completions), (0, 0));
            assert_eq!(counters.tx_frames, counters.tx_completed);
        }
        assert_eq!(numbers.len(), FRAMES as usize, "{mode}: each frame arrived, and once");
        assert_eq!(frames, umem.chunks(), "{mode}: pools, fill and RX rings hold all frames");
        let census = device.census();
        assert_eq!(
            (census.user + census.receive, census.transmit),
            (umem.chunks(), 0),
            "{mode}: so says the ledger"
        );
    }
}

/// Sends everything back until `sent` frames were received by all; returns the numbers of those seen here.
fn reflect(mut end: End, received: &AtomicU32, sent: &AtomicU32) -> (End, BTreeSet<u64>) {
    let umem = end.umem();
    let (mut seen, mut burst) = (BTreeSet::new(), Vec::new());
    until("all frames were received", || {
        end.queue.complete(&mut end.pool);
        let count = end.queue.receive(&mut end.pool, &mut burst, BURST);
        for frame in burst.drain(..) {
            let bytes = umem.bytes(&frame);
            let segment = TcpPacket::new(&bytes[34..]).unwrap();
            assert!(seen.insert(segment.get_sequence().into()), "received twice");
            if let Err(frame) = end.queue.transmit(frame) {
                end.pool.give(frame);
            }
        }
        end.queue.flush().unwrap();
        received.fetch_add(count as u32, Ordering::Relaxed) + count as u32 == sent.load(Ordering::Relaxed)
    });
    (end, seen)
}

#[test]
fn what_the_kernel_had_to_drop_is_counted() {
    let Some(net) = Net::new(1) else { return };
    let (mut device, mut parts) = net
        .open(|options| {
            options.rings = RingSizes { fill: 64, rx: 64, tx: 64, completion: 64 };
            options.frames_per_queue = 256;
        })
        .unwrap();
    device.add_claim(Claim::Dedicated(DEDICATED.into())).unwrap();
    let (queue, pool) = parts.pop().unwrap();
    let mut end = End { queue, pool };
    let (mut sender, _receiver) = net.wire();
    for number in 0..200 {
        sender.send_to(&numbered(0, number, 10), None).unwrap().unwrap();
    }
    until("200 frames were received or dropped", || {
        let kernel = end.queue.kernel_counters().unwrap();
        kernel.xsk_rx_dropped + kernel.xsk_rx_ring_full + kernel.xsk_fill_ring_empty >= 200 - 64
    });
    let frames = end.receive(1000);
    assert_eq!(frames.len(), 64, "as many as the fill ring had");
    end.give_all(frames);
    // The ring is filled again: the next frame arrives.
    sender.send_to(&numbered(0, 777, 10), None).unwrap().unwrap();
    let frames = end.receive(BURST);
    let umem = end.umem();
    assert!(umem.bytes(&frames[0]) == numbered(0, 777, 10));
    end.give_all(frames);
    assert_eq!(end.settled(), 256);
}

#[test]
fn a_full_tx_ring_gives_the_frame_back() {
    let Some(net) = Net::new(1) else { return };
    let (_device, mut parts) = net
        .open(|options| {
            options.rings = RingSizes { fill: 64, rx: 64, tx: 64, completion: 64 };
            options.frames_per_queue = 256;
        })
        .unwrap();
    let (queue, pool) = parts.pop().unwrap();
    let mut end = End { queue, pool };
    let bytes = segment_from(1, 2, 3, 4, TcpFlags::ACK);
    assert_eq!(end.queue.transmit_room(), 64);
    for _ in 0..64 {
        end.put(&bytes);
    }
    let mut frame = end.pool.take().unwrap();
    frame.set_len(60);
    let frame = end.queue.transmit(frame).expect_err("the ring is full");
    assert_eq!(end.queue.counters().tx_ring_full, 1);
    end.flush();
    assert_eq!(end.queue.transmit(frame), Ok(()), "there is room again");
    let empty = end.pool.take().unwrap();
    let empty = end.queue.transmit(empty).expect_err("a frame without bytes is not sent");
    end.pool.give(empty);
    assert_eq!(end.settled(), 256);
}

#[test]
fn what_is_not_claimed_is_the_kernels() {
    let Some(net) = Net::new(1) else { return };
    for mode in MODES {
        let (mut device, mut end) = net.one_queue(mode);
        device.add_claim(Claim::Port((SERVER, 80).into())).unwrap();
        let server = net.server.run(|| UdpSocket::bind((SERVER, 80)).unwrap());
        let client = net.client.run(|| UdpSocket::bind((CLIENT, 0)).unwrap());
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(b"datagram to the claimed TCP port", (SERVER, 80)).unwrap();
        assert_eq!(server.recv_from(&mut [0; 64]).unwrap().0, 32);
        let ssh = net.server.run(|| TcpListener::bind((SERVER, 22)).unwrap());
        let stream = net.client.run(|| TcpStream::connect_timeout(&(SERVER, 22).into(), PATIENCE)).unwrap();
        drop((ssh.accept().unwrap(), stream));
        let ping = || Command::new("ping").args(["-c1", "-W10", &SERVER.to_string()]).output();
        match net.client.run(ping) {
            Ok(output) => assert!(output.status.success(), "{mode}: {}", String::from_utf8_lossy(&output.stdout)),
            Err(error) => skip(&format!("needs ping: {error}")),
        }
        // What is claimed is not: the segment comes here although the kernel listens too, until the claim is gone.
        let http = net.server.run(|| TcpListener::bind((SERVER, 80)).unwrap());
        let refused =
            net.client.run(|| TcpStream::connect_timeout(&(SERVER, 80).into(), Duration::from_millis(200)));
        assert!(refused.is_err(), "{mode}: nobody answers here");
        let frames = end.receive(BURST);
        let umem = end.umem();
        assert!(frames.iter().all(|frame| umem.bytes(frame)[30..34] == SERVER.octets()), "{mode}");
        end.give_all(frames);
        device.remove_claim(Claim::Port((SERVER, 80).into())).unwrap();
        let stream = net.client.run(|| TcpStream::connect_timeout(&(SERVER, 80).into(), PATIENCE)).unwrap();
        drop((http.accept().unwrap(), stream));
    }
}

#[test]
fn the_program_goes_with_the_device() {
    let Some(net) = Net::new(1) else { return };
    assert!(!net.program_attached());
    for mode in MODES {
        let (device, _end) = net.one_queue(mode);
        assert!(net.program_attached(), "{mode}");
        drop(device);
        until("the program is gone", || !net.program_attached());
    }
    let (_device, end) = net.one_queue(Mode::Generic);
    let error = net.open(|options| options.mode = Some(Mode::Generic)).expect_err("it is in use").to_string();
    assert!(error.contains("s0") && error.contains("generic") && error.contains("another XDP program"), "{error}");
    drop(end);
}

const HOLDER: &str = "SIMOOM_TEST_HOLD_DEVICE";

/// Not a test of its own: in the process that the next test starts, holds a device until it is killed.
#[test]
fn holder_of_a_device() {
    if std::env::var_os(HOLDER).is_some() {
        let mut options = OpenOptions::new("s0");
        options.mode = Some(Mode::Generic);
        let parts = Device::open(&options).unwrap();
        writeln!(std::io::stdout(), "\nholding").unwrap();
        thread::park();
        drop(parts);
    }
}

#[test]
fn the_program_goes_with_a_killed_process_and_the_interface_can_be_opened_again() {
    let Some(net) = Net::new(1) else { return };
    let mut child = net.server.run(|| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "holder_of_a_device", "--nocapture"]).env(HOLDER, "1").stdout(Stdio::piped());
        command.spawn().unwrap()
    });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line == "holding")), "the child did not open the device");
    let attached = net.program_attached();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(attached);
    until("the program is gone", || !net.program_attached());
    let (device, _end) = net.one_queue(Mode::Generic);
    assert_eq!(device.counters().unwrap().map(|(_, value)| value).sum::<u64>(), 0);
}

#[test]
fn an_interface_that_goes_away_is_told() {
    let Some(net) = Net::new(1) else { return };
    for mode in MODES {
        let Some(net) = Net::new(1) else { return };
        let (_device, mut end) = net.one_queue(mode);
        end.queue.check().unwrap();
        net.server.run(|| ip("link del s0"));
        until("the queue is found to be gone", || end.queue.check().is_err());
        end.put(&segment_from(1, 2, 3, 4, TcpFlags::ACK));
        let error = end.queue.flush().expect_err("nothing to send on");
        assert!(matches!(error, Error::Gone { queue: 0, .. }), "{mode}: {error}");
    }
    // An interface that is only down comes back.
    let (_device, mut end) = net.one_queue(Mode::Generic);
    net.server.run(|| ip("link set s0 down"));
    end.put(&segment_from(1, 2, 3, 4, TcpFlags::ACK));
    end.queue.flush().unwrap();
    assert_eq!((end.queue.unsent(), end.queue.counters().tx_interface_down), (1, 1));
    net.server.run(|| ip("link set s0 up"));
    end.flush();
    assert_eq!(end.settled(), end.umem().chunks());
}

#[test]
fn what_an_interface_offers_is_told() {
    let Some(net) = Net::new(2) else { return };
    net.server.run(|| {
        assert_eq!(features::driver("s0").unwrap(), "veth");
        assert_eq!(features::rx_queues("s0").unwrap(), 2);
        let queues = features::queues("s0").unwrap();
        assert_eq!((queues.rx, queues.tx, queues.max_rx), (2, 2, 2));
        match features::xdp_features("s0") {
            Ok(found) => assert!(found.native() && !found.zero_copy() && !found.tx_checksum(), "{found:?}"),
            Err(error) => assert!(features::kernel_version() < (6, 3), "{error}"),
        }
    });
    let (device, parts) = net.open(|_| ()).unwrap();
    assert_eq!((device.mode(), device.driver(), parts.len()), (Mode::Generic, "veth", 2), "auto mode on a veth");
    drop((device, parts));
    let error = net.open(|options| options.mode = Some(Mode::ZeroCopy)).expect_err("a veth has no zero-copy mode");
    assert!(error.to_string().contains("zero-copy"), "{error}");
    net.server.run(|| ip("link set s0 down"));
    net.server.run(|| assert!(Command::new("ethtool").args(["-L", "s0", "tx", "1"]).status().unwrap().success()));
    let error = net.open(|_| ()).expect_err("a queue could not transmit").to_string();
    assert!(error.starts_with("queues is 2: s0 has 1 transmit queues"), "{error}");
}
