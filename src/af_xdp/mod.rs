//! From a NIC's receive queues to frames and back, through AF_XDP.
//!
//! # The life of a frame
//!
//! A [`Frame`] is a chunk of the packet memory that NIC and process share, the [`Umem`]. It begins in a worker's
//! [`FramePool`]. [`Queue::receive`] lends it to the kernel on the *fill ring*; the kernel, or in zero-copy mode the
//! NIC itself, puts a packet into it and hands it back on the *RX ring*, and `receive` returns it. The stack reads the
//! bytes where they lie ([`Umem::bytes`]) and then gives the frame to the pool, or writes an answer into it, or into
//! another one from the pool ([`Umem::room_mut`]). [`Queue::transmit`] lends it to the kernel on the *TX ring*,
//! [`Queue::flush`] has it sent, and [`Queue::complete`] finds it on the *completion ring* and gives it to the pool.
//!
//! A packet longer than a chunk is a chain of frames: every one but the last says [`Frame::more`].
//!
//! A frame is in exactly one place, because a `Frame` moves and cannot be copied, and because the UMEM keeps a ledger
//! of who holds each chunk: a descriptor that the kernel should not have handed out becomes a count, not a frame.
//!
//! # The life of a device
//!
//! [`Device::open`] loads the steering program ([`Steering`]; its source is bpf/steer.bpf.c), attaches it, and binds a
//! socket to every receive queue: zero-copy if the driver has it, else copying from the driver, else copying in front
//! of the kernel's stack (generic mode), with the reason for each step down in the log. The memory is one for all
//! queues, each of which has four rings of its own and goes to one worker. When the workers are ready,
//! [`Device::add_claim`] turns traffic to them; what is not claimed is the kernel's as if nobody were there. At the
//! end the device goes first and takes the program off, then the queues.
//!
//! The rooms, in the order of that walk: `umem`, `pool`, `queue` over `depth`, `ring` and `sys`; `device` over
//! `socket`, `program`, `claims` and `groups`; and [`features`] with [`drivers`], which tell what there is.

mod claims;
mod depth;
mod device;
pub mod drivers;
mod error;
pub mod features;
mod groups;
mod netdev;
mod pool;
mod program;
mod queue;
mod ring;
mod socket;
mod stats;
mod sys;
mod umem;

pub use crate::mapping::Pages;
pub use claims::{CLAIM_ADDRESSES, CLAIM_PORTS, Claim, is_host_address};
pub use device::{Device, Link, OpenOptions};
pub use error::Error;
pub use features::rx_queues;
pub(crate) use groups::Groups;
pub use pool::FramePool;
pub use program::{Steering, Verdict};
pub use queue::Queue;
pub use stats::{KernelCounters, QueueCounters, QueueFrames};
pub use umem::{Census, Frame, Umem};

use std::fmt;

/// Frames that a worker takes at once.
pub const BURST: usize = 64;

/// `XDP_PACKET_HEADROOM` of `<linux/bpf.h>`: what the kernel leaves free at the start of a chunk it receives into.
const XDP_PACKET_HEADROOM_BYTES: usize = 256;

/// How packets come from the driver to the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// The NIC writes into the frames itself.
    ZeroCopy,
    /// The program runs in the driver, and the kernel copies.
    Copy,
    /// The program runs in front of the kernel's stack (SKB mode), and the kernel copies. Every driver can.
    Generic,
}

impl Mode {
    /// The name as the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::ZeroCopy => "zero-copy",
            Mode::Copy => "copy",
            Mode::Generic => "generic",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Slots of a queue's rings, each a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSizes {
    /// Frames lent to the kernel to receive into.
    pub fill: u32,
    /// Frames received; not fewer than `fill`.
    pub rx: u32,
    /// Frames to transmit.
    pub tx: u32,
    /// Frames transmitted.
    pub completion: u32,
}
