//! Every way to load the installed memcached finds no error.

use crate::common::{Network, Process, need_program, need_root, wait_until};
use crate::{LOCALHOST, faults, json, load, over_xdp, stderr};
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Starts memcached at `address` in the calling thread's namespace. Returns it when it listens.
fn memcached(address: IpAddr) -> (Process, SocketAddr) {
    let directory = tempfile::tempdir().unwrap();
    let ports = directory.path().join("ports");
    let mut command = Command::new("memcached");
    command.args(["-u", "root", "-t", "1", "-c", "1024", "-p", "-1", "-l", &address.to_string()]);
    command.env("MEMCACHED_PORT_FILENAME", &ports).stdin(Stdio::null());
    let process = Process::start(&mut command);
    let mut port = None;
    wait_until("memcached listens", Duration::from_secs(60), || {
        let text = std::fs::read_to_string(&ports).unwrap_or_default();
        port = text.lines().find_map(|line| line.strip_prefix("TCP INET: ")?.trim().parse().ok());
        port.is_some()
    });
    (process, SocketAddr::new(address, port.unwrap()))
}

fn is_found_good(server: SocketAddr, flags: &str) {
    for (shape, responses, hits, misses) in [
        // The store is empty at first.
        ("--keys 1000 --no-preload --get-ratio 1 --requests 2000", 2000, Some(0), Some(2000)),
        ("--keys 1000 --requests 3000", 3000, None, Some(0)),
        ("--keys 1000 --requests 3000 --get-ratio 1 --no-preload", 3000, Some(3000), Some(0)),
        ("--keys 1000 --requests 3000 --get-ratio 0", 3000, Some(0), Some(0)),
        ("--keys 500 --requests 1000 --get-ratio 1 --multiget 20", 1000, Some(20_000), Some(0)),
        (
            "--keys 500 --requests 4000 --value-size 1-3000 --zipf 0.99 --pipeline 8 --multiget 3",
            4000,
            None,
            Some(0),
        ),
        ("--keys 20 --requests 200 --value-size 100000-200000 --connections 5", 200, None, Some(0)),
        ("--keys 700 --requests 2000 --rate 20000 --connections 20", 2000, None, Some(0)),
        ("--keys 100 --requests 300 --connection-per-request", 300, None, Some(0)),
    ] {
        let output = load(&format!("memcached://{server}"), &format!("{shape} --verify {flags}"));
        let report = json(&output);
        assert_eq!(
            (output.status.code(), faults(&report)),
            (Some(0), vec![]),
            "{shape}: {}",
            stderr(&output)
        );
        assert_eq!(report["responses"], responses, "{shape}");
        let lookups = (report["hits"].as_u64(), report["misses"].as_u64());
        assert_eq!(lookups, (hits.or(lookups.0), misses), "{shape}");
        assert!(hits.is_some() || lookups.0 > Some(0), "{shape}: {report}");
    }
}

#[test]
fn memcached_through_kernel_sockets() {
    if !need_program("memcached") {
        return;
    }
    let (_memcached, server) = memcached(LOCALHOST);
    is_found_good(server, "");
}

#[test]
fn memcached_over_af_xdp() {
    if !need_root() || !need_program("memcached") {
        return;
    }
    let network = Network::new(1).unwrap();
    let (_memcached, server) = network.server.run(|| memcached(network.address(1)));
    network.client.run(|| is_found_good(server, &over_xdp(&network)));
}

#[test]
fn errors_of_memcached_are_reported() {
    if !need_program("memcached") {
        return;
    }
    let (_memcached, server) = memcached(LOCALHOST);
    let url = format!("memcached://{server}");
    let output = load(&url, "--keys 10 --value-size 2000000 --requests 10");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(faults(&json(&output)), [("status".to_owned(), 1)], "the first answer ends the run");
    assert!(
        stderr(&output).contains("SERVER_ERROR object too large for cache"),
        "{}",
        stderr(&output)
    );
    let output = load(&format!("http://{server}/"), "--requests 1");
    assert_eq!(faults(&json(&output)).len(), 1, "{}", stderr(&output));
}
