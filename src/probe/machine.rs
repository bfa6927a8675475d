//! Facts about the kernel and about what it allows this process, read from the kernel.

use super::facts::{Ability, Capability, Machine};
use crate::config;
use crate::error::{Error, Result};
use rustix::process::{Resource, getrlimit};
use std::fs;

/// The capabilities that Simoom uses, with their bits in `CapEff` (linux/capability.h).
const CAPABILITIES: [(&str, u32, &str); 7] = [
    ("CAP_NET_RAW", 13, "open AF_XDP sockets"),
    ("CAP_NET_ADMIN", 12, "attach the steering program to an interface"),
    ("CAP_BPF", 39, "load the steering program"),
    ("CAP_PERFMON", 38, "load a steering program with variable packet offsets"),
    ("CAP_IPC_LOCK", 14, "pin more packet memory than RLIMIT_MEMLOCK allows"),
    ("CAP_NET_BIND_SERVICE", 10, "serve on ports below 1024"),
    ("CAP_SYS_ADMIN", 21, "make the network namespaces of `simoom demo`"),
];

/// Reads the facts about the machine. The caller has tried the abilities.
pub(super) fn machine(
    xdp_sockets: Ability,
    bpf_programs: Ability,
    tx_metadata: Ability,
    io_uring: Ability,
) -> Result<Machine> {
    let status = fs::read_to_string("/proc/self/status")
        .map_err(|error| Error::because("reading /proc/self/status", error))?;
    let effective = effective(&status).ok_or_else(|| {
        Error::failed("/proc/self/status: it has no CapEff line; is /proc the kernel's?")
    })?;
    Ok(Machine {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        cores: config::usable_cores()?,
        capabilities: capabilities(effective),
        memlock_limit_bytes: getrlimit(Resource::Memlock).current,
        xdp_sockets,
        bpf_programs,
        tx_metadata,
        io_uring,
    })
}

/// The effective capabilities in the text of /proc/self/status, a bit each.
fn effective(status: &str) -> Option<u64> {
    let digits = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(digits.trim(), 16).ok()
}

fn capabilities(effective: u64) -> Vec<Capability> {
    let held = |bit: u32| effective & (1 << bit) != 0;
    let all = CAPABILITIES.iter();
    all.map(|&(name, bit, needed_to)| Capability { name, held: held(bit), needed_to }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(effective: u64) -> Vec<&'static str> {
        capabilities(effective)
            .iter()
            .filter(|capability| !capability.held)
            .map(|one| one.name)
            .collect()
    }

    #[test]
    fn capabilities_are_read_from_status() {
        let status =
            "Name:\tsimoom\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n";
        assert_eq!(effective(status), Some(0x1ff_ffff_ffff));
        assert_eq!(effective("Name:\tsimoom\n"), None);
        assert_eq!(effective("CapEff:\tnonsense\n"), None);
    }

    #[test]
    fn the_missing_ones_are_told_from_those_held() {
        assert_eq!(missing(0x1ff_ffff_ffff), [""; 0]);
        assert_eq!(missing(0).len(), CAPABILITIES.len());
        // setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon,cap_ipc_lock=ep
        let set = 1 << 13 | 1 << 12 | 1 << 39 | 1 << 38 | 1 << 14;
        assert_eq!(missing(set), ["CAP_NET_BIND_SERVICE", "CAP_SYS_ADMIN"]);
    }
}
