//! The queue of requests that wait until readers release items, and the waiting time of the first.
//!
//! Each request retries at its own deadline. The first [`FIRST`] requests of the queue may then pin
//! items if the store permits, so requests served at the same time need not wait for each other.
//! Later requests stay behind them. The retries of the first request are the clock of the queue.
//!
//! Peers take turns (fair queueing): the queue holds the first request of each peer, then the
//! second of each, and so on. The peers of the first [`FIRST`] requests share these equally, and at
//! most that share of a peer overtakes a request. So a peer with many connections cannot delay a
//! peer with few.

use super::connection_table::TableSlot;
use super::peers::Peer;
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
    /// The turn of this request, modulo 2³². In ascending order; a peer has at most one request in
    /// each turn.
    turn: u32,
    peer: Peer,
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

    /// Whether no request waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the connection at `slot` may pin items although others wait.
    #[inline]
    pub(super) fn may_pass(&self, slot: Option<&TableSlot>) -> bool {
        self.is_empty() || self.is_among_first(slot)
    }

    #[cold]
    fn is_among_first(&self, slot: Option<&TableSlot>) -> bool {
        let current = self.queue.front().map_or(0, |first| first.turn);
        let turns = (FIRST / self.peers_among_first().max(1)) as u32;
        let is_at = |waiter: &Waiter| slot.is_some_and(|slot| slot.number() == waiter.slot);
        let mut first = self.queue.iter().take(FIRST);
        first.any(|waiter| is_at(waiter) && waiter.turn.wrapping_sub(current) < turns)
    }

    fn peers_among_first(&self) -> usize {
        let first = || self.queue.iter().take(FIRST).enumerate();
        let is_new = |at, peer| first().take(at).all(|(_, earlier)| earlier.peer != peer);
        first().filter(|(at, waiter)| is_new(*at, waiter.peer)).count()
    }

    /// Adds the request of the connection at `slot` to the next turn of `peer`.
    pub(super) fn enter(&mut self, slot: &TableSlot, peer: Peer) {
        let current = self.queue.front().map_or(0, |first| first.turn);
        let last = self.queue.iter().rev().find(|waiter| waiter.peer == peer);
        let turn = last.map_or(current, |last| last.turn.wrapping_add(1));
        let ahead = turn.wrapping_sub(current);
        let at = self.queue.partition_point(|waiter| waiter.turn.wrapping_sub(current) <= ahead);
        self.queue.insert(at, Waiter { slot: slot.number(), since: self.polls, turn, peer });
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The hosts of the queue, after requests from `hosts` in this order.
    fn order(waiters: &mut Waiters, hosts: &str) -> String {
        let slots: Vec<TableSlot> = (1..).map(TableSlot::numbered).take(hosts.len()).collect();
        for (slot, host) in slots.iter().zip(hosts.chars()) {
            waiters.enter(slot, Peer::numbered(host as u16));
        }
        let host = |waiter: &Waiter| hosts.as_bytes()[waiter.slot as usize - 1] as char;
        waiters.queue.iter().map(host).collect()
    }

    #[test]
    fn peers_take_turns() {
        for (arrived, served) in [
            ("", ""),
            ("aaa", "aaa"),
            ("aaab", "abaa"),
            ("aaabb", "ababa"),
            ("aaabbbb", "abababb"),
            ("aabcc", "abcac"),
            ("abcabc", "abcabc"),
        ] {
            assert_eq!(order(&mut Waiters::new(8), arrived), served, "{arrived}");
        }
    }
}
