//! Goodput over links that lose frames, in simulated time: one large download each, every byte compared.
//!
//! Prints a table (`cargo test -p simoom-stack --test goodput -- --nocapture`). Nothing about speed is asserted, only
//! that loss is repaired by what arrives after it: timeouts are the exception, and little is sent for nothing.

#![allow(clippy::print_stdout, reason = "the table is what the test is for")]

use simoom_stack::counters::Counters;
use simoom_stack::testing::echo::{stream_byte, stream_bytes};
use simoom_stack::testing::pair::config;
use simoom_stack::testing::{Pair, Quality};
use simoom_stack::{Application, Closed, Config, Congestion, Duration, Limits, Opened, Reply};
use std::sync::LazyLock;

/// Bytes of the download.
const TOTAL: usize = 1_000_000;
static STREAM: LazyLock<Vec<u8>> = LazyLock::new(|| stream_bytes(0, TOTAL));

/// The server sends the stream and closes; the client compares it.
#[derive(Default)]
struct Download {
    finished: u64,
}

impl Application for Download {
    type Blob = &'static [u8];
    type Conn = u64;

    fn opened(&mut self, _: &mut u64, opened: Opened, reply: &mut Reply<'_, &'static [u8]>) {
        if !opened.active {
            reply.share(&STREAM[..], 0..TOTAL);
            reply.close();
        }
    }

    fn received(&mut self, received: &mut u64, bytes: &[u8], reply: &mut Reply<'_, &'static [u8]>) -> usize {
        for byte in bytes {
            assert_eq!(*byte, stream_byte(*received), "the stream at {received}");
            *received += 1;
        }
        if *received == TOTAL as u64 {
            reply.close();
        }
        bytes.len()
    }

    fn overfull(&mut self, _: &mut u64, _: &[u8], reply: &mut Reply<'_, &'static [u8]>) {
        reply.abort();
    }

    fn timeout(&mut self, _: &mut u64, reply: &mut Reply<'_, &'static [u8]>) {
        reply.abort();
    }

    fn closed(&mut self, received: &mut u64, how: Closed) {
        self.finished += u64::from(how == Closed::Finished && *received == TOTAL as u64);
    }
}

/// Downloads once; returns kilobytes per second, and what the server counted.
fn download(congestion: Congestion, permille: u32, rtt_ms: u64, seed: u64) -> (f64, Counters) {
    let quality = Quality { loss: permille, delay: Duration::from_micros(rtt_ms * 500), ..Quality::default() };
    let config = |host| Config { congestion, ..config(host, Limits::for_connections(64)) };
    let mut pair = Pair::new(config(1), config(2), quality, seed, Download::default);
    let start = pair.now;
    pair.connect(40_000);
    assert!(pair.run_until(1_000_000, |pair| pair.client.app.finished == 1), "seed {seed}: the download stops");
    let seconds = (pair.now - start).total_micros() as f64 / 1e6;
    (TOTAL as f64 / 1e3 / seconds, *pair.server.stack.counters().0)
}

#[test]
fn loss_is_repaired_without_timeouts() {
    println!("loss %   RTT ms   NewReno kB/s   CUBIC kB/s   recoveries  timeouts  sent again");
    for permille in [1, 10, 50, 100] {
        for rtt_ms in [1, 10, 100] {
            let of = |congestion| {
                let runs: Vec<_> = (0..4).map(|seed| download(congestion, permille, rtt_ms, seed)).collect();
                let mean = runs.iter().map(|(rate, _)| rate).sum::<f64>() / runs.len() as f64;
                let sum =
                    |field: fn(&Counters) -> u64| runs.iter().map(|(_, counters)| field(counters)).sum::<u64>();
                let recoveries = sum(|counters| counters.fast_retransmissions);
                let timeouts = sum(|counters| counters.retransmission_timeouts);
                (
                    mean,
                    recoveries,
                    timeouts,
                    sum(|counters| counters.retransmissions),
                    sum(|counters| counters.segments_sent),
                )
            };
            let (reno, ..) = of(Congestion::NewReno);
            let (cubic, recoveries, timeouts, again, sent) = of(Congestion::Cubic);
            println!(
                "{:6.1} {rtt_ms:8} {reno:14.0} {cubic:12.0} {recoveries:12} {timeouts:9} {:10.1} %",
                f64::from(permille) / 10.0,
                100.0 * again as f64 / sent as f64
            );
            if permille <= 10 {
                assert!(timeouts * 10 <= recoveries, "{timeouts} timeouts beside {recoveries} recoveries");
            }
            assert!(again * 1000 <= sent * (u64::from(permille) * 2 + 5), "{again} of {sent} segments sent again");
        }
    }
}
