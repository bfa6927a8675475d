//! The table of plans. A row names the workload, the connections, the pace, and the figure to
//! report.

use super::figures::Figure;

/// What the load requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Workload {
    /// `GET` of a file of this many bytes.
    Http(u32),
    /// `GET` of the files of the static set in turn, in gzip.
    Static,
    /// memcached commands with values of this many bytes.
    Memcached(u32),
}

/// The pace of the requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// Closed loop: a connection sends its next request when it has received the response.
    Closed,
    /// Open loop: requests a second.
    Rate(u32),
    /// Open loop: this share of the rate of the same target at the point `peak`.
    OfOwnPeak(f64),
    /// Open loop: this share of the rate of nginx at the point `peak`.
    OfNginxPeak(f64),
    /// No requests.
    Idle,
}

/// One setting of a plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// Name within the plan; empty if the plan has one point.
    pub(super) name: &'static str,
    /// Open connections.
    pub(super) connections: u32,
    /// Pace of the requests.
    pub(super) pace: Pace,
    /// Requests on each connection; `None` if the measurement is limited by time.
    pub(super) requests_each: Option<u32>,
    /// Additional flags of `simoom load`.
    pub(super) load: &'static str,
}

/// A plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// The name for `--plan`.
    pub(super) name: &'static str,
    /// A description for readers.
    pub(super) title: &'static str,
    /// What the load requests.
    pub(super) workload: Workload,
    /// The figure to report.
    pub(super) figure: Figure,
    /// The settings to measure.
    pub(super) points: &'static [Point],
    /// Turn off segmentation offload, as with a NIC that has none: the kernel segments in software.
    pub(super) no_segmentation_offload: bool,
    /// Factor of the duration of a measurement.
    pub(super) stretch: u32,
    /// Whether the ceiling takes part.
    pub(super) for_ceiling: bool,
}

/// The point to which `OfOwnPeak` and `OfNginxPeak` refer.
pub(super) const PEAK: &str = "peak";

/// A file that takes a slow reader five minutes. A larger file would take too long at first: the
/// load reads the first response at full speed, but through a window of 2 KiB, with a round trip
/// for every segment or two.
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

/// Defaults of a plan.
const GET: Plan = Plan {
    name: "",
    title: "",
    workload: Workload::Http(12),
    figure: Figure::Rate,
    points: &[],
    no_segmentation_offload: false,
    stretch: 1,
    for_ceiling: true,
};
const KEYS: Plan = Plan { workload: Workload::Memcached(100), ..GET };

/// All plans.
#[rustfmt::skip]
pub(super) const PLANS: &[Plan] = &[
    Plan { name: "get-12", title: "GET 12 B, keep-alive, 50 connections",
        points: &[closed(50, "")], ..GET },
    Plan { name: "get-12-10k", title: "GET 12 B, 10,000 connections open, 512 in flight",
        points: &[closed(10_000, "--in-flight 512")], ..GET },
    Plan { name: "get-12-1k-acked", title: "GET 12 B, 1,000 connections open, 512 in flight, each answer acknowledged alone",
        points: &[closed(1000, "--in-flight 512 --ack-delay 0ms")], ..GET },
    Plan { name: "get-12-1m", title: "GET 12 B, 1,000,000 connections open, 512 in flight",
        points: &[closed(1_000_000, "--in-flight 512")], ..GET },
    Plan { name: "get-512-each", title: "GET 512 B, a connection each",
        workload: Workload::Http(512), points: &[closed(256, "--connection-per-request")], ..GET },
    Plan { name: "connections", title: "Connections a second: GET 12 B, a connection each, 1,000 at once",
        points: &[closed(1000, "--connection-per-request")], ..GET },
    Plan { name: "get-4k", title: "GET 4 KiB, 50 connections, segmentation offload off",
        workload: Workload::Http(4096), points: &[closed(50, "")], no_segmentation_offload: true, ..GET },
    Plan { name: "get-4k-tso", title: "GET 4 KiB, 50 connections, segmentation offload on",
        workload: Workload::Http(4096), points: &[closed(50, "")], ..GET },
    Plan { name: "get-64k", title: "GET 64 KiB, 50 connections, segmentation offload off",
        workload: Workload::Http(65_536), points: &[closed(50, "")], no_segmentation_offload: true, ..GET },
    Plan { name: "get-64k-tso", title: "GET 64 KiB, 50 connections, segmentation offload on",
        workload: Workload::Http(65_536), points: &[closed(50, "")], ..GET },
    Plan { name: "get-1m", title: "GET 1 MiB, 50 connections, segmentation offload off",
        workload: Workload::Http(1 << 20), for_ceiling: false, points: &[closed(50, "")], no_segmentation_offload: true, ..GET },
    Plan { name: "static", title: "GET of 20 files of 3 to 300 KB in turn, compressed beforehand, 50 connections, segmentation offload off",
        workload: Workload::Static, for_ceiling: false, points: &[closed(50, "")], no_segmentation_offload: true, ..GET },
    Plan { name: "static-tso", title: "GET of 20 files of 3 to 300 KB in turn, compressed beforehand, 50 connections, segmentation offload on",
        workload: Workload::Static, for_ceiling: false, points: &[closed(50, "")], ..GET },
    Plan { name: "c10k-files", title: "C10K: files of 512 B to 10,000 clients",
        workload: Workload::Http(512), points: &[closed(10_000, "")], ..GET },
    Plan { name: "c10k-clients", title: "C10K: 20,000 clients, each taking 4 KiB once a second",
        workload: Workload::Http(4096), figure: Figure::Rate, stretch: 4, for_ceiling: false,
        points: &[Point { name: "", connections: 20_000, pace: Pace::Rate(20_000), requests_each: None, load: "--arrivals uniform" }], ..GET },
    Plan { name: "sxe", title: "SXE: 10,000 connections, then 50 queries on each",
        points: &[Point { requests_each: Some(50), ..closed(10_000, "--in-flight 512") }], ..GET },
    Plan { name: "c10k-slow", title: "C10K: 10,000 readers of a large file at 28.8 kbit/s each",
        workload: Workload::Http(SLOWLY_READ_BYTES), figure: Figure::ContentRate, stretch: 4, for_ceiling: false,
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
        figure: Figure::Latency,
        points: &[
            paced(PEAK, Pace::Closed),
            paced("25 % of own peak", Pace::OfOwnPeak(0.25)), paced("50 % of own peak", Pace::OfOwnPeak(0.5)),
            paced("75 % of own peak", Pace::OfOwnPeak(0.75)), paced("90 % of own peak", Pace::OfOwnPeak(0.9)),
            paced("25 % of nginx's peak", Pace::OfNginxPeak(0.25)), paced("50 % of nginx's peak", Pace::OfNginxPeak(0.5)),
            paced("75 % of nginx's peak", Pace::OfNginxPeak(0.75)), paced("90 % of nginx's peak", Pace::OfNginxPeak(0.9)),
            paced("100 % of nginx's peak", Pace::OfNginxPeak(1.0)),
        ], ..GET },
    Plan { name: "rates", title: "CPU and latency at the same rate, 1,000 connections, Poisson arrivals",
        figure: Figure::Latency, for_ceiling: false,
        points: &[
            paced("10,000/s", Pace::Rate(10_000)), paced("30,000/s", Pace::Rate(30_000)),
            paced("60,000/s", Pace::Rate(60_000)), paced("90,000/s", Pace::Rate(90_000)),
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
