//! The fast path of plain heads and the general path give the same answers, byte for byte, and
//! count the same. A handler with an access log takes the general path alone.
//!
//! Heads are generated as a hostile client writes them. `PROPTEST_RNG_SEED=N` sets the seed; a
//! failure prints the smallest input.

use super::*;
use crate::app::content::{
    AuthRule, Disk, HeaderRule, Pattern, RedirectRule, Settings, Site, Template, Users,
};
use crate::app::testing::answers_and_line;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::sync::LazyLock;

/// A site with what the paths of both must agree about: codings, hosts, rules, a password, a file
/// on disk.
static CONTENT: LazyLock<Arc<Content>> = LazyLock::new(|| {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, len: usize| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, vec![b'x'; len]).unwrap();
    };
    for (path, len) in [
        ("12", 12),
        ("a.js", 900),
        ("a.js.br", 90),
        ("a.js.gz", 100),
        ("dir/index.html", 30),
        ("private/page", 10),
        ("index.html", 5),
        ("404.html", 40),
        ("big", 70_000),
        ("other/12", 24),
        ("other/404.html", 50),
    ] {
        write(path, len);
    }
    let users = "me:$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";
    let pattern = |text: &str| Pattern::parse(text).unwrap();
    let site = Site {
        root: Some(root.path().into()),
        redirects: vec![RedirectRule {
            from: pattern("/old/*"),
            to: Template::location("/new/$1", 1).unwrap(),
            status: 308,
        }],
        headers: vec![HeaderRule {
            path: pattern("*.js"),
            name: "Cache-Control".into(),
            value: "no-cache".into(),
        }],
        auth: vec![AuthRule {
            path: pattern("/private/*"),
            realm: "r".into(),
            users: Arc::new(Users::parse(users).unwrap()),
        }],
        error_pages: vec![(404, "/404.html".into())],
        ..Site::default()
    };
    let host = Site {
        names: vec!["b.example".into(), "192.0.2.1".into()],
        root: Some(root.path().join("other")),
        error_pages: vec![(404, "/404.html".into())],
        ..Site::default()
    };
    let settings = Settings {
        limit_bytes: 1 << 20,
        disk: Some(Disk { large_bytes: 50_000, memory_bytes: 1 << 20, buffers_bytes: 0 }),
        site,
        hosts: vec![host],
        ..Settings::default()
    };
    Arc::new(Content::load(&settings).unwrap())
});

/// All answers to `input` as text, whether the connection ends, and the counters.
fn answered(input: &[u8], access: Option<Access>) -> (String, bool, Counters) {
    let options = Options {
        head: HeadLimits { line_max_bytes: 300, head_max_bytes: 700 },
        requests_max: 6,
        ..Options::default()
    };
    let mut http = Http::new(CONTENT.clone(), options).with_access_log(access);
    http.clock(784_111_777);
    let (answers, line) = answers_and_line(http, 80, input, &[], false);
    (answers.escape_ascii().to_string(), line.closed(), *line.app.counters())
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(texts).prop_map(str::to_owned)
}

/// Mostly the usual text, at times one of `others`.
fn mostly(usual: &'static str, others: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![12 => Just(usual.to_owned()), 1 => one_of(others)]
}

fn path() -> impl Strategy<Value = String> {
    one_of(&[
        "/",
        "/12",
        "/a.js",
        "/dir/",
        "/dir",
        "/none",
        "/private/page",
        "/big",
        "/old/x",
        "/a.js.gz",
        "/index.html",
    ])
}

fn request_line() -> impl Strategy<Value = String> {
    let usual = path().prop_map(|path| format!("GET {path} HTTP/1.1\r\n"));
    prop_oneof![3 => usual, 2 => odd_request_line()]
}

fn odd_request_line() -> impl Strategy<Value = String> {
    let method = mostly("GET", &["HEAD", "get", "OPTIONS", "POST", "G", "", "GET\t", "\r\nGET"]);
    let space = || mostly(" ", &["", "  ", "\t", "\r", " \t", "\u{b}", "\u{c}", "\0", "\u{a0}"]);
    let odd = one_of(&[
        "*",
        "12",
        "",
        "//12",
        "/./12",
        "/dir/../12",
        "/../12",
        "/12/",
        "/12/.",
        "/12?q",
        "/12?",
        "/12#f",
        "/%31%32",
        "/%zz",
        "/.hidden",
        "/a b",
        "/\0",
        "/\u{e9}",
        "http://b.example/12",
        "http://b.example",
        "http:///12",
        "HTTP://a/12",
        "https://a:1/dir",
        "http://a@b/12",
        "b.example:80",
        "/12;x",
        "/~",
        "/12\\",
        "/12\x7f",
        "/dir/.",
        "/dir//",
    ]);
    let target = prop_oneof![
        3 => path(),
        3 => odd,
        2 => "[a-z0-9_./%~-]{0,24}".prop_map(|path| format!("/{path}")),
        1 => (280usize..310).prop_map(|len| format!("/{}", "a".repeat(len))),
    ];
    let version = mostly(
        "HTTP/1.1",
        &[
            "HTTP/1.0",
            "HTTP/1.2",
            "HTTP/1.9",
            "HTTP/2.0",
            "HTTP/0.9",
            "http/1.1",
            "HTTP/1.10",
            "HTTP/1.",
            "HTTP/11",
            "HTTP",
            "",
            "HTTP/1.1 ",
            "HTTP/1,1",
            "XHTTP/1.1",
            "HTTP/01.1",
        ],
    );
    (method, space(), target, space(), version, end_of_line()).prop_map(
        |(method, a, target, b, version, end)| format!("{method}{a}{target}{b}{version}{end}"),
    )
}

fn end_of_line() -> impl Strategy<Value = String> {
    prop_oneof![80 => Just("\r\n".to_owned()), 1 => one_of(&["\n", "\r", "\r\r\n", " \r\n"])]
}

fn host() -> impl Strategy<Value = String> {
    let usual = one_of(&["Host: a\r\n", "host: b.example\r\n", "HOST: 198.18.0.1:8080\r\n"]);
    prop_oneof![4 => usual, 1 => odd_host()]
}

fn odd_host() -> impl Strategy<Value = String> {
    let name = mostly("Host", &["host", "HOST", "hOsT", "Host ", " Host", "Hos", "Hostx", "H\0st"]);
    let colon = mostly(": ", &[":", ":\t", ":  ", " : ", "", ": \t ", ":\r\n "]);
    let value = prop_oneof![
        10 => one_of(&[
            "a", "B.example:80", "192.0.2.1", "", "[::1]", "[::1]:80", "a:", "a:b", "a:99999", "a b",
            "a,b", "a@b", "a/b", "a\0", "a\u{e9}", "a_b", "a%41", "-a-", "a..b", ":80", "a:80:80",
            "?", " ", "a\t", "a ", "a:80 ", "a\x7f",
        ]),
        1 => (180usize..400).prop_map(|len| "h".repeat(len)),
    ];
    (name, colon, value, end_of_line())
        .prop_map(|(name, colon, value, end)| format!("{name}{colon}{value}{end}"))
}

fn field() -> impl Strategy<Value = String> {
    let meaningful = one_of(&[
        "Connection: keep-alive",
        "Connection: Keep-Alive ",
        "Connection: close",
        "Connection: keep-alive, close",
        "Connection:",
        "connection: x",
        "Keep-Alive: 5",
        "Content-Length: 0",
        "Content-Length: 3",
        "Content-Length: +1",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: x",
        "Expect: 100-continue",
        "Expect: x",
        "Range: bytes=0-1",
        "Range: bytes=-1",
        "Range: bytes=2-",
        "If-Range: x",
        "If-None-Match: *",
        "If-Match: \"x\"",
        "If-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT",
        "Accept-Encoding: gzip, br",
        "Accept-Encoding:",
        "Accept-Encoding: gzip;q=0",
        "Accept-Encoding: identity;q=0",
        "accept-encoding: *;q=0",
        "Upgrade: h2c",
        "TE: trailers",
        "Trailer: x",
        "Host: b.example",
        "Cookie: a=b; c=d",
        "Accept: */*",
    ]);
    let odd = one_of(&[
        "X",
        "X ",
        ": b",
        "X : b",
        "X\t: b",
        " X: folded",
        "\tfolded",
        "X:",
        "X: a\0b",
        "X: a\rb",
        "X: a\x7fb",
        "X: \u{e9}\u{80}",
        "X\u{e9}: b",
        "X(: b",
        "X: a\tb",
        "X:b",
        "X: \u{1}",
        "X_y!#$%&'*+.^`|~: z",
        "\0: x",
        "X\x7f: b",
        "X: b\x1f",
        "X\r: b",
    ]);
    let any = "[A-Za-z_-]{1,20}:[ -~]{0,24}";
    let long =
        (60usize..420).prop_map(|len| format!("{}: {}", "n".repeat(len / 2), "v".repeat(len)));
    let many = (90usize..104).prop_map(|count| "A:\r\n".repeat(count) + "B:");
    (prop_oneof![40 => any, 20 => meaningful, 20 => odd, 4 => long, 1 => many], end_of_line())
        .prop_map(|(field, end)| field + &end)
}

/// A head, and at times content behind it.
fn head() -> impl Strategy<Value = String> {
    let fields = proptest::collection::vec(field(), 0..3);
    let hosts = prop_oneof![
        20 => host().prop_map(|host| vec![host]),
        1 => Just(vec![]),
        1 => proptest::collection::vec(host(), 2..3),
    ];
    let end = mostly("\r\n", &["\r\n", "", "\n", "\r", "abc", "\r\nabc", " \r\n", "\r\n\r\n"]);
    (request_line(), hosts, fields, any::<bool>(), end).prop_map(
        |(line, hosts, fields, is_host_first, end)| {
            let (hosts, fields) = (hosts.concat(), fields.concat());
            let (first, second) = if is_host_first { (hosts, fields) } else { (fields, hosts) };
            format!("{line}{first}{second}{end}")
        },
    )
}

/// A pipeline of heads, at times with bytes inserted, replaced or cut off somewhere.
fn pipeline() -> impl Strategy<Value = Vec<u8>> {
    let heads = proptest::collection::vec(head(), 1..5);
    let byte = prop_oneof![select(&b"\r\n\0 \t:/.%?\x7f\x80\xff"[..]), any::<u8>()];
    let change = (any::<prop::sample::Index>(), byte, 0..3u8);
    (heads, proptest::option::weighted(0.3, change)).prop_map(|(heads, change)| {
        let mut bytes = heads.concat().into_bytes();
        match change {
            Some((at, byte, 0)) => bytes.insert(at.index(bytes.len()), byte),
            Some((at, byte, 1)) => {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            Some((at, _, _)) => bytes.truncate(at.index(bytes.len())),
            None => {}
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn both_paths_give_the_same_answers(input in pipeline()) {
        let access = Access::new(Buffer::new(), 4);
        prop_assert_eq!(
            answered(&input, None),
            answered(&input, Some(access)),
            "{}",
            input.escape_ascii()
        );
    }
}

/// The property compares something: both paths have a good share of the generated heads.
#[test]
fn generated_heads_are_for_both_paths() {
    let mut runner = TestRunner::deterministic();
    let (mut plain, mut answers) = (0, std::collections::BTreeSet::new());
    for _ in 0..500 {
        let input = pipeline().new_tree(&mut runner).unwrap().current();
        let known = &mut plain::KnownEnd::default();
        plain += u32::from(plain::parse(&input, known, HeadLimits::default()).is_some());
        let (text, ..) = answered(&input, None);
        answers
            .extend(text.match_indices("HTTP/1.1 ").map(|(at, _)| text[at + 9..][..3].to_owned()));
    }
    assert!((150..400).contains(&plain), "{plain} of 500 are plain");
    for status in ["200", "206", "301", "304", "308", "400", "401", "404", "414", "431", "503"] {
        assert!(answers.contains(status), "{status} is missing in {answers:?}");
    }
}
