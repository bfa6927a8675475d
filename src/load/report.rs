//! The result of a run in words and as JSON. Nothing is measured here.

use super::Outcome;
use super::client::Plan;
use super::memcached::Shape;
use super::tally::LATE_US;
use super::target::Target;
use crate::limits::Bytes;
use hdrhistogram::Histogram;
use std::fmt;

/// The percentiles that are told, with the names that they have in JSON.
const PERCENTILES: [(f64, &str, &str); 5] = [
    (50.0, "p50", "p50"),
    (90.0, "p90", "p90"),
    (99.0, "p99", "p99"),
    (99.9, "p99.9", "p99_9"),
    (99.99, "p99.99", "p99_99"),
];

/// A generator that works for more than this share of the time is taken to be the limit.
const BUSY_MAX: f64 = 0.95;
/// More than this share of requests that leave late put the latencies in doubt.
const LATE_MAX: f64 = 0.01;

/// All that is told of a run.
pub(crate) struct Report {
    pub(crate) target: Target,
    /// What memcached was asked.
    pub(crate) shape: Option<Shape>,
    pub(crate) plan: Plan,
    pub(crate) outcome: Outcome,
}

impl Report {
    fn per_second(&self, count: u64) -> f64 {
        if self.outcome.measured.is_zero() { 0.0 } else { count as f64 / self.outcome.measured.as_secs_f64() }
    }

    fn retransmissions(&self) -> Option<u64> {
        self.outcome.stack.iter().find(|(name, _)| *name == "retransmissions").map(|(_, count)| *count)
    }

    /// The faults that were met, in words; `None` without any.
    pub(crate) fn faults(&self) -> Option<String> {
        let met = self.outcome.tally.faults().filter(|(_, count)| *count > 0);
        let list: Vec<String> = met.map(|(name, count)| format!("{count} {}", name.replace('_', " "))).collect();
        (!list.is_empty()).then(|| list.join(", "))
    }

    /// The share of the measured time that the generator was at work.
    fn busy(&self) -> f64 {
        if self.outcome.measured.is_zero() {
            0.0
        } else {
            self.outcome.tally.busy_us as f64 / self.outcome.measured.as_micros() as f64
        }
    }

    /// The share of requests that left late although a connection was free.
    fn late(&self) -> f64 {
        if self.outcome.tally.sent == 0 {
            0.0
        } else {
            self.outcome.tally.late as f64 / self.outcome.tally.sent as f64
        }
    }

    /// Why the figures may be the generator's rather than the server's; `None` if nothing speaks for that.
    fn doubt(&self) -> Option<&'static str> {
        let saturated = self.busy() > BUSY_MAX;
        match self.plan.rate {
            Some(_) if saturated || self.late() > LATE_MAX => {
                Some("latencies may be the generator's: offer less, or give it a faster core")
            }
            None if saturated => Some("the server may not be the limit"),
            _ => None,
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let Report { target, shape, plan, outcome: Outcome { transport, tally, .. } } = self;
        let faults: serde_json::Map<_, _> =
            tally.faults().map(|(name, count)| (name.to_owned(), count.into())).collect();
        let stack: serde_json::Map<_, _> =
            self.outcome.stack.iter().map(|(name, count)| ((*name).to_owned(), (*count).into())).collect();
        serde_json::json!({
            "url": target.url,
            "protocol": target.scheme.name(),
            "transport": transport,
            "connections": plan.connections,
            "in_flight": plan.in_flight,
            "pipeline": plan.pipeline,
            "connection_per_request": plan.connection_per_request,
            "slow": plan.slow.map(|sips| sips.bytes_per_second),
            "rate": plan.rate.map(|rate| rate.per_second),
            "arrivals": plan.rate.map(|rate| rate.arrivals.name()),
            "workload": shape.map(|shape| serde_json::json!({
                "keys": shape.keys,
                "value_bytes": [shape.value_bytes.0, shape.value_bytes.1],
                "get_ratio": shape.get_ratio,
                "zipf": shape.zipf,
                "multiget": shape.multiget,
                "preload": shape.preload,
            })),
            "seconds": self.outcome.measured.as_secs_f64(),
            "measured_us_since_boot": [tally.measured_us.0, tally.measured_us.1],
            "offered": plan.rate.map(|_| tally.sent + self.outcome.waiting),
            "sent": tally.sent,
            "waiting": plan.rate.map(|_| self.outcome.waiting),
            "answered": plan.rate.map(|_| tally.latency_us.len()),
            "responses": tally.responses,
            "responses_per_second": self.per_second(tally.responses),
            "hits": shape.map(|_| tally.lookups.0),
            "misses": shape.map(|_| tally.lookups.1),
            "content_bytes": tally.content_bytes,
            "content_bytes_per_second": self.per_second(tally.content_bytes),
            "latency_us": figures(&tally.latency_us),
            "generator": {
                "busy": self.busy(),
                "turn_us": figures(&tally.turn_us),
                "late": plan.rate.map(|_| tally.late),
                "late_over_us": plan.rate.map(|_| LATE_US),
                "late_us": plan.rate.map(|_| figures(&tally.late_us)),
                "doubt": self.doubt(),
            },
            "connections_opened": tally.opened,
            "closed_between_requests": tally.closed_between,
            "retransmissions": self.retransmissions(),
            "errors": tally.fault_count(),
            "errors_by_kind": faults,
            "first_error": tally.first_fault,
            "stack": stack,
        })
    }

    /// What was sent, in words.
    fn load(&self) -> String {
        let Plan { connections, in_flight, pipeline, connection_per_request, rate, slow, .. } = self.plan;
        let rate = rate.map(|rate| format!("{}/s, {}, over ", rate.per_second, rate.arrivals.name()));
        let rate = rate.unwrap_or_default();
        if connection_per_request {
            return format!("{rate}a connection for each request, {connections} at once");
        }
        let depth = if pipeline > 1 { format!(", {pipeline} requests on each") } else { String::new() };
        let slow = slow.map(|sips| format!(", each reading at most {}/s", Bytes(sips.bytes_per_second.into())));
        format!("{rate}{connections} connections, {in_flight} in flight{depth}{}", slow.unwrap_or_default())
    }
}

/// A histogram of microseconds, for programs.
fn figures(histogram: &Histogram<u64>) -> serde_json::Value {
    let mut figures = serde_json::Map::new();
    for (percentile, _, key) in PERCENTILES {
        figures.insert(key.into(), histogram.value_at_percentile(percentile).into());
    }
    figures.insert("min".into(), if histogram.is_empty() { 0 } else { histogram.min() }.into());
    figures.insert("mean".into(), histogram.mean().into());
    figures.insert("max".into(), histogram.max().into());
    figures.into()
}

/// A time in microseconds as people read it.
fn time(us: u64) -> String {
    match us {
        0..1000 => format!("{us} µs"),
        1000..1_000_000 => format!("{:.2} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

fn latencies(histogram: &Histogram<u64>) -> String {
    let at = |(percentile, name, _)| format!("{name} {}", time(histogram.value_at_percentile(percentile)));
    let mut list: Vec<String> = PERCENTILES.into_iter().map(at).collect();
    list.push(format!("max {}", time(histogram.max())));
    list.join(", ")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { target, shape, outcome: Outcome { transport, tally, .. }, .. } = self;
        writeln!(f, "{} through {transport}", target.url)?;
        writeln!(f, "  load          {}", self.load())?;
        if let Some(shape) = shape {
            writeln!(f, "  asked         {shape}")?;
        }
        writeln!(f, "  measured      {:.3} s", self.outcome.measured.as_secs_f64())?;
        if self.plan.rate.is_some() {
            let (offered, waiting) = (tally.sent + self.outcome.waiting, self.outcome.waiting);
            writeln!(
                f,
                "  requests      {offered} offered, {} sent, {} answered, {waiting} still waiting at the end",
                tally.sent,
                tally.latency_us.len()
            )?;
        }
        writeln!(f, "  responses     {}, {:.0}/s", tally.responses, self.per_second(tally.responses))?;
        if shape.is_some() {
            let (hits, misses) = tally.lookups;
            writeln!(f, "  keys          {hits} hits, {misses} misses")?;
        }
        let rate = Bytes(self.per_second(tally.content_bytes) as u64);
        writeln!(f, "  content       {}, {rate}/s", Bytes(tally.content_bytes))?;
        if !tally.latency_us.is_empty() {
            writeln!(f, "  latency       {}", latencies(&tally.latency_us))?;
        }
        write!(f, "  generator     busy {:.0} %", 100.0 * self.busy())?;
        if self.plan.rate.is_some() {
            let (late, late_us) = (100.0 * self.late(), &tally.late_us);
            let (p99, max) = (time(late_us.value_at_percentile(99.0)), time(late_us.max()));
            write!(f, ", {late:.2} % of requests over {} late by itself (p99 {p99}, max {max})", time(LATE_US))?;
        }
        let doubt = self.doubt().map(|doubt| format!("; {doubt}")).unwrap_or_default();
        write!(f, "{doubt}\n  connections   {} opened", tally.opened)?;
        if tally.closed_between > 0 {
            write!(f, ", {} closed by the server between requests", tally.closed_between)?;
        }
        if let Some(retransmissions) = self.retransmissions() {
            write!(f, "\n  segments      {retransmissions} retransmitted")?;
        }
        write!(f, "\n  errors        {}", self.faults().as_deref().unwrap_or("none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::course::Extent;
    use crate::load::pace::{Arrivals, Rate};
    use crate::load::protocol::Lookups;
    use crate::load::tally::{Fault, Tally};
    use std::time::Duration;

    fn report(tally: Tally) -> Report {
        let extent = Extent { duration: None, requests: None, warm_up: Duration::ZERO };
        let plan = Plan {
            connections: 2,
            in_flight: 1,
            pipeline: 1,
            connection_per_request: false,
            rate: None,
            slow: None,
            verify: false,
            timeout: Duration::from_secs(1),
            extent,
            by_second: false,
        };
        let outcome = Outcome {
            transport: "kernel sockets".into(),
            measured: Duration::from_millis(500),
            waiting: 0,
            tally,
            stack: Vec::new(),
        };
        Report { target: Target::parse("http://198.18.0.1/").unwrap(), shape: None, plan, outcome }
    }

    #[test]
    fn rates_and_latencies_are_of_the_measured_time() {
        let mut tally = Tally::new(false);
        for latency_us in [10, 20, 3000, 40_000] {
            tally.response(Lookups::default());
            tally.latency(latency_us);
            tally.content_bytes += 512;
        }
        let report = report(tally);
        let text = report.to_string();
        assert!(
            text.contains("responses     4, 8/s") && text.contains("content       2.0 KiB, 4.0 KiB/s"),
            "{text}"
        );
        assert!(text.contains("p50 20 µs") && text.contains("errors        none"), "{text}");
        let json = report.json();
        assert_eq!((&json["responses_per_second"], &json["latency_us"]["p50"]), (&8.0.into(), &20.into()));
        assert_eq!((&json["errors"], &json["errors_by_kind"]["reset"]), (&0.into(), &0.into()));
        assert!(json["offered"].is_null() && json["generator"]["late"].is_null());
    }

    #[test]
    fn a_run_without_answers_has_a_report_too() {
        let mut tally = Tally::new(false);
        tally.fault(Fault::ClosedEarly, || "closed before the answer".into());
        let mut report = report(tally);
        report.outcome.measured = Duration::ZERO;
        assert!(report.to_string().ends_with("errors        1 closed early"), "{report}");
        assert_eq!(report.json()["responses_per_second"], 0.0);
    }

    #[test]
    fn an_open_loop_tells_what_was_offered_and_how_late_the_generator_was() {
        let mut tally = Tally::new(false);
        for late_us in [0, 0, 0, 5000] {
            tally.sent(Some(late_us));
        }
        // Before what was sent here was answered, two answers came to what had waited since the warm-up.
        tally.response(Lookups::default());
        tally.response(Lookups::default());
        tally.latency(70);
        let mut report = report(tally);
        report.outcome.waiting = 6;
        report.plan.rate = Some(Rate { per_second: 20.0, arrivals: Arrivals::Uniform, seed: 1 });
        let text = report.to_string();
        assert!(text.contains("load          20/s, uniform, over 2 connections, 1 in flight"), "{text}");
        assert!(text.contains("10 offered, 4 sent, 1 answered, 6 still waiting at the end"), "{text}");
        assert!(text.contains("responses     2, 4/s"), "{text}");
        assert!(text.contains("25.00 % of requests over 100 µs late by itself"), "{text}");
        assert!(text.contains("latencies may be the generator's"), "{text}");
        let json = report.json();
        assert_eq!((&json["offered"], &json["sent"], &json["waiting"]), (&10.into(), &4.into(), &6.into()));
        assert_eq!((&json["answered"], &json["responses"]), (&1.into(), &2.into()));
        assert_eq!((&json["generator"]["late"], &json["rate"]), (&1.into(), &20.0.into()));
    }

    #[test]
    fn a_generator_that_is_always_at_work_is_doubted() {
        let mut tally = Tally::new(false);
        tally.turn(490_000, true);
        let report = report(tally);
        assert!(report.to_string().contains("busy 98 %; the server may not be the limit"), "{report}");
    }

    #[test]
    fn of_memcached_it_tells_what_was_asked_and_what_was_there() {
        let mut tally = Tally::new(false);
        tally.response(Lookups { hits: 9, misses: 1 });
        let shape = Shape {
            keys: 1000,
            value_bytes: (10, 20),
            get_ratio: 0.9,
            zipf: Some(0.99),
            multiget: 10,
            preload: true,
        };
        let report = Report { shape: Some(shape), ..report(tally) };
        let text = report.to_string();
        assert!(text.contains("90 % gets of 10 keys of 1000, Zipf 0.99; values of 10 to 20 bytes"), "{text}");
        assert!(text.contains("9 hits, 1 misses"), "{text}");
        let json = report.json();
        assert_eq!(
            (&json["hits"], &json["misses"], &json["workload"]["keys"]),
            (&9.into(), &1.into(), &1000.into())
        );
    }
}
