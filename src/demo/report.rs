//! The table at the end of the demonstration.

use super::client::errors;
use crate::load::Outcome;
use crate::print::{grouped, micros};
use af_xdp::Mode;

/// Share of busy time from which a core counts as fully used.
const FULL: f64 = 0.9;

/// The row of one protocol over one transport.
pub(super) struct Row {
    /// The protocol: "HTTP", "memcached".
    pub(super) protocol: &'static str,
    /// The transport: "AF_XDP", "io_uring", "epoll".
    pub(super) transport: &'static str,
    /// The mode of AF_XDP.
    pub(super) xdp_mode: Option<Mode>,
    /// The client's measurements.
    pub(super) outcome: Outcome,
}

impl Row {
    fn cells(&self) -> [String; 8] {
        let outcome = &self.outcome;
        let stats = &outcome.stats;
        let latency = |quantile| micros(stats.latency_us.value_at_quantile(quantile) as f64);
        [
            self.protocol.into(),
            self.transport.into(),
            self.xdp_mode.map_or("-", Mode::name).into(),
            grouped(stats.responses),
            grouped(errors(outcome)),
            grouped(outcome.per_second(stats.responses).round() as u64),
            latency(0.5),
            latency(0.99),
        ]
    }
}

/// The table, names to the left and numbers to the right.
pub(super) fn table(rows: &[Row]) -> String {
    let head =
        ["protocol", "transport", "XDP mode", "requests", "errors", "requests/s", "p50", "p99"]
            .map(String::from);
    let lines: Vec<[String; 8]> = [head].into_iter().chain(rows.iter().map(Row::cells)).collect();
    let widths: [usize; 8] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for line in &lines {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let cell =
                if column < 3 { format!("{cell:<width$}  ") } else { format!("{cell:>width$}  ") };
            text.push_str(&cell);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// A note on loads in which the client was the limit.
pub(super) fn limits(rows: &[Row]) -> Option<String> {
    let full = rows.iter().filter(|row| row.outcome.busy() >= FULL);
    let limited: Vec<String> =
        full.map(|row| format!("{} over {}", row.protocol, row.transport)).collect();
    (!limited.is_empty()).then(|| {
        format!(
            "With {} the client's own core was full: the server could have answered more.",
            limited.join(" and with ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::stats::Stats;
    use std::time::Duration;

    fn row(xdp_mode: Option<Mode>, responses: u64, busy: f64) -> Row {
        let mut stats = Stats::new(false);
        stats.latency_us.record_n(250, 99).unwrap();
        stats.latency_us.record(2500).unwrap();
        stats.responses = responses;
        let measured = Duration::from_secs(2);
        stats.busy_us = (busy * measured.as_micros() as f64) as u64;
        let transport = if xdp_mode.is_some() { "AF_XDP" } else { "epoll" };
        let outcome = Outcome {
            transport: "kernel sockets".into(),
            measured,
            waiting: 0,
            stats,
            stack: Vec::new(),
        };
        Row { protocol: "HTTP", transport, xdp_mode, outcome }
    }

    #[test]
    fn the_table_lines_up() {
        let rows = [row(Some(Mode::Generic), 1_234_567, 0.99), row(None, 20, 0.1)];
        assert_eq!(
            table(&rows),
            "protocol  transport  XDP mode   requests  errors  requests/s     p50     p99\n\
             HTTP      AF_XDP     generic   1,234,567       0     617,284  250 µs  250 µs\n\
             HTTP      epoll      -                20       0          10  250 µs  250 µs\n"
        );
    }

    #[test]
    fn a_full_client_is_told_of() {
        let text = limits(&[row(Some(Mode::Generic), 5, 0.95), row(None, 5, 0.5)]).unwrap();
        assert!(text.starts_with("With HTTP over AF_XDP the client's own core was full"), "{text}");
        assert_eq!(limits(&[row(None, 5, 0.5)]), None);
    }
}
