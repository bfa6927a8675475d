//! One TCP connection: its control block and the rules that change it.
//!
//! [`input`] takes a segment and changes the block, [`output`] looks at the block and writes
//! segments, [`timeout`] does what time alone brings about. None of them keeps anything elsewhere:
//! the block is the connection. What all connections of a worker share, pools, wheel and counters,
//! stands in [`Shared`].

mod ack;
mod block;
pub(crate) mod congestion;
pub(crate) mod deliver;
pub(crate) mod ecn;
pub(crate) mod handshake;
mod held;
pub(crate) mod input;
mod marks;
pub(crate) mod output;
mod pace;
pub(crate) mod path;
mod probe;
mod prr;
mod rack;
mod recovery;
pub(crate) mod rtt;
mod sack;
pub(crate) mod segment;
mod shared;
pub(crate) mod timeout;
pub(crate) mod window;

use crate::drop::DropReason;
use simoom_io::application::{Application, Closed};

pub(crate) use block::{Due, Hot, Scales, Tcb, far_timer, near_timer};
pub(crate) use marks::{Marks, Phase, State};
pub(crate) use shared::{Inputs, Shared};

/// Takes the frames that the stack writes.
pub trait Transmit {
    /// Lends a frame of at least [`crate::Config::frame_bytes`] to `write`, which returns how many
    /// bytes of it to send. Returns `false`, without calling `write`, when no frame is free: the
    /// stack tries again at the next flush.
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool;
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on.
    Lives,
    /// It is over on both sides and goes to TIME_WAIT.
    Lingers,
    /// It is over.
    Ends(Closed),
}

/// What a connection is given to work with while it handles one event.
pub(crate) struct Context<'a, A: Application, T> {
    pub(crate) id: u32,
    pub(crate) shared: &'a mut Shared<A::Blob>,
    pub(crate) app: &'a mut A,
    pub(crate) tx: &'a mut T,
}

/// Why the steps were left before the last one.
pub(super) enum Stop {
    /// The segment is dropped; the connection is as before.
    Dropped(DropReason),
    /// The connection is over.
    Over(Fate),
}
