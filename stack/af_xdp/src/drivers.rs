//! Known faults and preferences of NIC drivers, beyond what the drivers report.
//!
//! Zero-copy mode of some drivers corrupts memory on some kernels. A table has the drivers with
//! reports, and the source of each. A driver that is not in the table is tried, if the
//! kernel reports that it has the mode.

use super::Mode;
use super::features::XdpFeatures;

/// An entry of the table: a driver's zero-copy mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroCopy {
    /// Trusted from this kernel version (major, minor) on.
    Good {
        /// The first version.
        since: (u32, u32),
        /// What was wrong before, and what was reported since, with its source.
        source: &'static str,
    },
    /// Used only on request.
    Bad {
        /// The fault, and where it was reported.
        reason: &'static str,
    },
}

const ZERO_COPY: &[(&str, ZeroCopy)] = &[
    (
        "mlx5_core",
        ZeroCopy::Good {
            since: (6, 1),
            source: "before, long frames overwrote their neighbours in unaligned mode, and busy polling found no NAPI \
                     (Linux commits 139213451046, 8eaa1d110800, a2740f529da2)",
        },
    ),
    (
        "i40e",
        ZeroCopy::Good {
            since: (5, 19),
            source: "before, the driver went on receiving into a full RX ring (Linux commit b8aef650e549); it loses \
                     buffers if the fill ring is short of frames at bind(2), so they are put there before \
                     (github.com/anza-xyz/agave pull 6836)",
        },
    ),
    (
        "ice",
        ZeroCopy::Bad {
            reason: "kernel memory corruption and panics under load, reported up to Linux 7.0 \
                     (github.com/intel/ethernet-linux-ice issues 59 and 61, netdev 20260512152658.2818805)",
        },
    ),
    (
        "ena",
        ZeroCopy::Bad {
            reason: "memory corruption under load (github.com/amzn/amzn-drivers issue 330), device resets and half the \
                     rate of copy mode (issue 221)",
        },
    ),
];

/// Drivers with zero-copy before Linux 6.3, the first version to report the features of a driver.
const ZERO_COPY_BEFORE_6_3: &[&str] =
    &["fsl_dpaa2_eth", "i40e", "ice", "igc", "ixgbe", "mlx5_core", "stmmac", "stmmaceth"];

/// Drivers with native XDP before Linux 6.3, beside those with zero-copy.
const NATIVE_BEFORE_6_3: &[&str] = &[
    "atlantic",
    "bnxt_en",
    "ena",
    "fsl_dpa",
    "fsl_enetc",
    "hv_netvsc",
    "igb",
    "ixgbevf",
    "mana",
    "mlx4_en",
    "mtk_soc_eth",
    "mvneta",
    "mvpp2",
    "nfp",
    "qede",
    "rvu_nicpf",
    "sfc",
    "thunder-nicvf",
    "tun",
    "veth",
    "virtio_net",
    "vif",
];

/// The table's entry for `driver`. Most drivers have none.
pub fn zero_copy(driver: &str) -> Option<ZeroCopy> {
    ZERO_COPY.iter().find(|(name, _)| *name == driver).map(|(_, known)| *known)
}

/// The reason not to try zero-copy mode with `driver` on a kernel of this version (major, minor),
/// if there is one.
pub fn distrust(driver: &str, kernel: (u32, u32)) -> Option<String> {
    match zero_copy(driver)? {
        ZeroCopy::Bad { reason } => Some(format!("zero-copy of driver {driver}: {reason}")),
        ZeroCopy::Good { since, .. } if kernel < since => {
            let (major, minor) = since;
            Some(format!("zero-copy of driver {driver} is trusted from Linux {major}.{minor} on"))
        }
        ZeroCopy::Good { .. } => None,
    }
}

/// The reason why `mode` cannot work, or must not be tried without a request, with `driver` on a
/// kernel of this version; `None` if there is none known. `features` are what the driver reports,
/// from Linux 6.3 on.
pub fn obstacle(
    mode: Mode,
    driver: &str,
    kernel: (u32, u32),
    features: Option<XdpFeatures>,
) -> Option<String> {
    if mode == Mode::Generic {
        return None;
    }
    let no_native = || format!("driver {driver} has no native XDP");
    let lacks = match (features, mode) {
        (Some(features), _) if !features.native() => Some(no_native()),
        (Some(features), Mode::ZeroCopy) if !features.zero_copy() => {
            Some(format!("driver {driver} has no zero-copy on this kernel"))
        }
        (None, Mode::ZeroCopy) if !ZERO_COPY_BEFORE_6_3.contains(&driver) => Some(format!(
            "driver {driver} is not known to have zero-copy before Linux 6.3, which reports it"
        )),
        _ => None,
    };
    let distrusted = || distrust(driver, kernel).filter(|_| mode == Mode::ZeroCopy);
    lacks.or_else(distrusted)
}

/// Whether `driver` is known to have native XDP on kernels before 6.3, which do not report it.
pub fn is_native_before_6_3(driver: &str) -> bool {
    ZERO_COPY_BEFORE_6_3.contains(&driver) || NATIVE_BEFORE_6_3.contains(&driver)
}

/// Whether generic mode is better although the driver has a native mode. On a veth it is faster by
/// half; native mode switches off segmentation offload at the peer and limits the MTU.
pub fn prefers_generic(driver: &str) -> bool {
    driver == "veth"
}

/// What goes wrong after `mode` was used once with `driver`, whoever uses the interface then, and
/// the remedy; `None` if nothing is known.
pub fn aftermath(mode: Mode, driver: &str) -> Option<&'static str> {
    match (mode, driver) {
        // Seen on Linux 7.3 in `tests/vm`: at MTU 9000 memcached on kernel sockets got no frame of
        // more than 3 KiB, once a program had been attached and detached.
        (Mode::Copy | Mode::ZeroCopy, "vmxnet3") => Some(
            "after native XDP vmxnet3 drops received frames of more than 3 KiB, until the driver \
             is bound again or the host restarts; before you raise the MTU, use generic mode",
        ),
        _ => None,
    }
}

/// Drivers of interfaces over which kernels of the same machine send: those of the kernel's own
/// virtual links, and those of the network cards that a hypervisor emulates.
const LOCAL: &[&str] = &[
    "802.1Q VLAN Support",
    "bonding",
    "bridge",
    "ipvlan",
    "macvlan",
    "team",
    "tun",
    "veth",
    "vif",
    "virtio_net",
];

/// Whether a kernel may send over such an interface and leave TCP checksums to hardware that is not
/// there: of the same host, or of another guest of the hypervisor. Accept a checksum over the
/// pseudo-header alone on such an interface, and on no other: AF_XDP does not pass on the kernel's
/// note that the checksum is partial.
pub fn leaves_checksums_partial(driver: &str) -> bool {
    LOCAL.contains(&driver)
}

/// The reason why a request for a checksum ([`super::Umem::request_checksum`]) would leave a packet
/// with a wrong one, in `mode` with `driver`; `None` if it is heeded.
///
/// In zero-copy mode the driver says whether it heeds requests. In the other modes the kernel turns
/// a request into CHECKSUM_PARTIAL of an skb, which is right on veth: the peer accepts it, or the
/// kernel sums where the device has no offload. It does not set the network header of that skb,
/// from which the drivers of many NICs (igb, ixgbe, i40e) tell the NIC where TCP begins. For
/// devices with `IFF_TX_SKB_NO_LINEAR` (virtio_net), the kernels of 6.8 to 6.17 ignore the request.
///
/// `is_offered`: whether the driver reports [`XdpFeatures::tx_checksum`].
pub fn checksum_obstacle(mode: Mode, driver: &str, is_offered: bool) -> Option<String> {
    match mode {
        Mode::ZeroCopy => (!is_offered)
            .then(|| format!("driver {driver} offers no TX checksum in zero-copy mode")),
        Mode::Copy | Mode::Generic => (driver != "veth").then(|| {
            format!("in {mode} mode Linux does not tell driver {driver} where headers begin")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_knows_good_from_bad_and_keeps_silent_on_the_rest() {
        assert!(matches!(
            zero_copy("mlx5_core"),
            Some(ZeroCopy::Good { since: (6, 1), source }) if source.contains("8eaa1d110800")
        ));
        assert!(matches!(zero_copy("ice"), Some(ZeroCopy::Bad { .. })));
        assert_eq!(zero_copy("unheard_of"), None);
    }

    #[test]
    fn only_native_modes_of_vmxnet3_have_an_aftermath() {
        assert!(aftermath(Mode::Copy, "vmxnet3").is_some_and(|text| text.contains("generic mode")));
        assert_eq!(aftermath(Mode::Generic, "vmxnet3"), None);
        assert_eq!(aftermath(Mode::Copy, "igb"), None);
    }

    #[test]
    fn distrust_depends_on_the_kernel() {
        assert_eq!(distrust("mlx5_core", (6, 1)), None);
        assert!(distrust("mlx5_core", (5, 15)).is_some_and(|reason| reason.contains("Linux 6.1")));
        assert!(distrust("ena", (9, 0)).is_some_and(|reason| reason.contains("330")));
        assert_eq!(distrust("unheard_of", (5, 10)), None);
    }

    /// Features of a driver: native XDP, zero-copy.
    fn features(native: bool, zero_copy: bool) -> Option<XdpFeatures> {
        let act = u64::from(native) | u64::from(zero_copy) << 3;
        Some(XdpFeatures { act, ..XdpFeatures::default() })
    }

    #[test]
    fn a_mode_that_the_driver_lacks_is_not_tried() {
        let obstacle = |mode, driver, features| obstacle(mode, driver, (6, 12), features);
        for (mode, driver, features, reason) in [
            (Mode::ZeroCopy, "nic", features(true, true), None),
            (Mode::ZeroCopy, "nic", features(true, false), Some("no zero-copy")),
            (Mode::Copy, "nic", features(true, false), None),
            (Mode::Copy, "nic", features(false, false), Some("no native XDP")),
            (Mode::ZeroCopy, "ena", features(true, true), Some("issue 330")),
            (Mode::Copy, "ena", features(true, true), None),
            (Mode::Generic, "nic", features(false, false), None),
            (Mode::ZeroCopy, "e1000e", None, Some("before Linux 6.3")),
            (Mode::ZeroCopy, "vmxnet3", None, Some("before Linux 6.3")),
            (Mode::ZeroCopy, "i40e", None, None),
            (Mode::Copy, "unheard_of", None, None),
        ] {
            let found = obstacle(mode, driver, features);
            assert_eq!(found.is_some(), reason.is_some(), "{mode} {driver}: {found:?}");
            assert!(
                found.as_deref().unwrap_or_default().contains(reason.unwrap_or_default()),
                "{mode} {driver}: {found:?}"
            );
        }
    }

    #[test]
    fn only_a_kernel_of_the_same_machine_leaves_checksums_partial() {
        for driver in ["veth", "bridge", "macvlan", "virtio_net", "tun", "802.1Q VLAN Support"] {
            assert!(leaves_checksums_partial(driver), "{driver}");
        }
        for driver in ["mlx5_core", "igb", "e1000e", "vmxnet3", ""] {
            assert!(!leaves_checksums_partial(driver), "{driver}");
        }
    }

    #[test]
    fn a_checksum_is_requested_only_where_it_will_be_right() {
        for (mode, driver, is_offered, heeded) in [
            (Mode::Generic, "veth", false, true),
            (Mode::Copy, "veth", false, true),
            (Mode::Generic, "virtio_net", true, false),
            (Mode::Copy, "igb", true, false),
            (Mode::ZeroCopy, "igb", false, false),
            (Mode::ZeroCopy, "mlx5_core", true, true),
            (Mode::ZeroCopy, "mlx5_core", false, false),
        ] {
            let obstacle = checksum_obstacle(mode, driver, is_offered);
            assert_eq!(obstacle.is_none(), heeded, "{driver} in {mode} mode: {obstacle:?}");
        }
    }
}
