//! LISTEN and the passive half of SYN-RECEIVED (RFC 9293 §3.10.7.2 and §3.10.7.4): from a SYN to a
//! connection.
//!
//! A SYN costs an entry of a small table of fixed size. The control block is allocated by the
//! handshake's last segment. When there are many entries, SYNs are answered with cookies
//! ([`crate::cookie`]). Without cookies, SYNs are dropped and counted once the table is full.

use crate::config::Config;
use crate::cookie;
use crate::demux::Tuple;
use crate::drop::DropReason;
use crate::keyed::Keyed;
use crate::seq::Seq;
use crate::tcp::Transmit;
use crate::tcp::segment::{Numbers, Path, emit};
use crate::wire::tcp::{Flags, Options};
use crate::wire::{Link, Segment};
use simoom_io::timer::Tick;
use smoltcp::time::Instant;

/// RFC 6298 §2.1 and §5.5: the first SYN-ACK is retransmitted after a second. The interval doubles
/// each time.
const FIRST_RETRY_MS: u32 = 1000;
/// Retransmissions of the SYN-ACK before the entry is removed.
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
    /// Both sides agreed to ECN.
    pub(crate) ecn: bool,
    pub(crate) ts_offset: u32,
    /// When the first SYN-ACK was sent, in microseconds modulo 2³².
    sent_at_us: u32,
    /// When the next retransmission of the SYN-ACK is due. [`Tick::NEVER`] in a free entry.
    retry_at: Tick,
    retries: u8,
    next_free: u32,
}

/// What to do with a segment for a half-open connection (RFC 9293 §3.10.7.4, SYN-RECEIVED).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The segment completes the handshake.
    Complete,
    /// The SYN was retransmitted: retransmit the SYN-ACK.
    Retransmit,
    /// The peer has reset the connection: remove the entry.
    Forget,
    /// Drop the segment and send a challenge ACK.
    Challenge(DropReason),
    /// The segment acknowledges data never sent: send a reset.
    Refuse,
    /// Drop the segment.
    Drop(DropReason),
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
        let entry = |next| HalfOpen {
            next_free: if next == capacity { NONE } else { next },
            ..HalfOpen::default()
        };
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

    pub(crate) fn is_full(&self) -> bool {
        self.free == NONE
    }

    pub(crate) fn get(&self, index: u32) -> &HalfOpen {
        &self.entries[index as usize]
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut HalfOpen {
        &mut self.entries[index as usize]
    }

    /// Adds an entry; `None` if the table is full.
    pub(crate) fn insert(&mut self, entry: HalfOpen) -> Option<u32> {
        let index = self.free;
        let slot = self.entries.get_mut(index as usize)?;
        self.free = slot.next_free;
        self.len += 1;
        *slot = entry;
        Some(index)
    }

    pub(crate) fn remove(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        (entry.next_free, entry.retry_at) = (self.free, Tick::NEVER);
        self.free = index;
        self.len -= 1;
    }

    /// When the next retransmission of the SYN-ACK is due; `None` after the last one.
    pub(crate) fn retry(&mut self, index: u32, now: Tick) -> Option<Tick> {
        let entry = &mut self.entries[index as usize];
        if entry.retries == RETRIES {
            return None;
        }
        entry.retries += 1;
        entry.retry_at = now.plus(FIRST_RETRY_MS << entry.retries);
        Some(entry.retry_at)
    }
}

impl HalfOpen {
    /// The entry of a SYN that is answered with `iss`.
    pub(crate) fn of(
        syn: &Segment<'_>,
        tuple: Tuple,
        (iss, ts_offset): (Seq, u32),
        now: Instant,
    ) -> HalfOpen {
        HalfOpen {
            tuple,
            link: syn.link,
            iss,
            irs: syn.seq,
            timestamp: syn.options.timestamps.map(|(value, _)| value),
            mss: syn.options.mss,
            window_scale: syn.options.window_scale,
            sack_permitted: syn.options.sack_permitted,
            ecn: false,
            ts_offset,
            sent_at_us: now.total_micros() as u32,
            retry_at: Tick::at(now).plus(FIRST_RETRY_MS),
            retries: 0,
            next_free: NONE,
        }
    }

    /// The entry of a SYN that was answered with a cookie. `segment` returns the cookie; its own
    /// options are those of data.
    pub(crate) fn of_cookie(
        segment: &Segment<'_>,
        tuple: Tuple,
        mss: u16,
        keyed: &Keyed,
    ) -> HalfOpen {
        let echo = segment.options.timestamps.map(|(_, echo)| echo);
        let (window_scale, sack_permitted, ecn) =
            echo.map_or((None, false, false), cookie::options_of);
        HalfOpen {
            tuple,
            link: segment.link,
            iss: segment.ack - 1,
            irs: segment.seq - 1,
            timestamp: segment.options.timestamps.map(|(value, _)| value),
            mss: Some(mss),
            window_scale,
            sack_permitted,
            ecn,
            ts_offset: keyed.timestamp_offset(&tuple),
            // The time and number of SYN-ACKs are unknown.
            retries: 1,
            ..HalfOpen::default()
        }
    }

    /// The peer has retransmitted its SYN. Options that it has left out are not in force any more
    /// (RFC 7323 §1.3), nor is ECN (RFC 3168 §6.1.1.1). The latest timestamp is echoed (RFC 7323
    /// §4.3).
    pub(crate) fn syn_again(&mut self, syn: &Segment<'_>, asks_for_ecn: bool) {
        let latest = |last, value| if Seq(value).after(Seq(last)) { value } else { last };
        let timestamps = self.timestamp.zip(syn.options.timestamps);
        self.timestamp = timestamps.map(|(last, (value, _))| latest(last, value));
        self.window_scale = self.window_scale.and(syn.options.window_scale);
        self.sack_permitted &= syn.options.sack_permitted;
        self.mss = self.mss.zip(syn.options.mss).map(|(one, other)| one.min(other));
        self.ecn &= asks_for_ecn;
    }

    /// Whether a segment acknowledges the SYN-ACK of another worker.
    pub(crate) fn is_for_other_worker(&self, segment: &Segment<'_>) -> bool {
        segment.flags.only_acknowledge() && segment.ack != self.iss + 1
    }

    /// Decides about a segment for this four-tuple, in the order of the steps of §3.10.7.4.
    pub(crate) fn action(&self, segment: &Segment<'_>, config: &Config) -> Action {
        let next = self.irs + 1;
        let flags = segment.flags;
        if flags.only_synchronize() && segment.seq == self.irs {
            return Action::Retransmit;
        }
        if let (Some(last), Some((value, _))) = (self.timestamp, segment.options.timestamps)
            && Seq(value).before(Seq(last))
            && !flags.has(Flags::RST)
        {
            return Action::Challenge(DropReason::Paws);
        }
        let in_window = segment.seq.at_or_after(next)
            && segment.seq.before(next + u32::from(syn_window(config)));
        match (flags.has(Flags::RST), flags.has(Flags::SYN)) {
            (true, _) if segment.seq == next => Action::Forget,
            (true, _) if in_window => Action::Challenge(DropReason::BlindReset),
            (true, _) => Action::Drop(DropReason::OutsideWindow),
            (_, true) => Action::Challenge(DropReason::BlindSyn),
            _ if !in_window => Action::Challenge(DropReason::OutsideWindow),
            _ if !flags.has(Flags::ACK) => Action::Drop(DropReason::NoAck),
            _ if segment.ack != self.iss + 1 => Action::Refuse,
            _ => Action::Complete,
        }
    }

    /// When the next retransmission of the SYN-ACK is due. [`Tick::NEVER`] in a free entry.
    pub(crate) fn retry_at(&self) -> Tick {
        self.retry_at
    }

    /// How many times the SYN-ACK was retransmitted.
    pub(crate) fn retransmissions(&self) -> u8 {
        self.retries
    }

    /// The round trip of the handshake; `None` if the SYN-ACK was retransmitted, because the peer
    /// may acknowledge either.
    pub(crate) fn round_trip_us(&self, now: Instant) -> Option<u32> {
        (self.retries == 0).then(|| (now.total_micros() as u32).wrapping_sub(self.sent_at_us))
    }

    /// The options of the peer's SYN.
    pub(crate) fn options(&self) -> Options {
        Options {
            mss: self.mss,
            window_scale: self.window_scale,
            sack_permitted: self.sack_permitted,
            timestamps: self.timestamp.map(|value| (value, 0)),
            ..Options::default()
        }
    }

    /// Sends the SYN-ACK, with each option that the SYN had (RFC 7323 §1.3, RFC 2018 §2).
    pub(crate) fn send_syn_ack<T: Transmit>(
        &self,
        config: &Config,
        tick: Tick,
        tx: &mut T,
    ) -> bool {
        let clock = tick.millis().wrapping_add(self.ts_offset);
        self.answer(&self.options(), self.ecn, clock, config, tx)
    }

    /// Sends the SYN-ACK as a cookie, with the options that the timestamp can return.
    pub(crate) fn send_cookie<T: Transmit>(&self, config: &Config, tick: Tick, tx: &mut T) -> bool {
        let clock = tick.millis().wrapping_add(self.ts_offset);
        let syn = self.options();
        match self.timestamp {
            Some(_) => {
                self.answer(&syn, self.ecn, cookie::timestamp(clock, &syn, self.ecn), config, tx)
            }
            None => self.answer(&Options::default(), false, clock, config, tx),
        }
    }

    fn answer<T: Transmit>(
        &self,
        syn: &Options,
        ecn: bool,
        clock: u32,
        config: &Config,
        tx: &mut T,
    ) -> bool {
        let options = Options {
            mss: Some(config.offered_mss(&self.tuple.remote)),
            window_scale: syn.window_scale.map(|_| config.window_shift()),
            sack_permitted: syn.sack_permitted,
            timestamps: syn.timestamps.map(|(value, _)| (clock, value)),
            ..Options::default()
        };
        // RFC 3168 §6.1.1: ECE alone agrees.
        let agreed = if ecn { Flags::ECE } else { Flags::default() };
        let flags = Flags::SYN.with(Flags::ACK).with(agreed);
        let numbers = Numbers::plain(self.iss, self.irs + 1, flags, syn_window(config));
        emit(
            &Path { tuple: &self.tuple, link: &self.link },
            numbers,
            &options,
            0,
            config,
            tx,
            |_| 0,
        )
    }

    /// Sends a challenge ACK (RFC 5961).
    pub(crate) fn send_ack<T: Transmit>(&self, config: &Config, tick: Tick, tx: &mut T) -> bool {
        let timestamps =
            self.timestamp.map(|value| (tick.millis().wrapping_add(self.ts_offset), value));
        let shift = if self.window_scale.is_some() { config.window_shift() } else { 0 };
        let numbers =
            Numbers::plain(self.iss + 1, self.irs + 1, Flags::ACK, syn_window(config) >> shift);
        let options = Options { timestamps, ..Options::default() };
        emit(
            &Path { tuple: &self.tuple, link: &self.link },
            numbers,
            &options,
            0,
            config,
            tx,
            |_| 0,
        )
    }
}

/// The window of a SYN or SYN-ACK, which is not scaled (RFC 7323 §2.2).
pub(crate) fn syn_window(config: &Config) -> u16 {
    config.receive_window_bytes.min(u32::from(u16::MAX)) as u16
}
