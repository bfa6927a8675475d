//! What was stored is found: whatever its size and its neighbours' sizes, after a flush, and when
//! the clients' keys change.

use super::evict::Cutoff;
use super::run::Spared;
use super::tests::{NOW, assert_nothing_leaks, new, put, set};
use super::*;
use proptest::prelude::*;
use simoom_io::testing::Random;
use std::collections::VecDeque;

/// A store for one worker whose hash is the same in each run.
fn store(memory_bytes: u64) -> Arc<Store> {
    let item_max_bytes = (memory_bytes / 8).min(1 << 20);
    let hash_key = Some([1, 2]);
    Store::new(&Settings { memory_bytes, item_max_bytes, workers: 1, hash_key }).unwrap()
}

fn is_there(store: &Store, key: &str) -> bool {
    store.get(key.as_bytes(), NOW).is_some()
}

/// Stores a value that arrives in parts.
fn set_incoming(store: &Store, key: &str, value: &[u8]) {
    let mut reservation =
        store.reserve_incoming(&new(key.as_bytes(), value.len(), 0), NOW, || Full::Exceed).unwrap();
    value.chunks(16_000).for_each(|part| assert_eq!(reservation.write(part), part.len()));
    let outcome = store.commit(reservation, &Commit::default(), NOW);
    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of megabytes take an hour")]
fn large_values_do_not_evict_the_item_stored_before_them() {
    for (rounds, large_sets) in [(450, 1), (150, 3)] {
        let store = store(64 << 20);
        let (small, large) = (vec![b's'; 20_000], vec![b'l'; 500_000]);
        let mut missed = 0;
        for round in 0..rounds {
            let key = format!("small{round}");
            set_incoming(&store, &key, &small);
            for n in 0..large_sets {
                set_incoming(&store, &format!("large{round}-{n}"), &large);
            }
            assert!(is_there(&store, &format!("large{round}-{}", large_sets - 1)));
            missed += u32::from(!is_there(&store, &key));
        }
        assert_eq!(missed, 0, "{large_sets} large sets between, {:?}", store.statistics());
    }
}

/// Clients that each send large values in parts, get each one some time after its answer, and read
/// it slowly. A seed decides whose turn it is.
struct Senders<'a> {
    store: &'a Store,
    random: Random,
    coming: Vec<Option<Reservation>>,
    /// The key that each client gets next, and what was stored when its value was.
    stored: Vec<Option<(String, u64)>>,
    stored_bytes: u64,
    /// The answer that each client reads.
    read: Vec<Option<Item>>,
}

impl Senders<'_> {
    /// One client's next step.
    fn step(&mut self) {
        let client = self.random.index(self.coming.len());
        if self.read[client].is_some() {
            if self.random.one_in(5) {
                self.read[client] = None;
            }
            return;
        }
        if let Some((key, at)) = self.stored[client].take() {
            let since = self.stored_bytes - at;
            let item = self.store.get(key.as_bytes(), NOW);
            let is_old = since > self.store.memory_bytes() as u64 / 16;
            assert!(
                item.is_some() || is_old,
                "{key} is gone {since} B later, {:?}",
                self.store.statistics()
            );
            self.read[client] = item;
        } else if let Some(reservation) = self.coming[client].take() {
            self.receive(client, reservation);
        } else {
            self.begin(client);
        }
    }

    fn begin(&mut self, client: usize) {
        let key = format!("client{client}-{}", self.random.below(20));
        let new = new(key.as_bytes(), 500_000 + self.random.index(548_000), 0);
        let mut waits = false;
        let reserved = self.store.reserve_incoming(&new, NOW, || {
            waits = true;
            Full::Wait
        });
        assert!(reserved.is_ok() || waits, "{:?}", self.store.statistics());
        self.coming[client] = reserved.ok();
    }

    fn receive(&mut self, client: usize, mut reservation: Reservation) {
        let part = [b'l'; 150_000];
        reservation.write(&part[..part.len().min(reservation.remaining())]);
        if reservation.remaining() > 0 {
            self.coming[client] = Some(reservation);
            return;
        }
        self.stored_bytes += reservation.memory_bytes();
        let key = String::from_utf8(reservation.key().to_vec()).unwrap();
        self.stored[client] = Some((key, self.stored_bytes));
        let outcome = self.store.commit(reservation, &Commit::default(), NOW);
        assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
    }
}

/// What is half received was not stored: it makes no item old.
#[test]
#[cfg_attr(miri, ignore = "gigabytes take a day")]
fn a_large_value_outlives_those_that_are_half_received() {
    for (seed, (memory_bytes, clients)) in
        (0..12).zip([(64 << 20, 8), (16 << 20, 4), (8 << 20, 8)].into_iter().cycle())
    {
        let store = store(memory_bytes);
        let mut senders = Senders {
            store: &store,
            random: Random::new(3 + seed),
            coming: (0..clients).map(|_| None).collect(),
            stored: vec![None; clients],
            stored_bytes: 0,
            read: (0..clients).map(|_| None).collect(),
        };
        (0..20_000).for_each(|_| senders.step());
        let statistics = store.statistics();
        assert!(statistics.evictions > 200, "{statistics:?}");
        let refused = store.classes(NOW).iter().map(|class| class.out_of_memory).sum::<u64>();
        assert_eq!(refused, 0, "{statistics:?}");
    }
}

/// Only items evicted before they were used are remembered. If evicted main items were too, a loop
/// over more keys than fit would move through the main queue and hit nothing.
#[test]
#[cfg_attr(miri, ignore = "megabytes take an hour")]
fn a_loop_over_more_keys_than_fit_hits_a_part_of_them() {
    let store = store(8 << 20);
    let pass = |keys: usize| {
        let misses = (0..keys).map(|n| format!("loop{n}")).filter(|key| !is_there(&store, key));
        misses.map(|key| _ = set(&store, key.as_bytes(), &[b'v'; 200])).count()
    };
    pass(60_000);
    let keys = store.statistics().curr_items as usize * 3 / 2;
    store.flush(NOW, NOW);
    // The main items of the keys before must leave first.
    let misses = [(); 8].map(|()| pass(keys));
    let last: usize = misses[4..].iter().sum();
    assert!(last < 4 * keys * 7 / 10, "misses {misses:?} of {keys}, {:?}", store.statistics());
    assert_nothing_leaks(&store, NOW);
}

/// A segment with an item that a writer has not completed cannot be freed, and no pin tells so.
/// Wherever the run is that costs least, another one is cleared, and nothing is evicted in vain.
#[test]
#[cfg_attr(miri, ignore = "megabytes take an hour")]
fn a_large_value_finds_another_run_than_those_with_reservations() {
    let store = store(16 << 20);
    let kept = |n: usize| format!("kept{n}");
    (0..20_000).for_each(|n| _ = set(&store, kept(n).as_bytes(), &[b's'; 150]));
    // A run of 56 frames is in no place without a reservation: there is one in each 24th.
    let (mut held, mut dead) = (Vec::new(), Vec::new());
    for n in 0..24 {
        held.push(store.reserve(&new(b"half", 100, 0), NOW).unwrap());
        for m in 0..24 * 70 {
            let key = format!("dead{n}-{m}");
            set(&store, key.as_bytes(), &[b's'; 150]);
            dead.push(key);
        }
    }
    dead.iter().for_each(|key| _ = store.delete(key.as_bytes(), &Delete::default(), NOW));
    let before = store.statistics();
    assert_eq!(before.evictions, 0, "{before:?}");
    for n in 0..8 {
        let value_bytes = 900_000;
        let reserved = store.reserve(&new(format!("large{n}").as_bytes(), value_bytes, 0), NOW);
        assert!(reserved.is_ok(), "{n}: {:?}", store.statistics());
    }
    // No more than the items of one run at a time.
    let evicted = store.statistics().evictions;
    assert!(evicted < 8 * 900_000 / 200, "{evicted} evicted, {:?}", store.statistics());
    drop(held);
    assert_nothing_leaks(&store, NOW);
}

/// Segments that were emptied while a writer used them are used again once it is done, before
/// maintenance runs.
#[test]
fn a_large_value_takes_the_place_of_reservations_that_were_dropped() {
    let store = store(2 << 20);
    let reserve = || store.reserve(&new(b"large", 100_000, 0), NOW);
    for _ in 0..3 {
        let held: Vec<_> = std::iter::from_fn(|| reserve().ok()).collect();
        assert!(held.len() > 10, "{} fit, {:?}", held.len(), store.statistics());
        (0..5).for_each(|_| assert!(reserve().is_err()));
    }
    assert_nothing_leaks(&store, NOW);
}

/// Takes all free frames, as the frames of large values may be.
fn take_free_frames(space: &mut Space) {
    let frames = 0..space.segments.len() as u32;
    frames.for_each(|frame| _ = space.frame_for_table_at(frame));
    assert_eq!(space.free_frames, 0);
}

/// The segment of an item.
fn segment_of(store: &Store, space: &Space, key: &str) -> u32 {
    let at = store.peek(key.as_bytes(), NOW).unwrap().offset();
    space.head(store.memory.frame(at) as u32).unwrap()
}

/// Compaction evicts nothing, though others take the free frames meanwhile.
#[test]
fn an_item_stays_if_compaction_finds_nowhere_to_move_it() {
    let store = store(1 << 20);
    let keys: Vec<_> = (0..7).map(|n| format!("key{n}")).collect();
    keys.iter().for_each(|key| _ = set(&store, key.as_bytes(), &[b'v'; 2000]));
    keys[..6].iter().for_each(|key| _ = store.delete(key.as_bytes(), &Delete::default(), NOW));
    let mut space = store.space();
    let head = segment_of(&store, &space, "key6");
    space.close(head);
    take_free_frames(&mut space);
    assert_eq!(store.gaps(&space, head), None);
    // As if a quarter of the memory had been written since.
    let written = space.written().wrapping_add(space.segments.len() as u32 / 4);
    space.begin_at(written);
    assert!(!space.is_spared(head, Spared::Newest));
    store.empty(&mut space, head, Cutoff::ALL, NOW);
    drop(space);
    assert!(is_there(&store, "key6"));
    (0..3).for_each(|_| _ = store.maintain(NOW));
    let space = store.space();
    assert!(space.is_evictable(head) && segment_of(&store, &space, "key6") == head);
}

/// Not even if it was used: any main segment may be emptied for a run.
#[test]
fn a_large_item_stays_young_while_it_is_one_of_the_newest() {
    let store = store(1 << 20);
    set(&store, b"large", &[b'v'; 50_000]);
    (0..3).for_each(|_| assert!(is_there(&store, "large")));
    let mut space = store.space();
    let head = segment_of(&store, &space, "large");
    assert!(store.keep_large(&mut space, head, 0, NOW));
    assert!(space.is_spared(head, Spared::Last));
}

/// Compaction moves items that were used to the main queue, of which any segment may be emptied.
#[test]
fn the_newest_item_stays_young_when_compaction_moves_it() {
    let store = store(1 << 20);
    let keys: Vec<_> = (0..7).map(|n| format!("key{n}")).collect();
    keys.iter().for_each(|key| _ = set(&store, key.as_bytes(), &[b'v'; 2000]));
    (0..3).for_each(|_| assert!(is_there(&store, "key6")));
    keys[..6].iter().for_each(|key| _ = store.delete(key.as_bytes(), &Delete::default(), NOW));
    let mut space = store.space();
    let head = segment_of(&store, &space, "key6");
    space.close(head);
    store.empty(&mut space, head, Cutoff::ALL, NOW);
    assert!(space.is_free(head));
    let head = segment_of(&store, &space, "key6");
    assert!(space.is_spared(head, Spared::Last));
}

/// The frames that were written since an item are counted from when it is complete.
#[test]
fn an_item_is_the_newest_though_its_segment_was_emptied_before_it_was_complete() {
    let store = store(1 << 20);
    let mut reservation = store.reserve(&new(b"late", 3, 0), NOW).unwrap();
    let head = store.memory.frame(reservation.offset()) as u32;
    let mut space = store.space();
    store.empty(&mut space, head, Cutoff::ALL, NOW);
    drop(space);
    // Others fill frames meanwhile, and one more than that.
    (0..100).for_each(|n| _ = set(&store, format!("other{n}").as_bytes(), &[b'v'; 2000]));
    reservation.write(b"abc");
    let outcome = store.commit(reservation, &Commit::default(), NOW);
    assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
    store.maintain(NOW);
    let space = store.space();
    assert!(space.is_evictable(head) && space.is_spared(head, Spared::Last));
}

#[test]
fn an_item_in_a_tlab_is_the_newest_once_the_tlab_has_ended() {
    let settings = Settings { workers: 2, memory_bytes: 4 << 20, ..Settings::default() };
    let store = Store::new(&Settings { item_max_bytes: 64 << 10, ..settings }).unwrap();
    set(&store, b"first", b"v");
    let mut space = store.space();
    let head = segment_of(&store, &space, "first");
    assert_eq!(space.segments[head as usize].tlabs, 1);
    space.close(head);
    drop(space);
    // Two frames of large items, then another one in the TLAB.
    (0..20).for_each(|n| _ = set(&store, format!("large{n}").as_bytes(), &[b'v'; 2000]));
    set(&store, b"second", b"v");
    let mut space = store.space();
    assert_eq!(segment_of(&store, &space, "second"), head);
    assert!(space.age(head) > 0);
    store.retire_tlabs(&mut space, head);
    assert!(space.is_spared(head, Spared::Last));
}

#[derive(Clone, Copy, Debug)]
struct Step {
    bytes: usize,
    incoming: bool,
    reads: u8,
    ttl: Option<u32>,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![6 => 0usize..300, 3 => 300usize..20_000, 2 => 20_000usize..1_000_000];
    let ttl = prop_oneof![3 => Just(None), 1 => (1u32..10_000_000).prop_map(Some)];
    (bytes, any::<bool>(), 0u8..3, ttl).prop_map(|(bytes, incoming, reads, ttl)| Step {
        bytes,
        incoming,
        reads,
        ttl,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 24 },
        failure_persistence: None, ..ProptestConfig::default() })]

    /// Each item is found until a sixteenth of the memory was written after it.
    #[test]
    fn the_newest_items_of_any_sizes_are_there(
        steps in prop::collection::vec(step(), 1..if cfg!(miri) { 20 } else { 400 })
    ) {
        const MEMORY_BYTES: u64 = 8 << 20;
        let store = store(MEMORY_BYTES);
        let mut newest: VecDeque<(String, usize)> = VecDeque::new();
        for (n, step) in steps.iter().enumerate() {
            let key = format!("key{n}");
            let value = vec![n as u8; step.bytes];
            if step.incoming {
                set_incoming(&store, &key, &value);
            } else {
                let exptime = step.ttl.map_or(0, |ttl| NOW + ttl);
                put(&store, key.as_bytes(), &value, exptime, Commit::default(), NOW);
            }
            newest.push_back((key, step.bytes));
            while newest.len() > 1
                && newest.iter().skip(1).map(|(_, bytes)| bytes + 100).sum::<usize>()
                    > MEMORY_BYTES as usize / 16
            {
                newest.pop_front();
            }
            let reads = newest.iter().rev().take(1 + usize::from(step.reads));
            reads.for_each(|(key, _)| assert!(is_there(&store, key), "{key} after key{n}"));
            if n % 16 == 0 {
                let peek = |key: &str| store.peek(key.as_bytes(), NOW).is_some();
                newest.iter().for_each(|(key, _)| assert!(peek(key), "{key} after key{n}"));
            }
        }
        assert_nothing_leaks(&store, NOW);
    }
}

#[test]
#[cfg_attr(miri, ignore = "60,000 items take an hour")]
fn what_is_stored_after_a_flush_is_there() {
    let store = store(8 << 20);
    (0..62_500).for_each(|n| _ = set(&store, n.to_string().as_bytes(), b"1"));
    store.flush(NOW, NOW);
    let key = |n: u32| format!("new{n}");
    (0..3000).for_each(|n| _ = set(&store, key(n).as_bytes(), &[b'y'; 100]));
    assert_eq!((0..3000).filter(|n| !is_there(&store, &key(*n))).count(), 0);
    assert_eq!(store.statistics().evictions, 0);
}

/// memcached holds 699,008 items of one byte in 64 MiB; this store has an eighth of that.
#[test]
#[cfg_attr(miri, ignore = "90,000 items take an hour")]
fn as_many_items_of_one_byte_fit_as_in_memcached() {
    let store = store(8 << 20);
    let keys = 0..699_008 / 8;
    keys.clone().for_each(|n| _ = set(&store, format!("key{n:06}").as_bytes(), b"1"));
    let found = keys.clone().filter(|n| is_there(&store, &format!("key{n:06}"))).count();
    assert_eq!((found, store.statistics().evictions), (keys.len(), 0), "{:?}", store.statistics());
    assert!(store.memory_bytes() <= 8 << 20);
    assert_nothing_leaks(&store, NOW);
}

/// The table has no place left long before the memory is full.
#[test]
#[cfg_attr(miri, ignore = "100,000 items take an hour")]
fn the_newest_item_is_there_though_the_table_is_full() {
    let store = store(1 << 20);
    for n in 0..100_000 {
        let key = n.to_string();
        set(&store, key.as_bytes(), b"");
        assert!(is_there(&store, &key), "{n}: {:?}", store.statistics());
    }
    assert_nothing_leaks(&store, NOW);
}

#[test]
#[cfg_attr(miri, ignore = "100,000 items take an hour")]
fn dead_items_are_freed_before_live_ones_are_evicted() {
    for flushed in [true, false] {
        let store = store(8 << 20);
        let exptime = if flushed { 0 } else { NOW + 3000 };
        // Twice what fits, and used: so most of the memory is the main queue's.
        for n in 0..90_000 {
            let key = format!("used{n}");
            put(&store, key.as_bytes(), &[b'u'; 100], exptime, Commit::default(), NOW);
            assert!(is_there(&store, &key));
        }
        let now = if flushed { NOW } else { NOW + 4000 };
        if flushed {
            store.flush(now, now);
        }
        let before = store.statistics().evictions;
        let key = |n: u32| format!("new{n}").into_bytes();
        (0..36_000).for_each(|n| _ = put(&store, &key(n), &[b'n'; 100], 0, Commit::default(), now));
        let statistics = store.statistics();
        assert_eq!(statistics.evictions, before, "flushed: {flushed}, {statistics:?}");
        assert!((0..36_000).all(|n| store.get(&key(n), now).is_some()));
    }
}

/// Asks for all keys once, `step` apart, and stores what is missed; the hit ratio.
fn pass(store: &Store, name: &str, keys: u64, value: &[u8], step: u64) -> f64 {
    let mut hits = 0;
    for n in 0..keys {
        let key = format!("{name}{:08}", n * step % keys);
        match store.get(key.as_bytes(), NOW) {
            Some(_) => hits += 1,
            None => _ = set(store, key.as_bytes(), value),
        }
    }
    hits as f64 / keys as f64
}

/// Three passes over 25,000 keys, then five over fewer; in the last those are there. Of 200 bytes
/// the memory holds 14,700 items, of 100 bytes 24,000.
#[test]
#[cfg_attr(miri, ignore = "300,000 items take an hour")]
fn a_changed_working_set_takes_the_place_of_the_old_one() {
    // Primes: each reaches all keys, in another order.
    let (same, shuffled) = ([1_000_003; 8], [7, 11, 101, 1009, 10_007, 100_003, 1_000_003, 13]);
    for (value_bytes, keys, steps, least) in [
        (200, 14_500, same, 0.85),
        (200, 15_600, shuffled, 0.85),
        (100, 15_600, same, 0.96),
        (100, 20_000, shuffled, 0.96),
        (1, 25_000, same, 1.0),
    ] {
        let (store, value) = (store(4 << 20), vec![b'v'; value_bytes]);
        steps[..3].iter().for_each(|step| _ = pass(&store, "a", 25_000, &value, *step));
        let ratios: Vec<f64> =
            steps[3..].iter().map(|step| pass(&store, "b", keys, &value, *step)).collect();
        assert!(ratios[4] >= least, "{value_bytes} B: {ratios:?}, {:?}", store.statistics());
    }
}

/// No set pays for the eviction of a whole segment: each evicts or moves a few items ahead of need.
#[test]
#[cfg_attr(miri, ignore = "100,000 items take an hour")]
fn a_set_evicts_a_few_items_at_a_time() {
    for (workers, reads) in [(1, 0), (1, 2), (2, 0), (2, 2)] {
        let settings = Settings {
            memory_bytes: 4 << 20,
            item_max_bytes: 1 << 18,
            workers,
            hash_key: Some([1, 2]),
        };
        let store = Store::new(&settings).unwrap();
        let touched = || {
            let statistics = store.statistics();
            statistics.evictions + statistics.items_moved
        };
        let mut most = 0;
        for n in 0..60_000 {
            let before = touched();
            set(&store, format!("key{n:06}").as_bytes(), &[b'v'; 100]);
            most = most.max(touched() - before);
            // A third of the items is used, and worth keeping.
            let again = n / 3 * 3;
            (0..reads).for_each(|_| _ = is_there(&store, &format!("key{again:06}")));
        }
        assert!(touched() > 20_000, "{:?}", store.statistics());
        assert!(most <= 20, "{most} items at once, {workers} workers, {reads} reads");
        assert_nothing_leaks(&store, NOW);
    }
}

/// As an LRU follows it: what fits is there when it is asked for a second time.
#[test]
#[cfg_attr(miri, ignore = "80,000 items take an hour")]
fn a_changed_working_set_is_there_in_the_second_pass() {
    for value_bytes in [1, 200] {
        let (store, value) = (store(4 << 20), vec![b'v'; value_bytes]);
        // Two and a half times what fits, then nine tenths of it.
        let (old, new) = if value_bytes == 1 { (100_000, 38_000) } else { (36_000, 13_200) };
        (0..3).for_each(|_| _ = pass(&store, "a", old, &value, 1));
        let ratios = [(); 3].map(|()| pass(&store, "b", new, &value, 1));
        assert!(ratios[1] > 0.95, "{value_bytes} B: {ratios:?}, {:?}", store.statistics());
    }
}

/// The share of the memory that items of one size take before the first is evicted. The end of each
/// segment keeps what is too small for another item. memcached holds 640 items of 100 kB in 64 MiB.
#[test]
#[cfg_attr(miri, ignore = "hundreds of megabytes take an hour")]
fn large_items_leave_little_memory_unused() {
    for value_bytes in [17_000, 30_000, 45_000, 70_000, 100_000, 120_000] {
        let (store, value) = (store(64 << 20), vec![b'v'; value_bytes]);
        let mut full = store.statistics();
        for n in 0.. {
            set(&store, format!("key{n:06}").as_bytes(), &value);
            if store.statistics().evictions > 0 {
                break;
            }
            full = store.statistics();
        }
        let part = full.bytes as f64 / store.memory_bytes() as f64;
        assert!(part > 0.945, "{value_bytes} B: {part:.3} of the memory, {full:?}");
        assert!(value_bytes != 100_000 || full.curr_items >= 640, "{full:?}");
        assert_nothing_leaks(&store, NOW);
    }
}
