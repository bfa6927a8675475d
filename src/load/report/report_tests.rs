use super::*;
use crate::load::pace::{Arrivals, Rate};
use crate::load::protocol::Lookups;
use crate::load::schedule::RunLimits;
use crate::load::stats::{Fault, Stats};
use std::time::Duration;

fn report(stats: Stats) -> Report {
    let limits = RunLimits { duration: None, requests: None, warm_up: Duration::ZERO };
    let plan = Plan {
        connections: 2,
        in_flight: 1,
        pipeline: 1,
        connection_per_request: false,
        rate: None,
        slow: None,
        verify: false,
        timeout: Duration::from_secs(1),
        limits,
        by_second: false,
    };
    let outcome = Outcome {
        transport: "kernel sockets".into(),
        measured: Duration::from_millis(500),
        waiting: 0,
        stats,
        stack: Vec::new(),
    };
    Report { target: Target::parse("http://198.18.0.1/").unwrap(), workload: None, plan, outcome }
}

#[test]
fn rates_and_latencies_are_of_the_measured_time() {
    let mut stats = Stats::new(false);
    for latency_us in [10, 20, 3000, 40_000] {
        stats.response(Lookups::default());
        stats.latency(latency_us);
        stats.content_bytes += 512;
    }
    let report = report(stats);
    let text = report.to_string();
    assert!(
        text.contains("responses     4, 8/s") && text.contains("content       2.0 KiB, 4.0 KiB/s"),
        "{text}"
    );
    assert!(text.contains("p50 20 µs") && text.contains("errors        none"), "{text}");
    let json = report.json();
    assert_eq!(
        (&json["responses_per_second"], &json["latency_us"]["p50"]),
        (&8.0.into(), &20.into())
    );
    assert_eq!((&json["errors"], &json["errors_by_kind"]["reset"]), (&0.into(), &0.into()));
    assert!(json["offered"].is_null() && json["generator"]["late"].is_null());
}

#[test]
fn a_run_without_answers_has_a_report_too() {
    let mut stats = Stats::new(false);
    stats.fault(Fault::ClosedEarly, || "closed before the answer".into());
    let mut report = report(stats);
    report.outcome.measured = Duration::ZERO;
    assert!(report.to_string().ends_with("errors        1 closed early"), "{report}");
    assert_eq!(report.json()["responses_per_second"], 0.0);
}

#[test]
fn an_open_loop_tells_what_was_offered_and_how_late_the_generator_was() {
    let mut stats = Stats::new(false);
    for late_us in [0, 0, 0, 5000] {
        stats.sent(Some(late_us));
    }
    // Two answers to requests that had waited since the warm-up arrived before the answers to what
    // was sent here.
    stats.response(Lookups::default());
    stats.response(Lookups::default());
    stats.latency(70);
    let mut report = report(stats);
    report.outcome.waiting = 6;
    report.plan.rate = Some(Rate { per_second: 20.0, arrivals: Arrivals::Uniform, seed: 1 });
    let text = report.to_string();
    assert!(
        text.contains("load          20/s, uniform, over 2 connections, 1 in flight"),
        "{text}"
    );
    assert!(text.contains("10 offered, 4 sent, 1 answered, 6 still waiting at the end"), "{text}");
    assert!(text.contains("responses     2, 4/s"), "{text}");
    assert!(text.contains("25.00 % of requests over 100 µs late by itself"), "{text}");
    assert!(text.contains("latencies may be the generator's"), "{text}");
    let json = report.json();
    assert_eq!(
        (&json["offered"], &json["sent"], &json["waiting"]),
        (&10.into(), &4.into(), &6.into())
    );
    assert_eq!((&json["answered"], &json["responses"]), (&1.into(), &2.into()));
    assert_eq!((&json["generator"]["late"], &json["rate"]), (&1.into(), &20.0.into()));
}

#[test]
fn a_generator_that_is_always_at_work_is_doubted() {
    let mut stats = Stats::new(false);
    stats.iteration(490_000, true);
    let report = report(stats);
    assert!(report.to_string().contains("busy 98 %; the server may not be the limit"), "{report}");
}

#[test]
fn of_memcached_it_tells_what_was_asked_and_what_was_there() {
    let mut stats = Stats::new(false);
    stats.response(Lookups { hits: 9, misses: 1 });
    let workload = WorkloadSpec {
        keys: 1000,
        value_bytes: (10, 20),
        get_ratio: 0.9,
        zipf: Some(0.99),
        multiget: 10,
        preload: true,
    };
    let report = Report { workload: Some(workload), ..report(stats) };
    let text = report.to_string();
    assert!(
        text.contains("90 % gets of 10 keys of 1000, Zipf 0.99; values of 10 to 20 bytes"),
        "{text}"
    );
    assert!(text.contains("9 hits, 1 misses"), "{text}");
    let json = report.json();
    assert_eq!(
        (&json["hits"], &json["misses"], &json["workload"]["keys"]),
        (&9.into(), &1.into(), &1000.into())
    );
}
