//! A TCP stack: frames in, frames out.
#![forbid(unsafe_code)]

pub mod application;
pub mod counters;
pub mod send;

pub use application::{Application, Closed, Opened};
pub use send::{Blob, Reply};
pub use smoltcp::time::{Duration, Instant};

/// The stack of one worker.
pub struct Stack;

impl Stack {
    /// Active open.
    pub fn connect(&mut self) {}
}
