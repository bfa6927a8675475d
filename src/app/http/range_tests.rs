use super::*;
use proptest::prelude::*;

/// The ranges as `first-last`, `whole` or `416`.
fn selected(value: &str, len: u64) -> String {
    match select(value.as_bytes(), len) {
        Selection::Whole => "whole".to_string(),
        Selection::Unsatisfiable => "416".to_string(),
        Selection::Ranges(ranges) => {
            let text = |range: &ByteRange| format!("{}-{}", range.start, range.end - 1);
            ranges.as_slice().iter().map(text).collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
fn ranges_of_rfc_9110_section_14() {
    let table = [
        ("§14.1.2 first and last", "bytes=0-499", 10_000, "0-499"),
        ("§14.1.2 the second 500", "bytes=500-999", 10_000, "500-999"),
        ("§14.1.2 one byte", "bytes=0-0", 10_000, "0-0"),
        ("§14.1.2 the last byte", "bytes=9999-9999", 10_000, "9999-9999"),
        ("§14.1.2 an open end", "bytes=9500-", 10_000, "9500-9999"),
        ("§14.1.2 all of it", "bytes=0-", 10_000, "0-9999"),
        ("§14.1.2 a suffix", "bytes=-500", 10_000, "9500-9999"),
        ("§14.1.2 a suffix of more than all", "bytes=-20000", 10_000, "0-9999"),
        ("§14.1.2 a last position past the end", "bytes=9000-20000", 10_000, "9000-9999"),
        ("§14.1.2 a number above 64 bits", "bytes=5-99999999999999999999999", 10, "5-9"),
        ("§14.1.2 a first position above 64 bits", "bytes=99999999999999999999999-", 10, "416"),
        ("§14.1.2 beyond 4 GiB", "bytes=4294967296-4294967299", 1 << 33, "4294967296-4294967299"),
        ("§14.1.2 first and last byte", "bytes=0-0,-1", 10_000, "0-0 9999-9999"),
        ("§14.1.2 in the order asked", "bytes=500-600,0-99", 10_000, "500-600 0-99"),
        ("§14.1 units have no case", "Bytes=0-1", 10, "0-1"),
        ("§14.1 another unit", "lines=0-1", 10, "whole"),
        ("§14.1.1 last before first", "bytes=5-4", 10, "whole"),
        ("§14.1.1 one malformed of two", "bytes=0-1,5-4", 10, "whole"),
        ("§14.1.1 no digits", "bytes=-", 10, "whole"),
        ("§14.1.1 no dash", "bytes=5", 10, "whole"),
        ("§14.1.1 no ranges", "bytes=", 10, "whole"),
        ("§14.1.1 only commas", "bytes=,,", 10, "whole"),
        ("§14.1.1 a sign", "bytes=+1-2", 10, "whole"),
        ("§14.1.1 a space within", "bytes=1 -2", 10, "whole"),
        ("§14.1.1 a space before the equals sign", "bytes =1-2", 10, "whole"),
        ("§14.1.1 two dashes", "bytes=1-2-3", 10, "whole"),
        ("§14.1.1 another base", "bytes=0x1-2", 10, "whole"),
        ("§5.6.1 empty members and white space", "bytes= , 0-0 ,\t, 200-200,", 1000, "0-0 200-200"),
        ("§15.5.17 past the end", "bytes=10-", 10, "416"),
        ("§15.5.17 all past the end", "bytes=10-11,20-", 10, "416"),
        ("§14.2 one of two past the end", "bytes=10-11,0-1", 10, "0-1"),
        ("§14.1.2 an empty suffix", "bytes=-0", 10, "416"),
        ("§14.1.2 an empty suffix beside another", "bytes=-0,1-1", 10, "1-1"),
        ("an empty file has no byte", "bytes=0-", 0, "416"),
        ("§14.1.2 but each suffix", "bytes=-5", 0, "whole"),
        ("§14.1.2 an empty suffix of an empty file", "bytes=-0", 0, "416"),
        ("§15.3.7.2 overlapping", "bytes=0-50,20-99", 1000, "0-99"),
        ("§15.3.7.2 adjacent", "bytes=0-49,50-99", 1000, "0-99"),
        ("§15.3.7.2 a gap shorter than a part's head", "bytes=0-9,89-99", 1000, "0-99"),
        ("§15.3.7.2 a longer gap", "bytes=0-9,91-99", 1000, "0-9 91-99"),
        ("§15.3.7.2 within", "bytes=0-99,10-19", 1000, "0-99"),
        ("§14.2 two that overlap", "bytes=500-599,0-99,50-149", 1000, "500-599 0-149"),
        ("§17.15 more than two overlap", "bytes=500-,0-,400-,0-", 1000, "whole"),
        ("§17.15 more than the file", "bytes=500-,0-", 1000, "whole"),
    ];
    for (rule, value, len, expected) in table {
        assert_eq!(selected(value, len), expected, "{rule}: {value}");
    }
}

#[test]
fn many_ranges_are_sent_if_they_ascend_rfc_9110_section_17_15() {
    let list = |positions: &mut dyn Iterator<Item = usize>| {
        let ranges: Vec<_> = positions.map(|at| format!("{0}-{0}", at * 1000)).collect();
        format!("bytes={}", ranges.join(","))
    };
    let count = |value: &str| selected(value, 1 << 20).split(' ').count();
    assert_eq!(count(&list(&mut (0..RANGES_MAX))), RANGES_MAX);
    assert_eq!(selected(&list(&mut (0..=RANGES_MAX)), 1 << 20), "whole");
    assert_eq!(count(&list(&mut (0..UNORDERED_MAX).rev())), UNORDERED_MAX);
    assert_eq!(selected(&list(&mut (0..=UNORDERED_MAX).rev()), 1 << 20), "whole");
    let all = format!("bytes=0-{}", ",0-".repeat(5000));
    assert_eq!(selected(&all, 1 << 20), "0-1048575", "the ranges of CVE-2011-3192");
}

proptest! {
    /// Whatever is asked, the response is at most one part longer than the file, and each range
    /// lies within the file.
    #[test]
    fn ranges_lie_within_the_file_and_are_not_longer(
        specs in proptest::collection::vec((0u64..300, 0u64..300, 0u8..4), 1..12),
        len in 0u64..250,
    ) {
        let specs: Vec<_> = specs.into_iter().map(|(first, last, kind)| match kind {
            0 => format!("-{last}"),
            1 => format!("{first}-"),
            _ => format!("{first}-{}", first + last),
        }).collect();
        let value = format!("bytes={}", specs.join(","));
        if let Selection::Ranges(ranges) = select(value.as_bytes(), len) {
            let ranges = ranges.as_slice();
            prop_assert!(!ranges.is_empty());
            prop_assert!(ranges.iter().all(|range| range.start < range.end && range.end <= len));
            prop_assert!(ranges.iter().map(|range| range.len()).sum::<u64>() <= len, "{}", value);
        }
    }

    #[test]
    fn any_bytes_select_something(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = select(&bytes, 1000);
        let _ = select(&[b"bytes=".as_slice(), &bytes].concat(), 1000);
    }
}
