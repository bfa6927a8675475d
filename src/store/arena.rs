//! The memory of items, and the only `unsafe` code of the store: references into that memory.
//!
//! An item is a [`Header`] of 24 bytes and a line, padded to 8 bytes. The line is what a text `get`
//! returns: `VALUE <key> <flags> <bytes>\r\n<value>\r\n`. An [`Offset`] tells where the item
//! begins. The arena does not know which offsets are in use: they come from the space and its
//! TLABs, through entries of the table. A caller proves with a value that it holds ([`MayRead`],
//! [`MayWrite`], [`BucketOffset`]) that it keeps this contract, which makes the references sound:
//!
//! - Headers consist of atomics. All threads that may read an item may change its header.
//! - One thread at a time writes a line, and only while no entry of the table refers to it: the
//!   holder of its reservation, or the thread that moves an item there.
//! - A thread reads a line only if it holds one of three: a pin on the frame that was taken while
//!   an entry referred to the item; the lock of that entry's chain; or, for an item with the flag
//!   `LINKED`, the lock of the space. The writer of a line may read it too.
//! - A frame is reused only under the lock of the space. Its live count must be 0, so no entry and
//!   no reservation refers to it, and after that no pin may be held on it. A reader takes the pin
//!   before it reads the entry again; eviction removes the entry before it reads the pins. All four
//!   are `SeqCst`, so no reader falls between them.
//! - A frame that the table takes for buckets was free and stays with the table. Buckets consist of
//!   atomics.

use super::item::{Claim, Item, ItemGuard, Reservation};
use super::space::Space;
use super::table::{BUCKET_BYTES, Bucket, BucketOffset, ChainGuard};
use super::tlab::Tlabs;
use af_xdp::memory::Mapping;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// Start of an item, in units of [`UNIT_BYTES`] from the start of the arena; less than
/// 2^[`OFFSET_BITS`].
pub(super) type Offset = u64;

/// Bits of an [`Offset`]: enough for 8 TiB.
pub(super) const OFFSET_BITS: u32 = 40;

/// Alignment of items.
pub(super) const UNIT_BYTES: usize = 8;

/// Bytes of a cache line.
const CACHE_LINE_BYTES: usize = 64;
/// Cache lines prefetched for an item. They hold most items of up to 100 bytes.
const PREFETCHED_LINES: usize = 3;

/// The metadata in front of an item's line.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Header {
    pub(super) cas: AtomicU64,
    pub(super) value_bytes: AtomicU32,
    /// Unix seconds; 0 means never.
    pub(super) exptime: AtomicU32,
    /// Unix seconds; up to a second ahead of the clock after a flush_all.
    pub(super) last_access: AtomicU32,
    pub(super) key_bytes: AtomicU8,
    /// Bytes of the line in front of the value, without the key.
    pub(super) overhead_bytes: AtomicU8,
    /// [`super::Store`]'s generation when the item was stored.
    pub(super) generation: AtomicU8,
    /// The bits that [`super::layout`] defines.
    pub(super) item_flags: AtomicU8,
}

/// Size of a [`Header`].
pub(super) const HEADER_BYTES: usize = 24;
const _: () = assert!(size_of::<Header>() == HEADER_BYTES && align_of::<Header>() == UNIT_BYTES);

/// What a thread holds while it uses an item. References to the item end before it does.
///
/// # Safety
///
/// While a value of the type exists, the contract of this module lets the thread that holds it read
/// the items that it was made for.
pub(super) unsafe trait MayRead {}
// SAFETY: it holds a pin that was taken before the entry was read again.
unsafe impl MayRead for ItemGuard<'_> {}
// SAFETY: it holds a pin that was taken by a thread that could read the item.
unsafe impl MayRead for Item {}
// SAFETY: no other thread uses the space of a reservation.
unsafe impl MayRead for Reservation {}
// SAFETY: the lock of a chain keeps the items of its entries in the table.
unsafe impl MayRead for ChainGuard<'_> {}
// SAFETY: a `Space` is behind its lock, so no frame is reused meanwhile.
unsafe impl MayRead for Space {}
// SAFETY: TLABs are behind their lock, so nobody else uses the units that they return.
unsafe impl MayRead for Tlabs {}

/// What a thread holds while it writes the line of an item to which no entry refers.
///
/// # Safety
///
/// While a value of the type exists, no other thread uses the memory that it was made for.
pub(super) unsafe trait MayWrite: MayRead {}
// SAFETY: a reservation holds the only claim to its space.
unsafe impl MayRead for Claim {}
// SAFETY: the reservation ends before another thread uses the space: an entry takes it over.
unsafe impl MayWrite for Claim {}
// SAFETY: under its lock an item is written to units that the space has just allocated.
unsafe impl MayWrite for Space {}

/// One mapping that holds all frames.
#[derive(Debug)]
pub(super) struct Arena {
    mapping: Mapping,
    bytes: usize,
    /// The last offset with space for a header.
    last: Offset,
}

impl Arena {
    /// Maps `bytes` of memory and writes to each page, so that the kernel allocates it now.
    pub(super) fn new(bytes: usize) -> io::Result<Arena> {
        let arena = Arena::of(Mapping::anonymous(bytes)?.0, bytes);
        // The kernel allocates a page at the first write to it.
        #[cfg(not(miri))]
        for at in (0..bytes).step_by(4096) {
            // SAFETY: no other thread has the arena yet.
            unsafe { arena.write((at / UNIT_BYTES) as Offset, 0, &[0]) };
        }
        Ok(arena)
    }

    /// Maps `bytes` of memory. A page takes memory at the first write to it.
    #[cfg(all(test, not(miri)))]
    pub(super) fn sparse(bytes: usize) -> io::Result<Arena> {
        Ok(Arena::of(Mapping::sparse(bytes)?, bytes))
    }

    fn of(mapping: Mapping, bytes: usize) -> Arena {
        assert!(bytes.is_multiple_of(BUCKET_BYTES), "an arena of {bytes} bytes");
        Arena { mapping, bytes, last: ((bytes - HEADER_BYTES) / UNIT_BYTES) as Offset }
    }

    /// The place of an item. Panics if there is no space for a header at `at`.
    #[inline]
    pub(super) fn place(&self, at: Offset) -> Place<'_> {
        assert!(at <= self.last, "beyond the arena");
        let offset = at as usize * UNIT_BYTES;
        // SAFETY: the assertion keeps the address within the mapping.
        let start = unsafe { self.mapping.base().add(offset) };
        Place { start, bytes: self.bytes - offset, arena: PhantomData }
    }

    /// The header of the item at `at`.
    #[inline]
    pub(super) fn header<'a>(&'a self, at: Offset, held: &'a impl MayRead) -> &'a Header {
        self.place(at).header(held)
    }

    /// A bucket in a frame of the table.
    #[inline]
    pub(super) fn bucket(&self, at: BucketOffset) -> &Bucket {
        assert!(at.offset() <= self.last, "beyond the arena");
        // SAFETY: the assertion keeps the address within the mapping.
        let address =
            unsafe { self.mapping.base().as_ptr().add(at.offset() as usize * UNIT_BYTES) };
        // SAFETY: a `BucketOffset` is a multiple of the size of a bucket, as the length of the
        // arena is, so the whole bucket is in bounds and, in a page-aligned mapping, aligned. Any
        // bytes are valid for atomics. Only the table makes a `BucketOffset`, for frames that the
        // space gave to it.
        unsafe { &*address.cast::<Bucket>() }
    }

    /// Prefetches a bucket.
    #[inline]
    pub(super) fn prefetch_bucket(&self, at: BucketOffset) {
        let base = self.mapping.base().as_ptr();
        prefetch(base.wrapping_add(at.offset() as usize * UNIT_BYTES));
    }

    /// A byte range of the line of the item at `at`.
    #[inline]
    pub(super) fn line<'a>(
        &'a self,
        at: Offset,
        range: Range<usize>,
        held: &'a impl MayRead,
    ) -> &'a [u8] {
        self.place(at).line(range, held)
    }

    /// Writes to the line of the item at `at`.
    #[inline]
    pub(super) fn write_line(
        &self,
        at: Offset,
        offset: usize,
        bytes: &[u8],
        _held: &mut impl MayWrite,
    ) {
        // SAFETY: `_held` excludes other users of the line.
        unsafe { self.write(at, HEADER_BYTES + offset, bytes) };
    }

    /// Writes to memory relative to `at`. Panics if the bytes would leave the arena.
    ///
    /// # Safety
    ///
    /// Nobody else uses the memory now.
    #[inline]
    unsafe fn write(&self, at: Offset, offset: usize, bytes: &[u8]) {
        let address = self.place(at).address(&(offset..offset + bytes.len()));
        // SAFETY: the address is in bounds, and only the caller uses the memory. `bytes` is another
        // line or memory outside of the arena, so the two do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address, bytes.len()) };
    }

    /// Prefetches the header of the item at `at` and the start of its line.
    #[inline]
    pub(super) fn prefetch(&self, at: Offset) {
        let first = self.mapping.base().as_ptr().wrapping_add(at as usize * UNIT_BYTES);
        for line in 0..PREFETCHED_LINES {
            prefetch(first.wrapping_add(line * CACHE_LINE_BYTES));
        }
    }
}

/// Where an item begins: an offset that was checked once. References to the item still need a
/// proof.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The address of the offset, with space for a header.
    start: NonNull<u8>,
    /// Bytes from there to the end of the arena.
    bytes: usize,
    arena: PhantomData<&'a Arena>,
}

impl Place<'_> {
    /// The address of a byte range. Panics if the range leaves the arena.
    #[inline]
    fn address(self, range: &Range<usize>) -> *mut u8 {
        assert!(range.start <= range.end && range.end <= self.bytes, "beyond the arena");
        // SAFETY: the assertion keeps the address within the mapping, which lives as long as
        // the arena.
        unsafe { self.start.as_ptr().add(range.start) }
    }

    /// The header of the item.
    #[inline]
    pub(super) fn header<'h>(self, _held: &'h impl MayRead) -> &'h Header
    where
        Self: 'h,
    {
        // SAFETY: `start` has space for a header in the mapping. It is aligned: the mapping is
        // page-aligned, and offsets count units of 8 bytes. Any bytes are valid for atomics. A
        // reused frame may turn a line into a header; `_held` excludes references to either at
        // that time.
        unsafe { self.start.cast::<Header>().as_ref() }
    }

    /// A byte range of the line of the item.
    #[inline]
    pub(super) fn line<'h>(self, range: Range<usize>, _held: &'h impl MayRead) -> &'h [u8]
    where
        Self: 'h,
    {
        let range = HEADER_BYTES + range.start..HEADER_BYTES + range.end;
        let address = self.address(&range);
        // SAFETY: the address is in bounds. `_held` excludes writers of the line as long as the
        // reference lives.
        unsafe { std::slice::from_raw_parts(address, range.len()) }
    }
}

/// Prefetches the cache line at an address. No line needs to be there.
#[inline]
pub(super) fn prefetch<T>(what: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch accesses no memory that the program can observe, and does not fault.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(what.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = what;
}

/// Proof for tests with one thread.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct OneThread;
// SAFETY: tests with one thread use each reference before they write.
#[cfg(test)]
unsafe impl MayRead for OneThread {}
// SAFETY: tests with one thread use each reference before they write.
#[cfg(test)]
unsafe impl MayWrite for OneThread {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn headers_and_lines_keep_what_is_written() {
        let arena = Arena::new(4096).unwrap();
        arena.header(8, &OneThread).cas.store(7, Relaxed);
        arena.write_line(8, 2, b"abc", &mut OneThread);
        assert_eq!(arena.header(8, &OneThread).cas.load(Relaxed), 7);
        assert_eq!(arena.line(8, 0..5, &OneThread), b"\0\0abc");
        arena.prefetch(8);
    }

    #[test]
    fn the_last_byte_can_be_written_and_the_next_cannot() {
        let arena = Arena::new(4096).unwrap();
        let last = (4096 - HEADER_BYTES) / UNIT_BYTES - 1;
        let write = |bytes: &[u8]| arena.write_line(last as Offset, 0, bytes, &mut OneThread);
        write(&[1; UNIT_BYTES]);
        assert!(std::panic::catch_unwind(|| write(&[1; UNIT_BYTES + 1])).is_err());
        let header = || arena.header(Offset::MAX, &OneThread).cas.load(Relaxed);
        assert!(std::panic::catch_unwind(header).is_err());
    }
}
