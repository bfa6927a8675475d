//! Whole connections between two stacks: every byte arrives once and in order, whatever the link
//! does, and nothing is held when all is over.

use simoom_io::testing::{Checker, Temper};
use simoom_io::{Closed, Duration};
use simoom_tcp::testing::echo::Echo;
use simoom_tcp::testing::pair::{Side, config};
use simoom_tcp::testing::{Pair, Quality, seeds};
use simoom_tcp::{Config, Congestion, EcnPolicy, Limits, OwnershipCounts, TxChecksum};

fn quality(delay_us: u64) -> Quality {
    Quality { delay: Duration::from_micros(delay_us), ..Quality::default() }
}

/// Echoes `total` bytes over each of `connections`, and checks that both stacks are empty
/// afterwards.
fn echo(total: u64, connections: u16, quality: Quality, seed: u64) -> Pair<Echo> {
    let congestion = Congestion::ALL[seed as usize % Congestion::ALL.len()];
    // The link completes partial checksums.
    let tx_checksum = if seed.is_multiple_of(2) { TxChecksum::Partial } else { TxChecksum::Full };
    let config =
        |host| Config { congestion, tx_checksum, ..config(host, Limits::for_connections(64)) };
    let app = || Echo { total, ..Echo::default() };
    let mut pair = Pair::new(config(1), config(2), quality, seed, app);
    for port in 0..connections {
        pair.connect(40_000 + port);
    }
    let all = usize::from(connections);
    assert!(
        finish(&mut pair, all),
        "seed {seed}: {:?} and {:?} of {all}; client {:?} server {:?}",
        pair.client.app.closed,
        pair.server.app.closed,
        pair.client.stack.ownership(),
        pair.server.stack.ownership()
    );
    check_over(&pair, total, seed);
    pair
}

/// Runs until `all` connections are closed on both sides and no timer is left: TIME-WAIT is over
/// too.
fn finish(pair: &mut Pair<Echo>, all: usize) -> bool {
    pair.run_until(2_000_000, |pair| {
        let closed = |side: &Side<Echo>| {
            side.app.closed.len() == all && side.stack.next_deadline().is_none()
        };
        closed(&pair.client) && closed(&pair.server)
    })
}

fn check_over(pair: &Pair<Echo>, total: u64, seed: u64) {
    for (token, how, received) in pair.client.app.closed.iter().chain(&pair.server.app.closed) {
        assert_eq!((*how, *received), (Closed::Finished, total), "seed {seed}, connection {token}");
    }
    for side in [&pair.client, &pair.server] {
        assert_eq!(side.stack.ownership(), OwnershipCounts::default(), "seed {seed}");
    }
}

#[test]
fn a_clean_link_needs_no_retransmission() {
    for total in [1, 100, 1460, 100_000, 3_000_000] {
        let pair = echo(total, 3, quality(50), total);
        for side in [&pair.client, &pair.server] {
            let (counters, _) = side.stack.counters();
            assert_eq!((counters.retransmissions, counters.out_of_order), (0, 0), "{total} bytes");
        }
    }
}

#[test]
fn every_byte_arrives_under_loss_reordering_duplication_and_corruption() {
    for seed in seeds(60) {
        let harsh = Quality { loss: 50, duplicate: 30, reorder: 100, corrupt: 20, ..quality(500) };
        echo(60_000, 2, harsh, seed);
    }
}

#[test]
fn three_frames_of_ten_lost() {
    for seed in seeds(20) {
        echo(20_000, 1, Quality { loss: 300, ..quality(1000) }, seed);
    }
}

/// Each kind of trouble alone and together, on short and long paths, for sizes around the
/// segment's, the chunk's and the initial window's.
#[test]
fn a_matrix_of_links_and_sizes() {
    const SIZES: [u64; 10] = [1, 2, 511, 513, 1448, 1449, 4096, 14_480, 14_600, 30_000];
    for seed in seeds(2400) {
        let rate = |bit: u64, permille| if seed >> bit & 1 == 1 { permille } else { 0 };
        let quality = Quality {
            loss: rate(0, 60),
            duplicate: rate(1, 60),
            reorder: rate(2, 150),
            corrupt: rate(3, 30),
            queue: if seed % 7 == 0 { 6 } else { 0 },
            ..quality([10, 300, 20_000][(seed % 3) as usize])
        };
        let total = SIZES[(seed / 16 % SIZES.len() as u64) as usize];
        echo(total, 1 + (seed % 2) as u16, quality, seed);
    }
}

#[test]
fn several_hundred_connections_on_one_stack() {
    for seed in seeds(2) {
        let limits = Limits::for_connections(400);
        let config = |host| Config { time_wait_ms: 1000, ..config(host, limits) };
        let quality = Quality { loss: 10, reorder: 30, ..quality(300) };
        let app = || Echo { total: 3000, ..Echo::default() };
        let mut pair = Pair::new(config(1), config(2), quality, seed, app);
        for port in 0..400 {
            pair.connect(10_000 + port);
        }
        assert!(finish(&mut pair, 400), "seed {seed}: {} closed", pair.client.app.closed.len());
        check_over(&pair, 3000, seed);
    }
}

/// RFC 3168: where routers mark instead of dropping, windows come down and nothing is sent again.
#[test]
fn marks_take_the_window_down_without_loss() {
    for seed in seeds(20) {
        let limits = Limits::for_connections(64);
        let ecn = EcnPolicy::Request;
        let config = |host| Config { ecn, ..config(host, limits) };
        let quality = Quality { mark: 20, ..quality(5000) };
        let mut pair = Pair::new(config(1), config(2), quality, seed, || Echo {
            total: 500_000,
            ..Echo::default()
        });
        pair.connect(40_000);
        assert!(finish(&mut pair, 1), "seed {seed}: the transfer stops");
        check_over(&pair, 500_000, seed);
        for (side, other) in [(&pair.client, &pair.server), (&pair.server, &pair.client)] {
            let (ours, theirs) = (side.stack.counters().0, other.stack.counters().0);
            assert_eq!((ours.ecn_connections, ours.retransmissions), (1, 0), "seed {seed}");
            assert!(
                ours.congestion_marks > 0 && theirs.congestion_echoes > 0,
                "seed {seed}: no mark was heard of"
            );
            // Once a round trip at most, so not more often than there were marks.
            assert!(theirs.congestion_echoes <= ours.congestion_marks, "seed {seed}");
        }
    }
}

/// A handler that pauses, leaves input and resumes at random, over a lossy link, with ample or
/// scarce memory for input and answers: each call is one that the contract allows, and the handler
/// gets the whole stream.
#[test]
fn the_contract_is_kept_with_every_handler() {
    for seed in seeds(12) {
        let plenty = Limits::for_connections(8);
        let scarce =
            Limits { small_input_buffers: 2, large_input_buffers: 1, send_chunks: 96, ..plenty };
        let limits = if seed % 2 == 0 { plenty } else { scarce };
        let quality = Quality { loss: 20, reorder: 50, duplicate: 20, ..Quality::default() };
        let total = [1, 3000, 200_000][seed as usize % 3];
        let mut pair = Pair::new(config(1, plenty), config(2, limits), quality, seed, || {
            Checker::new(total, Temper::Tame, seed)
        });
        (0..4).for_each(|client| _ = pair.connect(40_000 + client));
        let is_over = |pair: &Pair<Checker>| pair.server.app.closed.len() == 4;
        assert!(pair.run_until(400_000, is_over), "seed {seed}: {:?}", pair.server.app.closed);
        let ended = &pair.server.app.closed;
        assert!(
            ended.iter().all(|end| *end == (Closed::Finished, total)),
            "seed {seed}: {ended:?}"
        );
    }
}

/// The interface's MTU is lowered in the middle of a transfer: what is in flight is retransmitted
/// in segments that fit, without a timeout.
#[test]
fn an_mtu_that_is_lowered_cuts_the_segments_of_open_connections() {
    const TOTAL: u64 = 1_000_000;
    let mut pair = Pair::echo(TOTAL, quality(1000), 1);
    pair.connect(40_000);
    let is_under_way = |pair: &Pair<Echo>| pair.server.stack.counters().0.bytes_sent > TOTAL / 4;
    assert!(pair.run_until(1_000_000, is_under_way));
    pair.server.stack.set_mtu(700);
    pair.server.stack.set_mtu(1500);
    pair.server.stack.set_mtu(600);
    let before = pair.server.stack.counters().0.segments_sent;
    assert!(pair.run_until(1_000_000, |pair| !pair.client.app.closed.is_empty()));
    assert_eq!(pair.client.app.closed[0].1, Closed::Finished);
    let (counters, _) = pair.server.stack.counters();
    let counts = (counters.path_mtu_lowered, counters.path_black_holes);
    assert_eq!((counts, counters.retransmission_timeouts), ((2, 0), 0));
    assert!(counters.segments_sent - before > TOTAL / 2 / 548, "segments of 548 bytes at most");
}
