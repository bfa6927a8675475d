//! Classic BPF programs of sockets. One makes listeners that are about to close drop each SYN;
//! handshakes in progress still complete. The other has the kernel choose the listener of a
//! `SO_REUSEPORT` group by the receive queue of the SYN.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Offset of the flags in the TCP header, and the SYN flag.
const FLAGS_AT: u32 = 13;
const SYN: u32 = 0x02;
/// Offset at which a load returns the receive queue of the packet, plus one; 0 if the driver does
/// not record it.
const QUEUE_AT: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_QUEUE) as u32;

/// BPF instructions of linux/filter.h: load a byte or a word, skip by comparison, calculate,
/// return.
const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const JUMP_IF_SET: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const SUBTRACT: u32 = libc::BPF_ALU | libc::BPF_SUB | libc::BPF_K;
const REMAINDER: u32 = libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
const RETURN_RESULT: u32 = libc::BPF_RET | libc::BPF_A;

/// Drops each SYN for `listener`. The client retransmits it after 1 s.
pub(in crate::kernel) fn drop_syns(listener: BorrowedFd<'_>) -> io::Result<()> {
    let instructions = [
        instruction(LOAD_BYTE, 0, FLAGS_AT),
        instruction(JUMP_IF_SET, 1, SYN),
        instruction(RETURN, 0, 0),
        instruction(RETURN, 0, u32::MAX),
    ];
    attach(listener, libc::SO_ATTACH_FILTER, instructions)
}

/// Has the `SO_REUSEPORT` group of `listener` accept a connection whose SYN came through receive
/// queue n with its member n modulo `members`, in the order in which they begin to listen. The
/// kernel spreads SYNs without a recorded queue by hash, as without the program.
pub(in crate::kernel) fn steer_by_queue(listener: BorrowedFd<'_>, members: u32) -> io::Result<()> {
    let instructions = [
        instruction(LOAD_WORD, 0, QUEUE_AT),
        instruction(JUMP_IF_EQUAL, 1, 0),
        instruction(RETURN, 0, u32::MAX),
        instruction(SUBTRACT, 0, 1),
        instruction(REMAINDER, 0, members.max(1)),
        instruction(RETURN_RESULT, 0, 0),
    ];
    attach(listener, libc::SO_ATTACH_REUSEPORT_CBPF, instructions)
}

/// An instruction with its operand. If a comparison fails, it skips the next `jf` ones.
fn instruction(code: u32, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf, k }
}

fn attach<const N: usize>(
    socket: BorrowedFd<'_>,
    option: libc::c_int,
    mut instructions: [libc::sock_filter; N],
) -> io::Result<()> {
    let program = libc::sock_fprog { len: N as u16, filter: instructions.as_mut_ptr() };
    // SAFETY: the kernel copies the program, whose length is that of the array it points to, within
    // the call.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
