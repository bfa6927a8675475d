//! The result of a run in words and as JSON. Nothing is measured here.

use super::tally::Tally;
use crate::limits::Bytes;
use crate::metrics::Count;
use hdrhistogram::Histogram;
use std::fmt;
use std::time::Duration;

/// The percentiles that are told, with the names that they have in JSON.
const PERCENTILES: [(f64, &str, &str); 5] = [
    (50.0, "p50", "p50"),
    (90.0, "p90", "p90"),
    (99.0, "p99", "p99"),
    (99.9, "p99.9", "p99_9"),
    (99.99, "p99.99", "p99_99"),
];

/// All that is told of a run.
pub(crate) struct Report {
    pub(crate) url: String,
    /// How it was sent, in words.
    pub(crate) transport: String,
    pub(crate) connections: u32,
    pub(crate) in_flight: u32,
    pub(crate) pipeline: u16,
    pub(crate) connection_per_request: bool,
    pub(crate) measured: Duration,
    pub(crate) tally: Tally,
    /// What the stack counted, where Simoom's own sent.
    pub(crate) stack: Vec<Count>,
}

impl Report {
    fn per_second(&self, count: u64) -> f64 {
        if self.measured.is_zero() { 0.0 } else { count as f64 / self.measured.as_secs_f64() }
    }

    fn retransmissions(&self) -> Option<u64> {
        self.stack.iter().find(|(name, _)| *name == "retransmissions").map(|(_, count)| *count)
    }

    /// The faults that were met, in words; `None` without any.
    pub(crate) fn faults(&self) -> Option<String> {
        let met = self.tally.faults().filter(|(_, count)| *count > 0);
        let list: Vec<String> = met.map(|(name, count)| format!("{count} {}", name.replace('_', " "))).collect();
        (!list.is_empty()).then(|| list.join(", "))
    }

    /// For programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let Tally { responses, content_bytes, latency_us, opened, closed_between, first_fault, .. } = &self.tally;
        let mut latency = serde_json::Map::new();
        for (percentile, _, key) in PERCENTILES {
            latency.insert(key.into(), latency_us.value_at_percentile(percentile).into());
        }
        latency.insert("min".into(), if *responses > 0 { latency_us.min() } else { 0 }.into());
        latency.insert("mean".into(), latency_us.mean().into());
        latency.insert("max".into(), latency_us.max().into());
        let faults: serde_json::Map<_, _> =
            self.tally.faults().map(|(name, count)| (name.to_owned(), count.into())).collect();
        let stack: serde_json::Map<_, _> =
            self.stack.iter().map(|(name, count)| ((*name).to_owned(), (*count).into())).collect();
        serde_json::json!({
            "url": self.url,
            "transport": self.transport,
            "connections": self.connections,
            "in_flight": self.in_flight,
            "pipeline": self.pipeline,
            "connection_per_request": self.connection_per_request,
            "seconds": self.measured.as_secs_f64(),
            "responses": responses,
            "responses_per_second": self.per_second(*responses),
            "content_bytes": content_bytes,
            "content_bytes_per_second": self.per_second(*content_bytes),
            "latency_us": latency,
            "connections_opened": opened,
            "closed_between_requests": closed_between,
            "retransmissions": self.retransmissions(),
            "errors": self.tally.fault_count(),
            "errors_by_kind": faults,
            "first_error": first_fault,
            "stack": stack,
        })
    }
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
        let Report { url, transport, connections, in_flight, pipeline, tally, .. } = self;
        writeln!(f, "{url} through {transport}")?;
        if self.connection_per_request {
            writeln!(f, "  load          a connection for each request, {connections} at once")?;
        } else {
            let depth = if *pipeline > 1 { format!(", {pipeline} requests on each") } else { String::new() };
            writeln!(f, "  load          {connections} connections, {in_flight} in flight{depth}")?;
        }
        writeln!(f, "  measured      {:.3} s", self.measured.as_secs_f64())?;
        writeln!(f, "  responses     {}, {:.0}/s", tally.responses, self.per_second(tally.responses))?;
        let rate = Bytes(self.per_second(tally.content_bytes) as u64);
        writeln!(f, "  content       {}, {rate}/s", Bytes(tally.content_bytes))?;
        if tally.responses > 0 {
            writeln!(f, "  latency       {}", latencies(&tally.latency_us))?;
        }
        write!(f, "  connections   {} opened", tally.opened)?;
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
    use crate::load::tally::Fault;

    fn report(tally: Tally) -> Report {
        Report {
            url: "http://198.18.0.1/".into(),
            transport: "kernel sockets".into(),
            connections: 2,
            in_flight: 1,
            pipeline: 1,
            connection_per_request: false,
            measured: Duration::from_millis(500),
            tally,
            stack: Vec::new(),
        }
    }

    #[test]
    fn rates_and_latencies_are_of_the_measured_time() {
        let mut tally = Tally::new();
        for latency_us in [10, 20, 3000, 40_000] {
            tally.response(latency_us, 512);
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
    }

    #[test]
    fn a_run_without_answers_has_a_report_too() {
        let mut tally = Tally::new();
        tally.fault(Fault::ClosedEarly, || "closed before the answer".into());
        let report = Report { measured: Duration::ZERO, ..report(tally) };
        assert!(report.to_string().ends_with("errors        1 closed early"), "{report}");
        assert_eq!(report.json()["responses_per_second"], 0.0);
    }
}
