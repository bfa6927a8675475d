//! Values that wait until those of other clients are complete, because these fill the memory for
//! incoming values.

use super::*;
use std::collections::VecDeque;

const VALUE_BYTES: usize = 200_000;

/// A request to store a value, without the value; what ends the value; and how the answer begins.
type Kind = (fn(usize) -> Vec<u8>, &'static [u8], &'static [u8]);

const KINDS: [Kind; 3] = [
    (|n| format!("set k{n} 0 0 {VALUE_BYTES}\r\n").into_bytes(), b"\r\n", b"STORED\r\n"),
    (|n| format!("ms k{n} {VALUE_BYTES}\r\n").into_bytes(), b"\r\n", b"HD\r\n"),
    (binary_set, b"", &[0x81, 1, 0, 0, 0, 0, 0, 0]),
];

fn binary_set(n: usize) -> Vec<u8> {
    let key = format!("k{n}");
    let body = (8 + key.len() + VALUE_BYTES) as u32;
    let mut packet = vec![0x80, 1, 0, key.len() as u8, 8, 0, 0, 0];
    packet.extend(body.to_be_bytes());
    packet.extend([0; 12 + 8]);
    packet.extend(key.as_bytes());
    packet
}

fn begin(crowd: &mut Crowd, bed: &Bed, n: usize) -> usize {
    let line = crowd.open(bed, "");
    let begun = [KINDS[n % KINDS.len()].0(n), b"abc".to_vec()].concat();
    crowd.act(line, |line| line.offer(&begun));
    line
}

fn waits(crowd: &Crowd, n: usize) -> bool {
    crowd.lines[n].buffered() > 0
}

/// Sends the rest of a value, and asserts that it is stored.
fn end(crowd: &mut Crowd, n: usize) {
    let (_, end, answer) = KINDS[n % KINDS.len()];
    let rest = [&[b'c'; VALUE_BYTES - 3], end].concat();
    crowd.act(n, |line| line.offer(&rest));
    crowd.act(n, |line| assert!(line.take().starts_with(answer)));
}

/// Begins values until one has to wait. Returns its number: those before do not wait.
fn fill(crowd: &mut Crowd, bed: &Bed) -> usize {
    let first = (0..20).find(|n| {
        let line = begin(crowd, bed, *n);
        waits(crowd, line)
    });
    first.expect("a store of 4 MiB does not receive 4 MB at once")
}

#[test]
fn values_wait_until_those_of_others_are_complete_and_none_is_refused() {
    let bed = Bed::new(Options::default());
    let mut crowd = Crowd::new(&bed);
    let mut coming: Vec<_> = (0..30).map(|n| begin(&mut crowd, &bed, n)).collect();
    let waiting = coming.iter().filter(|n| waits(&crowd, **n)).count();
    assert!((20..30).contains(&waiting), "{waiting}");
    // What is there whole does not wait meanwhile, and what is stored is found.
    let whole = crowd.open(&bed, "set w 0 0 1\r\nv\r\nget w\r\n");
    crowd.act(whole, |line| {
        assert_eq!(line.take(), b"STORED\r\nVALUE w 0 1\r\nv\r\nEND\r\n");
    });
    for _ in 0..15 {
        let ready: Vec<_> = coming.extract_if(.., |n| !waits(&crowd, *n)).collect();
        ready.into_iter().for_each(|n| end(&mut crowd, n));
        crowd.pass(100, |_| false);
    }
    assert!(coming.is_empty(), "{coming:?}");
    let counted = |name: &str| counted_by(&crowd.handler, name);
    let names = ["uploads_displaced", "store_no_memory", "slow_requests_ended"];
    assert_eq!(names.map(|name| counted(&format!("memcached_{name}"))), [0; 3]);
    assert!(counted("memcached_requests_held_back") >= waiting as u64);
    assert_eq!(counted("memcached_cmd_set"), 31);
}

#[test]
fn a_value_waits_two_seconds_for_those_that_come_slowly() {
    let bed = Bed::new(Options::default());
    let mut crowd = Crowd::new(&bed);
    let late = fill(&mut crowd, &bed);
    let mut waited_ms = 0;
    while waits(&crowd, late) {
        (0..late).for_each(|n| crowd.act(n, |line| line.offer(&[b'c'; 5000])));
        waited_ms += crowd.pass(500, |crowd| !waits(crowd, late));
        assert!(waited_ms <= 2500, "{waited_ms}");
    }
    assert!((1900..2100).contains(&waited_ms), "{waited_ms}");
    assert_eq!(counted_by(&crowd.handler, "memcached_uploads_displaced"), 1);
    end(&mut crowd, late);
}

#[test]
fn a_value_waits_for_none_that_has_stopped() {
    let bed = Bed::new(Options::default());
    let mut crowd = Crowd::new(&bed);
    let waiting = fill(&mut crowd, &bed);
    crowd.act(waiting, Line::close);
    crowd.due_ms[waiting] = None;
    crowd.pass(3500, |_| false);
    let late = begin(&mut crowd, &bed, waiting + 1);
    assert!(!waits(&crowd, late));
    assert_eq!(counted_by(&crowd.handler, "memcached_uploads_displaced"), 1);
    end(&mut crowd, late);
}

#[test]
fn a_client_that_waits_and_goes_away_leaves_nothing() {
    let bed = Bed::new(Options::default());
    let mut crowd = Crowd::new(&bed);
    let waiting = fill(&mut crowd, &bed);
    for n in 0..=waiting {
        crowd.act(n, Line::close);
        crowd.due_ms[n] = None;
    }
    assert_eq!(fill(&mut crowd, &bed), waiting);
}

/// There is space for one such value only, which each of a peer's many connections takes in turn.
/// They send next to nothing, and after three seconds go and come again.
#[test]
fn values_that_never_end_keep_out_none_that_comes_in_time() {
    const BYTES: usize = 500_000;
    let [honest, other] = [7, 9].map(|host| Ipv4Addr::new(198, 18, 0, host));
    let bed = Bed::of(Options::default(), 512 << 10, 2);
    let mut crowd = Crowd::new(&bed);
    let begin =
        |crowd: &mut Crowd| crowd.open_from(other, &bed, &format!("set a 0 0 {BYTES}\r\nabc"));
    let mut endless = VecDeque::new();
    let mut come_and_go = |crowd: &mut Crowd| {
        if endless.len() == 30 {
            let oldest = endless.pop_front().unwrap();
            crowd.act(oldest, Line::close);
            crowd.due_ms[oldest] = None;
        }
        endless.push_back(begin(crowd));
        endless.iter().for_each(|of_other| crowd.act(*of_other, |line| line.offer(&[b'a'; 200])));
        crowd.pass(100, |_| false);
    };
    (0..60).for_each(|_| come_and_go(&mut crowd));
    for n in 0..4 {
        let line = crowd.open_from(honest, &bed, &format!("set h{n} 0 0 {BYTES}\r\n"));
        let (mut left, mut answer) = (BYTES, Vec::new());
        for _ in 0..80 {
            // 300 KB in a second.
            let part = left.min(30_000);
            let end = if part == left && left > 0 { "\r\n" } else { "" };
            let bytes = [&vec![b'h'; part][..], end.as_bytes()].concat();
            left -= part;
            crowd.act(line, |line| line.offer(&bytes));
            come_and_go(&mut crowd);
            crowd.act(line, |line| answer.extend(line.take()));
            if !answer.is_empty() {
                break;
            }
        }
        assert_eq!(answer, b"STORED\r\n", "value {n}, of which {left} bytes were not sent");
    }
}
