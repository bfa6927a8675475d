//! A socket filter for listeners that are about to close: the kernel drops each SYN. Handshakes in
//! progress still complete.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Offset of the flags in the TCP header, and the SYN flag.
const FLAGS_AT: u32 = 13;
const SYN: u32 = 0x02;

/// BPF instructions of linux/filter.h: load a byte, skip unless a bit is set, return.
const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const JUMP_IF_SET: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Drops each SYN for `listener`. The client retransmits it after 1 s.
pub(in crate::kernel) fn drop_syns(listener: BorrowedFd<'_>) -> io::Result<()> {
    let instruction =
        |code: u32, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let mut instructions = [
        instruction(LOAD_BYTE, 0, FLAGS_AT),
        instruction(JUMP_IF_SET, 1, SYN),
        instruction(RETURN, 0, 0),
        instruction(RETURN, 0, u32::MAX),
    ];
    let program =
        libc::sock_fprog { len: instructions.len() as u16, filter: instructions.as_mut_ptr() };
    // SAFETY: the kernel copies the program, whose length is that of the array it points to, within
    // the call.
    let failed = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
