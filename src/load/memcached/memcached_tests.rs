//! The protocol without connections: all kinds of answers, cut at all places.

use super::super::protocol::{Lookups, Verdict};
use super::super::stats::Fault;
use super::*;
use simoom_io::Effects;
use simoom_io::send::{Pool, Queue};

const SHAPE: WorkloadSpec = WorkloadSpec {
    keys: 1,
    value_bytes: (20, 20),
    get_ratio: 1.0,
    zipf: None,
    multiget: 1,
    preload: false,
};

fn memcached(workload: WorkloadSpec) -> Memcached {
    Memcached::new(workload, 1, 4, true)
}

/// Sends one request. Returns it, and its bytes.
fn ask(memcached: &mut Memcached) -> (Request, Vec<u8>) {
    let (mut pool, mut queue, mut effects) =
        (Pool::new(256, 64), Queue::default(), Effects::default());
    let mut pending = [PendingRequest::default()];
    let sent = memcached.ask(&mut pending, &mut Reply::new(&mut pool, &mut queue, &mut effects));
    assert!(sent == 1 && !effects.asked.has_overflowed());
    (pending[0].what, queue.slices(&pool).flatten().copied().collect())
}

/// The answer of a server to a get after `set`.
fn stored(set: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(set.to_vec()).unwrap();
    let (line, value) = text.split_once("\r\n").unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words.len(), 5);
    format!("VALUE {} 0 {}\r\n{value}", words[1], words[4]).into()
}

/// Reads `answer` in parts of `cut` bytes. Returns the verdict and the bytes of content.
fn read(
    memcached: &mut Memcached,
    request: &Request,
    answer: &[u8],
    cut: usize,
) -> (Verdict, usize) {
    let (mut progress, mut offered, mut content) = (Progress::default(), Vec::new(), 0);
    let mut verdict = Verdict::More;
    for piece in answer.chunks(cut) {
        assert_eq!(verdict, Verdict::More, "the answer was good before the end");
        offered.extend_from_slice(piece);
        let parsed = memcached.read(request, &mut progress, &offered);
        offered.drain(..parsed.bytes);
        content += parsed.content;
        verdict = parsed.verdict;
    }
    (verdict, content)
}

#[test]
fn what_is_stored_is_found_good_in_every_cut() {
    for len in [1, 7, 8, 9, 100, 5000] {
        let workload = WorkloadSpec { value_bytes: (len, len), get_ratio: 0.0, ..SHAPE };
        let mut memcached = memcached(workload);
        let (set, bytes) = ask(&mut memcached);
        assert_eq!(
            read(&mut memcached, &set, b"STORED\r\n", 3),
            (Verdict::Good(Lookups::default()), 0)
        );
        memcached.workload = Workload::new(SHAPE, 1);
        let (get, line) = ask(&mut memcached);
        assert_eq!(line, b"get k00000000\r\n");
        let answer = [stored(&bytes), b"END\r\n".to_vec()].concat();
        for cut in (1..answer.len().min(60)).chain([answer.len()]) {
            let (verdict, content) = read(&mut memcached, &get, &answer, cut);
            assert_eq!(
                verdict,
                Verdict::Good(Lookups { hits: 1, misses: 0 }),
                "{len} bytes, cut {cut}"
            );
            assert_eq!(content, len as usize);
        }
    }
}

#[test]
fn what_another_connection_has_stored_meanwhile_is_good_and_what_nobody_has_is_not() {
    let mut memcached = memcached(WorkloadSpec { get_ratio: 0.0, ..SHAPE });
    let (_, first) = ask(&mut memcached);
    let (_, second) = ask(&mut memcached);
    assert_ne!(first, second, "two versions");
    memcached.workload = Workload::new(SHAPE, 1);
    let (get, _) = ask(&mut memcached);
    for set in [&first, &second] {
        let answer = [stored(set), b"END\r\n".to_vec()].concat();
        assert!(matches!(read(&mut memcached, &get, &answer, 9).0, Verdict::Good(_)));
    }
    let mut torn = stored(&first);
    let (end, after) = (torn.len() - 12, second.len() - 12);
    torn[end..].copy_from_slice(&second[after..]);
    torn.extend_from_slice(b"END\r\n");
    assert!(matches!(read(&mut memcached, &get, &torn, 500).0, Verdict::Bad(Fault::Content, _)));
    memcached.verify = false;
    assert!(matches!(read(&mut memcached, &get, &torn, 500).0, Verdict::Good(_)), "nobody asked");
}

#[test]
fn a_miss_is_counted_and_no_error() {
    let mut memcached = memcached(SHAPE);
    let (get, _) = ask(&mut memcached);
    assert_eq!(
        read(&mut memcached, &get, b"END\r\n", 1).0,
        Verdict::Good(Lookups { hits: 0, misses: 1 })
    );
}

#[test]
fn of_many_keys_those_left_out_are_misses() {
    let workload = WorkloadSpec { keys: 1000, multiget: 5, ..SHAPE };
    let mut memcached = memcached(workload);
    let (get, line) = ask(&mut memcached);
    let line = String::from_utf8(line).unwrap();
    let keys: Vec<&str> = line.trim().split(' ').skip(1).collect();
    assert_eq!(keys.len(), 5);
    let value = |key: &str| {
        let number = content::from_hex(&key.as_bytes()[1..]).unwrap();
        let place = memcached.values.place(number, 3);
        let rest = String::from_utf8(memcached.values.part(place).to_vec()).unwrap();
        format!("VALUE {key} 0 20\r\n00000003{rest}\r\n")
    };
    let answer = format!("{}{}END\r\n", value(keys[1]), value(keys[4]));
    let unasked = format!("{}{}END\r\n", value(keys[4]), value(keys[1]));
    for cut in [1, 10, 1000] {
        let (verdict, _) = read(&mut memcached, &get, answer.as_bytes(), cut);
        assert_eq!(verdict, Verdict::Good(Lookups { hits: 2, misses: 3 }));
    }
    let (verdict, _) = read(&mut memcached, &get, unasked.as_bytes(), 1000);
    assert!(matches!(verdict, Verdict::Lost(Fault::Content, _)), "in another order: {verdict:?}");
}

#[test]
fn what_is_wrong_is_named() {
    let mut memcached = memcached(SHAPE);
    let (get, _) = ask(&mut memcached);
    let endless = "x".repeat(2000);
    for (answer, expected, words) in [
        ("ERROR\r\n", Fault::Status, "ERROR"),
        ("SERVER_ERROR out of memory\r\n", Fault::Status, "SERVER_ERROR out of memory"),
        ("CLIENT_ERROR bad command line format\r\n", Fault::Status, "CLIENT_ERROR bad"),
        ("STORED\r\n", Fault::Garbled, "\"STORED\" in answer to a get"),
        ("HTTP/1.1 400 Bad Request\r\n", Fault::Garbled, "HTTP/1.1 400"),
        ("END\n", Fault::Garbled, "\"END\\n\" in answer"),
        (&endless, Fault::Garbled, "a line of over 1024 bytes"),
        ("VALUE k00000000 0\r\n", Fault::Garbled, "announces no value"),
        ("VALUE 42 0 20\r\n", Fault::Garbled, "announces no value"),
        ("VALUE k00000001 0 20\r\n", Fault::Content, "which was not requested"),
        ("VALUE k00000000 0 21\r\n", Fault::Length, "21 bytes of k00000000 where 20 were stored"),
        (
            "VALUE k00000000 0 20\r\n0000000012345678901234END\r\n",
            Fault::Garbled,
            "no end after the value",
        ),
    ] {
        let (verdict, _) = read(&mut memcached, &get, answer.as_bytes(), usize::MAX);
        match verdict {
            Verdict::Bad(fault, detail) | Verdict::Lost(fault, detail) => {
                assert!(
                    fault == expected && detail.contains(words),
                    "{answer:?}: {fault:?} {detail}"
                );
            }
            other => panic!("{answer:?}: {other:?}"),
        }
    }
    let request = Request { kind: Kind::Set, ..Request::default() };
    assert!(matches!(
        read(&mut memcached, &request, b"END\r\n", 9).0,
        Verdict::Lost(Fault::Garbled, _)
    ));
    assert!(matches!(
        read(&mut memcached, &request, b"NOT_STORED\r\n", 9).0,
        Verdict::Bad(Fault::Status, _)
    ));
}

#[test]
fn an_answer_cut_off_tells_how_far_it_had_come() {
    let mut memcached = memcached(SHAPE);
    let (get, _) = ask(&mut memcached);
    let mut progress = Progress::default();
    assert_eq!(memcached.cut(&progress), None);
    memcached.read(&get, &mut progress, b"VALUE k00000000 0 20\r\n0000000012");
    assert_eq!(memcached.cut(&progress).as_deref(), Some("closed after 10 of 20 bytes of a value"));
}

#[test]
fn the_longest_get_fits_what_may_be_copied() {
    let mut memcached =
        memcached(WorkloadSpec { multiget: MULTIGET_MAX, keys: 1_000_000_000, ..SHAPE });
    let (_, line) = ask(&mut memcached);
    assert!(line.len() <= CAPACITY_COPY_BYTES && MULTIGET_MAX >= 100, "{} bytes", line.len());
}

#[test]
fn a_reply_without_room_takes_what_it_has_room_for() {
    let mut memcached =
        memcached(WorkloadSpec { get_ratio: 0.0, value_bytes: (400, 400), ..SHAPE });
    let (mut pool, mut queue, mut effects) =
        (Pool::new(256, 20), Queue::default(), Effects::default());
    let mut pending = [PendingRequest::default(); 30];
    let sent = memcached.ask(&mut pending, &mut Reply::new(&mut pool, &mut queue, &mut effects));
    assert!(
        (5..30).contains(&sent)
            && effects.asked.wants_capacity()
            && !effects.asked.has_overflowed(),
        "{sent}"
    );
    assert_eq!(queue.slices(&pool).flatten().filter(|byte| **byte == b'\n').count(), 2 * sent);
}
