//! Counters on their way out: in come the worker's and the application's, out goes a sheet a few times a second
//! while they change. Never wakes a worker that has nothing else to do, but once.

use super::session::Host;
use crate::hosted::Hosted;
use crate::metrics::{Count, Sheet};
use std::sync::Arc;

/// How old published counters may get.
const PUBLISH_MS: u64 = 250;

/// Brings the counters to the sheet while they change, and once more when they have stopped changing.
pub(super) struct Publisher {
    sheet: Arc<Sheet>,
    counts: Vec<Count>,
    /// When it may be published next.
    pub(super) next_ms: u64,
    /// Something has happened since it was published.
    pub(super) stale: bool,
}

impl Publisher {
    pub(super) fn new(sheet: Arc<Sheet>) -> Publisher {
        Publisher { sheet, counts: Vec::with_capacity(256), next_ms: 0, stale: true }
    }

    pub(super) fn publish_if_due<A: Hosted>(&mut self, host: &mut Host<A>, open: usize) {
        if self.stale && self.next_ms <= host.now_ms {
            self.publish(host, open);
        }
    }

    pub(super) fn publish<A: Hosted>(&mut self, host: &mut Host<A>, open: usize) {
        host.counters.connections_open = open as u64;
        self.counts.clear();
        self.counts.extend(host.counters.iter());
        host.app.publish(&mut |name, value| self.counts.push((name, value)));
        let published = self.sheet.publish(self.counts.iter().copied());
        (self.stale, self.next_ms) = (!published, host.now_ms + PUBLISH_MS);
    }
}
