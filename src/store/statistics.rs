//! Counters of the store, named as in memcached's `stats` where it has one.

simoom_io::counters! {
    /// Counters and gauges of the store, summed over all workers.
    pub struct Statistics {
        /// Items in the store, expired ones not yet removed included (a gauge).
        curr_items,
        /// Items stored since start.
        total_items,
        /// Bytes of the items in the store, metadata included (a gauge).
        bytes,
        /// Memory limit in bytes: `--memory`.
        limit_maxbytes,
        /// Items evicted before they expired.
        evictions,
        /// Expired or flushed items removed: to free memory, by maintenance, or on access.
        reclaimed,
        /// Expired items that no client fetched.
        expired_unfetched,
        /// Evicted items that no client fetched.
        evicted_unfetched,
        /// Values refused: larger than `--item-size-max`.
        store_too_large,
        /// Values refused: out of memory.
        store_no_memory,
        /// Fetches that returned a copy, near the pin limit.
        pin_copied,
        /// Frames of the memory.
        frames,
        /// Free frames (a gauge).
        frames_free,
        /// Frames taken by the hash table.
        frames_table,
        /// Frames emptied but not freed yet: senders pin them (a gauge).
        frames_limbo,
        /// Frames pinned by senders, counted once for each worker (a gauge).
        frames_pinned,
        /// Segments whose items all expired.
        segments_expired,
        /// Items moved while their segment was emptied.
        items_moved,
        /// Slots of the hash table, 8 bytes each.
        hash_places,
        /// Times that a flush_all took effect.
        flushes,
        /// Bytes reserved for values that clients are still sending (a gauge).
        reserved_bytes,
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
    /// Values stored since start, with or without a cas unique.
    pub sets: u64,
    /// Values stored because the cas unique matched.
    pub cas_hits: u64,
    /// Values not stored because the cas unique did not match.
    pub cas_badval: u64,
}
