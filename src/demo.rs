//! `simoom demo`: both transports at work between two network namespaces.

use crate::error::{Error, Result};

/// Runs the demonstration and prints what it measured.
pub fn run() -> Result<()> {
    Err(Error::failed("the demonstration is not part of this build"))
}
