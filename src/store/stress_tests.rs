//! Several threads at once: no value is ever torn, nothing leaks, and what each key's history shows
//! could have happened one step at a time.

use super::tests::{NOW, assert_nothing_leaks, new, store};
use super::*;
use simoom_io::testing::Random;
use std::collections::HashSet;
use std::sync::atomic::Ordering::SeqCst;

const THREADS: usize = 4;
const ROUNDS: usize = if cfg!(miri) { 12 } else { 30_000 };

fn threads<T: Send>(run: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let run = &run;
        let handles: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || run(thread))).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    })
}

/// A value that tells its key and whether it is whole.
fn value(key: u64, random: &mut Random) -> Vec<u8> {
    let bytes = match random.below(20) {
        0 => 10_000,
        1 => 2000,
        n => n * 10,
    };
    let mark = random.below(256) as u8;
    [&key.to_le_bytes()[..], &vec![mark; bytes as usize]].concat()
}

fn assert_whole(key: u64, value: &[u8]) {
    assert_eq!(value[..8], key.to_le_bytes());
    assert!(value[8..].windows(2).all(|pair| pair[0] == pair[1]), "a torn value");
}

#[test]
fn values_are_whole_and_nothing_leaks_while_threads_store_fetch_evict_and_expire() {
    let store = store(if cfg!(miri) { 1 << 20 } else { 2 << 20 }, 64 << 10);
    threads(|thread| {
        let mut random = Random::new(thread as u64);
        let mut held: Vec<(u64, Item)> = Vec::new();
        for round in 0..ROUNDS {
            let now = NOW + (round / 1000) as u32;
            let key = random.below(3000);
            let name = format!("key{key}");
            match random.below(10) {
                0..4 => {
                    let value = value(key, &mut random);
                    let ttl = random.below(4) as u32 * 3;
                    let exptime = if ttl == 0 { 0 } else { now + ttl };
                    let Ok(mut reservation) =
                        store.reserve(&new(name.as_bytes(), value.len(), exptime), now)
                    else {
                        held.clear();
                        continue;
                    };
                    value.chunks(777).for_each(|tlab| _ = reservation.write(tlab));
                    if random.below(20) > 0 {
                        store.commit(reservation, &Commit::default(), now);
                    }
                }
                4..6 => {
                    if let Some(guard) = store.guard(name.as_bytes(), now) {
                        let head = format!("VALUE {name} 7 ");
                        let line = guard.line().strip_prefix(head.as_bytes()).unwrap();
                        let value = line.iter().position(|byte| *byte == b'\n').unwrap() + 1;
                        assert_whole(key, line[value..].strip_suffix(b"\r\n").unwrap());
                    }
                }
                6..8 => {
                    if let Some(item) = store.get(name.as_bytes(), now) {
                        assert_eq!(item.key(), name.as_bytes());
                        assert_whole(key, item.value());
                        held.push((key, item));
                    }
                }
                8 => _ = store.delete(name.as_bytes(), &Delete::default(), now),
                _ => _ = store.maintain(now),
            }
            if held.len() > 10 {
                held.drain(..5).for_each(|(key, item)| assert_whole(key, item.value()));
            }
        }
    });
    if !cfg!(miri) {
        let statistics = store.statistics();
        assert!(
            statistics.evictions > 0 && statistics.items_moved > 0 && statistics.reclaimed > 0,
            "{statistics:?}"
        );
    }
    assert_nothing_leaks(&store, NOW + 1000);
}

/// Whoever else stores: an item is found until a sixteenth of the memory was written after it.
/// Some are larger than a frame, and some are used, so that all queues have items.
#[test]
#[cfg_attr(miri, ignore = "megabytes take an hour")]
fn the_newest_items_of_each_thread_are_there() {
    const MEMORY_BYTES: u64 = 8 << 20;
    let (store, written) = (store(MEMORY_BYTES, 256 << 10), AtomicU64::new(0));
    let checked: u32 = threads(|thread| {
        let (mut random, mut checked) = (Random::new(thread as u64 + 5), 0);
        let value = vec![b'n'; 120_000];
        for round in 0..ROUNDS / 5 {
            let (name, before) = (format!("new{thread}-{round}"), written.load(SeqCst));
            let bytes = match random.below(50) {
                0 => 20_000 + random.below(100_000),
                1..5 => random.below(20_000),
                _ => random.below(500),
            };
            // Counted before it is written: what is written after an item is never underrated.
            written.fetch_add(bytes + 200, SeqCst);
            super::tests::set(&store, name.as_bytes(), &value[..bytes as usize]);
            let is_there = store.get(name.as_bytes(), NOW).is_some();
            let since = written.load(SeqCst) - before;
            if since < MEMORY_BYTES / 16 {
                assert!(is_there, "{name} of {bytes} B, {since} B later: {:?}", store.statistics());
                checked += 1;
            }
            (0..random.below(3)).for_each(|_| {
                let name = format!("new{thread}-{}", random.below(round as u64 + 1));
                store.get(name.as_bytes(), NOW);
            });
        }
        checked
    })
    .into_iter()
    .sum();
    assert!(checked as usize > THREADS * ROUNDS / 10, "{checked}");
    let statistics = store.statistics();
    assert!(statistics.evictions > 0 && statistics.items_moved > 0, "{statistics:?}");
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn a_reader_that_panics_leaves_no_pin() {
    let store = store(1 << 20, 64 << 10);
    for bytes in [10, 60_000] {
        super::tests::set(&store, b"k", &vec![b'v'; bytes]);
        let crash = |hold: &(dyn Fn() + Sync)| {
            let panicked = std::thread::scope(|scope| scope.spawn(hold).join().is_err());
            assert!(panicked);
            assert_eq!(store.statistics().frames_pinned, 0, "{bytes} bytes");
        };
        crash(&|| {
            let _guard = store.guard(b"k", NOW).unwrap();
            panic!("injected while a guard is held");
        });
        crash(&|| {
            let item = store.get(b"k", NOW).unwrap();
            let _another = item.clone();
            panic!("injected while an item is held");
        });
        crash(&|| {
            let _fetched = store.fetch(b"k", &Fetch::default(), NOW).unwrap();
            let _reservation = store.reserve(&new(b"k", 10, 0), NOW).unwrap();
            panic!("injected while an item and a reservation are held");
        });
        crash(&|| {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                cursor = store.dump(at, 10, NOW, &mut |_| panic!("injected in a visitor"));
            }
        });
    }
    assert!(store.is_sound());
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn no_increment_is_lost() {
    let store = store(1 << 20, 64 << 10);
    let up = Count { delta: 1, create: Some((1, 0)), ..Count::default() };
    let rounds = ROUNDS / 10;
    threads(|_| {
        for _ in 0..rounds {
            assert!(matches!(store.count(b"n", &up, NOW), Counted::Value { .. }));
        }
    });
    let item = store.get(b"n", NOW).unwrap();
    assert_eq!(number::parse(item.value()), Some((THREADS * rounds) as u64));
    drop(item);
    assert_nothing_leaks(&store, NOW);
}

/// What was asked, and what the answer was.
#[derive(Clone, Copy, Debug)]
enum Event {
    Set(u64),
    Add(u64, bool),
    /// Over the first, store the second; whether the first was there, or another, or none.
    Cas(u64, u64, Outcome),
    Get(Option<u64>),
    Delete(bool),
    /// Adds 1; the sum, if the key was there.
    Increment(Option<u64>),
}

impl Event {
    /// The state after this event in `state`, if it could have been answered so there.
    fn apply(self, state: Option<u64>) -> Option<Option<u64>> {
        match self {
            Event::Set(value) => Some(Some(value)),
            Event::Add(value, true) => state.is_none().then_some(Some(value)),
            Event::Add(_, false) => state.is_some().then_some(state),
            Event::Cas(old, value, Outcome::Stored { .. }) => {
                (state == Some(old)).then_some(Some(value))
            }
            Event::Cas(old, _, Outcome::Exists) => {
                (state.is_some() && state != Some(old)).then_some(state)
            }
            Event::Cas(..) => state.is_none().then_some(state),
            Event::Get(value) => (state == value).then_some(state),
            Event::Delete(found) => (state.is_some() == found).then_some(None),
            Event::Increment(sum) => (state.map(|value| value + 1) == sum).then_some(sum),
        }
    }
}

/// An event with the ticks before and after it.
type Timed = (u64, Event, u64);

/// Whether some order of the events explains all answers: one that keeps each thread's own order,
/// and puts what had ended before what began later. With `evicts`, the value may also vanish at any
/// time.
fn is_linearizable(history: &[Vec<Timed>], evicts: bool) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![(vec![0usize; history.len()], None::<u64>)];
    while let Some((done, state)) = open.pop() {
        if !seen.insert((done.clone(), state)) {
            continue;
        }
        let next = |thread: usize| history[thread].get(done[thread]);
        if (0..history.len()).all(|thread| next(thread).is_none()) {
            return true;
        }
        if evicts && state.is_some() {
            open.push((done.clone(), None));
        }
        let first_end = (0..history.len()).filter_map(next).map(|(_, _, end)| *end).min().unwrap();
        for thread in 0..history.len() {
            let Some((start, event, _)) = next(thread) else { continue };
            if *start < first_end
                && let Some(state) = event.apply(state)
            {
                let mut done = done.clone();
                done[thread] += 1;
                open.push((done, state));
            }
        }
    }
    false
}

/// Histories of `keys` keys, by key and thread.
fn histories(store: &Store, keys: usize, rounds: usize) -> Vec<Vec<Vec<Timed>>> {
    // Values differ by more than the increments add.
    let (clock, values) = (AtomicU64::new(0), AtomicU64::new(1 << 20));
    let by_thread = threads(|thread| {
        let mut random = Random::new(thread as u64 + 77);
        let mut histories = vec![Vec::new(); keys];
        let mut last: Vec<Option<(u64, u64)>> = vec![None; keys];
        for _ in 0..rounds {
            let key = random.below(keys as u64) as usize;
            let name = format!("key{key}").into_bytes();
            let fresh = values.fetch_add(1 << 20, SeqCst);
            let store_it = |commit: Commit| {
                let text = fresh.to_string();
                super::tests::put(store, &name, text.as_bytes(), 0, commit, NOW)
            };
            let start = clock.fetch_add(1, SeqCst);
            let event = match random.below(12) {
                choice @ (0 | 1) => {
                    let text = fresh.to_string();
                    let new = new(&name, text.len(), 0);
                    let outcome = match choice {
                        0 => store_it(Commit::default()),
                        _ => store.set(&new, text.as_bytes(), NOW).unwrap(),
                    };
                    assert!(matches!(outcome, Outcome::Stored { .. }));
                    Event::Set(fresh)
                }
                2 => {
                    let outcome = store_it(Commit { mode: Mode::Add, ..Commit::default() });
                    Event::Add(fresh, outcome != Outcome::NotStored)
                }
                3 | 4 if last[key].is_some() => {
                    let (old, cas) = last[key].unwrap();
                    Event::Cas(
                        old,
                        fresh,
                        store_it(Commit { compare: Some(cas), ..Commit::default() }),
                    )
                }
                5 => {
                    Event::Delete(store.delete(&name, &Delete::default(), NOW) != Outcome::NotFound)
                }
                6 | 7 => {
                    let up = Count { delta: 1, ..Count::default() };
                    match store.count(&name, &up, NOW) {
                        Counted::Value { value, .. } => Event::Increment(Some(value)),
                        Counted::NotFound => Event::Increment(None),
                        other => panic!("{other:?}"),
                    }
                }
                _ => {
                    let item = store.get(&name, NOW);
                    last[key] = item.map(|item| (number::parse(item.value()).unwrap(), item.cas()));
                    Event::Get(last[key].map(|(value, _)| value))
                }
            };
            histories[key].push((start, event, clock.fetch_add(1, SeqCst)));
        }
        histories
    });
    (0..keys)
        .map(|key| by_thread.iter().map(|histories| histories[key].clone()).collect())
        .collect()
}

#[test]
fn histories_of_each_key_are_linearizable() {
    let store = store(4 << 20, 64 << 10);
    for history in histories(&store, 3, ROUNDS / 10) {
        assert!(is_linearizable(&history, false), "not linearizable: {history:?}");
    }
    assert_eq!(store.statistics().evictions, 0);
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn histories_are_linearizable_while_items_are_moved_and_evicted() {
    let store = store(1 << 20, 64 << 10);
    let done = std::sync::atomic::AtomicBool::new(false);
    let filled = std::thread::scope(|scope| {
        let (store, done, mut random) = (&store, &done, Random::new(5));
        let mut fill = move || {
            let name = format!("filler{}", random.below(3000));
            super::tests::set(store, name.as_bytes(), &[b'f'; 500]);
            store.get(name.as_bytes(), NOW);
        };
        // From here on the store is full: it moves and evicts items.
        while !cfg!(miri) && store.statistics().items_moved == 0 {
            fill();
        }
        let churn = scope.spawn(move || {
            while !done.load(SeqCst) {
                fill();
            }
        });
        let histories = histories(store, 3, ROUNDS / 10);
        done.store(true, SeqCst);
        churn.join().unwrap();
        histories
    });
    for history in filled {
        assert!(is_linearizable(&history, true), "not linearizable: {history:?}");
    }
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn the_checker_tells_possible_from_impossible_histories() {
    let set = |value, start, end| (start, Event::Set(value), end);
    let get = |value, start, end| (start, Event::Get(value), end);
    // A read during two writes may see either or nothing, but never an older value after a newer
    // one.
    let writes = vec![set(1, 0, 3), set(2, 4, 7)];
    assert!(is_linearizable(&[writes.clone(), vec![get(None, 1, 2), get(Some(1), 5, 6)]], false));
    assert!(is_linearizable(
        &[writes.clone(), vec![get(Some(1), 1, 2), get(Some(2), 5, 6)]],
        false
    ));
    assert!(!is_linearizable(
        &[writes.clone(), vec![get(Some(2), 5, 6), get(Some(1), 8, 9)]],
        false
    ));
    assert!(!is_linearizable(&[writes.clone(), vec![get(None, 8, 9)]], false));
    assert!(is_linearizable(&[writes.clone(), vec![get(None, 8, 9)]], true));
    assert!(!is_linearizable(&[writes, vec![get(None, 8, 9), get(Some(2), 10, 11)]], true));
    // Two increments at the same time: neither is lost.
    let increment = |sum, start, end| (start, Event::Increment(sum), end);
    let history =
        |first, second| [vec![set(5, 0, 1), increment(first, 2, 5)], vec![increment(second, 3, 4)]];
    assert!(is_linearizable(&history(Some(7), Some(6)), false));
    assert!(!is_linearizable(&history(Some(6), Some(6)), false));
    assert!(!is_linearizable(&history(None, Some(6)), false));
    assert!(is_linearizable(&history(None, Some(6)), true));
}
