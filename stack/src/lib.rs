//! A TCP stack: frames in, frames out.
#![forbid(unsafe_code)]

pub mod application;
mod arp;
pub mod config;
pub mod counters;
mod demux;
pub mod drop;
mod icmp;
pub mod keep;
mod keyed;
mod listen;
pub mod reassembly;
pub mod send;
pub mod seq;
mod stack;
mod tcp;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time_wait;
pub mod timer;
pub mod wire;

pub use application::{Application, Closed, Opened};
pub use config::{Config, Limits, LocalAddress};
pub use send::{Blob, Reply};
pub use smoltcp::time::{Duration, Instant};
#[cfg(any(test, feature = "testing"))]
pub use stack::Inspection;
pub use stack::{BURST, Census, ConnId, Connect, ConnectError, Stack};
pub use tcp::Transmit;
pub use wire::{Address, ChecksumPolicy, Link, Mac, Packet};
