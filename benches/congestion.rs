//! Downloads over a bottleneck with a queue: Simoom over AF_XDP, and nginx over Linux TCP, each
//! with BBR and with CUBIC, to a client over Linux TCP.
//!
//!     cargo bench --bench congestion [-- ROUNDS [MEGABYTES [MBIT]]]
//!
//! Both servers are in one namespace, behind the delaying bridge of the tests, and take turns.
//! Every download uses a new connection and is compared with the file. Prints medians: seconds from
//! the SYN, the mean wait in the queue, and the frames lost there. Needs root, nginx, ip and
//! ethtool.

#![allow(clippy::print_stdout, reason = "it prints its measurements")]

#[path = "../tests/common/mod.rs"]
mod common;
mod testbed;

use common::{Network, Path};
use simoom::netns;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use testbed::{Arguments, FRAME_BYTES, NGINX_PORT, SIMOOM_PORT, TIMEOUT, content, median};

/// Round trips in milliseconds.
const ROUND_TRIPS: [u64; 2] = [10, 100];
/// Queues in full frames.
const QUEUES: [u64; 2] = [20, 1000];

fn main() {
    let Some(Arguments { numbers, is_quick }) = testbed::arguments() else { return };
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let (rounds, megabytes, mbit) = (number(0, 3), number(1, 20), number(2, 100));
    println!("# {rounds} rounds in turn, {megabytes} MB at {mbit} Mbit/s; medians");
    println!("RTT ms  queue   control   server       s   wait ms     lost   ratio of s");
    for rtt_ms in ROUND_TRIPS {
        for queue in QUEUES {
            for control in ["bbr", "cubic"] {
                if !is_quick || (rtt_ms, queue) == (10, 20) {
                    measure(rtt_ms, queue, control, rounds, megabytes as usize, mbit);
                }
            }
        }
    }
}

fn measure(rtt_ms: u64, queue: u64, control: &str, rounds: u64, megabytes: usize, mbit: u64) {
    let path = Path {
        delay: Duration::from_micros(rtt_ms * 500),
        bytes_per_second: mbit * 125_000,
        queue_bytes: queue * FRAME_BYTES,
        ..Path::default()
    };
    let bytes = content(megabytes * 1_000_000);
    let root = tempfile::tempdir().expect("a directory of our own");
    std::fs::write(root.path().join("file"), &bytes).expect("room for the file");
    let mut results = [(NGINX_PORT, Vec::new()), (SIMOOM_PORT, Vec::new())];
    for _ in 0..rounds {
        for (port, results) in &mut results {
            // A network for each, so that its counts are of this download.
            let network = Network::through(path).expect("a network of our own");
            let _servers = [
                common::nginx(&network, root.path(), NGINX_PORT),
                testbed::start_simoom(&network, root.path(), &format!("--congestion {control}")),
            ];
            let IpAddr::V4(address) = network.address(1) else { unreachable!("IPv4") };
            let choose = || netns::set_congestion_control("s0", address, 24, control);
            network.server.run(choose).expect("the kernel has this congestion control");
            let at = SocketAddr::new(network.address(1), *port);
            let seconds = network.client.run(|| download(at, &bytes));
            let bridge = network.bridge.as_ref().expect("there is a bridge");
            let wait_ms = bridge.mean_wait().as_secs_f64() * 1e3;
            results.push([seconds, wait_ms, bridge.lanes()[0].1 as f64]);
        }
    }
    let medians = results.map(|(_, results)| {
        [0, 1, 2].map(|column| median(results.iter().map(|result| result[column]).collect()))
    });
    for (name, [seconds, wait_ms, lost]) in ["nginx", "simoom"].into_iter().zip(medians) {
        println!(
            "{rtt_ms:6} {queue:6}   {control:7}   {name:6} {seconds:9.2} {wait_ms:9.1} {lost:8.0} {:12.2}",
            seconds / medians[0][0]
        );
    }
}

/// Seconds from the SYN to the last byte.
fn download(at: SocketAddr, expected: &[u8]) -> f64 {
    let start = Instant::now();
    let mut stream = TcpStream::connect_timeout(&at, TIMEOUT).expect("the server answers");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a time-out can be set");
    let request = "GET /file HTTP/1.1\r\nHost: far\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("the request is taken");
    let mut got = Vec::with_capacity(expected.len() + 1024);
    stream.read_to_end(&mut got).expect("the answer comes");
    let seconds = start.elapsed().as_secs_f64();
    assert!(got.ends_with(expected), "what came is not the file");
    seconds
}
