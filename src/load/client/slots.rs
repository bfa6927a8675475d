//! Which connections wait for something to do, and in which order. Knows slots alone, not what they
//! stand for.
//!
//! A slot is on at most one list of those that may send. It may be found there although its
//! connection has ended meanwhile: who takes it looks.

use std::collections::VecDeque;

/// The lists.
#[derive(Debug)]
pub(super) struct Slots {
    /// Those whose connections have not sent anything yet.
    fresh: VecDeque<u32>,
    /// Those whose connections rest, the longest first.
    resting: VecDeque<u32>,
    /// Whether a slot is on one of these two.
    listed: Vec<bool>,
    /// Those without a connection.
    unopened: VecDeque<u32>,
}

impl Slots {
    /// The slots 0 to `count` - 1, none of them with a connection.
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

    /// Whether any connection has sent before and may again.
    #[inline]
    pub(super) fn has_resting(&self) -> bool {
        !self.resting.is_empty()
    }

    /// A connection was opened and has not sent anything.
    pub(super) fn begin(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.listed[slot as usize], true) {
            self.fresh.push_back(slot);
        }
    }

    /// A connection has its answer, and may send again when its turn comes.
    #[inline]
    pub(super) fn rest(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.listed[slot as usize], true) {
            self.resting.push_back(slot);
        }
    }

    /// The next to send: those that have not yet before all others, and they alone if `only_fresh`.
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

    /// The next to be opened.
    pub(super) fn take_unopened(&mut self) -> Option<u32> {
        self.unopened.pop_front()
    }

    /// Opening it is put off; it is still the next.
    pub(super) fn postpone(&mut self, slot: u32) {
        self.unopened.push_front(slot);
    }

    /// Its connection has ended.
    pub(super) fn end(&mut self, slot: u32) {
        self.unopened.push_back(slot);
    }

    /// Whether a slot waits to be opened.
    pub(super) fn has_unopened(&self) -> bool {
        !self.unopened.is_empty()
    }
}
