//! Work done for a connection, in one unit: about what the copy of [`UNIT_BYTES`] costs, 0.1 to
//! 0.3 µs.
//!
//! Input and answers bound what most requests cost, and transports bound both. Some requests cost
//! more than they show: an `append` of one byte copies the item, a dump walks the table. So a
//! handler counts its requests in the connection's [`Share`], and what lies below it [`add`]s what
//! a request costs beyond its bytes. A connection that has used up its share yields, and goes on in
//! the worker's next iteration.

use simoom_io::{Blob, Reply};
use std::cell::Cell;

/// Bytes copied, or walked in order, in one unit of work.
const UNIT_BYTES: u32 = 1024;
/// Units that a connection may use before it yields: some 100 µs.
const SHARE: u16 = 512;

thread_local! {
    /// Bytes of work of this thread that no connection has been charged for.
    static UNCHARGED: Cell<u32> = const { Cell::new(0) };
}

/// Adds work like the copy of so many bytes to the request at hand.
pub(crate) fn add(bytes: usize) {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    UNCHARGED.set(UNCHARGED.get().saturating_add(bytes));
}

/// Forgets work that was done for no connection.
pub(crate) fn forget() {
    UNCHARGED.set(0);
}

/// Bytes of work that no connection has been charged for; none are left.
#[cfg(test)]
pub(crate) fn take() -> usize {
    UNCHARGED.take() as usize
}

/// Work done for one connection since it last yielded. It lasts from call to call: of many segments
/// that come at once, each is a call of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share(u16);

impl Share {
    /// Counts a request, or a step of one, and what it cost beyond its bytes.
    #[inline]
    pub(crate) fn count(&mut self) {
        self.0 = self.0.saturating_add(1);
        if UNCHARGED.get() > 0 {
            self.charge();
        }
    }

    #[cold]
    fn charge(&mut self) {
        let units = UNCHARGED.replace(0) / UNIT_BYTES;
        self.0 = self.0.saturating_add(u16::try_from(units).unwrap_or(u16::MAX)).min(u16::MAX / 2);
    }

    /// Whether the handler is to stop here.
    #[inline]
    pub(crate) fn is_used_up(self) -> bool {
        self.0 >= SHARE
    }

    /// At the end of a call: yields if the share is used up. The next one is whole.
    #[inline]
    pub(crate) fn settle<B: Blob>(&mut self, reply: &mut Reply<'_, B>) {
        if self.is_used_up() {
            *self = Share::default();
            reply.yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(cost_bytes: usize) -> usize {
        let mut share = Share::default();
        let mut count = 0;
        while !share.is_used_up() {
            add(cost_bytes);
            share.count();
            count += 1;
        }
        count
    }

    #[test]
    fn a_share_is_a_number_of_requests_or_of_bytes() {
        assert_eq!(requests(0), 512);
        assert_eq!(requests(1000), 512);
        assert_eq!(requests(100 << 10), 6);
        assert_eq!([requests(1 << 20), requests(usize::MAX)], [1, 1]);
        add(usize::MAX);
        forget();
        assert_eq!(requests(0), 512);
    }
}
