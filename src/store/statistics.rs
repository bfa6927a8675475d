//! Counters of the store, named as in memcached's `stats` where it has one.

simoom_io::counters! {
    /// Metrics of the store, summed over all workers.
    pub struct Statistics prefix "memcached_" {
        /// Items stored, with expired ones that are not removed yet.
        curr_items: gauge,
        /// Items stored since the start.
        total_items,
        /// Bytes of the items, metadata included.
        bytes: gauge bytes,
        /// Upper bound of the memory for items (--memory).
        limit_maxbytes: gauge bytes,
        /// Items evicted before they expired.
        evictions,
        /// Expired or flushed items that were removed.
        reclaimed,
        /// Expired items that no client had fetched.
        expired_unfetched,
        /// Evicted items that no client had fetched.
        evicted_unfetched,
        /// Answers copied because unread answers pin much memory.
        pin_copied,
        /// Blocks of the memory of the store.
        frames: gauge,
        /// Free blocks of the memory of the store.
        frames_free: gauge,
        /// Blocks that the table of keys took as it grew; it keeps them.
        frames_table: gauge,
        /// Empty blocks that unread answers still pin.
        frames_limbo: gauge,
        /// Blocks that unread answers pin, counted once for each worker.
        frames_pinned: gauge,
        /// Segments whose items all expired.
        segments_expired,
        /// Items moved while their segment was emptied.
        items_moved,
        /// Slots of the hash table, 8 bytes each.
        hash_places: gauge,
        /// Commands `flush_all` that took effect.
        flushes,
        /// Bytes reserved for values that are still arriving.
        reserved_bytes: gauge bytes,
    }
}

/// Statistics of one class, that is, items with similar times to live, for `stats items` and `stats
/// slabs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStatistics {
    /// Number of the class, from 1.
    pub class: u32,
    /// Exclusive upper bound of the times to live, in seconds; 0 if there is none.
    pub ttl_below: u32,
    /// Items in the store.
    pub items: u64,
    /// Bytes of the items, metadata included.
    pub bytes: u64,
    /// Segments of the class.
    pub segments: u64,
    /// Bytes of the segments.
    pub segment_bytes: u64,
    /// Age of the oldest segment, in seconds.
    pub age: u32,
    /// Commands with a whole value since the start, also those that a condition refused.
    pub sets: u64,
    /// Values stored because the cas unique matched.
    pub cas_hits: u64,
    /// Values not stored because the cas unique did not match.
    pub cas_badval: u64,
    /// Items evicted before they expired.
    pub evicted: u64,
    /// Evicted items that no client had fetched.
    pub evicted_unfetched: u64,
    /// Evicted items that would have expired some time.
    pub evicted_nonzero: u64,
    /// Seconds since the last access to the item that was evicted last; 0 if none was.
    pub evicted_idle: u32,
    /// Expired or flushed items that were removed.
    pub reclaimed: u64,
    /// Removed items of these that no client had fetched.
    pub expired_unfetched: u64,
    /// Allocations that failed.
    pub out_of_memory: u64,
}

impl ClassStatistics {
    /// Bytes of the mean item; 0 without items.
    pub fn mean_item_bytes(&self) -> u64 {
        self.bytes.checked_div(self.items).unwrap_or(0)
    }

    /// Mean items for which the segments of the class have bytes left, gaps included.
    pub fn items_that_fit(&self) -> u64 {
        let free_bytes = self.segment_bytes.saturating_sub(self.bytes);
        free_bytes.checked_div(self.mean_item_bytes()).unwrap_or(0)
    }
}
