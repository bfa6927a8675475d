//! The report as JSON.

use super::super::Outcome;
use super::super::stats::LATE_US;
use super::{PERCENTILES, Report};
use hdrhistogram::Histogram;

impl Report {
    /// The report as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        let Report { target, workload, plan, outcome: Outcome { transport, stats, .. } } = self;
        let faults: serde_json::Map<_, _> =
            stats.faults().map(|(name, count)| (name.to_owned(), count.into())).collect();
        let stack: serde_json::Map<_, _> = self
            .outcome
            .stack
            .iter()
            .map(|(metric, count)| (metric.name.to_owned(), (*count).into()))
            .collect();
        serde_json::json!({
            "url": target.url,
            "protocol": target.scheme.name(),
            "transport": transport,
            "connections": plan.connections,
            "in_flight": plan.in_flight,
            "pipeline": plan.pipeline,
            "connection_per_request": plan.connection_per_request,
            "slow": plan.slow.map(|throttle| throttle.bytes_per_second),
            "rate": plan.rate.map(|rate| rate.per_second),
            "arrivals": plan.rate.map(|rate| rate.arrivals.name()),
            "workload": workload.map(|workload| serde_json::json!({
                "keys": workload.keys,
                "value_bytes": [workload.value_bytes.0, workload.value_bytes.1],
                "get_ratio": workload.get_ratio,
                "zipf": workload.zipf,
                "multiget": workload.multiget,
                "preload": workload.preload,
            })),
            "seconds": self.outcome.measured.as_secs_f64(),
            "measured_us_since_boot": [stats.measured_us.0, stats.measured_us.1],
            "offered": plan.rate.map(|_| stats.sent + self.outcome.waiting),
            "sent": stats.sent,
            "waiting": plan.rate.map(|_| self.outcome.waiting),
            "answered": plan.rate.map(|_| stats.latency_us.len()),
            "responses": stats.responses,
            "responses_per_second": self.outcome.per_second(stats.responses),
            "hits": workload.map(|_| stats.lookups.0),
            "misses": workload.map(|_| stats.lookups.1),
            "content_bytes": stats.content_bytes,
            "content_bytes_per_second": self.outcome.per_second(stats.content_bytes),
            "latency_us": figures(&stats.latency_us),
            "generator": {
                "busy": self.outcome.busy(),
                "turn_us": figures(&stats.iteration_us),
                "late": plan.rate.map(|_| stats.late),
                "late_over_us": plan.rate.map(|_| LATE_US),
                "late_us": plan.rate.map(|_| figures(&stats.late_us)),
                "doubt": self.doubt(),
            },
            "connections_opened": stats.opened,
            "closed_between_requests": stats.closed_between,
            "retransmissions": self.retransmissions(),
            "errors": stats.fault_count(),
            "errors_by_kind": faults,
            "first_error": stats.first_fault,
            "stack": stack,
        })
    }
}

/// A histogram of microseconds as JSON.
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
