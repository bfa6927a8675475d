//! io_uring behind safe types: in come operations on descriptors, out go completions of known kinds. All `unsafe` of
//! the kernel transport stands here. Never lets the kernel touch memory that a safe caller could have freed.
//!
//! What makes it safe:
//!
//! 1. **Bytes to send are read within [`Ring::submit`].** Sends carry MSG_DONTWAIT, which io_uring completes in the
//!    call that submits them, with EAGAIN if the socket is full, and never hands to a worker or a poll. So they need
//!    to be borrowed for that call only, and are. A submission that breaks off leaves the ring broken: it never enters
//!    the kernel again, which therefore never sees what is left in the queue.
//! 2. **Receive buffers outlive what may write to them.** They belong to the ring, and dropping it first cancels every
//!    operation and waits for that; were it to fail, the buffers would be leaked rather than freed.
//! 3. **A receive buffer is the kernel's or a caller's, never both.** A [`Buffer`] is made of a completion that
//!    names it, cannot be copied, and is used up by [`Ring::give`]: so it is given once. Completions are written in
//!    the thread that enters the ring, and while it does so, for the ring is set up with DEFER_TASKRUN.
//! 4. **A descriptor that an accept brought is owned from then on**: a completion is read once and turned into an
//!    `OwnedFd` at once.
//! 5. **A descriptor that is closed through the ring was given up by its owner**, so its number means nothing else until
//!    the kernel has closed it.

use super::table::Key;
use super::visit::GATHER_BYTES;
use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// Bytes of one receive buffer.
pub(super) const BUFFER_BYTES: usize = 2048;
/// From one buffer to the next: not a power of two, so that their first lines do not share a few sets of the cache.
const BUFFER_STRIDE: usize = BUFFER_BYTES + 64;
/// There are at most so many receive buffers.
pub(super) const BUFFERS_MAX: usize = 1 << 15;
/// Operations that are submitted in one call at most.
const SUBMISSIONS: u32 = 512;
/// Completions that wait in the ring; the kernel keeps more elsewhere.
const COMPLETIONS: u32 = 8192;
/// Ranges and copied bytes of the answers that are sent in one call.
const RANGES: usize = 1024;
const GATHERED_BYTES: usize = 128 * GATHER_BYTES;
/// The group of the receive buffers; there is no other.
const GROUP: u16 = 0;
const PAGE_BYTES: usize = 4096;
const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
/// Tries to submit while the kernel has no memory for it.
const TRIES: usize = 1000;

/// The highest four bits of an operation's name say what it is, the others to which connection or listener.
const KIND_SHIFT: u32 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Wake = 1,
    Accept = 2,
    Receive = 3,
    Send = 4,
    Poll = 5,
    /// What is told of only if it fails, which does not matter then.
    Untold = 6,
}

impl Kind {
    fn named(self, bits: u64) -> u64 {
        debug_assert!(bits >> KIND_SHIFT == 0);
        (self as u64) << KIND_SHIFT | bits
    }

    fn of(name: u64) -> Option<Kind> {
        let kinds = [Kind::Wake, Kind::Accept, Kind::Receive, Kind::Send, Kind::Poll, Kind::Untold];
        kinds.into_iter().find(|kind| *kind as u64 == name >> KIND_SHIFT)
    }
}

/// What the kernel has done. `more`: the operation goes on.
#[derive(Debug)]
pub(super) enum Completion {
    /// The mailbox's eventfd is readable.
    Woken { more: bool },
    /// A listener has accepted, or why not.
    Accepted { listener: usize, socket: Result<OwnedFd, Errno>, more: bool },
    /// Bytes have come, or `None` with the peer's FIN. `rest`: there is more of them.
    Received { key: Key, input: Result<Option<Buffer>, Errno>, more: bool, rest: bool },
    /// The socket took so many bytes.
    Sent { key: Key, taken: Result<usize, Errno> },
    /// The socket is ready.
    Ready { key: Key, events: Result<PollFlags, Errno>, more: bool },
}

/// A receive buffer that the kernel has filled and given away.
#[derive(Debug)]
pub(super) struct Buffer {
    id: u16,
    len: u16,
}

impl Buffer {
    /// Tells it from the others: below the number of buffers.
    pub(super) fn id(&self) -> u16 {
        self.id
    }

    pub(super) fn len(&self) -> usize {
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
        let layout = Layout::from_size_align(len.max(1), PAGE_BYTES).expect("bounded by the number of buffers");
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

/// The receive buffers and the ring in which the kernel finds those that it may fill.
struct Buffers {
    /// `entries` times `io_uring_buf`; the first one's reserved field is the tail.
    ring: Memory,
    bytes: Memory,
    count: u16,
    /// `entries` - 1.
    mask: u16,
    tail: u16,
    /// How many the kernel has not given away.
    free: u16,
}

impl Buffers {
    const fn entries(count: usize) -> usize {
        count.next_power_of_two()
    }

    fn new(count: usize) -> Buffers {
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

    fn at(&self, id: u16) -> NonNull<u8> {
        assert!(id < self.count, "buffer {id} of {}", self.count);
        // SAFETY: an id below `count` lies within the memory, as allocated in `new`.
        unsafe { self.bytes.base.add(usize::from(id) * BUFFER_STRIDE) }
    }

    /// Lets the kernel fill the buffer: the caller must hold it, and gives it up.
    fn put(&mut self, id: u16) {
        let base: NonNull<BufRingEntry> = self.ring.base.cast();
        let address = self.at(id).as_ptr() as u64;
        // SAFETY: the masked index is one of the ring's entries. The kernel does not read this one until the tail has
        // passed it; the ring has a place for every buffer, so it is none that the kernel may still read. Its reserved
        // field, which in the first entry is the tail, is not written.
        unsafe {
            let entry = &mut *base.add(usize::from(self.tail & self.mask)).as_ptr();
            entry.set_addr(address);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
        self.free += 1;
        // SAFETY: the tail lies in the ring's first entry, aligned, and the kernel reads it as an atomic.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base.as_ptr()).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Where the ranges of the answers of one submission are listed, and small ones gathered.
struct Outbox {
    headers: Vec<libc::msghdr>,
    ranges: Vec<libc::iovec>,
    gathered: Vec<u8>,
}

impl Outbox {
    fn new() -> Outbox {
        Outbox {
            headers: Vec::with_capacity(SUBMISSIONS as usize),
            ranges: Vec::with_capacity(RANGES),
            gathered: Vec::with_capacity(GATHERED_BYTES),
        }
    }

    const MEMORY_BYTES: usize =
        SUBMISSIONS as usize * size_of::<libc::msghdr>() + RANGES * size_of::<libc::iovec>() + GATHERED_BYTES;

    fn clear(&mut self) {
        self.headers.clear();
        self.ranges.clear();
        self.gathered.clear();
    }
}

/// One worker's ring with its receive buffers. It stays with the thread that made it: the kernel takes nothing from
/// another, and when the ring ends interrupts the system calls of whoever made it.
pub(super) struct Ring {
    ring: IoUring,
    /// `None` only when they had to be leaked.
    buffers: Option<Buffers>,
    outbox: Outbox,
    /// A submission broke off: the queue may hold entries whose bytes are gone.
    broken: bool,
}

impl Ring {
    /// A ring with `buffers` receive buffers; see [`Ring::memory_bytes`].
    pub(super) fn new(buffers: usize) -> io::Result<Ring> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        let buffers = Buffers::new(buffers);
        let address = buffers.ring.base.as_ptr() as u64;
        // SAFETY: the memory is page-aligned, has this many entries, and is freed after the ring is closed.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, buffers.mask + 1, GROUP, 0)? };
        Ok(Ring { ring, buffers: Some(buffers), outbox: Outbox::new(), broken: false })
    }

    /// Bytes of memory that a ring takes, what it shares with the kernel included.
    pub(super) const fn memory_bytes(buffers: usize) -> usize {
        let entries = Buffers::entries(buffers) * size_of::<BufRingEntry>();
        let queues = SUBMISSIONS as usize * (size_of::<squeue::Entry>() + size_of::<u32>())
            + COMPLETIONS as usize * size_of::<cqueue::Entry>();
        entries + buffers * BUFFER_STRIDE + queues + Outbox::MEMORY_BYTES
    }

    /// Which of the operations that are needed here the kernel does not know.
    pub(super) fn missing(&self) -> io::Result<Vec<&'static str>> {
        let mut probe = io_uring::Probe::new();
        self.ring.submitter().register_probe(&mut probe)?;
        let needed = [
            ("accept", opcode::Accept::CODE),
            ("recv", opcode::RecvMulti::CODE),
            ("send", opcode::Send::CODE),
            ("sendmsg", opcode::SendMsg::CODE),
            ("poll", opcode::PollAdd::CODE),
            ("cancel", opcode::AsyncCancel::CODE),
            ("close", opcode::Close::CODE),
        ];
        Ok(needed.iter().filter(|(_, code)| !probe.is_supported(*code)).map(|(name, _)| *name).collect())
    }

    /// Submits what `fill` adds, and has done with the bytes of it when this returns. Takes in what has happened
    /// meanwhile; does not wait.
    pub(super) fn submit<'a>(&mut self, fill: impl FnOnce(&mut Batch<'_, 'a>)) -> io::Result<()> {
        self.check()?;
        self.broken = true;
        let mut batch = Batch { ring: self, error: None, bytes: PhantomData };
        fill(&mut batch);
        if let Some(error) = batch.error {
            return Err(error);
        }
        self.enter_all()?;
        self.broken = false;
        Ok(())
    }

    /// Waits until something has happened, for at most `timeout`.
    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.check()?;
        let want = u32::from(timeout > Duration::ZERO);
        self.enter(want, timeout).or_else(|error| match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR) => Ok(()),
            _ => Err(error),
        })
    }

    /// Has a listener's accept stop with the next call that enters the ring.
    pub(super) fn stop_accept(&mut self, number: usize) {
        self.stop(Kind::Accept.named(number as u64));
    }

    /// The same for what receives for a connection.
    pub(super) fn stop_receive(&mut self, key: Key) {
        self.stop(Kind::Receive.named(key.to_bits()));
    }

    /// The same for what polls its socket.
    pub(super) fn stop_poll(&mut self, key: Key) {
        self.stop(Kind::Poll.named(key.to_bits()));
    }

    fn stop(&mut self, name: u64) {
        self.push_untold(opcode::AsyncCancel::new(name).build());
    }

    /// Has a socket closed with the next call that enters the ring. What is under way with it must have been stopped.
    pub(super) fn close(&mut self, socket: OwnedFd) {
        if !self.broken {
            self.push_untold(opcode::Close::new(Fd(socket.into_raw_fd())).build());
        }
    }

    /// Adds an operation that points to no memory and whose outcome nobody waits for.
    fn push_untold(&mut self, entry: squeue::Entry) {
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(Kind::Untold.named(0));
        if self.ring.submission().is_full() {
            self.broken |= self.enter_all().is_err();
        }
        // SAFETY: cancelling points to no memory, and a descriptor that is to be closed has no other owner (5).
        self.broken |= unsafe { self.ring.submission().push(&entry) }.is_err();
    }

    /// The next thing that has happened. An operation that was told to stop and had ended is not told.
    pub(super) fn next(&mut self) -> Option<Completion> {
        loop {
            let entry = self.ring.completion().next()?;
            if let Some(completion) = self.completion(&entry) {
                return Some(completion);
            }
        }
    }

    /// The bytes that were received into `buffer`.
    pub(super) fn bytes<'a>(&'a self, buffer: &'a Buffer) -> &'a [u8] {
        let Some(buffers) = &self.buffers else { return &[] };
        // SAFETY: the buffer lies within the memory (`at` checks), `len` is at most BUFFER_BYTES, and as long as the
        // `Buffer` is held the kernel does not write there (3).
        unsafe { std::slice::from_raw_parts(buffers.at(buffer.id).as_ptr(), buffer.len()) }
    }

    /// Lets the kernel fill `buffer` again.
    #[allow(clippy::needless_pass_by_value, reason = "the buffer is the kernel's from now on")]
    pub(super) fn give(&mut self, buffer: Buffer) {
        if let Some(buffers) = &mut self.buffers {
            buffers.put(buffer.id);
        }
    }

    /// Buffers that the kernel may fill.
    pub(super) fn free_buffers(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| usize::from(buffers.free))
    }

    fn check(&self) -> io::Result<()> {
        if self.broken { Err(io::Error::other("io_uring: an earlier submission failed")) } else { Ok(()) }
    }

    /// Has the kernel take every entry of the submission queue.
    fn enter_all(&mut self) -> io::Result<()> {
        for _ in 0..TRIES {
            match self.enter(0, Duration::ZERO) {
                Ok(()) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY) => {}
                    _ => return Err(error),
                },
            }
            if self.ring.submission().is_empty() {
                self.outbox.clear();
                return Ok(());
            }
        }
        Err(io::Error::other("io_uring: the kernel takes no operations"))
    }

    fn enter(&mut self, want: u32, timeout: Duration) -> io::Result<()> {
        let entries = self.ring.submission().len() as u32;
        let timeout = Timespec::from(timeout);
        let arguments = SubmitArgs::new().timespec(&timeout);
        let flags = ENTER_GETEVENTS | ENTER_EXT_ARG;
        // SAFETY: with EXT_ARG the argument is what `SubmitArgs` lays out, and lives through the call. What the
        // entries point to is alive: see `Batch`.
        unsafe { self.ring.submitter().enter(entries, want, flags, Some(&arguments)).map(drop) }
    }

    fn completion(&mut self, entry: &cqueue::Entry) -> Option<Completion> {
        let bits = entry.user_data() & !(u64::MAX << KIND_SHIFT);
        let key = Key::from_bits(bits);
        let more = cqueue::more(entry.flags());
        let result = result(entry.result());
        match Kind::of(entry.user_data())? {
            Kind::Wake => Some(Completion::Woken { more }),
            Kind::Accept => {
                // SAFETY: a completed accept has put the descriptor into this process's table for whoever reads the
                // completion, which happens once (4).
                let socket = result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) });
                Some(Completion::Accepted { listener: bits as usize, socket, more })
            }
            Kind::Receive => {
                let id = cqueue::buffer_select(entry.flags());
                let rest = cqueue::sock_nonempty(entry.flags());
                Some(Completion::Received { key, input: self.input(id, result), more, rest })
            }
            Kind::Send => Some(Completion::Sent { key, taken: result.map(|n| n as usize) }),
            Kind::Poll => {
                let events = result.map(|bits| PollFlags::from_bits_retain(bits as _));
                Some(Completion::Ready { key, events, more })
            }
            Kind::Untold => None,
        }
    }

    /// What a receive brought; a buffer that it names without bytes in it is given back.
    fn input(&mut self, id: Option<u16>, received: Result<u32, Errno>) -> Result<Option<Buffer>, Errno> {
        let Some(id) = id else { return received.map(|_| None) };
        let buffers = self.buffers.as_mut().expect("they are there until the ring is dropped");
        assert!(id < buffers.count, "the kernel names buffer {id} of {}", buffers.count);
        buffers.free -= 1;
        match received {
            Ok(len) if len > 0 => Ok(Some(Buffer { id, len: (len as usize).min(BUFFER_BYTES) as u16 })),
            _ => {
                buffers.put(id);
                received.map(|_| None)
            }
        }
    }
}

fn result(value: i32) -> Result<u32, Errno> {
    u32::try_from(value).map_err(|_| Errno::from_raw_os_error(-value))
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Sockets that are to be closed may be among what is left.
        if !self.broken {
            let _ = self.enter_all();
        }
        let none_left = match self.ring.submitter().register_sync_cancel(None, CancelBuilder::any()) {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(libc::ENOENT),
        };
        if !none_left {
            // Whatever is still under way may write to them.
            std::mem::forget(self.buffers.take());
        }
    }
}

/// Operations on their way into the ring. What they send is borrowed for `'a`, which outlives [`Ring::submit`].
pub(super) struct Batch<'r, 'a> {
    ring: &'r mut Ring,
    error: Option<io::Error>,
    bytes: PhantomData<&'a [u8]>,
}

/// Events as io_uring takes them. The width of their bits is another one where rustix goes through libc, as under Miri.
fn mask(events: PollFlags) -> u32 {
    events.bits() as u32
}

impl<'a> Batch<'_, 'a> {
    /// Tells each time that `eventfd` is written to.
    pub(super) fn wake(&mut self, eventfd: BorrowedFd<'_>) {
        let poll = opcode::PollAdd::new(Fd(eventfd.as_raw_fd()), mask(PollFlags::IN)).multi(true);
        self.push(poll.build(), Kind::Wake.named(0));
    }

    /// Accepts whoever comes, until told otherwise or an accept fails.
    pub(super) fn accept(&mut self, listener: BorrowedFd<'_>, number: usize) {
        let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC);
        self.push(accept.build(), Kind::Accept.named(number as u64));
    }

    /// Receives whatever comes into buffers, until told otherwise, or they run out, or the peer has closed.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, key: Key) {
        self.push(
            opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build(),
            Kind::Receive.named(key.to_bits()),
        );
    }

    /// Receives what comes next into a buffer.
    pub(super) fn receive_once(&mut self, socket: BorrowedFd<'_>, key: Key) {
        let receive = opcode::Recv::new(Fd(socket.as_raw_fd()), std::ptr::null_mut(), 0).buf_group(GROUP).build();
        self.push(receive.flags(squeue::Flags::BUFFER_SELECT), Kind::Receive.named(key.to_bits()));
    }

    /// Tells when one of `events` is there: each time, or once.
    pub(super) fn poll(&mut self, socket: BorrowedFd<'_>, key: Key, events: PollFlags, each_time: bool) {
        let poll = opcode::PollAdd::new(Fd(socket.as_raw_fd()), mask(events)).multi(each_time);
        self.push(poll.build(), Kind::Poll.named(key.to_bits()));
    }

    /// Sends `len` bytes, those of `slices`, as far as the socket takes them now. Of what is the `last` that is sent,
    /// what does not fill a segment waits for the FIN.
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        key: Key,
        last: bool,
        len: usize,
        mut slices: impl Iterator<Item = &'a [u8]>,
    ) {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | if last { libc::MSG_MORE } else { 0 };
        let Some(first) = slices.next() else { return };
        self.make_room();
        let name = Kind::Send.named(key.to_bits());
        let fd = Fd(socket.as_raw_fd());
        let all = std::iter::once(first).chain(slices);
        let entry = if first.len() == len {
            opcode::Send::new(fd, first.as_ptr(), len as u32).flags(flags).build()
        } else if len <= GATHER_BYTES {
            let gathered = self.gather(all, len);
            opcode::Send::new(fd, gathered, len as u32).flags(flags).build()
        } else {
            opcode::SendMsg::new(fd, self.list(all)).flags(flags as u32).build()
        };
        self.add(entry, name);
    }

    /// Copies `len` bytes to where they stay until the submission is through.
    fn gather(&mut self, slices: impl Iterator<Item = &'a [u8]>, len: usize) -> *const u8 {
        let gathered = &self.ring.outbox.gathered;
        if gathered.capacity() - gathered.len() < len {
            self.flush();
        }
        let gathered = &mut self.ring.outbox.gathered;
        let start = gathered.len();
        slices.for_each(|slice| gathered.extend_from_slice(slice));
        assert!(gathered.len() - start == len && gathered.len() <= GATHERED_BYTES, "the slices have {len} bytes");
        gathered[start..].as_ptr()
    }

    /// Lists ranges where they stay until the submission is through; at most [`RANGES`].
    fn list(&mut self, slices: impl Iterator<Item = &'a [u8]>) -> *const libc::msghdr {
        let outbox = &self.ring.outbox;
        let room = outbox.ranges.capacity() - outbox.ranges.len();
        if room < usize::from(simoom_stack::send::QUEUE_ENTRIES) || outbox.headers.len() == SUBMISSIONS as usize {
            self.flush();
        }
        let Outbox { headers, ranges, .. } = &mut self.ring.outbox;
        let (start, room) = (ranges.len(), ranges.capacity() - ranges.len());
        let range = |slice: &[u8]| libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() };
        // Neither list ever grows, so what they hold does not move.
        ranges.extend(slices.take(room).map(range));
        // SAFETY: a msghdr of zeros is one without address, ranges and control data.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = ranges[start..].as_mut_ptr();
        header.msg_iovlen = ranges.len() - start;
        let last = headers.len();
        headers.push(header);
        &raw const headers[last]
    }

    fn push(&mut self, entry: squeue::Entry, name: u64) {
        self.make_room();
        self.add(entry, name);
    }

    /// Sees to a place in the queue. What has been gathered and listed for earlier entries is done with after that.
    fn make_room(&mut self) {
        if self.ring.ring.submission().is_full() {
            self.flush();
        }
    }

    fn add(&mut self, entry: squeue::Entry, name: u64) {
        // SAFETY: what a send points to is borrowed for 'a or lies in the outbox, both of which outlast the
        // submission (1); other operations point to nothing but descriptors and the ring's own buffers (2).
        let pushed = unsafe { self.ring.ring.submission().push(&entry.user_data(name)) };
        if pushed.is_err() && self.error.is_none() {
            self.error = Some(io::Error::other("io_uring: the submission queue stays full"));
        }
    }

    /// Submits what is there already.
    fn flush(&mut self) {
        if self.error.is_none() {
            self.error = self.ring.enter_all().err();
        }
    }
}

#[cfg(test)]
#[path = "sys_tests.rs"]
mod tests;
