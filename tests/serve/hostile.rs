//! What no honest client sends, past the client's kernel: each kind has its counter, memory stays
//! bounded, and others are served meanwhile and after.

use crate::common::wait_until;
use crate::site::{Plan, Site, Transport};
use crate::wire::{ACK, FIN, IP, RST, SYN, Segment, TCP, Wire, seal};
use simoom_io::testing::Random;
use std::net::Ipv4Addr;

/// Where the random numbers begin.
const SEED: u64 = 0x5eed_0f51_0000_0001;

/// Changes something in a frame.
type Change = fn(&mut Vec<u8>);

/// What is done to a good segment, and the counter that says so.
const WRONG: [(&str, Change); 13] = [
    ("steer_fragments_dropped", |frame| frame[IP + 6] = 0x20),
    ("steer_truncated", |frame| frame.truncate(TCP + 2)),
    ("drop_ip_header", |frame| frame[IP + 2..IP + 4].copy_from_slice(&[0, 10])),
    ("drop_truncated", |frame| frame[IP + 2..IP + 4].copy_from_slice(&[9, 9])),
    ("drop_ip_checksum", |frame| frame[IP + 10] ^= 0x55),
    ("steer_martians_dropped", |frame| {
        frame[IP + 12..IP + 16].fill(255);
        seal(frame);
    }),
    // From the server's own address.
    ("drop_ip_source", |frame| {
        frame.copy_within(IP + 16..IP + 20, IP + 12);
        seal(frame);
    }),
    ("drop_tcp_checksum", |frame| frame[TCP + 16] ^= 0x55),
    ("drop_tcp_header", |frame| {
        frame[TCP + 12] = 0x10;
        seal(frame);
    }),
    ("drop_tcp_options", |frame| {
        frame[TCP + 12] = 0x60;
        frame.splice(TCP + 20..TCP + 20, [8, 200, 0, 0]);
        frame[IP + 3] += 4;
        seal(frame);
    }),
    ("drop_tcp_flags", |frame| {
        frame[TCP + 13] = SYN | FIN;
        seal(frame);
    }),
    ("drop_tcp_flags", |frame| {
        frame[TCP + 13] = 0;
        seal(frame);
    }),
    ("drop_no_listener", |_| {}),
];

#[test]
fn each_kind_of_wrong_frame_has_its_counter() {
    let Some(site) = Site::start(Transport::Xdp) else { return };
    let mut wire = Wire::new(&site);
    for (counter, change) in WRONG {
        let before = site.counter(counter);
        let mut frame =
            Segment { payload: b"GET / HTTP/1.1\r\n".to_vec(), ..wire.segment(4000) }.frame(&wire);
        change(&mut frame);
        if frame.len() > TCP && !matches!(counter, "drop_ip_checksum" | "drop_tcp_checksum") {
            reseal_ip(&mut frame);
        }
        for _ in 0..10 {
            wire.send(&frame);
        }
        site.wait_for(counter, before + 10);
        site.serves_others();
    }
}

/// Makes the IP header's checksum right, so that what is wrong is something else.
fn reseal_ip(frame: &mut [u8]) {
    let mut header = frame.to_vec();
    header.resize(header.len().max(TCP + 20), 0);
    seal(&mut header);
    frame[IP + 10..IP + 12].copy_from_slice(&header[IP + 10..IP + 12]);
}

#[test]
fn segments_for_anothers_connection_change_nothing() {
    let Some(site) = Site::start(Transport::Xdp) else { return };
    let mut wire = Wire::new(&site);
    let mut client = site.connect();
    let body = site.content("/64k");
    client.expect("/64k", &body);
    let port = client.stream.local_addr().unwrap().port();
    let mut random = Random::new(SEED);
    for flags in [ACK, RST, SYN, ACK | FIN] {
        // A SYN is challenged wherever its number lies (RFC 5961 §4.2).
        let dropped = if flags == SYN { "drop_blind_syn" } else { "drop_outside_window" };
        let before = site.counter(dropped);
        for _ in 0..100 {
            let (seq, ack) = (random.next_u64() as u32, random.next_u64() as u32);
            let payload =
                if flags == ACK { b"GET /evil HTTP/1.1\r\n\r\n".to_vec() } else { Vec::new() };
            let segment = Segment { seq, ack, flags, payload, ..wire.segment(port) };
            wire.send(&segment.frame(&wire));
        }
        // One in some hundred thousand may be in the window by chance.
        site.wait_for(dropped, before + 99);
        client.expect("/64k", &body);
    }
    assert_eq!(site.counter("http_not_found"), 0);
}

/// The server's memory that is in use, in bytes.
pub(crate) fn resident_bytes(site: &Site) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", site.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

/// Sends so many frames of noise: random bytes, random bytes behind good headers, and good segments
/// with a few bytes changed at random.
pub(crate) fn noise(wire: &mut Wire, random: &mut Random, count: usize) {
    for index in 0..count {
        let port = 1 + random.index(65_535) as u16;
        let payload: Vec<u8> = (0..random.index(200)).map(|_| random.next_u64() as u8).collect();
        let (seq, ack, flags) =
            (random.next_u64() as u32, random.next_u64() as u32, random.next_u64() as u8);
        let mut frame = Segment { seq, ack, flags, payload, ..wire.segment(port) }.frame(wire);
        match index % 3 {
            0 => frame[12..].iter_mut().for_each(|byte| *byte = random.next_u64() as u8),
            // The addresses and the port stay, or the kernel would have it.
            1 => frame[TCP + 4..].iter_mut().for_each(|byte| *byte = random.next_u64() as u8),
            _ => {
                for _ in 0..=random.index(3) {
                    let at = IP + random.index(frame.len() - IP);
                    frame[at] = random.next_u64() as u8;
                }
            }
        }
        if index % 6 == 1 {
            seal(&mut frame);
        }
        wire.send(&frame);
    }
}

#[test]
fn noise_costs_no_memory_and_nobody_else_anything() {
    let Some(site) = Site::start(Transport::Xdp) else { return };
    println!("seed {SEED:#x}");
    let (mut wire, mut random) = (Wire::new(&site), Random::new(SEED));
    let mut client = site.connect();
    let body = site.content("/64k");
    // At first all frames of the packet memory are used in turn.
    noise(&mut wire, &mut random, 20_000);
    client.expect("/64k", &body);
    let before = resident_bytes(&site);
    for _ in 0..20 {
        noise(&mut wire, &mut random, 2_000);
        client.expect("/64k", &body);
        site.serves_others();
    }
    let grown = resident_bytes(&site).saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more after 40,000 frames");
    for counter in [
        "drop_tcp_checksum",
        "drop_tcp_header",
        "drop_tcp_options",
        "drop_tcp_flags",
        "drop_no_listener",
    ] {
        assert!(site.counter(counter) > 0, "{counter}:\n{}", site.metrics());
    }
    assert!(site.counter("resets_sent") < 60_000, "resets are bounded");
}

#[test]
fn a_flood_of_syns_is_bounded_and_newcomers_are_served_meanwhile() {
    const FLOOD: u32 = 5000;
    const CONNECTIONS: u64 = 500;
    let Some(site) =
        Plan::new(Transport::Xdp).with(&format!("--connections {CONNECTIONS}")).start()
    else {
        return;
    };
    let mut wire = Wire::new(&site);
    let mut client = site.connect();
    let body = site.content("/64k");
    let newcomer = || site.connect().expect("/64k", &body);
    let before = resident_bytes(&site);
    for index in 0..FLOOD {
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 19, 0, 1)) + index);
        let syn =
            Segment { from, seq: index, ack: 0, flags: SYN, ..wire.segment(1024 + index as u16) };
        wire.send(&syn.frame(&wire));
        if index % 500 == 0 {
            client.expect("/64k", &body);
            newcomer();
        }
    }
    let answered = || site.counter("syn_cookies_sent");
    wait_until("the SYNs that find no place are answered by cookies", crate::TEST_TIMEOUT, || {
        answered() >= u64::from(FLOOD) - CONNECTIONS
            && site.counter("connections_open") <= CONNECTIONS
    });
    client.expect("/64k", &body);
    newcomer();
    wait_until("newcomers came by cookies", crate::TEST_TIMEOUT, || {
        site.counter("syn_cookies_received") >= 1
    });
    let grown = resident_bytes(&site).saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more after {FLOOD} SYNs");
}

#[test]
fn slow_loris_costs_its_connections_and_nobody_else_anything() {
    const LORISES: usize = 500;
    let flags = "--connections 600 --header-timeout 600s";
    let Some(site) = Plan::new(Transport::Xdp).with(flags).start() else { return };
    let body = site.content("/64k");
    let head = b"GET /12 HTTP/1.1\r\nHost: site\r\nX: ";
    let mut client = site.connect();
    client.expect("/64k", &body);
    let mut lorises: Vec<_> = (0..LORISES).map(|_| site.connect()).collect();
    lorises.iter_mut().for_each(|loris| loris.send(head));
    site.wait_for("connections_open", LORISES as u64);
    let before = resident_bytes(&site);
    for _ in 0..20 {
        lorises.iter_mut().for_each(|loris| loris.send(b"x"));
        client.expect("/64k", &body);
        site.serves_others();
    }
    let grown = resident_bytes(&site).saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more for what {LORISES} dribble");
    // None of them was given up, and each has its answer once it asks in full.
    for loris in &mut lorises {
        loris.send(b"\r\n\r\n");
        loris.answer().is(200, &site.content("/12"));
    }
}
