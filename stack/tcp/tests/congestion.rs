//! Congestion control over bottlenecks, in simulated time: what each controller gets of a path,
//! how flows share one, and how BBR follows the path. Cases of draft-ietf-ccwg-bbr, appendix A.
//!
//! Prints its figures (`cargo test -p simoom-tcp --test congestion -- --nocapture`).

#![allow(clippy::print_stdout, reason = "the tables are worth reading")]

mod bottleneck;

use bottleneck::{FRAME, Flows, MBIT, OTHER_PORT, Scene, path};
use simoom_io::Duration;
use simoom_tcp::Congestion;
use simoom_tcp::testing::pair::PORT;
use simoom_tcp::testing::{Pair, Quality, seeds};

/// Draft, §3.3: fills the path with 1 % loss, where CUBIC does not, and with a queue far below a
/// bandwidth-delay product.
#[test]
fn bbr_fills_paths_with_loss_and_with_short_queues() {
    println!("Mbit/s  RTT ms  queue  loss %      CUBIC     BBR   of the path");
    for (mbit, rtt_ms, queue, permille, at_least) in [
        (10, 30, 50, 0, 0.85),
        (10, 30, 50, 10, 0.7),
        (20, 10, 20, 0, 0.8),
        (20, 100, 20, 0, 0.7),
        (20, 100, 1000, 0, 0.85),
        (20, 100, 1000, 10, 0.45),
    ] {
        let quality = Quality { loss: permille, ..path(mbit, rtt_ms, queue) };
        let share = |congestion| {
            let mut scene = Scene::new(congestion, congestion, quality, 1);
            scene.open(PORT).run(4.0);
            scene.rate_of(6.0) / (mbit * MBIT) as f64
        };
        let [cubic, bbr] = [Congestion::CUBIC, Congestion::BBR].map(share);
        println!(
            "{mbit:6} {rtt_ms:7} {queue:6} {:7.1} {cubic:10.2} {bbr:7.2}",
            f64::from(permille) / 10.0
        );
        assert!(bbr > at_least, "{bbr} of {mbit} Mbit/s at {rtt_ms} ms, {queue}, {permille}");
        if permille >= 10 {
            assert!(bbr > 1.5 * cubic, "{bbr} beside {cubic}");
        }
    }
}

/// `bbr-lossy`: 10 % of loss that has nothing to do with the queue. BBR as the draft has it takes
/// more than 2 % for congestion.
#[test]
fn bbr_lossy_fills_a_path_that_loses_a_tenth() {
    println!("loss %      BBR   bbr-lossy, of the path");
    for permille in [20, 50, 100] {
        let quality = Quality { loss: permille, ..path(20, 20, 200) };
        let share = |congestion| {
            let mut scene = Scene::new(congestion, congestion, quality, 1);
            scene.open(PORT).run(4.0);
            scene.rate_of(6.0) / (20 * MBIT) as f64
        };
        let [bbr, lossy] = [Congestion::BBR, Congestion::BBR_LOSSY].map(share);
        println!("{:6.1} {bbr:8.2} {lossy:11.2}", f64::from(permille) / 10.0);
        assert!(lossy > 0.7, "{lossy} of the path at {permille}");
    }
}

/// Draft, §3.3: the queue that stands on a path with a long queue is short.
#[test]
fn bbr_keeps_a_long_queue_short() {
    let standing = |congestion| {
        let mut scene = Scene::new(congestion, congestion, path(20, 20, 2000), 1);
        scene.open(PORT).run(4.0);
        let (mut most, mut sum, mut count) = (0.0f64, 0.0, 0);
        for _ in 0..100 {
            scene.run(0.05);
            let waiting = scene.pair.server.out.waiting_bytes() as f64 / FRAME as f64;
            (most, sum, count) = (most.max(waiting), sum + waiting, count + 1);
        }
        (sum / f64::from(count), most)
    };
    let (bbr, bbr_most) = standing(Congestion::BBR);
    let (cubic, cubic_most) = standing(Congestion::CUBIC);
    println!(
        "frames in the queue: BBR {bbr:.0}, at most {bbr_most:.0}; CUBIC {cubic:.0}, {cubic_most:.0}"
    );
    // A bandwidth-delay product is 33 frames.
    assert!(bbr < 40.0 && bbr_most < 100.0, "{bbr} and {bbr_most} frames");
    assert!(cubic > 2.0 * bbr, "{cubic} beside {bbr}");
}

/// CUBIC leaves slow start when the path is full, before a queue of more than a bandwidth-delay
/// product (833 frames) overflows, and the queue that stands afterwards is below half of one.
#[test]
fn cubic_fills_a_path_without_the_overflow_of_a_long_queue() {
    let quality = path(100, 100, 1000);
    let mut scene = Scene::new(Congestion::CUBIC, Congestion::CUBIC, quality, 1);
    let total = scene.open(PORT).rate_of(2.55) * 2.55;
    let (lost, waiting) = (scene.overflowed(), scene.pair.server.out.waiting_bytes() / FRAME);
    println!("{:.1} MB in 2.55 s; {lost} frames lost, {waiting} wait", total / 1e6);
    assert_eq!(lost, 0);
    assert!(total >= 20e6, "{total} bytes");
    assert!(waiting < 833 / 2, "{waiting} frames wait");
}

/// Slow start without HyStart++ overflows a long queue, which then drops every second frame:
/// hundreds of gaps. The scoreboard holds them, so that little is retransmitted that has arrived.
#[test]
fn newreno_recovers_soon_from_the_overflow_of_a_long_queue() {
    let quality = path(100, 100, 1000);
    let mut scene = Scene::new(Congestion::NEWRENO, Congestion::NEWRENO, quality, 1);
    let total = scene.open(PORT).rate_of(2.8) * 2.8;
    let lost = scene.overflowed();
    let needless = scene.pair.server.stack.counters().0.dsacks_received;
    println!("{:.1} MB in 2.8 s; {lost} frames lost, {needless} sent for nothing", total / 1e6);
    assert!(lost > 500, "the queue did not overflow");
    assert!(total >= 20e6, "{total} bytes");
    assert!(needless < lost / 3, "{needless} of {lost}");
}

/// Draft, §5.3.3.6: two flows come to a share of a third at least, whoever begins.
#[test]
fn two_flows_of_one_controller_share_a_path() {
    println!("controller   RTT ms  queue   first  second, of the path; frames lost");
    for (congestion, rtt_ms, queue) in [
        (Congestion::BBR, 20, 50),
        (Congestion::BBR, 20, 500),
        (Congestion::CUBIC, 20, 50),
        (Congestion::NEWRENO, 20, 50),
    ] {
        let mut scene = Scene::new(congestion, congestion, path(10, rtt_ms, queue), 1);
        scene.open(PORT).run(3.0);
        scene.open(PORT).run(12.0).rates();
        let rates = scene.run(15.0).rates();
        let shares: Vec<f64> = rates.iter().map(|rate| rate / (10 * MBIT) as f64).collect();
        println!(
            "{congestion:10} {rtt_ms:8} {queue:6} {:7.2} {:7.2} {:14}",
            shares[0],
            shares[1],
            scene.overflowed()
        );
        assert!(shares.iter().sum::<f64>() > 0.85, "{congestion}: {shares:?}");
        assert!(shares.iter().all(|share| *share > 0.25), "{congestion}: {shares:?}");
    }
}

/// Draft, §5.3.3.5: a flow by CUBIC beside one by BBR keeps a share.
#[test]
fn bbr_and_cubic_leave_each_other_a_share() {
    println!("RTT ms  queue     BBR   CUBIC, of the path");
    for (rtt_ms, queue, least) in [(20, 17, 0.1), (20, 50, 0.1), (40, 200, 0.1)] {
        let quality = path(10, rtt_ms, queue);
        let mut scene = Scene::new(Congestion::BBR, Congestion::CUBIC, quality, 1);
        scene.open(OTHER_PORT).open(PORT).run(10.0).rates();
        let of = |(local, remote): (u16, u16)| {
            let found = scene.pair.server.stack.inspect(remote, local);
            found.expect("it is open").congestion
        };
        assert_eq!([0, 1].map(|flow| of(scene.flows[flow])), [Congestion::CUBIC, Congestion::BBR]);
        let rates = scene.run(20.0).rates();
        let [cubic, bbr] = [rates[0], rates[1]].map(|rate| rate / (10 * MBIT) as f64);
        println!("{rtt_ms:6} {queue:6} {bbr:7.2} {cubic:7.2}");
        assert!(bbr + cubic > 0.85, "{bbr} and {cubic}");
        assert!(bbr > least && cubic > least, "BBR {bbr} and CUBIC {cubic}");
    }
}

/// Appendix A, "Handling Token Bucket Policers".
#[test]
fn a_policer_is_followed_without_much_loss() {
    let quality = Quality { policer: (10 * MBIT, 100_000), ..path(100, 20, 1000) };
    let mut scene = Scene::new(Congestion::BBR, Congestion::BBR, quality, 1);
    scene.open(PORT).run(10.0);
    let (lost, sent) = (scene.overflowed(), scene.pair.server.stack.counters().0.segments_sent);
    let rate = scene.rate_of(10.0) / (10 * MBIT) as f64;
    let lost = scene.overflowed() - lost;
    let sent = scene.pair.server.stack.counters().0.segments_sent - sent;
    println!("{rate:.2} of the policed rate, {lost} of {sent} segments lost");
    assert!(rate > 0.6, "{rate} of the policed rate");
    assert!(lost * 10 < sent, "{lost} of {sent} segments lost");
}

/// Appendix A, "Achieving Expected STARTUP Bandwidth on a Link With Aggregation", and cruise.
#[test]
fn acknowledgements_in_clumps_do_not_hold_the_rate_down() {
    for aggregate_ms in [5, 20, 50] {
        let aggregate = Duration::from_millis(aggregate_ms);
        let mut scene = Scene::new(Congestion::BBR, Congestion::BBR, path(20, 20, 500), 1);
        scene.pair.client.out.quality.aggregate = aggregate;
        scene.open(PORT).run(4.0);
        let rate = scene.rate_of(6.0) / (20 * MBIT) as f64;
        println!("acknowledgements each {aggregate_ms} ms: {rate:.2} of the path");
        assert!(rate > 0.75, "{rate} of the path with {aggregate_ms} ms");
    }
}

/// Appendix A, "Increasing Bandwidth 10x" and "Decreasing Bandwidth 10x".
#[test]
fn a_path_that_becomes_ten_times_faster_or_slower_is_followed() {
    let mut scene = Scene::new(Congestion::BBR, Congestion::BBR, path(5, 20, 200), 1);
    scene.open(PORT).run(5.0);
    scene.pair.server.out.quality.bottleneck.0 = 50 * MBIT;
    scene.run(6.0);
    let faster = scene.rate_of(2.0) / (50 * MBIT) as f64;
    scene.pair.server.out.quality.bottleneck.0 = 5 * MBIT;
    scene.run(10.0);
    let overflowed = scene.overflowed();
    let slower = scene.rate_of(5.0) / (5 * MBIT) as f64;
    println!("{faster:.2} of ten times the rate, then {slower:.2} of a tenth");
    assert!(faster > 0.8, "{faster}");
    assert!(slower > 0.8, "{slower}");
    let lost = scene.overflowed() - overflowed;
    assert!(lost < 200, "{lost} frames lost in five seconds");
}

/// A round trip that grows is followed once the shortest one has expired.
#[test]
fn a_path_that_becomes_longer_is_filled_again() {
    let mut scene = Scene::new(Congestion::BBR, Congestion::BBR, path(10, 20, 200), 1);
    scene.open(PORT).run(3.0);
    for out in [&mut scene.pair.server.out, &mut scene.pair.client.out] {
        out.quality.delay = Duration::from_millis(30);
    }
    // Ten seconds until the shortest round trip expires, then cycles of two to three.
    scene.run(30.0);
    let rate = scene.rate_of(5.0) / (10 * MBIT) as f64;
    assert!(rate > 0.8, "{rate} of the path");
    assert!(scene.states.contains(&"ProbeRTT"), "{:?}", scene.states);
}

/// Draft, §4.1.1.3: an application that sends now and then does not lower the rate.
#[test]
fn bursts_of_an_application_are_sent_at_the_rate_of_the_path() {
    let bursts = Some((200_000, Duration::from_millis(500)));
    let quality = path(20, 20, 500);
    let mut scene = Scene::with(Congestion::BBR, Congestion::BBR, quality, 1, bursts);
    scene.open(PORT).run(20.0);
    let rate = scene.rate_of(5.0);
    assert!((rate / 400_000.0 - 1.0).abs() < 0.15, "{rate} of 400,000 bytes a second");
    let counters = scene.pair.server.stack.counters().0;
    assert_eq!((counters.retransmissions, scene.overflowed()), (0, 0));
    // A burst takes 80 ms and the round trip at the rate of the path.
    let before = scene.pair.client.app.received[&0];
    while scene.pair.client.app.received[&0] == before {
        scene.run(0.001);
    }
    let start = scene.pair.now;
    while scene.pair.client.app.received[&0] < before + 200_000 {
        scene.run(0.001);
    }
    let took = scene.pair.now - start;
    assert!(took < Duration::from_millis(160), "{took}");
}

#[test]
fn bbr_goes_through_all_its_states() {
    let mut scene = Scene::new(Congestion::BBR, Congestion::BBR, path(10, 40, 100), 1);
    scene.open(PORT).run(30.0);
    let states = &scene.states;
    let cycle =
        ["Startup", "Drain", "ProbeBW_DOWN", "ProbeBW_CRUISE", "ProbeBW_REFILL", "ProbeBW_UP"];
    for state in cycle.iter().chain(&["ProbeRTT"]) {
        assert!(states.contains(state), "{state} is not among {states:?}");
    }
    // Figure of §5.1.1. Several may pass within one step.
    let allowed = |from: &str, to: &str| match from {
        "Startup" => to != "ProbeBW_UP",
        "Drain" => to.starts_with("ProbeBW") || to == "ProbeRTT",
        "ProbeBW_DOWN" => to != "Startup" && to != "Drain",
        "ProbeBW_CRUISE" => matches!(to, "ProbeBW_REFILL" | "ProbeRTT"),
        "ProbeBW_REFILL" => matches!(to, "ProbeBW_UP" | "ProbeRTT" | "ProbeBW_DOWN"),
        "ProbeBW_UP" => to != "Startup" && to != "Drain",
        _ => matches!(to, "ProbeBW_CRUISE" | "ProbeBW_DOWN" | "Startup" | "ProbeBW_REFILL"),
    };
    for pair in states.windows(2) {
        assert!(allowed(pair[0], pair[1]), "{} to {}", pair[0], pair[1]);
    }
}

/// Every controller brings its data over links that lose up to 30 % of the frames. The links lose
/// nothing until the first data has arrived: no handshake is under test.
#[test]
fn every_controller_works_with_losses_up_to_thirty_percent() {
    for seed in seeds(2) {
        for congestion in Congestion::ALL {
            for (loss, seconds) in [(0, 10.0), (50, 10.0), (100, 10.0), (300, 60.0)] {
                works_with_losses(*congestion, loss, seconds, seed);
            }
        }
    }
}

fn works_with_losses(congestion: Congestion, loss: u32, seconds: f64, seed: u64) {
    let about = format!("seed {seed}: {congestion} with {loss} of 1,000 frames lost");
    let mut scene = Scene::new(congestion, congestion, path(20, 10, 100), seed);
    scene.open(PORT);
    let received = |pair: &Pair<Flows>| pair.client.app.received.get(&0).copied().unwrap_or(0);
    let has_begun = scene.pair.run_until(1000, |pair| received(pair) > 0);
    assert!(has_begun, "{about}: no data arrives over a link that loses nothing yet");
    let before = received(&scene.pair);
    scene.pair.client.out.quality.loss = loss;
    scene.pair.server.out.quality.loss = loss;
    scene.run(seconds);
    let bytes = received(&scene.pair) - before;
    assert!(bytes > 20_000, "{about}: received {bytes} bytes, more than 20000 are expected");
}
