//! Limits of the system on the memory of this process, and what they leave: cgroups and resource
//! limits.

use super::cgroup;
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::path::Path;

/// Address space of a thread in addition to the plan: its stack, and the arena that the allocator
/// reserves for it.
const THREAD_ADDRESS_BYTES: u64 = (2 + 64) << 20;
/// Data of a thread: its stack.
const THREAD_DATA_BYTES: u64 = 2 << 20;
/// Alignment losses of large tables, and small allocations of the program.
const SLACK_BYTES: u64 = 32 << 20;

/// A limit of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Its name in the system: a file of a cgroup, or RLIMIT_AS.
    pub name: String,
    /// The limit.
    pub limit_bytes: u64,
    /// Memory in use, or to be used by what no plan lists.
    pub used_bytes: u64,
    /// How to raise it.
    pub remedy: &'static str,
}

impl Bound {
    /// Bytes left for a plan.
    pub fn left_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }
}

/// The bound that leaves the least for a process of `threads` threads; `None` if there is no limit.
pub fn tightest(threads: usize) -> Option<Bound> {
    let cgroups = cgroup::bounds(Path::new("/proc/self"), Path::new("/"));
    cgroups.into_iter().chain(resources(threads as u64)).min_by_key(Bound::left_bytes)
}

/// The bounds of resource limits (getrlimit(2)).
fn resources(threads: u64) -> Vec<Bound> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let (address_bytes, data_bytes) =
        (size_bytes(&status, "VmSize:"), size_bytes(&status, "VmData:"));
    let of = |resource, name: &str, used_bytes: u64, thread_bytes: u64, remedy| {
        let limit_bytes = getrlimit(resource).current?;
        let used_bytes = used_bytes + threads * thread_bytes + SLACK_BYTES;
        Some(Bound { name: name.to_owned(), limit_bytes, used_bytes, remedy })
    };
    [
        of(
            Resource::As,
            "RLIMIT_AS",
            address_bytes,
            THREAD_ADDRESS_BYTES,
            "raise it (ulimit -v, LimitAS= in a unit)",
        ),
        of(
            Resource::Data,
            "RLIMIT_DATA",
            data_bytes,
            THREAD_DATA_BYTES,
            "raise it (ulimit -d, LimitDATA= in a unit)",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The size in a line of /proc/PID/status, which is in kB.
fn size_bytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_status() {
        let status = "Name:\tsimoom\nVmSize:\t    1000 kB\nVmData:\t     300 kB\n";
        assert_eq!(
            (size_bytes(status, "VmSize:"), size_bytes(status, "VmData:")),
            (1_024_000, 307_200)
        );
        assert_eq!(size_bytes("", "VmSize:"), 0);
    }

    #[test]
    fn a_bound_that_is_used_up_leaves_nothing() {
        let bound = Bound { name: String::new(), limit_bytes: 5, used_bytes: 7, remedy: "" };
        assert_eq!(bound.left_bytes(), 0);
    }
}
