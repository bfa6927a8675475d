//! The parts that all protocols share: counters and statistics, the order of answers, and pipelines
//! cut at any byte. Each protocol has its own test file.

#[path = "binary_tests.rs"]
mod binary;
#[path = "meta_tests.rs"]
mod meta;
#[path = "model_tests.rs"]
mod model;
#[path = "share_tests.rs"]
mod shares;
#[path = "text_tests.rs"]
mod text;
#[path = "usual_tests.rs"]
mod usual;

use super::*;
use crate::app::testing::{Line, NOW, fuzz_memcached, memcached, memcached_answers};
use proptest::prelude::*;

/// What an input is answered on a fresh store, and whether the connection closes.
fn ask(input: &[u8]) -> (String, bool) {
    let (answers, closed) = memcached_answers(input, &[], false);
    (String::from_utf8_lossy(&answers).into_owned(), closed)
}

/// Whether each input, on a store of its own, gets its answer and leaves the connection open.
fn check(table: &[(&str, &str)]) {
    for (input, expected) in table {
        let (answer, closed) = ask(input.replace('\n', "\r\n").as_bytes());
        assert_eq!(answer.replace("\r\n", "\n"), *expected, "{input}");
        assert!(!closed, "{input}");
    }
}

fn open() -> Line<Memcached> {
    Line::open(memcached(), 11211)
}

/// The value of a line of `stats`.
fn stat<'a>(answer: &'a str, name: &str) -> &'a str {
    let line = answer
        .lines()
        .find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {answer}"))
}

#[test]
fn what_happens_is_counted() {
    let mut line = open();
    line.offer(
        b"set a 0 0 1\r\n1\r\nget a b\r\ngets a\r\ngat 0 a b\r\ntouch a 0\r\ntouch b 0\r\nincr a 1\r\nincr b 1\r\n\
          decr a 1\r\ndecr b 1\r\ncas a 0 0 1 99\r\nx\r\ncas b 0 0 1 1\r\nx\r\ndelete b\r\nflush_all\r\nme a\r\n\
          set a 0 0 9999999\r\n",
    );
    line.take();
    line.offer(&vec![b'x'; 9_999_999]);
    line.offer(b"\r\nset c 0 0 1\r\n1\r\ndelete c\r\nset a 0 0 1\r\n1\r\nstats\r\n");
    let answer = String::from_utf8(line.take()).unwrap();
    for (name, value) in [
        ("cmd_get", 3),
        ("get_hits", 2),
        ("get_misses", 1),
        ("cmd_touch", 4),
        ("touch_hits", 2),
        ("touch_misses", 2),
        ("incr_hits", 1),
        ("incr_misses", 1),
        ("decr_hits", 1),
        ("decr_misses", 1),
        ("cas_badval", 1),
        ("cas_misses", 1),
        ("cas_hits", 0),
        ("delete_hits", 1),
        ("delete_misses", 1),
        ("cmd_flush", 1),
        ("cmd_meta", 1),
        ("cmd_set", 5),
        ("store_too_large", 1),
        ("curr_connections", 1),
        ("total_connections", 1),
        ("curr_items", 1),
        ("limit_maxbytes", 64 << 20),
        ("threads", 1),
        ("pointer_size", 64),
        ("uptime", 0),
        ("time", NOW),
    ] {
        assert_eq!(stat(&answer, name), value.to_string(), "{name}");
    }
    for name in ["rusage_user", "rusage_system"] {
        let (seconds, micros) = stat(&answer, name).split_once('.').unwrap();
        assert!(seconds.parse::<u64>().is_ok() && micros.len() == 6, "{name}");
    }
    assert_eq!(stat(&answer, "pid"), std::process::id().to_string());
    assert!(answer.ends_with("END\r\n"));
    line.offer(b"stats reset\r\nstats\r\n");
    let answer = String::from_utf8(line.take()).unwrap();
    assert!(
        answer.starts_with("RESET\r\n")
            && stat(&answer, "cmd_get") == "0"
            && stat(&answer, "curr_items") == "1"
    );
}

#[test]
fn stats_have_topics() {
    let (answer, _) =
        ask(b"set a 0 0 1\r\nx\r\nstats settings\r\nstats items\r\nstats slabs\r\nstats sizes\r\nstats x\r\n");
    for (name, value) in [
        ("maxbytes", "67108864"),
        ("item_size_max", "1048576"),
        ("cas_enabled", "yes"),
        ("active_slabs", "1"),
        ("sizes_status", "disabled"),
    ] {
        assert_eq!(stat(&answer, name), value, "{name}");
    }
    assert!(answer.contains(":number 1\r\n") && answer.contains(":used_chunks 1\r\n"), "{answer}");
    assert!(answer.ends_with("END\r\nERROR\r\n"));
}

#[test]
fn items_tell_what_became_of_them_in_each_class() {
    let (answer, _) = ask(
        b"set a 0 0 1\r\nx\r\nset b 0 60 1\r\nx\r\nget b\r\nset c 0 60 1\r\nx\r\nflush_all\r\n\
          delete b\r\ndelete c\r\nstats items\r\nstats slabs\r\n",
    );
    let class = answer.split("items:").find_map(|line| line.split_once(":number 0\r\n"));
    let (class, _) = class.unwrap_or_else(|| panic!("no class without items in {answer}"));
    for (name, value) in [("reclaimed", 2), ("expired_unfetched", 1), ("evicted", 0)] {
        assert_eq!(stat(&answer, &format!("items:{class}:{name}")), value.to_string(), "{name}");
        assert_eq!(stat(&answer, &format!("items:1:{name}")), "0", "{name}");
    }
    for name in ["evicted_nonzero", "evicted_time", "evicted_unfetched", "outofmemory"] {
        assert_eq!(stat(&answer, &format!("items:{class}:{name}")), "0", "{name}");
    }
    let number = |name: &str| stat(&answer, name).parse::<u64>().unwrap();
    // The mean item is the one item, and the gaps would hold the rest.
    assert_eq!(number("1:chunk_size"), number("items:1:mem_requested"));
    assert_eq!(number("1:total_chunks"), number("1:used_chunks") + number("1:free_chunks"));
    assert!(number("1:total_chunks") * number("1:chunk_size") <= number("total_malloced"));
}

/// Without these lines memcached_exporter reports the server as down.
#[test]
fn slabs_tell_what_was_stored_in_each() {
    let (answer, _) =
        ask(b"set a 0 0 1\r\nx\r\nset b 0 60 1\r\nx\r\nadd a 0 0 1\r\ny\r\ngets a\r\ncas a 0 0 1 7\r\ny\r\n\
          cas a 0 0 1 1\r\ny\r\ncas none 0 0 1 1\r\ny\r\nincr a 1\r\nstats slabs\r\n");
    for (name, value) in [("1:cmd_set", "5"), ("1:cas_hits", "1"), ("1:cas_badval", "1")] {
        assert_eq!(stat(&answer, name), value, "{name}: {answer}");
    }
    let sets: Vec<&str> = answer.lines().filter(|line| line.contains(":cmd_set ")).collect();
    assert!(sets.len() == 2 && sets[1].ends_with(" 1"), "{sets:?}");
}

#[test]
fn small_answers_are_one_entry_and_large_ones_share_the_item() {
    let mut pool = simoom_io::send::Pool::<Blob>::new(64, 64);
    let mut handler = memcached();
    for (len, entries) in [(100, 1), (450, 1), (COPY_MAX_BYTES, 2), (20_000, 2)] {
        let (mut queue, mut effects) = Default::default();
        let mut conn = Connection::default();
        let mut reply = Reply::new(&mut pool, &mut queue, &mut effects);
        let value = "x".repeat(len);
        let input = format!("set a 0 0 {len} noreply\r\n{value}\r\nget a\r\n");
        assert_eq!(handler.received(&mut conn, input.as_bytes(), &mut reply), input.len());
        effects.timeout = None;
        assert_eq!((pool.free(), effects), ((64 - entries, 63), Default::default()), "{len}");
        queue.clear(&mut pool);
    }
}

#[test]
fn an_item_being_sent_stays_as_it_is() {
    let mut line = open();
    let old = "o".repeat(10_000);
    line.offer(
        format!(
            "set a 0 0 10000\r\n{old}\r\nget a\r\nset a 0 0 3\r\nnew\r\ndelete a\r\nflush_all\r\n"
        )
        .as_bytes(),
    );
    let expected =
        format!("STORED\r\nVALUE a 0 10000\r\n{old}\r\nEND\r\nSTORED\r\nDELETED\r\nOK\r\n");
    assert_eq!(String::from_utf8(line.take()).unwrap(), expected);
}

#[test]
fn a_value_goes_straight_to_its_place() {
    let mut line = open();
    line.offer(b"set a 0 0 100000\r\n");
    for _ in 0..100 {
        line.offer(&[b'x'; 1000]);
        assert_eq!(line.buffered(), 0);
    }
    line.offer(b"\r");
    assert_eq!((line.take(), line.buffered()), (vec![], 1));
    line.offer(b"\nget a\r\n");
    let answer = line.take();
    assert!(
        answer.starts_with(b"STORED\r\nVALUE a 0 100000\r\nxxx")
            && answer.ends_with(b"xxx\r\nEND\r\n")
    );
}

#[test]
fn a_connection_that_ends_within_a_value_leaves_no_trace() {
    let mut handler = memcached();
    let (mut queue, mut effects) = Default::default();
    let mut pool = simoom_io::send::Pool::new(8, 8);
    // More connections, one after the other, than there are places.
    for _ in 0..200 {
        let mut conn = Connection::default();
        let mut reply = Reply::new(&mut pool, &mut queue, &mut effects);
        handler.received(&mut conn, b"set a 0 0 100\r\nabc", &mut reply);
        assert!(matches!(conn.phase, Phase::Upload(_)) && !conn.is_between_requests());
        handler.closed(&mut conn, Closed::ResetByPeer);
    }
    assert_eq!(queue.len(), 0, "there was a place each time");
}

#[test]
fn draining_ends_each_connection_with_its_request() {
    let mut line = open();
    line.offer(b"set a 0 0 3\r\nab");
    line.app.drain();
    line.offer(b"c\r\nget a\r\n");
    assert_eq!((line.take(), line.closed()), (b"STORED\r\n".to_vec(), true));
}

/// A packet of the binary protocol.
fn packet(opcode: u8, extras: &[u8], key: &[u8], value: &[u8], cas: u64) -> Vec<u8> {
    let body_len = (extras.len() + key.len() + value.len()) as u32;
    let mut bytes = vec![0x80, opcode];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([extras.len() as u8, 0, 0, 0]);
    bytes.extend(body_len.to_be_bytes());
    bytes.extend(*b"opaq");
    bytes.extend(cas.to_be_bytes());
    [&bytes, extras, key, value].concat()
}

const SET: &[u8] = &[0, 0, 0, 7, 0, 0, 0, 0];

/// Requests of every kind in all protocols but the binary one, some broken, and noise.
fn chunk() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![Just("a"), Just("b"), Just("key"), Just("Zm9v")];
    let store = (
        prop_oneof![Just("set"), Just("add"), Just("replace"), Just("append"), Just("prepend")],
        key.clone(),
        0usize..700,
        prop_oneof![8 => Just("\r\n"), 1 => Just("xx")],
        prop_oneof![4 => Just(""), 1 => Just(" noreply")],
    )
        .prop_map(|(how, key, len, end, noreply)| {
            format!("{how} {key} 1 0 {len}{noreply}\r\n{}{end}", "7".repeat(len)).into_bytes()
        });
    let meta = (
        prop_oneof![Just("mg"), Just("md"), Just("ma"), Just("me")],
        key.clone(),
        proptest::collection::vec(
            prop_oneof![
                Just("v"),
                Just("k"),
                Just("c"),
                Just("t"),
                Just("s"),
                Just("f"),
                Just("q"),
                Just("b"),
                Just("I"),
                Just("x"),
                Just("N30"),
                Just("R20"),
                Just("T10"),
                Just("O1"),
                Just("C3"),
                Just("E9"),
                Just("MD"),
                Just("l"),
                Just("h"),
                Just("u"),
                Just("!"),
            ],
            0..6,
        ),
    )
        .prop_map(|(command, key, flags)| {
            format!("{command} {key} {}\r\n", flags.join(" ")).into_bytes()
        });
    let meta_set = (
        key.clone(),
        0usize..30,
        prop_oneof![Just("k O1 c s"), Just("MA s"), Just("ME q"), Just("T"), Just("I C1 b")],
    )
        .prop_map(|(key, len, flags)| {
            format!("ms {key} {len} {flags}\r\n{}\r\n", "5".repeat(len)).into_bytes()
        });
    let simple = prop_oneof![
        Just("get a b key\r\n"),
        Just("gets a\n"),
        Just("gat 10 a b\r\n"),
        Just("incr a 5\r\n"),
        Just("decr b 1\r\n"),
        Just("delete a\r\n"),
        Just("touch a 5\r\n"),
        Just("mn\r\n"),
        Just("stats settings\r\n"),
        Just("stats items\r\n"),
        Just("lru_crawler metadump all\r\n"),
        Just("flush_all\r\n"),
        Just("version\r\n"),
        Just("verbosity 1\r\n"),
        Just("nonsense\r\n"),
        Just("\r\n"),
        Just("cas a 0 0 1 1\r\nx\r\n"),
        Just("set a 0 0 9999999\r\nabc"),
    ]
    .prop_map(|text| text.as_bytes().to_vec());
    let many =
        (1usize..600).prop_map(|n| format!("get {}\r\n", "a nothing ".repeat(n)).into_bytes());
    let noise = proptest::collection::vec(any::<u8>(), 0..30);
    prop_oneof![6 => store, 6 => meta, 3 => meta_set, 6 => simple, 1 => many, 1 => noise]
}

/// Packets, some broken.
fn binary_chunk() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![Just(&b"a"[..]), Just(&b"b"[..]), Just(&b""[..])];
    let extras = prop_oneof![Just(0usize), Just(4), Just(8), Just(20)];
    (0u8..0x27, extras, key, 0usize..100, 0u64..4, prop_oneof![9 => Just(true), 1 => Just(false)])
        .prop_map(|(opcode, extras, key, value, cas, formed)| {
            let (extras, value) = match opcode {
                _ if !formed => (extras, value),
                1..=3 | 0x11..=0x13 => (8, value),
                0x0e | 0x0f | 0x19 | 0x1a => (0, value),
                5 | 6 | 0x15 | 0x16 => (20, 0),
                0x1c..=0x1e | 0x23 | 0x24 => (4, 0),
                _ => (0, 0),
            };
            // What `stat` without a topic tells depends on more than the requests.
            let key = if opcode == 16 { b"items" } else { key };
            packet(opcode, &vec![0; extras], key, &vec![b'5'; value], cas)
        })
}

/// A value that is still on its way while the list is told: found by the property below.
#[test]
fn a_list_of_classes_is_the_same_beside_a_value_that_comes_byte_by_byte() {
    let value = format!("{}xx", "7".repeat(65));
    let input =
        format!("get a nothing a nothing \r\nset a 1 0 65 noreply\r\n{value}stats items\r\n");
    let whole = memcached_answers(input.as_bytes(), &[], false);
    assert_eq!(memcached_answers(input.as_bytes(), &[1], false), whole);
}

proptest! {
    #[test]
    fn any_split_gets_the_same_answers(
        chunks in proptest::collection::vec(chunk(), 1..12),
        sizes in proptest::collection::vec(1usize..200, 1..6),
        narrow in any::<bool>(),
    ) {
        let input = chunks.concat();
        prop_assert_eq!(memcached_answers(&input, &sizes, narrow), memcached_answers(&input, &[], false));
    }

    #[test]
    fn any_split_of_packets_gets_the_same_answers(
        chunks in proptest::collection::vec(binary_chunk(), 1..12),
        sizes in proptest::collection::vec(1usize..60, 1..6),
        narrow in any::<bool>(),
    ) {
        let input = chunks.concat();
        prop_assert_eq!(memcached_answers(&input, &sizes, narrow), memcached_answers(&input, &[], false));
    }

    #[test]
    fn any_bytes_are_answered_or_waited_for(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz_memcached(&bytes);
    }

    #[test]
    fn buffered_input_stays_within_the_bound(
        chunks in proptest::collection::vec(chunk(), 1..8),
        size in 1usize..3000,
    ) {
        prop_assert!(open().max_buffered(&chunks.concat(), size) < INPUT_MAX_BYTES);
    }
}

/// At every single byte, for a pipeline with every command in it.
#[test]
fn every_cut_of_a_pipeline_gets_the_same_answers() {
    let text = b"set a 1 0 3\r\nabc\r\nget a b a\r\nms b 2 T30 k O1\r\n12\r\nmg b v t\r\nma b v\r\nmd a q\r\ncas b 0 0 1 5\r\nx\r\n\
        append b 0 0 1 noreply\r\n3\r\ngats 5 b\r\nset c 0 0 9999999\r\n";
    let binary = [
        packet(1, SET, b"a", b"xyz", 0),
        packet(12, b"", b"a", b"", 0),
        packet(16, b"", b"items", b"", 0),
    ];
    for input in [text.to_vec(), binary.concat()] {
        let whole = memcached_answers(&input, &[], false);
        for cut in 1..input.len() {
            assert_eq!(
                memcached_answers(&input, &[cut, input.len()], false),
                whole,
                "cut at {cut}"
            );
        }
        assert_eq!(memcached_answers(&input, &[1], true), whole);
    }
}

#[test]
fn no_metric_is_published_by_the_store_and_by_handlers() {
    let handler = crate::app::testing::memcached();
    let (mut of_handler, mut of_store) = (Vec::new(), Vec::new());
    handler.publish(&mut |name, _| of_handler.push(name));
    crate::app::memcached::publish_store(&handler.store.statistics(), &mut |name, _| {
        of_store.push(name);
    });
    let twice: Vec<_> = of_store.iter().filter(|name| of_handler.contains(name)).collect();
    assert!(!of_store.is_empty() && !of_handler.is_empty() && twice.is_empty(), "{twice:?}");
}
