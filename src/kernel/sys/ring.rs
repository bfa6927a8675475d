//! The io_uring of one worker: submits batches of operations and reads completions. Never waits
//! beyond a timeout. Never enters the kernel again after a submission was interrupted.

use super::batch::{Batch, Outbox};
use super::buffers::{Buffer, Buffers};
use super::completion::{Completion, KIND_SHIFT, Kind};
use crate::kernel::table::Key;
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

/// Maximum of operations in one submission.
pub(super) const SUBMISSIONS: u32 = 512;
/// Capacity of the completion queue; the kernel stores overflowing completions elsewhere.
const COMPLETIONS: u32 = 8192;
const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
/// Attempts to submit while the kernel has no memory for it.
const TRIES: usize = 1000;

/// The io_uring of one worker and its receive buffers. Stays on the thread that created it: the
/// kernel accepts no submission of another thread. Closing the ring interrupts system calls of the
/// creating thread.
pub(in crate::kernel) struct Ring {
    pub(super) ring: IoUring,
    /// `None` only after the buffers were leaked.
    buffers: Option<Buffers>,
    pub(super) outbox: Outbox,
    /// A submission was interrupted: the queue may hold entries whose bytes are freed.
    broken: bool,
}

impl Ring {
    /// A ring with `buffers` receive buffers; see [`Ring::memory_bytes`].
    pub(in crate::kernel) fn new(buffers: usize) -> io::Result<Ring> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        let buffers = Buffers::new(buffers);
        // SAFETY: dropping the ring cancels every operation before the buffers are freed (2).
        unsafe { buffers.register(&ring)? };
        Ok(Ring { ring, buffers: Some(buffers), outbox: Outbox::new(), broken: false })
    }

    /// Bytes of memory of a ring, including the memory shared with the kernel.
    pub(in crate::kernel) const fn memory_bytes(buffers: usize) -> usize {
        let queues = SUBMISSIONS as usize * (size_of::<squeue::Entry>() + size_of::<u32>())
            + COMPLETIONS as usize * size_of::<cqueue::Entry>();
        Buffers::memory_bytes(buffers) + queues + Outbox::MEMORY_BYTES
    }

    /// Names of required operations that the kernel does not support.
    pub(in crate::kernel) fn missing(&self) -> io::Result<Vec<&'static str>> {
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
        Ok(needed
            .iter()
            .filter(|(_, code)| !probe.is_supported(*code))
            .map(|(name, _)| *name)
            .collect())
    }

    /// Submits the operations that `fill` adds; their bytes are free when this returns. Collects
    /// completions without waiting.
    pub(in crate::kernel) fn submit<'a>(
        &mut self,
        fill: impl FnOnce(&mut Batch<'_, 'a>),
    ) -> io::Result<()> {
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

    /// Waits for a completion, at most `timeout`.
    pub(in crate::kernel) fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.check()?;
        let want = u32::from(timeout > Duration::ZERO);
        self.enter(want, timeout).or_else(|error| match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR) => Ok(()),
            _ => Err(error),
        })
    }

    /// Cancels the accept of a listener with the next call that enters the ring.
    pub(in crate::kernel) fn stop_accept(&mut self, number: usize) {
        self.stop(Kind::Accept.named(number as u64));
    }

    /// Cancels the receive of a connection with the next call that enters the ring.
    pub(in crate::kernel) fn stop_receive(&mut self, key: Key) {
        self.stop(Kind::Receive.named(key.to_bits()));
    }

    /// Cancels the poll of a connection with the next call that enters the ring.
    pub(in crate::kernel) fn stop_poll(&mut self, key: Key) {
        self.stop(Kind::Poll.named(key.to_bits()));
    }

    /// Cancels the hang-up poll of a connection with the next call that enters the ring.
    pub(in crate::kernel) fn stop_hangup(&mut self, key: Key) {
        self.stop(Kind::Hangup.named(key.to_bits()));
    }

    fn stop(&mut self, name: u64) {
        self.push_untold(opcode::AsyncCancel::new(name).build());
    }

    /// Closes a socket with the next call that enters the ring. Its operations must have been
    /// cancelled.
    pub(in crate::kernel) fn close(&mut self, socket: OwnedFd) {
        if !self.broken {
            self.push_untold(opcode::Close::new(Fd(socket.into_raw_fd())).build());
        }
    }

    /// Adds an operation that refers to no memory and whose result is ignored.
    fn push_untold(&mut self, entry: squeue::Entry) {
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS).user_data(Kind::Untold.named(0));
        if self.ring.submission().is_full() {
            self.broken |= self.enter_all().is_err();
        }
        // SAFETY: cancelling points to no memory, and a descriptor that is to be closed has no
        // other owner (5).
        self.broken |= unsafe { self.ring.submission().push(&entry) }.is_err();
    }

    /// The next completion. Completions of cancelled operations are skipped.
    pub(in crate::kernel) fn next(&mut self) -> Option<Completion> {
        loop {
            let entry = self.ring.completion().next()?;
            if let Some(completion) = self.completion(&entry) {
                return Some(completion);
            }
        }
    }

    /// The bytes that were received into `buffer`.
    pub(in crate::kernel) fn bytes<'a>(&'a self, buffer: &'a Buffer) -> &'a [u8] {
        self.buffers.as_ref().map_or(&[], |buffers| buffers.bytes(buffer))
    }

    /// Provides `buffer` to the kernel again.
    pub(in crate::kernel) fn give(&mut self, buffer: Buffer) {
        if let Some(buffers) = &mut self.buffers {
            buffers.give(buffer);
        }
    }

    /// Buffers that the kernel may fill.
    pub(in crate::kernel) fn free_buffers(&self) -> usize {
        self.buffers.as_ref().map_or(0, Buffers::free)
    }

    fn check(&self) -> io::Result<()> {
        if self.broken {
            Err(io::Error::other("io_uring: an earlier submission failed"))
        } else {
            Ok(())
        }
    }

    /// Submits every entry of the submission queue.
    pub(super) fn enter_all(&mut self) -> io::Result<()> {
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
        // SAFETY: with EXT_ARG the argument is what `SubmitArgs` lays out, and lives through the
        // call. What the entries point to is alive: see `Batch`.
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
                // SAFETY: a completed accept has put the descriptor into this process's table for
                // whoever reads the completion, which happens once (4).
                let socket = result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) });
                Some(Completion::Accepted { listener: bits as usize, socket, more })
            }
            Kind::Receive => {
                let id = cqueue::buffer_select(entry.flags());
                Some(Completion::Received { key, input: self.input(id, result), more })
            }
            Kind::Send => Some(Completion::Sent { key, taken: result.map(|n| n as usize) }),
            Kind::Poll => {
                let events = result.map(|bits| PollFlags::from_bits_retain(bits as _));
                Some(Completion::Ready { key, events, more })
            }
            Kind::Hangup => {
                let events = result.map(|bits| PollFlags::from_bits_retain(bits as _));
                Some(Completion::HungUp { key, events })
            }
            Kind::Untold => None,
        }
    }

    /// The result of a receive. A named buffer without bytes is provided again.
    fn input(
        &mut self,
        id: Option<u16>,
        received: Result<u32, Errno>,
    ) -> Result<Option<Buffer>, Errno> {
        let Some(id) = id else { return received.map(|_| None) };
        let buffers = self.buffers.as_mut().expect("they are there until the ring is dropped");
        buffers.take(id, received)
    }
}

fn result(value: i32) -> Result<u32, Errno> {
    u32::try_from(value).map_err(|_| Errno::from_raw_os_error(-value))
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The queue may hold requests to close sockets.
        if !self.broken {
            let _ = self.enter_all();
        }
        let none_left = match self.ring.submitter().register_sync_cancel(None, CancelBuilder::any())
        {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(libc::ENOENT),
        };
        if !none_left {
            // Operations in progress may still write to the buffers.
            std::mem::forget(self.buffers.take());
        }
    }
}
#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
