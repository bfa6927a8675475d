//! The text protocol: lines in, what they ask for done and answered.

mod request;

pub(super) use request::{BAD_FORMAT, Dump as DumpOf, KEY_MAX_BYTES, MetaKind};

use super::conn::{Conn, Keys, Phase, Stats};
use super::dump::Dump;
use super::stats::Topic;
use super::tally::Count;
use super::time::expiry;
use super::tokens::LINE_MAX_BYTES;
use super::upload::{Ending, Job};
use super::{COPY_MAX_BYTES, Memcached, Step, VERSION, close};
use crate::app::Blob;
use crate::store::{Commit, Count as Counting, Mode};
use crate::store::{Counted, Delete, Item, New, Outcome};
use request::{Get, How, Refusal, Request, Store};
use simoom_stack::Reply;

impl Memcached {
    /// The next line.
    #[inline]
    pub(super) fn line(&mut self, conn: &mut Conn, bytes: &[u8], reply: &mut Reply<'_, Blob>) -> Step {
        let window = &bytes[..bytes.len().min(LINE_MAX_BYTES + 1)];
        let Some(lf) = memchr::memchr(b'\n', window) else {
            return if window.len() > LINE_MAX_BYTES { self.long_line(conn, bytes, reply) } else { Step::Wait };
        };
        let line = window[..lf].strip_suffix(b"\r").unwrap_or(&window[..lf]);
        let wire_len = lf + 1;
        match request::parse(line, wire_len) {
            Ok(Request::Get(get)) => self.get(conn, line, &get, bytes, reply),
            Ok(Request::Store(store)) => Step::Took(wire_len + self.store(conn, &store, &bytes[wire_len..], reply)),
            Ok(Request::Meta(kind)) => {
                Step::Took(wire_len + self.meta(conn, kind, line, &bytes[wire_len..], reply))
            }
            Ok(Request::Stats(about)) => {
                self.begin_stats(conn, about, reply);
                // The end of the line is consumed with the last of the answer, if there is one to come.
                Step::Took(if conn.phase == Phase::Command { wire_len } else { lf })
            }
            Ok(Request::Dump(what)) => {
                conn.phase = Phase::Dump(Dump::of(what));
                Step::Took(lf)
            }
            Ok(request) => {
                self.simple(conn, &request, reply);
                Step::Took(wire_len)
            }
            Err(refusal) => {
                self.refuse(conn, &refusal, reply);
                Step::Took(wire_len)
            }
        }
    }

    /// A line without an end: only a retrieval may have so many keys.
    #[cold]
    fn long_line(&mut self, conn: &mut Conn, bytes: &[u8], reply: &mut Reply<'_, Blob>) -> Step {
        let (with_cas, command_len) = match bytes {
            [b'g', b'e', b't', b' ', ..] => (false, 4),
            [b'g', b'e', b't', b's', b' ', ..] => (true, 5),
            _ => {
                self.hang_up(conn, reply);
                return Step::Took(bytes.len());
            }
        };
        conn.phase = Phase::Keys(Keys { with_cas, touch: None });
        Step::Took(command_len)
    }

    #[inline]
    fn get(
        &mut self,
        conn: &mut Conn,
        line: &[u8],
        get: &Get<'_>,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        if get.keys.split(|byte| *byte == b' ').any(|key| key.len() > KEY_MAX_BYTES) {
            // What memcached does, too: no key is answered if one is none.
            self.refuse(conn, &Refusal { text: BAD_FORMAT, value_bytes: 0, noreply: false }, reply);
            conn.phase = Phase::SkipLine;
            return Step::Took(line.len());
        }
        let keys = Keys { with_cas: get.with_cas, touch: get.touch.map(|exptime| expiry(exptime, self.now)) };
        let first = line.len() - get.keys.len();
        match self.keys(conn, keys, &bytes[first..], reply) {
            Step::Took(n) => Step::Took(first + n),
            Step::Wait => unreachable!("the line has an end"),
        }
    }

    /// Answers the keys that `bytes` begin with, to the end of their line or as far as there is room.
    pub(super) fn keys(&mut self, conn: &mut Conn, keys: Keys, bytes: &[u8], reply: &mut Reply<'_, Blob>) -> Step {
        conn.phase = Phase::Keys(keys);
        let mut at = 0;
        loop {
            let Some(len) = memchr::memchr2(b' ', b'\n', &bytes[at..]) else {
                return self.key_without_end(conn, at, &bytes[at..], reply);
            };
            let is_last = bytes[at + len] == b'\n';
            let key = &bytes[at..at + len];
            let key = if is_last { key.strip_suffix(b"\r").unwrap_or(key) } else { key };
            if key.len() > KEY_MAX_BYTES {
                self.say(BAD_FORMAT, reply);
                conn.phase = Phase::SkipLine;
                return Step::Took(at + len);
            }
            self.look_behind(&bytes[at + len + 1..], !is_last);
            if !key.is_empty() {
                self.answer_key(key, keys, reply);
            }
            at += len + 1;
            if is_last {
                reply.copy(b"END\r\n");
                conn.phase = Phase::Command;
                return Step::Took(at);
            }
            if !reply.has_room() {
                return Step::Took(at);
            }
        }
    }

    /// Only in a line that is longer than any other may be.
    #[cold]
    fn key_without_end(&mut self, conn: &mut Conn, at: usize, key: &[u8], reply: &mut Reply<'_, Blob>) -> Step {
        if key.len() > KEY_MAX_BYTES + 1 {
            self.say(BAD_FORMAT, reply);
            conn.phase = Phase::SkipLine;
            return Step::Took(at + key.len());
        }
        if at == 0 { Step::Wait } else { Step::Took(at) }
    }

    #[inline]
    fn answer_key(&mut self, key: &[u8], keys: Keys, reply: &mut Reply<'_, Blob>) {
        let hit = match keys.touch {
            None if !keys.with_cas => self.answer_plain(key, reply),
            None => self.store.get(key, self.now).map(|item| self.send_with_cas(item, reply)).is_some(),
            Some(exptime) => match self.get_and_touch(key, exptime) {
                Some(item) if keys.with_cas => {
                    self.send_with_cas(item, reply);
                    true
                }
                Some(item) => {
                    let all = 0..item.line().len();
                    self.send(item, all, reply);
                    true
                }
                None => false,
            },
        };
        self.count_fetch(keys.touch.is_some(), hit);
    }

    /// The answer to a plain `get` of one key; whether it was a hit. What is copied is only glanced at.
    #[inline]
    fn answer_plain(&self, key: &[u8], reply: &mut Reply<'_, Blob>) -> bool {
        let Some(glance) = self.store.glance(key, self.now) else { return false };
        if glance.line().len() <= COPY_MAX_BYTES {
            reply.copy(glance.line());
            return true;
        }
        let Some(item) = self.store.keep(glance, self.now) else { return false };
        let all = 0..item.line().len();
        reply.share(Blob::Item(item), all);
        true
    }

    /// Not as one step: what is replaced between the two is touched, and brought as it was before.
    pub(super) fn get_and_touch(&self, key: &[u8], exptime: u32) -> Option<Item> {
        self.count(Count::CmdTouch);
        let item = self.store.get(key, self.now)?;
        self.store.touch(key, exptime, self.now);
        Some(item)
    }

    pub(super) fn count_fetch(&self, touch: bool, hit: bool) {
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

    fn store(&mut self, conn: &mut Conn, store: &Store<'_>, behind: &[u8], reply: &mut Reply<'_, Blob>) -> usize {
        let new = New {
            key: store.key,
            flags: store.client_flags,
            exptime: expiry(store.exptime, self.now),
            value_bytes: store.len as usize,
            binary_key: false,
        };
        let (mode, compare) = match store.how {
            How::Set => (Mode::Set, None),
            How::Add => (Mode::Add, None),
            How::Replace => (Mode::Replace, None),
            How::Append => (Mode::Append, None),
            How::Prepend => (Mode::Prepend, None),
            How::Cas(cas) => (Mode::Set, Some(cas)),
        };
        match self.reserve(&new) {
            Ok(reservation) => {
                let commit = Commit { mode, compare, ..Commit::default() };
                let job = Job { commit, ending: Ending::Text { noreply: store.noreply } };
                self.begin_upload(conn, reservation, job, behind, reply)
            }
            Err(refused) => {
                if store.how == How::Set {
                    self.forget(store.key);
                }
                let refusal = Refusal { text: refused.text(), value_bytes: store.len + 2, noreply: store.noreply };
                self.refuse(conn, &refusal, reply);
                0
            }
        }
    }

    /// What is there must not be taken for what was to be stored.
    pub(super) fn forget(&self, key: &[u8]) {
        self.store.delete(key, &Delete::default(), self.now);
    }

    fn simple(&mut self, conn: &mut Conn, request: &Request<'_>, reply: &mut Reply<'_, Blob>) {
        let (text, noreply) = match *request {
            Request::Delete { key, noreply } => (self.delete(key), noreply),
            Request::Touch { key, exptime, noreply } => (self.touch(key, exptime), noreply),
            Request::Arithmetic { key, increment, delta, noreply } => {
                return self.arithmetic(key, increment, delta, noreply, reply);
            }
            Request::FlushAll { delay, noreply } => {
                self.flush_all(u32::try_from(delay).unwrap_or(0));
                (&b"OK"[..], noreply)
            }
            Request::Version => {
                reply.copy(b"VERSION ");
                return self.say(VERSION.as_bytes(), reply);
            }
            Request::Say { text, noreply } => (text, noreply),
            Request::Quit => return close(conn, reply),
            _ => return self.hang_up(conn, reply),
        };
        if !noreply {
            self.say(text, reply);
        }
    }

    fn delete(&mut self, key: &[u8]) -> &'static [u8] {
        match self.store.delete(key, &Delete::default(), self.now) {
            Outcome::Stored { .. } => {
                self.count(Count::DeleteHits);
                b"DELETED"
            }
            _ => {
                self.count(Count::DeleteMisses);
                b"NOT_FOUND"
            }
        }
    }

    fn touch(&mut self, key: &[u8], exptime: i32) -> &'static [u8] {
        let hit = self.store.touch(key, expiry(exptime, self.now), self.now);
        self.count(Count::CmdTouch);
        self.count_fetch(true, hit);
        if hit { b"TOUCHED" } else { b"NOT_FOUND" }
    }

    fn arithmetic(&mut self, key: &[u8], increment: bool, delta: u64, noreply: bool, reply: &mut Reply<'_, Blob>) {
        let how = Counting { delta, decrement: !increment, ..Counting::default() };
        let counted = self.store.count(key, &how, self.now);
        self.count_arithmetic(increment, &counted);
        let text = match counted {
            Counted::Value { value, .. } => self.out.clear().number(value).bytes(),
            Counted::NonNumeric => NON_NUMERIC,
            Counted::OutOfMemory => b"SERVER_ERROR out of memory",
            Counted::NotFound | Counted::Exists => b"NOT_FOUND",
        };
        if !noreply {
            reply.copy(text);
            reply.copy(b"\r\n");
        }
    }

    pub(super) fn count_arithmetic(&self, increment: bool, counted: &Counted) {
        match (counted, increment) {
            (Counted::Value { created: false, .. }, true) => self.count(Count::IncrHits),
            (Counted::Value { created: false, .. }, false) => self.count(Count::DecrHits),
            (Counted::NotFound, true) => self.count(Count::IncrMisses),
            (Counted::NotFound, false) => self.count(Count::DecrMisses),
            _ => {}
        }
    }

    /// Memcached counts a delay from the second before.
    pub(super) fn flush_all(&mut self, exptime: u32) {
        self.count(Count::CmdFlush);
        let at = match super::time::expiry_unsigned(exptime, self.now) {
            0 => self.now,
            at => at - 1,
        };
        self.store.flush(at, self.now);
    }

    fn begin_stats(&mut self, conn: &mut Conn, about: &[u8], reply: &mut Reply<'_, Blob>) {
        match Topic::of(about) {
            Some(topic) => conn.phase = Phase::Stats(Stats { topic, line: 0, opaque: None }),
            None if about == b"conns" => conn.phase = Phase::Conns(0),
            None if about == b"reset" => {
                self.shared.tally().reset();
                self.say(b"RESET", reply);
            }
            None => self.say(b"ERROR", reply),
        }
    }

    /// Queues a line.
    pub(super) fn say(&self, text: &[u8], reply: &mut Reply<'_, Blob>) {
        reply.copy(text);
        reply.copy(b"\r\n");
    }

    #[cold]
    fn refuse(&mut self, conn: &mut Conn, refusal: &Refusal, reply: &mut Reply<'_, Blob>) {
        self.count(Count::Refused);
        if !refusal.noreply {
            self.say(refusal.text, reply);
        }
        if refusal.value_bytes > 0 {
            conn.phase = Phase::Skip(u64::from(refusal.value_bytes));
        }
    }
}

pub(super) const NON_NUMERIC: &[u8] = b"CLIENT_ERROR cannot increment or decrement non-numeric value";
