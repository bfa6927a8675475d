//! The number of frames on a queue's fill ring: as low as its bursts allow, so that the frames stay
//! in the cache.
//!
//! The fill ring is first in, first out: a queue that keeps 8192 frames on it uses all of them, 32
//! MiB, before it uses one again, so each packet is written to memory outside every cache. A queue
//! that keeps 1024 frames cycles within a core's second-level cache. So the depth follows the
//! longest burst that was found waiting, with space for a burst four times as long. It grows at
//! once and shrinks slowly.
//!
//! The input is the number of frames waiting, the result is the number of frames to keep on the
//! ring. Before a packet loop sleeps it fills the whole ring ([`super::Queue::refill`]).

/// The minimum depth. Below it little is gained, and a sudden burst would find too few frames.
const MIN_DEPTH: u32 = 1024;
/// The depth is at least this many times the longest burst.
const MARGIN: u32 = 4;
/// The depth is halved after this many frames that did not need it.
const REVIEW_FRAMES: u32 = 1 << 15;

/// The depth of one fill ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth {
    /// Slots of the ring.
    max: u32,
    /// Invariant: from `MIN_DEPTH` (or `max`, if that is less) to `max`.
    frames: u32,
    /// The longest burst since the last review.
    burst: u32,
    received: u32,
}

impl Depth {
    /// The initial depth: the whole ring of `max` slots.
    pub(crate) fn new(max: u32) -> Depth {
        Depth { max, frames: max, burst: 0, received: 0 }
    }

    /// Frames to keep on the fill ring.
    #[inline]
    pub(crate) fn frames(&self) -> u32 {
        self.frames
    }

    /// `waiting` frames were found on the RX ring.
    #[inline]
    pub(crate) fn observe(&mut self, waiting: u32) {
        self.burst = self.burst.max(waiting);
        let needed = waiting.saturating_mul(MARGIN);
        if needed > self.frames {
            self.frames = needed.next_power_of_two().min(self.max);
        }
    }

    /// `taken` of the waiting frames were received.
    #[inline]
    pub(crate) fn received(&mut self, taken: u32) {
        self.received += taken;
        if self.received >= REVIEW_FRAMES {
            self.review();
        }
    }

    fn review(&mut self) {
        let half = (self.frames / 2).max(MIN_DEPTH.min(self.max));
        if self.burst.saturating_mul(MARGIN) <= half {
            self.frames = half;
        }
        (self.burst, self.received) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Receives in bursts of `burst` until the next review.
    fn go_on(depth: &mut Depth, burst: u32) -> u32 {
        for _ in 0..REVIEW_FRAMES.div_ceil(burst) {
            depth.observe(burst);
            depth.received(burst);
        }
        depth.frames()
    }

    #[test]
    fn shrinks_by_halves_to_what_bursts_need() {
        let mut depth = Depth::new(8192);
        let seen: Vec<u32> = (0..5).map(|_| go_on(&mut depth, 64)).collect();
        assert_eq!(seen, [4096, 2048, 1024, 1024, 1024]);
        let mut depth = Depth::new(8192);
        let seen: Vec<u32> = (0..4).map(|_| go_on(&mut depth, 600)).collect();
        assert_eq!(seen, [4096, 4096, 4096, 4096], "four times 600 do not fit into 2048");
    }

    #[test]
    fn grows_at_once_and_to_the_ring_at_most() {
        let mut depth = Depth::new(8192);
        while go_on(&mut depth, 1) > MIN_DEPTH {}
        for (waiting, frames) in [(256, 1024), (257, 2048), (512, 2048), (1500, 8192), (8192, 8192)]
        {
            depth.observe(waiting);
            assert_eq!(depth.frames(), frames, "{waiting} waiting");
        }
    }

    #[test]
    fn one_long_burst_counts_until_the_next_review() {
        let mut depth = Depth::new(8192);
        depth.observe(2048);
        assert_eq!(go_on(&mut depth, 8), 8192);
        assert_eq!(go_on(&mut depth, 8), 4096);
    }

    #[test]
    fn a_small_ring_is_kept_full() {
        let mut depth = Depth::new(64);
        assert_eq!((go_on(&mut depth, 1), go_on(&mut depth, 64)), (64, 64));
    }
}
