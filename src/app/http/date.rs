//! Dates of HTTP: unix seconds in, the 29 bytes of an IMF-fixdate out, and back (RFC 9110 §5.6.7).
//!
//! Reads no clock: whoever has one says what time it is.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) const DATE_BYTES: usize = 29;
/// The last second of the year 9999: an IMF-fixdate has four digits for the year.
const LAST_SECOND: u64 = 253_402_300_799;

/// The moment as an IMF-fixdate; the end of the year 9999 for all that come after it.
pub(crate) fn imf_fixdate(unix_seconds: u64) -> [u8; DATE_BYTES] {
    let moment = UNIX_EPOCH + Duration::from_secs(unix_seconds.min(LAST_SECOND));
    let mut date = [b' '; DATE_BYTES];
    let mut rest = &mut date[..];
    write!(rest, "{}", httpdate::HttpDate::from(moment)).expect("an IMF-fixdate has 29 bytes");
    date
}

/// The moment a field value names, in any of the three formats a recipient must accept; `None` if it is no date.
pub(crate) fn parse(value: &[u8]) -> Option<u64> {
    let moment: SystemTime = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    Some(moment.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_9110_section_5_6_7_in_its_three_formats() {
        assert_eq!(&imf_fixdate(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(parse(date.as_bytes()), Some(784_111_777), "{date}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in ["", "yesterday", "Sun, 06 Nov 1994", "Sun, 06 Nov 1994 08:49:61 GMT", "\u{fc}"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(&[0xff; 29]), None);
    }

    #[test]
    fn years_past_9999_stop_there() {
        assert_eq!(&imf_fixdate(u64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
