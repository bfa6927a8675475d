use super::*;
use proptest::prelude::*;

const LIMIT: u32 = 64;

/// Reads `bytes` in pieces of `step`; how many were content, and whether it ended.
fn read(mut discard: Discard, bytes: &[u8], step: usize) -> Result<(usize, bool), HttpError> {
    let mut at = 0;
    while at < bytes.len() && !discard.is_over() {
        let chunk = &bytes[at..bytes.len().min(at + step)];
        at += discard.read(chunk)?;
    }
    Ok((at, discard.is_over()))
}

#[test]
fn chunked_content_by_the_rules_of_rfc_9112_section_7() {
    let next = "GET";
    type Case<'a> = (&'a str, &'a str, Result<bool, HttpError>);
    let table: &[Case<'_>] = &[
        ("§7.1 the last chunk alone", "0\r\n\r\n", Ok(true)),
        ("§7.1 two chunks", "3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", Ok(true)),
        (
            "§7.1 sizes are hexadecimal, zeros may lead",
            "00a\r\n0123456789\r\n000\r\n\r\n",
            Ok(true),
        ),
        ("§7.1 data may hold line ends", "4\r\n\r\n\r\n\r\n0\r\n\r\n", Ok(true)),
        ("§7.1.1 extensions are ignored", "1;a=b;c=\"d\"\r\nx\r\n0 ;e\r\n\r\n", Ok(true)),
        ("§7.1.2 trailers are ignored", "0\r\nA: b\r\nC: d\r\n\r\n", Ok(true)),
        ("not over yet", "3\r\nabc\r\n", Ok(false)),
        ("§7.1 no size", "\r\n", Err(HttpError::BadChunk)),
        ("§7.1 no digit", "x\r\n", Err(HttpError::BadChunk)),
        ("§7.1 a sign", "+1\r\n", Err(HttpError::BadChunk)),
        ("§7.1 a prefix", "0x1\r\n", Err(HttpError::BadChunk)),
        ("white space before the size", " 1\r\n", Err(HttpError::BadChunk)),
        ("white space behind the size", "1 \r\n", Err(HttpError::BadChunk)),
        ("§2.2 a bare LF behind the size", "1\nx\r\n", Err(HttpError::BadChunk)),
        ("§2.2 a bare CR behind the size", "1\rx", Err(HttpError::BadChunk)),
        ("a bare LF in an extension", "1;a\nx\r\n", Err(HttpError::BadChunk)),
        ("a bare LF behind the data", "1\r\nx\n", Err(HttpError::BadChunk)),
        ("data longer than its size", "1\r\nxy\r\n", Err(HttpError::BadChunk)),
        ("a folded trailer", "0\r\n a: b\r\n\r\n", Err(HttpError::BadChunk)),
        ("a bare LF in a trailer", "0\r\na: b\n\r\n", Err(HttpError::BadChunk)),
        ("a NUL in a trailer", "0\r\na: \0\r\n\r\n", Err(HttpError::BadChunk)),
        ("a chunk past the limit", "41\r\n", Err(HttpError::BodyTooLarge)),
        ("a size of many digits", "ffffffffffffffffffff\r\n", Err(HttpError::BodyTooLarge)),
    ];
    for (rule, content, expected) in table {
        let bytes = [content.as_bytes(), if *expected == Ok(true) { next.as_bytes() } else { b"" }]
            .concat();
        for step in 1..=bytes.len() {
            let outcome = read(Discard::chunked(LIMIT), &bytes, step);
            assert_eq!(
                outcome,
                expected.map(|over| (content.len(), over)),
                "{rule}, {step} bytes at a time"
            );
        }
    }
}

#[test]
fn framing_counts_against_the_limit() {
    for endless in ["1\r\nx\r\n", "0000", "1;eeeeeeee"] {
        let bytes = endless.repeat(40);
        assert_eq!(
            read(Discard::chunked(LIMIT), bytes.as_bytes(), 3),
            Err(HttpError::BodyTooLarge),
            "{endless}"
        );
    }
    let trailers = format!("0\r\n{}", "A: b\r\n".repeat(40));
    assert_eq!(read(Discard::chunked(LIMIT), trailers.as_bytes(), 5), Err(HttpError::BodyTooLarge));
}

proptest! {
    #[test]
    fn content_of_known_length_ends_where_it_says(length in 1u32..300, extra in 0usize..50, step in 1usize..64) {
        let bytes = vec![b'\n'; length as usize + extra];
        prop_assert_eq!(read(Discard::length(length), &bytes, step), Ok((length as usize, true)));
        let short = &bytes[..length as usize - 1];
        prop_assert_eq!(read(Discard::length(length), short, step), Ok((short.len(), false)));
    }

    #[test]
    fn pieces_make_no_difference(bytes in "([0-9a-f]{1,2}|\r\n|;|[a-z: ]|\r|\n){0,40}", step in 1usize..8) {
        let whole = read(Discard::chunked(LIMIT), bytes.as_bytes(), bytes.len().max(1));
        prop_assert_eq!(read(Discard::chunked(LIMIT), bytes.as_bytes(), step), whole);
    }
}
