//! Which traffic of an interface comes to Simoom: the claims, and the XDP program that redirects
//! what is claimed.
//!
//! In come [`Claim`]s, out goes an [`af_xdp::Device`] whose queues receive the claimed frames; the
//! kernel's stack gets all others. [`Device::open`] loads bpf/steer.bpf.c, attaches it and binds
//! the queues. When the workers run, [`Device::add_claim`] turns traffic to them. [`Steering`] has
//! the maps of the program, `claims` their entries, and `groups` the multicast groups of neighbour
//! discovery for addresses that the kernel does not have.

mod claims;
mod device;
mod error;
mod groups;
mod steering;
#[expect(unsafe_code, reason = "a system call without a safe form")]
mod sys;

pub use claims::{CLAIM_ADDRESSES, CLAIM_PORTS, Claim, is_host_address};
pub use device::Device;
pub use error::Error;
pub(crate) use groups::Groups;
pub use steering::{SteerCounters, Steering, can_load};
