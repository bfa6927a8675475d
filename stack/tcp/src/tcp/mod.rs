//! One TCP connection: its control block and the rules that change it.
//!
//! [`input`] handles a segment and updates the block. [`output`] reads the block and writes
//! segments. [`timeout`] handles expired timers. None of them keeps state elsewhere: the block is
//! the connection. [`Shared`] holds what all connections of a worker share: pools, the timer wheel
//! and counters.

mod ack;
mod block;
pub mod congestion;
pub(crate) mod deliver;
pub(crate) mod ecn;
pub(crate) mod handshake;
mod held;
pub(crate) mod input;
pub(crate) mod output;
mod pace;
pub(crate) mod path;
pub(crate) mod path_search;
mod probe;
mod prr;
mod rack;
pub(crate) mod rate;
mod recovery;
pub(crate) mod rtt;
mod sack;
pub(crate) mod segment;
mod shared;
mod state;
pub(crate) mod timeout;
pub(crate) mod window;

use crate::drop::DropReason;
use crate::wire::tcp::complete_checksum;
use simoom_io::application::{Application, Closed};

pub(crate) use block::{BUSY_MS, Hot, Scales, Tcb, TimerEvent, near_timer};
pub(crate) use shared::{Inputs, Shared};
pub(crate) use state::{ConnFlags, Phase, State};

/// Takes the frames that the stack writes.
pub trait Transmit {
    /// Lends a frame of at least [`crate::Config::frame_bytes`] to `write`, which returns how many
    /// bytes of it to send. Returns `false`, without calling `write`, when no frame is free: the
    /// stack tries again at the next flush.
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool;

    /// Transmits the same way a frame with a TCP segment. With `partial_from` its checksum is
    /// partial ([`crate::TxChecksum::Partial`]), and the TCP header begins at that byte of the
    /// frame. Completes the checksum in software; a transmitter with an offload overrides this.
    #[inline]
    fn transmit_segment(
        &mut self,
        partial_from: Option<usize>,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool {
        self.transmit(|frame| {
            let len = write(frame);
            if let Some(at) = partial_from {
                complete_checksum(&mut frame[at..len]);
            }
            len
        })
    }

    /// Transmits up to `count` frames as [`Transmit::transmit_segment`] does, and calls `write` for
    /// each of them in order. Returns their number: fewer when no frame is free.
    #[inline]
    fn transmit_run(
        &mut self,
        partial_from: Option<usize>,
        count: u32,
        mut write: impl FnMut(&mut [u8]) -> usize,
    ) -> u32 {
        let mut sent = 0;
        while sent < count && self.transmit_segment(partial_from, &mut write) {
            sent += 1;
        }
        sent
    }

    /// Bytes of the longest packet that [`Transmit::transmit_gso`] takes, with all headers. 0, the
    /// default: it takes none.
    #[inline]
    fn gso_max_bytes(&self) -> usize {
        0
    }

    /// As [`Transmit::transmit`], for a packet that is cut into segments behind the stack (generic
    /// segmentation offload). It may have [`Transmit::gso_max_bytes`]. Its TCP checksum field has
    /// the sum of the pseudo-header, not complemented. Returns `false` if the packet was not sent:
    /// the stack sends segments instead.
    fn transmit_gso(&mut self, gso: Gso, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let _ = (gso, write);
        false
    }
}

/// How a packet is to be cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Whether it is a packet of IPv6.
    pub is_ipv6: bool,
    /// Bytes before the TCP header.
    pub tcp_at: u16,
    /// Bytes of all headers.
    pub header_bytes: u16,
    /// Payload bytes of each segment but the last, which may have fewer.
    pub segment_bytes: u16,
}

/// Result of handling one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The connection continues.
    Continue,
    /// Both sides have closed: the connection enters TIME-WAIT.
    TimeWait,
    /// The connection is closed.
    Closed(Closed),
}

/// Access to the worker while a connection handles one event.
pub(crate) struct Context<'a, A: Application, T> {
    pub(crate) id: u32,
    pub(crate) shared: &'a mut Shared<A::Blob>,
    pub(crate) app: &'a mut A,
    pub(crate) tx: &'a mut T,
}

/// Why segment processing ended before its last step.
#[derive(Clone, Copy)]
pub(super) enum Stop {
    /// Drop the segment. The connection is unchanged.
    Dropped(DropReason),
    /// The connection leaves its table.
    Over(Outcome),
}
