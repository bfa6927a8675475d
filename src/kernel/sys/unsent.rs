//! What a socket has not yet brought to its peer. In comes a connected socket, out goes a count.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Whether the peer has acknowledged all that was sent on `socket`, the FIN too. An error counts as
/// yes: then nothing more comes of it.
pub(in crate::kernel) fn is_all_acknowledged(socket: BorrowedFd<'_>) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int, within the call, to where it is told, and that is one.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    failed != 0 || bytes == 0
}
