//! Decides which files are held in memory, and which are read from disk for each request.
//!
//! Long files are read from disk. Of the others, the largest are, as many as do not fit the memory.
//! A file that did not change keeps its place, unless there is memory for it again.

use super::Disk;
use super::read::Known;
use super::walk::{FILE_MAX_BYTES, Found, Tree};
use tracing::info;

/// Memory that a tree needs: overhead, and the content of the files in memory.
pub(super) fn needed_bytes(tree: &Tree) -> u64 {
    let in_memory = tree.files.iter().filter(|found| !found.on_disk);
    tree.overhead_bytes + in_memory.map(|found| found.identity.bytes).sum::<u64>()
}

/// Sets the place of each file. `held_bytes` are those of the content that is served meanwhile,
/// with the `known` files. Returns whether any file is read from disk.
pub(super) fn place(
    trees: &mut [&mut Tree],
    disk: &Disk,
    known: &Known,
    held_bytes: u64,
    limit_bytes: u64,
) -> bool {
    let overhead_bytes = trees.iter().map(|tree| tree.overhead_bytes).sum::<u64>();
    let left = |bytes: u64| bytes.min(limit_bytes).saturating_sub(held_bytes + overhead_bytes);
    // Memory for files that changed, and for files that were on disk before.
    let for_new = if held_bytes == 0 {
        left(disk.memory_bytes)
    } else {
        left(disk.memory_bytes.saturating_add(disk.memory_bytes / 4))
    };
    let for_known = left(disk.memory_bytes);
    let mut open: Vec<(&mut Found, u64)> = Vec::new();
    let mut is_any = false;
    for found in trees.iter_mut().flat_map(|tree| &mut tree.files) {
        let known = known.get(&found.identity);
        found.on_disk = found.identity.bytes > disk.large_bytes.min(FILE_MAX_BYTES);
        is_any |= found.on_disk;
        match known.map(|data| data.file().is_some()) {
            _ if found.on_disk => {}
            Some(false) => {}
            Some(true) => open.push((found, for_known)),
            None => open.push((found, for_new)),
        }
    }
    open.sort_unstable_by_key(|(found, _)| found.identity.bytes);
    let (mut taken_bytes, mut spilled, mut spilled_bytes) = (0, 0, 0u64);
    for (found, most_bytes) in open {
        let bytes = found.identity.bytes;
        found.on_disk = taken_bytes + bytes > most_bytes && bytes > 0;
        if found.on_disk {
            spilled += 1;
            spilled_bytes += bytes;
        } else {
            taken_bytes += bytes;
        }
    }
    if spilled > 0 {
        let mib = spilled_bytes >> 20;
        info!(files = spilled, mib, "read from disk: the memory for files is used up");
    }
    is_any || spilled > 0
}

#[cfg(test)]
mod tests {
    use super::super::data::{Data, Identity};
    use super::*;
    use std::path::PathBuf;
    use std::sync::Arc;

    const DISK: Disk = Disk { large_bytes: 1000, memory_bytes: 2000, buffers_bytes: 0 };

    fn tree(sizes: &[u64]) -> Tree {
        let found = |(inode, bytes): (usize, &u64)| Found {
            path: PathBuf::new(),
            identity: Identity::of_size(inode as u64 + 1, *bytes),
            on_disk: false,
        };
        let files = sizes.iter().enumerate().map(found).collect();
        Tree { files, overhead_bytes: 100, ..Tree::default() }
    }

    fn places(tree: &mut Tree, known: &Known, held_bytes: u64) -> Vec<bool> {
        place(&mut [tree], &DISK, known, held_bytes, u64::MAX);
        tree.files.iter().map(|found| found.on_disk).collect()
    }

    #[test]
    fn long_files_are_on_disk_and_then_the_largest_that_do_not_fit() {
        let mut all = tree(&[1001, 900, 0, 800, 1000, 10, u64::MAX]);
        // Of 1900 bytes, 0, 10, 800 and 900 leave too few for 1000.
        let expected = [true, false, false, false, true, false, true];
        assert_eq!(places(&mut all, &Known::default(), 0), expected);
        assert_eq!(needed_bytes(&all), 100 + 900 + 800 + 10);
    }

    #[test]
    fn a_reload_leaves_known_files_in_memory_and_has_a_quarter_for_changed_ones() {
        let mut all = tree(&[900, 900, 300, 200]);
        let mut known = Known::default();
        for found in &all.files[..2] {
            known.insert(found.identity, Arc::new(Data::new([0; 900].into())));
        }
        // Of 2500 bytes 1900 are held and 100 are overhead.
        assert_eq!(places(&mut all, &known, 1900), [false, false, false, false]);
        assert_eq!(places(&mut all, &known, 2000), [false, false, true, false]);
    }
}
