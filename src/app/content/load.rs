//! Loads a directory tree into memory. Input: a root. Output: [`Content`], or an error that tells
//! the operator what to change.
//!
//! The walk finishes before any file is read, so a tree that is too large is rejected early, with
//! its full size. Files that cannot be served are logged and skipped. A symbolic link is followed
//! only if its target lies under the root.

use super::root::Root;
use super::{Content, Settings, walk};
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tracing::{info, warn};

/// Interval of the progress messages in the log.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// The reason that the files under the root cannot be served.
#[derive(Debug)]
pub enum Error {
    /// The root is unreadable or not a directory.
    Root {
        /// The path that the operator gave.
        root: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The files exceed the memory limit.
    TooLarge {
        /// The path that the operator gave.
        root: PathBuf,
        /// The number of files.
        files: usize,
        /// Memory that the files need.
        needed_bytes: u64,
        /// Memory available for files.
        limit_bytes: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Root { root, source } => {
                write!(f, "--root {}: {source}; give a directory that can be read", root.display())
            }
            Error::TooLarge { root, files, needed_bytes, limit_bytes } => write!(
                f,
                "--root {}: its {files} files need {needed_bytes} bytes of memory, which is more than the \
                 {limit_bytes} left for them; raise --memory-limit or serve a smaller tree",
                root.display()
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Root { source, .. } => Some(source),
            Error::TooLarge { .. } => None,
        }
    }
}

pub(super) fn load(root: &Path, settings: Settings) -> Result<Content, Error> {
    let root_error = |source| Error::Root { root: root.to_path_buf(), source };
    let mut progress = Progress::default();
    let opened = root.canonicalize().and_then(Root::open).map_err(root_error)?;
    let tree = walk::walk(&opened, settings, |tree| {
        if progress.is_due(Instant::now()) {
            let (directories, paths) = (tree.directories.len(), tree.paths.len());
            info!(directories, paths, "looking for the files under --root");
        }
    })
    .map_err(root_error)?;
    tree.skipped.log();

    let check = |needed_bytes: u64| {
        let limit_bytes = settings.limit_bytes as u64;
        let too_large = needed_bytes > limit_bytes;
        let (root, files) = (root.to_path_buf(), tree.files.len());
        if too_large {
            Err(Error::TooLarge { root, files, needed_bytes, limit_bytes })
        } else {
            Ok(())
        }
    };
    check(tree.needed_bytes)?;

    let mut content = Content::default();
    let mut indices = Vec::with_capacity(tree.files.len());
    let mut bytes = Vec::new();
    for (read_files, found) in tree.files.iter().enumerate() {
        let memory_bytes = content.memory_bytes() as u64;
        if progress.is_due(Instant::now()) {
            let (files, mib) = (tree.files.len(), memory_bytes >> 20);
            info!(read_files, files, mib, "reading the files under --root");
        }
        let file = open(&opened, &found.path).and_then(|(file, metadata)| {
            // The file may have grown since the walk.
            let limit = check(memory_bytes + metadata.len());
            let modified = limit.is_ok().then(|| read(file, &metadata, &mut bytes)).transpose()?;
            Ok(limit.map(|()| modified.flatten()))
        });
        indices.push(match file {
            Ok(modified) => Some(content.add_file(&found.mime, &bytes, modified?)),
            Err(error) => {
                warn!(path = %found.path.display(), %error, "not served: cannot be read");
                None
            }
        });
    }
    for (path, file) in &tree.paths {
        if let Some(index) = indices[*file] {
            content.add_path(path, index);
        }
    }
    for directory in &tree.directories {
        content.add_directory(directory);
    }
    check(content.memory_bytes() as u64)?;
    Ok(content)
}

/// Opens a file that the walk found. Does not follow a link. If a FIFO or device replaced the file,
/// returns an error and does not block.
fn open(root: &Root, path: &Path) -> io::Result<(fs::File, fs::Metadata)> {
    let file = root.file(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(io::Error::other("no longer a regular file"))
    }
}

/// Reads the file into `bytes`, up to the size in `metadata`. Returns the modification time, which
/// is never in the future (RFC 9110 §8.8.2.1).
fn read(file: fs::File, metadata: &fs::Metadata, bytes: &mut Vec<u8>) -> io::Result<Option<u64>> {
    bytes.clear();
    file.take(metadata.len()).read_to_end(bytes)?;
    let modified = metadata.modified()?.min(SystemTime::now());
    Ok(modified.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs()))
}

/// Decides when to log the progress of loading.
#[derive(Default)]
struct Progress {
    last: Option<Instant>,
}

impl Progress {
    /// Whether [`PROGRESS_EVERY`] has passed since the last message, or since the first call.
    fn is_due(&mut self, now: Instant) -> bool {
        let last = *self.last.get_or_insert(now);
        let is_due = now.duration_since(last) >= PROGRESS_EVERY;
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_once_in_a_while() {
        let mut progress = Progress::default();
        let start = Instant::now();
        let due: Vec<u32> =
            (0..10).filter(|n| progress.is_due(start + *n * PROGRESS_EVERY / 4)).collect();
        assert_eq!(due, [4, 8]);
    }

    #[test]
    fn what_is_no_regular_file_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let canonical = directory.path().canonicalize().unwrap();
        let path = |name: &str| canonical.join(name);
        let made = std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap();
        assert!(made.success());
        fs::write(path("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        let root = Root::open(canonical.clone()).unwrap();
        assert!(open(&root, &path("file")).is_ok());
        for name in ["fifo", "link"] {
            assert!(open(&root, &path(name)).is_err(), "{name}");
        }
    }
}
