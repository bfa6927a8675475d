//! Storing, counting, deleting. A call first allocates space without a lock of the table and writes
//! the value without any lock. Then it changes the entry in a few instructions under the lock of
//! its chain.

use super::arena::{MayRead, Offset};
use super::condition::{Verdict, verdict};
use super::ghost::Evicted;
use super::layout::{BINARY_KEY, FETCHED, LINKED, Layout, STALE, TOKEN_SENT, USES_SHIFT};
use super::number::{apply, parse};
use super::shard::{ClassStats, add};
use super::space::{Queue, Space};
use super::table::{ChainGuard, Entry, Slot};
use super::*;
use crate::digits::Digits;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

impl Store {
    /// Reserves space for a complete value, evicting items if need be. [`Store::reserve_incoming`]
    /// does so for a value that a client is still sending.
    pub fn reserve(&self, new: &NewItem<'_>, now: u32) -> Result<Reservation, ReserveError> {
        self.tick(now);
        let layout = self.checked_layout(new)?;
        let mut reservation =
            self.take(layout, new.exptime, now).ok_or(ReserveError::OutOfMemory)?;
        reservation.render(layout, new);
        Ok(reservation)
    }

    /// The layout of a new item; an error if it is too large.
    #[inline]
    pub(super) fn checked_layout(&self, new: &NewItem<'_>) -> Result<Layout, ReserveError> {
        assert!((1..=KEY_MAX_BYTES).contains(&new.key.len()), "a key of {} bytes", new.key.len());
        let layout = Layout::of(new);
        if new.value_bytes > self.item_max_bytes || layout.total_bytes() > self.item_max_bytes {
            return Err(ReserveError::TooLarge);
        }
        Ok(layout)
    }

    /// Allocates space for an item. Its header holds its layout, without the flag `LINKED`, and it
    /// counts as live.
    #[inline(always)]
    pub(super) fn take(&self, layout: Layout, exptime: u32, now: u32) -> Option<Reservation> {
        let (units, class) = (layout.units(), self.class(exptime, now));
        if self.table.is_crowded() {
            self.table.split(self.sum(|stats| &stats.items));
        }
        if let Some(reservation) = self.allocate_from_tlab(layout, class, exptime) {
            self.evict_ahead_of_tlab(units, now);
            return Some(reservation);
        }
        let mut space = self.space();
        if self.fits_tlab(units) {
            self.refill_tlab(&mut space, units, class, now);
            if let Some(reservation) = self.allocate_from_tlab(layout, class, exptime) {
                self.evict_ahead(&mut space, units, now);
                return Some(reservation);
            }
        }
        let Some(at) = self.append(&mut space, units, class, now) else {
            return self.out_of_memory(class);
        };
        let reservation = self.occupy(at, layout, exptime, &*space);
        self.evict_ahead(&mut space, units, now);
        Some(reservation)
    }

    /// Counts an allocation that failed.
    #[cold]
    pub(super) fn out_of_memory<T>(&self, class: usize) -> Option<T> {
        add(&self.shard().stats.classes[class].out_of_memory, 1);
        None
    }

    /// This shard's counters of the class of an item.
    #[inline]
    pub(super) fn class_stats(&self, at: Offset) -> &ClassStats {
        &self.shard().stats.classes[self.memory.class(at)]
    }

    /// The class of an item that expires at `exptime`.
    #[inline]
    pub(super) fn class(&self, exptime: u32, now: u32) -> usize {
        if exptime == 0 {
            return space::class(None, 0);
        }
        let classes = space::classes(self.memory.frames() as u32);
        space::class(Some(exptime.saturating_sub(now)), classes)
    }

    /// Reserves units that were just allocated under the lock that `held` proves: counts an item
    /// as live and writes the header that walks over its segment need.
    #[inline(always)]
    pub(super) fn occupy(
        &self,
        at: Offset,
        layout: Layout,
        exptime: u32,
        held: &impl MayRead,
    ) -> Reservation {
        let header = self.memory.arena.header(at, held);
        header.item_flags.store(0, Relaxed);
        layout.store(header);
        self.memory.add(at, layout.units());
        self.memory.extend(at, exptime);
        Reservation::of(self.shard(), at)
    }

    /// Allocates `units` for a new item or a TLAB, in an open segment or in a new one.
    #[inline]
    pub(super) fn append(
        &self,
        space: &mut Space,
        units: u32,
        class: usize,
        now: u32,
    ) -> Option<Offset> {
        if let Some(at) = space.append_new(units, class) {
            return Some(at);
        }
        if space.extensible(units, Queue::Young, class).is_some()
            && self.free_frames(space, 1, now)
            && self.extend_segment(space, units, Queue::Young, class)
            && let Some(at) = space.append_new(units, class)
        {
            return Some(at);
        }
        let head = self.make_space(space, units, now)?;
        // `make_space` may have used the open segment.
        let at = self.begin_segment(space, head, units, (Queue::Young, class), now);
        space.count_begun(head, units);
        Some(at)
    }

    /// Creates a segment at the free frame `head`, with an item of `units`.
    pub(super) fn begin_segment(
        &self,
        space: &mut Space,
        head: u32,
        units: u32,
        (queue, class): (Queue, usize),
        now: u32,
    ) -> Offset {
        let at = space.begin(head, units, queue, class, now);
        self.memory.set_class(space.frames_of(head), class);
        at
    }

    /// Extends the open segment of large items by a frame, if that helps to allocate `units`.
    pub(super) fn extend_segment(
        &self,
        space: &mut Space,
        units: u32,
        queue: Queue,
        class: usize,
    ) -> bool {
        let extended = space.extend(units, queue, class);
        let is_some = extended.is_some();
        extended.into_iter().for_each(|frame| self.memory.set_class(frame..frame + 1, class));
        is_some
    }

    /// Stores a complete value in any case, as [`Store::reserve`] and a plain [`Store::commit`] do.
    pub fn set(&self, new: &NewItem<'_>, value: &[u8], now: u32) -> Result<Outcome, ReserveError> {
        assert_eq!(value.len(), new.value_bytes, "the length of the value");
        self.tick(now);
        let layout = self.checked_layout(new)?;
        let hash = self.hash_key.hash(new.key);
        self.table.prefetch(self.table.chain_of(hash));
        let mut reservation =
            self.take(layout, new.exptime, now).ok_or(ReserveError::OutOfMemory)?;
        reservation.render(layout, new);
        reservation.fill(layout, value);
        let held = self.table.lock(hash);
        let old = self.locked(&held, new.key, hash, now);
        let Some(cas) = self.link(&held, reservation, hash, old, None, now) else {
            return Ok(Outcome::OutOfMemory);
        };
        add(&self.shard().stats.classes[self.class(new.exptime, now)].sets, 1);
        Ok(Outcome::Stored { cas })
    }

    /// Stores a complete value if the condition of `how` holds.
    pub fn commit(&self, mut reservation: Reservation, how: &Commit, now: u32) -> Outcome {
        assert_eq!(reservation.remaining(), 0, "a value committed before all of it was written");
        self.tick(now);
        if reservation.is_incoming() {
            reservation = match self.admit(reservation, now) {
                Some(admitted) => admitted,
                None => return Outcome::OutOfMemory,
            };
        }
        let hash = self.hash_key.hash(reservation.key());
        // The item that `reservation` was joined to.
        let mut joined: Option<Item> = None;
        let mut own: Option<Reservation> = None;
        loop {
            let held = self.table.lock(hash);
            let old = self.locked(&held, reservation.key(), hash, now);
            let cas = old.map(|(_, at)| self.memory.arena.header(at, &held).cas.load(Relaxed));
            match (verdict(how, cas), old) {
                (Verdict::Refuse(outcome), old) => {
                    let exptime = reservation.header().exptime.load(Relaxed);
                    add(&self.shard().stats.classes[self.class(exptime, now)].refused, 1);
                    if let (Outcome::Exists, true, Some((_, at))) =
                        (outcome, how.compare.is_some(), old)
                    {
                        add(&self.class_stats(at).cas_badval, 1);
                    }
                    return outcome;
                }
                (Verdict::Join, Some((_, at)))
                    if joined.as_ref().is_none_or(|item| item.offset() != at) =>
                {
                    let (item, _) = Item::pin(self.shard(), at, &held);
                    drop(held);
                    let tlab = own.take().unwrap_or(reservation);
                    reservation = match self.join(&item, &tlab, how.mode, now) {
                        Ok(whole) => whole,
                        Err(ReserveError::TooLarge) => return Outcome::TooLarge,
                        Err(ReserveError::OutOfMemory) => return Outcome::OutOfMemory,
                    };
                    (joined, own) = (Some(item), Some(tlab));
                }
                (Verdict::Store, _) if own.is_some() => {
                    // The joined item is gone, and the mode allows a new one.
                    drop(held);
                    joined = None;
                    reservation = own.take().expect("just seen");
                }
                (verdict, old) => {
                    if let (Verdict::StoreStale, Some((_, at))) = (verdict, old) {
                        self.inherit_staleness(&held, &reservation, at);
                    }
                    let class = self.class(reservation.header().exptime.load(Relaxed), now);
                    let Some(cas) = self.link(&held, reservation, hash, old, how.cas, now) else {
                        return Outcome::OutOfMemory;
                    };
                    let stats = &self.shard().stats.classes[class];
                    add(&stats.sets, 1);
                    if how.compare.is_some() {
                        add(&stats.cas_hits, 1);
                    }
                    return Outcome::Stored { cas };
                }
            }
        }
    }

    /// Reserves and writes the join of the item's value and the new one, in the order of `mode`.
    fn join(
        &self,
        item: &Item,
        new: &Reservation,
        mode: Mode,
        now: u32,
    ) -> Result<Reservation, ReserveError> {
        let Meta { flags, exptime, binary_key, .. } = item.meta();
        let value_bytes = item.layout().value_bytes + new.layout().value_bytes;
        work::add(value_bytes);
        let mut whole = self
            .reserve(&NewItem { key: item.key(), flags, exptime, value_bytes, binary_key }, now)?;
        let (first, second) = match mode {
            Mode::Prepend => (new.value(), item.value()),
            _ => (item.value(), new.value()),
        };
        whole.write(first);
        whole.write(second);
        Ok(whole)
    }

    fn inherit_staleness(&self, held: &ChainGuard<'_>, reservation: &Reservation, old: Offset) {
        let (old, new) = (self.memory.arena.header(old, held), reservation.header());
        let exptime = old.exptime.load(Relaxed);
        new.exptime.store(exptime, Relaxed);
        self.memory.extend(reservation.offset(), exptime);
        new.item_flags.fetch_or(STALE | old.item_flags.load(Relaxed) & TOKEN_SENT, Relaxed);
    }

    /// Makes an entry refer to a reserved item, in place of `old` if there is one. Returns its cas
    /// unique; `None` if the table has no free slot.
    #[inline]
    fn link(
        &self,
        held: &ChainGuard<'_>,
        reservation: Reservation,
        hash: u64,
        old: Option<(&Slot, Offset)>,
        cas: Option<u64>,
        now: u32,
    ) -> Option<u64> {
        let (at, layout, header) =
            (reservation.offset(), reservation.layout(), reservation.header());
        let slot = match old {
            Some((slot, _)) => slot,
            None => match self.free_slot(held, hash, now) {
                Some(slot) => slot,
                None => return self.out_of_memory(self.memory.class(at)),
            },
        };
        let cas = cas.unwrap_or_else(|| self.next_cas());
        header.cas.store(cas, Relaxed);
        header.generation.store(self.generation.load(Acquire), Relaxed);
        header.last_access.store(now.max(self.floor.load(Acquire)), Relaxed);
        // A key that was read often will be read again. A key in the ghost queue belongs to the
        // working set.
        let uses = match old {
            Some((_, at)) => self.uses(at, held),
            None => {
                let evicted = self.ghost.evicted(hash);
                if let Some(evicted) = evicted {
                    self.note_return(evicted);
                }
                u8::from(evicted.is_some_and(Evicted::is_recent))
            }
        };
        header.item_flags.fetch_or(LINKED | uses << USES_SHIFT, Release);
        let stats = &self.shard().stats;
        add(&stats.items, 1);
        add(&stats.bytes, layout.total_bytes() as u64);
        slot.store(Entry::new(hash, at));
        if let Some((_, old)) = old {
            self.forget(held, old);
        }
        reservation.linked();
        Some(cas)
    }

    fn next_cas(&self) -> u64 {
        self.cas.0.fetch_add(1, Relaxed) + 1
    }

    /// Increments or decrements the number in the value of `key`.
    pub fn count(&self, key: &[u8], how: &Count, now: u32) -> Counted {
        self.tick(now);
        let hash = self.hash_key.hash(key);
        loop {
            let held = self.table.lock(hash);
            let Some((_, at)) = self.locked(&held, key, hash, now) else {
                drop(held);
                match self.count_from(key, how, now) {
                    Some(counted) => return counted,
                    None => continue,
                }
            };
            let (item, _) = Item::pin(self.shard(), at, &held);
            drop(held);
            let old = item.meta();
            // As in memcached: an empty value is not a number, whatever its cas unique.
            if item.value().is_empty() {
                return Counted::NonNumeric;
            }
            if how.compare.is_some_and(|cas| cas != old.cas) {
                return Counted::Exists;
            }
            let Some(number) = parse(item.value()) else { return Counted::NonNumeric };
            let number = apply(number, how.delta, how.decrement);
            let meta =
                Meta { exptime: how.exptime.unwrap_or(old.exptime), last_access: now, ..old };
            let Some(reservation) = self.spell(key, number, item.value().len(), &meta, now) else {
                return Counted::OutOfMemory;
            };
            // memcached overwrites a number of the same length in place, so the flags stay, and no
            // item is counted.
            let is_in_place = reservation.value_bytes() == item.value().len();
            if is_in_place {
                let item_flags =
                    item.header().item_flags.load(Relaxed) & (STALE | TOKEN_SENT | FETCHED);
                reservation.header().item_flags.fetch_or(item_flags, Relaxed);
            }
            if let Some(cas) = self.exchange(&item, old.cas, reservation, hash, how.cas, now) {
                add(&self.shard().stats.stored, u64::from(!is_in_place));
                return Counted::Value {
                    value: number,
                    meta: Meta { cas, ..meta },
                    created: false,
                };
            }
        }
    }

    /// Replaces `item`, which is pinned, if the table still refers to it and its cas unique is
    /// `compare`.
    fn exchange(
        &self,
        item: &Item,
        compare: u64,
        reservation: Reservation,
        hash: u64,
        cas: Option<u64>,
        now: u32,
    ) -> Option<u64> {
        let held = self.table.lock(hash);
        let (slot, at) = self.locked(&held, item.key(), hash, now)?;
        if at != item.offset() || item.cas() != compare {
            return None;
        }
        self.link(&held, reservation, hash, Some((slot, at)), cas, now)
    }

    /// Creates the item to count; `None` if another thread created it first.
    fn count_from(&self, key: &[u8], how: &Count, now: u32) -> Option<Counted> {
        let Some((value, exptime)) = how.create else { return Some(Counted::NotFound) };
        let meta =
            Meta { exptime, binary_key: how.binary_key, last_access: now, ..Meta::default() };
        let Some(reservation) = self.spell(key, value, 0, &meta, now) else {
            return Some(Counted::OutOfMemory);
        };
        let commit = Commit { mode: Mode::Add, cas: how.cas, ..Commit::default() };
        match self.commit(reservation, &commit, now) {
            Outcome::Stored { cas } => {
                Some(Counted::Value { value, meta: Meta { cas, ..meta }, created: true })
            }
            Outcome::OutOfMemory => Some(Counted::OutOfMemory),
            _ => None,
        }
    }

    /// Reserves and writes the decimal digits of `number`, padded with spaces to `width` bytes.
    fn spell(
        &self,
        key: &[u8],
        number: u64,
        width: usize,
        meta: &Meta,
        now: u32,
    ) -> Option<Reservation> {
        let digits = Digits::of(number);
        let value_bytes = digits.bytes().len().max(width);
        // Written in short parts.
        work::add(4 * width);
        let Meta { flags, exptime, binary_key, .. } = *meta;
        let mut reservation =
            self.reserve(&NewItem { key, flags, exptime, value_bytes, binary_key }, now).ok()?;
        reservation.write(digits.bytes());
        while reservation.remaining() > 0 {
            reservation.write(b"                    ");
        }
        Some(reservation)
    }

    /// Deletes the item under `key`, or invalidates or empties it as `how` says.
    pub fn delete(&self, key: &[u8], how: &Delete, now: u32) -> Outcome {
        self.tick(now);
        let hash = self.hash_key.hash(key);
        let empty = match how.emptied {
            Some((flags, exptime)) => {
                match self.reserve(
                    &NewItem { key, flags, exptime, value_bytes: 0, binary_key: false },
                    now,
                ) {
                    Ok(reservation) => Some(reservation),
                    Err(_) => return Outcome::OutOfMemory,
                }
            }
            None => None,
        };
        let held = self.table.lock(hash);
        let Some((slot, mut at)) = self.locked(&held, key, hash, now) else {
            return Outcome::NotFound;
        };
        let header = self.memory.arena.header(at, &held);
        let cas = header.cas.load(Relaxed);
        if how.compare.is_some_and(|compare| compare != cas) {
            return Outcome::Exists;
        }
        if how.emptied.is_none() && !how.invalidate {
            slot.store(Entry::NONE);
            self.forget(&held, at);
            self.table.shrink(hash);
            return Outcome::Stored { cas: 0 };
        }
        if let Some(empty) = empty {
            empty
                .header()
                .item_flags
                .fetch_or(header.item_flags.load(Relaxed) & BINARY_KEY, Relaxed);
            let offset = empty.offset();
            let Some(_) =
                self.link(&held, empty, hash, Some((slot, at)), how.cas.or(Some(cas)), now)
            else {
                return Outcome::OutOfMemory;
            };
            add(&self.shard().stats.stored, 1);
            at = offset;
        }
        if how.invalidate {
            self.invalidate(&held, at, how);
        }
        Outcome::Stored { cas: self.memory.arena.header(at, &held).cas.load(Relaxed) }
    }

    /// Marks an item stale. Changes the cas unique last; see [`super::layout::meta`].
    fn invalidate(&self, held: &ChainGuard<'_>, at: Offset, how: &Delete) {
        let header = self.memory.arena.header(at, held);
        if let Some(exptime) = how.exptime {
            header.exptime.store(exptime, Relaxed);
            self.memory.extend(at, exptime);
        }
        header.item_flags.fetch_or(STALE, Release);
        header.item_flags.fetch_and(!TOKEN_SENT, Release);
        header.cas.store(how.cas.unwrap_or_else(|| self.next_cas()), Release);
    }
}
