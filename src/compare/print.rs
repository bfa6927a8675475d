//! What a comparison prints: a line of progress on a terminal, each plan's table when it is done,
//! and what failed.

use super::contenders::CONTENDERS;
use super::figures::Figure;
use super::plans::PLANS;
use super::results::Results;
use super::tables;
use crate::demo::report::say;
use crate::error::Result;
use std::io::{IsTerminal, Write, stderr};

/// Shows what is being measured, if anybody looks.
pub(super) fn progress(
    plan: &str,
    point: &str,
    contender: &str,
    (repeat, repeats): (u32, u32),
    (case, cases): (usize, usize),
) {
    if stderr().is_terminal() {
        let at = if point.is_empty() { String::new() } else { format!(", {point}") };
        // "Erase to the end of the line": the line stays one.
        let _ = write!(
            stderr(),
            "\r\x1b[K{plan}{at}: {contender} ({case} of {cases}, round {repeat} of {repeats})"
        );
    }
}

/// Takes the line of progress away.
pub(super) fn end_progress() {
    if stderr().is_terminal() {
        let _ = write!(stderr(), "\r\x1b[K");
    }
}

/// Prints a plan's table and what went wrong in it.
pub(super) fn plan(results: &Results, name: &str) -> Result<()> {
    let Some(plan) = results.plans.iter().find(|plan| plan.name == name) else { return Ok(()) };
    say(&format!("{} ({name})", plan.title))?;
    let table = tables::of_plan(results, plan);
    if table.0.len() > 1 {
        say(table.text().trim_end_matches('\n'))?;
    } else {
        say("  nothing of it was measured")?;
    }
    if plan.figure == Figure::Scale {
        tables::memory(results, plan).iter().try_for_each(|line| say(&format!("  {line}")))?;
    }
    for case in results.failed().filter(|case| case.plan == name) {
        let at = if case.point.is_empty() { String::new() } else { format!(" at {}", case.point) };
        let error = case.error.as_deref().unwrap_or_default();
        say(&format!("  {}{at}, round {}: failed: {error}", case.contender, case.repeat))?;
    }
    for left_out in
        results.left_out.iter().filter(|left_out| left_out.plan.as_deref() == Some(name))
    {
        let at = left_out.point.as_deref().map(|point| format!(" at {point}")).unwrap_or_default();
        say(&format!("  {}{at}: left out: {}", left_out.contender, left_out.reason))?;
    }
    say("")
}

/// Prints where and with whom, before anything is measured.
pub(super) fn head(results: &Results, minutes: f64) -> Result<()> {
    let machine = &results.machine;
    say(&format!("{}, {}, {} cores", machine.processor, machine.kernel, machine.cores))?;
    for contender in &results.contenders {
        say(&format!("  {}: {}", contender.title, contender.version))?;
    }
    for left_out in results.left_out.iter().filter(|left_out| left_out.plan.is_none()) {
        say(&format!("  {}: left out: {}", left_out.contender, left_out.reason))?;
    }
    let settings = &results.settings;
    say(&format!(
        "server on core {}, load on core {}; {} s each, {} rounds in turn, about {minutes:.0} minutes\n",
        settings.server_core, settings.client_core, settings.seconds, settings.repeats
    ))
}

/// Lists what there is to choose from.
pub(super) fn list() -> Result<()> {
    say("Plans:")?;
    for plan in PLANS {
        say(&format!("  {:<14}{}", plan.name, plan.title))?;
    }
    say("Contenders:")?;
    CONTENDERS
        .iter()
        .try_for_each(|contender| say(&format!("  {:<14}{}", contender.name, contender.title)))
}
