//! Clients that send much before they read, or parts of requests without an end: nobody's input is
//! lost, and whoever asks whole is served.

use crate::client::{Client, get};
use crate::over_all;
use crate::site::{Plan, Transport};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

over_all!(
    half_sent_heads_beyond_all_buffers_end_nobody,
    bytes_of_heads_beyond_all_buffers_end_nobody,
    a_line_of_keys_longer_than_the_window_is_answered,
    a_line_of_keys_written_before_any_is_read_is_answered,
);

/// `count` clients that each send the head of a request up to `len` bytes and stop; a good one is
/// served meanwhile, and then each of them that was not given up.
fn half_sent_heads(transport: Transport, count: usize, len: usize) {
    // Few connections, so few buffers for their input.
    let Some(site) =
        Plan::new(transport).with("--connections 512 --connections-per-prefix 512").start()
    else {
        return;
    };
    let request = get("/12");
    let (line, rest) = request.split_at(request.find("\r\n").unwrap() + 2);
    let part = format!("{line}X: {}", "x".repeat(len - line.len() - 3));
    let mut halves: Vec<Client> = (0..count).map(|_| site.connect()).collect();
    for client in &mut halves {
        client.send(&part);
    }
    site.serves_others();
    for client in &mut halves {
        // What is sent again after a loss is as good an end as any.
        let _ = client.stream.write_all(b"yyy");
        let _ = client.stream.write_all(format!("\r\n{rest}").as_bytes());
    }
    let mut answered = 0;
    for client in &mut halves {
        let mut head = [0; 12];
        match client.stream.read_exact(&mut head) {
            Ok(()) => {
                assert_eq!(head.escape_ascii().to_string(), "HTTP/1.1 200");
                answered += 1;
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
        }
    }
    let given_up = (count - answered) as u64;
    let may_be = if transport == Transport::Xdp { site.counter("input_evicted") } else { 0 };
    assert!(given_up <= may_be, "{given_up} without an answer, {may_be} given up");
    assert_eq!(site.counter("handler_panics"), 0);
    site.serves_others();
}

fn half_sent_heads_beyond_all_buffers_end_nobody(transport: Transport) {
    half_sent_heads(transport, 300, 3000);
}

fn bytes_of_heads_beyond_all_buffers_end_nobody(transport: Transport) {
    half_sent_heads(transport, 400, 26);
}

/// A `get` of one key of 23 bytes, with a value of 1,000, so many times, all of it written before
/// any is read.
fn a_long_get(transport: Transport, keys: usize) {
    let memcached = SocketAddr::from(([0, 0, 0, 0], 11211));
    let Some(site) =
        Plan::new(transport).with(&format!("--memcached {memcached} --memory 64M")).start()
    else {
        return;
    };
    let address = SocketAddr::new(site.address().ip(), memcached.port());
    let mut client: TcpStream = site.connect_to(address).stream;
    let (key, value) = ("k".repeat(23), "v".repeat(1000));
    client.write_all(format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()).as_bytes()).unwrap();
    let mut stored = [0; 8];
    client.read_exact(&mut stored).unwrap();
    client.write_all(format!("get{}\r\n", format!(" {key}").repeat(keys)).as_bytes()).unwrap();
    let hit = format!("VALUE {key} 0 {}\r\n{value}\r\n", value.len()).into_bytes();
    let mut answer = vec![0; hit.len()];
    for _ in 0..keys {
        client.read_exact(&mut answer).unwrap();
        assert!(answer == hit);
    }
    client.read_exact(&mut answer[..5]).unwrap();
    assert_eq!(&answer[..5], b"END\r\n");
    if transport != Transport::Xdp {
        return;
    }
    // The peer may use all of the window that it was advertised; nothing of it is asked for again.
    for dropped in ["drop_outside_window", "drop_no_receive_buffer"] {
        assert_eq!(site.counter(dropped), 0, "{dropped}");
    }
}

fn a_line_of_keys_longer_than_the_window_is_answered(transport: Transport) {
    a_long_get(transport, 10_000);
}

fn a_line_of_keys_written_before_any_is_read_is_answered(transport: Transport) {
    a_long_get(transport, 50_000);
}
