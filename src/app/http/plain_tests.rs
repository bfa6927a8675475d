use super::*;
use crate::app::http::head::{self, Search};
use crate::app::http::path;
use crate::app::http::request::{Framing, Method, Request};
use crate::app::http::response::Persistence;
use proptest::prelude::*;
use std::mem::MaybeUninit;

/// Path, host, whether there is an Accept-Encoding field, whether the connection closes, and length
/// of a head.
type Read = (Vec<u8>, Vec<u8>, bool, bool, usize);

/// What the general path makes of a head: the same, if the head has no meaning besides its path and
/// its host, and may close the connection.
fn general(bytes: &[u8], limits: HeadLimits) -> Option<Read> {
    let len = head::find_end(bytes, &mut Search::default(), limits).ok()??;
    let mut space = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let request = Request::parse(&bytes[..len], &mut space).ok()?;
    let has_no_meaning = request.method == Method::Get
        && matches!(request.persistence, Persistence::Keep | Persistence::Close)
        && request.framing == Framing::None
        && !request.expects_continue
        && !request.conditional
        && request.values("Accept-Encoding").all(|value| !value.contains(&b';'))
        && !request.ranged
        && request.minor == 1;
    let mut scratch = vec![0; bytes.len()];
    let path = path::resolve(request.target?, &mut scratch).ok()?.to_vec();
    let closes = request.persistence == Persistence::Close;
    has_no_meaning.then(|| (path, request.host().to_vec(), request.accepts_codings, closes, len))
}

fn plain(bytes: &[u8], limits: HeadLimits) -> Option<Read> {
    let read = |known: &mut KnownEnd| {
        let Plain { path, host, accepts_codings, closes, len } = parse(bytes, known, limits)?;
        Some((path.to_vec(), host.to_vec(), accepts_codings, closes, len))
    };
    let mut known = KnownEnd::default();
    let meaning = read(&mut known);
    assert_eq!(read(&mut known), meaning, "the same head again");
    // Whatever head was read before: each end that lacks a byte of this one, and some others.
    let named = &known.bytes[..known.end.len];
    let lacking = (0..named.len()).map(|at| [&named[..at], &named[at + 1..]].concat());
    let too_long = format!("Host: a\r\nX: {}", "x".repeat(KNOWN_MAX_BYTES));
    let others =
        ["Host: a", "Host: a:", "Host: a.example:80", "host: b\r\nX: y", "Host: ", &too_long];
    let others = others.iter().map(|fields| format!(" HTTP/1.1\r\n{fields}\r\n\r\n").into_bytes());
    for other in lacking.chain(others) {
        let mut known = KnownEnd::default();
        let head = [b"GET /12", &other[..]].concat();
        parse(&head, &mut known, HeadLimits::default());
        assert_eq!(read(&mut known), meaning, "{}", other.escape_ascii());
    }
    meaning
}

#[test]
fn the_end_of_a_plain_head_is_remembered_and_no_other() {
    let mut known = KnownEnd::default();
    let mut read = |head: &str| {
        let is_plain = parse(head.as_bytes(), &mut known, HeadLimits::default()).is_some();
        (is_plain, String::from_utf8(known.bytes[..known.end.len].to_vec()).unwrap())
    };
    let ends = [" HTTP/1.1\r\nHost: a\r\n\r\n", " HTTP/1.1\r\nhost: b\r\nX: y\r\n\r\n"];
    for end in ends {
        assert_eq!(read(&format!("GET /1{end}GET /2{end}")), (true, end.to_owned()));
    }
    let long = format!(" HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(KNOWN_MAX_BYTES));
    assert_eq!(read(&format!("GET /1{long}")), (true, ends[1].to_owned()));
    assert_eq!(read("GET /1 HTTP/1.1\r\nHost: a\r\nRange: x\r\n\r\n"), (false, ends[1].to_owned()));
    assert_eq!(read("GET /1 HTTP/1.1\r\nHost: a\r\n"), (false, ends[1].to_owned()));
}

#[test]
fn heads_of_common_clients_are_plain() {
    let table = [
        ("wrk", "Host: 198.18.0.1:8080\r\n"),
        ("curl", "Host: example.org\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n"),
        ("ab -k", "Connection: Keep-Alive\r\nHost: a\r\nUser-Agent: ApacheBench/2.3\r\n"),
        ("lower case", "host: a-b.c\r\nx_y: 1\r\nempty:\r\nname: caf\u{e9} \r\n"),
        ("browser", "Host: a\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\n"),
        ("ab", "Connection: close\r\nHost: a\r\n"),
        ("both", "Host: a\r\nConnection: keep-alive\r\nConnection: CLOSE \r\n"),
        ("no host name", "Host: \r\n"),
        ("no port", "Host: a:\r\n"),
    ];
    for (client, fields) in table {
        for path in ["/", "/12", "/1234567", "/12345678", "/assets/app_1.min.js", "/a/b.c/", "/a."]
        {
            let head = format!("GET {path} HTTP/1.1\r\n{fields}\r\n");
            let parsed = plain(head.as_bytes(), HeadLimits::default());
            assert!(parsed.is_some(), "{client}: {path}");
            assert_eq!(parsed, general(head.as_bytes(), HeadLimits::default()), "{client}: {path}");
            for len in 0..head.len() {
                assert_eq!(plain(&head.as_bytes()[..len], HeadLimits::default()), None, "{len}");
            }
        }
    }
}

#[test]
fn other_heads_are_not_plain() {
    let host = "Host: a\r\n";
    let lines = [
        "HEAD / HTTP/1.1",
        "GET * HTTP/1.1",
        "GET / HTTP/1.0",
        "GET / HTTP/1.2",
        "GET /  HTTP/1.1",
        "GET //a HTTP/1.1",
        "GET /./a HTTP/1.1",
        "GET /a/../b HTTP/1.1",
        "GET /.a HTTP/1.1",
        "GET /1234567/.a HTTP/1.1",
        "GET /123456/.a HTTP/1.1",
        "GET /%61 HTTP/1.1",
        "GET /a?b HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /a\t HTTP/1.1",
    ];
    for line in lines {
        let head = format!("{line}\r\n{host}\r\n");
        assert_eq!(plain(head.as_bytes(), HeadLimits::default()), None, "{line}");
    }
    let fields = [
        "",
        "Host : a\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a b\r\n",
        "Host: a:b\r\n",
        "Host: [::1]\r\n",
        "Host: a\n",
        "Host: a\r\nRange: bytes=0-1\r\n",
        "Host: a\r\nConnection: close, x\r\n",
        "Host: a\r\nConnection: upgrade\r\n",
        "Host: a\r\nContent-Length: 0\r\n",
        "Host: a\r\nTransfer-Encoding: chunked\r\n",
        "Host: a\r\nExpect: 100-continue\r\n",
        "Host: a\r\nAccept-Encoding: gzip;q=0\r\n",
        "Host: a\r\nIf-None-Match: *\r\n",
        "Host: a\r\nX: a\r\n b\r\n",
        "Host: a\r\n: b\r\n",
        "Host: a\r\nX: a\0b\r\n",
        "Host: a\r\nX: a\rb\r\n",
        "Host: a\r\nX: a\x7f\r\n",
        "Host: a\r\nX b: c\r\n",
    ];
    for fields in fields {
        let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        assert_eq!(plain(head.as_bytes(), HeadLimits::default()), None, "{fields:?}");
    }
}

#[test]
fn the_limits_are_those_of_the_general_path() {
    for fields in [FIELDS_MAX - 1, FIELDS_MAX] {
        let more = "X: y\r\n".repeat(fields);
        let head = format!("GET /12 HTTP/1.1\r\nHost: a\r\n{more}\r\n");
        let parsed = plain(head.as_bytes(), HeadLimits::default());
        assert_eq!(parsed.is_some(), fields < FIELDS_MAX);
        assert_eq!(parsed, general(head.as_bytes(), HeadLimits::default()));
    }
    let head = b"GET /12 HTTP/1.1\r\nHost: a\r\n\r\n";
    for line_max_bytes in 1..head.len() as u16 + 2 {
        for head_max_bytes in line_max_bytes..head.len() as u16 + 2 {
            let limits = HeadLimits { line_max_bytes, head_max_bytes };
            assert_eq!(plain(head, limits), general(head, limits), "{limits:?}");
        }
    }
}

type Marks = fn(u64) -> u64;

#[test]
fn each_byte_is_marked_as_its_table_says() {
    for byte in 0..=u8::MAX {
        let word = u64::from_le_bytes([b'a', byte, 0, 0xff, byte, byte, b'z', byte]);
        let alphanumeric = byte.is_ascii_alphanumeric();
        let tables: [(Marks, bool); 3] = [
            (name_bytes, alphanumeric || b"-.".contains(&byte)),
            (path_bytes, alphanumeric || b"-._/".contains(&byte)),
            (value_bytes, byte >= b' ' && byte != 0x7f),
        ];
        for (marks, is_member) in tables {
            for place in [1, 4, 5, 7] {
                let mark = marks(word).to_le_bytes()[place];
                assert_eq!(mark, if is_member { 0x80 } else { 0 }, "{byte:#x} at {place}");
            }
        }
    }
}

/// Pieces of heads, most of them plain.
const PIECES: [&str; 41] = [
    "GET /",
    "GET /a.b/c",
    "HEAD /",
    " HTTP/1.1",
    " HTTP/1.0",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r\n\r\n",
    "Host: a",
    "Host: a.example:80",
    "host:b",
    "Accept: */*",
    "User-Agent: agent/1.0 (x; y)",
    "Connection: keep-alive",
    "Connection: close",
    "Cookie: a=b; c=d",
    "Range: bytes=0-0",
    ":",
    " ",
    "  ",
    "\t",
    "/",
    ".",
    "..",
    "%41",
    "?",
    "#",
    "_",
    "~",
    "x",
    "abcdefgh",
    "\n",
    "\r",
    "\0",
    "\u{e9}",
    "Accept-Encoding: gzip, br",
    "Accept-Encoding: gzip;q=0",
    "If-Range: x",
    "X-1: ",
    "Content-Length: 0",
];

/// Host, or a field that mostly has no meaning.
const FIELD: &str = "(Host: [a-z.]{0,9}(:[0-9]{0,5})?|[A-Za-z_-]{1,20}: ?[ -~]{0,24})\r\n";

proptest! {
    /// A head that is plain means the same to the general path.
    #[test]
    fn plain_heads_mean_the_same_to_both_paths(
        path in "[a-z0-9_./-]{0,20}",
        fields in proptest::collection::vec(FIELD, 0..5),
        change in proptest::option::of(any::<(prop::sample::Index, prop::sample::Index)>()),
        behind in "[ -~\r\n]{0,12}",
    ) {
        let mut head = format!("GET /{path} HTTP/1.1\r\n{}\r\n{behind}", fields.concat());
        if let Some((at, piece)) = change {
            head.insert_str(at.index(head.len()), PIECES[piece.index(PIECES.len())]);
        }
        let limits = HeadLimits::default();
        if let Some(parsed) = plain(head.as_bytes(), limits) {
            prop_assert_eq!(Some(parsed), general(head.as_bytes(), limits));
        }
    }

    #[test]
    fn pieces_mean_the_same_to_both_paths(
        pieces in proptest::collection::vec(any::<prop::sample::Index>(), 0..16),
    ) {
        let pieces = pieces.iter().map(|index| PIECES[index.index(PIECES.len())]);
        let head = format!("GET /12 HTTP/1.1\r\n{}", pieces.collect::<String>());
        let limits = HeadLimits::default();
        if let Some(parsed) = plain(head.as_bytes(), limits) {
            prop_assert_eq!(Some(parsed), general(head.as_bytes(), limits));
        }
    }
}
