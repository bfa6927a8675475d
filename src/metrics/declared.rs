//! Declarations of metrics whose names are known only when a server starts, and the check that no
//! name is declared twice.

use super::{Metric, interned};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Connections in use, of one worker.
pub(crate) static CONNECTIONS_OPEN: Metric =
    Metric::new("connections_open", "Open connections.").gauge();

/// Connections that one worker can hold.
pub(crate) static CONNECTIONS_LIMIT: Metric =
    Metric::new("connections_limit", "Upper bound of the open connections.").gauge();

/// `metric` for as long as the process runs. A declaration is stored once.
pub(crate) fn declared(metric: Metric) -> &'static Metric {
    static ALL: Mutex<BTreeMap<&'static str, Vec<&'static Metric>>> = Mutex::new(BTreeMap::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    let same_name = all.entry(metric.name).or_default();
    if let Some(known) = same_name.iter().find(|known| ***known == metric) {
        return known;
    }
    let metric: &'static Metric = Box::leak(Box::new(metric));
    same_name.push(metric);
    metric
}

/// The metric of a service that is called `name_what`, and of which `help` is said.
pub(crate) fn of_service(name: &str, what: &str, help: &str) -> Metric {
    let help = interned(&format!("{help} of the service {name}."));
    Metric::new(interned(&format!("{}_{what}", name.to_ascii_lowercase())), help)
}

/// Adds `metrics` to those that are known by their names. Refuses one that `known` holds with
/// another declaration, and one that Prometheus would refuse. Handlers may share a declaration:
/// their values are added up.
pub(crate) fn check(
    known: &mut BTreeMap<&'static str, Metric>,
    metrics: impl IntoIterator<Item = Metric>,
) -> Result<(), String> {
    for metric in metrics {
        let Metric { name, kind, help, .. } = metric;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_word) {
            return Err(format!("metric {name:?}: a name consists of letters, digits and _"));
        }
        if help.is_empty() {
            return Err(format!("metric {name}: declare a help text"));
        }
        let first = known.entry(name).or_insert(metric);
        if *first != metric {
            let Metric { kind: other, help: other_help, .. } = *first;
            return Err(format!(
                "metric {name}: declared twice, as {other} {other_help:?} and as {kind} {help:?}; \
                 give each metric a name of its own"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HITS: Metric = Metric::new("hits", "Hits.");

    fn refused(metrics: [Metric; 2]) -> String {
        check(&mut BTreeMap::new(), metrics).unwrap_err()
    }

    #[test]
    fn a_name_is_declared_once_and_may_be_shared() {
        assert_eq!(check(&mut BTreeMap::new(), [HITS, HITS]), Ok(()));
        let error = refused([HITS, HITS.gauge()]);
        assert!(error.contains(r#"as counter "Hits." and as gauge "Hits.""#), "{error}");
        let error = refused([HITS, Metric::new("hits", "Others.")]);
        assert!(error.contains(r#"as counter "Hits." and as counter "Others.""#), "{error}");
    }

    #[test]
    fn names_and_help_texts_that_prometheus_refuses_are_refused() {
        let error = refused([HITS, Metric::new("cache-hits", "Hits.")]);
        assert!(error.starts_with("metric \"cache-hits\": a name consists of"), "{error}");
        let error = refused([HITS, Metric::new("mute", " ")]);
        assert_eq!(error, "metric mute: declare a help text");
    }

    #[test]
    fn a_declaration_is_stored_once() {
        assert!(std::ptr::eq(declared(HITS), declared(HITS)));
        assert_eq!(*declared(HITS.gauge()), HITS.gauge());
    }
}
