//! The stack alone, in memory: a request segment in, a response segment out, with 1, 10,000 and 1,000,000 connections
//! open and the requests spread over them in random order.
//!
//! What is timed is a worker's turn without its system calls: a burst of 64 segments received, timers, flush. Making
//! the requests is not. A response is acknowledged by the client's next request or, when that has not come eight
//! bursts later, by a segment of its own: 512 requests are in flight. The first group leaves those segments out of the
//! time, the second has them in. Memory for each size is printed.

#![allow(clippy::print_stdout, reason = "memory is not a time, so criterion does not report it")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use simoom_stack::send::CHUNK_BYTES;
use simoom_stack::testing::Random;
use simoom_stack::testing::wire::Peer;
use simoom_stack::{
    Address, Application, BURST, Closed, Config, Duration, Instant, Limits, LocalAddress, Opened, Packet, Reply,
    Stack, Transmit,
};
use std::collections::VecDeque;
use std::hint::black_box;
use std::time;

const REQUEST: &[u8] = b"GET /12.txt HTTP/1.1\r\nHost: 198.18.0.1:8080\r\n\r\n";
const RESPONSE_BYTES: usize = 230;
const _: () = assert!(RESPONSE_BYTES <= CHUNK_BYTES);

/// Answers each request with as many bytes as a small file's response has.
struct Responder;

impl Application for Responder {
    type Blob = &'static [u8];
    type Conn = [u64; 4];

    fn opened(&mut self, _: &mut [u64; 4], _: Opened, reply: &mut Reply<'_, &'static [u8]>) {
        reply.set_timeout(Some(Duration::from_secs(75)));
    }

    fn received(&mut self, conn: &mut [u64; 4], bytes: &[u8], reply: &mut Reply<'_, &'static [u8]>) -> usize {
        conn[0] += 1;
        if reply.has_room() {
            reply.copy(&[b'x'; RESPONSE_BYTES]);
            reply.set_timeout(Some(Duration::from_secs(75)));
        }
        bytes.len()
    }

    fn overfull(&mut self, _: &mut [u64; 4], _: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        reply.abort();
    }

    fn timeout(&mut self, _: &mut [u64; 4], reply: &mut Reply<'_, &'static [u8]>) {
        reply.close();
    }

    fn closed(&mut self, _: &mut [u64; 4], _: Closed) {}
}

/// Frames that go nowhere, but are written; the last handshake's SYN-ACK is kept to be read.
struct Sink {
    frames: Vec<[u8; 2048]>,
    sent: usize,
}

impl Transmit for Sink {
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let slot = self.sent % self.frames.len();
        self.sent += 1;
        black_box(write(&mut self.frames[slot]));
        true
    }
}

/// A stack with clients on all its connections.
struct Bench {
    stack: Stack<Responder>,
    sink: Sink,
    peers: Vec<Peer>,
    random: Random,
    now: Instant,
    requests: Vec<Vec<u8>>,
    /// The starts of the bursts whose responses may be unacknowledged.
    recent: VecDeque<u64>,
}

/// Bursts after which a client acknowledges without having asked again.
const ACK_BURSTS: usize = 8;
/// A prime step from a random start: no client twice in a burst, and far apart in memory.
const STEP: u64 = 104_729;

impl Bench {
    fn new(connections: u32) -> Bench {
        let local = Address::from_v4([198, 18, 0, 1]);
        let limits = Limits { half_open: 64, time_wait: 64, ..Limits::for_connections(connections + 64) };
        let config = Config::new(
            [2, 0, 0, 0, 0, 1],
            vec![LocalAddress { address: local, dedicated: false }],
            [1, 2, 3, 4],
            limits,
        );
        let bytes: u64 = limits.memory::<Responder>().map(|(_, _, bytes)| bytes).sum();
        println!(
            "{connections} connections: {} bytes each of all tables and pools",
            bytes / u64::from(connections)
        );
        let mut stack = Stack::new(config, Instant::ZERO);
        stack.listen(80);
        let sink = Sink { frames: vec![[0; 2048]; BURST], sent: 0 };
        let (peers, requests) = (Vec::new(), vec![Vec::new(); BURST]);
        let (random, now, recent) = (Random::new(1), Instant::from_millis(1), VecDeque::new());
        let mut bench = Bench { stack, sink, peers, random, now, requests, recent };
        for index in 0..connections {
            bench.open(index);
        }
        bench
    }

    fn open(&mut self, index: u32) {
        let [_, a, b, c] = (index / 50_000).to_be_bytes();
        let remote = Address::from_v4([198, 19, b, c.wrapping_add(a).wrapping_add(2)]);
        let mut peer = Peer::new(remote, 10_000 + (index % 50_000) as u16, Address::from_v4([198, 18, 0, 1]), 80);
        let slot = self.sink.sent % BURST;
        self.offer(&[peer.syn()]);
        peer.read(&self.sink.frames[slot]);
        self.offer(&[peer.ack()]);
        self.peers.push(peer);
    }

    /// Gives at most a burst of frames to the stack; returns how long it took.
    fn offer(&mut self, frames: &[Vec<u8>]) -> time::Duration {
        let parts: [[&[u8]; 1]; BURST] =
            std::array::from_fn(|index| [frames.get(index).map_or(&[][..], |frame| &frame[..])]);
        let packets: [Packet<'_>; BURST] = std::array::from_fn(|index| Packet(&parts[index]));
        let start = time::Instant::now();
        self.stack.receive(self.now, &packets[..frames.len()], &mut Responder, &mut self.sink);
        self.stack.expire(self.now, &mut Responder, &mut self.sink);
        self.stack.flush(self.now, &mut Responder, &mut self.sink);
        start.elapsed()
    }

    /// One request each of as many clients as a burst holds, chosen at random. Returns how long the stack took for
    /// them, and for acknowledgements of responses of some time ago.
    fn burst(&mut self) -> (time::Duration, time::Duration) {
        let start = self.random.below(self.peers.len() as u64);
        let acks = self.acknowledge_old(start);
        let mut requests = std::mem::take(&mut self.requests);
        requests.truncate(self.size());
        for (index, request) in requests.iter_mut().enumerate() {
            let peer = self.chosen(start, index);
            peer.data_into(REQUEST, request);
            peer.expect(RESPONSE_BYTES as u32);
        }
        // About as much time as a core that is busy with nothing else needs for a burst.
        self.now += Duration::from_micros(32);
        let sent = self.sink.sent;
        let took = self.offer(&requests);
        assert_eq!(self.sink.sent - sent, requests.len(), "each request is answered by one segment");
        self.requests = requests;
        (took, acks)
    }

    /// Acknowledges, unasked, the responses of a burst of some time ago.
    fn acknowledge_old(&mut self, start: u64) -> time::Duration {
        self.recent.push_back(start);
        if self.recent.len() <= ACK_BURSTS {
            return time::Duration::ZERO;
        }
        let start = self.recent.pop_front().unwrap_or_default();
        let acks: Vec<_> = (0..self.size()).map(|index| self.chosen(start, index).ack()).collect();
        self.offer(&acks)
    }

    /// A client of the burst that begins at `start`.
    fn chosen(&mut self, start: u64, index: usize) -> &mut Peer {
        let place = (start + index as u64 * STEP) % self.peers.len() as u64;
        &mut self.peers[place as usize]
    }

    /// Requests in a burst.
    fn size(&self) -> usize {
        BURST.min(self.peers.len())
    }
}

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("stack");
    group.throughput(Throughput::Elements(1));
    group.sample_size(20);
    for connections in [1, 10_000, 1_000_000] {
        let mut bench = None;
        for (what, with_acks) in [("request", false), ("request and acknowledgement", true)] {
            group.bench_function(format!("{what}, {connections} connections"), |b| {
                let bench = bench.get_or_insert_with(|| Bench::new(connections));
                b.iter_custom(|iterations| {
                    let size = bench.size() as u64;
                    let bursts = iterations.div_ceil(size);
                    let counted = |(took, acks)| if with_acks { took + acks } else { took };
                    let total: time::Duration = (0..bursts).map(|_| counted(bench.burst())).sum();
                    total.mul_f64(iterations as f64 / (bursts * size) as f64)
                });
            });
        }
        if let Some(bench) = bench {
            let (counters, drops) = bench.stack.counters();
            assert_eq!(counters.retransmissions, 0, "{drops:?}");
            assert_eq!(bench.stack.connections(), connections as usize);
        }
    }
    group.finish();
}

criterion_group!(benches, requests);
criterion_main!(benches);
