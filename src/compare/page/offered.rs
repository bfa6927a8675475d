//! CPU and latency against the offered rate, a chart for each and a line for each target. The axis
//! of rates begins at 0, that of times is logarithmic.

use super::super::figures::Spread;
use super::super::results::{Case, PlanInfo, PointInfo, Results, TargetInfo};
use super::curves::decades;
use super::plot::{Axis, Point, Series, draw};
use super::svg::round_up;

/// Lines of the grid.
const STEPS: u32 = 4;
/// Times below this are not told apart, in microseconds.
const MIN_US: f64 = 1.0;

/// A figure of a case.
#[derive(Clone, Copy)]
struct Chart {
    name: &'static str,
    title: &'static str,
    figure: fn(&Case) -> Option<f64>,
}

const CPU: Chart =
    Chart { name: "cpu", title: "CPU of the server's core", figure: Case::server_core };
const LATENCIES: [Chart; 2] = [
    Chart {
        name: "p50",
        title: "Half of the responses took no longer",
        figure: |case| case.latency_us("p50"),
    },
    Chart {
        name: "p99",
        title: "99 % of the responses took no longer",
        figure: |case| case.latency_us("p99"),
    },
];

/// A chart that was drawn.
pub(super) struct Drawn {
    /// For the name of a file.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) element: String,
}

/// The charts of a plan; none without offered rates.
pub(super) fn charts(results: &Results, plan: &PlanInfo) -> Vec<Drawn> {
    let of_plan = || results.cases.iter().filter(|case| case.plan == plan.name && is_good(case));
    let Some(max) = of_plan().filter_map(offered).reduce(f64::max) else { return Vec::new() };
    let end = round_up(max);
    let steps = |max: f64, unit: &str| {
        let step = |step: u32| f64::from(step) / f64::from(STEPS);
        (0..=STEPS).map(|at| (step(at), format!("{} {unit}", max * step(at)))).collect()
    };
    let across = Axis { name: "requests offered a second", marks: steps(end / 1000.0, "k") };
    let chart = |chart: Chart, up: &Axis, scale: &dyn Fn(f64) -> f64| {
        let Chart { name, title, figure } = chart;
        let series = |(class, target): (usize, &TargetInfo)| {
            let points = points(results, (plan, target), end, |case| figure(case).map(scale));
            (!points.is_empty()).then(|| Series { class, name: target.title.clone(), points })
        };
        let all: Vec<Series> = results.targets.iter().enumerate().filter_map(series).collect();
        let about = format!("{}: {title}", plan.title);
        Drawn { name, title, element: draw(&about, &across, up, &all) }
    };
    let busy = Axis { name: "busy", marks: steps(100.0, "%") };
    let mut drawn = vec![chart(CPU, &busy, &|part| part.min(1.0))];
    for latency in LATENCIES {
        let all = || of_plan().filter_map(latency.figure).map(|us| us.max(MIN_US).log10());
        let Some(min) = all().reduce(f64::min).map(f64::floor) else { continue };
        let max = all().fold(min + 1.0, f64::max).ceil();
        let up = Axis { name: "time to the response", marks: decades(min, max) };
        let scale = |us: f64| (us.max(MIN_US).log10() - min) / (max - min);
        drawn.push(chart(latency, &up, &scale));
    }
    drawn
}

/// The points of a target, by rate.
fn points(
    results: &Results,
    (plan, target): (&PlanInfo, &TargetInfo),
    end: f64,
    figure: impl Fn(&Case) -> Option<f64>,
) -> Vec<Point> {
    let to_point = |point: &PointInfo| {
        let key = (plan.name.as_str(), point.name.as_str(), target.name.as_str());
        let rate = results.spread(key, offered)?;
        let Spread { min, median, max } =
            results.spread(key, |case| figure(case).filter(|_| is_good(case)))?;
        Some(Point { x: rate.median / end, y: median, min, max })
    };
    let mut points: Vec<Point> = plan.points.iter().filter_map(to_point).collect();
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    points
}

fn is_good(case: &Case) -> bool {
    case.error.is_none()
}

/// The rate that the load of a case offered.
fn offered(case: &Case) -> Option<f64> {
    let flag = case.load.iter().position(|argument| argument == "--rate")?;
    case.load.get(flag + 1)?.parse().ok()
}
