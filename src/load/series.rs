//! The counts of each second of a run, as comma-separated values in memory. A run must not wait for
//! a disk.

use hdrhistogram::Histogram;
use std::fmt::Write;

/// Length of an interval.
const SECOND_US: u64 = 1_000_000;
/// The column names.
const HEADER: &str = "seconds,sent,responses,responses_per_second,errors,content_bytes,hits,misses,connections_open,\
                      p50_us,p90_us,p99_us,p99_9_us,max_us\n";

/// Totals at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) sent: u64,
    pub(crate) responses: u64,
    pub(crate) content_bytes: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) errors: u64,
}

/// The finished lines, and the current second.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    lines: String,
    began_us: u64,
    /// Start of the current second.
    since_us: u64,
    /// End of the current second: whole seconds after the start, so that lines do not drift.
    next_us: u64,
    /// Totals at the start of the current second.
    before: Totals,
    /// Latencies of the current second, to two digits. With three digits, reading the histogram
    /// would delay the run.
    latency_us: Histogram<u64>,
}

impl Series {
    /// No lines yet. Latencies go to `latency_us`, which is empty.
    pub(crate) fn new(latency_us: Histogram<u64>) -> Series {
        Series {
            lines: HEADER.to_owned(),
            began_us: 0,
            since_us: 0,
            next_us: 0,
            before: Totals::default(),
            latency_us,
        }
    }

    /// Starts the first second.
    pub(crate) fn begin(&mut self, now_us: u64, totals: Totals) {
        (self.began_us, self.since_us, self.before) = (now_us, now_us, totals);
        self.next_us = now_us + SECOND_US;
    }

    /// When the current second ends.
    #[inline]
    pub(crate) fn next_us(&self) -> u64 {
        self.next_us
    }

    /// Records the latency of a good answer.
    #[inline]
    pub(crate) fn latency(&mut self, latency_us: u64) {
        self.latency_us.saturating_record(latency_us);
    }

    /// Ends the current second, or a part of one, and starts the next.
    pub(crate) fn end_second(&mut self, now_us: u64, totals: Totals, open: u32) {
        if now_us <= self.since_us {
            return;
        }
        let Totals { sent, responses, content_bytes, hits, misses, errors } = totals;
        let before = self.before;
        let rate = (responses - before.responses) as f64 * SECOND_US as f64
            / (now_us - self.since_us) as f64;
        let seconds = (now_us - self.began_us) as f64 / SECOND_US as f64;
        let at = |percentile| self.latency_us.value_at_percentile(percentile);
        let (p50, p90, p99, p999) = (at(50.0), at(90.0), at(99.0), at(99.9));
        let max = self.latency_us.max();
        let _ = writeln!(
            self.lines,
            "{seconds:.3},{},{},{rate:.1},{},{},{},{},{open},{p50},{p90},{p99},{p999},{max}",
            sent - before.sent,
            responses - before.responses,
            errors - before.errors,
            content_bytes - before.content_bytes,
            hits - before.hits,
            misses - before.misses,
        );
        self.latency_us.reset();
        (self.since_us, self.before) = (now_us, totals);
        while self.next_us <= now_us {
            self.next_us += SECOND_US;
        }
    }

    /// The lines, with a header.
    pub(crate) fn text(&self) -> &str {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series {
        Series::new(Histogram::new_with_max(3_600_000_000, 2).unwrap())
    }

    #[test]
    fn each_second_has_a_line_and_the_last_is_as_long_as_it_became() {
        let mut series = series();
        series.begin(500, Totals { sent: 5, ..Totals::default() });
        for latency_us in [10, 20, 30] {
            series.latency(latency_us);
        }
        assert_eq!(series.next_us(), 1_000_500);
        let totals =
            Totals { sent: 9, responses: 3, content_bytes: 36, hits: 2, misses: 1, errors: 1 };
        series.end_second(1_000_600, totals, 7);
        assert_eq!(series.next_us(), 2_000_500, "lines do not drift");
        series.latency(50);
        series.end_second(1_500_600, Totals { sent: 10, responses: 4, ..totals }, 6);
        series.end_second(1_500_600, Totals { sent: 10, responses: 4, ..totals }, 6);
        let lines: Vec<&str> = series.text().lines().collect();
        assert_eq!(lines[0].split(',').count(), lines[1].split(',').count());
        assert_eq!(
            lines[1..],
            ["1.000,4,3,3.0,1,36,2,1,7,20,30,30,30,30", "1.500,1,1,2.0,0,0,0,0,6,50,50,50,50,50"]
        );
    }
}
