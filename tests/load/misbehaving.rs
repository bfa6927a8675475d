//! Servers with one error, of either protocol. The error is counted once by its kind, and nothing
//! else is.

use crate::common::{Network, need_root};
use crate::{LOCALHOST, faults, json, load, over_xdp, stderr, url};
use rustix::net::sockopt;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longer than any answer takes.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// What a misbehaving server does with one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    /// Sends these bytes and continues.
    Say(&'static str),
    /// Sends these bytes and closes the connection.
    SayAndClose(&'static str),
    Reset,
    Silence,
    /// Sends the correct answer after this time.
    Pause(Duration),
}

/// The parts of a protocol that misbehaving servers need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speech {
    pub(crate) scheme: &'static str,
    /// The start of the line that ends a request.
    end: &'static str,
    good: &'static str,
    flags: &'static str,
    /// All errors of a server, with the kinds that they are counted as.
    misdeeds: &'static [(&'static str, Deed)],
    /// Kinds that cannot occur in a first answer, which is not compared with another.
    never_first: &'static [&'static str],
}

pub(crate) const HTTP: Speech = Speech {
    scheme: "http",
    end: "\r\n",
    good: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    flags: "",
    misdeeds: &[
        ("status", Deed::Say("HTTP/1.1 500 Oh\r\nContent-Length: 5\r\n\r\nhello")),
        ("length", Deed::Say("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!")),
        ("content", Deed::Say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhallo")),
        ("surplus", Deed::Say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, world")),
        ("short", Deed::SayAndClose("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")),
        ("closed_early", Deed::SayAndClose("HTTP/1.1 200 OK\r\nContent-")),
        ("garbled", Deed::Say("SSH-2.0-OpenSSH_9.2\r\n")),
        ("reset", Deed::Reset),
        ("timeout", Deed::Silence),
    ],
    never_first: &["length", "content"],
};

/// Requests are for one key with a value of 20 bytes, which the server does not have.
const MEMCACHED: Speech = Speech {
    scheme: "memcached",
    end: "get k00000000\r\n",
    good: "END\r\n",
    flags: "--keys 1 --value-size 20 --get-ratio 1 --no-preload",
    misdeeds: &[
        ("status", Deed::Say("ERROR\r\n")),
        ("status", Deed::Say("SERVER_ERROR out of memory\r\n")),
        ("length", Deed::Say("VALUE k00000000 0 5\r\nhello\r\nEND\r\n")),
        ("content", Deed::Say("VALUE k00000001 0 20\r\n00000000000000000000\r\nEND\r\n")),
        ("content", Deed::Say("VALUE k00000000 0 20\r\n00000001000000000000\r\nEND\r\n")),
        ("surplus", Deed::Say("END\r\nEND\r\n")),
        ("short", Deed::SayAndClose("VALUE k00000000 0 20\r\n000000")),
        ("closed_early", Deed::SayAndClose("EN")),
        ("garbled", Deed::Say("HTTP/1.1 400 Bad Request\r\n\r\n")),
        ("reset", Deed::Reset),
        ("timeout", Deed::Silence),
        ("timeout", Deed::Say("VALUE k00000000 0 20\r\n0000")),
    ],
    never_first: &[],
};

/// Answers all requests correctly except number `turn` (from 1), to which it does `deed`. Its
/// threads end with their connections.
pub(crate) fn start(speech: &'static Speech, address: IpAddr, turn: u64, deed: Deed) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicU64::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let requests = requests.clone();
            std::thread::spawn(move || serve_one(speech, stream.unwrap(), &requests, turn, deed));
        }
    });
    address
}

fn serve_one(speech: &Speech, mut stream: TcpStream, requests: &AtomicU64, turn: u64, deed: Deed) {
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
        let is_end = line == speech.end;
        line.clear();
        if !is_end {
            continue;
        }
        let deed = if requests.fetch_add(1, Ordering::SeqCst) + 1 == turn {
            deed
        } else {
            Deed::Say(speech.good)
        };
        match deed {
            Deed::Say(text) => drop(stream.write_all(text.as_bytes())),
            Deed::SayAndClose(text) => return drop(stream.write_all(text.as_bytes())),
            Deed::Reset => {
                return sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
            }
            Deed::Silence => {}
            Deed::Pause(time) => {
                std::thread::sleep(time);
                drop(stream.write_all(speech.good.as_bytes()));
            }
        }
    }
}

/// Loads a server of `start` with `shape`. A missing answer costs a timeout. An answer that is sent
/// must arrive before the timeout on any machine; otherwise the test repeats with a longer one.
fn load_with_time(
    speech: &Speech,
    start: impl Fn() -> SocketAddr,
    kind: &str,
    shape: &str,
    flags: &str,
) -> std::process::Output {
    let mut timeout = if kind == "timeout" { Duration::from_millis(300) } else { TIMEOUT_MAX };
    loop {
        let limits = format!("--timeout {}ms", timeout.as_millis());
        let output =
            load(&url(speech, start()), &format!("{shape} {limits} {} {flags}", speech.flags));
        let timeouts = json(&output)["errors_by_kind"]["timeout"].as_u64();
        if timeouts <= Some(1) || timeout >= TIMEOUT_MAX {
            return output;
        }
        timeout *= 4;
    }
}

/// About request 10 of 21 has the error. One error of the right kind is counted, and all other
/// requests are good.
fn the_tenth_is_bad(speech: &Speech, start: impl Fn() -> SocketAddr, kind: &str, flags: &str) {
    let output =
        load_with_time(speech, start, kind, "--connections 1 --requests 20 --verify", flags);
    let report = json(&output);
    assert_eq!(faults(&report), [(kind.to_owned(), 1)], "{kind}: {report}");
    assert_eq!((&report["responses"], &report["errors"]), (&19.into(), &1.into()), "{kind}");
    assert_eq!(output.status.code(), Some(1), "{kind}");
    let text = stderr(&output);
    assert!(
        text.contains(&format!(": 1 {}; the first: ", kind.replace('_', " "))),
        "{kind}: {text}"
    );
}

/// The run ends if the first answer is bad.
fn the_first_is_bad(speech: &Speech, start: impl Fn() -> SocketAddr, kind: &str, flags: &str) {
    let output =
        load_with_time(speech, start, kind, "--connections 8 --duration 60s --verify", flags);
    let report = json(&output);
    assert_eq!(
        (faults(&report), &report["responses"]),
        (vec![(kind.to_owned(), 1)], &0.into()),
        "{kind}"
    );
    assert_eq!(output.status.code(), Some(1), "{kind}");
}

fn all_through_kernel_sockets(speech: &'static Speech) {
    for (kind, deed) in speech.misdeeds {
        the_tenth_is_bad(speech, || start(speech, LOCALHOST, 10, *deed), kind, "");
        if !speech.never_first.contains(kind) {
            the_first_is_bad(speech, || start(speech, LOCALHOST, 1, *deed), kind, "");
        }
    }
}

fn all_over_af_xdp(speech: &'static Speech) {
    if !need_root() {
        return;
    }
    let network = Network::new(1).unwrap();
    let (address, flags) = (network.address(1), over_xdp(&network));
    for (kind, deed) in speech.misdeeds {
        // The servers run in the server's namespace, the loads in the client's.
        let start = |turn| network.server.run(|| start(speech, address, turn, *deed));
        network.client.run(|| {
            the_tenth_is_bad(speech, || start(10), kind, &flags);
            if !speech.never_first.contains(kind) {
                the_first_is_bad(speech, || start(1), kind, &flags);
            }
        });
    }
}

#[test]
fn http_through_kernel_sockets() {
    all_through_kernel_sockets(&HTTP);
}

#[test]
fn http_over_af_xdp() {
    all_over_af_xdp(&HTTP);
}

#[test]
fn memcached_through_kernel_sockets() {
    all_through_kernel_sockets(&MEMCACHED);
}

#[test]
fn memcached_over_af_xdp() {
    all_over_af_xdp(&MEMCACHED);
}

#[test]
fn without_verify_other_content_of_the_same_length_is_no_error() {
    let deed = Deed::Say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhallo");
    let output =
        load(&url(&HTTP, start(&HTTP, LOCALHOST, 10, deed)), "--connections 1 --requests 20");
    assert_eq!((output.status.code(), &json(&output)["responses"]), (Some(0), &20.into()));
}

#[test]
fn what_a_server_says_does_not_steer_the_terminal() {
    let deed = Deed::Say("EN\u{1b}[2J\rall is well\r\n");
    let flags = format!("--connections 1 --requests 20 {}", MEMCACHED.flags);
    let output = load(&url(&MEMCACHED, start(&MEMCACHED, LOCALHOST, 10, deed)), &flags);
    let text = stderr(&output);
    assert!(text.contains(r"EN\u{1b}[2J\rall is well") && !text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn a_server_that_closes_between_requests_as_announced_is_no_error() {
    let deed =
        Deed::SayAndClose("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    let output =
        load(&url(&HTTP, start(&HTTP, LOCALHOST, 10, deed)), "--connections 1 --requests 20");
    let report = json(&output);
    assert_eq!((output.status.code(), &report["responses"]), (Some(0), &20.into()), "{report}");
    assert_eq!(
        (&report["closed_between_requests"], &report["connections_opened"]),
        (&1.into(), &2.into())
    );
}

#[test]
fn a_refused_connection_ends_the_run_with_one_error() {
    // Bound, so that no other process gets the port, but not listening.
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&socket, &SocketAddr::new(LOCALHOST, 0)).unwrap();
    let target: SocketAddr = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
    let output = load(&url(&HTTP, target), "--connections 100");
    assert_eq!(
        (faults(&json(&output)), output.status.code()),
        (vec![("refused".to_owned(), 1)], Some(1))
    );
    assert!(stderr(&output).contains("connection refused"), "{}", stderr(&output));
}
