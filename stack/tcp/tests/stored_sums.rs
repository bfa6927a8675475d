//! Downloads of content with stored checksums: in segments of every size, behind heads of odd
//! lengths, cut by the send queue and retransmitted. The receiver drops no segment for its
//! checksum, and gets the bytes.

use simoom_io::checksum::PrefixSums;
use simoom_io::{Application, Blob, Closed, Opened, Reply};
use simoom_tcp::testing::pair::{config, over_ipv6};
use simoom_tcp::testing::{Pair, Quality};
use simoom_tcp::{Config, Limits};
use std::ops::Range;
use std::sync::LazyLock;

const REQUEST: &[u8] = b"GET";
const HEAD: &[u8] = &[b'h'; 600];
/// Pairs of a head and a range of the content.
const ANSWERS: usize = 40;

static CONTENT: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..50_000u64).map(|at| ((at * at) >> 7) as u8).collect());
static SUMS: LazyLock<PrefixSums> = LazyLock::new(|| PrefixSums::of(&CONTENT));

#[derive(Clone)]
struct Content;

impl Blob for Content {
    fn bytes(&self) -> &[u8] {
        &CONTENT
    }

    fn sums(&self) -> Option<&PrefixSums> {
        Some(&SUMS)
    }
}

/// The length of the head and the range of answer `index`.
fn answer(index: usize) -> (usize, Range<usize>) {
    let (start, len) = (index * 997 % 9001, index * 7919 % 40_000 + 1);
    (index * 37 % HEAD.len(), start..start + len)
}

#[derive(Default)]
struct Server {
    received: Vec<u8>,
    closed: Vec<Closed>,
}

#[derive(Default)]
struct Conn {
    is_client: bool,
    answers: usize,
}

fn send(conn: &mut Conn, reply: &mut Reply<'_, Content>) {
    while conn.answers < ANSWERS && reply.has_capacity() {
        let (head, range) = answer(conn.answers);
        reply.copy(&HEAD[..head]);
        reply.share(Content, range);
        conn.answers += 1;
    }
    if conn.answers == ANSWERS {
        reply.close();
    }
}

impl Application for Server {
    type Blob = Content;
    type Conn = Conn;

    fn opened(&mut self, conn: &mut Conn, opened: Opened, reply: &mut Reply<'_, Content>) {
        conn.is_client = opened.active;
        if opened.active {
            reply.copy(REQUEST);
        }
    }

    fn received(&mut self, conn: &mut Conn, bytes: &[u8], reply: &mut Reply<'_, Content>) -> usize {
        if conn.is_client {
            self.received.extend(bytes);
        } else {
            send(conn, reply);
        }
        bytes.len()
    }

    fn resumed(&mut self, conn: &mut Conn, reply: &mut Reply<'_, Content>) {
        send(conn, reply);
    }

    fn closed(&mut self, _: &mut Conn, how: Closed) {
        self.closed.push(how);
    }
}

fn download(server: Config, client: Config, quality: Quality, seed: u64) {
    let mut pair = Pair::new(client, server, quality, seed, Server::default);
    pair.connect(40_000);
    let expected: Vec<u8> = (0..ANSWERS)
        .flat_map(|index| {
            let (head, range) = answer(index);
            [&HEAD[..head], &CONTENT[range]].concat()
        })
        .collect();
    let has_ended = |pair: &Pair<Server>| pair.client.app.received.len() >= expected.len();
    assert!(pair.run_until(1_000_000, has_ended), "{} bytes", pair.client.app.received.len());
    assert!(pair.client.app.received == expected, "other bytes came");
    let (_, drops) = pair.client.stack.counters();
    assert_eq!(drops.drop_tcp_checksum, 0);
}

#[test]
fn the_receiver_accepts_segments_of_every_length() {
    for mtu in [1500, 1499, 1280, 700, 577] {
        for is_ipv6 in [false, true] {
            let config = |host| {
                let config = Config { mtu, ..config(host, Limits::for_connections(8)) };
                if is_ipv6 && mtu >= 1280 { over_ipv6(&config) } else { config }
            };
            download(config(2), config(1), Quality::default(), mtu.into());
        }
    }
}

#[test]
fn the_receiver_accepts_retransmissions() {
    for seed in 0..8 {
        let config = |host| config(host, Limits::for_connections(8));
        let quality = Quality { loss: 20, reorder: 20, ..Quality::default() };
        download(config(2), config(1), quality, seed);
    }
}
