//! A TCP stack: frames in, frames out.
#![forbid(unsafe_code)]

pub mod application;
pub mod counters;
pub mod demux;
pub mod drop;
pub mod keep;
pub mod reassembly;
pub mod send;
pub mod seq;
pub mod timer;
pub mod wire;

pub use application::{Application, Closed, Opened};
pub use send::{Blob, Reply};
pub use smoltcp::time::{Duration, Instant};

/// The stack of one worker.
pub struct Stack;

impl Stack {
    /// Active open.
    pub fn connect(&mut self) {}
}
