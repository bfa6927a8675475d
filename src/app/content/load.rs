//! Reading a directory tree: a root goes in, [`Content`] or an error that says what to change comes out.
//!
//! The tree is walked before anything is read, so that one too large is refused at once and with its whole size. What
//! cannot be served is logged and left out; a symbolic link is followed where it stays within the root.

use super::Content;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::warn;

/// What one file takes besides its content: heads, table entries and a path of common length.
const FILE_OVERHEAD_BYTES: u64 = 512;
/// Contents are queued as ranges below 4 GiB; with the head before them they must stay below that.
const FILE_MAX_BYTES: u64 = (1 << 32) - 4096;

/// Why the files under the root cannot be served.
#[derive(Debug)]
pub enum Error {
    /// The root cannot be read, or is no directory.
    Root {
        /// As it was given.
        root: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The files need more memory than they may take.
    TooLarge {
        /// As it was given.
        root: PathBuf,
        /// How many files there are.
        files: usize,
        /// What they need.
        needed_bytes: u64,
        /// What they may take.
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

/// What the walk found.
#[derive(Default)]
struct Tree {
    files: Vec<Found>,
    /// Request paths, each with its slash at the end.
    directories: Vec<Vec<u8>>,
    needed_bytes: u64,
}

struct Found {
    request_path: Vec<u8>,
    /// Canonical: what was checked is what is read.
    path: PathBuf,
}

pub(super) fn load(root: &Path, limit_bytes: usize) -> Result<Content, Error> {
    let root_error = |source| Error::Root { root: root.to_path_buf(), source };
    let canonical = root.canonicalize().map_err(root_error)?;
    let names = fs::read_dir(&canonical).map_err(root_error)?;
    let mut walk = Walk { root: &canonical, within: vec![canonical.clone()], tree: Tree::default() };
    walk.directory(names, &mut b"/".to_vec());
    let Tree { files, directories, needed_bytes } = walk.tree;
    let check = |needed_bytes: u64| {
        let limit_bytes = limit_bytes as u64;
        match needed_bytes <= limit_bytes {
            true => Ok(()),
            false => {
                Err(Error::TooLarge { root: root.to_path_buf(), files: files.len(), needed_bytes, limit_bytes })
            }
        }
    };
    check(needed_bytes)?;

    let mut content = Content::default();
    for file in &files {
        match read(&file.path) {
            Ok((bytes, modified)) => content.add_file(&file.request_path, &bytes, modified),
            Err(error) => warn!(path = %file.path.display(), %error, "not served: cannot be read"),
        }
        // Files may have grown since the walk.
        check(content.memory_bytes() as u64)?;
    }
    for directory in &directories {
        content.add_directory(directory);
    }
    check(content.memory_bytes() as u64)?;
    Ok(content)
}

struct Walk<'a> {
    root: &'a Path,
    /// The canonical directories being walked, from the root down: a link to one of them would never end.
    within: Vec<PathBuf>,
    tree: Tree,
}

impl Walk<'_> {
    /// Walks the `names` of a directory; `request_path` is its own, with the slash, and is left as it was.
    fn directory(&mut self, names: fs::ReadDir, request_path: &mut Vec<u8>) {
        let mut names: Vec<_> = names.filter_map(Result::ok).collect();
        names.sort_by_key(fs::DirEntry::file_name);
        for name in names {
            let len = request_path.len();
            request_path.extend_from_slice(name.file_name().as_bytes());
            if let Err(reason) = self.entry(&name.path(), request_path) {
                warn!(path = %name.path().display(), "not served: {reason}");
            }
            request_path.truncate(len);
        }
        self.tree.directories.push(request_path.clone());
    }

    fn entry(&mut self, path: &Path, request_path: &mut Vec<u8>) -> Result<(), String> {
        let canonical = path.canonicalize().map_err(|error| error.to_string())?;
        if !canonical.starts_with(self.root) {
            return Err(format!("a link out of the root, to {}", canonical.display()));
        }
        let metadata = fs::metadata(&canonical).map_err(|error| error.to_string())?;
        if metadata.is_dir() {
            self.subdirectory(canonical, request_path)
        } else if !metadata.is_file() {
            Err("neither a regular file nor a directory".into())
        } else if metadata.len() > FILE_MAX_BYTES {
            Err(format!("its {} bytes are more than the {FILE_MAX_BYTES} of one file", metadata.len()))
        } else {
            self.tree.needed_bytes += metadata.len() + FILE_OVERHEAD_BYTES;
            self.tree.files.push(Found { request_path: request_path.clone(), path: canonical });
            Ok(())
        }
    }

    fn subdirectory(&mut self, canonical: PathBuf, request_path: &mut Vec<u8>) -> Result<(), String> {
        if self.within.contains(&canonical) {
            return Err("a link to a directory that holds it".into());
        }
        let names = fs::read_dir(&canonical).map_err(|error| error.to_string())?;
        request_path.push(b'/');
        self.within.push(canonical);
        self.directory(names, request_path);
        self.within.pop();
        Ok(())
    }
}

/// A file's bytes, and when it was last modified. RFC 9110 §8.8.2.1: never in the future.
fn read(path: &Path) -> io::Result<(Vec<u8>, Option<u64>)> {
    let file = fs::File::open(path)?;
    let metadata = file.metadata()?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.take(FILE_MAX_BYTES).read_to_end(&mut bytes)?;
    let modified = metadata.modified()?.min(SystemTime::now());
    Ok((bytes, modified.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())))
}
