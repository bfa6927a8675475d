//! Whether workers have connections left: their published gauges in, a reason not to be ready out.

use super::change_log::ChangeLog;
use super::setup::Service;
use crate::handler::PortNames;
use crate::metrics::{Board, Count};
use crate::readiness::{Readiness, Reason};
use std::sync::Arc;
use std::time::Instant;

/// Sets or clears [`Reason::ConnectionsExhausted`], and logs the change, as often as `log` allows.
/// Returns whether connections have just run out.
pub(super) fn check_connections(
    board: &Board,
    readiness: &Readiness,
    services: &[Arc<Service>],
    log: &mut ChangeLog,
    now: Instant,
) -> bool {
    let full = board.sheets().into_iter().find_map(|sheet| {
        let what = full(&sheet.read(), services)?;
        Some((sheet, what))
    });
    let (is_exhausted, is_new) =
        (full.is_some(), readiness.update(Reason::ConnectionsExhausted, full.is_some()));
    match (log.due(is_new, now), full) {
        (Some(suppressed), Some((sheet, what))) => {
            tracing::warn!(worker = sheet.label(), suppressed, "{what}: new clients are refused");
        }
        (Some(suppressed), None) => tracing::info!(suppressed, "connections are free again"),
        (None, _) => {}
    }
    is_exhausted && is_new
}

/// Which connections of a worker are all in use.
fn full(counts: &[Count], services: &[Arc<Service>]) -> Option<String> {
    let value = |name| counts.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let is_full = |open, limit| value(limit).is_some_and(|limit| value(open) >= Some(limit));
    let of = |PortNames { open, limit, .. }| is_full(open, limit);
    if is_full("connections_open", "connections_limit") {
        return Some("all connections are in use (--connections)".into());
    }
    let Service { name, connections_option, .. } =
        &**services.iter().find(|service| of(service.port_names))?;
    Some(format!("all connections of {name} are in use ({connections_option})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Sheet;

    #[test]
    fn a_worker_without_connections_for_a_service_is_a_reason_not_to_be_ready() {
        let (board, readiness) = (Board::default(), Readiness::starting());
        readiness.clear(Reason::Starting);
        let setup = crate::config::Serve::resolve(Default::default(), &[0]).unwrap().setup();
        let sheets = [Sheet::new("udp"), Sheet::new("kernel 0")];
        sheets.iter().for_each(|sheet| board.add(sheet.clone()));
        for (counts, exhausted) in [
            (vec![("connections_open", 7), ("connections_limit", 8)], false),
            (vec![("connections_open", 8), ("connections_limit", 8)], true),
            (vec![], false),
            (vec![("memcached_connections_open", 7), ("memcached_connections_limit", 7)], true),
            (vec![("http_connections_open", 6), ("http_connections_limit", 7)], false),
            (vec![("http_connections_open", 7), ("http_connections_limit", 7)], true),
        ] {
            sheets[1].publish(counts.iter().copied());
            let log = &mut ChangeLog::default();
            check_connections(&board, &readiness, &setup.services, log, Instant::now());
            assert_eq!(!readiness.is_ready(), exhausted, "{counts:?}");
        }
    }
}
