//! Latency by percentile, a chart for each rate offered and a line for each contender; both axes by
//! powers of ten.

use super::super::results::{About, Case, PlanAbout, PointAbout, Results};
use super::super::tables::time;
use super::plot::{Axis, Place, Series, draw};
use super::svg::escaped;
use std::fmt::Write;

/// What a report has, and which part of the requests takes longer.
const PERCENTILES: [(&str, &str, f64); 5] = [
    ("p50", "50 %", 0.5),
    ("p90", "90 %", 0.1),
    ("p99", "99 %", 0.01),
    ("p99_9", "99.9 %", 0.001),
    ("p99_99", "99.99 %", 0.0001),
];

/// The charts of a plan's points, all to the same scale; `None` without any latency.
pub(super) fn charts(results: &Results, plan: &PlanAbout) -> Option<String> {
    let of_plan = results.cases.iter().filter(|case| case.plan == plan.name);
    let all: Vec<f64> = of_plan
        .flat_map(|case| PERCENTILES.into_iter().filter_map(|(key, ..)| case.latency_us(key)))
        .map(|us| us.max(1.0))
        .collect();
    let least = all.iter().copied().reduce(f64::min)?.log10().floor();
    let most = all.iter().copied().reduce(f64::max)?.log10().ceil().max(least + 1.0);
    let mut text = String::new();
    for point in &plan.points {
        let series: Vec<Series> = results
            .contenders
            .iter()
            .enumerate()
            .filter_map(|(class, contender)| {
                series(results, (plan, point), (class, contender), (least, most))
            })
            .collect();
        if series.is_empty() {
            continue;
        }
        let marks = PERCENTILES.into_iter().map(|(_, name, part)| (across(part), name.to_owned()));
        let across =
            Axis { name: "part of the responses that took no longer", marks: marks.collect() };
        let up = Axis { name: "time to the response", marks: decades(least, most) };
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
    (plan, point): (&PlanAbout, &PointAbout),
    (class, contender): (usize, &About),
    (least, most): (f64, f64),
) -> Option<Series> {
    let up = |us: f64| (us.max(1.0).log10() - least) / (most - least);
    let place = |(key, _, part): (&'static str, &str, f64)| {
        let spread = results
            .spread((&plan.name, &point.name, &contender.name), |case: &Case| {
                case.latency_us(key)
            })?;
        Some(Place {
            x: across(part),
            y: up(spread.median),
            least: up(spread.min),
            most: up(spread.max),
        })
    };
    let points: Vec<Place> = PERCENTILES.into_iter().filter_map(place).collect();
    (!points.is_empty()).then(|| Series { class, name: contender.title.clone(), points })
}

/// Where a percentile stands, by the part that takes longer.
fn across(part: f64) -> f64 {
    let (first, last) = (PERCENTILES[0].2, PERCENTILES[PERCENTILES.len() - 1].2);
    (first / part).log10() / (first / last).log10()
}

fn decades(least: f64, most: f64) -> Vec<(f64, String)> {
    let count = (most - least).round() as i32;
    let mark = |step: i32| {
        (f64::from(step) / f64::from(count), whole(10f64.powf(least + f64::from(step))))
    };
    (0..=count).map(mark).collect()
}

/// A power of ten of microseconds.
fn whole(us: f64) -> String {
    time(us).replace(".00", "")
}
