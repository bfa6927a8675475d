//! The first section: one sentence with the result, and a chart with a row for each plan: how many
//! times the responses of nginx or memcached each other target served. The axis is logarithmic.

use super::super::confidence::Ratio;
use super::super::figures::{Figure, Spread};
use super::super::results::{Case, PlanInfo, Results};
use super::super::targets::{MEMCACHED, NGINX};
use super::svg::{Anchor, Svg, WIDTH, escaped, text_width};
use crate::print::grouped;
use std::fmt::Write;

/// Height of a row: its title, and below that its points.
const ROW: f64 = 42.0;
const TITLE: f64 = 14.0;
const POINTS: f64 = 27.0;
const AXIS: f64 = 26.0;
const GAP: f64 = 8.0;
/// Space for the longest label, beside the last mark.
const LABEL: &str = "99.99 (99.99 … 99.99)";

/// A row of the chart.
struct Row {
    title: String,
    baseline: &'static str,
    /// The colour of each target, and its ratio.
    ratios: Vec<(usize, Ratio)>,
}

/// Appends the section; nothing if neither nginx nor memcached was measured beside another target.
pub(super) fn section(body: &mut String, results: &Results) {
    let rows = rows(results);
    if rows.is_empty() {
        return;
    }
    body.push_str("<section id=\"overview\">\n<h2>Overview</h2>\n");
    let _ = writeln!(body, "<p><strong>{}</strong></p>", escaped(&headline(results, &rows)));
    body.push_str(&draw(&rows));
    body.push_str(
        "<p class=\"note\">Responses a second as a multiple of those of nginx, or memcached for the plans of \
         memcached; bytes of content a second for a plan without whole responses. Lines: 95 % confidence intervals, \
         by Student's t over the ratios of the rounds, which are measured in turn. The label is that of the first \
         target.</p>\n</section>\n",
    );
}

/// The chart of the section.
pub(super) fn chart(results: &Results) -> Option<String> {
    let rows = rows(results);
    (!rows.is_empty()).then(|| draw(&rows))
}

fn rows(results: &Results) -> Vec<Row> {
    let mut rows = Vec::new();
    for plan in &results.plans {
        let is_closed = plan.points.len() == 1 || plan.figure == Figure::Scale;
        if !is_closed || matches!(plan.figure, Figure::Idle | Figure::Latency) {
            continue;
        }
        // The rate of a load with a pace of its own says nothing of the server.
        let is_paced = |word: &String| matches!(word.as_str(), "--rate" | "--slow");
        let of_plan = |case: &&Case| case.plan == plan.name;
        if results.cases.iter().filter(of_plan).any(|case| case.load.iter().any(is_paced)) {
            continue;
        }
        for point in &plan.points {
            rows.extend(row(results, plan, &point.name));
        }
    }
    rows
}

fn row(results: &Results, plan: &PlanInfo, point: &str) -> Option<Row> {
    let has = |name: &str| results.cases.iter().any(|case| case.is_of(&plan.name, point, name));
    let baseline = [NGINX, MEMCACHED].into_iter().find(|name| has(name))?;
    let targets = results.targets.iter().enumerate();
    let others = targets.filter(|(_, target)| target.name != baseline && !target.is_ceiling());
    let ratios = others.filter_map(|(class, target)| {
        Some((class, results.ratio(&plan.name, point, &target.name, baseline)?))
    });
    let ratios: Vec<_> = ratios.collect();
    let at = match point.parse::<u64>() {
        Ok(connections) => format!(": {}", grouped(connections)),
        Err(_) => String::new(),
    };
    (!ratios.is_empty()).then(|| Row { title: format!("{}{at}", plan.title), baseline, ratios })
}

/// What the first target did, in one sentence.
fn headline(results: &Results, rows: &[Row]) -> String {
    let Some(first) = results.targets.first() else { return String::new() };
    let beside = |baseline: &str| {
        let own = rows.iter().filter(|row| row.baseline == baseline);
        let ratios = own.filter_map(|row| row.ratios.iter().find(|(class, _)| *class == 0));
        let values: Vec<f64> = ratios.map(|(_, ratio)| ratio.value).collect();
        let Spread { min, median, max } = Spread::of(values.iter().copied())?;
        Some(match values.len() {
            1 => format!("{} times as many responses as {baseline} in one plan", times(max)),
            many => format!(
                "{} to {} times as many responses as {baseline}, {} in the median of {many} rows",
                times(min),
                times(max),
                times(median)
            ),
        })
    };
    let parts: Vec<String> = [NGINX, MEMCACHED].into_iter().filter_map(beside).collect();
    format!("{} serves {}.", first.title, parts.join("; "))
}

/// Three digits.
fn times(ratio: f64) -> String {
    match ratio {
        100.0.. => format!("{ratio:.0}"),
        10.0.. => format!("{ratio:.1}"),
        _ => format!("{ratio:.2}"),
    }
}

/// The name of a power of two on the axis.
fn mark(power: i32) -> String {
    match power {
        0 => "1".to_owned(),
        1.. => format!("{}×", f64::from(power).exp2()),
        _ => format!("1/{}×", f64::from(-power).exp2()),
    }
}

fn draw(rows: &[Row]) -> String {
    let all = || rows.iter().flat_map(|row| row.ratios.iter().map(|(_, ratio)| ratio));
    let low = all().map(|ratio| ratio.range().0).fold(1.0, f64::min).log2().floor();
    let high = all().map(|ratio| ratio.range().1).fold(2.0, f64::max).log2().ceil();
    let right = WIDTH - text_width(LABEL) - GAP;
    let left = text_width(&mark(low as i32)) / 2.0;
    let at = |ratio: f64| left + (right - left) * (ratio.log2() - low) / (high - low);
    let bottom = ROW * rows.len() as f64;
    let mut svg = Svg::new(bottom + AXIS);
    for power in low as i32..=high as i32 {
        let x = at(f64::from(power).exp2());
        let class = if power == 0 { "one" } else { "grid" };
        svg.line(class, (x, 0.0), (x, bottom));
        svg.text("axis", Anchor::Middle, (x, bottom + 16.0), &mark(power));
    }
    for (index, row) in rows.iter().enumerate() {
        let top = ROW * index as f64;
        let middle = top + POINTS;
        svg.text("", Anchor::Start, (left, top + TITLE), &row.title);
        // The first target last, so that it is on top.
        for (class, ratio) in row.ratios.iter().rev() {
            let (from, to) = ratio.range();
            svg.line(&format!("range c{class}"), (at(from), middle), (at(to), middle));
            svg.dot(&format!("dot c{class}"), (at(ratio.value), middle));
        }
        if let Some((class, ratio)) = row.ratios.first() {
            let ends = row.ratios.iter().map(|(_, ratio)| at(ratio.range().1));
            let end = ends.fold(0.0, f64::max) + GAP;
            let label = match ratio.interval {
                Some((from, to)) => {
                    format!("{} ({} … {})", times(ratio.value), times(from), times(to))
                }
                None => times(ratio.value),
            };
            svg.text(&format!("label c{class}"), Anchor::Start, (end, middle + 4.5), &label);
        }
    }
    svg.element("Responses a second as a multiple of those of nginx or memcached")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However little a target served.
    #[test]
    fn the_first_mark_of_the_axis_is_within_the_drawing() {
        for (ratio, first) in [(0.03, "1/64×"), (0.3, "1/4×"), (3.0, "1")] {
            let ratios = vec![(0, Ratio { value: ratio, interval: None })];
            let drawing = draw(&[Row { title: "plan".to_owned(), baseline: NGINX, ratios }]);
            let (before, _) = drawing.split_once(&format!(">{first}</text>")).expect("a mark");
            let (_, x) = before.rsplit_once(" x=\"").expect("its place");
            let x: f64 = x.split('"').next().expect("a number").parse().expect("a number");
            assert!(x >= (text_width(first) / 2.0 * 10.0).floor() / 10.0, "{first} at {x}");
        }
    }
}
