//! Which transport and mode `serve` takes on an interface when left to choose, and why: facts in,
//! one line out.
//!
//! A pure function of the facts, so that `probe` and `serve` cannot disagree.

use super::facts::{Ability, Link, Machine, Trust};
use crate::config::{Transport, XdpMode};
use af_xdp::drivers;
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
}

/// The choice for `link`.
pub fn choose(machine: &Machine, link: &Link) -> Choice {
    match obstacle(machine, link) {
        Some(reason) => over_kernel_sockets(machine, reason),
        None => {
            let (mode, reason) = mode(link);
            Choice { transport: Transport::Xdp, mode, reason }
        }
    }
}

/// The better kind of kernel sockets. `obstacle` is the reason against AF_XDP.
fn over_kernel_sockets(machine: &Machine, obstacle: String) -> Choice {
    let (transport, reason) = match &machine.io_uring {
        Ability::Yes => (Transport::IoUring, obstacle),
        Ability::No { reason } => (Transport::Epoll, format!("{obstacle}; {reason}")),
    };
    Choice { transport, mode: XdpMode::Auto, reason }
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

const UNTOLD: &str = "this kernel does not report the XDP features of the driver: zero-copy is tried first, then copy, then generic";

/// The mode that will be used, by the rules of [`af_xdp::Device::open`].
fn mode(link: &Link) -> (XdpMode, String) {
    let driver = link.driver.as_deref().unwrap_or("this driver");
    if drivers::prefers_generic(driver) {
        return (
            XdpMode::Generic,
            format!("on {driver} the generic path is faster than the driver's own"),
        );
    }
    match (&link.zero_copy_trust, link.xdp) {
        (_, Some(xdp)) if !xdp.native => (XdpMode::Generic, format!("{driver} has no native XDP")),
        (_, Some(xdp)) if !xdp.zero_copy => (XdpMode::Copy, format!("{driver} has no zero-copy")),
        (Trust::Bad { note }, _) => {
            (XdpMode::Copy, format!("zero-copy is known to be faulty with {driver}: {note}"))
        }
        (_, None) => (XdpMode::ZeroCopy, UNTOLD.into()),
        (Trust::Good { note }, _) => {
            (XdpMode::ZeroCopy, format!("zero-copy is known to work with {driver}: {note}"))
        }
        (Trust::Unknown, _) => {
            (XdpMode::ZeroCopy, format!("{driver} offers zero-copy, without known faults"))
        }
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
