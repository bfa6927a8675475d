//! Goodput over links that lose frames, in simulated time: one large download each, every byte
//! compared.
//!
//! Prints a table (`cargo test -p simoom-tcp --test goodput -- --nocapture`). Speed is not
//! asserted. Losses must be repaired by fast recovery: timeouts are rare, and only timeouts and
//! loss probes cause spurious retransmissions, one segment each.

#![allow(clippy::print_stdout, reason = "the table is what the test is for")]

use simoom_io::{Application, Closed, Duration, Opened, Reply};
use simoom_tcp::counters::Counters;
use simoom_tcp::testing::echo::stream_bytes;
use simoom_tcp::testing::pair::{self, config};
use simoom_tcp::testing::{Pair, Quality};
use simoom_tcp::{Config, Congestion, Limits, OwnershipCounts};
use std::sync::LazyLock;

/// Bytes of a download.
const TOTAL: usize = 1_000_000;
/// Bytes of a large one.
const LARGE: usize = 10_000_000;
static STREAM: LazyLock<Vec<u8>> = LazyLock::new(|| stream_bytes(0, LARGE));

/// The server sends the stream and closes; the client compares it.
struct Download {
    total: usize,
    finished: u64,
}

impl Application for Download {
    type Blob = &'static [u8];
    type Conn = u64;

    fn opened(&mut self, _: &mut u64, opened: Opened, reply: &mut Reply<'_, &'static [u8]>) {
        if !opened.active {
            reply.share(&STREAM[..], 0..self.total);
            reply.close();
        }
    }

    fn received(
        &mut self,
        received: &mut u64,
        bytes: &[u8],
        reply: &mut Reply<'_, &'static [u8]>,
    ) -> usize {
        let expected = &STREAM[*received as usize..][..bytes.len()];
        assert!(bytes == expected, "the stream from {received} on");
        *received += bytes.len() as u64;
        if *received == self.total as u64 {
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
        self.finished += u64::from(how == Closed::Finished && *received == self.total as u64);
    }
}

/// Downloads `total` bytes between two sides configured as `change` says. Returns seconds, and both
/// sides.
fn run(
    change: impl Fn(Config) -> Config,
    total: usize,
    quality: Quality,
    seed: u64,
) -> (f64, Pair<Download>) {
    let configured = |host| change(config(host, Limits::for_connections(64)));
    let app = || Download { total, finished: 0 };
    let mut pair = Pair::new(configured(1), configured(2), quality, seed, app);
    let start = pair.now;
    pair.connect(40_000);
    assert!(
        pair.run_until(3_000_000, |pair| pair.client.app.finished == 1),
        "{quality:?}, seed {seed}: the download stops"
    );
    ((pair.now - start).total_micros() as f64 / 1e6, pair)
}

/// Downloads once; returns kilobytes per second, and what the server counted.
fn download(congestion: Congestion, permille: u32, rtt_ms: u64, seed: u64) -> (f64, Counters) {
    let quality = Quality {
        loss: permille,
        delay: Duration::from_micros(rtt_ms * 500),
        ..Quality::default()
    };
    let change = |config| Config { congestion, ..config };
    let (seconds, pair) = run(change, TOTAL, quality, seed);
    (TOTAL as f64 / 1e3 / seconds, *pair.server.stack.counters().0)
}

#[test]
fn loss_is_repaired_without_timeouts() {
    println!(
        "loss %   RTT ms   NewReno kB/s   CUBIC kB/s     BBR kB/s   recoveries  timeouts  sent again  for nothing"
    );
    for permille in [1, 10, 50, 100] {
        for rtt_ms in [1, 10, 100] {
            let of = |congestion| {
                let runs: Vec<_> =
                    (0..4).map(|seed| download(congestion, permille, rtt_ms, seed)).collect();
                let mean = runs.iter().map(|(rate, _)| rate).sum::<f64>() / runs.len() as f64;
                let sum = |field: fn(&Counters) -> u64| {
                    runs.iter().map(|(_, counters)| field(counters)).sum::<u64>()
                };
                let recoveries = sum(|counters| counters.fast_retransmissions);
                let timeouts = sum(|counters| counters.retransmission_timeouts);
                (
                    mean,
                    recoveries,
                    timeouts,
                    sum(|counters| counters.retransmissions),
                    sum(|counters| counters.segments_sent),
                    [
                        sum(|counters| counters.loss_probes),
                        sum(|counters| counters.dsacks_received),
                    ],
                )
            };
            let (reno, ..) = of(Congestion::NEWRENO);
            let (bbr, ..) = of(Congestion::BBR);
            let (cubic, recoveries, timeouts, again, sent, [probes, spurious]) =
                of(Congestion::CUBIC);
            println!(
                "{:6.1} {rtt_ms:8} {reno:14.0} {cubic:12.0} {bbr:12.0} {recoveries:12} {timeouts:9} {:10.1} % {spurious:12}",
                f64::from(permille) / 10.0,
                100.0 * again as f64 / sent as f64
            );
            if permille <= 10 {
                assert!(
                    timeouts * 10 <= recoveries,
                    "{timeouts} timeouts beside {recoveries} recoveries"
                );
            }
            assert!(
                again * 1000 <= sent * (u64::from(permille) * 2 + 5),
                "{again} of {sent} segments sent again"
            );
            // When the last acknowledgements are lost, a probe or the timeout's one segment asks
            // for another.
            let asked = timeouts + probes;
            assert!(
                spurious <= asked,
                "{spurious} spurious segments by {timeouts} timeouts, {probes} probes"
            );
        }
    }
}

/// Sends 10 MB to a side whose window is at most `max_bytes`. Returns seconds, and the counters of
/// that side.
fn transfer(max_bytes: u32, quality: Quality) -> (f64, Counters) {
    let change = |config| Config { max_receive_window_bytes: max_bytes, ..config };
    let (seconds, mut pair) = run(change, LARGE, quality, 1);
    assert!(
        pair.run_until(1_000_000, |pair| pair.client.stack.ownership()
            == OwnershipCounts::default()),
        "{quality:?}"
    );
    (seconds, *pair.client.stack.counters().0)
}

/// RFC 9293 §3.8.6: on a long path the first window limits the peer, so auto-tuning grows it.
#[test]
fn a_window_is_widened_until_it_no_longer_holds_the_peer_up() {
    println!("loss %   RTT ms   64 KiB s   widened s   times");
    for (permille, rtt_ms) in [(0, 1), (0, 10), (0, 100), (1, 100), (10, 100)] {
        // A gigabit a second.
        let bottleneck = (125_000_000, 4_000_000);
        let delay = Duration::from_micros(rtt_ms * 500);
        let quality = Quality { loss: permille, delay, bottleneck, ..Quality::default() };
        let (fixed, _) = transfer(0, quality);
        let (widened, counters) = transfer(
            pair::config(1, Limits::for_connections(64)).max_receive_window_bytes,
            quality,
        );
        let times = counters.windows_widened;
        println!(
            "{:6.1} {rtt_ms:8} {fixed:10.2} {widened:11.2} {times:7}",
            f64::from(permille) / 10.0
        );
        if permille == 0 && rtt_ms == 100 {
            // 16 s at 64 KiB a round trip; slow start alone takes eight round trips.
            assert!(fixed > 15.0 && widened < 2.5, "{fixed} s and {widened} s");
        }
        // RFC 9438 §5.1: twelve segments a round trip at 1 %, about.
        assert!(widened < 120.0, "{widened} s");
    }
}

/// Downloads over a bottleneck with a short queue; returns seconds, frames lost in that queue,
/// segments sent again, and timeouts.
fn through_bottleneck(
    paced_from_us: u32,
    total: usize,
    megabits: u64,
    rtt_ms: u64,
    queue_frames: u64,
) -> [f64; 4] {
    let bottleneck = (megabits * 125_000, queue_frames * 1514);
    let quality =
        Quality { delay: Duration::from_micros(rtt_ms * 500), bottleneck, ..Quality::default() };
    let (seconds, pair) = run(|config| Config { paced_from_us, ..config }, total, quality, 1);
    let counters = pair.server.stack.counters().0;
    let (again, timeouts) = (counters.retransmissions, counters.retransmission_timeouts);
    [seconds, pair.server.out.overflowed as f64, again as f64, timeouts as f64]
}

/// Packets that are cut behind the stack put no more on the path at a time than segments do: with
/// each controller downloads take as long, and no more is lost in a short queue.
#[test]
fn segmentation_offload_leaves_windows_and_pacing_as_they_are() {
    println!("controller   RTT us   queue  loss %    segments: s    GSO: s    lost  GSO: lost");
    let (mut packets, mut longer) = (0, Vec::new());
    for &congestion in Congestion::ALL {
        for (rtt_us, queue, permille) in
            [(100, 0, 0), (100, 0, 10), (2000, 60, 0), (20_000, 40, 0), (20_000, 1000, 10)]
        {
            let quality = |gso| Quality {
                loss: permille,
                delay: Duration::from_micros(rtt_us / 2),
                bottleneck: (12_500_000, if queue == 0 { u64::MAX / 2 } else { queue * 1514 }),
                gso,
                ..Quality::default()
            };
            let of = |gso| {
                let runs = (0..3).map(|seed| {
                    let change = |config| Config { congestion, ..config };
                    let (seconds, pair) = run(change, TOTAL, quality(gso), seed);
                    let sent = pair.server.stack.counters().0.gso_packets_sent;
                    (seconds, pair.server.out.overflowed, sent)
                });
                runs.fold((0.0, 0, 0), |sum, run| (sum.0 + run.0, sum.1 + run.1, sum.2 + run.2))
            };
            let ((segments, lost, none), (gso, gso_lost, sent)) = (of(0), of(1000));
            println!(
                "{congestion:>10} {rtt_us:8} {queue:7} {:7.1} {segments:14.3} {gso:9.3} {lost:7} {gso_lost:10}",
                f64::from(permille) / 10.0
            );
            assert_eq!(none, 0);
            packets += sent;
            if gso > 1.1 * segments || gso_lost > lost + lost / 4 + 30 {
                longer.push((congestion, rtt_us, queue, permille, segments, gso, lost, gso_lost));
            }
        }
    }
    assert!(packets > 1000, "{packets} packets");
    assert!(longer.is_empty(), "{longer:?}");
}

/// A whole window sent at once overflows a queue that is short for the path; paced, it fits. Where
/// the queue is long, pacing must not cost throughput.
#[test]
fn pacing_pays_where_a_queue_is_short_and_costs_little_where_none_is() {
    println!(
        "Mbit/s   RTT ms   queue      bytes   at once: s   lost  again  timeouts   paced: s   lost  again  timeouts"
    );
    let short = [10, 100].into_iter().flat_map(|megabits| [(megabits, 20), (megabits, 50)]);
    for (megabits, queue) in short.chain([(1000, 4000)]) {
        for (rtt_ms, total) in [(10, TOTAL), (30, TOTAL), (100, 65_536), (100, TOTAL), (100, LARGE)]
        {
            if megabits == 10 && total == LARGE {
                continue;
            }
            let [at_once, paced] = [u32::MAX, 4000]
                .map(|from_us| through_bottleneck(from_us, total, megabits, rtt_ms, queue));
            let show = |[s, lost, again, timeouts]: [f64; 4]| {
                format!("{s:10.3} {lost:6} {again:6} {timeouts:9}")
            };
            println!(
                "{megabits:6} {rtt_ms:8} {queue:7} {total:10}   {} {}",
                show(at_once),
                show(paced)
            );
            let ratio = paced[0] / at_once[0];
            assert!(ratio < 1.05, "pacing takes {ratio} times as long");
            if (megabits, rtt_ms, queue) == (100, 100, 20) && total != 65_536 {
                assert!(ratio < 0.75, "pacing takes {ratio} times as long");
            }
        }
    }
}

/// A download over a path that loses packets of more than `mtu_bytes`, once that is detected.
fn behind_a_black_hole(
    congestion: Congestion,
    mtu_bytes: usize,
    queue_bytes: u64,
) -> Pair<Download> {
    let (bottleneck, delay) = ((12_000, queue_bytes), Duration::from_millis(50));
    let quality = Quality { mtu: mtu_bytes, delay, bottleneck, ..Quality::default() };
    let configured = |host| Config { congestion, ..config(host, Limits::for_connections(64)) };
    let app = || Download { total: LARGE, finished: 0 };
    let mut pair = Pair::new(configured(1), configured(2), quality, 1, app);
    pair.connect(40_000);
    assert!(pair.run_until(1_000_000, |pair| counters(pair).path_mtu_lowered == 1));
    pair
}

fn counters(pair: &Pair<Download>) -> &Counters {
    pair.server.stack.counters().0
}

/// RFC 8899 §5.1.1, PMTU_RAISE_TIMER: ten minutes after the search, larger packets are tried, and
/// used once one has arrived.
#[test]
fn rfc_8899_a_path_that_grows_again_is_used_again() {
    // In a long queue the peer's window holds the connection up, and not its own.
    let queues = [60_000, 10_000_000].into_iter();
    for (congestion, queue_bytes) in queues.flat_map(|queue_bytes| {
        [Congestion::CUBIC, Congestion::NEWRENO, Congestion::BBR].map(|name| (name, queue_bytes))
    }) {
        let mut pair = behind_a_black_hole(congestion, 1300, queue_bytes);
        let until = pair.now + Duration::from_secs(120);
        assert!(pair.run_until(1_000_000, |pair| pair.now > until));
        // The first search is over.
        let before = *counters(&pair);
        assert_eq!((before.path_mtu_probes % 3, before.path_mtu_raised), (0, 0), "{congestion}");
        pair.server.out.quality.mtu = 0;
        let is_over = |pair: &Pair<Download>| pair.client.app.finished == 1;
        assert!(pair.run_until(1_000_000, is_over), "{congestion}: the download stops");
        let after = counters(&pair);
        assert_eq!(after.path_mtu_probes, before.path_mtu_probes + 1, "{congestion}");
        assert_eq!((after.path_mtu_raised, after.path_mtu_lowered), (1, 1), "{congestion}");
        assert_eq!(after.retransmission_timeouts, before.retransmission_timeouts, "{congestion}");
    }
}

/// Longer than a round trip with a full queue.
const ROUND_TRIP: Duration = Duration::from_secs(6);

/// RFC 8899 §5.3.2 and RFC 4821 §7.5: three lost probes mean that a size does not fit. They are
/// repaired at once, and are no congestion.
#[test]
fn rfc_8899_lost_probes_are_no_congestion_and_the_search_goes_on_below() {
    let mut judged = 0;
    for congestion in [Congestion::CUBIC, Congestion::NEWRENO, Congestion::BBR] {
        let mut pair = behind_a_black_hole(congestion, 1400, 60_000);
        let before = *counters(&pair);
        let (mut overflowed, mut overflowed_at) = (0, pair.now);
        for probes in 1..=3 {
            let is_probed = |pair: &Pair<Download>| {
                if std::mem::replace(&mut overflowed, pair.server.out.overflowed) != overflowed {
                    overflowed_at = pair.now;
                }
                counters(pair).path_mtu_probes == probes
            };
            assert!(pair.run_until(1_000_000, is_probed), "{congestion}: probe {probes}");
            let (at, lost, now) = (*counters(&pair), pair.server.out.overflowed, pair.now);
            // The next probe comes when this one is repaired.
            let is_repaired = |pair: &Pair<Download>| {
                pair.now - now > ROUND_TRIP || counters(pair).path_mtu_probes > at.path_mtu_probes
            };
            assert!(pair.run_until(1_000_000, is_repaired));
            // Where the queue has lost no segment, only the probe was lost.
            if now - overflowed_at > ROUND_TRIP && pair.server.out.overflowed == lost {
                let after = counters(&pair);
                assert_eq!(after.fast_retransmissions, at.fast_retransmissions, "{congestion}");
                assert!(after.retransmissions > at.retransmissions, "{congestion}");
                judged += 1;
            }
        }
        let has_found = |pair: &Pair<Download>| counters(pair).path_mtu_raised > 0;
        assert!(pair.run_until(1_000_000, has_found), "{congestion}: the search stops");
        let after = counters(&pair);
        assert!(after.path_mtu_probes < 20, "{congestion}: {after:?}");
        assert_eq!(after.retransmission_timeouts, before.retransmission_timeouts, "{congestion}");
    }
    assert!(judged >= 3, "only {judged} probes were the only loss of a round trip");
}
