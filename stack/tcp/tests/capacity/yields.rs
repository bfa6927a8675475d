//! Applications that yield: a connection with much to do goes on in the next iterations, a bounded
//! number of connections in each, in turn. Others are served between.

use simoom_io::{Application, Closed, Duration, Opened, Reply};
use simoom_tcp::Limits;
use simoom_tcp::testing::pair::config;
use simoom_tcp::testing::{Pair, Quality};
use std::collections::BTreeMap;

/// Connections with much to do.
const BUSY: u16 = 10;
/// Bytes that each of them sends at once; each byte uses up a share.
const BYTES: usize = 2000;
const FIRST_PORT: u16 = 10_000;

/// Either end. The server's notes whom it served, byte by byte.
#[derive(Default)]
struct Steps {
    served: usize,
    by_port: BTreeMap<u16, usize>,
    ended: Vec<Closed>,
}

#[derive(Default)]
struct Conn {
    is_client: bool,
    port: u16,
}

impl Steps {
    fn of(&self, port: u16) -> usize {
        self.by_port.get(&port).copied().unwrap_or(0)
    }
}

impl Application for Steps {
    type Blob = &'static [u8];
    type Conn = Conn;

    fn wants_ends(&self, _: u16) -> bool {
        true
    }

    fn opened(&mut self, conn: &mut Conn, opened: Opened, reply: &mut Reply<'_, &'static [u8]>) {
        let ends = opened.ends.expect("wanted");
        conn.is_client = opened.active;
        conn.port = if opened.active { ends.local.port() } else { ends.remote.port() };
        if conn.is_client {
            let is_busy = conn.port < FIRST_PORT + BUSY;
            reply.share(&[b'b'; BYTES], 0..if is_busy { BYTES } else { 1 });
            reply.close();
        }
    }

    fn received(
        &mut self,
        conn: &mut Conn,
        bytes: &[u8],
        reply: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        if conn.is_client {
            return bytes.len();
        }
        self.served += 1;
        *self.by_port.entry(conn.port).or_default() += 1;
        reply.copy(b"!");
        reply.yield_now();
        1
    }

    fn overfull(&mut self, _: &mut Conn, _: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        reply.abort();
    }

    fn timeout(&mut self, _: &mut Conn, _: &mut Reply<'_, &'static [u8]>) {}

    fn closed(&mut self, _: &mut Conn, how: Closed) {
        self.ended.push(how);
    }
}

fn pair() -> Pair<Steps> {
    let limits = Limits::for_connections(64);
    let quality = Quality { delay: Duration::from_micros(50), ..Quality::default() };
    let mut pair = Pair::new(config(1, limits), config(2, limits), quality, 1, Steps::default);
    for port in 0..BUSY {
        pair.connect(FIRST_PORT + port);
    }
    pair
}

#[test]
fn a_share_is_for_one_iteration_and_shares_go_round() {
    let mut pair = pair();
    let mut most = 0;
    let total = usize::from(BUSY) * BYTES;
    while pair.server.app.served < total {
        let before = pair.server.app.served;
        let all_have_begun = pair.server.app.by_port.len() == usize::from(BUSY);
        assert!(pair.step(), "{before} of {total} bytes were read");
        let counts = (0..BUSY).map(|port| pair.server.app.of(FIRST_PORT + port));
        // One that has just begun comes in once before its turn.
        let (least, ahead) = counts.fold((BYTES, 0), |(a, b), n| (a.min(n), b.max(n)));
        assert!(least == 0 || ahead - least <= 2, "{least} to {ahead}");
        if all_have_begun {
            most = most.max(pair.server.app.served - before);
        }
    }
    assert_eq!(most, 4, "connections that go on in one iteration");
    assert!(pair.run_until(10_000, |pair| pair.server.app.ended.len() == usize::from(BUSY)));
    assert!(pair.server.app.ended.iter().all(|how| *how == Closed::Finished));
    let counters = pair.server.stack.counters().0;
    assert_eq!((counters.shares_used_up, counters.retransmissions), (total as u64, 0));
}

#[test]
fn one_that_comes_last_is_served_at_once() {
    let mut pair = pair();
    assert!(pair.run_until(10_000, |pair| pair.server.app.served > 500));
    let late = FIRST_PORT + BUSY;
    pair.connect(late);
    let before = pair.server.app.served;
    let mut steps = 0;
    while pair.server.app.of(late) == 0 {
        assert!(pair.step());
        steps += 1;
    }
    let meanwhile = pair.server.app.served - before;
    assert!(meanwhile <= 4 * steps + 1, "{meanwhile} bytes of others in {steps} steps");
    assert!(pair.server.app.served < usize::from(BUSY) * BYTES / 2);
}
