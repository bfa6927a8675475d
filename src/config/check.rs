//! Checks that the flags of `serve` fit together. The set-up of a server checks what applies to any
//! server.

use super::Serve;
use crate::error::{Error, Result};
use std::path::Path;

impl Serve {
    /// A limit of connections must belong to a service that is served.
    pub(super) fn check_shares(&self) -> Result<()> {
        let given = [
            ("--http", "HTTP", self.http_connections, self.http.is_some()),
            ("--memcached", "memcached", self.memcached_connections, self.memcached.is_some()),
        ];
        for (flag, name, limit, is_served) in given {
            if let (Some(limit), false) = (limit, is_served) {
                return Err(Error::usage(format!(
                    "{flag}-connections {limit}: {name} is not served; give {flag} PORT"
                )));
            }
        }
        Ok(())
    }

    /// The directory of `--root` must exist.
    pub(super) fn check_root(&self) -> Result<()> {
        match &self.content.site.root {
            Some(root) if !root.is_dir() => {
                Err(Error::usage(format!("--root {}", no_directory(root))))
            }
            _ => Ok(()),
        }
    }
}

/// What is wrong with a root that is no directory.
pub(super) fn no_directory(root: &Path) -> String {
    let what = if root.exists() { "not a directory" } else { "no such directory" };
    format!("{}: {what}; name the one that holds the files", root.display())
}
