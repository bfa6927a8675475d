//! Percentile text of HdrHistogram (`.hgrm`), for its plotter
//! (<https://hdrhistogram.github.io/HdrHistogram/plotFiles.html>), `hdr-plot` and others. Times are
//! in milliseconds, as in the output of wrk2.

use hdrhistogram::Histogram;
use std::fmt::Write;

/// Lines for each halving of the distance to 100 %, as in HdrHistogram's tools.
const TICKS: u32 = 5;
/// Microseconds in a millisecond. Histograms hold microseconds.
const US_PER_MS: f64 = 1000.0;

/// The text for a histogram of microseconds.
pub(crate) fn text(histogram: &Histogram<u64>) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS) {
        count += step.count_since_last_iteration();
        let (value, quantile) =
            (step.value_iterated_to() as f64 / US_PER_MS, step.quantile_iterated_to());
        let _ = write!(text, "{value:12.3} {quantile:2.12} {count:10}");
        // At 100 % the distance is 0 and has no inverse.
        let _ = if quantile < 1.0 {
            writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(text)
        };
    }
    let (mean, deviation) = (histogram.mean() / US_PER_MS, histogram.stdev() / US_PER_MS);
    let (max, total) = (histogram.max() as f64 / US_PER_MS, histogram.len());
    let sub_buckets = 2 * 10u64.pow(u32::from(histogram.sigfig()));
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {total:12}]");
    let _ = writeln!(
        text,
        "#[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.buckets(),
        sub_buckets.next_power_of_two()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_columns_and_the_footer_that_plotters_look_for() {
        let mut histogram = Histogram::new_with_max(3_600_000_000, 3).unwrap();
        (1..=1000).for_each(|value| histogram.record(value).unwrap());
        let text = text(&histogram);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(
            (lines[1], lines[2]),
            ("", "       0.001 0.000000000000          1           1.00")
        );
        let median = lines.iter().find(|line| line.contains(" 0.500000000000 ")).unwrap();
        assert_eq!(
            median.split_whitespace().collect::<Vec<_>>(),
            ["0.500", "0.500000000000", "500", "2.00"]
        );
        let last = lines.iter().rfind(|line| !line.starts_with('#')).unwrap();
        assert_eq!(
            last.split_whitespace().collect::<Vec<_>>(),
            ["1.000", "1.000000000000", "1000"]
        );
        assert!(
            text.contains("#[Max     =        1.000, Total count    =         1000]"),
            "{text}"
        );
        assert!(text.contains("SubBuckets     =         2048]"), "{text}");
    }

    #[test]
    fn no_answers_are_no_lines() {
        let text = text(&Histogram::new_with_max(3_600_000_000, 3).unwrap());
        assert!(text.lines().skip(2).all(|line| line.starts_with("#[")), "{text}");
    }
}
