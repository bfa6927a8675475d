//! What a socket has not yet brought to its peer. In comes a connected socket, out goes whether
//! there is any.

use std::os::fd::{AsRawFd, BorrowedFd};

/// What a FIN adds to the bytes that are not acknowledged.
const FIN: libc::c_int = 1;

/// Whether the peer has yet to acknowledge bytes that were sent on `socket` before the FIN. An
/// error counts as no: then nothing more comes of it.
pub(in crate::kernel) fn has_unacknowledged_bytes(socket: BorrowedFd<'_>) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int, within the call, to where it is told, and that is one.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    failed == 0 && bytes > FIN
}
