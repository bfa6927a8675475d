//! User data and completions of operations: decodes the kind of an operation and its connection or
//! listener from the user data. Never reads the ring.

use super::buffers::Buffer;
use crate::kernel::table::Key;
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// The highest four bits of the user data are the kind of operation. The others identify the
/// connection or listener.
pub(super) const KIND_SHIFT: u32 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Wake = 1,
    Accept = 2,
    Receive = 3,
    Send = 4,
    Poll = 5,
    /// Completions of failures that do not matter; successes are skipped.
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

/// A completed step of an operation. `more`: the operation continues.
#[derive(Debug)]
pub(in crate::kernel) enum Completion {
    /// The eventfd of the command receiver is readable.
    Woken { more: bool },
    /// A listener has accepted a connection, or failed to.
    Accepted { listener: usize, socket: Result<OwnedFd, Errno>, more: bool },
    /// Bytes have arrived. `None`: the peer's FIN.
    Received { key: Key, input: Result<Option<Buffer>, Errno>, more: bool },
    /// The socket accepted `taken` bytes.
    Sent { key: Key, taken: Result<usize, Errno> },
    /// The socket is ready.
    Ready { key: Key, events: Result<PollFlags, Errno>, more: bool },
    /// The peer has reset or closed the connection.
    HungUp { key: Key, events: Result<PollFlags, Errno> },
}
