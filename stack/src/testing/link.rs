//! One direction of a link that delays, loses, repeats, reorders and damages frames, as a seed says.

use super::Random;
use crate::Transmit;
use crate::{Duration, Instant};
use std::collections::BTreeMap;

/// How badly a link behaves. Rates are per mille of frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quality {
    /// Lost.
    pub loss: u32,
    /// Delivered twice.
    pub duplicate: u32,
    /// Delayed by up to ten times the usual, so that others overtake it.
    pub reorder: u32,
    /// Delivered with one bit wrong.
    pub corrupt: u32,
    /// Delay of every frame.
    pub delay: Duration,
    /// Further delay of each frame, up to this.
    pub jitter: Duration,
    /// Frames in flight at most; more are lost. 0 for no bound.
    pub queue: usize,
}

/// One direction.
#[derive(Debug)]
pub struct Link {
    /// How the link behaves from now on.
    pub quality: Quality,
    /// The time at which frames enter.
    pub now: Instant,
    /// Frames that entered.
    pub entered: u64,
    random: Random,
    frame_bytes: usize,
    in_flight: BTreeMap<(Instant, u64), Vec<u8>>,
}

impl Link {
    /// A link for frames of up to `frame_bytes`.
    pub fn new(quality: Quality, frame_bytes: usize, seed: u64) -> Link {
        let (now, random) = (Instant::ZERO, Random::new(seed));
        Link { quality, now, entered: 0, random, frame_bytes, in_flight: BTreeMap::new() }
    }

    /// When the next frame arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.keys().next().map(|(at, _)| *at)
    }

    /// The next frame that has arrived by now.
    pub fn arrive(&mut self) -> Option<Vec<u8>> {
        let first = self.in_flight.first_entry()?;
        (first.key().0 <= self.now).then(|| first.remove())
    }

    /// A frame enters.
    pub fn carry(&mut self, frame: &[u8]) {
        self.entered += 1;
        let Quality { loss, duplicate, reorder, corrupt, delay, jitter, queue } = self.quality;
        if self.random.chance(loss) || (queue > 0 && self.in_flight.len() >= queue) {
            return;
        }
        for _ in 0..1 + u32::from(self.random.chance(duplicate)) {
            let mut frame = frame.to_vec();
            if self.random.chance(corrupt) {
                let bit = self.random.below(frame.len() as u64 * 8);
                frame[bit as usize / 8] ^= 1 << (bit % 8);
            }
            let late =
                if self.random.chance(reorder) { self.random.below(10 * delay.total_micros() + 100) } else { 0 };
            let wobble = if jitter > Duration::ZERO { self.random.below(jitter.total_micros()) } else { 0 };
            let at = self.now + delay + Duration::from_micros(late + wobble);
            self.in_flight.insert(
                (at, self.entered * 2 + u64::from(self.in_flight.contains_key(&(at, self.entered * 2)))),
                frame,
            );
        }
    }
}

impl Transmit for Link {
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let mut frame = vec![0; self.frame_bytes];
        let len = write(&mut frame);
        frame.truncate(len);
        self.carry(&frame);
        true
    }
}
