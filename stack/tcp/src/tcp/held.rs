//! Input that the application has not consumed: in a buffer of the [`keep`](simoom_io::keep), and
//! behind it in blocks.
//!
//! In come bytes in order, out go the same bytes, in one piece, until they are consumed. The buffer
//! is one piece of memory and mostly enough. What does not fit it goes to blocks of the
//! reassembly's pool: up to a wide receive window, or everything while no buffer is free. What
//! finds no block either is not taken, so the peer sends it again.

use super::{Marks, Shared, Tcb, window};
use crate::reassembly::Reassembly;
use crate::seq::Seq;
use crate::wire::Payload;
use simoom_io::keep::LARGE_BYTES;
use simoom_io::timer::Tick;

/// A connection may hold a part of a request for this long even if others find no memory for
/// theirs.
const WAIT_MS: u32 = 1000;

/// Why the next text cannot be offered where it lies; as a rule nothing. (What the application has
/// seen of earlier text is another reason, which [`Kept`](simoom_io::keep::Kept) knows.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PutOff(u8);

impl PutOff {
    /// The application reads no input before its deadline.
    pub(crate) const READS_LATER: PutOff = PutOff(1);
    /// There are bytes in blocks.
    const BACKLOG: PutOff = PutOff(2);

    #[inline]
    pub(crate) fn has(self, one: PutOff) -> bool {
        self.0 & one.0 != 0
    }

    pub(crate) fn set(&mut self, one: PutOff) {
        self.0 |= one.0;
    }

    /// Clears it; returns whether it was set.
    pub(crate) fn clear(&mut self, one: PutOff) -> bool {
        let had = self.has(one);
        self.0 &= !one.0;
        had
    }
}

/// The bytes behind the buffer, in blocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backlog {
    blocks: Reassembly,
    /// The first byte's number; numbers begin anywhere.
    from: Seq,
    len: u32,
}

impl<C> Tcb<C> {
    /// Whether the next text can be offered where it lies: nothing comes before it, and nothing is
    /// put off.
    #[inline]
    pub(super) fn reads_in_place(&self) -> bool {
        self.cold.kept.is_untouched() && self.cold.put_off == PutOff::default()
    }

    /// Whether there is no input that the application has left.
    pub(crate) fn holds_nothing(&self) -> bool {
        self.cold.kept.is_untouched() && !self.cold.put_off.has(PutOff::BACKLOG)
    }

    /// Bytes held.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        let behind = if self.is_in_buffer() { 0 } else { self.cold.backlog.len };
        self.cold.kept.len() + behind as usize
    }

    /// Holds `bytes` behind what is held, as many as there is memory for; returns how many.
    pub(super) fn hold<B>(&mut self, bytes: &[u8], shared: &mut Shared<B>) -> usize {
        if self.held() == 0 {
            self.cold.held_since = shared.tick;
        }
        let kept =
            if self.is_in_buffer() { self.cold.kept.append(&mut shared.keep, bytes) } else { 0 };
        if kept == bytes.len() {
            return kept;
        }
        let held = kept + self.hold_in_blocks(&bytes[kept..], shared);
        shared.input_short |= held < bytes.len();
        held
    }

    #[cold]
    fn hold_in_blocks<B>(&mut self, bytes: &[u8], shared: &mut Shared<B>) -> usize {
        let most = window::reassembly_blocks(self, shared);
        let backlog = &mut self.cold.backlog;
        let end = backlog.from + backlog.len;
        let payload = Payload::new(bytes, &[], 0);
        let n = match backlog.blocks.insert(&mut shared.reassembly, most, end, payload) {
            Ok(()) => bytes.len(),
            Err(_) => backlog
                .blocks
                .runs(&shared.reassembly)
                .next()
                .map_or(0, |(_, full)| full.since(end) as usize),
        };
        backlog.len += n as u32;
        if n > 0 {
            self.cold.put_off.set(PutOff::BACKLOG);
        }
        shared.counters.input_held_in_blocks += n as u64;
        n
    }

    /// Copies the first bytes held, and `tail` behind them, to the scratch buffer, as many as fit;
    /// returns how many.
    pub(super) fn gather<B>(&self, tail: &[u8], shared: &mut Shared<B>) -> usize {
        let kept = self.cold.kept.bytes(&shared.keep);
        let (front, behind) = shared.scratch.split_at_mut(kept.len());
        front.copy_from_slice(kept);
        let backlog = &self.cold.backlog;
        let copied = backlog.blocks.copy(&shared.reassembly, backlog.from, behind);
        let rest = &mut behind[copied..];
        let n = if copied as u32 == backlog.len { tail.len().min(rest.len()) } else { 0 };
        rest[..n].copy_from_slice(&tail[..n]);
        kept.len() + copied + n
    }

    /// Whether all that is held lies in the buffer.
    #[inline]
    pub(super) fn is_in_buffer(&self) -> bool {
        !self.cold.put_off.has(PutOff::BACKLOG)
    }

    /// The first `n` bytes held are consumed.
    pub(super) fn drop_held<B>(&mut self, n: usize, shared: &mut Shared<B>) {
        let kept = n.min(self.cold.kept.len());
        self.cold.kept.consume(&mut shared.keep, kept);
        let behind = (n - kept) as u32;
        if behind > 0 {
            let backlog = &mut self.cold.backlog;
            backlog.from += behind;
            backlog.len -= behind;
            // Blocks before it are free again.
            let _ = backlog.blocks.front(&mut shared.reassembly, backlog.from);
            if backlog.len == 0 {
                self.cold.put_off.clear(PutOff::BACKLOG);
            }
        }
        self.cold.held_since = shared.tick;
    }

    /// Drops everything held.
    pub(crate) fn clear_held<B>(&mut self, shared: &mut Shared<B>) {
        self.cold.kept.clear(&mut shared.keep);
        if self.cold.put_off.clear(PutOff::BACKLOG) {
            self.cold.backlog.blocks.clear(&mut shared.reassembly);
            self.cold.backlog = Backlog::default();
        }
    }

    /// Whether this connection holds a part of a request for longer than it may while others find
    /// no memory for theirs. One whose answers wait for the peer is not meant: the send timeout
    /// bounds that.
    pub(crate) fn holds_too_long(&self, now: Tick) -> bool {
        self.held() > 0
            && !self.holds_input()
            && !self.hot.marks.has(Marks::CLOSING)
            && self.cold.held_since.plus(WAIT_MS).is_due(now)
    }
}

const _: () = assert!(
    LARGE_BYTES >= u16::MAX as usize,
    "a packet may be offered that is larger than what is kept"
);
