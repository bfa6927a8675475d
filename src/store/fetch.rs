//! Reading: `get` and its kin. A plain fetch takes no lock; one that changes the item takes that of
//! its chain.

use super::arena::{Header, Offset};
use super::layout::{self, FETCHED, Layout, TOKEN_SENT, USES_MAX, USES_SHIFT};
use super::shard::{add, chance};
use super::table::{Entry, Slot};
use super::*;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// The most keys that are fetched ahead at once: what the processor can wait for at a time, and
/// little more.
pub const PREFETCH_MAX: usize = 16;

impl Store {
    /// The item under `key`, if there is one that has not expired, marked as fetched. Senders
    /// should pin no more than a quarter of the memory, each worker its part of that
    /// ([`Store::is_at_pin_limit`]); from half of it on small items come as copies, which are counted
    /// ([`Statistics::pin_copied`]).
    #[inline]
    pub fn get(&self, key: &[u8], now: u32) -> Option<Item> {
        Some(self.pin(self.guard(key, now)?, now))
    }

    /// As [`Store::get`], for callers that copy the bytes at once. Not subject to the pin limit.
    #[inline]
    pub fn guard(&self, key: &[u8], now: u32) -> Option<ItemGuard<'_>> {
        let guard = self.find_alive(key, now)?;
        note_use(guard.header(), now);
        Some(guard)
    }

    /// A handle on an item in place of a glance at it, as [`Store::get`] returns it.
    pub fn pin(&self, guard: ItemGuard<'_>, now: u32) -> Item {
        let (item, first) = guard.pin();
        drop(guard);
        if first { self.copied_near_pin_limit(item, now) } else { item }
    }

    /// Asks the processor for what calls with these keys will read first, at most [`PREFETCH_MAX`] of
    /// them: memory is far, and so they wait for all of it together rather than for each. Returns
    /// how many keys that were.
    pub fn prefetch<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> usize {
        let mut hashes = [0; PREFETCH_MAX];
        let mut count = 0;
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.hash_key.hash(key);
            self.table.prefetch(self.table.chain(*hash));
            count += 1;
        }
        for hash in &hashes[..count] {
            if let Some(at) = self.table.first_candidate(*hash) {
                self.memory.arena.prefetch(at);
            }
        }
        count
    }

    /// The item under `key`, if there is one that has not expired. Nothing changes by that, and
    /// nobody wins anything.
    pub fn peek(&self, key: &[u8], now: u32) -> Option<Item> {
        Some(self.pin(self.find_alive(key, now)?, now))
    }

    /// As [`Store::get`], with all that a meta get may ask.
    pub fn fetch(&self, key: &[u8], how: &Fetch, now: u32) -> Option<Fetched> {
        self.tick(now);
        loop {
            if let Some(found) = self.fetch_found(key, how, now) {
                return Some(found);
            }
            let exptime = how.vivify?;
            let new =
                NewItem { key, flags: 0, exptime, value_bytes: 0, binary_key: how.binary_key };
            let reservation = self.reserve(&new, now).ok()?;
            reservation.header().item_flags.fetch_or(TOKEN_SENT, Relaxed);
            self.shard().pin(reservation.offset());
            let item = Item::pinned(self.shard(), reservation.offset());
            let commit = Commit { mode: Mode::Add, cas: how.vivify_cas, ..Commit::default() };
            if let Outcome::Stored { .. } = self.commit(reservation, &commit, now) {
                let meta = item.meta();
                if !how.peek {
                    note_use(item.header(), now);
                }
                return Some(Fetched { item, meta, created: true, won: true, token_sent: false });
            }
        }
    }

    /// `None` if there is no such item.
    fn fetch_found(&self, key: &[u8], how: &Fetch, now: u32) -> Option<Fetched> {
        let hash = self.hash_key.hash(key);
        let held = self.table.lock(self.table.chain(hash));
        let (_, at) = self.locked(key, hash, now)?;
        let first = self.shard().pin(at);
        let item = Item::pinned(self.shard(), at);
        let (header, meta) = (item.header(), item.meta());
        if let Some(exptime) = how.touch {
            header.exptime.store(exptime, Relaxed);
            self.memory.extend(at, exptime);
        }
        let exptime =
            if how.recache_after_touch { how.touch.unwrap_or(meta.exptime) } else { meta.exptime };
        let soon = |limit| exptime != 0 && exptime.saturating_sub(now) < limit;
        let won = !meta.token_sent && (meta.stale || how.recache_below.is_some_and(soon));
        if won {
            header.item_flags.fetch_or(TOKEN_SENT, Release);
        }
        if !how.peek {
            note_use(header, now);
        }
        // Copying takes space, whose lock comes before that of a chain.
        drop(held);
        let item = if first { self.copied_near_pin_limit(item, now) } else { item };
        Some(Fetched { item, meta, created: false, won, token_sent: meta.token_sent })
    }

    /// Sets the exptime of the item under `key`; whether there is one.
    pub fn touch(&self, key: &[u8], exptime: u32, now: u32) -> bool {
        self.tick(now);
        let hash = self.hash_key.hash(key);
        let _held = self.table.lock(self.table.chain(hash));
        let Some((_, at)) = self.locked(key, hash, now) else { return false };
        let header = self.memory.arena.header(at);
        header.exptime.store(exptime, Relaxed);
        self.memory.extend(at, exptime);
        note_use(header, now);
        true
    }

    #[inline]
    fn find_alive(&self, key: &[u8], now: u32) -> Option<ItemGuard<'_>> {
        self.tick(now);
        self.find(key, self.hash_key.hash(key)).filter(|guard| self.is_alive(guard.header(), now))
    }

    /// The item under `key`, alive or not.
    ///
    /// An entry is read, a pin taken, and the entry read again: if it is still there, the pin came
    /// before whatever may remove it, and who uses a frame anew looks at the pins after that.
    #[inline]
    fn find(&self, key: &[u8], hash: u64) -> Option<ItemGuard<'_>> {
        let (shard, chain) = (self.shard(), self.table.chain(hash));
        'again: loop {
            for slot in self.table.slots(chain) {
                let entry = slot.load();
                if !entry.may_be(hash) {
                    continue;
                }
                self.memory.arena.prefetch(entry.offset());
                let guard = ItemGuard::at(shard, entry.offset());
                if !slot.confirm(entry) {
                    continue 'again;
                }
                if layout::key(&self.memory.arena, guard.offset()) == key {
                    return Some(guard);
                }
            }
            return None;
        }
    }

    /// The slot and place of the item under `key`, if it is alive; the chain's lock is held. One
    /// that is not is removed.
    pub(super) fn locked(&self, key: &[u8], hash: u64, now: u32) -> Option<(&Slot, Offset)> {
        let arena = &self.memory.arena;
        let is_it = |slot: &&Slot| {
            let entry = slot.load();
            entry.may_be(hash) && layout::key(arena, entry.offset()) == key
        };
        let slot = self.table.slots(self.table.chain(hash)).find(is_it)?;
        let at = slot.load().offset();
        if self.is_alive(arena.header(at), now) {
            return Some((slot, at));
        }
        self.expire(slot, at);
        self.table.shrink(self.table.chain(hash));
        None
    }

    /// Whether an item has neither expired nor been flushed.
    #[inline]
    pub(super) fn is_alive(&self, header: &Header, now: u32) -> bool {
        let exptime = header.exptime.load(Relaxed);
        (exptime == 0 || exptime > now)
            && header.generation.load(Relaxed) == self.generation.load(Acquire)
    }

    /// Removes a dead item from the table; the chain's lock is held.
    pub(super) fn expire(&self, slot: &Slot, at: Offset) {
        let stats = &self.shard().stats;
        add(&stats.reclaimed, 1);
        if self.memory.arena.header(at).item_flags.load(Relaxed) & FETCHED == 0 {
            add(&stats.expired_unfetched, 1);
        }
        slot.store(Entry::NONE);
        self.forget(at);
    }

    /// Counts out an item whose entry was just removed or replaced.
    pub(super) fn forget(&self, at: Offset) {
        let header = self.memory.arena.header(at);
        let layout = Layout::read(header);
        header.item_flags.fetch_and(!layout::LINKED, Release);
        let stats = &self.shard().stats;
        add(&stats.items, u64::MAX);
        add(&stats.bytes, (layout.total_bytes() as u64).wrapping_neg());
        self.memory.subtract(at, layout.units());
    }

    /// The item itself, or a copy if this stripe pins much.
    fn copied_near_pin_limit(&self, item: Item, now: u32) -> Item {
        if self.is_near_pin_limit() { self.copied(&item, now).unwrap_or(item) } else { item }
    }

    /// Whether the pins of this thread's stripe take more than half of what they may.
    #[inline]
    pub fn is_near_pin_limit(&self) -> bool {
        self.shard().pinned() > self.pinned_max / 2
    }

    /// Whether the pins of this thread's stripe take all that they may. Then the caller should hold
    /// no more items, but copy or wait: no call here refuses one. A client that holds none yet has
    /// half as much again.
    #[inline]
    pub fn is_at_pin_limit(&self, holds_some: bool) -> bool {
        let pinned = self.shard().pinned();
        pinned > self.pinned_max && (holds_some || pinned > self.pinned_max + self.pinned_max / 2)
    }

    /// Bytes of [`Item::line`] of the item under `key`, as [`Store::peek`] would find it.
    pub fn line_bytes(&self, key: &[u8], now: u32) -> Option<usize> {
        self.find_alive(key, now).map(|guard| guard.line().len())
    }

    /// A copy of an item that is small against a frame: it lies beside the latest items, so that
    /// many such pin few frames. The table does not name it; its memory is used anew once it is
    /// dropped.
    fn copied(&self, item: &Item, now: u32) -> Option<Item> {
        let (layout, header) = (item.layout(), item.header());
        if layout.units() >> (self.memory.frame_shift - 2) != 0 {
            return None;
        }
        let at = self.take(layout, header.exptime.load(Relaxed), now)?;
        let arena = &self.memory.arena;
        layout::copy(arena, item.offset(), at);
        let shard = self.shard();
        shard.pin(at);
        self.memory.subtract(at, layout.units());
        add(&shard.stats.pin_copied, 1);
        Some(Item::pinned(shard, at))
    }
}

/// Marks an item as fetched, and counts the use: each of the first two, then fewer and fewer.
#[inline]
pub(super) fn note_use(header: &Header, now: u32) {
    if header.last_access.load(Relaxed) != now {
        header.last_access.store(now, Relaxed);
    }
    let item_flags = header.item_flags.load(Relaxed);
    let uses = item_flags >> USES_SHIFT;
    if (uses < USES_MAX && chance(uses)) || item_flags & FETCHED == 0 {
        let more = item_flags | FETCHED;
        let more = if uses < USES_MAX { more + (1 << USES_SHIFT) } else { more };
        // Another thread changed them meanwhile: then that use stands for both.
        let _ = header.item_flags.compare_exchange(item_flags, more, AcqRel, Relaxed);
    }
}
