//! Known faults and preferences of NIC drivers, beyond what the drivers report.
//!
//! Zero-copy mode of some drivers corrupts memory on some kernels. A table has the drivers with
//! reports, and where the fault was reported. A driver that is not in the table is tried.

/// An entry of the table: a driver's zero-copy mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroCopy {
    /// Trusted from this kernel version (major, minor) on.
    Good {
        /// The first version.
        since: (u32, u32),
    },
    /// Used only on request.
    Bad {
        /// The fault, and where it was reported.
        reason: &'static str,
    },
}

const ZERO_COPY: &[(&str, ZeroCopy)] = &[
    ("mlx5_core", ZeroCopy::Good { since: (6, 1) }),
    ("i40e", ZeroCopy::Good { since: (5, 19) }),
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
            reason: "memory corruption under load (github.com/amzn/amzn-drivers issue 330) and device resets (issue 221)",
        },
    ),
];

/// The table's entry for `driver`. Most drivers have none.
pub fn zero_copy(driver: &str) -> Option<ZeroCopy> {
    ZERO_COPY.iter().find(|(name, _)| *name == driver).map(|(_, known)| *known)
}

/// The reason not to try zero-copy mode with `driver` on a kernel of this version (major, minor),
/// if there is one.
pub fn distrust(driver: &str, kernel: (u32, u32)) -> Option<String> {
    match zero_copy(driver)? {
        ZeroCopy::Bad { reason } => Some(format!("not tried with driver {driver}: {reason}")),
        ZeroCopy::Good { since } if kernel < since => {
            let (major, minor) = since;
            Some(format!("not tried with driver {driver}: trusted from Linux {major}.{minor} on"))
        }
        ZeroCopy::Good { .. } => None,
    }
}

/// Whether generic mode is better although the driver has a native mode. On a veth it is faster by
/// half; native mode switches off segmentation offload at the peer and limits the MTU.
pub fn prefers_generic(driver: &str) -> bool {
    driver == "veth"
}

/// Whether the peer of such an interface is a kernel that leaves TCP checksums to hardware. Accept
/// a checksum over the pseudo-header alone on such an interface, and on no other.
pub fn leaves_checksums_partial(driver: &str) -> bool {
    driver == "veth"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_knows_good_from_bad_and_keeps_silent_on_the_rest() {
        assert_eq!(zero_copy("mlx5_core"), Some(ZeroCopy::Good { since: (6, 1) }));
        assert!(matches!(zero_copy("ice"), Some(ZeroCopy::Bad { .. })));
        assert_eq!(zero_copy("unheard_of"), None);
    }

    #[test]
    fn distrust_depends_on_the_kernel() {
        assert_eq!(distrust("mlx5_core", (6, 1)), None);
        assert!(distrust("mlx5_core", (5, 15)).is_some_and(|reason| reason.contains("Linux 6.1")));
        assert!(distrust("ena", (9, 0)).is_some_and(|reason| reason.contains("330")));
        assert_eq!(distrust("unheard_of", (5, 10)), None);
    }
}
