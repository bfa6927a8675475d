//! Fetches: `get` and its variants. A plain fetch takes no lock. A fetch that changes the item
//! takes the lock of its chain.

use super::arena::{Header, Offset};
use super::layout::{self, FETCHED, Layout, TOKEN_SENT, USES_MAX, USES_SHIFT};
use super::shard::{add, chance};
use super::table::{Chain, ChainGuard, Chains, Entry, SLOTS, Slot};
use super::*;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// Limit of the keys of one prefetch: slightly more than the cache misses that a processor
/// overlaps.
pub const PREFETCH_MAX: usize = 16;

/// The hash of a key in one store, and the chain that it had in the table.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hash {
    hash: u64,
    chain: Chain,
    /// The slot of the first bucket where the prefetch of the item found a candidate; [`SLOTS`] if
    /// it found none, or if there was no prefetch.
    slot: u8,
}

/// Hashes the keys of a batch. What that reads of the store, it reads once.
#[derive(Clone, Copy, Debug)]
pub struct Hasher<'a> {
    table: &'a Table,
    chains: Chains,
    key: HashKey,
}

impl Hasher<'_> {
    /// As [`Store::hash`].
    #[inline(always)]
    pub fn hash(&self, key: &[u8]) -> Hash {
        let hash = self.key.hash(key);
        let chain = self.chains.of(hash);
        self.table.prefetch(chain);
        Hash { hash, chain, slot: SLOTS as u8 }
    }
}

impl Store {
    /// Fetches the live item under `key` and marks it as fetched.
    ///
    /// Callers should pin at most a quarter of the memory, each worker its share
    /// ([`Store::is_at_pin_limit`]). Above half of the limit, small items are returned as copies
    /// ([`Statistics::pin_copied`]).
    #[inline]
    pub fn get(&self, key: &[u8], now: u32) -> Option<Item> {
        Some(self.pin(self.guard(key, now)?, now))
    }

    /// As [`Store::get`], for callers that copy the bytes at once. Not subject to the pin limit.
    #[inline(always)]
    pub fn guard(&self, key: &[u8], now: u32) -> Option<ItemGuard<'_>> {
        self.guard_hashed(key, self.hash_of(key), now)
    }

    /// As [`Store::guard_hashed`], with a hash from [`Store::hasher`], which has applied a pending
    /// flush_all.
    #[inline(always)]
    pub fn guard_of_batch(&self, key: &[u8], hash: Hash, now: u32) -> Option<ItemGuard<'_>> {
        let guard = self.find(key, hash)?;
        let last_access = self.last_access_if_alive(guard.header(), now)?;
        note_use_after(guard.shard(), guard.header(), last_access, now);
        Some(guard)
    }

    /// As [`Store::guard`], with the hash of the key from [`Store::hash`].
    #[inline(always)]
    pub fn guard_hashed(&self, key: &[u8], hash: Hash, now: u32) -> Option<ItemGuard<'_>> {
        self.tick(now);
        self.guard_of_batch(key, hash, now)
    }

    /// A plain fetch with metadata as before it, for callers that copy the bytes at once. `None` if
    /// [`Item::line`] has more than `max_bytes`, or if the item is stale or a client has won the
    /// right to recache it: then nothing was changed.
    #[inline]
    pub fn guard_fresh(
        &self,
        key: &[u8],
        max_bytes: usize,
        now: u32,
    ) -> Option<(ItemGuard<'_>, Meta)> {
        let guard = self.find_alive(key, self.hash_of(key), now)?;
        let meta = guard.meta();
        if guard.line().len() > max_bytes || meta.stale || meta.token_sent {
            return None;
        }
        note_use(guard.shard(), guard.header(), now);
        Some((guard, meta))
    }

    /// Converts a guard to a handle, as [`Store::get`] returns it.
    pub fn pin(&self, guard: ItemGuard<'_>, now: u32) -> Item {
        let (item, first) = guard.pin();
        drop(guard);
        if first { self.copied_near_pin_limit(item, now) } else { item }
    }

    /// Prefetches the memory that calls with these keys read first, so that their cache misses
    /// overlap. Takes up to [`PREFETCH_MAX`] keys; returns their number.
    pub fn prefetch<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> usize {
        let mut hashes = [Hash::default(); PREFETCH_MAX];
        let mut count = 0;
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.hash(key);
            count += 1;
        }
        self.prefetch_hashed(hashes[..count].iter_mut());
        count
    }

    /// The hash of a key, and a prefetch of the memory that a call with the key reads first.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> Hash {
        let hash = self.hash_of(key);
        self.table.prefetch(hash.chain);
        hash
    }

    /// Hashes keys as [`Store::hash`] does, for [`Store::guard_of_batch`]. Applies a pending
    /// flush_all. Use it for a few keys at once: a split of their chain costs another look.
    #[inline(always)]
    pub fn hasher(&self, now: u32) -> Hasher<'_> {
        self.tick(now);
        Hasher { table: &self.table, chains: self.table.chains(), key: self.hash_key }
    }

    #[inline]
    fn hash_of(&self, key: &[u8]) -> Hash {
        let hash = self.hash_key.hash(key);
        Hash { hash, chain: self.table.chain_of(hash), slot: SLOTS as u8 }
    }

    /// Prefetches items by the hashes of their keys. A fetch with the same hash then begins with
    /// the entry found here.
    #[inline]
    pub fn prefetch_hashed<'h>(&self, hashes: impl Iterator<Item = &'h mut Hash>) {
        for Hash { hash, chain, slot } in hashes {
            if let Some((at, entry)) = self.table.first_candidate(*chain, *hash) {
                *slot = at as u8;
                self.memory.arena.prefetch(entry.offset());
            }
        }
    }

    /// The live item under `key`. Changes no metadata and no recache token.
    pub fn peek(&self, key: &[u8], now: u32) -> Option<Item> {
        Some(self.pin(self.find_alive(key, self.hash_of(key), now)?, now))
    }

    /// Fetches as a meta get does, with all its flags.
    pub fn fetch(&self, key: &[u8], how: &Fetch, now: u32) -> Option<Fetched> {
        if how.touch.is_none()
            && how.recache_below.is_none()
            && how.vivify.is_none()
            && let Some(found) = self.fetch_fresh(key, how.peek, now)
        {
            return found;
        }
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
            let (item, _) = Item::pin(self.shard(), reservation.offset(), &reservation);
            let commit = Commit { mode: Mode::Add, cas: how.vivify_cas, ..Commit::default() };
            if let Outcome::Stored { .. } = self.commit(reservation, &commit, now) {
                let meta = item.meta();
                if !how.peek {
                    note_use(self.shard(), item.header(), now);
                }
                return Some(Fetched { item, meta, created: true, won: true, token_sent: false });
            }
        }
    }

    /// Fetches an item without a lock; `None` if it is stale: then a client may win the right to
    /// recache it.
    #[inline]
    fn fetch_fresh(&self, key: &[u8], peek: bool, now: u32) -> Option<Option<Fetched>> {
        let Some(guard) = self.find_alive(key, self.hash_of(key), now) else {
            return Some(None);
        };
        let (item, first) = guard.pin();
        drop(guard);
        let meta = item.meta();
        if meta.stale {
            return None;
        }
        if !peek {
            note_use(self.shard(), item.header(), now);
        }
        let item = if first { self.copied_near_pin_limit(item, now) } else { item };
        let token_sent = meta.token_sent;
        Some(Some(Fetched { item, meta, created: false, won: false, token_sent }))
    }

    /// Fetches an item that exists; `None` if there is none.
    fn fetch_found(&self, key: &[u8], how: &Fetch, now: u32) -> Option<Fetched> {
        let hash = self.hash_key.hash(key);
        let held = self.table.lock(hash);
        let (_, at) = self.locked(&held, key, hash, now)?;
        let (item, first) = Item::pin(self.shard(), at, &held);
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
            note_use(self.shard(), header, now);
        }
        // Copying takes the lock of the space, which comes before the lock of a chain.
        drop(held);
        let item = if first { self.copied_near_pin_limit(item, now) } else { item };
        Some(Fetched { item, meta, created: false, won, token_sent: meta.token_sent })
    }

    /// Sets the exptime of the item under `key`. Returns whether there is one.
    pub fn touch(&self, key: &[u8], exptime: u32, now: u32) -> bool {
        self.tick(now);
        let hash = self.hash_key.hash(key);
        let held = self.table.lock(hash);
        let Some((_, at)) = self.locked(&held, key, hash, now) else { return false };
        let header = self.memory.arena.header(at, &held);
        header.exptime.store(exptime, Relaxed);
        self.memory.extend(at, exptime);
        note_use(self.shard(), header, now);
        true
    }

    #[inline(always)]
    fn find_alive(&self, key: &[u8], hash: Hash, now: u32) -> Option<ItemGuard<'_>> {
        self.tick(now);
        let guard = self.find(key, hash)?;
        self.is_alive(guard.header(), now).then_some(guard)
    }

    /// The item under `key`, live or dead.
    ///
    /// Reads an entry, takes a pin, and reads the entry again. If it is unchanged, the pin precedes
    /// its removal, and the thread that reuses the frame sees the pin.
    #[inline(always)]
    fn find(&self, key: &[u8], hash: Hash) -> Option<ItemGuard<'_>> {
        let (shard, memory) = (self.shard(), &*self.memory);
        let first = self.table.first_of(hash.chain);
        // The entry that a prefetch found, if it is still there.
        if let Some((slot, entry)) = first.candidate_at(hash.slot.into(), hash.hash)
            && let Some(guard) = ItemGuard::of(shard, memory, slot, entry)
            && guard.is_key(key)
        {
            return Some(guard);
        }
        self.find_in_chain(shard, key, hash)
    }

    #[inline(always)]
    fn find_in_chain<'a>(
        &'a self,
        shard: &'a Arc<Shard>,
        key: &[u8],
        Hash { hash, chain, .. }: Hash,
    ) -> Option<ItemGuard<'a>> {
        let memory = &*self.memory;
        let mut first = self.table.first_of(chain);
        let mut bucket = first;
        'buckets: loop {
            let mut candidate = bucket.candidate(0, hash);
            while let Some((at, entry)) = candidate {
                memory.arena.prefetch(entry.offset());
                let slot = &bucket.slots()[at];
                let Some(guard) = ItemGuard::of(shard, memory, slot, entry) else {
                    first = self.table.first(hash);
                    bucket = first;
                    continue 'buckets;
                };
                if guard.is_key(key) {
                    return Some(guard);
                }
                candidate = bucket.candidate(at + 1, hash);
            }
            bucket = match self.table.next(bucket) {
                Some(next) => next,
                // A split may have moved the entry to a new chain.
                None if std::ptr::eq(self.table.first(hash), first) => return None,
                None => {
                    first = self.table.first(hash);
                    first
                }
            };
        }
    }

    /// The slot and offset of the item under `key`. Removes the item if it is dead. The caller
    /// holds the lock of the chain.
    #[inline]
    pub(super) fn locked(
        &self,
        held: &ChainGuard<'_>,
        key: &[u8],
        hash: u64,
        now: u32,
    ) -> Option<(&Slot, Offset)> {
        let arena = &self.memory.arena;
        let mut bucket = self.table.first(hash);
        let mut candidate = bucket.candidate(0, hash);
        let (slot, at) = loop {
            match candidate {
                Some((at, entry)) if layout::is_key(arena.place(entry.offset()), key, held) => {
                    break (&bucket.slots()[at], entry.offset());
                }
                Some((at, _)) => candidate = bucket.candidate(at + 1, hash),
                None => {
                    bucket = self.table.next(bucket)?;
                    candidate = bucket.candidate(0, hash);
                }
            }
        };
        if self.is_alive(arena.header(at, held), now) {
            return Some((slot, at));
        }
        self.expire(held, slot, at);
        self.table.shrink(hash);
        None
    }

    /// Whether an item is neither expired nor flushed. The generation tells the last 256 flushes
    /// apart, and the floor those before.
    #[inline]
    pub(super) fn is_alive(&self, header: &Header, now: u32) -> bool {
        self.last_access_if_alive(header, now).is_some()
    }

    /// The time of the last access to an item; `None` if the item is dead.
    #[inline(always)]
    fn last_access_if_alive(&self, header: &Header, now: u32) -> Option<u32> {
        let exptime = header.exptime.load(Relaxed);
        let last_access = header.last_access.load(Relaxed);
        let is_alive = (exptime == 0 || exptime > now)
            && header.generation.load(Relaxed) == self.generation.load(Acquire)
            && last_access >= self.floor.load(Acquire);
        is_alive.then_some(last_access)
    }

    /// Removes a dead item from the table.
    pub(super) fn expire(&self, held: &ChainGuard<'_>, slot: &Slot, at: Offset) {
        let stats = self.class_stats(at);
        add(&stats.reclaimed, 1);
        if self.memory.arena.header(at, held).item_flags.load(Relaxed) & FETCHED == 0 {
            add(&stats.expired_unfetched, 1);
        }
        slot.store(Entry::NONE);
        self.forget(held, at);
    }

    /// Subtracts an item whose entry was removed or replaced from the counters.
    #[inline]
    pub(super) fn forget(&self, held: &ChainGuard<'_>, at: Offset) {
        let header = self.memory.arena.header(at, held);
        let layout = Layout::read(header);
        header.item_flags.fetch_and(!layout::LINKED, Release);
        let stats = &self.shard().stats;
        add(&stats.items, u64::MAX);
        add(&stats.bytes, (layout.total_bytes() as u64).wrapping_neg());
        self.memory.subtract(at, layout.units());
    }

    /// The item, or a copy near the pin limit.
    fn copied_near_pin_limit(&self, item: Item, now: u32) -> Item {
        if self.is_near_pin_limit() { self.copied(&item, now).unwrap_or(item) } else { item }
    }

    /// Whether this thread's shard pins more than half of its limit.
    #[inline]
    pub fn is_near_pin_limit(&self) -> bool {
        self.shard().pinned() > self.pinned_max / 2
    }

    /// Whether this thread's shard has reached its pin limit. The caller should then copy or wait;
    /// no call of the store enforces the limit. The limit is 1.5 times as high for a client without
    /// a pinned item (`holds_some` false).
    #[inline]
    pub fn is_at_pin_limit(&self, holds_some: bool) -> bool {
        let pinned = self.shard().pinned();
        pinned > self.pinned_max && (holds_some || pinned > self.pinned_max + self.pinned_max / 2)
    }

    /// Length of [`Item::line`] of the item under `key`, as [`Store::peek`] finds it.
    pub fn line_bytes(&self, key: &[u8], now: u32) -> Option<usize> {
        self.find_alive(key, self.hash_of(key), now).map(|guard| guard.line().len())
    }

    /// A copy of an item of up to a quarter of a frame, next to the newest items, so that many
    /// copies pin few frames. No entry refers to it. Its memory is reused after the last handle is
    /// dropped.
    fn copied(&self, item: &Item, now: u32) -> Option<Item> {
        let (layout, header) = (item.layout(), item.header());
        if layout.units() >> (self.memory.frame_shift - 2) != 0 {
            return None;
        }
        let mut copy = self.take(layout, header.exptime.load(Relaxed), now)?;
        copy.copy(item.offset(), item);
        add(&self.shard().stats.pin_copied, 1);
        Some(Item::pin(self.shard(), copy.offset(), &copy).0)
    }
}

/// Marks an item as fetched and, unless this is its first fetch, increments its use count, with a
/// probability that halves with each use.
///
/// The first fetch does not count: clients often read back what they have just stored. As in
/// S3-FIFO, what is fetched once and never again leaves with the young.
#[inline(always)]
fn note_use(shard: &Shard, header: &Header, now: u32) {
    note_use_after(shard, header, header.last_access.load(Relaxed), now);
}

/// As [`note_use`], if the time of the last access is known.
#[inline(always)]
fn note_use_after(shard: &Shard, header: &Header, last_access: u32, now: u32) {
    // Never earlier: it may be above a worker's clock, so that the item is alive.
    if last_access < now {
        header.last_access.store(now, Relaxed);
    }
    let item_flags = header.item_flags.load(Relaxed);
    let uses = item_flags >> USES_SHIFT;
    if chance(uses) || item_flags & FETCHED == 0 {
        let more = item_flags | FETCHED;
        let counts = item_flags & FETCHED != 0 && uses < USES_MAX;
        let more = if counts { more + (1 << USES_SHIFT) } else { more };
        // If another thread changed the flags, its use counts for both.
        let _ = header.item_flags.compare_exchange(item_flags, more, AcqRel, Relaxed);
        // One in 2^uses hits comes here.
        add(&shard.stats.hits, 1 << uses);
    }
}
