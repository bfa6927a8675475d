use super::*;

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
/// 29 November 2026.
const NOW: u64 = 1_795_910_400;
const FILE: Validators<'_> = Validators { etag: b"\"abc\"", modified: Some(784_111_777) };

fn verdict(fields: &[(&str, &str)], file: Validators<'_>) -> Verdict {
    let fields: Vec<Header<'_>> =
        fields.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
    evaluate(&fields, file, NOW)
}

#[test]
fn each_rule_of_rfc_9110_section_13() {
    use Verdict::{Failed, NotModified, Perform};
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Verdict);
    let table: &[Case<'_>] = &[
        ("no precondition", &[("Accept", "*/*")], Perform),
        ("§13.1.1 If-Match: a listed tag", &[("If-Match", "\"x\", \"abc\"")], Perform),
        ("§13.1.1 If-Match: any", &[("If-Match", "*")], Perform),
        ("§13.1.1 If-Match: another tag", &[("If-Match", "\"x\"")], Failed),
        ("§13.1.1 If-Match compares strongly", &[("If-Match", "W/\"abc\"")], Failed),
        ("§13.1.2 If-None-Match: the tag", &[("If-None-Match", "\"abc\"")], NotModified),
        ("§13.1.2 If-None-Match compares weakly", &[("if-none-match", "W/\"abc\"")], NotModified),
        (
            "§13.1.2 If-None-Match: a list",
            &[("If-None-Match", "\"a\" ,, W/\"b\",\t\"abc\"")],
            NotModified,
        ),
        ("§13.1.2 If-None-Match: any", &[("If-None-Match", "*")], NotModified),
        ("§13.1.2 If-None-Match: others", &[("If-None-Match", "\"a\", \"ab\", \"abcd\"")], Perform),
        ("§8.8.3 a comma within a tag", &[("If-None-Match", "\"x,\\\", \"abc\"")], NotModified),
        ("§8.8.3 a tag has quotes", &[("If-None-Match", "abc")], Perform),
        ("§8.8.3 a tag has both quotes", &[("If-None-Match", "\"abc")], Perform),
        (
            "§5.3 a list on two lines",
            &[("If-None-Match", "\"x\""), ("If-None-Match", "\"abc\"")],
            NotModified,
        ),
        ("§13.1.3 not modified since", &[("If-Modified-Since", MODIFIED)], NotModified),
        ("§13.1.3 not modified since later", &[("If-Modified-Since", LATER)], NotModified),
        ("§13.1.3 modified since", &[("If-Modified-Since", EARLIER)], Perform),
        (
            "§5.6.7 75 is 2075 in 2026",
            &[("If-Modified-Since", "Sunday, 15-Dec-75 12:30:45 GMT")],
            NotModified,
        ),
        (
            "§5.6.7 77 is 1977 in 2026",
            &[("If-Modified-Since", "Sunday, 15-Dec-77 12:30:45 GMT")],
            Perform,
        ),
        ("§13.1.3 no date", &[("If-Modified-Since", "soon")], Perform),
        (
            "§13.1.3 more than one date",
            &[("If-Modified-Since", LATER), ("If-Modified-Since", LATER)],
            Perform,
        ),
        (
            "§13.1.3 ignored beside If-None-Match",
            &[("If-Modified-Since", LATER), ("If-None-Match", "\"x\"")],
            Perform,
        ),
        (
            "§13.1.3 no matter beside If-None-Match",
            &[("If-Modified-Since", EARLIER), ("If-None-Match", "\"abc\"")],
            NotModified,
        ),
        ("§13.1.4 unmodified since", &[("If-Unmodified-Since", MODIFIED)], Perform),
        ("§13.1.4 modified since", &[("If-Unmodified-Since", EARLIER)], Failed),
        (
            "§13.1.4 modified since a date before 1970",
            &[("If-Unmodified-Since", "Mon, 01 Jan 1900 00:00:00 GMT")],
            Failed,
        ),
        ("§13.1.4 no date", &[("If-Unmodified-Since", "1994")], Perform),
        (
            "§13.1.4 ignored beside If-Match",
            &[("If-Unmodified-Since", EARLIER), ("If-Match", "\"abc\"")],
            Perform,
        ),
        (
            "§13.2.2 If-Match before If-None-Match",
            &[("If-None-Match", "\"abc\""), ("If-Match", "\"x\"")],
            Failed,
        ),
        (
            "§13.2.2 If-None-Match after If-Match",
            &[("If-None-Match", "\"abc\""), ("If-Match", "\"abc\"")],
            NotModified,
        ),
    ];
    for (rule, fields, expected) in table {
        assert_eq!(verdict(fields, FILE), *expected, "{rule}");
    }
}

#[test]
fn without_a_modification_date_date_conditions_are_ignored() {
    let undated = Validators { modified: None, ..FILE };
    assert_eq!(verdict(&[("If-Modified-Since", LATER)], undated), Verdict::Perform);
    assert_eq!(verdict(&[("If-Unmodified-Since", EARLIER)], undated), Verdict::Perform);
}
