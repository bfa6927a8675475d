//! Unacknowledged bytes of a connected socket.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Amount that an unacknowledged FIN adds to the count.
const FIN: libc::c_int = 1;

/// Whether bytes sent on `socket` before the FIN are not acknowledged. False on an error: then no
/// acknowledgement follows.
pub(in crate::kernel) fn has_unacknowledged_bytes(socket: BorrowedFd<'_>) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int, within the call, to where it is told, and that is one.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    failed == 0 && bytes > FIN
}
