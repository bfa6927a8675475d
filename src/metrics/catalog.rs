//! Every metric that the crates of Simoom declare, by the section of the guide that lists it.

use super::{CONNECTIONS_LIMIT, CONNECTIONS_OPEN, Metric};
use crate::app::{codec, content, http, memcached, router};
use crate::handler::PortNames;
use crate::panics::HANDLER_PANICS;
use crate::server::Events;
use crate::worker::handover::HandoverCounters;
use crate::worker::metric_of;
use crate::{admin, config, kernel, later, steer, store};
use af_xdp::{Counter, KernelCounters, QueueCounters};
use simoom_tcp::{counters, drop};
use std::collections::BTreeMap;

/// Metrics with a heading in common.
pub(crate) struct Section {
    /// The heading on the page `metrics` of the guide.
    #[cfg_attr(not(test), expect(dead_code, reason = "the test of the guide reads it"))]
    pub(crate) title: &'static str,
    pub(crate) metrics: Vec<Metric>,
}

/// All sections, in the order of the guide.
pub(crate) fn sections() -> Vec<Section> {
    let of = |title, groups: &[&[Metric]]| Section { title, metrics: groups.concat() };
    let ports = [config::HTTP, config::MEMCACHED].map(PortNames::of);
    let ports = ports.map(|PortNames { open, limit, refused, .. }| [*open, *limit, *refused]);
    let queue = [QueueCounters::COUNTERS, KernelCounters::COUNTERS].concat();
    let queue: Vec<Metric> = queue.iter().map(|counter: &Counter| metric_of(counter)).collect();
    vec![
        of("The server", &[&admin::METRICS, Events::METRICS, &[HANDLER_PANICS], &later::METRICS]),
        of("Connections", &[&[CONNECTIONS_OPEN, CONNECTIONS_LIMIT], ports.as_flattened()]),
        of("HTTP", &[http::Counters::METRICS, content::ContentCounters::METRICS]),
        of("memcached", &[&memcached::METRICS, store::Statistics::METRICS]),
        of("memcached over UDP", &[kernel::udp::Counters::METRICS]),
        of("Routers", &[router::Counters::METRICS]),
        of("Handlers of frames", &[codec::Counters::METRICS]),
        of("Kernel sockets", &[kernel::Counters::METRICS]),
        of("AF_XDP queues", &[&queue, HandoverCounters::METRICS]),
        of("The steering program", &[steer::SteerCounters::METRICS]),
        of("The TCP stack", &[counters::Counters::METRICS, drop::Drops::METRICS]),
    ]
}

/// The declarations of all sections by their names.
pub(crate) fn declarations() -> BTreeMap<&'static str, Metric> {
    let metrics = sections().into_iter().flat_map(|section| section.metrics);
    metrics.map(|metric| (metric.name, metric)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Unit, check};

    const PAGE: &str = include_str!("../guide/metrics.md");

    /// The rows of a section's table in the guide.
    fn table(metrics: &[Metric]) -> String {
        let rows = metrics.iter().map(|Metric { name, kind, help, unit }| {
            let unit = if *unit == Unit::Bytes { ", bytes" } else { "" };
            format!("| `{name}` | {kind}{unit} | {help} |\n")
        });
        "| name | type | meaning |\n|---|---|---|\n".to_owned() + &rows.collect::<String>()
    }

    /// The table below a heading of the page.
    fn documented(title: &str) -> String {
        let section = PAGE.split("\n## ").find(|section| section.lines().next() == Some(title));
        let lines = section.unwrap_or_default().lines().filter(|line| line.starts_with('|'));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// What to do to `documented`, to make it `declared`: a line for each row.
    fn changes(documented: &str, declared: &str) -> String {
        let missing = declared.lines().filter(|row| !documented.lines().any(|line| line == *row));
        let stale = documented.lines().filter(|line| !declared.lines().any(|row| row == *line));
        let changes: String = missing
            .map(|row| {
                let before = declared.lines().take_while(|line| line != &row).last();
                format!("add    {row}\nbehind {}\n", before.unwrap_or_default())
            })
            .chain(stale.map(|line| format!("remove {line}\n")))
            .collect();
        let is_order = changes.is_empty() && documented != declared;
        if is_order { format!("in this order:\n{declared}") } else { changes }
    }

    #[test]
    fn the_guide_lists_every_metric_as_it_is_declared() {
        let outdated: String = sections()
            .iter()
            .map(|section| (section, documented(section.title), table(&section.metrics)))
            .filter(|(_, documented, declared)| documented != declared)
            .map(|(section, documented, declared)| {
                format!("\n## {}\n\n{}", section.title, changes(&documented, &declared))
            })
            .collect();
        assert!(outdated.is_empty(), "src/guide/metrics.md is outdated:\n{outdated}");
    }

    #[test]
    fn only_rows_that_differ_are_printed() {
        assert_eq!(changes("a\nb\n", "a\nb\n"), "");
        assert_eq!(changes("a\nc\n", "a\nb\nc\n"), "add    b\nbehind a\n");
        assert_eq!(changes("a\nx\n", "a\n"), "remove x\n");
        assert_eq!(changes("b\na\n", "a\nb\n"), "in this order:\na\nb\n");
    }

    #[test]
    fn no_two_declarations_have_one_name() {
        let metrics = sections().into_iter().flat_map(|section| section.metrics);
        assert_eq!(check(&mut BTreeMap::new(), metrics), Ok(()));
    }

    #[test]
    fn help_texts_are_statements_that_stand_alone() {
        for Metric { name, help, .. } in declarations().values() {
            let is_sentence = help.ends_with('.') && !help.starts_with(char::is_lowercase);
            assert!(is_sentence, "{name}: {help}");
            for refers in ["The same", "Those ", "Times that it ", "Times it ", "[`", "|"] {
                assert!(!help.contains(refers), "{name}: {help}");
            }
        }
    }
}
