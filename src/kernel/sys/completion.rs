//! What operations are called in the ring, and what the kernel tells of them: in comes the name
//! that came back with a completion, out goes the kind of operation and whose it was. Never reads
//! the ring.

use super::buffers::Buffer;
use crate::kernel::table::Key;
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// The highest four bits of an operation's name say what it is, the others to which connection or
/// listener.
pub(super) const KIND_SHIFT: u32 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Wake = 1,
    Accept = 2,
    Receive = 3,
    Send = 4,
    Poll = 5,
    /// What is told of only if it fails, which does not matter then.
    Untold = 6,
    Hangup = 7,
}

impl Kind {
    pub(super) fn named(self, bits: u64) -> u64 {
        debug_assert!(bits >> KIND_SHIFT == 0);
        (self as u64) << KIND_SHIFT | bits
    }

    pub(super) fn of(name: u64) -> Option<Kind> {
        let kinds = [
            Kind::Wake,
            Kind::Accept,
            Kind::Receive,
            Kind::Send,
            Kind::Poll,
            Kind::Untold,
            Kind::Hangup,
        ];
        kinds.into_iter().find(|kind| *kind as u64 == name >> KIND_SHIFT)
    }
}

/// What the kernel has done. `more`: the operation goes on.
#[derive(Debug)]
pub(in crate::kernel) enum Completion {
    /// The mailbox's eventfd is readable.
    Woken { more: bool },
    /// A listener has accepted, or why not.
    Accepted { listener: usize, socket: Result<OwnedFd, Errno>, more: bool },
    /// Bytes have come, or `None` with the peer's FIN.
    Received { key: Key, input: Result<Option<Buffer>, Errno>, more: bool },
    /// The socket took so many bytes.
    Sent { key: Key, taken: Result<usize, Errno> },
    /// The socket is ready.
    Ready { key: Key, events: Result<PollFlags, Errno>, more: bool },
    /// The peer has reset or closed the connection.
    HungUp { key: Key, events: Result<PollFlags, Errno> },
}
