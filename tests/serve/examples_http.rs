//! The examples of HTTP, served over each transport, with curl and raw sockets as clients.

#[allow(dead_code, unreachable_pub, reason = "a program, of which the server is used")]
#[path = "../../src/guide/examples/router.rs"]
mod router;

#[allow(dead_code, unreachable_pub, reason = "a program, of which the server is used")]
#[path = "../../src/guide/examples/kv_rest.rs"]
mod kv_rest;

use crate::common::need_program;
use crate::examples::{Bed, value_of};
use crate::site::Transport;
use std::io::{Read, Write};

crate::over_all! {
    routes_answer_curl,
    a_long_answer_reaches_a_slow_client_whole,
    uploads_of_any_size_arrive_whole,
    pipelined_requests_are_answered_in_their_order,
    key_values_are_stored_and_fetched_with_curl,
}

/// What curl prints when it asks for `path`.
fn curl(bed: &Bed, port: u16, path: &str, arguments: &[&str]) -> String {
    let url = format!("http://{}:{port}{path}", bed.host());
    let common = ["-sS", "--max-time", "60", "--path-as-is", &url];
    bed.run_client("curl", &[&common, arguments].concat())
}

fn routes_answer_curl(transport: Transport) {
    if !need_program("curl") {
        return;
    }
    let Some(bed) = Bed::start(transport, router::server) else { return };
    let ask = |path: &str, arguments: &[&str]| curl(&bed, 8080, path, arguments);
    assert_eq!(ask("/notes", &[]), "[]");
    let json = ["-i", "-H", "Content-Type: application/json", "-d", "\"caf\u{e9}\""];
    let added = ask("/notes", &json);
    assert!(added.starts_with("HTTP/1.1 201 Created\r\n"), "{added}");
    assert!(
        added.contains("\r\nLocation: /notes/1\r\n") && added.ends_with("\r\n\r\n1"),
        "{added}"
    );
    assert_eq!(ask("/notes/1", &[]), "\"caf\u{e9}\"");
    assert_eq!(ask("/notes", &[]), "[\"caf\u{e9}\"]");
    let client = bed.network.client.run(simoom::netns::interfaces);
    let own = ask("/peer", &[]);
    let addresses = client.iter().flat_map(|one| &one.addresses);
    let is_own = |(address, _): &(std::net::IpAddr, u8)| own == format!("\"{address}\"");
    assert!(addresses.into_iter().any(is_own), "{own}");
    let code = ["-o", "/dev/null", "-w", "%{http_code}"];
    for (path, arguments, expected) in [
        ("/notes/2", &[][..], "404"),
        ("/notes/x", &[], "400"),
        ("/none", &[], "404"),
        ("/notes", &["-X", "DELETE"], "405"),
        ("/notes", &["-X", "OPTIONS"], "204"),
        ("/notes", &["-X", "FETCH"], "501"),
        ("/notes", &["-d", "{}"], "415"),
        ("/notes", &["-d", "{}", "-H", "Content-Type: application/json"], "400"),
        ("/../notes", &[], "400"),
        ("/", &[], "200"),
    ] {
        assert_eq!(ask(path, &[&code, arguments].concat()), expected, "{path} {arguments:?}");
    }
    let head = ask("/notes/1", &["-I"]);
    assert!(head.contains("\r\nContent-Length: 7\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    for version in ["--http1.0", "--http1.1"] {
        let expected: String = (1..=5000).map(|n| format!("{n}\n")).collect();
        assert!(ask("/numbers?end=5000", &[version]) == expected, "{version}");
    }
    bed.wait_for("notes_listed", 2);
    let totals = bed.server.stop().unwrap();
    assert_eq!(value_of(&totals, "handler_panics"), Some(0), "{totals:?}");
}

fn a_long_answer_reaches_a_slow_client_whole(transport: Transport) {
    let Some(bed) = Bed::start(transport, router::server) else { return };
    let mut stream = bed.connect_to(8080);
    stream.write_all(b"GET /numbers?end=400000 HTTP/1.0\r\n\r\n").unwrap();
    // Nothing is read until the server has sent all that it can.
    bed.wait_for("router_requests", 1);
    let mut answer = Vec::new();
    let mut piece = [0; 3000];
    loop {
        match stream.read(&mut piece).unwrap() {
            0 => break,
            n => answer.extend_from_slice(&piece[..n]),
        }
    }
    let answer = String::from_utf8(answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let expected: String = (1..=400_000).map(|n| format!("{n}\n")).collect();
    assert!(body == expected, "{} bytes instead of {}", body.len(), expected.len());
    bed.server.stop().unwrap();
}

fn uploads_of_any_size_arrive_whole(transport: Transport) {
    if !need_program("curl") {
        return;
    }
    let Some(bed) = Bed::start(transport, router::server) else { return };
    let place = tempfile::tempdir().unwrap();
    for lines in [0, 1, 1000, 1_000_000] {
        let file = place.path().join("lines");
        std::fs::write(&file, "a line\n".repeat(lines)).unwrap();
        let data = format!("@{}", file.display());
        for arguments in [
            &["--data-binary", &data][..],
            &["--data-binary", &data, "-H", "Transfer-Encoding: chunked"],
            &["--data-binary", &data, "-H", "Expect: 100-continue"],
        ] {
            assert_eq!(curl(&bed, 8080, "/lines", arguments), lines.to_string(), "{arguments:?}");
        }
    }
    assert!(bed.count("router_continues") <= 5);
    bed.server.stop().unwrap();
}

fn pipelined_requests_are_answered_in_their_order(transport: Transport) {
    let Some(bed) = Bed::start(transport, router::server) else { return };
    let mut stream = bed.connect_to(8080);
    let count = 300;
    let request = |n: usize| {
        let last = if n + 1 == count { "Connection: close\r\n" } else { "" };
        match n % 3 {
            0 => format!("GET /numbers?end={n} HTTP/1.1\r\nHost: a\r\n{last}\r\n"),
            1 => format!("POST /lines HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{last}\r\n\n\n"),
            _ => format!("GET /notes/{n} HTTP/1.1\r\nHost: a\r\n{last}\r\n"),
        }
    };
    let requests: String = (0..count).map(request).collect();
    let mut sends = stream.try_clone().unwrap();
    let answers = std::thread::scope(|scope| {
        scope.spawn(move || sends.write_all(requests.as_bytes()).unwrap());
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        answers
    });
    let codes = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]);
    let expected = (0..count).map(|n| if n % 3 == 2 { "404" } else { "200" });
    assert!(codes.eq(expected), "{answers}");
    assert_eq!(answers.matches("\r\n298\n\r\n").count(), 0, "a chunk ends where it says");
    bed.server.stop().unwrap();
}

fn key_values_are_stored_and_fetched_with_curl(transport: Transport) {
    if !need_program("curl") {
        return;
    }
    let Some(bed) = Bed::start(transport, || kv_rest::server().unwrap()) else { return };
    let ask = |path: &str, arguments: &[&str]| curl(&bed, 8080, path, arguments);
    let code = ["-o", "/dev/null", "-w", "%{http_code}"];
    let put = |path: &str, value: &str, arguments: &[&str]| {
        ask(path, &[&code, &["-X", "PUT", "--data-binary", value], arguments].concat())
    };
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("value");
    std::fs::write(&file, "v".repeat(900_000)).unwrap();
    assert_eq!(put("/kv/a", "Hello", &["-H", "Content-Type: text/plain"]), "201");
    assert_eq!(put("/kv/large", &format!("@{}", file.display()), &[]), "201");
    assert_eq!(put("/kv/a", "Hello again", &["-H", "Content-Type: text/plain"]), "204");
    let got = ask("/kv/a", &["-i"]);
    assert!(
        got.contains("\r\nContent-Type: text/plain\r\n") && got.ends_with("\r\n\r\nHello again")
    );
    let etag = got.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap();
    let unchanged = format!("If-None-Match: {etag}");
    assert_eq!(ask("/kv/a", &[&code[..], &["-H", &unchanged]].concat()), "304");
    assert_eq!(put("/kv/a", "x", &["-H", "If-None-Match: *"]), "412");
    assert_eq!(put("/kv/a", "x", &["-H", &format!("If-Match: {etag}")]), "204");
    assert!(ask("/kv/large", &[]) == "v".repeat(900_000));
    // The same items over another protocol.
    let mut redis = bed.connect_to(6379);
    redis.write_all(b"GET a\r\nDEL a\r\nQUIT\r\n").unwrap();
    let mut answers = String::new();
    redis.read_to_string(&mut answers).unwrap();
    assert_eq!(answers, "$1\r\nx\r\n:1\r\n+OK\r\n");
    assert_eq!(ask("/kv/a", &code), "404");
    assert_eq!(ask("/kv/large", &[&code[..], &["-X", "DELETE"]].concat()), "204");
    bed.server.stop().unwrap();
}
