//! How much of a socket's output its peer has not acknowledged. In comes a TCP socket; out goes a
//! count of sequence numbers. Never blocks.

use rustix::ioctl::{Getter, ioctl};
use std::io;
use std::os::fd::BorrowedFd;

/// SIOCOUTQ of linux/sockios.h, which has the number of TIOCOUTQ.
const OUTPUT_QUEUE: rustix::ioctl::Opcode = libc::TIOCOUTQ as rustix::ioctl::Opcode;

/// Bytes that the peer of `socket` has not acknowledged, and one more for the FIN.
pub(in crate::kernel) fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: for a socket, the kernel writes one int for this request.
    let count = unsafe { ioctl(socket, Getter::<OUTPUT_QUEUE, libc::c_int>::new()) }?;
    Ok(u32::try_from(count).unwrap_or(0))
}
