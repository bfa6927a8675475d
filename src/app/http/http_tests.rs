use super::response::test_head;
use super::*;
use crate::app::testing::{Line, fuzz_http, http, http_answers};
use proptest::prelude::*;
use simoom_io::{Application, Reply};

const GET: &[u8] = b"GET /12 HTTP/1.1\r\nHost: a\r\n\r\n";

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn open() -> Line<Http> {
    Line::open(http(), 80)
}

/// What one request is answered with, and whether the connection closes.
fn ask(request: &str) -> (String, bool) {
    let (answer, closed) = http_answers(request.as_bytes(), &[], false);
    (text(answer), closed)
}

fn get(target: &str, fields: &str) -> String {
    ask(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).0
}

/// The code of each answer in turn. Contents hold no status line.
fn codes(answers: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answers);
    text.match_indices("HTTP/1.1 ")
        .filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok())
        .collect()
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap();
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .find(|(n, _)| *n == name)
        .map(|(_, value)| value)
}

#[test]
fn a_small_file_whole() {
    assert_eq!(
        get("/12", ""),
        test_head("200 OK")
            + "Content-Type: application/octet-stream\r\nETag: \"5f70708547577b0f-c\"\r\n\
               Last-Modified: Sat, 07 Mar 1992 20:26:40 GMT\r\nAccept-Ranges: bytes\r\n\
               Content-Length: 12\r\n\r\nHello, all!\n"
    );
}

#[test]
fn a_small_answer_is_one_entry_and_a_large_one_shares_its_file() {
    let mut pool = simoom_io::send::Pool::<Blob>::new(64, 64);
    for (target, entries) in [("/12", 1), ("/small", 1), ("/large", 2)] {
        let (mut queue, mut effects) = Default::default();
        let mut reply = Reply::new(&mut pool, &mut queue, &mut effects);
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        http().received(&mut Connection::default(), request.as_bytes(), &mut reply);
        assert_eq!(pool.free(), (64 - entries, 63), "{target}");
        queue.clear(&mut pool);
    }
}

#[test]
fn head_is_get_without_content_rfc_9110_section_9_3_2() {
    for target in ["/12", "/large", "/none", "/dir", "/"] {
        let got = get(target, "");
        let (head, closed) = ask(&format!("HEAD {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let end = got.find("\r\n\r\n").unwrap() + 4;
        assert_eq!(head, got[..end], "{target}");
        assert_eq!(field(&got, "Content-Length").unwrap().parse(), Ok(got.len() - end), "{target}");
        assert!(!closed);
    }
    let (refused, closed) = ask("HEAD /12 HTTP/1.1\r\n\r\n");
    assert!(closed && refused.starts_with("HTTP/1.1 400 ") && refused.ends_with("\r\n\r\n"));
}

#[test]
fn directories_redirect_to_their_slash() {
    let answer = get("/dir", "");
    assert!(answer.starts_with("HTTP/1.1 301 Moved Permanently\r\n"));
    assert_eq!(field(&answer, "Location"), Some("/dir/"));
    assert!(get("/dir/", "").ends_with("\r\n\r\n<p>dir"));
    assert_eq!(get("/dir/", ""), get("/x/../%64ir/index.html?y", ""));
}

#[test]
fn a_redirect_keeps_the_query() {
    let longest = format!("/dir?{}", "q".repeat(super::response::INSERTED_MAX_BYTES - 1));
    for (target, location) in [
        ("/dir?x=1", "/dir/?x=1"),
        ("/./%64ir?x=%20&y#?", "/dir/?x=%20&y#?"),
        ("http://a/dir?x=1", "/dir/?x=1"),
        ("/dir?", "/dir/"),
        (longest.as_str(), longest.replace('?', "/?").as_str()),
    ] {
        let answer = get(target, "");
        assert!(answer.starts_with("HTTP/1.1 301 "), "{answer}");
        assert_eq!(field(&answer, "Location"), Some(location), "{target}");
        let plain = get("/dir", "").replace("/dir/", location);
        assert_eq!(answer, plain, "nothing else differs");
        let end = answer.find("\r\n\r\n").unwrap() + 4;
        let (head, _) = ask(&format!("HEAD {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(head, answer[..end]);
        let old = format!("GET {target} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").repeat(3);
        let (answers, closed) = http_answers(old.as_bytes(), &[], true);
        assert_eq!((codes(&answers), closed), (vec![301; 3], false), "with the least room");
    }
}

#[test]
fn a_query_too_long_for_a_redirect_is_414() {
    // The question mark counts, too.
    let query = "q".repeat(super::response::INSERTED_MAX_BYTES);
    let request = format!("GET /dir?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
    let (answers, closed) = http_answers(&[request.as_bytes(), GET].concat(), &[], false);
    assert_eq!((codes(&answers), closed), (vec![414, 200], false));
    let file = format!("GET /12?{} HTTP/1.1\r\nHost: a\r\n\r\n", "q".repeat(4000));
    assert_eq!(codes(ask(&file).0.as_bytes()), [200]);
}

#[test]
fn a_redirect_of_a_request_with_content_keeps_its_query_and_the_connection() {
    let request = "GET /dir?x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let (answers, closed) = http_answers(&[request.as_bytes(), GET].concat(), &[], false);
    assert_eq!((codes(&answers), closed), (vec![301, 200], false));
    assert_eq!(field(&text(answers), "Location"), Some("/dir/?x"));
}

#[test]
fn options_are_the_same_everywhere_rfc_9110_section_9_3_7() {
    for target in ["*", "/", "/12", "/none"] {
        let (answer, closed) = ask(&format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(answer, test_head("204 No Content") + "Allow: GET, HEAD, OPTIONS\r\n\r\n");
        assert!(!closed);
    }
    let (answer, closed) = ask("OPTIONS / HTTP/1.0\r\n\r\n");
    assert_eq!((codes(answer.as_bytes()), closed), (vec![204], true), "HAProxy's health check");
    let mut line = open();
    line.offer(b"OPTIONS / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    line.offer(GET);
    assert_eq!(codes(&line.take()), [204, 200]);
    assert_eq!(line.app.counters().http_responses_2xx, 2);
}

#[test]
fn later_minor_versions_are_http_1_1_rfc_9110_section_2_5() {
    for minor in 2..=9 {
        let request = text(GET.to_vec()).replace("/1.1", &format!("/1.{minor}"));
        let mut line = open();
        line.offer(request.repeat(2).as_bytes());
        let answers = line.take();
        assert_eq!((codes(&answers), line.closed()), (vec![200, 200], false), "HTTP/1.{minor}");
        assert_eq!(line.app.counters().http_requests, 2);
        assert_eq!(answers, get("/12", "").repeat(2).as_bytes());
    }
    for (request, code) in [
        ("GET /12 HTTP/1.2\r\n\r\n", 400),
        ("GET /a b HTTP/1.2\r\nHost: a\r\n\r\n", 400),
        ("GET /12 HTTP/1.2\r\nHost: a\r\nA : b\r\n\r\n", 400),
        ("GET /12 HTTP/1.10\r\nHost: a\r\n\r\n", 400),
        ("GET /12 HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        ("GET /12 HTTP/2.1\r\nHost: a\r\n\r\n", 505),
        ("GET /12 HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    ] {
        let (answer, closed) = ask(request);
        assert_eq!((codes(answer.as_bytes()), closed), (vec![code], true), "{request}");
    }
}

#[test]
fn dates_are_compared_with_the_clock() {
    // The clock of these tests says 1994, when 43 is ahead and 45 is not.
    for (year, code) in [(43, 304), (45, 200)] {
        let field = format!("If-Modified-Since: Sunday, 15-Dec-{year} 12:30:45 GMT\r\n");
        assert_eq!(codes(get("/12", &field).as_bytes()), [code], "{year}");
    }
    let old = "If-Unmodified-Since: Mon, 01 Jan 1900 00:00:00 GMT\r\n";
    assert_eq!(codes(get("/12", old).as_bytes()), [412]);
}

#[test]
fn statuses_and_whether_the_connection_persists() {
    let body = "Content-Length: 3\r\n\r\nabc";
    let table: &[(&str, String, u16, bool)] = &[
        ("RFC 9110 §15.5.5", "GET /none HTTP/1.1\r\nHost: a\r\n\r\n".into(), 404, false),
        ("RFC 9110 §15.5.6", "PUT /12 HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405, false),
        (
            "content of a method not allowed",
            format!("POST /12 HTTP/1.1\r\nHost: a\r\n{body}"),
            405,
            false,
        ),
        ("RFC 9110 §9.3.7", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".into(), 204, false),
        ("RFC 9110 §9.3.6 CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405, true),
        ("RFC 9110 §15.6.2", "BREW /12 HTTP/1.1\r\nHost: a\r\n\r\n".into(), 501, false),
        (
            "content of an unknown method",
            format!("BREW /12 HTTP/1.1\r\nHost: a\r\n{body}"),
            501,
            false,
        ),
        ("RFC 9112 §3.2 no Host", "GET /12 HTTP/1.1\r\n\r\n".into(), 400, true),
        ("RFC 9112 §9.3 HTTP/1.0", "GET /12 HTTP/1.0\r\n\r\n".into(), 200, true),
        (
            "RFC 9112 §9.6",
            "GET /12 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(),
            200,
            true,
        ),
        ("above the root", "GET /../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400, true),
        ("an escape that is none", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400, true),
        (
            "an escaped slash",
            "GET /dir%2findex.html HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            404,
            false,
        ),
        (
            "content past the bound",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4097\r\n\r\n".into(),
            413,
            true,
        ),
        (
            "a chunk past the bound",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n".into(),
            413,
            true,
        ),
        (
            "broken chunks",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n".into(),
            400,
            true,
        ),
        ("RFC 9110 §15.5.15", format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000)), 414, true),
        ("RFC 9110 §15.5.18", "GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n".into(), 417, true),
        ("RFC 6585 §5 length", format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(65536)), 431, true),
        (
            "RFC 6585 §5 count",
            format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(101)),
            431,
            true,
        ),
        (
            "RFC 9112 §6.1 unknown coding",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".into(),
            501,
            true,
        ),
        ("RFC 9110 §15.6.6", "GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), 505, true),
    ];
    for (rule, request, code, closes) in table {
        let (answer, closed) =
            http_answers(format!("{request}{}", text(GET.to_vec())).as_bytes(), &[], false);
        let expected = if *closes { vec![*code] } else { vec![*code, 200] };
        assert_eq!((codes(&answer), closed), (expected, *closes), "{rule}");
        let says_close = field(&text(answer), "Connection") == Some("close");
        assert_eq!(says_close, *closes, "{rule}");
    }
}

#[test]
fn answers_to_methods_not_allowed_tell_which_are() {
    let (answer, _) = ask("POST /12 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(field(&answer, "Allow"), Some("GET, HEAD, OPTIONS"));
}

#[test]
fn http_1_0_persists_only_when_asked() {
    let (answer, closed) = ask("GET /12 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((field(&answer, "Connection"), closed), (Some("keep-alive"), false));
    let (answer, closed) = ask("GET /12 HTTP/1.0\r\n\r\n");
    assert_eq!((field(&answer, "Connection"), closed), (Some("close"), true));
}

#[test]
fn conditional_requests_are_answered_304_and_412() {
    let full = get("/12", "");
    let etag = field(&full, "ETag").unwrap();
    let answer = get("/12", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!(answer, test_head("304 Not Modified") + &format!("ETag: {etag}\r\n\r\n"));
    assert!(get("/12", &format!("If-Match: W/{etag}\r\n")).starts_with("HTTP/1.1 412 "));
    assert!(
        get("/12", "If-Modified-Since: Sat, 07 Mar 1992 20:26:40 GMT\r\n")
            .starts_with("HTTP/1.1 304 ")
    );
    assert!(get("/none", "If-Match: \"x\"\r\n").starts_with("HTTP/1.1 404 "), "RFC 9110 §13.2.1");
    assert!(get("/dir", "If-None-Match: *\r\n").starts_with("HTTP/1.1 301 "), "RFC 9110 §13.2.1");
}

#[test]
fn a_range_is_sent_with_the_fields_of_the_file() {
    let full = get("/12", "");
    let (fields, _) = full.split_once("Content-Length").unwrap();
    let fields = fields.replace("200 OK", "206 Partial Content");
    assert_eq!(
        get("/12", "Range: bytes=7-9\r\n"),
        format!("{fields}Content-Range: bytes 7-9/12\r\nContent-Length: 3\r\n\r\nall")
    );
    let answer = get("/12", "Range: bytes=12-\r\n");
    assert!(answer.starts_with("HTTP/1.1 416 Range Not Satisfiable\r\n"), "{answer}");
    assert_eq!(field(&answer, "Content-Range"), Some("bytes */12"));
}

/// A multipart response in parts: for each, its Content-Range and its bytes.
fn parts(answer: &str) -> Vec<(&str, &str)> {
    let boundary = field(answer, "Content-Type")
        .and_then(|value| value.strip_prefix("multipart/byteranges; boundary="))
        .expect("a multipart response");
    let (_, content) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(field(answer, "Content-Length").unwrap().parse(), Ok(content.len()));
    let content = content.strip_suffix(&format!("\r\n--{boundary}--\r\n")).expect("its end");
    let delimiter = format!("\r\n--{boundary}\r\n");
    let (before, parts) = content.split_once(&delimiter).unwrap();
    assert_eq!(before, "");
    parts
        .split(&delimiter)
        .map(|part| {
            let (head, bytes) = part.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("Content-Type: application/octet-stream\r\n"), "{head}");
            let (_, range) = head.split_once("Content-Range: bytes ").unwrap();
            (range, bytes)
        })
        .collect()
}

#[test]
fn several_ranges_are_parts_of_one_response_rfc_9110_section_14_6() {
    let answer = get("/large", "Range: bytes=0-1,1000-1002,-1\r\n");
    assert!(answer.starts_with("HTTP/1.1 206 "), "{answer}");
    assert_eq!(
        parts(&answer),
        [("0-1/20000", "ll"), ("1000-1002/20000", "lll"), ("19999-19999/20000", "l")]
    );
    assert_eq!(field(&answer, "Content-Range"), None, "§15.3.7.2");
    assert_eq!(field(&answer, "ETag"), field(&get("/large", ""), "ETag"));
    let many: Vec<_> = (0..60).map(|at| format!("{}-{}", at * 300, at * 300 + 99)).collect();
    let answer = get("/large", &format!("Range: bytes={}\r\n", many.join(",")));
    let expected: Vec<_> = many.iter().map(|range| format!("{range}/20000")).collect();
    assert_eq!(parts(&answer).iter().map(|(range, _)| *range).collect::<Vec<_>>(), expected);
}

#[test]
fn a_response_of_many_parts_waits_for_capacity_and_is_in_order() {
    let ranges: Vec<_> = (0..50).map(|at| format!("{}-{}", at * 400, at * 400 + 9)).collect();
    let ranges = format!("Range: bytes={}\r\n", ranges.join(","));
    for version in ["1.1", "1.7"] {
        let request = format!("GET /large HTTP/{version}\r\nHost: a\r\n{ranges}\r\n");
        let input = [GET, request.as_bytes(), GET, request.as_bytes(), GET].concat();
        let wide = http_answers(&input, &[], false);
        assert_eq!((codes(&wide.0), wide.1), (vec![200, 206, 200, 206, 200], false));
        for sizes in [&[][..], &[1], &[100, 7]] {
            assert_eq!(http_answers(&input, sizes, true), wide, "{sizes:?}");
        }
    }
    let mut line = open();
    line.offer(format!("GET /large HTTP/1.1\r\nHost: a\r\n{ranges}\r\n").as_bytes());
    assert_eq!(codes(&line.take()), [206]);
    let counters = line.app.counters();
    assert_eq!((counters.http_requests, counters.http_partial), (1, 1), "counted once");
}

#[test]
fn the_idle_timeout_cuts_no_parts() {
    let ranges: Vec<_> = (0..60).map(|at| format!("{}-{}", at * 300, at * 300 + 199)).collect();
    let ranges = ranges.join(",");
    let request = format!("GET /large HTTP/1.1\r\nHost: a\r\nRange: bytes={ranges}\r\n\r\n");
    let mut line = Line::open_with(http(), 80, simoom_io::send::Pool::new(8, 8));
    line.offer(request.as_bytes());
    let mut answer = Vec::new();
    for _ in 0..100 {
        line.expire();
        assert!(!line.closed() && !line.aborted());
        let (part, resumed) = line.take_once(|_| {});
        answer.extend(part);
        if !resumed {
            break;
        }
        assert_eq!(line.deadline(), Some(Timeouts::default().idle));
    }
    assert_eq!(parts(&text(answer)).len(), 60);
}

#[test]
fn parts_of_two_versions_of_a_file_are_never_mixed() {
    let ranges: Vec<_> = (0..60).map(|at| format!("{}-{}", at * 300, at * 300 + 199)).collect();
    let ranges = ranges.join(",");
    let request = format!("GET /large HTTP/1.1\r\nHost: a\r\nRange: bytes={ranges}\r\n\r\n");
    // The built-in page has no such file.
    for content in [Content::for_tests(), Content::built_in()] {
        let is_same = content.files() == Content::for_tests().files();
        let mut line = Line::open_with(http(), 80, simoom_io::send::Pool::new(8, 8));
        line.offer(request.as_bytes());
        let content = Arc::new(content);
        let (_, resumed) = line.take_once(|app| app.content = content);
        assert!(resumed);
        assert_eq!(line.aborted(), !is_same);
    }
}

#[test]
fn ranges_and_conditions_together_rfc_9110_section_13_2_2() {
    let full = get("/12", "");
    let etag = field(&full, "ETag").unwrap();
    let (modified, earlier) = ("Sat, 07 Mar 1992 20:26:40 GMT", "Sat, 07 Mar 1992 20:26:39 GMT");
    let table = [
        ("§13.1.5 the tag", format!("If-Range: {etag}"), 206),
        ("§13.1.5 another tag", "If-Range: \"x\"".into(), 200),
        ("§13.1.5 a weak tag", format!("If-Range: W/{etag}"), 200),
        ("§13.1.5 no list of tags", format!("If-Range: \"x\", {etag}"), 200),
        ("§13.1.5 no asterisk", "If-Range: *".into(), 200),
        ("§13.1.5 the date", format!("If-Range: {modified}"), 206),
        ("§13.1.5 an earlier date", format!("If-Range: {earlier}"), 200),
        ("§13.1.5 a later date", "If-Range: Sun, 06 Nov 1994 08:49:37 GMT".into(), 200),
        ("§13.1.5 the date in another format", "If-Range: Sat Mar  7 20:26:40 1992".into(), 206),
        ("§13.1.5 not a date", "If-Range: yesterday".into(), 200),
        ("§13.1.5 two values", format!("If-Range: {etag}\r\nIf-Range: {etag}"), 200),
        ("§13.2.2 step 1", "If-Match: \"x\"".into(), 412),
        ("§13.2.2 step 1, then the range", format!("If-Match: {etag}"), 206),
        ("§13.2.2 step 2", format!("If-Unmodified-Since: {earlier}"), 412),
        ("§13.2.2 step 3", format!("If-None-Match: {etag}\r\nIf-Range: {etag}"), 304),
        ("§13.2.2 step 4", format!("If-Modified-Since: {modified}\r\nIf-Range: {etag}"), 304),
        ("§13.2.2 step 5", "If-None-Match: \"x\"\r\nIf-Range: \"y\"".to_owned(), 200),
        ("§14.2 two Range fields", "Range: bytes=0-1".into(), 200),
        ("§14.2 content of a request", "Content-Length: 3\r\n\r\nabc".into(), 200),
    ];
    for (rule, fields, code) in table {
        let end = if fields.contains("\r\n\r\n") { "" } else { "\r\n\r\n" };
        let head = format!("GET /12 HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n{fields}{end}");
        assert_eq!(codes(ask(&head).0.as_bytes()), [code], "{rule}");
    }
    let (head, _) = ask("HEAD /12 HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n");
    assert_eq!(codes(head.as_bytes()), [200], "§14.2: Range is defined for GET alone");
    // §8.8.2.2: within the second of its modification, a date does not identify a version.
    let mut line = open();
    line.app.clock(700_000_000);
    let weak =
        format!("GET /12 HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\nIf-Range: {modified}\r\n\r\n");
    line.offer(weak.as_bytes());
    assert_eq!(codes(&line.take()), [200]);
}

#[test]
fn content_of_a_request_is_read_past() {
    let chunked = "GET /12 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nGET\r\n0\r\nT: x\r\n\r\n";
    let length = "GET /12 HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\nGET /x HTTP/1.1\r\n\r";
    let input = format!("{chunked}{length}{chunked}");
    let (answers, closed) = http_answers(input.as_bytes(), &[1], false);
    assert_eq!((codes(&answers), closed), (vec![200; 3], false));
}

#[test]
fn a_client_that_waits_for_100_is_told() {
    let mut line = open();
    line.offer(b"GET /12 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(line.take(), b"HTTP/1.1 100 Continue\r\n\r\n");
    line.offer(b"abc");
    assert_eq!(codes(&line.take()), [200]);
    let no_content = get("/12", "Expect: 100-continue\r\n");
    assert!(no_content.starts_with("HTTP/1.1 200 "), "RFC 9110 §10.1.1: nothing to wait for");
    let (answer, closed) =
        ask("PUT /12 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(
        (codes(answer.as_bytes()), closed),
        (vec![405], true),
        "the final answer instead, and the end"
    );
}

#[test]
fn empty_lines_before_a_request_are_ignored_rfc_9112_section_2_2() {
    let input = [b"\r\n\r\n".as_slice(), GET, b"\r\n", GET].concat();
    for sizes in [&[][..], &[1], &[3]] {
        assert_eq!(codes(&http_answers(&input, sizes, false).0), [200, 200]);
    }
}

#[test]
fn a_pipeline_is_answered_in_order_as_room_allows() {
    let input = ["/12", "/none", "/large", "/dir", "/12"]
        .map(|target| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .concat();
    let wide = http_answers(input.as_bytes(), &[], false);
    assert_eq!(codes(&wide.0), [200, 404, 200, 301, 200]);
    assert_eq!(http_answers(input.as_bytes(), &[], true), wide);
}

#[test]
fn a_pipeline_beyond_the_room_waits_unread() {
    let mut line = open();
    line.offer(&GET.repeat(10_000));
    assert!(line.buffered() > GET.len() * 9_000, "{} kept", line.buffered());
    assert_eq!(codes(&line.take()).len(), 10_000);
    assert_eq!(line.buffered(), 0);
}

#[test]
fn nothing_behind_the_last_request_is_answered() {
    let close = b"GET /12 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut line = open();
    line.offer(&[close.as_slice(), GET].concat());
    assert_eq!(codes(&line.take()), [200]);
    assert!(line.closed());
    assert_eq!(line.buffered(), 0);
}

#[test]
fn deadlines_follow_what_is_waited_for() {
    let Timeouts { head, body, idle } = Timeouts::default();
    let mut line = open();
    assert_eq!(line.deadline(), Some(idle));
    line.offer(b"GET /12 HT");
    assert_eq!(line.deadline(), Some(head));
    line.offer(b"TP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(line.deadline(), Some(idle));
    line.offer(b"GET /12 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
    assert_eq!(line.deadline(), Some(body));
    line.offer(b"bcG");
    assert_eq!(line.deadline(), Some(head));
    assert_eq!(codes(&line.take()), [200, 200]);
}

#[test]
fn a_head_that_drips_does_not_move_its_deadline() {
    let mut line = open();
    line.offer(b"G");
    assert_eq!(line.settings(), 2, "when it was opened, and for the head");
    for byte in b"ET /12 HTTP/1.1\r\nHo" {
        line.offer(&[*byte]);
    }
    assert_eq!(line.settings(), 2);
    assert_eq!(line.expire(), Some(Timeouts::default().head));
    let answer = text(line.take());
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    assert_eq!(field(&answer, "Connection"), Some("close"));
    assert!(line.closed());
    assert_eq!(line.app.counters().http_head_timeouts, 1);
}

#[test]
fn content_that_does_not_come_is_408() {
    let mut line = open();
    line.offer(b"GET /12 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
    line.expire();
    assert_eq!((codes(&line.take()), line.closed()), (vec![408], true));
    assert_eq!(line.app.counters().http_body_timeouts, 1);
}

#[test]
fn an_idle_connection_is_closed_in_silence() {
    for start in [b"".as_slice(), GET, b"\r\n\r"] {
        let mut line = open();
        line.offer(start);
        line.take();
        assert_eq!(line.expire(), Some(Timeouts::default().idle));
        assert_eq!((line.take(), line.closed()), (vec![], true));
        assert_eq!(line.app.counters().http_idle_timeouts, 1);
    }
}

/// The send timeout of the transport resets a client that takes nothing, however short the idle
/// timeout is.
#[test]
fn the_idle_timeout_cuts_no_answer() {
    let mut line = open();
    line.offer(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    for taken in [1000, 0, 0, 10, 0] {
        line.acknowledge(taken);
        line.expire();
        assert!(!line.closed() && !line.aborted());
        assert_eq!(line.deadline(), Some(Timeouts::default().idle));
    }
    assert!(line.take().len() > 10_000);
}

#[test]
fn a_client_that_took_a_long_answer_has_the_whole_idle_time_afterwards() {
    let mut line = open();
    line.offer(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    line.take();
    line.expire();
    assert!(!line.closed(), "the end of the answer was taken at some time within the period");
    line.expire();
    assert!(line.closed());
    assert_eq!(line.app.counters().http_idle_timeouts, 1);
}

#[test]
fn behind_the_last_answer_only_the_send_timeout_of_the_transport_counts() {
    let mut line = open();
    line.offer(b"GET /large HTTP/1.0\r\n\r\n");
    assert!(line.closed() && line.deadline().is_none());
}

/// A line to a handler with these options.
fn limited(change: impl FnOnce(&mut Options)) -> Line<Http> {
    let mut http = http();
    let mut options = http.options;
    change(&mut options);
    http.set_options(options);
    Line::open(http, 80)
}

#[test]
fn the_limit_of_requests_closes_with_its_last_answer() {
    for input in [
        GET.repeat(5),
        [GET, b"GET /12 HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n", GET, GET].concat(),
    ] {
        let mut line = limited(|options| options.requests_max = 3);
        line.offer(&input);
        let answers = text(line.take());
        assert_eq!(codes(answers.as_bytes()).len(), 3);
        assert_eq!(answers.matches("Connection: close").count(), 1);
        assert!(line.closed());
        assert_eq!(line.app.counters().http_request_limits, 1);
    }
    let mut line = limited(|options| options.requests_max = 1);
    line.offer(b"GET /dir?x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((codes(&line.take()), line.closed()), (vec![301], true));
}

#[test]
fn a_pipeline_beyond_its_limit_yields_and_goes_on() {
    let mut line = limited(|options| options.pipeline_max = 3);
    line.offer(&GET.repeat(8));
    let (first, _) = line.take_once(|_| {});
    assert_eq!(codes(&first).len(), 3);
    assert_eq!(codes(&line.take()).len(), 5);
    assert_eq!(line.app.counters().http_pipeline_limits, 2);
    let mut line = limited(|options| options.pipeline_max = 3);
    line.offer(&GET.repeat(3));
    assert!(!line.has_yielded(), "nothing is left to answer");
}

#[test]
fn the_limits_of_heads_and_content_hold_to_the_byte() {
    let head = |len: usize| {
        let fill = "a".repeat(len - "GET /12 HTTP/1.1\r\nHost: a\r\nA: \r\n\r\n".len());
        format!("GET /12 HTTP/1.1\r\nHost: a\r\nA: {fill}\r\n\r\n")
    };
    let line = |len: usize| {
        let fill = "a".repeat(len - "GET /12? HTTP/1.1".len());
        format!("GET /12?{fill} HTTP/1.1\r\nHost: a\r\n\r\n")
    };
    let content = |len: usize| {
        format!("GET /12 HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n{}", "a".repeat(len))
    };
    for (request, code) in [
        (head(1000), 200),
        (head(1001), 431),
        (line(300), 200),
        (line(301), 414),
        (content(50), 200),
        (content(51), 413),
    ] {
        for size in [1, request.len()] {
            let mut limits = limited(|options| {
                options.head = HeadLimits { line_max_bytes: 300, head_max_bytes: 1000 };
                options.body_max_bytes = 50;
            });
            let mut answers = Vec::new();
            for chunk in request.as_bytes().chunks(size) {
                if !limits.closed() {
                    limits.offer(chunk);
                    answers.extend(limits.take());
                }
            }
            assert_eq!((codes(&answers), limits.closed()), (vec![code], code != 200));
            let counters = limits.app.counters();
            let counted = [
                counters.http_responses_2xx,
                counters.http_head_too_large,
                counters.http_line_too_long,
                counters.http_body_too_large,
            ];
            let index = [200, 431, 414, 413].iter().position(|known| *known == code).unwrap();
            assert_eq!((counted[index], counted.iter().sum::<u64>()), (1, 1), "{code}");
        }
    }
}

#[test]
fn draining_ends_each_connection_with_its_next_answer() {
    let mut line = open();
    line.offer(GET);
    assert_eq!(field(&text(line.take()), "Connection"), None);
    line.app.drain();
    line.offer(&[GET, GET].concat());
    let answer = line.take();
    assert_eq!(codes(&answer), [200]);
    assert_eq!(field(&text(answer), "Connection"), Some("close"));
    assert!(line.closed());
}

#[test]
fn the_date_is_that_of_the_clock() {
    let mut line = open();
    line.app.clock(784_111_778);
    line.offer(GET);
    assert_eq!(field(&text(line.take()), "Date"), Some("Sun, 06 Nov 1994 08:49:38 GMT"));
}

#[test]
fn a_transport_that_keeps_less_than_a_head_gets_414_or_431() {
    for (input, code) in [(&b"GET /aaaa"[..], 414), (b"GET / HTTP/1.1\r\nA: b", 431)] {
        let (mut queue, mut effects) = Default::default();
        let mut pool = simoom_io::send::Pool::new(8, 8);
        let mut handler = http();
        let mut conn = Connection::default();
        let mut reply = Reply::new(&mut pool, &mut queue, &mut effects);
        assert_eq!(handler.received(&mut conn, input, &mut reply), 0);
        handler.overfull(&mut conn, input, &mut reply);
        let answer: Vec<u8> = queue.slices(&pool).flatten().copied().collect();
        assert_eq!((codes(&answer), effects.asked.is_closing()), (vec![code], true));
    }
}

#[test]
fn what_happens_is_counted() {
    let mut line = open();
    let body = b"POST /12 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let unknown = b"BREW /12 HTTP/1.1\r\nHost: a\r\n\r\n";
    let missing = b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n";
    let cached = b"GET /12 HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n";
    let broken = b"GET /12 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
    let input = [GET, body, unknown, missing, cached, broken].concat();
    line.offer(&input);
    let expected = Counters {
        http_connections: 1,
        http_requests: 6,
        http_head_bytes: input.len() as u64 - 3,
        http_request_content_bytes: 3,
        http_responses_2xx: 1,
        http_responses_3xx: 1,
        http_responses_4xx: 3,
        http_responses_5xx: 1,
        http_not_modified: 1,
        http_not_found: 1,
        http_method_not_allowed: 1,
        http_unknown_method: 1,
        http_bad_host: 1,
        ..Counters::default()
    };
    assert_eq!(line.app.counters(), &expected);
}

/// Requests of every kind, some broken, and noise.
fn chunk() -> impl Strategy<Value = Vec<u8>> {
    let fields = prop_oneof![
        Just(""),
        Just("Content-Length: 7\r\n\r\nGET / H"),
        Just("Content-Length: 5000\r\n"),
        Just("Transfer-Encoding: chunked\r\n\r\n4;x\r\nabcd\r\n0\r\nT: t\r\n"),
        Just("Transfer-Encoding: chunked\r\n\r\n4\r\nabcdef\r\n"),
        Just("Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab"),
        Just("Connection: close\r\n"),
        Just("If-None-Match: *\r\n"),
        Just("Range: bytes=3-9\r\n"),
        Just("Range: bytes=0-9,200-299,-1,400-450,600-\r\n"),
        Just("Range: bytes=90000-\r\nIf-Range: \"x\"\r\n"),
        Just("A: b\n"),
        Just(" folded\r\n"),
        Just("Host: b\r\n"),
    ];
    let target = prop_oneof![
        4 => Just("/12"), 1 => Just("/large"), 1 => Just("/dir"), 1 => Just("/%2e%2e/"), 1 => Just("*"),
        1 => Just("http://a/small"), 1 => Just("/none"), 1 => Just("/dir?query"),
    ];
    let method = prop_oneof![
        5 => Just("GET"), 1 => Just("HEAD"), 1 => Just("POST"), 1 => Just("BREW"),
        1 => Just("OPTIONS"),
    ];
    let version =
        prop_oneof![8 => Just("1.1"), 1 => Just("1.0"), 1 => Just("1.5"), 1 => Just("2.0")];
    let request =
        (method, target, version, fields).prop_map(|(method, target, version, fields)| {
            let end = if fields.contains("\r\n\r\n") && !fields.ends_with("T: t\r\n") {
                ""
            } else {
                "\r\n"
            };
            format!("{method} {target} HTTP/{version}\r\nHost: a\r\n{fields}{end}").into_bytes()
        });
    let filler = (0usize..20_000)
        .prop_map(|n| [b"GET / HTTP/1.1\r\nA: ".as_slice(), &vec![b'x'; n]].concat());
    let noise = proptest::collection::vec(any::<u8>(), 0..30);
    prop_oneof![12 => request, 1 => Just(b"\r\n".to_vec()), 1 => filler, 1 => noise]
}

proptest! {
    #[test]
    fn any_split_gets_the_same_answers(
        chunks in proptest::collection::vec(chunk(), 1..8),
        sizes in proptest::collection::vec(1usize..200, 1..6),
        narrow in any::<bool>(),
    ) {
        let input = chunks.concat();
        prop_assert_eq!(http_answers(&input, &sizes, narrow), http_answers(&input, &[], false));
    }

    #[test]
    fn any_bytes_are_answered_or_waited_for(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz_http(&bytes);
    }

    #[test]
    fn buffered_input_stays_within_the_bound(
        chunks in proptest::collection::vec(chunk(), 1..5),
        size in 1usize..3000,
    ) {
        prop_assert!(open().max_buffered(&chunks.concat(), size) < INPUT_MAX_BYTES);
    }
}

/// HAProxy's proxy-protocol.txt §2: the receiver aborts a connection without a whole header.
#[test]
fn half_a_header_of_the_proxy_protocol_is_reset_without_an_answer() {
    let proxies: Arc<[Network]> = vec![Network::parse("127.0.0.0/8").unwrap()].into();
    for half in ["P", "PROXY TCP4 192.0.2.8 ", "\r\n\r\n\0\r\nQUIT\n\x21"] {
        let mut line = Line::open(http().with_proxies(proxies.clone()), 80);
        line.offer(half.as_bytes());
        assert!(!line.aborted(), "{half:?}");
        line.expire();
        assert_eq!((line.aborted(), text(line.take())), (true, String::new()), "{half:?}");
        assert_eq!(line.app.counters().http_bad_proxy_header, 1);
        assert_eq!(line.app.counters().http_head_timeouts, 0);
    }
    let mut line = Line::open(http().with_proxies(proxies), 80);
    line.expire();
    assert!(line.is_over() && !line.aborted(), "a connection that is only opened");
}
