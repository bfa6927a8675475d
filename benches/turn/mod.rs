//! What the benches of the stack share: a stack with clients on all its connections, and bursts of
//! their requests.

#![allow(dead_code, reason = "each bench uses a part of it")]

use simoom_io::send::CHUNK_BYTES;
use simoom_io::{Application, Closed, Duration, Instant, Opened, Reply};
use simoom_tcp::testing::Random;
use simoom_tcp::testing::wire::Peer;
use simoom_tcp::{Address, BURST, Config, Limits, LocalAddress, Packet, Stack, Transmit};
use std::collections::VecDeque;
use std::hint::black_box;
use std::time;

const REQUEST: &[u8] = b"GET /12.txt HTTP/1.1\r\nHost: 198.18.0.1:8080\r\n\r\n";
const RESPONSE_BYTES: usize = 230;
const _: () = assert!(RESPONSE_BYTES <= CHUNK_BYTES);

/// What an answer larger than a chunk is a part of.
static LARGE: [u8; 1 << 16] = [b'x'; 1 << 16];

/// Answers each request with as many bytes as a small file's response has, or with more.
pub(crate) struct Responder {
    answer_bytes: usize,
}

impl Application for Responder {
    type Blob = &'static [u8];
    type Conn = [u64; 4];

    fn opened(&mut self, _: &mut [u64; 4], _: Opened, reply: &mut Reply<'_, &'static [u8]>) {
        reply.set_timeout(Some(Duration::from_secs(75)));
    }

    fn received(
        &mut self,
        conn: &mut [u64; 4],
        bytes: &[u8],
        reply: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        conn[0] += 1;
        if reply.has_capacity() {
            match self.answer_bytes {
                RESPONSE_BYTES => reply.copy(&[b'x'; RESPONSE_BYTES]),
                large => reply.share(&LARGE, 0..large),
            }
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
pub(crate) struct Sink {
    frames: Vec<[u8; 2048]>,
    /// Frames so far.
    pub(crate) sent: usize,
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
pub(crate) struct Bench {
    /// The stack.
    pub(crate) stack: Stack<Responder>,
    /// Where its frames go.
    pub(crate) sink: Sink,
    /// Whether requests are offered through [`Bench::offer_counted`],
    pub(crate) counts: bool,
    /// and acknowledgements that come alone.
    pub(crate) counts_acks: bool,
    responder: Responder,
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
    /// A stack with so many connections open.
    pub(crate) fn new(connections: u32) -> Bench {
        let local = Address::from_v4([198, 18, 0, 1]);
        let limits =
            Limits { half_open: 64, time_wait: 64, ..Limits::for_connections(connections + 64) };
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
        let responder = Responder { answer_bytes: RESPONSE_BYTES };
        let (counts, counts_acks) = (false, false);
        let mut bench = Bench {
            stack,
            sink,
            counts,
            counts_acks,
            responder,
            peers,
            random,
            now,
            requests,
            recent,
        };
        for index in 0..connections {
            bench.open(index);
        }
        bench
    }

    /// Opens one connection more.
    pub(crate) fn open(&mut self, index: u32) {
        let [_, a, b, c] = (index / 50_000).to_be_bytes();
        let remote = Address::from_v4([198, 19, b, c.wrapping_add(a).wrapping_add(2)]);
        let mut peer = Peer::new(
            remote,
            10_000 + (index % 50_000) as u16,
            Address::from_v4([198, 18, 0, 1]),
            80,
        );
        let slot = self.sink.sent % BURST;
        self.offer(&[peer.syn()], false);
        peer.read(&self.sink.frames[slot]);
        self.offer(&[peer.ack()], false);
        self.peers.push(peer);
    }

    /// Gives at most a burst of frames to the stack; returns how long it took.
    fn offer(&mut self, frames: &[Vec<u8>], counts: bool) -> time::Duration {
        let parts: [[&[u8]; 1]; BURST] =
            std::array::from_fn(|index| [frames.get(index).map_or(&[][..], |frame| &frame[..])]);
        let packets: [Packet<'_>; BURST] = std::array::from_fn(|index| Packet(&parts[index]));
        let packets = &packets[..frames.len()];
        let start = time::Instant::now();
        if counts {
            self.offer_counted(packets);
        } else {
            self.turn(packets);
        }
        start.elapsed()
    }

    /// What a count of instructions looks at, by this name.
    #[inline(never)]
    fn offer_counted(&mut self, packets: &[Packet<'_>]) {
        self.turn(packets);
    }

    #[inline]
    fn turn(&mut self, packets: &[Packet<'_>]) {
        self.stack.receive(self.now, packets, &mut self.responder, &mut self.sink);
        self.stack.expire(self.now, &mut self.responder, &mut self.sink);
        self.stack.flush(self.now, &mut self.responder, &mut self.sink);
    }

    /// One request each of as many clients as a burst holds, chosen at random. Returns how long the
    /// stack took for them, and for acknowledgements of responses of some time ago.
    pub(crate) fn burst(&mut self) -> (time::Duration, time::Duration) {
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
        let took = self.offer(&requests, self.counts);
        assert_eq!(
            self.sink.sent - sent,
            requests.len(),
            "each request is answered by one segment"
        );
        self.requests = requests;
        (took, acks)
    }

    /// From now on answers have so many bytes.
    pub(crate) fn answer_with(&mut self, answer_bytes: usize) {
        self.responder.answer_bytes = answer_bytes;
    }

    /// One request of one client, answered by `answer_bytes`, of which it acknowledges every other
    /// segment.
    pub(crate) fn large(&mut self, answer_bytes: u32) -> usize {
        const TWO_SEGMENTS: u32 = 2 * 1448;
        let place = self.random.below(self.peers.len() as u64) as usize;
        let mut request = Vec::new();
        self.peers[place].data_into(REQUEST, &mut request);
        let mut frames = vec![request];
        let mut acked = 0;
        while acked < answer_bytes {
            let before = self.stack.counters().0.bytes_sent;
            self.offer(&frames, self.counts);
            self.now += Duration::from_micros(100);
            let mut sent = (self.stack.counters().0.bytes_sent - before) as u32;
            assert!(sent > 0, "the answer stops at {acked} bytes");
            frames.clear();
            while sent > 0 {
                let part = sent.min(TWO_SEGMENTS);
                (sent, acked) = (sent - part, acked + part);
                self.peers[place].expect(part);
                frames.push(self.peers[place].ack());
            }
        }
        self.offer(&frames, self.counts);
        1
    }

    /// Acknowledges, unasked, the responses of a burst of some time ago.
    fn acknowledge_old(&mut self, start: u64) -> time::Duration {
        self.recent.push_back(start);
        if self.recent.len() <= ACK_BURSTS {
            return time::Duration::ZERO;
        }
        let start = self.recent.pop_front().unwrap_or_default();
        let acks: Vec<_> = (0..self.size()).map(|index| self.chosen(start, index).ack()).collect();
        self.offer(&acks, self.counts_acks)
    }

    /// A client of the burst that begins at `start`.
    fn chosen(&mut self, start: u64, index: usize) -> &mut Peer {
        let place = (start + index as u64 * STEP) % self.peers.len() as u64;
        &mut self.peers[place as usize]
    }

    /// Requests in a burst.
    pub(crate) fn size(&self) -> usize {
        BURST.min(self.peers.len())
    }
}
