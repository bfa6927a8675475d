//! A timing wheel: in come deadlines of connections, out come the connections whose time may have come.
//!
//! At most one entry a connection, and re-armed lazily: putting a deadline off changes nothing here, so a busy
//! connection costs no more than a comparison; its entry comes out at the old time, the caller looks at the real
//! deadline and arms again. So an entry is never late (but for the tick), and may be early. Deadlines beyond the
//! span of the wheel are entries that come out early, too. Every operation is O(1); nothing allocates.

/// Milliseconds a tick: entries come out at the end of the tick that their deadline lies in.
const TICK_MS: u64 = 8;
/// Ticks a turn of the wheel: 32 s.
const BUCKETS: usize = 4096;
const WORDS: usize = BUCKETS / 64;
const NONE: u32 = u32::MAX;
const UNARMED: u64 = u64::MAX;

/// Links one entry into the list of its bucket.
#[derive(Clone, Copy)]
struct Node {
    tick: u64,
    next: u32,
    prev: u32,
}

/// Invariant: an armed node stands in bucket `tick % BUCKETS`, and `now ≤ tick < now + BUCKETS`, so that a bucket
/// holds entries of one tick only. `occupied` has the bit of each bucket that is not empty, and `words` the bit of
/// each word of it that is not 0.
pub(super) struct Wheel {
    now: u64,
    nodes: Vec<Node>,
    heads: Vec<u32>,
    occupied: [u64; WORDS],
    words: u64,
}

impl Wheel {
    /// A wheel for `capacity` connections that starts at 0 ms.
    pub(super) fn new(capacity: usize) -> Wheel {
        Wheel {
            now: 0,
            nodes: vec![Node { tick: UNARMED, next: NONE, prev: NONE }; capacity],
            heads: vec![NONE; BUCKETS],
            occupied: [0; WORDS],
            words: 0,
        }
    }

    pub(super) const fn memory_bytes(capacity: usize) -> usize {
        capacity * size_of::<Node>() + BUCKETS * size_of::<u32>()
    }

    /// Makes sure that `index` comes out no later than the tick of `deadline_ms`. The time to come is what this
    /// keeps: a deadline that has passed comes out with the next tick.
    pub(super) fn arm(&mut self, index: u32, deadline_ms: u64) {
        let tick = deadline_ms.div_ceil(TICK_MS).clamp(self.now + 1, self.now + BUCKETS as u64 - 1);
        let armed = self.nodes[index as usize].tick;
        if armed <= tick {
            return;
        }
        if armed != UNARMED {
            self.unlink(index);
        }
        self.link(index, tick);
    }

    /// Forgets `index`.
    pub(super) fn disarm(&mut self, index: u32) {
        if self.nodes[index as usize].tick != UNARMED {
            self.unlink(index);
        }
    }

    /// When the first entry comes out.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.next_tick().map(|tick| tick * TICK_MS)
    }

    /// The next entry whose tick is over at `now_ms`; it is no longer armed.
    pub(super) fn expired(&mut self, now_ms: u64) -> Option<u32> {
        let end = now_ms / TICK_MS;
        match self.next_tick().filter(|tick| *tick <= end) {
            Some(tick) => {
                self.now = tick;
                let index = self.heads[tick as usize % BUCKETS];
                self.unlink(index);
                Some(index)
            }
            None => {
                self.now = self.now.max(end);
                None
            }
        }
    }

    /// The first occupied bucket at or after the present one, going round.
    fn next_tick(&self) -> Option<u64> {
        let here = self.now as usize % BUCKETS;
        let (word, bit) = (here / 64, here % 64);
        let in_this_word = self.occupied[word] & (u64::MAX << bit);
        let bucket = if in_this_word != 0 {
            word * 64 + in_this_word.trailing_zeros() as usize
        } else {
            // The words after this one first, then round to this one again for the bits before `bit`.
            let after = (u64::MAX << word) & !(1 << word) & self.words;
            let candidates = if after != 0 { after } else { self.words };
            if candidates == 0 {
                return None;
            }
            let word = candidates.trailing_zeros() as usize;
            word * 64 + self.occupied[word].trailing_zeros() as usize
        };
        Some(self.now + ((bucket + BUCKETS - here) % BUCKETS) as u64)
    }

    fn link(&mut self, index: u32, tick: u64) {
        let bucket = tick as usize % BUCKETS;
        let head = std::mem::replace(&mut self.heads[bucket], index);
        self.nodes[index as usize] = Node { tick, next: head, prev: NONE };
        if head != NONE {
            self.nodes[head as usize].prev = index;
        }
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
        self.words |= 1 << (bucket / 64);
    }

    fn unlink(&mut self, index: u32) {
        let unarmed = Node { tick: UNARMED, next: NONE, prev: NONE };
        let Node { tick, next, prev } = std::mem::replace(&mut self.nodes[index as usize], unarmed);
        let bucket = tick as usize % BUCKETS;
        if next != NONE {
            self.nodes[next as usize].prev = prev;
        }
        if prev != NONE {
            self.nodes[prev as usize].next = next;
            return;
        }
        self.heads[bucket] = next;
        if next == NONE {
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
            if self.occupied[bucket / 64] == 0 {
                self.words &= !(1 << (bucket / 64));
            }
        }
    }
}

#[cfg(test)]
#[path = "deadline_tests.rs"]
mod tests;
