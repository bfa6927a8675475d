//! Which transport and mode `serve` takes on an interface when left to choose, and why: facts in,
//! one line out.
//!
//! A pure function of the facts, so that `probe` and `serve` cannot disagree.

use super::facts::{Ability, Link, Machine, Trust, XdpFeatures};
use crate::config::{Transport, XdpMode};
use af_xdp::{Mode, drivers};
use serde::{Serialize, Serializer};

/// The transport and mode that `serve` chooses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// AF_XDP, io_uring or epoll; never `auto`.
    #[serde(serialize_with = "transport_name")]
    pub transport: Transport,
    /// The first mode to try; lower ones follow if it fails. `auto` with kernel sockets, where it
    /// has no meaning.
    #[serde(serialize_with = "mode_name")]
    pub mode: XdpMode,
    /// The reason, and why a better one was not chosen, in one line.
    pub reason: String,
    /// Whether the kernel or the NIC completes the checksums of transmitted segments. With kernel
    /// sockets the kernel decides.
    pub checksum_offload: Ability,
}

/// The choice for `link`.
pub fn choose(machine: &Machine, link: &Link) -> Choice {
    match obstacle(machine, link) {
        Some(reason) => over_kernel_sockets(machine, reason),
        None => {
            let (mode, reason) = mode(link, machine.kernel_version().unwrap_or_default());
            let checksum_offload = checksum_offload(machine, link, mode);
            Choice { transport: Transport::Xdp, mode, reason, checksum_offload }
        }
    }
}

/// The better kind of kernel sockets. `obstacle` is the reason against AF_XDP.
fn over_kernel_sockets(machine: &Machine, obstacle: String) -> Choice {
    let (transport, reason) = match &machine.io_uring {
        Ability::Yes => (Transport::IoUring, obstacle),
        Ability::No { reason } => (Transport::Epoll, format!("{obstacle}; {reason}")),
    };
    let checksum_offload = Ability::No { reason: "kernel sockets: the kernel decides".into() };
    Choice { transport, mode: XdpMode::Auto, reason, checksum_offload }
}

/// The reason why AF_XDP cannot be used, if there is one.
fn obstacle(machine: &Machine, link: &Link) -> Option<String> {
    if link.loopback {
        return Some("the loopback interface has no receive queues".into());
    }
    for ability in [&machine.xdp_sockets, &machine.bpf_programs] {
        if let Ability::No { reason } = ability {
            return Some(reason.clone());
        }
    }
    if !link.up {
        return Some(format!("the interface is down; bring it up: ip link set {} up", link.name));
    }
    None
}

/// Kernels that may misalign a packet that an `xdp.frags` program passes on in generic mode.
const MISALIGNED_FROM: (u32, u32) = (6, 3);
const MISALIGNED_UP_TO: (u32, u32) = (7, 1);

/// The mode that will be used, by the rules of [`af_xdp::Device::open`].
fn mode(link: &Link, kernel: (u32, u32)) -> (XdpMode, String) {
    let driver = link.driver.as_deref().unwrap_or("this driver");
    if drivers::prefers_generic(driver) {
        return (XdpMode::Generic, veth(driver, kernel));
    }
    let Some(xdp) = link.xdp else { return unreported(driver, kernel, &link.zero_copy_trust) };
    match (reported(driver, xdp, &link.zero_copy_trust), &link.zero_copy_obstacle) {
        ((XdpMode::ZeroCopy, _), Some(obstacle)) => (XdpMode::Copy, obstacle.clone()),
        (choice, _) => choice,
    }
}

/// Whether the kernel or the NIC completes checksums, by the rules of [`af_xdp::Device::open`].
fn checksum_offload(machine: &Machine, link: &Link, mode: XdpMode) -> Ability {
    if let no @ Ability::No { .. } = &machine.tx_metadata {
        return no.clone();
    }
    let driver = link.driver.as_deref().unwrap_or("unknown");
    let is_offered = link.xdp.is_some_and(|xdp| xdp.tx_checksum);
    let mode = mode.forced().unwrap_or(Mode::Generic);
    match drivers::checksum_obstacle(mode, driver, is_offered) {
        None => Ability::Yes,
        Some(reason) => Ability::No { reason },
    }
}

/// The reason on a veth.
fn veth(driver: &str, kernel: (u32, u32)) -> String {
    let mut reason = format!("on {driver} the generic path is faster than the driver's own");
    if (MISALIGNED_FROM..=MISALIGNED_UP_TO).contains(&kernel) {
        reason.push_str(
            "; on Linux 6.3 to 7.1 do not capture on it (tcpdump) if the processor has split-lock \
             detection: the kernel may stop",
        );
    }
    reason
}

/// The mode on a kernel that reports the features of the driver.
fn reported(driver: &str, xdp: XdpFeatures, trust: &Trust) -> (XdpMode, String) {
    match trust {
        _ if !xdp.native => (XdpMode::Generic, format!("{driver} has no native XDP")),
        _ if !xdp.zero_copy => (XdpMode::Copy, format!("{driver} has no zero-copy on this kernel")),
        Trust::Bad { note } => {
            (XdpMode::Copy, format!("zero-copy is known to be faulty with {driver}: {note}"))
        }
        Trust::Good { note } => {
            (XdpMode::ZeroCopy, format!("zero-copy is known to work with {driver}: {note}"))
        }
        Trust::Unknown => {
            (XdpMode::ZeroCopy, format!("{driver} offers zero-copy, without known faults"))
        }
    }
}

/// The mode on a kernel that does not report the features of the driver.
fn unreported(driver: &str, kernel: (u32, u32), trust: &Trust) -> (XdpMode, String) {
    let (major, minor) = kernel;
    let silent = format!(
        "Linux {major}.{minor} does not report the XDP features of {driver} (6.3 or later does)"
    );
    if !drivers::is_native_before_6_3(driver) {
        let reason = format!("{silent}, which is not known to have native XDP");
        return (XdpMode::Generic, reason);
    }
    let obstacle = drivers::obstacle(Mode::ZeroCopy, driver, kernel, None);
    match (trust, obstacle) {
        (Trust::Bad { note }, _) => {
            (XdpMode::Copy, format!("zero-copy is known to be faulty with {driver}: {note}"))
        }
        (_, Some(obstacle)) => (XdpMode::Copy, format!("{silent}: {obstacle}")),
        (_, None) => (XdpMode::ZeroCopy, format!("{silent}, which is known to have zero-copy")),
    }
}

/// Serialises a transport by its name on the command line.
fn transport_name<S: Serializer>(value: &Transport, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.name())
}

/// Serialises a mode by its name on the command line.
fn mode_name<S: Serializer>(value: &XdpMode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.name())
}

#[cfg(test)]
#[path = "choice_tests.rs"]
mod tests;
