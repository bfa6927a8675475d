//! The traffic of an interface that Simoom handles: the claims, and the XDP program that redirects
//! claimed frames.
//!
//! [`Device::open`] loads bpf/steer.bpf.c, attaches it and binds the queues. When the workers run,
//! [`Device::add_claim`] steers traffic to them. The stack of the kernel receives all other frames.
//! [`Steering`] has the maps of the program, `claims` their entries, `earlier` the connections that
//! the kernel keeps at claimed ports, and `groups` the multicast groups of neighbour discovery for
//! addresses that the kernel does not have.

mod claims;
mod device;
mod earlier;
mod error;
mod groups;
mod plain;
mod steering;
#[expect(unsafe_code, reason = "a system call without a safe form")]
mod sys;
mod tunnels;

pub use claims::{CLAIM_ADDRESSES, CLAIM_PORTS, Claim, is_host_address};
pub use device::{Device, GuardCheck};
pub use error::Error;
pub(crate) use groups::Groups;
pub use steering::{SteerCounters, Steering, can_load};
pub use tunnels::{GUE_PORT_DEFAULT, Tunnel};
