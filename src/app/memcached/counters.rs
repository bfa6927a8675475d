//! The counters of all workers, so that any worker can answer `stats`. Each worker adds to its own
//! counters, and all workers read all of them. Counting costs a load and a store in a cache line
//! that no other worker writes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

macro_rules! counts {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// The counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Count { $($(#[$doc])* $variant,)* }

        /// The published names, in the order of the enum.
        const NAMES: [&str; COUNTS] = [$(concat!("memcached_", $name),)*];
        const COUNTS: usize = [$($name,)*].len();
    };
}

counts! {
    /// Connections opened.
    Opened "connections",
    /// Connections ended.
    Closed "connections_closed",
    /// Keys requested by retrieval commands.
    CmdGet "cmd_get",
    /// Values of storage commands for which space was reserved.
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
    /// Deletions of an existing item.
    DeleteHits "delete_hits",
    /// Deletions without an item.
    DeleteMisses "delete_misses",
    /// Numbers incremented.
    IncrHits "incr_hits",
    /// `incr` without an item.
    IncrMisses "incr_misses",
    /// Numbers decremented.
    DecrHits "decr_hits",
    /// `decr` without an item.
    DecrMisses "decr_misses",
    /// `cas` that stored a value.
    CasHits "cas_hits",
    /// `cas` without an item.
    CasMisses "cas_misses",
    /// `cas` of an item that has changed.
    CasBadval "cas_badval",
    /// Touches of an existing item.
    TouchHits "touch_hits",
    /// Touches without an item.
    TouchMisses "touch_misses",
    /// Values refused: too large.
    TooLarge "store_too_large",
    /// Values refused: out of memory.
    NoMemory "store_no_memory",
    /// Values without a line end at the announced length.
    BadChunks "bad_data_chunks",
    /// Command lines and binary requests refused.
    Refused "refused",
    /// Connections closed because of invalid input.
    HungUp "hung_up",
    /// Values that arrived in parts.
    Streamed "values_streamed",
    /// Incomplete values that lost their space to newer ones.
    Displaced "uploads_displaced",
    /// Connections ended because a request arrived too slowly.
    SlowRequests "slow_requests_ended",
    /// Connections ended because they did not read while others needed the memory of their answers.
    StalledReaders "stalled_readers_ended",
    /// Requests delayed until readers release items.
    HeldBack "requests_held_back",
    /// Connections closed because they were idle.
    IdleKicks "idle_kicks",
    /// Bytes of refused values that were skipped.
    Skipped "value_bytes_skipped",
    /// Bytes of requests.
    BytesRead "bytes_read",
    /// Bytes of answers.
    BytesWritten "bytes_written",
}

/// The counters of one worker, on cache lines of their own.
#[repr(align(128))]
#[derive(Debug)]
struct Numbers([AtomicU64; COUNTS]);

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// The counters of all workers.
#[derive(Debug)]
pub(crate) struct Counters {
    workers: Box<[Numbers]>,
    /// The sums at the last `stats reset`.
    since: Mutex<[u64; COUNTS]>,
}

impl Counters {
    pub(crate) fn new(workers: usize) -> Counters {
        Counters {
            workers: (0..workers).map(|_| Numbers::default()).collect(),
            since: Mutex::new([0; COUNTS]),
        }
    }

    /// Adds to a counter of `worker`. Only that worker may call this.
    #[inline]
    pub(crate) fn add(&self, worker: usize, count: Count, n: u64) {
        let number = &self.workers[worker].0[count as usize];
        number.store(number.load(Relaxed) + n, Relaxed);
    }

    /// The sum over all workers since `stats reset`.
    pub(crate) fn sum(&self, count: Count) -> u64 {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner)[count as usize];
        self.total(count) - since
    }

    /// The sum over all workers since start.
    pub(crate) fn total(&self, count: Count) -> u64 {
        self.workers.iter().map(|worker| worker.0[count as usize].load(Relaxed)).sum()
    }

    /// `stats reset`: sums start at 0 again. Published counters continue.
    pub(crate) fn reset(&self) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, since) in since.iter_mut().enumerate() {
            *since = self.workers.iter().map(|worker| worker.0[index].load(Relaxed)).sum();
        }
    }

    /// The published names and values of `worker`.
    pub(crate) fn of(&self, worker: usize) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.into_iter().zip(self.workers[worker].0.iter().map(|number| number.load(Relaxed)))
    }

    /// Open connections, regardless of `stats reset`.
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
