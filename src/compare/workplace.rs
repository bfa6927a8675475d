//! The directory that a comparison works in, and the process that removes it afterwards.
//!
//! The directory outlives its owner if that is killed, so a process of its own waits for the end of
//! its standard input, which the kernel brings about however the owner ends, and then removes it.

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
    /// What to remove when standard input ends
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// Waits for the end of standard input, then removes the directory.
pub fn sweep(options: &SweepOptions) -> Result<()> {
    let directory = &options.directory;
    // An error means that there is nobody to wait for.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    fs::remove_dir_all(directory)
        .map_err(|error| Error::because(format!("removing {}", directory.display()), error))
}

/// A directory for files, configurations and logs.
#[derive(Debug)]
pub(super) struct Workplace {
    path: PathBuf,
    sweeper: Child,
}

impl Workplace {
    /// Makes one that all users can read: servers change theirs.
    pub(super) fn new(simoom: &Path) -> Result<Workplace> {
        let path = std::env::temp_dir().join(format!("simoom-compare-{}", std::process::id()));
        let cannot = |error| Error::because(format!("making {}", path.display()), error);
        fs::create_dir(&path).map_err(cannot)?;
        let sweeper = Command::new(simoom)
            .arg("sweep")
            .arg(&path)
            .stdin(Stdio::piped())
            // Ctrl-C is not meant for it.
            .process_group(0)
            .spawn()
            .map_err(|error| Error::because("starting simoom sweep", error))?;
        let workplace = Workplace { path, sweeper };
        fs::set_permissions(&workplace.path, Permissions::from_mode(0o755))
            .map_err(|error| Error::because("making the working directory readable", error))?;
        Ok(workplace)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.path.join(name);
        let directory = path.parent().expect("a file in the directory has a parent");
        fs::create_dir_all(directory)
            .and_then(|()| fs::write(&path, bytes))
            .map_err(|error| Error::because(format!("writing {}", path.display()), error))?;
        Ok(path)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        drop(self.sweeper.stdin.take());
        // It ends by itself now; what it could not remove, it has said.
        let _ = self.sweeper.wait();
    }
}
