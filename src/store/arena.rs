//! The memory that items lie in, and the only `unsafe` of the store: references into it.
//!
//! An item is a [`Header`] of 24 bytes, then the line that a text `get` returns, padded to 8 bytes.
//! A [`Offset`] names where it begins. Nothing here knows which places are in use; what makes the
//! references sound is this contract, which the rest of the store keeps:
//!
//! - Headers are made of atomics alone and may be read and written by anyone at any time.
//! - A line is written by one thread at a time, and only as long as no entry of the table names its
//!   place: by the holder of its reservation, or while it is being moved there.
//! - A line is read only by who holds a pin on its frame that was taken while an entry of the table
//!   named the place; or the lock of that entry; or the lock of the space, if the item is marked as
//!   linked.
//! - A frame is used anew only with the lock of the space, after no entry and no reservation named
//!   a place in it (its live count was 0) and after that no pin was held on it. Taking a pin before
//!   reading the entry again, and removing the entry before reading the pins, all in one total
//!   order (`SeqCst`), leaves no gap between the two.
//! - A frame that the table takes for buckets was free, as for any use anew, and is the table's for
//!   ever. Buckets are made of atomics alone.

use super::table::Bucket;
use af_xdp::memory::Mapping;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// Where an item begins: in units of [`UNIT_BYTES`] from the start of the arena; below 2 to the
/// power of [`OFFSET_BITS`].
pub(super) type Offset = u64;

/// Enough for 8 TiB.
pub(super) const OFFSET_BITS: u32 = 40;

/// Items begin at multiples of this.
pub(super) const UNIT_BYTES: usize = 8;

/// What the processor fetches at once.
const CACHE_LINE_BYTES: usize = 64;
/// So much of an item is fetched ahead: an item of 100 bytes as a rule.
const PREFETCHED_LINES: usize = 3;

/// What precedes an item's line.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Header {
    pub(super) cas: AtomicU64,
    pub(super) value_bytes: AtomicU32,
    /// Unix seconds, 0 for never.
    pub(super) exptime: AtomicU32,
    /// Unix seconds.
    pub(super) last_access: AtomicU32,
    pub(super) key_bytes: AtomicU8,
    /// Bytes of the line before the value, less those of the key.
    pub(super) overhead_bytes: AtomicU8,
    /// Which flush_all it was stored after, modulo 256.
    pub(super) generation: AtomicU8,
    /// See [`super::layout`].
    pub(super) item_flags: AtomicU8,
}

/// Bytes of a [`Header`].
pub(super) const HEADER_BYTES: usize = 24;
const _: () = assert!(size_of::<Header>() == HEADER_BYTES && align_of::<Header>() == UNIT_BYTES);

/// The memory.
#[derive(Debug)]
pub(super) struct Arena {
    mapping: Mapping,
    bytes: usize,
}

impl Arena {
    /// Takes `bytes` of memory, all of it at once.
    pub(super) fn new(bytes: usize) -> io::Result<Arena> {
        let (mapping, _) = Mapping::anonymous(bytes)?;
        let arena = Arena { mapping, bytes };
        // Until a page is written the kernel has only promised it.
        #[cfg(not(miri))]
        (0..bytes).step_by(4096).for_each(|at| arena.write((at / UNIT_BYTES) as Offset, 0, &[0]));
        Ok(arena)
    }

    /// An arena of which only what is written takes memory.
    #[cfg(all(test, not(miri)))]
    pub(super) fn sparse(bytes: usize) -> io::Result<Arena> {
        Ok(Arena { mapping: Mapping::sparse(bytes)?, bytes })
    }

    /// The address of `range` of the bytes from `at` on; a panic if they leave the arena.
    #[inline]
    fn address(&self, at: Offset, range: &Range<usize>) -> *mut u8 {
        let base = at as usize * UNIT_BYTES;
        assert!(
            range.start <= range.end && range.end <= self.bytes - base.min(self.bytes),
            "beyond the arena"
        );
        // SAFETY: within the mapping, by the assertion; it lives as long as `self`.
        unsafe { self.mapping.base().as_ptr().add(base + range.start) }
    }

    /// The header at `at`.
    #[inline]
    pub(super) fn header(&self, at: Offset) -> &Header {
        let address = self.address(at, &(0..HEADER_BYTES));
        // SAFETY: in bounds, and aligned since the mapping is to pages and places are to 8 bytes.
        // All fields are atomics, for which any bytes are valid; a frame's memory changes between
        // line and header only when it is used anew, which by the contract nobody overlaps.
        unsafe { &*address.cast::<Header>() }
    }

    /// The bucket at `at` of a frame that the table took.
    #[inline]
    pub(super) fn bucket(&self, at: Offset) -> &Bucket {
        let address = self.address(at, &(0..size_of::<Bucket>()));
        assert!(address.cast::<Bucket>().is_aligned(), "a bucket between two cache lines");
        // SAFETY: in bounds and aligned, by the assertions. All fields are atomics, for which any
        // bytes are valid; by the contract nobody else uses the memory of the frame.
        unsafe { &*address.cast::<Bucket>() }
    }

    /// A range of the line of the item at `at`.
    #[inline]
    pub(super) fn line(&self, at: Offset, range: Range<usize>) -> &[u8] {
        let range = HEADER_BYTES + range.start..HEADER_BYTES + range.end;
        let address = self.address(at, &range);
        // SAFETY: in bounds; by the contract the caller holds a pin or a lock that keeps the line
        // from being written.
        unsafe { std::slice::from_raw_parts(address, range.len()) }
    }

    /// Writes into the line of the item at `at`.
    #[inline]
    pub(super) fn write_line(&self, at: Offset, offset: usize, bytes: &[u8]) {
        self.write(at, HEADER_BYTES + offset, bytes);
    }

    fn write(&self, at: Offset, offset: usize, bytes: &[u8]) {
        let address = self.address(at, &(offset..offset + bytes.len()));
        // SAFETY: in bounds; by the contract this thread alone uses the line now, so `bytes`, which
        // is a line that may be read or memory outside of the arena, does not overlap it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address, bytes.len()) };
    }

    /// Asks the processor to fetch the item at `at`, which will be read soon: its header, and what
    /// is near behind it.
    #[inline]
    pub(super) fn prefetch(&self, at: Offset) {
        let last = (self.bytes - HEADER_BYTES) / UNIT_BYTES;
        for line in 0..PREFETCHED_LINES {
            prefetch(
                self.header(
                    (at as usize + line * CACHE_LINE_BYTES / UNIT_BYTES).min(last) as Offset
                ),
            );
        }
    }
}

/// Asks the processor to fetch what will be read soon.
#[inline]
pub(super) fn prefetch<T>(what: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch reads nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(what).cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = what;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn headers_and_lines_keep_what_is_written() {
        let arena = Arena::new(4096).unwrap();
        arena.header(8).cas.store(7, Relaxed);
        arena.write_line(8, 2, b"abc");
        assert_eq!(
            (arena.header(8).cas.load(Relaxed), arena.line(8, 2..5)),
            (7, b"abc".as_slice())
        );
        assert_eq!(arena.line(8, 0..2), [0, 0]);
        arena.prefetch(8);
    }

    #[test]
    fn the_last_byte_can_be_written_and_the_next_cannot() {
        let arena = Arena::new(4096).unwrap();
        let last = (4096 - HEADER_BYTES) / UNIT_BYTES - 1;
        arena.write_line(last as Offset, 0, &[1; UNIT_BYTES]);
        let beyond =
            std::panic::catch_unwind(|| arena.write_line(last as Offset, 0, &[1; UNIT_BYTES + 1]));
        assert!(beyond.is_err());
        assert!(std::panic::catch_unwind(|| arena.header(Offset::MAX).cas.load(Relaxed)).is_err());
    }
}
