//! Downloads over long paths: Simoom over AF_XDP, and nginx over Linux TCP, to a client over Linux
//! TCP.
//!
//!     cargo bench --bench delay [-- ROUNDS [RTT_MS...]]
//!
//! Both servers are in one namespace, behind the delaying bridge of the tests, and take turns.
//! Every download uses a new connection and is compared with the file. Times count from the SYN.
//! Prints medians and their ratio. Needs root, nginx, ip and ethtool.

#![allow(clippy::print_stdout, reason = "it prints its measurements")]

#[path = "../tests/common/mod.rs"]
mod common;
mod testbed;

use common::{Network, Path};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use testbed::{Arguments, NGINX_PORT, SIMOOM_PORT, TIMEOUT, content, median};

const SIZES: [(&str, usize); 3] = [("64 KB", 64 << 10), ("1 MB", 1 << 20), ("10 MB", 10 << 20)];
/// Ports of the servers, in the order of measurement.
const TARGETS: [u16; 2] = [NGINX_PORT, SIMOOM_PORT];

fn main() {
    let Some(Arguments { numbers, is_quick }) = testbed::arguments() else { return };
    let rounds = numbers.first().copied().unwrap_or(if is_quick { 1 } else { 9 });
    let round_trips = match numbers.get(1..) {
        Some(chosen @ [_, ..]) => chosen.to_vec(),
        _ if is_quick => vec![10],
        _ => vec![10, 100],
    };
    println!("# {rounds} rounds in turn; medians in ms since the SYN");
    println!(
        "RTT ms   file            nginx first     all   simoom first     all   ratio first    all"
    );
    for rtt_ms in round_trips {
        measure(rtt_ms, rounds, if is_quick { &SIZES[..1] } else { &SIZES });
    }
}

fn measure(rtt_ms: u64, rounds: u64, sizes: &[(&str, usize)]) {
    let path = Path { delay: Duration::from_micros(rtt_ms * 500), ..Path::default() };
    let network = Network::through(path).expect("a network of our own");
    let root = tempfile::tempdir().expect("a directory of our own");
    let files: Vec<Vec<u8>> = sizes.iter().map(|(_, len)| content(*len)).collect();
    for (bytes, (_, len)) in files.iter().zip(sizes) {
        std::fs::write(root.path().join(len.to_string()), bytes).expect("room for the files");
    }
    let _servers = [
        common::nginx(&network, root.path(), NGINX_PORT),
        testbed::start_simoom(&network, root.path(), ""),
    ];
    for ((name, len), bytes) in sizes.iter().zip(&files) {
        let mut times = [(); 2].map(|()| [Vec::new(), Vec::new()]);
        for _ in 0..rounds {
            for (port, times) in TARGETS.iter().zip(&mut times) {
                let at = SocketAddr::new(network.address(1), *port);
                let (first, all) = network.client.run(|| download(at, *len, bytes));
                times[0].push(first);
                times[1].push(all);
            }
        }
        let [[nginx_first, nginx_all], [first, all]] = times.map(|both| both.map(median));
        println!(
            "{rtt_ms:6}   {name:12} {nginx_first:14.1} {nginx_all:7.1} {first:14.1} {all:7.1} {:13.2} {:6.2}",
            first / nginx_first,
            all / nginx_all
        );
    }
}

/// Milliseconds to the first byte and to the last.
fn download(at: SocketAddr, len: usize, expected: &[u8]) -> (f64, f64) {
    let start = Instant::now();
    let mut stream = TcpStream::connect_timeout(&at, TIMEOUT).expect("the server answers");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a time-out can be set");
    stream.set_nodelay(true).expect("Nagle's algorithm can be off");
    let request = format!("GET /{len} HTTP/1.1\r\nHost: far\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the request is taken");
    let mut got = vec![0; len + 1024];
    let (mut end, mut first) = (0, None);
    loop {
        let n = stream.read(&mut got[end..]).expect("the answer comes");
        end += n;
        first.get_or_insert_with(|| start.elapsed());
        let head = got[..end.min(1024)]
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map(|at| at + 4);
        if head.is_some_and(|head| end - head == len) || n == 0 {
            let all = start.elapsed();
            assert!(got[..end].ends_with(expected), "what came is not the file");
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            return (ms(first.unwrap_or(all)), ms(all));
        }
    }
}
