//! The counts of a run: answers with latencies, errors by kind, and the generator's own timing.

use super::protocol::Lookups;
use super::series::{Series, Totals};
use hdrhistogram::Histogram;

/// Latencies of an hour or more count as an hour.
const LATENCY_MAX_US: u64 = 3_600_000_000;
/// Delay after its scheduled time, with a free connection, from which a request counts as late.
pub(crate) const LATE_US: u64 = 100;

/// The kinds of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection was refused.
    Refused,
    /// The attempt to connect timed out.
    Unanswered,
    /// The server reset the connection.
    Reset,
    /// The answer did not arrive in time.
    Timeout,
    /// The server closed the connection before the answer.
    ClosedEarly,
    /// The server closed the connection within the content.
    Short,
    /// Bytes arrived without a request.
    Surplus,
    /// The answer cannot be parsed, or does not announce its length.
    Garbled,
    /// The status is not in 200 to 299.
    Status,
    /// The length of the content is wrong.
    Length,
    /// The content is wrong.
    Content,
}

impl Fault {
    /// All kinds, with their names in reports.
    pub(crate) const ALL: [(Fault, &'static str); 11] = [
        (Fault::Refused, "refused"),
        (Fault::Unanswered, "unanswered"),
        (Fault::Reset, "reset"),
        (Fault::Timeout, "timeout"),
        (Fault::ClosedEarly, "closed_early"),
        (Fault::Short, "short"),
        (Fault::Surplus, "surplus"),
        (Fault::Garbled, "garbled"),
        (Fault::Status, "status"),
        (Fault::Length, "length"),
        (Fault::Content, "content"),
    ];
}

/// The counts of a run.
#[derive(Clone, Debug)]
pub(crate) struct Stats {
    /// Start and end of the measurement, in microseconds since boot.
    pub(crate) measured_us: (u64, u64),
    /// Open connections at the end of the measurement.
    open: u32,
    /// Requests sent during the measurement; in the open loop, requests due during it.
    pub(crate) sent: u64,
    /// Good answers during the measurement, to any requests.
    pub(crate) responses: u64,
    /// Bytes of content during the measurement.
    pub(crate) content_bytes: u64,
    /// Keys of those answers: found, and missed.
    pub(crate) lookups: (u64, u64),
    /// Latencies of good answers to counted requests, in microseconds.
    pub(crate) latency_us: Histogram<u64>,
    /// Open loop: delay of each request after it could have been sent.
    pub(crate) late_us: Histogram<u64>,
    /// Requests with a delay above [`LATE_US`].
    pub(crate) late: u64,
    /// Duration of iterations with work. The clock is read once in each.
    pub(crate) iteration_us: Histogram<u64>,
    /// Sum of those durations.
    pub(crate) busy_us: u64,
    /// Connections opened, over the whole run.
    pub(crate) opened: u64,
    /// Connections that the server closed between requests, over the whole run.
    pub(crate) closed_between: u64,
    /// Description of the first error.
    pub(crate) first_fault: Option<String>,
    /// The counts of each second, if requested.
    pub(crate) series: Option<Series>,
    faults: [u64; Fault::ALL.len()],
}

impl Stats {
    /// Empty counts. `by_second` records each second.
    pub(crate) fn new(by_second: bool) -> Stats {
        let histogram = |digits| {
            Histogram::new_with_max(LATENCY_MAX_US, digits)
                .expect("these digits up to an hour are allowed")
        };
        Stats {
            measured_us: (0, 0),
            open: 0,
            sent: 0,
            responses: 0,
            content_bytes: 0,
            lookups: (0, 0),
            latency_us: histogram(3),
            late_us: histogram(2),
            late: 0,
            iteration_us: histogram(2),
            busy_us: 0,
            opened: 0,
            closed_between: 0,
            first_fault: None,
            series: by_second.then(|| Series::new(histogram(2))),
            faults: [0; Fault::ALL.len()],
        }
    }

    /// Starts the measurement.
    pub(crate) fn begin(&mut self, now_us: u64) {
        self.measured_us = (now_us, now_us);
        let totals = self.totals();
        if let Some(series) = &mut self.series {
            series.begin(now_us, totals);
        }
    }

    /// Records the duration of an iteration. `worked` tells whether it had work.
    #[inline]
    pub(crate) fn iteration(&mut self, took_us: u64, worked: bool) {
        if worked {
            self.busy_us += took_us;
            self.iteration_us.saturating_record(took_us);
        }
    }

    /// Ends the current second if `now_us` is past it.
    #[inline]
    pub(crate) fn see_second(&mut self, now_us: u64, open: u32) {
        if self.series.as_ref().is_some_and(|series| now_us >= series.next_us()) {
            let totals = self.totals();
            self.series.iter_mut().for_each(|series| series.end_second(now_us, totals, open));
        }
    }

    /// Ends the measurement. Later answers may still count.
    pub(crate) fn stop(&mut self, now_us: u64, open: u32) {
        (self.measured_us.1, self.open) = (now_us, open);
    }

    /// Ends the last second when all answers have arrived.
    pub(crate) fn end(&mut self) {
        let (totals, until_us, open) = (self.totals(), self.measured_us.1, self.open);
        self.series.iter_mut().for_each(|series| series.end_second(until_us, totals, open));
    }

    fn totals(&self) -> Totals {
        let Stats { sent, responses, content_bytes, lookups: (hits, misses), .. } = *self;
        Totals { sent, responses, content_bytes, hits, misses, errors: self.fault_count() }
    }

    /// Counts a request sent; in the open loop, with its delay.
    #[inline]
    pub(crate) fn sent(&mut self, late_us: Option<u64>) {
        self.sent += 1;
        if let Some(late_us) = late_us {
            self.late += u64::from(late_us > LATE_US);
            self.late_us.saturating_record(late_us);
        }
    }

    /// Counts a good answer during the measurement.
    #[inline]
    pub(crate) fn response(&mut self, lookups: Lookups) {
        self.responses += 1;
        self.lookups.0 += u64::from(lookups.hits);
        self.lookups.1 += u64::from(lookups.misses);
    }

    /// Records the latency of a good answer to a counted request.
    #[inline]
    pub(crate) fn latency(&mut self, latency_us: u64) {
        self.latency_us.saturating_record(latency_us);
        if let Some(series) = &mut self.series {
            series.latency(latency_us);
        }
    }

    /// Counts an error. Calls `detail` for the first only.
    pub(crate) fn fault(&mut self, fault: Fault, detail: impl FnOnce() -> String) {
        self.faults[fault as usize] += 1;
        self.first_fault.get_or_insert_with(detail);
    }

    /// The number of errors of each kind, over the whole run.
    pub(crate) fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let faults = self.faults;
        Fault::ALL.into_iter().map(move |(fault, name)| (name, faults[fault as usize]))
    }

    /// The number of all errors.
    pub(crate) fn fault_count(&self) -> u64 {
        self.faults.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_counted_apart_and_the_first_is_told() {
        let mut stats = Stats::new(false);
        stats.fault(Fault::Short, || "the first".into());
        stats.fault(Fault::Content, || "the second".into());
        stats.fault(Fault::Content, || unreachable!());
        let met: Vec<_> = stats.faults().filter(|(_, count)| *count > 0).collect();
        assert_eq!(met, [("short", 1), ("content", 2)]);
        assert_eq!((stats.fault_count(), stats.first_fault.as_deref()), (3, Some("the first")));
        assert!(Fault::ALL.iter().enumerate().all(|(place, (fault, _))| *fault as usize == place));
    }

    #[test]
    fn a_latency_beyond_an_hour_counts_as_an_hour() {
        let mut stats = Stats::new(false);
        stats.latency(u64::MAX);
        assert!(stats.latency_us.max() >= LATENCY_MAX_US);
    }

    #[test]
    fn late_is_what_leaves_after_its_time_and_busy_what_took_time() {
        let mut stats = Stats::new(false);
        for late_us in [Some(0), Some(LATE_US), Some(LATE_US + 1), None] {
            stats.sent(late_us);
        }
        stats.iteration(7, true);
        stats.iteration(100, false);
        assert_eq!((stats.sent, stats.late, stats.late_us.len(), stats.busy_us), (4, 1, 3, 7));
    }
}
