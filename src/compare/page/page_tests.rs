//! Tests the text of the page. `tests/compare.rs` checks its layout in a browser.

use super::super::testing;
use super::*;

#[test]
fn the_page_is_one_file_that_asks_for_no_other() {
    let page = html(&testing::results());
    for asks in ["src=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(asks), "{asks}");
    }
    assert_eq!(page.matches("href=").count(), page.matches("href=\"#").count());
    assert!(page.contains("A &lt;Processor&gt; &amp; more") && !page.contains("<Processor>"));
}

#[test]
fn each_plan_has_its_chart_and_every_target_is_on_it() {
    let results = testing::results();
    let page = html(&results);
    // The overview, one chart for each rate, three over all offered rates, and one for each other
    // plan.
    assert_eq!(page.matches("<svg ").count(), 9);
    for title in ["CPU of the server's core", "99 % of the responses took no longer"] {
        assert!(page.contains(&format!("<h3>{title}</h3>")), "{title}");
    }
    for plan in &results.plans {
        let from = page.find(&format!("<section id=\"{}\">", plan.name)).unwrap();
        let section = &page[from..from + page[from..].find("</section>").unwrap()];
        for title in ["Simoom, AF_XDP", "nginx"] {
            let is_there = [format!(">{title}</text>"), format!(">{title}, ")]
                .iter()
                .any(|text| section.contains(text));
            assert!(is_there, "{title}: {}", plan.name);
        }
    }
    assert!(page.contains("nginx, scale at 100000: a process may have 20000 files open."));
}

#[test]
fn what_failed_is_said_where_it_was_measured() {
    let mut results = testing::results();
    results.cases[0].error = Some("refused <at once>".to_owned());
    let page = html(&results);
    assert!(page.contains("1 cases failed") && page.contains("refused &lt;at once&gt;"));
}

#[test]
fn every_section_is_in_the_contents() {
    let results = testing::results();
    let page = html(&results);
    for plan in &results.plans {
        assert!(page.contains(&format!("<a href=\"#{}\">", plan.name)), "{}", plan.name);
    }
}

#[test]
fn the_overview_says_what_was_measured() {
    let mut results = testing::results();
    for case in results.cases.iter_mut().filter(|case| case.plan == "get-12") {
        let rate = if case.target == "xdp" { 450.0 } else { 100.0 };
        case.report.as_mut().unwrap()["responses_per_second"] = rate.into();
    }
    results.plans.retain(|plan| plan.name == "get-12");
    let page = html(&results);
    let headline = "Simoom, AF_XDP serves 4.50 times as many responses as nginx in one plan.";
    assert!(page.contains(headline), "{page}");
    assert!(page.contains(">4.50 (4.50 … 4.50)</text>"), "{page}");
    // The ceiling has the same 100 as nginx.
    assert!(
        page.contains("Simoom, AF_XDP at 450 % of the ceiling: The ceiling answers each frame")
    );
    let xdp = |case: &&mut super::super::results::Case| case.target == "xdp";
    for (round, case) in results.cases.iter_mut().filter(xdp).enumerate() {
        let rate = if round == 0 { 90.0 } else { 110.0 };
        case.report.as_mut().unwrap()["responses_per_second"] = rate.into();
    }
    assert!(html(&results).contains("at 110 % of the ceiling: The rounds of both overlap"));
    results.cases.retain(|case| case.target == "xdp");
    assert!(!html(&results).contains("id=\"overview\""), "nothing to compare with");
}

#[test]
fn the_charts_that_sum_up_are_image_files_too() {
    let images = images(&testing::results());
    let names: Vec<&str> = images.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["overview.svg", "latency-cpu.svg", "latency-p50.svg", "latency-p99.svg"]);
    for (name, image) in &images {
        assert!(image.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox="), "{name}");
        assert_eq!(image.matches("<style>").count(), 1, "{name}");
        assert!(image.ends_with("</svg>\n") && !image.contains("<div"), "{name}");
    }
}
