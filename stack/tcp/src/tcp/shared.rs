//! What the connections of a worker share: pools, timer wheel, counters, and the lists of
//! connections with work to do.

use super::congestion::Controllers;
use super::{ConnFlags, Hot};
use crate::config::Config;
use crate::counters::Counters;
use crate::drop::{DropReason, Drops};
use crate::neighbour::Neighbours;
use crate::path_mtu::Paths;
use crate::rate_limit::{RateLimiter, Response};
use crate::{flight, reassembly};
use simoom_io::application::Closed;
use simoom_io::timer::{Tick, Wheel};
use simoom_io::{input, send};
use smoltcp::time::Instant;
use std::collections::VecDeque;

/// What all connections of a worker share.
pub(crate) struct Shared<B> {
    pub(crate) config: Config,
    pub(crate) now: Instant,
    pub(crate) tick: Tick,
    pub(crate) send: send::Pool<B>,
    pub(crate) inputs: Inputs,
    pub(crate) flight: flight::Pool,
    pub(crate) controllers: Controllers,
    /// Bytes by which receive windows can still grow.
    pub(crate) window_budget: u64,
    pub(crate) paths: Paths,
    pub(crate) wheel: Wheel,
    pub(crate) neighbours: Neighbours,
    /// Connections that the next flush visits. Each is listed at most once, so the list never
    /// reallocates.
    pub(crate) ready: Vec<u32>,
    /// Connections whose application waits for the send pool. Each is listed at most once.
    pub(crate) waiting: VecDeque<u32>,
    /// Connections whose application has yielded. Each is listed at most once.
    pub(crate) yielded: VecDeque<u32>,
    pub(crate) rate_limiter: RateLimiter,
    /// The number of connections opened, which identifies each.
    pub(crate) opened: u32,
    pub(crate) counters: Counters,
    pub(crate) drops: Drops,
}

/// Memory for input that the application has not consumed.
pub(crate) struct Inputs {
    pub(crate) buffers: input::Pool,
    /// Blocks behind full buffers, and of text ahead of a gap.
    pub(crate) reassembly: reassembly::Pool,
    /// Scratch buffer in which input from several buffers is joined: [`input::LARGE_BYTES`].
    pub(crate) scratch: Box<[u8]>,
    /// Whether input found no memory since the last flush.
    pub(crate) short: bool,
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
        if !hot.flags.has(ConnFlags::READY) {
            hot.flags.set(ConnFlags::READY);
            self.ready.push(id);
        }
    }

    /// Adds a connection to the list of connections that continue in the next iteration.
    #[cold]
    pub(crate) fn make_yielded(&mut self, hot: &mut Hot, id: u32) {
        if !hot.flags.has(ConnFlags::YIELDED) {
            hot.flags.set(ConnFlags::YIELDED);
            self.yielded.push_back(id);
        }
        self.counters.shares_used_up += 1;
    }

    /// Adds a connection to the queue for send capacity. Returns false if it was there already.
    pub(crate) fn make_waiting(&mut self, hot: &mut Hot, id: u32) -> bool {
        if hot.queue.is_empty() {
            self.send.refuse_newcomers(true);
        }
        let is_new = !hot.flags.has(ConnFlags::WAITING);
        if is_new {
            hot.flags.set(ConnFlags::WAITING);
            self.waiting.push_back(id);
        }
        is_new
    }

    /// Counts a closed connection.
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

    /// Whether the rate limit lets a response of this kind out. Counts a suppressed response.
    pub(crate) fn may_respond(&mut self, kind: Response) -> bool {
        self.rate_limiter.take(kind, self.tick, &mut self.counters)
    }

    /// Counts a dropped segment.
    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.drops.note(reason);
    }
}
