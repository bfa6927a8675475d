//! A batch of operations: adds submission queue entries for descriptors, keys and borrowed bytes.
//! Never keeps a byte beyond the submission that it was borrowed for.

use super::buffers::GROUP;
use super::completion::Kind;
use super::ring::{Ring, SUBMISSIONS};
use crate::kernel::table::Key;
use crate::kernel::visit::GATHER_BYTES;
use io_uring::types::Fd;
use io_uring::{opcode, squeue};
use rustix::event::PollFlags;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Ranges, and copied bytes, of the answers sent in one call.
const RANGES: usize = 1024;
const GATHERED_BYTES: usize = 128 * GATHER_BYTES;

/// Adds operations to a submission. Bytes to send are borrowed for `'a`, which outlives
/// [`Ring::submit`].
pub(in crate::kernel) struct Batch<'r, 'a> {
    pub(super) ring: &'r mut Ring,
    pub(super) error: Option<io::Error>,
    pub(super) bytes: PhantomData<&'a [u8]>,
}

/// Event mask of io_uring. rustix has another width where it goes through libc, as under Miri.
fn mask(events: PollFlags) -> u32 {
    events.bits() as u32
}

impl<'a> Batch<'_, 'a> {
    /// Completes each time that `eventfd` is written to.
    pub(in crate::kernel) fn wake(&mut self, eventfd: BorrowedFd<'_>) {
        let poll = opcode::PollAdd::new(Fd(eventfd.as_raw_fd()), mask(PollFlags::IN)).multi(true);
        self.push(poll.build(), Kind::Wake.named(0));
    }

    /// Accepts connections until stopped or until an accept fails.
    pub(in crate::kernel) fn accept(&mut self, listener: BorrowedFd<'_>, number: usize) {
        let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC);
        self.push(accept.build(), Kind::Accept.named(number as u64));
    }

    /// Receives into receive buffers until stopped, no buffer is free, or the peer has closed.
    pub(in crate::kernel) fn receive(&mut self, socket: BorrowedFd<'_>, key: Key) {
        self.push(
            opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build(),
            Kind::Receive.named(key.to_bits()),
        );
    }

    /// Receives once into a receive buffer.
    pub(in crate::kernel) fn receive_once(&mut self, socket: BorrowedFd<'_>, key: Key) {
        let receive = opcode::Recv::new(Fd(socket.as_raw_fd()), std::ptr::null_mut(), 0)
            .buf_group(GROUP)
            .build();
        self.push(receive.flags(squeue::Flags::BUFFER_SELECT), Kind::Receive.named(key.to_bits()));
    }

    /// Completes when one of `events` occurs: each time, or once.
    pub(in crate::kernel) fn poll(
        &mut self,
        socket: BorrowedFd<'_>,
        key: Key,
        events: PollFlags,
        each_time: bool,
    ) {
        let poll = opcode::PollAdd::new(Fd(socket.as_raw_fd()), mask(events)).multi(each_time);
        self.push(poll.build(), Kind::Poll.named(key.to_bits()));
    }

    /// Completes once when the peer resets or closes the connection: these events are always
    /// polled.
    pub(in crate::kernel) fn hangup(&mut self, socket: BorrowedFd<'_>, key: Key) {
        let poll = opcode::PollAdd::new(Fd(socket.as_raw_fd()), mask(PollFlags::empty()));
        self.push(poll.build(), Kind::Hangup.named(key.to_bits()));
    }

    /// Sends `len` bytes of `slices`, as many as the socket accepts now. If they are the `last`, a
    /// partial segment waits for the FIN.
    pub(in crate::kernel) fn send(
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

    /// Copies `len` bytes to memory that stays valid until the submission has returned.
    fn gather(&mut self, slices: impl Iterator<Item = &'a [u8]>, len: usize) -> *const u8 {
        let gathered = &self.ring.outbox.gathered;
        if gathered.capacity() - gathered.len() < len {
            self.flush();
        }
        let gathered = &mut self.ring.outbox.gathered;
        let start = gathered.len();
        slices.for_each(|slice| gathered.extend_from_slice(slice));
        assert!(
            gathered.len() - start == len && gathered.len() <= GATHERED_BYTES,
            "the slices have {len} bytes"
        );
        gathered[start..].as_ptr()
    }

    /// Lists at most [`RANGES`] ranges in memory that stays valid until the submission has
    /// returned.
    fn list(&mut self, slices: impl Iterator<Item = &'a [u8]>) -> *const libc::msghdr {
        let outbox = &self.ring.outbox;
        let room = outbox.ranges.capacity() - outbox.ranges.len();
        if room < usize::from(simoom_io::send::QUEUE_ENTRIES)
            || outbox.headers.len() == SUBMISSIONS as usize
        {
            self.flush();
        }
        let Outbox { headers, ranges, .. } = &mut self.ring.outbox;
        let (start, room) = (ranges.len(), ranges.capacity() - ranges.len());
        let range = |slice: &[u8]| libc::iovec {
            iov_base: slice.as_ptr().cast_mut().cast(),
            iov_len: slice.len(),
        };
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

    /// Makes space in the submission queue. Bytes and lists of earlier entries may be reused
    /// afterwards.
    fn make_room(&mut self) {
        if self.ring.ring.submission().is_full() {
            self.flush();
        }
    }

    fn add(&mut self, entry: squeue::Entry, name: u64) {
        // SAFETY: what a send points to is borrowed for 'a or lies in the outbox, both of which
        // outlast the submission (1); other operations point to nothing but descriptors and the
        // ring's own buffers (2).
        let pushed = unsafe { self.ring.ring.submission().push(&entry.user_data(name)) };
        if pushed.is_err() && self.error.is_none() {
            self.error = Some(io::Error::other("io_uring: the submission queue stays full"));
        }
    }

    /// Submits the entries added so far.
    fn flush(&mut self) {
        if self.error.is_none() {
            self.error = self.ring.enter_all().err();
        }
    }
}

/// Range lists and gathered bytes of one submission.
pub(super) struct Outbox {
    headers: Vec<libc::msghdr>,
    ranges: Vec<libc::iovec>,
    gathered: Vec<u8>,
}

impl Outbox {
    pub(super) fn new() -> Outbox {
        Outbox {
            headers: Vec::with_capacity(SUBMISSIONS as usize),
            ranges: Vec::with_capacity(RANGES),
            gathered: Vec::with_capacity(GATHERED_BYTES),
        }
    }

    pub(super) const MEMORY_BYTES: usize = SUBMISSIONS as usize * size_of::<libc::msghdr>()
        + RANGES * size_of::<libc::iovec>()
        + GATHERED_BYTES;

    pub(super) fn clear(&mut self) {
        self.headers.clear();
        self.ranges.clear();
        self.gathered.clear();
    }
}
