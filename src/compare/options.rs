//! The flags of `simoom compare`.

use super::plans::{PLANS, Plan};
use super::results::Results;
use super::tables;
use super::targets::{TARGETS, Target};
use crate::config::LogOptions;
use crate::error::{Error, Result};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Duration of each measurement, in seconds.
const SECONDS: f64 = 1.0;
const SECONDS_QUICK: f64 = 0.2;
/// Measurements of each case. With five the confidence interval is half as wide as with three.
const REPEATS: u32 = 5;

/// The flags of `compare`.
#[derive(Args, Clone, Debug)]
pub struct CompareOptions {
    /// Plans to run [default: all]
    ///
    /// `--list` lists their names.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "What to compare")]
    pub plan: Vec<String>,

    /// Servers to measure [default: all that are installed]
    #[arg(
        long = "contender",
        value_name = "NAME,…",
        value_delimiter = ',',
        help_heading = "What to compare"
    )]
    pub target: Vec<String>,

    /// Number of rounds, in each of which all servers take turns [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100), help_heading = "How long")]
    pub repeats: Option<u32>,

    /// Seconds of each measurement [default: 1]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "How long")]
    pub seconds: Option<f64>,

    /// Only check that everything works: one round, 0.2 seconds, at most 1,000 connections,
    /// 10,000 keys
    ///
    /// Do not quote the figures of such a run.
    #[arg(long, help_heading = "How long")]
    pub quick: bool,

    /// List plans and servers, and do nothing else
    #[arg(long, help_heading = "Output")]
    pub list: bool,

    /// Write results.json, results.csv and report.html to this directory, created if missing
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,

    /// Print the main table of a recorded run as Markdown, and do nothing else
    ///
    /// With --plan, print the tables of those plans: rate, latency at 99 % and busy share of the
    /// server's core.
    #[arg(long, value_name = "results.json", help_heading = "Output")]
    pub table: Option<PathBuf>,

    /// Write report.html and results.csv of a recorded results.json again, beside it
    #[arg(long, value_name = "results.json", help_heading = "Output")]
    pub report: Option<PathBuf>,

    /// Cores of the server and of the load [default: the first two]
    #[arg(long, value_name = "SERVER,CLIENT", value_parser = two_cores, help_heading = "Where")]
    pub cores: Option<Cores>,

    /// The log.
    #[command(flatten)]
    pub log: LogOptions,
}

/// The cores of server and load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Core of the server.
    pub server: usize,
    /// Core of the load.
    pub client: usize,
}

/// The parsed flags.
pub(super) struct Choice {
    pub(super) plans: Vec<&'static Plan>,
    pub(super) targets: Vec<&'static Target>,
    /// Whether the targets were named. Then a missing one is an error.
    pub(super) named: bool,
    pub(super) repeats: u32,
    pub(super) measured: Duration,
    pub(super) quick: bool,
}

impl CompareOptions {
    /// The tables of a recorded run that `--table` and `--plan` ask for, as Markdown.
    pub(super) fn tables_of(&self, results: &Results) -> Result<String> {
        if self.plan.is_empty() {
            return Ok(tables::markdown(results));
        }
        let of_one = |name: &String| {
            let plan = results.plans.iter().find(|plan| plan.name == *name);
            let plan = plan.ok_or_else(|| {
                let known: Vec<&str> = results.plans.iter().map(|plan| &*plan.name).collect();
                let known = known.join(", ");
                Error::usage(format!("--plan {name}: not in this run; expected one of {known}"))
            })?;
            Ok(tables::markdown_of_plan(results, plan))
        };
        self.plan.iter().map(of_one).collect::<Result<Vec<_>>>().map(|tables| tables.join("\n"))
    }

    /// Looks up the names and applies the defaults.
    pub(super) fn choice(&self) -> Result<Choice> {
        let plans = named("--plan", &self.plan, PLANS, |plan| plan.name)?;
        let targets = named("--contender", &self.target, TARGETS, |target| target.name)?;
        let seconds = self.seconds.unwrap_or(if self.quick { SECONDS_QUICK } else { SECONDS });
        Ok(Choice {
            plans,
            targets,
            named: !self.target.is_empty(),
            repeats: self.repeats.unwrap_or(if self.quick { 1 } else { REPEATS }),
            measured: Duration::from_secs_f64(seconds),
            quick: self.quick,
        })
    }
}

/// The entries of `all` with these names, in the order of the table; all entries if `names` is
/// empty.
fn named<T>(
    flag: &str,
    names: &[String],
    all: &'static [T],
    name: fn(&T) -> &'static str,
) -> Result<Vec<&'static T>> {
    if let Some(unknown) = names.iter().find(|wanted| !all.iter().any(|one| name(one) == *wanted)) {
        let known: Vec<&str> = all.iter().map(name).collect();
        return Err(Error::usage(format!(
            "{flag} {unknown}: unknown name; expected one of {}",
            known.join(", ")
        )));
    }
    Ok(all
        .iter()
        .filter(|one| names.is_empty() || names.iter().any(|wanted| wanted == name(one)))
        .collect())
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("not a number of seconds from 0.1 to 600".to_owned()),
    }
}

fn two_cores(text: &str) -> Result<Cores, String> {
    let numbers = text
        .split_once(',')
        .and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
    match numbers {
        Some((server, client)) if server != client => Ok(Cores { server, client }),
        _ => Err("not two different cores; write 0,1".to_owned()),
    }
}
