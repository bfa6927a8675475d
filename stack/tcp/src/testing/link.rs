//! One direction of a link that delays, loses, duplicates, reorders, marks and damages frames by a
//! seed, with or without a bottleneck.

use super::{Random, segment};
use crate::wire::checksum::Sum;
use crate::wire::{Ecn, ethernet};
use crate::{Gso, Transmit};
use simoom_io::{Duration, Instant};
use std::collections::BTreeMap;

/// Bytes of a header without a tag.
const ETHERNET_BYTES: usize = 14;
/// Bytes of the longest GSO packet.
const GSO_BYTES: usize = 65_535 + 18;

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
    /// ECN-capable frames that get a CE mark (RFC 3168 §5).
    pub mark: u32,
    /// Delay of every frame.
    pub delay: Duration,
    /// Further delay of each frame, up to this.
    pub jitter: Duration,
    /// Maximum number of frames in flight; further frames are lost. 0 for no bound.
    pub queue: usize,
    /// Rate of the bottleneck before the delay in bytes a second, 0 for no bottleneck, and the size
    /// of its queue in bytes. Frames that do not fit the queue are lost.
    pub bottleneck: (u64, u64),
    /// A policer before the bottleneck: bytes a second, 0 for none, and its burst in bytes. Frames
    /// beyond are lost, none waits.
    pub policer: (u64, u64),
    /// Frames arrive together, at multiples of this time.
    pub aggregate: Duration,
    /// Frames with longer packets are lost, without a report. 0 for no bound.
    pub mtu: usize,
    /// GSO packets that are taken and cut into frames, per mille. 0: the stack makes none.
    pub gso: u32,
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
    /// Until when the bottleneck sends frames that have entered.
    busy_until: Instant,
    /// Frames that the bottleneck or the policer lost.
    pub overflowed: u64,
    /// Bytes that the policer would pass at `policed_at`.
    tokens: u64,
    policed_at: Instant,
}

impl Link {
    /// A link for frames of up to `frame_bytes`.
    pub fn new(quality: Quality, frame_bytes: usize, seed: u64) -> Link {
        let (now, random) = (Instant::ZERO, Random::new(seed));
        Link {
            quality,
            now,
            entered: 0,
            random,
            frame_bytes,
            in_flight: BTreeMap::new(),
            busy_until: now,
            overflowed: 0,
            tokens: quality.policer.1,
            policed_at: now,
        }
    }

    /// Bytes that wait in the queue of the bottleneck.
    pub fn waiting_bytes(&self) -> u64 {
        let waiting =
            if self.busy_until > self.now { self.busy_until - self.now } else { Duration::ZERO };
        waiting.total_micros() * self.quality.bottleneck.0 / 1_000_000
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
        let Quality {
            loss,
            duplicate,
            reorder,
            corrupt,
            mark,
            delay,
            jitter,
            queue,
            bottleneck: _,
            policer: _,
            aggregate,
            mtu,
            gso: _,
        } = self.quality;
        if mtu > 0 && frame.len() > mtu + ETHERNET_BYTES {
            return;
        }
        if !self.pass_policer(frame.len() as u64) {
            return;
        }
        if self.random.chance(loss) || (queue > 0 && self.in_flight.len() >= queue) {
            return;
        }
        let Some(passed_at) = self.pass_bottleneck(frame.len()) else { return };
        for _ in 0..1 + u32::from(self.random.chance(duplicate)) {
            let mut frame = frame.to_vec();
            if self.random.chance(corrupt) {
                let bit = self.random.below(frame.len() as u64 * 8);
                frame[bit as usize / 8] ^= 1 << (bit % 8);
            }
            if mark > 0 && self.random.chance(mark) {
                mark_congested(&mut frame);
            }
            let late = if self.random.chance(reorder) {
                self.random.below(10 * delay.total_micros() + 100)
            } else {
                0
            };
            let wobble =
                if jitter > Duration::ZERO { self.random.below(jitter.total_micros()) } else { 0 };
            let at = passed_at + delay + Duration::from_micros(late + wobble);
            let at = next_multiple(at, aggregate);
            self.in_flight.insert(
                (
                    at,
                    self.entered * 2
                        + u64::from(self.in_flight.contains_key(&(at, self.entered * 2))),
                ),
                frame,
            );
        }
    }
}

impl Link {
    /// Whether the policer lets a frame pass.
    fn pass_policer(&mut self, len: u64) -> bool {
        let (bytes_per_second, burst) = self.quality.policer;
        if bytes_per_second == 0 {
            return true;
        }
        let elapsed_us = (self.now - self.policed_at).total_micros();
        let earned = elapsed_us * bytes_per_second / 1_000_000;
        if earned > 0 {
            (self.tokens, self.policed_at) = ((self.tokens + earned).min(burst), self.now);
        }
        let passes = self.tokens >= len;
        self.tokens -= if passes { len } else { 0 };
        self.overflowed += u64::from(!passes);
        passes
    }

    /// When a frame that enters now has passed the bottleneck; `None` if the queue is full.
    fn pass_bottleneck(&mut self, len: usize) -> Option<Instant> {
        let (bytes_per_second, room) = self.quality.bottleneck;
        if bytes_per_second == 0 {
            return Some(self.now);
        }
        self.busy_until = self.busy_until.max(self.now);
        let waiting = (self.busy_until - self.now).total_micros() * bytes_per_second / 1_000_000;
        if waiting + len as u64 > room {
            self.overflowed += 1;
            return None;
        }
        self.busy_until += Duration::from_micros(len as u64 * 1_000_000 / bytes_per_second);
        Some(self.busy_until)
    }
}

/// The first multiple of `interval` that is not before `at`.
fn next_multiple(at: Instant, interval: Duration) -> Instant {
    match interval.total_micros() as i64 {
        0 => at,
        interval_us => {
            let intervals = (at.total_micros() + interval_us - 1) / interval_us;
            Instant::from_micros(intervals * interval_us)
        }
    }
}

/// Sets the CE mark of an ECN-capable packet without an 802.1Q tag, as a congested router does.
fn mark_congested(frame: &mut [u8]) {
    if Ecn::of(frame[15]) != Ecn::CAPABLE || frame[12..14] != ethernet::IPV4.to_be_bytes() {
        return;
    }
    frame[15] |= Ecn::CONGESTED.traffic_class();
    frame[24..26].fill(0);
    let checksum = Sum::default().add_bytes(&frame[14..34]).finish();
    frame[24..26].copy_from_slice(&checksum);
}

impl Transmit for Link {
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let mut frame = vec![0; self.frame_bytes];
        let len = write(&mut frame);
        frame.truncate(len);
        self.carry(&frame);
        true
    }

    fn gso_max_bytes(&self) -> usize {
        if self.quality.gso > 0 { GSO_BYTES } else { 0 }
    }

    fn transmit_gso(&mut self, gso: Gso, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        if self.quality.gso < 1000 && !self.random.chance(self.quality.gso) {
            return false;
        }
        let mut packet = vec![0; GSO_BYTES];
        let len = write(&mut packet);
        segment::cut(&packet[..len], gso).iter().for_each(|frame| self.carry(frame));
        true
    }
}
