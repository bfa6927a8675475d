//! The files that a run leaves: opened before it, so that a path that cannot be written is found
//! out at once, and written after it.

use super::hgrm;
use super::options::LoadOptions;
use super::report::Report;
use crate::error::{Error, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The files.
pub(crate) struct Output {
    csv: Option<(PathBuf, File)>,
    hdr: Option<(PathBuf, File)>,
}

impl Output {
    /// Opens what the options name, and empties it.
    pub(crate) fn open(options: &LoadOptions) -> Result<Output> {
        Ok(Output {
            csv: create("--csv", options.csv.as_deref())?,
            hdr: create("--hdr", options.hdr.as_deref())?,
        })
    }

    /// Writes what the report has for them.
    pub(crate) fn write(self, report: &Report) -> Result<()> {
        if let (Some(to), Some(series)) = (self.csv, &report.outcome.stats.series) {
            write(to, series.text())?;
        }
        if let Some(to) = self.hdr {
            write(to, &hgrm::text(&report.outcome.stats.latency_us))?;
        }
        Ok(())
    }
}

fn create(flag: &str, path: Option<&Path>) -> Result<Option<(PathBuf, File)>> {
    let Some(path) = path else { return Ok(None) };
    match File::create(path) {
        Ok(file) => Ok(Some((path.to_owned(), file))),
        Err(error) => Err(Error::usage(format!("{flag} {}: {error}", path.display()))),
    }
}

fn write((path, mut file): (PathBuf, File), text: &str) -> Result<()> {
    file.write_all(text.as_bytes())
        .map_err(|error| Error::because(format!("writing {}", path.display()), error))
}
