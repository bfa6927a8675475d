//! What is compared: a table of plans. A row says what is asked for, over how many connections and
//! at what pace, and which figure tells the contenders apart. Nothing is done here.

use super::figures::Figure;

/// What a server is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `GET` of a file of so many bytes.
    Http(u32),
    /// Keys of memcached, with values of so many bytes.
    Memcached(u32),
}

/// At what pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// The next request when an answer has come.
    Closed,
    /// So many requests a second.
    Rate(u32),
    /// This part of the rate that the same contender reached at the plan's point called `peak`.
    OfOwnPeak(f64),
    /// This part of the rate that nginx reached there.
    OfNginxPeak(f64),
    /// No requests at all.
    Idle,
}

/// One setting of a plan, measured for itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// Its name within the plan; empty if it is the only one.
    pub(super) name: &'static str,
    /// Connections open.
    pub(super) connections: u32,
    /// At what pace.
    pub(super) pace: Pace,
    /// So many requests on each connection, instead of as many as come in a time.
    pub(super) requests_each: Option<u32>,
    /// Flags of `simoom load` besides those that follow from the rest.
    pub(super) load: &'static str,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// The name that `--plan` takes.
    pub(super) name: &'static str,
    /// What is done, for a reader.
    pub(super) title: &'static str,
    /// What is asked for.
    pub(super) asked: Asked,
    /// The figure that the plan is about.
    pub(super) figure: Figure,
    /// The settings.
    pub(super) points: &'static [Point],
    /// The kernel cuts long answers into segments in software, as with a NIC that cannot.
    pub(super) no_segmentation_offload: bool,
    /// Measured so many times as long as other plans.
    pub(super) stretch: u32,
    /// Whether it means something for a server that answers without looking.
    pub(super) for_ceiling: bool,
}

/// The point whose rate `OfOwnPeak` and `OfNginxPeak` refer to.
pub(super) const PEAK: &str = "peak";

/// A file that takes a slow reader five minutes. It is no larger, for the first answer is waited
/// for, at full speed but through a slow reader's window of 2 KiB: that is a round trip for every
/// segment or two.
const SLOWLY_READ_BYTES: u32 = 1 << 20;

const fn closed(connections: u32, load: &'static str) -> Point {
    Point { name: "", connections, pace: Pace::Closed, requests_each: None, load }
}

const fn paced(name: &'static str, pace: Pace) -> Point {
    Point { name, connections: 1000, pace, requests_each: None, load: "" }
}

const fn open(name: &'static str, connections: u32, load: &'static str) -> Point {
    Point { name, connections, pace: Pace::Closed, requests_each: None, load }
}

/// What a row has unless it says otherwise.
const GET: Plan = Plan {
    name: "",
    title: "",
    asked: Asked::Http(12),
    figure: Figure::Rate,
    points: &[],
    no_segmentation_offload: false,
    stretch: 1,
    for_ceiling: true,
};
const KEYS: Plan = Plan { asked: Asked::Memcached(100), ..GET };

/// The table.
#[rustfmt::skip]
pub(super) const PLANS: &[Plan] = &[
    Plan { name: "get-12", title: "GET 12 B, keep-alive, 50 connections",
        points: &[closed(50, "")], ..GET },
    Plan { name: "get-12-10k", title: "GET 12 B, 10,000 connections open, 512 in flight",
        points: &[closed(10_000, "--in-flight 512")], ..GET },
    Plan { name: "get-12-1m", title: "GET 12 B, 1,000,000 connections open, 512 in flight",
        points: &[closed(1_000_000, "--in-flight 512")], ..GET },
    Plan { name: "get-512-each", title: "GET 512 B, a connection each",
        asked: Asked::Http(512), points: &[closed(256, "--connection-per-request")], ..GET },
    Plan { name: "connections", title: "Connections a second: GET 12 B, a connection each, 1,000 at once",
        points: &[closed(1000, "--connection-per-request")], ..GET },
    Plan { name: "get-4k", title: "GET 4 KiB, 50 connections, segmentation offload off",
        asked: Asked::Http(4096), points: &[closed(50, "")], no_segmentation_offload: true, ..GET },
    Plan { name: "get-4k-tso", title: "GET 4 KiB, 50 connections, segmentation offload on",
        asked: Asked::Http(4096), points: &[closed(50, "")], ..GET },
    Plan { name: "get-64k", title: "GET 64 KiB, 50 connections, segmentation offload off",
        asked: Asked::Http(65_536), points: &[closed(50, "")], no_segmentation_offload: true, ..GET },
    Plan { name: "get-64k-tso", title: "GET 64 KiB, 50 connections, segmentation offload on",
        asked: Asked::Http(65_536), points: &[closed(50, "")], ..GET },
    Plan { name: "c10k-files", title: "C10K: files of 512 B to 10,000 clients",
        asked: Asked::Http(512), points: &[closed(10_000, "")], ..GET },
    Plan { name: "c10k-clients", title: "C10K: 20,000 clients, each taking 4 KiB once a second",
        asked: Asked::Http(4096), figure: Figure::Rate, stretch: 4, for_ceiling: false,
        points: &[Point { name: "", connections: 20_000, pace: Pace::Rate(20_000), requests_each: None, load: "--arrivals uniform" }], ..GET },
    Plan { name: "sxe", title: "SXE: 10,000 connections, then 50 queries on each",
        points: &[Point { requests_each: Some(50), ..closed(10_000, "--in-flight 512") }], ..GET },
    Plan { name: "c10k-slow", title: "C10K: 10,000 readers of a large file at 28.8 kbit/s each",
        asked: Asked::Http(SLOWLY_READ_BYTES), figure: Figure::ContentRate, stretch: 4, for_ceiling: false,
        points: &[closed(10_000, "--slow 3600")], ..GET },
    Plan { name: "mc-get", title: "memcached: get, 100,000 keys of 100 B, 1,000 connections",
        points: &[closed(1000, "--get-ratio 1")], ..KEYS },
    Plan { name: "mc-set", title: "memcached: set, 100,000 keys of 100 B, 1,000 connections",
        points: &[closed(1000, "--get-ratio 0")], ..KEYS },
    Plan { name: "mc-multiget", title: "memcached: get of 10 keys at once, 1,000 connections",
        points: &[closed(1000, "--get-ratio 1 --multiget 10")], ..KEYS },
    Plan { name: "mc-pipeline", title: "memcached: 100 gets sent at once on a connection, 50 connections",
        points: &[closed(50, "--get-ratio 1 --pipeline 100")], ..KEYS },
    Plan { name: "latency", title: "Latency at a given rate, 1,000 connections, Poisson arrivals",
        figure: Figure::Latency, for_ceiling: false,
        points: &[
            paced(PEAK, Pace::Closed),
            paced("25 % of own peak", Pace::OfOwnPeak(0.25)), paced("50 % of own peak", Pace::OfOwnPeak(0.5)),
            paced("75 % of own peak", Pace::OfOwnPeak(0.75)), paced("90 % of own peak", Pace::OfOwnPeak(0.9)),
            paced("25 % of nginx's peak", Pace::OfNginxPeak(0.25)), paced("50 % of nginx's peak", Pace::OfNginxPeak(0.5)),
            paced("75 % of nginx's peak", Pace::OfNginxPeak(0.75)), paced("90 % of nginx's peak", Pace::OfNginxPeak(0.9)),
            paced("100 % of nginx's peak", Pace::OfNginxPeak(1.0)),
        ], ..GET },
    Plan { name: "overload", title: "Offered twice its own peak, 1,000 connections",
        for_ceiling: false,
        points: &[paced(PEAK, Pace::Closed), paced("200 % of own peak", Pace::OfOwnPeak(2.0))], ..GET },
    Plan { name: "scale", title: "GET 12 B by connections open, at most 512 in flight",
        figure: Figure::Scale,
        points: &[
            open("1", 1, ""), open("10", 10, ""), open("100", 100, ""), open("1000", 1000, "--in-flight 512"),
            open("10000", 10_000, "--in-flight 512"), open("100000", 100_000, "--in-flight 512"),
            open("1000000", 1_000_000, "--in-flight 512"),
        ], ..GET },
    Plan { name: "idle", title: "Doing nothing",
        figure: Figure::Idle, for_ceiling: false,
        points: &[Point { name: "", connections: 10_000, pace: Pace::Idle, requests_each: None, load: "" }], ..GET },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_there_once_and_peaks_come_before_what_refers_to_them() {
        let names: HashSet<_> = PLANS.iter().map(|plan| plan.name).collect();
        assert_eq!(names.len(), PLANS.len());
        for plan in PLANS {
            let points: HashSet<_> = plan.points.iter().map(|point| point.name).collect();
            assert_eq!(points.len(), plan.points.len(), "{}", plan.name);
            let refers =
                |point: &Point| matches!(point.pace, Pace::OfOwnPeak(_) | Pace::OfNginxPeak(_));
            if let Some(first) = plan.points.iter().position(refers) {
                let peak = plan.points.iter().position(|point| point.name == PEAK);
                assert!(peak.is_some_and(|peak| peak < first), "{}", plan.name);
            }
        }
    }
}
