//! Every metric that a server exports is on the page `metrics` of the guide, with its type and
//! meaning, and Prometheus' own tool finds nothing to say about it.

use crate::TEST_TIMEOUT;
use crate::common::{need_program, wait_until};
use crate::over_all;
use crate::site::{Plan, Transport};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

const PAGE: &str = include_str!("../../src/guide/metrics.md");
/// Sections of metrics that `simoom serve` does not export.
const OF_HANDLERS: [&str; 2] = ["Routers", "Handlers of frames"];

/// The rows of the page's tables, without those of the sections in `but`: the type and the meaning
/// by name.
fn documented(but: &[&str]) -> BTreeMap<&'static str, (&'static str, &'static str)> {
    let sections = PAGE.split("\n## ");
    let sections = sections.filter(|section| !but.iter().any(|title| section.starts_with(title)));
    let rows = sections.flat_map(str::lines).filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim));
    cells
        .filter_map(|mut cells| {
            let name = cells.next()?.trim_matches('`');
            let kind = cells.next()?.split(',').next()?;
            Some((name, (kind, cells.next()?)))
        })
        .collect()
}

/// The metrics by their names without prefix and suffix: the type and the help text.
fn exported(metrics: &str) -> BTreeMap<&str, (&str, &str)> {
    let heads: Vec<&str> = metrics.lines().filter(|line| line.starts_with("# ")).collect();
    let pairs = heads.chunks(2).map(|pair| {
        let of = |what| pair.iter().find_map(|line| line.strip_prefix(what)?.split_once(' '));
        let (help, kind) = (of("# HELP simoom_"), of("# TYPE simoom_"));
        let ((name, help), (same, kind)) = help.zip(kind).unwrap_or_else(|| panic!("{pair:?}"));
        assert_eq!(name, same);
        (name.strip_suffix("_total").unwrap_or(name), (kind, help))
    });
    pairs.collect()
}

/// The metrics of a server over `transport`, all of whose threads have published.
fn of_server(transport: Transport) -> Option<String> {
    let plan = Plan::new(transport).with("--memcached 11211 --memcached-udp 11211");
    let site = plan.start()?;
    let mut written_by = vec!["wait_calls", "udp_received", "memcached_curr_items", "link_losses"];
    if transport == Transport::Xdp {
        written_by.extend(["rx_frames", "steer_no_socket"]);
    }
    let all =
        |metrics: &str| written_by.iter().all(|name| metrics.contains(&format!("simoom_{name}")));
    wait_until("all threads have published", TEST_TIMEOUT, || all(&site.metrics()));
    let answer = site.metrics();
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    Some(body.to_owned())
}

over_all!(every_metric_is_documented_with_its_type_and_meaning, promtool_accepts_the_metrics,);

fn every_metric_is_documented_with_its_type_and_meaning(transport: Transport) {
    let Some(metrics) = of_server(transport) else { return };
    let (page, exported) = (documented(&[]), exported(&metrics));
    for (name, is) in &exported {
        assert_eq!(page.get(name), Some(is), "{name}");
    }
    if transport == Transport::Xdp {
        let page: BTreeSet<&str> = documented(&OF_HANDLERS).into_keys().collect();
        let unknown: Vec<_> = page.iter().filter(|name| !exported.contains_key(*name)).collect();
        assert!(unknown.is_empty(), "the page names what is not exported: {unknown:?}");
    }
}

fn promtool_accepts_the_metrics(transport: Transport) {
    if !need_program("promtool") {
        return;
    }
    let Some(metrics) = of_server(transport) else { return };
    let (stdin, stdout) = (Stdio::piped(), Stdio::piped());
    let mut tool = Command::new("promtool");
    tool.args(["check", "metrics"]).stdin(stdin).stdout(stdout).stderr(Stdio::piped());
    let mut tool = tool.spawn().expect("promtool starts");
    // It reads everything before it reports.
    tool.stdin.take().expect("piped").write_all(metrics.as_bytes()).expect("promtool reads");
    let outcome = tool.wait_with_output().expect("promtool ends");
    assert!(outcome.status.success(), "{outcome:?}");
}
