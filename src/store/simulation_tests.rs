//! Many workers at once, simulated in one thread: a seed decides which worker calls the store next,
//! and what for, so each failure repeats.
//!
//! Each worker has its own clock, values that arrive in parts, answers that are half sent, and a
//! guard. It keeps to the pin limit, as a handler does. Between any two calls of one worker come
//! those of others. The orders within a call are the subject of `interleaving_tests` and
//! `ahead_tests`.
//!
//! A model knows each value that was stored, and how many bytes were written since. An item must be
//! found with its bytes, by whichever worker asks, until a sixteenth of the memory was written
//! after it, and the newest of all always. Values that wait for others count from when they are
//! complete. Memory may run out only where readers and writers hold what could be evicted.
//!
//! `SIMOOM_SEED=17` repeats one run; `SIMOOM_RUNS=1000` does many.

use super::layout::Layout;
use super::run::Spared;
use super::shard::{act_as, reseed};
use super::space::Queue;
use super::tests::{NOW, assert_nothing_leaks, new};
use super::*;
use simoom_io::testing::Random;
use simoom_tcp::testing::seeds;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

const STEPS: u32 = 12_000;
const KEYS: u64 = 8000;
/// Of these keys one in so many holds a number.
const NUMBERS: u64 = 16;
/// Divisor: an item is found until this part of the memory was written after it.
const KEPT_PART: u64 = 16;
/// Values that one worker receives at once, and answers that it sends.
const AT_ONCE: usize = 6;

#[derive(Clone, Debug)]
struct Known {
    value: Rc<[u8]>,
    exptime: u32,
    /// [`Simulation::written`] when it was stored.
    at: u64,
}

struct Upload {
    key: u64,
    reservation: Reservation,
    value: Rc<[u8]>,
    exptime: u32,
}

#[derive(Default)]
struct Worker<'a> {
    now: u32,
    uploads: VecDeque<Upload>,
    answers: VecDeque<(Item, Rc<[u8]>)>,
    guard: Option<(ItemGuard<'a>, Rc<[u8]>)>,
}

struct Simulation<'a> {
    store: &'a Store,
    random: Random,
    workers: Vec<Worker<'a>>,
    /// The latest of the workers' clocks.
    now: u32,
    known: HashMap<u64, Known>,
    /// The keys stored last, the newest at the end.
    newest: VecDeque<u64>,
    /// Bytes of all items written, with gaps; those of values that arrive in parts twice if they
    /// did not wait.
    written: u64,
    /// The item stored last, unless it was replaced or deleted.
    last: Option<u64>,
    flush_at: u32,
    tally: Tally,
}

/// What a run came across.
#[derive(Debug, Default)]
struct Tally {
    /// Newest items that were looked for.
    checked: u64,
    refused: u64,
    /// Values that waited.
    waited: u64,
}

fn name(key: u64) -> Vec<u8> {
    // A few long keys among short ones.
    [format!("key{key}-").into_bytes(), vec![b'k'; (key % 4) as usize * 60]].concat()
}

impl<'a> Simulation<'a> {
    fn new(store: &'a Store, workers: usize, random: Random) -> Simulation<'a> {
        let worker = || Worker { now: NOW, ..Worker::default() };
        Simulation {
            store,
            random,
            workers: (0..workers).map(|_| worker()).collect(),
            now: NOW,
            known: HashMap::new(),
            newest: VecDeque::new(),
            written: 0,
            last: None,
            flush_at: u32::MAX,
            tally: Tally::default(),
        }
    }

    /// One call of the store, or a few that belong together, by one worker.
    fn step(&mut self) {
        let worker = self.random.index(self.workers.len());
        let now = self.begin_call(worker);
        let key = self.random.below(KEYS) * self.random.below(KEYS) / KEYS;
        match self.random.below(100) {
            0..20 => self.set(key, now),
            20..30 => self.begin_upload(worker, key, now),
            30..50 => self.continue_upload(worker, now),
            50..52 => drop(self.workers[worker].uploads.pop_front()),
            52..68 => self.get(worker, key, now),
            68..76 => self.finish_answer(worker),
            76..82 => self.guard(worker, key, now),
            82..84 => self.touch(key, now),
            84..87 => self.count(key - key % NUMBERS, now),
            87..90 => self.append(key, now),
            90..93 => self.delete(key, now),
            93..96 => drop(self.store.maintain(now)),
            96..98 => self.now += u32::from(self.random.one_in(4)),
            98 if self.random.one_in(50) => self.flush(now),
            _ => self.check(now),
        }
    }

    /// Lets this thread act as a worker. Its clock may be a second behind. Each call of the store
    /// applies a flush_all that is due.
    fn begin_call(&mut self, worker: usize) -> u32 {
        act_as(worker);
        let behind = u32::from(self.random.one_in(4));
        let now = self.workers[worker].now.max(self.now - behind);
        self.workers[worker].now = now;
        self.tick(now);
        now
    }

    fn tick(&mut self, now: u32) {
        assert!(self.store.peek(b"none", now).is_none());
        if self.flush_at <= now {
            self.known.clear();
            self.flush_at = u32::MAX;
        }
    }

    /// Whether an item must be there: it is alive for all workers, and among the newest.
    fn is_kept(&self, key: u64, known: &Known) -> bool {
        let is_alive = known.exptime == 0 || known.exptime > self.now;
        let since = self.written - known.at;
        is_alive
            && (since <= self.store.memory_bytes() as u64 / KEPT_PART || self.last == Some(key))
    }

    /// What the store answered to a request for a key.
    fn found(&mut self, key: u64, value: Option<&[u8]>, now: u32) {
        let is_there = value.is_some();
        let Some(known) = self.known.get(&key) else {
            return assert!(!is_there, "{key} should not be there");
        };
        assert!(!is_there || known.exptime == 0 || known.exptime > now, "{key} has expired");
        assert!(value.is_none_or(|value| *value == *known.value), "another value under {key}");
        if !is_there {
            let since = self.written - known.at;
            assert!(
                !self.is_kept(key, known),
                "{key} of {} B is gone {since} B later, {:?}",
                known.value.len(),
                self.store.statistics()
            );
            self.known.remove(&key);
        }
    }

    /// Asks whether a key is there, without using it.
    fn settle(&mut self, key: u64, now: u32) -> bool {
        let item = self.store.peek(&name(key), now);
        self.found(key, item.as_ref().map(Item::value), now);
        item.is_some()
    }

    fn value(&mut self, key: u64) -> Rc<[u8]> {
        if key.is_multiple_of(NUMBERS) {
            return self.random.below(1_000_000).to_string().into_bytes().into();
        }
        let max = (self.store.item_max_bytes() - 512) as f64;
        let part = self.random.below(1 << 20) as f64 / f64::from(1 << 20);
        let bytes = match self.random.below(10) {
            0..5 => part * 300.0,
            5..8 => max.powf(part / 1.3),
            _ => max.powf(part),
        };
        let mark = self.random.next_u64().to_le_bytes();
        mark.iter().copied().cycle().take(1 + bytes as usize).collect::<Vec<u8>>().into()
    }

    fn exptime(&mut self) -> u32 {
        let ttl = self.random.below(16);
        if ttl < 13 { 0 } else { self.now + 2 + self.random.below(1 << (4 * (ttl - 12))) as u32 }
    }

    /// Counts an item as written, with the gap that it may leave: one of more than an eighth of a
    /// frame lies beside others of its size, and a larger one than a frame takes whole frames.
    fn write(&mut self, key: u64, value_bytes: usize) {
        let layout = Layout::of(&new(&name(key), value_bytes, 0));
        let frame_bytes = UNIT_BYTES << self.store.memory.frame_shift;
        let bytes = layout.total_bytes();
        self.written += match bytes.div_ceil(frame_bytes / 8) {
            0..=1 => bytes,
            2..=8 => frame_bytes.min(2 * bytes),
            _ => bytes.next_multiple_of(frame_bytes),
        } as u64;
    }

    fn stored(&mut self, key: u64, value: Rc<[u8]>, exptime: u32) {
        self.known.insert(key, Known { value, exptime, at: self.written });
        self.last = Some(key);
        self.newest.push_back(key);
        // The next get of anybody.
        let other = self.random.index(self.workers.len());
        let now = self.begin_call(other);
        let item = self.store.get(&name(key), now);
        self.found(key, item.as_ref().map(Item::value), now);
    }

    /// Memory may run out only if no run of frames could be emptied.
    fn refused(&mut self, key: u64, value_bytes: usize) {
        self.tally.refused += 1;
        let units = Layout::of(&new(&name(key), value_bytes, 0)).units();
        let frames = units.div_ceil(1 << self.store.memory.frame_shift);
        let mut space = self.store.space();
        let mut run = 0;
        for frame in 0..space.segments.len() as u32 {
            run = if self.can_be_emptied(&mut space, frame) { run + 1 } else { 0 };
            assert!(run < frames, "{value_bytes} B refused, {:?}", space.frames(Queue::Young));
        }
    }

    fn can_be_emptied(&self, space: &mut Space, frame: u32) -> bool {
        let Some(head) = space.head(frame) else { return space.is_free(frame) };
        space.is_evictable(head)
            && !space.is_spared(head, Spared::Last)
            && !self.store.is_pinned(&space.segments[head as usize], head)
            && !self.store.has_reservation(space, head)
    }

    fn set(&mut self, key: u64, now: u32) {
        let (value, exptime) = (self.value(key), self.exptime());
        self.write(key, value.len());
        match self.store.set(&new(&name(key), value.len(), exptime), &value, now) {
            Ok(Outcome::Stored { .. }) => self.stored(key, value, exptime),
            refused => {
                self.refused(key, value.len());
                assert!(refused.is_err(), "{refused:?}");
            }
        }
    }

    /// As a handler does: an upload that loses its space takes its key's old value along.
    fn begin_upload(&mut self, worker: usize, key: u64, now: u32) {
        let (value, exptime) = (self.value(key), self.exptime());
        if self.workers[worker].uploads.len() == AT_ONCE {
            return;
        }
        let (store, uploads) = (self.store, &mut self.workers[worker].uploads);
        let (may_wait, mut waits, mut exceeds) = (self.random.one_in(2), false, false);
        let mut displaced = Vec::new();
        let name = name(key);
        let reserved = store.reserve_incoming(&new(&name, value.len(), exptime), now, || {
            waits = may_wait;
            if waits {
                return Full::Wait;
            }
            let Some(upload) = uploads.pop_front() else {
                exceeds = true;
                return Full::Exceed;
            };
            store.delete(upload.reservation.key(), &Delete::default(), now);
            displaced.push(upload.key);
            Full::Dropped
        });
        displaced.iter().for_each(|key| _ = self.known.remove(key));
        if exceeds {
            self.write(key, value.len());
        }
        match reserved {
            Err(_) if waits => self.tally.waited += 1,
            Ok(reservation) => {
                let upload = Upload { key, reservation, value, exptime };
                self.workers[worker].uploads.push_back(upload);
            }
            Err(_) => {
                // Or if the values that other workers receive take what all may.
                let frame_bytes = UNIT_BYTES << self.store.memory.frame_shift;
                let space = self.store.space();
                let frames = space.frames(Queue::Incoming) as usize;
                drop(space);
                let frames = frames + (value.len() + 512).div_ceil(frame_bytes);
                if frames <= self.store.memory.frames() / incoming::INCOMING_PART {
                    self.refused(key, value.len());
                }
            }
        }
    }

    fn continue_upload(&mut self, worker: usize, now: u32) {
        let Some(mut upload) = self.workers[worker].uploads.pop_front() else { return };
        let at = upload.value.len() - upload.reservation.remaining();
        let bytes = 1 + self.random.below(2 * upload.value.len() as u64) as usize;
        let part = &upload.value[at..upload.value.len().min(at + bytes)];
        assert_eq!(upload.reservation.write(part), part.len());
        if upload.reservation.remaining() > 0 {
            return self.workers[worker].uploads.push_back(upload);
        }
        let Upload { key, reservation, value, exptime } = upload;
        self.write(key, value.len());
        match self.store.commit(reservation, &Commit::default(), now) {
            Outcome::Stored { .. } => self.stored(key, value, exptime),
            outcome => {
                assert_eq!(outcome, Outcome::OutOfMemory);
                self.refused(key, value.len());
            }
        }
    }

    /// A get, whose answer may be sent in parts.
    fn get(&mut self, worker: usize, key: u64, now: u32) {
        let answers = self.workers[worker].answers.len();
        if answers == AT_ONCE || self.store.is_at_pin_limit(answers > 0) {
            return;
        }
        let copied = || self.store.sum(|stats| &stats.pin_copied);
        let before = copied();
        let item = self.store.get(&name(key), now);
        self.found(key, item.as_ref().map(Item::value), now);
        let Some(item) = item else { return };
        if copied() != before {
            self.write(key, item.value().len());
        }
        if self.random.one_in(2) {
            let value = Rc::clone(&self.known[&key].value);
            self.workers[worker].answers.push_back((item, value));
        }
    }

    fn finish_answer(&mut self, worker: usize) {
        if let Some((item, value)) = self.workers[worker].answers.pop_front() {
            assert!(*item.value() == *value, "a half-sent answer changed");
        }
    }

    /// Takes a guard; turns the one that the worker has into an answer, or drops it.
    fn guard(&mut self, worker: usize, key: u64, now: u32) {
        if let Some((guard, value)) = self.workers[worker].guard.take() {
            assert!(guard.line()[guard.value_range()] == *value, "a guarded value changed");
            let answers = self.workers[worker].answers.len();
            if answers < AT_ONCE && !self.store.is_at_pin_limit(answers > 0) {
                let item = self.store.pin(guard, now);
                self.workers[worker].answers.push_back((item, value));
            }
            return;
        }
        let guard = self.store.guard(&name(key), now);
        self.found(key, guard.as_ref().map(|guard| &guard.line()[guard.value_range()]), now);
        self.workers[worker].guard = guard.map(|guard| (guard, Rc::clone(&self.known[&key].value)));
    }

    fn touch(&mut self, key: u64, now: u32) {
        let exptime = self.exptime();
        let is_there = self.settle(key, now);
        assert_eq!(self.store.touch(&name(key), exptime, now), is_there);
        self.known.entry(key).and_modify(|known| known.exptime = exptime);
    }

    fn count(&mut self, key: u64, now: u32) {
        let is_there = self.settle(key, now);
        let how = Count { delta: 7, ..Count::default() };
        self.write(key, 20);
        match self.store.count(&name(key), &how, now) {
            Counted::Value { value, .. } => {
                let known = self.known.remove(&key).expect("a number was counted");
                assert_eq!(number::parse(&known.value).map(|number| number + 7), Some(value));
                let mut text = value.to_string().into_bytes();
                text.resize(text.len().max(known.value.len()), b' ');
                self.stored(key, text.into(), known.exptime);
            }
            Counted::OutOfMemory => self.refused(key, 20),
            // The space for the new number may be that of the old one.
            Counted::NotFound if is_there => self.found(key, None, now),
            Counted::NotFound => {}
            other => panic!("{other:?}"),
        }
    }

    fn append(&mut self, key: u64, now: u32) {
        if key.is_multiple_of(NUMBERS) || !self.settle(key, now) {
            return;
        }
        let (old, more) = (self.known[&key].clone(), [b'+'; 100]);
        let whole = [&old.value[..], &more].concat();
        self.write(key, more.len());
        self.write(key, whole.len());
        let commit = Commit { mode: Mode::Append, ..Commit::default() };
        let Ok(mut reservation) = self.store.reserve(&new(&name(key), more.len(), 0), now) else {
            return self.refused(key, more.len());
        };
        reservation.write(&more);
        match self.store.commit(reservation, &commit, now) {
            Outcome::Stored { .. } => self.stored(key, whole.into(), old.exptime),
            // The space for what is appended may be that of the item.
            Outcome::NotStored => self.found(key, None, now),
            Outcome::TooLarge => assert!(whole.len() + 400 > self.store.item_max_bytes()),
            outcome => {
                assert_eq!(outcome, Outcome::OutOfMemory);
                self.refused(key, whole.len());
            }
        }
    }

    fn delete(&mut self, key: u64, now: u32) {
        let is_there = self.settle(key, now);
        let outcome = self.store.delete(&name(key), &Delete::default(), now);
        assert_eq!(outcome == Outcome::Stored { cas: 0 }, is_there, "{outcome:?}");
        self.known.remove(&key);
    }

    fn flush(&mut self, now: u32) {
        self.flush_at = now + self.random.below(3) as u32;
        self.store.flush(self.flush_at, now);
        self.tick(now);
    }

    /// Looks for the newest items, and at all answers.
    fn check(&mut self, now: u32) {
        let known = std::mem::take(&mut self.newest);
        let kept = |key: &u64| self.known.get(key).is_some_and(|known| self.is_kept(*key, known));
        self.newest = known.into_iter().filter(kept).collect();
        for key in self.newest.clone() {
            self.tally.checked += 1;
            self.settle(key, now);
        }
        for (item, value) in self.workers.iter().flat_map(|worker| &worker.answers) {
            assert!(*item.value() == **value, "a half-sent answer changed");
        }
    }
}

/// Tells the seed of a run that fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SIMOOM_SEED={} repeats this run", self.0);
        }
    }
}

fn run(seed: u64, steps: u32) -> (Tally, Statistics) {
    let (mut random, _seed) = (Random::new(seed), Seed(seed));
    let workers = random.choose(&[1, 2, 3, 5, 8]);
    let memory_bytes = random.choose(&[1 << 20, 2 << 20, 4 << 20, 8 << 20]);
    let settings = Settings {
        memory_bytes,
        item_max_bytes: memory_bytes / ITEM_MAX_PART,
        workers,
        hash_key: Some([seed, 2]),
    };
    let store = Store::new(&settings).unwrap();
    reseed(seed);
    // The count of frames written passes 2^32 within the run.
    store.space().begin_at(0u32.wrapping_sub(random.below(2000) as u32));
    let mut simulation = Simulation::new(&store, workers, random);
    (0..steps).for_each(|_| simulation.step());
    let Simulation { tally, workers, now, .. } = simulation;
    drop(workers);
    let statistics = store.statistics();
    assert_nothing_leaks(&store, now + 1);
    (tally, statistics)
}

#[test]
#[cfg_attr(miri, ignore = "megabytes take an hour")]
fn what_any_worker_stored_last_is_there_for_all_workers() {
    let mut waited = 0;
    for seed in seeds(10) {
        let (tally, statistics) = run(seed, STEPS);
        let has_evicted = statistics.evictions > 10 && statistics.items_moved > 10;
        assert!(
            has_evicted && tally.checked > 1000 && tally.refused < u64::from(STEPS) / 1000,
            "SIMOOM_SEED={seed}: {tally:?}, {statistics:?}"
        );
        waited += tally.waited;
    }
    assert!(waited > 0, "no value waits for others");
}
