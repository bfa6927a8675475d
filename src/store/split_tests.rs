//! A get finds an item that is in the table throughout, whatever is split meanwhile: all
//! interleavings of the steps, and threads.

use super::table::{Entry, Slot};
use super::tests::{NOW, assert_nothing_leaks, set, store};
use super::*;
use std::sync::atomic::Ordering::SeqCst;

const HASH: u64 = 7;

/// The slots of the item in the old chain and in the new one, and whether the new one counts.
#[derive(Default)]
struct World {
    slots: [Slot; 2],
    is_split: bool,
}

/// A split, as in `Table::split_next`; then an eviction, under the same lock.
fn split(world: &mut World, step: usize, hurries: bool) {
    match (step, hurries) {
        (0, _) => world.slots[1].store(Entry::new(HASH, 1)),
        (1, false) | (2, true) => world.is_split = true,
        (1, true) | (2, false) => world.slots[0].store(Entry::NONE),
        _ => unreachable!("three steps"),
    }
}

/// A reader, as in `Store::find`.
#[derive(Clone, Copy, Debug, Default)]
struct Reader {
    step: usize,
    chain: usize,
    /// What the reader returned.
    found: Option<bool>,
    /// Does not look at the number of chains again.
    trusts: bool,
}

impl Reader {
    fn step(&mut self, world: &World) {
        let entry = Entry::new(HASH, 1);
        match self.step % 4 {
            0 => self.chain = usize::from(world.is_split),
            1 if world.slots[self.chain].load() != entry => self.step += 1,
            1 => {}
            // Behind the pin.
            2 => {
                self.found = world.slots[self.chain].confirm(entry).then_some(true);
                self.step += 1;
            }
            // At the end of the chain.
            _ => {
                let is_same = self.chain == usize::from(world.is_split);
                self.found = (is_same || self.trusts).then_some(false);
            }
        }
        self.step += 1;
    }
}

/// Whether each order of the steps of a split and a reader has the reader find the item.
fn is_found(reader: Reader, hurries: bool) -> bool {
    // The number of steps of the reader before each step of the split.
    let orders = (0..1000).map(|order| [order / 100, order / 10 % 10, order % 10]);
    orders.clone().all(|order| {
        let (mut world, mut reader) = (World::default(), reader);
        world.slots[0].store(Entry::new(HASH, 1));
        let run = |reader: &mut Reader, world: &World, steps: usize| {
            for _ in 0..steps {
                if reader.found.is_none() {
                    reader.step(world);
                }
            }
        };
        for (step, before) in order.into_iter().enumerate() {
            run(&mut reader, &world, before);
            split(&mut world, step, hurries);
        }
        run(&mut reader, &world, 10);
        reader.found == Some(true)
    })
}

#[test]
fn a_reader_finds_an_item_in_any_order_of_steps() {
    assert!(is_found(Reader::default(), false));
    // Orders that break the protocol are found.
    assert!(!is_found(Reader { trusts: true, ..Reader::default() }, false));
    assert!(!is_found(Reader::default(), true));
}

/// The table grows to ten times its size. Nothing is evicted, so each get must hit.
#[test]
fn gets_hit_while_the_table_grows() {
    let (store, count) = (store(16 << 20, 1 << 20), if cfg!(miri) { 60 } else { 60_000 });
    let slots = store.statistics().hash_places;
    let name = |n: u64| format!("key{n:06}");
    let (stored, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (store, stored, is_over, name) = (&store, &stored, &is_over, &name);
            scope.spawn(move || {
                let mut n = reader;
                while !is_over.load(SeqCst) {
                    let all = stored.load(SeqCst);
                    n = if n + 1 < all { n + 1 } else { 0 };
                    assert!(
                        all == 0 || store.get(name(n).as_bytes(), NOW).is_some(),
                        "{n} of {all}"
                    );
                }
            });
        }
        for n in 0..count {
            set(&store, name(n).as_bytes(), b"v");
            stored.store(n + 1, SeqCst);
        }
        is_over.store(true, SeqCst);
    });
    let statistics = store.statistics();
    assert_eq!((statistics.curr_items, statistics.evictions), (count, 0));
    assert!(cfg!(miri) || statistics.hash_places > 4 * slots, "{statistics:?} {slots}");
    let (mut cursor, mut shown) = (Some(0), 0);
    while let Some(from) = cursor {
        cursor = store.dump(from, 100, NOW, &mut |_| shown += 1);
    }
    assert_eq!(shown, count);
    assert_nothing_leaks(&store, NOW);
}
