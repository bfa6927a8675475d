//! All counters in the text exposition format of Prometheus.

use super::Source;
use crate::listening::Listening;
use crate::readiness::Reason;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// The names of the gauges. All others are counters.
const GAUGES: &[&str] = &[
    "connections_open",
    "connections_limit",
    "http_connections_open",
    "http_connections_limit",
    "memcached_connections_open",
    "memcached_connections_limit",
    "memcached_curr_items",
    "memcached_bytes",
    "memcached_limit_maxbytes",
    "memcached_frames",
    "memcached_frames_free",
    "memcached_frames_table",
    "memcached_frames_limbo",
    "memcached_frames_pinned",
    "memcached_reserved_bytes",
    "memcached_hash_places",
];

/// The samples, grouped by name as the format requires, each once.
pub(super) fn exposition(source: &Source) -> String {
    let mut text = readiness(source) + &listening(source);
    let panics = source.panics.load(Ordering::Relaxed);
    let _ = writeln!(text, "# TYPE simoom_admin_panics_total counter");
    let _ = writeln!(text, "simoom_admin_panics_total {panics}");
    let mut names: Vec<&'static str> = Vec::new();
    let mut samples: HashMap<&'static str, String> = HashMap::new();
    for snapshot in source.registry.snapshots() {
        let worker = escaped(snapshot.label());
        let mut seen = HashSet::new();
        for (name, value) in snapshot.read() {
            // Prometheus rejects a whole scrape if one sample occurs twice.
            if !seen.insert(name) {
                debug_assert!(false, "{name} is published twice by {worker}");
                continue;
            }
            let is_gauge = GAUGES.contains(&name) || source.registry.is_gauge(name);
            let (kind, suffix) = if is_gauge { ("gauge", "") } else { ("counter", "_total") };
            let lines = samples.entry(name).or_insert_with(|| {
                names.push(name);
                format!("# TYPE simoom_{name}{suffix} {kind}\n")
            });
            let _ = writeln!(lines, "simoom_{name}{suffix}{{worker=\"{worker}\"}} {value}");
        }
    }
    text.extend(names.iter().map(|name| samples[name].as_str()));
    text
}

/// A sample for each reason of not being ready: 1 while it holds.
fn readiness(source: &Source) -> String {
    let mut text = "# TYPE simoom_not_ready gauge\n".to_owned();
    let holding: Vec<Reason> = source.readiness.reasons().collect();
    for reason in Reason::ALL {
        let value = u8::from(holding.contains(&reason));
        let _ = writeln!(text, "simoom_not_ready{{reason=\"{reason}\"}} {value}");
    }
    text
}

/// A sample of 1 for each service at each address.
fn listening(source: &Source) -> String {
    let places = source.listeners.all();
    let mut text = String::new();
    for (index, Listening { service, protocol, address, via }) in places.iter().enumerate() {
        if index == 0 {
            text.push_str("# TYPE simoom_listening gauge\n");
        }
        let _ = writeln!(
            text,
            "simoom_listening{{service=\"{service}\",protocol=\"{protocol}\",address=\"{address}\",via=\"{via}\"}} 1"
        );
    }
    text
}

/// Escapes the value of a label.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
