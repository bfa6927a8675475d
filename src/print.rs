//! Standard output of the commands, and numbers as people read them.

use crate::error::{Error, Result};
use std::io::{self, ErrorKind, Write};

/// Writes `text` to standard output. A closed pipe is not an error: a reader such as `head` has
/// what it wanted.
pub(crate) fn print_text(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::because("writing to standard output", error))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard output, as [`print_text`] does.
pub(crate) fn print_line(line: &str) -> Result<()> {
    print_text(&format!("{line}\n"))
}

/// A number with digit grouping: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds with a fitting unit.
pub(crate) fn micros(us: f64) -> String {
    match us {
        ..1e3 => format!("{us:.0} µs"),
        ..1e6 => format!("{:.2} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [250.0, 999.0, 1000.0, 1234.0, 12_345.0, 1_500_000.0].map(micros),
            ["250 µs", "999 µs", "1.00 ms", "1.23 ms", "12.35 ms", "1.50 s"]
        );
    }
}
