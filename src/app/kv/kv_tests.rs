use super::*;
use crate::app::router::Router;
use crate::app::testing::{Line, NOW};
use crate::handler::Handler;
use crate::store::Settings;

fn open() -> Line<Router<()>> {
    let settings = Settings { memory_bytes: 8 << 20, ..Settings::default() };
    let store = Store::new(&settings).expect("the bounds are kept");
    let routes = KeyValue::new(store).routes(Routes::new(), "/kv/{key}");
    let mut router = Router::new(Arc::new(routes), ());
    router.clock(Seconds::of(NOW));
    Line::open(router, 80)
}

/// The answer to a request of this line, these fields and this body.
fn ask(line: &mut Line<Router<()>>, request: &str, fields: &str, body: &str) -> String {
    let length = format!("Content-Length: {}\r\n", body.len());
    let length = if body.is_empty() { "" } else { &length };
    line.offer(format!("{request} HTTP/1.1\r\nHost: a\r\n{fields}{length}\r\n{body}").as_bytes());
    String::from_utf8(line.take()).unwrap()
}

fn code(answer: &str) -> u16 {
    answer[9..12].parse().expect("a status line")
}

fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n")?;
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(known, _)| *known == name).map(|(_, value)| value)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a whole head").1
}

#[test]
fn a_value_is_stored_fetched_replaced_and_deleted() {
    let mut line = open();
    assert_eq!(code(&ask(&mut line, "GET /kv/a", "", "")), 404);
    assert_eq!(code(&ask(&mut line, "DELETE /kv/a", "", "")), 404);
    let json = "Content-Type: application/json\r\n";
    let first = ask(&mut line, "PUT /kv/a", json, "[1]");
    assert_eq!(code(&first), 201);
    let got = ask(&mut line, "GET /kv/a", "", "");
    assert_eq!((code(&got), body(&got)), (200, "[1]"));
    assert_eq!(field(&got, "Content-Type"), Some("application/json"));
    assert_eq!(field(&got, "ETag"), field(&first, "ETag"));
    let head = ask(&mut line, "HEAD /kv/a", "", "");
    assert_eq!((field(&head, "Content-Length"), body(&head)), (Some("3"), ""));
    let second = ask(&mut line, "PUT /kv/a", "Content-Type: x/y; own=1\r\n", "own");
    assert_eq!((code(&second), body(&second)), (204, ""));
    assert_ne!(field(&second, "ETag"), field(&first, "ETag"));
    let got = ask(&mut line, "GET /kv/a", "", "");
    assert_eq!((field(&got, "Content-Type"), body(&got)), (Some("x/y; own=1"), "own"));
    assert_eq!(code(&ask(&mut line, "DELETE /kv/a", "", "")), 204);
    assert_eq!(code(&ask(&mut line, "GET /kv/a", "", "")), 404);
    let post = ask(&mut line, "POST /kv/a", "", "x");
    assert_eq!(
        (code(&post), field(&post, "Allow")),
        (405, Some("GET, HEAD, PUT, DELETE, OPTIONS"))
    );
}

#[test]
fn preconditions_hold_for_all_methods_rfc_9110_section_13() {
    let mut line = open();
    let tag = |answer: &str| field(answer, "ETag").expect("an entity tag").to_owned();
    assert_eq!(code(&ask(&mut line, "PUT /kv/a", "If-Match: *\r\n", "x")), 412);
    let first = ask(&mut line, "PUT /kv/a", "If-None-Match: *\r\n", "1");
    assert_eq!(code(&first), 201);
    let first = tag(&first);
    let table = [
        ("PUT", "If-None-Match: *", 412),
        ("PUT", "If-Match: \"x\"", 412),
        ("GET", &format!("If-None-Match: {first}"), 304),
        ("GET", "If-None-Match: \"x\"", 200),
        ("GET", "If-Match: \"x\"", 412),
        ("DELETE", "If-Match: \"x\"", 412),
        ("DELETE", &format!("If-None-Match: {first}"), 412),
        ("PUT", &format!("If-Match: {first}"), 204),
        ("PUT", &format!("If-Match: {first}"), 412),
        ("GET", &format!("If-None-Match: {first}"), 200),
        ("DELETE", "If-Match: *", 204),
        ("DELETE", "If-Match: *", 412),
    ];
    for (method, condition, expected) in table {
        let content = if method == "PUT" { "2" } else { "" };
        let answer =
            ask(&mut line, &format!("{method} /kv/a"), &format!("{condition}\r\n"), content);
        assert_eq!(code(&answer), expected, "{method} {condition}");
    }
}

#[test]
fn a_condition_holds_against_what_happens_while_the_body_arrives() {
    let settings = Settings { memory_bytes: 8 << 20, ..Settings::default() };
    let store = Store::new(&settings).expect("the bounds are kept");
    let routes = Arc::new(KeyValue::new(store).routes(Routes::new(), "/kv/{key}"));
    let mut lines = [(); 2].map(|()| {
        let mut router = Router::new(Arc::clone(&routes), ());
        router.clock(Seconds::of(NOW));
        Line::open(router, 80)
    });
    let put = "PUT /kv/a HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\nContent-Length: 4\r\n\r\n";
    let mut codes = Vec::new();
    lines.iter_mut().for_each(|line| line.offer(format!("{put}va").as_bytes()));
    for line in &mut lines {
        line.offer(b"lu");
        codes.push(code(&String::from_utf8(line.take()).unwrap()));
    }
    assert_eq!(codes, [201, 412]);
}

#[test]
fn values_expire_and_say_when() {
    let mut line = open();
    assert_eq!(code(&ask(&mut line, "PUT /kv/a?ttl=60", "", "x")), 201);
    line.app.clock(Seconds::of(NOW + 50));
    let got = ask(&mut line, "GET /kv/a", "", "");
    assert_eq!((code(&got), field(&got, "Cache-Control")), (200, Some("max-age=10")));
    line.app.clock(Seconds::of(NOW + 60));
    assert_eq!(code(&ask(&mut line, "GET /kv/a", "", "")), 404);
    assert_eq!(code(&ask(&mut line, "PUT /kv/a?ttl=x", "", "x")), 400);
}

#[test]
fn values_and_keys_at_their_bounds() {
    let mut line = open();
    for len in [1, 500, 20_000, 1_000_000] {
        let value = "v".repeat(len);
        for media_type in ["", "Content-Type: x/own\r\n"] {
            ask(&mut line, "PUT /kv/a%2Fb%20%ff", media_type, &value);
            let got = ask(&mut line, "GET /kv/a%2fb%20%FF", "", "");
            assert!(body(&got) == value, "a value of {len} bytes");
        }
    }
    let empty = ask(&mut line, "PUT /kv/empty", "", "");
    assert_eq!(code(&empty), 201);
    assert_eq!(body(&ask(&mut line, "GET /kv/empty", "", "")), "");
    assert_eq!(code(&ask(&mut line, &format!("PUT /kv/{}", "k".repeat(250)), "", "x")), 201);
    assert_eq!(code(&ask(&mut line, &format!("PUT /kv/{}", "k".repeat(251)), "", "x")), 400);
    let chunked = "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n";
    assert_eq!(code(&ask(&mut line, "PUT /kv/a", chunked, "")), 411);
    let large =
        ask(&mut line, "PUT /kv/a", "Expect: 100-continue\r\nContent-Length: 2000000\r\n", "");
    assert_eq!(code(&large), 413);
}

#[test]
fn a_body_that_does_not_end_stores_nothing() {
    let mut line = open();
    ask(&mut line, "PUT /kv/a", "", "old");
    line.offer(b"PUT /kv/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nnew");
    line.close();
    assert_eq!(body(&ask(&mut line, "GET /kv/a", "", "")), "old");
}

#[test]
fn a_body_that_cannot_be_given_back_is_refused() {
    let mut line = open();
    assert_eq!(code(&ask(&mut line, "PUT /kv/a", "", "whole")), 201);
    for (field, expected) in
        [("Content-Range: bytes 0-0/5\r\n", 400), ("Content-Encoding: gzip\r\n", 415)]
    {
        assert_eq!(code(&ask(&mut line, "PUT /kv/a", field, "p")), expected, "{field}");
    }
    assert_eq!(body(&ask(&mut line, "GET /kv/a", "", "")), "whole");
}
