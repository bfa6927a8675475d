//! Memory limits of this process's cgroups, read from the kernel's files.
//!
//! The limits of all ancestors apply. So every directory from the process's own up to the mount
//! point is read, for version 2 (`memory.max`, and `memory.high`, above which the kernel throttles)
//! and version 1 (`memory.limit_in_bytes`). Page cache that the kernel can drop does not count as
//! used. A file that cannot be read sets no limit.

use super::system::Bound;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Upper bound of the bytes read of a file. These files have a line or two.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Version 1 reports no limit as a number near 2⁶³.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// File names of one cgroup version.
#[derive(Clone, Copy)]
struct Version {
    limits: &'static [&'static str],
    used: &'static str,
    /// The line of `memory.stat` with the page cache that the kernel can drop.
    droppable: &'static str,
}

const V2: Version = Version {
    limits: &["memory.max", "memory.high"],
    used: "memory.current",
    droppable: "inactive_file",
};
const V1: Version = Version {
    limits: &["memory.limit_in_bytes"],
    used: "memory.usage_in_bytes",
    droppable: "total_inactive_file",
};

/// The bounds of all cgroups of the process. `process` is its directory in /proc, `root` the root
/// directory.
pub(super) fn bounds(process: &Path, root: &Path) -> Vec<Bound> {
    let (cgroups, mounts) = (read(&process.join("cgroup")), read(&process.join("mountinfo")));
    let (Some(cgroups), Some(mounts)) = (cgroups, mounts) else { return Vec::new() };
    let mounts: Vec<Mount<'_>> = mounts.lines().filter_map(Mount::parse).collect();
    cgroups.lines().flat_map(|line| bounds_of(line, &mounts, root)).collect()
}

/// The bounds of one line of /proc/PID/cgroup: `0::/PATH`, or `N:CONTROLLERS:/PATH` in version 1.
fn bounds_of(line: &str, mounts: &[Mount<'_>], root: &Path) -> Vec<Bound> {
    let mut fields = line.splitn(3, ':');
    let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next())
    else {
        return Vec::new();
    };
    let version = match controllers {
        "" => V2,
        names if names.split(',').any(|name| name == "memory") => V1,
        _ => return Vec::new(),
    };
    let is_it = |mount: &&Mount<'_>| {
        mount.is_v2 == controllers.is_empty() && (mount.is_v2 || mount.has_memory)
    };
    let Some(mount) = mounts.iter().find(is_it) else { return Vec::new() };
    let top = root.join(mount.point.trim_start_matches('/'));
    // In a container the mount may show a part of the hierarchy, or the path may lead out of it.
    let inside = path.strip_prefix(mount.root.trim_end_matches('/')).unwrap_or("");
    let inside = if inside.split('/').any(|part| part == "..") { "" } else { inside };
    let own = top.join(inside.trim_start_matches('/'));
    let directories = own.ancestors().take_while(|directory| directory.starts_with(&top));
    directories.flat_map(|directory| bounds_in(directory, version, root)).collect()
}

/// The bounds of one directory.
fn bounds_in(directory: &Path, version: Version, root: &Path) -> Vec<Bound> {
    let number = |name: &str| read(&directory.join(name))?.trim().parse::<u64>().ok();
    let used = number(version.used).unwrap_or(0);
    let stat = read(&directory.join("memory.stat")).unwrap_or_default();
    let droppable =
        stat.lines().find_map(|line| line.strip_prefix(version.droppable)?.trim().parse().ok());
    let used_bytes = used.saturating_sub(droppable.unwrap_or(0));
    let name = |file: &str| {
        let path = directory.strip_prefix(root).unwrap_or(directory);
        PathBuf::from("/").join(path).join(file).display().to_string()
    };
    let bound = |file: &&str| {
        let limit_bytes = number(file).filter(|limit| *limit < UNLIMITED_BYTES)?;
        Some(Bound {
            name: name(file),
            limit_bytes,
            used_bytes,
            remedy: "raise it (MemoryMax= in a unit)",
        })
    };
    version.limits.iter().filter_map(bound).collect()
}

/// A cgroup line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    is_v2: bool,
    has_memory: bool,
}

impl Mount<'_> {
    fn parse(line: &str) -> Option<Mount<'_>> {
        let (before, behind) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, before.next()?);
        let mut behind = behind.split(' ');
        let is_v2 = match behind.next()? {
            "cgroup2" => true,
            "cgroup" => false,
            _ => return None,
        };
        let has_memory = behind
            .nth(1)
            .is_some_and(|options| options.split(',').any(|option| option == "memory"));
        Some(Mount { root, point, is_v2, has_memory })
    }
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(FILE_MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
