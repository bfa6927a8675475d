//! Tests of each state by section of the draft, and of its example cases (appendix A).

use super::*;

const MSS: u32 = 1000;
/// A megabyte a second: with [`RTT_MS`] of round trip 100 segments.
const RATE: u64 = 1_000_000;
const RTT_MS: u32 = 100;
const BDP: u32 = 100 * MSS;
const ACKS: u32 = 10;

/// A connection whose acknowledgements a test chooses.
#[derive(Clone)]
struct Flow {
    bbr: Bbr,
    path: Path,
    window: Window,
    rs: RateSample,
    now_ms: u64,
}

impl Flow {
    fn new() -> Flow {
        let now_ms = 5000;
        let path = Path {
            now: Tick::from_millis(now_ms),
            now_us: now_ms as u32 * 1000,
            mss: MSS,
            srtt_us: RTT_MS * 1000,
            min_rtt_us: RTT_MS * 1000,
            has_sack: true,
            ..Path::default()
        };
        let window = Window { cwnd: 10 * MSS, ssthresh: u32::MAX };
        Flow { bbr: Bbr::default(), path, window, rs: RateSample::default(), now_ms }
    }

    /// Advances the time.
    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        self.path.now = Tick::from_millis(self.now_ms);
        self.path.now_us = self.now_ms as u32 * 1000;
    }

    /// One acknowledgement of `acked` bytes.
    fn ack(&mut self, acked: u32, rtt_ms: u32) {
        self.rs.total_delivered += acked;
        let ack = Ack {
            path: &self.path,
            acked,
            rtt_us: Some(rtt_ms * 1000),
            una: Seq(0),
            nxt: Seq(0),
            is_paced: true,
            rate: Some(&self.rs),
        };
        self.bbr.on_ack(&ack, &mut self.window);
    }

    /// A round trip in which the path delivers at `rate`, with a round trip of `rtt_ms`.
    fn round_of(&mut self, rate: u64, rtt_ms: u32) {
        self.rs.prior_delivered = Some(self.rs.total_delivered);
        self.rs.delivery_rate = rate;
        self.rs.delivered = (rate * u64::from(RTT_MS) / 1000) as u32;
        let acked = self.rs.delivered / ACKS;
        for _ in 0..ACKS {
            self.wait(u64::from(RTT_MS / ACKS));
            self.ack(acked, rtt_ms);
        }
    }

    fn round(&mut self, rate: u64) {
        self.round_of(rate, RTT_MS);
    }

    /// A segment is lost that was sent with `in_flight` bytes in flight. `lost` bytes were lost
    /// since.
    fn lose(&mut self, at: u32, in_flight: u32, lost: u32) {
        self.lose_sent_at(self.rs.total_delivered, at, in_flight, lost);
    }

    /// The same for a segment that was sent when so much had been delivered.
    fn lose_sent_at(&mut self, prior_delivered: u32, at: u32, in_flight: u32, lost: u32) {
        let lost = Lost {
            start: Seq(at),
            end: Seq(at) + MSS,
            sent_in_flight: in_flight,
            lost_since_sent: lost,
            prior_delivered,
            is_app_limited: self.rs.is_app_limited,
            delivered: self.rs.total_delivered,
        };
        self.bbr.on_lost(&lost, &self.path, &mut self.window);
    }

    /// Startup until the rate no longer grows, and Drain.
    fn in_probe_bw() -> Flow {
        let mut flow = Flow::new();
        flow.path.in_flight = 2 * BDP;
        for _ in 0..4 {
            flow.round(RATE);
        }
        assert_eq!(flow.bbr.state, State::Drain);
        flow.path.in_flight = BDP;
        flow.round(RATE);
        assert!(flow.bbr.is_in_probe_bw());
        flow
    }

    /// Sending slower than the path delivers, with a queue.
    fn in_down() -> Flow {
        let mut flow = Flow::in_up();
        flow.path.in_flight = 2 * BDP;
        flow.until(State::ProbeBwDown, RATE);
        flow
    }

    fn in_cruise() -> Flow {
        let mut flow = Flow::in_probe_bw();
        flow.path.in_flight = BDP / 2;
        flow.round(RATE);
        assert_eq!(flow.bbr.state, State::ProbeBwCruise);
        flow
    }

    /// Rounds at this rate until the state is this one; returns how many.
    fn until(&mut self, state: State, rate: u64) -> u32 {
        for rounds in 0..100 {
            if self.bbr.state == state {
                return rounds;
            }
            self.round(rate);
        }
        panic!("{state:?} is not reached: {:?}", self.bbr);
    }

    fn in_up() -> Flow {
        let mut flow = Flow::in_cruise();
        flow.until(State::ProbeBwUp, RATE);
        flow
    }
}

#[test]
fn section_5_6_2_the_first_rate_sends_the_initial_window_in_a_third_of_a_round_trip() {
    let flow = Flow::new();
    assert_eq!(flow.bbr.pacing_rate(&flow.path, &flow.window), 277_000);
    let unknown = Path { srtt_us: 0, ..flow.path };
    assert_eq!(flow.bbr.pacing_rate(&unknown, &flow.window), 27_700_000, "a millisecond");
}

#[test]
fn section_5_3_1_2_startup_ends_when_three_rounds_bring_no_quarter_more() {
    let mut flow = Flow::new();
    flow.path.in_flight = 2 * BDP;
    for rate in [RATE / 8, RATE / 4, RATE / 2, RATE, RATE * 124 / 100, RATE * 124 / 100] {
        flow.round(rate);
        assert_eq!(flow.bbr.state, State::Startup);
        assert!(flow.bbr.pacing_rate >= rate * 274 / 100, "paced at 2.77 times the rate");
    }
    flow.round(RATE * 124 / 100);
    assert!(flow.bbr.full_bw_now && flow.bbr.full_bw_reached);
    assert_eq!(flow.bbr.state, State::Drain);
    assert_eq!(flow.bbr.max_bw(), RATE * 124 / 100);
}

#[test]
fn section_5_3_1_2_application_limited_rounds_do_not_end_startup() {
    let mut flow = Flow::new();
    flow.rs.is_app_limited = true;
    for _ in 0..50 {
        flow.round(RATE / 2);
    }
    assert_eq!(flow.bbr.state, State::Startup);
}

/// With loss they do: appendix A, "Exiting STARTUP on Loss When Application-Limited".
#[test]
fn section_5_3_1_3_startup_ends_with_six_ranges_and_two_percent_lost_in_a_round() {
    for (ranges, lost, state) in
        [(6, 3 * MSS, State::Drain), (5, 3 * MSS, State::Startup), (6, 2 * MSS, State::Startup)]
    {
        let mut flow = Flow::new();
        flow.rs.is_app_limited = true;
        flow.path.in_flight = 2 * BDP;
        flow.round(RATE);
        flow.path.in_recovery = true;
        (0..ranges).for_each(|n| flow.lose(n * 2 * MSS, BDP, (n + 1) * MSS / 2));
        (flow.rs.lost, flow.rs.sent_in_flight) = (lost, BDP);
        flow.round(RATE);
        assert_eq!(flow.bbr.state, state, "{ranges} ranges, {lost} bytes");
        if state == State::Drain {
            assert_eq!(flow.bbr.undo_state, Some(State::Startup));
            assert_eq!(flow.bbr.inflight_longterm, BDP);
        }
    }
}

#[test]
fn section_5_3_1_3_contiguous_losses_are_one_range() {
    let mut flow = Flow::new();
    flow.round(RATE);
    (0..10).for_each(|n| flow.lose(n * MSS, BDP, MSS));
    assert_eq!(flow.bbr.loss_events_in_round, 1);
}

#[test]
fn section_5_3_1_3_without_sack_any_loss_in_recovery_ends_startup() {
    let mut flow = Flow::new();
    (flow.path.has_sack, flow.path.in_flight) = (false, 3 * BDP);
    flow.round(RATE);
    flow.path.in_recovery = true;
    flow.lose(0, BDP, MSS);
    flow.rs.newly_lost = MSS;
    flow.round(RATE);
    assert_eq!(flow.bbr.state, State::Drain);
}

#[test]
fn section_5_3_2_drain_ends_when_the_queue_is_empty() {
    let mut flow = Flow::new();
    flow.path.in_flight = 2 * BDP;
    (0..4).for_each(|_| flow.round(RATE));
    assert_eq!(flow.bbr.state, State::Drain);
    assert_eq!(flow.bbr.pacing_rate, RATE / 2 * 99 / 100);
    flow.path.in_flight = BDP + MSS;
    flow.round(RATE);
    assert_eq!(flow.bbr.state, State::Drain);
    flow.path.in_flight = BDP;
    flow.ack(MSS, RTT_MS);
    assert!(flow.bbr.is_in_probe_bw());
}

#[test]
fn section_5_3_2_drain_ends_after_three_round_trips_anyway() {
    let mut flow = Flow::new();
    flow.path.in_flight = 2 * BDP;
    (0..4).for_each(|_| flow.round(RATE));
    (0..3).for_each(|_| flow.round(RATE));
    assert_eq!(flow.bbr.state, State::Drain);
    flow.round(RATE);
    assert_eq!(flow.bbr.state, State::ProbeBwDown);
}

#[test]
fn section_5_3_3_1_down_ends_with_headroom_and_without_queue() {
    let mut flow = Flow::in_down();
    assert_eq!(flow.bbr.pacing_rate, RATE * 90 / 100 * 99 / 100);
    flow.bbr.inflight_longterm = BDP;
    flow.path.in_flight = 86 * MSS;
    flow.rs.sent_in_flight = BDP;
    flow.round(RATE);
    assert_eq!(flow.bbr.state, State::ProbeBwDown, "the headroom is 15 %");
    flow.path.in_flight = 85 * MSS;
    flow.round(RATE);
    assert_eq!(flow.bbr.state, State::ProbeBwCruise);
    assert_eq!(flow.window.cwnd, 85 * MSS);
    assert_eq!(flow.bbr.pacing_rate, RATE * 99 / 100);
}

/// Appendix A, "Exiting PROBE_DOWN After Max Time".
#[test]
fn section_5_3_3_6_down_ends_in_refill_when_it_takes_too_long() {
    let mut flow = Flow::in_down();
    assert!((2000..3000).contains(&flow.bbr.bw_probe_wait_ms));
    // Shorter round trips, so that ProbeRTT does not come between.
    flow.ack(MSS, RTT_MS - 1);
    flow.wait(1800);
    flow.ack(MSS, RTT_MS - 1);
    assert_eq!(flow.bbr.state, State::ProbeBwDown);
    flow.wait(1200);
    flow.ack(MSS, RTT_MS - 2);
    assert_eq!(flow.bbr.state, State::ProbeBwRefill);
}

#[test]
fn section_5_3_3_6_probes_as_often_as_reno_would_on_a_small_path() {
    let mut flow = Flow::in_cruise();
    // Ten segments a round trip.
    flow.bbr.max_bw_filter = [RATE / 10; 2];
    assert!((7..=10).contains(&flow.until(State::ProbeBwRefill, RATE / 10)));
}

#[test]
fn section_5_3_3_the_cycle_goes_from_cruise_by_refill_and_up_to_down() {
    let mut flow = Flow::in_cruise();
    flow.bbr.bw_shortterm = RATE / 2;
    flow.until(State::ProbeBwRefill, RATE);
    assert_eq!((flow.bbr.bw_shortterm, flow.bbr.pacing_rate), (INFINITE_RATE, RATE * 99 / 100));
    assert_eq!(flow.until(State::ProbeBwUp, RATE), 1, "one round trip");
    assert_eq!(flow.bbr.pacing_rate, RATE * 125 / 100 * 99 / 100);
    assert_eq!(
        flow.bbr.max_inflight(&flow.path),
        BDP / 100 * 225 + flow.bbr.extra_acked() + 2 * MSS
    );
    flow.path.in_flight = 2 * BDP;
    assert_eq!(flow.until(State::ProbeBwDown, RATE), 3, "until the rate has not grown");
    assert!(!flow.bbr.prev_probe_too_high);
}

/// Appendix A, "Exiting PROBE_UP on Loss When Application-Limited": the state changes all the same,
/// but the bound does not.
#[test]
fn section_5_5_10_2_too_much_loss_ends_up_and_bounds_what_is_in_flight() {
    let mut flow = Flow::in_up();
    flow.lose(0, 2 * BDP, 4 * MSS);
    assert_eq!(flow.bbr.state, State::ProbeBwUp, "2 % are tolerated");
    let mut limited = flow.clone();
    flow.lose(5000, 2 * BDP, 5 * MSS);
    assert_eq!(flow.bbr.state, State::ProbeBwDown);
    assert_eq!(flow.bbr.undo_state, Some(State::ProbeBwUp));
    // Two segments of 199 may be lost: 3.98 of 199 000 bytes before, and 4 were.
    assert_eq!(flow.bbr.inflight_longterm, 199 * MSS);
    limited.rs.is_app_limited = true;
    limited.lose(5000, 2 * BDP, 5 * MSS);
    assert_eq!(limited.bbr.state, State::ProbeBwDown);
    assert_eq!(limited.bbr.inflight_longterm, INFINITE);
}

#[test]
fn section_5_5_10_2_the_bound_is_at_least_beta_of_the_target() {
    let mut flow = Flow::in_up();
    flow.window.cwnd = 4 * BDP;
    flow.lose(0, BDP / 10, 5 * MSS);
    assert_eq!(flow.bbr.inflight_longterm, BDP / 10 * 7);
}

#[test]
fn section_5_5_10_2_inflight_at_loss_counts_the_part_of_a_burst_that_fits() {
    let lost = |bytes, sent_in_flight, lost_since_sent| Lost {
        start: Seq(0),
        end: Seq(0) + bytes,
        sent_in_flight,
        lost_since_sent,
        prior_delivered: 0,
        is_app_limited: false,
        delivered: 0,
    };
    // 90 000 bytes before a burst of 10 000 allow 1800; 1836 of 91 836 are 2 %.
    assert_eq!(<Bbr>::inflight_at_loss(&lost(10_000, 100_000, 10_000)), 91_836);
    assert_eq!(<Bbr>::inflight_at_loss(&lost(10_000, 100_000, 50_000)), 90_000);
}

/// What Startup has sent beyond the rate of the path is detected as lost in Drain and after.
#[test]
fn section_5_5_10_3_losses_of_startup_do_not_lower_the_short_term_model() {
    let mut flow = Flow::in_probe_bw();
    let end = flow.bbr.startup_end_delivered.expect("Startup is over");
    for (prior_delivered, is_lowered) in [(end - 1, false), (end, true)] {
        flow.lose_sent_at(prior_delivered, 0, BDP, MSS);
        flow.round(RATE / 2);
        flow.round(RATE / 2);
        assert_eq!(flow.bbr.bw_shortterm < RATE, is_lowered, "{prior_delivered} of {end}");
    }
}

#[test]
fn section_5_3_3_4_2_the_probe_after_too_much_loss_is_precautionary() {
    let mut flow = Flow::in_up();
    flow.lose(0, BDP, 5 * MSS);
    assert_eq!((flow.bbr.state, flow.bbr.inflight_longterm), (State::ProbeBwDown, 99 * MSS));
    flow.path.in_flight = BDP / 2;
    flow.until(State::ProbeBwUp, RATE);
    // As soon as the bound is in flight, it ends; without loss, the next one begins at once.
    flow.path.in_flight = 99 * MSS;
    flow.ack(MSS, RTT_MS);
    assert_eq!((flow.bbr.state, flow.bbr.prev_probe_precautionary), (State::ProbeBwDown, true));
    flow.path.in_flight = BDP / 2;
    assert_eq!(flow.until(State::ProbeBwRefill, RATE), 1);
    flow.until(State::ProbeBwUp, RATE);
    flow.path.in_flight = 99 * MSS;
    flow.ack(MSS, RTT_MS);
    assert_eq!(flow.bbr.state, State::ProbeBwUp);
}

#[test]
fn section_5_3_3_4_1_the_bound_grows_by_one_two_and_four_segments_a_round_trip() {
    let mut flow = Flow::in_up();
    (flow.bbr.inflight_longterm, flow.rs.sent_in_flight) = (BDP, BDP);
    flow.bbr.bw_probe_up_rounds = 0;
    flow.rs.is_cwnd_limited = true;
    let mut grown = Vec::new();
    for _ in 0..5 {
        let before = flow.bbr.inflight_longterm;
        flow.window.cwnd = before;
        flow.round(RATE);
        grown.push((flow.bbr.inflight_longterm - before) / MSS);
    }
    assert_eq!(flow.bbr.state, State::ProbeBwUp, "the bound limits, so the rate shows nothing");
    assert!(grown.windows(2).skip(1).all(|pair| pair[1] > pair[0]), "{grown:?}");
    assert!(grown[4] >= 8, "{grown:?}");
}

#[test]
fn section_5_5_10_3_loss_while_cruising_lowers_the_short_term_model() {
    let mut flow = Flow::in_cruise();
    flow.window.cwnd = 2 * BDP;
    flow.lose(0, BDP, MSS);
    assert_eq!(flow.bbr.bw_shortterm, INFINITE_RATE, "once a round trip, at its end");
    flow.round(RATE * 9 / 10);
    flow.round(RATE * 9 / 10);
    // The rate of the last round trip, as it is above 0.7 of the estimate.
    assert!((RATE * 9 / 10..=RATE).contains(&flow.bbr.bw_shortterm), "{}", flow.bbr.bw_shortterm);
    assert!(flow.bbr.inflight_shortterm <= 2 * BDP * 7 / 10);
    flow.lose(9000, BDP, MSS);
    (0..2).for_each(|_| flow.round(RATE / 10));
    flow.lose(19_000, BDP, MSS);
    (0..2).for_each(|_| flow.round(RATE / 10));
    assert!(flow.bbr.bw < RATE * 71 / 100 && flow.bbr.bw > RATE * 4 / 10, "{}", flow.bbr.bw);
    assert_eq!(flow.bbr.max_bw(), RATE, "the long-term model stays");
}

/// Not of the draft: `bbr-lossy`.
#[test]
fn with_another_threshold_as_much_loss_is_none() {
    let lossy = |lost| Bbr::<20>::is_inflight_too_high(lost, BDP, &Flow::new().path);
    assert_eq!([MSS, 20 * MSS, 21 * MSS].map(lossy), [false, false, true]);
    let rs = |lost| RateSample {
        delivery_rate: RATE / 2,
        delivered: BDP,
        prior_delivered: Some(BDP),
        sent_in_flight: BDP,
        lost,
        ..RateSample::default()
    };
    let path = Flow::new().path;
    for (lost, lowers) in [(20 * MSS, false), (21 * MSS, true)] {
        let cruise = Bbr::<20> { state: State::ProbeBwCruise, ..Bbr::default() };
        let mut bbr = Bbr::<20> { is_loss_in_round: true, full_bw_reached: true, ..cruise };
        let rs = rs(lost);
        let event = Event { path: &path, rs: &rs, acked: MSS, rtt_us: None, cwnd: BDP };
        bbr.update_latest_delivery_signals(&rs);
        bbr.update_congestion_signals(&event);
        assert_eq!(bbr.inflight_shortterm != INFINITE, lowers, "{lost}");
    }
}

#[test]
fn section_5_5_6_a_maximum_lasts_two_cycles() {
    let mut flow = Flow::in_up();
    flow.path.in_flight = BDP / 10;
    for expected in [RATE, RATE / 2] {
        flow.until(State::ProbeBwCruise, RATE / 2);
        flow.round(RATE / 2);
        assert_eq!(flow.bbr.max_bw(), expected);
        flow.until(State::ProbeBwUp, RATE / 2);
    }
}

#[test]
fn section_5_5_4_application_limited_samples_count_only_above_the_maximum() {
    let mut flow = Flow::in_cruise();
    flow.bbr.max_bw_filter = [RATE, 0];
    flow.rs.is_app_limited = true;
    flow.round(RATE / 10);
    assert_eq!(flow.bbr.max_bw_filter[1], 0);
    flow.round(2 * RATE);
    assert_eq!(flow.bbr.max_bw(), 2 * RATE);
}

#[test]
fn section_5_3_4_3_probe_rtt_after_five_seconds_without_a_shorter_round_trip() {
    let mut flow = Flow::in_cruise();
    flow.bbr.cycle_at = Tick::from_millis(flow.now_ms + 60_000);
    flow.bbr.rounds_since_probe_up = 0;
    flow.window.cwnd = 2 * BDP;
    let before = flow.window.cwnd;
    flow.wait(5100);
    flow.path.in_flight = BDP;
    flow.ack(MSS, RTT_MS + 10);
    assert_eq!(flow.bbr.state, State::ProbeRtt);
    assert!(flow.bbr.holds_back());
    assert_eq!((flow.window.cwnd, flow.bbr.pacing_rate), (BDP / 2, RATE * 99 / 100));
    // 200 ms and a round trip after the queue is empty.
    flow.path.in_flight = BDP / 2;
    flow.ack(MSS, RTT_MS);
    flow.round(RATE / 2);
    flow.round(RATE / 2);
    assert_eq!(flow.bbr.state, State::ProbeRtt);
    flow.round(RATE / 2);
    assert_eq!(flow.bbr.state, State::ProbeBwCruise);
    assert!(flow.window.cwnd >= before - MSS, "{}", flow.window.cwnd);
    assert_eq!(flow.bbr.bw_shortterm, INFINITE_RATE);
}

/// Appendix A, "Entering and Exiting PROBE_RTT During STARTUP".
#[test]
fn section_5_3_4_4_probe_rtt_returns_to_startup_if_the_pipe_was_not_full() {
    let mut flow = Flow::new();
    flow.rs.is_app_limited = true;
    flow.round(RATE / 2);
    flow.wait(5100);
    flow.ack(MSS, RTT_MS + 1);
    assert_eq!(flow.bbr.state, State::ProbeRtt);
    (0..4).for_each(|_| flow.round(RATE / 2));
    assert_eq!(flow.bbr.state, State::Startup);
}

#[test]
fn section_5_3_4_3_a_longer_round_trip_is_believed_after_ten_seconds() {
    let mut flow = Flow::in_cruise();
    flow.path.in_flight = BDP / 10;
    for _ in 0..45 {
        flow.round_of(RATE, RTT_MS * 2);
    }
    assert_eq!(flow.bbr.min_rtt_us, RTT_MS * 1000);
    for _ in 0..70 {
        flow.round_of(RATE, RTT_MS * 2);
    }
    assert_eq!(flow.bbr.min_rtt_us, RTT_MS * 2000);
}

/// Appendix A, "Skipping PROBE_RTT Due to Application-Limited Sending".
#[test]
fn section_5_4_1_after_an_idle_time_the_rate_is_the_paths_and_probe_rtt_is_skipped() {
    let mut flow = Flow::in_up();
    let cwnd = flow.window.cwnd;
    flow.wait(9000);
    let idle = Idle { idle_ms: 9000, rto_ms: 300, is_app_limited: true };
    flow.bbr.on_restart(&idle, &flow.path, &mut flow.window);
    assert_eq!((flow.window.cwnd, flow.bbr.pacing_rate), (cwnd, RATE * 99 / 100));
    flow.ack(MSS, RTT_MS + 5);
    assert_ne!(flow.bbr.state, State::ProbeRtt);
    assert!(!flow.bbr.idle_restart);
}

#[test]
fn section_5_4_1_idle_time_in_probe_rtt_ends_it() {
    let mut flow = Flow::in_cruise();
    flow.bbr.cycle_at = Tick::from_millis(flow.now_ms + 60_000);
    flow.wait(5100);
    flow.path.in_flight = MSS;
    flow.ack(MSS, RTT_MS + 1);
    assert_eq!(flow.bbr.state, State::ProbeRtt);
    flow.wait(300);
    let idle = Idle { idle_ms: 300, rto_ms: 300, is_app_limited: true };
    flow.bbr.on_restart(&idle, &flow.path, &mut flow.window);
    assert_eq!(flow.bbr.state, State::ProbeBwCruise);
}

#[test]
fn section_5_5_9_aggregated_acknowledgements_widen_the_window() {
    let mut flow = Flow::in_cruise();
    flow.window.cwnd = 4 * BDP;
    let before = flow.bbr.extra_acked();
    // Half a round trip of silence, then everything at once.
    flow.wait(50);
    flow.ack(50 * MSS, RTT_MS);
    flow.wait(1);
    flow.ack(50 * MSS, RTT_MS);
    assert!(flow.bbr.extra_acked() >= before.max(90 * MSS), "{}", flow.bbr.extra_acked());
    assert!(flow.bbr.max_inflight(&flow.path) >= 2 * BDP + 90 * MSS);
    // It is forgotten after ten round trips.
    flow.path.in_flight = BDP / 2;
    for _ in 0..11 {
        flow.bbr.cycle_at = flow.path.now;
        flow.bbr.rounds_since_probe_up = 0;
        flow.round(RATE / 2);
    }
    assert!(flow.bbr.extra_acked() < 30 * MSS, "{}", flow.bbr.extra_acked());
}

/// Appendix A, "Correctly Managing Sub-Packet BDPs".
#[test]
fn section_5_6_4_3_four_segments_are_the_least() {
    let mut flow = Flow::in_cruise();
    flow.bbr.max_bw_filter = [5000; 2];
    flow.bbr.extra_acked_filter = [0; 2];
    flow.bbr.extra_acked_delivered = 0;
    flow.rs.is_app_limited = true;
    for _ in 0..12 {
        flow.round(1000);
    }
    assert!(flow.bbr.pacing_rate <= 5000 * 125 / 100, "{}", flow.bbr.pacing_rate);
    assert!((4 * MSS..=8 * MSS).contains(&flow.window.cwnd), "{}", flow.window.cwnd);
}

#[test]
fn section_5_6_4_4_a_timeout_is_followed_by_the_window_before() {
    let mut flow = Flow::in_cruise();
    let before = flow.window;
    flow.bbr.on_congestion(Signal::Timeout, &flow.path, &mut flow.window);
    flow.path.in_recovery = true;
    flow.window.cwnd = MSS;
    flow.ack(MSS, RTT_MS);
    assert!(flow.window.cwnd <= 4 * MSS, "{}", flow.window.cwnd);
    flow.bbr.on_recovered(Signal::Timeout, &flow.path, &mut flow.window);
    assert_eq!(flow.window.cwnd, before.cwnd);
}

/// Appendix A, "Handling Spurious Fast Recovery" and "Spurious RTO Recovery".
#[test]
fn section_5_5_11_2_a_spurious_loss_in_up_is_undone() {
    for signal in [Signal::Loss, Signal::Timeout] {
        let mut flow = Flow::in_up();
        flow.window.cwnd = 2 * BDP;
        let (before, longterm) = (flow.window, flow.bbr.inflight_longterm);
        if signal == Signal::Timeout {
            flow.bbr.on_congestion(signal, &flow.path, &mut flow.window);
        }
        flow.lose(0, BDP, 5 * MSS);
        assert_eq!(flow.bbr.state, State::ProbeBwDown);
        assert!(flow.bbr.inflight_longterm < longterm);
        if signal == Signal::Loss {
            flow.bbr.on_congestion(signal, &flow.path, &mut flow.window);
        }
        flow.window.cwnd = MSS;
        flow.bbr.on_undo(&before, &flow.path, &mut flow.window);
        assert_eq!(flow.bbr.state, State::ProbeBwRefill, "{signal:?}");
        assert_eq!((flow.window.cwnd, flow.bbr.inflight_longterm), (2 * BDP, longterm));
        assert!(!flow.bbr.is_loss_in_round);
    }
}

#[test]
fn section_5_5_11_2_a_spurious_loss_in_startup_is_undone() {
    let mut flow = Flow::new();
    flow.path.in_flight = 2 * BDP;
    flow.round(RATE);
    flow.path.in_recovery = true;
    (0..6).for_each(|n| flow.lose(n * 2 * MSS, BDP, (n + 1) * MSS));
    (flow.rs.lost, flow.rs.sent_in_flight) = (6 * MSS, BDP);
    flow.round(RATE);
    assert_eq!(flow.bbr.state, State::Drain);
    let before = flow.window;
    flow.bbr.on_undo(&before, &flow.path, &mut flow.window);
    assert_eq!((flow.bbr.state, flow.bbr.full_bw_reached), (State::Startup, false));
    assert_eq!(flow.bbr.inflight_longterm, INFINITE);
}

#[test]
fn section_3_8_an_ecn_mark_is_congestion() {
    let mut flow = Flow::in_up();
    flow.path.in_flight = BDP;
    flow.bbr.on_congestion(Signal::Mark, &flow.path, &mut flow.window);
    assert_eq!((flow.bbr.state, flow.bbr.inflight_longterm), (State::ProbeBwDown, BDP));
    let mut flow = Flow::new();
    flow.round(RATE);
    flow.bbr.on_congestion(Signal::Mark, &flow.path, &mut flow.window);
    flow.path.in_flight = 3 * BDP;
    flow.ack(MSS, RTT_MS);
    assert_eq!(flow.bbr.state, State::Drain);
    let mut flow = Flow::in_cruise();
    flow.bbr.on_congestion(Signal::Mark, &flow.path, &mut flow.window);
    (0..2).for_each(|_| flow.round(RATE));
    assert_ne!(flow.bbr.inflight_shortterm, INFINITE);
}
