//! BBRv3 beside BBR version 1, which most of the Internet's BBR still is, over one bottleneck in
//! simulated time. The draft has no bounds for this pair: these hold what its rules bring about.
//!
//! Version 1 keeps up to two bandwidth-delay products in flight, whatever is lost. In a queue of
//! one, two such flows lose 4 % of their frames. BBRv3 probes until more than 2 % of a flight are
//! lost (§5.5.10.2): with twenty frames in flight that is one. It then bounds what it has in
//! flight, and takes away what is lost until the next probe, a second later (§5.5.10.3). Version 1
//! takes what becomes free. In longer queues nothing is lost, and nobody yields.
//!
//! `bbr-lossy` is the same code with a threshold of 20 %. In the short queue it does not yield, so
//! the threshold decides there, and no other part of BBRv3.

#![allow(clippy::print_stdout, reason = "the table is worth reading")]

mod bbr_v1;
mod bottleneck;

use bbr_v1::BbrV1;
use bottleneck::{MBIT, OTHER_PORT, Scene, path};
use simoom_tcp::Congestion;
use simoom_tcp::testing::pair::PORT;

const BBR_V1: Congestion = Congestion::of::<BbrV1>("bbr-v1", "BBR version 1");
/// At 50 Mbit/s and 20 ms.
const BDP_FRAMES: u64 = 83;

/// Shares of the path, and the part of the frames that is lost, in percent.
struct Shares {
    first: f64,
    second: f64,
    lost: f64,
}

/// Two downloads, the second a second after the first, for 15 seconds.
fn shares(first: Congestion, second: Congestion, queue_bdps: u64) -> Shares {
    let mut scene = Scene::new(first, second, path(50, 20, queue_bdps * BDP_FRAMES), 1);
    scene.open(PORT).run(1.0);
    scene.open(OTHER_PORT).run(1.0).rates();
    let before = (scene.overflowed(), scene.pair.server.out.entered);
    let rates = scene.run(15.0).rates();
    let lost = scene.overflowed() - before.0;
    let entered = scene.pair.server.out.entered - before.1;
    let shares = Shares {
        first: rates[0] / (50 * MBIT) as f64,
        second: rates[1] / (50 * MBIT) as f64,
        lost: lost as f64 * 100.0 / entered as f64,
    };
    println!(
        "{queue_bdps:5}   {first:9}   {second:9} {:6.2} {:6.2} {:8.2}",
        shares.first, shares.second, shares.lost
    );
    assert!(shares.first + shares.second > 0.85, "{first} and {second} leave the path empty");
    shares
}

#[test]
fn bbr_beside_version_1_keeps_a_share() {
    println!("queue   first       second     shares         lost %");
    for queue_bdps in [1, 2, 5] {
        let alike = shares(BBR_V1, BBR_V1, queue_bdps);
        assert!(alike.first.min(alike.second) > 0.3, "version 1 does not share with itself");
        assert_eq!(alike.lost > 2.0, queue_bdps == 1, "version 1 loses {} %", alike.lost);
        let first = shares(Congestion::BBR, BBR_V1, queue_bdps);
        let second = shares(BBR_V1, Congestion::BBR, queue_bdps);
        for (ours, theirs) in [(first.first, first.second), (second.second, second.first)] {
            assert!(ours > 0.2 && theirs > 0.25, "BBR {ours} and version 1 {theirs}");
        }
        assert!(first.lost.max(second.lost) <= alike.lost.max(0.5), "BBR adds to the losses");
        let lossy = shares(Congestion::BBR_LOSSY, BBR_V1, queue_bdps);
        assert!(lossy.first.min(lossy.second) > 0.3, "bbr-lossy yields, or takes all");
    }
}
