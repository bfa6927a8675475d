//! Whether workers have connections left: their published gauges in, a reason not to be ready out.

use super::setup::Service;
use crate::hosted::PortNames;
use crate::metrics::{Board, CONNECTIONS_LIMIT, CONNECTIONS_OPEN, Count, Metric};
use crate::readiness::{Readiness, Reason};
use std::sync::Arc;

/// Sets or clears [`Reason::ConnectionsExhausted`], and logs the change. Returns whether
/// connections have just run out.
pub(super) fn check_connections(
    board: &Board,
    readiness: &Readiness,
    services: &[Arc<Service>],
) -> bool {
    let full = board.sheets().into_iter().find_map(|sheet| {
        let what = full(&sheet.read(), services)?;
        Some((sheet, what))
    });
    if !readiness.update(Reason::ConnectionsExhausted, full.is_some()) {
        return false;
    }
    let is_exhausted = full.is_some();
    match full {
        Some((sheet, what)) => {
            tracing::warn!(worker = sheet.label(), "{what}: new clients are refused");
        }
        None => tracing::info!("connections are free again"),
    }
    is_exhausted
}

/// Which connections of a worker are all in use.
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
    use crate::metrics::Sheet;

    #[test]
    fn a_worker_without_connections_for_a_service_is_a_reason_not_to_be_ready() {
        let (board, readiness) = (Board::default(), Readiness::starting());
        readiness.clear(Reason::Starting);
        let setup = crate::config::Serve::resolve(Default::default(), &[0]).unwrap().setup();
        let [http, memcached] = [config::HTTP, config::MEMCACHED].map(PortNames::of);
        let sheets = [Sheet::new("udp"), Sheet::new("kernel 0")];
        sheets.iter().for_each(|sheet| board.add(sheet.clone()));
        for (counts, exhausted) in [
            (vec![(&CONNECTIONS_OPEN, 7), (&CONNECTIONS_LIMIT, 8)], false),
            (vec![(&CONNECTIONS_OPEN, 8), (&CONNECTIONS_LIMIT, 8)], true),
            (vec![], false),
            (vec![(memcached.open, 7), (memcached.limit, 7)], true),
            (vec![(http.open, 6), (http.limit, 7)], false),
            (vec![(http.open, 7), (http.limit, 7)], true),
        ] {
            sheets[1].publish(counts.iter().copied());
            check_connections(&board, &readiness, &setup.services);
            assert_eq!(!readiness.is_ready(), exhausted, "{counts:?}");
        }
    }
}
