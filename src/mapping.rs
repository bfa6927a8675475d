//! Memory mappings that unmap themselves: a ring of a socket, the anonymous memory of a UMEM or of the store. And the
//! allocator of a program whose tables are large ([`HugePages`]).
//!
//! Nothing here knows what the memory holds; whoever makes references into it answers for them.

#[cfg(not(miri))]
use rustix::mm::{Advice, madvise, mmap_anonymous, munmap};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};

const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Which pages a mapping got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// 2 MiB pages of the reserved pool (`vm.nr_hugepages`).
    Huge,
    /// Ordinary pages, which the kernel was asked to join into huge ones where it can.
    Ordinary,
}

/// A mapping of `len` bytes from `base`, until it is dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is memory of the process, not of a thread; this type only holds its bounds and hands out a raw
// pointer.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `len` bytes of a socket's ring at `offset`, shared with the kernel.
    pub(crate) fn of_ring(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Mapping> {
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a null hint lets the kernel place the mapping where nothing else is.
        let base = unsafe { mmap(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags, fd, offset)? };
        Ok(Mapping::from_raw(base.cast(), len))
    }

    /// At least `len` bytes of zeros, on huge pages if the pool has enough of them.
    pub(crate) fn anonymous(len: usize) -> io::Result<(Mapping, Pages)> {
        let len = len.next_multiple_of(HUGE_PAGE_BYTES);
        if let Ok(mapping) = Mapping::private(len, MapFlags::HUGETLB | MapFlags::HUGE_2MB) {
            return Ok((mapping, Pages::Huge));
        }
        let mapping = Mapping::private(len, MapFlags::empty())?;
        join_pages(mapping.base.as_ptr(), len);
        Ok((mapping, Pages::Ordinary))
    }

    /// Miri knows no mappings; there the memory comes from its allocator, so that it can judge what is done with it.
    #[cfg(miri)]
    fn private(len: usize, flags: MapFlags) -> io::Result<Mapping> {
        if !flags.is_empty() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let layout = std::alloc::Layout::from_size_align(len, 4096).map_err(io::Error::other)?;
        // SAFETY: the length was rounded up from at least one chunk, so it is not 0.
        Ok(Mapping::from_raw(unsafe { std::alloc::alloc_zeroed(layout) }, len))
    }

    #[cfg(not(miri))]
    fn private(len: usize, flags: MapFlags) -> io::Result<Mapping> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a null hint lets the kernel place the mapping where nothing else is.
        let base = unsafe { mmap_anonymous(null_mut(), len, prot, MapFlags::PRIVATE | flags)? };
        Ok(Mapping::from_raw(base.cast(), len))
    }

    /// `len` bytes of zeros that take memory only where they are written.
    #[cfg(all(test, not(miri)))]
    pub(crate) fn sparse(len: usize) -> io::Result<Mapping> {
        Mapping::private(len, MapFlags::NORESERVE)
    }

    fn from_raw(base: *mut u8, len: usize) -> Mapping {
        Mapping { base: NonNull::new(base).expect("mmap does not return null"), len }
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        #[cfg(miri)]
        // SAFETY: under Miri the memory was allocated with this layout, in `private`.
        unsafe {
            let layout = std::alloc::Layout::from_size_align_unchecked(self.len, 4096);
            std::alloc::dealloc(self.base.as_ptr(), layout);
        }
        #[cfg(not(miri))]
        // SAFETY: the range is this mapping's, made by mmap and unmapped nowhere else; whoever holds pointers into
        // it also holds the mapping.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Asks the kernel to join the pages of a range into huge ones where it can. A kernel without transparent huge pages
/// refuses it, which is no loss.
fn join_pages(base: *mut u8, len: usize) {
    let start = base.addr().next_multiple_of(HUGE_PAGE_BYTES) - base.addr();
    let whole = len.saturating_sub(start) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    #[cfg(not(miri))]
    if whole > 0 {
        // SAFETY: the range lies within memory that the caller has just been given; the advice changes no contents.
        let _ = unsafe { madvise(base.wrapping_add(start).cast(), whole, Advice::LinuxHugepage) };
    }
    #[cfg(miri)]
    let _ = whole;
}

/// The system's allocator, whose large allocations come on huge pages where the kernel has them. A table of a million
/// connections is met anywhere, and on ordinary pages each look costs a walk through the page tables besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePages;

/// From so many bytes on; the translations of less stay in the processor, and memory that is never used is not taken for
/// it a huge page at a time.
const LARGE_BYTES: usize = 8 * HUGE_PAGE_BYTES;

impl HugePages {
    fn joined(base: *mut u8, len: usize) -> *mut u8 {
        if len >= LARGE_BYTES && !base.is_null() {
            join_pages(base, len);
        }
        base
    }
}

// SAFETY: every call is handed on to the system's allocator; the memory that it returns is only advised upon.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract, which is the same.
        HugePages::joined(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        HugePages::joined(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, base: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        // SAFETY: as above.
        HugePages::joined(unsafe { System.realloc(base, layout, len) }, len)
    }

    unsafe fn dealloc(&self, base: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(base, layout) }
    }
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
