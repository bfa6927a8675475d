//! Tables of made-up results.

use super::super::testing;
use super::*;

#[test]
fn a_plans_table_has_a_line_for_each_target_and_no_empty_column() {
    let results = testing::results();
    let Table(rows) = of_plan(&results, &results.plans[0]);
    assert_eq!(rows[0][..4], ["target", "responses/s", "min … max", "p50"]);
    assert_eq!(rows[1][..4], ["Simoom, AF_XDP", "660,000", "600,000 … 720,000", "45 µs"]);
    assert_eq!(rows[2].last().unwrap(), "27 %", "nginx as a share of the ceiling");
    assert_eq!(rows[1][rows[1].len() - 2], "3.00", "AF_XDP beside nginx");
    assert_eq!(rows[3][rows[3].len() - 2..], ["3.75", ""]);
    assert!(!rows[0].contains(&"at".to_owned()) && !rows[0].contains(&"content/s".to_owned()));
}

#[test]
fn a_plan_of_several_points_names_them_and_who_is_not_there_has_no_line() {
    let results = testing::results();
    let table = of_plan(&results, &results.plans[1]);
    let first: Vec<&str> = table.0.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(first, ["at", "1", "1", "1", "1000", "1000", "1000", "100000", "100000"]);
    let text = table.text();
    let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
    assert!(text.lines().next().unwrap().starts_with("  at      target"), "{text}");
    assert!(
        widths[1..].iter().all(|width| *width <= widths[0]),
        "numbers end where their head does\n{text}"
    );
}

#[test]
fn what_is_served_in_an_overload_stands_beside_the_peak() {
    let mut results = testing::results();
    let overload = results.plans.len() - 1;
    let percentiles =
        |case: &mut Case| case.report.as_mut().unwrap()["latency_us"]["p50"] = 0.into();
    results.cases.iter_mut().filter(|case| case.point == "200 % of own peak").for_each(percentiles);
    let Table(rows) = of_plan(&results, &results.plans[overload]);
    let column = |name: &str| rows[0].iter().position(|head| head == name).unwrap();
    let of = |name: &str| rows[1..].iter().map(|row| row[column(name)].clone()).collect::<Vec<_>>();
    assert_eq!(of("of its peak"), ["", "", "95 %", "95 %"]);
    assert_eq!(
        of("p50")[2..],
        ["", ""],
        "where all that was sent had waited since the warm-up, there is none"
    );
}

#[test]
fn a_case_that_failed_counts_in_no_figure() {
    let mut results = testing::results();
    for case in
        results.cases.iter_mut().filter(|case| case.plan == "get-12" && case.target == "nginx")
    {
        case.error = Some("gone".to_owned());
    }
    let Table(rows) = of_plan(&results, &results.plans[0]);
    assert_eq!(rows[2][..2], ["nginx", "failed"]);
    assert!(!rows[0].contains(&"× nginx".to_owned()));
}

#[test]
fn the_markdown_table_has_the_plans_with_one_rate() {
    assert_eq!(
        markdown(&testing::results()),
        "| work | Simoom, AF_XDP | nginx | ceiling | AF_XDP ÷ nginx | AF_XDP ÷ ceiling |\n\
         |---|---|---|---|---|---|\n\
         | GET 12 B, keep-alive, 50 connections | 660,000/s | 220,000/s | 825,000/s | 3.00 | 80 % |\n"
    );
}

#[test]
fn the_markdown_table_leaves_out_a_plan_of_which_no_answer_came_to_its_end() {
    let mut results = testing::results();
    for case in results.cases.iter_mut().filter(|case| case.plan == "get-12") {
        case.report.as_mut().unwrap()["responses_per_second"] = 0.into();
    }
    assert!(!markdown(&results).contains("GET 12 B"));
}

#[test]
fn a_plans_markdown_has_a_row_for_each_point_and_a_column_for_each_target() {
    let results = testing::results();
    let text = markdown_of_plan(&results, &results.plans[1]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("| at | Simoom, AF_XDP | "), "{text}");
    assert_eq!(lines.len(), 2 + results.plans[1].points.len(), "{text}");
    assert!(lines[2].starts_with("| 1 | ") && lines[2].contains("/s, "), "{text}");
    assert!(lines[2].contains(" µs, ") && lines[2].contains(" %"), "{text}");
}
