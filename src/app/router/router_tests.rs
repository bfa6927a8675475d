use super::*;
use crate::app::contained::Contained;
use crate::app::http::response::test_head;
use crate::app::testing::{self, Line, fuzz_router};
use proptest::prelude::*;
use simoom_io::send::Pool;
use std::cell::Cell;

/// What the routes of these tests count.
#[derive(Default)]
struct State {
    calls: Cell<u64>,
}

/// Answers with the bytes of a body as they came.
struct Echo(Vec<u8>);

impl Upload<State> for Echo {
    fn write(&mut self, chunk: &[u8], _: &State) -> Result<(), Response> {
        if chunk.contains(&b'!') {
            return Err(Response::error(422));
        }
        self.0.extend_from_slice(chunk);
        Ok(())
    }

    fn finish(self: Box<Self>, _: Seconds, _: &State) -> Response {
        Response::new(201).bytes("application/octet-stream", self.0)
    }
}

fn routes() -> Routes<State> {
    let call = |request: &Request<'_>, state: &State| {
        state.calls.set(state.calls.get() + 1);
        let name = request.param("name").unwrap_or("not UTF-8");
        format!("{} {name} {}\n", request.method(), request.body().len())
    };
    Routes::new()
        .get("/", |_, _| "root\n")
        .get("/users/me", |_, _| "me\n")
        .get("/users/{name}", call)
        .delete("/users/{name}", call)
        .put("/users/{name}", call)
        .post("/users", |request: &Request<'_>, _: &State| {
            let names: Vec<String> = request.json()?;
            Ok::<_, Response>(Response::new(201).header("Location", "/users/1").json(&names.len()))
        })
        .get("/tree/{*path}", |request: &Request<'_>, _: &State| {
            request.param("path").map(|path| format!("{path}\n"))
        })
        .get("/sum", |request: &Request<'_>, _: &State| {
            let [a, b] = ["a", "b"].map(|name| request.parse_query::<i64>(name));
            Ok::<_, Response>(Json(a?.unwrap_or(0) + b?.unwrap_or(0)))
        })
        .get("/count/{n}", |request: &Request<'_>, _: &State| {
            let n: u32 = request.parse_param("n")?;
            let chunks = (0..n).map(|n| if n % 3 == 2 { String::new() } else { format!("{n}\n") });
            Ok::<_, Response>(Response::ok().pieces("text/plain", chunks))
        })
        .get("/large", |_, _| {
            Response::ok().pieces("text/plain", (0..40).map(|_| vec![b'x'; 3000]))
        })
        .get("/empty", |_, _| Response::ok().pieces("text/plain", (0..2000).map(|_| "")))
        .get("/wide", |_, _| Response::ok().header("X-Wide", "w".repeat(3000)).text("wide\n"))
        .get("/static", |_, _| Response::ok().bytes("text/plain", &[b's'; 5000][..]))
        .get("/owned", |_, _| Response::ok().bytes("text/plain", vec![b'o'; 5000]))
        .get("/panic", |_, _| -> Response { panic!("injected") })
        .post("/panic", |_, _| -> Response { panic!("injected") })
        .stream("PUT", "/panic", |_, _| -> Result<Echo, Response> { panic!("injected") })
        .get("/half", |_, _| {
            let chunk = |n| if n < 2 { "half\n" } else { panic!("injected") };
            Response::ok().pieces("text/plain", (0..4).map(chunk))
        })
        .get("/tag", |request: &Request<'_>, _: &State| {
            match request.precondition("\"v1\"", None) {
                Precondition::NotModified => Response::new(304).header("ETag", "\"v1\""),
                Precondition::Failed => Response::error(412),
                Precondition::Perform => Response::ok().header("ETag", "\"v1\"").text("tagged\n"),
            }
        })
        .get("/inject", |_, _| Response::new(302).header("Location", "/\r\nSet-Cookie: a"))
        .get("/peer", |request: &Request<'_>, _: &State| {
            Json(request.peer().map(|peer| peer.ip().to_string()))
        })
        .stream("POST", "/echo", |_, _| Ok(Echo(Vec::new())))
        .stream("POST", "/refused", |_, _| Err::<Echo, _>(Response::error(403)))
        .on("BREW", "/pot", |_, _| Response::new(299))
}

fn router() -> Router<State> {
    let options = Options { body_max_bytes: 4096, stream_max_bytes: 8192, ..Options::default() };
    let mut router = Router::new(Arc::new(routes()), State::default()).with_options(options);
    router.clock(Seconds::of(784_111_777));
    router
}

/// What `input` is answered with when it is offered in pieces of these sizes, over and over, and
/// whether the connection closes.
fn answers(router: Router<State>, input: &[u8], sizes: &[usize], narrow: bool) -> (String, bool) {
    let (answers, closed) = testing::answers(Contained::new(router), 80, input, sizes, narrow);
    (String::from_utf8_lossy(&answers).into_owned(), closed)
}

fn ask(request: &str) -> (String, bool) {
    answers(router(), request.as_bytes(), &[], false)
}

fn get(target: &str) -> String {
    ask(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).0
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a whole head").1
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n")?;
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(known, _)| *known == name).map(|(_, value)| value)
}

fn code(answer: &str) -> u16 {
    answer[9..12].parse().expect("a status line")
}

/// The data of a chunked body.
fn unchunked(mut body: &str) -> String {
    let mut data = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").expect("the size of a chunk");
        let size = usize::from_str_radix(size, 16).expect("hexadecimal digits");
        data.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").expect("the end of a chunk");
        if size == 0 {
            assert_eq!(body, "", "nothing follows the last chunk");
            return data;
        }
    }
}

const TAIL: &str = "HTTP/1.1\r\nHost: a\r\n";

/// A request, its code, whether the connection closes.
fn table() -> Vec<(&'static str, String, u16, bool)> {
    let with = |line: &str, rest: &str| format!("{line} {TAIL}{rest}");
    vec![
        ("a literal before a parameter", with("GET /users/me", "\r\n"), 200, false),
        ("a parameter", with("GET /users/7", "\r\n"), 200, false),
        ("RFC 9110 §9.3.2", with("HEAD /users/7", "\r\n"), 200, false),
        ("RFC 9110 §15.5.5", with("GET /none", "\r\n"), 404, false),
        ("an empty parameter", with("GET /users/", "\r\n"), 404, false),
        ("RFC 9110 §15.5.6", with("PATCH /users/7", "\r\n"), 405, false),
        ("RFC 9110 §15.6.2", with("FETCH /users/7", "\r\n"), 501, false),
        ("an unknown method of an unknown path", with("FETCH /none", "\r\n"), 501, false),
        ("a method of the server's own", with("BREW /pot", "\r\n"), 299, false),
        ("a known method on another path", with("BREW /users/7", "\r\n"), 405, false),
        ("RFC 9110 §9.3.7", with("OPTIONS /users/7", "\r\n"), 204, false),
        ("RFC 9110 §9.3.7 *", with("OPTIONS *", "\r\n"), 204, false),
        ("OPTIONS of an unknown path", with("OPTIONS /none", "\r\n"), 404, false),
        ("RFC 9110 §9.3.6", with("CONNECT a:1", "\r\n"), 405, true),
        ("RFC 9112 §3.2.2 absolute form", with("GET http://b/users/7?x", "\r\n"), 200, false),
        ("RFC 9112 §3.2 no Host", "GET / HTTP/1.1\r\n\r\n".into(), 400, true),
        ("RFC 9112 §3.2 two Hosts", with("GET /", "Host: b\r\n\r\n"), 400, true),
        ("RFC 9112 §9.3 HTTP/1.0", "GET / HTTP/1.0\r\n\r\n".into(), 200, true),
        (
            "RFC 9112 §9.3 HTTP/1.0 keep-alive",
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".into(),
            200,
            false,
        ),
        ("RFC 9112 §9.6", with("GET /", "Connection: close\r\n\r\n"), 200, true),
        ("RFC 9110 §2.5", "GET / HTTP/1.7\r\nHost: a\r\n\r\n".into(), 200, false),
        ("RFC 9110 §15.6.6", "GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), 505, true),
        ("a bad escape", with("GET /%zz", "\r\n"), 400, true),
        ("above the root", with("GET /../x", "\r\n"), 400, true),
        ("a whole body", with("PUT /users/7", "Content-Length: 3\r\n\r\nabc"), 200, false),
        (
            "a chunked body",
            with(
                "PUT /users/7",
                "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            ),
            200,
            false,
        ),
        ("a body to GET", with("GET /users/7", "Content-Length: 3\r\n\r\nabc"), 200, false),
        ("a body to 404", with("POST /none", "Content-Length: 3\r\n\r\nabc"), 404, false),
        ("a body to 405", with("PATCH /users/7", "Content-Length: 3\r\n\r\nabc"), 405, false),
        ("RFC 9110 §15.5.14", with("PUT /users/7", "Content-Length: 4097\r\n\r\n"), 413, true),
        (
            "RFC 9110 §15.5.14 chunked",
            with("PUT /users/7", "Transfer-Encoding: chunked\r\n\r\n1001\r\n"),
            413,
            true,
        ),
        ("a stream past its bound", with("POST /echo", "Content-Length: 8193\r\n\r\n"), 413, true),
        (
            "RFC 9112 §6.1 both",
            with("POST /echo", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
            400,
            true,
        ),
        ("RFC 9112 §7.1", with("POST /echo", "Transfer-Encoding: chunked\r\n\r\nx\r\n"), 400, true),
        ("RFC 9110 §15.5.15", format!("GET /{} {TAIL}", "a".repeat(9000)), 414, true),
        ("RFC 6585 §5", with("GET /", &format!("A: {}", "a".repeat(20_000))), 431, true),
        ("RFC 9110 §15.5.18", with("GET /", "Expect: tea\r\n\r\n"), 417, true),
        ("a panic", with("GET /panic", "\r\n"), 500, true),
        ("a panic for HEAD", with("HEAD /panic", "\r\n"), 500, true),
        ("a panic with a body", with("POST /panic", "Content-Length: 3\r\n\r\nabc"), 500, true),
        ("a panic of a stream", with("PUT /panic", "Content-Length: 3\r\n\r\nabc"), 500, true),
        ("JSON", with("POST /users", "Content-Length: 9\r\n\r\n[\"a\",\"b\"]"), 201, false),
        ("no JSON", with("POST /users", "Content-Length: 3\r\n\r\n[1,"), 400, false),
        (
            "RFC 9110 §15.5.16",
            with("POST /users", "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n[]"),
            415,
            false,
        ),
        ("a query that is no number", with("GET /sum?a=x", "\r\n"), 400, false),
        ("a parameter that is no number", with("GET /count/x", "\r\n"), 400, false),
        ("a handler that returns None", with("GET /tree/%ff", "\r\n"), 404, false),
        ("a stream", with("POST /echo", "Content-Length: 3\r\n\r\nabc"), 201, false),
        ("an empty stream", with("POST /echo", "\r\n"), 201, false),
        ("a refused stream", with("POST /refused", "Content-Length: 3\r\n\r\nabc"), 403, false),
        (
            "a stream refused in its midst",
            with("POST /echo", "Content-Length: 3\r\n\r\na!c"),
            422,
            true,
        ),
        ("RFC 9110 §15.4.5", with("GET /tag", "If-None-Match: \"v1\"\r\n\r\n"), 304, false),
        ("RFC 9110 §15.5.13", with("GET /tag", "If-Match: \"v2\"\r\n\r\n"), 412, false),
        ("a head longer than what is copied", with("GET /wide", "\r\n"), 200, false),
    ]
}

#[test]
fn statuses_and_whether_the_connection_persists_whatever_the_split() {
    for (name, request, expected, closes) in table() {
        let whole = ask(&request);
        assert_eq!((code(&whole.0), whole.1), (expected, closes), "{name}: {}", whole.0);
        let (head, body) = whole.0.split_once("\r\n\r\n").expect("a whole head");
        let length = field(&whole.0, "Content-Length").and_then(|length| length.parse().ok());
        // RFC 9110 §§6.4.1, 9.3.2
        if request.starts_with("HEAD") || matches!(expected, 204 | 304) {
            assert_eq!(body, "", "{name}: {head}");
        } else {
            assert_eq!(length, Some(body.len()), "{name}: {head}");
        }
        assert_eq!(field(&whole.0, "Connection") == Some("close"), closes, "{name}");
        let step = (request.len() / 300).max(1);
        for at in (1..request.len()).step_by(step) {
            let split = answers(router(), request.as_bytes(), &[at, usize::MAX], false);
            assert_eq!(split, whole, "{name}: split at byte {at}");
        }
        assert_eq!(answers(router(), request.as_bytes(), &[7], true), whole, "{name}: narrow");
    }
}

#[test]
fn each_request_is_answered_in_its_turn() {
    let persistent: Vec<_> = table().into_iter().filter(|(.., closes)| !closes).collect();
    let input: String = persistent.iter().map(|(_, request, ..)| request.as_str()).collect();
    let expected: String = persistent.iter().map(|(_, request, ..)| ask(request).0).collect();
    for (sizes, narrow) in [(&[][..], false), (&[1][..], false), (&[13, 5][..], true)] {
        let (given, closed) = answers(router(), input.as_bytes(), sizes, narrow);
        assert!(given == expected && !closed, "split by {sizes:?}, narrow: {narrow}");
    }
}

#[test]
fn a_static_answer_whole() {
    assert_eq!(
        get("/"),
        test_head("200 OK")
            + "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\nroot\n"
    );
}

#[test]
fn parameters_queries_and_bodies_reach_the_handler() {
    let table = [
        ("/users/J%C3%BCrgen", "GET Jürgen 0\n"),
        ("/users/a%2Fb?x#", "GET a/b 0\n"),
        ("/users/%ff", "GET not UTF-8 0\n"),
        ("/tree/a/b/", "a/b/\n"),
        ("/tree/x/../y", "y\n"),
        ("/tree//etc", "404 Not Found\n"),
        ("/sum?a=2&b=40", "42"),
        ("/sum?b=%2D1&a", "malformed query parameter: a\n"),
        ("/peer", "\"127.0.0.1\""),
    ];
    for (target, expected) in table {
        assert_eq!(body(&get(target)), expected, "{target}");
    }
}

#[test]
fn allow_names_the_methods_of_the_path_rfc_9110_section_10_2_1() {
    let allow = |request: &str| {
        let (answer, _) = ask(&format!("{request} {TAIL}\r\n"));
        field(&answer, "Allow").map(str::to_owned)
    };
    let table = [
        ("PATCH /users/7", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("OPTIONS /users/7", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("DELETE /users", "POST, OPTIONS"),
        ("GET /pot", "OPTIONS, BREW"),
        ("OPTIONS *", "GET, HEAD, POST, PUT, DELETE, OPTIONS, BREW"),
    ];
    for (request, expected) in table {
        assert_eq!(allow(request).as_deref(), Some(expected), "{request}");
    }
    // The literal pattern has no DELETE, the one with a parameter has.
    assert_eq!(body(&ask(&format!("DELETE /users/me {TAIL}\r\n")).0), "DELETE me 0\n");
}

#[test]
fn head_is_get_without_the_body_rfc_9110_section_9_3_2() {
    for target in ["/", "/users/me", "/static", "/owned", "/count/5", "/wide", "/none"] {
        let got = get(target);
        let (head, closed) = ask(&format!("HEAD {target} {TAIL}\r\n"));
        let end = got.find("\r\n\r\n").unwrap() + 4;
        assert_eq!(head, got[..end], "{target}");
        assert!(!closed);
    }
}

#[test]
fn pieces_yield_even_if_they_are_empty() {
    let mut line = Line::open(router(), 80);
    line.offer(format!("GET /empty {TAIL}\r\n").as_bytes());
    let mut iterations = 0;
    while line.iterate() {
        iterations += 1;
    }
    assert_eq!(iterations, 3, "2000 pieces, 512 in one iteration");
    assert!(line.take().ends_with(b"\r\n\r\n0\r\n\r\n"));
}

#[test]
fn bodies_of_unknown_length_are_chunked_or_end_with_the_connection() {
    let expected: String = (0..1000).filter(|n| n % 3 != 2).map(|n| format!("{n}\n")).collect();
    let request = format!("GET /count/1000 {TAIL}\r\n").repeat(2);
    let whole = ask(&request);
    let (first, second) = whole.0.split_at(whole.0.len() / 2);
    assert_eq!((first, whole.1), (second, false));
    assert_eq!(field(first, "Transfer-Encoding"), Some("chunked"));
    assert_eq!(unchunked(body(first)), expected);
    for (sizes, narrow) in [(&[1][..], false), (&[][..], true), (&[3][..], true)] {
        assert_eq!(answers(router(), request.as_bytes(), sizes, narrow), whole);
    }
    for request in [
        "GET /count/1000 HTTP/1.0\r\n\r\n",
        "GET /count/1000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ] {
        let (old, closed) = answers(router(), request.as_bytes(), &[], true);
        assert_eq!((body(&old), closed), (&*expected, true));
        assert_eq!((field(&old, "Transfer-Encoding"), field(&old, "Content-Length")), (None, None));
    }
    let large = get("/large");
    assert_eq!(unchunked(body(&large)), "x".repeat(120_000));
}

#[test]
fn pieces_are_made_only_while_there_is_room_for_them() {
    static MADE: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let chunk = |_| {
        MADE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        vec![b'p'; 100_000]
    };
    let routes = Routes::new()
        .get("/", move |_, _| Response::ok().pieces("text/plain", (0..1000).map(chunk)));
    let mut line = Line::open(Router::new(Arc::new(routes), ()), 80);
    line.offer(format!("GET / {TAIL}\r\n").as_bytes());
    let made = MADE.load(std::sync::atomic::Ordering::Relaxed);
    assert!(made <= 16, "{made} chunks are made that nobody has taken");
    assert!(line.take().len() > 100_000_000);
}

#[test]
fn a_client_that_waits_for_100_gets_it_or_the_answer_rfc_9110_section_10_1_1() {
    let expect = "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let table = [
        ("PUT /users/7", "HTTP/1.1 100 Continue\r\n\r\n", false),
        ("POST /echo", "HTTP/1.1 100 Continue\r\n\r\n", false),
        ("POST /refused", "HTTP/1.1 403 ", true),
        ("POST /none", "HTTP/1.1 404 ", true),
        ("PATCH /users/7", "HTTP/1.1 405 ", true),
    ];
    for (request, expected, closes) in table {
        let mut line = Line::open(router(), 80);
        line.offer(format!("{request} {TAIL}{expect}").as_bytes());
        let first = String::from_utf8(line.take()).unwrap();
        assert!(first.starts_with(expected), "{request}: {first}");
        assert_eq!(line.closed(), closes, "{request}");
        if !closes {
            assert_eq!(first, expected, "nothing else before the body");
            line.offer(b"abc");
            assert!(line.take().starts_with(b"HTTP/1.1 20"));
        }
    }
    // What is there already is not asked for.
    let (answer, _) = ask(&format!("PUT /users/7 {TAIL}{expect}abc"));
    assert_eq!(code(&answer), 200);
}

#[test]
fn a_panic_midway_through_an_answer_resets_the_connection() {
    let mut line = Line::open(Contained::new(router()), 80);
    line.offer(format!("GET /half {TAIL}\r\n").as_bytes());
    assert!(line.aborted());
}

#[test]
fn no_value_can_begin_another_field() {
    let answer = get("/inject");
    assert_eq!(field(&answer, "Location"), Some("/  Set-Cookie: a"));
    assert_eq!(field(&answer, "Set-Cookie"), None);
}

#[test]
fn files_stand_beside_routes() {
    let open = || {
        let router = router().with_files(Arc::new(Content::for_tests()));
        let mut router = router;
        router.clock(Seconds::of(784_111_777));
        Line::open(router, 80)
    };
    let input = format!(
        "GET /12 {TAIL}\r\nGET /users/me {TAIL}\r\nGET /none {TAIL}\r\n\
         GET /large {TAIL}\r\nPOST /12 {TAIL}Content-Length: 3\r\n\r\nabcGET / {TAIL}\r\n\
         GET /dir {TAIL}Connection: close\r\n\r\n"
    );
    let mut whole = open();
    whole.offer(input.as_bytes());
    let expected = whole.take();
    let text = String::from_utf8_lossy(&expected);
    let codes: Vec<&str> =
        text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert_eq!(codes, ["200", "200", "404", "200", "405", "200", "301"]);
    assert!(text.contains("Hello, all!\n") && text.contains("me\n") && text.contains("root\n"));
    assert!(whole.closed());
    for at in 1..input.len() {
        let mut split = open();
        split.offer(&input.as_bytes()[..at]);
        let mut given = split.take();
        split.offer(&input.as_bytes()[at..]);
        given.extend(split.take());
        assert!(given == expected, "split at byte {at}");
    }
}

/// RFC 9110 §9.3.2
#[test]
fn a_request_whose_body_does_not_come_is_refused_in_the_form_of_its_method() {
    for (method, has_content) in [("GET", true), ("HEAD", false)] {
        let mut line = Line::open(router().with_files(Arc::new(Content::for_tests())), 80);
        line.offer(format!("{method} /12 {TAIL}Content-Length: 3\r\n\r\n").as_bytes());
        line.expire();
        let answer = String::from_utf8(line.take()).unwrap();
        assert_eq!((code(&answer), !body(&answer).is_empty()), (408, has_content), "{method}");
        let length = field(&answer, "Content-Length").map(|length| length.parse().unwrap());
        assert!(!has_content || length == Some(body(&answer).len()), "{method}: {answer}");
    }
}

#[test]
fn bodies_together_stay_within_their_bound() {
    let options = Options { bodies_max_bytes: 100, ..Options::default() };
    let mut line = Line::open(router().with_options(options), 80);
    line.offer(format!("PUT /users/7 {TAIL}Content-Length: 200\r\n\r\n").as_bytes());
    line.offer(&[b'a'; 100]);
    assert!(line.take().is_empty());
    line.offer(&[b'a'; 1]);
    let answer = String::from_utf8(line.take()).unwrap();
    assert_eq!(
        (code(&answer), field(&answer, "Retry-After"), line.closed()),
        (503, Some("1"), true)
    );
    line.close();
    assert_eq!((line.app.held, line.app.counters().router_bodies_full), (0, 1));
}

#[test]
fn a_body_that_is_given_up_gives_its_bytes_back() {
    for end in ["close", "expire"] {
        let mut line = Line::open(router(), 80);
        line.offer(format!("PUT /users/7 {TAIL}Content-Length: 200\r\n\r\n").as_bytes());
        line.offer(&[b'a'; 100]);
        assert_eq!(line.app.held, 100);
        if end == "expire" {
            line.expire();
            assert_eq!(code(&String::from_utf8(line.take()).unwrap()), 408);
        }
        line.close();
        assert_eq!(line.app.held, 0, "{end}");
    }
}

#[test]
fn each_phase_has_its_deadline() {
    let timeouts = Options::default().timeouts;
    let mut line = Line::open(router(), 80);
    assert_eq!(line.deadline(), Some(timeouts.idle));
    line.offer(b"GET / HT");
    assert_eq!(line.deadline(), Some(timeouts.head));
    line.expire();
    assert_eq!((code(&String::from_utf8(line.take()).unwrap()), line.closed()), (408, true));
    let mut line = Line::open(router(), 80);
    line.expire();
    assert!(line.closed() && line.take().is_empty());
    let mut line = Line::open(router(), 80);
    line.offer(format!("GET /large {TAIL}\r\n").as_bytes());
    assert_eq!(line.deadline(), Some(timeouts.idle));
    line.expire();
    assert!(!line.aborted() && !line.closed(), "the transport's send timeout is for this");
    assert_eq!(line.deadline(), Some(timeouts.idle));
}

#[test]
fn an_answer_in_pieces_has_its_deadline_set_anew_for_as_long_as_the_client_takes_it() {
    let mut line = Line::open_with(router(), 80, Pool::new(5, 3));
    line.offer(format!("GET /large {TAIL}\r\n").as_bytes());
    for _ in 0..10 {
        let settings = line.settings();
        let (taken, goes_on) = line.take_once(|_| {});
        assert!(!taken.is_empty() && goes_on);
        assert_eq!(line.settings(), settings + 1);
    }
    line.expire();
    assert!(!line.aborted() && !line.closed(), "the transport's send timeout is for this");
}

#[test]
fn a_stream_has_its_deadline_set_anew_for_as_long_as_it_comes_at_the_least_rate() {
    let options = Options::default();
    let mut line = Line::open(router().with_options(options), 80);
    line.offer(format!("POST /echo {TAIL}Content-Length: 1000000\r\n\r\n").as_bytes());
    assert_eq!(line.deadline(), Some(options.timeouts.body));
    let settings = line.settings();
    for _ in 0..59 {
        line.offer(&[b'a'; 1000]);
    }
    assert_eq!(line.settings(), settings, "59 kB in less than a minute are too few");
    line.offer(&[b'a'; 1000]);
    assert_eq!(line.settings(), settings + 1);
    line.expire();
    assert_eq!((code(&String::from_utf8(line.take()).unwrap()), line.closed()), (408, true));
}

#[test]
fn draining_closes_with_the_next_answer() {
    let mut line = Line::open(router(), 80);
    line.app.drain();
    line.offer(format!("GET / {TAIL}\r\n").as_bytes());
    let answer = String::from_utf8(line.take()).unwrap();
    assert_eq!((field(&answer, "Connection"), line.closed()), (Some("close"), true));
}

#[test]
fn counters_of_the_state_are_published() {
    static CALLS: Metric = Metric::new("calls", "Calls.");
    let routes = routes().counters(|state, sink| sink(&CALLS, state.calls.get()));
    let mut line = Line::open(Router::new(Arc::new(routes), State::default()), 80);
    line.offer(format!("GET /users/7 {TAIL}\r\n").as_bytes());
    let mut counts = Vec::new();
    line.app.publish(&mut |metric, value| counts.push((metric.name, value)));
    assert!(counts.contains(&("calls", 1)) && counts.contains(&("router_requests", 1)));
}

#[test]
fn a_route_that_exists_already_is_refused() {
    for routes in [
        || Routes::<()>::new().get("/a", |_, _| "").get("/a", |_, _| ""),
        || Routes::<()>::new().get("/{a}", |_, _| "").get("/{b}", |_, _| ""),
        || Routes::<()>::new().get("/{*a}", |_, _| "").get("/{*b}", |_, _| ""),
        || Routes::<()>::new().get("/a{b}", |_, _| ""),
    ] {
        assert!(std::panic::catch_unwind(routes).is_err());
    }
}

proptest! {
    /// Requests that are cut up, joined and damaged anyhow are answered, and the same however they
    /// arrive.
    #[test]
    fn any_input_gets_the_same_answers_whatever_the_split(
        picks in prop::collection::vec(0usize..100, 1..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 0..4),
        sizes in prop::collection::vec(1usize..200, 1..4),
        narrow in any::<bool>(),
    ) {
        let table = table();
        let mut input: Vec<u8> = Vec::new();
        for pick in picks {
            let (_, request, ..) = &table[pick % table.len()];
            input.extend_from_slice(request.as_bytes());
        }
        for (index, byte, how) in damage {
            let at = index.index(input.len());
            match how {
                0 => input[at] = byte,
                1 => input.insert(at, byte),
                2 => input.truncate(at + 1),
                _ => { input.remove(at); }
            }
            if input.is_empty() {
                input.push(byte);
            }
        }
        let whole = answers(router(), &input, &[], false);
        prop_assert_eq!(answers(router(), &input, &sizes, narrow), whole);
    }

    /// Words of HTTP in any order, with any bytes between them.
    #[test]
    fn any_words_get_the_same_answers_whatever_the_split(
        words in prop::collection::vec(prop::sample::select(WORDS), 1..25),
        bytes in prop::collection::vec(any::<u8>(), 0..4),
        choice in any::<u8>(),
    ) {
        let mut data = vec![choice];
        for (at, word) in words.iter().enumerate() {
            data.extend_from_slice(word.as_bytes());
            data.extend(bytes.get(at));
        }
        fuzz_router(&data);
    }
}

#[rustfmt::skip]
const WORDS: &[&str] = &[
    "GET ", "PUT ", "POST ", "HEAD ", "OPTIONS ", "/a/b", "/a/%2f/..", "/pieces", "/json?q=%41",
    "/stream", "/large", " HTTP/1.1\r\nHost: a\r\n", " HTTP/1.0\r\n", "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n", "Expect: 100-continue\r\n", "Connection: close\r\n",
    "Connection: keep-alive\r\n", "\r\n", "abc", "{}", "3\r\nabc\r\n", "0\r\n\r\n", "!",
    "GET /a/b HTTP/1.1\r\nHost: a\r\n\r\n", "POST /stream HTTP/1.1\r\nHost: a\r\n",
];

#[test]
fn costly_requests_go_on_in_the_next_iterations() {
    let costly = |_: &Request<'_>, (): &()| {
        crate::work::add(1 << 20);
        "done"
    };
    let routes = Routes::<()>::new().get("/", costly);
    let mut line = Line::open(Router::new(Arc::new(routes), ()), 80);
    line.offer(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3));
    let mut requests = vec![line.app.counters().router_requests];
    while line.iterate() {
        requests.push(line.app.counters().router_requests);
    }
    assert_eq!(requests[..3], [1, 2, 3]);
    let answers = String::from_utf8(line.take()).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3);
}
