//! `simoom compare`: measures Simoom and other servers in turn, with the same load on the same
//! cores.
//!
//! - [`plans`] and [`targets`] are tables: the workloads, and the servers with their configuration.
//! - [`mod@run`] iterates over both, and [`remaining`] tells how long that takes. [`case`] measures
//!   one combination on a [`testbed`] of its own, while [`sample`] reads CPU and memory.
//! - [`results`] holds the measurements, [`figures`] and [`confidence`] derive figures, and
//!   [`tables`], [`csv`] and [`page`] present them.
//! - [`ceiling`] is a target that is not a server. It shows the limit of the machine.

mod case;
mod ceiling;
mod confidence;
mod csv;
mod figures;
mod machine;
mod options;
mod page;
mod plans;
mod print;
mod remaining;
mod results;
mod run;
mod sample;
mod static_set;
mod tables;
mod targets;
mod temp_dir;
mod testbed;
#[cfg(test)]
mod testing;
mod within;

pub use ceiling::{CeilingOptions, run as run_ceiling};
pub use options::CompareOptions;
pub use temp_dir::{SweepOptions, sweep as run_sweep};
pub use within::{WithinOptions, run as run_within};

use crate::config::usable_cores;
use crate::error::{Error, Result};
use crate::print::print_line;
use crate::signals;
use options::Cores;
use results::{Results, SCHEMA};
use run::Comparison;
use std::fs;
use std::path::{Path, PathBuf};

/// The file of results in the directory of a report.
const RESULTS: &str = "results.json";

/// Runs the comparison, or one of the other actions of the flags. Fails in the end if a case
/// failed.
pub fn run(options: &CompareOptions) -> Result<()> {
    if options.list {
        return print::list();
    }
    if let Some(file) = &options.table {
        let results = read("--table", file)?;
        return print_line(options.tables_of(&results)?.trim_end());
    }
    if let Some(file) = &options.report {
        let directory = file.parent().unwrap_or(Path::new("."));
        return write_readable(&read("--report", file)?, "--report", directory);
    }
    let choice = options.choice()?;
    let usable = usable_cores()?;
    let cores = cores(options, &usable)?;
    // Check that the results can be written before measuring.
    options.out.as_deref().map_or(Ok(()), make_directory)?;
    crate::netns::Namespace::new().map_err(|error| Error::failed(error.to_string()))?;
    let signals = signals::watch()?;
    let comparison = Comparison::new(&choice, cores, usable.len(), &signals)?;
    print::head(comparison.results(), comparison.estimate().as_secs_f64() / 60.0)?;
    let results = comparison.run(|results, plan, left| {
        // What was measured is not lost if the rest is.
        options.out.as_deref().map_or(Ok(()), |directory| write_results(results, directory))?;
        print::plan(results, plan.name, left)
    })?;
    if let Some(directory) = &options.out {
        write_results(&results, directory)?;
        write_readable(&results, "--out", directory)?;
        print_line(&format!("report: {}", directory.join("report.html").display()))?;
    }
    match results.failed().count() {
        0 if results.cases.is_empty() => Err(Error::failed(
            "nothing was measured: every case was left out; the output above names the reasons",
        )),
        0 => Ok(()),
        failed => Err(Error::failed(format!(
            "{failed} of {} cases failed; see the tables",
            results.cases.len()
        ))),
    }
}

fn cores(options: &CompareOptions, usable: &[usize]) -> Result<Cores> {
    match (options.cores, usable) {
        (Some(cores), _) if usable.contains(&cores.server) && usable.contains(&cores.client) => {
            Ok(cores)
        }
        (Some(cores), _) => {
            let Cores { server, client } = cores;
            Err(Error::usage(format!(
                "--cores {server},{client}: this process may only use the cores {usable:?}"
            )))
        }
        (None, [server, client, ..]) => Ok(Cores { server: *server, client: *client }),
        (None, _) => Err(Error::failed(
            "server and load need a core each, and this process may use only one; allow it a second core",
        )),
    }
}

fn read(flag: &str, file: &Path) -> Result<Results> {
    let cannot = |error: String| {
        Error::failed(format!(
            "{flag} {}: {error}; name the results.json that `simoom compare --out DIR` writes",
            file.display()
        ))
    };
    let text = fs::read_to_string(file).map_err(|error| cannot(error.to_string()))?;
    let results: Results = serde_json::from_str(&text)
        .map_err(|error| cannot(format!("not the results of a comparison: {error}")))?;
    if results.schema != SCHEMA {
        return Err(cannot(format!(
            "layout {} is not supported, expected {SCHEMA}",
            results.schema
        )));
    }
    Ok(results)
}

fn write_results(results: &Results, directory: &Path) -> Result<()> {
    let json = serde_json::to_string(results).map_err(|error| Error::failed(error.to_string()))?;
    write("--out", &directory.join(RESULTS), &json)
}

/// Writes what people read. `flag` is what named the directory.
fn write_readable(results: &Results, flag: &str, directory: &Path) -> Result<()> {
    write(flag, &directory.join("results.csv"), &csv::text(results))?;
    write(flag, &directory.join("report.html"), &page::html(results))?;
    let mut images = page::images(results).into_iter();
    images.try_for_each(|(name, image)| write(flag, &directory.join(name), &image))
}

fn make_directory(directory: &Path) -> Result<()> {
    let cannot = |error| Error::usage(format!("--out {}: {error}", directory.display()));
    fs::create_dir_all(directory).map_err(cannot)?;
    // Opening a file for writing checks the permission.
    let probe = beside(&directory.join(RESULTS));
    fs::write(&probe, "").and_then(|()| fs::remove_file(&probe)).map_err(cannot)
}

/// Writes a file whole, or leaves what was there.
fn write(flag: &str, path: &Path, text: &str) -> Result<()> {
    let new = beside(path);
    fs::write(&new, text).and_then(|()| fs::rename(&new, path)).map_err(|error| {
        // An error means that it is not there.
        let _ = fs::remove_file(&new);
        Error::failed(format!(
            "{flag}: writing {}: {error}; make room there, or name another directory",
            path.display()
        ))
    })
}

/// The name of a file while it is written.
fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_whole_is_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(RESULTS);
        write("--out", &path, "before").unwrap();
        // In the place of the file that would be written.
        fs::create_dir(beside(&path)).unwrap();
        let error = write("--out", &path, "after").unwrap_err().to_string();
        assert!(
            error.starts_with("--out: writing ") && error.contains("another directory"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
    }

    #[test]
    fn a_directory_that_is_checked_is_left_empty() {
        let directory = tempfile::tempdir().unwrap();
        let made = directory.path().join("a/b");
        make_directory(&made).unwrap();
        assert_eq!(fs::read_dir(&made).unwrap().count(), 0);
    }
}
