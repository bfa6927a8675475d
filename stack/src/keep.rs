//! Input that the application has seen but not consumed, kept in one piece for each connection.
//!
//! Most connections keep nothing: their requests are read where they lie, in the received frame. The few that do
//! hold a buffer of a [`Pool`] of fixed size, a small one first and a large one when that is full. Both transports
//! use it: the user-space stack copies a frame's rest here, the kernel transport a read's.

/// Bytes of a small buffer: a request head that came in two segments.
pub const SMALL_BYTES: usize = 2 * 1024;
/// Bytes of a large buffer, and the most that is kept for one connection.
pub const LARGE_BYTES: usize = 64 * 1024;
/// Once this much is kept and nothing of it consumed, the application is told that its input is overfull.
pub const OVERFULL_BYTES: usize = 16 * 1024;

/// The buffers of one worker.
pub struct Pool {
    small: Class,
    large: Class,
}

/// Buffers of one size.
struct Class {
    bytes: Vec<u8>,
    free: Vec<u32>,
    size: usize,
}

impl Class {
    fn new(size: usize, count: usize) -> Class {
        let last = u32::try_from(count).expect("limits bound the pool below 2^32 buffers");
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
    /// A pool of so many buffers of either size.
    pub fn new(small: usize, large: usize) -> Pool {
        Pool { small: Class::new(SMALL_BYTES, small), large: Class::new(LARGE_BYTES, large) }
    }

    /// Bytes of memory that [`Pool::new`] takes.
    pub const fn memory_bytes(small: usize, large: usize) -> usize {
        small * (SMALL_BYTES + size_of::<u32>()) + large * (LARGE_BYTES + size_of::<u32>())
    }

    /// Buffers of either size that nothing is kept in.
    pub fn free(&self) -> (usize, usize) {
        (self.small.free.len(), self.large.free.len())
    }

    fn class(&mut self, holder: Holder) -> Option<(&mut Class, u32)> {
        match holder {
            Holder::None => None,
            Holder::Small(index) => Some((&mut self.small, index)),
            Holder::Large(index) => Some((&mut self.large, index)),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Holder {
    #[default]
    None,
    Small(u32),
    Large(u32),
}

/// What is kept for one connection: `len` bytes from `start` on in its buffer. It must be [`clear`](Kept::clear)ed
/// before it is dropped, or its buffer stays taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept {
    holder: Holder,
    start: u32,
    len: u32,
}

impl Kept {
    /// Bytes kept.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether nothing is kept.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes, in one piece.
    pub fn bytes<'a>(&self, pool: &'a Pool) -> &'a [u8] {
        let buffer = match self.holder {
            Holder::None => return &[],
            Holder::Small(index) => pool.small.buffer(index),
            Holder::Large(index) => pool.large.buffer(index),
        };
        &buffer[self.start as usize..][..self.len as usize]
    }

    /// Copies as much of `bytes` behind what is kept as there is room for; returns how much.
    pub fn append(&mut self, pool: &mut Pool, bytes: &[u8]) -> usize {
        self.make_room(pool, bytes.len());
        let Some((class, index)) = pool.class(self.holder) else { return 0 };
        let end = (self.start + self.len) as usize;
        let spare = &mut class.buffer_mut(index)[end..];
        let n = bytes.len().min(spare.len());
        spare[..n].copy_from_slice(&bytes[..n]);
        self.len += n as u32;
        n
    }

    /// Drops the first `n` bytes, at most [`Kept::len`]; an empty buffer goes back to the pool.
    pub fn consume(&mut self, pool: &mut Pool, n: usize) {
        assert!(n <= self.len(), "consumed {n} bytes of {}", self.len);
        self.start += n as u32;
        self.len -= n as u32;
        if self.len == 0 {
            self.clear(pool);
        }
    }

    /// Drops everything.
    pub fn clear(&mut self, pool: &mut Pool) {
        if let Some((class, index)) = pool.class(self.holder) {
            class.free.push(index);
        }
        *self = Kept::default();
    }

    /// Makes room for `more` bytes, as far as a buffer of the next size or the front of this one gives it.
    fn make_room(&mut self, pool: &mut Pool, more: usize) {
        let wanted = self.len() + more;
        let size = pool.class(self.holder).map_or(0, |(class, _)| class.size);
        if wanted > size && size < LARGE_BYTES {
            self.grow(pool, wanted);
        }
        let Some((class, index)) = pool.class(self.holder) else { return };
        if self.start as usize + wanted > class.size && self.start > 0 {
            let held = self.start as usize..(self.start + self.len) as usize;
            class.buffer_mut(index).copy_within(held, 0);
            self.start = 0;
        }
    }

    fn grow(&mut self, pool: &mut Pool, wanted: usize) {
        let small = || wanted <= SMALL_BYTES || pool.large.free.is_empty();
        let holder = if self.holder == Holder::None && small() {
            pool.small.free.pop().map(Holder::Small).or_else(|| pool.large.free.pop().map(Holder::Large))
        } else {
            pool.large.free.pop().map(Holder::Large)
        };
        let Some(holder) = holder else { return };
        if let (Holder::Small(from), Holder::Large(to)) = (self.holder, holder) {
            let held = &pool.small.buffer(from)[self.start as usize..][..self.len as usize];
            pool.large.buffer_mut(to)[..held.len()].copy_from_slice(held);
            pool.small.free.push(from);
        }
        (self.holder, self.start) = (holder, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keeps_bytes_in_order(steps in proptest::collection::vec((any::<bool>(), 0usize..9000), 1..80)) {
            let mut pool = Pool::new(1, 1);
            let (mut kept, mut model, mut counter) = (Kept::default(), Vec::new(), 0u8);
            for (append, n) in steps {
                if append {
                    let bytes: Vec<u8> = (0..n).map(|_| { counter = counter.wrapping_add(7); counter }).collect();
                    let taken = kept.append(&mut pool, &bytes);
                    prop_assert_eq!(taken, n.min(LARGE_BYTES - model.len()));
                    model.extend_from_slice(&bytes[..taken]);
                } else {
                    let n = n.min(model.len());
                    kept.consume(&mut pool, n);
                    model.drain(..n);
                }
                prop_assert_eq!(kept.bytes(&pool), &model[..]);
            }
            kept.clear(&mut pool);
            prop_assert_eq!(pool.free(), (1, 1));
        }
    }

    #[test]
    fn an_empty_pool_takes_what_it_can() {
        let mut pool = Pool::new(1, 0);
        let (mut first, mut second) = (Kept::default(), Kept::default());
        assert_eq!(first.append(&mut pool, &[1; 3000]), SMALL_BYTES);
        assert_eq!(second.append(&mut pool, &[2; 10]), 0);
        first.consume(&mut pool, SMALL_BYTES);
        assert_eq!(second.append(&mut pool, &[2; 10]), 10);
    }
}
