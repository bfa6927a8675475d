//! Clients that read slowly.

use crate::common::{Network, need_root, run};
use crate::good::serve;
use crate::{faults, json, over_xdp};
use std::net::SocketAddr;

/// A directory with one file of `bytes` bytes.
pub(crate) fn folder_of(bytes: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..bytes).map(|at| (at ^ at >> 8) as u8).collect();
    std::fs::write(folder.path().join("file"), content).unwrap();
    folder
}

/// Many clients read answers of 20,000 bytes at up to 40,000 bytes a second each, and receive them
/// whole.
fn slow_readers_are_slow(server: SocketAddr, flags: &str) {
    let url = format!("http://{server}/file");
    let shape = "--connections 100 --requests 100 --slow 40000 --verify --warm-up 0s --json";
    let output =
        run(["load", &url].into_iter().chain(shape.split(' ')).chain(flags.split_whitespace()));
    let report = json(&output);
    assert_eq!((faults(&report), &report["responses"]), (vec![], &100.into()), "{report}");
    assert_eq!(
        (&report["content_bytes"], output.status.code()),
        (&2_000_000.into(), Some(0)),
        "{report}"
    );
    // Half a second each, less two reads.
    assert!(report["latency_us"]["min"].as_u64() >= Some(400_000), "{report}");
}

#[test]
fn slow_readers_through_kernel_sockets() {
    let folder = folder_of(20_000);
    let (_server, target) =
        serve(&format!("--http 127.0.0.1:0 --root {}", folder.path().display()));
    slow_readers_are_slow(target, "");
}

#[test]
fn slow_readers_over_af_xdp() {
    if !need_root() {
        return;
    }
    let network = Network::new(1).unwrap();
    let folder = folder_of(20_000);
    let flags = format!("--interface s0 --http 8080 --root {}", folder.path().display());
    let ((_xdp, xdp), (_epoll, epoll)) = network.server.run(|| {
        let other =
            format!("--http {}:8081 --root {}", network.address(1), folder.path().display());
        (serve(&flags), serve(&other))
    });
    network.client.run(|| {
        slow_readers_are_slow(xdp, &over_xdp(&network));
        slow_readers_are_slow(epoll, &over_xdp(&network));
        slow_readers_are_slow(xdp, "");
    });
}
