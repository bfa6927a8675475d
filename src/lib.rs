//! Simoom: HTTP and memcached from a NIC's receive queues, or from kernel sockets.

pub mod af_xdp;
pub mod app;
pub mod control;
pub mod hosted;
pub mod kernel;
pub mod metrics;
pub mod netns;
pub mod probe;
pub mod worker;
