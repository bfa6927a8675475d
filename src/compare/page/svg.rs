//! SVG elements with a fixed width and text of known size. Colours are classes of the page.

use std::fmt::Write;

/// Width of every chart, in user units. The page scales it.
pub(super) const WIDTH: f64 = 960.0;
/// Upper bound of the width of a character in 13-unit type.
const CHARACTER: f64 = 8.4;

/// What a page has around a drawing.
const FRAME: &str = "<div class=\"chart\">";
const FRAME_END: &str = "</div>\n";

/// A drawing.
pub(super) struct Svg {
    height: f64,
    elements: String,
}

/// The alignment of a text with respect to its position.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// An empty drawing of this height.
    pub(super) fn new(height: f64) -> Svg {
        Svg { height, elements: String::new() }
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = writeln!(
            self.elements,
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        );
    }

    pub(super) fn rectangle(&mut self, class: &str, (x, y): (f64, f64), width: f64, height: f64) {
        let _ = writeln!(
            self.elements,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
    }

    pub(super) fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.elements,
            "<polyline class=\"{class}\" points=\"{}\"/>",
            points.join(" ")
        );
    }

    pub(super) fn dot(&mut self, class: &str, (x, y): (f64, f64)) {
        let _ = writeln!(
            self.elements,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
        );
    }

    pub(super) fn text(&mut self, class: &str, anchor: Anchor, (x, y): (f64, f64), text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        let _ = writeln!(
            self.elements,
            "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
        );
    }

    /// The element. `title` is read to users who cannot see it.
    pub(super) fn element(self, title: &str) -> String {
        let Svg { height, elements } = self;
        let title = escaped(title);
        format!(
            "{FRAME}<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{title}\">\n<title>{title}</title>\n{elements}</svg>{FRAME_END}"
        )
    }
}

/// An image file of an element of a page, with the style of that page; `None` if there is no
/// drawing in it.
pub(super) fn file(element: &str, style: &str) -> Option<String> {
    let (_, drawing) = element.split_once(FRAME)?;
    let (drawing, _) = drawing.split_once(FRAME_END)?;
    // A page has the space of names and the style around it.
    let begin = "<svg xmlns=\"http://www.w3.org/2000/svg\" ";
    let style = format!("\n<style>\n{style}svg {{ background: var(--paper); }}\n</style>\n<title>");
    Some(drawing.replacen("<svg ", begin, 1).replacen("\n<title>", &style, 1) + "\n")
}

/// Upper bound of the width of a text.
pub(super) fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}

/// Escapes text for element content and attribute values.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Moves labels apart so that each has `room`. Keeps their order, and keeps all above `bottom`.
pub(super) fn spread_out(heights: &mut [f64], room: f64, bottom: f64) {
    let mut order: Vec<usize> = (0..heights.len()).collect();
    order.sort_by(|a, b| heights[*a].total_cmp(&heights[*b]));
    let mut lowest = f64::MIN;
    for index in &order {
        heights[*index] = heights[*index].max(lowest);
        lowest = heights[*index] + room;
    }
    let mut highest = bottom;
    for index in order.iter().rev() {
        heights[*index] = heights[*index].min(highest);
        highest = heights[*index] - room;
    }
}

/// Rounds up to 1, 2, 4, 6 or 8 times a power of ten, so that labels of quarters are short.
pub(super) fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-9).log10().floor());
    let factors = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    factors
        .into_iter()
        .map(|factor| factor * power)
        .find(|round| *round >= value * 0.9999)
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_numbers() {
        assert_eq!(
            [0.9, 1.0, 1.7, 180_000.0, 7e5].map(round_up),
            [1.0, 1.0, 2.0, 200_000.0, 800_000.0]
        );
    }

    #[test]
    fn labels_are_moved_apart_and_stay_within() {
        let mut heights = [98.0, 10.0, 99.0, 12.0];
        spread_out(&mut heights, 15.0, 100.0);
        let mut sorted = heights;
        sorted.sort_by(f64::total_cmp);
        assert!(
            sorted.windows(2).all(|pair| pair[1] - pair[0] >= 15.0) && sorted[3] <= 100.0,
            "{heights:?}"
        );
        assert!(heights[1] < heights[3] && heights[0] < heights[2], "in order");
    }
}
