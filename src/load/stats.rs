//! What is counted: answers with their latencies, faults, each kind apart, and how the generator
//! itself did. Knows no connections.

use super::protocol::Lookups;
use super::series::{Series, Totals};
use hdrhistogram::Histogram;

/// The longest latency that is told apart from a longer one: an hour.
const LATENCY_MAX_US: u64 = 3_600_000_000;
/// A request that leaves so much after it was due, although a connection was free, left late.
pub(crate) const LATE_US: u64 = 100;

/// What can be wrong with a request, its connection or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection was refused.
    Refused,
    /// Nobody answered the attempt to connect.
    Unanswered,
    /// The server reset the connection.
    Reset,
    /// The answer was not there in time.
    Timeout,
    /// The server closed the connection before the answer began.
    ClosedEarly,
    /// The server closed the connection within the content: too little.
    Short,
    /// Bytes came that nothing had asked for: too much.
    Surplus,
    /// The answer cannot be understood, or its length is not told.
    Garbled,
    /// The answer is an error: a status that is none of 200 to 299.
    Status,
    /// The content is not as long as it must be.
    Length,
    /// The content is not what it must be.
    Content,
}

impl Fault {
    /// All of them, with the names that reports use.
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
    /// When measuring began and ended, in microseconds since the machine did.
    pub(crate) measured_us: (u64, u64),
    /// Connections open when it ended.
    open: u32,
    /// Requests sent that count: in the open loop, those that were due while measuring.
    pub(crate) sent: u64,
    /// Good answers that came while measuring, whenever they were asked for.
    pub(crate) responses: u64,
    /// Bytes of content that came meanwhile.
    pub(crate) content_bytes: u64,
    /// The keys that those answers were about.
    pub(crate) lookups: (u64, u64),
    /// The latencies in microseconds of good answers to requests that count, whenever they came.
    pub(crate) latency_us: Histogram<u64>,
    /// In the open loop, how much later each request was sent than it could have been.
    pub(crate) late_us: Histogram<u64>,
    /// Requests for which that is more than [`LATE_US`].
    pub(crate) late: u64,
    /// How long turns took in which there was anything to do: the clock is read once a turn.
    pub(crate) iteration_us: Histogram<u64>,
    /// All of those together.
    pub(crate) busy_us: u64,
    /// Connections opened, over the whole run.
    pub(crate) opened: u64,
    /// Connections that the server closed in order between requests, over the whole run.
    pub(crate) closed_between: u64,
    /// The first fault in words.
    pub(crate) first_fault: Option<String>,
    /// What each second brought, if that is wanted.
    pub(crate) series: Option<Series>,
    faults: [u64; Fault::ALL.len()],
}

impl Stats {
    /// Nothing yet; `by_second` keeps what each second brings.
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

    /// Measuring begins.
    pub(crate) fn begin(&mut self, now_us: u64) {
        self.measured_us = (now_us, now_us);
        let totals = self.totals();
        if let Some(series) = &mut self.series {
            series.begin(now_us, totals);
        }
    }

    /// A turn took so long; whether there was anything to do.
    #[inline]
    pub(crate) fn iteration(&mut self, took_us: u64, worked: bool) {
        if worked {
            self.busy_us += took_us;
            self.iteration_us.saturating_record(took_us);
        }
    }

    /// It is `now_us`, and a second may be over.
    #[inline]
    pub(crate) fn see_second(&mut self, now_us: u64, open: u32) {
        if self.series.as_ref().is_some_and(|series| now_us >= series.next_us()) {
            let totals = self.totals();
            self.series.iter_mut().for_each(|series| series.end_second(now_us, totals, open));
        }
    }

    /// Measuring is over; answers may still count.
    pub(crate) fn stop(&mut self, now_us: u64, open: u32) {
        (self.measured_us.1, self.open) = (now_us, open);
    }

    /// All answers are there: the last second is as long as it became.
    pub(crate) fn end(&mut self) {
        let (totals, until_us, open) = (self.totals(), self.measured_us.1, self.open);
        self.series.iter_mut().for_each(|series| series.end_second(until_us, totals, open));
    }

    fn totals(&self) -> Totals {
        let Stats { sent, responses, content_bytes, lookups: (hits, misses), .. } = *self;
        Totals { sent, responses, content_bytes, hits, misses, errors: self.fault_count() }
    }

    /// A request was sent, in the open loop so much later than it could have been.
    #[inline]
    pub(crate) fn sent(&mut self, late_us: Option<u64>) {
        self.sent += 1;
        if let Some(late_us) = late_us {
            self.late += u64::from(late_us > LATE_US);
            self.late_us.saturating_record(late_us);
        }
    }

    /// A good answer came while measuring.
    #[inline]
    pub(crate) fn response(&mut self, lookups: Lookups) {
        self.responses += 1;
        self.lookups.0 += u64::from(lookups.hits);
        self.lookups.1 += u64::from(lookups.misses);
    }

    /// A request that counts was answered well.
    #[inline]
    pub(crate) fn latency(&mut self, latency_us: u64) {
        self.latency_us.saturating_record(latency_us);
        if let Some(series) = &mut self.series {
            series.latency(latency_us);
        }
    }

    /// A fault; `detail` is asked for only for the first.
    pub(crate) fn fault(&mut self, fault: Fault, detail: impl FnOnce() -> String) {
        self.faults[fault as usize] += 1;
        self.first_fault.get_or_insert_with(detail);
    }

    /// How often each fault was met, over the whole run.
    pub(crate) fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let faults = self.faults;
        Fault::ALL.into_iter().map(move |(fault, name)| (name, faults[fault as usize]))
    }

    /// All faults together.
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
