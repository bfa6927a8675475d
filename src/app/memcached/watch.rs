//! Ends connections that take from others: idle ones, requests that come too slowly, readers that
//! do not read.
//!
//! A connection has one deadline. It is set when the connection is opened, and looked at anew when
//! it fires: a request that comes whole and whose answer is copied costs nothing. While a request
//! is incomplete, or an answer that holds items of the store is unsent, the deadline fires every
//! [`CHECK_SECONDS`].
//!
//! A get of an item that cannot be held (readers hold as much as they may) and is too large to be
//! copied waits: the request is offered again after [`HOLD_MS`]. Meanwhile connections that hold
//! items and do not read are reset.

use super::conn::{Conn, Phase};
use super::counters::Count;
use super::{Blob, Memcached};
use simoom_io::{Duration, Reply};

/// Between two looks at a connection that has an incomplete request or an unsent answer.
pub(super) const CHECK_SECONDS: u32 = 3;
/// A request that is held back is offered again after this.
const HOLD_MS: u64 = 20;
/// A client that sends a value, or reads while others wait, may not be slower.
const RATE_MIN_BYTES_PER_SECOND: u64 = 1024;

/// While others wait, a client may not hold an item for longer.
const HOLD_SECONDS: u32 = 30;
/// In so many checks it reads all of it; it may be queued right behind a check, and be read right
/// behind another.
const HOLD_CHECKS: u64 = (HOLD_SECONDS / CHECK_SECONDS - 2) as u64;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Waits {
    /// The next request, or room for an answer.
    #[default]
    Nothing,
    /// The rest of a request.
    Request,
    /// Readers that release items.
    Readers,
}

/// The next check of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    /// Once it may have been idle for too long.
    #[default]
    Idle,
    /// Within [`CHECK_SECONDS`]. At the last check nothing was unsent.
    Soon,
    /// The same, but bytes were unsent.
    SoonUnsent,
}

/// What is known of how fast a client sends and reads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    pub(super) waits: Waits,
    next: Next,
    /// When it began to wait for this, or when that was last checked; seconds modulo 2¹⁶.
    since: u16,
    /// Bytes of a request that have come since then, as far as they were looked at.
    came: u16,
    /// The most KiB that were unsent at a check of the answers at hand.
    held_kib: u16,
    /// Bytes that would be unsent if the client had read nothing since the last check.
    unsent: u32,
}

impl Watch {
    /// From now on the connection waits for the rest of a request.
    pub(super) fn begin_request(&mut self, now: u32) {
        self.waits = Waits::Request;
        self.restart(now);
    }

    fn restart(&mut self, now: u32) {
        (self.since, self.came) = (now as u16, 0);
    }

    /// Whether the client has read too little since the last check, of what was unsent then. While
    /// others wait, the least rate grows with what the client holds: it is read, or given up, in
    /// [`HOLD_SECONDS`].
    fn is_stalled(&mut self, unsent: u64, others_wait: bool) -> bool {
        let expected = std::mem::replace(&mut self.unsent, unsent as u32);
        let next = if unsent > 0 { Next::SoonUnsent } else { Next::Soon };
        let was_unsent = std::mem::replace(&mut self.next, next) == Next::SoonUnsent;
        let read = u64::from(expected).saturating_sub(unsent);
        let least = RATE_MIN_BYTES_PER_SECOND * u64::from(CHECK_SECONDS);
        let share = u64::from(self.held_kib) * 1024 / HOLD_CHECKS;
        let unsent_kib = u16::try_from(unsent / 1024).unwrap_or(u16::MAX);
        // A client that has read half of all there was holds little of what it held then.
        let is_other = 2 * read >= u64::from(expected);
        self.held_kib = if is_other { unsent_kib } else { self.held_kib.max(unsent_kib) };
        let is_slow = read < least && 4 * read < unsent;
        was_unsent && unsent > 0 && (is_slow || (others_wait && read < share))
    }
}

impl Memcached {
    /// A connection was opened.
    pub(super) fn begin_watch(&self, reply: &mut Reply<'_, Blob>) {
        let idle = self.shared.options().idle_seconds;
        if idle > 0 {
            reply.set_timeout(Some(Duration::from_secs(u64::from(idle) + 1)));
        }
    }

    /// Input was offered and so many bytes of it were taken, after which `added` bytes more were
    /// unsent. `is_partial` says whether the handler waits for more input.
    #[inline]
    pub(super) fn watch(
        &mut self,
        conn: &mut Conn,
        taken: usize,
        added: u64,
        is_partial: bool,
        reply: &mut Reply<'_, Blob>,
    ) {
        let watch = &mut conn.watch;
        watch.unsent = watch.unsent.saturating_add(added as u32);
        let waits = match conn.phase {
            _ if self.holds_back => Waits::Readers,
            Phase::Upload(_) | Phase::Skip(_) | Phase::SkipLine => Waits::Request,
            Phase::Command | Phase::Keys(_) | Phase::LongLine(_) if is_partial => Waits::Request,
            _ => Waits::Nothing,
        };
        if waits != Waits::Nothing || waits != watch.waits || self.shares_items {
            self.look_soon(conn, taken, waits, reply);
        }
    }

    /// Notes what the connection waits for from now on. A request that is taken as it comes noted
    /// itself when it began: no part of it that comes starts the time anew.
    fn wait_for(&mut self, watch: &mut Watch, is_command: bool, taken: usize, waits: Waits) {
        let was = std::mem::replace(&mut watch.waits, waits);
        let is_other =
            waits != was && (is_command || waits == Waits::Readers || was == Waits::Readers);
        if is_other || (is_command && taken > 0) {
            watch.restart(self.now);
        } else {
            watch.came = watch.came.saturating_add(u16::try_from(taken).unwrap_or(u16::MAX));
        }
    }

    #[cold]
    fn look_soon(
        &mut self,
        conn: &mut Conn,
        taken: usize,
        waits: Waits,
        reply: &mut Reply<'_, Blob>,
    ) {
        let is_command = conn.phase == Phase::Command;
        self.wait_for(&mut conn.watch, is_command, taken, waits);
        if waits == Waits::Nothing && !self.shares_items {
            return;
        }
        if conn.watch.waits == Waits::Readers {
            self.count(Count::HeldBack);
            self.held_back_at = Some(self.now);
            reply.read_later();
            reply.set_timeout(Some(Duration::from_millis(HOLD_MS)));
        } else if conn.watch.next == Next::Idle {
            reply.set_timeout(Some(Duration::from_secs(CHECK_SECONDS.into())));
        }
        if conn.watch.next == Next::Idle {
            conn.watch.next = Next::Soon;
        }
    }

    /// The deadline has passed: ends the connection if it has to be, or sets the next one.
    pub(super) fn check(&mut self, conn: &mut Conn, reply: &mut Reply<'_, Blob>) {
        if conn.watch.waits != Waits::Readers && !reply.has_capacity() {
            // The rest of a request is not looked at before the client reads; the send timeout
            // bounds that.
            conn.watch.restart(self.now);
        }
        let waited = u32::from((self.now as u16).wrapping_sub(conn.watch.since));
        match conn.watch.waits {
            Waits::Request if waited >= self.shared.options().request_seconds => {
                if self.is_slow(conn) {
                    self.count(Count::SlowRequests);
                    return reply.abort();
                }
                conn.watch.restart(self.now);
            }
            Waits::Readers if waited < CHECK_SECONDS => return self.look_again(conn, reply),
            Waits::Readers => conn.watch.restart(self.now),
            _ => {}
        }
        let held_back = self.held_back_at.is_some_and(|at| self.now - at <= CHECK_SECONDS);
        if conn.watch.is_stalled(reply.queued(), held_back) && self.store.is_near_pin_limit() {
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
            conn.watch.next = Next::Idle;
            return reply.set_timeout(Some(Duration::from_secs(u64::from(idle + 1 - silent))));
        }
        self.look_again(conn, reply);
    }

    fn look_again(&self, conn: &mut Conn, reply: &mut Reply<'_, Blob>) {
        if conn.watch.waits == Waits::Nothing && reply.queued() == 0 {
            conn.watch.next = Next::Idle;
        } else {
            reply.set_timeout(Some(Duration::from_secs(CHECK_SECONDS.into())));
        }
    }

    /// Whether too little of a request has come since the last check: of one that is taken as it
    /// comes less than the least rate allows, of any other not the end.
    fn is_slow(&self, conn: &Conn) -> bool {
        let least = RATE_MIN_BYTES_PER_SECOND * u64::from(self.shared.options().request_seconds);
        conn.phase == Phase::Command || u64::from(conn.watch.came) < least.min(u16::MAX.into())
    }

    /// Whether the item under `key` can be neither held nor copied now, so that its request must
    /// wait.
    #[inline]
    pub(super) fn must_wait(&self, key: &[u8], reply: &Reply<'_, Blob>) -> bool {
        self.store.is_at_pin_limit(reply.queued() > 0) && !self.can_copy(key, reply)
    }

    #[cold]
    fn can_copy(&self, key: &[u8], reply: &Reply<'_, Blob>) -> bool {
        self.store.line_bytes(key, self.now).is_none_or(|bytes| bytes <= reply.copyable())
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
