//! What is counted: answers with their latencies, and faults, each kind apart. Knows neither time nor connections.

use hdrhistogram::Histogram;

/// The longest latency that is told apart from a longer one: an hour.
const LATENCY_MAX_US: u64 = 3_600_000_000;

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
    /// The answer is not HTTP, or its length is not told.
    Garbled,
    /// The status is none of 200 to 299.
    Status,
    /// The content is not as long as that of the first answer.
    Length,
    /// The content is not that of the first answer.
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
pub(crate) struct Tally {
    /// Good answers while measuring.
    pub(crate) responses: u64,
    /// Bytes of their content.
    pub(crate) content_bytes: u64,
    /// Their latencies in microseconds.
    pub(crate) latency_us: Histogram<u64>,
    /// Connections opened, over the whole run.
    pub(crate) opened: u64,
    /// Connections that the server closed in order between requests, over the whole run.
    pub(crate) closed_between: u64,
    /// The first fault in words.
    pub(crate) first_fault: Option<String>,
    faults: [u64; Fault::ALL.len()],
}

impl Tally {
    pub(crate) fn new() -> Tally {
        Tally {
            responses: 0,
            content_bytes: 0,
            latency_us: Histogram::new_with_max(LATENCY_MAX_US, 3).expect("three digits up to an hour are allowed"),
            opened: 0,
            closed_between: 0,
            first_fault: None,
            faults: [0; Fault::ALL.len()],
        }
    }

    /// A good answer.
    #[inline]
    pub(crate) fn response(&mut self, latency_us: u64, content_bytes: u64) {
        self.responses += 1;
        self.content_bytes += content_bytes;
        self.latency_us.saturating_record(latency_us);
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
        let mut tally = Tally::new();
        tally.fault(Fault::Short, || "the first".into());
        tally.fault(Fault::Content, || "the second".into());
        tally.fault(Fault::Content, || unreachable!());
        let met: Vec<_> = tally.faults().filter(|(_, count)| *count > 0).collect();
        assert_eq!(met, [("short", 1), ("content", 2)]);
        assert_eq!((tally.fault_count(), tally.first_fault.as_deref()), (3, Some("the first")));
        assert!(Fault::ALL.iter().enumerate().all(|(place, (fault, _))| *fault as usize == place));
    }

    #[test]
    fn a_latency_beyond_an_hour_counts_as_an_hour() {
        let mut tally = Tally::new();
        tally.response(u64::MAX, 1);
        assert!(tally.latency_us.max() >= LATENCY_MAX_US);
    }
}
