//! The store: a table behind a lock. (Evicts the oldest.)

use super::condition::{Verdict, verdict};
use super::number::{Digits, apply, parse};
use super::*;
use crate::error::Result;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) line: Box<[u8]>,
    key_len: usize,
    value_at: usize,
    flags: u32,
    binary_key: bool,
    serial: u64,
    cas: AtomicU64,
    exptime: AtomicU32,
    last_access: AtomicU32,
    fetched: AtomicBool,
    stale: AtomicBool,
    token_sent: AtomicBool,
}

impl Stored {
    fn new(new: &New<'_>, now: u32) -> Stored {
        let mut line = b"VALUE ".to_vec();
        line.extend_from_slice(new.key);
        line.extend_from_slice(format!(" {} {}\r\n", new.flags, new.value_bytes).as_bytes());
        let value_at = line.len();
        line.resize(value_at + new.value_bytes, 0);
        line.extend_from_slice(b"\r\n");
        Stored {
            line: line.into(),
            key_len: new.key.len(),
            value_at,
            flags: new.flags,
            binary_key: new.binary_key,
            exptime: new.exptime.into(),
            last_access: now.into(),
            ..Stored::default()
        }
    }
    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }
    pub(super) fn key(&self) -> &[u8] {
        &self.line[6..6 + self.key_len]
    }
    pub(super) fn value_range(&self) -> Range<usize> {
        self.value_at..self.line.len() - 2
    }
    pub(super) fn meta(&self) -> Meta {
        Meta {
            flags: self.flags,
            cas: self.cas.load(SeqCst),
            exptime: self.exptime.load(SeqCst),
            last_access: self.last_access.load(SeqCst),
            fetched: self.fetched.load(SeqCst),
            stale: self.stale.load(SeqCst),
            token_sent: self.token_sent.load(SeqCst),
            binary_key: self.binary_key,
        }
    }
    pub(super) fn size_bytes(&self) -> usize {
        self.line.len() + 24
    }
    fn is_expired(&self, now: u32) -> bool {
        let exptime = self.exptime.load(SeqCst);
        exptime != 0 && exptime <= now
    }
}

/// One item shown to a dump.
#[derive(Debug)]
pub struct Visit<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The rest.
    pub meta: Meta,
    /// Bytes that it takes.
    pub size_bytes: usize,
    /// Its class, as in [`ClassStatistics`].
    pub class: u32,
}

#[derive(Default)]
struct Table {
    items: HashMap<Vec<u8>, Arc<Stored>>,
    order: BTreeMap<u64, Vec<u8>>,
    serial: u64,
    cas: u64,
    flush_at: u32,
    statistics: Statistics,
}

/// The store. See the module for what the calls have in common.
pub struct Store {
    settings: Settings,
    table: Mutex<Table>,
}

impl Store {
    /// A store that has taken all memory that it will ever take.
    pub fn new(settings: &Settings) -> Result<Arc<Store>> {
        settings.check()?;
        Ok(Arc::new(Store { settings: *settings, table: Mutex::default() }))
    }

    fn lock(&self, now: u32) -> MutexGuard<'_, Table> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.flush_at != 0 && table.flush_at <= now {
            table.flush_at = 0;
            table.clear();
        }
        table
    }

    /// The item under `key`, if there is one that has not expired, marked as fetched. Senders may pin a part of the
    /// memory; beyond that this is a miss, and counted ([`Statistics::pin_refused`]).
    pub fn get(&self, key: &[u8], now: u32) -> Option<Item> {
        self.fetch(key, &Fetch::default(), now).map(|fetched| fetched.item)
    }

    /// As [`Store::get`], with all that a meta get may ask.
    pub fn fetch(&self, key: &[u8], how: &Fetch, now: u32) -> Option<Fetched> {
        let mut table = self.lock(now);
        let Some(stored) = table.find(key, now) else {
            let exptime = how.vivify?;
            let mut stored =
                Stored::new(&New { key, flags: 0, exptime, value_bytes: 0, binary_key: how.binary_key }, now);
            stored.token_sent = true.into();
            let stored = table.insert(stored, how.cas, self.settings.memory_bytes);
            let meta = stored.meta();
            return Some(Fetched { item: Item(stored), meta, created: true, won: true, token_sent: false });
        };
        let mut meta = stored.meta();
        let token_sent = meta.token_sent;
        let soon = |limit| meta.exptime != 0 && meta.exptime - now < limit;
        let won = !token_sent && (meta.stale || how.recache_below.is_some_and(soon));
        if won {
            stored.token_sent.store(true, SeqCst);
        }
        if let Some(exptime) = how.touch {
            stored.exptime.store(exptime, SeqCst);
            meta.exptime = exptime;
        }
        if !how.peek {
            stored.fetched.store(true, SeqCst);
            stored.last_access.store(now, SeqCst);
        }
        meta.token_sent |= won;
        Some(Fetched { item: Item(stored), meta, created: false, won, token_sent })
    }

    /// The item under `key`, if there is one that has not expired; nothing changes by that, and nobody wins anything.
    pub fn peek(&self, key: &[u8], now: u32) -> Option<Item> {
        self.lock(now).find(key, now).map(Item)
    }

    /// Reserves space for a value, evicting what is worth least if need be.
    pub fn reserve(&self, new: &New<'_>, now: u32) -> Result<Reservation, Refusal> {
        assert!((1..=KEY_MAX_BYTES).contains(&new.key.len()), "a key of {} bytes", new.key.len());
        if new.value_bytes as u64 > self.settings.item_max_bytes {
            self.lock(now).statistics.store_too_large += 1;
            return Err(Refusal::TooLarge);
        }
        let stored = Stored::new(new, now);
        if stored.size_bytes() as u64 > self.settings.item_max_bytes {
            self.lock(now).statistics.store_too_large += 1;
            return Err(Refusal::TooLarge);
        }
        Ok(Reservation { stored: Box::new(stored), written: 0 })
    }

    /// Stores a value that was wholly written, if `how`'s condition holds.
    pub fn commit(&self, reservation: Reservation, how: &Commit, now: u32) -> Outcome {
        assert_eq!(reservation.remaining(), 0, "a value committed before all of it was written");
        let mut table = self.lock(now);
        let mut stored = *reservation.stored;
        stored.last_access.store(now, SeqCst);
        let key = stored.key().to_vec();
        let old = table.find(&key, now);
        match (verdict(how, old.as_ref().map(|old| old.meta().cas)), old) {
            (Verdict::Refuse(outcome), _) => return outcome,
            (Verdict::Join, Some(old)) => {
                let (new, there) = (&stored.line[stored.value_range()], &old.line[old.value_range()]);
                let value = if how.mode == Mode::Append { [there, new].concat() } else { [new, there].concat() };
                let meta = old.meta();
                let (flags, exptime, binary_key) = (meta.flags, meta.exptime, meta.binary_key);
                let new = New { key: &key, flags, exptime, value_bytes: value.len(), binary_key };
                let mut joined = Stored::new(&new, now);
                let range = joined.value_range();
                joined.line[range].copy_from_slice(&value);
                if joined.size_bytes() as u64 > self.settings.item_max_bytes {
                    return Outcome::TooLarge;
                }
                stored = joined;
            }
            (Verdict::StoreStale, Some(old)) => {
                let meta = old.meta();
                stored.exptime = meta.exptime.into();
                stored.stale = true.into();
                stored.token_sent = meta.token_sent.into();
            }
            _ => {}
        }
        Outcome::Stored { cas: table.insert(stored, how.cas, self.settings.memory_bytes).meta().cas }
    }

    /// Counts the number that the value under `key` spells up or down.
    pub fn count(&self, key: &[u8], how: &Count, now: u32) -> Counted {
        let mut table = self.lock(now);
        let Some(old) = table.find(key, now) else {
            let Some((value, exptime)) = how.create else { return Counted::NotFound };
            return self.put_number(
                &mut table,
                key,
                value,
                0,
                Meta { exptime, binary_key: how.binary_key, ..Meta::default() },
                how.cas,
                now,
            );
        };
        let meta = old.meta();
        // As memcached does: an empty value is no number, whatever its cas unique.
        if old.value_range().is_empty() {
            return Counted::NonNumeric;
        }
        if how.compare.is_some_and(|cas| cas != meta.cas) {
            return Counted::Exists;
        }
        let Some(number) = parse(&old.line[old.value_range()]) else { return Counted::NonNumeric };
        let value = apply(number, how.delta, how.decrement);
        let meta = Meta { exptime: how.exptime.unwrap_or(meta.exptime), ..meta };
        match self.put_number(&mut table, key, value, old.value_range().len(), meta, how.cas, now) {
            Counted::Value { value, meta, .. } => Counted::Value { value, meta, created: false },
            other => other,
        }
    }

    #[allow(clippy::too_many_arguments, reason = "for a day")]
    fn put_number(
        &self,
        table: &mut Table,
        key: &[u8],
        value: u64,
        width: usize,
        meta: Meta,
        cas: Option<u64>,
        now: u32,
    ) -> Counted {
        let digits = Digits::of(value);
        let Meta { flags, exptime, binary_key, .. } = meta;
        let value_bytes = width.max(digits.bytes().len());
        let mut stored = Stored::new(&New { key, flags, exptime, value_bytes, binary_key }, now);
        let range = stored.value_range();
        stored.line[range.clone()].fill(b' ');
        stored.line[range.start..range.start + digits.bytes().len()].copy_from_slice(digits.bytes());
        // As memcached does, which writes a number that is no longer than the old one in its place.
        if digits.bytes().len() <= width {
            stored.stale = meta.stale.into();
            stored.token_sent = meta.token_sent.into();
            stored.fetched = meta.fetched.into();
            stored.last_access = meta.last_access.into();
        }
        let meta = table.insert(stored, cas, self.settings.memory_bytes).meta();
        Counted::Value { value, meta, created: true }
    }

    /// Sets the exptime of the item under `key`; whether there is one.
    pub fn touch(&self, key: &[u8], exptime: u32, now: u32) -> bool {
        let table = self.lock(now);
        let Some(stored) = table.find(key, now) else { return false };
        stored.exptime.store(exptime, SeqCst);
        stored.last_access.store(now, SeqCst);
        true
    }

    /// Deletes the item under `key`, or does to it what `how` says instead.
    pub fn delete(&self, key: &[u8], how: &Delete, now: u32) -> Outcome {
        let mut table = self.lock(now);
        let Some(mut stored) = table.find(key, now) else { return Outcome::NotFound };
        if how.compare.is_some_and(|cas| cas != stored.meta().cas) {
            return Outcome::Exists;
        }
        if let Some((flags, exptime)) = how.emptied {
            let cas = how.cas.unwrap_or(stored.meta().cas);
            let new = Stored::new(&New { key, flags, exptime, value_bytes: 0, binary_key: false }, now);
            stored = table.insert(new, Some(cas), self.settings.memory_bytes);
        }
        if how.invalidate {
            stored.stale.store(true, SeqCst);
            stored.token_sent.store(false, SeqCst);
            if let Some(exptime) = how.exptime {
                stored.exptime.store(exptime, SeqCst);
            }
            let cas = table.next_cas(how.cas);
            stored.cas.store(cas, SeqCst);
        } else if how.emptied.is_none() {
            table.remove(key);
            return Outcome::Stored { cas: 0 };
        }
        Outcome::Stored { cas: stored.meta().cas }
    }

    /// Forgets, once `now` reaches `at`, everything stored until then; a later call replaces an earlier one whose
    /// time has not come.
    pub fn flush(&self, at: u32, now: u32) {
        self.lock(now).flush_at = at.max(1);
        drop(self.lock(now));
    }

    /// Frees the memory of expired items, a bounded amount of work at a time; to be called by any worker a few times
    /// a second. Returns whether there is more to do at once.
    pub fn maintain(&self, now: u32) -> bool {
        let mut table = self.lock(now);
        let expired: Vec<_> =
            table.items.iter().filter(|(_, stored)| stored.is_expired(now)).map(|(key, _)| key.clone()).collect();
        expired.iter().for_each(|key| table.remove(key));
        table.statistics.reclaimed += expired.len() as u64;
        false
    }

    /// Counters and gauges.
    pub fn statistics(&self) -> Statistics {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        Statistics { limit_maxbytes: self.settings.memory_bytes, ..table.statistics }
    }

    /// Items by their time to live; classes without items or segments are left out.
    pub fn classes(&self, now: u32) -> Vec<ClassStatistics> {
        let table = self.lock(now);
        let (items, bytes) = (table.statistics.curr_items, table.statistics.bytes);
        vec![ClassStatistics { class: 1, items, bytes, ..ClassStatistics::default() }]
    }

    /// Shows items to `visit`, from `cursor` (0 at first) on, about `limit` of them; returns the cursor to go on
    /// from, `None` at the end. An item that is there all the while is shown at least once.
    pub fn dump(&self, cursor: u64, limit: usize, now: u32, visit: &mut dyn FnMut(Visit<'_>)) -> Option<u64> {
        let table = self.lock(now);
        let mut last = None;
        for (serial, key) in table.order.range(cursor..).take(limit) {
            last = Some(serial + 1);
            let stored = &table.items[key];
            if !stored.is_expired(now) {
                visit(Visit { key, meta: stored.meta(), size_bytes: stored.size_bytes(), class: 1 });
            }
        }
        last
    }
}

impl Table {
    fn find(&self, key: &[u8], now: u32) -> Option<Arc<Stored>> {
        self.items.get(key).filter(|stored| !stored.is_expired(now)).cloned()
    }

    fn next_cas(&mut self, given: Option<u64>) -> u64 {
        self.cas += u64::from(given.is_none());
        given.unwrap_or(self.cas)
    }

    fn insert(&mut self, mut stored: Stored, cas: Option<u64>, memory_bytes: u64) -> Arc<Stored> {
        let key = stored.key().to_vec();
        self.remove(&key);
        while self.statistics.bytes + stored.size_bytes() as u64 > memory_bytes {
            let Some((_, oldest)) = self.order.first_key_value() else { break };
            let oldest = oldest.clone();
            self.remove(&oldest);
            self.statistics.evictions += 1;
        }
        stored.cas = self.next_cas(cas).into();
        self.serial += 1;
        stored.serial = self.serial;
        self.order.insert(self.serial, key.clone());
        self.statistics.bytes += stored.size_bytes() as u64;
        self.statistics.curr_items += 1;
        self.statistics.total_items += 1;
        let stored = Arc::new(stored);
        self.items.insert(key, Arc::clone(&stored));
        stored
    }

    fn remove(&mut self, key: &[u8]) {
        let Some(stored) = self.items.remove(key) else { return };
        self.order.remove(&stored.serial);
        self.statistics.bytes -= stored.size_bytes() as u64;
        self.statistics.curr_items -= 1;
    }

    fn clear(&mut self) {
        (self.items, self.order) = Default::default();
        (self.statistics.bytes, self.statistics.curr_items) = (0, 0);
        self.statistics.flushes += 1;
    }
}
