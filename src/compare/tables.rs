//! Results as tables: one for each plan, for terminal and page, and the README's as Markdown.
//! Columns without any text are left out.

use super::figures::{Figure, Spread};
use super::plans::PEAK;
use super::results::{Case, PlanInfo, PointInfo, Results, TargetInfo};
use super::targets::{CEILING, NGINX};
use crate::limits::Bytes;
use crate::print::{grouped, micros};

/// The smaller number of connections in the memory of one more connection. At this number, memory
/// that does not depend on connections is already allocated.
const FEW: u32 = 1000;

/// A table. The first row is the head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table(pub(super) Vec<Vec<String>>);

/// The table of a plan: a row for each point and target.
pub(super) fn of_plan(results: &Results, plan: &PlanInfo) -> Table {
    let head = [
        "at",
        "target",
        "responses/s",
        "min … max",
        "of its peak",
        "p50",
        "p99",
        "p99.9",
        "content/s",
        "cores",
        "stolen",
        "CPU/request",
        "server CPU",
        "memory",
        "× nginx",
        "of ceiling",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for point in &plan.points {
        for target in &results.targets {
            let key = (plan.name.as_str(), point.name.as_str(), target.name.as_str());
            if results.cases.iter().any(|case| case.is_of(key.0, key.1, key.2)) {
                let mut row = vec![point.name.clone(), target.title.clone()];
                row.extend(cells(results, key));
                rows.push(row);
            }
        }
    }
    Table(rows).without_empty_columns()
}

fn cells(results: &Results, key: (&str, &str, &str)) -> Vec<String> {
    let (plan, point, target) = key;
    let spread = |figure: fn(&Case) -> Option<f64>| results.spread(key, figure);
    let median = |figure: fn(&Case) -> Option<f64>| spread(figure).map(|spread| spread.median);
    let latency = |percentile: &'static str| {
        let spread = results.spread(key, |case| case.latency_us(percentile));
        spread.map(|spread| micros(spread.median)).unwrap_or_default()
    };
    let rate = spread(Case::rate).filter(|rate| rate.max > 0.0);
    let content = median(Case::content_rate)
        .filter(|content| *content > 1e8 || rate.is_none() && *content > 0.0);
    let beside = |other: &str| {
        let ratio = results.ratio(plan, point, target, other).filter(|_| target != other);
        ratio.map(|ratio| ratio.value)
    };
    let is_failed = content.is_none()
        && rate.is_none()
        && results.failed().any(|case| case.is_of(plan, point, target));
    let part = |part: fn(&Case) -> Option<f64>| median(part).map(percent);
    let of_cores = |server: Option<String>, client: Option<String>| {
        let both: Vec<_> = [server, client].into_iter().flatten().collect();
        both.join(" + ").replacen(" % + ", " + ", 1)
    };
    let cores = of_cores(part(Case::server_core), part(|case| Some(case.cpu?.client_core)));
    let stolen = of_cores(
        part(|case| Some(case.cpu?.server_stolen)),
        part(|case| Some(case.cpu?.client_stolen)),
    );
    vec![
        if is_failed {
            "failed".to_owned()
        } else {
            rate.map(|rate| number(rate.median)).unwrap_or_default()
        },
        rate.map(range).unwrap_or_default(),
        of_its_peak(results, key).map(percent).unwrap_or_default(),
        latency("p50"),
        latency("p99"),
        latency("p99_9"),
        content.map(|content| format!("{}/s", Bytes(content as u64))).unwrap_or_default(),
        cores,
        Some(stolen).filter(|stolen| stolen != "0 + 0 %").unwrap_or_default(),
        median(Case::cpu_us).map(|us| format!("{us:.2} µs")).unwrap_or_default(),
        // Under load, the server's own CPU time is the smaller part of the cores' time. Of an idle
        // server it is all.
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

/// The rate at a point as a share of the same target's rate at the point `peak`.
fn of_its_peak(results: &Results, (plan, point, target): (&str, &str, &str)) -> Option<f64> {
    let about = results.plans.iter().find(|about| about.name == plan)?;
    if point == PEAK || about.figure != Figure::Rate {
        return None;
    }
    let served = |point: &str| Some(results.spread((plan, point, target), Case::rate)?.median);
    Some(served(point)? / served(PEAK)?).filter(|part| part.is_finite())
}

/// Memory of one more connection, for each target: from 1,000 to its largest number of connections.
pub(super) fn memory(results: &Results, plan: &PlanInfo) -> Vec<String> {
    let line = |target: &TargetInfo| {
        let has = |connections: u32| {
            let key = (plan.name.as_str(), &*connections.to_string(), target.name.as_str());
            results.spread(key, Case::memory_bytes).is_some()
        };
        let points = plan.points.iter().map(|point| point.connections);
        let max = points.filter(|connections| *connections > FEW && has(*connections)).max()?;
        let bytes = results.bytes_per_connection(&plan.name, &target.name, FEW, max)?;
        let (few, max) = (grouped(FEW.into()), grouped(max.into()));
        Some(format!(
            "{}: {:.0} bytes for each connection, from {few} to {max}",
            target.title, bytes
        ))
    };
    results.targets.iter().filter_map(line).collect()
}

/// The README's table: a row for each plan with one point, a column for each target.
pub(super) fn markdown(results: &Results) -> String {
    let mut rows = Vec::new();
    let mut head: Vec<String> = vec!["work".to_owned()];
    head.extend(results.targets.iter().map(|target| target.title.clone()));
    head.extend(["AF_XDP ÷ nginx", "AF_XDP ÷ ceiling"].map(str::to_owned));
    rows.push(head);
    for plan in results.plans.iter().filter(|plan| plan.points.len() == 1) {
        // A plan with a large file may have no complete response. Its figure is bytes.
        let rate = |name: &str| {
            results.rate(&plan.name, name).map(|spread| spread.median).filter(|rate| *rate > 0.0)
        };
        if !results.targets.iter().any(|target| rate(&target.name).is_some()) {
            continue;
        }
        let mut row = vec![plan.title.clone()];
        row.extend(results.targets.iter().map(|target| {
            rate(&target.name).map(|rate| format!("{}/s", number(rate))).unwrap_or_default()
        }));
        let ratio = |other: &str| Some(rate("xdp")? / rate(other)?);
        row.push(ratio(NGINX).map(|ratio| format!("{ratio:.2}")).unwrap_or_default());
        row.push(ratio(CEILING).map(percent).unwrap_or_default());
        rows.push(row);
    }
    Table(rows).markdown()
}

/// A plan's table as Markdown: a row for each point, a column for each target. A cell has the
/// rate, the latency at the 99th percentile and the busy share of the server's core.
pub(super) fn markdown_of_plan(results: &Results, plan: &PlanInfo) -> String {
    let cell = |point: &PointInfo, target: &TargetInfo| {
        let key = (plan.name.as_str(), point.name.as_str(), target.name.as_str());
        let spread = |figure: fn(&Case) -> Option<f64>| results.spread(key, figure);
        let rate = spread(Case::rate).map(|rate| format!("{}/s", number(rate.median)));
        let latency = spread(|case| case.latency_us("p99")).map(|spread| micros(spread.median));
        let core = spread(Case::server_core).map(|core| percent(core.median));
        rate.into_iter().chain(latency).chain(core).collect::<Vec<_>>().join(", ")
    };
    let mut rows = vec![vec!["at".to_owned()]];
    rows[0].extend(results.targets.iter().map(|target| target.title.clone()));
    for point in &plan.points {
        let mut row = vec![point.name.clone()];
        row.extend(results.targets.iter().map(|target| cell(point, target)));
        rows.push(row);
    }
    Table(rows).without_empty_columns().markdown()
}

impl Table {
    fn markdown(&self) -> String {
        let Table(rows) = self;
        let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | ").replace("|  |", "| |"));
        let rule = format!("|{}\n", "---|".repeat(rows[0].len()));
        let mut text = line(&rows[0]) + &rule;
        rows[1..].iter().for_each(|row| text += &line(row));
        text
    }

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

    /// Number of leading columns with words instead of numbers.
    pub(super) fn words(&self) -> usize {
        self.0[0].iter().position(|head| head == "target").map_or(0, |column| column + 1)
    }

    /// Aligned lines: words to the left, numbers to the right.
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

/// A rate with digit grouping.
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

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
