//! The parts of a stack's configuration that come from its device and from the kernel.

use crate::error::{Error, Result};
use af_xdp::drivers;
use simoom_tcp::wire::ipv6;
use simoom_tcp::{ChecksumPolicy, Config};

/// A fresh secret for a stack.
pub(crate) fn secret() -> Result<[u64; 4]> {
    let mut secret = [0; 32];
    rustix::rand::getrandom(&mut secret[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::because("asking the kernel for random numbers", error))?;
    Ok(std::array::from_fn(|at| {
        u64::from_ne_bytes(std::array::from_fn(|byte| secret[8 * at + byte]))
    }))
}

/// Sets the options that depend on the device: the MTU and checksum offloads.
pub(crate) fn suit_device(stack: &mut Config, mtu_bytes: u32, driver: &str, frame_bytes: usize) {
    stack.mtu = stack_mtu(mtu_bytes, frame_bytes, stack);
    if drivers::leaves_checksums_partial(driver) {
        stack.checksums = ChecksumPolicy::AcceptPartial;
    }
}

/// The MTU of the interface, limited to the longest frame of the device. Not below the minimum of
/// IP: an interface with a smaller MTU cannot carry it.
pub(crate) fn stack_mtu(mtu_bytes: u32, frame_bytes: usize, stack: &Config) -> u16 {
    let overhead = stack.frame_bytes() - usize::from(stack.mtu);
    let has_ipv6 = stack.addresses.iter().any(|local| !local.address.is_v4());
    let least = if has_ipv6 { usize::from(ipv6::MIN_MTU) } else { 576 };
    (mtu_bytes as usize).clamp(least, frame_bytes - overhead) as u16
}
