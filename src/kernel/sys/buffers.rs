//! The receive buffers of io_uring. Provides buffers to the kernel through a buffer ring. Never
//! frees one while the ring is open, and never provides one that is held.

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use rustix::io::Errno;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// Bytes of one receive buffer.
pub(in crate::kernel) const BUFFER_BYTES: usize = 2048;
/// Distance between two buffers. Not a power of two, so that their first cache lines do not share a
/// few sets.
const BUFFER_STRIDE: usize = BUFFER_BYTES + 64;
/// Buffer group of the receive buffers; there is no other.
pub(super) const GROUP: u16 = 0;
/// Maximum number of receive buffers.
pub(in crate::kernel) const BUFFERS_MAX: usize = 1 << 15;
const PAGE_BYTES: usize = 4096;

/// A receive buffer that the kernel has filled.
#[derive(Debug)]
pub(in crate::kernel) struct Buffer {
    id: u16,
    len: u16,
}

impl Buffer {
    /// Identifies the buffer: below the number of buffers.
    pub(in crate::kernel) fn id(&self) -> u16 {
        self.id
    }

    pub(in crate::kernel) fn len(&self) -> usize {
        usize::from(self.len)
    }
}

/// Zeroed pages that are freed when dropped.
struct Memory {
    base: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    fn zeroed(len: usize) -> Memory {
        let layout = Layout::from_size_align(len.max(1), PAGE_BYTES)
            .expect("bounded by the number of buffers");
        // SAFETY: the size is not 0.
        let base = unsafe { alloc_zeroed(layout) };
        Memory { base: NonNull::new(base).unwrap_or_else(|| handle_alloc_error(layout)), layout }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout, and freed nowhere else.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

/// The receive buffers and the ring that provides them to the kernel.
pub(super) struct Buffers {
    /// `entries` times `io_uring_buf`; the first one's reserved field is the tail.
    ring: Memory,
    bytes: Memory,
    count: u16,
    /// `entries` - 1.
    mask: u16,
    tail: u16,
    /// Number of buffers that the kernel owns.
    free: u16,
}

impl Buffers {
    const fn entries(count: usize) -> usize {
        count.next_power_of_two()
    }

    pub(super) fn new(count: usize) -> Buffers {
        assert!((1..=BUFFERS_MAX).contains(&count), "{count} receive buffers");
        let entries = Buffers::entries(count);
        let mut buffers = Buffers {
            ring: Memory::zeroed(entries * size_of::<BufRingEntry>()),
            bytes: Memory::zeroed(count * BUFFER_STRIDE),
            count: count as u16,
            mask: (entries - 1) as u16,
            tail: 0,
            free: 0,
        };
        (0..count as u16).for_each(|id| buffers.put(id));
        buffers
    }

    /// Bytes of memory of `count` buffers.
    pub(super) const fn memory_bytes(count: usize) -> usize {
        Buffers::entries(count) * size_of::<BufRingEntry>() + count * BUFFER_STRIDE
    }

    /// Registers the buffer ring.
    ///
    /// # Safety
    ///
    /// The buffers must be dropped after the ring is closed, or after it has cancelled all
    /// operations that may write to them.
    pub(super) unsafe fn register(&self, ring: &IoUring) -> io::Result<()> {
        let address = self.ring.base.as_ptr() as u64;
        // SAFETY: the memory is page-aligned and has this many entries; the caller sees to its
        // life.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, self.mask + 1, GROUP, 0) }
    }

    /// Number of buffers that the kernel may fill.
    pub(super) fn free(&self) -> usize {
        usize::from(self.free)
    }

    /// The buffer that a completion names. A buffer without bytes is provided again.
    pub(super) fn take(
        &mut self,
        id: u16,
        received: Result<u32, Errno>,
    ) -> Result<Option<Buffer>, Errno> {
        assert!(id < self.count, "the kernel names buffer {id} of {}", self.count);
        self.free -= 1;
        match received {
            Ok(len) if len > 0 => {
                Ok(Some(Buffer { id, len: (len as usize).min(BUFFER_BYTES) as u16 }))
            }
            _ => {
                self.put(id);
                received.map(|_| None)
            }
        }
    }

    /// The bytes that were received into `buffer`.
    pub(super) fn bytes<'a>(&'a self, buffer: &'a Buffer) -> &'a [u8] {
        // SAFETY: the buffer lies within the memory (`at` checks), `len` is at most BUFFER_BYTES,
        // and as long as the `Buffer` is held the kernel does not write there (3).
        unsafe { std::slice::from_raw_parts(self.at(buffer.id).as_ptr(), buffer.len()) }
    }

    /// Provides `buffer` to the kernel again.
    #[allow(clippy::needless_pass_by_value, reason = "the buffer is the kernel's from now on")]
    pub(super) fn give(&mut self, buffer: Buffer) {
        self.put(buffer.id);
    }

    fn at(&self, id: u16) -> NonNull<u8> {
        assert!(id < self.count, "buffer {id} of {}", self.count);
        // SAFETY: an id below `count` lies within the memory, as allocated in `new`.
        unsafe { self.bytes.base.add(usize::from(id) * BUFFER_STRIDE) }
    }

    /// Provides the buffer to the kernel. The caller must own it, and loses it.
    fn put(&mut self, id: u16) {
        let base: NonNull<BufRingEntry> = self.ring.base.cast();
        let address = self.at(id).as_ptr() as u64;
        // SAFETY: the masked index is one of the ring's entries. The kernel does not read this one
        // until the tail has passed it; the ring has a place for every buffer, so it is none that
        // the kernel may still read. Its reserved field, which in the first entry is the tail, is
        // not written.
        unsafe {
            let entry = &mut *base.add(usize::from(self.tail & self.mask)).as_ptr();
            entry.set_addr(address);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
        self.free += 1;
        // SAFETY: the tail lies in the ring's first entry, aligned, and the kernel reads it as an
        // atomic.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base.as_ptr()).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}
