//! IPv6 over AF_XDP as over kernel sockets: files, memcached, addresses that are Simoom's own; and
//! what a network adds to packets: extension headers, fragments, VLAN tags.

use crate::TEST_TIMEOUT;
use crate::client::Client;
use crate::common::{Network, need_program, wait_until};
use crate::site::{FILES, PORT, Plan, Site, Transport, at};
use crate::wire::{SYN, Wire};
use af_xdp::{Frame, FramePool, Mode, OpenOptions, Queue};
use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::packet::ip::{IpNextHeaderProtocol, IpNextHeaderProtocols};
use pnet::packet::ipv6::{
    MutableDestinationPacket, MutableFragmentPacket, MutableHopByHopPacket, MutableIpv6Packet,
};
use pnet::packet::tcp::{MutableTcpPacket, TcpOption, ipv6_checksum};
use pnet::util::MacAddr;
use simoom::steer::{Claim, Device};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream};

fn curl(site: &Site, address: SocketAddr, path: &str, to: &std::path::Path) {
    let url = format!("http://{address}{path}");
    site.run_client(
        "curl",
        &["-6", "-g", "-sS", "-f", "--max-time", "60", "-o", to.to_str().unwrap(), &url],
    );
}

#[test]
fn curl_gets_every_file() {
    if !need_program("curl") {
        return;
    }
    let Some(site) = Site::start(Transport::Xdp) else { return };
    let to = tempfile::NamedTempFile::new().unwrap();
    for (path, _) in FILES {
        curl(&site, at(site.network.address_v6(1)), path, to.path());
        assert!(
            std::fs::read(to.path()).unwrap() == site.content(path),
            "{path} is not what was sent"
        );
    }
    site.serves_others();
    site.wait_for("passive_opens", FILES.len() as u64 + 1);
    assert_eq!(site.counter("connections_accepted"), 0, "nothing went through the kernel's TCP");
    assert!(
        site.log().contains(&format!("{}", at(site.network.address_v6(1)))),
        "the log names the address"
    );
}

/// Several workers: a segment may come to one that does not know its connection.
#[test]
fn several_queues_serve_many_clients() {
    let mut plan = Plan::new(Transport::Xdp).with("--cores 0,1");
    plan.queues = 2;
    let Some(site) = plan.start() else { return };
    let mut clients: Vec<Client> =
        (0..16).map(|_| site.connect_to(at(site.network.address_v6(1)))).collect();
    for client in &mut clients {
        client.expect("/64k", &site.content("/64k"));
    }
    site.wait_for("passive_opens", 16);
}

#[test]
fn memcached_answers() {
    let Some(site) = Plan::new(Transport::Xdp).with("--memcached 11211").start() else { return };
    let mut client = site.connect_to(SocketAddr::new(site.network.address_v6(1), 11211)).stream;
    client.write_all(b"set a 0 0 5\r\nhello\r\nget a\r\n").unwrap();
    let mut answer = [0; 33];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer.escape_ascii().to_string(), r"STORED\r\nVALUE a 0 5\r\nhello\r\nEND\r\n");
}

/// A link-local address is one of the interface's own as the others are.
#[test]
fn a_link_local_address_is_served() {
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let link_local = wait_for_link_local(&network);
    let site = plan.start_in(network);
    let scope = site.network.client.run(|| simoom::netns::interface("c0")).unwrap().index;
    let address = SocketAddrV6::new(link_local, PORT, 0, scope);
    let mut stream = None;
    // The client has none to send from before its kernel has made sure that nobody else has it.
    wait_until("the client connects from its own link-local address", TEST_TIMEOUT, || {
        stream = site.network.client.run(|| TcpStream::connect(address)).ok();
        stream.is_some()
    });
    Client::new(stream.unwrap()).expect("/64k", &site.content("/64k"));
    site.wait_for("passive_opens", 1);
    assert_eq!(site.counter("connections_accepted"), 0, "nothing went through the kernel's TCP");
}

fn wait_for_link_local(network: &Network) -> Ipv6Addr {
    let mut found = None;
    wait_until("the kernel has given s0 a link-local address", TEST_TIMEOUT, || {
        let facts = network.server.run(|| simoom::netns::interface("s0")).unwrap();
        found = facts.addresses.iter().find_map(|(address, _)| match address {
            IpAddr::V6(address) if address.is_unicast_link_local() => Some(*address),
            _ => None,
        });
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn an_address_of_its_own_answers_solicitations_ping_and_http() {
    if !need_program("ping") {
        return;
    }
    let plan = Plan::new(Transport::Xdp);
    let Some(network) = plan.network() else { return };
    let own = network.address_v6(7);
    let site = plan.with(&format!("--address {own}")).start_in(network);
    site.ping(own, &[]);
    site.ping(own, &["-s", "1400"]);
    site.connect_to(at(own)).expect("/64k", &site.content("/64k"));
    site.wait_for("neighbour_replies", 1);
    site.wait_for("echo_replies", 6);

    site.ping(site.network.address_v6(1), &[]);
    assert_eq!(site.counter("echo_replies"), 6, "the kernel has answered for its own address");
    let refused = site.network.client.run(|| TcpStream::connect(SocketAddr::new(own, PORT + 1)));
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn the_claimed_port_is_served_and_reserved_in_the_kernel_too() {
    let Some(site) = Site::start(Transport::Xdp) else { return };
    for address in [Ipv6Addr::LOCALHOST.into(), site.network.address_v6(1)] {
        let stream = site.network.server.run(|| TcpStream::connect(at(address))).unwrap();
        Client::new(stream).expect("/64k", &site.content("/64k"));
    }
    wait_until("the kernel worker has counted", TEST_TIMEOUT, || {
        site.counter("connections_accepted") == 2
    });
    // The worker over AF_XDP may not have come to publish anything yet.
    site.wait_for_counter("passive_opens");
    assert_eq!(site.counter("passive_opens"), 0);
    let taken = site.network.server.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)));
    assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

fn v6(address: IpAddr) -> Ipv6Addr {
    let IpAddr::V6(address) = address else { panic!("{address} is of IPv4") };
    address
}

const TCP: IpNextHeaderProtocol = IpNextHeaderProtocols::Tcp;

/// A SYN with an MSS option, as pnet writes it.
fn syn(from: Ipv6Addr, to: Ipv6Addr, from_port: u16) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    let mut segment = MutableTcpPacket::new(&mut bytes).unwrap();
    segment.set_source(from_port);
    segment.set_destination(PORT);
    segment.set_sequence(1000);
    segment.set_data_offset(6);
    segment.set_flags(SYN);
    segment.set_window(65535);
    segment.set_options(&[TcpOption::mss(1440)]);
    let checksum = ipv6_checksum(&segment.to_immutable(), &from, &to);
    segment.set_checksum(checksum);
    bytes
}

fn packet(from: Ipv6Addr, to: Ipv6Addr, next: IpNextHeaderProtocol, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 40 + payload.len()];
    let mut packet = MutableIpv6Packet::new(&mut bytes).unwrap();
    packet.set_version(6);
    packet.set_payload_length(payload.len() as u16);
    packet.set_next_header(next);
    packet.set_hop_limit(64);
    packet.set_source(from);
    packet.set_destination(to);
    packet.set_payload(payload);
    bytes
}

fn frame(server_mac: [u8; 6], client_mac: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 14 + packet.len()];
    let mut frame = MutableEthernetPacket::new(&mut bytes).unwrap();
    frame.set_destination(MacAddr::from(server_mac));
    frame.set_source(MacAddr::from(client_mac));
    frame.set_ethertype(EtherTypes::Ipv6);
    frame.set_payload(packet);
    bytes
}

/// Hop-by-hop options and destination options, of padding alone, in front of a segment.
fn behind_options(segment: &[u8]) -> Vec<u8> {
    let padding = [1, 4, 0, 0, 0, 0];
    let mut hop_by_hop = vec![0; 8];
    MutableHopByHopPacket::new(&mut hop_by_hop)
        .unwrap()
        .set_next_header(IpNextHeaderProtocols::Ipv6Opts);
    let mut destination = vec![0; 8];
    MutableDestinationPacket::new(&mut destination).unwrap().set_next_header(TCP);
    hop_by_hop[2..].copy_from_slice(&padding);
    destination[2..].copy_from_slice(&padding);
    [&hop_by_hop, &destination, segment].concat()
}

fn fragment(segment: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 8];
    let mut packet = MutableFragmentPacket::new(&mut header).unwrap();
    packet.set_next_header(TCP);
    packet.set_fragment_offset_with_flags(1);
    [&header, segment].concat()
}

#[test]
fn extension_headers_are_passed_over_and_fragments_counted() {
    let Some(site) = Site::start(Transport::Xdp) else { return };
    let (ours, theirs) = (v6(site.network.address_v6(1)), v6(site.network.address_v6(2)));
    site.connect_to(at(ours.into())).expect("/12", &site.content("/12"));
    site.wait_for("syn_acks_sent", 1);
    let mut wire = Wire::new(&site);
    let (server_mac, client_mac) = (wire.server_mac, wire.client_mac);
    let whole = packet(
        theirs,
        ours,
        IpNextHeaderProtocols::Hopopt,
        &behind_options(&syn(theirs, ours, 4000)),
    );
    wire.send(&frame(server_mac, client_mac, &whole));
    site.wait_for("syn_acks_sent", 2);
    let part =
        packet(theirs, ours, IpNextHeaderProtocols::Ipv6Frag, &fragment(&syn(theirs, ours, 4001)));
    wire.send(&frame(server_mac, client_mac, &part));
    site.wait_for("steer_fragments_dropped", 1);
    // Of an option that whoever does not know it must drop the packet for.
    let mut odd = packet(
        theirs,
        ours,
        IpNextHeaderProtocols::Hopopt,
        &behind_options(&syn(theirs, ours, 4002)),
    );
    odd[42] = 0x5e;
    wire.send(&frame(server_mac, client_mac, &odd));
    site.wait_for("drop_ip_extension", 1);
    site.connect_to(at(ours.into())).expect("/12", &site.content("/12"));
    assert_eq!(site.counter("drop_fragment"), 0, "fragments do not come as far as the stack");
}

/// The client's end of the wire as AF_XDP sees it: an ordinary packet socket does not show tags
/// where they came.
struct Tap {
    queue: Queue,
    pool: FramePool,
    /// Keeps the claim.
    _device: Device,
}

impl Tap {
    fn new(site: &Site, claims: [IpAddr; 2]) -> Tap {
        let options = OpenOptions { mode: Some(Mode::Generic), ..OpenOptions::new("c0") };
        let (mut device, mut queues) = site.network.client.run(|| Device::open(&options)).unwrap();
        for address in claims {
            device.add_claim(Claim::Dedicated(address)).unwrap();
        }
        let (queue, pool) = queues.pop().unwrap();
        Tap { queue, pool, _device: device }
    }

    fn send(&mut self, bytes: &[u8]) {
        let mut frame = self.pool.take().unwrap();
        self.queue.umem().clone().chunk_mut(&mut frame)[..bytes.len()].copy_from_slice(bytes);
        frame.set_len(bytes.len());
        self.queue.transmit(frame).unwrap();
        wait_until("the frame is sent", TEST_TIMEOUT, || {
            self.queue.flush().unwrap();
            self.queue.complete(&mut self.pool);
            self.queue.unsent() == 0
        });
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut frames: Vec<Frame> = Vec::new();
        wait_until("a frame comes", TEST_TIMEOUT, || {
            self.queue.receive(&mut self.pool, &mut frames, 1);
            !frames.is_empty()
        });
        let frame = frames.pop().unwrap();
        let bytes = self.queue.umem().bytes(&frame).to_vec();
        self.pool.give(frame);
        bytes
    }
}

#[test]
fn replies_carry_the_vlan_tag_that_came() {
    let Some(site) = Site::start(Transport::Xdp) else { return };
    // Addresses that the client's kernel does not have, so that it does not reset what it knows
    // nothing of.
    let (from4, from6) = (site.network.address(9), site.network.address_v6(9));
    let mut tap = Tap::new(&site, [from4, from6]);
    let wire = Wire::new(&site);
    let (to, from) = (v6(site.network.address_v6(1)), v6(from6));
    let over6 = |port| {
        frame(wire.server_mac, wire.client_mac, &packet(from, to, TCP, &syn(from, to, port)))
    };
    let IpAddr::V4(from) = from4 else { panic!("{from4} is of IPv6") };
    let over4 =
        |port| crate::wire::Segment { from, flags: SYN, ack: 0, ..wire.segment(port) }.frame(&wire);
    for (port, tag) in [(4000, &[][..]), (4001, &[0x81, 0, 0, 7])] {
        for (plain, flags_at) in [(over6(port), 14 + 40 + 13), (over4(port), 14 + 20 + 13)] {
            let tagged = [&plain[..12], tag, &plain[12..]].concat();
            tap.send(&tagged);
            let answer = tap.receive();
            assert_eq!(answer[6..12], wire.server_mac);
            assert_eq!(answer[12..12 + tag.len()], *tag, "the tag that came");
            assert_eq!(
                answer[12 + tag.len()..14 + tag.len()],
                plain[12..14],
                "the version that came"
            );
            assert_eq!(answer[flags_at + tag.len()], 0x12, "SYN and ACK");
        }
    }
}
