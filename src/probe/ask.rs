//! Queries the kernel: tries the abilities of the machine, asks drivers for those of an interface,
//! and looks up what is known of a driver.

use super::facts::{Ability, Link, Machine, Trust, XdpFeatures};
use super::machine;
use crate::error::Result;
use crate::netns::Interface;
use crate::{kernel, steer};
use af_xdp::drivers::{self, ZeroCopy};
use af_xdp::features;

/// Facts about the machine.
pub(super) fn machine() -> Result<Machine> {
    machine::machine(
        ability(features::can_open_sockets()),
        ability(steer::can_load()),
        ability(features::can_register_metadata()),
        ability(kernel::io_uring()),
    )
}

fn ability<E: ToString>(tried: std::result::Result<(), E>) -> Ability {
    match tried {
        Ok(()) => Ability::Yes,
        Err(error) => Ability::No { reason: error.to_string() },
    }
}

/// Facts about an interface. What its driver does not report stays unknown; the probe does not
/// fail.
pub(super) fn link(interface: Interface, kernel: (u32, u32)) -> Link {
    let driver = features::driver(&interface.name).ok();
    let (rx_queues, tx_queues) = match features::queues(&interface.name) {
        Ok(queues) => (queues.rx, queues.tx),
        Err(_) => (interface.rx_queues, interface.tx_queues),
    };
    let xdp = features::xdp_features(&interface.name).ok().map(|features| XdpFeatures {
        native: features.native(),
        zero_copy: features.zero_copy(),
        multi_buffer: features.multi_buffer(),
        zero_copy_multi_buffer: features.zero_copy() && features.zero_copy_max_segments > 1,
        tx_checksum: features.tx_checksum(),
    });
    Link {
        zero_copy_obstacle: features::zero_copy_obstacle(&interface.name),
        zero_copy_trust: driver.as_deref().map_or(Trust::Unknown, |driver| trust(driver, kernel)),
        name: interface.name,
        up: interface.up,
        carrier: interface.carrier,
        loopback: interface.loopback,
        mtu_bytes: interface.mtu_bytes,
        addresses: interface.addresses.into_iter().map(|(address, _)| address).collect(),
        driver,
        rx_queues,
        tx_queues,
        xdp,
    }
}

/// What is known of zero-copy with `driver` on a kernel of this version.
fn trust(driver: &str, kernel: (u32, u32)) -> Trust {
    match drivers::zero_copy(driver) {
        None => Trust::Unknown,
        Some(ZeroCopy::Bad { reason }) => Trust::Bad { note: reason.to_owned() },
        Some(ZeroCopy::Good { since: since @ (major, minor), source }) => {
            let note = format!("trusted from Linux {major}.{minor} on; {source}");
            if kernel < since { Trust::Bad { note } } else { Trust::Good { note } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_depends_on_driver_and_kernel() {
        assert!(matches!(trust("mlx5_core", (6, 1)), Trust::Good { .. }));
        assert!(matches!(trust("mlx5_core", (5, 15)), Trust::Bad { note } if note.contains("6.1")));
        assert!(matches!(trust("ice", (9, 0)), Trust::Bad { .. }));
        assert_eq!(trust("nothing", (6, 1)), Trust::Unknown);
    }
}
