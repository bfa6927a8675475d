//! Clients that are slow, rude or gone: each gets its HTTP error or its counter, and others notice
//! nothing.

use crate::client::{Client, get};
use crate::over_all;
use crate::site::{LARGE, Plan, Site, Transport};
use rustix::net::sockopt;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

over_all!(
    a_head_of_64_kilobytes_is_refused,
    a_line_of_64_kilobytes_is_refused,
    clients_that_dribble_run_out_of_time,
    a_client_that_stops_reading_is_given_up,
    slow_readers_get_their_files,
    resets_in_mid_answer_are_taken,
    what_is_not_http_is_refused,
);

/// Sends `request` as far as the server takes it, and reads what it says to that.
fn answer_to_excess(site: &Site, request: &str) -> String {
    let mut client = site.connect();
    // The server answers and closes before it has read everything: the rest may be refused.
    let _ = client.stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = client.stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..n]);
    }
    String::from_utf8(answer).unwrap()
}

fn a_head_of_64_kilobytes_is_refused(transport: Transport) {
    let Some(site) = Site::start(transport) else { return };
    let mut head = String::from("GET /12 HTTP/1.1\r\nHost: site\r\n");
    for field in 0..64 {
        head.push_str(&format!("X-{field}: {}\r\n", "x".repeat(1024)));
    }
    head.push_str("\r\n");
    let answer = answer_to_excess(&site, &head);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
    site.wait_for("http_head_too_large", 1);
    site.serves_others();
}

fn a_line_of_64_kilobytes_is_refused(transport: Transport) {
    let Some(site) = Site::start(transport) else { return };
    let answer = answer_to_excess(&site, &get(&format!("/{}", "x".repeat(64 << 10))));
    assert!(answer.starts_with("HTTP/1.1 414 "), "{answer:?}");
    site.wait_for("http_line_too_long", 1);
    site.serves_others();
}

fn clients_that_dribble_run_out_of_time(transport: Transport) {
    const DRIBBLERS: usize = 20;
    let Some(site) = Plan::new(transport).with("--header-timeout 1s").start() else { return };
    let mut dribblers: Vec<Client> = (0..DRIBBLERS).map(|_| site.connect()).collect();
    let mut refused = [false; DRIBBLERS];
    let mut other = site.connect();
    let body = site.content("/12");
    let mut bytes = b"GET /12 HTTP/1.1\r\nX: ".iter().copied().chain(std::iter::repeat(b'x'));
    while site.counter("http_head_timeouts") < DRIBBLERS as u64 {
        let byte = [bytes.next().unwrap()];
        for (dribbler, refused) in dribblers.iter_mut().zip(&mut refused) {
            // Refused once the server has closed and a byte was answered with a reset.
            *refused |= dribbler.stream.write_all(&byte).is_err();
        }
        other.expect("/12", &body);
        // The pace of a slow client.
        std::thread::sleep(Duration::from_millis(100));
    }
    for (dribbler, refused) in dribblers.iter_mut().zip(refused) {
        let mut head = [0; 12];
        match dribbler.stream.read_exact(&mut head) {
            Ok(()) => assert_eq!(&head, b"HTTP/1.1 408"),
            // A write was told of the reset already.
            Err(error) if refused => assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
            // A byte that crossed the answer was answered with a reset.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    site.serves_others();
}

/// A client with a small receive buffer that asks for more than all buffers hold and reads nothing.
fn stopped_reader(site: &Site) -> Client {
    let mut client = site.connect();
    sockopt::set_socket_recv_buffer_size(&client.stream, 16 << 10).unwrap();
    client.request(LARGE);
    client
}

fn a_client_that_stops_reading_is_given_up(transport: Transport) {
    let Some(site) = Plan::new(transport).with("--http-send-timeout 2s").start() else { return };
    let mut stopped: Vec<Client> = (0..10).map(|_| stopped_reader(&site)).collect();
    site.wait_for("http_requests", 10);
    site.serves_others();
    site.wait_for("closed_timed_out", 10);
    site.serves_others();
    for client in &mut stopped {
        let mut all = Vec::new();
        let error =
            client.stream.read_to_end(&mut all).expect_err("the server has reset the connection");
        assert!(
            error.kind() == ErrorKind::ConnectionReset && all.len() < 10 << 20,
            "{error}, {}",
            all.len()
        );
    }
}

fn slow_readers_get_their_files(transport: Transport) {
    let Some(site) = Site::start(transport) else { return };
    let mut slow: Vec<Client> = (0..20).map(|_| stopped_reader(&site)).collect();
    site.wait_for("http_requests", 20);
    site.serves_others();
    // All of them at once, a piece of one after a piece of the other.
    let content = site.content(LARGE);
    for client in &mut slow {
        assert!(client.head().starts_with("HTTP/1.1 200 "));
    }
    let step = 1 << 20;
    for at in (0..content.len()).step_by(step) {
        for client in &mut slow {
            assert!(client.take(step) == content[at..at + step], "wrong bytes after {at}");
        }
    }
}

fn resets_in_mid_answer_are_taken(transport: Transport) {
    let Some(site) = Site::start(transport) else { return };
    for _ in 0..20 {
        let mut client = stopped_reader(&site);
        client.take(1000);
        client.reset();
    }
    site.wait_for("closed_reset_by_peer", 20);
    site.serves_others();
}

fn what_is_not_http_is_refused(transport: Transport) {
    let Some(site) = Site::start(transport) else { return };
    for (request, status, counter) in [
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", "400", "http_bad_syntax"),
        ("GET /12 HTTP/1.1\r\n\r\n", "400", "http_bad_host"),
        ("GET /12 HTTP/2.0\r\nHost: site\r\n\r\n", "505", "http_unknown_version"),
        ("GET /../12 HTTP/1.1\r\nHost: site\r\n\r\n", "400", "http_bad_target"),
        (
            "POST /12 HTTP/1.1\r\nHost: site\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "400",
            "http_bad_framing",
        ),
        (
            "POST /12 HTTP/1.1\r\nHost: site\r\nContent-Length: 999999999\r\n\r\n",
            "413",
            "http_body_too_large",
        ),
        (
            "POST /12 HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "501",
            "http_unknown_coding",
        ),
        (
            "DELETE /12 HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n",
            "405",
            "http_method_not_allowed",
        ),
        (
            "BREW /12 HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n",
            "501",
            "http_unknown_method",
        ),
    ] {
        let answer = answer_to_excess(&site, request);
        assert_eq!(answer.get(9..12), Some(status), "{request:?}: {answer:?}");
        site.wait_for(counter, 1);
    }
    site.serves_others();
}
