//! `simoom compare`: Simoom beside other servers, under the same load, on the same cores, in turn.
//!
//! Two tables say what there is: [`plans`], what is asked, and [`contenders`], who answers and how
//! each is started. [`mod@run`] goes through them, [`case`] measures one of each on a [`stage`] of
//! its own while [`sample`] reads what it costs. [`results`] is what was found, [`figures`] what
//! follows from it; [`tables`], [`csv`] and [`page`] tell it. [`ceiling`] is a contender that is no
//! server: what the machine allows.

mod case;
mod ceiling;
mod contenders;
mod csv;
mod figures;
mod machine;
mod options;
mod page;
mod plans;
mod print;
mod results;
mod run;
mod sample;
mod stage;
mod tables;
#[cfg(test)]
mod testing;
mod within;
mod workplace;

pub use ceiling::{CeilingOptions, run as run_ceiling};
pub use options::CompareOptions;
pub use within::{WithinOptions, run as run_within};
pub use workplace::{SweepOptions, sweep as run_sweep};

use crate::config::usable_cores;
use crate::demo::report::say;
use crate::error::{Error, Result};
use crate::server::signals;
use options::Cores;
use results::{Results, SCHEMA};
use run::Comparison;
use std::fs;
use std::path::Path;

/// Compares, or does what else the flags ask for. A case that failed makes it fail in the end.
pub fn run(options: &CompareOptions) -> Result<()> {
    if options.list {
        return print::list();
    }
    if let Some(file) = &options.table {
        return say(tables::markdown(&read(file)?).trim_end());
    }
    if let Some(file) = &options.report {
        return write_readable(&read(file)?, file.parent().unwrap_or(Path::new(".")));
    }
    let choice = options.choice()?;
    let usable = usable_cores()?;
    let cores = cores(options, &usable)?;
    // What cannot be written is found out before, not after.
    options.out.as_deref().map_or(Ok(()), make_directory)?;
    crate::netns::Namespace::new().map_err(|error| Error::failed(error.to_string()))?;
    let signals = signals::watch()?;
    let comparison = Comparison::new(&choice, cores, usable.len(), &signals)?;
    let files = comparison.results().settings.open_files_limit;
    print::head(comparison.results(), run::estimate(&choice, files).as_secs_f64() / 60.0)?;
    let results = comparison.run(|results, plan| print::plan(results, plan.name))?;
    if let Some(directory) = &options.out {
        let json =
            serde_json::to_string(&results).map_err(|error| Error::failed(error.to_string()))?;
        write(&directory.join("results.json"), &json)?;
        write_readable(&results, directory)?;
    }
    match results.failed().count() {
        0 if results.cases.is_empty() => {
            Err(Error::failed("nothing was measured: every case was left out"))
        }
        0 => Ok(()),
        failed => Err(Error::failed(format!(
            "{failed} of {} cases failed; the tables name them",
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
                "--cores {server},{client}: this process may use the cores {usable:?}"
            )))
        }
        (None, [server, client, ..]) => Ok(Cores { server: *server, client: *client }),
        (None, _) => Err(Error::failed(
            "server and load each need a core of their own, and this process may use one only",
        )),
    }
}

fn read(file: &Path) -> Result<Results> {
    let cannot = |error: String| Error::failed(format!("{}: {error}", file.display()));
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

fn write_readable(results: &Results, directory: &Path) -> Result<()> {
    write(&directory.join("results.csv"), &csv::text(results))?;
    write(&directory.join("report.html"), &page::html(results))
}

fn make_directory(directory: &Path) -> Result<()> {
    let cannot = |error| Error::usage(format!("--out {}: {error}", directory.display()));
    fs::create_dir_all(directory).map_err(cannot)?;
    // The permission to write is asked for by writing.
    let probe = directory.join("results.json");
    fs::OpenOptions::new().create(true).append(true).open(probe).map(drop).map_err(cannot)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)
        .map_err(|error| Error::because(format!("writing {}", path.display()), error))
}
