use super::*;
use proptest::prelude::*;

fn read(line: &str) -> Result<Request<'_>, ProtocolError> {
    parse(line.as_bytes(), line.len() + 2)
}

fn refused(
    text: &'static [u8],
    value_bytes: u32,
    noreply: bool,
) -> Result<Request<'static>, ProtocolError> {
    Err(ProtocolError { text, value_bytes, noreply })
}

fn fixed(text: &'static str) -> Result<Request<'static>, ProtocolError> {
    Ok(Request::Fixed { text: text.as_bytes(), noreply: false })
}

#[test]
fn retrieval() {
    let get = |keys: &'static str, with_cas, touch| {
        Ok(Request::Get(Get { keys: keys.as_bytes(), with_cas, touch }))
    };
    for (line, expected) in [
        ("get a", get("a", false, None)),
        ("get  a b ", get("a b ", false, None)),
        ("gets a", get("a", true, None)),
        ("gat 10 a b", get("a b", false, Some(10))),
        ("gats -1 a", get("a", true, Some(-1))),
        ("get", refused(BAD_FORMAT, 0, false)),
        ("get  ", refused(BAD_FORMAT, 0, false)),
        ("gat 10", refused(BAD_FORMAT, 0, false)),
        ("gat x a", refused(BAD_EXPTIME, 0, false)),
        (" get a", fixed("ERROR")),
        ("GET a", fixed("ERROR")),
        ("geta a", fixed("ERROR")),
    ] {
        assert_eq!(read(line), expected, "{line}");
    }
}

#[test]
fn storage() {
    let stored = |how, client_flags, exptime, len, noreply| {
        Ok(Request::Store(Store { how, key: b"k", client_flags, exptime, len, noreply }))
    };
    for (line, expected) in [
        ("set k 0 0 3", stored(How::Set, 0, 0, 3, false)),
        ("add k 4294967295 -1 0 noreply", stored(How::Add, u32::MAX, -1, 0, true)),
        ("replace k +1 60 3", stored(How::Replace, 1, 60, 3, false)),
        ("append k 0 0 3 x y", stored(How::Append, 0, 0, 3, false)),
        ("prepend k 0 0 3", stored(How::Prepend, 0, 0, 3, false)),
        ("cas k 0 0 3 18446744073709551615", stored(How::Cas(u64::MAX), 0, 0, 3, false)),
        ("cas k 0 0 3 7 noreply", stored(How::Cas(7), 0, 0, 3, true)),
        ("set k 4294967296 99999999999 3", stored(How::Set, 0, 1_215_752_191, 3, false)),
        ("set k 0 0", refused(BAD_FORMAT, 0, false)),
        ("set k 0 0 x", refused(BAD_FORMAT, 0, false)),
        ("set k 0 0 -1 noreply", refused(BAD_FORMAT, 0, false)),
        ("set k 0 0 2147483646", refused(BAD_FORMAT, 0, false)),
        ("set k -1 0 3", refused(BAD_FORMAT, 5, false)),
        ("set k 1x 0 3", refused(BAD_FORMAT, 5, false)),
        ("set k 0 x 3 noreply", refused(BAD_FORMAT, 5, true)),
        ("cas k 0 0 3", refused(BAD_FORMAT, 5, false)),
        ("cas k 0 0 3 noreply", refused(BAD_FORMAT, 5, true)),
    ] {
        assert_eq!(read(line), expected, "{line}");
    }
    let long = format!("set {} 0 0 1", "k".repeat(251));
    assert_eq!(read(&long), refused(BAD_FORMAT, 3, false));
    let longest = "k".repeat(250);
    assert!(read(&format!("set {longest} 0 0 1")).is_ok());
}

#[test]
fn changes() {
    let key = b"k";
    for (line, expected) in [
        ("delete k", Ok(Request::Delete { key, noreply: false })),
        ("delete k 0 noreply", Ok(Request::Delete { key, noreply: true })),
        ("delete k 0", Ok(Request::Delete { key, noreply: false })),
        (
            "delete k 1",
            refused(
                b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]",
                0,
                false,
            ),
        ),
        (
            "delete k a noreply",
            refused(
                b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]",
                0,
                true,
            ),
        ),
        ("delete", refused(BAD_FORMAT, 0, false)),
        ("incr k 1", Ok(Request::Arithmetic { key, increment: true, delta: 1, noreply: false })),
        (
            "decr k 1 noreply",
            Ok(Request::Arithmetic { key, increment: false, delta: 1, noreply: true }),
        ),
        ("incr k -1", refused(BAD_DELTA, 0, false)),
        ("incr k noreply", refused(BAD_DELTA, 0, true)),
        ("incr k", refused(BAD_FORMAT, 0, false)),
        ("touch k 5", Ok(Request::Touch { key, exptime: 5, noreply: false })),
        ("touch k x", refused(BAD_EXPTIME, 0, false)),
        ("touch k", refused(BAD_FORMAT, 0, false)),
        ("flush_all", Ok(Request::FlushAll { delay: 0, noreply: false })),
        ("flush_all noreply", Ok(Request::FlushAll { delay: 0, noreply: true })),
        (" flush_all 10 noreply", Ok(Request::FlushAll { delay: 10, noreply: true })),
        ("flush_all x", refused(BAD_EXPTIME, 0, false)),
    ] {
        assert_eq!(read(line), expected, "{line}");
    }
    let long = "k".repeat(251);
    for line in [format!("delete {long}"), format!("incr {long} 1"), format!("touch {long} 1")] {
        assert_eq!(read(&line), refused(BAD_FORMAT, 0, false), "{line}");
    }
}

#[test]
fn what_operators_send() {
    for (line, expected) in [
        ("stats", Ok(Request::Stats(b""))),
        ("stats items", Ok(Request::Stats(b"items"))),
        ("stats s", Ok(Request::Stats(b"settings"))),
        ("stats res", Ok(Request::Stats(b"reset"))),
        ("stats detail on", fixed("CLIENT_ERROR stats detail not allowed")),
        ("stats cachedump 1 2", fixed("CLIENT_ERROR stats cachedump not allowed")),
        ("version", Ok(Request::Version)),
        ("quit now", Ok(Request::Quit)),
        ("verbosity 1", fixed("OK")),
        ("verbosity", fixed("CLIENT_ERROR bad command line format")),
        ("shutdown", fixed("SERVER_ERROR: shutdown not enabled")),
        ("slabs reassign 1 2", fixed("CLIENT_ERROR slab reassignment disabled")),
        ("slabs automove 1", fixed("ERROR")),
        ("lru_crawler metadump all", Ok(Request::Dump(Dump::Metadata))),
        ("lru_crawler mgdump hash", Ok(Request::Dump(Dump::Keys))),
        ("lru_crawler metadump 1", fixed("BADCLASS invalid class id")),
        ("lru_crawler crawl all", fixed("CLIENT_ERROR lru crawler disabled")),
        ("lru_crawler enable", fixed("ERROR")),
        ("cache_memlimit", fixed("ERROR")),
        ("cache_memlimit 4", fixed("MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m")),
        ("cache_memlimit 64", fixed("MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust")),
        ("watch", fixed("CLIENT_ERROR watch commands not allowed")),
        ("GET / HTTP/1.1", Ok(Request::HangUp)),
        ("nonsense", fixed("ERROR")),
    ] {
        assert_eq!(read(line), expected, "{line}");
    }
    for (line, wire_len) in [(&b""[..], 2), (b"mn", 3), (b"a", 3)] {
        assert_eq!(
            parse(line, wire_len),
            refused(BAD_FORMAT, 0, false),
            "three bytes are no command"
        );
    }
    assert_eq!(read("nonsense noreply"), Ok(Request::Fixed { text: b"ERROR", noreply: true }));
}

proptest! {
    /// The one-pass parsers agree with the parser of all lines wherever they accept a line.
    #[test]
    fn lines_parsed_in_one_pass_are_parsed_alike(
        words in proptest::collection::vec(
            prop_oneof![
                Just("get"), Just("set"), Just("a"), Just("0"), Just("123456789"), Just("0123"),
                Just("1234567890"), Just("-1"), Just("+5"), Just("noreply"), Just(""), Just("k\tk"),
                Just("x\r"), Just("é"),
            ],
            0..8,
        ),
        is_set in any::<bool>(),
        line_end in prop_oneof![Just("\r\n"), Just("\n"), Just("\r"), Just("")],
        behind in prop_oneof![Just(""), Just("get b\r\n"), Just("1\r\n")],
    ) {
        let command = if is_set { "set" } else { "get" };
        let input = format!("{command} {}{line_end}{behind}", words.join(" "));
        let wire_len = input.find('\n').map_or(input.len(), |at| at + 1);
        let line = input[..wire_len].trim_end_matches('\n');
        let line = line.strip_suffix('\r').unwrap_or(line);
        if let Some((key, len)) = single_get(input.as_bytes()) {
            let get = Get { keys: key, with_cas: false, touch: None };
            prop_assert_eq!(len, wire_len);
            prop_assert_eq!(parse(line.as_bytes(), wire_len), Ok(Request::Get(get)));
        }
        if let Some((store, len)) = plain_set(input.as_bytes()) {
            prop_assert_eq!(len, wire_len);
            prop_assert_eq!(parse(line.as_bytes(), wire_len), Ok(Request::Store(store)));
        }
    }
}

#[test]
fn usual_lines_are_parsed_in_one_pass() {
    assert_eq!(single_get(b"get key\r\nget b"), Some((&b"key"[..], 9)));
    assert_eq!(
        single_get(&[b"get ", &[b'k'; 250][..], b"\n"].concat()).map(|get| get.1),
        Some(255)
    );
    assert_eq!(single_get(&[b"get ", &[b'k'; 251][..], b"\n"].concat()), None);
    for line in ["get a b\r\n", "get  a\r\n", "get a\r", "get a", "gets a\r\n", "get \r\n"] {
        assert_eq!(single_get(line.as_bytes()), None, "{line:?}");
    }
    let store =
        Store { how: How::Set, key: b"key", client_flags: 4, exptime: 60, len: 100, noreply: true };
    assert_eq!(plain_set(b"set key 4 60 100 noreply\r\nv"), Some((store, 26)));
    for line in ["set a 0 0 1 2\r\n", "set a 0 0\r\n", "set a 0 0 1", "set a 0 -1 1\r\n"] {
        assert_eq!(plain_set(line.as_bytes()), None, "{line:?}");
    }
}
