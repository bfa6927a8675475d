//! What a stack answers without a connection for addresses that are its own: echo requests and
//! neighbour solicitations over IPv6, with and without a VLAN tag. Built and read by smoltcp.

use simoom_io::Instant;
use simoom_tcp::testing::pair::{config, over_ipv6};
use simoom_tcp::testing::script::Actor;
use simoom_tcp::wire::{Link, ethernet};
use simoom_tcp::{Config, Limits, LocalAddress, Packet, Stack, Transmit};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr,
    NdiscNeighborFlags, NdiscRepr,
};
use std::net::Ipv6Addr;

const OURS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2);
const THEIRS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const THEIR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Another one than the frame comes from, which a solicitation may name.
const NAMED_MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

#[derive(Default)]
struct Sink(Vec<Vec<u8>>);

impl Transmit for Sink {
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let mut frame = vec![0xee; 1518];
        let len = write(&mut frame);
        frame.truncate(len);
        self.0.push(frame);
        true
    }
}

/// A message from `source` to `destination`.
#[derive(Clone, Copy)]
struct Sent<'a> {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
    vlan: u16,
    message: Icmpv6Repr<'a>,
}

impl Sent<'_> {
    fn frame(&self) -> Vec<u8> {
        let ip = Ipv6Repr {
            src_addr: self.source,
            dst_addr: self.destination,
            next_header: IpProtocol::Icmpv6,
            payload_len: self.message.buffer_len(),
            hop_limit: self.hop_limit,
        };
        let mut frame = vec![0; 18 + ip.buffer_len() + ip.payload_len];
        let link = Link { mac: OUR_MAC, vlan: self.vlan };
        let at = ethernet::emit(&mut frame, &THEIR_MAC, &link, ethernet::IPV6);
        frame.truncate(at + ip.buffer_len() + ip.payload_len);
        ip.emit(&mut Ipv6Packet::new_unchecked(&mut frame[at..]));
        let body = &mut frame[at + ip.buffer_len()..];
        self.message.emit(
            &self.source,
            &self.destination,
            &mut Icmpv6Packet::new_unchecked(body),
            &ChecksumCapabilities::default(),
        );
        frame
    }
}

struct Scene(Stack<Actor>);

impl Scene {
    fn new(dedicated: bool) -> Scene {
        let config = over_ipv6(&config(2, Limits::for_connections(1)));
        let addresses =
            config.addresses.iter().map(|local| LocalAddress { dedicated, ..*local }).collect();
        Scene(Stack::new(Config { addresses, ..config }, Instant::ZERO))
    }

    fn answers(&mut self, sent: &Sent<'_>) -> Vec<Vec<u8>> {
        let (frame, mut sink) = (sent.frame(), Sink::default());
        self.0.receive(Instant::ZERO, &[Packet(&[&frame])], &mut Actor::default(), &mut sink);
        sink.0
    }

    /// The one frame sent, read: to whom, IP header, message.
    fn answer(&mut self, sent: &Sent<'_>, check: impl FnOnce([u8; 6], Ipv6Repr, Icmpv6Repr<'_>)) {
        let frames = self.answers(sent);
        let [frame] = &frames[..] else { panic!("one answer, not {}", frames.len()) };
        let (_, ethertype, body) = ethernet::parse(frame).expect("an Ethernet header");
        let (link, ..) = ethernet::parse(frame).expect("an Ethernet header");
        assert_eq!((link, ethertype), (Link { mac: OUR_MAC, vlan: sent.vlan }, ethernet::IPV6));
        let packet = Ipv6Packet::new_checked(body).expect("a packet");
        let ip = Ipv6Repr::parse(&packet).expect("an IPv6 header");
        let message = Icmpv6Packet::new_checked(packet.payload()).expect("a message");
        let read = Icmpv6Repr::parse(
            &ip.src_addr,
            &ip.dst_addr,
            &message,
            &ChecksumCapabilities::default(),
        );
        check(frame[..6].try_into().expect("six bytes"), ip, read.expect("a right checksum"));
    }

    fn count(&self, name: &str) -> u64 {
        let (counters, drops) = self.0.counters();
        counters.iter().chain(drops.iter()).find(|(known, _)| *known == name).expect("a counter").1
    }
}

const ECHO: Sent<'static> = Sent {
    source: THEIRS,
    destination: OURS,
    hop_limit: 64,
    vlan: 0,
    message: Icmpv6Repr::EchoRequest { ident: 7, seq_no: 9, data: b"abcdefg" },
};

const SOLICITATION: Sent<'static> = Sent {
    source: THEIRS,
    destination: GROUP,
    hop_limit: 255,
    vlan: 0,
    message: Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr: OURS, lladdr: None }),
};

#[test]
fn rfc_4443_section_4_2_an_echo_request_is_answered() {
    let mut scene = Scene::new(true);
    for vlan in [0, 7] {
        scene.answer(&Sent { vlan, ..ECHO }, |mac, ip, message| {
            assert_eq!(
                (mac, ip.src_addr, ip.dst_addr, ip.hop_limit),
                (THEIR_MAC, OURS, THEIRS, 64)
            );
            assert_eq!(message, Icmpv6Repr::EchoReply { ident: 7, seq_no: 9, data: b"abcdefg" });
        });
    }
    let data = [7; 1452];
    scene.answer(
        &Sent { message: Icmpv6Repr::EchoRequest { ident: 1, seq_no: 2, data: &data }, ..ECHO },
        |_, _, message| {
            assert_eq!(message, Icmpv6Repr::EchoReply { ident: 1, seq_no: 2, data: &data });
        },
    );
    assert_eq!(scene.count("echo_replies"), 3);
    let data = [7; 1453];
    let message = Icmpv6Repr::EchoRequest { ident: 1, seq_no: 2, data: &data };
    assert!(scene.answers(&Sent { message, ..ECHO }).is_empty(), "longer than the MTU");
    let message = Icmpv6Repr::EchoReply { ident: 1, seq_no: 2, data: b"" };
    assert!(scene.answers(&Sent { message, ..ECHO }).is_empty(), "not solicited");
    assert_eq!(scene.count("drop_icmp"), 2);
    assert!(
        scene.answers(&Sent { source: Ipv6Addr::UNSPECIFIED, ..ECHO }).is_empty(),
        "no address to answer"
    );
    assert_eq!(scene.count("drop_ip_source"), 1);
}

fn check_advertisement(flags: NdiscNeighborFlags, message: &Icmpv6Repr<'_>) {
    let lladdr = Some(EthernetAddress(OUR_MAC).into());
    assert_eq!(
        *message,
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { flags, target_addr: OURS, lladdr })
    );
}

#[test]
fn rfc_4861_section_7_2_4_a_solicitation_is_answered() {
    let mut scene = Scene::new(true);
    let both = NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE;
    for (destination, vlan) in [(GROUP, 0), (OURS, 0), (GROUP, 7)] {
        scene.answer(&Sent { destination, vlan, ..SOLICITATION }, |mac, ip, message| {
            assert_eq!(
                (mac, ip.src_addr, ip.dst_addr, ip.hop_limit),
                (THEIR_MAC, OURS, THEIRS, 255)
            );
            check_advertisement(both, &message);
        });
    }
    let lladdr = Some(EthernetAddress(NAMED_MAC).into());
    let message = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr: OURS, lladdr });
    scene.answer(&Sent { message, ..SOLICITATION }, |mac, _, _| assert_eq!(mac, NAMED_MAC));
    // RFC 4862 §5.4: a host that probes for the address is told, by multicast, that it is in use.
    scene.answer(&Sent { source: Ipv6Addr::UNSPECIFIED, ..SOLICITATION }, |mac, ip, message| {
        assert_eq!((mac, ip.dst_addr), ([0x33, 0x33, 0, 0, 0, 1], ALL_NODES));
        check_advertisement(NdiscNeighborFlags::OVERRIDE, &message);
    });
    assert_eq!(scene.count("neighbour_replies"), 5);
    assert!(
        scene.answers(&Sent { hop_limit: 254, ..SOLICITATION }).is_empty(),
        "it came through a router"
    );
    let message =
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr: THEIRS, lladdr: None });
    assert!(scene.answers(&Sent { message, ..SOLICITATION }).is_empty(), "for another");
    let lladdr = Some(EthernetAddress([0x33, 0x33, 0, 0, 0, 1]).into());
    let message = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr: OURS, lladdr });
    assert!(
        scene.answers(&Sent { message, ..SOLICITATION }).is_empty(),
        "from a group's hardware address"
    );
    assert_eq!(scene.count("drop_ndp"), 3);
}

/// Each kind has its own limit: a flood of echo requests leaves neighbours their answers.
#[test]
fn so_many_are_answered_a_second_and_the_others_counted() {
    let mut scene = Scene::new(true);
    for (message, sent, suppressed) in [
        (&ECHO, "echo_replies", "echo_replies_suppressed"),
        (&SOLICITATION, "neighbour_replies", "neighbour_replies_suppressed"),
    ] {
        let answered = (0..2000).map(|_| scene.answers(message).len() as u64).sum::<u64>();
        assert!((500..=1500).contains(&answered), "{answered} for {sent}");
        assert_eq!((scene.count(sent), scene.count(suppressed)), (answered, 2000 - answered));
    }
}

/// A shared address is the kernel's to speak for.
#[test]
fn a_shared_address_is_left_to_the_kernel() {
    let mut scene = Scene::new(false);
    assert!(scene.answers(&ECHO).is_empty() && scene.answers(&SOLICITATION).is_empty());
    assert_eq!((scene.count("drop_not_ours"), scene.count("drop_ndp")), (1, 1));
}
