//! All counters in the text exposition format of Prometheus.

use super::Source;
use crate::listening::Listening;
use crate::metrics::Metric;
use crate::readiness::Reason;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// What the admin endpoint exports by itself.
pub(crate) static METRICS: [Metric; 3] = [
    Metric::new("not_ready", "1 for each reason not to be ready, in the label `reason`.").gauge(),
    Metric::new(
        "listening",
        "1 for each service and address, in the labels `service`, `protocol`, `address`, `via`.",
    )
    .gauge(),
    Metric::new("admin_panics", "Panics of the admin endpoint; report each one."),
];

/// The samples, grouped by name as the format requires, each once.
pub(super) fn exposition(source: &Source) -> String {
    let [not_ready, listens, panics] = &METRICS;
    let mut text = readiness(not_ready, source) + &listening(listens, source) + &head(panics);
    let Metric { name, kind, .. } = panics;
    let value = source.panics.load(Ordering::Relaxed);
    let _ = writeln!(text, "simoom_{name}{} {value}", kind.suffix());
    let mut names: Vec<&'static str> = Vec::new();
    let mut samples: HashMap<&'static str, String> = HashMap::new();
    for snapshot in source.registry.snapshots() {
        let worker = escaped(snapshot.label());
        for (metric, value) in snapshot.read() {
            #[cfg(test)]
            assert!(metric.name != "panics", "a test asked for it");
            let lines = samples.entry(metric.name).or_insert_with(|| {
                names.push(metric.name);
                head(metric)
            });
            let Metric { name, kind, .. } = metric;
            let suffix = kind.suffix();
            let _ = writeln!(lines, "simoom_{name}{suffix}{{worker=\"{worker}\"}} {value}");
        }
    }
    text.extend(names.iter().map(|name| samples[name].as_str()));
    text
}

/// The lines before the samples of a metric.
fn head(metric: &Metric) -> String {
    let Metric { name, kind, help, .. } = metric;
    let (suffix, help) = (kind.suffix(), help.replace('\\', "\\\\").replace('\n', "\\n"));
    format!("# HELP simoom_{name}{suffix} {help}\n# TYPE simoom_{name}{suffix} {kind}\n")
}

/// A sample for each reason not to be ready: 1 while it holds.
fn readiness(metric: &Metric, source: &Source) -> String {
    let mut text = head(metric);
    let holding: Vec<Reason> = source.readiness.reasons().collect();
    for reason in Reason::ALL {
        let value = u8::from(holding.contains(&reason));
        let _ = writeln!(text, "simoom_{}{{reason=\"{reason}\"}} {value}", metric.name);
    }
    text
}

/// A sample of 1 for each service at each address.
fn listening(metric: &Metric, source: &Source) -> String {
    let places = source.listeners.all();
    let mut text = String::new();
    for (index, Listening { service, protocol, address, via }) in places.iter().enumerate() {
        if index == 0 {
            text.push_str(&head(metric));
        }
        let _ = writeln!(
            text,
            "simoom_{}{{service=\"{service}\",protocol=\"{protocol}\",address=\"{address}\",via=\"{via}\"}} 1",
            metric.name
        );
    }
    text
}

/// Escapes the value of a label.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
