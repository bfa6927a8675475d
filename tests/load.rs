//! `simoom load` from outside: against `simoom serve`, and against servers that misbehave, through kernel sockets and
//! over AF_XDP alike.

mod common;

use common::{Network, Process, need_root, run, simoom};
use rustix::net::sockopt;
use serde_json::Value;
use simoom::netns::{self, Namespace};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What a misbehaving server does with one request.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// These bytes, and on.
    Say(&'static str),
    /// These bytes, and the end of the connection.
    SayAndClose(&'static str),
    Reset,
    Silence,
    /// `GOOD`, after so long.
    Pause(Duration),
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Serves `GOOD` to all requests but the one with number `turn` (from 1), to which it does `deed`. Its threads end with
/// their connections, at the latest with the test.
fn misbehaving(address: IpAddr, turn: u64, deed: Deed) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicU64::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let requests = requests.clone();
            std::thread::spawn(move || serve_one(stream.unwrap(), &requests, turn, deed));
        }
    });
    address
}

fn serve_one(mut stream: TcpStream, requests: &AtomicU64, turn: u64, deed: Deed) {
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
        let is_end = line == "\r\n";
        line.clear();
        if !is_end {
            continue;
        }
        let deed = if requests.fetch_add(1, Ordering::SeqCst) + 1 == turn { deed } else { Deed::Say(GOOD) };
        match deed {
            Deed::Say(text) => drop(stream.write_all(text.as_bytes())),
            Deed::SayAndClose(text) => return drop(stream.write_all(text.as_bytes())),
            Deed::Reset => return sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap(),
            Deed::Silence => {}
            Deed::Pause(time) => {
                std::thread::sleep(time);
                drop(stream.write_all(GOOD.as_bytes()));
            }
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// The kinds of errors that were met.
fn faults(report: &Value) -> Vec<(String, u64)> {
    let kinds = report["errors_by_kind"].as_object().unwrap();
    let kinds = kinds.iter().map(|(kind, count)| (kind.clone(), count.as_u64().unwrap()));
    kinds.filter(|(_, count)| *count > 0).collect()
}

/// Runs `simoom load` with `flags`, as JSON.
fn load(target: SocketAddr, flags: &str) -> Output {
    let url = format!("http://{target}/");
    run(["load", url.as_str(), "--json"].into_iter().chain(flags.split_whitespace()))
}

/// Everything that a server can do wrong, and what it is counted as.
const MISDEEDS: [(&str, Deed); 9] = [
    ("status", Deed::Say("HTTP/1.1 500 Oh\r\nContent-Length: 5\r\n\r\nhello")),
    ("length", Deed::Say("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!")),
    ("content", Deed::Say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhallo")),
    ("surplus", Deed::Say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, world")),
    ("short", Deed::SayAndClose("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")),
    ("closed_early", Deed::SayAndClose("HTTP/1.1 200 OK\r\nContent-")),
    ("garbled", Deed::Say("SSH-2.0-OpenSSH_9.2\r\n")),
    ("reset", Deed::Reset),
    ("timeout", Deed::Silence),
];

/// Request 10 of 21 or so is answered badly: that is one error, of the right kind, and all others count.
fn every_misdeed_is_counted_for_what_it_is(address: IpAddr, flags: &str) {
    for (kind, deed) in MISDEEDS {
        let server = misbehaving(address, 10, deed);
        let output = load(server, &format!("--connections 1 --requests 20 --verify --timeout 300ms {flags}"));
        let report = json(&output);
        assert_eq!(faults(&report), [(kind.to_owned(), 1)], "{kind}: {report}");
        assert_eq!((&report["responses"], &report["errors"]), (&19.into(), &1.into()), "{kind}");
        assert_eq!(output.status.code(), Some(1), "{kind}");
        let text = stderr(&output);
        assert!(text.contains(&format!(": 1 {}; the first: ", kind.replace('_', " "))), "{kind}: {text}");
    }
}

/// Where the very first answer is bad, there is nothing to hold the others against.
fn a_bad_first_answer_ends_the_run(address: IpAddr, flags: &str) {
    for (kind, deed) in MISDEEDS.into_iter().filter(|(kind, _)| !["length", "content"].contains(kind)) {
        let server = misbehaving(address, 1, deed);
        let output = load(server, &format!("--connections 8 --duration 60s --timeout 300ms {flags}"));
        let report = json(&output);
        assert_eq!((faults(&report), &report["responses"]), (vec![(kind.to_owned(), 1)], &0.into()), "{kind}");
        assert_eq!(output.status.code(), Some(1), "{kind}");
    }
}

#[test]
fn misbehaving_servers_through_kernel_sockets() {
    every_misdeed_is_counted_for_what_it_is(LOCALHOST, "");
    a_bad_first_answer_ends_the_run(LOCALHOST, "");
}

/// The flags to send over AF_XDP in `network`.
fn over_xdp(network: &Network) -> String {
    let IpAddr::V4(host) = network.address(10) else { unreachable!() };
    format!("--interface c0 --source {host}/24")
}

#[test]
fn misbehaving_servers_over_af_xdp() {
    if !need_root() {
        return;
    }
    let network = Network::new(1).unwrap();
    let (server, flags) = (network.address(1), over_xdp(&network));
    std::thread::scope(|scope| {
        // The servers' threads live in the server's namespace, the loads run in the client's.
        let client = &network.client;
        let misdeeds = MISDEEDS.map(|(kind, deed)| {
            let addresses = network.server.run(|| (misbehaving(server, 10, deed), misbehaving(server, 1, deed)));
            (kind, addresses)
        });
        scope.spawn(move || {
            client.run(|| {
                for (kind, (tenth, first)) in misdeeds {
                    let output =
                        load(tenth, &format!("--connections 1 --requests 20 --verify --timeout 300ms {flags}"));
                    let report = json(&output);
                    assert_eq!(faults(&report), [(kind.to_owned(), 1)], "{kind}: {report}");
                    assert_eq!((&report["responses"], output.status.code()), (&19.into(), Some(1)), "{kind}");
                    if ["length", "content"].contains(&kind) {
                        continue;
                    }
                    let output = load(first, &format!("--connections 8 --timeout 300ms {flags}"));
                    assert_eq!(faults(&json(&output)), [(kind.to_owned(), 1)], "{kind}");
                }
            });
        });
    });
}

#[test]
fn without_verify_other_content_of_the_same_length_is_no_error() {
    let deed = Deed::Say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhallo");
    let output = load(misbehaving(LOCALHOST, 10, deed), "--connections 1 --requests 20");
    assert_eq!((output.status.code(), &json(&output)["responses"]), (Some(0), &20.into()));
}

#[test]
fn a_server_that_closes_between_requests_as_it_said_is_no_error() {
    let deed = Deed::SayAndClose("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    let output = load(misbehaving(LOCALHOST, 10, deed), "--connections 1 --requests 20");
    let report = json(&output);
    assert_eq!((output.status.code(), &report["responses"]), (Some(0), &20.into()), "{report}");
    assert_eq!((&report["closed_between_requests"], &report["connections_opened"]), (&1.into(), &2.into()));
}

#[test]
fn a_refused_connection_ends_the_run_with_one_error() {
    // Bound, so that nobody else has the port, but not listened to.
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::new(LOCALHOST, 0)).unwrap();
    let target: SocketAddr = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
    let output = load(target, "--connections 100");
    assert_eq!((faults(&json(&output)), output.status.code()), (vec![("refused".to_owned(), 1)], Some(1)));
    assert!(stderr(&output).contains("connection refused"), "{}", stderr(&output));
}

#[test]
fn wrong_flags_are_named() {
    for (arguments, expected) in [
        ("load", "required arguments were not provided"),
        ("load ftp://198.18.0.1/", "error: ftp://198.18.0.1/: ftp is not a scheme that load speaks"),
        ("load http://:80/ --in-flight 51", "error: --in-flight 51: at most --connections, 50"),
        ("load http://a/ --connection-per-request --pipeline 2", "error: --pipeline 2: means nothing with"),
        ("load http://a/ --connection-per-request --in-flight 2", "error: --in-flight 2: means nothing with"),
        ("load http://a/ --pipeline 1000", "error: --pipeline 1000: not a number from 1 to 256"),
        ("load http://a/ --slow 0", "error: --slow 0: not a number of bytes a second from 1 to 10000000"),
        ("load http://a/ --rate 0", "error: --rate 0: not a number of requests a second above 0"),
        ("load http://a/ --rate fast", "error: --rate fast: not a number of requests a second above 0"),
        ("load http://a/ --arrivals uniform", "error: --arrivals: means nothing without --rate"),
        ("load http://127.0.0.1/ --csv /nosuch/file", "error: --csv /nosuch/file: No such file or directory"),
        ("load http://127.0.0.1/ --hdr /", "error: --hdr /: Is a directory"),
        ("load http://a/ --requests 0", "error: --requests 0: not a number from 1 up"),
        ("load http://a/ --source 198.18.0.9", "error: --source: means nothing without --interface"),
        ("load http://a/ --xdp-mode copy", "error: --xdp-mode: means nothing without --interface"),
        ("load http://a/ --interface c0", "error: --interface c0: --source is missing"),
        ("load http://a/ --source 198.18.0.9/40", "error: --source 198.18.0.9/40: a prefix is a number from 8"),
        ("load http://127.0.0.1/ --core 1000", "error: --core 1000: core 1000 is not among those"),
    ] {
        let output = run(arguments.split_whitespace());
        assert_eq!(output.status.code(), Some(2), "simoom {arguments}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "simoom {arguments}: {}", stderr(&output));
    }
}

/// Starts `simoom serve` with `flags`, in the calling thread's namespace; returns it when it serves, and where.
fn serve(flags: &str) -> (Process, SocketAddr) {
    let mut command = simoom();
    command.arg("serve").args(flags.split_whitespace()).stderr(Stdio::piped());
    let mut server = Process::start(&mut command);
    let mut lines = BufReader::new(server.child().stderr.take().unwrap());
    let mut log = String::new();
    while !log.contains("addresses=[") {
        assert!(lines.read_line(&mut log).is_ok_and(|n| n > 0), "the server does not serve: {log}");
    }
    // What it says later must not find the pipe closed.
    std::thread::spawn(move || lines.read_to_string(&mut String::new()));
    let (_, rest) = log.split_once("addresses=[").unwrap();
    let address = rest.split([']', ',']).next().unwrap().parse().unwrap();
    (server, address)
}

/// A folder with one file of so many bytes.
fn folder_of(bytes: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..bytes).map(|at| (at ^ at >> 8) as u8).collect();
    std::fs::write(folder.path().join("file"), content).unwrap();
    folder
}

/// Answers of 20,000 bytes, read at no more than 40,000 bytes a second by many at once, and whole.
fn slow_readers_are_slow(server: SocketAddr, flags: &str) {
    let url = format!("http://{server}/file");
    let shape = "--connections 100 --requests 100 --slow 40000 --verify --warm-up 0s --json";
    let output = run(["load", &url].into_iter().chain(shape.split(' ')).chain(flags.split_whitespace()));
    let report = json(&output);
    assert_eq!((faults(&report), &report["responses"]), (vec![], &100.into()), "{report}");
    assert_eq!((&report["content_bytes"], output.status.code()), (&2_000_000.into(), Some(0)), "{report}");
    // Half a second each, less two sips.
    assert!(report["latency_us"]["min"].as_u64() >= Some(400_000), "{report}");
}

#[test]
fn slow_readers_through_kernel_sockets() {
    let folder = folder_of(20_000);
    let (_server, target) = serve(&format!("--http 127.0.0.1:0 --root {}", folder.path().display()));
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
        let other = format!("--http {}:8081 --root {}", network.address(1), folder.path().display());
        (serve(&flags), serve(&other))
    });
    network.client.run(|| {
        slow_readers_are_slow(xdp, &over_xdp(&network));
        slow_readers_are_slow(epoll, &over_xdp(&network));
        slow_readers_are_slow(xdp, "");
    });
}

/// All ways to send, against a server that does everything right.
fn a_good_server_is_found_good(target: SocketAddr, flags: &str) {
    for (shape, connections) in [
        ("--requests 3000 --connections 300 --in-flight 20 --verify", Some(300)),
        ("--requests 3001 --connections 7 --pipeline 8 --verify", Some(7)),
        ("--requests 300 --connections 10 --connection-per-request --verify", None),
        ("--duration 300ms --warm-up 100ms", Some(50)),
        ("--requests 1000 --connections 20 --rate 20000 --verify", Some(20)),
        ("--requests 1000 --connections 20 --rate 20000 --arrivals uniform --pipeline 4", Some(20)),
        ("--requests 300 --connections 30 --rate 5000 --connection-per-request", None),
        ("--duration 300ms --warm-up 100ms --rate 1000", Some(50)),
    ] {
        let output = load(target, &format!("{shape} {flags}"));
        let report = json(&output);
        assert_eq!((output.status.code(), faults(&report)), (Some(0), vec![]), "{shape}: {}", stderr(&output));
        let wanted = shape.strip_prefix("--requests ").and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        match wanted {
            Some(wanted) => assert_eq!(report["responses"], wanted, "{shape}"),
            None => assert!(report["responses"].as_u64() > Some(0) && report["seconds"].as_f64() >= Some(0.3)),
        }
        match connections {
            Some(connections) => assert_eq!(report["connections_opened"], connections, "{shape}"),
            None => assert!(report["connections_opened"].as_u64() >= wanted, "{shape}: one for each request"),
        }
        let number = |name: &str| report[name].as_u64();
        if shape.contains("--rate") {
            assert_eq!(number("offered"), Some(number("sent").unwrap() + number("waiting").unwrap()), "{report}");
            assert_eq!(number("sent"), number("responses"), "all that was sent was waited for: {report}");
        }
        let length = report["content_bytes"].as_u64().unwrap() / report["responses"].as_u64().unwrap();
        assert!(length > 100, "the built-in page has some content: {length} bytes");
        let latency = |name| report["latency_us"][name].as_u64().unwrap();
        assert!(latency("p50") > 0 && latency("p50") <= latency("p99_99") && latency("p99_99") <= latency("max"));
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
    let (_server, target) = network.server.run(|| serve("--interface s0 --transport xdp --http 8080"));
    let flags = over_xdp(&network);
    network.client.run(|| {
        // Twice: the server has the first run's connections in TIME_WAIT when the second uses their addresses and ports.
        a_good_server_is_found_good(target, &flags);
        a_good_server_is_found_good(target, &flags);
        a_good_server_is_found_good(target, "");
    });
}

#[test]
fn many_addresses_of_one_client_reach_a_server_that_asks_for_them_by_arp() {
    if !need_root() {
        return;
    }
    let network = Network::new(1).unwrap();
    let (_server, target) = network.server.run(|| serve("--interface s0 --transport epoll --http 8080"));
    let target = SocketAddr::new(network.address(1), target.port());
    let flags = format!("--requests 200 --connections 16 --connection-per-request {}", over_xdp(&network));
    let output = network.client.run(|| load(target, &flags));
    let report = json(&output);
    assert_eq!((output.status.code(), &report["responses"]), (Some(0), &200.into()), "{}", stderr(&output));
    assert_eq!(report["stack"]["arp_replies"], 16, "one for each source address: {report}");
}

#[test]
fn what_is_missing_for_af_xdp_is_said() {
    if !need_root() {
        return;
    }
    let network = Network::new(1).unwrap();
    let (server, flags) = (SocketAddr::new(network.address(1), 8080), over_xdp(&network));
    network.client.run(|| {
        let said = |target, flags: &str, code| {
            let output = load(target, flags);
            assert_eq!(output.status.code(), Some(code), "{flags}: {}", stderr(&output));
            assert!(output.stdout.is_empty(), "{flags}: nothing was measured");
            stderr(&output)
        };
        let text = said(server, "--interface nosuch0 --source 198.18.200.1", 1);
        assert!(text.starts_with("error: --interface nosuch0: there is no interface"), "{text}");
        let text = said(server, &format!("--interface c0 --source {}", network.address(2)), 2);
        assert!(text.contains("is taken already"), "{text}");
        let text = said(server, &format!("--interface c0 --source {}", network.address(1)), 2);
        assert!(text.contains("is taken already"), "{text}");
        let nobody = SocketAddr::new(network.address(77), 8080);
        let text = said(nobody, &flags, 1);
        assert!(text.starts_with("error: nobody on c0 answered ARP for"), "{text}");
        let output = load(server, &flags);
        assert_eq!((faults(&json(&output)), output.status.code()), (vec![("refused".to_owned(), 1)], Some(1)));
    });
    let (alone, other) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    netns::veth(&alone, "c0", &other, "s0", 1).unwrap();
    alone.run(|| {
        netns::set_up("c0").unwrap();
        let output = load(server, &flags);
        assert!(output.status.code() == Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("needs an address in that network"), "{}", stderr(&output));
    });
}

#[test]
fn a_server_that_goes_away_is_an_error_and_the_run_ends_in_time() {
    let (server, target) = serve("--http 127.0.0.1:0 --drain-timeout 0s");
    let url = format!("http://{target}/");
    let mut command = simoom();
    command.args(["load", &url, "--json", "--duration", "2s", "--warm-up", "0s"]).stdout(Stdio::piped());
    let mut client = Process::start(command.stderr(Stdio::piped()));
    // The first connections show that it runs.
    common::wait_until("the load runs", Duration::from_secs(20), || {
        let output = run(["load", &url, "--requests", "1"]);
        output.status.code() == Some(0)
    });
    drop(server);
    assert_eq!(client.wait(Duration::from_secs(60)).code(), Some(1), "{}", client.stderr());
}

#[test]
fn a_server_that_pauses_does_not_hide_it_from_an_open_loop() {
    let pause = Duration::from_millis(300);
    let server = misbehaving(LOCALHOST, 10, Deed::Pause(pause));
    // 250 requests are due during the pause, of 300: half of all wait for at least a tenth of a second.
    let flags = "--connections 1 --rate 1000 --arrivals uniform --requests 300 --warm-up 0s";
    let report = json(&load(server, flags));
    assert_eq!((&report["responses"], &report["errors"]), (&300.into(), &0.into()), "{report}");
    assert!(report["latency_us"]["p50"].as_u64() >= Some(100_000), "{report}");
    assert!(report["latency_us"]["max"].as_u64() >= Some(290_000), "{report}");
    let closed = json(&load(misbehaving(LOCALHOST, 10, Deed::Pause(pause)), "--connections 1 --requests 300"));
    assert!(closed["latency_us"]["p50"].as_u64() < Some(100_000), "a closed loop sees one slow answer: {closed}");
}

#[test]
fn files_hold_what_the_report_says() {
    let directory = tempfile::tempdir().unwrap();
    let (csv, hdr) = (directory.path().join("seconds.csv"), directory.path().join("latency.hgrm"));
    let server = misbehaving(LOCALHOST, 0, Deed::Reset);
    let flags =
        format!("--duration 1200ms --warm-up 0s --rate 500 --csv {} --hdr {}", csv.display(), hdr.display());
    let report = json(&load(server, &flags));
    let csv = std::fs::read_to_string(csv).unwrap();
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert!(
        lines.len() == 3 && lines.iter().all(|line| line.len() == lines[0].len()),
        "a header, two seconds: {csv}"
    );
    for (column, total) in [("sent", &report["sent"]), ("responses", &report["responses"])] {
        let place = lines[0].iter().position(|name| *name == column).unwrap();
        let sum: u64 = lines[1..].iter().map(|line| line[place].parse::<u64>().unwrap()).sum();
        assert_eq!(&Value::from(sum), total, "{csv}");
    }
    let hdr = std::fs::read_to_string(hdr).unwrap();
    let total = format!("Total count    = {:>12}]", report["responses"].as_u64().unwrap());
    assert!(hdr.contains(&total), "{hdr}");
}
