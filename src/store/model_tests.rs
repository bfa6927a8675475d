//! Random requests against a map that forgets nothing but what has expired.

use super::tests::{assert_nothing_leaks, new, store};
use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

#[derive(Clone, Debug)]
enum Op {
    Put { key: u8, bytes: usize, ttl: Option<u32>, mode: Mode, compare: Compare },
    Get { key: u8, hold: bool },
    Touch { key: u8, ttl: u32 },
    Count { key: u8, delta: u64, decrement: bool },
    Delete { key: u8, compare: Compare },
    GiveUp { key: u8, bytes: usize },
    LetGo,
    Pass { seconds: u32 },
    Maintain,
    Flush { delay: u32 },
}

/// Which cas unique is asked for.
#[derive(Clone, Copy, Debug)]
enum Compare {
    None,
    Right,
    Wrong,
}

fn op() -> impl Strategy<Value = Op> {
    let mode = prop_oneof![
        4 => Just(Mode::Set), 1 => Just(Mode::Add), 1 => Just(Mode::Replace), 1 => Just(Mode::Append),
        1 => Just(Mode::Prepend)
    ];
    let compare =
        prop_oneof![4 => Just(Compare::None), 1 => Just(Compare::Right), 1 => Just(Compare::Wrong)];
    let bytes = prop_oneof![6 => 0usize..300, 3 => 300usize..20_000, 1 => 20_000usize..1_048_000];
    let ttl = prop_oneof![2 => Just(None), 1 => (0u32..100).prop_map(Some)];
    let key = 0u8..40;
    prop_oneof![
        10 => (key.clone(), bytes.clone(), ttl, mode, compare.clone())
            .prop_map(|(key, bytes, ttl, mode, compare)| Op::Put { key, bytes, ttl, mode, compare }),
        10 => (key.clone(), prop::bool::weighted(0.2)).prop_map(|(key, hold)| Op::Get { key, hold }),
        1 => (key.clone(), 1u32..100).prop_map(|(key, ttl)| Op::Touch { key, ttl }),
        2 => (key.clone(), 0u64..1000, any::<bool>())
            .prop_map(|(key, delta, decrement)| Op::Count { key, delta, decrement }),
        2 => (key.clone(), compare).prop_map(|(key, compare)| Op::Delete { key, compare }),
        1 => (key, bytes).prop_map(|(key, bytes)| Op::GiveUp { key, bytes }),
        2 => Just(Op::LetGo),
        1 => (1u32..20).prop_map(|seconds| Op::Pass { seconds }),
        1 => Just(Op::Maintain),
        1 => (0u32..30).prop_map(|delay| Op::Flush { delay }),
    ]
}

#[derive(Clone, Debug)]
struct Known {
    value: Vec<u8>,
    exptime: u32,
    cas: u64,
}

struct Model {
    store: Arc<Store>,
    known: HashMap<u8, Known>,
    held: Vec<(Item, Vec<u8>)>,
    now: u32,
    flush_at: u32,
    bytes_written: u64,
    /// Keys that were found to be gone, or that an eviction may have taken before they were
    /// replaced.
    lost: u64,
    serial: u8,
}

fn name(key: u8) -> Vec<u8> {
    // A few long keys among short ones.
    [format!("key{key}-").into_bytes(), vec![b'k'; usize::from(key % 4) * 60]].concat()
}

impl Model {
    fn expire(&mut self) {
        if self.flush_at <= self.now {
            self.known.clear();
            self.flush_at = u32::MAX;
        }
        self.known.retain(|_, known| known.exptime == 0 || known.exptime > self.now);
    }

    /// What is known under a key, once the store was asked whether it still has it.
    fn settle(&mut self, key: u8) -> Option<Known> {
        self.expire();
        let peek = Fetch { peek: true, ..Fetch::default() };
        if self.store.is_at_pin_limit(true) {
            self.held.clear();
        }
        let there = self.store.fetch(&name(key), &peek, self.now);
        match (self.known.get(&key), there) {
            (None, None) => None,
            (Some(known), Some(fetched)) => {
                assert!(fetched.item.value() == known.value, "another value under {key}");
                assert_eq!((fetched.meta.cas, fetched.meta.exptime), (known.cas, known.exptime));
                Some(known.clone())
            }
            (Some(_), None) => {
                self.lost += 1;
                self.known.remove(&key);
                None
            }
            (None, Some(fetched)) => panic!("{key} should not be there: {fetched:?}"),
        }
    }

    fn compare(compare: Compare, old: Option<&Known>) -> Option<u64> {
        match compare {
            Compare::None => None,
            Compare::Right => Some(old.map_or(1, |known| known.cas)),
            Compare::Wrong => Some(u64::MAX),
        }
    }

    fn put(&mut self, key: u8, bytes: usize, ttl: Option<u32>, mode: Mode, compare: Compare) {
        let old = self.settle(key);
        let exptime = ttl.map_or(0, |ttl| self.now + ttl);
        self.serial = self.serial.wrapping_add(1);
        // Now and then a number, so that there is something to count.
        let value =
            if bytes < 20 { bytes.to_string().into_bytes() } else { vec![self.serial; bytes] };
        let name = name(key);
        let mut reservation = match self.store.reserve(&new(&name, value.len(), exptime), self.now)
        {
            Ok(reservation) => reservation,
            Err(refusal) => return self.refused(refusal, value.len()),
        };
        value.chunks(1460).for_each(|tlab| assert_eq!(reservation.write(tlab), tlab.len()));
        let compare = Model::compare(compare, old.as_ref());
        // Taking the space may have evicted the old item.
        let old = self.settle(key);
        let commit = Commit { mode, compare, ..Commit::default() };
        let outcome = self.store.commit(reservation, &commit, self.now);
        let joined = |old: &Known| match mode {
            Mode::Append => Some([&old.value[..], &value].concat()),
            Mode::Prepend => Some([&value[..], &old.value].concat()),
            _ => None,
        };
        match (condition::verdict(&commit, old.as_ref().map(|old| old.cas)), outcome) {
            (condition::Verdict::Refuse(expected), outcome) => assert_eq!(outcome, expected),
            (_, Outcome::Stored { cas }) => {
                let whole = old.as_ref().and_then(|old| Some((joined(old)?, old.exptime)));
                let (value, exptime) = whole.unwrap_or((value, exptime));
                self.bytes_written += value.len() as u64 + 400;
                self.known.insert(key, Known { value, exptime, cas });
                self.expire();
            }
            (_, Outcome::TooLarge) => {
                let bytes = old.and_then(|old| joined(&old)).map_or(0, |value| value.len());
                self.refused(ReserveError::TooLarge, bytes);
            }
            (_, Outcome::OutOfMemory) => self.refused(ReserveError::OutOfMemory, bytes),
            // The join's own space may have evicted what it was to be joined to.
            (condition::Verdict::Join, Outcome::NotStored | Outcome::NotFound) => {
                self.known.remove(&key);
                self.lost += 1;
            }
            other => panic!("{other:?}"),
        }
    }

    fn refused(&self, refusal: ReserveError, bytes: usize) {
        match refusal {
            ReserveError::TooLarge => assert!(bytes + 400 > self.store.item_max_bytes),
            ReserveError::OutOfMemory => {
                assert!(!self.held.is_empty(), "out of memory with nothing pinned");
            }
        }
    }

    fn count(&mut self, key: u8, delta: u64, decrement: bool) {
        let Some(old) = self.settle(key) else {
            let counted = self.store.count(
                &name(key),
                &Count { delta, decrement, ..Count::default() },
                self.now,
            );
            return assert_eq!(counted, Counted::NotFound);
        };
        let how = Count { delta, decrement, ..Count::default() };
        match (number::parse(&old.value), self.store.count(&name(key), &how, self.now)) {
            (None, counted) => assert_eq!(counted, Counted::NonNumeric),
            (Some(number), Counted::Value { value, meta, created: false }) => {
                assert_eq!(value, number::apply(number, delta, decrement));
                let mut text = value.to_string().into_bytes();
                text.resize(text.len().max(old.value.len()), b' ');
                self.bytes_written += 400;
                self.known.insert(key, Known { value: text, cas: meta.cas, ..old });
            }
            (_, Counted::NotFound) => {
                self.known.remove(&key);
                self.lost += 1;
            }
            (_, counted) => {
                assert!(counted == Counted::OutOfMemory && !self.held.is_empty(), "{counted:?}");
            }
        }
    }

    fn apply(&mut self, op: &Op) {
        self.expire();
        match *op {
            Op::Put { key, bytes, ttl, mode, compare } => self.put(key, bytes, ttl, mode, compare),
            Op::Get { key, hold } => {
                let known = self.settle(key);
                let got = self.store.get(&name(key), self.now);
                assert!(got.is_none() || known.is_some());
                if let (Some(item), Some(known)) = (got, known) {
                    assert!(item.value() == known.value);
                    assert!(hold || item.meta().fetched);
                    if hold {
                        self.held.push((item, known.value));
                    }
                }
            }
            Op::Touch { key, ttl } => {
                let known = self.settle(key).is_some();
                assert_eq!(self.store.touch(&name(key), self.now + ttl, self.now), known);
                self.known.entry(key).and_modify(|known| known.exptime = self.now + ttl);
            }
            Op::Count { key, delta, decrement } => self.count(key, delta, decrement),
            Op::Delete { key, compare } => {
                let old = self.settle(key);
                let compare = Model::compare(compare, old.as_ref());
                let expected = match &old {
                    None => Outcome::NotFound,
                    Some(old) if compare.is_some_and(|cas| cas != old.cas) => Outcome::Exists,
                    Some(_) => Outcome::Stored { cas: 0 },
                };
                let how = Delete { compare, ..Delete::default() };
                assert_eq!(self.store.delete(&name(key), &how, self.now), expected);
                if expected == (Outcome::Stored { cas: 0 }) {
                    self.known.remove(&key);
                }
            }
            Op::GiveUp { key, bytes } => {
                drop(self.store.reserve(&new(&name(key), bytes, 0), self.now));
            }
            Op::LetGo => self.held.clear(),
            Op::Pass { seconds } => self.now += seconds,
            Op::Maintain => drop(self.store.maintain(self.now)),
            Op::Flush { delay } => {
                self.flush_at = self.now + delay;
                self.store.flush(self.now + delay, self.now);
            }
        }
        self.held
            .iter()
            .for_each(|(item, bytes)| assert!(item.value() == bytes, "a sent item changed"));
    }
}

fn run(memory_bytes: u64, item_max_bytes: u64, ops: &[Op]) {
    let store = store(memory_bytes, item_max_bytes);
    let mut model = Model {
        store: Arc::clone(&store),
        known: HashMap::new(),
        held: Vec::new(),
        now: super::tests::NOW,
        flush_at: u32::MAX,
        bytes_written: 0,
        lost: 0,
        serial: 0,
    };
    ops.iter().for_each(|op| model.apply(op));
    (0..40).for_each(|key| drop(model.settle(key)));
    let statistics = store.statistics();
    assert!(model.lost <= statistics.evictions, "{} lost, {statistics:?}", model.lost);
    assert_eq!(statistics.curr_items - dead(&model), model.known.len() as u64);
    let large = ops
        .iter()
        .any(|op| matches!(op, Op::Put { bytes, .. } | Op::GiveUp { bytes, .. } if *bytes > 4000));
    if !large && model.bytes_written < memory_bytes / 4 {
        assert_eq!(statistics.evictions, 0, "evicted although memory was not short");
    }
    model.held.clear();
    assert_nothing_leaks(&store, model.now);
}

/// Items that have expired or were flushed and that nobody has come across yet.
fn dead(model: &Model) -> u64 {
    let mut alive = 0;
    let mut cursor = Some(0);
    while let Some(from) = cursor {
        cursor = model.store.dump(from, usize::MAX, model.now, &mut |_| alive += 1);
    }
    model.store.statistics().curr_items - alive
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 48 },
        failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_a_map_that_evicts_only_when_memory_is_short(
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 40 } else { 400 })
    ) {
        run(8 << 20, 1 << 20, &ops);
    }

    #[test]
    fn so_is_a_tiny_one(ops in prop::collection::vec(op(), 1..if cfg!(miri) { 40 } else { 400 })) {
        run(1 << 20, 128 << 10, &ops);
    }
}
