//! The binary protocol. Input: packets. Output: packets.

use super::*;

/// Each answer's opcode, status, cas unique, and extras, key and value.
fn answers_of(mut bytes: &[u8]) -> Vec<(u8, u16, u64, String)> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at(24);
        assert_eq!((head[0], &head[12..16]), (0x81, &b"opaq"[..]));
        let len = u32::from_be_bytes(head[8..12].try_into().unwrap()) as usize;
        let cas = u64::from_be_bytes(head[16..24].try_into().unwrap());
        let (body, behind) = rest.split_at(len);
        answers.push((
            head[1],
            u16::from_be_bytes([head[6], head[7]]),
            cas,
            body.escape_ascii().to_string(),
        ));
        bytes = behind;
    }
    answers
}

/// What packets are answered, on a fresh store, and whether the connection closes.
fn exchange(packets: &[Vec<u8>]) -> (Vec<(u8, u16, u64, String)>, bool) {
    let (bytes, closed) = memcached_answers(&packets.concat(), &[], false);
    (answers_of(&bytes), closed)
}

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
        (
            "set with another number",
            packet(1, SET, b"a", b"x", 5),
            Some((1, 2, 0, "Data exists for key.")),
        ),
        ("get", packet(0, b"", b"a", b"", 0), Some((0, 0, 1, "\\x00\\x00\\x00\\x07x"))),
        ("getkq", packet(13, b"", b"a", b"", 0), Some((13, 0, 1, "\\x00\\x00\\x00\\x07ax"))),
        ("appendq", packet(25, b"", b"a", b"y", 0), None),
        ("prepend", packet(15, b"", b"a", b"w", 2), Some((15, 0, 3, ""))),
        ("get", packet(0, b"", b"a", b"", 0), Some((0, 0, 3, "\\x00\\x00\\x00\\x07wxy"))),
        (
            "touch",
            packet(28, &[0, 0, 0, 9], b"a", b"", 0),
            Some((28, 0, 3, "\\x00\\x00\\x00\\x07")),
        ),
        (
            "gat",
            packet(29, &[0, 0, 0, 0], b"a", b"", 0),
            Some((29, 0, 3, "\\x00\\x00\\x00\\x07wxy")),
        ),
        ("gatkq", packet(36, &[0, 0, 0, 0], b"b", b"", 0), None),
        (
            "delete, another number",
            packet(4, b"", b"a", b"", 9),
            Some((4, 2, 0, "Data exists for key.")),
        ),
        ("deleteq", packet(20, b"", b"a", b"", 3), None),
        ("deleteq, a miss", packet(20, b"", b"a", b"", 0), Some((20, 1, 0, "Not found"))),
        (
            "incr, not to create",
            packet(5, &count(1, 5, u32::MAX), b"n", b"", 0),
            Some((5, 1, 0, "Not found")),
        ),
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
        (
            "verbosity is unknown",
            packet(0x1b, &[0; 4], b"", b"", 0),
            Some((0x1b, 0x81, 0, "Unknown command")),
        ),
        ("unknown", packet(0x70, b"", b"k", b"value", 0), Some((0x70, 0x81, 0, "Unknown command"))),
        (
            "list mechanisms",
            packet(0x20, b"", b"", b"", 0),
            Some((0x20, 0x81, 0, "Unknown command")),
        ),
        (
            "authenticate",
            packet(0x21, b"", b"PLAIN", b"secret", 0),
            Some((0x21, 0x81, 0, "Unknown command")),
        ),
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
    let rest: Vec<_> =
        got[1..].iter().map(|(op, status, _, text)| (*op, *status, text.as_str())).collect();
    assert_eq!(rest, [(1, 3, "Too large."), (0, 1, "Not found")]);
}
