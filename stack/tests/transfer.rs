//! Whole connections between two stacks: every byte arrives once and in order, whatever the link does, and nothing
//! is held when all is over.

use simoom_stack::testing::{Pair, Quality};
use simoom_stack::{Census, Closed, Duration};

fn quality(delay_us: u64) -> Quality {
    Quality { delay: Duration::from_micros(delay_us), ..Quality::default() }
}

/// Echoes `total` bytes over each of `connections`, and checks that both stacks are empty afterwards.
fn echo(total: u64, connections: u16, quality: Quality, seed: u64) -> Pair<simoom_stack::testing::echo::Echo> {
    let mut pair = Pair::echo(total, quality, seed);
    for port in 0..connections {
        pair.connect(40_000 + port);
    }
    let all = usize::from(connections);
    let done = pair
        .run_until(2_000_000, |pair| pair.client.app.closed.len() == all && pair.server.app.closed.len() == all);
    assert!(
        done,
        "seed {seed}: {:?} and {:?} of {all}; client {:?} server {:?}",
        pair.client.app.closed,
        pair.server.app.closed,
        pair.client.stack.census(),
        pair.server.stack.census()
    );
    for (token, how, received) in pair.client.app.closed.iter().chain(&pair.server.app.closed) {
        assert_eq!((*how, *received), (Closed::Finished, total), "seed {seed}, connection {token}");
    }
    for side in [&pair.client, &pair.server] {
        assert_eq!(side.stack.census(), Census::default(), "seed {seed}");
    }
    pair
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
    for seed in 0..60 {
        let harsh = Quality { loss: 50, duplicate: 30, reorder: 100, corrupt: 20, ..quality(500) };
        echo(60_000, 2, harsh, seed);
    }
}

#[test]
fn three_frames_of_ten_lost() {
    for seed in 0..20 {
        echo(20_000, 1, Quality { loss: 300, ..quality(1000) }, seed);
    }
}
