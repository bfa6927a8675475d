//! The table of counters in `stack/tcp/counters.md` against the stack: each name that it gives is
//! exported, and each that is exported stands there.

use simoom_tcp::counters::Counters;
use simoom_tcp::drop::Drops;
use std::collections::BTreeSet;

const TABLE: &str = include_str!("../counters.md");
/// Counted by the steering program, not by the stack.
const ELSEWHERE: &[&str] = &["steer_fragments_dropped"];

/// The names in backquotes, of the table's rows.
fn documented() -> BTreeSet<&'static str> {
    let rows = TABLE.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.flat_map(|row| row.split('`').skip(1).step_by(2))
        .filter(|name| !ELSEWHERE.contains(name))
        .collect()
}

#[test]
fn every_documented_counter_is_exported_and_every_exported_one_documented() {
    let (counters, drops) = (Counters::default(), Drops::default());
    let exported: BTreeSet<&str> =
        counters.iter().chain(drops.iter()).map(|(metric, _)| metric.name).collect();
    let documented = documented();
    let unknown: Vec<_> = documented.difference(&exported).collect();
    let missing: Vec<_> = exported.difference(&documented).collect();
    assert!(
        unknown.is_empty() && missing.is_empty(),
        "not exported: {unknown:?}; not in the table: {missing:?}"
    );
}

#[test]
fn names_of_nstat_are_of_its_groups() {
    for row in TABLE.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let names = row.split('|').nth(1).unwrap_or_default().trim();
        let known = |name: &str| {
            ["IpExt", "Ip6", "Ip", "TcpExt", "Tcp", "Icmp6", "Icmp"]
                .iter()
                .any(|group| name.starts_with(group))
        };
        assert!(names == "—" || names.split(", ").all(known), "{row}");
    }
}
