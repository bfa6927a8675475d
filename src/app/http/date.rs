//! HTTP dates (RFC 9110 §5.6.7): formats unix seconds as the 29 bytes of an IMF-fixdate, and parses
//! dates.
//!
//! This module reads no clock: the caller passes the time.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

/// Bytes of `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) const DATE_BYTES: usize = 29;
/// The last second of the year 9999: an IMF-fixdate has four digits for the year.
const LAST_SECOND: u64 = 253_402_300_799;
const DAY_SECONDS: i64 = 24 * 3600;
/// The mean year of the Gregorian calendar.
const YEAR_SECONDS: i64 = 31_556_952;

const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Formats a time as an IMF-fixdate. A later time than the end of the year 9999 becomes that end.
pub(crate) fn imf_fixdate(unix_seconds: u64) -> [u8; DATE_BYTES] {
    let moment = UNIX_EPOCH + Duration::from_secs(unix_seconds.min(LAST_SECOND));
    let mut date = [b' '; DATE_BYTES];
    let mut rest = &mut date[..];
    write!(rest, "{}", httpdate::HttpDate::from(moment)).expect("an IMF-fixdate has 29 bytes");
    date
}

/// Parses a date in any of the 3 formats that a recipient must accept. Returns unix seconds, or
/// `None` if the value is no date. Does not compare the day of the week with the date. `now`, in
/// unix seconds, determines the century of a two-digit year.
///
/// httpdate's parser refuses dates before 1970, and always reads two-digit years as 1970 to 2069.
pub(crate) fn parse(value: &[u8], now: u64) -> Option<i64> {
    imf(value).or_else(|| rfc_850(value, now)).or_else(|| asctime(value))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn imf(value: &[u8]) -> Option<i64> {
    let mut text = Text(value);
    text.one_of(DAYS.map(|day| &day[..3]))?;
    text.literal(", ")?;
    let (day, month, year) = text.day(" ", 4)?;
    let second = text.rest_in_gmt()?;
    unix_second(year, month, day, second)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`. RFC 9110 §5.6.7: a date that appears to be more than 50 years
/// in the future is in the past.
fn rfc_850(value: &[u8], now: u64) -> Option<i64> {
    let mut text = Text(value);
    text.one_of(DAYS)?;
    text.literal(", ")?;
    let (day, month, year) = text.day("-", 2)?;
    let second = text.rest_in_gmt()?;
    let now = now.min(LAST_SECOND) as i64;
    let century = (1970 + now / YEAR_SECONDS) / 100 * 100;
    [century + 100, century, century - 100]
        .into_iter()
        .filter_map(|century| unix_second(century + year, month, day, second))
        .find(|at| *at <= now + 50 * YEAR_SECONDS)
}

/// `Sun Nov  6 08:49:37 1994`.
fn asctime(value: &[u8]) -> Option<i64> {
    let mut text = Text(value);
    text.one_of(DAYS.map(|day| &day[..3]))?;
    text.literal(" ")?;
    let month = text.one_of(MONTHS)?;
    text.literal(" ")?;
    let day = match text.literal(" ") {
        Some(()) => text.number(1)?,
        None => text.number(2)?,
    };
    text.literal(" ")?;
    let second = text.second_of_day()?;
    text.literal(" ")?;
    let year = text.number(4)?;
    text.ends_in("")?;
    unix_second(year, month, day, second)
}

/// The unparsed end of a date.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn literal(&mut self, expected: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(expected.as_bytes())?;
        Some(())
    }

    fn ends_in(&self, expected: &str) -> Option<()> {
        (self.0 == expected.as_bytes()).then_some(())
    }

    /// The index of the next name in `names`.
    fn one_of<const N: usize>(&mut self, names: [&str; N]) -> Option<i64> {
        let index = names.iter().position(|name| self.0.starts_with(name.as_bytes()))?;
        self.0 = &self.0[names[index].len()..];
        Some(index as i64)
    }

    fn number(&mut self, digits: usize) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        let digit = |byte: &u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
        number.iter().try_fold(0, |sum, byte| Some(10 * sum + digit(byte)?))
    }

    /// Day, month and year as in `06 Nov 1994` or `06-Nov-94`.
    fn day(&mut self, separator: &str, year_digits: usize) -> Option<(i64, i64, i64)> {
        let day = self.number(2)?;
        self.literal(separator)?;
        let month = self.one_of(MONTHS)?;
        self.literal(separator)?;
        Some((day, month, self.number(year_digits)?))
    }

    /// ` 08:49:37 GMT`, up to the end.
    fn rest_in_gmt(&mut self) -> Option<i64> {
        self.literal(" ")?;
        let second = self.second_of_day()?;
        self.ends_in(" GMT")?;
        Some(second)
    }

    /// `08:49:37`. The second may be 60, a leap second.
    fn second_of_day(&mut self) -> Option<i64> {
        let hour = self.number(2)?;
        self.literal(":")?;
        let minute = self.number(2)?;
        self.literal(":")?;
        let second = self.number(2)?;
        (hour < 24 && minute < 60 && second <= 60).then_some((hour * 60 + minute) * 60 + second)
    }
}

/// `None` if the month, 0 to 11, does not have this day.
fn unix_second(year: i64, month: i64, day: i64, second_of_day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = match month {
        1 if is_leap => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    if !(1..=month_days).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last day of a year. 719,468 days lie
    // between 1 March of the year 0 and 1970.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = 365 * year + leap_days + (153 * month + 2) / 5 + (day - 1) - 719_468;
    Some(days * DAY_SECONDS + second_of_day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 29 November 2026.
    const NOW: u64 = 1_795_910_400;

    fn parsed(text: &str) -> Option<i64> {
        parse(text.as_bytes(), NOW)
    }

    #[test]
    fn the_example_of_rfc_9110_section_5_6_7_in_its_three_formats() {
        assert_eq!(&imf_fixdate(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        for date in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parsed(date), Some(784_111_777), "{date}");
        }
        assert_eq!(parsed("Wed Nov 16 08:49:37 1994"), Some(784_111_777 + 10 * DAY_SECONDS));
    }

    #[test]
    fn dates_of_all_years_are_valid() {
        let table = [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Wed, 31 Dec 1969 23:59:59 GMT", -1),
            ("Mon, 01 Jan 1900 00:00:00 GMT", -2_208_988_800),
            ("Sat, 01 Jan 0000 00:00:00 GMT", -62_167_219_200),
            ("Fri, 31 Dec 9999 23:59:59 GMT", LAST_SECOND as i64),
            ("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800),
            ("Tue, 29 Feb 2000 00:00:00 GMT", 951_782_400),
            ("Sun Feb 29 00:00:00 1600", -11_670_998_400),
        ];
        for (date, second) in table {
            assert_eq!(parsed(date), Some(second), "{date}");
        }
    }

    #[test]
    fn two_digits_are_at_most_fifty_years_ahead() {
        let year = |date: &str, now: u64| {
            let second = parse(date.as_bytes(), now)?;
            Some(1970 + second.div_euclid(YEAR_SECONDS))
        };
        let y2099 = 4_080_000_000;
        let table = [
            ("Sunday, 15-Jun-75 12:30:45 GMT", NOW, Some(2075)),
            ("Sunday, 15-Jun-76 12:30:45 GMT", NOW, Some(2076)),
            ("Sunday, 15-Dec-76 12:30:45 GMT", NOW, Some(1976)),
            ("Sunday, 15-Jun-77 12:30:45 GMT", NOW, Some(1977)),
            ("Sunday, 15-Jun-26 12:30:45 GMT", NOW, Some(2026)),
            ("Sunday, 15-Jun-00 12:30:45 GMT", NOW, Some(2000)),
            ("Sunday, 15-Jun-01 12:30:45 GMT", y2099, Some(2101)),
            ("Sunday, 15-Jun-99 12:30:45 GMT", y2099, Some(2099)),
            // 2100 has no such day.
            ("Tuesday, 29-Feb-00 12:30:45 GMT", y2099, Some(2000)),
            ("Tuesday, 30-Feb-00 12:30:45 GMT", y2099, None),
        ];
        for (date, now, expected) in table {
            assert_eq!(year(date, now), expected, "{date} at {now}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "yesterday",
            "Sun, 06 Nov 1994",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 29 Feb 1900 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Son, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov +994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun Nov  6 08:49:37 1994 GMT",
            "\u{fc}",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
        assert_eq!(parse(&[0xff; 29], NOW), None);
    }

    #[test]
    fn years_past_9999_stop_there() {
        assert_eq!(&imf_fixdate(u64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(second in 0..=LAST_SECOND) {
            prop_assert_eq!(parse(&imf_fixdate(second), NOW), Some(second as i64));
        }

        #[test]
        fn any_bytes_are_a_date_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&bytes, NOW);
        }
    }
}
