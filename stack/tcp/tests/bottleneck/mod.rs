//! Downloads over one bottleneck, in simulated time: a server that sends without end, with a
//! controller for each of its two ports, and a client that counts.

#![allow(dead_code, unreachable_pub, reason = "each test compiles this file and uses a part of it")]

use simoom_io::{Application, Closed, Duration, Opened, Reply};
use simoom_tcp::testing::pair::config;
use simoom_tcp::testing::{Pair, Quality};
use simoom_tcp::{Config, Congestion, Connect, Limits, Link};
use std::collections::BTreeMap;

/// A stream that never ends within a test.
pub static STREAM: [u8; 1 << 28] = [7; 1 << 28];
/// A second port of the server, with its own congestion control.
pub const OTHER_PORT: u16 = 81;
pub const MBIT: u64 = 125_000;
pub const FRAME: u64 = 1514;

/// The server sends without end, or bursts; the client counts what arrives, by token.
#[derive(Default)]
pub struct Flows {
    pub received: BTreeMap<u32, u64>,
    /// Bytes of each burst and the time between them; `None` for a stream without end.
    pub bursts: Option<(usize, Duration)>,
}

impl Application for Flows {
    type Blob = &'static [u8];
    type Conn = u32;

    fn opened(&mut self, token: &mut u32, opened: Opened, reply: &mut Reply<'_, &'static [u8]>) {
        *token = opened.token;
        match self.bursts {
            _ if opened.active => {}
            None => reply.share(&STREAM[..], 0..STREAM.len()),
            Some((_, every)) => reply.set_timeout(Some(every)),
        }
    }

    fn received(
        &mut self,
        token: &mut u32,
        bytes: &[u8],
        _: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        *self.received.entry(*token).or_default() += bytes.len() as u64;
        bytes.len()
    }

    fn overfull(&mut self, _: &mut u32, _: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        reply.abort();
    }

    fn timeout(&mut self, _: &mut u32, reply: &mut Reply<'_, &'static [u8]>) {
        if let Some((bytes, every)) = self.bursts {
            reply.share(&STREAM[..], 0..bytes);
            reply.set_timeout(Some(every));
        }
    }

    fn closed(&mut self, _: &mut u32, _: Closed) {}
}

/// Downloads over one bottleneck, by the server's controllers.
pub struct Scene {
    pub pair: Pair<Flows>,
    /// Port of the client, of the server.
    pub flows: Vec<(u16, u16)>,
    /// Bytes received by each flow at the last call of `rates`, and when that was.
    pub before: (Vec<u64>, simoom_io::Instant),
    /// States of the first flow's controller, in the order in which they were first seen.
    pub states: Vec<&'static str>,
}

impl Scene {
    /// Flows to the first port are controlled by `first`, to the other port by `second`.
    pub fn new(first: Congestion, second: Congestion, quality: Quality, seed: u64) -> Scene {
        Scene::with(first, second, quality, seed, None)
    }

    pub fn with(
        first: Congestion,
        second: Congestion,
        quality: Quality,
        seed: u64,
        bursts: Option<(usize, Duration)>,
    ) -> Scene {
        // As many runs as a server has: one connection alone gets no more than its share.
        let limits = Limits {
            reassembly_blocks: 1 << 16,
            flight_runs: 1 << 14,
            ..Limits::for_connections(64)
        };
        let server = Config {
            congestion: first,
            congestion_of_ports: vec![(OTHER_PORT, second)],
            ..config(2, limits)
        };
        let client = Config { max_receive_window_bytes: 4 << 20, ..config(1, limits) };
        let app = || Flows { bursts, ..Flows::default() };
        let mut pair = Pair::new(client, server, quality, seed, app);
        pair.server.stack.listen(OTHER_PORT);
        // Acknowledgements go back over a link without a bottleneck, loss or aggregation.
        pair.client.out.quality = Quality { delay: quality.delay, ..Quality::default() };
        let before = (Vec::new(), pair.now);
        Scene { pair, flows: Vec::new(), before, states: Vec::new() }
    }

    /// Opens a download from this port of the server.
    pub fn open(&mut self, remote_port: u16) -> &mut Scene {
        let local_port = 40_000 + self.flows.len() as u16;
        let to = Connect {
            local: self.pair.client.stack.address(),
            local_port,
            remote: self.pair.server.stack.address(),
            remote_port,
            link: Some(Link { mac: [2, 0, 0, 0, 0, 2], vlan: 0 }),
            token: self.flows.len() as u32,
        };
        self.pair.client.out.now = self.pair.now;
        let client = &mut self.pair.client;
        client.stack.connect(self.pair.now, &to, &mut client.out).expect("a free four-tuple");
        self.flows.push((local_port, remote_port));
        self
    }

    /// Runs for this time, and notes the states of the first flow's controller.
    pub fn run(&mut self, seconds: f64) -> &mut Scene {
        let until = self.pair.now + Duration::from_micros((seconds * 1e6) as u64);
        while self.pair.now < until && self.pair.step() {
            let state = self.state();
            if !state.is_empty() && self.states.last() != Some(&state) {
                self.states.push(state);
            }
        }
        self
    }

    pub fn state(&self) -> &'static str {
        let (local, remote) = self.flows[0];
        let found = self.pair.server.stack.inspect(remote, local);
        found.map_or("", |found| found.controller_state)
    }

    /// Bytes a second that each flow has received since the last call.
    pub fn rates(&mut self) -> Vec<f64> {
        let received = &self.pair.client.app.received;
        let now: Vec<u64> = (0..self.flows.len() as u32)
            .map(|token| received.get(&token).copied().unwrap_or(0))
            .collect();
        let seconds = (self.pair.now - self.before.1).total_micros() as f64 / 1e6;
        let rates = now
            .iter()
            .enumerate()
            .map(|(flow, bytes)| (bytes - self.before.0.get(flow).unwrap_or(&0)) as f64 / seconds);
        let rates = rates.collect();
        self.before = (now, self.pair.now);
        rates
    }

    /// The rate of the only flow over the last `seconds`.
    pub fn rate_of(&mut self, seconds: f64) -> f64 {
        self.rates();
        self.run(seconds).rates()[0]
    }

    /// Frames lost in the queue of the bottleneck so far.
    pub fn overflowed(&self) -> u64 {
        self.pair.server.out.overflowed
    }
}

pub fn path(mbit: u64, rtt_ms: u64, queue_frames: u64) -> Quality {
    let delay = Duration::from_micros(rtt_ms * 500);
    Quality { delay, bottleneck: (mbit * MBIT, queue_frames * FRAME), ..Quality::default() }
}
