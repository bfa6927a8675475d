//! memcached: the text, meta and binary protocols over one [`Store`] for all workers.
//!
//! # The life of a request
//!
//! The transport delivers input to `received`, in a frame or in its own buffer. The first byte of a
//! connection selects its protocol. A connection is in one of these phases:
//!
//! - *Command*: the handler needs a whole command line, or a header with its extras and key. It
//!   consumes nothing before. [`text`], [`meta`] and [`binary`] parse and execute the command.
//! - *Keys*: the handler looks up and answers the keys of a retrieval one by one, and consumes each
//!   key with its answer. So a line with any number of keys stops when the send queue has no
//!   capacity, and continues from that key.
//! - *LongLine*: a retrieval line from a client that writes the whole line before it reads
//!   ([`text`]). The handler buffers the unanswered keys, within a bound for all connections.
//! - *Upload*: the store reserved space for a value. The handler writes each chunk of the value
//!   there, and commits the item with the last byte ([`upload`]).
//! - *Skip* and *SkipLine*: the handler discards a refused value, or the end of a line.
//! - *Stats*, *Conns* and *Dump*: the handler sends the lines of an answer that may exceed the send
//!   queue's capacity ([`stats`], [`conns`], [`dump`]). It consumes the last byte of the request
//!   with the last line.
//!
//! The store holds an item in the form that a text `get` sends, so an answer is a range of the
//! store. The other protocols send their own head and the range of the value. Small ranges are
//! copied, large ranges shared. A shared item stays unchanged until it is sent, even if its key is
//! updated.
//!
//! # Which suite covers which command
//!
//! `tests/memcached.rs` compares Simoom with an installed memcached: *each* request alone,
//! *pipelines* in chunks, *binary* packets, *udp* datagrams, *stats* by name and type, and the list
//! of *connections* line by line. `tests/serve/memcached.rs` runs the clients memcapable,
//! pymemcache and pylibmc. `model_tests.rs` compares all text, meta and binary commands on items
//! with a plain map. The `_tests.rs` files here have tables for all commands. The property test and
//! the fuzz target cut all commands except `stats` at random bytes.
//!
//! | command | beside memcached | clients |
//! |---|---|---|
//! | `get` `gets` | each, pipelines, udp | memcapable, pymemcache, pylibmc, twemproxy (`tests/proxy`) |
//! | `gat` `gats` | each, pipelines, udp | |
//! | `set` | each, pipelines, udp | memcapable, pymemcache, pylibmc, twemproxy |
//! | `add` `replace` | each, pipelines, udp | memcapable, pymemcache, pylibmc |
//! | `append` `prepend` `cas` | each, pipelines | memcapable, pymemcache, pylibmc |
//! | `delete` `touch` | each, pipelines, udp | memcapable (`delete`), pymemcache, pylibmc |
//! | `incr` `decr` | each, udp | memcapable, pymemcache, pylibmc |
//! | `flush_all`, `version`, `verbosity` | each, pipelines, udp | memcapable |
//! | `quit` | each, pipelines | memcapable, pymemcache |
//! | `shutdown`, `cache_memlimit` (refused) | each, pipelines | |
//! | `stats` | stats | memcapable, pymemcache, pylibmc |
//! | `stats sizes`, `stats reset` | each, pipelines, binary | |
//! | `stats settings`, `items`, `slabs` | stats | |
//! | `stats conns` | stats, connections | `tests/serve/memcached.rs`, over every transport |
//! | `mg` `ms` `md` `mn` | each, pipelines, udp | |
//! | `ma` | each, udp | |
//! | `me`, `lru_crawler metadump`, `mgdump` | | |
//! | binary: all opcodes, SASL's too | binary | memcapable, pylibmc |
//!
//! The protocol texts are those of memcached 1.6.45. Where its source and its documentation differ,
//! the source decides. This module reads no clock: the transport calls [`Handler::clock`].
//! [`watch`] closes connections that time out.

mod base64;
mod binary;
mod connection;
mod connection_table;
mod conns;
mod counters;
pub mod datagram;
mod dump;
mod meta;
mod number;
mod options;
mod out;
mod peers;
mod prefetch;
mod proven;
mod scan;
mod stats;
mod text;
mod time;
mod tokens;
mod upload;
mod uploads;
mod waiters;
mod watch;

pub use connection::Connection;
pub(crate) use counters::METRICS;
pub use options::{Listening, Options, Shared};
pub use stats::publish_store;

use super::Blob;
use crate::handler::{Handler, Seconds};
use crate::metrics::Metric;
use crate::store::{Item, Store};
use connection::{Activity, Phase, Protocol, State, Wide};
use connection_table::TableWriter;
use counters::{Count, Numbers};
use out::Out;
use prefetch::Batch;
use simoom_io::{Application, Closed, Opened, Reply};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use text::{HELD_MAX_BYTES, LongLines};
use time::Times;
use uploads::Uploads;
use waiters::Waiters;
use watch::Waits;

/// The version of the protocol that Simoom implements. Clients query it to learn the supported
/// commands.
pub const VERSION: &str = "1.6.45";

/// Input that a transport must be able to buffer for one connection: the longest command line with
/// its end. It exceeds the longest header with its key.
pub const INPUT_MAX_BYTES: usize = tokens::LINE_MAX_BYTES + 1;

/// Ranges up to this size are copied: that costs less than to pin the item until the client
/// acknowledges it.
const COPY_MAX_BYTES: usize = simoom_io::send::CHUNK_BYTES;

/// The handler of one worker.
pub struct Memcached {
    store: Arc<Store>,
    shared: Arc<Shared>,
    /// The worker's counters.
    counters: Arc<Numbers>,
    /// Unix seconds of a clock that nobody sets ([`Seconds::steady`]): the store's clock.
    now: u32,
    /// Unix seconds of the system's clock.
    time_of_day: u32,
    out: Out,
    uploads: Uploads,
    long_lines: LongLines,
    table_writer: TableWriter,
    /// Keys with prefetched items, from the current key on.
    prefetched: usize,
    /// The next gets of one key, of the input at hand.
    gets: Batch,
    /// The next keys of the line at hand.
    line_keys: Batch,
    /// Requests that wait until readers release items.
    waiters: Waiters,
    /// Other requests wait, and the handler must serve them before the current request may pin an
    /// item.
    must_queue: bool,
    /// The current request waits for other clients.
    holds_back: bool,
    /// It waits for those that send values, not for readers.
    for_senders: bool,
    /// The last time that a request waited for readers.
    held_back_at: Option<u32>,
    /// An answer of this call pins items.
    shares_items: bool,
    draining: bool,
}

/// The result of one step through the input.
enum Step {
    /// The number of consumed bytes.
    Took(usize),
    /// The handler needs more input or more capacity.
    Wait,
}

impl Memcached {
    /// The handler of worker `worker`, counted from 0. Each worker has a number of its own. The
    /// handler serves at most `connections` at once.
    pub fn new(shared: Arc<Shared>, worker: usize, connections: usize) -> Memcached {
        let table_writer = TableWriter::new(connections);
        shared.register(table_writer.connection_table());
        Memcached {
            store: shared.store().clone(),
            counters: shared.counters().worker(worker),
            now: shared.started(),
            time_of_day: shared.started(),
            out: Out::new(),
            uploads: Uploads::new(connections),
            long_lines: LongLines::default(),
            table_writer,
            prefetched: 0,
            gets: Batch::default(),
            line_keys: Batch::default(),
            waiters: Waiters::new(connections),
            must_queue: false,
            holds_back: false,
            for_senders: false,
            held_back_at: None,
            shares_items: false,
            draining: false,
            shared,
        }
    }

    /// Bytes of memory for the handler of one worker with `connections`, without the store.
    pub const fn memory_bytes(connections: usize) -> usize {
        size_of::<Memcached>()
            + Uploads::memory_bytes(connections)
            + Waiters::memory_bytes(connections)
            + HELD_MAX_BYTES
            + TableWriter::memory_bytes(connections)
    }

    /// As [`Shared::is_proven`], at the current second.
    pub fn is_proven(&self, address: IpAddr) -> bool {
        self.shared.is_proven(address, self.now)
    }

    #[inline]
    fn times(&self) -> Times {
        Times { now: self.now, time_of_day: self.time_of_day }
    }

    #[inline]
    fn add(&self, count: Count, n: u64) {
        self.counters.add(count, n);
    }

    #[inline]
    fn count(&self, count: Count) {
        self.add(count, 1);
    }

    /// As [`Application::prefetch`], for the first request of each input. The caller selects the
    /// connections of this handler.
    pub fn prefetch<'b>(&self, inputs: impl Iterator<Item = &'b [u8]>) {
        self.store.prefetch(inputs.filter_map(prefetch::first_key));
    }

    /// Prefetches the items of the requests in `behind`, which follow the current one. Does nothing
    /// if they are prefetched already.
    #[inline]
    fn prefetch_next(&mut self, behind: &[u8]) {
        self.prefetched = self.prefetched.saturating_sub(1);
        if self.prefetched == 0 && !behind.is_empty() {
            self.prefetch_behind(behind);
        }
    }

    #[inline(never)]
    fn prefetch_behind(&mut self, behind: &[u8]) {
        self.prefetched = self.store.prefetch(prefetch::Keys::of(behind));
    }

    /// Handles any input. Not inlined, so that the code for the usual input is short.
    #[inline(never)]
    fn received_any(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        let queued = reply.queued();
        self.prefetched = 0;
        self.gets.clear();
        (self.holds_back, self.for_senders, self.shares_items) = (false, false, false);
        self.must_queue = !self.waiters.may_pass(conn.slot.as_ref());
        if conn.protocol == Protocol::Unknown {
            conn.protocol = Protocol::of(bytes);
        }
        let (mut at, mut is_partial) = (0, false);
        if matches!(conn.phase, Phase::LongLine(_)) {
            (at, is_partial) = self.go_on_with_line(conn, bytes, reply);
        }
        while at < bytes.len() && !conn.share.is_used_up() && reply.has_capacity() {
            let step = match (conn.phase, conn.protocol) {
                (Phase::Command, Protocol::Text) => self.line(conn, &bytes[at..], reply),
                _ => self.step(conn, &bytes[at..], reply),
            };
            match step {
                Step::Took(n) => at += n,
                Step::Wait => {
                    is_partial = true;
                    break;
                }
            }
            conn.share.count();
            if self.draining && conn.is_between_requests() {
                close(conn, reply);
            }
        }
        if at < bytes.len()
            && let Phase::Keys(keys) = conn.phase
            && !reply.has_capacity()
        {
            at += self.hold_keys(conn, keys, &bytes[at..], reply);
        }
        let added = reply.queued() - queued;
        self.add(Count::BytesRead, at as u64);
        self.add(Count::BytesWritten, added);
        // A line can be without an end after all its keys were answered.
        is_partial |= at == bytes.len() && matches!(conn.phase, Phase::Keys(_));
        self.watch(conn, at, added, is_partial, reply);
        conn.share.settle(reply);
        let read = Activity { at: self.now, state: State::Read };
        if conn.phase != Phase::Command || conn.activity != read {
            self.update_activity(conn);
        }
        at
    }

    /// A step that is no command line of the text protocol.
    #[inline(never)]
    fn step(&mut self, conn: &mut Connection, bytes: &[u8], reply: &mut Reply<'_, Blob>) -> Step {
        match conn.phase {
            Phase::Command => self.packet(conn, bytes, reply),
            Phase::Keys(keys) => self.keys(conn, keys, bytes, reply),
            Phase::LongLine(_) => Step::Wait,
            Phase::Upload(slot) => self.upload(conn, slot, bytes, reply),
            Phase::Skip(Wide(left)) => Step::Took(self.skip(conn, left, bytes)),
            Phase::SkipLine => Step::Took(skip_line(conn, bytes)),
            Phase::Stats(stats) => self.stats(conn, stats, reply),
            Phase::Conns(Wide(number)) => self.conns(conn, number, reply),
            Phase::Dump(dump) => self.dump(conn, dump, reply),
            Phase::Closing => Step::Took(bytes.len()),
        }
    }

    fn skip(&mut self, conn: &mut Connection, left: u64, bytes: &[u8]) -> usize {
        let n = left.min(bytes.len() as u64);
        self.add(Count::Skipped, n);
        conn.phase = if n == left { Phase::Command } else { Phase::Skip(Wide(left - n)) };
        n as usize
    }

    /// Queues a range of an item.
    #[inline]
    fn send(&mut self, item: Item, range: Range<usize>, reply: &mut Reply<'_, Blob>) {
        let copies = range.len() <= COPY_MAX_BYTES
            || (self.is_at_pin_limit(reply) && range.len() <= reply.copyable());
        if copies {
            reply.copy(&item.line()[range]);
        } else {
            self.shares_items = true;
            reply.share(Blob::Item(item), range);
        }
    }

    /// Makes the request wait until readers release items.
    #[cold]
    fn hold_back(&mut self) -> Step {
        self.holds_back = true;
        Step::Wait
    }

    /// Forgets a request that is not completely answered.
    fn abandon(&mut self, conn: &Connection) {
        match conn.phase {
            Phase::Upload(slot) => self.uploads.cancel(slot, self.now),
            Phase::LongLine(slot) => self.long_lines.cancel(slot),
            _ => {}
        }
        if conn.watch.waits == Waits::InLine
            && let Some(slot) = &conn.slot
        {
            self.waiters.leave(slot);
        }
    }

    /// Publishes the activity of a connection for all workers.
    #[cold]
    fn publish_activity(&mut self, conn: &mut Connection, activity: Activity) {
        conn.activity = activity;
        if let Some(slot) = &conn.slot {
            self.table_writer.set_activity(slot, activity);
        }
    }

    /// Publishes the activity of a connection if it has changed.
    #[inline(never)]
    fn update_activity(&mut self, conn: &mut Connection) {
        let activity = conn.activity(self.now);
        if activity != conn.activity {
            self.publish_activity(conn, activity);
        }
    }

    fn hang_up(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        self.count(Count::HungUp);
        close(conn, reply);
    }
}

/// Closes the connection after the queued answers.
fn close(conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
    conn.phase = Phase::Closing;
    reply.close();
}

fn skip_line(conn: &mut Connection, bytes: &[u8]) -> usize {
    match memchr::memchr(b'\n', bytes) {
        Some(end) => {
            conn.phase = Phase::Command;
            end + 1
        }
        None => bytes.len(),
    }
}

impl Application for Memcached {
    type Blob = Blob;
    type Conn = Connection;

    fn wants_ends(&self, _: u16) -> bool {
        true
    }

    fn opened(&mut self, conn: &mut Connection, opened: Opened, reply: &mut Reply<'_, Blob>) {
        self.count(Count::Opened);
        self.begin_watch(reply);
        conn.activity = conn.activity(self.now);
        if let Some(ends) = &opened.ends {
            self.shared.note_handshake(ends.remote.ip(), self.now);
            conn.peer = self.uploads.peer(ends.remote.ip());
        }
        conn.slot = opened.ends.and_then(|ends| self.table_writer.enter(ends, conn.activity));
    }

    fn received(
        &mut self,
        conn: &mut Connection,
        bytes: &[u8],
        reply: &mut Reply<'_, Blob>,
    ) -> usize {
        match self.received_get(conn, bytes, reply) {
            Some(taken) => taken,
            None => self.received_any(conn, bytes, reply),
        }
    }

    fn prefetch(&mut self, inputs: &[(u16, &[u8])]) {
        Memcached::prefetch(self, inputs.iter().map(|(_, input)| *input));
    }

    /// For a transport that buffers less than [`INPUT_MAX_BYTES`]: treat the input as a line
    /// without an end.
    fn overfull(&mut self, conn: &mut Connection, _: &[u8], reply: &mut Reply<'_, Blob>) {
        self.hang_up(conn, reply);
    }

    /// Answers more of a buffered line. The transport delivers again any other input that waits for
    /// capacity or for the next iteration.
    fn resumed(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        if matches!(conn.phase, Phase::LongLine(_)) {
            self.received_any(conn, &[], reply);
        }
    }

    fn timeout(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        self.check(conn, reply);
        // A buffered line may wait for readers.
        self.resumed(conn, reply);
    }

    fn closed(&mut self, conn: &mut Connection, _: Closed) {
        self.abandon(conn);
        self.count(Count::Closed);
        if let Some(slot) = conn.slot.take() {
            self.table_writer.leave(slot);
        }
    }
}

impl Handler for Memcached {
    fn clock(&mut self, seconds: Seconds) {
        let [unix, steady] =
            [seconds.unix, seconds.steady].map(|time| u32::try_from(time).unwrap_or(u32::MAX));
        (self.now, self.time_of_day) = (steady, unix);
        self.store.maintain(self.now);
    }

    /// Starts draining: every connection closes after its current request.
    fn drain(&mut self) {
        self.draining = true;
    }

    fn idle(&self, conn: &Connection) -> bool {
        conn.is_between_requests()
    }

    /// Whether no panic interrupted a change of the store. The other state that workers share is
    /// usable after every step: atomic counters, and lists that only grow.
    fn is_sound(&self) -> bool {
        self.store.is_sound()
    }

    fn publish(&self, sink: &mut dyn FnMut(&'static Metric, u64)) {
        self.counters.of().for_each(|(metric, value)| sink(metric, value));
    }

    fn memory_bytes(connections: usize) -> usize {
        Memcached::memory_bytes(connections)
    }
}

#[cfg(test)]
#[path = "memcached_tests.rs"]
mod tests;
