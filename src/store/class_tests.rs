//! The counters of the classes: each moves with what was done, and by as much.

use super::tests::{NOW, new, put, set};
use super::*;

/// Times to live of three classes.
const TTLS: [u32; 3] = [0, 100, 10_000];

fn store(memory_bytes: u64) -> Arc<Store> {
    let hash_key = Some([1, 2]);
    let settings = Settings { memory_bytes, item_max_bytes: 256 << 10, workers: 1, hash_key };
    Store::new(&settings).unwrap()
}

fn exptime(ttl: u32) -> u32 {
    if ttl == 0 { 0 } else { NOW + ttl }
}

/// The statistics of the class of items with this time to live.
fn class(store: &Store, ttl: u32) -> ClassStatistics {
    let number = store.class(exptime(ttl), NOW) as u32 + 1;
    let classes = store.classes(NOW);
    let found = classes.iter().find(|class| class.class == number);
    *found.unwrap_or_else(|| panic!("no class {number} in {classes:?}"))
}

#[test]
#[cfg_attr(miri, ignore = "24,000 items take an hour")]
fn evictions_count_in_the_class_of_the_item() {
    const COUNT: usize = 8000;
    let store = store(2 << 20);
    let key = |ttl: u32, n: usize| format!("{ttl}-{n}");
    for ttl in TTLS {
        for n in 0..COUNT {
            put(&store, key(ttl, n).as_bytes(), &[b'v'; 100], exptime(ttl), Commit::default(), NOW);
            // The first fetch is no use: used items stay, so that some of each class are evicted.
            let fetches = if n % 8 > 0 { 2 } else { 0 };
            for _ in 0..fetches {
                assert!(store.get(key(ttl, n).as_bytes(), NOW).is_some());
            }
        }
    }
    // Which are there is asked once all are stored, and does not change that.
    for ttl in TTLS {
        let is_gone = |n: &usize| store.peek(key(ttl, *n).as_bytes(), NOW).is_none();
        let gone: Vec<usize> = (0..COUNT).filter(is_gone).collect();
        let unfetched = gone.iter().filter(|n| *n % 8 == 0).count();
        let class = class(&store, ttl);
        assert!(!gone.is_empty() && unfetched < gone.len(), "ttl {ttl}: {} gone", gone.len());
        assert_eq!(class.items as usize, COUNT - gone.len(), "{class:?}");
        assert_eq!(class.evicted as usize, gone.len(), "{class:?}");
        assert_eq!(class.evicted_unfetched as usize, unfetched, "{class:?}");
        assert_eq!(class.evicted_nonzero, if ttl == 0 { 0 } else { class.evicted }, "{class:?}");
        assert_eq!(class.sets as usize, COUNT, "{class:?}");
        assert_eq!((class.reclaimed, class.expired_unfetched, class.out_of_memory), (0, 0, 0));
    }
    let (all, sum) = (store.statistics(), |of: fn(&ClassStatistics) -> u64| {
        store.classes(NOW).iter().map(of).sum::<u64>()
    });
    assert_eq!(all.evictions, sum(|class| class.evicted));
    assert_eq!(all.evicted_unfetched, sum(|class| class.evicted_unfetched));
    assert_eq!((all.curr_items, all.bytes), (sum(|class| class.items), sum(|class| class.bytes)));
}

#[test]
#[cfg_attr(miri, ignore = "30,000 items take an hour")]
fn the_last_eviction_tells_how_long_nobody_asked_for_the_item() {
    let store = store(2 << 20);
    let fill = |begin: usize, now: u32| {
        let keys = (begin..begin + 15_000).map(|n| n.to_string());
        keys.for_each(|key| {
            put(&store, key.as_bytes(), &[b'v'; 100], 0, Commit::default(), now);
        });
    };
    set(&store, b"first", b"v");
    assert_eq!((class(&store, 0).evicted, class(&store, 0).evicted_idle), (0, 0));
    fill(0, NOW);
    assert_eq!(class(&store, 0).evicted_idle, 0);
    // The oldest of these leave once the others are gone.
    fill(15_000, NOW + 40);
    let evicted = class(&store, 0).evicted;
    let mut n = 30_000;
    while class(&store, 0).evicted == evicted {
        put(&store, n.to_string().as_bytes(), &[b'v'; 100], 0, Commit::default(), NOW + 100);
        n += 1;
    }
    assert_eq!(class(&store, 0).evicted_idle, 60);
}

#[test]
fn dead_items_count_in_the_class_of_the_item() {
    let store = store(2 << 20);
    for ttl in TTLS {
        for n in 0..10 {
            let key = format!("{ttl}-{n}");
            put(&store, key.as_bytes(), b"v", exptime(ttl), Commit::default(), NOW);
            if n < 4 {
                assert!(store.get(key.as_bytes(), NOW).is_some());
            }
        }
    }
    let counted = |ttl| {
        let class = class(&store, ttl);
        assert_eq!((class.evicted, class.sets), (0, 10));
        (class.items, class.reclaimed, class.expired_unfetched)
    };
    let maintain = |now| while store.maintain(now) {};
    maintain(NOW + 99);
    assert_eq!(TTLS.map(counted), [(10, 0, 0); 3]);
    // One by a command that finds it dead, nine by maintenance.
    assert_eq!(store.delete(b"100-0", &Delete::default(), NOW + 100), Outcome::NotFound);
    assert_eq!(TTLS.map(counted), [(10, 0, 0), (9, 1, 0), (10, 0, 0)]);
    maintain(NOW + 100);
    assert_eq!(TTLS.map(counted), [(10, 0, 0), (0, 10, 6), (10, 0, 0)]);
    store.flush(NOW + 101, NOW + 101);
    maintain(NOW + 101);
    assert_eq!(TTLS.map(counted), [(0, 10, 6); 3]);
    let all = store.statistics();
    assert_eq!((all.reclaimed, all.expired_unfetched), (30, 18));
}

#[test]
fn an_allocation_that_fails_counts_in_its_class() {
    let store = store(2 << 20);
    let mut held = Vec::new();
    let error = loop {
        match store.reserve(&new(b"half", 100_000, exptime(100)), NOW) {
            Ok(reservation) => held.push(reservation),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ReserveError::OutOfMemory) && held.len() > 5);
    assert_eq!(class(&store, 100).out_of_memory, 1);
    for _ in 0..2 {
        let set = store.set(&new(b"whole", 100_000, 0), &[b'v'; 100_000], NOW);
        assert!(matches!(set, Err(ReserveError::OutOfMemory)));
    }
    assert_eq!(class(&store, 0).out_of_memory, 2);
    held.clear();
    set(&store, b"whole", &[b'v'; 100_000]);
    let counted = [0, 100].map(|ttl| class(&store, ttl)).map(|class| (class.items, class.sets));
    assert_eq!(counted, [(1, 1), (0, 0)]);
}

#[test]
fn a_set_that_a_condition_refuses_counts_as_a_command_and_stores_nothing() {
    let store = store(2 << 20);
    let put = |ttl, commit| put(&store, b"k", b"v", exptime(ttl), commit, NOW);
    let Outcome::Stored { cas } = put(0, Commit::default()) else { panic!("not stored") };
    let add = Commit { mode: Mode::Add, ..Commit::default() };
    assert_eq!(put(100, add), Outcome::NotStored);
    let compare = |cas| Commit { compare: Some(cas), ..Commit::default() };
    // The mismatch counts where the item is, the command where it would have been.
    assert_eq!(put(100, compare(cas + 7)), Outcome::Exists);
    assert!(matches!(put(0, compare(cas)), Outcome::Stored { .. }));
    let counted = [0, 100].map(|ttl| class(&store, ttl));
    let counted = counted.map(|class| (class.sets, class.cas_hits, class.cas_badval));
    assert_eq!(counted, [(2, 1, 1), (2, 0, 0)]);
    assert_eq!(store.statistics().total_items, 2);
}

/// memcached counts a number in its place unless it becomes longer.
#[test]
fn a_number_counts_as_a_new_item_only_where_it_becomes_longer() {
    let store = store(2 << 20);
    set(&store, b"n", b"8");
    let total = |delta, decrement| {
        let how = Count { delta, decrement, ..Count::default() };
        assert!(matches!(store.count(b"n", &how, NOW), Counted::Value { .. }));
        store.statistics().total_items
    };
    assert_eq!([total(1, false), total(1, true)], [1, 1]);
    // 10 takes two digits, and keeps them: "9 ".
    assert_eq!([total(2, false), total(1, true), total(1, false)], [2, 2, 2]);
}
