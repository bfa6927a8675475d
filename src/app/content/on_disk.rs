//! A file that is read from disk for each request, in parts, because it is too large for memory.
//!
//! The response names the version that the walk found. [`OnDisk::open`] and [`OnDisk::check`] fail
//! if the file has another version: its bytes would not belong to that response. An open file keeps
//! its inode, so a file that is replaced by a rename is sent to its end.

use super::data::Identity;
use super::root::Root;
use rustix::fs::fstat;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Files that stay open as long as their content is served. So a file that was replaced is served
/// until the new content is. Further files are opened for a request.
const OPEN_MAX: usize = 256;

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A file below a root.
#[derive(Debug)]
pub(crate) struct OnDisk {
    root: Arc<Root>,
    path: PathBuf,
    identity: Identity,
    /// The file while an answer reads it.
    opened: Mutex<Weak<File>>,
    kept: Option<Kept>,
    /// Whether the log has told that the file cannot be read.
    has_failed: AtomicBool,
}

/// One of up to [`OPEN_MAX`] open files.
#[derive(Debug)]
struct Kept(Arc<File>);

impl Kept {
    fn new(file: File) -> Option<Kept> {
        let is_free = OPEN.fetch_add(1, Ordering::Relaxed) < OPEN_MAX;
        let kept = Kept(Arc::new(file));
        is_free.then_some(kept)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

impl OnDisk {
    /// The file at `path`, which must be canonical. `file` is open, and has the version `identity`.
    pub(super) fn new(root: Arc<Root>, path: PathBuf, identity: Identity, file: File) -> OnDisk {
        OnDisk {
            root,
            path,
            identity,
            opened: Mutex::default(),
            kept: Kept::new(file),
            has_failed: AtomicBool::new(false),
        }
    }

    /// The length of the file.
    pub(crate) fn len(&self) -> u64 {
        self.identity.bytes
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The open file. All answers at one time share it.
    pub(crate) fn open(&self) -> io::Result<Arc<File>> {
        if let Some(Kept(file)) = &self.kept {
            return Ok(file.clone());
        }
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = opened.upgrade() {
            return Ok(file);
        }
        let file = Arc::new(self.root.file(&self.path)?);
        if !self.identity.is_same_file(&Identity::of(&fstat(&file)?)) {
            return Err(io::Error::other("another file took its place"));
        }
        *opened = Arc::downgrade(&file);
        Ok(file)
    }

    /// Fails if the bytes of `file` are not those of the version that the response names. Call it
    /// after reading.
    pub(crate) fn check(&self, file: &File) -> io::Result<()> {
        if self.identity.has_same_bytes(&Identity::of(&fstat(file)?)) {
            return Ok(());
        }
        Err(io::Error::other("the file changed while it was read"))
    }

    /// Whether the file stays open as long as its content is served.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Whether an answer would find other bytes than those that the response names. Takes one
    /// system call if the file stays open.
    pub(crate) fn has_changed(&self) -> bool {
        let stat = match &self.kept {
            Some(Kept(file)) => fstat(file).map_err(io::Error::from),
            None => self.root.stat(&self.path),
        };
        !stat.is_ok_and(|stat| self.identity.is_same_file(&Identity::of(&stat)))
    }

    /// Whether a failure to read the file is the first.
    pub(crate) fn is_first_failure(&self) -> bool {
        !self.has_failed.swap(true, Ordering::Relaxed)
    }
}
