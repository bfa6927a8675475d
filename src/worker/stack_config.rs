//! The parts of a stack's configuration that come from its device and from the kernel.

use crate::error::{Error, Result};
use af_xdp::drivers;
use simoom_tcp::wire::ipv6;
use simoom_tcp::{ChecksumPolicy, Config, TxChecksum};

/// A fresh secret for a stack.
pub(crate) fn secret() -> Result<[u64; 4]> {
    let mut secret = [0; 32];
    rustix::rand::getrandom(&mut secret[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::because("asking the kernel for random numbers", error))?;
    Ok(std::array::from_fn(|at| {
        u64::from_ne_bytes(std::array::from_fn(|byte| secret[8 * at + byte]))
    }))
}

/// What a stack must know of its device.
pub(crate) struct DeviceFacts<'a> {
    pub(crate) driver: &'a str,
    pub(crate) mtu_bytes: u32,
    /// The longest frame that the device carries.
    pub(crate) frame_bytes: usize,
    /// Whether the device completes the checksums of transmitted segments.
    pub(crate) completes_checksums: bool,
}

/// Sets the options that depend on the device: the MTU and checksum offloads.
pub(crate) fn suit_device(stack: &mut Config, device: &DeviceFacts<'_>) {
    stack.mtu = stack_mtu(device.mtu_bytes, device.frame_bytes, stack);
    if drivers::leaves_checksums_partial(device.driver) {
        stack.checksums = ChecksumPolicy::AcceptPartial;
    }
    if device.completes_checksums {
        stack.tx_checksum = TxChecksum::Partial;
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
