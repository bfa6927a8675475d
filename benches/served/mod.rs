//! What the benches over a network of their own share: a file, the server in the network's server namespace, a median.

#![allow(dead_code, unreachable_pub, reason = "each bench compiles this file and uses a part of it")]

use crate::common::{Network, Process, simoom};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// How long anything may take that does happen.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Where Simoom listens.
pub const OURS: u16 = 8080;
/// Where nginx does.
pub const THEIRS: u16 = 8081;

/// Starts Simoom over AF_XDP with these files, and further flags as they would be typed.
pub fn ours(network: &Network, root: &Path, flags: &str) -> Process {
    let mut command = simoom();
    command.args(["serve", "--interface", "s0", "--transport", "xdp", "--cores", "0", "--http", &OURS.to_string()]);
    command.args(flags.split_whitespace()).arg("--root").arg(root).stderr(Stdio::null());
    let process = network.server.run(|| Process::start(&mut command));
    network.wait_for_listener(OURS, PATIENCE);
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
