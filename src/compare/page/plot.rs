//! A plot area with two axes and labelled lines. Coordinates are fractions of the axes.

use super::svg::{Anchor, Svg, WIDTH, spread_out, text_width};

const HEIGHT: f64 = 320.0;
const LEFT: f64 = 72.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
const GAP: f64 = 8.0;
/// Distance between the baselines of two labels.
const LABEL: f64 = 17.0;

/// A line with its points.
pub(super) struct Series {
    /// Index of the colour.
    pub(super) class: usize,
    /// Label at the right end.
    pub(super) name: String,
    /// Points in fractions of the axes, with their spread over repeats.
    pub(super) points: Vec<Point>,
}

/// A point of a series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// An axis: its name, and its marks as fractions with labels.
pub(super) struct Axis {
    pub(super) name: &'static str,
    pub(super) marks: Vec<(f64, String)>,
}

/// Draws all series.
pub(super) fn draw(title: &str, across: &Axis, up: &Axis, all: &[Series]) -> String {
    let names = all.iter().map(|series| text_width(&series.name)).fold(0.0, f64::max);
    let right = WIDTH - names - 2.0 * GAP;
    let floor = HEIGHT - BOTTOM;
    let at = |x: f64, y: f64| (LEFT + (right - LEFT) * x, floor - (floor - TOP) * y);
    let mut svg = Svg::new(HEIGHT);
    for (y, mark) in &up.marks {
        svg.line("grid", at(0.0, *y), at(1.0, *y));
        let (x, y) = at(0.0, *y);
        svg.text("axis", Anchor::End, (x - GAP, y + 4.0), mark);
    }
    for (x, mark) in &across.marks {
        svg.line("grid", at(*x, 0.0), at(*x, 1.0));
        let (x, y) = at(*x, 0.0);
        svg.text("axis", Anchor::Middle, (x, y + 17.0), mark);
    }
    svg.text(
        "axis",
        Anchor::Middle,
        (f64::midpoint(LEFT, right), HEIGHT - 6.0),
        &format!("{}; upwards: {}", across.name, up.name),
    );
    for series in all {
        let class = series.class;
        let points: Vec<(f64, f64)> =
            series.points.iter().map(|point| at(point.x, point.y)).collect();
        svg.path(&format!("line c{class}"), &points);
        for point in &series.points {
            svg.line(&format!("range c{class}"), at(point.x, point.min), at(point.x, point.max));
            svg.dot(&format!("dot c{class}"), at(point.x, point.y));
        }
    }
    let ends =
        all.iter().map(|series| series.points.last().map_or(floor, |point| at(point.x, point.y).1));
    let mut heights: Vec<f64> = ends.collect();
    // The marks of the axis are below its floor.
    spread_out(&mut heights, LABEL, floor - LABEL / 2.0);
    for (series, height) in all.iter().zip(heights) {
        svg.text(
            &format!("label c{}", series.class),
            Anchor::Start,
            (right + GAP, height + 4.5),
            &series.name,
        );
    }
    svg.element(title)
}
