//! Eviction in steps, with a reader and a writer between any two of them: all orders of the steps,
//! each for one of eight kinds: young or stale segment, first or last item, replaced or deleted.
//!
//! Each step is a real call on a real store, and one thread makes them in each order. The orders
//! within such a call are the subject of `interleaving_tests`.

use super::*;
use crate::store::tests::{NOW, assert_nothing_leaks, set};
use simoom_io::testing::Random;

/// Steps of one eviction, at most: to choose a segment, one for each item, to free the segment, and
/// to write to its frame again.
const STEPS: usize = 11;
/// Eight such items fill a frame.
const VALUE_BYTES: usize = 1900;

/// Frames kept free between evictions.
const SPARE_FRAMES: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Replace,
    Delete,
}

/// The steps of the eviction before which the reader takes a guard, turns it into a handle, and
/// drops that; and before which the writer writes.
#[derive(Clone, Copy, Debug)]
struct Order {
    reads: [usize; 3],
    writes: usize,
}

enum Reader<'a> {
    Waiting,
    Guard(ItemGuard<'a>),
    Handle(Item),
    Done,
}

/// One eviction with its order of steps.
struct Run<'a> {
    store: &'a Store,
    key: String,
    /// The value that a get of the key must find, if it finds one.
    value: Option<Vec<u8>>,
    reader: Reader<'a>,
    /// The value that the reader found.
    read: Vec<u8>,
    /// The segment that is emptied.
    head: u32,
    is_stale: bool,
    is_evicted: bool,
    /// Steps that emptied the segment.
    steps: usize,
    /// Whether new items took the free frames.
    is_filled: bool,
}

fn value_of(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(VALUE_BYTES).collect()
}

/// Stores items, of which a third is read twice and a third once.
fn fill(store: &Store, items: usize, count: &mut usize) {
    for _ in 0..items {
        let name = format!("key{count}");
        set(store, name.as_bytes(), &value_of(&name));
        (0..*count % 3).for_each(|_| assert!(store.get(name.as_bytes(), NOW).is_some()));
        *count += 1;
    }
}

impl Run<'_> {
    /// Finds the segment that is emptied next, and the first or last of its keys. Makes the main
    /// segments stale, or none.
    fn begin(store: &Store, is_stale: bool, first: bool) -> Run<'_> {
        let mut space = store.space();
        let (head, key) = loop {
            while space.eviction.stage != Stage::Idle {
                store.step(&mut space, NOW);
            }
            // One frame is missing.
            space.spare_frames = space.free_frames;
            space.declare_stale(is_stale);
            let head = store.next_victim(&mut space).unwrap();
            let mut walk = store.walk(&mut space, head);
            let items: Vec<_> = store.linked(&space, &mut walk).collect();
            if let Some((at, _)) = if first { items.first() } else { items.last() } {
                let key = layout::key(&store.memory.arena, *at, &*space);
                break (head, str::from_utf8(key).unwrap().to_owned());
            }
            store.evict_segment(&mut space, NOW);
        };
        let is_stale = space.is_stale(head);
        let value = store.peek(key.as_bytes(), NOW).map(|item| item.value().to_vec());
        assert!(value.is_some(), "{key} is linked");
        let (reader, read) = (Reader::Waiting, Vec::new());
        Run {
            store,
            key,
            value,
            reader,
            read,
            head,
            is_stale,
            is_evicted: false,
            steps: 0,
            is_filled: false,
        }
    }

    fn read(&mut self) {
        self.reader = match std::mem::replace(&mut self.reader, Reader::Done) {
            Reader::Waiting => match self.store.guard(self.key.as_bytes(), NOW) {
                Some(guard) => {
                    self.read = guard.line()[guard.value_range()].to_vec();
                    assert!(Some(&self.read) == self.value.as_ref(), "{}: an old value", self.key);
                    Reader::Guard(guard)
                }
                None => Reader::Done,
            },
            Reader::Guard(guard) => Reader::Handle(self.store.pin(guard, NOW)),
            Reader::Handle(_) | Reader::Done => Reader::Done,
        };
    }

    fn write(&mut self, how: Write) {
        match how {
            Write::Replace => {
                // It differs from the value before it, whichever that is.
                let first = self.value.as_ref().map_or(0, |value| value[0]);
                self.value = Some(vec![first.wrapping_add(1); VALUE_BYTES]);
                set(self.store, self.key.as_bytes(), self.value.as_ref().unwrap());
            }
            Write::Delete => {
                self.value = None;
                self.store.delete(self.key.as_bytes(), &Delete::default(), NOW);
            }
        }
    }

    /// The next step of the eviction; after the last one, items that take the free frames.
    fn evict(&mut self, count: &mut usize) {
        if self.is_evicted {
            let items = if std::mem::replace(&mut self.is_filled, true) { 0 } else { 16 };
            return fill(self.store, items, count);
        }
        let mut space = self.store.space();
        loop {
            match self.store.step(&mut space, NOW) {
                Step::Done => self.is_evicted = true,
                Step::Went(_) if space.eviction.stage != Stage::Empty => continue,
                // The writer's set may have ended this eviction and begun another.
                Step::Went(_) => self.is_evicted = space.eviction.head != self.head,
                Step::Stuck => {
                    assert_eq!(space.missing_frames(), 0, "nothing is evicted");
                    self.is_evicted = true;
                }
            }
            self.steps += usize::from(!self.is_evicted);
            return;
        }
    }

    /// What the reader uses is not written, and its frame is not free.
    fn check(&self) {
        let (value, at) = match &self.reader {
            Reader::Guard(guard) => (&guard.line()[guard.value_range()], None),
            Reader::Handle(item) => (item.value(), Some(item.offset())),
            Reader::Waiting | Reader::Done => return,
        };
        assert!(value == self.read, "{} was written while a reader uses it", self.key);
        let space = self.store.space();
        let frame = at.map(|at| (at >> self.store.memory.frame_shift) as u32);
        assert!(frame.is_none_or(|frame| !space.is_free(frame)), "a pinned frame is free");
    }
}

/// Returns the number of steps that emptied the segment, and whether it was stale.
fn run(
    store: &Store,
    order: Order,
    how: Write,
    (is_stale, first): (bool, bool),
    n: &mut usize,
) -> (usize, bool) {
    // The memory is full again, but for the frames that are kept free.
    store.space().spare_frames = SPARE_FRAMES;
    while store.space().free_frames > SPARE_FRAMES + 1 {
        fill(store, 1, n);
    }
    let mut run = Run::begin(store, is_stale, first);
    for step in 0..=STEPS {
        if order.writes == step {
            run.write(how);
        }
        for _ in order.reads.iter().filter(|read| **read == step) {
            run.read();
            run.check();
        }
        run.evict(n);
        run.check();
    }
    assert!(run.is_evicted, "{order:?}: more steps, {:?}", store.space().eviction);
    let found = store.get(run.key.as_bytes(), NOW).map(|item| item.value().to_vec());
    let must_be_there = how == Write::Replace;
    assert!(
        found == run.value || (found.is_none() && !must_be_there),
        "{order:?} {how:?} {} stale {}, found {}, {:?}",
        run.key,
        run.is_stale,
        found.is_some(),
        store.statistics()
    );
    assert_eq!(store.statistics().frames_pinned, 0, "{order:?}");
    (run.steps, run.is_stale)
}

#[test]
#[cfg_attr(miri, ignore = "thousands of orders take an hour")]
fn a_reader_and_a_writer_may_come_between_any_steps_of_an_eviction() {
    let (memory_bytes, item_max_bytes) = (1 << 20, 64 << 10);
    let settings = Settings { memory_bytes, item_max_bytes, workers: 1, hash_key: Some([1, 2]) };
    let store = Store::new(&settings).unwrap();
    let (mut count, mut runs, mut steps, mut stale) = (0, 0, 0, 0);
    let mut random = Random::new(1);
    fill(&store, 2000, &mut count);
    for pins in 0..=STEPS {
        for handles in pins..=STEPS {
            for unpins in handles..=STEPS {
                for writes in 0..=STEPS {
                    let order = Order { reads: [pins, handles, unpins], writes };
                    let choice = random.below(8);
                    let how = if choice.is_multiple_of(2) { Write::Replace } else { Write::Delete };
                    let of = (choice % 4 < 2, choice < 4);
                    let (more, is_stale) = run(&store, order, how, of, &mut count);
                    (steps, stale) = (steps + more, stale + usize::from(is_stale));
                    runs += 1;
                }
            }
        }
    }
    assert!(runs > 4000 && steps > 4 * runs, "{steps} steps of {runs} evictions");
    assert!(stale > runs / 5, "{stale} stale of {runs}");
    let statistics = store.statistics();
    assert!(statistics.items_moved > 4000 && statistics.evictions > 4000, "{statistics:?}");
    store.space().declare_stale(false);
    assert_nothing_leaks(&store, NOW);
}
