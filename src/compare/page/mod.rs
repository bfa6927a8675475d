//! The report as a self-contained HTML page: no script, no font, no other file.
//!
//! The first section is an [`overview`]. Each plan is a section with a chart for its figure
//! ([`bars`], [`curves`], [`lines`], [`offered`] over [`plot`]) and a table. Charts are SVG
//! ([`svg`]). Their colours are classes of the page, so they follow a dark screen and print on
//! white.

mod bars;
mod curves;
mod lines;
mod offered;
mod overview;
mod plot;
mod svg;

use super::figures::Figure;
use super::results::{PlanInfo, Results};
use super::tables::{self, Table};
use super::targets::CEILING;
use crate::limits::Bytes;
use std::fmt::Write;
use svg::escaped;

/// The style snapshot of page and charts.
const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(super) fn html(results: &Results) -> String {
    let mut body = String::new();
    head(&mut body, results);
    contents(&mut body, results);
    overview::section(&mut body, results);
    for plan in measured(results) {
        section(&mut body, results, plan);
    }
    left_out(&mut body, results);
    how(&mut body, results);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Simoom compared</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

/// The charts that sum up a comparison, as image files: their names and contents.
pub(super) fn images(results: &Results) -> Vec<(String, String)> {
    let overview = overview::chart(results).map(|element| ("overview".to_owned(), element));
    let of_plan = |plan: &PlanInfo| {
        let plan = plan.clone();
        let charts = offered::charts(results, &plan).into_iter();
        charts.map(move |drawn| (format!("{}-{}", plan.name, drawn.name), drawn.element))
    };
    let offered = measured(results).filter(|plan| plan.figure == Figure::Latency).flat_map(of_plan);
    let all = overview.into_iter().chain(offered);
    all.filter_map(|(name, element)| Some((format!("{name}.svg"), svg::file(&element, STYLE)?)))
        .collect()
}

/// The plans with cases.
fn measured(results: &Results) -> impl Iterator<Item = &PlanInfo> {
    let has_case = |plan: &&PlanInfo| results.cases.iter().any(|case| case.plan == plan.name);
    results.plans.iter().filter(has_case)
}

/// Links to the sections of the plans.
fn contents(body: &mut String, results: &Results) {
    body.push_str("<nav><ul class=\"contents\">\n");
    for plan in measured(results) {
        let (name, title) = (escaped(&plan.name), escaped(&plan.title));
        let _ = writeln!(body, "<li><a href=\"#{name}\">{title}</a></li>");
    }
    body.push_str("<li><a href=\"#how\">Method</a></li>\n</ul></nav>\n");
}

fn head(body: &mut String, results: &Results) {
    let Results { machine, simoom, settings, began, took_seconds, .. } = results;
    let _ = write!(
        body,
        "<header>\n<h1>Simoom compared</h1>\n<p>{}, {} cores, {} of memory, {}. Server on core {}, load on core {}, \
         between two network namespaces over veth. Each case was measured {} for {}&nbsp;s, the targets in turn. \
         Figures are medians, with minimum and maximum.</p>\n<p>{began}, in {:.1} minutes; Simoom {} at {}{}.</p>\n",
        escaped(&machine.processor),
        machine.cores,
        Bytes(machine.memory_bytes),
        escaped(&machine.kernel),
        settings.server_core,
        settings.client_core,
        if settings.repeats == 1 {
            "once".to_owned()
        } else {
            format!("{} times", settings.repeats)
        },
        settings.seconds,
        took_seconds / 60.0,
        escaped(&simoom.version),
        escaped(if simoom.commit.is_empty() {
            "an unknown commit"
        } else {
            simoom.commit.as_str()
        }),
        if simoom.profile == "release" { "" } else { ", a debug build" },
    );
    if settings.quick {
        body.push_str(
            "<p class=\"warning\">This was a smoke test. Do not quote its figures.</p>\n",
        );
    }
    let failed = results.failed().count();
    if failed > 0 {
        let _ =
            writeln!(body, "<p class=\"warning\">{failed} cases failed; see their sections.</p>");
    }
    body.push_str(
        "<p class=\"note\">Cores: CPU use of the server's core and of the load's core, interrupts included. On veth the \
         kernel does much of a server's work on the core of the sender, so CPU/request is the sum of both. Memory: the \
         server's processes and the growth of the kernel's slab memory. The ceiling is not a server but a responder \
         without TCP: it shows the limit of the machine.</p>\n",
    );
    body.push_str("<ul class=\"targets\">\n");
    for (index, target) in results.targets.iter().enumerate() {
        let (title, version) = (escaped(&target.title), escaped(&target.version));
        let _ = writeln!(
            body,
            "<li><span class=\"key c{index}\"></span>{title} <small>{version}</small></li>"
        );
    }
    body.push_str("</ul>\n</header>\n");
}

fn section(body: &mut String, results: &Results, plan: &PlanInfo) {
    let _ = writeln!(
        body,
        "<section id=\"{}\">\n<h2>{}</h2>",
        escaped(&plan.name),
        escaped(&plan.title)
    );
    let chart = match plan.figure {
        Figure::Rate => bars::chart(results, plan, &bars::RATE),
        Figure::ContentRate => bars::chart(results, plan, &bars::CONTENT_RATE),
        Figure::Scale => lines::chart(results, plan),
        Figure::Latency => {
            let with_title = |drawn: offered::Drawn| {
                format!("<h3>{}</h3>\n{}", escaped(drawn.title), drawn.element)
            };
            let offered = offered::charts(results, plan).into_iter().map(with_title);
            Some(offered.chain(curves::charts(results, plan)).collect())
        }
        Figure::Idle => None,
    };
    body.push_str(&chart.unwrap_or_default());
    table(body, &tables::of_plan(results, plan));
    above_the_ceiling(body, results, plan);
    if plan.figure == Figure::Scale {
        let memory = tables::memory(results, plan);
        let _ = writeln!(body, "<p class=\"note\">{}</p>", escaped(&memory.join(". ")));
    }
    for case in results.failed().filter(|case| case.plan == plan.name) {
        let error = case.error.as_deref().unwrap_or_default();
        let _ = writeln!(
            body,
            "<p class=\"warning\">{} {}, round {}: {}</p>",
            escaped(&case.target),
            escaped(&case.point),
            case.repeat,
            escaped(error)
        );
    }
    body.push_str("</section>\n");
}

/// Says what a share of the ceiling above 100 % means, if there is one.
fn above_the_ceiling(body: &mut String, results: &Results, plan: &PlanInfo) {
    for point in &plan.points {
        for target in results.targets.iter().filter(|target| !target.is_ceiling()) {
            let (plan, point, name) = (&plan.name, &point.name, &target.name);
            let share = results.ratio(plan, point, name, CEILING).map(|ratio| 100.0 * ratio.value);
            let Some(share) = share.filter(|share| share.round() > 100.0) else { continue };
            let why = if results.overlap(plan, point, name, CEILING) {
                "The rounds of both overlap: they are equal within the noise of the machine."
            } else {
                "The ceiling answers each frame as it comes. A server that answers fewer, larger ones, or waits for \
                 acknowledgements and so answers in larger batches, may take less time."
            };
            let title = escaped(&target.title);
            let _ = writeln!(
                body,
                "<p class=\"note\">{title} at {share:.0} % of the ceiling: {why}</p>"
            );
        }
    }
}

fn table(body: &mut String, table: &Table) {
    let words = table.words();
    body.push_str("<div class=\"table\"><table>\n");
    for (row, cells) in table.0.iter().enumerate() {
        // When printed over several pages, each page repeats the table head.
        let (group, tag) = if row == 0 { ("thead", "th") } else { ("tbody", "td") };
        if row < 2 {
            let _ = write!(body, "<{group}>");
        }
        body.push_str("<tr>");
        for (column, cell) in cells.iter().enumerate() {
            let class = if column < words { " class=\"word\"" } else { "" };
            let _ = write!(body, "<{tag}{class}>{}</{tag}>", escaped(cell));
        }
        body.push_str("</tr>");
        if row == 0 || row + 1 == table.0.len() {
            let _ = write!(body, "</{group}>");
        }
        body.push('\n');
    }
    body.push_str("</table></div>\n");
}

fn left_out(body: &mut String, results: &Results) {
    if results.left_out.is_empty() {
        return;
    }
    body.push_str("<section id=\"left-out\">\n<h2>Left out</h2>\n<ul>\n");
    for left_out in &results.left_out {
        let plan = left_out.plan.as_deref().map(|plan| format!(", {plan}")).unwrap_or_default();
        let point =
            left_out.point.as_deref().map(|point| format!(" at {point}")).unwrap_or_default();
        let name = escaped(&format!("{}{plan}{point}", left_out.target));
        let _ = writeln!(body, "<li>{name}: {}.</li>", escaped(&left_out.reason));
    }
    body.push_str("</ul>\n</section>\n");
}

/// The command lines and configurations, one for each target and plan.
fn how(body: &mut String, results: &Results) {
    let command = escaped(&results.command.join(" "));
    let _ = writeln!(body, "<section id=\"how\">\n<h2>Method</h2>\n<pre>{command}</pre>");
    for plan in &results.plans {
        for target in &results.targets {
            let case = results
                .cases
                .iter()
                .find(|case| case.plan == plan.name && case.target == target.name);
            let Some(case) = case else { continue };
            let mut text = case.server.join(" ");
            if let Some(configuration) = &case.configuration {
                let _ = write!(text, "\n{}", configuration.trim_end());
            }
            let _ = write!(text, "\nsimoom {}", case.load.join(" "));
            let _ = writeln!(
                body,
                "<details><summary>{}: {}</summary><pre>{}</pre></details>",
                escaped(&plan.name),
                escaped(&target.title),
                escaped(&text)
            );
        }
    }
    body.push_str("</section>\n");
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
