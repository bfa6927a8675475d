//! Sites with rules: codings, fields by path, redirects, rewrites, error pages, hosts.

use super::*;
use crate::app::content::{
    AuthRule, HeaderRule, Pattern, RedirectRule, RewriteRule, Settings, Site, Template, Users,
};
use crate::app::testing::Line;
use std::path::Path;

const LIMIT: usize = 64 << 20;

fn tree(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    root
}

fn at(root: &Path) -> Site {
    Site { root: Some(root.into()), ..Site::default() }
}

fn line(settings: Settings) -> Line<Http> {
    let settings = Settings { limit_bytes: LIMIT, ..settings };
    let content = Content::load(&settings).unwrap();
    Line::open(Http::new(Arc::new(content), Options::default()), 80)
}

fn of(site: Site) -> Line<Http> {
    line(Settings { site, ..Settings::default() })
}

/// The head and the content of the answer.
fn ask(line: &mut Line<Http>, request: &str) -> (String, Vec<u8>) {
    line.offer(request.as_bytes());
    let answer = line.take();
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").unwrap() + 4;
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end..].to_vec())
}

fn get(line: &mut Line<Http>, path: &str, fields: &str) -> (String, Vec<u8>) {
    ask(line, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
}

fn code(head: &str) -> u16 {
    head["HTTP/1.1 ".len()..][..3].parse().unwrap()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.clone().find(|(known, _)| *known == name).map(|(_, value)| value)
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn header(path: &str, name: &str, value: &str) -> HeaderRule {
    HeaderRule { path: pattern(path), name: name.into(), value: value.into() }
}

fn redirect(from: &str, to: &str, status: u16) -> RedirectRule {
    let from = pattern(from);
    let to = Template::location(to, from.stars()).unwrap();
    RedirectRule { from, to, status }
}

fn rewrite(from: &str, to: &str) -> RewriteRule {
    let from = pattern(from);
    let to = Template::path(to, from.stars()).unwrap();
    RewriteRule { from, to }
}

#[test]
fn rfc_9110_8_4_a_file_compressed_beforehand_is_chosen_by_accept_encoding() {
    let root = tree(&[
        ("a.js", &[b'x'; 600]),
        ("a.js.br", b"brotli"),
        ("a.js.gz", b"gzip form"),
        ("plain.css", b"p"),
    ]);
    let mut line = of(at(root.path()));
    let table: [(&str, u16, Option<&str>, &[u8]); 8] = [
        ("", 200, None, &[b'x'; 600]),
        ("Accept-Encoding: gzip, deflate, br, zstd\r\n", 200, Some("br"), b"brotli"),
        ("accept-encoding: gzip;q=1, br;q=0.9\r\n", 200, Some("gzip"), b"gzip form"),
        ("Accept-Encoding: zstd\r\n", 200, None, &[b'x'; 600]),
        ("Accept-Encoding: br;q=0\r\nAccept-Encoding: gzip\r\n", 200, Some("gzip"), b"gzip form"),
        ("Accept-Encoding:\r\n", 200, None, &[b'x'; 600]),
        ("Accept-Encoding: identity;q=0, gzip\r\n", 200, Some("gzip"), b"gzip form"),
        ("Accept-Encoding: *;q=0\r\n", 406, None, b""),
    ];
    let mut etags = std::collections::BTreeMap::new();
    for (fields, status, coding, content) in table {
        let (head, body) = get(&mut line, "/a.js", fields);
        assert_eq!(code(&head), status, "{fields}");
        if status == 200 {
            assert_eq!(field(&head, "Content-Encoding"), coding, "{fields}");
            assert_eq!(field(&head, "Vary"), Some("Accept-Encoding"), "{fields}");
            assert_eq!(field(&head, "Content-Type"), Some("text/javascript; charset=utf-8"));
            assert_eq!(body, content, "{fields}");
            let etag = field(&head, "ETag").unwrap().to_owned();
            assert_eq!(*etags.entry(coding).or_insert(etag.clone()), etag);
        }
    }
    let distinct: std::collections::BTreeSet<_> = etags.values().collect();
    assert_eq!(distinct.len(), 3, "RFC 9110 §8.8.3.3: each form has its own tag");
    // RFC 9110 §13.1.2: the tag of another form is no match.
    let condition = |coding: Option<&str>| format!("If-None-Match: {}\r\n", etags[&coding]);
    let accept = "Accept-Encoding: br\r\n";
    let (head, _) = get(&mut line, "/a.js", &(condition(Some("br")) + accept));
    assert_eq!((code(&head), field(&head, "Vary")), (304, Some("Accept-Encoding")));
    assert_eq!(code(&get(&mut line, "/a.js", &(condition(Some("gzip")) + accept)).0), 200);
    let (head, body) = get(&mut line, "/plain.css", accept);
    assert_eq!((code(&head), field(&head, "Vary"), &*body), (200, None, &b"p"[..]));
    assert_eq!(code(&get(&mut line, "/plain.css", "Accept-Encoding: identity;q=0\r\n").0), 406);
    let (head, body) = get(&mut line, "/a.js.gz", accept);
    assert_eq!(field(&head, "Content-Type"), Some("application/gzip"));
    assert_eq!((field(&head, "Content-Encoding"), &*body), (None, &b"gzip form"[..]));
}

#[test]
fn files_are_compressed_at_start_if_asked_and_shorter() {
    let text = "Text that repeats. ".repeat(100);
    let noise: Vec<u8> =
        (0..2000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let root = tree(&[("a.txt", text.as_bytes()), ("b.png", &[0; 2000]), ("c.txt", &noise)]);
    let mut line = line(Settings { compress: true, site: at(root.path()), ..Settings::default() });
    for (accept, coding) in [("br, gzip", Some("br")), ("gzip", Some("gzip")), ("zstd", None)] {
        let fields = format!("Accept-Encoding: {accept}\r\n");
        let (head, body) = get(&mut line, "/a.txt", &fields);
        assert_eq!(field(&head, "Content-Encoding"), coding, "{accept}");
        assert_eq!(body.len() < text.len(), coding.is_some(), "{accept}");
        let (head, body) = get(&mut line, "/b.png", &fields);
        assert_eq!((field(&head, "Vary"), body.len()), (None, 2000), "an image is left alone");
    }
}

#[test]
fn fields_follow_the_path() {
    let root = tree(&[("index.html", b"<p>"), ("assets/a.css", b"a")]);
    let site = Site {
        headers: vec![
            header("*", "Strict-Transport-Security", "max-age=31536000"),
            header("*", "Cache-Control", "no-cache"),
            header("/assets/*", "cache-control", "max-age=31536000, immutable"),
            header("*.css", "Access-Control-Allow-Origin", "*"),
        ],
        redirects: vec![redirect("/old", "/new", 308)],
        ..at(root.path())
    };
    let mut line = of(site);
    let (head, _) = get(&mut line, "/", "");
    assert_eq!(field(&head, "Cache-Control"), Some("no-cache"));
    let (head, _) = get(&mut line, "/assets/a.css", "");
    assert_eq!(field(&head, "cache-control"), Some("max-age=31536000, immutable"));
    assert_eq!(field(&head, "Cache-Control"), None, "a later rule replaces it");
    let condition = format!("If-None-Match: {}\r\n", field(&head, "ETag").unwrap());
    let (head, _) = get(&mut line, "/assets/a.css", &condition);
    assert_eq!(code(&head), 304);
    assert_eq!(field(&head, "Access-Control-Allow-Origin"), Some("*"));
    let (head, _) =
        ask(&mut line, "OPTIONS /assets/a.css HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n\r\n");
    assert_eq!((code(&head), field(&head, "Access-Control-Allow-Origin")), (204, Some("*")));
    assert_eq!(field(&head, "Allow"), Some("GET, HEAD, OPTIONS"));
    for (path, status) in [("/none", 404), ("/old", 308)] {
        let (head, _) = get(&mut line, path, "");
        assert_eq!(code(&head), status);
        assert_eq!(field(&head, "Strict-Transport-Security"), Some("max-age=31536000"), "{path}");
    }
    let (head, _) = ask(&mut line, "POST / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((code(&head), field(&head, "Allow")), (405, Some("GET, HEAD, OPTIONS")));
}

#[test]
fn redirects_keep_the_query_and_win_over_files() {
    let root = tree(&[("old/a.html", b"a"), ("sub/index.html", b"s")]);
    let site = Site {
        redirects: vec![
            redirect("/old/*.html", "/new/$1", 301),
            redirect("/away/*", "https://b.example/$1?from=a", 302),
            redirect("/303", "/x", 303),
            redirect("/307", "/x", 307),
        ],
        ..at(root.path())
    };
    let mut line = of(site);
    let table = [
        ("/old/a.html", 301, "/new/a"),
        ("/old/a%20b.html?q=1", 301, "/new/a%20b?q=1"),
        ("/away/c?q=1", 302, "https://b.example/c?from=a"),
        ("/away/c%0d%0aX:y", 302, "https://b.example/c%0D%0AX:y?from=a"),
        ("/303", 303, "/x"),
        ("/307", 307, "/x"),
        ("/sub?q", 301, "/sub/?q"),
    ];
    for (path, status, location) in table {
        let (head, _) = get(&mut line, path, "");
        assert_eq!((code(&head), field(&head, "Location")), (status, Some(location)), "{path}");
    }
    let long = format!("/away/{}", "x".repeat(1000));
    assert_eq!(code(&get(&mut line, &long, "").0), 414);
    let long = format!("/303?{}", "x".repeat(1000));
    assert_eq!(code(&get(&mut line, &long, "").0), 414);
    assert_eq!(code(&get(&mut line, "/sub/", "").0), 200);
}

#[test]
fn rewrites_and_tried_files_answer_for_other_paths() {
    let root = tree(&[("index.html", b"app"), ("about.html", b"about"), ("v2/a", b"two")]);
    let site = Site {
        rewrites: vec![rewrite("/v1/*", "/v2/$1"), rewrite("/loop*", "/loop/$1")],
        try_files: vec![
            Template::path("$0.html", 0).unwrap(),
            Template::path("/index.html", 0).unwrap(),
        ],
        ..at(root.path())
    };
    let mut line = of(site);
    let table: [(&str, &[u8]); 6] = [
        ("/v1/a", b"two"),
        ("/about", b"about"),
        ("/about.html", b"about"),
        ("/any/route", b"app"),
        ("/v1/none", b"app"),
        ("/loop", b"app"),
    ];
    for (path, content) in table {
        let (head, body) = get(&mut line, path, "");
        assert_eq!((code(&head), &*body), (200, content), "{path}");
    }
}

#[test]
fn error_pages_are_files() {
    let root = tree(&[("404.html", b"<p>Lost?"), ("405.html", &[b'x'; 1000])]);
    let error_pages = vec![(404, "/404.html".into()), (405, "/405.html".into())];
    let mut line = of(Site { error_pages, ..at(root.path()) });
    let (head, body) = get(&mut line, "/none", "");
    assert_eq!((code(&head), &*body), (404, &b"<p>Lost?"[..]));
    assert_eq!(field(&head, "Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(field(&head, "ETag"), None);
    let (head, body) = ask(&mut line, "POST / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((code(&head), body.len()), (405, 1000));
    assert_eq!(field(&head, "Allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(code(&get(&mut line, "/404.html", "").0), 200);
    let (head, body) = ask(&mut line, "HEAD /none HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((field(&head, "Content-Length"), body.len()), (Some("8"), 0));
}

#[test]
fn a_directory_without_an_index_is_listed_if_asked() {
    let root = tree(&[("d/<b>.txt", b"x"), ("d/sub/f", b"y"), ("i/index.html", b"i")]);
    let mut line = of(Site { autoindex: true, ..at(root.path()) });
    let (head, body) = get(&mut line, "/d/", "");
    let page = String::from_utf8(body).unwrap();
    assert_eq!(code(&head), 200);
    assert_eq!(field(&head, "Content-Type"), Some("text/html; charset=utf-8"));
    assert!(page.contains("<a href=\"./%3Cb%3E.txt\">&lt;b&gt;.txt</a>"), "{page}");
    assert!(page.contains("<a href=\"./sub/\">sub/</a>"), "{page}");
    assert_eq!(get(&mut line, "/i/", "").1, b"i");
    let (head, _) = get(&mut line, "/d", "");
    assert_eq!((code(&head), field(&head, "Location")), (301, Some("/d/")));
    let mut line = of(at(root.path()));
    assert_eq!(code(&get(&mut line, "/d/", "").0), 404);
}

#[test]
fn a_path_with_a_password_waits_for_its_verification() {
    let hash = bcrypt::hash("secret", 4).unwrap();
    let users = Arc::new(Users::parse(&format!("me:{hash}\n")).unwrap());
    let root = tree(&[("open", b"o"), ("private/a", b"private")]);
    let path = pattern("/private/*");
    let auth = vec![AuthRule { path, realm: "Staff".into(), users: users.clone() }];
    let mut line = of(Site { auth, ..at(root.path()) });
    assert_eq!(get(&mut line, "/open", "").1, b"o");
    for path in ["/private/a", "/private/none"] {
        let (head, _) = get(&mut line, path, "");
        let challenge = "Basic realm=\"Staff\", charset=\"UTF-8\"";
        assert_eq!((code(&head), field(&head, "WWW-Authenticate")), (401, Some(challenge)));
    }
    let mut with = |credentials: &str| {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode(credentials);
        let request =
            format!("GET /private/a HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {encoded}\r\n\r\n");
        line.offer((request + "GET /open HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        crate::app::content::wait_for_verdict(&users, &format!("Basic {encoded}"));
        let mut answers = line.take();
        if answers.is_empty() {
            // The deadline passes, and the request is looked at again.
            line.expire();
            answers.extend(line.take());
        }
        String::from_utf8(answers).unwrap()
    };
    for _ in 0..2 {
        assert!(with("me:secret").contains("\r\n\r\nprivateHTTP/1.1 200 OK\r\n"));
        assert!(with("me:wrong").starts_with("HTTP/1.1 401 Unauthorized\r\n"));
    }
    assert_eq!(line.app.counters().http_requests, 3 + 8);
}

#[test]
fn each_host_has_its_files() {
    let (one, two) = (tree(&[("index.html", b"one")]), tree(&[("index.html", b"two")]));
    let site = |root: &Path, names: &[&str]| Site {
        names: names.iter().map(ToString::to_string).collect(),
        ..at(root)
    };
    let hosts = vec![
        site(two.path(), &["b.example", "192.0.2.1"]),
        Site {
            names: vec!["www.b.example".into()],
            redirects: vec![redirect("/*", "http://b.example/$1", 301)],
            ..Site::default()
        },
    ];
    let mut line = line(Settings { site: at(one.path()), hosts, ..Settings::default() });
    let mut from = |target: &str, host: &str| {
        ask(&mut line, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    };
    assert_eq!(from("/", "a").1, b"one");
    assert_eq!(from("/", "B.example:8080").1, b"two");
    assert_eq!(from("/", "192.0.2.1").1, b"two");
    // RFC 9112 §3.2.2: the authority of the target replaces Host.
    assert_eq!(from("http://b.example/", "a").1, b"two");
    assert_eq!(from("http://b.example:80?q", "a").1, b"two");
    let (head, _) = from("/x", "www.b.example");
    assert_eq!((code(&head), field(&head, "Location")), (301, Some("http://b.example/x")));
}

/// The fast path remembers the host of the request before, which never decides the site. Nor does
/// it after a reload that gives the host to another site.
#[test]
fn hosts_named_in_turn_have_their_files() {
    let [one, two] = [&b"one"[..], b"two"].map(|content| tree(&[("index.html", content)]));
    let content = |name: &str| {
        let hosts = vec![Site { names: vec![name.into()], ..at(two.path()) }];
        let site = at(one.path());
        let settings = Settings { limit_bytes: LIMIT, site, hosts, ..Settings::default() };
        Arc::new(Content::load(&settings).unwrap())
    };
    let current = Arc::new(crate::app::content::Current::new(content("b.example")));
    let mut line = Line::open(Http::following(current.clone(), Options::default()), 80);
    let b = ["b.example", "B.Example", "b.example:80", "b.example:"];
    let others = ["a", "a:80", "b.exampl", "b.example.a", "b.example-"];
    for (name, is_two) in [("b.example", true), ("a.example", false), ("b.example", true)] {
        current.replace(content(name));
        let from_b = if is_two { &b"two"[..] } else { b"one" };
        let table: Vec<(&str, &[u8])> = b
            .map(|host| (host, from_b))
            .into_iter()
            .chain(others.map(|a| (a, &b"one"[..])))
            .collect();
        for (before, after) in table.iter().flat_map(|a| table.iter().map(move |b| (a, b))) {
            for (host, expected) in [before, after, after] {
                let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
                assert_eq!(ask(&mut line, &request).1, *expected, "{host} after {}", before.0);
            }
        }
    }
}

#[test]
fn a_reload_while_content_arrives_costs_no_request() {
    let trees = [tree(&[("a", b"old"), ("old", b"x")]), tree(&[("0", b"x"), ("a", b"new")])];
    let content = |at: usize| {
        let site =
            Site { redirects: vec![redirect("/r*", "/to$1", 308)], ..self::at(trees[at].path()) };
        let settings = Settings { limit_bytes: LIMIT, site, ..Settings::default() };
        Arc::new(Content::load(&settings).unwrap())
    };
    let table = [
        ("GET /a", 200, &b"new"[..]),
        ("HEAD /a", 200, b""),
        ("GET /old", 404, b""),
        ("GET /0", 200, b"x"),
        ("GET /r1?q", 308, b""),
        ("POST /a", 405, b""),
    ];
    for (request, status, body) in table {
        let current = Arc::new(crate::app::content::Current::new(content(0)));
        let mut line = Line::open(Http::following(current.clone(), Options::default()), 80);
        let fields = "Host: a\r\nContent-Length: 6";
        line.offer(format!("{request} HTTP/1.1\r\n{fields}\r\n\r\nabc").as_bytes());
        assert_eq!(line.queued(), 0, "{request}");
        current.replace(content(1));
        let (head, answer) = ask(&mut line, "def");
        assert_eq!(code(&head), status, "{request}");
        assert!(answer.ends_with(body) && (status != 200 || answer == body), "{request}");
        if status == 308 {
            assert_eq!(field(&head, "Location"), Some("/to1?q"), "the query stays");
        }
        assert!(!line.closed(), "{request}");
    }
}

#[test]
fn more_requests_with_content_than_slots_are_answered_at_once() {
    let root = tree(&[("a", b"x")]);
    let mut line = of(at(root.path()));
    let head = "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n";
    let mut answered = 0;
    for _ in 0..300 {
        line.beside(|other| {
            other.offer(head.as_bytes());
            answered += usize::from(other.queued() > 0 && other.closed());
        });
    }
    assert_eq!(answered, 300 - 256, "the connections above did not end");
    let mut line = of(at(root.path()));
    for _ in 0..300 {
        line.beside(|other| {
            other.offer(head.as_bytes());
            assert_eq!(other.queued(), 0);
            other.close();
        });
    }
}

#[test]
fn no_rule_leads_around_a_password() {
    let root = tree(&[
        ("private/index.html", b"secret"),
        ("private/a.html", b"secret"),
        ("open/index.html", b"open"),
        ("open/b", b"open"),
    ]);
    let users = || {
        let hash = bcrypt::hash("secret", 4).unwrap();
        Arc::new(Users::parse(&format!("me:{hash}\n")).unwrap())
    };
    let rule = |path: &str| AuthRule { path: pattern(path), realm: "Staff".into(), users: users() };
    let template = |text: &str| Template::path(text, 0).unwrap();
    let mut line = of(Site {
        auth: vec![rule("/private/*")],
        rewrites: vec![rewrite("/v1/*", "/v2/$1"), rewrite("/v2/*", "/$1")],
        try_files: vec![template("/private$0.html"), template("/private/a.html")],
        ..at(root.path())
    });
    for path in ["/v1/private/a.html", "/v2/private/", "/a", "/none", "/v1/none", "/private/a.html"]
    {
        assert_eq!(code(&get(&mut line, path, "").0), 401, "{path}");
    }
    assert_eq!(get(&mut line, "/v1/open/b", "").1, b"open");
    // The index of a directory is a path, too.
    let mut line = of(Site { auth: vec![rule("/private/*.html")], ..at(root.path()) });
    for (path, expected) in [("/private/", 401), ("/open/", 200), ("/private", 301), ("/", 404)] {
        assert_eq!(code(&get(&mut line, path, "").0), expected, "{path}");
    }
}

#[test]
fn a_request_whose_password_is_not_verified_in_time_is_503() {
    let root = tree(&[("private/a", b"private")]);
    let hash = bcrypt::hash("secret", 4).unwrap();
    let users = Arc::new(Users::parse(&format!("me:{hash}\n")).unwrap());
    let auth =
        vec![AuthRule { path: pattern("/private/*"), realm: "Staff".into(), users: users.clone() }];
    let mut line = of(Site { auth, ..at(root.path()) });
    let request = "GET /private/a HTTP/1.1\r\nHost: a\r\nAuthorization: Basic bWU6eA==\r\n\r\n";
    let held = crate::app::content::hold();
    line.offer(request.as_bytes());
    let mut waited = simoom_io::Duration::ZERO;
    while line.queued() == 0 {
        waited += line.expire().unwrap();
    }
    let (head, _) = ask(&mut line, "");
    assert_eq!((code(&head), field(&head, "Retry-After")), (503, Some("1")));
    assert!((9_000..11_000).contains(&waited.total_millis()), "{waited}");
    assert!(!line.closed());
    assert_eq!(line.app.counters().http_requests, 1);
    drop(held);
    crate::app::content::wait_for_verdict(&users, "Basic bWU6eA==");
    assert_eq!(code(&ask(&mut line, request).0), 401);
}
