//! The rings between this process and the kernel: one producer, one consumer, a power of two of
//! slots.
//!
//! Both sides count slots with a free-running 32-bit index, so `producer - consumer` (wrapping) is
//! how many are filled. Each side publishes its index with a release store after it is done with
//! the slots, and reads the other side's with an acquire load before it touches them. The memory
//! may be a mapping of a socket or, in tests, plain memory with both sides in this process. An
//! index from the other side that cannot be is taken for "nothing to do".

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a ring lies in memory.
pub(crate) struct Layout<T> {
    pub(crate) producer: NonNull<AtomicU32>,
    pub(crate) consumer: NonNull<AtomicU32>,
    /// Absent on kernels before 5.4, which always need a wakeup.
    pub(crate) flags: Option<NonNull<AtomicU32>>,
    pub(crate) slots: NonNull<T>,
    /// A power of two.
    pub(crate) size: u32,
}

/// One side's view of a ring, with the memory it keeps alive.
struct Shared<T> {
    layout: Layout<T>,
    _memory: Box<dyn Send>,
}

// SAFETY: the pointers lead into `_memory`, which is Send and goes with them; the slots are plain
// values and the indices atomics.
unsafe impl<T: Copy + Send> Send for Shared<T> {}

impl<T: Copy> Shared<T> {
    /// # Safety
    /// The pointers are aligned, lead to `size` initialized slots and to the indices, and are valid
    /// for as long as `memory` lives. No other producer (or consumer, for a consumer) of the ring
    /// exists.
    unsafe fn new(layout: Layout<T>, memory: Box<dyn Send>) -> Self {
        assert!(layout.size.is_power_of_two(), "a ring of {} slots", layout.size);
        Shared { layout, _memory: memory }
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: valid while `_memory` lives, by the contract of `new`.
        unsafe { self.layout.producer.as_ref() }
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.layout.consumer.as_ref() }
    }

    #[inline]
    fn slot(&self, index: u32) -> *mut T {
        // SAFETY: the mask keeps the offset below `size`, within the slots by the contract of
        // `new`.
        unsafe { self.layout.slots.as_ptr().add((index & (self.layout.size - 1)) as usize) }
    }

    #[inline]
    fn needs_wakeup(&self) -> bool {
        self.layout.flags.is_none_or(|flags| {
            // SAFETY: valid while `_memory` lives, by the contract of `new`.
            let flags = unsafe { flags.as_ref() };
            flags.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
        })
    }
}

/// The writing side: of a fill ring or a TX ring.
pub(crate) struct Producer<T> {
    shared: Shared<T>,
    /// The next slot to write. Invariant: `free_end - next` (wrapping) is at most the size.
    next: u32,
    /// The consumer's index at the last read, plus the size.
    free_end: u32,
}

impl<T: Copy> Producer<T> {
    /// # Safety
    /// See [`Shared::new`].
    pub(crate) unsafe fn new(layout: Layout<T>, memory: Box<dyn Send>) -> Self {
        // SAFETY: the caller's promise.
        let shared = unsafe { Shared::new(layout, memory) };
        let next = shared.producer().load(Ordering::Relaxed);
        Producer { free_end: next, next, shared }
    }

    #[inline]
    pub(crate) fn size(&self) -> u32 {
        self.shared.layout.size
    }

    /// Free slots. Reads the consumer's index only if fewer than `wanted` were free at the last
    /// read.
    #[inline]
    pub(crate) fn free(&mut self, wanted: u32) -> u32 {
        let known = self.free_end.wrapping_sub(self.next);
        if known >= wanted {
            return known;
        }
        let free_end = self.shared.consumer().load(Ordering::Acquire).wrapping_add(self.size());
        if free_end.wrapping_sub(self.next) <= self.size() {
            self.free_end = free_end;
        }
        self.free_end.wrapping_sub(self.next)
    }

    /// Writes the next slot, which must be free; the consumer sees it after [`Producer::submit`].
    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        assert!(self.free_end != self.next, "pushed onto a ring without a free slot");
        // SAFETY: the slot is free: the consumer has released it (acquired in `free`) and does not
        // read it before `submit` publishes it; there is no other producer.
        unsafe { self.shared.slot(self.next).write(value) };
        self.next = self.next.wrapping_add(1);
    }

    /// Writes up to `count` values to the next slots, which must be free. Returns how many values
    /// there were. Costs less than as many calls of [`Producer::push`].
    #[inline]
    pub(crate) fn push_all(&mut self, count: u32, values: impl Iterator<Item = T>) -> u32 {
        assert!(count <= self.free_end.wrapping_sub(self.next), "pushed past the free slots");
        let (slots, mask) = (self.shared.layout.slots.as_ptr(), self.size() - 1);
        let (start, mut next) = (self.next, self.next);
        for value in values.take(count as usize) {
            // SAFETY: the mask keeps the offset within the slots, and the slot is free: as in
            // `push`.
            unsafe { slots.add((next & mask) as usize).write(value) };
            next = next.wrapping_add(1);
        }
        self.next = next;
        next.wrapping_sub(start)
    }

    /// Shows the consumer everything pushed so far.
    #[inline]
    pub(crate) fn submit(&mut self) {
        self.shared.producer().store(self.next, Ordering::Release);
    }

    /// Slots pushed that the consumer has not released.
    #[inline]
    pub(crate) fn pending(&self) -> u32 {
        let consumer = self.shared.consumer().load(Ordering::Acquire);
        self.next.wrapping_sub(consumer).min(self.size())
    }

    /// Whether the consumer sleeps and must be woken by a system call.
    #[inline]
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.shared.needs_wakeup()
    }
}

/// The reading side: of an RX ring or a completion ring.
pub(crate) struct Consumer<T> {
    shared: Shared<T>,
    /// The next slot to read. Invariant: `filled_end - next` (wrapping) is at most the size.
    next: u32,
    /// The producer's index at the last read.
    filled_end: u32,
}

impl<T: Copy> Consumer<T> {
    /// # Safety
    /// See [`Shared::new`].
    pub(crate) unsafe fn new(layout: Layout<T>, memory: Box<dyn Send>) -> Self {
        // SAFETY: the caller's promise.
        let shared = unsafe { Shared::new(layout, memory) };
        let next = shared.consumer().load(Ordering::Relaxed);
        Consumer { filled_end: next, next, shared }
    }

    #[inline]
    pub(crate) fn size(&self) -> u32 {
        self.shared.layout.size
    }

    /// Filled slots. Reads the producer's index only if fewer than `wanted` were filled at the last
    /// read.
    #[inline]
    pub(crate) fn available(&mut self, wanted: u32) -> u32 {
        let known = self.filled_end.wrapping_sub(self.next);
        if known >= wanted {
            return known;
        }
        let filled_end = self.shared.producer().load(Ordering::Acquire);
        if filled_end.wrapping_sub(self.next) <= self.size() {
            self.filled_end = filled_end;
        }
        self.filled_end.wrapping_sub(self.next)
    }

    /// The value `ahead` slots past the next one; `ahead` is below what [`Consumer::available`]
    /// said.
    #[inline]
    pub(crate) fn peek(&self, ahead: u32) -> T {
        assert!(ahead < self.filled_end.wrapping_sub(self.next), "peeked past the filled slots");
        // SAFETY: the slot is filled: the producer has published it (acquired in `available`) and
        // does not write it before `release`; a slot holds a plain value, so whatever bits are
        // there are one.
        unsafe { self.shared.slot(self.next.wrapping_add(ahead)).read() }
    }

    /// The next `count` values in order, without [`Consumer::release`] of them. `count` is at most
    /// what [`Consumer::available`] said. Costs less than as many calls of [`Consumer::peek`]: what
    /// the caller writes meanwhile does not make it look for the slots again.
    #[inline]
    pub(crate) fn values(&self, count: u32) -> impl Iterator<Item = T> + '_ {
        assert!(count <= self.filled_end.wrapping_sub(self.next), "read past the filled slots");
        let (layout, next) = (&self.shared.layout, self.next);
        let (slots, mask) = (layout.slots.as_ptr(), layout.size - 1);
        (0..count).map(move |ahead| {
            let at = (next.wrapping_add(ahead) & mask) as usize;
            // SAFETY: the mask keeps the offset within the slots, and the slot is filled: as in
            // `peek`. `self` is borrowed, so the memory lives and nothing is released.
            unsafe { slots.add(at).read() }
        })
    }

    /// Gives the next `count` slots back to the producer.
    #[inline]
    pub(crate) fn release(&mut self, count: u32) {
        assert!(count <= self.filled_end.wrapping_sub(self.next), "released more than was filled");
        self.next = self.next.wrapping_add(count);
        self.shared.consumer().store(self.next, Ordering::Release);
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
pub(crate) mod tests;
