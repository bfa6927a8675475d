//! Every metric that a server exports is documented: on the page `metrics` of the guide, or in the
//! table of the stack's counters.

use crate::PATIENCE;
use crate::common::wait_until;
use crate::over_all;
use crate::site::{Plan, Transport};
use std::collections::BTreeSet;

const METRICS: &str = include_str!("../../src/guide/metrics.md");
const STACK: &str = include_str!("../../stack/tcp/counters.md");

/// The names in backquotes in the first column of a table.
fn first_column(page: &str) -> BTreeSet<&str> {
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2))
        .collect()
}

/// The names of the metrics, without prefix and suffix, each with its type.
fn exported(metrics: &str) -> BTreeSet<(&str, &str)> {
    let types =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE simoom_")?.split_once(' '));
    types.map(|(name, kind)| (name.strip_suffix("_total").unwrap_or(name), kind)).collect()
}

/// The names of the page that are gauges.
fn gauges() -> BTreeSet<&'static str> {
    let rows = METRICS.lines().filter(|line| line.starts_with("| `") && line.contains("| G. "));
    rows.flat_map(first_column).collect()
}

over_all!(every_metric_is_documented_with_its_type);

fn every_metric_is_documented_with_its_type(transport: Transport) {
    let plan = Plan::new(transport).with("--memcached 11211 --memcached-udp 11211");
    let Some(site) = plan.start() else { return };
    let mut written_by = vec!["wait_calls", "udp_received", "memcached_curr_items", "link_losses"];
    if transport == Transport::Xdp {
        written_by.extend(["rx_frames", "steer_no_socket"]);
    }
    let all =
        |metrics: &str| written_by.iter().all(|name| metrics.contains(&format!("simoom_{name}")));
    wait_until("all threads have published", PATIENCE, || all(&site.metrics()));

    let metrics = site.metrics();
    let (page, gauges) = (first_column(METRICS), gauges());
    let stack: BTreeSet<&str> = STACK.split('`').skip(1).step_by(2).collect();
    let exported = exported(&metrics);
    for (name, kind) in &exported {
        assert!(page.contains(name) || stack.contains(name), "{name} is in no table");
        assert_eq!(*kind == "gauge", gauges.contains(name), "{name} is a {kind}");
    }
    if transport == Transport::Xdp {
        let names: BTreeSet<&str> = exported.iter().map(|(name, _)| *name).collect();
        let unknown: Vec<_> = page.difference(&names).collect();
        assert!(unknown.is_empty(), "the page names what is not exported: {unknown:?}");
    }
}
