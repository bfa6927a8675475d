//! Throughput against the number of open connections, a line for each target. The axis of
//! connections is logarithmic.

use super::super::results::{Case, PlanInfo, Results};
use super::plot::{Axis, Point, Series, draw};
use super::svg::round_up;
use crate::print::grouped;

/// Lines of the grid.
const STEPS: u32 = 4;

/// The chart of a plan over connections; `None` without rates.
pub(super) fn chart(results: &Results, plan: &PlanInfo) -> Option<String> {
    let all: Vec<f64> =
        results.cases.iter().filter(|case| case.plan == plan.name).filter_map(Case::rate).collect();
    let max = all.iter().copied().reduce(f64::max).filter(|max| *max > 0.0)?;
    let measured = |connections: &u32| {
        let name = connections.to_string();
        results.cases.iter().any(|case| case.plan == plan.name && case.point == name)
    };
    let connections: Vec<u32> =
        plan.points.iter().map(|point| point.connections).filter(measured).collect();
    let (first, last) = (*connections.first()?, *connections.last()?);
    let span = (f64::from(last).log10() - f64::from(first).log10()).max(1e-9);
    let across =
        |connections: u32| (f64::from(connections).log10() - f64::from(first).log10()) / span;
    let end = round_up(max);
    let series = |(class, target): (usize, &super::super::results::TargetInfo)| {
        let to_point = |point: &super::super::results::PointInfo| {
            let spread = results.spread((&plan.name, &point.name, &target.name), Case::rate)?;
            let x = across(point.connections);
            Some(Point { x, y: spread.median / end, min: spread.min / end, max: spread.max / end })
        };
        let points: Vec<Point> = plan.points.iter().filter_map(to_point).collect();
        (!points.is_empty()).then(|| Series { class, name: target.title.clone(), points })
    };
    let all: Vec<Series> = results.targets.iter().enumerate().filter_map(series).collect();
    let marks = connections
        .iter()
        .map(|connections| (across(*connections), grouped((*connections).into())));
    let steps = (0..=STEPS).map(|step| {
        let part = f64::from(step) / f64::from(STEPS);
        (part, format!("{} k", end * part / 1000.0))
    });
    let across = Axis { name: "connections open", marks: marks.collect() };
    let up = Axis { name: "responses a second", marks: steps.collect() };
    Some(draw(&plan.title, &across, &up, &all))
}
