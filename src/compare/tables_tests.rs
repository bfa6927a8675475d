//! Tables of made-up results.

use super::super::testing;
use super::*;

#[test]
fn a_plans_table_has_a_line_for_each_contender_and_no_empty_column() {
    let results = testing::results();
    let table = of_plan(&results, &results.plans[0]);
    assert_eq!(
        table.text(),
        "  contender       responses/s       least … most    p50     p99   p99.9  server core  load core  CPU/request   \
         memory  × nginx  of ceiling\n  \
         Simoom, AF_XDP      660,000  600,000 … 720,000  45 µs   91 µs  182 µs         95 %       80 %      2.65 µs  \
         1001.0 KiB     3.00        80 %\n"
            .lines()
            .map(|line| format!("{line}\n"))
            .collect::<String>()
            + ""
    );
}
