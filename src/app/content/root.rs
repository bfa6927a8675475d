//! Opens files and directories under the root.
//!
//! Another process may change the tree during loading, and replace a checked directory with a
//! symbolic link. So the root opens each path component inside its parent directory, and rejects
//! links. The caller resolves links beforehand, to a canonical path. openat2(2) does the same in
//! one call, but some containers forbid it.

use rustix::fs::{self, Mode, OFlags, Stat};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// The directory that contains the served files.
#[derive(Debug)]
pub(super) struct Root {
    /// A canonical path.
    path: PathBuf,
    directory: OwnedFd,
}

impl Root {
    /// `path` must be canonical.
    pub(super) fn open(path: PathBuf) -> io::Result<Root> {
        let directory = fs::open(&path, LIST | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Root { path, directory })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory for listing. `path` must be canonical.
    pub(super) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_beneath(path, LIST)
    }

    /// Opens a file for reading. Does not block if a FIFO or a device replaced the file. `path`
    /// must be canonical.
    pub(super) fn file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        self.open_beneath(path, flags).map(File::from)
    }

    /// The metadata of `path`, which must be canonical.
    pub(super) fn stat(&self, path: &Path) -> io::Result<Stat> {
        Ok(fs::fstat(self.open_beneath(path, OFlags::PATH)?)?)
    }

    fn open_beneath(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let out_of_root = || io::Error::other("not under the root");
        let relative = path.strip_prefix(&self.path).map_err(|_| out_of_root())?;
        let mut names = relative.components().peekable();
        if names.peek().is_none() {
            return open_in(self.directory.as_fd(), Path::new("."), flags);
        }
        let mut opened: Option<OwnedFd> = None;
        while let Some(component) = names.next() {
            let Component::Normal(name) = component else { return Err(out_of_root()) };
            let flags =
                if names.peek().is_some() { OFlags::PATH | OFlags::DIRECTORY } else { flags };
            let directory = opened.as_ref().unwrap_or(&self.directory);
            opened = Some(open_in(directory.as_fd(), Path::new(name), flags)?);
        }
        opened.ok_or_else(out_of_root)
    }
}

const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

fn open_in(directory: BorrowedFd<'_>, name: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(fs::openat(directory, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_name_of_a_path_may_be_a_link_or_lead_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        std::fs::create_dir_all(path.join("root/d/e")).unwrap();
        for file in ["secret", "root/d/e/f"] {
            std::fs::write(path.join(file), "x").unwrap();
        }
        symlink("d", path.join("root/link")).unwrap();
        symlink("f", path.join("root/d/e/link")).unwrap();
        let root = Root::open(path.join("root")).unwrap();
        let at = |name: &str| path.join("root").join(name);
        assert!(root.file(&at("d/e/f")).is_ok() && root.stat(&at("d/e/f")).is_ok());
        assert!(root.directory(&at("d/e")).is_ok() && root.directory(root.path()).is_ok());
        for name in ["link/e/f", "d/e/link", "../secret", "d/../d/e/f"] {
            assert!(root.file(&at(name)).is_err(), "{name}");
        }
        for name in ["link", "link/e", "..", "d/e/f"] {
            assert!(root.directory(&at(name)).is_err(), "{name}");
        }
        assert!(root.file(&path.join("secret")).is_err());
    }
}
