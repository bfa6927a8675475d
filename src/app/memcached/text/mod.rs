//! The text protocol: executes and answers command lines.

mod long;
mod request;
mod retrieval;
mod storage;

pub(super) use long::{HELD_MAX_BYTES, LongLines};
pub(super) use request::{
    BAD_FORMAT, Dump as DumpOf, GET, KEY_MAX_BYTES, MetaKind, first_key_end, single_get,
};

use super::connection::{Connection, Phase, Stats, Wide};
use super::counters::Count;
use super::dump::Dump;
use super::stats::Topic;
use super::time::expiry;
use super::tokens::LINE_MAX_BYTES;
use super::{Memcached, Step, VERSION, close};
use crate::app::Blob;
use crate::store::{Count as Counting, Counted, Delete, Outcome};
use request::{Get, ProtocolError, Request};
use simoom_io::Reply;

impl Memcached {
    /// Handles the next line.
    #[inline(always)]
    pub(super) fn line(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        if let Some(key) = self.gets.next_get(&self.store, bytes)
            && self.get_one(key, bytes, reply)
        {
            return Step::Took(key.wire_len);
        }
        if let Some((store, wire_len)) = request::plain_set(bytes) {
            let behind = &bytes[wire_len..];
            let value = self.store_whole(&store, behind, reply);
            let value = value.unwrap_or_else(|| self.store(conn, &store, behind, reply));
            return if self.holds_back { Step::Wait } else { Step::Took(wire_len + value) };
        }
        self.other_line(conn, bytes, reply)
    }

    /// Handles a line that is neither a get of one key nor a plain set.
    #[inline(never)]
    fn other_line(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        let is_get = bytes.starts_with(request::GET);
        if !is_get && let Some(wire_len) = self.meta_get_plain(bytes, reply) {
            return Step::Took(wire_len);
        }
        let window = &bytes[..bytes.len().min(LINE_MAX_BYTES + 1)];
        let Some(lf) = memchr::memchr(b'\n', window) else {
            return if window.len() > LINE_MAX_BYTES {
                self.long_line(conn, bytes, reply)
            } else {
                Step::Wait
            };
        };
        let line = window[..lf].strip_suffix(b"\r").unwrap_or(&window[..lf]);
        let wire_len = lf + 1;
        if is_get && line.get(request::GET.len()).is_some_and(|first| *first != b' ') {
            let keys = &line[request::GET.len()..];
            return self.get(conn, line, &Get { keys, with_cas: false, touch: None }, bytes, reply);
        }
        match request::parse(line, wire_len) {
            Ok(Request::Get(get)) => self.get(conn, line, &get, bytes, reply),
            Ok(Request::Store(store)) => {
                let behind = self.store(conn, &store, &bytes[wire_len..], reply);
                if self.holds_back { Step::Wait } else { Step::Took(wire_len + behind) }
            }
            Ok(Request::Meta(kind)) => {
                let behind = self.meta(conn, kind, line, &bytes[wire_len..], reply);
                if self.holds_back { Step::Wait } else { Step::Took(wire_len + behind) }
            }
            Ok(Request::Stats(about)) => {
                self.begin_stats(conn, about, reply);
                // If an answer continues, the handler consumes the end of the line with the last of
                // it.
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
            Err(error) => {
                self.refuse(conn, &error, reply);
                Step::Took(wire_len)
            }
        }
    }

    fn simple(
        &mut self,
        conn: &mut Connection,
        request: &Request<'_>,
        reply: &mut Reply<'_, Blob>,
    ) {
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
                return self.write_line(VERSION.as_bytes(), reply);
            }
            Request::Fixed { text, noreply } => (text, noreply),
            Request::Quit => return close(conn, reply),
            _ => return self.hang_up(conn, reply),
        };
        if !noreply {
            self.write_line(text, reply);
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
        let hit = self.store.touch(key, expiry(exptime, self.times()), self.now);
        self.count(Count::CmdTouch);
        self.count_fetch(true, hit);
        if hit { b"TOUCHED" } else { b"NOT_FOUND" }
    }

    fn arithmetic(
        &mut self,
        key: &[u8],
        increment: bool,
        delta: u64,
        noreply: bool,
        reply: &mut Reply<'_, Blob>,
    ) {
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

    /// memcached counts a delay from the second before.
    pub(super) fn flush_all(&mut self, exptime: u32) {
        self.count(Count::CmdFlush);
        let at = match super::time::expiry_unsigned(exptime, self.times()) {
            0 => self.now,
            at => at - 1,
        };
        self.store.flush(at, self.now);
    }

    fn begin_stats(&mut self, conn: &mut Connection, about: &[u8], reply: &mut Reply<'_, Blob>) {
        match Topic::of(about) {
            Some(topic) => conn.phase = Phase::Stats(Stats { topic, line: 0, opaque: None }),
            None if about == b"conns" => conn.phase = Phase::Conns(Wide(0)),
            None if about == b"reset" => {
                self.shared.counters().reset();
                self.write_line(b"RESET", reply);
            }
            None => self.write_line(b"ERROR", reply),
        }
    }

    /// Queues a line.
    pub(super) fn write_line(&self, text: &[u8], reply: &mut Reply<'_, Blob>) {
        reply.copy(text);
        reply.copy(b"\r\n");
    }

    #[cold]
    fn refuse(
        &mut self,
        conn: &mut Connection,
        error: &ProtocolError,
        reply: &mut Reply<'_, Blob>,
    ) {
        self.count(Count::Refused);
        if !error.noreply {
            self.write_line(error.text, reply);
        }
        if error.value_bytes > 0 {
            conn.begin_skip(error.value_bytes.into(), self.now);
        }
    }
}

pub(super) const NON_NUMERIC: &[u8] =
    b"CLIENT_ERROR cannot increment or decrement non-numeric value";
