//! The output files of a run: opened before the run, so that an invalid path is reported at once,
//! and written after it.

use super::hgrm;
use super::options::LoadOptions;
use super::report::Report;
use crate::error::{Error, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The output files.
pub(crate) struct Output {
    csv: Option<Named>,
    hdr: Option<Named>,
}

/// A file, with the flag that names it.
struct Named {
    flag: &'static str,
    path: PathBuf,
    file: File,
}

impl Output {
    /// Creates or truncates the files that the options name.
    pub(crate) fn open(options: &LoadOptions) -> Result<Output> {
        Ok(Output {
            csv: create("--csv", options.csv.as_deref())?,
            hdr: create("--hdr", options.hdr.as_deref())?,
        })
    }

    /// Writes the report to the files.
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

fn create(flag: &'static str, path: Option<&Path>) -> Result<Option<Named>> {
    let Some(path) = path else { return Ok(None) };
    match File::create(path) {
        Ok(file) => Ok(Some(Named { flag, path: path.to_owned(), file })),
        Err(error) => Err(Error::usage(format!("{flag} {}: {error}", path.display()))),
    }
}

fn write(to: Named, text: &str) -> Result<()> {
    let Named { flag, path, mut file } = to;
    file.write_all(text.as_bytes()).map_err(|error| {
        Error::failed(format!(
            "{flag} {}: {error}; make room there, or name another file",
            path.display()
        ))
    })
}
