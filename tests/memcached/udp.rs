//! Both over UDP: requests in single datagrams, hostile ones among them.
//!
//! What a request is answered is compared whole, however it is cut; the datagrams, too, where the
//! answer is to one request of one key: memcached numbers each key's part anew.

use crate::beside::simoom;
use crate::common::TEST_TIMEOUT;
use crate::common::wait_until;
use crate::differences::comparable;
use crate::peer::Memcached;
use simoom::Server;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

/// Numbers of requests, high and low byte different.
const LAST: u16 = 0xfffe;

fn frame(id: u16, total: u16) -> Vec<u8> {
    [id, 0, total, 0].iter().flat_map(|number| number.to_be_bytes()).collect()
}

struct Client(UdpSocket);

impl Client {
    fn new(server: SocketAddr) -> Client {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        Client(socket)
    }

    fn send(&self, datagram: &[u8]) {
        self.0.send(datagram).unwrap();
    }

    /// The datagrams that come until `mn`, sent behind the others with a number of its own, is
    /// answered: on loopback nothing is lost or overtaken.
    fn answers(&self) -> Vec<Vec<u8>> {
        self.send(&[&frame(LAST, 1), &b"mn\r\n"[..]].concat());
        let mut answers = Vec::new();
        loop {
            let mut datagram = vec![0; 65_536];
            let len = self.0.recv(&mut datagram).expect("an answer to mn");
            datagram.truncate(len);
            if datagram[..2] == LAST.to_be_bytes() {
                assert_eq!(datagram[8..], *b"MN\r\n");
                return answers;
            }
            // Memcached sends an empty datagram, of none, when a quiet packet has nothing to say.
            if datagram[4..] != [0, 0, 0, 0] {
                answers.push(datagram);
            }
        }
    }

    fn ask(&self, id: u16, request: &[u8]) -> Vec<Vec<u8>> {
        self.send(&[&frame(id, 1), request].concat());
        self.answers()
    }
}

fn text(answers: &[Vec<u8>]) -> Vec<u8> {
    let bytes: Vec<u8> = answers.iter().flat_map(|datagram| &datagram[8..]).copied().collect();
    if bytes.starts_with(&[0x81]) { bytes } else { comparable(&bytes) }
}

fn packet(opcode: u8, key: &[u8]) -> Vec<u8> {
    let len = key.len() as u8;
    [&[0x80, opcode, 0, len, 0, 0, 0, 0, 0, 0, 0, len], &b"opaq"[..], &[0; 8], key].concat()
}

/// Requests, and whether memcached numbers their answers as one.
fn table() -> Vec<(Vec<u8>, bool)> {
    let value = |key: &str, len: usize| {
        format!("set {key} 7 0 {len}\r\n{}\r\n", "v".repeat(len)).into_bytes()
    };
    let mut table: Vec<(Vec<u8>, bool)> =
        [1, 1000, 1366, 1367, 1368, 1369, 1370, 1392, 2784, 5000, 11_000]
            .iter()
            .flat_map(|len| [(value("a", *len), true), (b"get a\r\n".to_vec(), true)])
            .collect();
    for (request, is_one) in [
        ("set a 0 0 1\r\nx\r\n", true),
        ("set n 0 0 2\r\n10\r\n", true),
        ("get a b n\r\n", false),
        ("get missing\r\n", true),
        ("gets a\r\n", true),
        ("gat 1000 a\r\n", true),
        ("add a 0 0 1\r\ny\r\n", true),
        ("replace a 0 0 1 noreply\r\nz\r\n", true),
        ("get a\r\nget a\r\nmn\r\n", false),
        ("incr n 5\r\n", true),
        ("decr n 50\r\n", true),
        ("incr a 5\r\n", true),
        ("touch a 100\r\n", true),
        ("mg a v k\r\n", true),
        ("ms m 2 q\r\nhi\r\n", true),
        ("ma n\r\n", true),
        ("md m\r\n", true),
        ("mg m\r\n", true),
        ("mn\r\n", true),
        ("delete a\r\n", true),
        ("nonsense\r\n", true),
        ("verbosity 1\r\n", true),
        ("version\r\n", true),
        ("flush_all\r\n", true),
        ("get n\r\n", true),
    ] {
        table.push((request.into(), is_one));
    }
    table.push((packet(0x0a, b""), true));
    table.push((packet(0x00, b"missing"), true));
    table.push((packet(0x0d, b"missing"), true));
    table
}

/// Simoom with memcached over UDP, and an installed memcached.
fn beside(compare: impl FnOnce(&Server, Client, Client)) {
    let Some(memcached) = Memcached::start() else { return };
    let server = simoom();
    compare(&server, Client::new(server.udp()[0]), Client::new(memcached.address()));
    server.drain(TEST_TIMEOUT).unwrap();
}

fn total(server: &Server, name: &str) -> u64 {
    server.totals().iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
}

#[test]
fn requests_in_datagrams_get_the_answers_that_memcached_gives() {
    beside(|_, ours, theirs| {
        for (number, (request, is_one)) in table().into_iter().enumerate() {
            let id = 0x0100 + number as u16;
            let (mine, other) = (ours.ask(id, &request), theirs.ask(id, &request));
            let shown = request[..request.len().min(60)].escape_ascii();
            assert_eq!(
                text(&mine).escape_ascii().to_string(),
                text(&other).escape_ascii().to_string(),
                "{shown}"
            );
            if is_one && !request.starts_with(b"version") && !request.starts_with(b"gets") {
                assert_eq!(mine, other, "{shown}");
            }
            let frames = |answers: &[Vec<u8>]| {
                answers.iter().map(|datagram| datagram[..8].to_vec()).collect::<Vec<_>>()
            };
            let numbered = mine.iter().enumerate().map(|(sequence, _)| {
                [id, sequence as u16, mine.len() as u16, 0]
                    .iter()
                    .flat_map(|number| number.to_be_bytes())
                    .collect()
            });
            assert_eq!(frames(&mine), numbered.collect::<Vec<Vec<u8>>>(), "{shown}");
        }
    });
}

#[test]
fn hostile_datagrams_get_no_answer_from_either_and_are_counted() {
    beside(|server, ours, theirs| {
        let get = b"get a\r\n";
        let hostile: Vec<Vec<u8>> = vec![
            vec![],
            vec![0],
            frame(1, 1)[..7].to_vec(),
            [&frame(1, 0), &get[..]].concat(),
            [&frame(1, 2), &get[..]].concat(),
            [&frame(1, 256), &get[..]].concat(),
            [&frame(1, 0xffff), &get[..]].concat(),
        ];
        for datagram in &hostile {
            ours.send(datagram);
            theirs.send(datagram);
            assert!(
                ours.answers().is_empty() && theirs.answers().is_empty(),
                "{}",
                datagram.escape_ascii()
            );
        }
        wait_until("the datagrams are counted", TEST_TIMEOUT, || {
            total(server, "udp_malformed") == hostile.len() as u64
        });
        // Without its end: memcached takes the end from the next datagram, frame and all.
        for request in [&b"get a"[..], b"set a 0 0 10\r\nabc\r\n", b"\x80\x00\x00"] {
            assert!(ours.ask(1, request).is_empty());
        }
        wait_until("the requests are counted", TEST_TIMEOUT, || {
            total(server, "udp_incomplete") == 3
        });
    });
}

#[test]
fn a_source_that_asks_for_too_much_is_left_without_answers() {
    let server = simoom();
    let client = Client::new(server.udp()[0]);
    let set = format!("set a 0 0 10000\r\n{}\r\n", "v".repeat(10_000));
    assert_eq!(text(&client.ask(1, set.as_bytes())), b"STORED\r\n");
    assert_eq!(text(&client.ask(1, b"get a a\r\n")), b"SERVER_ERROR answer too large for UDP\r\n");
    assert_eq!(total_in_time(&server, "udp_answer_too_large"), 1);
    // Answers of 10 KB use the credit up as soon as the server gives 105 of them in a second.
    client.0.set_nonblocking(true).unwrap();
    wait_until("the credit is used up", TEST_TIMEOUT, || {
        for _ in 0..200 {
            // What the server's buffer has no place for is lost.
            let _ = client.0.send(&[&frame(2, 1), &b"get a\r\n"[..]].concat());
        }
        let mut buffer = [0; 2000];
        while !matches!(client.0.recv(&mut buffer), Err(error) if error.kind() == ErrorKind::WouldBlock)
        {
        }
        total(&server, "udp_credit_used_up") > 0
    });
    server.drain(TEST_TIMEOUT).unwrap();
}

fn total_in_time(server: &Server, name: &str) -> u64 {
    wait_until(name, TEST_TIMEOUT, || total(server, name) > 0);
    total(server, name)
}
