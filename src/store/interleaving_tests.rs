//! All interleavings of the steps by which readers pin an item, and by which a frame is emptied and
//! used again.
//!
//! Each step is one of the real calls on atomics, all sequentially consistent. So the order of the
//! steps is all that threads can do to each other, and one thread here runs them in each order. The
//! contract of [`super::arena`] is what must hold: a line that a reader uses is not written.

use super::arena::Offset;
use super::memory::Memory;
use super::shard::Shard;
use super::table::{Entry, Slot};
use std::sync::Arc;

const OLD: Offset = 0;
/// In another frame than [`OLD`].
const MOVED: Offset = 2048;
const HASH: u64 = 7;
/// Units of the item.
const UNITS: u32 = 4;

/// What is shared: a slot of the table, two frames, and the pins of each reader's shard.
struct World {
    memory: Arc<Memory>,
    slot: Slot,
    shards: [Shard; 2],
    /// Items written at [`OLD`] so far. A reader of one must not see another there.
    written: u32,
}

impl World {
    /// The state before the first step. Mapping the memory takes long, so `memory` is used again.
    fn new(memory: &Arc<Memory>) -> World {
        let (memory, slot) = (Arc::clone(memory), Slot::default());
        for (at, frame) in [(OLD, 0), (MOVED, 1)] {
            (0..memory.live(frame).0).for_each(|_| memory.subtract(at, UNITS));
        }
        memory.add(OLD, UNITS);
        slot.store(Entry::new(HASH, OLD));
        let shards = [0, 1].map(|_| Shard::new(Arc::clone(&memory)));
        World { memory, slot, shards, written: 1 }
    }
}

/// A reader, as in `Store::find` and the drop of its guard.
#[derive(Clone, Default)]
struct Reader {
    shard: usize,
    step: usize,
    entry: Option<Entry>,
    /// What was written at [`OLD`] when the reader confirmed that its item is there.
    written: Option<u32>,
    /// Skips the second read of the entry.
    trusts: bool,
}

impl Reader {
    /// Returns whether there are more steps.
    fn step(&mut self, world: &World) -> bool {
        let shard = &world.shards[self.shard];
        match self.step {
            0 => self.entry = Some(world.slot.load()).filter(|entry| *entry != Entry::NONE),
            1 => _ = self.entry.map(|entry| shard.pin_guard(entry.offset())),
            2 => {
                let is_confirmed = |entry: &Entry| self.trusts || world.slot.confirm(*entry);
                if let Some(entry) = self.entry.filter(|entry| !is_confirmed(entry)) {
                    shard.unpin_guard(entry.offset());
                    self.entry = None;
                }
                let is_old = self.entry.is_some_and(|entry| entry.offset() == OLD);
                self.written = is_old.then_some(world.written);
            }
            // Reads the line, twice.
            3 | 4 => {
                let seen = self.written.unwrap_or(world.written);
                assert_eq!(seen, world.written, "written while a reader uses it");
            }
            _ => _ = self.entry.take().map(|entry| shard.unpin_guard(entry.offset())),
        }
        self.step += 1;
        self.step < 6 && self.entry.is_some()
    }
}

/// The thread that holds the lock of the space: empties the frame of [`OLD`] and writes a new item
/// there, as `Store::empty`, `Store::free_if_empty` and `Store::link` do.
#[derive(Clone, Default)]
struct Evictor {
    step: usize,
    /// Moves the item before, as `Store::relocate` does.
    moves: bool,
    /// Reads the pins before it removes the entry.
    hurries: bool,
    is_free: Option<bool>,
}

impl Evictor {
    fn is_free(world: &World) -> bool {
        !world.shards.iter().any(|shard| shard.is_pinned(0))
    }

    /// Returns whether there are more steps.
    fn step(&mut self, world: &mut World) -> bool {
        match self.step {
            0 if self.hurries => self.is_free = Some(Evictor::is_free(world)),
            0 if self.moves => world.memory.add(MOVED, UNITS),
            1 if self.moves => world.slot.store(Entry::new(HASH, MOVED)),
            1 => world.slot.store(Entry::NONE),
            2 => world.memory.subtract(OLD, UNITS),
            3 => {
                let is_free = self.is_free.unwrap_or_else(|| Evictor::is_free(world));
                if world.memory.live(0).0 != 0 || !is_free {
                    return false;
                }
            }
            // The same key again at the same place: the entry looks as it did.
            4 => {
                world.memory.add(OLD, UNITS);
                world.written += 1;
            }
            5 => world.slot.store(Entry::new(HASH, OLD)),
            _ => {}
        }
        self.step += 1;
        self.step < 6
    }
}

/// Runs every order of the steps of `readers` and `evictor`. Returns their number.
fn explore(readers: &[Reader], evictor: &Evictor) -> usize {
    let memory = Arc::new(Memory::new(2, 11).unwrap());
    let (mut orders, mut open) = (0, vec![Vec::<usize>::new()]);
    while let Some(order) = open.pop() {
        let (mut world, mut evictor) = (World::new(&memory), evictor.clone());
        let mut readers = readers.to_vec();
        let mut runs = vec![true; readers.len() + 1];
        for thread in order.iter().copied() {
            runs[thread] = match readers.get_mut(thread) {
                Some(reader) => reader.step(&world),
                None => evictor.step(&mut world),
            };
        }
        let next = (0..runs.len()).filter(|thread| runs[*thread]);
        let longer = next.map(|thread| [&order[..], &[thread]].concat());
        let before = open.len();
        open.extend(longer);
        if open.len() == before {
            orders += 1;
            assert!(Evictor::is_free(&world), "a pin is left");
        }
    }
    orders
}

fn reader(shard: usize) -> Reader {
    Reader { shard, ..Reader::default() }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of orders take an hour")]
fn a_pinned_line_is_not_written_in_any_order_of_steps() {
    for moves in [false, true] {
        let evictor = Evictor { moves, ..Evictor::default() };
        let orders = explore(&[reader(0)], &evictor);
        assert!(orders > 100, "{orders} orders");
        let orders = explore(&[reader(0), reader(1)], &evictor);
        assert!(orders > 10_000, "{orders} orders");
    }
}

#[test]
fn orders_of_steps_that_break_the_contract_are_found() {
    let broken = |reader: Reader, evictor: Evictor| {
        let run = std::panic::AssertUnwindSafe(|| explore(&[reader], &evictor));
        std::panic::catch_unwind(run).is_err()
    };
    assert!(broken(Reader { trusts: true, ..reader(0) }, Evictor::default()));
    assert!(broken(reader(0), Evictor { hurries: true, ..Evictor::default() }));
    assert!(!broken(reader(0), Evictor::default()));
}
