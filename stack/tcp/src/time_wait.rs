//! TIME_WAIT (RFC 9293 §3.6.1): what is left of a connection that this side closed first.
//!
//! An entry is a tenth of a control block. The table is a ring: a new entry takes the place of the
//! oldest when all are in use, which is counted. A new SYN may end an entry (RFC 6191). Resets do
//! not (RFC 1337), but for one: the reset by which a peer answers the challenge to its SYN.

use crate::demux::Tuple;
use crate::seq::Seq;
use crate::tcp::{Hot, Marks};
use crate::wire::tcp::Flags;
use crate::wire::{Link, Segment};

/// A connection in TIME_WAIT.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TimeWait {
    pub(crate) tuple: Tuple,
    pub(crate) link: Link,
    pub(crate) snd_nxt: Seq,
    pub(crate) rcv_nxt: Seq,
    /// The peer's last timestamp and this side's offset, if timestamps were in use.
    pub(crate) timestamps: Option<(u32, u32)>,
    /// The last acknowledgement that was sent answered a SYN.
    pub(crate) challenged: bool,
    in_use: bool,
}

/// What a segment in TIME_WAIT calls for (RFC 9293 §3.10.7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Ignore,
    /// An acknowledgement: the last one may have been lost.
    Acknowledge,
    /// An acknowledgement of a SYN that may be an old duplicate. A peer that wants to open a new
    /// connection answers with a reset (RFC 9293 §3.10.7.3, first step) and repeats its SYN.
    Challenge,
    /// The peer knows nothing of this connection: it ends (RFC 9293 §3.10.7.4, second step).
    End,
    /// An acknowledgement, and the wait starts over: it was the peer's FIN again.
    Restart,
    /// A new connection in the place of this one (RFC 6191).
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

    /// The place for the next entry, and whether an older one has to be removed from it first;
    /// `None` if the table has no place at all.
    pub(crate) fn place(&self) -> Option<(u32, bool)> {
        self.entries.get(self.next as usize).map(|entry| (self.next, entry.in_use))
    }

    /// Puts a connection in [`TimeWaitTable::place`].
    pub(crate) fn insert(&mut self, hot: &Hot) {
        let timestamps =
            hot.marks.has(Marks::TIMESTAMPS).then_some((hot.rcv.ts_recent, hot.ts_offset));
        self.entries[self.next as usize] = TimeWait {
            tuple: hot.tuple,
            link: hot.link,
            snd_nxt: hot.snd.nxt,
            rcv_nxt: hot.rcv.nxt,
            timestamps,
            challenged: false,
            in_use: true,
        };
        self.next = (self.next + 1) % self.entries.len() as u32;
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut TimeWait {
        &mut self.entries[index as usize]
    }

    pub(crate) fn remove(&mut self, index: u32) {
        self.entries[index as usize].in_use = false;
    }
}

impl TimeWait {
    /// Judges a segment for this four-tuple.
    pub(crate) fn judge(&self, segment: &Segment<'_>) -> Verdict {
        if segment.flags.has(Flags::RST) {
            // RFC 1337 §2: a late duplicate of text or FIN is acknowledged, and a peer that has
            // closed resets that acknowledgement, which must end nothing. A SYN is another matter:
            // were its reset ignored too, the peer could not connect before the wait is over.
            let is_answer = self.challenged && segment.seq == self.rcv_nxt;
            return if is_answer { Verdict::End } else { Verdict::Ignore };
        }
        if segment.flags.only_synchronize() {
            return if self.is_newer(segment) { Verdict::Reuse } else { Verdict::Challenge };
        }
        if segment.flags.has(Flags::SYN) {
            return Verdict::Acknowledge;
        }
        let has_ack = segment.flags.has(Flags::ACK);
        if has_ack && segment.flags.has(Flags::FIN) {
            return Verdict::Restart;
        }
        // Fifth step: without ACK, what is in the window is dropped.
        let is_dropped = segment.is_empty() || !has_ack;
        if is_dropped && segment.seq == self.rcv_nxt {
            Verdict::Ignore
        } else {
            Verdict::Acknowledge
        }
    }

    /// RFC 6191 §2: a SYN with a later timestamp, or without timestamps a later sequence number.
    fn is_newer(&self, syn: &Segment<'_>) -> bool {
        match (self.timestamps, syn.options.timestamps) {
            (Some((last, _)), Some((value, _))) if value != last => Seq(value).after(Seq(last)),
            _ => syn.seq.after(self.rcv_nxt),
        }
    }
}
