//! System calls about NAPI instances: that of a connection, and whether an epoll instance polls
//! that of its sockets.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Packets handled in one poll: the most that the kernel grants without CAP_NET_ADMIN.
const BUDGET: u16 = 64;

/// Whether epoll_wait(2) on `epoll` polls the NAPI instance of its sockets once before it sleeps,
/// and suspends its interrupts when it returns events. An error on kernels without the setting,
/// before Linux 6.9.
pub(in crate::kernel) fn prefer_busy_poll(epoll: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let params = libc::epoll_params {
        // It polls once, and never spins.
        busy_poll_usecs: 0,
        busy_poll_budget: BUDGET,
        prefer_busy_poll: u8::from(on),
        __pad: 0,
    };
    // SAFETY: the kernel reads one `epoll_params`, within the call, from where it is told.
    let failed =
        unsafe { libc::ioctl(epoll.as_raw_fd(), libc::EPIOCSPARAMS, &raw const params) } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The NAPI instance that the last packet of a socket came through. 0 if it came through none, as
/// over loopback.
pub(in crate::kernel) fn incoming_napi(socket: BorrowedFd<'_>) -> u32 {
    let mut id: u32 = 0;
    let mut bytes = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the kernel writes up to `bytes`, the size of `id`, to it, and the length to `bytes`,
    // within the call.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_INCOMING_NAPI_ID,
            (&raw mut id).cast(),
            &raw mut bytes,
        )
    } != 0;
    if failed { 0 } else { id }
}
