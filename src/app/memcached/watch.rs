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
use super::tally::Count;
use super::{Blob, Memcached};
use simoom_stack::{Duration, Reply};

/// Between two looks at a connection that has an incomplete request or an unsent answer.
pub(super) const CHECK_SECONDS: u32 = 3;
/// A request that is held back is offered again after this.
const HOLD_MS: u64 = 20;
/// A client that sends a value, or reads while others wait, may not be slower.
const RATE_MIN_BYTES_PER_SECOND: u64 = 1024;

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
    /// Bytes that would be unsent if the client had read nothing since the last check.
    unsent: u32,
}

impl Watch {
    /// From now on the connection waits for the rest of a request.
    pub(super) fn begin_request(&mut self, now: u32) {
        (self.waits, self.since) = (Waits::Request, now as u16);
    }

    /// Whether the client has read too little since the last check, of what was unsent then.
    fn is_stalled(&mut self, unsent: u64) -> bool {
        let expected = std::mem::replace(&mut self.unsent, unsent as u32);
        let next = if unsent > 0 { Next::SoonUnsent } else { Next::Soon };
        let was_unsent = std::mem::replace(&mut self.next, next) == Next::SoonUnsent;
        let read = u64::from(expected).saturating_sub(unsent);
        let least = RATE_MIN_BYTES_PER_SECOND * u64::from(CHECK_SECONDS);
        was_unsent && read < least && 4 * read < unsent
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
            Phase::Upload(_) => Waits::Request,
            Phase::Command | Phase::Keys(_) | Phase::LongLine(_) if is_partial => Waits::Request,
            _ => Waits::Nothing,
        };
        let is_other_request = taken > 0 && !matches!(conn.phase, Phase::Upload(_));
        if waits != watch.waits || (is_other_request && waits == Waits::Request) {
            (watch.waits, watch.since) = (waits, self.now as u16);
        }
        if waits != Waits::Nothing || self.shares_items {
            self.look_soon(conn, reply);
        }
    }

    #[cold]
    fn look_soon(&mut self, conn: &mut Conn, reply: &mut Reply<'_, Blob>) {
        if conn.watch.waits == Waits::Readers {
            self.count(Count::HeldBack);
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
        let waited = u32::from((self.now as u16).wrapping_sub(conn.watch.since));
        match conn.watch.waits {
            Waits::Request if waited >= self.shared.options().request_seconds => {
                if self.is_slow(conn) {
                    self.count(Count::SlowRequests);
                    return reply.abort();
                }
                conn.watch.since = self.now as u16;
            }
            Waits::Readers if waited < CHECK_SECONDS => return self.look_again(conn, reply),
            Waits::Readers => conn.watch.since = self.now as u16,
            _ => {}
        }
        if conn.watch.is_stalled(reply.queued()) && self.store.is_pinned_much() {
            self.count(Count::StalledReaders);
            return reply.abort();
        }
        let silent = self.now.saturating_sub(conn.doing.at);
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

    /// Whether too little of a request has come since the last check: of a value less than the
    /// least rate allows, of anything else not the end.
    fn is_slow(&mut self, conn: &Conn) -> bool {
        let Phase::Upload(place) = conn.phase else { return true };
        let least = RATE_MIN_BYTES_PER_SECOND * u64::from(self.shared.options().request_seconds);
        (self.uploads.came(place) as u64) < least
    }

    /// Whether the item under `key` can be neither held nor copied now, so that its request must
    /// wait.
    #[inline]
    pub(super) fn must_wait(&self, key: &[u8], reply: &Reply<'_, Blob>) -> bool {
        self.store.is_pinned_out(reply.queued() > 0) && !self.can_copy(key, reply)
    }

    #[cold]
    fn can_copy(&self, key: &[u8], reply: &Reply<'_, Blob>) -> bool {
        self.store.line_bytes(key, self.now).is_none_or(|bytes| bytes <= reply.copyable())
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
