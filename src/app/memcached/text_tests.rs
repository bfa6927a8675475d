//! The text protocol. Input: lines. Output: memcached's texts.

use super::*;
use crate::store::{Commit, Delete, NewItem, Outcome};
use simoom_io::send::Pool;

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
        (
            "set a 0 -1 1\nx\nget a\nset a 0 1 1\nx\nget a\n",
            "STORED\nEND\nSTORED\nVALUE a 0 1\nx\nEND\n",
        ),
    ]);
}

/// More gets at once than one batch holds, with every kind of request between them.
#[test]
fn requests_that_arrive_together_are_answered_in_order() {
    let (mut requests, mut answers) = (String::new(), String::new());
    for n in 0..120usize {
        let key = format!("{}{n}", "k".repeat(n % 30));
        let value = "v".repeat(n * 7 % 600);
        match n % 40 {
            7 => requests += "get a",
            19 => requests += "mg a v",
            23 => requests += "get  a  b ",
            31 => requests += "get ",
            _ => {
                requests += &format!("get {key}\nset {key} 1 0 {}\n{value}\n", value.len());
                answers += "END\nSTORED\n";
                requests += &format!("{0}{0}{0}", format!("get {key}\n"));
                let hit = format!("VALUE {key} 1 {}\n{value}\nEND\n", value.len());
                answers += &hit.repeat(3);
                continue;
            }
        }
        requests += "\n";
        answers += match n % 40 {
            19 => "EN\n",
            31 => "CLIENT_ERROR bad command line format\n",
            _ => "END\n",
        };
    }
    // All of them once more, as gets only.
    let gets: String = (0..120usize)
        .filter(|n| ![7, 19, 23, 31].contains(&(n % 40)))
        .map(|n| format!("get {}{n}\n", "k".repeat(n % 30)))
        .collect();
    let hits: String = (0..120usize)
        .filter(|n| ![7, 19, 23, 31].contains(&(n % 40)))
        .map(|n| {
            let (key, value) = (format!("{}{n}", "k".repeat(n % 30)), "v".repeat(n * 7 % 600));
            format!("VALUE {key} 1 {}\n{value}\nEND\n", value.len())
        })
        .collect();
    check(&[(&(requests + &gets), &(answers + &hits))]);
}

#[test]
fn values_that_do_not_end_where_they_say_are_refused() {
    check(&[
        (
            "set a 0 0 3\nabcdef\n",
            "CLIENT_ERROR bad data chunk\nCLIENT_ERROR bad command line format\n",
        ),
        ("set a 0 0 3\nabcdefgh\n", "CLIENT_ERROR bad data chunk\nERROR\n"),
        ("set a 0 0 3 noreply\nabcdef\nget a\n", "CLIENT_ERROR bad command line format\nEND\n"),
        ("set a 0 x 3\nabc\nget a\n", "CLIENT_ERROR bad command line format\nEND\n"),
    ]);
}

#[test]
fn what_does_not_fit_is_read_past_and_what_was_there_is_gone() {
    let too_large = "x".repeat(2 << 20);
    let set =
        format!("set a 0 0 1\r\ny\r\nset a 0 0 {}\r\n{too_large}\r\nget a\r\n", too_large.len());
    assert_eq!(
        ask(set.as_bytes()).0,
        "STORED\r\nSERVER_ERROR object too large for cache\r\nEND\r\n"
    );
    let add =
        format!("set a 0 0 1\r\ny\r\nadd a 0 0 {}\r\n{too_large}\r\nget a\r\n", too_large.len());
    assert_eq!(
        ask(add.as_bytes()).0,
        "STORED\r\nSERVER_ERROR object too large for cache\r\nVALUE a 0 1\r\ny\r\nEND\r\n"
    );
    let mut line = open();
    line.offer(b"set a 0 0 2000000000\r\n");
    for _ in 0..100 {
        assert_eq!(line.offer_in_place(&[b'x'; 1000]), 1000);
    }
    assert_eq!(
        (line.take(), line.buffered()),
        (b"SERVER_ERROR object too large for cache\r\n".to_vec(), 0)
    );
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
        (
            "set a 3 0 1\n5\nincr a 18446744073709551615\nget a\n",
            "STORED\n4\nVALUE a 3 1\n4\nEND\n",
        ),
        (
            "set a 0 0 1\nx\nincr a 1\n",
            "STORED\nCLIENT_ERROR cannot increment or decrement non-numeric value\n",
        ),
        (
            "set a 0 0 0\n\nincr a 1\n",
            "STORED\nCLIENT_ERROR cannot increment or decrement non-numeric value\n",
        ),
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
    line.offer(
        b"set a 0 10 1\r\nx\r\nset b 0 2592001 1\r\nx\r\nset c 0 0 1\r\nx\r\nflush_all 100\r\n",
    );
    assert_eq!(line.take(), b"STORED\r\nSTORED\r\nSTORED\r\nOK\r\n");
    for (later, expected) in [(0, "ac"), (9, "ac"), (10, "c"), (98, "c"), (99, ""), (200, "")] {
        line.app.clock(Seconds::of(NOW + later));
        line.offer(b"get a b c\r\n");
        let answer = String::from_utf8(line.take()).unwrap();
        let found: String =
            answer.lines().filter_map(|line| line.strip_prefix("VALUE ")?.chars().next()).collect();
        assert_eq!(found, expected, "{later} s later");
    }
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
        assert!(
            text.starts_with("OK\r\n") && text.ends_with("END\r\nVALUE key1 0 1\r\nx\r\nEND\r\n")
        );
        let told: std::collections::BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("key=")?.split(' ').next()).collect();
        assert_eq!(told.len(), 500);
    }
}

/// Writers change chains before and behind the cursor while the list goes out.
#[test]
fn a_list_has_each_item_that_stays_exactly_once() {
    let mut line = Line::open_with(memcached(), 11211, Pool::new(5, 3));
    for key in 0..1000 {
        line.offer(format!("set stays{key} 0 0 1 noreply\r\nx\r\n").as_bytes());
        line.offer(format!("set goes{key} 0 0 1 noreply\r\nx\r\n").as_bytes());
    }
    line.offer(b"lru_crawler metadump all\r\n");
    let (mut text, mut key, mut goes_on) = (Vec::new(), 0, true);
    while goes_on {
        let taken;
        (taken, goes_on) = line.take_once(|app| {
            let now = app.now;
            for _ in 0..7 {
                key = (key + 1) % 1000;
                let gone = format!("goes{key}");
                if app.store.delete(gone.as_bytes(), &Delete::default(), now) == Outcome::NotFound {
                    let new = NewItem {
                        key: gone.as_bytes(),
                        flags: 0,
                        exptime: 0,
                        value_bytes: 0,
                        binary_key: false,
                    };
                    let reservation = app.store.reserve(&new, now).unwrap();
                    app.store.commit(reservation, &Commit::default(), now);
                }
            }
        });
        text.extend(taken);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with("END\r\n"));
    let told = text.lines().filter_map(|line| line.strip_prefix("key=stays")?.split(' ').next());
    let mut told: Vec<u32> = told.map(|number| number.parse().unwrap()).collect();
    told.sort_unstable();
    assert_eq!(told, (0..1000).collect::<Vec<u32>>());
}

/// From a client that writes all of it before it reads: what there is no room to answer is held, up
/// to its bound.
#[test]
fn a_line_beyond_all_room_is_held_until_it_is_answered() {
    const KEYS: usize = 50_000;
    let mut line = open();
    line.offer(&[b"set k 0 0 1000\r\n", [b'v'; 1000].as_slice(), b"\r\n"].concat());
    assert_eq!(line.take(), b"STORED\r\n");
    let keys = ["k", "no-such-key-of-23-bytes"]
        .iter()
        .cycle()
        .take(KEYS)
        .copied()
        .collect::<Vec<_>>()
        .join(" ");
    let input = format!("get {keys}\r\nget k\r\n");
    for chunk in input.as_bytes().chunks(1460) {
        line.offer(chunk);
    }
    assert_eq!(line.buffered(), b"get k\r\n".len());
    let hit = format!("VALUE k 0 1000\r\n{}\r\n", "v".repeat(1000));
    let expected = format!("{}END\r\n{hit}END\r\n", hit.repeat(KEYS / 2));
    assert!(line.take() == expected.as_bytes());
    assert_eq!(line.buffered(), 0);
}

#[test]
fn held_lines_are_bounded_and_given_back() {
    let mut line = open_full(memcached());
    let mut held = 0;
    // A key is never looked at before there is room: bytes without an end.
    while line.buffered() == 0 {
        line.offer(&b"key ".repeat(1000));
        held += 4000;
        assert!(held <= 2 * HELD_MAX_BYTES);
    }
    assert!(held > HELD_MAX_BYTES / 2);
    assert!(line.app.long_lines.taken_bytes <= HELD_MAX_BYTES);
    line.close();
    assert_eq!(line.app.long_lines.taken_bytes, 0);
}

#[test]
fn a_key_too_long_ends_a_held_line() {
    let mut line = open_full(memcached());
    line.offer(&b"key ".repeat(2000));
    line.offer(&[b'x'; 300]);
    line.offer(b" key\r\nversion\r\n");
    let answer = line.take();
    assert!(answer.ends_with(b"CLIENT_ERROR bad command line format\r\nVERSION 1.6.45\r\n"));
}

/// A connection in a line of keys, without room for an answer.
fn open_full(app: Memcached) -> Line<Memcached> {
    let mut line = Line::open(app, 11211);
    line.offer(&[b"set k 0 0 1000\r\n", [b'v'; 1000].as_slice(), b"\r\n"].concat());
    line.take();
    line.offer(&[b"get ".as_slice(), &b"k ".repeat(2000)].concat());
    line
}
