//! The item store of memcached. All workers share one store, and each worker can access any key.
//!
//! A caller passes keys and values, whole or in parts, and receives [`Item`]s: handles on immutable
//! bytes in wire format. The store reads no clock: every call that needs the time takes `now`. It
//! makes no system call after start-up, and knows nothing of commands and connections.
//!
//! Read the modules in this order:
//!
//! - `arena`: the memory, and the contract that makes references into it sound;
//! - `layout`: one item, that is, 24 bytes of header, its line, and padding to 8 bytes;
//! - `table`: the hash table, which grows with the items;
//! - `shard`: pins and counters of one worker;
//! - `space`: frames and segments;
//! - `tlab`: thread-local allocation buffers;
//! - `fetch`, `change`, `evict`, `ahead`, `stale`, `run`, `maintenance`: the operations.
//!
//! A thread takes locks in this order: first the lock of the space; then the lock of the TLABs of a
//! shard, or of a hash chain; then the lock of the spare buckets. A get takes no lock, except near
//! the pin limit.
//!
//! Memory: `--memory` bounds the sum of all parts. The hash table grows with the number of items,
//! from 1/250 to a quarter of the memory. An item takes 24 bytes plus its line, rounded up to a
//! multiple of 8, and 13 to 18 bytes of the table. A one-byte value with a key of 9 bytes takes 66
//! bytes. Connections that send may pin a quarter of the memory, or one item of the largest size
//! for each worker if that is more, in frames of 16 to 256 KiB. Values that clients are still
//! sending take up to a quarter (`incoming`). With more than one worker, TLABs take up to a
//! sixty-fourth.
//!
//! Times are Unix seconds in 32 bits, valid until 2106. `now` may differ between workers by up to
//! one second. An exptime of 0 means never. An item has expired if its exptime ≤ `now`.

mod ahead;
#[expect(unsafe_code, reason = "the arena makes references into memory that it maps")]
mod arena;
mod change;
mod condition;
mod evict;
mod fetch;
mod ghost;
mod hash;
mod incoming;
mod item;
mod layout;
mod maintenance;
mod memory;
pub(crate) mod number;
mod request;
mod run;
mod settings;
mod shard;
mod space;
mod stale;
mod statistics;
mod table;
mod tlab;

pub use condition::{Commit, Delete, Mode, Outcome};
pub use fetch::{Hash, Hasher, PREFETCH_MAX};
pub use item::{Item, ItemGuard, Meta, Reservation};
pub use request::{
    Count, Counted, EXPIRED, Fetch, Fetched, Full, KEY_MAX_BYTES, NewItem, ReserveError, Visit,
};
pub use settings::{ITEM_MAX_PART, ITEM_MIN_BYTES, MEMORY_MAX_BYTES, MEMORY_MIN_BYTES, Settings};
pub use statistics::{ClassStatistics, Statistics};

use crate::error::{Error, Result};
use crate::limits::Bytes;
use crate::work;
use arena::UNIT_BYTES;
use ghost::Ghost;
use hash::HashKey;
use memory::{CachePadded, Memory};
use shard::Shard;
use space::Space;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use table::Table;

/// To evict or move an item costs about as much as to copy this: its chain and its header are far
/// away in memory.
const ITEM_WORK_BYTES: usize = 1024;
/// Divisor: fingerprints of evicted items take this part of the memory.
const GHOST_PART: usize = 128;
/// Divisor: all workers together may pin this part of the frames. Each worker may pin at least the
/// frames of one item of the largest size.
const PINNED_PART: usize = 4;

/// The item store. The module documentation describes what all calls have in common.
#[derive(Debug)]
pub struct Store {
    memory_bytes: usize,
    item_max_bytes: usize,
    memory: Arc<Memory>,
    table: Table,
    space: Mutex<Space>,
    shards: Box<[Arc<Shard>]>,
    hash_key: HashKey,
    /// Fingerprints of recently evicted items.
    ghost: Ghost,
    /// Limit of the frames that one shard pins.
    pinned_max: u32,
    /// Limit of the frames that incoming values of one shard take.
    incoming_max: u32,
    /// Units of a TLAB; 0 if the store has no TLABs.
    tlab_units: u32,
    /// The last cas unique that was assigned.
    cas: CachePadded<AtomicU64>,
    /// Number of flush_all calls that took effect, modulo 256. An item of another generation is
    /// dead.
    generation: AtomicU8,
    /// Unix seconds, up to a second after the last flush_all, or more if there were many. An item
    /// with an earlier access is dead.
    floor: AtomicU32,
    /// When the next flush_all takes effect; `u32::MAX` if none is pending.
    flush_at: AtomicU32,
    flushes: AtomicU64,
    /// Whether free frames are missing: each allocation then evicts ahead.
    is_short: AtomicBool,
}

impl Store {
    /// Allocates all memory that the store will use, at most [`Settings::memory_bytes`].
    pub fn new(settings: &Settings) -> Result<Arc<Store>> {
        settings.check()?;
        let memory_bytes = settings.memory_bytes as usize;
        let shards = settings.workers.max(1);
        let frame_bytes = settings.frame_bytes();
        let each =
            frame_bytes + Memory::FRAME_BYTES + Space::FRAME_BYTES + shards * Shard::FRAME_BYTES;
        let fixed = memory_bytes / GHOST_PART
            + Table::memory_bytes(frame_bytes * Table::first_frames(memory_bytes / frame_bytes))
            + size_of::<Store>()
            + shards * size_of::<Shard>();
        let frames = (memory_bytes - fixed) / each;
        let frame_units = frame_bytes / UNIT_BYTES;
        let memory = Memory::new(frames, frame_units.ilog2()).map_err(|error| {
            Error::because(
                format_args!("--memory {}: allocating it", Bytes(settings.memory_bytes)),
                error,
            )
        })?;
        Ok(Store::of(settings, memory, fixed + frames * each))
    }

    /// Builds a store in `memory`, which has never been used. `memory_bytes` is the sum of all
    /// parts.
    fn of(settings: &Settings, memory: Memory, memory_bytes: usize) -> Arc<Store> {
        let (frames, shards) = (memory.frames(), settings.workers.max(1));
        let frame_units = 1 << memory.frame_shift;
        let frame_bytes = frame_units * UNIT_BYTES;
        let memory = Arc::new(memory);
        let mut space = Space::new(frames as u32, frame_units as u32, shards);
        let table = Store::first_table(&mut space, &memory);
        Arc::new(Store {
            memory_bytes,
            item_max_bytes: settings.item_max_bytes as usize,
            table,
            space: Mutex::new(space),
            shards: (0..shards).map(|_| Arc::new(Shard::new(Arc::clone(&memory)))).collect(),
            hash_key: HashKey::new(settings.hash_key),
            ghost: Ghost::new(settings.memory_bytes as usize / GHOST_PART),
            pinned_max: (frames / PINNED_PART / shards)
                .max(1 + settings.item_max_bytes as usize / frame_bytes)
                as u32,
            incoming_max: incoming::shard_frames(
                frames,
                frame_bytes,
                shards,
                settings.item_max_bytes as usize,
            ),
            tlab_units: tlab::units(shards, frames, frame_units),
            memory,
            cas: CachePadded::default(),
            generation: AtomicU8::new(0),
            floor: AtomicU32::new(0),
            flush_at: AtomicU32::new(u32::MAX),
            flushes: AtomicU64::new(0),
            is_short: AtomicBool::new(false),
        })
    }

    /// A table in the first frames, with spare buckets in another one.
    fn first_table(space: &mut Space, memory: &Arc<Memory>) -> Table {
        let first = 0..Table::first_frames(memory.frames()) as u32;
        let frames: Vec<_> = first.filter_map(|frame| space.frame_for_table_at(frame)).collect();
        let table = Table::new(&frames, Arc::clone(memory));
        space.spare_frame_for_table().iter().for_each(|frame| table.grow(frame));
        table
    }

    /// Bytes of memory allocated, of all kinds together.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The largest item, its key, value and metadata together: [`Settings::item_max_bytes`].
    pub fn item_max_bytes(&self) -> usize {
        self.item_max_bytes
    }

    /// Whether every lock is free of poison. A panic while a lock was held may have left a change
    /// incomplete.
    pub fn is_sound(&self) -> bool {
        !self.space.is_poisoned()
            && self.table.is_sound()
            && self.shards.iter().all(|shard| shard.is_sound())
    }

    /// Panics with a lock held, as a panic in the middle of a change does.
    #[cfg(test)]
    pub(crate) fn panic_while_locked(&self) {
        let _space = self.space.lock();
        panic!("injected while a lock is held");
    }

    #[inline]
    fn shard(&self) -> &Arc<Shard> {
        self.shards.get(shard::number()).unwrap_or_else(|| self.shard_shared())
    }

    /// The shard of a thread that has no number yet, or shares its shard with another.
    #[cold]
    fn shard_shared(&self) -> &Arc<Shard> {
        &self.shards[self.shard_index()]
    }

    #[inline]
    fn shard_index(&self) -> usize {
        shard::thread_number(self.shards.len())
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "class_tests.rs"]
mod class_tests;
#[cfg(test)]
#[path = "interleaving_tests.rs"]
mod interleaving_tests;
#[cfg(test)]
#[path = "keep_tests.rs"]
mod keep_tests;
#[cfg(test)]
#[path = "model_tests.rs"]
mod model_tests;
#[cfg(test)]
#[path = "policy_tests.rs"]
mod policy_tests;
#[cfg(test)]
#[path = "simulation_tests.rs"]
mod simulation_tests;
#[cfg(test)]
#[path = "split_tests.rs"]
mod split_tests;
#[cfg(test)]
#[path = "stress_tests.rs"]
mod stress_tests;
#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
