//! What a handler says during one call: bytes for the send queue, and effects on its connection.

use crate::flow::{self, Flow};
use crate::send::{Blob, CAPACITY_COPY_BYTES, Pool, Queue};
use smoltcp::time::Duration;
use std::ops::Range;

/// What a handler may do to its connection during one call.
///
/// Three ways to queue bytes:
///
/// | method | use it for | without space |
/// |---|---|---|
/// | [`write`](Reply::write) | bytes of any length that the caller can produce again | takes what fits and says how much; [`resumed`](crate::Application::resumed) follows |
/// | [`copy`](Reply::copy) | short bytes, up to [`CAPACITY_COPY_BYTES`] after [`has_capacity`](Reply::has_capacity) agreed | resets the connection |
/// | [`share`](Reply::share) | a long range that exists already, up to [`CAPACITY_SHARES`](crate::send::CAPACITY_SHARES) after `has_capacity` agreed | resets the connection |
pub struct Reply<'a, B> {
    pool: &'a mut Pool<B>,
    queue: &'a mut Queue,
    effects: &'a mut Effects,
    is_broken: bool,
}

/// Set on a panic while the pool or the queue changes: from then on neither can be relied on. Costs
/// nothing without a panic, because only unwinding drops it.
struct BrokenOnPanic<'a>(&'a mut bool);

impl Drop for BrokenOnPanic<'_> {
    fn drop(&mut self) {
        *self.0 = true;
    }
}

/// What a handler asked for through a [`Reply`], besides the bytes that it queued.
/// [`Exchange`](crate::Exchange) interprets it after the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// What the call asks of the connection. A connection that closes sends everything queued and
    /// takes no more input.
    pub asked: Flow,
    /// The deadline was set, or cleared with `Some(None)`. `None`: it is unchanged.
    pub timeout: Option<Option<Duration>>,
}

impl<'a, B: Blob> Reply<'a, B> {
    /// A reply that appends to `queue` and notes in `effects` what else the handler asks for.
    #[inline]
    pub fn new(pool: &'a mut Pool<B>, queue: &'a mut Queue, effects: &'a mut Effects) -> Self {
        Reply { pool, queue, effects, is_broken: false }
    }

    /// Whether [`CAPACITY_COPY_BYTES`] can be copied and
    /// [`CAPACITY_SHARES`](crate::send::CAPACITY_SHARES) blobs shared. If not, stop and return:
    /// [`resumed`](crate::Application::resumed) is called when there is capacity, and no input is
    /// delivered before, unless the handler asks to [`read_on`](Reply::read_on).
    pub fn has_capacity(&mut self) -> bool {
        let capacity = self.pool.has_capacity(self.queue);
        if !capacity {
            self.effects.asked.ask(flow::WANTS_CAPACITY);
        }
        capacity
    }

    /// Bytes queued on this connection and not yet acknowledged, those of this call included.
    pub fn queued(&self) -> u64 {
        self.queue.len()
    }

    /// Bytes that may be copied beyond what [`Reply::has_capacity`] promised, if it did. The
    /// capacity that other connections need is not counted.
    pub fn copyable(&self) -> usize {
        self.pool.copyable(self.queue)
    }

    /// Queues a copy of the first bytes of `bytes`, as many as there is capacity for, and returns
    /// how many. If that is not all, `resumed` follows as after [`Reply::has_capacity`].
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && self.has_capacity() {
            let n = (bytes.len() - taken).min(CAPACITY_COPY_BYTES);
            self.copy(&bytes[taken..taken + n]);
            taken += n;
        }
        taken
    }

    /// Queues a copy of `bytes`. Beyond what [`Reply::has_capacity`] promised this may fail, which
    /// resets the connection: half an answer must not be sent.
    pub fn copy(&mut self, bytes: &[u8]) {
        self.copy_all([bytes]);
    }

    /// Queues copies of all `parts`, one after another, as [`Reply::copy`] does for each.
    #[inline(always)]
    pub fn copy_all<const N: usize>(&mut self, parts: [&[u8]; N]) {
        let guard = BrokenOnPanic(&mut self.is_broken);
        let fits = self.queue.copy_all(self.pool, parts);
        std::mem::forget(guard);
        if !fits {
            self.effects.asked.ask(flow::OVERFLOWED);
        }
    }

    /// Queues `range` of `blob` without copying it. `range` lies within the blob, is at most 2 GiB
    /// long and ends below 4 GiB. Fails as [`Reply::copy`] does.
    pub fn share(&mut self, blob: B, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        assert!(range.end <= blob.bytes().len(), "a range past the end of its blob");
        let (Ok(start), Ok(end)) = (u32::try_from(range.start), u32::try_from(range.end)) else {
            return self.effects.asked.ask(flow::OVERFLOWED);
        };
        let guard = BrokenOnPanic(&mut self.is_broken);
        let fits = self.queue.share(self.pool, blob, start, end);
        std::mem::forget(guard);
        if !fits {
            self.effects.asked.ask(flow::OVERFLOWED);
        }
    }

    /// Whether a panic interrupted [`Reply::copy`] or [`Reply::share`] while they changed the pool,
    /// which all connections share: it must not be used any more.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Closes the connection once everything queued is sent and acknowledged.
    pub fn close(&mut self) {
        self.effects.asked.ask(flow::CLOSING);
    }

    /// Resets the connection. Queued bytes are dropped.
    pub fn abort(&mut self) {
        self.effects.asked.ask(flow::ABORTED);
    }

    /// Delivers no input before the next deadline: set one with [`Reply::set_timeout`]. After its
    /// `timeout`, input is delivered again. Input that this call did not consume is held meanwhile,
    /// within the receive window, which shuts when that is full. Use it to read at a limited rate,
    /// while a request waits for something that other connections hold, or for an answer that comes
    /// later: a completion ends it as the deadline does.
    pub fn read_later(&mut self) {
        self.effects.asked.ask(flow::READS_LATER);
    }

    /// Delivers input although [`Reply::has_capacity`] said no: for a handler that consumes its
    /// input before it can answer, or that reads and writes independently. It holds until the next
    /// call, so ask for it in each.
    pub fn read_on(&mut self) {
        self.effects.asked.ask(flow::READS_ON);
    }

    /// Ends this connection's share of the worker's iteration: for a handler that has done much
    /// work for it, measured in work and not in bytes. In the next iteration, after other
    /// connections were served and new packets were read, [`resumed`](crate::Application::resumed)
    /// is called and then the input delivered that is left. No input is delivered before.
    pub fn yield_now(&mut self) {
        self.effects.asked.ask(flow::YIELDED);
    }

    /// Asks for `timeout` to be called once `after` has passed, unless another deadline is set by
    /// then. `None` clears the deadline.
    pub fn set_timeout(&mut self, after: Option<Duration>) {
        self.effects.timeout = Some(after);
    }
}
