//! The membership of an Ethernet group: the only system call of this module without a safe form in
//! rustix.

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// A packet socket that receives nothing, in the calling thread's network namespace.
pub(crate) fn packet_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?)
}

/// Joins the Ethernet group `mac` for as long as the packet socket `fd` is open, or leaves it if
/// `join` is false.
pub(crate) fn membership(
    fd: BorrowedFd<'_>,
    ifindex: u32,
    mac: [u8; 6],
    join: bool,
) -> io::Result<()> {
    let name = if join { libc::PACKET_ADD_MEMBERSHIP } else { libc::PACKET_DROP_MEMBERSHIP };
    let mut address = [0; 8];
    address[..6].copy_from_slice(&mac);
    let request = libc::packet_mreq {
        mr_ifindex: ifindex as c_int,
        mr_type: libc::PACKET_MR_MULTICAST as u16,
        mr_alen: 6,
        mr_address: address,
    };
    let len = size_of_val(&request) as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `request`, which lives through the call and has no
    // padding.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_PACKET, name, (&raw const request).cast(), len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
