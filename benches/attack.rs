//! Downloads during attacks: a SYN flood from spoofed sources, and slow-loris.
//!
//!     cargo bench --bench attack [-- SECONDS]
//!
//! The attacker shares the client's core and its end of the veth pair. Each download uses a new
//! connection and is compared with the file. Prints the download times and the server's memory: at
//! the start, in the middle of the attack, when all reserved memory has been touched once, and at
//! the end. Fails if a client waits for a second, or if memory still grows after the middle. Needs
//! root.

#![allow(clippy::print_stdout, reason = "it prints its measurements")]

#[path = "../tests/common/mod.rs"]
mod common;
mod testbed;

use common::{Network, Process, need_root};
use pnet::datalink::{self, Channel, DataLinkSender};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use testbed::{SIMOOM_PORT, TIMEOUT, content, median};

/// SYNs a second.
const RATE: u64 = 300_000;
/// Connections that send one byte of a request each second.
const SLOW_CLIENTS: usize = 5000;
/// Size of the requested file, in bytes.
const FILE: usize = 64 << 10;
/// Destination of the SYN-ACKs: no host has this MAC address.
const ATTACKER: [u8; 6] = [2, 0, 0, 0, 6, 6];
/// Limit of a client's waiting time.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Limit of the growth of the server's memory from the middle of an attack on.
const GROWTH_MAX: u64 = 4 << 20;

fn main() {
    if !need_root() {
        return;
    }
    let is_quick = std::env::args().any(|word| word == "--quick");
    let chosen = std::env::args().find_map(|word| word.parse().ok());
    let seconds = Duration::from_secs(chosen.unwrap_or(if is_quick { 1 } else { 15 }));
    raise_open_files();
    let mut fine = under("no attack", seconds / 2, |_, ends| wait_for(ends));
    fine &= under("SYN flood", seconds, flood);
    fine &= under("slow-loris", seconds, slow_loris);
    assert!(fine || is_quick, "a client waited too long, or memory grew");
}

/// The server inherits the limit.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .expect("a limit may be raised to its maximum");
}

/// Downloads repeatedly while `attack` runs. Returns whether the limits were kept. The attack
/// returns a description of what it sent.
fn under(
    name: &str,
    lasts: Duration,
    attack: impl Fn(&Network, &AtomicBool) -> String + Sync,
) -> bool {
    let network = Network::new(1).expect("a network of our own");
    let root = tempfile::tempdir().expect("a directory of our own");
    let file = content(FILE);
    std::fs::write(root.path().join("file"), &file).expect("room for a file");
    let server = testbed::start_simoom(&network, root.path(), "--connections 20000");
    let (before, ends) = (resident_bytes(&server), AtomicBool::new(false));
    let (told, times, middle) = std::thread::scope(|scope| {
        let attacker = scope.spawn(|| network.client.run(|| attack(&network, &ends)));
        let mut times = network.client.run(|| downloads(&network, &file, lasts / 2));
        let middle = resident_bytes(&server);
        times.extend(network.client.run(|| downloads(&network, &file, lasts / 2)));
        ends.store(true, Ordering::Relaxed);
        (attacker.join().expect("the attacker ends in peace"), times, middle)
    });
    let after = resident_bytes(&server);
    let slowest = times.iter().copied().fold(0.0, f64::max);
    let (count, typical) = (times.len(), median(times));
    println!(
        "{name:16} {count:6} downloads   median {typical:7.2} ms   slowest {slowest:7.1} ms   {told}"
    );
    println!(
        "{:16} memory in use: {} KiB, then {}, then {}",
        "",
        before >> 10,
        middle >> 10,
        after >> 10
    );
    slowest <= WAIT_MAX.as_secs_f64() * 1e3 && after.saturating_sub(middle) <= GROWTH_MAX
}

/// The duration of each download in milliseconds.
fn downloads(network: &Network, file: &[u8], lasts: Duration) -> Vec<f64> {
    let (at, start) = (SocketAddr::new(network.address(1), SIMOOM_PORT), Instant::now());
    let mut times = Vec::new();
    while start.elapsed() < lasts || times.is_empty() {
        let begin = Instant::now();
        let mut stream = TcpStream::connect_timeout(&at, TIMEOUT).expect("the server answers");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a time-out can be set");
        stream
            .write_all(b"GET /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .expect("it is asked");
        let mut got = Vec::with_capacity(FILE + 1024);
        stream.read_to_end(&mut got).expect("the answer comes");
        assert!(got.ends_with(file), "what came is not the file");
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(10));
    }
    times
}

fn resident_bytes(server: &Process) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", server.id())).expect("the server runs");
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
}

fn wait_for(ends: &AtomicBool) -> String {
    while !ends.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(10));
    }
    String::new()
}

/// Sends SYNs from all of 198.19.0.0/16, at [`RATE`].
fn flood(network: &Network, ends: &AtomicBool) -> String {
    let (IpAddr::V4(server), mut sender) = (network.address(1), raw_sender()) else {
        unreachable!("host 1 has an IPv4 address")
    };
    let mac = |name| simoom::netns::interface(name).expect("it was made").mac;
    let server_mac = network.server.run(|| mac("s0"));
    let (start, mut sent, mut refused) = (Instant::now(), 0u64, 0u64);
    while !ends.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_micros() as u64 * RATE / 1_000_000).saturating_sub(sent);
        if due == 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
        for _ in 0..due.min(256) {
            let frame = syn(server_mac, ATTACKER, server, sent);
            // A full TX ring drops it.
            if !matches!(sender.send_to(&frame, None), Some(Ok(()))) {
                refused += 1;
            }
            sent += 1;
        }
    }
    let rate = sent as f64 / start.elapsed().as_secs_f64();
    format!("{sent} SYNs, {rate:.0} a second, {refused} refused by the device")
}

fn raw_sender() -> Box<dyn DataLinkSender> {
    let interface = datalink::interfaces()
        .into_iter()
        .find(|interface| interface.name == "c0")
        .expect("it was made");
    match datalink::channel(&interface, datalink::Config::default()).expect("a raw socket") {
        Channel::Ethernet(sender, _) => sender,
        _ => panic!("c0 is an Ethernet interface"),
    }
}

/// The SYN with this index, as Linux sends it except for the options.
fn syn(to_mac: [u8; 6], from_mac: [u8; 6], to: Ipv4Addr, index: u64) -> [u8; 58] {
    let mut frame = [0; 58];
    let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    frame[..6].copy_from_slice(&to_mac);
    frame[6..12].copy_from_slice(&from_mac);
    frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6]);
    frame[26..30].copy_from_slice(&[198, 19, mixed[0], mixed[1]]);
    frame[30..34].copy_from_slice(&to.octets());
    frame[34..36].copy_from_slice(&[mixed[2] | 4, mixed[3]]);
    frame[36..38].copy_from_slice(&SIMOOM_PORT.to_be_bytes());
    frame[38..42].copy_from_slice(&mixed[4..8]);
    frame[46..50].copy_from_slice(&[0x60, 2, 0xff, 0xff]);
    frame[54..58].copy_from_slice(&[2, 4, 5, 180]);
    let sum = |bytes: &[u8]| {
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>()
    };
    let header = fold(sum(&frame[14..34]));
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    let segment = fold(sum(&frame[26..34]) + 6 + 24 + sum(&frame[34..58]));
    frame[50..52].copy_from_slice(&segment.to_be_bytes());
    frame
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Sends [`SLOW_CLIENTS`] endless requests, a byte a second each. Reconnects when the server
/// closes.
fn slow_loris(network: &Network, ends: &AtomicBool) -> String {
    let at = SocketAddr::new(network.address(1), SIMOOM_PORT);
    let connect = || {
        let mut stream = TcpStream::connect_timeout(&at, TIMEOUT).ok()?;
        stream.write_all(b"GET /file HTTP/1.1\r\nX: ").ok()?;
        Some(stream)
    };
    let mut slow_clients: Vec<Option<TcpStream>> = Vec::new();
    let (mut bytes, mut reconnects, mut max) = (0u64, 0u64, 0);
    while !ends.load(Ordering::Relaxed) {
        let begin = Instant::now();
        if slow_clients.len() < SLOW_CLIENTS {
            slow_clients.extend(
                (slow_clients.len()..SLOW_CLIENTS)
                    .map_while(|_| (!ends.load(Ordering::Relaxed)).then(connect)),
            );
        }
        for client in &mut slow_clients {
            if client.as_mut().is_some_and(|stream| stream.write_all(b"x").is_ok()) {
                bytes += 1;
            } else {
                reconnects += 1;
                *client = connect();
            }
        }
        max = max.max(slow_clients.iter().flatten().count());
        std::thread::sleep(Duration::from_secs(1).saturating_sub(begin.elapsed()));
    }
    format!("{max} open at most, {bytes} bytes sent, {reconnects} reconnects")
}
