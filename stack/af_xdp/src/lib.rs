//! AF_XDP sockets: frames go from a NIC's receive queues to user space and back, past the kernel's
//! network stack.
//!
//! The crate attaches an XDP program to an interface, binds a socket to each receive queue, and
//! hands out move-only [`Frame`]s in packet memory that all queues share. It covers shared UMEM,
//! packets of several buffers, busy polling, the need-wakeup flag, and three modes with fallback
//! from the fastest to the most widely supported. It never looks into a packet and starts no
//! thread.
//!
//! # Example
//!
//! This program sends each frame back as it came. The built-in XDP program redirects every frame of
//! the interface, so nothing else on the host receives from it.
//!
//! ```no_run
//! use af_xdp::{BURST, Device, OpenOptions, Program};
//!
//! fn main() -> Result<(), af_xdp::Error> {
//!     let options = OpenOptions { queues: Some(1), ..OpenOptions::new("eth0") };
//!     let program = Program::redirect_all(options.queue_count()?)?;
//!     let (_device, mut queues) = Device::open(&options, program)?;
//!     let (mut queue, mut pool) = queues.remove(0);
//!     let mut frames = Vec::with_capacity(2 * BURST);
//!     loop {
//!         queue.receive(&mut pool, &mut frames, BURST);
//!         for frame in frames.drain(..) {
//!             println!("{} bytes", queue.umem().bytes(&frame).len());
//!             if let Err(frame) = queue.transmit(frame) {
//!                 pool.give(frame);
//!             }
//!         }
//!         queue.flush()?;
//!         queue.complete(&mut pool);
//!     }
//! }
//! ```
//!
//! The loop spins. To sleep, wait with poll(2) until the queue is readable: a [`Queue`] is
//! [`AsFd`](std::os::fd::AsFd).
//!
//! # The path of a frame
//!
//! A [`Frame`] owns one chunk of the packet memory that the NIC and the process share, the
//! [`Umem`]. Free frames lie in a [`FramePool`].
//!
//! 1. [`Queue::receive`] puts free frames on the *fill ring*. The kernel, or the NIC in zero-copy
//!    mode, writes a packet into each and returns it on the *RX ring*. `receive` appends those
//!    frames to the caller's list.
//! 2. The caller reads the bytes in place ([`Umem::bytes`]). It then returns the frame to the pool,
//!    or writes a packet into it or into another frame ([`Umem::chunk_mut`]).
//! 3. [`Queue::transmit`] puts a frame on the *TX ring* and [`Queue::flush`] starts transmission.
//! 4. [`Queue::complete`] takes sent frames from the *completion ring* and returns them to the
//!    pool.
//!
//! A packet longer than a chunk is a chain of frames: [`Frame::more`] is true for each of them but
//! the last.
//!
//! A `Frame` moves and cannot be copied, and the UMEM records the holder of each chunk. A
//! descriptor from the kernel for a chunk that the kernel does not hold is counted and ignored, so
//! no chunk is ever owned twice.
//!
//! # Checksums
//!
//! With [`OpenOptions::checksum_offload`] the kernel or the NIC completes the checksum of a
//! transmitted packet on request ([`Umem::request_checksum`]), by the metadata before the frame.
//! [`Device::checksum_offload`] says whether it does in this mode with this driver, or why not.
//!
//! # The life of a device
//!
//! [`Device::open`] attaches a [`Program`] and binds a socket to each receive queue. It tries
//! [`Mode::ZeroCopy`], then [`Mode::Copy`], then [`Mode::Generic`], and logs the reason for each
//! step down. The program decides which frames go to the sockets; the kernel's stack gets the rest.
//! [`Program::redirect_all`] is built in, [`Program::load`] takes an object of the caller's. Drop
//! the device before the queues: it detaches the program.
//!
//! [`GsoSender`] sends what is longer than a frame where the kernel copies frames anyway: TCP
//! packets that it, or the NIC, cuts into segments.
//!
//! [`FrameIo`] is what a packet loop needs of a queue, so that the loop also runs over memory or a
//! TAP device. [`features`] and [`drivers`] report what the kernel and a NIC support. [`memory`]
//! has the mappings, [`napi`] the interrupt settings of a NIC's queues.
//!
//! # Reading the code
//!
//! Start with `umem`, `pool` and `queue`. A queue stands on `depth` (how many frames the fill ring
//! holds), `ring` and `sys`. `device` stands on `socket` and `program`.

mod deferral;
mod depth;
mod device;
pub mod drivers;
mod error;
pub mod features;
mod frame_io;
mod gso;
mod guard;
pub mod memory;
mod metadata;
pub mod napi;
mod netdev;
mod pool;
mod program;
mod queue;
mod ring;
mod socket;
mod stats;
mod sys;
mod umem;

/// The loader of BPF objects, for the types of maps that [`Program::take_map`] returns.
pub use aya;
pub use device::{Device, Link, OpenOptions};
pub use error::Error;
pub use features::rx_queues;
pub use frame_io::FrameIo;
pub use gso::{Gso, GsoSender};
pub use memory::Pages;
pub use metadata::Checksum;
pub use pool::FramePool;
pub use program::{Program, Verdict};
pub use queue::Queue;
pub use stats::{Counter, KernelCounters, QueueCounters, QueueFrames};
pub use umem::{Frame, Ownership, Umem};

use std::fmt;

/// Frames that a packet loop usually takes at once.
pub const BURST: usize = 64;

/// `XDP_PACKET_HEADROOM` of `<linux/bpf.h>`: bytes that the kernel leaves free at the start of a
/// chunk it receives into.
const XDP_PACKET_HEADROOM_BYTES: usize = 256;

/// How packets come from the driver to the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// The NIC reads and writes the frames itself. Needs support in the driver.
    ZeroCopy,
    /// The program runs in the driver, and the kernel copies packets. Needs XDP support in the
    /// driver.
    Copy,
    /// The program runs in front of the kernel's stack (SKB mode), and the kernel copies packets.
    /// Works with every driver.
    Generic,
}

impl Mode {
    /// The name: `zero-copy`, `copy` or `generic`.
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
    /// Slots of the fill ring: frames that the kernel has to receive into.
    pub fill: u32,
    /// Slots of the RX ring: frames received. At least `fill`.
    pub rx: u32,
    /// Slots of the TX ring: frames to transmit.
    pub tx: u32,
    /// Slots of the completion ring: frames transmitted.
    pub completion: u32,
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
