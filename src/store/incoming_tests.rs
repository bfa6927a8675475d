//! Values that clients are still sending take from nobody whose values are complete.

use super::*;
use std::collections::VecDeque;

/// Reserves as the handler does: the oldest of `held` gives way.
fn reserve(
    store: &Store,
    held: &mut VecDeque<Reservation>,
    key: &[u8],
    bytes: usize,
) -> Reservation {
    let reserved = store.reserve_incoming(&new(key, bytes, 0), NOW, || {
        Full::unless_dropped(held.pop_front().is_some())
    });
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
    let (mut held, mut refused) = (Vec::new(), 0);
    for round in 0..400 {
        for bytes in [60_000, 30_000, 1000, 60, 1] {
            let begun = store.reserve_incoming(&new(b"half", bytes, 0), NOW, || Full::Exceed);
            refused += u32::from(begun.is_err());
            held.extend(begun.ok().map(|mut reservation| {
                reservation.write(&[b'h'; 30][..bytes.min(30) - 1]);
                reservation
            }));
        }
        // Between them memory is used anew, so that what is held could lie anywhere in it.
        store_all_sizes(&store, round % 3);
    }
    let statistics = store.statistics();
    assert!(refused > 0 && held.len() > 20, "{} held: {statistics:?}", held.len());
    let bound = store.memory.frames() as u32 / 4;
    assert!(store.space().frames(Queue::Incoming) <= bound);
    store_all_sizes(&store, 50);
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
fn a_value_that_arrives_in_parts_lies_among_the_items_once_it_is_complete() {
    let store = small();
    // Within a frame of 16 KiB, as large as one, and larger.
    let sizes = [0, 1, 300, 16_000, 16 << 10, 40_000, 60_000];
    for (n, bytes) in sizes.into_iter().enumerate() {
        let (key, bytes_of) = (format!("k{n}"), vec![n as u8; bytes]);
        let new = NewItem { flags: 7, exptime: NOW + 60, ..new(key.as_bytes(), bytes, 0) };
        let mut reservation = store.reserve_incoming(&new, NOW, || Full::Exceed).unwrap();
        for tlab in bytes_of.chunks(1000) {
            assert_eq!(reservation.write(tlab), tlab.len());
        }
        assert!(matches!(
            store.commit(reservation, &Commit::default(), NOW),
            Outcome::Stored { .. }
        ));
        let item = store.get(key.as_bytes(), NOW).unwrap();
        assert_eq!(
            (item.value(), item.meta().flags, item.meta().exptime),
            (&bytes_of[..], 7, NOW + 60)
        );
    }
    assert_eq!(store.statistics().reserved_bytes, 0);
    let classes = store.classes(NOW);
    assert_eq!(
        classes.iter().map(|class| (class.items, class.ttl_below)).collect::<Vec<_>>(),
        [(7, 0)]
    );
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
    let mut held = VecDeque::new();
    fill(&store, &mut held);
    let own = store.shard_index();
    // Threads share shards. One in the shard of this thread, whose share is full, begins beyond
    // that; one with the other has a share of its own.
    let (mut of_same, mut of_other) = (None, None);
    while of_same.is_none() || of_other.is_none() {
        let (number, len) = std::thread::scope(|scope| {
            let thread = || {
                let mut held = VecDeque::new();
                fill(&store, &mut held);
                (store.shard_index(), held.len())
            };
            scope.spawn(thread).join().unwrap()
        });
        *(if number == own { &mut of_same } else { &mut of_other }) = Some(len);
    }
    assert!(
        of_same > Some(0) && of_other > Some(10) && held.len() > 10,
        "{of_same:?} {of_other:?}"
    );
    drop(held);
    assert_nothing_leaks(&store, NOW);
}

/// Reserves as a handler does, whose oldest value gives way, until one has.
fn fill(store: &Store, held: &mut VecDeque<Reservation>) {
    let mut is_full = false;
    while !is_full {
        let give_up = || {
            is_full = true;
            Full::unless_dropped(held.pop_front().is_some())
        };
        let reserved = store.reserve_incoming(&new(b"half", 10_000, 0), NOW, give_up).unwrap();
        held.push_back(reserved);
    }
}

/// A frame is emptied for them, but not one of a large item that is used.
#[test]
#[cfg_attr(miri, ignore = "thousands of items take an hour")]
fn values_that_are_begun_evict_no_large_item() {
    let store = store(4 << 20, 256 << 10);
    let large = |n: usize| format!("large{n}").into_bytes();
    let small = |n: usize| _ = set(&store, format!("small{n}").as_bytes(), &[b's'; 1000]);
    (0..900).for_each(small);
    (0..8).for_each(|n| _ = set(&store, &large(n), &vec![b'l'; 250_000]));
    (900..1500).for_each(small);
    let mut held = VecDeque::new();
    for _ in 0..500 {
        (0..8).for_each(|n| assert!(store.get(&large(n), NOW).is_some(), "{n}"));
        held.push_back(
            store.reserve_incoming(&new(b"half", 12_000, 0), NOW, || Full::Exceed).unwrap(),
        );
        if held.len() > 30 {
            held.pop_front();
        }
    }
}

/// Values that are begun now and then, while memory is used anew, would lie all over it.
#[test]
#[cfg_attr(miri, ignore = "thousands of items take an hour")]
fn a_large_value_finds_a_run_of_frames_between_values_that_do_not_end() {
    let store = store(4 << 20, 256 << 10);
    let mut held = Vec::new();
    let mut key = 0;
    for _ in 0..store.memory.frames() / 4 {
        // One takes a frame almost alone.
        let begun = store.reserve_incoming(&new(b"half", 12_000, 0), NOW, || Full::Exceed);
        held.extend(begun.ok());
        // As much as four frames hold.
        for _ in 0..60 {
            key += 1;
            set(&store, format!("small{key}").as_bytes(), &[b's'; 1000]);
        }
    }
    assert!(held.len() > 50, "{}", held.len());
    for n in 0..100 {
        set(&store, format!("large{n}").as_bytes(), &vec![b'l'; 250_000]);
        let begun = store.reserve_incoming(&new(b"large", 250_000, 0), NOW, || {
            Full::unless_dropped(held.pop().is_some())
        });
        assert!(begun.is_ok(), "{n}, {} held: {:?}", held.len(), store.statistics());
    }
    drop(held);
    assert_nothing_leaks(&store, NOW);
}
