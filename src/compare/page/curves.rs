//! Latency by percentile: a chart for each offered rate, a line for each target. Both axes are
//! logarithmic.

use super::super::results::{Case, PlanInfo, PointInfo, Results, TargetInfo};
use super::plot::{Axis, Point, Series, draw};
use super::svg::escaped;
use crate::print::micros;
use std::fmt::Write;

/// Key in the report, label, and the share of requests that take longer.
const PERCENTILES: [(&str, &str, f64); 5] = [
    ("p50", "50 %", 0.5),
    ("p90", "90 %", 0.1),
    ("p99", "99 %", 0.01),
    ("p99_9", "99.9 %", 0.001),
    ("p99_99", "99.99 %", 0.0001),
];

/// The charts of a plan's points, all with the same scale; `None` without latencies.
pub(super) fn charts(results: &Results, plan: &PlanInfo) -> Option<String> {
    let of_plan = results.cases.iter().filter(|case| case.plan == plan.name);
    let all: Vec<f64> = of_plan
        .flat_map(|case| PERCENTILES.into_iter().filter_map(|(key, ..)| case.latency_us(key)))
        .map(|us| us.max(1.0))
        .collect();
    let min = all.iter().copied().reduce(f64::min)?.log10().floor();
    let max = all.iter().copied().reduce(f64::max)?.log10().ceil().max(min + 1.0);
    let mut text = String::new();
    for point in &plan.points {
        let series: Vec<Series> = results
            .targets
            .iter()
            .enumerate()
            .filter_map(|(class, target)| {
                series(results, (plan, point), (class, target), (min, max))
            })
            .collect();
        if series.is_empty() {
            continue;
        }
        let marks = PERCENTILES.into_iter().map(|(_, name, part)| (across(part), name.to_owned()));
        let across =
            Axis { name: "part of the responses that took no longer", marks: marks.collect() };
        let up = Axis { name: "time to the response", marks: decades(min, max) };
        let title = format!("{}: {}", plan.title, point.name);
        let _ = write!(
            text,
            "<h3>{}</h3>\n{}",
            escaped(&point.name),
            draw(&title, &across, &up, &series)
        );
    }
    Some(text)
}

fn series(
    results: &Results,
    (plan, point): (&PlanInfo, &PointInfo),
    (class, target): (usize, &TargetInfo),
    (min, max): (f64, f64),
) -> Option<Series> {
    let up = |us: f64| (us.max(1.0).log10() - min) / (max - min);
    let to_point = |(key, _, part): (&'static str, &str, f64)| {
        let spread = results
            .spread((&plan.name, &point.name, &target.name), |case: &Case| case.latency_us(key))?;
        Some(Point {
            x: across(part),
            y: up(spread.median),
            min: up(spread.min),
            max: up(spread.max),
        })
    };
    let points: Vec<Point> = PERCENTILES.into_iter().filter_map(to_point).collect();
    (!points.is_empty()).then(|| Series { class, name: target.title.clone(), points })
}

/// The position of a percentile on the axis, from the share of requests that take longer.
fn across(part: f64) -> f64 {
    let (first, last) = (PERCENTILES[0].2, PERCENTILES[PERCENTILES.len() - 1].2);
    (first / part).log10() / (first / last).log10()
}

/// The marks of an axis of times from 10^`min` to 10^`max` microseconds.
pub(super) fn decades(min: f64, max: f64) -> Vec<(f64, String)> {
    let count = (max - min).round() as i32;
    let mark =
        |step: i32| (f64::from(step) / f64::from(count), whole(10f64.powf(min + f64::from(step))));
    (0..=count).map(mark).collect()
}

/// The label of a power of ten, in microseconds.
fn whole(us: f64) -> String {
    micros(us).replace(".00", "")
}
