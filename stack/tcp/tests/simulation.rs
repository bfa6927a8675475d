//! Connections that end in every way, over links that lose, reorder and damage frames: closes from
//! either side and from both, aborts, peers that vanish, pools of a few entries. In every case no
//! byte is wrong, each connection ends once, within its time, and nothing stays held.
//!
//! `SIMOOM_SEED=17` repeats one run; `SIMOOM_RUNS=100000` does many.

mod states;

use simoom_io::{Application, Closed, Duration, Opened, Reply};
use simoom_tcp::testing::coverage::Event;
use simoom_tcp::testing::echo::{stream_byte, stream_bytes};
use simoom_tcp::testing::pair::{Side, hasty, over_ipv6};
use simoom_tcp::testing::{Coverage, Pair, Quality, Random, seeds};
use simoom_tcp::{Config, Congestion, EcnPolicy, Limits, OwnershipCounts};

/// When an end closes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Closes {
    /// Once it has sent everything.
    #[default]
    Sent,
    /// At the first byte it reads.
    Heard,
    /// As soon as the connection is open.
    Opened,
    /// When its deadline passes, if the peer has not closed before.
    Deadline,
    /// It resets instead, once it has sent everything.
    Aborts,
    /// It resets at the first byte it reads.
    AbortsHeard,
}

/// An application whose connections behave at random.
struct Player {
    random: Random,
    most: u64,
    /// How often a connection may stop reading for a while.
    pauses: u8,
    opened: u64,
    closed: Vec<Closed>,
}

#[derive(Debug, Default)]
struct PlayerConn {
    closes: Closes,
    to_send: u64,
    sent: u64,
    received: u64,
    /// Bytes that it has seen and not consumed.
    seen: usize,
    /// Times more that it leaves a part of its input.
    leaves: u8,
    /// Times more that it reads nothing for a while.
    pauses: u8,
    is_paused: bool,
    /// `opened` came, or will not, and `closed` has not.
    is_open: bool,
}

impl Player {
    fn new(seed: u64, most: u64) -> Player {
        Player { random: Random::new(seed), most, pauses: 0, opened: 0, closed: Vec::new() }
    }

    fn send(&self, conn: &mut PlayerConn, reply: &mut Reply<'_, &'static [u8]>) {
        while conn.sent < conn.to_send && reply.has_capacity() {
            let n = (conn.to_send - conn.sent).min(900);
            reply.copy(&stream_bytes(conn.sent, n as usize));
            conn.sent += n;
        }
        match conn.closes {
            Closes::Sent if conn.sent == conn.to_send => reply.close(),
            Closes::Aborts if conn.sent == conn.to_send => reply.abort(),
            _ => {}
        }
    }
}

impl Application for Player {
    type Blob = &'static [u8];
    type Conn = PlayerConn;

    fn opened(&mut self, conn: &mut PlayerConn, _: Opened, reply: &mut Reply<'_, &'static [u8]>) {
        assert!(!std::mem::replace(&mut conn.is_open, true), "opened twice");
        self.opened += 1;
        conn.closes = [
            Closes::Sent,
            Closes::Sent,
            Closes::Heard,
            Closes::Opened,
            Closes::Deadline,
            Closes::Deadline,
            Closes::Aborts,
            Closes::AbortsHeard,
        ][self.random.below(8) as usize];
        conn.to_send = self.random.below(self.most + 1);
        conn.leaves = self.random.below(4) as u8;
        conn.pauses = self.pauses;
        reply.set_timeout(Some(Duration::from_millis(1000 + self.random.below(4000))));
        self.send(conn, reply);
        if conn.closes == Closes::Opened {
            reply.close();
        }
    }

    fn received(
        &mut self,
        conn: &mut PlayerConn,
        bytes: &[u8],
        reply: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        assert!(conn.is_open && !bytes.is_empty());
        assert!(
            bytes.len() >= conn.seen,
            "offered {} bytes of {} seen before",
            bytes.len(),
            conn.seen
        );
        conn.seen = bytes.len();
        if conn.pauses > 0 {
            (conn.pauses, conn.is_paused) = (conn.pauses - 1, true);
            reply.read_later();
            reply.set_timeout(Some(Duration::from_millis(100 + self.random.below(1500))));
            return 0;
        }
        let mut n = bytes.len();
        if conn.leaves > 0 && self.random.chance(300) {
            conn.leaves -= 1;
            n = self.random.below(n as u64) as usize;
        }
        for &byte in &bytes[..n] {
            assert_eq!(byte, stream_byte(conn.received), "the stream at {}", conn.received);
            conn.received += 1;
        }
        match conn.closes {
            Closes::Heard => reply.close(),
            Closes::AbortsHeard => reply.abort(),
            _ => {}
        }
        conn.seen = bytes.len() - n;
        n
    }

    fn overfull(&mut self, _: &mut PlayerConn, _: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        reply.close();
    }

    fn resumed(&mut self, conn: &mut PlayerConn, reply: &mut Reply<'_, &'static [u8]>) {
        self.send(conn, reply);
    }

    fn timeout(&mut self, conn: &mut PlayerConn, reply: &mut Reply<'_, &'static [u8]>) {
        match std::mem::take(&mut conn.is_paused) {
            true => reply.set_timeout(Some(Duration::from_millis(3000))),
            false => reply.close(),
        }
    }

    fn closed(&mut self, _: &mut PlayerConn, how: Closed) {
        self.closed.push(how);
    }
}

fn quality(seed: u64) -> Quality {
    let mut random = Random::new(seed ^ 0xabcd);
    let mut rate = |most| if random.chance(400) { random.below(most) as u32 } else { 0 };
    Quality {
        loss: rate(301),
        duplicate: rate(100),
        reorder: rate(200),
        corrupt: rate(40),
        delay: Duration::from_micros([20, 1000, 40_000][(seed % 3) as usize]),
        jitter: Duration::from_micros(u64::from(rate(30_000))),
        mark: if seed.is_multiple_of(4) { 100 } else { 0 },
        gso: [0, 1000, 700][(seed / 3 % 3) as usize],
        ..Quality::default()
    }
}

fn pair(client: Limits, server: Limits, most: u64, seed: u64) -> Pair<Player> {
    let mut apps = [Player::new(seed ^ 1, most), Player::new(seed ^ 2, most)].into_iter();
    let app = std::cell::RefCell::new(&mut apps);
    let app = || app.borrow_mut().next().expect("a pair has two sides");
    let ecn = if seed.is_multiple_of(4) { EcnPolicy::Request } else { EcnPolicy::Accept };
    // Both sides have a controller of their own, and every pair of them meets.
    let controllers = Congestion::ALL.len() as u64;
    let congestion = |number: u64| Congestion::ALL[(number % controllers) as usize];
    let (ours, theirs) = (congestion(seed), congestion(seed / controllers));
    let cookies = seed.is_multiple_of(2);
    let server = Config { syn_cookies: cookies, congestion: theirs, ..hasty(2, server) };
    // Every fifth run goes over IPv6: a number that the other choices do not follow.
    let over = if seed.is_multiple_of(5) { over_ipv6 } else { Config::clone };
    let client = Config { ecn, congestion: ours, ..hasty(1, client) };
    Pair::new(over(&client), over(&server), quality(seed), seed, app)
}

/// Runs until no event is left. Then nothing may be held.
fn play_out(pair: &mut Pair<Player>, seed: u64) {
    let over = pair.run_until(300_000, |pair| {
        let is_over = |side: &Side<Player>| {
            side.stack.ownership() == OwnershipCounts::default()
                && side.stack.next_deadline().is_none()
        };
        is_over(&pair.client) && is_over(&pair.server) && pair.client.out.next_arrival().is_none()
    });
    for side in [&pair.client, &pair.server] {
        assert!(
            over,
            "seed {seed}: held for ever: {:?} {:?}",
            side.stack.ownership(),
            side.stack.counters()
        );
        let (counters, _) = side.stack.counters();
        let ended = counters.closed_finished
            + counters.closed_reset_by_peer
            + counters.closed_timed_out
            + counters.closed_refused
            + counters.closed_aborted;
        assert_eq!(ended, counters.active_opens + counters.passive_opens, "seed {seed}");
        assert_eq!(
            side.app.closed.len() as u64,
            ended,
            "seed {seed}: the application heard of each end"
        );
        assert_eq!(counters.answer_overflow, 0, "seed {seed}");
        let faults = side
            .coverage
            .as_ref()
            .map(|coverage| states::faults(coverage, false))
            .unwrap_or_default();
        assert!(faults.is_empty(), "seed {seed}: {}", faults.join(", "));
    }
}

#[test]
fn every_way_to_end() {
    let mut gso = [0; 2];
    for seed in seeds(3000) {
        let limits = Limits::for_connections(64);
        let mut pair = pair(limits, limits, 6000, seed);
        if seed.is_multiple_of(4) {
            // Its states are held against the RFC, too.
            (pair.client.coverage, pair.server.coverage) =
                (Some(Coverage::default()), Some(Coverage::default()));
        }
        for port in 0..1 + seed % 4 {
            pair.connect(40_000 + port as u16);
        }
        play_out(&mut pair, seed);
        let counters = pair.server.stack.counters().0;
        gso = [gso[0] + counters.gso_packets_sent, gso[1] + counters.gso_packets_refused];
    }
    // A single run may be spared; many are not.
    assert!(gso[0] > 0 && gso[1] > 0 || seeds(3000) != (0..3000), "GSO packets: {gso:?}");
}

/// From some moment on nothing arrives any more: half-open clients, streams cut off, closes
/// unanswered.
#[test]
fn peers_that_vanish() {
    for seed in seeds(1000) {
        let limits = Limits::for_connections(64);
        let mut pair = pair(limits, limits, 40_000, seed);
        for port in 0..3 {
            pair.connect(40_000 + port);
        }
        for _ in 0..seed % 60 {
            pair.step();
        }
        pair.client.out.quality.loss = 1000;
        if seed % 2 == 0 {
            pair.server.out.quality.loss = 1000;
        }
        play_out(&mut pair, seed);
    }
}

/// The link is cut and restored repeatedly: what was lost meanwhile is retransmitted.
#[test]
fn partitions_that_heal() {
    for seed in seeds(600) {
        let limits = Limits::for_connections(64);
        let mut pair = pair(limits, limits, 60_000, seed);
        let mut random = Random::new(seed);
        for port in 0..3 {
            pair.connect(40_000 + port);
        }
        for _ in 0..random.below(5) {
            for _ in 0..random.below(60) {
                pair.step();
            }
            let (quality, until) =
                (pair.client.out.quality, pair.now + Duration::from_millis(random.below(1500)));
            pair.client.out.quality.loss = 1000;
            pair.server.out.quality.loss = [1000, quality.loss][random.below(2) as usize];
            while pair.now < until && pair.step() {}
            (pair.client.out.quality, pair.server.out.quality) = (quality, quality);
        }
        play_out(&mut pair, seed);
    }
}

/// Both sides repeatedly stop reading for a time, with small windows: they close, are probed, and
/// open.
#[test]
fn windows_that_shut() {
    let mut probes = 0;
    for seed in seeds(600) {
        let limits = Limits::for_connections(64);
        let mut apps = [Player::new(seed ^ 1, 30_000), Player::new(seed ^ 2, 30_000)]
            .map(|app| Player { pauses: (seed % 4) as u8, ..app })
            .into_iter();
        let app = std::cell::RefCell::new(&mut apps);
        let app = || app.borrow_mut().next().expect("a pair has two sides");
        let small = |host| Config { receive_window_bytes: 4096, ..hasty(host, limits) };
        let mut pair = Pair::new(small(1), small(2), quality(seed), seed, app);
        for port in 0..3 {
            pair.connect(40_000 + port);
        }
        play_out(&mut pair, seed);
        probes += [&pair.client, &pair.server]
            .map(|side| side.stack.counters().0.zero_window_probes)
            .iter()
            .sum::<u64>();
    }
    // A single run may be spared; many are not.
    assert!(probes > 0 || seeds(600) != (0..600), "no window was shut");
}

/// Both sides close as soon as they may, with nothing or little to say: their FINs cross.
#[test]
fn both_close_at_once() {
    let mut closing = 0;
    for seed in seeds(600) {
        let limits = Limits::for_connections(64);
        let mut pair = pair(limits, limits, 0, seed);
        pair.client.coverage = Some(Coverage::default());
        for port in 0..3 {
            pair.connect(40_000 + port);
        }
        // Once open on both sides, every connection closes on both, whatever else it was to do.
        pair.run_until(10_000, |pair| pair.client.app.opened >= 3 && pair.server.app.opened >= 3);
        for side in [&mut pair.client, &mut pair.server] {
            let open: Vec<(u16, u16)> = side.stack.open_ports().collect();
            for (local, remote) in open {
                let id = side.stack.inspect(local, remote).expect("its ports were just listed").id;
                side.stack.with(id, |_, reply| reply.close());
            }
            side.flush(pair.now);
        }
        play_out(&mut pair, seed);
        let crossed = pair
            .client
            .coverage
            .as_ref()
            .and_then(|coverage| coverage.followed("FIN-WAIT-1", Event::Fin));
        closing += u64::from(crossed.is_some());
    }
    assert!(closing > 0 || seeds(600) != (0..600), "no FINs crossed");
}

/// Everything runs out: blocks, half-open entries, TIME-WAIT, ranges, chunks, buffers.
#[test]
fn tiny_pools() {
    let tiny = Limits {
        connections: 6,
        half_open: 3,
        connections_per_prefix: u32::MAX,
        prefix_lengths: Default::default(),
        connections_per_port: u32::MAX,
        time_wait: 2,
        send_entries: 14,
        send_chunks: 8,
        small_input_buffers: 2,
        large_input_buffers: 1,
        reassembly_blocks: 3,
        flight_runs: 5,
        neighbours: 1,
        unresolved: 1,
    };
    let mut exhausted = simoom_tcp::drop::Drops::default();
    for seed in seeds(800) {
        let mut pair = pair(Limits::for_connections(64), tiny, 8000, seed);
        for port in 0..12 {
            pair.connect(40_000 + port);
            for _ in 0..seed % 5 {
                pair.step();
            }
        }
        play_out(&mut pair, seed);
        let (_, drops) = pair.server.stack.counters();
        exhausted.drop_connections_full += drops.drop_connections_full;
        exhausted.drop_half_open_full += drops.drop_half_open_full;
        exhausted.drop_no_receive_buffer += drops.drop_no_receive_buffer;
        exhausted.drop_reassembly_full += drops.drop_reassembly_full;
    }
    // A single run may be spared; many are not.
    if seeds(800) == (0..800) {
        let counts = [
            exhausted.drop_connections_full,
            exhausted.drop_half_open_full,
            exhausted.drop_no_receive_buffer,
            exhausted.drop_reassembly_full,
        ];
        assert!(counts.iter().all(|&count| count > 0), "{exhausted:?}");
    }
}

/// Connections one after the other over the same few ports: TIME-WAIT is met, reused and evicted.
#[test]
fn the_same_ports_again_and_again() {
    for seed in seeds(200) {
        let limits = Limits { time_wait: 3, ..Limits::for_connections(64) };
        let mut pair = pair(Limits::for_connections(64), limits, 2000, seed);
        let mut random = Random::new(seed);
        for _ in 0..30 {
            let port = 40_000 + random.below(4) as u16;
            if pair.client.stack.inspect(port, 80).is_none() {
                let _ = pair.try_connect(port);
            }
            for _ in 0..random.below(40) {
                pair.step();
            }
        }
        play_out(&mut pair, seed);
    }
}

#[test]
fn several_hundred_connections_behave_as_they_like() {
    for seed in seeds(3) {
        let limits = Limits::for_connections(300);
        let mut pair = pair(limits, limits, 5000, seed);
        for port in 0..300 {
            pair.connect(10_000 + port);
        }
        play_out(&mut pair, seed);
    }
}
