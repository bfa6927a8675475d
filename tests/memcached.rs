//! Simoom beside an installed memcached: both are sent the same randomised requests, in the same pieces, and must give
//! the same answers, byte for byte, but for cas uniques, the clock's last second and what is listed in
//! [`differences`].
//!
//! The memcached taken is the one in the path; SIMOOM_TEST_MEMCACHED names another. A seed is printed;
//! SIMOOM_TEST_SEED repeats it.

#![allow(clippy::print_stdout, reason = "the seed and what was compared are seen in a test's output")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "common/mod.rs"]
mod common;
#[path = "memcached/differences.rs"]
mod differences;
#[path = "memcached/peer.rs"]
mod peer;
#[path = "memcached/requests.rs"]
mod requests;

use peer::{Memcached, Peer};
use requests::Random;
use simoom::config::{Endpoint, Serve, ServeOptions, usable_cores};
use simoom::serve::Server;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Simoom over kernel sockets on loopback.
fn simoom() -> Server {
    let options = ServeOptions {
        memcached: Some(Endpoint { address: Some(LOOPBACK), port: 0 }),
        connections: Some(64),
        ..ServeOptions::default()
    };
    let cores = usable_cores().unwrap();
    simoom::serve::start(&Serve::resolve(options, &cores[..1]).unwrap()).unwrap()
}

/// A request that this version of memcached takes for what Simoom does.
fn next(random: &mut Random, version: &str) -> Vec<u8> {
    loop {
        let request = requests::text(random);
        if differences::is_understood(version, &request) {
            return request;
        }
    }
}

fn seed() -> u64 {
    let given = std::env::var("SIMOOM_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("SIMOOM_TEST_SEED={seed}");
    seed
}

/// Runs `compare` with connections to both, and the version of memcached.
fn beside(compare: impl FnOnce(Peer, Peer, &str)) {
    let Some(memcached) = Memcached::start() else { return };
    let server = simoom();
    let ours = Peer::connect(server.addresses[0]);
    let theirs = Peer::connect(memcached.address());
    compare(ours, theirs, memcached.version());
    server.stop(Duration::from_secs(5)).unwrap();
}

#[test]
fn each_text_request_gets_the_answer_that_memcached_gives() {
    beside(|mut ours, mut theirs, version| {
        let mut random = Random::new(seed());
        let mut requests = Vec::new();
        for round in 0..6000 {
            let request = next(&mut random, version);
            let (mine, other) = (ours.ask(&request), theirs.ask(&request));
            requests.push(request.clone());
            requests.drain(..requests.len().saturating_sub(60));
            let both_refuse = || differences::is_refusal(&mine) && differences::is_refusal(&other);
            let is_known =
                || differences::may_differ(&request, false) || differences::is_old(version) && both_refuse();
            if mine != other && !is_known() {
                fail(version, round, &requests, &mine, &other);
            }
        }
    });
}

/// What differs, with the requests that led there, long values cut.
fn fail(version: &str, round: usize, requests: &[Vec<u8>], ours: &[u8], theirs: &[u8]) -> ! {
    let cut = |bytes: &[u8]| bytes[..bytes.len().min(300)].escape_ascii().to_string();
    let key = |request: &[u8]| request.split(|byte| *byte == b' ').nth(1).map(|key| key.trim_ascii().to_vec());
    let last = requests.last().and_then(|request| key(request));
    let shows =
        |request: &&Vec<u8>| requests.len() < 40 || last.is_none() || key(request) == last || request[0] == b'g';
    let about_it = requests.iter().filter(shows);
    let requests: Vec<String> = about_it.map(|request| cut(request)).collect();
    let at = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count().saturating_sub(20);
    panic!(
        "round {round}, behind\n  {}\n  simoom    …{}\n  memcached …{} ({version})",
        requests.join("\n  "),
        cut(&ours[at..]),
        cut(&theirs[at..])
    )
}

#[test]
fn pipelines_in_any_pieces_get_the_answers_that_memcached_gives() {
    beside(|mut ours, mut theirs, version| {
        let mut random = Random::new(seed());
        for round in 0..150 {
            let mut pipeline = Vec::new();
            while pipeline.len() < 30 {
                let request = next(&mut random, version);
                let (mine, other) = (ours.ask(&request), theirs.ask(&request));
                let may_differ = mine != other
                    || differences::may_differ(&request, true)
                    || differences::is_old(version) && differences::is_refusal(&mine);
                if !may_differ {
                    pipeline.push(request);
                }
            }
            let cuts = requests::cuts(&mut random);
            let (mine, other) = (ours.pipeline(&pipeline, &cuts), theirs.pipeline(&pipeline, &cuts));
            if mine != other {
                fail(version, round, &pipeline, &mine, &other);
            }
        }
    });
}

#[test]
fn binary_packets_get_the_answers_that_memcached_gives() {
    beside(|mut ours, mut theirs, version| {
        let mut random = Random::new(seed());
        let mut packets = Vec::new();
        for round in 0..4000 {
            let packet = requests::packet(&mut random);
            let is_version = packet[1] == 0x0b && packet[8..12] == [0; 4];
            let (mine, other) = (ours.exchange(&packet), theirs.exchange(&packet));
            packets.push(packet.clone());
            packets.drain(..packets.len().saturating_sub(30));
            if mine != other && !(is_version && differences::is_old(version)) {
                fail(version, round, &packets, &mine, &other);
            }
        }
    });
}

/// The stats that monitoring reads have memcached's names and types.
#[test]
fn stats_have_the_names_and_types_that_memcached_gives() {
    beside(|mut ours, mut theirs, _| {
        let (mine, other) = (ours.ask(b"stats\r\n"), theirs.ask(b"stats\r\n"));
        let read = |answer: &[u8]| -> Vec<(String, String)> {
            let text = String::from_utf8(answer.to_vec()).unwrap();
            let lines = text.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
            lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let theirs = read(&other);
        let kind = |value: &str| match value.split_once('.') {
            Some((whole, part)) if whole.parse::<u64>().is_ok() && part.parse::<u64>().is_ok() => "decimal",
            None if value.parse::<u64>().is_ok() => "integer",
            _ => "text",
        };
        let mine = read(&mine);
        for (name, value) in mine.iter().filter(|(name, _)| name != "simoom_version") {
            let Some((_, other)) = theirs.iter().find(|(known, _)| known == name) else {
                panic!("memcached has no {name}");
            };
            assert_eq!(kind(value), kind(other), "{name}: {value}, {other}");
        }
        for name in [
            "pid",
            "uptime",
            "time",
            "version",
            "pointer_size",
            "rusage_user",
            "rusage_system",
            "curr_connections",
            "total_connections",
            "cmd_get",
            "cmd_set",
            "cmd_flush",
            "cmd_touch",
            "get_hits",
            "get_misses",
            "delete_misses",
            "delete_hits",
            "incr_misses",
            "incr_hits",
            "decr_misses",
            "decr_hits",
            "cas_misses",
            "cas_hits",
            "cas_badval",
            "touch_hits",
            "touch_misses",
            "bytes_read",
            "bytes_written",
            "limit_maxbytes",
            "accepting_conns",
            "threads",
            "bytes",
            "curr_items",
            "total_items",
            "expired_unfetched",
            "evicted_unfetched",
            "evictions",
            "reclaimed",
        ] {
            assert!(mine.iter().any(|(known, _)| known == name), "{name} is missing");
        }
    });
}
