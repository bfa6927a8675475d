//! The counters of all workers, so that any worker can answer `stats`. Each worker adds to its own
//! counters, and all workers read all of them. Counting costs a load and a store in a cache line
//! that no other worker writes.

use crate::metrics::Metric;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

macro_rules! counts {
    ($($(#[doc = $help:literal])+ $variant:ident $name:literal $(: $mark:ident)?,)*) => {
        /// The counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Count { $($(#[doc = $help])+ $variant,)* }

        /// The metrics, in the order of the enum.
        pub(crate) static METRICS: [Metric; COUNTS] = [$(
            Metric::new(concat!("memcached_", $name), concat!($($help),+))$(.$mark())?,
        )*];
        const COUNTS: usize = [$($name,)*].len();
    };
}

counts! {
    /// Connections to memcached that were opened.
    Opened "connections",
    /// Connections to memcached that ended.
    Closed "connections_closed",
    /// Keys of retrieval commands, each counted once.
    CmdGet "cmd_get",
    /// Values of storage commands that found memory.
    CmdSet "cmd_set",
    /// Commands `flush_all`.
    CmdFlush "cmd_flush",
    /// Keys touched by `touch`, `gat` or a meta flag.
    CmdTouch "cmd_touch",
    /// Commands `me`.
    CmdMeta "cmd_meta",
    /// Keys of retrieval commands that were found.
    GetHits "get_hits",
    /// Keys of retrieval commands that were not found.
    GetMisses "get_misses",
    /// Deletions of an item that existed.
    DeleteHits "delete_hits",
    /// Deletions of an item that did not exist.
    DeleteMisses "delete_misses",
    /// Commands `incr` for an item that existed.
    IncrHits "incr_hits",
    /// Commands `incr` for an item that did not exist.
    IncrMisses "incr_misses",
    /// Commands `decr` for an item that existed.
    DecrHits "decr_hits",
    /// Commands `decr` for an item that did not exist.
    DecrMisses "decr_misses",
    /// Commands `cas` that stored the value.
    CasHits "cas_hits",
    /// Commands `cas` for an item that did not exist.
    CasMisses "cas_misses",
    /// Commands `cas` for an item that had changed.
    CasBadval "cas_badval",
    /// Touches of an item that existed.
    TouchHits "touch_hits",
    /// Touches of an item that did not exist.
    TouchMisses "touch_misses",
    /// Values refused because of their size (--item-size-max).
    TooLarge "store_too_large",
    /// Values refused because no memory was free.
    NoMemory "store_no_memory",
    /// Values that did not end at the announced length.
    BadChunks "bad_data_chunks",
    /// Command lines and binary requests that were refused.
    Refused "refused",
    /// Connections closed because of a protocol error.
    HungUp "hung_up",
    /// Values that arrived in several segments.
    Streamed "values_streamed",
    /// Unfinished values that lost their memory to newer ones, each time one of the peer that held
    /// the most.
    Displaced "uploads_displaced",
    /// Connections reset because a request arrived too slowly.
    SlowRequests "slow_requests_ended",
    /// Connections reset because the client read too slowly while other clients needed the memory.
    StalledReaders "stalled_readers_ended",
    /// Requests that waited until other clients had read their answers or sent their values.
    HeldBack "requests_held_back",
    /// Idle connections that were closed.
    IdleKicks "idle_kicks",
    /// Bytes of values that were refused.
    Skipped "value_bytes_skipped": bytes,
    /// Bytes of memcached requests.
    BytesRead "bytes_read": bytes,
    /// Bytes of memcached answers.
    BytesWritten "bytes_written": bytes,
}

/// The counters of one worker, on cache lines of their own.
#[repr(align(128))]
#[derive(Debug)]
pub(crate) struct Numbers([AtomicU64; COUNTS]);

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Numbers {
    /// Adds to a counter. Only the worker of these counters may call this.
    #[inline]
    pub(crate) fn add(&self, count: Count, n: u64) {
        let number = &self.0[count as usize];
        number.store(number.load(Relaxed) + n, Relaxed);
    }

    /// The published names and values.
    pub(crate) fn of(&self) -> impl Iterator<Item = (&'static Metric, u64)> + '_ {
        METRICS.iter().zip(self.0.iter().map(|number| number.load(Relaxed)))
    }
}

/// The counters of all workers.
#[derive(Debug)]
pub(crate) struct Counters {
    workers: Box<[Arc<Numbers>]>,
    /// The sums at the last `stats reset`.
    since: Mutex<[u64; COUNTS]>,
}

impl Counters {
    pub(crate) fn new(workers: usize) -> Counters {
        Counters {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            since: Mutex::new([0; COUNTS]),
        }
    }

    /// The counters of `worker`.
    pub(crate) fn worker(&self, worker: usize) -> Arc<Numbers> {
        Arc::clone(&self.workers[worker])
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
        counters.worker(0).add(Count::GetHits, 2);
        counters.worker(1).add(Count::GetHits, 3);
        assert_eq!((counters.sum(Count::GetHits), counters.sum(Count::GetMisses)), (5, 0));
        counters.reset();
        counters.worker(1).add(Count::GetHits, 1);
        assert_eq!((counters.sum(Count::GetHits), counters.total(Count::GetHits)), (1, 6));
        let published: Vec<_> = counters.worker(1).of().filter(|(_, value)| *value > 0).collect();
        assert_eq!(published, [(&METRICS[Count::GetHits as usize], 4)]);
        assert_eq!(METRICS[Count::GetHits as usize].name, "memcached_get_hits");
    }
}
