//! Simoom: HTTP and memcached from a NIC's receive queues, or from kernel sockets.

pub mod admin;
pub mod af_xdp;
pub mod app;
pub mod cli;
mod clock;
pub mod compare;
pub mod config;
pub mod control;
pub mod demo;
pub mod error;
pub mod hosted;
pub mod kernel;
pub mod limits;
pub mod load;
pub mod log;
mod mapping;
pub mod metrics;
pub mod netns;
pub mod probe;
pub mod serve;
pub mod store;
pub mod thread;
pub mod worker;

pub use error::{Error, Result};
pub use mapping::HugePages;
