//! Requests that cost more than their length suggests: the connection yields and continues in later
//! iterations.

use super::*;
use crate::store::{Commit, NewItem};

/// Length of the value under `key`.
fn value_len(line: &Line<Memcached>, key: &str) -> usize {
    line.app.store.peek(key.as_bytes(), line.app.now).map_or(0, |item| item.value_range().len())
}

/// Sends a burst of `count` requests for an item of `len` bytes, each of which makes it longer by a
/// byte, and returns how many were carried out in each iteration.
fn iterations(request: &[u8], len: usize, count: usize) -> Vec<usize> {
    let mut line = open();
    let (store, now) = (&line.app.store, line.app.now);
    let new = NewItem { key: b"k", flags: 0, exptime: 0, value_bytes: len, binary_key: false };
    let mut reservation = store.reserve(&new, now).unwrap();
    reservation.write(&vec![b'v'; len]);
    store.commit(reservation, &Commit::default(), now);
    let mut at = len;
    let mut done = Vec::new();
    line.offer(&request.repeat(count));
    loop {
        let now = value_len(&line, "k");
        done.push(now - at);
        at = now;
        if !line.iterate() {
            assert_eq!((at, line.buffered()), (len + count, 0));
            return done;
        }
    }
}

#[test]
fn a_burst_of_appends_goes_on_in_the_next_iterations() {
    let binary = |opcode: u8| {
        let mut packet = vec![0x80, opcode, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
        packet.resize(24, 0);
        packet.extend(b"kx");
        packet
    };
    let requests: [&[u8]; 6] = [
        b"append k 0 0 1 noreply\r\nx\r\n",
        b"prepend k 0 0 1 noreply\r\nx\r\n",
        b"ms k 1 MA q\r\nx\r\n",
        b"ms k 1 MP q\r\nx\r\n",
        &binary(0x19),
        &binary(0x1a),
    ];
    for request in requests {
        let done = iterations(request, 700_000, 50);
        assert!(done.len() >= 49 && done.iter().all(|done| *done <= 2), "{done:?}");
        let done = iterations(request, 100_000, 50);
        assert!(done.len() >= 8 && done.iter().all(|done| *done <= 6), "{done:?}");
        assert!(iterations(request, 10, 50).len() <= 2);
    }
}

/// Calls until a burst is through.
fn shares(setup: &[u8], burst: &[u8]) -> usize {
    let mut line = open();
    line.offer(setup);
    line.take();
    line.offer(burst);
    let mut shares = 1;
    loop {
        let queued = line.queued();
        line.acknowledge(queued);
        if line.iterate() {
            shares += 1;
        } else if !line.take_once(|_| {}).1 {
            assert_eq!(line.buffered(), 0);
            return shares;
        }
    }
}

#[test]
fn requests_that_cost_more_than_their_bytes_use_up_shares() {
    let cheap = shares(b"", &b"delete k noreply\r\n".repeat(400));
    assert_eq!(cheap, 1);
    let many = shares(b"", &b"delete k noreply\r\n".repeat(5000));
    assert!((9..=11).contains(&many), "{many}");
    // A number that is padded to its length.
    let number = [b"set n 0 0 500000\r\n1", " ".repeat(499_999).as_bytes(), b"\r\n"].concat();
    assert!(shares(&number, &b"incr n 1 noreply\r\n".repeat(20)) >= 20);
    assert!(shares(b"", &b"stats\r\n".repeat(100)) >= 20);
    // An eighth of a share for the empty table of a store of 8 MiB: 256 chains.
    for list in ["mgdump", "metadump"] {
        let burst = format!("lru_crawler {list} all\r\n").repeat(50);
        assert!(shares(b"", burst.as_bytes()) >= 6, "{list}");
    }
}

#[test]
fn what_is_left_of_a_share_is_for_the_next_segment() {
    let mut line = open();
    line.offer(format!("set k 0 0 100000\r\n{}\r\n", "v".repeat(100_000)).as_bytes());
    line.take();
    let append = b"append k 0 0 1 noreply\r\nx\r\n";
    let mut segments = 0;
    while !line.has_yielded() {
        line.offer(append);
        segments += 1;
        assert!(segments <= 6, "{segments}");
    }
    line.offer(append);
    assert!(line.buffered() == append.len() && value_len(&line, "k") == 100_000 + segments);
    assert!(line.iterate());
    assert_eq!((line.buffered(), value_len(&line, "k")), (0, 100_001 + segments));
}
