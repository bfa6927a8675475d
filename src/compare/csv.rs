//! Results as comma-separated values, one line for each case. Only the last field may have quotes.

use super::results::{Case, Results};
use std::fmt::Write;

/// The column names.
const HEAD: &str = "plan,point,contender,repeat,responses,responses_per_second,content_bytes_per_second,p50_us,p90_us,\
p99_us,p99_9_us,p99_99_us,max_us,server_core,client_core,server_cpu,\
server_stolen,client_stolen,process_bytes,kernel_bytes,error\n";

/// The whole file.
pub(super) fn text(results: &Results) -> String {
    let mut text = HEAD.to_owned();
    for case in &results.cases {
        line(&mut text, case);
    }
    text
}

fn line(text: &mut String, case: &Case) {
    let Case { plan, point, target, repeat, .. } = case;
    let _ = write!(text, "{plan},{point},{target},{repeat}");
    let number =
        |path: &[&str]| case.number(path).map(|number| number.to_string()).unwrap_or_default();
    for path in [&["responses"][..], &["responses_per_second"], &["content_bytes_per_second"]] {
        let _ = write!(text, ",{}", number(path));
    }
    for key in ["p50", "p90", "p99", "p99_9", "p99_99", "max"] {
        let _ = write!(text, ",{}", number(&["latency_us", key]));
    }
    let cpu = case.cpu.map(|cpu| {
        [cpu.server_core, cpu.client_core, cpu.server, cpu.server_stolen, cpu.client_stolen]
            .map(|part| format!("{part:.3}"))
    });
    let memory = case
        .memory
        .map(|memory| [memory.process_bytes, memory.kernel_bytes].map(|bytes| bytes.to_string()));
    let error = case
        .error
        .as_deref()
        .map(|error| format!("\"{}\"", error.replace('"', "\"\"")))
        .unwrap_or_default();
    let _ = writeln!(
        text,
        ",{},{},{error}",
        cpu.unwrap_or_default().join(","),
        memory.unwrap_or_default().join(",")
    );
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn every_line_has_the_columns_of_the_head() {
        let mut results = testing::results();
        results.cases[0].error = Some("it said \"no\", and ended".to_owned());
        let text = text(&results);
        let columns = |line: &str| line.split(",\"").next().unwrap_or_default().split(',').count();
        let head = text.lines().next().unwrap().split(',').count();
        assert_eq!(text.lines().count(), 1 + results.cases.len());
        for line in text.lines().skip(1) {
            assert_eq!(columns(line), if line.ends_with('"') { head - 1 } else { head }, "{line}");
        }
        assert!(text.contains(",\"it said \"\"no\"\", and ended\"\n"));
    }
}
