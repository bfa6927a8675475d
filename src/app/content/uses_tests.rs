//! Replaced files are freed, whatever the memory limit.

use super::super::watch::Changed;
use super::super::{Disk, Settings, Site, Update};
use super::*;
use std::fs;
use std::path::Path;

/// Bytes of each version of the file that changes.
const BYTES: usize = 1 << 20;

fn settings(root: &Path, large_bytes: u64) -> Settings {
    Settings {
        limit_bytes: 1 << 40,
        disk: Some(Disk { large_bytes, memory_bytes: 1 << 40, buffers_bytes: 0 }),
        site: Site { root: Some(root.into()), ..Site::default() },
        ..Settings::default()
    }
}

/// A tree with one small file, and a file `a.bin` that takes [`BYTES`].
fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("index.html"), "<p>").unwrap();
    write(root.path(), 0);
    root
}

fn write(root: &Path, version: u64) {
    let bytes = version.to_le_bytes().repeat(BYTES / 8);
    fs::write(root.join("new"), bytes).unwrap();
    fs::rename(root.join("new"), root.join("a.bin")).unwrap();
}

/// Replaces the file and returns the content after it.
fn replace(content: &Content, settings: &Settings, root: &Path, version: u64) -> Content {
    write(root, version);
    let directory = root.canonicalize().unwrap();
    let change = Changed { directory, name: b"a.bin".to_vec() };
    match content.update(settings, &[change]) {
        Update::Changed(content) => *content,
        _ => panic!("no update"),
    }
}

fn alive_bytes(released: &[Weak<Checksummed>]) -> usize {
    released.iter().filter_map(Weak::upgrade).map(|bytes| bytes.memory_bytes()).sum()
}

#[test]
fn many_replacements_take_no_more_memory_than_a_few() {
    let root = tree();
    let settings = settings(root.path(), u64::MAX);
    let first = Content::load(&settings).unwrap();
    let (served_bytes, files) = (first.served_memory_bytes(), first.files());
    let bound_bytes = SUPERSEDED_MIN_BYTES as usize + 2 * BYTES;
    let (mut content, mut released) = (first, Vec::new());
    for version in 1..=42 {
        content = replace(&content, &settings, root.path(), version);
        released.extend_from_slice(content.released());
        assert_eq!((content.files(), content.served_memory_bytes()), (files, served_bytes));
        let held_bytes = content.memory_bytes() - served_bytes;
        assert!(held_bytes <= bound_bytes, "{held_bytes} bytes are superseded");
        let compacted = content.compacted().uses;
        assert_eq!(
            (compacted.held, compacted.superseded),
            (content.uses.served(), Amount::default())
        );
        let alive_bytes = alive_bytes(&released);
        assert!(alive_bytes <= held_bytes, "{alive_bytes} bytes are not freed");
    }
    assert_eq!(released.len(), 42, "each version is told once");
    assert!(content.has_superseded() && !content.compacted().has_superseded());
    content = content.compacted();
    assert_eq!((alive_bytes(&released), content.files.len()), (0, files));
}

/// An answer in progress holds the bytes of its file, and nothing else does for long.
#[test]
fn a_version_is_freed_after_its_last_answer() {
    let root = tree();
    let settings = settings(root.path(), u64::MAX);
    let mut content = Content::load(&settings).unwrap();
    let Some(Entry::File(index)) = content.find(0, b"/a.bin") else { panic!("no file") };
    let answer = content.file(index).bytes().clone();
    let mut released = Vec::new();
    for version in 1..=20 {
        content = replace(&content, &settings, root.path(), version);
        released.extend_from_slice(content.released());
    }
    content = content.compacted();
    assert_eq!(alive_bytes(&released), answer.memory_bytes());
    assert!(answer.as_slice().iter().all(|byte| *byte == 0), "the old bytes");
    drop(answer);
    assert_eq!(alive_bytes(&released), 0);
    assert!(content.files() == 2);
}

#[test]
fn bytes_that_files_share_are_released_once_and_by_the_last() {
    let root = tree();
    fs::copy(root.path().join("a.bin"), root.path().join("b.txt")).unwrap();
    let settings = settings(root.path(), u64::MAX);
    let both = Content::load(&settings).unwrap();
    write(root.path(), 1);
    let one = both.reload(&settings).unwrap();
    assert_eq!(one.released().len(), 0, "b.txt has them");
    fs::write(root.path().join("b.txt"), "b").unwrap();
    let none = one.reload(&settings).unwrap();
    assert_eq!((none.released().len(), both.reload(&settings).unwrap().released().len()), (1, 1));
}

/// The kernel keeps the bytes of a deleted file on disk while it is open.
#[test]
fn replaced_files_on_disk_are_closed() {
    let root = tree();
    let settings = settings(root.path(), 1000);
    let mut content = Content::load(&settings).unwrap();
    for version in 1..=40 {
        content = replace(&content, &settings, root.path(), version);
        assert_eq!((content.files(), content.files_on_disk()), (2, 1));
        let on_disk = content.files.iter().filter_map(File::on_disk);
        let held_bytes = on_disk.map(|file| file.len()).sum::<u64>();
        assert!(held_bytes <= SUPERSEDED_MIN_BYTES + 2 * BYTES as u64, "{held_bytes} bytes");
    }
}

/// The former version of a file that was written in place has other bytes for ever, which is no
/// reason to load it again.
#[test]
fn a_superseded_file_on_disk_is_looked_at_no_more() {
    let root = tree();
    let settings = settings(root.path(), 1000);
    let content = Content::load(&settings).unwrap();
    fs::write(root.path().join("a.bin"), vec![b'x'; BYTES + 1]).unwrap();
    assert!(content.open_files().iter().any(|file| file.has_changed()));
    let directory = root.path().canonicalize().unwrap();
    let change = [Changed { directory, name: b"a.bin".to_vec() }];
    let Update::Changed(content) = content.update(&settings, &change) else { panic!("no update") };
    assert_eq!(content.open_files().len(), 1);
    assert!(!content.open_files()[0].has_changed());
}

/// Bytes of heads and table entries are little, so many changes of small files are bounded by
/// their number.
#[test]
fn many_changes_of_a_small_file_leave_few_entries() {
    let root = tree();
    let settings = settings(root.path(), u64::MAX);
    let mut content = Content::load(&settings).unwrap();
    let directory = root.path().canonicalize().unwrap();
    let change = [Changed { directory, name: b"small".to_vec() }];
    for version in 0..1500 {
        fs::write(root.path().join("small"), version.to_string()).unwrap();
        let Update::Changed(updated) = content.update(&settings, &change) else {
            panic!("no update")
        };
        content = *updated;
        assert_eq!(content.files(), 3);
    }
    assert!(content.files.len() <= 1003, "{} entries", content.files.len());
}
