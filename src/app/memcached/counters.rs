//! What the workers count, so that any of them can answer `stats` for all: each adds to numbers of
//! its own, and any reads everybody's. Counting costs a load and a store of a line that no other
//! worker writes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

macro_rules! counts {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Count { $($(#[$doc])* $variant,)* }

        /// The names that they are published by, in the order of the enum.
        const NAMES: [&str; COUNTS] = [$(concat!("memcached_", $name),)*];
        const COUNTS: usize = [$($name,)*].len();
    };
}

counts! {
    /// Connections opened.
    Opened "connections",
    /// Connections that have ended.
    Closed "connections_closed",
    /// Keys asked for by retrieval commands, each once.
    CmdGet "cmd_get",
    /// Values that came with storage commands and found space.
    CmdSet "cmd_set",
    /// `flush_all` commands.
    CmdFlush "cmd_flush",
    /// Keys touched, by `touch`, `gat` or a meta flag.
    CmdTouch "cmd_touch",
    /// `me` commands.
    CmdMeta "cmd_meta",
    /// Keys found.
    GetHits "get_hits",
    /// Keys not found.
    GetMisses "get_misses",
    /// Deletions of what was there.
    DeleteHits "delete_hits",
    /// Deletions of what was not.
    DeleteMisses "delete_misses",
    /// Numbers counted up.
    IncrHits "incr_hits",
    /// `incr` of what was not there.
    IncrMisses "incr_misses",
    /// Numbers counted down.
    DecrHits "decr_hits",
    /// `decr` of what was not there.
    DecrMisses "decr_misses",
    /// `cas` that stored.
    CasHits "cas_hits",
    /// `cas` of what was not there.
    CasMisses "cas_misses",
    /// `cas` of what has changed since.
    CasBadval "cas_badval",
    /// Touches of what was there.
    TouchHits "touch_hits",
    /// Touches of what was not.
    TouchMisses "touch_misses",
    /// Values refused because of their size.
    TooLarge "store_too_large",
    /// Values refused because no memory could be had.
    NoMemory "store_no_memory",
    /// Values whose end was not where it was announced.
    BadChunks "bad_data_chunks",
    /// Command lines refused, and requests of the binary protocol.
    Refused "refused",
    /// Connections closed because they talked nonsense.
    HungUp "hung_up",
    /// Values that came in pieces.
    Streamed "values_streamed",
    /// Values in progress that gave their space up to newer ones.
    Displaced "uploads_displaced",
    /// Connections ended because a request of theirs came too slowly.
    SlowRequests "slow_requests_ended",
    /// Connections ended because they did not read while others needed what their answers hold.
    StalledReaders "stalled_readers_ended",
    /// Requests held back until readers release items.
    HeldBack "requests_held_back",
    /// Connections closed because they were idle.
    IdleKicks "idle_kicks",
    /// Bytes of values read past because they were refused.
    Skipped "value_bytes_skipped",
    /// Bytes of requests.
    BytesRead "bytes_read",
    /// Bytes of answers.
    BytesWritten "bytes_written",
}

/// The numbers of one worker, on cache lines of their own.
#[repr(align(128))]
#[derive(Debug)]
struct Numbers([AtomicU64; COUNTS]);

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// The numbers of all workers.
#[derive(Debug)]
pub(crate) struct Counters {
    workers: Box<[Numbers]>,
    /// What the numbers came to when `stats reset` was last heard.
    since: Mutex<[u64; COUNTS]>,
}

impl Counters {
    pub(crate) fn new(workers: usize) -> Counters {
        Counters {
            workers: (0..workers).map(|_| Numbers::default()).collect(),
            since: Mutex::new([0; COUNTS]),
        }
    }

    /// Adds to a number of `worker`. No other thread may add to this worker's.
    #[inline]
    pub(crate) fn add(&self, worker: usize, count: Count, n: u64) {
        let number = &self.workers[worker].0[count as usize];
        number.store(number.load(Relaxed) + n, Relaxed);
    }

    /// What all workers have counted since `stats reset`.
    pub(crate) fn sum(&self, count: Count) -> u64 {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner)[count as usize];
        self.total(count) - since
    }

    /// What all workers have ever counted.
    pub(crate) fn total(&self, count: Count) -> u64 {
        self.workers.iter().map(|worker| worker.0[count as usize].load(Relaxed)).sum()
    }

    /// `stats reset`: from now on sums begin anew. What is published goes on.
    pub(crate) fn reset(&self) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, since) in since.iter_mut().enumerate() {
            *since = self.workers.iter().map(|worker| worker.0[index].load(Relaxed)).sum();
        }
    }

    /// Each name and what `worker` has counted.
    pub(crate) fn of(&self, worker: usize) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.into_iter().zip(self.workers[worker].0.iter().map(|number| number.load(Relaxed)))
    }

    /// Connections open now, `stats reset` or not.
    pub(crate) fn open_connections(&self) -> u64 {
        self.total(Count::Opened).saturating_sub(self.total(Count::Closed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_of_all_workers_and_begin_anew_when_told() {
        let counters = Counters::new(2);
        counters.add(0, Count::GetHits, 2);
        counters.add(1, Count::GetHits, 3);
        assert_eq!((counters.sum(Count::GetHits), counters.sum(Count::GetMisses)), (5, 0));
        counters.reset();
        counters.add(1, Count::GetHits, 1);
        assert_eq!((counters.sum(Count::GetHits), counters.total(Count::GetHits)), (1, 6));
        let published: Vec<_> = counters.of(1).filter(|(_, value)| *value > 0).collect();
        assert_eq!(published, [("memcached_get_hits", 4)]);
    }
}
