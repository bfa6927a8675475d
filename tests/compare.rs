//! `simoom compare` and its ceiling as their users meet them.

mod common;

use common::{Network, Process, need_root, run, simoom};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// Runs `load` from the client's namespace against the ceiling in the server's; returns its report.
fn load_the_ceiling(ceiling: &str, load: &str) -> Value {
    let network = Network::new(1).unwrap();
    let mut server = network.server.run(|| {
        let arguments = ["ceiling", "--interface", "s0", "--port", "8080"];
        Process::start(simoom().args(arguments).args(ceiling.split(' ')).stdout(Stdio::piped()))
    });
    let mut lines = BufReader::new(server.child().stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("answering on "));
    let url = format!("http://{}:8080/", network.address(1));
    let source = format!("{}/25", network.address(128));
    let output = network.client.run(|| {
        let arguments = ["load", &url, "--interface", "c0", "--source", &source, "--json"];
        run(arguments.into_iter().chain(load.split(' ')))
    });
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_ceiling_answers_a_load_without_error() {
    if !need_root() {
        return;
    }
    for (ceiling, load, requests) in [
        ("--response-bytes 12", "--connections 50 --verify", 20_000),
        ("--response-bytes 12", "--connections 2000 --in-flight 512", 20_000),
        ("--response-bytes 4096", "--connections 50", 20_000),
        ("--response-bytes 65536", "--connections 10", 500),
        ("--response-bytes 512 --close", "--connections 64 --connection-per-request", 20_000),
    ] {
        let report = load_the_ceiling(ceiling, &format!("{load} --requests {requests}"));
        assert_eq!((&report["errors"], &report["responses"]), (&0.into(), &requests.into()), "{load}");
    }
}
