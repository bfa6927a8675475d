use super::*;
use tempfile::TempDir;

/// A root directory with these files, and the process's own in `proc`.
fn fixture(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

/// Each bound's name, limit and what is used of it.
fn found(root: &TempDir) -> Vec<(String, u64, u64)> {
    let bounds = bounds(&root.path().join("proc"), root.path());
    bounds.into_iter().map(|bound| (bound.name, bound.limit_bytes, bound.used_bytes)).collect()
}

const V2_MOUNT: &str =
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

#[test]
fn every_ancestor_of_version_2_bounds_what_is_below() {
    let root = fixture(&[
        ("proc/cgroup", "0::/system.slice/simoom.service\n"),
        ("proc/mountinfo", V2_MOUNT),
        ("sys/fs/cgroup/system.slice/memory.max", "1000000\n"),
        ("sys/fs/cgroup/system.slice/memory.high", "max\n"),
        ("sys/fs/cgroup/system.slice/memory.current", "400000\n"),
        ("sys/fs/cgroup/system.slice/memory.stat", "anon 1\nfile 200000\ninactive_file 150000\n"),
        ("sys/fs/cgroup/system.slice/simoom.service/memory.max", "max\n"),
        ("sys/fs/cgroup/system.slice/simoom.service/memory.high", "700000\n"),
        ("sys/fs/cgroup/system.slice/simoom.service/memory.current", "5000\n"),
    ]);
    let expected = [
        ("/sys/fs/cgroup/system.slice/simoom.service/memory.high".to_owned(), 700_000, 5000),
        ("/sys/fs/cgroup/system.slice/memory.max".to_owned(), 1_000_000, 250_000),
    ];
    assert_eq!(found(&root), expected);
}

#[test]
fn version_1_is_read_beside_version_2() {
    let root = fixture(&[
        ("proc/cgroup", "5:cpu:/x\n4:memory:/a/b\n0::/\n"),
        (
            "proc/mountinfo",
            "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
             32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        ),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "5000\n"),
        ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "3000\n"),
        (
            "sys/fs/cgroup/memory/a/memory.stat",
            "cache 9\ninactive_file 1\ntotal_inactive_file 1000\n",
        ),
        ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "4000\n"),
    ]);
    let expected = [
        ("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes".to_owned(), 4000, 0),
        ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes".to_owned(), 5000, 2000),
    ];
    assert_eq!(found(&root), expected);
}

#[test]
fn a_container_sees_its_part_of_the_hierarchy() {
    let mount = "30 23 0:26 /docker/1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
    for path in ["/docker/1", "/", "/../../elsewhere", "/docker/12"] {
        let root = fixture(&[
            ("proc/cgroup", &format!("0::{path}\n")),
            ("proc/mountinfo", mount),
            ("sys/fs/cgroup/memory.max", "77\n"),
        ]);
        assert_eq!(found(&root), [("/sys/fs/cgroup/memory.max".to_owned(), 77, 0)], "{path}");
    }
}

#[test]
fn without_a_memory_controller_or_proc_nothing_is_bounded() {
    assert_eq!(found(&fixture(&[])), []);
    let root = fixture(&[("proc/cgroup", "0::/\nnonsense\n"), ("proc/mountinfo", "nonsense\n")]);
    assert_eq!(found(&root), []);
    let root = fixture(&[("proc/cgroup", "0::/a\n"), ("proc/mountinfo", V2_MOUNT)]);
    assert_eq!(found(&root), []);
}
