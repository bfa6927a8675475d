//! Shared by the benches with a network of their own: a file, the server in the server's namespace,
//! a median.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each bench compiles this file and uses a part of it"
)]

use crate::common::{Network, Process, need_program, need_root, simoom, wait_until};
use std::path::Path;
use std::time::Duration;

/// Limit for things that happen on a working system.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// Port of Simoom.
pub const SIMOOM_PORT: u16 = 8080;
/// Port of nginx.
pub const NGINX_PORT: u16 = 8081;

/// Bytes of a full Ethernet frame.
pub const FRAME_BYTES: u64 = 1514;

/// The words behind the name of a bench.
pub struct Arguments {
    pub numbers: Vec<u64>,
    /// Continuous integration asks only whether it works.
    pub is_quick: bool,
}

/// The arguments; `None` where a bench behind the delaying bridge, beside nginx, cannot run.
pub fn arguments() -> Option<Arguments> {
    let programs = ["nginx", "ip", "ethtool"];
    (need_root() && programs.into_iter().all(need_program)).then(|| Arguments {
        numbers: std::env::args().filter_map(|word| word.parse().ok()).collect(),
        is_quick: std::env::args().any(|word| word == "--quick"),
    })
}

/// Starts Simoom over AF_XDP with these files and flags, and waits until it logs that it serves. A
/// connection that the kernel's listener accepts before that is reset when the port is claimed.
pub fn start_simoom(network: &Network, root: &Path, flags: &str) -> Process {
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
        &SIMOOM_PORT.to_string(),
    ]);
    let log = tempfile::NamedTempFile::new().expect("a file of our own");
    command.args(flags.split_whitespace()).arg("--root").arg(root).args(["--log", "json"]);
    command.stderr(log.reopen().expect("a file may be opened twice"));
    let process = network.server.run(|| Process::start(&mut command));
    wait_until("it serves", TIMEOUT, || {
        std::fs::read_to_string(log.path()).is_ok_and(|text| text.contains("\"serving\""))
    });
    process
}

/// Bytes that do not repeat.
pub fn content(len: usize) -> Vec<u8> {
    simoom_io::testing::Random::new(0).bytes(len)
}

/// The median.
pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
