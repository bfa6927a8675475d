//! Shared by the benches of the stack: a stack with clients on all its connections, and bursts of
//! their requests.

#![allow(dead_code, reason = "each bench uses a part of it")]

use simoom_io::checksum::PrefixSums;
use simoom_io::send::CHUNK_BYTES;
use simoom_io::{Application, Blob, Closed, Duration, Instant, Opened, Reply};
use simoom_tcp::testing::Random;
use simoom_tcp::testing::wire::Peer;
use simoom_tcp::{
    Address, BURST, Config, Congestion, Gso, Limits, LocalAddress, Packet, Stack, Transmit,
    TxChecksum,
};
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::LazyLock;
use std::time;

const REQUEST: &[u8] = b"GET /12.txt HTTP/1.1\r\nHost: 198.18.0.1:8080\r\n\r\n";
const RESPONSE_BYTES: usize = 230;
const _: () = assert!(RESPONSE_BYTES <= CHUNK_BYTES);

/// Responses larger than a chunk are ranges of this.
static LARGE: [u8; 1 << 16] = [b'x'; 1 << 16];

/// [`LARGE`], with or without the checksums that a file has.
#[derive(Clone, Copy)]
pub(crate) struct Large(Option<&'static PrefixSums>);

impl Blob for Large {
    fn bytes(&self) -> &[u8] {
        &LARGE
    }

    fn sums(&self) -> Option<&PrefixSums> {
        self.0
    }
}

/// Answers each request with the size of a small file's response, or with a larger size.
pub(crate) struct Responder {
    answer_bytes: usize,
    large: Large,
    /// Bytes copied before those of `large`, as the head of an HTTP response is.
    head_bytes: usize,
    /// Close after each answer.
    closes: bool,
}

impl Application for Responder {
    type Blob = Large;
    type Conn = [u64; 4];

    fn prefetches(&self) -> bool {
        false
    }

    fn opened(&mut self, _: &mut [u64; 4], _: Opened, reply: &mut Reply<'_, Large>) {
        reply.set_timeout(Some(Duration::from_secs(75)));
    }

    fn received(
        &mut self,
        conn: &mut [u64; 4],
        bytes: &[u8],
        reply: &mut Reply<'_, Large>,
    ) -> usize {
        conn[0] += 1;
        if reply.has_capacity() {
            match self.answer_bytes {
                RESPONSE_BYTES => reply.copy(&[b'x'; RESPONSE_BYTES]),
                bytes => {
                    reply.copy(&[b'h'; RESPONSE_BYTES][..self.head_bytes]);
                    reply.share(self.large, 0..bytes);
                }
            }
            reply.set_timeout(Some(Duration::from_secs(75)));
            if self.closes {
                reply.close();
            }
        }
        bytes.len()
    }

    fn overfull(&mut self, _: &mut [u64; 4], _: &[u8], reply: &mut Reply<'_, Large>) {
        reply.abort();
    }

    fn timeout(&mut self, _: &mut [u64; 4], reply: &mut Reply<'_, Large>) {
        reply.close();
    }

    fn closed(&mut self, _: &mut [u64; 4], _: Closed) {}
}

/// Writes frames and drops them. The SYN-ACK of the last handshake can be read.
pub(crate) struct Sink {
    frames: Box<[[u8; 2048]; BURST]>,
    /// Frames written.
    pub(crate) sent: usize,
    /// Space for a GSO packet. Empty: none is taken.
    gso: Vec<u8>,
}

impl Transmit for Sink {
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let slot = self.sent % BURST;
        self.sent += 1;
        black_box(write(&mut self.frames[slot]));
        true
    }

    /// A partial checksum is left to the NIC.
    fn transmit_segment(
        &mut self,
        _: Option<usize>,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool {
        self.transmit(write)
    }

    fn gso_max_bytes(&self) -> usize {
        self.gso.len()
    }

    fn transmit_gso(&mut self, _: Gso, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        self.sent += 1;
        black_box(write(&mut self.gso));
        true
    }
}

fn server() -> Address {
    Address::from_v4([198, 18, 0, 1])
}

/// A stack with clients on all its connections.
pub(crate) struct Bench {
    /// The stack.
    pub(crate) stack: Stack<Responder>,
    /// The transmitter of the stack.
    pub(crate) sink: Sink,
    /// Count requests, through [`Bench::deliver_counted`].
    pub(crate) counts: bool,
    /// Count separate acknowledgements.
    pub(crate) counts_acks: bool,
    responder: Responder,
    peers: Vec<Peer>,
    random: Random,
    now: Instant,
    requests: Vec<Vec<u8>>,
    /// Starts of the bursts whose responses may be unacknowledged.
    recent: VecDeque<u64>,
    /// Clients of one connection each so far.
    clients: u32,
}

/// Bursts after which a client acknowledges without a new request.
const ACK_BURSTS: usize = 8;
/// A prime step from a random start: no client twice in a burst, and far apart in memory.
const STEP: u64 = 104_729;

impl Bench {
    /// A stack with this number of open connections.
    pub(crate) fn new(connections: u32) -> Bench {
        Bench::with_checksum(connections, TxChecksum::Full)
    }

    /// The same with transmitted segments whose checksums are `tx_checksum`.
    pub(crate) fn with_checksum(connections: u32, tx_checksum: TxChecksum) -> Bench {
        Bench::with_spare(connections, BURST as u32, tx_checksum)
    }

    /// The same with capacity for `spare` more connections at a time, each of which may be in the
    /// handshake or in TIME-WAIT.
    pub(crate) fn with_spare(connections: u32, spare: u32, tx_checksum: TxChecksum) -> Bench {
        let local = server();
        let limits = Limits {
            half_open: spare,
            time_wait: spare,
            ..Limits::for_connections(connections + spare)
        };
        let mut config = Config::new(
            [2, 0, 0, 0, 0, 1],
            vec![LocalAddress { address: local, dedicated: false }],
            [1, 2, 3, 4],
            limits,
        );
        config.tx_checksum = tx_checksum;
        let bytes: u64 =
            limits.memory::<Responder>(&[Congestion::default()]).map(|(_, _, bytes)| bytes).sum();
        println!(
            "{connections} connections: {} bytes each of all tables and pools",
            bytes / u64::from(connections)
        );
        let mut stack = Stack::new(config, Instant::ZERO);
        stack.listen(80);
        let sink = Sink { frames: Box::new([[0; 2048]; BURST]), sent: 0, gso: Vec::new() };
        let (peers, requests) = (Vec::new(), vec![Vec::new(); BURST]);
        let (random, now, recent) = (Random::new(1), Instant::from_millis(1), VecDeque::new());
        let responder = Responder {
            answer_bytes: RESPONSE_BYTES,
            large: Large(None),
            head_bytes: 0,
            closes: false,
        };
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
            clients: 0,
        };
        for index in 0..connections {
            bench.open(index);
        }
        bench
    }

    /// Opens one more connection.
    pub(crate) fn open(&mut self, index: u32) {
        let [_, a, b, c] = (index / 50_000).to_be_bytes();
        let remote = Address::from_v4([198, 19, b, c.wrapping_add(a).wrapping_add(2)]);
        let mut peer = Peer::new(remote, 10_000 + (index % 50_000) as u16, server(), 80);
        let slot = self.sink.sent % BURST;
        self.deliver(&[peer.syn()], false);
        peer.read(&self.sink.frames[slot]);
        self.deliver(&[peer.ack()], false);
        self.peers.push(peer);
    }

    /// Passes up to one burst of frames to the stack. Returns the time taken.
    fn deliver(&mut self, frames: &[Vec<u8>], counts: bool) -> time::Duration {
        let parts: [[&[u8]; 1]; BURST] =
            std::array::from_fn(|index| [frames.get(index).map_or(&[][..], |frame| &frame[..])]);
        let packets: [Packet<'_>; BURST] = std::array::from_fn(|index| Packet(&parts[index]));
        let packets = &packets[..frames.len()];
        let start = time::Instant::now();
        if counts {
            self.deliver_counted(packets);
        } else {
            self.iterate(packets);
        }
        start.elapsed()
    }

    /// callgrind counts within functions of this name.
    #[inline(never)]
    fn deliver_counted(&mut self, packets: &[Packet<'_>]) {
        self.iterate(packets);
    }

    #[inline]
    fn iterate(&mut self, packets: &[Packet<'_>]) {
        self.stack.receive(self.now, packets, &mut self.responder, &mut self.sink);
        self.stack.expire(self.now, &mut self.responder, &mut self.sink);
        self.stack.flush(self.now, &mut self.responder, &mut self.sink);
    }

    /// One request from each client of a burst, in random order. Returns the time for them, and the
    /// time for acknowledgements of older responses.
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
        // About the time that a busy core needs for a burst.
        self.now += Duration::from_micros(32);
        let sent = self.sink.sent;
        let took = self.deliver(&requests, self.counts);
        assert_eq!(
            self.sink.sent - sent,
            requests.len(),
            "each request is answered by one segment"
        );
        self.requests = requests;
        (took, acks)
    }

    /// One request from each of a burst's new clients. The server closes after its answer, so that
    /// each connection ends in TIME-WAIT. Three segments arrive for each: the SYN, the request, and
    /// the FIN that acknowledges the answer. Three are sent. Returns the number of connections.
    pub(crate) fn connections(&mut self) -> usize {
        self.responder.closes = true;
        let mut peers: Vec<Peer> = (0..BURST).map(|_| self.new_client()).collect();
        let before = self.stack.connections();
        let mut frames: Vec<Vec<u8>> = peers.iter_mut().map(Peer::syn).collect();
        self.answered_burst(&frames);
        let first = self.sink.sent - BURST;
        for (index, (peer, frame)) in peers.iter_mut().zip(&mut frames).enumerate() {
            peer.read(&self.sink.frames[(first + index) % BURST]);
            peer.data_into(REQUEST, frame);
        }
        self.answered_burst(&frames);
        for (peer, frame) in peers.iter_mut().zip(&mut frames) {
            peer.expect(RESPONSE_BYTES as u32 + 1);
            peer.fin_into(frame);
        }
        self.answered_burst(&frames);
        assert_eq!(self.stack.connections(), before, "all are in TIME-WAIT");
        BURST
    }

    /// Passes a burst to the stack, which answers each packet with one segment.
    fn answered_burst(&mut self, frames: &[Vec<u8>]) {
        self.now += Duration::from_micros(32);
        let sent = self.sink.sent;
        self.deliver(frames, self.counts);
        assert_eq!(self.sink.sent - sent, frames.len(), "each is answered by one segment");
    }

    /// A client with a four-tuple that no client had in the last 2²⁴ connections.
    fn new_client(&mut self) -> Peer {
        self.clients += 1;
        let [_, a, b, c] = self.clients.to_be_bytes();
        let port = 10_000 + u16::from(c) * 128 + u16::from(b & 0x7f);
        Peer::new(Address::from_v4([198, 19, 200 + (b >> 7), a]), port, server(), 80)
    }

    /// Long answers leave in packets that are cut behind the stack.
    pub(crate) fn take_gso(&mut self) {
        self.sink.gso = vec![0; 65_553];
    }

    /// The following large responses have stored checksums.
    pub(crate) fn store_sums(&mut self) {
        static SUMS: LazyLock<PrefixSums> = LazyLock::new(|| PrefixSums::of(&LARGE));
        self.responder.large = Large(Some(&SUMS));
    }

    /// Sets the size of the following responses.
    pub(crate) fn answer_with(&mut self, answer_bytes: usize) {
        self.responder.answer_bytes = answer_bytes;
    }

    /// The following large responses have a head besides.
    pub(crate) fn add_head(&mut self) {
        self.responder.head_bytes = RESPONSE_BYTES;
    }

    /// One request with a large response. The client acknowledges every other segment.
    pub(crate) fn large(&mut self) -> usize {
        const TWO_SEGMENTS: u32 = 2 * 1448;
        let answer_bytes = (self.responder.head_bytes + self.responder.answer_bytes) as u32;
        let index = self.random.below(self.peers.len() as u64) as usize;
        let mut request = Vec::new();
        self.peers[index].data_into(REQUEST, &mut request);
        let mut frames = vec![request];
        let mut acked = 0;
        while acked < answer_bytes {
            let before = self.stack.counters().0.bytes_sent;
            self.deliver(&frames, self.counts);
            self.now += Duration::from_micros(100);
            let mut sent = (self.stack.counters().0.bytes_sent - before) as u32;
            assert!(sent > 0, "the answer stops at {acked} bytes");
            frames.clear();
            while sent > 0 {
                let part = sent.min(TWO_SEGMENTS);
                (sent, acked) = (sent - part, acked + part);
                self.peers[index].expect(part);
                frames.push(self.peers[index].ack());
            }
        }
        self.deliver(&frames, self.counts);
        1
    }

    /// Acknowledges the responses of an older burst without new requests.
    fn acknowledge_old(&mut self, start: u64) -> time::Duration {
        self.recent.push_back(start);
        if self.recent.len() <= ACK_BURSTS {
            return time::Duration::ZERO;
        }
        let start = self.recent.pop_front().unwrap_or_default();
        let acks: Vec<_> = (0..self.size()).map(|index| self.chosen(start, index).ack()).collect();
        self.deliver(&acks, self.counts_acks)
    }

    /// A client of the burst that begins at `start`.
    fn chosen(&mut self, start: u64, index: usize) -> &mut Peer {
        let index = (start + index as u64 * STEP) % self.peers.len() as u64;
        &mut self.peers[index as usize]
    }

    /// Requests in a burst.
    pub(crate) fn size(&self) -> usize {
        BURST.min(self.peers.len())
    }
}
