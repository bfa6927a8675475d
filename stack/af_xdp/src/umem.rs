//! The packet memory, and the frames in it: values that move and cannot be copied.
//!
//! In come descriptors from the kernel, out go [`Frame`]s, or nothing if a descriptor is invalid.
//! An ownership table with one entry per chunk records its holder: this process, or the kernel
//! through one ring of one queue. So there is never a second `Frame` of one chunk, whatever a
//! driver returns. [`Umem::bytes_mut`] relies on that to give out exclusive references.

use super::memory::{Mapping, Pages};
use super::metadata::{self, Checksum};
use super::pool::FramePool;
use super::{Error, XDP_PACKET_HEADROOM_BYTES};
use rustix::net::xdp::{XdpDesc, XdpDescOptions, XdpUmemReg};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// One chunk of a [`Umem`], and the range of its bytes in use. No second `Frame` of the chunk
/// exists.
///
/// Give it to a [`FramePool`] or to [`super::Queue::transmit`]. Dropping it leaks its chunk until
/// the device is closed.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a dropped frame is lost to its pool"]
pub struct Frame {
    addr: u64,
    len: u32,
    umem: u16,
    more: bool,
    /// TX metadata lies before the first byte in use.
    has_metadata: bool,
}

impl Frame {
    /// Offset of its first byte in use from the start of the UMEM.
    #[inline]
    pub fn addr(&self) -> u64 {
        self.addr
    }

    /// Bytes in use.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no bytes are in use, as in a frame fresh from the pool.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the packet continues in the next frame.
    #[inline]
    pub fn more(&self) -> bool {
        self.more
    }

    /// Whether a checksum was requested for the packet ([`Umem::request_checksum`]).
    #[inline]
    pub fn has_metadata(&self) -> bool {
        self.has_metadata
    }

    /// Sets how many bytes are in use. If the chunk is shorter, the next use of the bytes panics.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        self.len = u32::try_from(len).expect("a frame is shorter than 4 GiB");
    }

    /// Sets whether the packet continues in the frame transmitted next.
    #[inline]
    pub fn set_more(&mut self, more: bool) {
        self.more = more;
    }

    /// A frame of the UMEM `umem` without bytes in use. Only for a chunk of which no other frame
    /// exists.
    #[inline]
    pub(crate) fn empty(addr: u64, umem: u16) -> Frame {
        Frame { addr, len: 0, umem, more: false, has_metadata: false }
    }

    /// Stands for no frame in a list of frames.
    #[inline]
    pub(crate) fn none(umem: u16) -> Frame {
        Frame::empty(NO_ADDR, umem)
    }

    /// Whether it is [`Frame::none`].
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.addr == NO_ADDR
    }

    /// Where its bytes in use begin, instead of the frame. Panics if it is not one of the UMEM
    /// `umem`.
    #[inline]
    pub(crate) fn into_addr(self, umem: u16) -> u64 {
        assert!(self.umem == umem, "a frame of another device");
        self.addr
    }
}

/// No frame begins here.
pub(crate) const NO_ADDR: u64 = u64::MAX;

/// The holder of a chunk that this process holds; any other number is a [`Holder`].
const USER: u16 = 0;

/// The kernel, through one direction of one queue, in the ownership table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder(u16);

impl Holder {
    /// The kernel, to receive into: by the fill ring to the RX ring of `queue`.
    #[inline]
    pub(crate) fn receive(queue: u32) -> Holder {
        Holder(1 + 2 * queue as u16)
    }

    /// The kernel, to transmit from: by the TX ring to the completion ring of `queue`.
    #[inline]
    pub(crate) fn transmit(queue: u32) -> Holder {
        Holder(2 + 2 * queue as u16)
    }
}

/// Largest number of queues that the ownership table supports.
pub(crate) const MAX_QUEUES: u32 = 4096;

/// Chunks by holder, from the ownership table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Chunks of this process: in pools, or as frames in use.
    pub user: usize,
    /// Chunks that the kernel has to receive into, or has received into.
    pub receive: usize,
    /// Chunks that the kernel has to transmit, or has transmitted.
    pub transmit: usize,
}

/// A device's packet memory: `chunks` chunks of one size, shared by all of its queues and workers.
#[derive(Debug)]
pub struct Umem {
    mapping: Mapping,
    pages: Pages,
    /// A power of two.
    chunk_bytes: u32,
    chunks: u32,
    /// Bytes before a transmitted frame, for its TX metadata: 0 without metadata.
    headroom: u32,
    id: u16,
    holders: Box<[AtomicU16]>,
}

impl Umem {
    /// Maps memory for `chunks` chunks of `chunk_bytes` and shares them out to `pools` pools,
    /// evenly; the first pools get the remainder. [`super::Device::open`] does this; call it for an
    /// implementation of [`super::FrameIo`].
    ///
    /// # Panics
    /// If `chunk_bytes` is neither 2048 nor 4096, or `chunks` or `pools` is 0.
    pub fn new(chunks: u32, chunk_bytes: u32, pools: u32) -> Result<(Umem, Vec<FramePool>), Error> {
        Umem::with_headroom(chunks, chunk_bytes, pools, 0)
    }

    /// The same with space for TX metadata before each transmitted frame, so that
    /// [`Umem::request_checksum`] can be called. A frame of the pools begins behind that space.
    pub fn with_metadata(
        chunks: u32,
        chunk_bytes: u32,
        pools: u32,
    ) -> Result<(Umem, Vec<FramePool>), Error> {
        Umem::with_headroom(chunks, chunk_bytes, pools, metadata::BYTES)
    }

    fn with_headroom(
        chunks: u32,
        chunk_bytes: u32,
        pools: u32,
        headroom: u32,
    ) -> Result<(Umem, Vec<FramePool>), Error> {
        assert!([2048, 4096].contains(&chunk_bytes) && chunks > 0 && pools > 0);
        let bytes = chunks as usize * chunk_bytes as usize;
        let (mapping, pages) =
            Mapping::anonymous(bytes).map_err(|source| Error::Umem { bytes, source })?;
        let holders = (0..chunks).map(|_| AtomicU16::new(USER)).collect();
        let umem = Umem { mapping, pages, chunk_bytes, chunks, headroom, id: next_id(), holders };
        let (each, over) = (chunks / pools, chunks % pools);
        let mut start = 0;
        let dealt = (0..pools).map(|pool| {
            let end = start + each + u32::from(pool < over);
            let frames = (start..end).map(|chunk| umem.empty(chunk));
            start = end;
            FramePool::new(umem.id, umem.chunk_bytes, headroom, chunks, frames)
        });
        let dealt = dealt.collect();
        Ok((umem, dealt))
    }

    /// A frame without bytes. Only for a chunk of which no other frame exists.
    fn empty(&self, chunk: u32) -> Frame {
        let addr = u64::from(chunk) * u64::from(self.chunk_bytes) + u64::from(self.headroom);
        Frame::empty(addr, self.id)
    }

    /// Chunks in all.
    pub fn chunks(&self) -> usize {
        self.chunks as usize
    }

    /// Bytes of a chunk.
    #[inline]
    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes as usize
    }

    /// The maximum length of a transmitted frame: a chunk without the space for TX metadata.
    #[inline]
    pub fn transmit_bytes(&self) -> usize {
        (self.chunk_bytes - self.headroom) as usize
    }

    /// Whether a transmitted frame has space for TX metadata.
    #[inline]
    pub fn has_metadata(&self) -> bool {
        self.headroom > 0
    }

    /// Bytes of a packet that one chunk can receive. A longer packet comes as a chain of frames.
    pub fn receive_bytes(&self) -> usize {
        self.chunk_bytes() - XDP_PACKET_HEADROOM_BYTES
    }

    /// The kind of pages of the memory.
    pub fn pages(&self) -> Pages {
        self.pages
    }

    /// Bytes of memory mapped.
    pub fn memory_bytes(&self) -> usize {
        self.mapping.len()
    }

    /// The bytes in use of a frame. Panics if the frame is another device's.
    #[inline]
    pub fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        let (offset, len) = self.span(frame);
        // SAFETY: `span` keeps within one chunk of the mapping, which lives as long as `self`. The
        // frame is the only one of its chunk (the invariant of the ownership table) and is
        // borrowed, so neither the kernel nor anyone else writes.
        unsafe { std::slice::from_raw_parts(self.mapping.base().as_ptr().add(offset), len) }
    }

    /// The bytes in use of a frame, to change them. Panics if the frame is another device's.
    #[inline]
    pub fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        let (offset, len) = self.span(frame);
        // SAFETY: as in `bytes`; the frame is borrowed exclusively, so there is no other reference
        // to its chunk.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.base().as_ptr().add(offset), len) }
    }

    /// The [`Umem::transmit_bytes`] bytes of a frame's chunk, to write a packet from the start. Set
    /// its length with [`Frame::set_len`] afterwards.
    #[inline]
    pub fn chunk_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        frame.addr = (frame.addr & !u64::from(self.chunk_bytes - 1)) + u64::from(self.headroom);
        frame.len = self.chunk_bytes - self.headroom;
        frame.has_metadata = false;
        self.bytes_mut(frame)
    }

    /// Lets `write` write a packet to a frame, and makes the kernel the holder of its chunk.
    /// Returns the descriptor for the ring. Does what [`Umem::chunk_mut`],
    /// [`Umem::request_checksum`] and [`Umem::lend`] do one after the other, with one check of the
    /// frame. Panics if the frame is another device's, and if the packet is empty or longer than
    /// its frame.
    #[inline(always)]
    pub(crate) fn lend_written(
        &self,
        frame: Frame,
        to: Holder,
        checksum: Option<Checksum>,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> XdpDesc {
        let start = frame.into_addr(self.id) & !u64::from(self.chunk_bytes - 1);
        let holder = &self.holders[(start >> self.chunk_bytes.trailing_zeros()) as usize];
        let addr = start + u64::from(self.headroom);
        let space = self.transmit_bytes();
        // SAFETY: the chunk has an entry in the ownership table, so it lies in the mapping, and the
        // `space` bytes behind its headroom reach to its end. The frame is the only one of its
        // chunk (the invariant of that table) and was moved here, so there is no other reference.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(self.mapping.base().as_ptr().add(addr as usize), space)
        };
        let len = write(bytes);
        assert!(len > 0, "a packet without bytes");
        assert!(len <= space, "a packet longer than its frame");
        let mut options = 0;
        if let Some(checksum) = checksum {
            // SAFETY: the chunk begins with the headroom, and is this function's alone, as above.
            unsafe { self.write_metadata(addr as usize, checksum) };
            options = metadata::XDP_TX_METADATA;
        }
        holder.store(to.0, Ordering::Relaxed);
        XdpDesc { addr, len: len as u32, options: XdpDescOptions::from_bits_retain(options) }
    }

    /// Asks for a checksum to be completed when the frame is transmitted. The packet has the sum of
    /// the pseudo-header in the checksum's place. Call it for the first frame of a packet, if
    /// [`super::Queue::completes_checksums`].
    ///
    /// # Panics
    /// If the UMEM was made without space for TX metadata, or the frame does not begin behind it.
    #[inline]
    pub fn request_checksum(&self, frame: &mut Frame, checksum: Checksum) {
        let (at, _) = self.span(frame);
        self.check_headroom(frame);
        // SAFETY: the headroom before the frame lies within its chunk, by the check, and `span`
        // keeps within the mapping. The frame is the only one of its chunk and is borrowed
        // exclusively, so nobody reads or writes there.
        unsafe { self.write_metadata(at, checksum) };
        frame.has_metadata = true;
    }

    /// Writes the request for a checksum before the frame at `at`. Panics if the UMEM was made
    /// without space for TX metadata.
    ///
    /// # Safety
    /// The headroom before `at` lies within a chunk of this UMEM of which the caller has the only
    /// frame.
    #[inline]
    unsafe fn write_metadata(&self, at: usize, checksum: Checksum) {
        assert!(self.headroom > 0, "a UMEM without TX metadata");
        let bytes = metadata::request(checksum);
        // SAFETY: the caller's promise. The headroom is as long as the metadata.
        unsafe {
            let to = self.mapping.base().as_ptr().add(at - self.headroom as usize);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    /// The kernel refuses a frame to transmit whose space for TX metadata is not in its chunk, and
    /// does not return it.
    #[inline]
    fn check_headroom(&self, frame: &Frame) {
        let offset = frame.addr & u64::from(self.chunk_bytes - 1);
        assert!(offset >= u64::from(self.headroom), "a frame without space for TX metadata");
    }

    /// Prefetches the first bytes of a frame into the cache.
    #[inline]
    pub fn prefetch(&self, frame: &Frame) {
        let (offset, _) = self.span(frame);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `span` keeps within the mapping, and a prefetch reads nothing.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.mapping.base().as_ptr().add(offset).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }

    /// Offset into the mapping and length of a frame's bytes. Panics if they are not within one
    /// chunk of this UMEM, which is a fault of the caller.
    #[inline]
    fn span(&self, frame: &Frame) -> (usize, usize) {
        assert!(frame.umem == self.id, "a frame of another device");
        let offset = frame.addr & u64::from(self.chunk_bytes - 1);
        assert!(
            offset + u64::from(frame.len) <= u64::from(self.chunk_bytes),
            "a frame longer than its chunk"
        );
        (frame.addr as usize, frame.len as usize)
    }

    /// Makes the kernel the holder of a chunk; returns the descriptor for the ring.
    #[inline]
    pub(crate) fn lend(&self, frame: &Frame, to: Holder) -> XdpDesc {
        let (addr, len) = self.span(frame);
        self.check_headroom(frame);
        self.holders[addr >> self.chunk_bytes.trailing_zeros()].store(to.0, Ordering::Relaxed);
        let more = u32::from(frame.more) * XdpDescOptions::XDP_PKT_CONTD.bits();
        let metadata = u32::from(frame.has_metadata) * metadata::XDP_TX_METADATA;
        let options = XdpDescOptions::from_bits_retain(more | metadata);
        XdpDesc { addr: addr as u64, len: len as u32, options }
    }

    /// Takes back one chunk: [`Taker::takes`].
    #[cfg(test)]
    pub(crate) fn take_back(&self, desc: XdpDesc, from: Holder) -> Option<Frame> {
        let frame = self.taker(from).unchecked(desc);
        self.taker(from).takes(&frame).then_some(frame)
    }

    /// Takes chunks back that `from` holds.
    #[inline]
    pub(crate) fn taker(&self, from: Holder) -> Taker<'_> {
        Taker {
            holders: &self.holders,
            from,
            chunk_shift: self.chunk_bytes.trailing_zeros(),
            chunk_bytes: self.chunk_bytes.into(),
            headroom: self.headroom.into(),
            umem: self.id,
        }
    }

    /// Takes back all chunks of a holder whose socket is closed.
    pub(crate) fn reclaim(&self, from: Holder) -> impl Iterator<Item = Frame> + '_ {
        let held = (0..self.chunks).zip(&self.holders);
        held.filter(move |(_, holder)| holder.load(Ordering::Relaxed) == from.0).map(
            |(chunk, holder)| {
                holder.store(USER, Ordering::Relaxed);
                self.empty(chunk)
            },
        )
    }

    /// Counts the chunks by holder. While other threads use the queues, the sum is exact and the
    /// parts may be stale.
    pub fn ownership(&self) -> Ownership {
        let mut ownership = Ownership::default();
        for holder in &self.holders {
            match holder.load(Ordering::Relaxed) {
                USER => ownership.user += 1,
                tag if tag % 2 == 1 => ownership.receive += 1,
                _ => ownership.transmit += 1,
            }
        }
        ownership
    }

    /// How the memory is registered with the kernel.
    pub(crate) fn registration(&self) -> XdpUmemReg {
        XdpUmemReg {
            addr: self.mapping.base().as_ptr().expose_provenance() as u64,
            len: u64::from(self.chunks) * u64::from(self.chunk_bytes),
            chunk_size: self.chunk_bytes,
            headroom: 0,
            flags: metadata::registration_flags(self.headroom),
            tx_metadata_len: self.headroom,
        }
    }
}

/// A number for each UMEM of the process, so that a frame is not used with another device's memory.
fn next_id() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    u16::try_from(id).expect("a process opens fewer than 65,536 devices")
}

/// Takes chunks back from the kernel, those of one holder. Its fields are what it needs of the
/// [`Umem`], so that a loop over many chunks has them in registers.
#[derive(Clone, Copy)]
pub(crate) struct Taker<'a> {
    holders: &'a [AtomicU16],
    from: Holder,
    chunk_shift: u32,
    chunk_bytes: u64,
    headroom: u64,
    umem: u16,
}

impl Taker<'_> {
    /// Stands for a chunk that was not taken back.
    #[inline(always)]
    pub(crate) fn none(self) -> Frame {
        Frame::none(self.umem)
    }

    /// Takes the chunk of a sent frame back. Returns a frame without bytes, or nothing if the
    /// holder does not have the chunk.
    #[inline(always)]
    pub(crate) fn take_sent(self, addr: u64) -> Option<Frame> {
        let chunk = addr >> self.chunk_shift;
        let holder = self.holders.get(usize::try_from(chunk).ok()?)?;
        if holder.load(Ordering::Relaxed) != self.from.0 {
            return None;
        }
        holder.store(USER, Ordering::Relaxed);
        Some(Frame::empty((chunk << self.chunk_shift) + self.headroom, self.umem))
    }

    /// The frame of a descriptor, of which nothing is known yet: see [`Taker::takes`].
    #[inline(always)]
    pub(crate) fn unchecked(self, desc: XdpDesc) -> Frame {
        let more = desc.options.contains(XdpDescOptions::XDP_PKT_CONTD);
        Frame { addr: desc.addr, len: desc.len, umem: self.umem, more, has_metadata: false }
    }

    /// Takes the chunk of a frame back, whose descriptor the kernel has returned. Returns false if
    /// the descriptor crosses the end of its chunk, or the holder does not have that chunk: the
    /// frame is none, then. One thread alone takes back a holder's chunks, so a load followed by a
    /// store is safe.
    #[inline(always)]
    pub(crate) fn takes(self, frame: &Frame) -> bool {
        let Ok(chunk) = usize::try_from(frame.addr >> self.chunk_shift) else { return false };
        let Some(holder) = self.holders.get(chunk) else { return false };
        let offset = frame.addr & (self.chunk_bytes - 1);
        let is_held = offset + u64::from(frame.len) <= self.chunk_bytes
            && holder.load(Ordering::Relaxed) == self.from.0;
        if is_held {
            holder.store(USER, Ordering::Relaxed);
        }
        is_held
    }
}

#[cfg(test)]
#[path = "umem_tests.rs"]
mod tests;
