use super::space::Queue;
use super::*;
use simoom_io::Blob;
use std::sync::atomic::Ordering::Relaxed;

pub(super) const NOW: u32 = 1_000_000;

pub(super) fn store(memory_bytes: u64, item_max_bytes: u64) -> Arc<Store> {
    Store::new(&Settings { memory_bytes, item_max_bytes, workers: 2, ..Settings::default() })
        .unwrap()
}

fn small() -> Arc<Store> {
    store(1 << 20, 64 << 10)
}

pub(super) fn new(key: &[u8], value_bytes: usize, exptime: u32) -> NewItem<'_> {
    NewItem { key, flags: 7, exptime, value_bytes, binary_key: false }
}

pub(super) fn put(
    store: &Store,
    key: &[u8],
    value: &[u8],
    exptime: u32,
    how: Commit,
    now: u32,
) -> Outcome {
    let mut reservation = store.reserve(&new(key, value.len(), exptime), now).unwrap();
    assert_eq!(reservation.write(value), value.len());
    store.commit(reservation, &how, now)
}

pub(super) fn set(store: &Store, key: &[u8], value: &[u8]) -> u64 {
    match put(store, key, value, 0, Commit::default(), NOW) {
        Outcome::Stored { cas } => cas,
        other => panic!("{other:?}"),
    }
}

fn value(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    store.get(key, NOW).map(|item| item.value().to_vec())
}

/// Everything is given back once nothing is stored, reserved or sent.
pub(super) fn assert_nothing_leaks(store: &Store, now: u32) {
    store.flush(now, now);
    let frames = store.statistics().frames;
    (0..2 * frames).for_each(|_| _ = store.maintain(now));
    let statistics = store.statistics();
    assert_eq!((statistics.curr_items, statistics.bytes, statistics.reserved_bytes), (0, 0, 0));
    let free = statistics.frames - statistics.frames_table;
    assert_eq!((statistics.frames_free, statistics.frames_pinned), (free, 0), "{statistics:?}");
    let space = store.space();
    assert!(
        [Queue::Young, Queue::Main, Queue::Deferred, Queue::Incoming]
            .iter()
            .all(|queue| space.frames(*queue) == 0)
    );
    assert!((0..statistics.frames as u32).all(|frame| store.memory.live(frame) == (0, 0)));
    let (spare, all) = store.table.spare();
    assert_eq!(spare, all);
}

#[test]
fn handles_are_small() {
    assert_eq!(
        (size_of::<Item>(), size_of::<Option<Item>>(), size_of::<Reservation>()),
        (16, 16, 24)
    );
}

#[test]
fn memory_taken_is_within_what_was_allowed_and_nearly_all_of_it() {
    for memory_bytes in [1 << 20, 3_333_333, 64 << 20] {
        let store = store(memory_bytes, 64 << 10);
        let taken = store.memory_bytes() as u64;
        assert!(
            taken <= memory_bytes && taken > memory_bytes * 9 / 10,
            "{taken} of {memory_bytes}"
        );
    }
}

#[test]
fn an_item_is_the_line_of_a_text_get() {
    let store = small();
    set(&store, b"key", b"value");
    let item = store.get(b"key", NOW).unwrap();
    assert_eq!(item.bytes(), b"VALUE key 7 5\r\nvalue\r\n");
    assert_eq!(
        (item.key(), item.value(), item.value_range()),
        (b"key".as_slice(), b"value".as_slice(), 15..20)
    );
    assert_eq!(item.size_bytes(), 24 + 24);
    drop(item);
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn a_tlab_grows_while_nothing_lies_behind_it() {
    let store = small();
    let keys: Vec<String> = (0..100).map(|n| format!("key{n:02}")).collect();
    keys.iter().for_each(|key| _ = set(&store, key.as_bytes(), &[b'v'; 20]));
    let place = |key: &String| store.get(key.as_bytes(), NOW).unwrap().offset();
    let apart: Vec<u64> = keys.windows(2).map(|pair| place(&pair[1]) - place(&pair[0])).collect();
    assert!(
        u64::from(store.tlab_units) < 100 * apart[0]
            && apart.iter().all(|units| *units == apart[0]),
        "{apart:?}"
    );
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn the_rest_of_a_tlab_becomes_a_filler_if_something_lies_behind_it() {
    let store = small();
    let place = |key: &[u8]| store.get(key, NOW).unwrap().offset();
    set(&store, b"first", &[b'v'; 20]);
    set(&store, b"large", &[b'v'; 500]);
    let small = (0u64..).map(|n| set(&store, format!("key{n}").as_bytes(), &[b'v'; 20]) - 3);
    let behind = |n: &u64| place(format!("key{n}").as_bytes()) > place(b"large");
    let last = small.into_iter().find(behind).unwrap();
    assert!(last > 2 && place(b"first") < place(b"key0") && place(b"key0") < place(b"large"));
    // A TLAB is not an item.
    assert_eq!(store.classes(NOW).iter().map(|class| class.items).sum::<u64>(), last + 3);
    // The walk that frees them all goes over the bridge.
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn tlabs_take_a_small_part_of_the_memory_and_one_worker_has_none() {
    let memory_bytes = Settings::default().memory_bytes as usize;
    for workers in [1, 2, 64] {
        let store = Store::new(&Settings { workers, ..Settings::default() }).unwrap();
        let tlabs = workers * space::classes(store.memory.frames() as u32) as usize;
        let bytes = tlabs * store.tlab_units as usize * UNIT_BYTES;
        assert!(
            bytes <= memory_bytes / 64 && (bytes == 0) == (workers == 1),
            "{bytes} for {workers}"
        );
    }
}

#[test]
fn a_value_may_arrive_in_parts_and_a_reservation_may_be_dropped() {
    let store = small();
    let mut reservation = store.reserve_incoming(&new(b"k", 6, 0), NOW, || Full::Exceed).unwrap();
    assert!(store.statistics().reserved_bytes > 0);
    assert_eq!((reservation.write(b"abc"), reservation.remaining()), (3, 3));
    assert_eq!(value(&store, b"k"), None);
    assert_eq!(reservation.write(b"defgh"), 3);
    assert!(matches!(
        store.commit(reservation, &Commit::default(), NOW),
        Outcome::Stored { cas: 1 }
    ));
    assert_eq!(value(&store, b"k").unwrap(), b"abcdef");
    drop(store.reserve_incoming(&new(b"k", 60_000, 0), NOW, || Full::Exceed).unwrap());
    assert_eq!(store.statistics().reserved_bytes, 0);
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn conditions_hold_at_the_commit() {
    let store = small();
    let with = |mode, compare| Commit { mode, compare, ..Commit::default() };
    let put = |value: &[u8], how| put(&store, b"k", value, 0, how, NOW);
    assert_eq!(put(b"1", with(Mode::Replace, None)), Outcome::NotStored);
    assert_eq!(put(b"1", with(Mode::Set, Some(9))), Outcome::NotFound);
    assert_eq!(put(b"1", with(Mode::Add, None)), Outcome::Stored { cas: 1 });
    assert_eq!(put(b"2", with(Mode::Add, None)), Outcome::NotStored);
    assert_eq!(put(b"2", with(Mode::Set, Some(9))), Outcome::Exists);
    assert_eq!(put(b"2", with(Mode::Set, Some(1))), Outcome::Stored { cas: 2 });
    assert_eq!(put(b"34", with(Mode::Append, None)), Outcome::Stored { cas: 3 });
    assert_eq!(put(b"01", with(Mode::Prepend, Some(3))), Outcome::Stored { cas: 4 });
    assert_eq!(put(b"x", with(Mode::Prepend, Some(3))), Outcome::Exists);
    assert_eq!(value(&store, b"k").unwrap(), b"01234");
    let vivify = Commit { mode: Mode::Append, vivify: true, cas: Some(77), ..Commit::default() };
    assert_eq!(super::tests::put(&store, b"v", b"x", 0, vivify, NOW), Outcome::Stored { cas: 77 });
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn what_is_too_large_is_refused_when_it_is_reserved_or_joined() {
    let store = small();
    assert_eq!(store.reserve(&new(b"k", 64 << 10, 0), NOW).unwrap_err(), ReserveError::TooLarge);
    let half = vec![b'h'; 33 << 10];
    set(&store, b"k", &half);
    let append = Commit { mode: Mode::Append, ..Commit::default() };
    assert_eq!(put(&store, b"k", &half, 0, append, NOW), Outcome::TooLarge);
    assert_eq!(value(&store, b"k").unwrap(), half);
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn counting_follows_memcached() {
    let store = small();
    let count = |key: &[u8], delta, decrement| {
        let how = Count { delta, decrement, ..Count::default() };
        match store.count(key, &how, NOW) {
            Counted::Value { value, .. } => Ok(value),
            other => Err(other),
        }
    };
    assert_eq!(count(b"n", 1, false), Err(Counted::NotFound));
    set(&store, b"n", b"10");
    assert_eq!((count(b"n", 1, true), value(&store, b"n").unwrap()), (Ok(9), b"9 ".to_vec()));
    assert_eq!((count(b"n", 95, false), value(&store, b"n").unwrap()), (Ok(104), b"104".to_vec()));
    assert_eq!(
        (count(b"n", u64::MAX, true), value(&store, b"n").unwrap()),
        (Ok(0), b"0  ".to_vec())
    );
    set(&store, b"n", b"18446744073709551615");
    assert_eq!(count(b"n", 2, false), Ok(1));
    set(&store, b"n", b"ten");
    assert_eq!(count(b"n", 1, false), Err(Counted::NonNumeric));
    let create = Count { create: Some((5, NOW + 9)), ..Count::default() };
    let Counted::Value { value: 5, meta, created: true } = store.count(b"m", &create, NOW) else {
        panic!()
    };
    assert_eq!(
        meta,
        store.get(b"m", NOW).map(|item| Meta { fetched: false, ..item.meta() }).unwrap()
    );
    assert_eq!(meta.exptime, NOW + 9);
    let zero = Count { delta: 1, cas: Some(0), ..Count::default() };
    assert!(matches!(
        store.count(b"m", &zero, NOW),
        Counted::Value { value: 6, meta: Meta { cas: 0, .. }, .. }
    ));
    assert!(matches!(store.count(b"m", &zero, NOW), Counted::Value { value: 7, .. }));
    assert_eq!(store.count(b"m", &Count { compare: Some(3), ..zero }, NOW), Counted::Exists);
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn an_item_expires_at_its_exptime_and_is_freed_without_a_get() {
    let store = small();
    put(&store, b"k", b"v", NOW + 10, Commit::default(), NOW);
    assert!(store.get(b"k", NOW + 9).is_some() && store.get(b"k", NOW + 10).is_none());
    assert!(store.touch(b"k", NOW + 20, NOW + 9) && store.get(b"k", NOW + 19).is_some());
    assert!(!store.touch(b"k", 0, NOW + 20) && store.get(b"k", NOW + 20).is_none());
    let count = if cfg!(miri) { 50 } else { 1000 };
    for n in 0..count {
        put(&store, format!("{n}").as_bytes(), &[0; 100], NOW + 1 + n % 50, Commit::default(), NOW);
    }
    for _ in 0..10 {
        store.maintain(NOW + 51);
    }
    let statistics = store.statistics();
    let frames = statistics.frames - statistics.frames_table;
    assert_eq!((statistics.curr_items, statistics.frames_free), (0, frames));
    let count = u64::from(count);
    assert_eq!(
        (statistics.reclaimed, statistics.expired_unfetched, statistics.evictions),
        (count + 1, count, 0)
    );
}

/// Requests that a connection makes before it yields: fewer if work is left to be charged.
fn requests_of_a_share() -> usize {
    let mut share = crate::work::Share::default();
    let mut requests = 0;
    while !share.is_used_up() {
        share.count();
        requests += 1;
    }
    requests
}

#[test]
fn maintenance_is_charged_to_no_connection() {
    let store = small();
    crate::work::forget();
    let undisturbed = requests_of_a_share();
    for n in 0..200 {
        put(&store, format!("k{n}").as_bytes(), b"v", NOW + 1, Commit::default(), NOW);
    }
    crate::work::forget();
    while store.maintain(NOW + 2) {}
    assert_eq!(requests_of_a_share(), undisturbed);
    assert_eq!(store.statistics().curr_items, 0, "all have expired");
}

#[test]
fn a_flush_forgets_what_was_stored_before_its_time() {
    let store = small();
    set(&store, b"a", b"1");
    store.flush(NOW, NOW);
    assert_eq!(value(&store, b"a"), None);
    set(&store, b"a", b"2");
    store.flush(NOW + 5, NOW);
    assert!(store.get(b"a", NOW + 4).is_some() && store.get(b"a", NOW + 5).is_none());
    set(&store, b"a", b"3");
    assert!(store.get(b"a", NOW + 6).is_some());
    let count = if cfg!(miri) { 10 } else { 300 };
    for _ in 0..count {
        set(&store, b"x", b"3");
        store.flush(NOW, NOW);
        assert!(store.get(b"x", NOW).is_none() && store.get(b"a", NOW).is_none());
    }
    assert_eq!(store.statistics().flushes, count + 2);
    assert_nothing_leaks(&store, NOW);
}

/// Without maintenance between. The generation has 8 bits: what was stored 256 flushes before must
/// be gone. Clocks differ by a second, and stand still during thousands of flushes.
#[test]
fn no_item_is_alive_again_after_any_number_of_flushes() {
    flush_often(&small());
}

#[test]
fn flushes_are_counted_past_32_bits() {
    let store = small();
    let before = u32::MAX - 500;
    store.space().flushes = before;
    store.generation.store(before as u8, Relaxed);
    flush_often(&store);
    assert!(store.space().flushes < 1000);
}

fn flush_often(store: &Store) {
    let key = |flush: u32| format!("k{flush}").into_bytes();
    for flush in 0..1000u32 {
        // Of the worker that stores, of the one that reads, and of the one that flushes.
        let clocks = [0, 1, 2].map(|bit| NOW + flush / 600 + (flush >> bit & 1));
        put(store, &key(flush), b"v", 0, Commit::default(), clocks[0]);
        assert!(store.get(&key(flush), clocks[1]).is_some(), "flush {flush}");
        assert!(store.peek(&key(flush), clocks[2]).is_some(), "flush {flush}");
        store.flush(clocks[2], clocks[2]);
        for past in [0, 1, 127, 128, 255, 256, 257, 512, 768] {
            let Some(past) = flush.checked_sub(past) else { continue };
            let is_alive = clocks.iter().any(|now| store.peek(&key(past), *now).is_some());
            assert!(!is_alive, "what was stored before flush {past}, after flush {flush}");
        }
    }
    assert_nothing_leaks(store, NOW + 3);
}

/// Whatever is stored: memory and time of a flush do not grow with it.
#[test]
#[cfg_attr(miri, ignore = "40,000 items take an hour")]
fn a_flush_looks_at_no_item() {
    let store = store(16 << 20, 64 << 10);
    let (mut stored, frames) = (0.., store.memory.frames() as u32);
    for items in [0, 100, 40_000] {
        let keys: Vec<_> = stored.by_ref().take(items).map(|n: u32| n.to_string()).collect();
        keys.iter().for_each(|key| _ = set(&store, key.as_bytes(), &[b'v'; 200]));
        let reclaimed = store.statistics().reclaimed;
        let live = || (0..frames).map(|frame| store.memory.live(frame)).collect::<Vec<_>>();
        let before = live();
        for _ in 0..300 {
            crate::work::forget();
            store.flush(NOW, NOW);
            assert_eq!(crate::work::take(), 0, "{items} items");
        }
        assert!(live() == before, "a flush has removed items");
        assert_eq!(store.statistics().reclaimed, reclaimed);
        assert!(keys.iter().all(|key| store.peek(key.as_bytes(), NOW).is_none()));
        (0..4000).for_each(|_| _ = store.maintain(NOW));
        assert_eq!(store.statistics().curr_items, 0);
    }
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn deletes_compare_invalidate_and_empty() {
    let store = small();
    let cas = set(&store, b"k", b"v");
    assert_eq!(store.delete(b"none", &Delete::default(), NOW), Outcome::NotFound);
    assert_eq!(
        store.delete(b"k", &Delete { compare: Some(99), ..Delete::default() }, NOW),
        Outcome::Exists
    );
    let invalidate = Delete { invalidate: true, exptime: Some(NOW + 30), ..Delete::default() };
    assert_eq!(store.delete(b"k", &invalidate, NOW), Outcome::Stored { cas: cas + 1 });
    let fetch = || store.fetch(b"k", &Fetch::default(), NOW).unwrap();
    let first = fetch();
    assert!(first.won && first.meta.stale && !first.token_sent && first.meta.exptime == NOW + 30);
    let second = fetch();
    assert!(!second.won && second.token_sent && second.meta.fetched && !first.meta.fetched);
    // The old cas unique stores a stale value, the new one a good one.
    let how = |compare| Commit { compare: Some(compare), invalidate: true, ..Commit::default() };
    assert_eq!(put(&store, b"k", b"w", 0, how(cas), NOW), Outcome::Stored { cas: cas + 2 });
    let third = fetch();
    assert!(
        third.meta.stale
            && third.token_sent
            && third.meta.exptime == NOW + 30
            && third.item.value() == b"w"
    );
    assert_eq!(put(&store, b"k", b"x", 0, how(cas + 2), NOW), Outcome::Stored { cas: cas + 3 });
    assert!(!fetch().meta.stale);
    let emptied = Delete { emptied: Some((0, 0)), ..Delete::default() };
    assert_eq!(store.delete(b"k", &emptied, NOW), Outcome::Stored { cas: cas + 3 });
    assert_eq!(fetch().item.line(), b"VALUE k 0 0\r\n\r\n");
    assert_eq!(store.delete(b"k", &Delete::default(), NOW), Outcome::Stored { cas: 0 });
    assert_eq!(value(&store, b"k"), None);
    drop((first, second, third));
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn one_fetch_wins_the_right_to_renew() {
    let store = small();
    let vivify = Fetch { vivify: Some(NOW + 60), ..Fetch::default() };
    let made = store.fetch(b"k", &vivify, NOW).unwrap();
    assert!(
        made.created
            && made.won
            && !made.token_sent
            && made.item.value().is_empty()
            && !made.meta.fetched
    );
    let again = store.fetch(b"k", &vivify, NOW).unwrap();
    assert!(!again.created && !again.won && again.token_sent && again.meta.fetched);
    put(&store, b"k", b"v", NOW + 60, Commit::default(), NOW);
    let recache = Fetch { recache_below: Some(30), ..Fetch::default() };
    let won = |now| store.fetch(b"k", &recache, now).unwrap().won;
    assert_eq!(
        [won(NOW), won(NOW + 30), won(NOW + 31), won(NOW + 32)],
        [false, false, true, false]
    );
    let peek = Fetch { peek: true, touch: Some(0), ..Fetch::default() };
    set(&store, b"p", b"v");
    assert!(!store.fetch(b"p", &peek, NOW + 1).unwrap().meta.fetched);
    let meta = store.fetch(b"p", &Fetch::default(), NOW + 2).unwrap().meta;
    assert!(!meta.fetched && meta.last_access == NOW);
}

#[test]
fn an_item_that_is_sent_keeps_its_bytes_whatever_becomes_of_it() {
    let store = small();
    let fill = |n: u8| vec![n; 3000];
    let mut held: Vec<(Item, Vec<u8>)> = Vec::new();
    for n in 0..4 {
        set(&store, &[b'a' + n], &fill(n));
        held.push((store.get(&[b'a' + n], NOW).unwrap(), fill(n)));
    }
    set(&store, b"a", b"replaced");
    store.delete(b"b", &Delete::default(), NOW);
    store.touch(b"c", NOW + 1, NOW);
    let (fillers, filler) =
        if cfg!(miri) { (120, vec![b'f'; 40_000]) } else { (5000, vec![b'f'; 700]) };
    for n in 0..fillers {
        let key = format!("filler{n}").into_bytes();
        set(&store, &key, &filler);
        // What is used moves to the main queue, and so presses on what is there.
        store.get(&key, NOW);
    }
    store.maintain(NOW + 2);
    // A pinned segment is passed over, so what is in it stays until it is deleted or expires.
    assert!(store.statistics().evictions > fillers / 5 && store.get(b"d", NOW).is_some());
    store.flush(NOW + 2, NOW + 2);
    (0..100).for_each(|_| _ = store.maintain(NOW + 2));
    assert_eq!(store.statistics().curr_items, 0);
    for (item, bytes) in &held {
        assert_eq!(item.value(), bytes);
    }
    let clone = held[0].0.clone();
    let statistics = store.statistics();
    assert!(statistics.frames_pinned == 1 && statistics.frames_limbo == 1, "{statistics:?}");
    drop(held);
    drop(store);
    assert_eq!(clone.value(), fill(0));
}

#[test]
fn pins_are_reported_and_no_fetch_is_refused() {
    const BYTES: usize = if cfg!(miri) { 50_000 } else { 1000 };
    let store = store(4 << 20, 256 << 10);
    let key = |n: usize| format!("key{n}").into_bytes();
    let count = 3_000_000 / BYTES;
    (0..count).for_each(|n| _ = set(&store, &key(n), &[n as u8; BYTES]));
    let mut held = Vec::new();
    while !store.is_at_pin_limit(true) {
        held.push(store.get(&key(held.len()), NOW).unwrap());
    }
    let statistics = store.statistics();
    let bound = u64::from(store.pinned_max);
    assert!(statistics.pin_copied > 0 && store.is_near_pin_limit(), "{statistics:?}");
    assert_eq!(statistics.frames_pinned, bound + 1);
    assert!(!store.is_at_pin_limit(false), "a client without pins has a higher limit");
    let next = key(held.len());
    assert!(store.guard(&next, NOW).is_some_and(|guard| guard.line().ends_with(b"\r\n")));
    assert_eq!(
        store.line_bytes(&next, NOW),
        store.guard(&next, NOW).map(|guard| guard.line().len())
    );
    assert_eq!(
        store.statistics().frames_pinned,
        statistics.frames_pinned,
        "a guard counts towards no limit"
    );
    for n in held.len()..count {
        // Copies take space, so that some items are evicted; none is refused.
        let is_there = store.line_bytes(&key(n), NOW).is_some();
        let item = store.get(&key(n), NOW);
        assert_eq!(
            (item.is_some(), item.is_none_or(|item| item.value() == [n as u8; BYTES])),
            (is_there, true)
        );
    }
    for (n, item) in held.iter().enumerate() {
        assert_eq!(item.value(), [n as u8; BYTES]);
    }
    held.truncate(held.len() / 4);
    // Storing goes on meanwhile.
    (0..count).for_each(|n| _ = set(&store, &key(n), &[1; BYTES]));
    drop(held);
    assert_nothing_leaks(&store, NOW);
}

#[test]
#[cfg_attr(miri, ignore = "80,000 items take an hour")]
fn items_of_a_megabyte_live_beside_small_ones() {
    let store = store(64 << 20, 1 << 20);
    let large = vec![b'L'; (1 << 20) - 100];
    for n in 0..400u32 {
        set(&store, format!("large{n}").as_bytes(), &large);
        for m in 0..200 {
            set(&store, format!("small{n}-{m}").as_bytes(), &[b's'; 100]);
        }
        assert_eq!(store.get(format!("large{n}").as_bytes(), NOW).unwrap().value(), large);
    }
    let statistics = store.statistics();
    let live = |n: &u32| store.get(format!("large{n}").as_bytes(), NOW).is_some();
    assert!((0..400).filter(live).count() > 30, "{statistics:?}");
    assert!(statistics.bytes > 50 << 20, "{statistics:?}");
    assert_nothing_leaks(&store, NOW);
}

#[test]
#[cfg_attr(miri, ignore = "50,000 items take an hour")]
fn space_of_replaced_items_is_reused_before_anything_is_evicted() {
    let store = small();
    let kept = |n: u32| format!("kept{n}").into_bytes();
    (0..1000).for_each(|n| _ = set(&store, &kept(n), &[b'k'; 300]));
    (0..50_000)
        .for_each(|n| _ = set(&store, format!("replaced{}", n % 700).as_bytes(), &[b'r'; 100]));
    assert_eq!(store.statistics().evictions, 0, "{:?}", store.statistics());
    assert!((0..1000).all(|n| store.get(&kept(n), NOW).is_some()));
    assert_nothing_leaks(&store, NOW);
}

#[test]
#[cfg_attr(miri, ignore = "40,000 items take an hour")]
fn a_table_that_is_full_evicts_and_does_not_fail() {
    let store = small();
    for n in 0..40_000 {
        set(&store, format!("{n}").as_bytes(), b"");
    }
    let statistics = store.statistics();
    assert!(statistics.curr_items <= statistics.hash_places && statistics.evictions > 0);
    assert_nothing_leaks(&store, NOW);
}

#[test]
fn a_dump_shows_every_item_once_in_bounded_steps() {
    let store = small();
    let count = if cfg!(miri) { 30 } else { 500 };
    (0..count).for_each(|n| _ = set(&store, format!("key{n}").as_bytes(), &[0; 10]));
    let mut keys = Vec::new();
    let (mut cursor, mut steps) = (Some(0), 0);
    while let Some(from) = cursor {
        let before = keys.len();
        cursor = store.dump(from, 10, NOW, &mut |visit| keys.push(visit.key.to_vec()));
        assert!(keys.len() - before < 10 + 64);
        steps += 1;
    }
    keys.sort();
    keys.dedup();
    assert!(keys.len() == count && steps > count / 50);
}

#[test]
fn classes_tell_times_to_live_apart() {
    let store = store(64 << 20, 1 << 20);
    set(&store, b"for ever", b"v");
    put(&store, b"minute", b"v", NOW + 60, Commit::default(), NOW);
    put(&store, b"day", b"v", NOW + 86_400, Commit::default(), NOW);
    let classes = store.classes(NOW + 5);
    assert_eq!(classes.len(), 3);
    assert!(classes.iter().all(|class| class.items == 1 && class.age == 5 && class.segments == 1));
    assert_eq!(classes.iter().map(|class| class.ttl_below).collect::<Vec<_>>(), [0, 64, 1 << 18]);
}

#[path = "incoming_tests.rs"]
mod incoming;

/// Of 64 GiB only what is written takes memory here, and the table is small. Frames are given out
/// from the last on.
#[test]
#[cfg(not(miri))]
fn items_lie_beyond_32_gibibytes() {
    let settings = Settings { memory_bytes: 64 << 30, workers: 2, ..Settings::default() };
    settings.check().unwrap();
    let frames = (settings.memory_bytes / settings.frame_bytes() as u64) as usize;
    let frame_shift = (settings.frame_bytes() / UNIT_BYTES).ilog2();
    let memory = match Memory::sparse(frames, frame_shift) {
        Ok(memory) => memory,
        Err(error) => return skip(&format!("cannot map 64 GiB: {error}")),
    };
    let store = Store::of(&settings, memory, 0);
    store.space().begin_at_the_end();
    let filled = |n: u32, bytes: usize| vec![n as u8; bytes];
    for n in 0..400 {
        let bytes = [3, 500, 100_000, 700_000][n as usize % 4];
        set(&store, format!("key{n}").as_bytes(), &filled(n, bytes));
    }
    for n in 0..400 {
        let bytes = [3, 500, 100_000, 700_000][n as usize % 4];
        let item = store.get(format!("key{n}").as_bytes(), NOW).unwrap();
        assert_eq!(item.value(), filled(n, bytes));
        // Items larger than a frame lie where the first run of free frames is.
        assert!(bytes > 256 << 10 || item.offset() > 1 << 32, "{bytes} at {}", item.offset());
    }
    let mut incoming =
        store.reserve_incoming(&new(b"incoming", 6, 0), NOW, || Full::Exceed).unwrap();
    incoming.write(b"abcdef");
    assert!(matches!(store.commit(incoming, &Commit::default(), NOW), Outcome::Stored { .. }));
    assert_eq!(value(&store, b"incoming").unwrap(), b"abcdef");
    (0..400).for_each(|n| _ = store.delete(format!("key{n}").as_bytes(), &Delete::default(), NOW));
    assert_eq!(store.statistics().curr_items, 1);
}

#[cfg(not(miri))]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

/// Between the prefetch of a key and its fetch, other threads may move its entry to another slot or
/// chain, or give its slot to another key.
#[test]
fn a_fetch_finds_its_key_wherever_the_entry_went_since_the_prefetch() {
    let store = store(4 << 20, 64 << 10);
    let key = |n: usize| format!("key:{n:08}").into_bytes();
    let is_there = |n: usize, hash: Hash| {
        let guard = store.guard_hashed(&key(n), hash, NOW);
        guard.is_some_and(|guard| guard.line().ends_with(format!("\r\n{n}\r\n").as_bytes()))
    };
    let put = |n: usize| _ = set(&store, &key(n), n.to_string().as_bytes());
    let early: Vec<Hash> = (0..2000).map(|n| store.hash(&key(n))).collect();
    (0..2000).for_each(put);
    let mut found = early.clone();
    store.prefetch_hashed(found.iter_mut());
    assert!((0..2000).all(|n| is_there(n, early[n]) && is_there(n, found[n])));
    // Every second key goes; another takes its slot, and it comes back in another one.
    (0..2000).step_by(2).for_each(|n| _ = store.delete(&key(n), &Delete::default(), NOW));
    assert!((0..2000).all(|n| is_there(n, found[n]) == (n % 2 == 1)));
    (2000..8000).for_each(put);
    (0..2000).step_by(2).for_each(put);
    assert!((0..2000).all(|n| is_there(n, early[n]) && is_there(n, found[n])));
}
