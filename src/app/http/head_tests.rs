use super::*;
use proptest::prelude::*;

fn end(bytes: &[u8], step: usize) -> Result<Option<usize>, HttpError> {
    let mut search = Search::default();
    let mut at = 0;
    while at < bytes.len() {
        at = bytes.len().min(at + step);
        if let Some(len) = find_end(&bytes[..at], &mut search, HeadLimits::default())? {
            return Ok(Some(len));
        }
    }
    Ok(None)
}

#[test]
fn the_end_of_a_head() {
    let long_line = |bytes: usize| format!("GET /{} HTTP/1.1", "a".repeat(bytes - 14)).into_bytes();
    let head = |bytes: usize| {
        let start = b"GET / HTTP/1.1\r\n";
        let field = b"A: bcdefghijklm\r\n";
        let mut head = start.to_vec();
        while head.len() + field.len() + 10 < bytes {
            head.extend_from_slice(field);
        }
        let fill = bytes - head.len() - 7;
        head.extend_from_slice(&[b"A: ".as_slice(), &vec![b'x'; fill], b"\r\n\r\n"].concat());
        head
    };
    let line_max = [long_line(LINE_MAX_BYTES), b"\r\n\r\n".to_vec()].concat();
    let line_over = [long_line(LINE_MAX_BYTES + 1), b"\r\n\r\n".to_vec()].concat();
    type End = Result<Option<usize>, HttpError>;
    let table: &[(&str, Vec<u8>, End)] = &[
        ("a whole head", b"GET / HTTP/1.1\r\n\r\nmore".to_vec(), Ok(Some(18))),
        ("not yet", b"GET / HTTP/1.1\r\nA: b\r\n\r".to_vec(), Ok(None)),
        (
            "bare LF ends the line",
            b"GET / HTTP/1.1\nA: b\r\n\r\n".to_vec(),
            Err(HttpError::BadSyntax),
        ),
        (
            "bare LF ends the head",
            b"GET / HTTP/1.1\r\nA: b\r\n\n".to_vec(),
            Err(HttpError::BadSyntax),
        ),
        ("a record of TLS", b"\x16\x03\x01\x02".to_vec(), Err(HttpError::BadSyntax)),
        ("the longest line", line_max.clone(), Ok(Some(line_max.len()))),
        ("a longer one", line_over, Err(HttpError::LineTooLong)),
        ("no end of line", vec![b'a'; LINE_MAX_BYTES + 2], Err(HttpError::LineTooLong)),
        ("perhaps the longest line", vec![b'a'; LINE_MAX_BYTES + 1], Ok(None)),
        ("the longest head", head(HEAD_MAX_BYTES), Ok(Some(HEAD_MAX_BYTES))),
        ("a longer one", head(HEAD_MAX_BYTES + 1), Err(HttpError::HeadTooLarge)),
    ];
    for (what, bytes, expected) in table {
        for step in [1, 2, 3, 1000, bytes.len()] {
            assert_eq!(end(bytes, step), *expected, "{what}, {step} bytes at a time");
        }
    }
}

#[test]
fn what_was_looked_at_is_not_looked_at_again() {
    let mut search = Search::default();
    assert_eq!(find_end(b"GET / HT", &mut search, HeadLimits::default()), Ok(None));
    assert_eq!(
        find_end(b"\n\n\n\n\n\n\n\nTP/1.1\r\n\r\n", &mut search, HeadLimits::default()),
        Ok(Some(18))
    );
}

proptest! {
    #[test]
    fn pieces_make_no_difference(bytes in proptest::collection::vec(any::<u8>(), 0..200), step in 1usize..50) {
        prop_assert_eq!(end(&bytes, step), end(&bytes, bytes.len().max(1)));
    }

    #[test]
    fn nor_do_they_among_lines(bytes in "G(E|T|\r\n|\r|\n|:){0,30}", step in 1usize..8) {
        prop_assert_eq!(end(bytes.as_bytes(), step), end(bytes.as_bytes(), bytes.len()));
    }
}
