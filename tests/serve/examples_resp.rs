//! The example of protocols of frames over each transport: clients of Redis and raw sockets.

#[allow(dead_code, unreachable_pub, reason = "a program, of which the server is used")]
#[path = "../../src/guide/examples/resp.rs"]
mod resp;

use crate::common::{need_program, skip};
use crate::examples::Bed;
use crate::site::Transport;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// Debian's own, for which the client is packaged.
const PYTHON: &str = "/usr/bin/python3";
const CLIENT: &str = include_str!("redis_client.py");

crate::over_all! {
    redis_cli_and_redis_benchmark_find_a_redis,
    a_python_client_finds_a_redis,
    values_and_pipelines_of_any_size_come_back_whole,
    lines_are_added_up,
}

fn start(transport: Transport) -> Option<Bed> {
    Bed::start(transport, || resp::server().unwrap())
}

fn redis_cli_and_redis_benchmark_find_a_redis(transport: Transport) {
    if !need_program("redis-cli") || !need_program("redis-benchmark") {
        return;
    }
    let Some(bed) = start(transport) else { return };
    let host = bed.host();
    let ask = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        bed.run_client("redis-cli", &[&["-h", &host][..], &words].concat())
    };
    for (words, expected) in [
        ("PING", "PONG\n"),
        ("SET a 1 EX 100 NX", "OK\n"),
        ("SET a 1 NX", "\n"),
        ("INCR a", "2\n"),
        ("GET a", "2\n"),
        ("TTL none", "-2\n"),
        ("EXISTS a none", "1\n"),
        ("DEL a", "1\n"),
        ("HGET a b", "ERR unknown command 'HGET', with args beginning with: 'a' 'b' \n\n"),
    ] {
        assert_eq!(ask(words), expected, "{words}");
    }
    let bounds =
        ["-h", &host, "-n", "2000", "-c", "20", "-P", "16", "-q", "-t", "ping,set,get,incr"];
    let told = bed.run_client("redis-benchmark", &bounds);
    assert!(told.contains("INCR: ") && !told.to_lowercase().contains("error"), "{told}");
    bed.server.stop().unwrap();
}

fn a_python_client_finds_a_redis(transport: Transport) {
    let module = Command::new(PYTHON).args(["-c", "import redis"]).stderr(Stdio::null()).status();
    if !module.is_ok_and(|status| status.success()) {
        return skip("needs python3 with redis");
    }
    let Some(bed) = start(transport) else { return };
    let told = bed.run_client(PYTHON, &["-c", CLIENT, &bed.host(), "6379"]);
    assert!(told.contains("all as it should be"), "{told}");
    bed.server.stop().unwrap();
}

fn values_and_pipelines_of_any_size_come_back_whole(transport: Transport) {
    let Some(bed) = start(transport) else { return };
    let mut stream = bed.connect_to(6379);
    let (mut requests, mut expected) = (Vec::new(), Vec::new());
    for (n, len) in [1, 500, 600, 16_000, 70_000, 900_000].into_iter().enumerate() {
        let value = vec![b'a' + n as u8; len];
        requests.extend(format!("*3\r\n$3\r\nSET\r\n$1\r\n{n}\r\n${len}\r\n").bytes());
        requests.extend_from_slice(&value);
        requests.extend_from_slice(b"\r\n");
        expected.extend_from_slice(b"+OK\r\n");
        for _ in 0..3 {
            requests.extend(format!("GET {n}\r\n").bytes());
            expected.extend(format!("${len}\r\n").bytes());
            expected.extend_from_slice(&value);
            expected.extend_from_slice(b"\r\n");
        }
    }
    requests.extend_from_slice(b"QUIT\r\n");
    expected.extend_from_slice(b"+OK\r\n");
    let mut sends = stream.try_clone().unwrap();
    let answers = std::thread::scope(|scope| {
        scope.spawn(move || sends.write_all(&requests).unwrap());
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).unwrap();
        answers
    });
    assert!(answers == expected, "{} bytes instead of {}", answers.len(), expected.len());
    bed.server.stop().unwrap();
}

fn lines_are_added_up(transport: Transport) {
    let Some(bed) = start(transport) else { return };
    let mut stream = bed.connect_to(7070);
    stream.write_all(b"1\n2.5\r\n=\nx\n=\nquit\n").unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers, "3.5\r\ninvalid float literal\r\n0\r\n");
    bed.wait_for("sum_lines", 6);
    bed.server.stop().unwrap();
}
