//! AF_XDP over veth pairs: a queue at one end, the kernel at the other, each in a namespace of its
//! own. Needs root and iproute2.

#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(clippy::print_stdout, reason = "a skip must be seen in the test's output")]

mod accounting;
mod frames;
mod gso;
mod lifecycle;
mod net;
mod program;
mod transfer;
