//! Input that the handler has seen but not consumed, in one piece for each connection.
//!
//! Most connections hold nothing: handlers read requests in place, in the received frame. The other
//! connections hold a buffer of a [`Pool`] of fixed size: a small one first, a large one when that
//! is full. The TCP stack copies the rest of a frame here. The transports over kernel sockets copy
//! the rest of a read, and read what follows into the space behind it ([`InputBuffer::spare`]).

/// Bytes of a small buffer: a request head that came in two segments.
pub const SMALL_BYTES: usize = 2 * 1024;
/// Bytes of a large buffer of the stack, and the most that it holds for one connection: a whole
/// receive window.
pub const LARGE_BYTES: usize = 64 * 1024;
/// Once this much is held and nothing of it consumed, the handler is told that its input is
/// overfull.
pub const OVERFULL_BYTES: usize = 16 * 1024;
/// Take a larger buffer, if one is free, rather than read into less space than this.
const MIN_SPARE_BYTES: usize = 512;

/// The buffers of one worker.
#[derive(Default)]
pub struct Pool {
    small: Class,
    large: Class,
}

/// Buffers of one size.
#[derive(Default)]
struct Class {
    bytes: Vec<u8>,
    free: Vec<u32>,
    size: usize,
}

impl Class {
    fn new(size: usize, count: usize) -> Class {
        let last = u32::try_from(count).ok().filter(|&count| count < u32::MAX / 2);
        let last = last.expect("limits bound the pool below 2^31 buffers");
        Class { bytes: vec![0; size * count], free: (0..last).rev().collect(), size }
    }

    fn buffer(&self, index: u32) -> &[u8] {
        &self.bytes[index as usize * self.size..][..self.size]
    }

    fn buffer_mut(&mut self, index: u32) -> &mut [u8] {
        &mut self.bytes[index as usize * self.size..][..self.size]
    }
}

impl Pool {
    /// A pool of `small` and `large` buffers.
    pub fn new(small: usize, large: usize) -> Pool {
        Pool::with_large_bytes(small, large, LARGE_BYTES)
    }

    /// A pool whose large buffers have `large_bytes` each, more than a small one.
    pub fn with_large_bytes(small: usize, large: usize, large_bytes: usize) -> Pool {
        assert!(large_bytes > SMALL_BYTES, "large buffers of {large_bytes} bytes");
        Pool { small: Class::new(SMALL_BYTES, small), large: Class::new(large_bytes, large) }
    }

    /// Bytes of memory that [`Pool::new`] takes.
    pub const fn memory_bytes(small: usize, large: usize) -> usize {
        Pool::memory_bytes_with(small, large, LARGE_BYTES)
    }

    /// Bytes of memory that [`Pool::with_large_bytes`] takes.
    pub const fn memory_bytes_with(small: usize, large: usize, large_bytes: usize) -> usize {
        small * (SMALL_BYTES + size_of::<u32>()) + large * (large_bytes + size_of::<u32>())
    }

    /// Free buffers of either size.
    pub fn free(&self) -> (usize, usize) {
        (self.small.free.len(), self.large.free.len())
    }

    /// Bytes that can surely be held of a connection that holds none yet.
    pub fn largest_free(&self) -> usize {
        let largest = [&self.large, &self.small].into_iter().find(|class| !class.free.is_empty());
        largest.map_or(0, |class| class.size)
    }

    fn class(&mut self, holder: Holder) -> Option<(&mut Class, u32)> {
        match holder {
            Holder::None => None,
            Holder::Small(index) => Some((&mut self.small, index)),
            Holder::Large(index) => Some((&mut self.large, index)),
        }
    }
}

/// The buffer that a connection holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    None,
    Small(u32),
    Large(u32),
}

/// A [`Holder`] in four bytes: 0 for none, or the index plus one, shifted left by the bit for the
/// size.
#[derive(Clone, Copy, Debug, Default)]
struct Packed(u32);

impl From<Holder> for Packed {
    fn from(holder: Holder) -> Packed {
        match holder {
            Holder::None => Packed(0),
            Holder::Small(index) => Packed((index + 1) << 1),
            Holder::Large(index) => Packed((index + 1) << 1 | 1),
        }
    }
}

impl Packed {
    #[inline]
    fn holder(self) -> Holder {
        match (self.0 >> 1, self.0 & 1) {
            (0, _) => Holder::None,
            (number, 0) => Holder::Small(number - 1),
            (number, _) => Holder::Large(number - 1),
        }
    }
}

/// Input held for one connection: `len` bytes from `start` on in its buffer. It must be
/// [`clear`](InputBuffer::clear)ed before it is dropped, or its buffer stays taken.
///
/// It also knows how much the handler has seen and not consumed. That can be more than is held:
/// without a free buffer the rest stays in the socket, or with the peer. Input is delivered only
/// when all of it is there again.
#[derive(Clone, Copy, Debug, Default)]
pub struct InputBuffer {
    holder: Packed,
    start: u32,
    len: u32,
    /// Bytes at the front of the unconsumed stream that the handler has seen.
    seen: u32,
}

impl InputBuffer {
    /// Bytes held.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether nothing is held.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether nothing is held, and nothing that the handler has seen is missing.
    #[inline]
    pub fn is_fully_consumed(&self) -> bool {
        self.len == 0 && self.seen == 0
    }

    /// Bytes at the front of the unconsumed stream that the handler has seen.
    #[inline]
    pub fn seen(&self) -> usize {
        self.seen as usize
    }

    /// The first `shown` unconsumed bytes were delivered, and the first `consumed` of them
    /// consumed: drops the consumed bytes that are held. `shown` must not be less than what the
    /// handler has seen.
    pub fn delivered(&mut self, pool: &mut Pool, shown: usize, consumed: usize) {
        debug_assert!(shown >= self.seen(), "delivered {shown} bytes of {} seen", self.seen);
        let held = consumed.min(self.len());
        if held > 0 {
            self.consume(pool, held);
        }
        self.seen = (shown - consumed) as u32;
    }

    /// The bytes, in one piece.
    pub fn bytes<'a>(&self, pool: &'a Pool) -> &'a [u8] {
        let buffer = match self.holder.holder() {
            Holder::None => return &[],
            Holder::Small(index) => pool.small.buffer(index),
            Holder::Large(index) => pool.large.buffer(index),
        };
        &buffer[self.start as usize..][..self.len as usize]
    }

    /// Copies as much of `bytes` behind those held as there is space for. Returns how many.
    pub fn append(&mut self, pool: &mut Pool, bytes: &[u8]) -> usize {
        self.make_space(pool, bytes.len());
        let Some((class, index)) = pool.class(self.holder.holder()) else { return 0 };
        let end = (self.start + self.len) as usize;
        let spare = &mut class.buffer_mut(index)[end..];
        let n = bytes.len().min(spare.len());
        spare[..n].copy_from_slice(&bytes[..n]);
        self.len += n as u32;
        n
    }

    /// Drops the first `n` bytes, at most [`InputBuffer::len`]; an empty buffer goes back to the
    /// pool. What the handler has seen of later bytes stays noted.
    pub fn consume(&mut self, pool: &mut Pool, n: usize) {
        assert!(n <= self.len(), "consumed {n} bytes of {}", self.len);
        self.start += n as u32;
        self.len -= n as u32;
        if self.len == 0 {
            let seen = self.seen;
            self.clear(pool);
            self.seen = seen;
        }
    }

    /// Drops everything.
    pub fn clear(&mut self, pool: &mut Pool) {
        if let Some((class, index)) = pool.class(self.holder.holder()) {
            class.free.push(index);
        }
        *self = InputBuffer::default();
    }

    /// The space behind those held, to read into. Follow with [`InputBuffer::extend`]. There is
    /// none if nothing is held, or if the buffer is full and none larger is free.
    pub fn spare<'a>(&mut self, pool: &'a mut Pool) -> &'a mut [u8] {
        if self.is_empty() {
            return &mut [];
        }
        self.enlarge(pool, self.len() + MIN_SPARE_BYTES);
        self.move_to_front(pool);
        let end = self.len();
        pool.class(self.holder.holder())
            .map_or(&mut [], |(class, index)| &mut class.buffer_mut(index)[end..])
    }

    /// `n` bytes were read into [`InputBuffer::spare`].
    pub fn extend(&mut self, pool: &mut Pool, n: usize) {
        let size = pool.class(self.holder.holder()).map_or(0, |(class, _)| class.size);
        let end = self.start as usize + self.len();
        assert!(n <= size - end, "{n} bytes were read into {} bytes of space", size - end);
        self.len += n as u32;
    }

    /// Gives a large buffer back if half a small one holds what is there, and one is free.
    pub fn shrink(&mut self, pool: &mut Pool) {
        let Holder::Large(from) = self.holder.holder() else { return };
        if self.len() > SMALL_BYTES / 2 {
            return;
        }
        let Some(to) = pool.small.free.pop() else { return };
        let held = &pool.large.buffer(from)[self.start as usize..][..self.len as usize];
        pool.small.buffer_mut(to)[..held.len()].copy_from_slice(held);
        pool.large.free.push(from);
        (self.holder, self.start) = (Holder::Small(to).into(), 0);
    }

    /// Makes space for `more` bytes: takes a buffer of the next size, or moves the bytes to the
    /// front of this one.
    fn make_space(&mut self, pool: &mut Pool, more: usize) {
        let wanted = self.len() + more;
        self.enlarge(pool, wanted);
        let Some((class, _)) = pool.class(self.holder.holder()) else { return };
        if self.start as usize + wanted > class.size {
            self.move_to_front(pool);
        }
    }

    /// Takes a buffer of the next size if one is free and this one is too small for `wanted` bytes.
    fn enlarge(&mut self, pool: &mut Pool, wanted: usize) {
        let size = pool.class(self.holder.holder()).map_or(0, |(class, _)| class.size);
        if wanted > size && size < pool.large.size {
            self.grow(pool, wanted);
        }
    }

    fn move_to_front(&mut self, pool: &mut Pool) {
        let Some((class, index)) = pool.class(self.holder.holder()) else { return };
        if self.start > 0 {
            let held = self.start as usize..(self.start + self.len) as usize;
            class.buffer_mut(index).copy_within(held, 0);
            self.start = 0;
        }
    }

    fn grow(&mut self, pool: &mut Pool, wanted: usize) {
        let small = || wanted <= SMALL_BYTES || pool.large.free.is_empty();
        let holder = if self.holder.holder() == Holder::None && small() {
            pool.small
                .free
                .pop()
                .map(Holder::Small)
                .or_else(|| pool.large.free.pop().map(Holder::Large))
        } else {
            pool.large.free.pop().map(Holder::Large)
        };
        let Some(holder) = holder else { return };
        if let (Holder::Small(from), Holder::Large(to)) = (self.holder.holder(), holder) {
            let held = &pool.small.buffer(from)[self.start as usize..][..self.len as usize];
            pool.large.buffer_mut(to)[..held.len()].copy_from_slice(held);
            pool.small.free.push(from);
        }
        (self.holder, self.start) = (holder.into(), 0);
    }
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
