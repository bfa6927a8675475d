//! A field with two axes, and lines on it with their names at the right. Values go in as parts of
//! the axes.

use super::svg::{Anchor, Svg, WIDTH, spread_out, text_width};

const HEIGHT: f64 = 320.0;
const LEFT: f64 = 72.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
const GAP: f64 = 8.0;
/// Between the baselines of two names.
const LABEL: f64 = 17.0;

/// A line, or only its points.
pub(super) struct Series {
    /// The number of its colour.
    pub(super) class: usize,
    /// Its name.
    pub(super) name: String,
    /// Its points, from 0 to 1 on either axis; and how far repeats spread in height.
    pub(super) points: Vec<Place>,
}

/// A point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

/// An axis: its name, and its marks.
pub(super) struct Axis {
    pub(super) name: &'static str,
    pub(super) marks: Vec<(f64, String)>,
}

/// Draws them.
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
        let places: Vec<(f64, f64)> =
            series.points.iter().map(|place| at(place.x, place.y)).collect();
        svg.path(&format!("line c{class}"), &places);
        for place in &series.points {
            svg.line(&format!("range c{class}"), at(place.x, place.least), at(place.x, place.most));
            svg.dot(&format!("dot c{class}"), at(place.x, place.y));
        }
    }
    let ends =
        all.iter().map(|series| series.points.last().map_or(floor, |place| at(place.x, place.y).1));
    let mut heights: Vec<f64> = ends.collect();
    spread_out(&mut heights, LABEL, floor);
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
