//! The AF_XDP layer over real veth pairs: a queue at one end, the kernel at the other, each in a namespace of its own.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod common;

#[path = "af_xdp/accounting.rs"]
mod accounting;
#[path = "af_xdp/frames.rs"]
mod frames;
#[path = "af_xdp/lifecycle.rs"]
mod lifecycle;
#[path = "af_xdp/net.rs"]
mod net;
#[path = "af_xdp/transfer.rs"]
mod transfer;
