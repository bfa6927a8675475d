//! What the benches over a network of their own share: a file, the server in the network's server
//! namespace, a median.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each bench compiles this file and uses a part of it"
)]

use crate::common::{Network, Process, simoom, wait_until};
use std::path::Path;
use std::time::Duration;

/// How long anything may take that does happen.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Where Simoom listens.
pub const OURS: u16 = 8080;
/// Where nginx does.
pub const THEIRS: u16 = 8081;

/// Starts Simoom over AF_XDP with these files, and further flags as they would be typed, and waits
/// until it says that it serves: who comes before that, while only the kernel's listener is there,
/// is reset when the port is claimed.
pub fn ours(network: &Network, root: &Path, flags: &str) -> Process {
    let mut command = simoom();
    command.args([
        "serve",
        "--interface",
        "s0",
        "--transport",
        "xdp",
        "--cores",
        "0",
        "--http",
        &OURS.to_string(),
    ]);
    let log = tempfile::NamedTempFile::new().expect("a file of our own");
    command.args(flags.split_whitespace()).arg("--root").arg(root).args(["--log", "json"]);
    command.stderr(log.reopen().expect("a file may be opened twice"));
    let process = network.server.run(|| Process::start(&mut command));
    wait_until("it serves", PATIENCE, || {
        std::fs::read_to_string(log.path()).is_ok_and(|text| text.contains("\"serving\""))
    });
    process
}

/// Bytes that do not repeat themselves (xorshift).
pub fn content(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| byte()).collect()
}

/// The one in the middle.
pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
