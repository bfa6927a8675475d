//! Handlers allocate nothing for a request once they are made. memcached and its store do not for a
//! value that comes whole or in pieces, nor for an answer that is copied or shared. HTTP does not
//! for any answer, with codings, ranges, rules and the access log. The router does not for a static
//! answer, the codec helper not for a short one. A counting allocator holds them to that.

#[path = "../stack/tcp/tests/counting/mod.rs"]
mod counting;

use counting::ALLOCATIONS;
use simoom::app::codec::{Call, Framed, Lines};
use simoom::app::content;
use simoom::app::http::{Access, Buffer, Http, Options};
use simoom::app::router::{Request, Response, Router, Routes};
use simoom::app::testing::{http, memcached};
use simoom::app::{Blob, resp};
use simoom::store::{Settings, Store};
use simoom_io::send::{Pool, Queue};
use simoom_io::{Application, Closed, ConnectionId, Effects, Ends, Opened, Reply};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Offers `pieces` to a connection of its own; returns how many bytes were answered.
fn converse<A: Application<Blob = Blob>>(
    handler: &mut A,
    pool: &mut Pool<Blob>,
    pieces: &[&[u8]],
) -> u64 {
    let (mut conn, mut queue, mut answered) = (A::Conn::default(), Queue::default(), 0);
    let mut effects = Effects::default();
    let [remote, local] = [50_000, 11211].map(|port| (Ipv4Addr::LOCALHOST, port).into());
    let opened = Opened {
        local_port: 11211,
        active: false,
        token: 0,
        id: ConnectionId(1),
        ends: Some(Ends { remote, local }),
    };
    handler.opened(&mut conn, opened, &mut Reply::new(pool, &mut queue, &mut effects));
    for piece in pieces {
        let mut reply = Reply::new(pool, &mut queue, &mut effects);
        assert_eq!(
            handler.received(&mut conn, piece, &mut reply),
            piece.len(),
            "{}",
            piece.escape_ascii()
        );
        answered += queue.len();
        queue.clear(pool);
    }
    handler.closed(&mut conn, Closed::Finished);
    answered
}

#[test]
fn no_request_allocates() {
    let large = [b'x'; 5000];
    let set_large = [&b"set large 0 0 5000\r\n"[..], &large, b"\r\n"].concat();
    let packet = |opcode: u8, extras: &[u8], key: &[u8], value: &[u8]| {
        let body = (extras.len() + key.len() + value.len()) as u32;
        let head = [
            &[0x80, opcode, 0, key.len() as u8, extras.len() as u8, 0, 0, 0][..],
            &body.to_be_bytes(),
        ]
        .concat();
        [&head, &[0; 12][..], extras, key, value].concat()
    };
    let (binary_set, binary_get) = (packet(1, &[0; 8], b"b", b"value"), packet(0, b"", b"b", b""));
    let conversations: &[&[&[u8]]] = &[
        &[b"set a 0 0 3\r\nabc\r\nget a\r\ngets a b\r\n"],
        &[&set_large, b"get large\r\n"],
        &[b"set p 0 0 5000\r\n", &large[..2000], &large[2000..], b"\r\n", b"get p a large\r\n"],
        &[b"set n 0 0 1\r\n1\r\nincr n 5\r\ndecr n 1\r\ntouch n 10\r\ngat 0 n\r\ndelete n\r\n"],
        &[b"ms m 3 T30 k O1 c\r\nabc\r\nmg m v t k c\r\nma c N0 J5 v\r\nmd m q\r\nmd c\r\nme a\r\nmn\r\n"],
        &[b"append a 0 0 1\r\nx\r\nreplace a 0 0 3\r\nabc\r\nadd a 0 0 1\r\ny\r\nversion\r\n"],
        &[b"nonsense\r\nset a 0 0 3\r\nabcdefgh\r\nflush_all 1000\r\nverbosity 1\r\nstats conns\r\n"],
        &[&binary_set, &binary_get],
    ];
    assert_none(&mut memcached(), conversations);
}

#[test]
fn no_http_request_allocates() {
    let get = |target: &str, fields: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
    };
    let requests = [
        get("/12", ""),
        get("/large", ""),
        get("/dir?query", ""),
        get("/none", ""),
        get("/12", "If-None-Match: *\r\n"),
        get("/large", "Range: bytes=100-2000\r\n"),
        get("/large", "Range: bytes=-5\r\nIf-Range: \"x\"\r\n"),
        get("/large", "Range: bytes=0-9,300-399,-1\r\n"),
        get("/large", "Range: bytes=20000-\r\n"),
        get("/12", "Expect: 100-continue\r\nContent-Length: 2\r\n"),
        b"OPTIONS * HTTP/1.9\r\nHost: a\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ];
    let conversations: Vec<[&[u8]; 1]> = requests.iter().map(|request| [&request[..]]).collect();
    let conversations: Vec<&[&[u8]]> = conversations.iter().map(|pieces| &pieces[..]).collect();
    assert_none(&mut http(), &conversations);
}

/// Holds these conversations over and over.
fn assert_none<A: Application<Blob = Blob>>(handler: &mut A, conversations: &[&[&[u8]]]) {
    let mut pool = Pool::new(64, 64);
    let mut round =
        || -> u64 { conversations.iter().map(|pieces| converse(handler, &mut pool, pieces)).sum() };
    let answered = round();
    let before = ALLOCATIONS.get();
    for _ in 0..2000 {
        assert!(round() > answered / 2);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0, "allocations in 2000 rounds");
}

#[test]
fn no_request_for_a_file_allocates() {
    let root = tempfile::tempdir().unwrap();
    for (name, len) in [("small.css", 10), ("a.js", 5000), ("a.js.br", 900), ("a.js.gz", 100)] {
        std::fs::write(root.path().join(name), vec![b'x'; len]).unwrap();
    }
    let from = content::Pattern::parse("/old/*").unwrap();
    let to = content::Template::location("/new/$1", 1).unwrap();
    let site = content::Site {
        root: Some(root.path().into()),
        redirects: vec![content::RedirectRule { from, to, status: 308 }],
        try_files: vec![content::Template::path("$0.css", 0).unwrap()],
        ..content::Site::default()
    };
    let settings = content::Settings { limit_bytes: 1 << 20, site, ..Default::default() };
    let content = Arc::new(content::Content::load(&settings).unwrap());
    let get = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let requests = [
        get("/small.css", ""),
        get("/a.js", "Accept-Encoding: gzip, br;q=0.9\r\n"),
        get("/a.js", "Accept-Encoding: br\r\nRange: bytes=5-800\r\n"),
        get("/a.js", "Accept-Encoding: *;q=0\r\n"),
        get("/small", ""),
        get("/old/a?b", ""),
        get("/none", "User-Agent: b\r\n"),
    ];
    let conversations: Vec<[&[u8]; 1]> = requests.iter().map(|text| [text.as_bytes()]).collect();
    let conversations: Vec<&[&[u8]]> = conversations.iter().map(|pieces| &pieces[..]).collect();
    assert_none(&mut Http::new(content.clone(), Options::default()), &conversations);
    let access = Access::new(Buffer::new(), 4);
    let logging = Http::new(content, Options::default()).with_access_log(Some(access));
    assert_none(&mut { logging }, &conversations);
}

#[test]
fn no_request_to_a_route_with_a_static_answer_allocates() {
    let routes = Routes::<()>::new()
        .get("/", |_, ()| "Hello\n")
        .get("/users/{id}", |request: &Request<'_>, ()| {
            assert!(request.param("id").is_some() && request.query("x").is_some());
            Response::ok().bytes("text/plain", &[b's'; 5000][..])
        })
        .post("/", |request: &Request<'_>, ()| Response::new(200 + request.body().len() as u16));
    let tail = "HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\nAccept: */*\r\n";
    let whole = format!(
        "GET / {tail}\r\nHEAD /users/%41?x=1 {tail}\r\nPOST / {tail}Content-Length: 4\r\n\r\nbody"
    );
    let conversations: &[&[&[u8]]] = &[&[whole.as_bytes()]];
    assert_none(&mut Router::new(Arc::new(routes), ()), conversations);
}

#[test]
fn no_frame_with_a_short_answer_allocates() {
    let echo = |line: &[u8], call: &mut Call<'_, Lines>| call.answer(line);
    let conversations: &[&[&[u8]]] = &[&[b"one\r\ntwo\r\n\n"], &[b"three\n"]];
    assert_none(&mut Framed::new(Lines::default(), echo), conversations);
    let store = Store::new(&Settings { memory_bytes: 8 << 20, ..Settings::default() }).unwrap();
    let value = [b'v'; 5000];
    let set = [&b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5000\r\n"[..], &value, b"\r\n"].concat();
    let get = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n";
    let conversations: &[&[&[u8]]] = &[&[&set], &[get]];
    assert_none(&mut resp::application(store), conversations);
}
