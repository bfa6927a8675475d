//! Requests that wait until readers release items: the line in which they stand, and for how long
//! the first one has waited.
//!
//! Each is offered again by its own deadline. The first [`FIRST`] of the line may then hold an item
//! if the store lets them; what comes later stands behind them. So nobody is overtaken by more than
//! [`FIRST`] others, and those that are served in the same moment need not wait for each other.
//! The first one's polls are the clock of the line.

use super::connection_table::TableSlot;
use std::collections::VecDeque;

/// A request that waits is offered again after this.
pub(super) const POLL_MS: u64 = 20;
/// How many of the line may go on in any order.
const FIRST: usize = 16;

#[derive(Debug)]
struct Waiter {
    /// The place of its connection in the roster.
    place: u32,
    /// The clock of the line when it came.
    since: u32,
}

/// The line of one worker.
#[derive(Debug)]
pub(super) struct Waiters {
    line: VecDeque<Waiter>,
    /// Polls of the one that was first, modulo 2³².
    polls: u32,
    /// Readers that were reset, for each of which one of the line may go on.
    resets: usize,
}

impl Waiters {
    pub(super) fn new(connections: usize) -> Waiters {
        Waiters { line: VecDeque::with_capacity(connections), polls: 0, resets: 0 }
    }

    /// Bytes of memory that [`Waiters::new`] takes.
    pub(super) const fn memory_bytes(connections: usize) -> usize {
        connections * size_of::<Waiter>()
    }

    /// Whether the connection at `place` may hold items although others wait.
    #[inline]
    pub(super) fn may_pass(&self, place: Option<&TableSlot>) -> bool {
        self.line.is_empty() || self.is_among_first(place)
    }

    #[cold]
    fn is_among_first(&self, place: Option<&TableSlot>) -> bool {
        let is_at = |waiter: &Waiter| place.is_some_and(|place| place.number() == waiter.place);
        self.line.iter().take(FIRST).any(is_at)
    }

    /// The request of the connection at `place` begins to wait.
    pub(super) fn enter(&mut self, place: &TableSlot) {
        self.line.push_back(Waiter { place: place.number(), since: self.polls });
    }

    /// The request of the connection at `place` is offered again.
    pub(super) fn poll(&mut self, place: &TableSlot) {
        if self.line.front().is_some_and(|first| first.place == place.number()) {
            self.polls = self.polls.wrapping_add(1);
        }
    }

    /// The request of the connection at `place` waits no more.
    pub(super) fn leave(&mut self, place: &TableSlot) {
        if let Some(at) = self.line.iter().position(|waiter| waiter.place == place.number()) {
            self.line.remove(at);
            self.resets = self.resets.saturating_sub(1).min(self.line.len());
        }
    }

    /// A reader is reset for one that waits.
    pub(super) fn make_space(&mut self) {
        self.resets += 1;
    }

    /// For how long the first one has waited for which no reader was reset; 0 if there is none.
    /// While memory is short, what was reset was not enough.
    pub(super) fn waited_ms(&self, is_short: bool) -> u64 {
        let next = self.line.get(if is_short { 0 } else { self.resets });
        u64::from(next.map_or(0, |next| self.polls.wrapping_sub(next.since))) * POLL_MS
    }
}
