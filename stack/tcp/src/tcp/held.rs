//! Input that the application has not consumed: in a buffer of the [`input`](simoom_io::input)
//! pool, followed by blocks of the reassembly pool.
//!
//! Bytes are stored in order and delivered in one piece until they are consumed. The buffer is one
//! piece of memory and usually enough. Blocks hold what does not fit: up to a large receive window,
//! or everything while no buffer is free. Bytes that find no block either are not acknowledged, so
//! the peer retransmits them.

use super::block::Cold;
use super::{Inputs, Shared, Tcb, window};
use crate::Config;
use crate::counters::Counters;
use crate::reassembly::Reassembly;
use crate::seq::Seq;
use crate::wire::Payload;
use simoom_io::Input;
use simoom_io::input::LARGE_BYTES;
use simoom_io::timer::Tick;

/// A connection may hold a part of a request for this long while other connections find no memory.
const WAIT_MS: u32 = 1000;
/// The same if more of the request found no memory itself: then the peer has to send that again,
/// which it does after 0.2, 0.6 and 1.4 seconds.
const MISSING_WAIT_MS: u32 = 2000;
/// The same if it found none while the application read later: meanwhile the peer has tried more
/// often, and tries again after 3, 6.2 and 12.6 seconds.
const PUT_OFF_WAIT_MS: u32 = 8000;

/// The bytes behind the buffer, in blocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backlog {
    blocks: Reassembly,
    /// The sequence number of the first byte; the origin is arbitrary.
    from: Seq,
    len: u32,
}

/// The input of one connection during an event.
pub(crate) struct Held<'a> {
    pub(super) cold: &'a mut Cold,
    pub(super) inputs: &'a mut Inputs,
    pub(super) counters: &'a mut Counters,
    /// These two determine how many blocks the connection may hold.
    pub(super) config: &'a Config,
    pub(super) window_doublings: u8,
    pub(super) tick: Tick,
}

impl Held<'_> {
    #[cold]
    fn append_to_blocks(&mut self, bytes: &[u8]) -> usize {
        let max_blocks = window::reassembly_blocks(self.window_doublings, self.config);
        let backlog = &mut self.cold.backlog;
        let blocks = &mut self.inputs.reassembly;
        let end = backlog.from + backlog.len;
        let payload = Payload::new(bytes, &[], 0);
        let n = match backlog.blocks.insert(blocks, max_blocks, end, payload) {
            Ok(()) => bytes.len(),
            Err(_) => {
                let run = backlog.blocks.runs(blocks).next();
                run.map_or(0, |(_, full)| full.since(end) as usize)
            }
        };
        backlog.len += n as u32;
        self.cold.has_backlog |= n > 0;
        self.counters.input_held_in_blocks += n as u64;
        n
    }
}

impl Input for Held<'_> {
    #[inline]
    fn len(&self) -> usize {
        held(self.cold)
    }

    #[inline]
    fn seen(&self) -> usize {
        self.cold.input.seen()
    }

    fn append(&mut self, bytes: &[u8]) -> usize {
        if self.is_empty() {
            self.cold.held_since = self.tick;
        }
        let buffered = match self.cold.has_backlog {
            true => 0,
            false => self.cold.input.append(&mut self.inputs.buffers, bytes),
        };
        if buffered == bytes.len() {
            self.cold.lacks_input = false;
            return buffered;
        }
        let held = buffered + self.append_to_blocks(&bytes[buffered..]);
        self.cold.lacks_input = held < bytes.len();
        self.inputs.short |= self.cold.lacks_input;
        held
    }

    /// Returns the buffer if it holds everything, otherwise a copy in the scratch buffer.
    fn gather<'b>(&'b mut self, tail: &'b [u8]) -> &'b [u8] {
        let bytes = self.cold.input.bytes(&self.inputs.buffers);
        if tail.is_empty() && !self.cold.has_backlog {
            return bytes;
        }
        let (front, behind) = self.inputs.scratch.split_at_mut(bytes.len());
        front.copy_from_slice(bytes);
        let backlog = &self.cold.backlog;
        let copied = match self.cold.has_backlog {
            true => backlog.blocks.copy(&self.inputs.reassembly, backlog.from, behind),
            false => 0,
        };
        let in_one = !self.cold.has_backlog || copied as u32 == backlog.len;
        let rest = &mut behind[copied..];
        let n = if in_one { tail.len().min(rest.len()) } else { 0 };
        rest[..n].copy_from_slice(&tail[..n]);
        let gathered = bytes.len() + copied + n;
        &self.inputs.scratch[..gathered]
    }

    fn delivered(&mut self, shown: usize, consumed: usize) {
        let buffered = self.cold.input.len();
        self.cold.input.delivered(&mut self.inputs.buffers, shown, consumed);
        let behind = consumed.saturating_sub(buffered) as u32;
        if behind > 0 && self.cold.has_backlog {
            let backlog = &mut self.cold.backlog;
            let n = behind.min(backlog.len);
            backlog.from += n;
            backlog.len -= n;
            // Frees the blocks before `from`.
            let _ = backlog.blocks.front(&mut self.inputs.reassembly, backlog.from);
            self.cold.has_backlog = backlog.len > 0;
        }
        self.cold.was_put_off = false;
        if consumed > 0 {
            self.cold.held_since = self.tick;
        }
    }

    fn clear(&mut self) {
        self.cold.clear_input(self.inputs);
    }
}

#[inline]
fn held(cold: &Cold) -> usize {
    let behind = if cold.has_backlog { cold.backlog.len } else { 0 };
    cold.input.len() + behind as usize
}

impl Cold {
    fn clear_input(&mut self, inputs: &mut Inputs) {
        self.input.clear(&mut inputs.buffers);
        (self.lacks_input, self.was_put_off) = (false, false);
        if std::mem::take(&mut self.has_backlog) {
            self.backlog.blocks.clear(&mut inputs.reassembly);
            self.backlog = Backlog::default();
        }
    }
}

impl<C> Tcb<C> {
    /// Whether the application has consumed all input.
    #[inline]
    pub(crate) fn holds_nothing(&self) -> bool {
        self.cold.input.is_fully_consumed() && !self.cold.has_backlog
    }

    /// Bytes held.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        held(&self.cold)
    }

    /// Drops everything held.
    pub(crate) fn clear_held<B>(&mut self, shared: &mut Shared<B>) {
        self.cold.clear_input(&mut shared.inputs);
    }

    /// The application reads again: the time before does not count as the peer's.
    pub(super) fn reads_again(&mut self, now: Tick) {
        self.cold.held_since = now;
        self.cold.was_put_off = self.cold.input.seen() > self.held();
    }

    /// Whether this connection has held a part of a request for too long. A connection whose
    /// answers wait for the peer does not count: the send timeout bounds it. Nor does one whose
    /// application reads later.
    pub(crate) fn holds_too_long(&self, now: Tick) -> bool {
        let wait_ms = match () {
            () if self.cold.was_put_off => PUT_OFF_WAIT_MS,
            () if self.cold.lacks_input => MISSING_WAIT_MS,
            () => WAIT_MS,
        };
        self.held() > 0
            && self.warm.flow.takes_input()
            && self.cold.held_since.plus(wait_ms).is_due(now)
    }
}

const _: () =
    assert!(LARGE_BYTES >= u16::MAX as usize, "a packet may be larger than the input buffer");
