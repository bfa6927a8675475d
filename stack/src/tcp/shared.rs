//! What the connections of a worker share: pools, wheel, counters, and the lists of those that have something to do.

use super::Hot;
use super::Marks;
use crate::application::Closed;
use crate::config::Config;
use crate::counters::Counters;
use crate::drop::{DropReason, Drops};
use crate::keyed::Keyed;
use crate::neighbour::Neighbours;
use crate::path_mtu::Paths;
use crate::timer::{Tick, Wheel};
use crate::{flight, keep, reassembly, send};
use smoltcp::time::Instant;
use std::collections::VecDeque;

/// What all connections of a worker share.
pub(crate) struct Shared<B> {
    pub(crate) config: Config,
    pub(crate) now: Instant,
    pub(crate) tick: Tick,
    pub(crate) send: send::Pool<B>,
    pub(crate) keep: keep::Pool,
    pub(crate) reassembly: reassembly::Pool,
    pub(crate) flight: flight::Pool,
    /// Bytes by which receive windows can still be widened.
    pub(crate) window_budget: u64,
    pub(crate) paths: Paths,
    pub(crate) wheel: Wheel,
    pub(crate) neighbours: Neighbours,
    /// Connections for the next flush to look at; each at most once, so the list never grows.
    pub(crate) ready: Vec<u32>,
    /// Connections whose application waits for the send pool; each at most once.
    pub(crate) waiting: VecDeque<u32>,
    /// Challenge ACKs (RFC 5961 §7).
    pub(crate) challenges: Budget,
    /// Resets for segments without a connection.
    pub(crate) resets: Budget,
    pub(crate) counters: Counters,
    pub(crate) drops: Drops,
}

/// A limit per second, for answers that a stranger can provoke. How many there are varies from second to second
/// between half as many and half as many more, so that a stranger who sees the limit reached cannot tell how many
/// answers others got (CVE-2016-5696).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    keyed: Keyed,
    per_second: u32,
    left: u32,
    until: Tick,
}

impl Budget {
    pub(crate) fn new(per_second: u32, keyed: Keyed) -> Budget {
        Budget { keyed, per_second, left: 0, until: Tick::NEVER }
    }

    /// Takes one; `false` if this second's are used up.
    pub(crate) fn take(&mut self, now: Tick) -> bool {
        if self.until == Tick::NEVER || self.until.is_due(now) {
            let half = self.per_second.div_ceil(2);
            self.left = half + self.keyed.below(self.per_second + 1, now.millis());
            self.until = now.plus(1000);
        }
        let allowed = self.left > 0;
        self.left -= u32::from(allowed);
        allowed
    }
}

impl<B> Shared<B> {
    /// The time in microseconds modulo 2³².
    #[inline]
    pub(crate) fn now_us(&self) -> u32 {
        self.now.total_micros() as u32
    }
}

impl<B: send::Blob> Shared<B> {
    /// Puts a connection on the list for the next flush.
    #[inline]
    pub(crate) fn make_ready(&mut self, hot: &mut Hot, id: u32) {
        if !hot.marks.has(Marks::READY) {
            hot.marks.set(Marks::READY);
            self.ready.push(id);
        }
    }

    /// Counts a connection that is over.
    pub(crate) fn count_closed(&mut self, how: Closed) {
        let counters = &mut self.counters;
        let counter = match how {
            Closed::Finished => &mut counters.closed_finished,
            Closed::ResetByPeer => &mut counters.closed_reset_by_peer,
            Closed::TimedOut => &mut counters.closed_timed_out,
            Closed::Refused => &mut counters.closed_refused,
            Closed::Unreachable => &mut counters.closed_unreachable,
            Closed::Aborted => &mut counters.closed_aborted,
        };
        *counter += 1;
    }

    /// Counts a dropped segment.
    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.drops.note(reason);
    }
}
