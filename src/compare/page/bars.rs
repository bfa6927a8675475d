//! Throughput as horizontal bars: the median, with a line from minimum to maximum.

use super::super::figures::Spread;
use super::super::results::{Case, PlanInfo, Results};
use super::super::tables::number;
use super::svg::{Anchor, Svg, WIDTH, round_up, text_width};

/// Height of a row: a bar with its margins.
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;
/// Margin above the first bar and below the last.
const TOP: f64 = 6.0;
const AXIS: f64 = 24.0;
/// Lines of the grid.
const STEPS: u32 = 4;
/// Gap between texts and bars.
const GAP: f64 = 8.0;

/// A figure to draw.
pub(super) struct Measure {
    name: &'static str,
    unit: &'static str,
    figure: fn(&Case) -> Option<f64>,
}

/// Responses a second.
pub(super) const RATE: Measure =
    Measure { name: "responses a second", unit: "/s", figure: Case::rate };
/// Content bytes a second.
pub(super) const CONTENT_RATE: Measure =
    Measure { name: "bytes of content a second", unit: "B/s", figure: Case::content_rate };

struct Row {
    class: usize,
    title: String,
    spread: Spread,
}

/// The chart of a plan; `None` without figures.
pub(super) fn chart(results: &Results, plan: &PlanInfo, measure: &Measure) -> Option<String> {
    let mut rows = Vec::new();
    for point in &plan.points {
        for (class, target) in results.targets.iter().enumerate() {
            let key = (plan.name.as_str(), point.name.as_str(), target.name.as_str());
            if let Some(spread) = results.spread(key, measure.figure) {
                let at =
                    if point.name.is_empty() { String::new() } else { format!(", {}", point.name) };
                rows.push(Row { class, title: format!("{}{at}", target.title), spread });
            }
        }
    }
    let max = rows.iter().map(|row| row.spread.max).fold(0.0, f64::max);
    (max > 0.0).then(|| draw(&rows, round_up(max), &plan.title, measure))
}

fn draw(rows: &[Row], end: f64, title: &str, measure: &Measure) -> String {
    let left = rows.iter().map(|row| text_width(&row.title)).fold(0.0, f64::max) + GAP;
    let right = WIDTH
        - rows.iter().map(|row| text_width(&number(row.spread.median))).fold(0.0, f64::max)
        - 2.0 * GAP;
    let bottom = TOP + ROW * rows.len() as f64;
    let at = |value: f64| left + (right - left) * value / end;
    let mut svg = Svg::new(bottom + AXIS);
    for step in 0..=STEPS {
        let value = end * f64::from(step) / f64::from(STEPS);
        svg.line("grid", (at(value), TOP), (at(value), bottom));
        svg.text(
            "axis",
            Anchor::Middle,
            (at(value), bottom + 16.0),
            &axis_label(value, if step == STEPS { measure.unit } else { "" }),
        );
    }
    for (index, row) in rows.iter().enumerate() {
        let y = TOP + ROW * index as f64 + (ROW - BAR) / 2.0;
        let (middle, text) = (y + BAR / 2.0, y + BAR / 2.0 + 4.5);
        let Spread { min, median, max } = row.spread;
        svg.text("", Anchor::End, (left - GAP, text), &row.title);
        svg.rectangle(&format!("bar c{}", row.class), (left, y), at(median) - left, BAR);
        svg.line("spread", (at(min), middle), (at(max), middle));
        for end in [min, max] {
            svg.line("spread", (at(end), middle - 4.0), (at(end), middle + 4.0));
        }
        svg.text("", Anchor::Start, (at(max) + GAP, text), &number(median));
    }
    svg.element(&format!("{title}: {}", measure.name))
}

/// A short label. The last one on the axis has the unit.
fn axis_label(value: f64, unit: &str) -> String {
    match value {
        1e6.. => format!("{} M{unit}", value / 1e6),
        1e3.. => format!("{} k{unit}", value / 1e3),
        _ if unit == "/s" => format!("{value}{unit}"),
        _ => format!("{value} {unit}"),
    }
}
