//! The example of protocols of frames over each transport: clients of Redis and raw sockets.

#[allow(dead_code, unreachable_pub, reason = "a program, of which the server is used")]
#[path = "../../src/guide/examples/resp.rs"]
mod resp;

use crate::common::{PYTHON, need_program, skip};
use crate::examples::Bed;
use crate::site::Transport;
use simoom_io::testing::Random;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CLIENT: &str = include_str!("redis_client.py");

crate::over_all! {
    redis_cli_and_redis_benchmark_find_a_redis,
    a_python_client_finds_a_redis,
    values_and_pipelines_of_any_size_come_back_whole,
    lines_are_added_up,
    hostile_clients_of_frames_leave_others_alone,
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

/// What a hostile client sends: parts of frames, frames of a million parts, frames that claim more
/// than they have, and pipelines whose answers it may not read.
fn hostile_bytes(random: &mut Random) -> Vec<u8> {
    let pieces: [&[u8]; 16] = [
        b"*3\r\n$3\r\nSET\r\n$1\r\nh\r\n$524288\r\n",
        b"*1048576\r\n",
        b"$0\r\n\r\n",
        b"*-1\r\n",
        b"*2\r\n$3\r\nGET\r\n$2\r\nbig\r\n",
        b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n",
        b"GET big\r\n",
        b"SET \"\\x0a\\xff\" 'x\r\n",
        b"INCR n\r\n",
        b"DEL n h\r\n",
        b"MGET big big big big\r\n",
        b"*1\r\n$4\r\nQUIT\r\n",
        b"HELLO 3\r\n",
        b"$99999999999999999999\r\n",
        b"\0\xff\n",
        b"SET n 1 EX 0 PX -1 KEEPTTL\r\n",
    ];
    let mut bytes = Vec::new();
    for _ in 0..1 + random.index(8) {
        let piece = pieces[random.index(pieces.len())];
        let times = if random.index(4) == 0 { 1 + random.index(3000) } else { 1 };
        bytes.extend(std::iter::repeat_n(piece, times).flatten());
        if random.index(4) == 0 {
            bytes.resize(bytes.len() + random.index(200_000), b'x');
        }
    }
    bytes
}

/// One connection of a hostile client, which never waits for the server.
fn attack(bed: &Bed, random: &mut Random, held: &mut Vec<TcpStream>) {
    let port = if random.index(4) == 0 { 7070 } else { 6379 };
    // Hostile clients may hold all connections that there can be.
    let Ok(mut stream) = bed.try_connect_to(port) else { return };
    stream.set_nonblocking(true).unwrap();
    for _ in 0..1 + random.index(3) {
        let _ = stream.write(&hostile_bytes(random));
        if random.index(2) == 0 {
            let _ = stream.read(&mut [0; 5000]);
        }
    }
    match random.index(4) {
        0 => drop(stream.shutdown(Shutdown::Write)),
        1 => drop(rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))),
        _ => {}
    }
    if random.index(2) == 0 {
        held.push(stream);
        if held.len() > 8 {
            held.swap_remove(random.index(8));
        }
    }
}

/// Sets, gets and a large pipeline of a client that behaves.
fn ask_for_values(stream: &mut TcpStream, number: usize) {
    let value = vec![b'a' + (number % 26) as u8; 1 + number * 997 % 100_000];
    let mut request = format!("*3\r\n$3\r\nSET\r\n$4\r\ngood\r\n${}\r\n", value.len()).into_bytes();
    request.extend_from_slice(&value);
    request.extend_from_slice(b"\r\nGET good\r\nPING\r\n");
    stream.write_all(&request).unwrap();
    let mut expected = format!("+OK\r\n${}\r\n", value.len()).into_bytes();
    expected.extend_from_slice(&value);
    expected.extend_from_slice(b"\r\n+PONG\r\n");
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == expected, "another answer than the client's own");
}

fn hostile_clients_of_frames_leave_others_alone(transport: Transport) {
    let Some(bed) = start(transport) else { return };
    let seed = crate::common::seed();
    let mut good = bed.connect_to(6379);
    good.write_all(b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$300000\r\n").unwrap();
    good.write_all(&[b'b'; 300_000]).unwrap();
    good.write_all(b"\r\n").unwrap();
    good.read_exact(&mut [0; 5]).unwrap();
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..3u64 {
            let (bed, ends) = (&bed, &ends);
            scope.spawn(move || {
                let mut random = Random::new(seed ^ (number + 1) << 32);
                let mut held = Vec::new();
                while !ends.load(Ordering::Relaxed) {
                    attack(bed, &mut random, &mut held);
                }
            });
        }
        for number in 0..300 {
            ask_for_values(&mut good, number);
        }
        ends.store(true, Ordering::Relaxed);
    });
    ask_for_values(&mut good, 7);
    drop(good);
    for name in ["resp_connections_open", "sum_connections_open"] {
        bed.wait_for(name, 0);
    }
    let totals = bed.server.stop().unwrap();
    let panics = crate::examples::value_of(&totals, "handler_panics");
    assert_eq!(panics, Some(0), "SIMOOM_TEST_SEED={seed} {totals:?}");
}
