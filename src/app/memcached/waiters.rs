//! The queue of requests that wait until readers release items, and the waiting time of the first.
//!
//! Each request retries at its own deadline. The first [`FIRST`] requests of the queue may then pin
//! items if the store permits. Later requests stay behind them. So at most [`FIRST`] requests
//! overtake a request, and requests served at the same time need not wait for each other. The
//! retries of the first request are the clock of the queue.

use super::connection_table::TableSlot;
use std::collections::VecDeque;

/// Retry interval of a waiting request.
pub(super) const POLL_MS: u64 = 20;
/// Requests at the head of the queue that may proceed in any order.
const FIRST: usize = 16;

#[derive(Debug)]
struct Waiter {
    /// The connection's slot in the connection table.
    slot: u32,
    /// The clock of the queue when the request arrived.
    since: u32,
}

/// The queue of one worker.
#[derive(Debug)]
pub(super) struct Waiters {
    queue: VecDeque<Waiter>,
    /// Retries of first requests, modulo 2³².
    polls: u32,
    /// Readers that were reset. Each lets one request of the queue proceed.
    resets: usize,
}

impl Waiters {
    pub(super) fn new(connections: usize) -> Waiters {
        Waiters { queue: VecDeque::with_capacity(connections), polls: 0, resets: 0 }
    }

    /// Bytes of memory that [`Waiters::new`] takes.
    pub(super) const fn memory_bytes(connections: usize) -> usize {
        connections * size_of::<Waiter>()
    }

    /// Whether the connection at `slot` may pin items although others wait.
    #[inline]
    pub(super) fn may_pass(&self, slot: Option<&TableSlot>) -> bool {
        self.queue.is_empty() || self.is_among_first(slot)
    }

    #[cold]
    fn is_among_first(&self, slot: Option<&TableSlot>) -> bool {
        let is_at = |waiter: &Waiter| slot.is_some_and(|slot| slot.number() == waiter.slot);
        self.queue.iter().take(FIRST).any(is_at)
    }

    /// Adds the request of the connection at `slot`.
    pub(super) fn enter(&mut self, slot: &TableSlot) {
        self.queue.push_back(Waiter { slot: slot.number(), since: self.polls });
    }

    /// Records a retry of the request of the connection at `slot`.
    pub(super) fn poll(&mut self, slot: &TableSlot) {
        if self.queue.front().is_some_and(|first| first.slot == slot.number()) {
            self.polls = self.polls.wrapping_add(1);
        }
    }

    /// Removes the request of the connection at `slot`.
    pub(super) fn leave(&mut self, slot: &TableSlot) {
        if let Some(at) = self.queue.iter().position(|waiter| waiter.slot == slot.number()) {
            self.queue.remove(at);
            self.resets = self.resets.saturating_sub(1).min(self.queue.len());
        }
    }

    /// Records that a reader was reset for a waiting request.
    pub(super) fn make_space(&mut self) {
        self.resets += 1;
    }

    /// Waiting time of the first request without a reset reader; 0 if there is none. While memory
    /// is short, the resets so far were not enough.
    pub(super) fn waited_ms(&self, is_short: bool) -> u64 {
        let next = self.queue.get(if is_short { 0 } else { self.resets });
        u64::from(next.map_or(0, |next| self.polls.wrapping_sub(next.since))) * POLL_MS
    }
}
