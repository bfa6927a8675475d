//! The output of a comparison: a progress line on a terminal, a table for each finished plan, and
//! failures.

use super::figures::Figure;
use super::plans::PLANS;
use super::results::Results;
use super::tables;
use super::targets::TARGETS;
use crate::error::Result;
use crate::print::print_line;
use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

/// Shows the current case if standard error is a terminal.
pub(super) fn progress(
    plan: &str,
    point: &str,
    target: &str,
    (repeat, repeats): (u32, u32),
    (case, cases): (usize, usize),
    left: Duration,
) {
    if stderr().is_terminal() {
        let at = if point.is_empty() { String::new() } else { format!(", {point}") };
        // Erase the line first, so that progress takes one line.
        let _ = write!(
            stderr(),
            "\r\x1b[K{plan}{at}: {target} ({case} of {cases}, round {repeat} of {repeats}), {} left",
            minutes(left)
        );
    }
}

/// A remaining time, rounded up.
fn minutes(left: Duration) -> String {
    match left.as_secs().div_ceil(60) {
        0 | 1 => "a minute".to_owned(),
        minutes => format!("{minutes} minutes"),
    }
}

/// Erases the progress line.
pub(super) fn end_progress() {
    if stderr().is_terminal() {
        let _ = write!(stderr(), "\r\x1b[K");
    }
}

/// Prints the table of a plan and its failures, and the time that the other plans will take.
pub(super) fn plan(results: &Results, name: &str, left: Option<Duration>) -> Result<()> {
    let Some(plan) = results.plans.iter().find(|plan| plan.name == name) else { return Ok(()) };
    print_line(&format!("{} ({name})", plan.title))?;
    let table = tables::of_plan(results, plan);
    if table.0.len() > 1 {
        print_line(table.text().trim_end_matches('\n'))?;
    } else {
        print_line("  no case of this plan was measured")?;
    }
    if plan.figure == Figure::Scale {
        tables::memory(results, plan)
            .iter()
            .try_for_each(|line| print_line(&format!("  {line}")))?;
    }
    for case in results.failed().filter(|case| case.plan == name) {
        let at = if case.point.is_empty() { String::new() } else { format!(" at {}", case.point) };
        let error = case.error.as_deref().unwrap_or_default();
        print_line(&format!("  {}{at}, round {}: failed: {error}", case.target, case.repeat))?;
    }
    for left_out in
        results.left_out.iter().filter(|left_out| left_out.plan.as_deref() == Some(name))
    {
        let at = left_out.point.as_deref().map(|point| format!(" at {point}")).unwrap_or_default();
        print_line(&format!("  {}{at}: left out: {}", left_out.target, left_out.reason))?;
    }
    if let Some(left) = left {
        print_line(&format!("  {} left", minutes(left)))?;
    }
    print_line("")
}

/// Prints machine, targets and settings before the first measurement.
pub(super) fn head(results: &Results, minutes: f64) -> Result<()> {
    let machine = &results.machine;
    print_line(&format!("{}, {}, {} cores", machine.processor, machine.kernel, machine.cores))?;
    for target in &results.targets {
        print_line(&format!("  {}: {}", target.title, target.version))?;
    }
    for left_out in results.left_out.iter().filter(|left_out| left_out.plan.is_none()) {
        print_line(&format!("  {}: left out: {}", left_out.target, left_out.reason))?;
    }
    let settings = &results.settings;
    print_line(&format!(
        "server on core {}, load on core {}; {} s each, {} rounds in turn, about {minutes:.0} minutes\n",
        settings.server_core, settings.client_core, settings.seconds, settings.repeats
    ))
}

/// Lists plans and targets.
pub(super) fn list() -> Result<()> {
    print_line("Plans:")?;
    print_names(PLANS.iter().map(|plan| (plan.name, plan.title)))?;
    print_line("Targets:")?;
    print_names(TARGETS.iter().map(|target| (target.name, target.title)))
}

/// Prints names in a column as wide as the longest, with their titles.
fn print_names<'a>(names: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Result<()> {
    let width = names.clone().map(|(name, _)| name.len()).max().unwrap_or(0);
    names
        .map(|(name, title)| format!("  {name:<width$}  {title}"))
        .try_for_each(|it| print_line(&it))
}
