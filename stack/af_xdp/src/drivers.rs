//! What is known of NIC drivers, beyond what they say of themselves.
//!
//! A driver that offers zero-copy mode may still get it wrong on some kernels, and then it is memory that is
//! overwritten. The table holds what was reported, with where; a driver that is not in it is tried.

/// What is known of a driver's zero-copy mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroCopy {
    /// In good use from this kernel version (major, minor) on.
    Good {
        /// The first version.
        since: (u32, u32),
    },
    /// Not to be used unless asked for.
    Bad {
        /// Why, and where that is reported.
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

/// What is known of zero-copy mode with `driver`; nothing for most.
pub fn zero_copy(driver: &str) -> Option<ZeroCopy> {
    ZERO_COPY.iter().find(|(name, _)| *name == driver).map(|(_, known)| *known)
}

/// Why zero-copy mode is not to be tried unasked with `driver` on a kernel of this version (major, minor), if so.
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

/// Whether generic mode is the better one although the driver has a native mode. On a veth it is: faster by half, and
/// native mode would switch off segmentation offload at the peer and bound the MTU.
pub fn prefers_generic(driver: &str) -> bool {
    driver == "veth"
}

/// Whether the peer of such an interface is this machine's own kernel, which may leave TCP checksums to be completed
/// by hardware that is not there. Only there may a checksum over the pseudo-header alone be accepted.
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
