//! Memory mappings that unmap themselves ([`Mapping`]), and an allocator for programs with large
//! tables ([`HugePages`]).
//!
//! A mapping is a ring of a socket, or anonymous memory such as a UMEM. This module does not know
//! what the memory holds: code that makes references into it is responsible for them.

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
    /// Ordinary pages. The kernel was asked to merge them into huge pages where it can.
    Ordinary,
}

/// Mapped memory of the process, unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is memory of the process, not of a thread; this type only holds its bounds and
// hands out a raw pointer.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of a socket's ring at `offset`, shared with the kernel.
    pub(crate) fn of_ring(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Mapping> {
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a null hint lets the kernel place the mapping where nothing else is.
        let base = unsafe {
            mmap(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags, fd, offset)?
        };
        Ok(Mapping::from_raw(base.cast(), len))
    }

    /// Maps at least `len` bytes of zeros, on huge pages if the reserved pool has enough of them.
    pub fn anonymous(len: usize) -> io::Result<(Mapping, Pages)> {
        let len = len.max(1).next_multiple_of(HUGE_PAGE_BYTES);
        if let Ok(mapping) = Mapping::private(len, MapFlags::HUGETLB | MapFlags::HUGE_2MB) {
            return Ok((mapping, Pages::Huge));
        }
        let mapping = Mapping::private(len, MapFlags::empty())?;
        join_pages(mapping.base.as_ptr(), len);
        Ok((mapping, Pages::Ordinary))
    }

    /// Miri knows no mappings; there the memory comes from its allocator, so that it can judge what
    /// is done with it.
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

    /// Maps `len` bytes of zeros without a reservation: a page takes memory when it is written. 0
    /// bytes are an error.
    #[cfg(not(miri))]
    pub fn sparse(len: usize) -> io::Result<Mapping> {
        Mapping::private(len, MapFlags::NORESERVE)
    }

    fn from_raw(base: *mut u8, len: usize) -> Mapping {
        Mapping { base: NonNull::new(base).expect("mmap does not return null"), len }
    }

    /// The first byte. Valid as long as the mapping lives.
    #[inline]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes mapped, at least as many as were asked for.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no bytes are mapped, which never happens.
    pub fn is_empty(&self) -> bool {
        self.len == 0
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
        // SAFETY: the range is this mapping's, made by mmap and unmapped nowhere else; whoever
        // holds pointers into it also holds the mapping.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Asks the kernel to merge the pages of a range into huge pages where it can. A kernel without
/// transparent huge pages refuses; the memory is then used as it is.
fn join_pages(base: *mut u8, len: usize) {
    let start = base.addr().next_multiple_of(HUGE_PAGE_BYTES) - base.addr();
    let whole = len.saturating_sub(start) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    #[cfg(not(miri))]
    if whole > 0 {
        // SAFETY: the range lies within memory that the caller has just been given; the advice
        // changes no contents.
        let _ = unsafe { madvise(base.wrapping_add(start).cast(), whole, Advice::LinuxHugepage) };
    }
    #[cfg(miri)]
    let _ = whole;
}

/// The system's allocator, with huge pages for large allocations where the kernel has them. Random
/// access to a large table costs a TLB miss each time on ordinary pages.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: af_xdp::memory::HugePages = af_xdp::memory::HugePages;
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePages;

/// The smallest allocation that gets huge pages. The TLB covers smaller ones, and they would waste
/// the unused part of a huge page.
const LARGE_BYTES: usize = 8 * HUGE_PAGE_BYTES;

impl HugePages {
    fn joined(base: *mut u8, len: usize) -> *mut u8 {
        if len >= LARGE_BYTES && !base.is_null() {
            join_pages(base, len);
        }
        base
    }
}

// SAFETY: every call is handed on to the system's allocator; the memory that it returns is only
// advised upon.
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
#[path = "memory_tests.rs"]
mod tests;
