//! Values that clients are still sending take from nobody whose values are complete.

use super::*;
use std::collections::VecDeque;

/// Reserves as the handler does: the oldest of `held` gives way.
fn reserve(store: &Store, held: &mut VecDeque<Reservation>, key: &[u8], bytes: usize) -> Reservation {
    let reserved = store.reserve_incoming(&new(key, bytes, 0), NOW, || held.pop_front().is_some());
    reserved.unwrap()
}

/// Stores complete values of many sizes, more than memory holds, and finds each of them at once.
fn store_all_sizes(store: &Store, rounds: usize) {
    for round in 0..rounds {
        for bytes in [10, 1000, 20_000, 60_000] {
            let key = format!("whole{round}-{bytes}").into_bytes();
            set(store, &key, &vec![b'w'; bytes]);
            assert_eq!(store.get(&key, NOW).unwrap().value().len(), bytes);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of items take an hour")]
fn a_complete_value_never_waits_for_one_that_does_not_end() {
    let store = small();
    let mut held = Vec::new();
    for round in 0..400 {
        for bytes in [60_000, 30_000, 1000, 60, 1] {
            let begun = store.reserve_incoming(&new(b"half", bytes, 0), NOW, || false);
            held.extend(begun.ok().map(|mut reservation| {
                reservation.write(&[b'h'; 30][..bytes.min(30) - 1]);
                reservation
            }));
        }
        // Between them memory is used anew, so that what is held could lie anywhere in it.
        store_all_sizes(&store, round % 3);
    }
    let statistics = store.statistics();
    assert!(statistics.store_no_memory > 0 && held.len() > 20, "{} held: {statistics:?}", held.len());
    let bound = store.memory.frames() as u32 / 4;
    assert!(store.space().frames(Queue::Incoming) <= bound);
    store_all_sizes(&store, 50);
    assert_eq!(store.statistics().store_no_memory, statistics.store_no_memory);
    drop(held);
    assert_nothing_leaks(&store, NOW);
}

#[test]
#[cfg_attr(miri, ignore = "thousands of items take an hour")]
fn a_newer_value_takes_the_space_of_the_oldest() {
    let store = small();
    let mut held = VecDeque::new();
    for n in 0..2000 {
        let bytes = [60_000, 30_000, 1000, 60, 1][n % 5];
        let mut reservation = reserve(&store, &mut held, b"half", bytes);
        reservation.write(&[b'h'; 30][..bytes.min(30) - 1]);
        held.push_back(reservation);
        let mut whole = reserve(&store, &mut held, b"whole", bytes);
        whole.write(&vec![n as u8; bytes]);
        assert!(matches!(store.commit(whole, &Commit::default(), NOW), Outcome::Stored { .. }));
        assert_eq!(value(&store, b"whole"), Some(vec![n as u8; bytes]));
    }
    assert!((1..1000).contains(&held.len()), "{}", held.len());
    held.clear();
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn what_came_in_pieces_lies_among_the_items_once_it_is_complete() {
    let store = small();
    // Within a frame of 16 KiB, as large as one, and larger.
    let sizes = [0, 1, 300, 16_000, 16 << 10, 40_000, 60_000];
    for (n, bytes) in sizes.into_iter().enumerate() {
        let (key, bytes_of) = (format!("k{n}"), vec![n as u8; bytes]);
        let new = New { flags: 7, exptime: NOW + 60, ..new(key.as_bytes(), bytes, 0) };
        let mut reservation = store.reserve_incoming(&new, NOW, || false).unwrap();
        for piece in bytes_of.chunks(1000) {
            assert_eq!(reservation.write(piece), piece.len());
        }
        assert!(matches!(store.commit(reservation, &Commit::default(), NOW), Outcome::Stored { .. }));
        let item = store.get(key.as_bytes(), NOW).unwrap();
        assert_eq!((item.value(), item.meta().flags, item.meta().exptime), (&bytes_of[..], 7, NOW + 60));
    }
    assert_eq!(store.statistics().reserved_bytes, 0);
    let classes = store.classes(NOW);
    assert_eq!(classes.iter().map(|class| (class.items, class.ttl_below)).collect::<Vec<_>>(), [(7, 0)]);
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn each_worker_has_a_share() {
    let store = Store::new(&Settings {
        memory_bytes: 4 << 20,
        item_max_bytes: 64 << 10,
        workers: 2,
        hash_key: Some([1, 2]),
    });
    let store = store.unwrap();
    let fill = |held: &mut Vec<Reservation>| {
        while let Ok(reservation) = store.reserve_incoming(&new(b"half", 10_000, 0), NOW, || false) {
            held.push(reservation);
        }
    };
    let (mut one, mut other) = (Vec::new(), Vec::new());
    fill(&mut one);
    // Threads are numbered in the order of their first call: of two new ones one has the other stripe.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope
                .spawn(|| {
                    let mut held = Vec::new();
                    fill(&mut held);
                    held
                })
                .join()
                .map(|held| other.extend(held))
                .unwrap();
        }
    });
    assert!(one.len() > 10 && other.len() > 10, "{} and {}", one.len(), other.len());
    drop((one, other));
    assert_nothing_leaks(&store, NOW);
}
