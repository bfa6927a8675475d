use super::*;
use proptest::prelude::*;

type Outcome = Result<(Method, Option<String>, Persistence, Framing, bool), HttpError>;

fn parse(head: &[u8]) -> Outcome {
    let mut space = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let request = Request::parse(head, &mut space)?;
    let target = request.target.map(|target| String::from_utf8_lossy(target).into_owned());
    Ok((request.method, target, request.persistence, request.framing, request.expects_continue))
}

/// A request of HTTP/1.1 with Host and these fields.
fn with(fields: &str) -> Outcome {
    parse(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes())
}

/// A request with this line and Host.
fn line(line: &str) -> Outcome {
    parse(format!("{line}\r\nHost: a\r\n\r\n").as_bytes())
}

#[test]
fn request_lines_of_rfc_9112_section_3() {
    use HttpError::{BadSyntax, BadTarget, UnknownVersion};
    type Line = Result<(Method, Option<&'static str>), HttpError>;
    let table: &[(&str, &str, Line)] = &[
        ("§3.1 GET", "GET /a HTTP/1.1", Ok((Method::Get, Some("/a")))),
        ("§3.1 HEAD", "HEAD /a HTTP/1.1", Ok((Method::Head, Some("/a")))),
        ("§3.1 methods are case-sensitive", "get /a HTTP/1.1", Ok((Method::Unknown, Some("/a")))),
        ("RFC 9110 §9.3 others", "DELETE /a HTTP/1.1", Ok((Method::Other, Some("/a")))),
        ("unknown methods", "BREW /a HTTP/1.1", Ok((Method::Unknown, Some("/a")))),
        (
            "§3.2.1 origin form with a query",
            "GET /a?b=c HTTP/1.1",
            Ok((Method::Get, Some("/a?b=c"))),
        ),
        ("§3.2.2 absolute form", "GET http://h:80/a?b HTTP/1.1", Ok((Method::Get, Some("/a?b")))),
        ("§3.2.2 schemes in any case", "GET HTTPS://h/ HTTP/1.1", Ok((Method::Get, Some("/")))),
        ("§3.2.2 without a path", "GET http://h HTTP/1.1", Ok((Method::Get, Some("")))),
        ("§3.2.2 a query without a path", "GET http://h?q HTTP/1.1", Ok((Method::Get, Some("?q")))),
        (
            "§3.2.2 an IPv6 authority",
            "GET http://[::1]:80/a HTTP/1.1",
            Ok((Method::Get, Some("/a"))),
        ),
        ("RFC 9110 §4.2.1 no authority", "GET http:///a HTTP/1.1", Err(BadTarget)),
        ("RFC 9110 §4.2.4 user information", "GET http://u@h/a HTTP/1.1", Err(BadTarget)),
        ("another scheme", "GET ftp://h/a HTTP/1.1", Err(BadTarget)),
        ("no form at all", "GET a HTTP/1.1", Err(BadTarget)),
        ("§3.2.3 authority form", "CONNECT h:443 HTTP/1.1", Ok((Method::Connect, None))),
        ("§3.2.3 only for CONNECT", "GET h:443 HTTP/1.1", Err(BadTarget)),
        ("§3.2.3 CONNECT takes no path", "CONNECT /a HTTP/1.1", Err(BadTarget)),
        ("§3.2.4 asterisk form", "OPTIONS * HTTP/1.1", Ok((Method::Options, None))),
        ("§3.2.4 not for GET", "GET * HTTP/1.1", Err(BadTarget)),
        ("§2.3 another major version", "GET / HTTP/2.0", Err(UnknownVersion)),
        ("RFC 9113 §3.4 the preface of HTTP/2", "PRI * HTTP/2.0", Err(UnknownVersion)),
        ("§2.3 no version", "GET / HTTP/one", Err(BadSyntax)),
        ("§2.3 names are case-sensitive", "GET / http/1.1", Err(BadSyntax)),
        ("HTTP/0.9", "GET /", Err(BadSyntax)),
        ("§3 two spaces", "GET  / HTTP/1.1", Err(BadSyntax)),
        ("§3 a space within the target", "GET /a b HTTP/1.1", Err(BadSyntax)),
        ("§3 a space at the end", "GET / HTTP/1.1 ", Err(BadSyntax)),
        ("§3 a space within another version's target", "GET /a b HTTP/2.0", Err(BadSyntax)),
        ("§3.1 a method that is no token", "G(T / HTTP/1.1", Err(BadSyntax)),
        ("§3.2 a control in the target", "GET /\x01 HTTP/1.1", Err(BadSyntax)),
    ];
    for (rule, text, expected) in table {
        let expected = expected.map(|(method, target)| (method, target.map(str::to_string)));
        assert_eq!(line(text).map(|(method, target, ..)| (method, target)), expected, "{rule}");
    }
}

#[test]
fn field_lines_of_rfc_9112_section_5() {
    let table = [
        ("§5.1 white space before the colon", "A : b\r\n"),
        ("§5.1 no name", ": b\r\n"),
        ("§5.1 no colon", "A\r\n"),
        ("§5.1 a name that is no token", "A(: b\r\n"),
        ("§5.2 a folded line", "A: b\r\n c\r\n"),
        ("§2.2 white space before the first field", " A: b\r\n"),
        ("RFC 9110 §5.5 a NUL", "A: b\0c\r\n"),
        ("RFC 9110 §5.5 a CR", "A: b\rc\r\n"),
    ];
    for (rule, fields) in table {
        assert_eq!(with(fields), Err(HttpError::BadSyntax), "{rule}");
    }
    assert!(with("A:b\r\nB:  \t c \t\r\nC:\r\nD: \u{e4}\r\n").is_ok());
    let fields = |count: usize| "A: b\r\n".repeat(count);
    assert!(with(&fields(FIELDS_MAX - 1)).is_ok());
    assert_eq!(with(&fields(FIELDS_MAX)), Err(HttpError::TooManyFields));
}

#[test]
fn host_by_rfc_9112_section_3_2() {
    let parsed = |version: &str, fields: &str| {
        parse(format!("GET / HTTP/{version}\r\n{fields}\r\n").as_bytes()).map(|_| ())
    };
    let good = [
        "a",
        "a.example:80",
        "127.0.0.1",
        "[::1]",
        "[::1]:8080",
        "[v1.a:b]",
        "a:",
        "",
        "a%20b",
        "a_b,c",
    ];
    for host in good {
        assert_eq!(parsed("1.1", &format!("Host: {host}\r\n")), Ok(()), "{host}");
    }
    let bad = [
        "a b", "a/b", "u@a", "a:b", "a:80:81", "[::1", "::1", "[]", "[::1]80", "[a%b]", "\u{e4}",
        "http://a", "a\"b",
    ];
    for host in bad {
        assert_eq!(parsed("1.1", &format!("Host: {host}\r\n")), Err(HttpError::BadHost), "{host}");
    }
    assert_eq!(parsed("1.1", ""), Err(HttpError::BadHost));
    assert_eq!(parsed("1.1", "Host: a\r\nhost: a\r\n"), Err(HttpError::BadHost));
    assert_eq!(parsed("1.0", ""), Ok(()));
    assert_eq!(parsed("1.0", "Host: a\r\nHost: a\r\n"), Err(HttpError::BadHost));
}

#[test]
fn framing_by_rfc_9112_section_6() {
    use Framing::{Chunked, Length, None};
    use HttpError::{BadFraming, UnknownCoding};
    let table: &[(&str, &str, Result<Framing, HttpError>)] = &[
        ("§6.3 neither", "", Ok(None)),
        ("§6.2 a length", "Content-Length: 12\r\n", Ok(Length(12))),
        ("§6.2 zero", "Content-Length: 0\r\n", Ok(None)),
        (
            "RFC 9110 §8.6 past 64 bits",
            "Content-Length: 99999999999999999999\r\n",
            Ok(Length(u64::MAX)),
        ),
        ("RFC 9110 §8.6 no digits", "Content-Length: \r\n", Err(BadFraming)),
        ("RFC 9110 §8.6 a sign", "Content-Length: +1\r\n", Err(BadFraming)),
        ("RFC 9110 §8.6 negative", "Content-Length: -1\r\n", Err(BadFraming)),
        ("RFC 9110 §8.6 another base", "Content-Length: 0x1\r\n", Err(BadFraming)),
        ("§6.3 a list", "Content-Length: 5, 5\r\n", Err(BadFraming)),
        ("§6.3 two that differ", "Content-Length: 5\r\nContent-Length: 6\r\n", Err(BadFraming)),
        ("§6.3 two of the same", "Content-Length: 5\r\ncontent-length: 5\r\n", Err(BadFraming)),
        ("§7.1 chunked", "Transfer-Encoding: Chunked\r\n", Ok(Chunked)),
        (
            "§6.1 beside a length",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            Err(BadFraming),
        ),
        (
            "§6.1 behind a length",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            Err(BadFraming),
        ),
        ("§6.3 chunked not last", "Transfer-Encoding: chunked, gzip\r\n", Err(BadFraming)),
        ("§6.3 not chunked at all", "Transfer-Encoding: gzip\r\n", Err(BadFraming)),
        ("§6.3 nothing", "Transfer-Encoding:\r\n", Err(BadFraming)),
        ("§6.1 chunked twice", "Transfer-Encoding: chunked, chunked\r\n", Err(BadFraming)),
        (
            "§6.1 twice on two lines",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Err(BadFraming),
        ),
        ("§6.1 another coding before", "Transfer-Encoding: gzip, chunked\r\n", Err(UnknownCoding)),
        (
            "§6.1 on two lines",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            Err(UnknownCoding),
        ),
        ("no coding of that name", "Transfer-Encoding: xchunked\r\n", Err(BadFraming)),
    ];
    for (rule, fields, expected) in table {
        assert_eq!(with(fields).map(|(.., framing, _)| framing), *expected, "{rule}");
    }
    let old = parse(b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(old, Err(BadFraming), "§6.1 HTTP/1.0 has no transfer codings");
}

#[test]
fn persistence_by_rfc_9112_section_9_3() {
    use Persistence::{Close, Keep, KeepAndSay};
    let table = [
        ("1.1", "", Keep),
        ("1.1", "Connection: keep-alive\r\n", Keep),
        ("1.1", "Connection: close\r\n", Close),
        ("1.1", "Connection: Upgrade, CLOSE\r\n", Close),
        ("1.1", "Connection: upgrade\r\nConnection: close\r\n", Close),
        ("1.1", "Connection: closed\r\n", Keep),
        ("1.0", "", Close),
        ("1.0", "Connection: Keep-Alive\r\n", KeepAndSay),
        ("1.0", "Connection: keep-alive, close\r\n", Close),
    ];
    for (version, fields, expected) in table {
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(
            parse(head.as_bytes()).map(|(_, _, persistence, ..)| persistence),
            Ok(expected),
            "{head}"
        );
    }
}

#[test]
fn expectations_by_rfc_9110_section_10_1_1() {
    assert_eq!(with("Expect: 100-Continue\r\n").map(|outcome| outcome.4), Ok(true));
    assert_eq!(with("").map(|outcome| outcome.4), Ok(false));
    for list in ["100-continue,", ", 100-continue", "100-continue ,,\t100-Continue"] {
        assert_eq!(
            with(&format!("Expect: {list}\r\n")).map(|outcome| outcome.4),
            Ok(true),
            "{list}"
        );
    }
    for empty in ["", ",", " , "] {
        assert_eq!(with(&format!("Expect: {empty}\r\n")).map(|outcome| outcome.4), Ok(false));
    }
    for list in ["200-ok", "100-continue, 200-ok", "100-continue;a"] {
        assert_eq!(
            with(&format!("Expect: {list}\r\n")),
            Err(HttpError::UnknownExpectation),
            "{list}"
        );
    }
    let old = parse(b"GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(old.map(|outcome| outcome.4), Ok(false), "an HTTP/1.0 client cannot mean it");
}

proptest! {
    #[test]
    fn any_bytes_are_understood_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_field_is_understood_or_refused(
        name in "(?i)(host|content-length|transfer-encoding|connection|expect|if-match)",
        value in "[ -~]{0,20}",
    ) {
        let _ = with(&format!("{name}: {value}\r\n"));
    }
}
