//! The queues of slots whose connections wait for something to do. A slot is in at most one queue
//! of those that may send. Its connection may have ended meanwhile; the caller checks that.

use std::collections::VecDeque;

/// The queues.
#[derive(Debug)]
pub(super) struct Slots {
    /// Connections that have not sent yet.
    fresh: VecDeque<u32>,
    /// Idle connections, the longest idle first.
    resting: VecDeque<u32>,
    /// Whether a slot is in `fresh` or `resting`.
    listed: Vec<bool>,
    /// Slots without a connection.
    unopened: VecDeque<u32>,
}

impl Slots {
    /// The slots 0 to `count` - 1, without connections.
    pub(super) fn new(count: u32) -> Slots {
        Slots {
            fresh: VecDeque::with_capacity(count as usize),
            resting: VecDeque::with_capacity(count as usize),
            listed: vec![false; count as usize],
            unopened: (0..count).collect(),
        }
    }

    /// Whether a connection may send.
    #[inline]
    pub(super) fn has_free(&self) -> bool {
        !(self.fresh.is_empty() && self.resting.is_empty())
    }

    /// Whether a connection that has sent before may send again.
    #[inline]
    pub(super) fn has_resting(&self) -> bool {
        !self.resting.is_empty()
    }

    /// Adds a new connection.
    pub(super) fn begin(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.listed[slot as usize], true) {
            self.fresh.push_back(slot);
        }
    }

    /// Adds a connection whose requests are answered.
    #[inline]
    pub(super) fn rest(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.listed[slot as usize], true) {
            self.resting.push_back(slot);
        }
    }

    /// The next slot to send on: new connections first, and only those if `only_fresh`.
    #[inline]
    pub(super) fn take(&mut self, only_fresh: bool) -> Option<u32> {
        let slot = match self.fresh.pop_front() {
            Some(slot) => slot,
            None if only_fresh => return None,
            None => self.resting.pop_front()?,
        };
        self.listed[slot as usize] = false;
        Some(slot)
    }

    /// The next slot to open.
    pub(super) fn take_unopened(&mut self) -> Option<u32> {
        self.unopened.pop_front()
    }

    /// Returns a slot to the front of those to open.
    pub(super) fn postpone(&mut self, slot: u32) {
        self.unopened.push_front(slot);
    }

    /// Adds a slot whose connection has ended.
    pub(super) fn end(&mut self, slot: u32) {
        self.unopened.push_back(slot);
    }

    /// Whether a slot waits to be opened.
    pub(super) fn has_unopened(&self) -> bool {
        !self.unopened.is_empty()
    }
}
