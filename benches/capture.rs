//! What tshark's expert analysis says of downloads over bad paths: Simoom over AF_XDP beside nginx over Linux TCP.
//!
//!     cargo bench --bench capture
//!
//! Both servers are in one namespace, behind the delaying and losing bridge of the tests, and send the same file in turn to
//! a client over Linux TCP; every download is compared with the file. The capture is taken at the client's end, with every
//! checksum validated. Prints, side by side, the segments with text that arrived there, those among them that repeat an
//! earlier one or fill a gap (retransmissions), those that repeat what the client had acknowledged already (spurious), and
//! faults: malformed packets and wrong checksums. Needs root, nginx, ethtool, curl and tshark.

#![allow(clippy::print_stdout, reason = "it prints its measurements")]

#[path = "../tests/common/mod.rs"]
mod common;
mod served;

use common::capture::{Capture, Verdict};
use common::{Network, Path, need_program, need_root};
use served::{OURS, THEIRS, content};
use std::process::Command;
use std::time::Duration;

/// Round trip in milliseconds, packets of a thousand lost each way, and megabytes: fewer where a download takes minutes.
const PATHS: [(u64, u64, usize); 7] =
    [(1, 1, 20), (1, 10, 20), (1, 50, 10), (1, 100, 5), (10, 0, 20), (100, 0, 20), (10, 10, 20)];

fn main() {
    let is_quick = std::env::args().any(|word| word == "--quick");
    if !(need_root() && ["nginx", "ethtool", "curl", "tshark"].into_iter().all(need_program)) {
        return;
    }
    println!(
        "RTT ms   loss %   MB     nginx segments  again  spurious  faults    simoom segments  again  spurious  faults"
    );
    for (rtt_ms, loss_permille, megabytes) in if is_quick { &PATHS[4..5] } else { &PATHS[..] } {
        let path = Path { delay: Duration::from_micros(rtt_ms * 500), loss_permille: *loss_permille, seed: 4 };
        let [theirs, ours] = measure(path, megabytes << 20).map(|verdict| show(&verdict));
        println!("{rtt_ms:6} {:8.1} {megabytes:4} {theirs} {ours}", *loss_permille as f64 / 10.0);
    }
}

fn measure(path: Path, len: usize) -> [Verdict; 2] {
    let network = Network::through(path).expect("a network of our own");
    let root = tempfile::tempdir().expect("a directory of our own");
    let bytes = content(len);
    std::fs::write(root.path().join("file"), &bytes).expect("room for the file");
    let _servers = [common::nginx(&network, root.path(), THEIRS), served::ours(&network, root.path(), "")];
    let capture = Capture::start(&network);
    for port in [THEIRS, OURS] {
        let url = format!("http://{}:{port}/file", network.address(1));
        let got = root.path().join("got");
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "--max-time", "600", "-o"]).arg(&got).arg(&url);
        let status = network.client.run(|| curl.status()).expect("curl runs");
        assert!(status.success() && std::fs::read(&got).is_ok_and(|got| got == bytes), "{url} came otherwise");
    }
    capture.judge([THEIRS, OURS])
}

fn show(verdict: &Verdict) -> String {
    let Verdict { texts, retransmissions, spurious, faults } = verdict;
    for fault in faults {
        println!("{fault}");
    }
    format!("{texts:17} {retransmissions:6} {spurious:9} {:7}", faults.len())
}
