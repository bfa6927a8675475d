//! tshark's expert analysis of downloads over bad paths: Simoom over AF_XDP, and nginx over Linux
//! TCP.
//!
//!     cargo bench --bench capture [-- SEED]
//!
//! Both servers are in one namespace, behind the delaying and dropping bridge of the tests, and
//! send the same file in turn to a client over Linux TCP. Every download is compared with the file.
//! The client's end is captured, and all checksums are verified. Prints for both servers: segments
//! with data that arrived; segments among them that repeat an earlier one or fill a gap
//! (retransmissions); segments that repeat acknowledged data (spurious); faults, that is, malformed
//! packets and wrong checksums. A further column is from the client's counters, which are complete:
//! segments received twice (its D-SACKs). SEED selects which packets are dropped. Needs root,
//! nginx, ip, ethtool, curl and tshark.

#![allow(clippy::print_stdout, reason = "it prints its measurements")]

#[path = "../tests/common/mod.rs"]
mod common;
mod testbed;

use common::capture::{Capture, Verdict};
use common::{Network, Path, need_program, need_root};
use std::process::Command;
use std::time::Duration;
use testbed::{NGINX_PORT, SIMOOM_PORT, content};

/// Round trip in milliseconds, loss per mille in each direction, and megabytes: fewer where a
/// download takes minutes.
const PATHS: [(u64, u64, usize); 7] =
    [(1, 1, 20), (1, 10, 20), (1, 50, 10), (1, 100, 5), (10, 0, 20), (100, 0, 20), (10, 10, 20)];

fn main() {
    let is_quick = std::env::args().any(|word| word == "--quick");
    let seed = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(4);
    if !(need_root() && ["nginx", "ip", "ethtool", "curl", "tshark"].into_iter().all(need_program))
    {
        return;
    }
    println!(
        "RTT ms   loss %   MB     nginx segments retrans  spurious  twice  faults    simoom segments retrans  spurious  twice  faults"
    );
    for (rtt_ms, loss_permille, megabytes) in if is_quick { &PATHS[4..5] } else { &PATHS[..] } {
        let path = Path {
            delay: Duration::from_micros(rtt_ms * 500),
            loss_permille: *loss_permille,
            seed,
            bytes_per_second: 0,
            queue_bytes: 0,
            encapsulate: None,
        };
        let [nginx, simoom] = measure(path, megabytes << 20).map(|verdict| show(&verdict));
        println!("{rtt_ms:6} {:8.1} {megabytes:4} {nginx} {simoom}", *loss_permille as f64 / 10.0);
    }
}

fn measure(path: Path, len: usize) -> [(Verdict, u64); 2] {
    let network = Network::through(path).expect("a network of our own");
    let root = tempfile::tempdir().expect("a directory of our own");
    let bytes = content(len);
    std::fs::write(root.path().join("file"), &bytes).expect("room for the file");
    let _servers = [
        common::nginx(&network, root.path(), NGINX_PORT),
        testbed::start_simoom(&network, root.path(), ""),
    ];
    let capture = Capture::start(&network);
    let twice = [NGINX_PORT, SIMOOM_PORT].map(|port| {
        let before = duplicates_reported(&network);
        let url = format!("http://{}:{port}/file", network.address(1));
        let got = root.path().join("got");
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "--max-time", "600", "-o"]).arg(&got).arg(&url);
        let status = network.client.run(|| curl.status()).expect("curl runs");
        assert!(
            status.success() && std::fs::read(&got).is_ok_and(|got| got == bytes),
            "{url} came otherwise"
        );
        duplicates_reported(&network) - before
    });
    let mut twice = twice.into_iter();
    capture
        .judge([NGINX_PORT, SIMOOM_PORT])
        .map(|verdict| (verdict, twice.next().expect("one for each port")))
}

/// Segments that the client reported as duplicates (RFC 2883), over all connections.
fn duplicates_reported(network: &Network) -> u64 {
    let read =
        || std::fs::read_to_string("/proc/thread-self/net/netstat").expect("the kernel's counters");
    let text = network.client.run(read);
    let [names, values] =
        text.lines().filter(|line| line.starts_with("TcpExt:")).collect::<Vec<_>>()[..]
    else {
        panic!("{text:?}")
    };
    let is_meant = |name: &str| ["TCPDSACKOldSent", "TCPDSACKOfoSent"].contains(&name);
    let counted = names.split(' ').zip(values.split(' ')).filter(|(name, _)| is_meant(name));
    counted.map(|(_, value)| value.parse::<u64>().expect("a number")).sum()
}

fn show((verdict, twice): &(Verdict, u64)) -> String {
    let Verdict { texts, retransmissions, spurious, faults } = verdict;
    for fault in faults {
        println!("{fault}");
    }
    format!("{texts:17} {retransmissions:6} {spurious:9} {twice:6} {:7}", faults.len())
}
