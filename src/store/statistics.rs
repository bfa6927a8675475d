//! What the store counts, in the names of memcached's `stats` where it has one.

simoom_io::counters! {
    /// The store's counters and gauges, summed over all workers.
    pub struct Statistics {
        /// Items stored now (a gauge; expired ones that were not yet found count).
        curr_items,
        /// Items stored since start.
        total_items,
        /// Bytes of the items stored now, their metadata included (a gauge).
        bytes,
        /// Bytes that may be used: `--memory`.
        limit_maxbytes,
        /// Items evicted before they expired, to make room.
        evictions,
        /// Items that had expired and were removed to make room, or by maintenance, or when they
        /// were asked for.
        reclaimed,
        /// Expired items that were never fetched.
        expired_unfetched,
        /// Evicted items that were never fetched.
        evicted_unfetched,
        /// Values refused because they exceed `--item-size-max`.
        store_too_large,
        /// Values refused because no memory could be had.
        store_no_memory,
        /// Fetches answered with a copy because senders pin many segments.
        pin_copied,
        /// Frames that the memory is divided into.
        frames,
        /// Frames that are free (a gauge).
        frames_free,
        /// Frames that the hash table has grown into.
        frames_table,
        /// Frames emptied but still pinned by senders (a gauge).
        frames_limbo,
        /// Frames that senders pin, each counted for each worker that does (a gauge).
        frames_pinned,
        /// Segments that expired as a whole.
        segments_expired,
        /// Items moved to keep them while a segment was emptied.
        items_moved,
        /// Places of the hash table (8 bytes each).
        hash_places,
        /// Times that flush_all took effect.
        flushes,
        /// Bytes reserved for values that are still coming (a gauge).
        reserved_bytes,
    }
}

/// One class of items, those of like time to live, for `stats items` and `stats slabs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStatistics {
    /// Its number, from 1.
    pub class: u32,
    /// Times to live below this belong to it, in seconds; 0 for those without end.
    pub ttl_below: u32,
    /// Items.
    pub items: u64,
    /// Their bytes, metadata included.
    pub bytes: u64,
    /// Segments of memory that it has.
    pub segments: u64,
    /// Bytes of these segments.
    pub segment_bytes: u64,
    /// Seconds since the oldest of these segments was begun.
    pub age: u32,
    /// Values stored since start, those under the condition of a cas unique among them.
    pub sets: u64,
    /// Values stored as the cas unique was the one given.
    pub cas_hits: u64,
    /// Values not stored as the cas unique was another.
    pub cas_badval: u64,
}
