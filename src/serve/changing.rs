//! Notices files on disk whose bytes change in place.
//!
//! inotify(7) tells when a writer closes a file. It tells nothing of `truncate(2)` or of a mapping
//! that is written, and a writer may keep the file open. A file in memory is served as it was. A
//! file on disk has other bytes than its response names, and its answers fail: so it is loaded as
//! soon as nobody has written it for a check period.

use crate::app::content::{Changed, Content, OnDisk};
use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The length of a file and the time of its last modification.
type Version = (u64, i64, i64);

/// The files that may change in place.
#[derive(Default)]
pub(super) struct Changing {
    open: Vec<Arc<OnDisk>>,
    /// The changed files.
    changed: HashMap<PathBuf, Seen>,
}

/// A changed file at the last check.
struct Seen {
    /// `None`: there is no such file.
    version: Option<Version>,
    /// Whether [`Changing::find`] has returned this version. Once is enough: if it cannot be
    /// loaded, the next change may make it possible.
    is_told: bool,
}

impl Changing {
    /// The open files of a content. The others become known when an answer fails.
    pub(super) fn new(content: &Content) -> Changing {
        Changing { open: content.open_files(), changed: HashMap::new() }
    }

    /// Compares the open files and `suspects` with the last check. Returns those that have changed,
    /// and not since that check.
    pub(super) fn find(&mut self, suspects: HashSet<PathBuf>) -> Vec<Changed> {
        let open = self.open.iter().filter(|file| file.has_changed());
        let found = open.map(|file| file.path().to_owned()).chain(suspects);
        let found: HashSet<PathBuf> = found.chain(self.changed.keys().cloned()).collect();
        let mut quiet = Vec::new();
        for path in found {
            let version = version(&path);
            match self.changed.get_mut(&path) {
                Some(seen) if seen.version == version => {
                    if !std::mem::replace(&mut seen.is_told, true) {
                        quiet.extend(named(&path));
                    }
                }
                _ => drop(self.changed.insert(path, Seen { version, is_told: false })),
            }
        }
        quiet
    }
}

fn version(path: &Path) -> Option<Version> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

fn named(path: &Path) -> Option<Changed> {
    let name = path.file_name()?.as_bytes().to_vec();
    Some(Changed { directory: path.parent()?.to_owned(), name })
}
