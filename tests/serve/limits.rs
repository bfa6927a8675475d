//! Each limit of HTTP has its flag, its answer and its counter, over each transport. Elsewhere are
//! the defaults (abuse.rs), the idle timeout (lifecycle.rs), the send timeout (abuse.rs), and
//! connections per address (shares.rs).

use crate::client::{Client, field, get};
use crate::over_all;
use crate::site::{Plan, Site, Transport};

over_all!(
    each_limit_has_its_answer_and_its_counter,
    slow_heads_and_contents_are_answered_with_408,
    the_last_request_of_a_connection_closes_it,
    a_pipeline_beyond_its_limit_is_answered_whole,
);

/// A GET of `/12` with these fields and this content behind its head.
fn with(fields: &str, content: &str) -> String {
    get("/12").replace("\r\n\r\n", &format!("\r\n{fields}\r\n")) + content
}

/// The answer on a connection of its own.
fn ask(site: &Site, request: &str) -> (u16, Client) {
    let mut client = site.connect();
    client.send(request);
    let answer = client.answer();
    (answer.status, client)
}

fn each_limit_has_its_answer_and_its_counter(transport: Transport) {
    let flags = "--http-line-size 300 --http-head-size 600 --http-body-size 50";
    let Some(site) = Plan::new(transport).with(flags).start() else { return };
    let line = |len: usize| get(&format!("/12?{}", "q".repeat(len - "GET /12? HTTP/1.1".len())));
    let head = |len: usize| {
        let fill = "x".repeat(len - with("X: \r\n", "").len());
        with(&format!("X: {fill}\r\n"), "")
    };
    let content =
        |len: usize| with(&format!("Content-Length: {len}\r\n"), &"c".repeat(len.min(51)));
    let chunked = |len: usize| {
        let chunk = format!("{len:x}\r\n{}\r\n0\r\n\r\n", "c".repeat(len));
        with("Transfer-Encoding: chunked\r\n", &chunk)
    };
    let fields = |count: usize| with(&"A:\r\n".repeat(count - 1), "");
    for (what, good, bad, status, counter) in [
        ("line", line(300), line(301), 414, "http_line_too_long"),
        ("head", head(600), head(601), 431, "http_head_too_large"),
        ("fields", fields(100), fields(101), 431, "http_too_many_fields"),
        ("content", content(50), content(51), 413, "http_body_too_large"),
        ("long content", content(1), content(1 << 30), 413, "http_body_too_large"),
        ("chunks", chunked(30), chunked(60), 413, "http_body_too_large"),
    ] {
        let before = site.counter(counter);
        let (code, mut client) = ask(&site, &good);
        assert_eq!(code, 200, "{what}");
        client.expect("/12", &site.content("/12"));
        assert_eq!(ask(&site, &bad).0, status, "{what}");
        site.wait_for(counter, before + 1);
        assert_eq!(site.counter(counter), before + 1, "{what}");
    }
}

fn slow_heads_and_contents_are_answered_with_408(transport: Transport) {
    let flags = "--header-timeout 500ms --body-timeout 600ms";
    let Some(site) = Plan::new(transport).with(flags).start() else { return };
    for (request, counter) in [
        ("GET /12 HTTP/1.1\r\nHost: a\r\n", "http_head_timeouts"),
        ("GET /12 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc", "http_body_timeouts"),
    ] {
        let (status, mut client) = ask(&site, request);
        assert_eq!(status, 408, "{request}");
        client.expect_end();
        site.wait_for(counter, 1);
    }
}

fn the_last_request_of_a_connection_closes_it(transport: Transport) {
    let Some(site) = Plan::new(transport).with("--http-requests 3").start() else { return };
    let mut client = site.connect();
    client.send(get("/12").repeat(5));
    let closes = [(); 3].map(|()| {
        let answer = client.answer();
        answer.is(200, &site.content("/12"));
        field(&answer.head, "connection") == Some("close")
    });
    assert_eq!(closes, [false, false, true]);
    site.wait_for("http_request_limits", 1);
    assert_eq!(site.counter("http_requests"), 3);
    site.serves_others();
}

fn a_pipeline_beyond_its_limit_is_answered_whole(transport: Transport) {
    let Some(site) = Plan::new(transport).with("--http-pipeline 4").start() else { return };
    let mut client = site.connect();
    client.send(get("/12").repeat(4));
    (0..4).for_each(|_| client.answer().is(200, &site.content("/12")));
    client.send(get("/12").repeat(30));
    (0..30).for_each(|_| client.answer().is(200, &site.content("/12")));
    site.wait_for("http_pipeline_limits", 1);
}
