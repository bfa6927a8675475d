//! A report for programs.

use super::super::Outcome;
use super::super::tally::LATE_US;
use super::{PERCENTILES, Report};
use hdrhistogram::Histogram;

impl Report {
    /// For programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let Report { target, shape, plan, outcome: Outcome { transport, tally, .. } } = self;
        let faults: serde_json::Map<_, _> =
            tally.faults().map(|(name, count)| (name.to_owned(), count.into())).collect();
        let stack: serde_json::Map<_, _> = self
            .outcome
            .stack
            .iter()
            .map(|(name, count)| ((*name).to_owned(), (*count).into()))
            .collect();
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
