//! `get`, `gets`, `gat` and `gats`: sends the items under the keys, one by one. A line of keys may
//! exceed the limit of other lines, and the handler answers it as it arrives.

use super::super::connection::{Connection, Keys, Phase};
use super::super::counters::Count;
use super::super::prefetch::{Key, key_of_line};
use super::super::time::expiry;
use super::super::{COPY_MAX_BYTES, Memcached, Step};
use super::request::{BAD_FORMAT, GET, Get, KEY_MAX_BYTES, ProtocolError, single_get};
use crate::app::Blob;
use crate::store::{Hash, Item, ItemGuard, Store};
use simoom_io::Reply;
use simoom_io::send::CAPACITY_COPY_BYTES;

/// The end of an answer.
const END: &[u8] = b"END\r\n";
/// After copies of so many bytes, the capacity that was promised suffices for another small item
/// and the end.
const COPIED_MAX_BYTES: u64 = (CAPACITY_COPY_BYTES - COPY_MAX_BYTES - END.len()) as u64;

impl Memcached {
    /// Answers the usual input: one plain `get` of one key, whole, on a connection at rest, while
    /// nobody waits for readers. Returns how many bytes are consumed; `None` for any other input,
    /// and if the answer must wait.
    #[inline(always)]
    pub(in crate::app::memcached) fn received_get(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Option<usize> {
        let (key, wire_len) = single_get(bytes)?;
        let is_usual = wire_len == bytes.len()
            && conn.is_at_rest(self.now)
            && !self.draining
            && self.waiters.is_empty();
        if !is_usual || !reply.has_capacity() {
            return None;
        }
        let (queued, mut shares) = (reply.queued(), false);
        let guard = self.store.guard(key, self.now);
        let hit = send_found(&self.store, guard, (false, self.now), true, &mut shares, reply)?;
        let added = reply.queued() - queued;
        self.count_fetch(false, hit);
        self.add(Count::BytesRead, wire_len as u64);
        self.add(Count::BytesWritten, added);
        if shares {
            (self.holds_back, self.for_senders, self.shares_items) = (false, false, true);
            self.watch(conn, wire_len, added, false, reply);
        } else {
            conn.watch.queued(added);
        }
        conn.share.count();
        conn.share.settle(reply);
        Some(wire_len)
    }

    /// Handles a line without an end. Only a retrieval may have so many keys.
    #[cold]
    pub(super) fn long_line(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        let (with_cas, command_len) = match bytes {
            [b'g', b'e', b't', b' ', ..] => (false, 4),
            [b'g', b'e', b't', b's', b' ', ..] => (true, 5),
            _ => {
                self.hang_up(conn, reply);
                return Step::Took(bytes.len());
            }
        };
        conn.phase = Phase::Keys(Keys::new(with_cas, None));
        conn.watch.begin_request(self.now);
        Step::Took(command_len)
    }

    #[inline]
    pub(super) fn get(
        &mut self,
        conn: &mut Connection,
        line: &[u8],
        get: &Get<'_>,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        let is_too_long = |key: &[u8]| key.len() > KEY_MAX_BYTES;
        if is_too_long(get.keys) && get.keys.split(|byte| *byte == b' ').any(is_too_long) {
            // As memcached does: answer no key if any key is invalid.
            self.refuse(
                conn,
                &ProtocolError { text: BAD_FORMAT, value_bytes: 0, noreply: false },
                reply,
            );
            conn.phase = Phase::SkipLine;
            conn.watch.begin_request(self.now);
            return Step::Took(line.len());
        }
        let keys = Keys::new(get.with_cas, get.touch.map(|exptime| expiry(exptime, self.times())));
        let first = line.len() - get.keys.len();
        match self.keys(conn, keys, &bytes[first..], reply) {
            Step::Took(n) => Step::Took(first + n),
            // The first key waits. Its command is consumed.
            Step::Wait => Step::Took(first),
        }
    }

    /// Answers the plain `get` of one key at the start of `bytes`. Returns false, and has done
    /// nothing, if the answer must wait.
    #[inline(always)]
    pub(super) fn get_one(&mut self, key: Key, bytes: &[u8], reply: &mut Reply<'_, Blob>) -> bool {
        let behind = &bytes[key.wire_len..];
        if !behind.is_empty() && self.gets.is_used_up() && !behind.starts_with(GET) {
            self.prefetch_next(behind);
        }
        let name = &bytes[GET.len()..GET.len() + key.len];
        let Some(hit) = self.answer_plain(name, key.hash, true, reply) else {
            self.gets.clear();
            return false;
        };
        self.count_fetch(false, hit);
        true
    }

    /// Answers the keys at the start of `bytes`, up to the end of their line or as far as there is
    /// capacity.
    pub(in crate::app::memcached) fn keys(
        &mut self,
        conn: &mut Connection,
        keys: Keys,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        conn.phase = Phase::Keys(keys);
        if keys.with_cas || keys.touch().is_some() {
            return self.keys_with(conn, bytes, false, reply, |this, key, _, is_last, reply| {
                this.answer_key_with(key, keys, reply).then(|| this.end_if(is_last, reply))
            });
        }
        let (mut fetched, mut hits) = (0, 0);
        let step = self.keys_with(conn, bytes, true, reply, |this, key, hash, is_last, reply| {
            let guard = this.store.guard_of_batch(key, hash, this.now);
            let (limit, shares) = ((this.must_queue, this.now), &mut this.shares_items);
            let hit = send_found(&this.store, guard, limit, is_last, shares, reply)?;
            fetched += 1;
            hits += u64::from(hit);
            Some(())
        });
        self.add(Count::CmdGet, fetched);
        self.add(Count::GetHits, hits);
        self.add(Count::GetMisses, fetched - hits);
        step
    }

    /// Answers keys with `answer`, which returns `None` if the answer must wait, and ends the whole
    /// answer if the key is the last. A plain answer takes less than was promised for two.
    #[inline(always)]
    fn keys_with(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        is_plain: bool,
        reply: &mut Reply<'_, Blob>,
        mut answer: impl FnMut(&mut Self, &[u8], Hash, bool, &mut Reply<'_, Blob>) -> Option<()>,
    ) -> Step {
        let (mut at, mut promised_at) = (0, reply.queued());
        loop {
            let filled = self.line_keys.fill_from_line(&self.store, &bytes[at..], self.now);
            if filled.count == 0 {
                match self.odd_key(conn, bytes, at, reply) {
                    Ok(next) => at = next,
                    Err(step) => return step,
                }
                continue;
            }
            if filled.ends {
                self.prefetch_next(&bytes[at + filled.wire_len..]);
            }
            let last = if filled.ends { filled.count } else { 0 };
            for index in 0..filled.count {
                if !is_plain || reply.queued() - promised_at > COPIED_MAX_BYTES {
                    if !reply.has_capacity() {
                        return Step::Took(at);
                    }
                    promised_at = reply.queued();
                }
                let Key { len, wire_len, hash, .. } = self.line_keys.key(index);
                let is_last = index + 1 == last;
                if answer(self, &bytes[at..at + len], hash, is_last, reply).is_none() {
                    return if at == 0 { self.hold_back() } else { Step::Took(at) };
                }
                at += wire_len;
            }
            if filled.ends {
                conn.phase = Phase::Command;
                return Step::Took(at);
            }
        }
    }

    /// Handles a key that is empty or too long, or without an end. Returns where the next one
    /// begins, or how the line goes on.
    #[cold]
    fn odd_key(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        at: usize,
        reply: &mut Reply<'_, Blob>,
    ) -> Result<usize, Step> {
        let Some((end, next, is_last)) = key_of_line(bytes, at) else {
            return Err(self.key_without_end(conn, at, &bytes[at..], reply));
        };
        if end > at {
            self.write_line(BAD_FORMAT, reply);
            conn.phase = Phase::SkipLine;
            return Err(Step::Took(next - 1));
        }
        self.end_if(is_last, reply);
        if is_last {
            conn.phase = Phase::Command;
            return Err(Step::Took(next));
        }
        Ok(next)
    }

    /// Ends the answer after the last key.
    fn end_if(&self, is_last: bool, reply: &mut Reply<'_, Blob>) {
        if is_last {
            reply.copy(END);
        }
    }

    /// Only in a line above the limit of other lines.
    #[cold]
    fn key_without_end(
        &mut self,
        conn: &mut Connection,
        at: usize,
        key: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        if key.len() > KEY_MAX_BYTES + 1 {
            self.write_line(BAD_FORMAT, reply);
            conn.phase = Phase::SkipLine;
            return Step::Took(at + key.len());
        }
        if at == 0 { Step::Wait } else { Step::Took(at) }
    }

    /// Answers one key of `gets`, `gat` or `gats`. Returns false if the answer must wait.
    #[inline(never)]
    fn answer_key_with(&mut self, key: &[u8], keys: Keys, reply: &mut Reply<'_, Blob>) -> bool {
        if self.must_wait(key, reply) {
            return false;
        }
        let item = match keys.touch() {
            None => self.store.get(key, self.now),
            Some(exptime) => self.get_and_touch(key, exptime),
        };
        let hit = item.is_some();
        match item {
            Some(item) if keys.with_cas => self.send_with_cas(item, reply),
            Some(item) => {
                let all = 0..item.line().len();
                self.send(item, all, reply);
            }
            None => {}
        }
        self.count_fetch(keys.touch().is_some(), hit);
        true
    }

    /// Answers a plain `get` of one key, and ends the answer if the key is the last. Returns
    /// whether it was a hit, or `None` if it must wait.
    #[inline(always)]
    fn answer_plain(
        &mut self,
        key: &[u8],
        hash: Hash,
        is_last: bool,
        reply: &mut Reply<'_, Blob>,
    ) -> Option<bool> {
        let guard = self.store.guard_hashed(key, hash, self.now);
        let shares = &mut self.shares_items;
        send_found(&self.store, guard, (self.must_queue, self.now), is_last, shares, reply)
    }

    /// Not atomic: if another thread replaces the item in between, the new item is touched and the
    /// old one is sent.
    pub(in crate::app::memcached) fn get_and_touch(
        &self,
        key: &[u8],
        exptime: u32,
    ) -> Option<Item> {
        self.count(Count::CmdTouch);
        let item = self.store.get(key, self.now)?;
        self.store.touch(key, exptime, self.now);
        Some(item)
    }

    pub(in crate::app::memcached) fn count_fetch(&self, touch: bool, hit: bool) {
        if !touch {
            self.count(Count::CmdGet);
        }
        self.count(match (touch, hit) {
            (false, true) => Count::GetHits,
            (false, false) => Count::GetMisses,
            (true, true) => Count::TouchHits,
            (true, false) => Count::TouchMisses,
        });
    }

    fn send_with_cas(&mut self, item: Item, reply: &mut Reply<'_, Blob>) {
        let head_end = item.value_range().start - 2;
        reply.copy(&item.line()[..head_end]);
        reply.copy(self.out.clear().push(b" ").number(item.cas()).push(b"\r\n").bytes());
        let value = head_end + 2..item.line().len();
        self.send(item, value, reply);
    }
}

/// Sends an item, if one was found, and the end of the answer if its key is the last. Returns
/// whether it was found, or `None` if it must wait. A copy needs a guard only, not a pin.
#[inline(always)]
fn send_found(
    store: &Store,
    found: Option<ItemGuard<'_>>,
    (must_queue, now): (bool, u32),
    is_last: bool,
    shares_items: &mut bool,
    reply: &mut Reply<'_, Blob>,
) -> Option<bool> {
    let Some(guard) = found else {
        if is_last {
            reply.copy_all([END]);
        }
        return Some(false);
    };
    let line = guard.line();
    if line.len() > COPY_MAX_BYTES {
        return send_long(store, guard, (must_queue, now), is_last, shares_items, reply);
    }
    if is_last {
        reply.copy_all([line, END]);
    } else {
        reply.copy_all([line]);
    }
    Some(true)
}

/// As [`send_found`], for an item that is shared if readers leave memory for that.
#[inline(never)]
fn send_long(
    store: &Store,
    guard: ItemGuard<'_>,
    (must_queue, now): (bool, u32),
    is_last: bool,
    shares_items: &mut bool,
    reply: &mut Reply<'_, Blob>,
) -> Option<bool> {
    let len = guard.line().len();
    if !must_queue && !store.is_at_pin_limit(reply.queued() > 0) {
        let item = store.pin(guard, now);
        *shares_items = true;
        reply.share(Blob::Item(item), 0..len);
    } else if len <= reply.copyable() {
        reply.copy(guard.line());
    } else {
        return None;
    }
    if is_last {
        reply.copy(END);
    }
    Some(true)
}
