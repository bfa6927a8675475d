//! `simoom serve`: the parts joined and run until told to stop.

use crate::config;
use crate::error::{Error, Result};

/// Serves as `config` says, until SIGTERM or SIGINT.
pub fn run(config: &config::Serve) -> Result<()> {
    Err(Error::failed(format!("serving on {} is not part of this build", config.http)))
}
