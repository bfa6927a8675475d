//! Attacks by name. Each is counted, uses no more than its share, and another connection is served
//! meanwhile.

use simoom_io::{Closed, Duration};
use simoom_tcp::counters::Counters;
use simoom_tcp::drop::Drops;
use simoom_tcp::seq::Seq;
use simoom_tcp::testing::echo::{Echo, stream_bytes};
use simoom_tcp::testing::pair::config;
use simoom_tcp::testing::{Forged, Pair, Quality, Random, TooBig};
use simoom_tcp::wire::{Flags, Options};
use simoom_tcp::{Address, Config, Limits, OwnershipCounts, Packet, Transmit};

const CLIENT: [u8; 4] = [198, 18, 0, 1];
const VICTIM_PORT: u16 = 40_000;
/// Bytes that a client sends and expects back.
const TOTAL: u64 = 150_000;

/// Keeps the frames that are sent at once.
#[derive(Default)]
struct Sink(Vec<Vec<u8>>);

impl Transmit for Sink {
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let mut frame = vec![0; 1600];
        let len = write(&mut frame);
        frame.truncate(len);
        self.0.push(frame);
        true
    }
}

struct Scene {
    pair: Pair<Echo>,
    random: Random,
}

impl Scene {
    fn new(limits: Limits) -> Scene {
        let server = Config { send_timeout_ms: 5000, time_wait_ms: 1000, ..config(2, limits) };
        let client = Config { time_wait_ms: 1000, ..config(1, Limits::for_connections(64)) };
        // Frames that arrive one by one give the attacker time in between.
        let quality =
            Quality { delay: Duration::from_micros(500), reorder: 500, ..Quality::default() };
        let app = || Echo { total: TOTAL, ..Echo::default() };
        Scene { pair: Pair::new(client, server, quality, 1, app), random: Random::new(1) }
    }

    /// The server receives a frame from elsewhere; returns what it sends at once.
    fn attack(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let mut sink = Sink::default();
        let server = &mut self.pair.server;
        server.out.now = self.pair.now;
        server.stack.receive(self.pair.now, &[Packet(&[frame])], &mut server.app, &mut sink);
        server.stack.flush(self.pair.now, &mut server.app, &mut server.out);
        sink.0
    }

    /// An attacker's own connection: what its next segment is.
    fn handshake(&mut self, syn: Forged) -> Forged {
        let answer = self.attack(&syn.frame(&[]));
        let ack = syn.completing(answer.first().expect("a SYN-ACK"));
        self.attack(&ack.frame(&[]));
        ack
    }

    /// Serves a client from its SYN to its close, and lets the attacker act every millisecond.
    fn serve(&mut self, mut attack: impl FnMut(&mut Scene)) {
        let before = self.pair.client.app.closed.len();
        self.pair.connect(VICTIM_PORT + before as u16);
        let mut next_attack = self.pair.now;
        for _ in 0..100_000 {
            if self.pair.client.app.closed.len() > before {
                break;
            }
            if self.pair.now >= next_attack {
                next_attack = self.pair.now + Duration::from_millis(1);
                attack(self);
            }
            self.pair.step();
        }
        let (_, how, received) = *self.pair.client.app.closed.last().expect("the client is served");
        assert_eq!((how, received), (Closed::Finished, TOTAL));
    }

    /// Lets time pass until no event is left. Then nothing may be held.
    fn settle(&mut self) {
        let idle = self.pair.run_until(1_000_000, |pair| {
            pair.server.stack.ownership() == OwnershipCounts::default()
                && pair.server.stack.next_deadline().is_none()
        });
        assert!(idle, "{:?}", self.pair.server.stack.ownership());
    }

    fn ownership(&self) -> OwnershipCounts {
        self.pair.server.stack.ownership()
    }

    fn counts(&self) -> (Counters, Drops) {
        let (counters, drops) = self.pair.server.stack.counters();
        (*counters, *drops)
    }
}

/// LAND and its kin: a SYN from an address that only this host can have. The kernel calls it a
/// martian.
#[test]
fn rfc_1812_section_5_3_8_nobody_poses_as_this_host() {
    let kernels = Address::from_v4([198, 18, 7, 1]);
    let server = Config { no_peers: vec![kernels], ..config(2, Limits::for_connections(64)) };
    let own = server.addresses[0].address;
    let client = config(1, Limits::for_connections(64));
    let pair = Pair::new(client, server, Quality::default(), 1, Echo::default);
    let mut scene = Scene { pair, random: Random::new(1) };
    for (source, dropped) in [(own, 1), (kernels, 2)] {
        let syn = Forged { source, source_port: 80, ..Forged::syn(1000, 1) };
        assert!(scene.attack(&syn.frame(&[])).is_empty(), "{source}: a SYN is not answered");
        assert!(
            scene.attack(&Forged { port: 9, ..syn }.frame(&[])).is_empty(),
            "{source}: nor refused"
        );
        assert_eq!(scene.counts().1.drop_ip_source, 2 * dropped);
    }
    assert_eq!(scene.ownership(), OwnershipCounts::default());
    assert_eq!(scene.attack(&Forged::syn(1000, 1).frame(&[])).len(), 1, "a peer is answered");
}

/// RFC 4987 §3.6: the last worker that a segment is passed to answers for all. It resets a segment
/// of no connection also while another one's cookies are out, but not text that has overtaken the
/// cookie.
#[test]
fn the_last_worker_knows_of_the_cookies_of_the_others() {
    let limits = Limits { half_open: 0, ..Limits::for_connections(64) };
    let config = Config { reports_strays: true, ..config(2, limits) };
    let now = simoom_io::Instant::from_millis(1000);
    let (mut app, mut sent) = (Echo::default(), Sink::default());
    let [mut first, mut last] = [(); 2].map(|()| {
        let mut stack = simoom_tcp::Stack::new(config.clone(), now);
        stack.listen(simoom_tcp::testing::pair::PORT);
        stack
    });
    let syn = Forged::syn(1000, 1);
    first.receive(now, &[Packet(&[&syn.frame(&[])])], &mut app, &mut sent);
    let ack = syn.completing(&sent.0.pop().expect("a SYN-ACK"));
    let overtaking = Forged { seq: ack.seq.wrapping_add(10), ..ack };
    let dead = Forged { source_port: 1001, ack: 70_000, ..ack };
    for (segment, text, resets) in [(overtaking, &b"text"[..], 0), (dead, b"text", 1)] {
        let frame = segment.frame(text);
        let strays = first.receive(now, &[Packet(&[&frame])], &mut app, &mut sent);
        assert_eq!((strays, sent.0.len()), (1, 0));
        last.refuse(now, Packet(&[&frame]), &mut sent);
        assert_eq!(sent.0.drain(..).count(), resets);
    }
    let (_, drops) = last.counters();
    assert_eq!((drops.drop_no_cookie, drops.drop_no_listener), (1, 1));
}

/// A stack that accepts no more still completes the handshake of a peer that has the SYN-ACK, with
/// a cookie or not.
#[test]
fn a_handshake_under_way_completes_after_the_stack_has_stopped_accepting() {
    for half_open in [0, 64] {
        let mut scene = Scene::new(Limits { half_open, ..Limits::for_connections(64) });
        let syn = Forged::syn(1000, 1);
        assert!(!scene.pair.server.stack.is_opening());
        let answer = scene.attack(&syn.frame(&[]));
        scene.pair.server.stack.stop_accepting();
        assert!(scene.pair.server.stack.is_opening());
        scene.attack(&syn.completing(&answer[0]).frame(&[]));
        assert_eq!(scene.counts().0.passive_opens, 1, "half-open: {half_open}");
        scene.attack(&Forged::syn(1001, 1).frame(&[]));
        assert_eq!((scene.counts().0.syn_acks_sent, scene.counts().0.resets_sent), (1, 1));
    }
}

/// A service is reached only on its own address and port, though the stack has the address for
/// another service.
#[test]
fn a_port_is_open_only_at_its_places() {
    let server = config(2, Limits::for_connections(64));
    let own = server.addresses[0].address;
    let port = Forged::syn(1, 1).port;
    for (listen_addresses, is_open) in [
        (vec![], true),
        (vec![(own, port)], true),
        (vec![(own, port + 1)], false),
        (vec![(Address::from_v4([198, 18, 7, 1]), port)], false),
    ] {
        let server = Config { listen_addresses: listen_addresses.clone(), ..server.clone() };
        let client = config(1, Limits::for_connections(64));
        let pair = Pair::new(client, server, Quality::default(), 1, Echo::default);
        let mut scene = Scene { pair, random: Random::new(1) };
        let answer = scene.attack(&Forged::syn(1000, 1).frame(&[]));
        assert_eq!(scene.counts().0.syn_acks_sent, u64::from(is_open), "{listen_addresses:?}");
        assert_eq!(scene.counts().0.resets_sent, u64::from(!is_open), "{listen_addresses:?}");
        assert_eq!(answer.len(), 1);
    }
}

#[test]
fn syn_flood() {
    let mut scene = Scene::new(Limits { half_open: 32, ..Limits::for_connections(64) });
    let mut flooded = 0u32;
    let mut flood = |scene: &mut Scene| {
        for _ in 0..50 {
            flooded += 1;
            let [_, _, c, d] = flooded.to_be_bytes();
            let syn =
                Forged { source: Address::from_v4([198, 19, c, d]), ..Forged::syn(1000, flooded) };
            scene.attack(&syn.frame(&[]));
        }
        assert!(scene.ownership().half_open <= 32);
    };
    // The client is there first: its connection does not suffer.
    scene.serve(|scene| {
        if scene.ownership().connections > 0 {
            flood(scene);
        }
    });
    let (counters, drops) = scene.counts();
    assert!(counters.syn_cookies_sent > 500 && drops.drop_half_open_full == 0, "{counters:?}");
    assert_eq!(scene.ownership().half_open, 32);
    // A client that comes in the middle of it bears a cookie, and is served at once.
    scene.serve(flood);
    let counters = scene.counts().0;
    assert_eq!((counters.syn_cookies_received, counters.half_open_expired), (1, 0), "{counters:?}");
    scene.settle();
    assert!(scene.counts().0.half_open_expired >= 32);
}

#[test]
fn connections_hoarded() {
    let mut scene = Scene::new(Limits { connections: 8, ..Limits::for_connections(64) });
    for port in 0..7 {
        scene.handshake(Forged::syn(1000 + port, 9));
    }
    // One block is left, for the client. Other SYNs get no answer while it is served.
    scene.serve(|scene| {
        if scene.ownership().connections == 8 {
            assert_eq!(scene.attack(&Forged::syn(2000, 9).frame(&[])), [[0u8; 0]; 0]);
        }
    });
    assert!(scene.counts().1.drop_connections_full > 0);
}

#[test]
fn connections_hoarded_from_one_network() {
    let limits =
        Limits { connections: 8, connections_per_prefix: 4, ..Limits::for_connections(64) };
    let mut scene = Scene::new(limits);
    let hoarder =
        |host: u8| Forged { source: Address::from_v4([198, 19, 7, host]), ..Forged::syn(1000, 9) };
    for host in 0..4 {
        scene.handshake(hoarder(host));
    }
    // Another address of the same network gets nothing more; a client from elsewhere is served.
    scene.serve(|scene| assert_eq!(scene.attack(&hoarder(200).frame(&[])), [[0u8; 0]; 0]));
    let (counters, drops) = scene.counts();
    assert!(drops.drop_prefix_full > 0 && drops.drop_connections_full == 0, "{drops:?}");
    assert_eq!(counters.passive_opens, 5);
    assert_eq!(scene.ownership().counted_by_prefix, scene.ownership().connections);
}

/// Spoofed segments of the client's connection, their numbers strewn so that each window is met.
fn blind(flags: Flags, text: &[u8], per_ms: u32) -> (Counters, Drops) {
    let mut scene = Scene::new(Limits::for_connections(64));
    let mut seq = 0u32;
    scene.serve(|scene| {
        let is_open = scene.pair.server.stack.inspect(80, VICTIM_PORT).is_some();
        for _ in 0..if is_open { per_ms } else { 0 } {
            seq = seq.wrapping_add(60_013);
            let (syn, ack) = (Forged::syn(VICTIM_PORT, seq), scene.random.next_u64() as u32);
            let forged = Forged { source: Address::from_v4(CLIENT), ack, flags, ..syn };
            scene.attack(&forged.frame(text));
        }
    });
    scene.settle();
    scene.counts()
}

#[test]
fn blind_reset() {
    let (counters, drops) = blind(Flags::RST, &[], 1200);
    assert!(drops.drop_outside_window > 1000 && drops.drop_blind_reset > 0, "{drops:?}");
    assert!(counters.challenge_acks > 0 && counters.closed_reset_by_peer == 0);
}

#[test]
fn blind_syn() {
    let (counters, drops) = blind(Flags::SYN, &[], 1200);
    assert!(drops.drop_blind_syn > 1000, "{drops:?}");
    // Challenged wherever its number lies, and all of that within the limit.
    let Counters { challenge_acks, challenge_acks_suppressed, .. } = counters;
    assert!(challenge_acks + challenge_acks_suppressed >= drops.drop_blind_syn, "{drops:?}");
    assert!(challenge_acks > 0 && challenge_acks < challenge_acks_suppressed, "{counters:?}");
    assert_eq!(counters.closed_reset_by_peer, 0);
}

#[test]
fn blind_data() {
    let (counters, drops) = blind(Flags::ACK, b"evil", 3000);
    assert!(drops.drop_outside_window > 1000 && drops.drop_bad_ack > 0, "{drops:?}");
    assert_eq!(counters.closed_finished, 1);
}

#[test]
fn one_byte_a_segment() {
    let mut scene = Scene::new(Limits::for_connections(64));
    let mut attacker = scene.handshake(Forged::syn(1000, 9));
    let mut sent = 0;
    scene.serve(|scene| {
        for byte in stream_bytes(sent, 20) {
            scene.attack(&attacker.frame(&[byte]));
            attacker.seq = attacker.seq.wrapping_add(1);
        }
        sent += 20;
        // It never acknowledges the echo: what is queued for it stays within its share of the pool.
        assert!(scene.ownership().send_chunks <= 64 + 64, "{:?}", scene.ownership());
    });
    assert!(sent > 1000);
    scene.settle();
    assert_eq!(scene.counts().0.closed_timed_out, 1);
}

#[test]
fn tiny_mss() {
    let mut scene = Scene::new(Limits::for_connections(64));
    let options = Options { mss: Some(1), timestamps: Some((1, 0)), ..Options::default() };
    let attacker = scene.handshake(Forged { options, ..Forged::syn(1000, 9) });
    let options = Options { timestamps: Some((1, 0)), ..Options::default() };
    let before = scene.counts().0;
    scene.attack(&Forged { options, ..attacker }.frame(&stream_bytes(0, 1400)));
    scene.pair.step();
    let after = scene.counts().0;
    let (segments, bytes) =
        (after.segments_sent - before.segments_sent, after.bytes_sent - before.bytes_sent);
    assert!(bytes >= 760 && segments <= bytes / 76 + 1, "{bytes} bytes in {segments} segments");
    scene.serve(|_| {});
}

#[test]
fn zero_window_for_ever() {
    let mut scene = Scene::new(Limits::for_connections(64));
    let mut attackers: Vec<Forged> = (0..40)
        .map(|port| scene.handshake(Forged { window: 0, ..Forged::syn(1000 + port, 9) }))
        .collect();
    let mut sent = 0;
    scene.serve(|scene| {
        // Each asks for more than it ever takes, and answers as if it probed.
        for attacker in &mut attackers {
            let text = stream_bytes(sent, 300);
            scene.attack(&attacker.frame(&text));
            attacker.seq = attacker.seq.wrapping_add(300);
        }
        sent += 300;
    });
    let (counters, _) = scene.counts();
    assert!(scene.ownership().send_chunks > 0 && counters.answer_overflow == 0);
    // They keep answering probes; the send timeout ends them all the same.
    let ended =
        scene.pair.run_until(100_000, |pair| pair.server.stack.counters().0.closed_timed_out == 40);
    let (counters, _) = scene.counts();
    assert!(ended && counters.zero_window_probes > 40, "{counters:?}");
    scene.settle();
}

#[test]
fn reassembly_of_gaps() {
    let limits = Limits { reassembly_blocks: 256, ..Limits::for_connections(64) };
    let mut scene = Scene::new(limits);
    let attackers: Vec<Forged> =
        (0..20).map(|port| scene.handshake(Forged::syn(1000 + port, 9))).collect();
    let mut gap = 1;
    scene.serve(|scene| {
        // SegmentSmack (CVE-2018-5390): a byte here and a byte there, never the first.
        for attacker in &attackers {
            for _ in 0..4 {
                gap = gap % 60_000 + 2;
                let seq = attacker.seq.wrapping_add(gap);
                scene.attack(&Forged { seq, ..*attacker }.frame(&stream_bytes(u64::from(gap), 1)));
            }
        }
        assert!(scene.ownership().reassembly_blocks <= 256);
    });
    let (counters, drops) = scene.counts();
    assert!(drops.drop_reassembly_full > 500, "{drops:?}");
    assert!(counters.out_of_order > 1000);
    for attacker in &attackers {
        scene.attack(&Forged { flags: Flags::RST, ..*attacker }.frame(&[]));
    }
    scene.settle();
}

/// CVE-2019-11477: the smallest segments, and reports that some of them have arrived and others
/// not.
#[test]
fn sack_panic() {
    let mut scene = Scene::new(Limits { flight_runs: 32, ..Limits::for_connections(64) });
    let options = Options { mss: Some(1), sack_permitted: true, ..Options::default() };
    let mut attackers: Vec<Forged> = (0..20)
        .map(|port| scene.handshake(Forged { options, ..Forged::syn(1000 + port, 9) }))
        .collect();
    for attacker in &mut attackers {
        scene.attack(&attacker.frame(&stream_bytes(0, 1400)));
        attacker.seq = attacker.seq.wrapping_add(1400);
    }
    scene.serve(|scene| {
        for attacker in &attackers {
            let sack = std::array::from_fn(|_| {
                let left = Seq(attacker.ack) + 1 + scene.random.below(800) as u32;
                (left, left + 88)
            });
            let options = Options { sack, sack_count: 3, ..Options::default() };
            scene.attack(&Forged { options, ..*attacker }.frame(&[]));
        }
        assert!(scene.ownership().flight_runs <= 32);
    });
    let (counters, _) = scene.counts();
    assert!(counters.sack_blocks_unnoted > 100, "{counters:?}");
    for attacker in &attackers {
        scene.attack(&Forged { flags: Flags::RST, ..*attacker }.frame(&[]));
    }
    scene.settle();
}

/// Forged reports of routers about the client's connection, without its sequence numbers, and about
/// others.
#[test]
fn icmp_flood() {
    let mut scene = Scene::new(Limits::for_connections(64));
    let server = config(2, Limits::for_connections(1));
    let (local, mut said) = (server.addresses[0].address, 0);
    scene.serve(|scene| {
        for _ in 0..200 {
            said += 1;
            let [.., c, d] = scene.random.next_u64().to_be_bytes();
            let remote = if said % 2 == 0 { CLIENT } else { [198, 19, c, d] };
            let message = TooBig {
                local,
                local_port: 80,
                remote: Address::from_v4(remote),
                remote_port: VICTIM_PORT,
                seq: Seq(scene.random.next_u64() as u32),
                len: 1460,
                mtu: 552,
            };
            assert_eq!(scene.attack(&message.frame(server.mac)).len(), 0, "no answer");
        }
    });
    let (counters, drops) = scene.counts();
    assert!(said > 10_000 && counters.icmp_too_big == said, "{said}, {counters:?}");
    assert_eq!((drops.drop_icmp, counters.path_mtu_lowered), (said, 0));
    scene.settle();
}

#[test]
fn segments_outside_the_window() {
    let mut scene = Scene::new(Limits::for_connections(64));
    let attacker = scene.handshake(Forged::syn(1000, 9));
    scene.serve(|scene| {
        for _ in 0..20 {
            let far = 70_000 + scene.random.below(1 << 31) as u32;
            let seq = attacker.seq.wrapping_add(far);
            scene.attack(&Forged { seq, ..attacker }.frame(&[1, 2, 3]));
        }
    });
    let (_, drops) = scene.counts();
    assert!(drops.drop_outside_window > 500, "{drops:?}");
    assert_eq!(scene.ownership().reassembly_blocks, 0);
}

#[test]
fn impossible_options() {
    let mut scene = Scene::new(Limits::for_connections(64));
    let sack = [(Seq(0), Seq(0)); 4];
    let options = Options { sack, sack_count: 4, mss: Some(1460), ..Options::default() };
    let mut sent = 0;
    scene.serve(|scene| {
        for len in [0, 1, 35, 41, 255] {
            // The length of the SACK option, and the checksum's difference with it.
            let mut frame = Forged { options, ..Forged::syn(1000, 9) }.frame(&[]);
            let at = 14 + 20 + 20 + 4 + 3;
            let checksum = u16::from_be_bytes([frame[50], frame[51]]);
            let sum = u32::from(!checksum) + u32::from(!u16::from(frame[at])) + len;
            frame[at] = len as u8;
            frame[50..52].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
            assert_eq!(scene.attack(&frame).len(), 0, "length {len}");
            sent += 1;
        }
    });
    let (_, drops) = scene.counts();
    assert_eq!((drops.drop_tcp_options, drops.drop_tcp_checksum), (sent, 0));
}

#[test]
fn rubbish() {
    let mut scene = Scene::new(Limits::for_connections(64));
    scene.serve(|scene| {
        for _ in 0..20 {
            let len = scene.random.below(200) as usize;
            let mut frame: Vec<u8> = (0..len).map(|_| scene.random.next_u64() as u8).collect();
            // Half of it gets past the EtherType.
            if len > 14 && scene.random.chance(500) {
                frame[12..14].copy_from_slice(&[8, if scene.random.chance(500) { 6 } else { 0 }]);
            }
            scene.attack(&frame);
        }
    });
    let (_, drops) = scene.counts();
    assert!(
        drops.drop_truncated > 0 && drops.drop_ethertype > 0 && drops.drop_arp > 0,
        "{drops:?}"
    );
    assert!(drops.drop_ip_header > 0, "{drops:?}");
}

#[test]
fn an_active_open_without_a_frame_leaves_nothing() {
    struct Full;
    impl Transmit for Full {
        fn transmit(&mut self, _: impl FnOnce(&mut [u8]) -> usize) -> bool {
            false
        }
    }
    let mut scene = Scene::new(Limits::for_connections(64));
    let to = simoom_tcp::Connect {
        local: simoom_tcp::wire::Address::from_v4([198, 18, 0, 2]),
        local_port: 5000,
        remote: simoom_tcp::wire::Address::from_v4(CLIENT),
        remote_port: 80,
        link: Some(simoom_tcp::wire::Link::default()),
        token: 77,
    };
    let now = scene.pair.now;
    let refused = scene.pair.server.stack.connect(now, &to, &mut Full);
    assert_eq!(refused, Err(simoom_tcp::ConnectError::NoFrame));
    assert_eq!(scene.ownership(), OwnershipCounts::default());
    scene.serve(|_| {});
    scene.settle();
    let (token, ..) = scene.pair.server.app.closed[0];
    assert_eq!(token, 0, "a passive open gets no other connection's token");
}

#[test]
fn rfc_9293_section_3_9_1_1_an_open_to_an_address_that_no_host_has_is_refused() {
    let mut scene = Scene::new(Limits::for_connections(64));
    for (remote, port) in [
        ("224.0.0.1", 80),
        ("255.255.255.255", 80),
        ("0.0.0.0", 80),
        ("127.0.0.1", 80),
        ("ff02::1", 80),
        ("::", 80),
        ("198.18.0.1", 0),
    ] {
        let to = simoom_tcp::Connect {
            local: Address::from_v4([198, 18, 0, 2]),
            local_port: 5000,
            remote: Address::from(remote.parse::<std::net::IpAddr>().expect("an address")),
            remote_port: port,
            link: Some(simoom_tcp::wire::Link::default()),
            token: 0,
        };
        let (now, server) = (scene.pair.now, &mut scene.pair.server);
        let opened = server.stack.connect(now, &to, &mut server.out);
        assert_eq!(opened, Err(simoom_tcp::ConnectError::NoHost), "{remote}, port {port}");
    }
    assert_eq!(scene.ownership(), OwnershipCounts::default());
}
