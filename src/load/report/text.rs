//! The report as text.

use super::super::Outcome;
use super::super::client::Plan;
use super::super::stats::LATE_US;
use super::{PERCENTILES, Report};
use crate::limits::Bytes;
use crate::print::micros;
use hdrhistogram::Histogram;
use std::fmt;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { target, workload, outcome: Outcome { transport, stats, .. }, .. } = self;
        writeln!(f, "{} through {transport}", target.url)?;
        writeln!(f, "  load          {}", self.load())?;
        if let Some(workload) = workload {
            writeln!(f, "  asked           {workload}")?;
        }
        writeln!(f, "  measured      {:.3} s", self.outcome.measured.as_secs_f64())?;
        if self.plan.rate.is_some() {
            let (offered, waiting) = (stats.sent + self.outcome.waiting, self.outcome.waiting);
            writeln!(
                f,
                "  requests      {offered} offered, {} sent, {} answered, {waiting} still waiting at the end",
                stats.sent,
                stats.latency_us.len()
            )?;
        }
        writeln!(
            f,
            "  responses     {}, {:.0}/s",
            stats.responses,
            self.outcome.per_second(stats.responses)
        )?;
        if workload.is_some() {
            let (hits, misses) = stats.lookups;
            writeln!(f, "  keys          {hits} hits, {misses} misses")?;
        }
        let rate = Bytes(self.outcome.per_second(stats.content_bytes) as u64);
        writeln!(f, "  content       {}, {rate}/s", Bytes(stats.content_bytes))?;
        if !stats.latency_us.is_empty() {
            writeln!(f, "  latency       {}", latencies(&stats.latency_us))?;
        }
        write!(f, "  generator     busy {:.0} %", 100.0 * self.outcome.busy())?;
        if self.plan.rate.is_some() {
            let (late, late_us) = (100.0 * self.late(), &stats.late_us);
            let (p99, max) = (time(late_us.value_at_percentile(99.0)), time(late_us.max()));
            write!(
                f,
                ", {late:.2} % of requests over {} late by itself (p99 {p99}, max {max})",
                time(LATE_US)
            )?;
        }
        let doubt = self.doubt().map(|doubt| format!("; {doubt}")).unwrap_or_default();
        write!(f, "{doubt}\n  connections   {} opened", stats.opened)?;
        if stats.closed_between > 0 {
            write!(f, ", {} closed by the server between requests", stats.closed_between)?;
        }
        if let Some(retransmissions) = self.retransmissions() {
            write!(f, "\n  segments      {retransmissions} retransmitted")?;
        }
        write!(f, "\n  errors        {}", self.outcome.faults().as_deref().unwrap_or("none"))
    }
}

impl Report {
    /// Describes the load.
    fn load(&self) -> String {
        let Plan { connections, in_flight, pipeline, connection_per_request, rate, slow, .. } =
            self.plan;
        let rate =
            rate.map(|rate| format!("{}/s, {}, over ", rate.per_second, rate.arrivals.name()));
        let rate = rate.unwrap_or_default();
        if connection_per_request {
            return format!("{rate}a connection for each request, {connections} at once");
        }
        let depth =
            if pipeline > 1 { format!(", {pipeline} requests on each") } else { String::new() };
        let slow = slow.map(|throttle| {
            format!(", each reading at most {}/s", Bytes(throttle.bytes_per_second.into()))
        });
        format!(
            "{rate}{connections} connections, {in_flight} in flight{depth}{}",
            slow.unwrap_or_default()
        )
    }
}

fn latencies(histogram: &Histogram<u64>) -> String {
    let at = |(percentile, name, _)| {
        format!("{name} {}", time(histogram.value_at_percentile(percentile)))
    };
    let mut list: Vec<String> = PERCENTILES.into_iter().map(at).collect();
    list.push(format!("max {}", time(histogram.max())));
    list.join(", ")
}

fn time(us: u64) -> String {
    micros(us as f64)
}
