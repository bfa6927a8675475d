//! The temporary directory of a comparison, and the process that removes it.
//!
//! A killed owner cannot remove the directory. So another process waits for the end of its standard
//! input, which the kernel closes when the owner ends, and then removes the directory.

use crate::error::{Error, Result};
use clap::Args;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The flags of `sweep`.
#[derive(Args, Clone, Debug)]
pub struct SweepOptions {
    /// Directory to remove at the end of standard input
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// Waits for the end of standard input, then removes the directory.
pub fn sweep(options: &SweepOptions) -> Result<()> {
    let directory = &options.directory;
    // On an error there is no owner to wait for.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    fs::remove_dir_all(directory)
        .map_err(|error| Error::because(format!("removing {}", directory.display()), error))
}

/// A directory for files, configurations and logs.
#[derive(Debug)]
pub(super) struct TempDir {
    path: PathBuf,
    sweeper: Child,
}

impl TempDir {
    /// Creates a directory that all users can read, because servers change their user.
    pub(super) fn new(simoom: &Path) -> Result<TempDir> {
        let path = std::env::temp_dir().join(format!("simoom-compare-{}", std::process::id()));
        let cannot = |error| Error::because(format!("making {}", path.display()), error);
        fs::create_dir(&path).map_err(cannot)?;
        let sweeper = Command::new(simoom)
            .arg("sweep")
            .arg(&path)
            .stdin(Stdio::piped())
            // Ctrl-C must not end it.
            .process_group(0)
            .spawn()
            .map_err(|error| Error::because("starting simoom sweep", error))?;
        let temp_dir = TempDir { path, sweeper };
        fs::set_permissions(&temp_dir.path, Permissions::from_mode(0o755))
            .map_err(|error| Error::because("making the working directory readable", error))?;
        Ok(temp_dir)
    }

    /// The path of the directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, creating its directory if need be.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.path.join(name);
        let directory = path.parent().expect("a file in the directory has a parent");
        fs::create_dir_all(directory)
            .and_then(|()| fs::write(&path, bytes))
            .map_err(|error| Error::because(format!("writing {}", path.display()), error))?;
        Ok(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        drop(self.sweeper.stdin.take());
        // The process ends by itself now. It has printed its own errors.
        let _ = self.sweeper.wait();
    }
}
