//! `simoom load` against `simoom serve`, memcached and misbehaving servers, through kernel sockets
//! and over AF_XDP.

#[path = "../common/mod.rs"]
mod common;

mod good;
mod memcached;
mod misbehaving;
mod route;
mod slow;

use common::{Network, need_root, run};
use misbehaving::{Deed, HTTP, Speech};
use serde_json::Value;
use simoom::netns::{self, Namespace};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Output;
use std::time::Duration;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// The kinds of errors in a report.
fn faults(report: &Value) -> Vec<(String, u64)> {
    let kinds = report["errors_by_kind"].as_object().unwrap();
    let kinds = kinds.iter().map(|(kind, count)| (kind.clone(), count.as_u64().unwrap()));
    kinds.filter(|(_, count)| *count > 0).collect()
}

/// Runs `simoom load` with `flags` and JSON output.
fn load(url: &str, flags: &str) -> Output {
    run(["load", url, "--json"].into_iter().chain(flags.split_whitespace()))
}

/// The URL for a protocol and an address.
fn url(speech: &Speech, target: SocketAddr) -> String {
    format!("{}://{target}/", speech.scheme)
}

/// The flags for AF_XDP in `network`.
fn over_xdp(network: &Network) -> String {
    let IpAddr::V4(host) = network.address(10) else { unreachable!() };
    format!("--interface c0 --source {host}/24")
}

#[test]
fn wrong_flags_are_named() {
    for (arguments, expected) in [
        ("load", "required arguments were not provided"),
        ("load ftp://198.18.0.1/", "error: ftp://198.18.0.1/: ftp is not a supported scheme"),
        ("load http://:80/ --in-flight 51", "error: --in-flight 51: at most --connections, 50"),
        (
            "load http://a/ --connection-per-request --pipeline 2",
            "error: --pipeline 2: cannot be used with",
        ),
        (
            "load http://a/ --connection-per-request --in-flight 2",
            "error: --in-flight 2: cannot be used with",
        ),
        ("load http://a/ --pipeline 1000", "error: --pipeline 1000: not a number from 1 to 256"),
        ("load memcached://a/b", "error: memcached://a/b: memcached has no paths"),
        ("load memcached://a --get-ratio 2", "error: --get-ratio 2: not a number from 0 to 1"),
        (
            "load memcached://a --value-size 9-5",
            "error: --value-size 9-5: not a number of bytes from 1 to",
        ),
        ("load memcached://a --keys 0", "error: --keys 0: not a number from 1 to"),
        ("load http://a/ --zipf 1", "error: --zipf: cannot be used without a memcached:// URL"),
        (
            "load http://a/ --slow 0",
            "error: --slow 0: not a number of bytes a second from 1 to 10000000",
        ),
        ("load http://a/ --rate 0", "error: --rate 0: not a number of requests a second above 0"),
        (
            "load http://a/ --rate fast",
            "error: --rate fast: not a number of requests a second above 0",
        ),
        ("load http://a/ --arrivals uniform", "error: --arrivals: cannot be used without --rate"),
        (
            "load http://127.0.0.1/ --csv /nosuch/file",
            "error: --csv /nosuch/file: No such file or directory",
        ),
        ("load http://127.0.0.1/ --hdr /", "error: --hdr /: Is a directory"),
        ("load http://a/ --requests 0", "error: --requests 0: not a number of at least 1"),
        (
            "load http://a/ --source 198.18.0.9",
            "error: --source: cannot be used without --interface",
        ),
        (
            "load http://a/ --gateway 198.18.0.9",
            "error: --gateway: cannot be used without --interface",
        ),
        (
            "load http://a/ --gateway 0.0.0.0",
            "error: --gateway 0.0.0.0: not the address of one host",
        ),
        ("load http://a/ --xdp-mode copy", "error: --xdp-mode: cannot be used without --interface"),
        (
            "load http://a/ --ack-delay 0ms",
            "error: --ack-delay: cannot be used without --interface",
        ),
        ("load http://a/ --ack-delay 501ms", "error: --ack-delay 501ms: more than 500 ms"),
        (
            "load http://a/ --connections 2 --in-flight 2 --connection-per-request",
            "error: --in-flight 2: cannot be used with --connection-per-request; --connections says \
             how many are under way",
        ),
        ("load http://a/ --interface c0", "error: --interface c0: --source is missing"),
        (
            "load http://224.0.0.1/ --interface c0 --source 198.18.0.9",
            "error: http://224.0.0.1/: 224.0.0.1 is not the address of one host",
        ),
        (
            "load http://[ff02::1]/ --interface c0 --source 2001:db8::9",
            "error: http://[ff02::1]/: ff02::1 is not the address of one host",
        ),
        (
            "load http://127.0.0.1/ --interface c0 --source 198.18.0.9",
            "error: http://127.0.0.1/: 127.0.0.1 is not the address of one host",
        ),
        (
            "load http://a/ --source 198.18.0.9/40",
            "error: --source 198.18.0.9/40: a prefix is a number from 8",
        ),
        ("load http://127.0.0.1/ --core 1000", "error: --core 1000: core 1000 is not among those"),
    ] {
        let output = run(arguments.split_whitespace());
        assert_eq!(output.status.code(), Some(2), "simoom {arguments}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "simoom {arguments}: {}", stderr(&output));
    }
}

#[test]
fn missing_parts_for_af_xdp_are_reported() {
    if !need_root() {
        return;
    }
    let network = Network::new(1).unwrap();
    let (server, flags) = (SocketAddr::new(network.address(1), 8080), over_xdp(&network));
    network.client.run(|| {
        let stderr_of = |target, flags: &str, code| {
            let output = load(&url(&HTTP, target), flags);
            assert_eq!(output.status.code(), Some(code), "{flags}: {}", stderr(&output));
            assert!(output.stdout.is_empty(), "{flags}: nothing was measured");
            stderr(&output)
        };
        let text = stderr_of(server, "--interface nosuch0 --source 198.18.200.1", 2);
        assert!(text.starts_with("error: --interface nosuch0: there is no interface"), "{text}");
        let text = stderr_of(server, &format!("--interface c0 --source {}", network.address(2)), 2);
        assert!(text.contains("is taken already"), "{text}");
        let text = stderr_of(server, &format!("--interface c0 --source {}", network.address(1)), 2);
        assert!(text.contains("is taken already"), "{text}");
        let text = stderr_of(SocketAddr::new(network.address_v6(1), 8080), &flags, 2);
        assert!(text.contains("is of the other IP version"), "{text}");
        let nobody = SocketAddr::new(network.address(77), 8080);
        let text = stderr_of(nobody, &flags, 1);
        assert!(text.starts_with("error: no host on c0 answered for"), "{text}");
        let output = load(&url(&HTTP, server), &flags);
        assert_eq!(
            (faults(&json(&output)), output.status.code()),
            (vec![("refused".to_owned(), 1)], Some(1))
        );
    });
    let (alone, other) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    netns::veth(&alone, "c0", &other, "s0", 1).unwrap();
    alone.run(|| {
        netns::set_up("c0").unwrap();
        let far = SocketAddr::new([198, 19, 0, 1].into(), 8080);
        let output = load(&url(&HTTP, far), &flags);
        assert!(output.status.code() == Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("198.19.0.1"), "{}", stderr(&output));
    });
}

#[test]
fn a_server_that_pauses_does_not_hide_it_from_an_open_loop() {
    let pause = Duration::from_millis(300);
    let server = misbehaving::start(&HTTP, LOCALHOST, 10, Deed::Pause(pause));
    // 250 of the 300 requests are due during the pause, so half of them wait for at least 100 ms.
    let flags = "--connections 1 --rate 1000 --arrivals uniform --requests 300 --warm-up 0s";
    let report = json(&load(&url(&HTTP, server), flags));
    assert_eq!((&report["responses"], &report["errors"]), (&300.into(), &0.into()), "{report}");
    assert!(report["latency_us"]["p50"].as_u64() >= Some(100_000), "{report}");
    assert!(report["latency_us"]["max"].as_u64() >= Some(290_000), "{report}");
    let closed = json(&load(
        &url(&HTTP, misbehaving::start(&HTTP, LOCALHOST, 10, Deed::Pause(pause))),
        "--connections 1 --requests 300",
    ));
    // Holds on a busy machine too: a delay of each answer delays a queue of 150 even more.
    let p50 = |report: &Value| report["latency_us"]["p50"].as_u64().unwrap();
    assert!(p50(&closed) < p50(&report), "a closed loop sees one slow answer: {closed}");
}

#[test]
fn files_hold_what_the_report_says() {
    let directory = tempfile::tempdir().unwrap();
    let (csv, hdr) = (directory.path().join("seconds.csv"), directory.path().join("latency.hgrm"));
    let server = misbehaving::start(&HTTP, LOCALHOST, 0, Deed::Reset);
    let flags = format!(
        "--duration 1200ms --warm-up 0s --rate 500 --csv {} --hdr {}",
        csv.display(),
        hdr.display()
    );
    let report = json(&load(&url(&HTTP, server), &flags));
    let csv = std::fs::read_to_string(csv).unwrap();
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert!(
        lines.len() >= 3 && lines.iter().all(|line| line.len() == lines[0].len()),
        "a header and two seconds, or more if the last answer is late: {csv}"
    );
    for (column, total) in [("sent", &report["sent"]), ("responses", &report["responses"])] {
        let place = lines[0].iter().position(|name| *name == column).unwrap();
        let sum: u64 = lines[1..].iter().map(|line| line[place].parse::<u64>().unwrap()).sum();
        assert_eq!(&Value::from(sum), total, "{csv}");
    }
    let hdr = std::fs::read_to_string(hdr).unwrap();
    let total = format!("Total count    = {:>12}]", report["answered"].as_u64().unwrap());
    assert!(hdr.contains(&total), "{hdr}");
}
