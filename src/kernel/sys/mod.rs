//! io_uring behind safe types: in come operations on descriptors, out go completions of known
//! kinds. All `unsafe` of the kernel transport stands here. Never lets the kernel touch memory that
//! a safe caller could have freed.
//!
//! What makes it safe:
//!
//! 1. **Bytes to send are read within [`Ring::submit`].** Sends carry MSG_DONTWAIT, which io_uring
//!    completes in the call that submits them, with EAGAIN if the socket is full, and never hands
//!    to a worker or a poll. So they need to be borrowed for that call only, and are. A submission
//!    that breaks off leaves the ring broken: it never enters the kernel again, which therefore
//!    never sees what is left in the queue.
//! 2. **Receive buffers outlive what may write to them.** They belong to the ring, and dropping it
//!    first cancels every operation and waits for that; were it to fail, the buffers would be
//!    leaked rather than freed.
//! 3. **A receive buffer is the kernel's or a caller's, never both.** A [`Buffer`] is made of a
//!    completion that names it, cannot be copied, and is used up by [`Ring::give`]: so it is given
//!    once. Completions are written in the thread that enters the ring, and while it does so, for
//!    the ring is set up with DEFER_TASKRUN.
//! 4. **A descriptor that an accept brought is owned from then on**: a completion is read once and
//!    turned into an `OwnedFd` at once.
//! 5. **A descriptor that is closed through the ring was given up by its owner**, so its number
//!    means nothing else until the kernel has closed it.
//!
//! The operations are added by [`batch`], entered by [`ring`] and told of by [`completion`]; the
//! receive buffers are [`buffers`]. Apart from the ring, [`filter`], [`napi`] and [`unsent`]
//! make calls that rustix has not.

mod batch;
mod buffers;
mod completion;
mod filter;
mod napi;
mod ring;
mod unsent;

pub(super) use buffers::{BUFFERS_MAX, Buffer};
pub(super) use completion::Completion;
pub(super) use filter::{drop_syns, steer_by_queue};
pub(super) use napi::{incoming_napi, prefer_busy_poll};
pub(super) use ring::Ring;
pub(super) use unsent::has_unacknowledged_bytes;
