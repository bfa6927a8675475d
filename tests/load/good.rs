//! Every way to load a correct server finds no error.

use crate::common::{self, Network, Process, need_root, simoom};
use crate::misbehaving::HTTP;
use crate::slow::folder_of;
use crate::{faults, json, load, over_xdp, stderr, url};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Output, Stdio};
use std::time::Duration;

/// Starts `simoom serve` with `flags` in the calling thread's namespace. Returns it when it serves,
/// with its address.
pub(crate) fn serve(flags: &str) -> (Process, SocketAddr) {
    let mut command = simoom();
    command.arg("serve").args(flags.split_whitespace()).stderr(Stdio::piped());
    let mut server = Process::start(&mut command);
    let mut lines = BufReader::new(server.child().stderr.take().unwrap());
    let mut log = String::new();
    while !log.contains("addresses=[") {
        assert!(lines.read_line(&mut log).is_ok_and(|n| n > 0), "the server does not serve: {log}");
    }
    // The pipe must stay open for later output.
    std::thread::spawn(move || lines.read_to_string(&mut String::new()));
    let (_, rest) = log.split_once("addresses=[").unwrap();
    let address = rest.split([',', ' ', '\n']).next().unwrap();
    let address = address.strip_suffix(']').unwrap_or(address).parse().unwrap();
    (server, address)
}

/// Loads with `shape`, where TIME is 300 ms, or longer on a busy machine: until all connections
/// open and answers arrive. Also returns the time in seconds.
fn load_for_a_while(target: SocketAddr, shape: &str, connections: Option<u64>) -> (Output, f64) {
    let mut time_ms = 300;
    loop {
        let output = load(&url(&HTTP, target), &shape.replace("TIME", &format!("{time_ms}ms")));
        let report = json(&output);
        let opened =
            connections.is_none_or(|count| report["connections_opened"].as_u64() >= Some(count));
        // Answers to requests sent before the measurement have no latency.
        let answered = report["responses"].as_u64() > Some(0)
            && report["latency_us"]["max"].as_u64() > Some(0);
        if opened && answered || !shape.contains("TIME") || time_ms > 30_000 {
            return (output, f64::from(time_ms) / 1e3);
        }
        time_ms *= 2;
    }
}

/// All ways to send to a correct server.
fn a_good_server_is_found_good(target: SocketAddr, flags: &str) {
    for (shape, connections) in [
        ("--requests 3000 --connections 300 --in-flight 20 --verify", Some(300)),
        ("--requests 3001 --connections 7 --pipeline 8 --verify", Some(7)),
        ("--requests 300 --connections 10 --connection-per-request --verify", None),
        ("--duration TIME --warm-up 100ms", Some(50)),
        ("--requests 1000 --connections 20 --rate 20000 --verify", Some(20)),
        ("--requests 1000 --connections 20 --rate 20000 --arrivals uniform --pipeline 4", Some(20)),
        ("--requests 300 --connections 30 --rate 5000 --connection-per-request", None),
        ("--duration TIME --warm-up 100ms --rate 1000", Some(50)),
    ] {
        let (output, seconds) = load_for_a_while(target, &format!("{shape} {flags}"), connections);
        let report = json(&output);
        assert_eq!(
            (output.status.code(), faults(&report)),
            (Some(0), vec![]),
            "{shape}: {}",
            stderr(&output)
        );
        let wanted = shape
            .strip_prefix("--requests ")
            .and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        match wanted {
            Some(wanted) => assert_eq!(report["responses"], wanted, "{shape}"),
            None => {
                assert!(
                    report["responses"].as_u64() > Some(0)
                        && report["seconds"].as_f64() >= Some(seconds)
                );
            }
        }
        match connections {
            Some(connections) => assert_eq!(report["connections_opened"], connections, "{shape}"),
            None => assert!(
                report["connections_opened"].as_u64() >= wanted,
                "{shape}: one for each request"
            ),
        }
        let number = |name: &str| report[name].as_u64();
        if shape.contains("--rate") {
            assert_eq!(
                number("offered"),
                Some(number("sent").unwrap() + number("waiting").unwrap()),
                "{report}"
            );
            assert_eq!(
                number("sent"),
                number("answered"),
                "all that was sent was waited for: {report}"
            );
        }
        // Over AF_XDP both ends leave their checksums to each other, or the server alone does.
        let requests = report["stack"]["tx_checksum_requests"].as_u64().unwrap_or(0);
        let may_offload = flags.contains("--interface") && !flags.contains("--tx-checksum");
        let offloads = may_offload && af_xdp::features::can_register_metadata().is_ok();
        assert_eq!(requests > 0, offloads, "{shape} {flags}: {requests} requests");
        let length =
            report["content_bytes"].as_u64().unwrap() / report["responses"].as_u64().unwrap();
        assert!(length > 100, "the built-in page has some content: {length} bytes");
        let latency = |name| report["latency_us"][name].as_u64().unwrap();
        let [p50, p99_99, max] = ["p50", "p99_99", "max"].map(latency);
        assert!(p50 > 0 && p50 <= p99_99 && p99_99 <= max, "{shape}: {report}");
    }
}

#[test]
fn a_good_server_through_kernel_sockets() {
    let (_server, target) = serve("--http 127.0.0.1:0");
    a_good_server_is_found_good(target, "");
}

#[test]
fn a_good_server_over_af_xdp_and_through_the_kernel_beside_it() {
    if !need_root() {
        return;
    }
    let network = Network::new(2).unwrap();
    let (_server, target) =
        network.server.run(|| serve("--interface s0 --transport xdp --http 8080"));
    let flags = over_xdp(&network);
    network.client.run(|| {
        // Twice: the second run uses addresses and ports that the server still has in TIME-WAIT.
        a_good_server_is_found_good(target, &flags);
        a_good_server_is_found_good(target, &format!("{flags} --tx-checksum software"));
        a_good_server_is_found_good(target, "");
    });
}

/// The report of a run without an error, with so many responses.
fn all_answered(output: &Output, responses: u64) -> serde_json::Value {
    let report = json(output);
    assert_eq!(
        (output.status.code(), &report["responses"]),
        (Some(0), &responses.into()),
        "{}",
        stderr(output)
    );
    report
}

#[test]
fn answers_are_acknowledged_with_the_next_request_or_at_once_as_asked() {
    if !need_root() {
        return;
    }
    let network = Network::new(1).unwrap();
    // An answer of more than a segment would be acknowledged at once in any case.
    let folder = folder_of(12);
    let flags =
        format!("--interface s0 --transport xdp --http 8080 --root {}", folder.path().display());
    let (_server, target) = network.server.run(|| serve(&flags));
    // The next request is the other connection's, and comes long before 500 ms.
    let segments_sent = |ack_delay: &str| {
        let flags = format!(
            "--requests 200 --connections 2 --in-flight 1 --ack-delay {ack_delay} {}",
            over_xdp(&network)
        );
        let output = network.client.run(|| load(&format!("http://{target}/file"), &flags));
        let report = all_answered(&output, 200);
        report["stack"]["segments_sent"].as_u64().unwrap()
    };
    let (with_requests, at_once) = (segments_sent("500ms"), segments_sent("0ms"));
    assert!(with_requests < 250, "{with_requests} segments for 200 requests");
    assert!(at_once >= 400, "{at_once} segments for 200 requests and 200 acknowledgements");
}

#[test]
fn many_addresses_of_one_client_reach_a_server_that_asks_for_them_by_arp() {
    if !need_root() {
        return;
    }
    let network = Network::new(1).unwrap();
    let (_server, target) =
        network.server.run(|| serve("--interface s0 --transport epoll --http 8080"));
    let target = SocketAddr::new(network.address(1), target.port());
    let flags =
        format!("--requests 200 --connections 16 --connection-per-request {}", over_xdp(&network));
    let output = network.client.run(|| load(&url(&HTTP, target), &flags));
    let report = all_answered(&output, 200);
    // One for each source address but the first. The first announces its own with its request for
    // the server's.
    assert!(report["stack"]["arp_replies"].as_u64() >= Some(15), "{report}");
}

#[test]
fn a_good_server_over_ipv6_asks_for_many_addresses_of_one_client() {
    if !need_root() {
        return;
    }
    let network = Network::new(1).unwrap();
    let server = network.address_v6(1);
    let (_server, _) = network.server.run(|| serve("--interface s0 --transport xdp --http 8080"));
    let source = network.address_v6(16);
    let flags = format!(
        "--requests 200 --connections 16 --connection-per-request --interface c0 --source {source}/120"
    );
    let output = network.client.run(|| load(&url(&HTTP, SocketAddr::new(server, 8080)), &flags));
    all_answered(&output, 200);
    // Simoom sends replies to the source of segments. Kernel sockets resolve each address.
    let (_server, _) =
        network.server.run(|| serve(&format!("--transport epoll --http [{server}]:8081")));
    let output = network.client.run(|| load(&url(&HTTP, SocketAddr::new(server, 8081)), &flags));
    let report = all_answered(&output, 200);
    // All but the first, as for ARP.
    assert!(report["stack"]["neighbour_replies"].as_u64() >= Some(15), "{report}");
}

/// Open sockets of a process.
fn connections_of(process: u32) -> usize {
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn a_server_that_goes_away_is_an_error_and_the_run_ends_in_time() {
    let mut seconds = 2;
    loop {
        let (server, target) = serve("--http 127.0.0.1:0 --drain-timeout 0s");
        let mut command = simoom();
        command.args(["load", &format!("http://{target}/"), "--json", "--warm-up", "0s"]);
        command
            .args(["--duration", &format!("{seconds}s")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut client = Process::start(&mut command);
        // Open connections show that it runs.
        common::wait_until("the load runs", Duration::from_secs(60), || {
            connections_of(client.id()) > 0
        });
        drop(server);
        let code = client.wait(Duration::from_secs(60 + seconds)).code();
        // On a busy machine the run may end before the server does.
        if code == Some(0) && seconds < 60 {
            seconds *= 4;
            continue;
        }
        return assert_eq!(code, Some(1), "{}", client.stderr());
    }
}
