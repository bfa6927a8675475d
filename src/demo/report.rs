//! The output of the demonstration: lines on standard output, and the table at its end.

use super::client::Outcome;
use crate::error::{Error, Result};
use af_xdp::Mode;
use std::io::{self, Write};

/// CPU use from which a core counts as fully used.
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
        let rate = outcome.requests as f64 / outcome.elapsed.as_secs_f64();
        [
            self.protocol.into(),
            self.transport.into(),
            self.xdp_mode.map_or("-", Mode::name).into(),
            grouped(outcome.requests),
            grouped(outcome.errors.total()),
            grouped(rate.round() as u64),
            time(outcome.latency_us.value_at_quantile(0.5)),
            time(outcome.latency_us.value_at_quantile(0.99)),
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
    let full = rows.iter().filter(|row| row.outcome.busy >= FULL);
    let limited: Vec<String> =
        full.map(|row| format!("{} over {}", row.protocol, row.transport)).collect();
    (!limited.is_empty()).then(|| {
        format!(
            "With {} the client's own core was full: the server could have answered more.",
            limited.join(" and with ")
        )
    })
}

/// Writes a line to standard output. A closed pipe is not an error: the reader has what it wanted.
pub(crate) fn print_line(line: &str) -> Result<()> {
    match writeln!(io::stdout().lock(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::because("writing to standard output", error))
        }
        _ => Ok(()),
    }
}

/// A number with digit grouping: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds with a fitting unit.
fn time(us: u64) -> String {
    match us {
        0..1000 => format!("{us} µs"),
        1000..1_000_000 => format!("{:.2} ms", us as f64 / 1000.0),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::Errors;
    use super::*;
    use hdrhistogram::Histogram;
    use std::time::Duration;

    fn row(xdp_mode: Option<Mode>, requests: u64, busy: f64) -> Row {
        let mut latency_us = Histogram::new_with_bounds(1, 60_000_000, 3).unwrap();
        latency_us.record_n(250, 99).unwrap();
        latency_us.record(2500).unwrap();
        let elapsed = Duration::from_secs(2);
        let transport = if xdp_mode.is_some() { "AF_XDP" } else { "epoll" };
        Row {
            protocol: "HTTP",
            transport,
            xdp_mode,
            outcome: Outcome { requests, errors: Errors::default(), elapsed, latency_us, busy },
        }
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

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [999, 1000, 12_345, 1_500_000].map(time),
            ["999 µs", "1.00 ms", "12.35 ms", "1.50 s"]
        );
    }
}
