use crate::app::memcached::Memcached;
use crate::app::testing::{Line, services};
use simoom_io::Application;

const PORT: u16 = 11211;

fn line() -> Line<crate::app::HttpAndMemcached> {
    let mut line = Line::open(services(), PORT);
    for key in ["a", "b", "long-key-of-many-bytes"] {
        line.offer(format!("set {key} 0 0 {}\r\n{key}\r\n", key.len()).as_bytes());
    }
    line.take();
    line
}

fn answer_to(key: &str) -> Vec<u8> {
    format!("VALUE {key} 0 {}\r\n{key}\r\nEND\r\n", key.len()).into_bytes()
}

/// Prefetches all inputs, delivers those at `delivered` in place, and returns the answers.
fn burst(
    line: &mut Line<crate::app::HttpAndMemcached>,
    inputs: &[&[u8]],
    delivered: &[usize],
) -> Vec<Vec<u8>> {
    let all: Vec<(u16, &[u8])> = inputs.iter().map(|input| (PORT, *input)).collect();
    line.app.prefetch(&all);
    let answers = delivered.iter().map(|&at| {
        assert_eq!(line.offer_in_place(inputs[at]), inputs[at].len());
        line.take()
    });
    let answers = answers.collect();
    line.app.forget_prefetched();
    answers
}

#[test]
fn each_input_of_a_burst_is_answered_whatever_the_others_are() {
    let (a, b) = (&b"get a\r\n"[..], &b"get b\r\n"[..]);
    let (store, long) = (&b"set b 0 0 1\r\nB\r\n"[..], &b"get long-key-of-many-bytes\r\n"[..]);
    let answers = burst(
        &mut line(),
        &[a, long, store, b, b"get no\r\n", b"mn\r\n", a],
        &[0, 1, 2, 3, 4, 5, 6],
    );
    let stored = b"VALUE b 0 1\r\nB\r\nEND\r\n".to_vec();
    let expected = [
        answer_to("a"),
        answer_to("long-key-of-many-bytes"),
        b"STORED\r\n".to_vec(),
        stored,
        b"END\r\n".to_vec(),
        b"MN\r\n".to_vec(),
        answer_to("a"),
    ];
    assert_eq!(answers, expected);
}

#[test]
fn inputs_that_are_not_delivered_are_passed_over() {
    let inputs = [&b"get a\r\n"[..], b"get b\r\n", b"get a b\r\n", b"get b\r\n"];
    let answers = burst(&mut line(), &inputs, &[1, 3]);
    assert_eq!(answers, [answer_to("b"), answer_to("b")]);
    // Another connection's segment came first.
    let answers = burst(&mut line(), &inputs, &[3, 0]);
    assert_eq!(answers, [answer_to("b"), answer_to("a")]);
}

#[test]
fn several_requests_in_one_input_are_all_answered() {
    let answers = burst(&mut line(), &[b"get a\r\nget b\r\n", b"get b\r\n"], &[0, 1]);
    assert_eq!(answers, [[answer_to("a"), answer_to("b")].concat(), answer_to("b")]);
}

/// The next burst lies in the same memory, and may be too small to be prefetched.
#[test]
fn other_bytes_in_the_same_place_are_read_anew() {
    let mut line = line();
    let mut memory = *b"get a\r\n";
    assert!(burst(&mut line, &[&memory], &[]).is_empty());
    memory.copy_from_slice(b"get b\r\n");
    assert_eq!(line.offer_in_place(&memory), memory.len());
    assert_eq!(line.take(), answer_to("b"));
}

/// Bytes of a value are no request, even if they look like one that was noted.
#[test]
fn a_value_that_looks_like_a_get_is_stored() {
    let mut line = line();
    assert_eq!(line.offer_in_place(b"set c 0 0 7\r\n"), 13);
    let value = &b"get a\r\n"[..];
    let answers = burst(&mut line, &[value], &[0]);
    assert_eq!(answers, [b""]);
    assert_eq!(line.offer_in_place(b"\r\nget c\r\n"), 9);
    assert_eq!(line.take(), b"STORED\r\nVALUE c 0 7\r\nget a\r\n\r\nEND\r\n");
}

#[test]
fn a_burst_of_any_length_is_answered() {
    let inputs: Vec<Vec<u8>> =
        (0..200).map(|n| format!("get {}\r\n", ["a", "b"][n % 2]).into_bytes()).collect();
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let all: Vec<usize> = (0..200).collect();
    let answers = burst(&mut line(), &inputs, &all);
    let expected: Vec<_> = all.iter().map(|at| answer_to(["a", "b"][at % 2])).collect();
    assert_eq!(answers, expected);
    assert!(size_of::<Memcached>() < 8 << 10, "a worker's own handler stays small");
}
