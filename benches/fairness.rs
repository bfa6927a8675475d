//! Two downloads that share a bottleneck: from Simoom over AF_XDP, from nginx over Linux TCP, or
//! one from each.
//!
//!     cargo bench --bench fairness [-- ROUNDS [SECONDS [MBIT [RTT_MS]]]]
//!
//! Both servers are in one namespace, behind the delaying bridge of the tests. Each download has a
//! client address of its own, to which Linux has a route with its congestion control. The second
//! begins a second after the first; bytes count from a second later on. Prints medians: what share
//! of the bottleneck each gets, Jain's index (1: equal shares; 0.5: one has all), the mean wait in
//! the queue, and the share of the frames that were lost there. Needs root, nginx, ip and ethtool.

#![allow(clippy::print_stdout, reason = "it prints its measurements")]

#[path = "../tests/common/mod.rs"]
mod common;
mod testbed;

use common::{Network, Path, run_in};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use testbed::{Arguments, FRAME_BYTES, NGINX_PORT, SIMOOM_PORT, TIMEOUT, content, median};

/// Payload bytes of a full frame.
const MSS: u64 = 1448;
/// Queues as multiples of the bandwidth-delay product.
const QUEUES: [u64; 2] = [1, 5];
/// The client's addresses, by their host numbers.
const CLIENTS: [u8; 2] = [2, 3];

/// A server and its congestion control.
type Sender = (u16, &'static str);

const PAIRS: [[Sender; 2]; 10] = [
    [(NGINX_PORT, "bbr"), (NGINX_PORT, "bbr")],
    [(SIMOOM_PORT, "bbr"), (SIMOOM_PORT, "bbr")],
    [(SIMOOM_PORT, "bbr"), (NGINX_PORT, "bbr")],
    [(NGINX_PORT, "cubic"), (NGINX_PORT, "cubic")],
    [(SIMOOM_PORT, "cubic"), (SIMOOM_PORT, "cubic")],
    [(SIMOOM_PORT, "cubic"), (NGINX_PORT, "cubic")],
    [(NGINX_PORT, "bbr"), (NGINX_PORT, "cubic")],
    [(SIMOOM_PORT, "bbr"), (NGINX_PORT, "cubic")],
    [(NGINX_PORT, "bbr"), (SIMOOM_PORT, "cubic")],
    [(SIMOOM_PORT, "bbr-lossy"), (NGINX_PORT, "cubic")],
];

fn main() {
    let Some(Arguments { numbers, is_quick }) = testbed::arguments() else { return };
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let rounds = number(0, if is_quick { 1 } else { 3 });
    let (seconds, mbit, rtt_ms) =
        (number(1, if is_quick { 1 } else { 20 }), number(2, 50), number(3, 20));
    println!("# {rounds} rounds in turn, {seconds} s at {mbit} Mbit/s and {rtt_ms} ms; medians");
    println!(
        "queue in BDP   first               second           shares        Jain  wait ms  lost %"
    );
    for queue in QUEUES {
        let bdp_bytes = mbit * 125 * rtt_ms;
        let path = Path {
            delay: Duration::from_micros(rtt_ms * 500),
            bytes_per_second: mbit * 125_000,
            queue_bytes: queue * bdp_bytes.max(FRAME_BYTES),
            ..Path::default()
        };
        let bytes = content((seconds + 5) as usize * path.bytes_per_second as usize);
        let root = tempfile::tempdir().expect("a directory of our own");
        std::fs::write(root.path().join("file"), &bytes).expect("room for the file");
        for pair in if is_quick { &PAIRS[2..3] } else { &PAIRS[..] } {
            let results: Vec<[f64; 4]> =
                (0..rounds).map(|_| measure(path, root.path(), *pair, seconds)).collect();
            let [first, second, wait_ms, lost] = [0, 1, 2, 3]
                .map(|column| median(results.iter().map(|result| result[column]).collect()));
            let jain = (first + second).powi(2) / (2.0 * (first.powi(2) + second.powi(2)));
            let [a, b] = pair.map(|(port, control)| {
                format!("{} {control}", if port == NGINX_PORT { "nginx" } else { "Simoom" })
            });
            println!(
                "{queue:12}   {a:17}   {b:14} {first:6.2} {second:6.2} {jain:11.2} {wait_ms:8.1} {:7.2}",
                lost * 100.0
            );
        }
    }
}

/// The shares of the bottleneck that both get, the mean wait in milliseconds, and the share of lost
/// frames.
fn measure(path: Path, root: &std::path::Path, pair: [Sender; 2], seconds: u64) -> [f64; 4] {
    let network = Network::through(path).expect("a network of our own");
    let [first, second] = CLIENTS.map(|host| network.address(host).to_string());
    run_in(&network.client, "ip", &["address", "add", &format!("{second}/24"), "dev", "c0"]);
    let ours = pair.iter().find(|(port, _)| *port == SIMOOM_PORT).map_or("cubic", |(_, name)| name);
    let _servers = [
        common::nginx(&network, root, NGINX_PORT),
        testbed::start_simoom(&network, root, &format!("--congestion {ours}")),
    ];
    for (client, (port, control)) in [&first, &second].into_iter().zip(pair) {
        if port == NGINX_PORT {
            let route = ["route", "add", &format!("{client}/32"), "dev", "s0", "congctl", control];
            run_in(&network.server, "ip", &route);
        }
    }
    let counts = [(); 2].map(|()| AtomicU64::new(0));
    let (mut shares, deadline) = ([0.0; 2], Instant::now() + Duration::from_secs(seconds + 3));
    std::thread::scope(|scope| {
        for (index, ((port, _), host)) in pair.into_iter().zip(CLIENTS).enumerate() {
            let (network, count) = (&network, &counts[index]);
            let at =
                [(host, 0), (1, port)].map(|(host, port)| (network.address(host), port).into());
            scope.spawn(move || network.client.run(|| download(at, count, deadline)));
            std::thread::sleep(Duration::from_secs(1));
        }
        let read = || [&counts[0], &counts[1]].map(|count| count.load(Ordering::Relaxed));
        let (before, start) = (read(), Instant::now());
        std::thread::sleep(Duration::from_secs(seconds));
        let (after, elapsed) = (read(), start.elapsed().as_secs_f64());
        let capacity = path.bytes_per_second as f64 * MSS as f64 / FRAME_BYTES as f64 * elapsed;
        shares = [0, 1].map(|index: usize| (after[index] - before[index]) as f64 / capacity);
    });
    let bridge = network.bridge.as_ref().expect("there is a bridge");
    let (taken, lost) = bridge.lanes()[0];
    let wait_ms = bridge.mean_wait().as_secs_f64() * 1e3;
    [shares[0], shares[1], wait_ms, lost as f64 / taken.max(1) as f64]
}

/// Downloads the file from one address to another, and counts the bytes, until `deadline`.
fn download([from, to]: [SocketAddr; 2], count: &AtomicU64, deadline: Instant) {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &from).expect("the client has this address");
    connect(&socket, &to).expect("the server answers");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).expect("a time-out can be set");
    let request = "GET /file HTTP/1.1\r\nHost: far\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("the request is taken");
    let mut buffer = vec![0; 64 << 10];
    while Instant::now() < deadline {
        let read = stream.read(&mut buffer).expect("the answer comes");
        assert!(read > 0, "the file ends before the measurement");
        count.fetch_add(read as u64, Ordering::Relaxed);
    }
}
