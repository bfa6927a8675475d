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

#[test]
fn values_are_stored_under_conditions() {
    check(&[
        ("set a 5 0 3\nabc\nget a\n", "STORED\nVALUE a 5 3\nabc\nEND\n"),
        ("set a 0 0 0\n\nget a\n", "STORED\nVALUE a 0 0\n\nEND\n"),
        ("add a 0 0 1\nx\nadd a 0 0 1\ny\nget a\n", "STORED\nNOT_STORED\nVALUE a 0 1\nx\nEND\n"),
        (
            "replace a 0 0 1\nx\nset a 0 0 1\ny\nreplace a 1 0 1\nz\nget a\n",
            "NOT_STORED\nSTORED\nSTORED\nVALUE a 1 1\nz\nEND\n",
        ),
        (
            "append a 0 0 1\nx\nset a 7 0 1\nb\nappend a 1 0 1\nc\nprepend a 2 0 1\na\nget a\n",
            "NOT_STORED\nSTORED\nSTORED\nSTORED\nVALUE a 7 3\nabc\nEND\n",
        ),
        ("cas a 0 0 1 1\nx\n", "NOT_FOUND\n"),
        (
            "set a 0 0 1\nx\ngets a\ncas a 0 0 1 1\ny\ncas a 0 0 1 1\nz\ngets a\n",
            "STORED\nVALUE a 0 1 1\nx\nEND\nSTORED\nEXISTS\nVALUE a 0 1 2\ny\nEND\n",
        ),
        ("set a 0 0 1 noreply\nx\nget a\n", "VALUE a 0 1\nx\nEND\n"),
        ("set a 0 -1 1\nx\nget a\nset a 0 1 1\nx\nget a\n", "STORED\nEND\nSTORED\nVALUE a 0 1\nx\nEND\n"),
    ]);
}

#[test]
fn values_that_do_not_end_where_they_say_are_refused() {
    check(&[
        ("set a 0 0 3\nabcdef\n", "CLIENT_ERROR bad data chunk\nCLIENT_ERROR bad command line format\n"),
        ("set a 0 0 3\nabcdefgh\n", "CLIENT_ERROR bad data chunk\nERROR\n"),
        ("set a 0 0 3 noreply\nabcdef\nget a\n", "CLIENT_ERROR bad command line format\nEND\n"),
        ("set a 0 x 3\nabc\nget a\n", "CLIENT_ERROR bad command line format\nEND\n"),
    ]);
}

#[test]
fn what_does_not_fit_is_read_past_and_what_was_there_is_gone() {
    let too_large = "x".repeat(2 << 20);
    let set = format!("set a 0 0 1\r\ny\r\nset a 0 0 {}\r\n{too_large}\r\nget a\r\n", too_large.len());
    assert_eq!(ask(set.as_bytes()).0, "STORED\r\nSERVER_ERROR object too large for cache\r\nEND\r\n");
    let add = format!("set a 0 0 1\r\ny\r\nadd a 0 0 {}\r\n{too_large}\r\nget a\r\n", too_large.len());
    assert_eq!(
        ask(add.as_bytes()).0,
        "STORED\r\nSERVER_ERROR object too large for cache\r\nVALUE a 0 1\r\ny\r\nEND\r\n"
    );
    let mut line = open();
    line.offer(b"set a 0 0 2000000000\r\n");
    for _ in 0..100 {
        assert_eq!(line.offer_in_place(&[b'x'; 1000]), 1000);
    }
    assert_eq!((line.take(), line.kept()), (b"SERVER_ERROR object too large for cache\r\n".to_vec(), 0));
}

#[test]
fn keys_are_brought_many_at_a_time() {
    check(&[
        (
            "set a 1 0 1\nx\nset b 2 0 1\ny\nget a c b a\n",
            "STORED\nSTORED\nVALUE a 1 1\nx\nVALUE b 2 1\ny\nVALUE a 1 1\nx\nEND\n",
        ),
        ("set a 1 0 1\nx\ngets a b \n", "STORED\nVALUE a 1 1 1\nx\nEND\n"),
        (
            "set a 0 0 1\nx\ngat 10 a b\nmg a t\ngats 0 a\nmg a t\n",
            "STORED\nVALUE a 0 1\nx\nEND\nHD t10\nVALUE a 0 1 1\nx\nEND\nHD t-1\n",
        ),
        ("set a 0 0 1\nx\ngat -1 a\nget a\n", "STORED\nVALUE a 0 1\nx\nEND\nEND\n"),
    ]);
    let long = "k".repeat(251);
    check(&[(
        &format!("set a 0 0 1\nx\nget a {long}\nget a\n"),
        "STORED\nCLIENT_ERROR bad command line format\nVALUE a 0 1\nx\nEND\n",
    )]);
}

#[test]
fn a_line_may_have_any_number_of_keys() {
    let set = b"set a 0 0 1\r\nx\r\n";
    let get = format!("get {}\r\n", "a nothing ".repeat(5000));
    let (answers, closed) = memcached_answers(&[set, get.as_bytes()].concat(), &[1000], true);
    let expected = format!("STORED\r\n{}END\r\n", "VALUE a 0 1\r\nx\r\n".repeat(5000));
    assert!(answers == expected.as_bytes() && !closed);
    let broken = format!("get {} {} a\r\nget a\r\n", "a ".repeat(2000), "k".repeat(300));
    let expected = format!(
        "STORED\r\n{}CLIENT_ERROR bad command line format\r\nVALUE a 0 1\r\nx\r\nEND\r\n",
        "VALUE a 0 1\r\nx\r\n".repeat(2000)
    );
    assert_eq!(ask(&[set, broken.as_bytes()].concat()), (expected, false));
}

#[test]
fn numbers_are_counted_as_memcached_does() {
    check(&[
        ("incr a 1\ndecr a 1\n", "NOT_FOUND\nNOT_FOUND\n"),
        ("set a 0 0 2\n99\nincr a 1\nget a\n", "STORED\n100\nVALUE a 0 3\n100\nEND\n"),
        ("set a 0 0 3\n100\ndecr a 1\nget a\n", "STORED\n99\nVALUE a 0 3\n99 \nEND\n"),
        ("set a 0 0 1\n5\ndecr a 9\n", "STORED\n0\n"),
        ("set a 0 0 20\n18446744073709551615\nincr a 2\n", "STORED\n1\n"),
        ("set a 3 0 1\n5\nincr a 18446744073709551615\nget a\n", "STORED\n4\nVALUE a 3 1\n4\nEND\n"),
        ("set a 0 0 1\nx\nincr a 1\n", "STORED\nCLIENT_ERROR cannot increment or decrement non-numeric value\n"),
        ("set a 0 0 0\n\nincr a 1\n", "STORED\nCLIENT_ERROR cannot increment or decrement non-numeric value\n"),
        ("set a 0 0 4\n 7 x\nincr a 1\n", "STORED\n8\n"),
        (
            "incr a x\nincr a -1\n",
            "CLIENT_ERROR invalid numeric delta argument\nCLIENT_ERROR invalid numeric delta argument\n",
        ),
        ("set a 0 0 1\n5\nincr a 1 noreply\nget a\n", "STORED\nVALUE a 0 1\n6\nEND\n"),
    ]);
}

#[test]
fn what_is_there_is_deleted_touched_and_flushed() {
    check(&[
        ("set a 0 0 1\nx\ndelete a\ndelete a\nget a\n", "STORED\nDELETED\nNOT_FOUND\nEND\n"),
        ("set a 0 0 1\nx\ndelete a noreply\nget a\n", "STORED\nEND\n"),
        ("touch a 5\nset a 0 0 1\nx\ntouch a 5\nmg a t\n", "NOT_FOUND\nSTORED\nTOUCHED\nHD t5\n"),
        ("set a 0 0 1\nx\nflush_all\nget a\n", "STORED\nOK\nEND\n"),
        ("set a 0 0 1\nx\nflush_all noreply\nget a\n", "STORED\nEND\n"),
        ("set a 0 0 1\nx\nflush_all 100\nget a\n", "STORED\nOK\nVALUE a 0 1\nx\nEND\n"),
    ]);
}

#[test]
fn time_passes_when_the_clock_says_so() {
    let mut line = open();
    line.offer(b"set a 0 10 1\r\nx\r\nset b 0 2592001 1\r\nx\r\nset c 0 0 1\r\nx\r\nflush_all 100\r\n");
    assert_eq!(line.take(), b"STORED\r\nSTORED\r\nSTORED\r\nOK\r\n");
    for (later, expected) in [(0, "ac"), (9, "ac"), (10, "c"), (98, "c"), (99, ""), (200, "")] {
        line.app.clock(NOW + later);
        line.offer(b"get a b c\r\n");
        let answer = String::from_utf8(line.take()).unwrap();
        let found: String = answer.lines().filter_map(|line| line.strip_prefix("VALUE ")?.chars().next()).collect();
        assert_eq!(found, expected, "{later} s later");
    }
}

#[test]
fn meta_get() {
    check(&[
        ("mg a v\nmg a v k O1 q\nmg a v k O1\nmn\n", "EN\nEN ka O1\nMN\n"),
        ("set a 5 0 3\nabc\nmg a\nmg a v\nmg a s v t f c\n", "STORED\nHD\nVA 3\nabc\nVA 3 s3 t-1 f5 c1\nabc\n"),
        ("set a 0 0 1\nx\nmg a k O123 q v\nmn\n", "STORED\nVA 1 ka O123\nx\nMN\n"),
        ("set a 0 0 1\nx\nmg a h l\nmg a h u\nmg a h\n", "STORED\nHD h0 l0\nHD h1\nHD h1\n"),
        ("set a 0 0 1\nx\nmg a v C1\nmg a v C2\n", "STORED\nHD\nVA 1\nx\n"),
        ("set a 0 0 1\nx\nmg a t T30 v\nmg a T60 t\nmg a t\n", "STORED\nVA 1 t-1\nx\nHD t60\nHD t60\n"),
        ("mg a v N30 t\nmg a v N30 t\nms a 1\nx\nmg a v t\n", "VA 0 t30 W\n\nVA 0 t30 Z\n\nHD\nVA 1 t-1\nx\n"),
        ("set a 0 20 1\nx\nmg a R10\nmg a R30\nmg a R30\n", "STORED\nHD\nHD W\nHD Z\n"),
        (
            "mg a v v\nmg a S\nmg a !\nmg\n",
            "CLIENT_ERROR duplicate flag\nCLIENT_ERROR invalid flag\nCLIENT_ERROR bad command line format\nCLIENT_ERROR bad command line format\n",
        ),
        ("mg a O12345678901234567890123456789012\n", "CLIENT_ERROR opaque token too long\n"),
        ("ms Zm9v b 1\n", "CLIENT_ERROR bad command line format\n"),
        (
            "ms Zm9v 1 b\nx\nmg foo k v\nmg Zm9v b k\nget foo\n",
            "HD\nVA 1 kZm9v b\nx\nHD kZm9v b\nVALUE foo 0 1\nx\nEND\n",
        ),
        ("mg !!! b\n", "CLIENT_ERROR error decoding key\n"),
    ]);
}

#[test]
fn meta_set() {
    check(&[
        ("ms a 1\nx\nmg a v\n", "HD\nVA 1\nx\n"),
        ("ms a 1 F7 T60 O9 k c s\nx\nmg a f t\n", "HD O9 ka c1 s1\nHD f7 t60\n"),
        ("ms a 1 q\nx\nms a 1 q ME\ny\nmn\n", "NS\nMN\n"),
        ("ms a 1 ME c\nx\nms a 1 ME c\ny\nms a 1 MR\nz\nms b 1 MR\nz\n", "HD c1\nNS c0\nHD\nNS\n"),
        (
            "ms a 1 MA\nx\nms a 1 MA N10\nx\nms a 2 MA s\nyz\nms a 1 MP s\nw\nmg a v t\n",
            "NS\nHD\nHD s3\nHD s4\nVA 4 t10\nwxyz\n",
        ),
        ("ms a 1\nx\nms a 1 C5\ny\nms a 1 C1\ny\nms b 1 C1\nx\n", "HD\nEX\nHD\nNF\n"),
        ("ms a 1 E100\nx\nmg a c\nms a 1 C100 E200 c\ny\n", "HD\nHD c100\nHD c200\n"),
        (
            "ms a 1 T30\nx\nms a 1\ny\nms a 1 C1 I T60\nz\nmg a v t\nmg a v\n",
            "HD\nHD\nHD\nVA 1 t-1 X W\nz\nVA 1 Z X\nz\n",
        ),
        (
            "ms a 1 M\nx\nms a 1 MX\nx\n",
            "CLIENT_ERROR invalid mode for ms M token\nCLIENT_ERROR invalid mode for ms M token\n",
        ),
        ("ms a S3\nabc\n", "CLIENT_ERROR bad command line format\nERROR\n"),
        (
            "ms a 3 T\nabc\nms a 3 F\nabc\n",
            "CLIENT_ERROR bad token in command line format\nCLIENT_ERROR bad command line format\n",
        ),
        ("ms a 3 q\nabcdef\n", "CLIENT_ERROR bad data chunk\nCLIENT_ERROR bad command line format\n"),
        ("ms a 1 O12345678901234567890123456789012\nx\nmn\n", "CLIENT_ERROR opaque token too long\nMN\n"),
    ]);
}

#[test]
fn meta_delete() {
    check(&[
        ("md a\nms a 1\nx\nmd a O1 k\nmd a q\nmn\n", "NF\nHD\nHD O1 ka\nNF\nMN\n"),
        ("ms a 1\nx\nmd a C5\nmd a C1 q\nmg a\n", "HD\nEX\nEN\n"),
        ("ms a 1 T90\nx\nmd a I T30\nmg a c t\nmg a v\nmg a\n", "HD\nHD\nHD c2 t30 X W\nVA 1 Z X\nx\nHD Z X\n"),
        ("ms a 1 F5\nx\nmd a x\nmg a v f t c s\n", "HD\nHD\nVA 0 f0 t-1 c1 s0\n\n"),
        ("ms a 1 F5\nx\nmd a x I F3 T10 E77\nmg a v f t c\n", "HD\nHD\nVA 0 f3 t10 c77 X W\n\n"),
    ]);
}

#[test]
fn meta_arithmetic() {
    check(&[
        ("ma a\nma a q\nma a k O1\n", "NF\nNF\nNF ka O1\n"),
        (
            "ms a 1\n5\nma a v\nma a v D10\nma a v MD D3\nma a v M- D100\nma a M+\n",
            "HD\nVA 1\n6\nVA 2\n16\nVA 2\n13\nVA 1\n0\nHD\n",
        ),
        (
            "ma a N0 J13 v\nma a N0 J13 v\nma a N90 v t\nma b N90 J1 t\n",
            "VA 2\n13\nVA 2\n14\nVA 2 t-1\n15\nHD t90\n",
        ),
        ("ms a 1\n5\nma a C9\nma a C1 c\nma a E100 c v\n", "HD\nEX\nHD c2\nVA 1 c100\n7\n"),
        ("ms a 1\n5\nma a t T30 v\nma a t\nma a q v\nmn\n", "HD\nVA 1 t-1\n6\nHD t30\nMN\n"),
        ("ms a 1\nx\nma a\n", "HD\nCLIENT_ERROR cannot increment or decrement non-numeric value\n"),
        (
            "ma a Mx\nma a Dx\nma a v v\n",
            "CLIENT_ERROR invalid mode for ma M token\nCLIENT_ERROR invalid or duplicate flag\nCLIENT_ERROR invalid or duplicate flag\n",
        ),
    ]);
}

#[test]
fn meta_debug_tells_what_is_known() {
    let (answer, _) = ask(b"me a\r\nset a 0 60 3\r\nabc\r\nme a\r\nget a\r\nme a\r\n");
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines[0], "EN");
    assert!(lines[2].starts_with("ME a exp=60 la=0 cas=1 fetch=no cls=1 size="), "{answer}");
    assert!(lines[6].starts_with("ME a exp=60 la=0 cas=1 fetch=yes cls=1 size="), "{answer}");
}

#[test]
fn nonsense_is_answered_or_ends_the_connection() {
    let long = "x".repeat(3000);
    for (input, expected, closes) in [
        ("nonsense\r\nget a\r\n", "ERROR\r\nEND\r\n", false),
        ("\r\n", "CLIENT_ERROR bad command line format\r\n", false),
        ("get a\n", "END\r\n", false),
        ("quit\r\nget a\r\n", "", true),
        ("GET / HTTP/1.1\r\nget a\r\n", "", true),
        (long.as_str(), "", true),
        ("shutdown\r\nget a\r\n", "SERVER_ERROR: shutdown not enabled\r\nEND\r\n", false),
        ("version\r\nverbosity 1\r\n", "VERSION 1.6.45\r\nOK\r\n", false),
    ] {
        assert_eq!(ask(input.as_bytes()), (expected.into(), closes), "{input}");
    }
}

#[test]
fn items_can_be_listed() {
    let (answer, _) =
        ask(b"set a/b 7 60 1\r\nx\r\nms Zm9v 1 b\r\nx\r\nlru_crawler metadump all\r\nlru_crawler mgdump all\r\n");
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines.len(), 2 + 4 + 4, "{answer}");
    let one = lines[3..5].iter().find(|line| line.starts_with("key=a%2Fb ")).unwrap();
    let expected = format!("key=a%2Fb exp={} la={NOW} cas=1 fetch=no cls=", NOW + 60);
    assert!(one.starts_with(&expected) && one.ends_with(" flags=7 "), "{one}");
    assert!(lines.contains(&"mg a/b") && lines.contains(&"mg Zm9v b"), "{answer}");
    assert_eq!((lines[2], lines[5], lines[9]), ("OK", "END", "EN"));
}

#[test]
fn a_list_of_any_length_goes_out_as_there_is_room() {
    let sets: String = (0..500).map(|key| format!("set key{key} 0 0 1 noreply\r\nx\r\n")).collect();
    let input = format!("{sets}lru_crawler metadump all\r\nget key1\r\n");
    for narrow in [false, true] {
        let (answers, _) = memcached_answers(input.as_bytes(), &[], narrow);
        let text = String::from_utf8(answers).unwrap();
        assert!(text.starts_with("OK\r\n") && text.ends_with("END\r\nVALUE key1 0 1\r\nx\r\nEND\r\n"));
        let told: std::collections::BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("key=")?.split(' ').next()).collect();
        assert_eq!(told.len(), 500);
    }
}

/// The value of a line of `stats`.
fn stat<'a>(answer: &'a str, name: &str) -> &'a str {
    let line = answer.lines().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '));
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
        answer.starts_with("RESET\r\n") && stat(&answer, "cmd_get") == "0" && stat(&answer, "curr_items") == "1"
    );
}

#[test]
fn stats_have_topics() {
    let (answer, _) = ask(b"set a 0 0 1\r\nx\r\nstats settings\r\nstats items\r\nstats slabs\r\nstats sizes\r\nstats conns\r\nstats x\r\n");
    for (name, value) in [
        ("maxbytes", "67108864"),
        ("item_size_max", "1048576"),
        ("cas_enabled", "yes"),
        ("active_slabs", "1"),
        ("sizes_status", "disabled"),
        ("curr_connections", "1"),
    ] {
        assert_eq!(stat(&answer, name), value, "{name}");
    }
    assert!(answer.contains(":number 1\r\n") && answer.contains(":used_chunks 1\r\n"), "{answer}");
    assert!(answer.ends_with("END\r\nERROR\r\n"));
}

#[test]
fn small_answers_are_one_entry_and_large_ones_share_the_item() {
    let mut pool = simoom_stack::send::Pool::<Blob>::new(64, 64);
    let mut handler = memcached();
    for (len, entries) in [(100, 1), (450, 1), (COPY_MAX_BYTES, 2), (20_000, 2)] {
        let (mut queue, mut wishes) = Default::default();
        let mut conn = Conn::default();
        let mut reply = Reply::new(&mut pool, &mut queue, &mut wishes);
        let value = "x".repeat(len);
        let input = format!("set a 0 0 {len} noreply\r\n{value}\r\nget a\r\n");
        assert_eq!(handler.received(&mut conn, input.as_bytes(), &mut reply), input.len());
        assert_eq!((pool.free(), wishes), ((64 - entries, 63), Default::default()), "{len}");
        queue.clear(&mut pool);
    }
}

#[test]
fn an_item_being_sent_stays_as_it_is() {
    let mut line = open();
    let old = "o".repeat(10_000);
    line.offer(
        format!("set a 0 0 10000\r\n{old}\r\nget a\r\nset a 0 0 3\r\nnew\r\ndelete a\r\nflush_all\r\n").as_bytes(),
    );
    let expected = format!("STORED\r\nVALUE a 0 10000\r\n{old}\r\nEND\r\nSTORED\r\nDELETED\r\nOK\r\n");
    assert_eq!(String::from_utf8(line.take()).unwrap(), expected);
}

#[test]
fn a_value_goes_straight_to_its_place() {
    let mut line = open();
    line.offer(b"set a 0 0 100000\r\n");
    for _ in 0..100 {
        line.offer(&[b'x'; 1000]);
        assert_eq!(line.kept(), 0);
    }
    line.offer(b"\r");
    assert_eq!((line.take(), line.kept()), (vec![], 1));
    line.offer(b"\nget a\r\n");
    let answer = line.take();
    assert!(answer.starts_with(b"STORED\r\nVALUE a 0 100000\r\nxxx") && answer.ends_with(b"xxx\r\nEND\r\n"));
}

#[test]
fn a_connection_that_ends_within_a_value_leaves_no_trace() {
    let mut handler = memcached();
    let (mut queue, mut wishes) = Default::default();
    let mut pool = simoom_stack::send::Pool::new(8, 8);
    // More connections, one after the other, than there are places.
    for _ in 0..200 {
        let mut conn = Conn::default();
        let mut reply = Reply::new(&mut pool, &mut queue, &mut wishes);
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

/// Each answer's opcode, status, cas unique, and extras, key and value.
fn answers_of(mut bytes: &[u8]) -> Vec<(u8, u16, u64, String)> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at(24);
        assert_eq!((head[0], &head[12..16]), (0x81, &b"opaq"[..]));
        let len = u32::from_be_bytes(head[8..12].try_into().unwrap()) as usize;
        let cas = u64::from_be_bytes(head[16..24].try_into().unwrap());
        let (body, behind) = rest.split_at(len);
        answers.push((head[1], u16::from_be_bytes([head[6], head[7]]), cas, body.escape_ascii().to_string()));
        bytes = behind;
    }
    answers
}

/// What packets are answered, on a fresh store, and whether the connection closes.
fn exchange(packets: &[Vec<u8>]) -> (Vec<(u8, u16, u64, String)>, bool) {
    let (bytes, closed) = memcached_answers(&packets.concat(), &[], false);
    (answers_of(&bytes), closed)
}

const SET: &[u8] = &[0, 0, 0, 7, 0, 0, 0, 0];

#[test]
fn binary_packets_are_answered() {
    let count = |delta: u64, initial: u64, exptime: u32| {
        [&delta.to_be_bytes()[..], &initial.to_be_bytes(), &exptime.to_be_bytes()].concat()
    };
    type Row = (&'static str, Vec<u8>, Option<(u8, u16, u64, &'static str)>);
    let table: &[Row] = &[
        ("get, a miss", packet(0, b"", b"a", b"", 0), Some((0, 1, 0, "Not found"))),
        ("getq, a miss", packet(9, b"", b"a", b"", 0), None),
        ("getk, a miss", packet(12, b"", b"a", b"", 0), Some((12, 1, 0, "a"))),
        ("replace", packet(3, SET, b"a", b"x", 0), Some((3, 1, 0, "Not found"))),
        ("append", packet(14, b"", b"a", b"x", 0), Some((14, 5, 0, "Not stored."))),
        ("set with a number, a miss", packet(1, SET, b"a", b"x", 5), Some((1, 1, 0, "Not found"))),
        ("set", packet(1, SET, b"a", b"x", 0), Some((1, 0, 1, ""))),
        ("add", packet(2, SET, b"a", b"x", 0), Some((2, 2, 0, "Data exists for key."))),
        ("addq", packet(18, SET, b"a", b"x", 0), Some((18, 2, 0, "Data exists for key."))),
        ("set with another number", packet(1, SET, b"a", b"x", 5), Some((1, 2, 0, "Data exists for key."))),
        ("get", packet(0, b"", b"a", b"", 0), Some((0, 0, 1, "\\x00\\x00\\x00\\x07x"))),
        ("getkq", packet(13, b"", b"a", b"", 0), Some((13, 0, 1, "\\x00\\x00\\x00\\x07ax"))),
        ("appendq", packet(25, b"", b"a", b"y", 0), None),
        ("prepend", packet(15, b"", b"a", b"w", 2), Some((15, 0, 3, ""))),
        ("get", packet(0, b"", b"a", b"", 0), Some((0, 0, 3, "\\x00\\x00\\x00\\x07wxy"))),
        ("touch", packet(28, &[0, 0, 0, 9], b"a", b"", 0), Some((28, 0, 3, "\\x00\\x00\\x00\\x07"))),
        ("gat", packet(29, &[0, 0, 0, 0], b"a", b"", 0), Some((29, 0, 3, "\\x00\\x00\\x00\\x07wxy"))),
        ("gatkq", packet(36, &[0, 0, 0, 0], b"b", b"", 0), None),
        ("delete, another number", packet(4, b"", b"a", b"", 9), Some((4, 2, 0, "Data exists for key."))),
        ("deleteq", packet(20, b"", b"a", b"", 3), None),
        ("deleteq, a miss", packet(20, b"", b"a", b"", 0), Some((20, 1, 0, "Not found"))),
        ("incr, not to create", packet(5, &count(1, 5, u32::MAX), b"n", b"", 0), Some((5, 1, 0, "Not found"))),
        (
            "incr",
            packet(5, &count(1, 5, 0), b"n", b"", 0),
            Some((5, 0, 4, "\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x05")),
        ),
        ("incrq", packet(21, &count(1, 5, 0), b"n", b"", 0), None),
        (
            "decr",
            packet(6, &count(2, 5, 0), b"n", b"", 0),
            Some((6, 0, 6, "\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x04")),
        ),
        ("setq", packet(17, SET, b"n", b"x", 0), None),
        (
            "incr, no number",
            packet(5, &count(1, 5, 0), b"n", b"", 0),
            Some((5, 6, 0, "Non-numeric server-side value for incr or decr")),
        ),
        ("flush", packet(8, &[0, 0, 0, 0], b"", b"", 0), Some((8, 0, 0, ""))),
        ("flushq", packet(24, b"", b"", b"", 0), None),
        ("noop", packet(10, b"", b"", b"", 0), Some((10, 0, 0, ""))),
        ("version", packet(11, b"", b"", b"", 0), Some((11, 0, 0, "1.6.45"))),
        ("verbosity is unknown", packet(0x1b, &[0; 4], b"", b"", 0), Some((0x1b, 0x81, 0, "Unknown command"))),
        ("unknown", packet(0x70, b"", b"k", b"value", 0), Some((0x70, 0x81, 0, "Unknown command"))),
        ("list mechanisms", packet(0x20, b"", b"", b"", 0), Some((0x20, 0x81, 0, "Unknown command"))),
        ("authenticate", packet(0x21, b"", b"PLAIN", b"secret", 0), Some((0x21, 0x81, 0, "Unknown command"))),
        ("stat of what is none", packet(16, b"", b"x", b"", 0), Some((16, 1, 0, "Not found"))),
        ("stat", packet(16, b"", b"sizes", b"", 0), Some((16, 0, 0, "sizes_statusdisabled"))),
        ("the end of stat", vec![], Some((16, 0, 0, ""))),
        ("stat reset", packet(16, b"", b"reset", b"", 0), Some((16, 0, 0, ""))),
    ];
    let input: Vec<Vec<u8>> = table.iter().map(|(_, packet, _)| packet.clone()).collect();
    let expected: Vec<_> = table
        .iter()
        .filter_map(|row| row.2)
        .map(|(op, status, cas, body)| (op, status, cas, body.to_owned()))
        .collect();
    let (got, closed) = exchange(&input);
    for (got, expected) in got.iter().zip(&expected) {
        assert_eq!(got, expected);
    }
    assert_eq!((got.len(), closed), (expected.len(), false));
}

#[test]
fn binary_packets_that_break_the_rules_end_the_connection() {
    let noop = packet(10, b"", b"", b"", 0);
    let mut longer_front = packet(0, b"", b"abc", b"", 0);
    longer_front[11] = 1;
    let mut huge = packet(1, SET, b"a", b"", 0);
    huge[8] = 0x7f;
    let mut magic = noop.clone();
    magic[0] = 0x81;
    for (what, packet, answer) in [
        ("get with extras", packet(0, b"1234", b"a", b"", 0), Some((0, 4, "Invalid arguments"))),
        ("get without a key", packet(0, b"", b"", b"", 0), Some((0, 4, "Invalid arguments"))),
        ("set without extras", packet(1, b"", b"a", b"x", 0), Some((1, 4, "Invalid arguments"))),
        ("a long key", packet(0, b"", &[b'k'; 251], b"", 0), Some((0, 4, "Invalid arguments"))),
        ("a key longer than the body", longer_front, Some((0, 0x81, "Unknown command"))),
        ("a gigabyte", huge, Some((1, 4, "Invalid arguments"))),
        ("another magic", magic, None),
    ] {
        let (got, closed) = exchange(&[noop.clone(), packet, noop.clone()]);
        let mut expected = vec![(10, 0, 0, String::new())];
        expected.extend(answer.map(|(opcode, status, text)| (opcode, status, 0, text.to_owned())));
        assert_eq!((got, closed), (expected, true), "{what}");
    }
    let (got, closed) = exchange(&[packet(7, b"", b"", b"", 0), noop.clone()]);
    assert_eq!((got, closed), (vec![(7, 0, 0, String::new())], true));
    assert_eq!(exchange(&[packet(0x17, b"", b"", b"", 0), noop]), (vec![], true), "quitq");
}

#[test]
fn binary_values_that_do_not_fit_are_read_past() {
    let large = packet(1, SET, b"a", &vec![b'x'; 2 << 20], 0);
    let (got, _) = exchange(&[packet(1, SET, b"a", b"x", 0), large, packet(0, b"", b"a", b"", 0)]);
    let rest: Vec<_> = got[1..].iter().map(|(op, status, _, text)| (*op, *status, text.as_str())).collect();
    assert_eq!(rest, [(1, 3, "Too large."), (0, 1, "Not found")]);
}

/// Requests of every kind in all protocols but the binary one, some broken, and noise.
fn piece() -> impl Strategy<Value = Vec<u8>> {
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
        .prop_map(|(command, key, flags)| format!("{command} {key} {}\r\n", flags.join(" ")).into_bytes());
    let meta_set = (
        key.clone(),
        0usize..30,
        prop_oneof![Just("k O1 c s"), Just("MA s"), Just("ME q"), Just("T"), Just("I C1 b")],
    )
        .prop_map(|(key, len, flags)| format!("ms {key} {len} {flags}\r\n{}\r\n", "5".repeat(len)).into_bytes());
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
    let many = (1usize..600).prop_map(|n| format!("get {}\r\n", "a nothing ".repeat(n)).into_bytes());
    let noise = proptest::collection::vec(any::<u8>(), 0..30);
    prop_oneof![6 => store, 6 => meta, 3 => meta_set, 6 => simple, 1 => many, 1 => noise]
}

/// Packets, some broken.
fn binary_piece() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![Just(&b"a"[..]), Just(&b"b"[..]), Just(&b""[..])];
    let extras = prop_oneof![Just(0usize), Just(4), Just(8), Just(20)];
    (0u8..0x27, extras, key, 0usize..100, 0u64..4, prop_oneof![9 => Just(true), 1 => Just(false)]).prop_map(
        |(opcode, extras, key, value, cas, formed)| {
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
        },
    )
}

proptest! {
    #[test]
    fn any_split_gets_the_same_answers(
        pieces in proptest::collection::vec(piece(), 1..12),
        sizes in proptest::collection::vec(1usize..200, 1..6),
        narrow in any::<bool>(),
    ) {
        let input = pieces.concat();
        prop_assert_eq!(memcached_answers(&input, &sizes, narrow), memcached_answers(&input, &[], false));
    }

    #[test]
    fn any_split_of_packets_gets_the_same_answers(
        pieces in proptest::collection::vec(binary_piece(), 1..12),
        sizes in proptest::collection::vec(1usize..60, 1..6),
        narrow in any::<bool>(),
    ) {
        let input = pieces.concat();
        prop_assert_eq!(memcached_answers(&input, &sizes, narrow), memcached_answers(&input, &[], false));
    }

    #[test]
    fn any_bytes_are_answered_or_waited_for(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz_memcached(&bytes);
    }

    #[test]
    fn kept_input_stays_within_the_bound(
        pieces in proptest::collection::vec(piece(), 1..8),
        size in 1usize..3000,
    ) {
        prop_assert!(open().most_kept(&pieces.concat(), size) < INPUT_MAX_BYTES);
    }
}

/// At every single byte, for a pipeline with every command in it.
#[test]
fn every_cut_of_a_pipeline_gets_the_same_answers() {
    let text = b"set a 1 0 3\r\nabc\r\nget a b a\r\nms b 2 T30 k O1\r\n12\r\nmg b v t\r\nma b v\r\nmd a q\r\ncas b 0 0 1 5\r\nx\r\n\
        append b 0 0 1 noreply\r\n3\r\ngats 5 b\r\nset c 0 0 9999999\r\n";
    let binary =
        [packet(1, SET, b"a", b"xyz", 0), packet(12, b"", b"a", b"", 0), packet(16, b"", b"items", b"", 0)];
    for input in [text.to_vec(), binary.concat()] {
        let whole = memcached_answers(&input, &[], false);
        for cut in 1..input.len() {
            assert_eq!(memcached_answers(&input, &[cut, input.len()], false), whole, "cut at {cut}");
        }
        assert_eq!(memcached_answers(&input, &[1], true), whole);
    }
}
