//! Ends connections that take resources from others: idle connections, slow requests, and clients
//! that do not read.
//!
//! A connection has one deadline. The handler sets it when the connection opens, and updates it
//! only when it fires. So a request that arrives whole and gets a copied answer costs nothing.
//! While a request is incomplete, or an unsent answer pins items of the store, the deadline fires
//! every [`CHECK_SECONDS`].
//!
//! A get of a large item waits in a queue while readers pin the maximum memory
//! ([`super::waiters`]). Meanwhile, connections that pin items and do not read are reset. The
//! longer the first request waits, the faster clients must read, so it waits for about a second.
//! For that, each connection is checked every [`QUARTER_MS`] while readers pin much memory.
//!
//! A value waits while those of others fill the memory for incoming values: its request is not
//! consumed, and retries every [`POLL_MS`]. Those that hold the memory need nothing but their own
//! clients' bytes, so they end; and after [`LATE_SECONDS`] the value that waits displaces one that
//! is late ([`super::uploads::Way`]).

use super::connection::{Connection, Phase};
use super::counters::Count;
use super::waiters::POLL_MS;
use super::{Blob, Memcached};
use simoom_io::{Duration, Reply};

/// Interval of checks of a connection with an incomplete request or an unsent answer.
pub(super) const CHECK_SECONDS: u32 = 3;
/// Quarters between two checks while readers pin much memory.
const QUARTERS: u8 = 12;
/// Length of a quarter.
const QUARTER_MS: u64 = CHECK_SECONDS as u64 * 1000 / QUARTERS as u64;
/// Quarters after which the client's read rate is known.
const QUARTERS_MIN: u8 = 2;
/// Pairs of a waiting time and a limit. Once a request has waited for the first, each reader must
/// be able to read its answers within the second. The strictest pair is last.
const READING_LIMITS_MS: [(u64, u64); 3] = [(250, 8000), (500, 4000), (1000, 1000)];
/// The minimum rate of a client that sends a value, or that reads while others wait.
const RATE_MIN_BYTES_PER_SECOND: u64 = 1024;

/// Seconds, begun ones included, that a value waits for others to be complete before it takes the
/// memory of one that is late.
pub(super) const LATE_SECONDS: u16 = 2;
/// The same before it is refused.
pub(super) const SENDERS_SECONDS: u16 = 5;

/// The maximum time that a client may pin an item while others wait.
const HOLD_SECONDS: u32 = 30;
/// Checks within which a client must read everything. Data may be queued just after a check, and
/// read just after another.
const HOLD_CHECKS: u64 = (HOLD_SECONDS / CHECK_SECONDS - 2) as u64;

/// The event that a connection waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Waits {
    /// The next request, or capacity for an answer.
    #[default]
    Nothing,
    /// The end of a request.
    Request,
    /// Readers that release items. The client itself is one: it has not read all of its answers.
    Readers,
    /// Readers that release items, in the queue.
    InLine,
    /// Clients that send values, and fill the memory for them.
    Senders,
}

impl Waits {
    fn for_readers(self) -> bool {
        matches!(self, Waits::Readers | Waits::InLine)
    }

    /// Whether the request retries every [`POLL_MS`].
    fn for_others(self) -> bool {
        self.for_readers() || self == Waits::Senders
    }
}

/// The next look at a connection, in one byte. Holds 3 values: whether a look is due, whether bytes
/// were unsent at the last check, and the number of quarters since then. The number is 0 if the
/// next look is a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Next(u8);

impl Next {
    /// At the idle timeout.
    const IDLE: Next = Next(0);

    fn soon(was_unsent: bool, quarters: u8) -> Next {
        Next(1 | u8::from(was_unsent) << 1 | quarters << 2)
    }

    fn was_unsent(self) -> bool {
        self.0 & 2 != 0
    }

    fn quarters(self) -> u8 {
        self.0 >> 2
    }

    /// The time until the look.
    fn after(self) -> Duration {
        let is_check = self.quarters() == 0;
        Duration::from_millis(if is_check { CHECK_SECONDS as u64 * 1000 } else { QUARTER_MS })
    }
}

/// The rates at which a client sends and reads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    pub(super) waits: Waits,
    next: Next,
    /// Start of the current wait, or time of its last check. Seconds modulo 2¹⁶.
    since: u16,
    /// Bytes of a request since then, up to the last look. While the client waits for readers:
    /// retries since the last look.
    came: u16,
    /// The maximum of unsent KiB at the checks of the current answers.
    held_kib: u16,
    /// Bytes that would be unsent if the client had read nothing since the last check.
    unsent: u32,
}

impl Watch {
    /// Records that the connection waits for the end of a request.
    pub(super) fn begin_request(&mut self, now: u32) {
        self.waits = Waits::Request;
        self.restart(now);
    }

    /// Records that `bytes` were queued.
    #[inline]
    pub(super) fn queued(&mut self, bytes: u64) {
        self.unsent = self.unsent.saturating_add(bytes as u32);
    }

    /// Seconds, begun ones included, that a value has waited until those of others are complete.
    pub(super) fn waited_for_senders(&self, now: u32) -> u16 {
        if self.waits == Waits::Senders { (now as u16).wrapping_sub(self.since) } else { 0 }
    }

    fn restart(&mut self, now: u32) {
        (self.since, self.came) = (now as u16, 0);
    }

    /// Whether the client has read too little since the last check. While others wait, the minimum
    /// rate grows with the memory that the client pins, so the client reads it within
    /// [`HOLD_SECONDS`] or is reset.
    fn is_stalled(&mut self, unsent: u64, others_wait: bool) -> bool {
        let expected = std::mem::replace(&mut self.unsent, unsent as u32);
        let was_unsent = std::mem::replace(&mut self.next, Next::soon(unsent > 0, 0)).was_unsent();
        let read = u64::from(expected).saturating_sub(unsent);
        let least = RATE_MIN_BYTES_PER_SECOND * u64::from(CHECK_SECONDS);
        let share = u64::from(self.held_kib) * 1024 / HOLD_CHECKS;
        let unsent_kib = u16::try_from(unsent / 1024).unwrap_or(u16::MAX);
        // A client that has read at least half pins little of the earlier memory.
        let is_other = 2 * read >= u64::from(expected);
        self.held_kib = if is_other { unsent_kib } else { self.held_kib.max(unsent_kib) };
        let is_slow = read < least && 4 * read < unsent;
        was_unsent && unsent > 0 && (is_slow || (others_wait && read < share))
    }

    /// Whether the client needs more than `limit_ms` to read its answers, at its rate since the
    /// last check.
    fn needs_longer_than(&self, limit_ms: u64, unsent: u64) -> bool {
        let quarters = self.next.quarters();
        let read = u64::from(self.unsent).saturating_sub(unsent);
        quarters >= QUARTERS_MIN && unsent * u64::from(quarters) * QUARTER_MS > read * limit_ms
    }
}

impl Memcached {
    /// Starts the idle timeout of a new connection.
    pub(super) fn begin_watch(&self, reply: &mut Reply<'_, Blob>) {
        let idle = self.shared.options().idle_seconds;
        if idle > 0 {
            reply.set_timeout(Some(Duration::from_secs(u64::from(idle) + 1)));
        }
    }

    /// Records consumed input. `added` is the growth of the unsent bytes. `is_partial` tells
    /// whether the handler waits for more input.
    #[inline]
    pub(super) fn watch(
        &mut self,
        conn: &mut Connection,
        taken: usize,
        added: u64,
        is_partial: bool,
        reply: &mut Reply<'_, Blob>,
    ) {
        let watch = &mut conn.watch;
        watch.queued(added);
        let is_quiet = conn.phase == Phase::Command && watch.waits == Waits::Nothing;
        if is_quiet && !(is_partial | self.holds_back | self.shares_items) {
            return;
        }
        let waits = match conn.phase {
            _ if self.for_senders => Waits::Senders,
            _ if self.holds_back && reply.queued() > 0 => Waits::Readers,
            _ if self.holds_back => Waits::InLine,
            Phase::Upload(_) | Phase::Skip(_) | Phase::SkipLine => Waits::Request,
            Phase::Command | Phase::Keys(_) | Phase::LongLine(_) if is_partial => Waits::Request,
            _ => Waits::Nothing,
        };
        if waits != Waits::Nothing || waits != watch.waits || self.shares_items {
            self.look_soon(conn, taken, waits, reply);
        }
    }

    /// Records the event that the connection waits for. An upload recorded itself at its start:
    /// later chunks do not restart the time.
    fn wait_for(&mut self, conn: &mut Connection, taken: usize, waits: Waits) {
        let is_command = conn.phase == Phase::Command;
        let was = std::mem::replace(&mut conn.watch.waits, waits);
        if let Some(slot) = &conn.slot {
            match (was, waits) {
                (Waits::InLine, Waits::InLine) => self.waiters.poll(slot),
                (Waits::InLine, _) => self.waiters.leave(slot),
                (_, Waits::InLine) => self.waiters.enter(slot, conn.peer),
                _ => {}
            }
        }
        if was.for_readers() && waits.for_readers() {
            return;
        }
        let is_other = waits != was && (is_command || waits.for_readers() || was.for_readers());
        if is_other || (is_command && taken > 0) {
            conn.watch.restart(self.now);
        } else {
            let taken = u16::try_from(taken).unwrap_or(u16::MAX);
            conn.watch.came = conn.watch.came.saturating_add(taken);
        }
    }

    #[cold]
    fn look_soon(
        &mut self,
        conn: &mut Connection,
        taken: usize,
        waits: Waits,
        reply: &mut Reply<'_, Blob>,
    ) {
        let leaves_line = conn.watch.waits == Waits::InLine && waits != Waits::InLine;
        self.wait_for(conn, taken, waits);
        if waits == Waits::Nothing && !self.shares_items {
            return;
        }
        let looks_often = waits.for_others() || self.store.is_near_pin_limit();
        let watch = &mut conn.watch;
        let was = watch.next;
        if was == Next::IDLE || leaves_line {
            watch.unsent = reply.queued() as u32;
            watch.next = Next::soon(false, looks_often.into());
        } else if was.quarters() == 0 && looks_often {
            watch.next = Next::soon(was.was_unsent(), 1);
        }
        if waits.for_others() {
            if waits.for_readers() {
                self.held_back_at = Some(self.now);
            }
            self.count(Count::HeldBack);
            reply.read_later();
            reply.set_timeout(Some(Duration::from_millis(POLL_MS)));
        } else if conn.watch.next != was || leaves_line {
            reply.set_timeout(Some(conn.watch.next.after()));
        }
    }

    /// Handles the deadline: ends the connection if a limit is exceeded, or sets the next deadline.
    pub(super) fn check(&mut self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        if !conn.watch.waits.for_others() && !reply.has_capacity() {
            // A client that must read first gets no check of its incomplete request. The send
            // timeout bounds that time.
            conn.watch.restart(self.now);
        }
        if conn.watch.waits.for_others() {
            conn.watch.came += 1;
            if u64::from(conn.watch.came) * POLL_MS < QUARTER_MS {
                return self.look_again(conn, reply);
            }
            conn.watch.came = 0;
        }
        let waited = u32::from((self.now as u16).wrapping_sub(conn.watch.since));
        if conn.watch.waits == Waits::Request && waited >= self.shared.options().request_seconds {
            if self.is_slow(conn) {
                self.count(Count::SlowRequests);
                return reply.abort();
            }
            conn.watch.restart(self.now);
        }
        if self.holds_too_long(conn, reply.queued()) {
            self.count(Count::StalledReaders);
            return reply.abort();
        }
        let silent = self.now.saturating_sub(conn.activity.at);
        let idle = self.shared.options().idle_seconds;
        if conn.watch.waits == Waits::Nothing && reply.queued() == 0 && idle > 0 {
            if silent > idle {
                self.count(Count::IdleKicks);
                return super::close(conn, reply);
            }
            conn.watch.next = Next::IDLE;
            return reply.set_timeout(Some(Duration::from_secs(u64::from(idle + 1 - silent))));
        }
        self.look_again(conn, reply);
    }

    fn look_again(&self, conn: &mut Connection, reply: &mut Reply<'_, Blob>) {
        if conn.watch.waits == Waits::Nothing && reply.queued() == 0 {
            conn.watch.next = Next::IDLE;
        } else {
            reply.set_timeout(Some(conn.watch.next.after()));
        }
    }

    /// Handles the end of a quarter or of a check interval. Returns whether the client reads too
    /// slowly while others need the memory that it pins.
    fn holds_too_long(&mut self, conn: &mut Connection, unsent: u64) -> bool {
        let (quarters, was_unsent) = (conn.watch.next.quarters(), conn.watch.next.was_unsent());
        let waited_ms = self.waiters.waited_ms(self.store.is_at_pin_limit(false));
        let limit = READING_LIMITS_MS.iter().rev().find(|(after_ms, _)| waited_ms >= *after_ms);
        let is_hurried = unsent > 0
            && limit.is_some_and(|(_, limit)| conn.watch.needs_longer_than(*limit, unsent));
        if is_hurried {
            self.waiters.make_space();
        }
        if is_hurried || (1..QUARTERS).contains(&quarters) {
            conn.watch.next = Next::soon(was_unsent, quarters + 1);
            return is_hurried;
        }
        let others_wait = self.held_back_at.is_some_and(|at| self.now - at <= CHECK_SECONDS);
        let is_stalled = conn.watch.is_stalled(unsent, others_wait);
        let is_near_pin_limit = self.store.is_near_pin_limit();
        if is_near_pin_limit || conn.watch.waits.for_others() {
            conn.watch.next = Next::soon(conn.watch.next.was_unsent(), 1);
        }
        is_stalled && is_near_pin_limit
    }

    /// Whether too little of a request has arrived since the last check. An upload must reach the
    /// minimum rate. Any other request must be complete.
    fn is_slow(&self, conn: &Connection) -> bool {
        let least = RATE_MIN_BYTES_PER_SECOND * u64::from(self.shared.options().request_seconds);
        conn.phase == Phase::Command || u64::from(conn.watch.came) < least.min(u16::MAX.into())
    }

    /// Whether the item under `key` can be neither pinned nor copied now, so that its request must
    /// wait.
    #[inline]
    pub(super) fn must_wait(&self, key: &[u8], reply: &Reply<'_, Blob>) -> bool {
        self.is_at_pin_limit(reply) && !self.can_copy(key, reply)
    }

    /// Whether the current answer may not pin an item.
    #[inline]
    pub(super) fn is_at_pin_limit(&self, reply: &Reply<'_, Blob>) -> bool {
        self.must_queue || self.store.is_at_pin_limit(reply.queued() > 0)
    }

    #[cold]
    fn can_copy(&self, key: &[u8], reply: &Reply<'_, Blob>) -> bool {
        self.store.line_bytes(key, self.now).is_none_or(|bytes| bytes <= reply.copyable())
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
