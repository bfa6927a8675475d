//! TIME-WAIT (RFC 9293 §3.6.1): the entries of connections that this side closed first.
//!
//! An entry has a seventh of the size of a control block. The table is a ring: when it is full, a
//! new entry evicts the oldest, which is counted. A new SYN may end an entry (RFC 6191). A reset
//! does not (RFC 1337), except the reset by which a peer answers the challenge to its SYN.

use crate::demux::Tuple;
use crate::seq::Seq;
use crate::tcp::{ConnFlags, Hot};
use crate::wire::tcp::Flags;
use crate::wire::{Link, Segment};
use simoom_io::timer::Tick;

/// A connection in TIME-WAIT.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TimeWait {
    pub(crate) tuple: Tuple,
    /// The hash of the four-tuple.
    pub(crate) hash: u32,
    pub(crate) link: Link,
    pub(crate) snd_nxt: Seq,
    pub(crate) rcv_nxt: Seq,
    /// The peer's last timestamp and this side's offset, if timestamps were in use.
    pub(crate) timestamps: Option<(u32, u32)>,
    /// When the wait ends. [`Tick::NEVER`] in a free entry.
    pub(crate) ends_at: Tick,
    /// Whether the last acknowledgement sent was a challenge to a SYN.
    pub(crate) challenged: bool,
}

/// What to do with a segment in TIME-WAIT (RFC 9293 §3.10.7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Do nothing.
    Ignore,
    /// Send an acknowledgement: the last one may have been lost.
    Acknowledge,
    /// Acknowledge a SYN that may be an old duplicate. A peer that wants to open a new connection
    /// answers with a reset (RFC 9293 §3.10.7.3, first step) and retransmits its SYN.
    Challenge,
    /// The peer does not have this connection: remove the entry (RFC 9293 §3.10.7.4, second step).
    End,
    /// The peer retransmitted its FIN: send an acknowledgement and restart the timer.
    Restart,
    /// Replace the entry by a new connection (RFC 6191).
    Reuse,
}

/// The table.
pub(crate) struct TimeWaitTable {
    entries: Vec<TimeWait>,
    next: u32,
}

impl TimeWaitTable {
    pub(crate) fn new(capacity: u32) -> TimeWaitTable {
        TimeWaitTable { entries: vec![TimeWait::default(); capacity as usize], next: 0 }
    }

    pub(crate) fn memory_bytes(capacity: u32) -> usize {
        capacity as usize * size_of::<TimeWait>()
    }

    pub(crate) fn get(&self, index: u32) -> &TimeWait {
        &self.entries[index as usize]
    }

    /// The slot for the next entry, and whether an older entry must be removed from it first.
    /// `None` if the table has no slots.
    pub(crate) fn slot(&self) -> Option<(u32, bool)> {
        self.entries.get(self.next as usize).map(|entry| (self.next, entry.ends_at != Tick::NEVER))
    }

    /// Adds a connection at [`TimeWaitTable::slot`]. The caller sets the end of its wait.
    pub(crate) fn insert(&mut self, hot: &Hot, hash: u32) {
        let timestamps =
            hot.flags.has(ConnFlags::TIMESTAMPS).then_some((hot.rcv.ts_recent, hot.ts_offset));
        self.entries[self.next as usize] = TimeWait {
            tuple: hot.tuple,
            hash,
            link: hot.link,
            snd_nxt: hot.snd.nxt,
            rcv_nxt: hot.rcv.nxt,
            timestamps,
            ends_at: Tick::NEVER,
            challenged: false,
        };
        self.next += 1;
        if self.next == self.entries.len() as u32 {
            self.next = 0;
        }
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut TimeWait {
        &mut self.entries[index as usize]
    }

    pub(crate) fn remove(&mut self, index: u32) {
        self.entries[index as usize].ends_at = Tick::NEVER;
    }
}

impl TimeWait {
    /// Decides about a segment for this four-tuple.
    pub(crate) fn action(&self, segment: &Segment<'_>) -> Action {
        if segment.flags.has(Flags::RST) {
            // RFC 1337 §2: a late duplicate of text or FIN is acknowledged. A peer that has closed
            // resets that acknowledgement, which must not end the wait. The reset that answers a
            // challenge to a SYN does end it: otherwise the peer could not connect before the wait
            // is over.
            let is_answer = self.challenged && segment.seq == self.rcv_nxt;
            return if is_answer { Action::End } else { Action::Ignore };
        }
        if segment.flags.only_synchronize() {
            return if self.is_newer(segment) { Action::Reuse } else { Action::Challenge };
        }
        if segment.flags.has(Flags::SYN) {
            return Action::Acknowledge;
        }
        let has_ack = segment.flags.has(Flags::ACK);
        if has_ack && segment.ack.after(self.snd_nxt) {
            // RFC 5961 §5.2: it acknowledges what was never sent.
            return Action::Acknowledge;
        }
        if has_ack && segment.flags.has(Flags::FIN) {
            return Action::Restart;
        }
        // Fifth step: without ACK, what is in the window is dropped.
        let is_dropped = segment.is_empty() || !has_ack;
        if is_dropped && segment.seq == self.rcv_nxt { Action::Ignore } else { Action::Acknowledge }
    }

    /// RFC 6191 §2: a SYN with a later timestamp, or without timestamps a later sequence number.
    fn is_newer(&self, syn: &Segment<'_>) -> bool {
        match (self.timestamps, syn.options.timestamps) {
            (Some((last, _)), Some((value, _))) if value != last => Seq(value).after(Seq(last)),
            _ => syn.seq.after(self.rcv_nxt),
        }
    }
}
