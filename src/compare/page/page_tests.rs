//! Tests the text of the page. `tests/compare.rs` checks its layout in a browser.

use super::super::testing;
use super::*;

#[test]
fn the_page_is_one_file_that_asks_for_no_other() {
    let page = html(&testing::results());
    for asks in ["src=", "href=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(asks), "{asks}");
    }
    assert!(page.contains("A &lt;Processor&gt; &amp; more") && !page.contains("<Processor>"));
}

#[test]
fn each_plan_has_its_chart_and_every_target_is_on_it() {
    let results = testing::results();
    let page = html(&results);
    // One chart for each rate, three over all offered rates, and one for each other plan.
    assert_eq!(page.matches("<svg ").count(), 8);
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
