//! Outages and black holes, in simulated time (RFC 8899 §4.4 and §5.2). Both look the same while
//! they last: a connection tries smaller segments. Once these arrive, it searches for larger ones
//! at once, and learns which it was.

use simoom_io::{Application, Closed, Duration, Opened, Reply};
use simoom_tcp::counters::Counters;
use simoom_tcp::testing::pair::config;
use simoom_tcp::testing::{Pair, Quality};
use simoom_tcp::{Config, Congestion, Limits};

/// The server sends it five times, which no test outlasts.
static STREAM: [u8; 1 << 24] = [7; 1 << 24];
/// The payload of a full segment, with timestamps.
const MSS: u16 = 1448;
const PORT: u16 = simoom_tcp::testing::pair::PORT;
const CLIENT_PORT: u16 = 40_000;

/// The server sends without end, and the client counts.
#[derive(Default)]
struct Download {
    received: u64,
}

impl Application for Download {
    type Blob = &'static [u8];
    type Conn = ();

    fn opened(&mut self, (): &mut (), opened: Opened, reply: &mut Reply<'_, &'static [u8]>) {
        if !opened.active {
            (0..5).for_each(|_| reply.share(&STREAM[..], 0..STREAM.len()));
        }
    }

    fn received(&mut self, (): &mut (), bytes: &[u8], _: &mut Reply<'_, &'static [u8]>) -> usize {
        self.received += bytes.len() as u64;
        bytes.len()
    }

    fn overfull(&mut self, (): &mut (), _: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        reply.abort();
    }

    fn timeout(&mut self, (): &mut (), reply: &mut Reply<'_, &'static [u8]>) {
        reply.abort();
    }

    fn closed(&mut self, (): &mut (), _: Closed) {}
}

/// The bottleneck's bytes a second and its queue. The peer's first window fits the first queue, so
/// that nothing is lost.
const CLEAN: (u64, u64) = (100_000, 100_000);
const LOSSY: (u64, u64) = (50_000, 10_000);

/// A download after two seconds.
fn download(congestion: Congestion, bottleneck: (u64, u64)) -> Pair<Download> {
    let delay = Duration::from_millis(20);
    let quality = Quality { delay, bottleneck, ..Quality::default() };
    let configured = |host| {
        let first = config(host, Limits::for_connections(64));
        let max = if bottleneck == CLEAN { 0 } else { first.max_receive_window_bytes };
        Config { congestion, max_receive_window_bytes: max, send_timeout_ms: 600_000, ..first }
    };
    let mut pair = Pair::new(configured(1), configured(2), quality, 1, Download::default);
    pair.connect(CLIENT_PORT);
    run(&mut pair, 2);
    assert_eq!(mss(&pair, CLIENT_PORT), MSS, "{congestion}");
    pair
}

fn run(pair: &mut Pair<Download>, seconds: u64) {
    let until = pair.now + Duration::from_secs(seconds);
    assert!(pair.run_until(10_000_000, |pair| pair.now >= until));
}

/// Nothing arrives until the server suspects a black hole for the `nth` time. Then runs until
/// something does.
fn interrupt(pair: &mut Pair<Download>, nth: u64) {
    for loss in [1000, 0] {
        pair.server.out.quality.loss = loss;
        pair.client.out.quality.loss = loss;
        assert!(pair.run_until(10_000_000, |pair| counters(pair).path_black_holes == nth));
    }
    let before = pair.client.app.received;
    assert!(pair.run_until(10_000_000, |pair| pair.client.app.received > before));
}

fn mss(pair: &Pair<Download>, client_port: u16) -> u16 {
    pair.server.stack.inspect(PORT, client_port).expect("the connection is open").mss
}

fn counters(pair: &Pair<Download>) -> &Counters {
    pair.server.stack.counters().0
}

/// After an outage the MSS is soon what it was, and so is that of the next connection. A long
/// outage lowers it twice.
#[test]
fn rfc_8899_section_5_2_an_outage_is_no_black_hole() {
    for congestion in Congestion::ALL {
        for lowered in [1, 2] {
            let mut pair = download(*congestion, CLEAN);
            interrupt(&mut pair, lowered);
            assert!(mss(&pair, CLIENT_PORT) <= 1280, "{congestion}");
            run(&mut pair, 10);
            assert_eq!(mss(&pair, CLIENT_PORT), MSS, "{congestion}, lowered {lowered} times");
            assert_eq!(counters(&pair).path_mtu_raised, 1, "{congestion}");
            pair.connect(CLIENT_PORT + 1);
            run(&mut pair, 2);
            assert_eq!(mss(&pair, CLIENT_PORT + 1), MSS, "{congestion}: the next connection");
        }
    }
}

/// The path loses packets of more than 1400 bytes from now on: the search ends with segments that
/// fit, after a dozen probes, and no probe follows for ten minutes.
#[test]
fn rfc_8899_section_5_2_a_black_hole_is_searched_once() {
    for congestion in Congestion::ALL {
        // Losses of other segments together with a probe do not make it succeed.
        for bottleneck in [CLEAN, LOSSY] {
            let mut pair = download(*congestion, bottleneck);
            pair.server.out.quality.mtu = 1400;
            run(&mut pair, 90);
            let found = mss(&pair, CLIENT_PORT);
            assert!((1316..=1348).contains(&found), "{congestion}, {bottleneck:?}: {found}");
            let probes = counters(&pair).path_mtu_probes;
            assert!((4..=12).contains(&probes), "{congestion}, {bottleneck:?}: {probes} probes");
            run(&mut pair, 450);
            assert_eq!(counters(&pair).path_mtu_probes, probes, "{congestion}, {bottleneck:?}");
        }
    }
}
