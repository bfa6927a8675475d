//! A hierarchical timing wheel (Varghese and Lauck, scheme 7): O(1) to set, move and cancel,
//! however many timers.
//!
//! Time is counted in [`Tick`]s of a millisecond. Each timer is a number below the wheel's size,
//! scheduled at most once. Owners set timers lazily: a postponed deadline leaves the wheel alone,
//! and the owner checks the deadline when the timer fires. Every transport keeps its deadlines
//! here.

use smoltcp::time::Instant;

/// A point in time, in milliseconds modulo 2³²; [`Tick::NEVER`] is no point in time. Two ticks
/// compare if they lie less than 24 days apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick(u32);

impl Default for Tick {
    fn default() -> Tick {
        Tick::NEVER
    }
}

impl Tick {
    /// No deadline.
    pub const NEVER: Tick = Tick(0);

    /// The tick that `now` lies in.
    #[inline]
    pub fn at(now: Instant) -> Tick {
        Tick::from_millis(now.total_micros() as u64 / 1000)
    }

    /// The tick of a count of milliseconds.
    #[inline]
    pub fn from_millis(millis: u64) -> Tick {
        // Zero is taken: once in 49 days a tick is a millisecond late.
        Tick((millis as u32).max(1))
    }

    /// This tick plus `millis`, at most 2³⁰.
    #[inline]
    #[must_use]
    pub fn plus(self, millis: u32) -> Tick {
        Tick(self.0.wrapping_add(millis).max(1))
    }

    /// Whether this deadline has passed at `now`.
    #[inline]
    pub fn is_due(self, now: Tick) -> bool {
        self != Tick::NEVER && self.until(now) >= 0
    }

    /// Whether this deadline is set, and `other` is later or not set.
    #[inline]
    pub fn is_sooner_than(self, other: Tick) -> bool {
        self != Tick::NEVER && (other == Tick::NEVER || self.until(other) > 0)
    }

    /// The sooner of two deadlines.
    #[inline]
    #[must_use]
    pub fn sooner(self, other: Tick) -> Tick {
        if self.is_sooner_than(other) { self } else { other }
    }

    /// Milliseconds from `self` to `later`; negative if that is earlier.
    #[inline]
    pub fn until(self, later: Tick) -> i32 {
        later.0.wrapping_sub(self.0) as i32
    }

    /// The raw count, for timestamps.
    #[inline]
    pub fn millis(self) -> u32 {
        self.0
    }
}

const LEVELS: usize = 4;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// The range of the wheel: 4.6 hours. A later deadline waits in the last slot and is inserted again
/// from there.
const HORIZON: u32 = 1 << (SLOT_BITS * LEVELS as u32);

/// A member of a circular list. List heads are nodes too, behind those of the timers.
#[derive(Clone, Copy)]
struct Node {
    next: u32,
    prev: u32,
    at: Tick,
}

/// The timer wheel.
pub struct Wheel {
    nodes: Vec<Node>,
    timers: u32,
    now: Tick,
    /// A bit for each slot of a level that has timers.
    occupied: [u64; LEVELS],
}

impl Wheel {
    /// A wheel for the timers 0 to `timers - 1`, none of them set, at the time `now`.
    pub fn new(timers: u32, now: Tick) -> Wheel {
        let heads = (LEVELS * SLOTS) as u32 + 1;
        let node = |index| Node { next: index, prev: index, at: Tick::NEVER };
        Wheel { nodes: (0..timers + heads).map(node).collect(), timers, now, occupied: [0; LEVELS] }
    }

    /// Bytes of memory that [`Wheel::new`] takes.
    pub const fn memory_bytes(timers: u32) -> usize {
        (timers as usize + LEVELS * SLOTS + 1) * size_of::<Node>()
    }

    /// When the timer fires; [`Tick::NEVER`] if it is not set.
    pub fn scheduled(&self, timer: u32) -> Tick {
        self.nodes[timer as usize].at
    }

    /// Sets the timer, or moves it. If the wheel has reached `at` already, the timer fires at the
    /// next tick: an owner that sets its timer for now whenever it fires does not keep
    /// [`Wheel::expire`] from an end.
    pub fn schedule(&mut self, timer: u32, at: Tick) {
        match self.scheduled(timer) {
            Tick::NEVER => self.insert(timer, at),
            _ => self.reschedule(timer, at),
        }
    }

    /// As [`Wheel::schedule`], of a timer that is set.
    #[inline(never)]
    fn reschedule(&mut self, timer: u32, at: Tick) {
        self.unlink(timer);
        self.insert(timer, at);
    }

    /// As [`Wheel::schedule`], of a timer that is not set.
    #[inline(always)]
    fn insert(&mut self, timer: u32, at: Tick) {
        let ahead = self.now.until(at).max(1) as u32;
        self.nodes[timer as usize].at = self.now.plus(ahead);
        self.link(timer, self.slot_for(ahead));
    }

    /// Makes the timer fire at `at` or sooner: sets it or moves it forward, if necessary.
    pub fn bring_forward(&mut self, timer: u32, at: Tick) {
        if at.is_sooner_than(self.scheduled(timer)) {
            self.schedule(timer, at);
        }
    }

    /// Cancels the timer. Does nothing if it is not set.
    pub fn cancel(&mut self, timer: u32) {
        if self.scheduled(timer) != Tick::NEVER {
            self.unlink(timer);
            self.nodes[timer as usize].at = Tick::NEVER;
        }
    }

    /// Cancels timers that have expired at `now` and writes them to `due`. Returns how many. Call
    /// again until it returns 0: each timer fires at most twice until then, whatever is set between
    /// the calls.
    pub fn expire(&mut self, now: Tick, due: &mut [u32]) -> usize {
        let head = self.due_head();
        let mut count = 0;
        while count < due.len() {
            let first = self.nodes[head as usize].next;
            if first != head {
                self.cancel(first);
                due[count] = first;
                count += 1;
            } else if self.now.until(now) > 0 {
                self.advance(now);
            } else {
                break;
            }
        }
        count
    }

    /// Prefetches the timer's node, which may lie in two cache lines.
    #[inline]
    pub fn prefetch(&self, timer: u32) -> u32 {
        self.nodes.get(timer as usize).map_or(0, |node| node.next ^ node.at.0)
    }

    /// When to call [`Wheel::expire`] next: not later than the first deadline, and sometimes
    /// earlier.
    pub fn next_deadline(&self) -> Option<Tick> {
        if self.nodes[self.due_head() as usize].next != self.due_head() {
            return Some(self.now);
        }
        (0..LEVELS)
            .filter(|&level| self.occupied[level] != 0)
            .map(|level| self.next_slot(level))
            .min_by_key(|at| self.now.until(*at))
    }

    /// The start of the next occupied slot of a level that has one.
    fn next_slot(&self, level: usize) -> Tick {
        let shift = SLOT_BITS * level as u32;
        let current = self.now.0 >> shift;
        let ahead =
            self.occupied[level].rotate_right((current + 1) % SLOTS as u32).trailing_zeros() + 1;
        Tick((current.wrapping_add(ahead)) << shift)
    }

    /// Advances the time to the next tick with an event, at most to `now`.
    fn advance(&mut self, now: Tick) {
        let next = self
            .next_deadline()
            .filter(|next| self.now.until(*next) < self.now.until(now))
            .unwrap_or(now);
        self.now = next;
        for level in (1..LEVELS).rev() {
            let shift = SLOT_BITS * level as u32;
            if self.now.0 & ((1 << shift) - 1) == 0 {
                self.move_slot(level, (self.now.0 >> shift) as usize % SLOTS);
            }
        }
        self.move_slot(0, self.now.0 as usize % SLOTS);
    }

    /// Empties a slot: moves its timers to a lower level or to the list of expired timers.
    fn move_slot(&mut self, level: usize, slot: usize) {
        let head = self.head(level, slot);
        while self.nodes[head as usize].next != head {
            let timer = self.nodes[head as usize].next;
            self.unlink(timer);
            let to = self.head_for(self.nodes[timer as usize].at);
            self.link(timer, to);
        }
    }

    fn head(&self, level: usize, slot: usize) -> u32 {
        self.timers + (level * SLOTS + slot) as u32
    }

    fn due_head(&self) -> u32 {
        self.timers + (LEVELS * SLOTS) as u32
    }

    fn head_for(&self, at: Tick) -> u32 {
        match self.now.until(at) {
            ahead @ 1.. => self.slot_for(ahead as u32),
            _ => self.due_head(),
        }
    }

    /// The head of the slot for a time that is `ahead` of the wheel's, at least 1.
    #[inline(always)]
    fn slot_for(&self, ahead: u32) -> u32 {
        let at = self.now.0.wrapping_add(ahead.min(HORIZON - SLOTS.pow(3) as u32));
        // The highest bit in which the two times differ selects the level, within the wheel's
        // range.
        let differ = (at ^ self.now.0).max(1);
        let level = ((31 - differ.leading_zeros()) / SLOT_BITS).min(LEVELS as u32 - 1);
        self.head(level as usize, (at >> (SLOT_BITS * level)) as usize % SLOTS)
    }

    #[inline(always)]
    fn link(&mut self, timer: u32, head: u32) {
        let last = self.nodes[head as usize].prev;
        let node = &mut self.nodes[timer as usize];
        (node.next, node.prev) = (head, last);
        self.nodes[last as usize].next = timer;
        self.nodes[head as usize].prev = timer;
        self.mark(head, true);
    }

    fn unlink(&mut self, timer: u32) {
        let Node { next, prev, .. } = self.nodes[timer as usize];
        self.nodes[prev as usize].next = next;
        self.nodes[next as usize].prev = prev;
        if next == prev && next >= self.timers {
            self.mark(next, false);
        }
    }

    fn mark(&mut self, head: u32, occupied: bool) {
        let index = (head - self.timers) as usize;
        if let Some(level) = self.occupied.get_mut(index / SLOTS) {
            let bit = 1 << (index % SLOTS);
            *level = if occupied { *level | bit } else { *level & !bit };
        }
    }
}

#[cfg(test)]
#[path = "timer_tests.rs"]
mod tests;
