//! Checks the published gauges of workers for exhausted connections, a reason not to be ready.

use super::change_log::ChangeLog;
use crate::handler::PortNames;
use crate::metrics::{CONNECTIONS_LIMIT, CONNECTIONS_OPEN, Count, Metric, Registry};
use crate::readiness::{Readiness, Reason};
use crate::setup::Service;
use std::sync::Arc;
use std::time::Instant;

/// Sets or clears [`Reason::ConnectionsExhausted`] and logs the change, limited by `log`. Returns
/// whether connections have just been exhausted.
pub(super) fn check_connections(
    registry: &Registry,
    readiness: &Readiness,
    services: &[Arc<Service>],
    log: &mut ChangeLog,
    now: Instant,
) -> bool {
    let full = registry.snapshots().into_iter().find_map(|snapshot| {
        let what = full(&snapshot.read(), services)?;
        Some((snapshot, what))
    });
    let (is_exhausted, is_new) =
        (full.is_some(), readiness.update(Reason::ConnectionsExhausted, full.is_some()));
    match (log.due(is_new, now), full) {
        (Some(suppressed), Some((snapshot, what))) => {
            tracing::warn!(
                worker = snapshot.label(),
                suppressed,
                "{what}: new clients are refused"
            );
        }
        (Some(suppressed), None) => tracing::info!(suppressed, "connections are free again"),
        (None, _) => {}
    }
    is_exhausted && is_new
}

/// Describes the exhausted connections of a worker.
fn full(counts: &[Count], services: &[Arc<Service>]) -> Option<String> {
    let value =
        |name: &Metric| counts.iter().find(|(known, _)| **known == *name).map(|(_, value)| *value);
    let is_full = |open: &Metric, limit: &Metric| {
        value(limit).is_some_and(|limit| value(open) >= Some(limit))
    };
    let of = |PortNames { open, limit, .. }| is_full(open, limit);
    if is_full(&CONNECTIONS_OPEN, &CONNECTIONS_LIMIT) {
        return Some("all connections are in use (--connections)".into());
    }
    let Service { name, connections_option, .. } =
        &**services.iter().find(|service| of(service.port_names))?;
    Some(format!("all connections of {name} are in use ({connections_option})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::metrics::Snapshot;

    #[test]
    fn a_worker_without_connections_for_a_service_is_a_reason_not_to_be_ready() {
        let (registry, readiness) = (Registry::default(), Readiness::starting());
        readiness.clear(Reason::Starting);
        let setup = crate::config::Serve::resolve(Default::default(), &[0]).unwrap().setup();
        let [http, memcached] = [config::HTTP, config::MEMCACHED].map(PortNames::of);
        let snapshots = [Snapshot::new("udp"), Snapshot::new("kernel 0")];
        snapshots.iter().for_each(|snapshot| registry.add(snapshot.clone()));
        for (counts, exhausted) in [
            (vec![(&CONNECTIONS_OPEN, 7), (&CONNECTIONS_LIMIT, 8)], false),
            (vec![(&CONNECTIONS_OPEN, 8), (&CONNECTIONS_LIMIT, 8)], true),
            (vec![], false),
            (vec![(memcached.open, 7), (memcached.limit, 7)], true),
            (vec![(http.open, 6), (http.limit, 7)], false),
            (vec![(http.open, 7), (http.limit, 7)], true),
        ] {
            snapshots[1].publish(counts.iter().copied());
            let log = &mut ChangeLog::default();
            check_connections(&registry, &readiness, &setup.services, log, Instant::now());
            assert_eq!(!readiness.is_ready(), exhausted, "{counts:?}");
        }
    }
}
