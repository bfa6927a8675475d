//! The item store of memcached: one for all workers, any key from any of them.
//!
//! In come keys, and values piece by piece; out go [`Item`]s, handles on immutable bytes that are
//! ready for the wire. Nothing here reads a clock (`now` is an argument of every call that needs
//! one), makes a system call after start-up, or knows of commands and connections.
//!
//! Read in this order: `arena` (memory, and the contract that makes references into it sound),
//! `layout` (an item: 24 bytes, its line, padding to 8), `table` (8 bytes an item), `stripe`
//! (pins), `space` (frames and segments), `piece` (what a stripe has of these to itself), then what
//! is done with them: `fetch`, `change`, `evict`, `row`, `upkeep`. Locks are taken in one order:
//! that of the space, that of a stripe's pieces or that of a chain, that of the table's spare
//! buckets. A get takes none, unless much is pinned.
//!
//! Bounds: `--memory` holds everything. The table is a sixteenth, and grows up to a quarter more
//! where items are small. An item takes 24 bytes and its line, to the next multiple of 8, and 11 to
//! 15 bytes of the table: 60 bytes for a value of one byte with a key of 9. Senders pin a quarter
//! of it (or one item of the largest size for each worker, if that is more), in whole frames of 16
//! to 256 KiB; values that clients are still sending take a quarter (`incoming`). With more than
//! one worker pieces that are not filled yet take a sixty-fourth.
//!
//! Times are unix seconds in 32 bits, so until 2106; `now` must not run backwards by more than a
//! second between workers. An exptime of 0 means never; an item is expired once its exptime ≤
//! `now`.

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
mod memory;
mod number;
mod piece;
mod request;
mod row;
mod settings;
mod space;
mod statistics;
mod stripe;
mod table;
mod upkeep;

pub use condition::{Commit, Delete, Mode, Outcome};
pub use fetch::AHEAD_MAX;
pub use item::{Glance, Item, Meta, Reservation};
pub use request::{Count, Counted, EXPIRED, Fetch, Fetched, KEY_MAX_BYTES, New, Refusal, Visit};
pub use settings::{ITEM_MAX_PART, ITEM_MIN_BYTES, MEMORY_MAX_BYTES, MEMORY_MIN_BYTES, Settings};
pub use statistics::{ClassStatistics, Statistics};

use crate::error::{Error, Result};
use crate::limits::Bytes;
use arena::UNIT_BYTES;
use ghost::Ghost;
use hash::HashKey;
use memory::{Alone, Memory};
use space::Space;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stripe::Stripe;
use table::Table;

/// The hash table begins with one in this many parts of the memory.
const TABLE_PART: usize = 16;
/// Fingerprints of evicted items take one in this many parts of the memory.
const GHOST_PART: usize = 128;
/// Frames that senders may pin: one in so many, and for each worker at least those of the largest
/// item.
const PINNED_PART: usize = 4;

/// The store. See the module for what the calls have in common.
#[derive(Debug)]
pub struct Store {
    memory_bytes: usize,
    item_max_bytes: usize,
    memory: Arc<Memory>,
    table: Table,
    space: Mutex<Space>,
    stripes: Box<[Arc<Stripe>]>,
    hash_key: HashKey,
    /// What was evicted lately.
    ghost: Ghost,
    /// Frames that one stripe may pin.
    pinned_max: u32,
    /// Frames that the incoming values of one stripe may take.
    incoming_max: u32,
    /// Units of a piece of an open segment; 0 if there are none.
    piece_units: u32,
    /// The last cas unique given out.
    cas: Alone<AtomicU64>,
    /// How often flush_all took effect, modulo 256: what was stored before has another number.
    generation: AtomicU8,
    /// When the next flush_all takes effect, `u32::MAX` if none is to.
    flush_at: AtomicU32,
    flushes: AtomicU64,
}

impl Store {
    /// A store that has taken all memory that it will ever take, at most
    /// [`Settings::memory_bytes`].
    pub fn new(settings: &Settings) -> Result<Arc<Store>> {
        settings.check()?;
        let memory_bytes = settings.memory_bytes as usize;
        let stripes = settings.workers.max(1);
        let table_bytes = memory_bytes / TABLE_PART;
        let frame_bytes = settings.frame_bytes();
        let each =
            frame_bytes + Memory::FRAME_BYTES + Space::FRAME_BYTES + stripes * Stripe::FRAME_BYTES;
        let fixed = memory_bytes / GHOST_PART
            + Table::memory_bytes(table_bytes)
            + size_of::<Store>()
            + stripes * size_of::<Stripe>();
        let frames = (memory_bytes - fixed) / each;
        let frame_units = frame_bytes / UNIT_BYTES;
        let memory = Memory::new(frames, frame_units.ilog2()).map_err(|error| {
            Error::because(
                format_args!("--memory {}: allocating it", Bytes(settings.memory_bytes)),
                error,
            )
        })?;
        Ok(Store::of(settings, table_bytes, memory, fixed + frames * each))
    }

    /// The store that consists of a table of `table_bytes` at first and memory for items, which
    /// take `memory_bytes` together.
    fn of(
        settings: &Settings,
        table_bytes: usize,
        memory: Memory,
        memory_bytes: usize,
    ) -> Arc<Store> {
        let (frames, stripes) = (memory.frames(), settings.workers.max(1));
        let frame_units = 1 << memory.frame_shift;
        let frame_bytes = frame_units * UNIT_BYTES;
        let memory = Arc::new(memory);
        Arc::new(Store {
            memory_bytes,
            item_max_bytes: settings.item_max_bytes as usize,
            table: Table::new(table_bytes, Arc::clone(&memory)),
            space: Mutex::new(Space::new(frames as u32, frame_units as u32, stripes)),
            stripes: (0..stripes).map(|_| Arc::new(Stripe::new(Arc::clone(&memory)))).collect(),
            hash_key: HashKey::new(settings.hash_key),
            ghost: Ghost::new(settings.memory_bytes as usize / GHOST_PART),
            pinned_max: (frames / PINNED_PART / stripes)
                .max(1 + settings.item_max_bytes as usize / frame_bytes)
                as u32,
            incoming_max: incoming::stripe_frames(
                frames,
                frame_bytes,
                stripes,
                settings.item_max_bytes as usize,
            ),
            piece_units: piece::units(stripes, frames, frame_units),
            memory,
            cas: Alone::default(),
            generation: AtomicU8::new(0),
            flush_at: AtomicU32::new(u32::MAX),
            flushes: AtomicU64::new(0),
        })
    }

    /// Bytes of memory that it has taken, of all kinds together.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The largest item, its key, value and metadata together: [`Settings::item_max_bytes`].
    pub fn item_max_bytes(&self) -> usize {
        self.item_max_bytes
    }

    /// Whether no panic happened while a lock was held, which may have left half a change. Looks at
    /// every lock.
    pub fn is_sound(&self) -> bool {
        !self.space.is_poisoned()
            && self.table.is_sound()
            && self.stripes.iter().all(|stripe| stripe.is_sound())
    }

    /// Leaves the store as a panic in the midst of a change does.
    #[cfg(test)]
    pub(crate) fn panic_while_locked(&self) {
        let _space = self.space.lock();
        panic!("injected while a lock is held");
    }

    #[inline]
    fn stripe(&self) -> &Arc<Stripe> {
        &self.stripes[self.stripe_number()]
    }

    #[inline]
    fn stripe_number(&self) -> usize {
        stripe::thread_number() % self.stripes.len()
    }

    fn space(&self) -> MutexGuard<'_, Space> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "keep_tests.rs"]
mod keep_tests;
#[cfg(test)]
#[path = "model_tests.rs"]
mod model_tests;
#[cfg(test)]
#[path = "stress_tests.rs"]
mod stress_tests;
#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
