//! Results as tables: one for each plan, for terminal and page alike, and the README's as Markdown.
//!
//! A cell is text; a column without any is left out.

use super::contenders::NGINX;
use super::figures::{Figure, Spread};
use super::plans::PEAK;
use super::results::{About, Case, PlanAbout, Results};
use crate::demo::report::grouped;
use crate::limits::Bytes;

/// Connections that are few, and enough for what is not a connection's to be there.
const FEW: u32 = 1000;
/// The contender that others are a share of.
const CEILING: &str = "ceiling";

/// A table: its first row is the head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table(pub(super) Vec<Vec<String>>);

/// The table of a plan: a row for each point and contender.
pub(super) fn of_plan(results: &Results, plan: &PlanAbout) -> Table {
    let head = [
        "at",
        "contender",
        "responses/s",
        "least … most",
        "of its peak",
        "p50",
        "p99",
        "p99.9",
        "content/s",
        "cores",
        "CPU/request",
        "server CPU",
        "memory",
        "× nginx",
        "of ceiling",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for point in &plan.points {
        for contender in &results.contenders {
            let place = (plan.name.as_str(), point.name.as_str(), contender.name.as_str());
            if results.cases.iter().any(|case| case.is_of(place.0, place.1, place.2)) {
                let mut row = vec![point.name.clone(), contender.title.clone()];
                row.extend(cells(results, place));
                rows.push(row);
            }
        }
    }
    Table(rows).without_empty_columns()
}

fn cells(results: &Results, place: (&str, &str, &str)) -> Vec<String> {
    let (plan, point, contender) = place;
    let spread = |figure: fn(&Case) -> Option<f64>| results.spread(place, figure);
    let median = |figure: fn(&Case) -> Option<f64>| spread(figure).map(|spread| spread.median);
    let latency = |key: &'static str| {
        let spread = results.spread(place, |case| case.latency_us(key));
        spread.map(|spread| time(spread.median)).unwrap_or_default()
    };
    let rate = spread(Case::rate).filter(|rate| rate.max > 0.0);
    let content = median(Case::content_rate)
        .filter(|content| *content > 1e8 || rate.is_none() && *content > 0.0);
    // Of a large file no answer may have come to its end.
    let main: fn(&Case) -> Option<f64> =
        if rate.is_some() { Case::rate } else { Case::content_rate };
    let beside = |other: &str| {
        let other = results.spread((plan, point, other), main).filter(|_| contender != other)?;
        Some(median(main)? / other.median).filter(|ratio| ratio.is_finite())
    };
    let is_failed = content.is_none()
        && rate.is_none()
        && results.failed().any(|case| case.is_of(plan, point, contender));
    let part = |part: fn(&Case) -> Option<f64>| median(part).map(percent);
    let cores =
        [part(|case| Some(case.cpu?.server_core)), part(|case| Some(case.cpu?.client_core))];
    let cores =
        cores.into_iter().flatten().collect::<Vec<_>>().join(" + ").replacen(" % + ", " + ", 1);
    vec![
        if is_failed {
            "failed".to_owned()
        } else {
            rate.map(|rate| number(rate.median)).unwrap_or_default()
        },
        rate.map(range).unwrap_or_default(),
        of_its_peak(results, place).map(percent).unwrap_or_default(),
        latency("p50"),
        latency("p99"),
        latency("p99_9"),
        content.map(|content| format!("{}/s", Bytes(content as u64))).unwrap_or_default(),
        cores,
        median(Case::cpu_us).map(|us| format!("{us:.2} µs")).unwrap_or_default(),
        // Beside requests, what the server itself takes is the smaller part; where there are none
        // it is all.
        if rate.is_none() {
            part(|case| Some(case.cpu?.server)).unwrap_or_default()
        } else {
            String::new()
        },
        median(Case::memory_bytes).map(|bytes| Bytes(bytes as u64).to_string()).unwrap_or_default(),
        beside(NGINX).map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        beside(CEILING).map(percent).unwrap_or_default(),
    ]
}

/// What is served at a point of a plan about rates, as a part of what the same contender served at
/// the plan's peak.
fn of_its_peak(results: &Results, (plan, point, contender): (&str, &str, &str)) -> Option<f64> {
    let about = results.plans.iter().find(|about| about.name == plan)?;
    if point == PEAK || about.figure != Figure::Rate {
        return None;
    }
    let served = |point: &str| Some(results.spread((plan, point, contender), Case::rate)?.median);
    Some(served(point)? / served(PEAK)?).filter(|part| part.is_finite())
}

/// What a connection more takes, for each contender of a plan over connections, between the points
/// of 1,000 and of the most connections that it had.
pub(super) fn memory(results: &Results, plan: &PlanAbout) -> Vec<String> {
    let line = |contender: &About| {
        let has = |connections: u32| {
            let place = (plan.name.as_str(), &*connections.to_string(), contender.name.as_str());
            results.spread(place, Case::memory_bytes).is_some()
        };
        let points = plan.points.iter().map(|point| point.connections);
        let most = points.filter(|connections| *connections > FEW && has(*connections)).max()?;
        let bytes = results.bytes_per_connection(&plan.name, &contender.name, FEW, most)?;
        let (few, most) = (grouped(FEW.into()), grouped(most.into()));
        Some(format!(
            "{}: {:.0} bytes a connection more, from {few} to {most}",
            contender.title, bytes
        ))
    };
    results.contenders.iter().filter_map(line).collect()
}

/// The README's table: a row for each plan whose rate is what it is about, a column for each
/// contender.
pub(super) fn markdown(results: &Results) -> String {
    let mut rows = Vec::new();
    let mut head: Vec<String> = vec!["work".to_owned()];
    head.extend(results.contenders.iter().map(|contender| contender.title.clone()));
    head.extend(["AF_XDP ÷ nginx", "AF_XDP ÷ ceiling"].map(str::to_owned));
    rows.push(head);
    for plan in results.plans.iter().filter(|plan| plan.points.len() == 1) {
        // Of a large file no answer may have come to its end: bytes are what that plan is about.
        let rate = |name: &str| {
            results.rate(&plan.name, name).map(|spread| spread.median).filter(|rate| *rate > 0.0)
        };
        if !results.contenders.iter().any(|contender| rate(&contender.name).is_some()) {
            continue;
        }
        let mut row = vec![plan.title.clone()];
        row.extend(results.contenders.iter().map(|contender| {
            rate(&contender.name).map(|rate| format!("{}/s", number(rate))).unwrap_or_default()
        }));
        let ratio = |other: &str| Some(rate("xdp")? / rate(other)?);
        row.push(ratio(NGINX).map(|ratio| format!("{ratio:.2}")).unwrap_or_default());
        row.push(ratio(CEILING).map(percent).unwrap_or_default());
        rows.push(row);
    }
    let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | ").replace("|  |", "| |"));
    let rule = format!("|{}\n", "---|".repeat(rows[0].len()));
    let mut text = line(&rows[0]) + &rule;
    rows[1..].iter().for_each(|row| text += &line(row));
    text
}

impl Table {
    fn without_empty_columns(self) -> Table {
        let Table(rows) = self;
        let full: Vec<bool> = (0..rows[0].len())
            .map(|column| rows[1..].iter().any(|row| !row[column].is_empty()))
            .collect();
        let keep = |row: Vec<String>| {
            row.into_iter().zip(&full).filter(|(_, full)| **full).map(|(cell, _)| cell)
        };
        Table(rows.into_iter().map(|row| keep(row).collect()).collect())
    }

    /// How many columns, from the first, hold words and not numbers.
    pub(super) fn words(&self) -> usize {
        self.0[0].iter().position(|head| head == "contender").map_or(0, |column| column + 1)
    }

    /// Lines that align, words to the left and numbers to the right.
    pub(super) fn text(&self) -> String {
        let Table(rows) = self;
        let width =
            |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let words = self.words();
        let mut text = String::new();
        for row in rows {
            let mut line = String::from("  ");
            for (column, cell) in row.iter().enumerate() {
                let width = width(column);
                line += &if column < words {
                    format!("{cell:<width$}  ")
                } else {
                    format!("{cell:>width$}  ")
                };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// A rate as people read it.
pub(super) fn number(value: f64) -> String {
    grouped(value.round() as u64)
}

fn range(spread: Spread) -> String {
    if spread.min == spread.max {
        String::new()
    } else {
        format!("{} … {}", number(spread.min), number(spread.max))
    }
}

fn percent(part: f64) -> String {
    format!("{:.0} %", 100.0 * part)
}

/// Microseconds as people read them.
pub(super) fn time(us: f64) -> String {
    match us {
        ..1e3 => format!("{us:.0} µs"),
        ..1e6 => format!("{:.2} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
