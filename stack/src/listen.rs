//! LISTEN and the passive half of SYN-RECEIVED (RFC 9293 §3.10.7.2 and §3.10.7.4): from a SYN to a connection.
//!
//! A SYN costs an entry of a small table of fixed size, not a control block; the block comes with the handshake's
//! last segment. When the table is full further SYNs are dropped and counted. (The place for SYN cookies, RFC 4987,
//! is [`HalfOpenTable::insert`].)

use crate::config::Config;
use crate::demux::Tuple;
use crate::keyed::Keyed;
use crate::seq::Seq;
use crate::tcp::Transmit;
use crate::tcp::output::{Numbers, Way, emit};
use crate::timer::Tick;
use crate::wire::tcp::{Flags, Options};
use crate::wire::{Link, Segment};
use smoltcp::time::Instant;

/// RFC 6298 §2.1 and §5.5: the first SYN-ACK is repeated after a second, then after twice as long each time.
const FIRST_RETRY_MS: u32 = 1000;
/// SYN-ACKs repeated before the entry is given up.
const RETRIES: u8 = 5;

/// A SYN that was answered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HalfOpen {
    pub(crate) tuple: Tuple,
    pub(crate) link: Link,
    /// This side's initial sequence number.
    pub(crate) iss: Seq,
    /// The peer's initial sequence number.
    pub(crate) irs: Seq,
    /// The peer's TSval, if it sent timestamps.
    pub(crate) timestamp: Option<u32>,
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    pub(crate) ts_offset: u32,
    /// When the first SYN-ACK was sent, in microseconds modulo 2³².
    sent_at_us: u32,
    retries: u8,
    next_free: u32,
}

const NONE: u32 = u32::MAX;

/// The table of half-open connections.
pub(crate) struct HalfOpenTable {
    entries: Vec<HalfOpen>,
    free: u32,
    len: u32,
}

impl HalfOpenTable {
    pub(crate) fn new(capacity: u32) -> HalfOpenTable {
        let entry =
            |next| HalfOpen { next_free: if next == capacity { NONE } else { next }, ..HalfOpen::default() };
        HalfOpenTable {
            entries: (1..=capacity).map(entry).collect(),
            free: if capacity == 0 { NONE } else { 0 },
            len: 0,
        }
    }

    pub(crate) fn memory_bytes(capacity: u32) -> usize {
        capacity as usize * size_of::<HalfOpen>()
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn get(&self, index: u32) -> &HalfOpen {
        &self.entries[index as usize]
    }

    /// Takes a SYN; `None` when the table is full.
    pub(crate) fn insert(&mut self, syn: &Segment<'_>, tuple: Tuple, keyed: &Keyed, now: Instant) -> Option<u32> {
        let index = self.free;
        let entry = self.entries.get_mut(index as usize)?;
        self.free = entry.next_free;
        self.len += 1;
        *entry = HalfOpen {
            tuple,
            link: syn.link,
            iss: keyed.initial_seq(&tuple, now),
            irs: syn.seq,
            timestamp: syn.options.timestamps.map(|(value, _)| value),
            mss: syn.options.mss,
            window_scale: syn.options.window_scale,
            sack_permitted: syn.options.sack_permitted,
            ts_offset: keyed.timestamp_offset(&tuple),
            sent_at_us: now.total_micros() as u32,
            retries: 0,
            next_free: NONE,
        };
        Some(index)
    }

    pub(crate) fn remove(&mut self, index: u32) {
        self.entries[index as usize].next_free = self.free;
        self.free = index;
        self.len -= 1;
    }

    /// When the SYN-ACK is to be repeated, counted from its first sending; `None` when it has been often enough.
    pub(crate) fn retry(&mut self, index: u32, now: Tick) -> Option<Tick> {
        let entry = &mut self.entries[index as usize];
        if entry.retries == RETRIES {
            return None;
        }
        entry.retries += 1;
        Some(now.plus(FIRST_RETRY_MS << entry.retries))
    }
}

impl HalfOpen {
    /// The deadline of the first SYN-ACK.
    pub(crate) fn first_deadline(now: Tick) -> Tick {
        now.plus(FIRST_RETRY_MS)
    }

    /// How long the handshake took; `None` if the SYN-ACK was repeated, for then it is not known which was answered.
    pub(crate) fn round_trip_us(&self, now: Instant) -> Option<u32> {
        (self.retries == 0).then(|| (now.total_micros() as u32).wrapping_sub(self.sent_at_us))
    }

    /// The peer's options as its SYN had them.
    pub(crate) fn options(&self) -> Options {
        Options {
            mss: self.mss,
            window_scale: self.window_scale,
            sack_permitted: self.sack_permitted,
            timestamps: self.timestamp.map(|value| (value, 0)),
            ..Options::default()
        }
    }

    /// Sends the SYN-ACK: with each option that the SYN had (RFC 7323 §1.3, RFC 2018 §2).
    pub(crate) fn send_syn_ack<T: Transmit>(&self, config: &Config, tick: Tick, tx: &mut T) -> bool {
        let options = Options {
            mss: Some(config.mss()),
            window_scale: self.window_scale.map(|_| config.window_shift()),
            sack_permitted: self.sack_permitted,
            timestamps: self.timestamp.map(|value| (tick.millis().wrapping_add(self.ts_offset), value)),
            ..Options::default()
        };
        let numbers = Numbers {
            seq: self.iss,
            ack: self.irs + 1,
            flags: Flags::SYN.with(Flags::ACK),
            // A SYN's window is not scaled (RFC 7323 §2.2).
            window: config.receive_window_bytes.min(u32::from(u16::MAX)) as u16,
        };
        emit(&Way { tuple: &self.tuple, link: &self.link }, numbers, &options, 0, config, tx, |_| 0)
    }
}
