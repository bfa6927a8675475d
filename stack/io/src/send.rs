//! The send queue: unsent and unacknowledged ranges of immutable bytes.
//!
//! A handler queues answers through a [`Reply`]. A transport reads them in stream order when the
//! window or the socket allows, and reads them again to retransmit. All ranges and all copied bytes
//! lie in one [`Pool`] of fixed size per worker. A connection's [`Queue`] is three indices and a
//! few counts. When the pool is used up, [`Reply::has_capacity`] returns `false` until
//! acknowledgements free entries.
//!
//! # A layer between handler and transport
//!
//! A layer such as TLS turns ranges of the queue into records when a transport first sends them,
//! and must produce the same records when the transport retransmits. The queue gives it what it
//! needs: held bytes can be read any number of times ([`Queue::read_at`], [`Queue::slices`]), and
//! [`Queue::start`] tells their place in the stream.

mod reader;

pub use reader::Reader;

use crate::checksum::{PrefixSums, RangeSums};
#[cfg(doc)]
use crate::reply::Reply;

/// Bytes of one chunk: the unit in which [`Reply::copy`] takes space from the pool. A response head
/// fits in one.
pub const CHUNK_BYTES: usize = 512;
/// [`Reply::has_capacity`] promises this many bytes to [`Reply::copy`] until it is asked again.
pub const CAPACITY_COPY_BYTES: usize = 2 * CHUNK_BYTES;
/// [`Reply::has_capacity`] promises this many calls of [`Reply::share`] until it is asked again.
pub const CAPACITY_SHARES: usize = 2;
/// One connection may queue at most this many entries, so that it cannot use up the pool.
pub const QUEUE_ENTRIES: u16 = 64;
/// An answer up to this length is queued whole once it is begun, and this is the share of each of
/// many connections: two full segments of Ethernet, which a peer acknowledges at once, and a part
/// of a third.
pub const ANSWER_BYTES: u32 = (8 * CHUNK_BYTES) as u32;

/// Entries that [`Reply::has_capacity`] promises: its shares, its copies, and one copy more because
/// a share between two copies starts a new chunk.
const CAPACITY_ENTRIES: u16 = (CAPACITY_COPY_BYTES / CHUNK_BYTES + CAPACITY_SHARES + 1) as u16;
/// A queue begins an answer while more than 1/8 of the entries and chunks are free. The last eighth
/// is for answers begun before. Half an answer is worse than none: its peer may delay the
/// acknowledgement that would free capacity.
const BEGIN_PART: usize = 8;
/// A queue that holds [`ANSWER_BYTES`] grows while more than half of the entries and chunks are
/// free. So peers that never read leave half of the pool to the others.
const GO_ON_PART: usize = 2;
/// A queue that holds this much accepts no further answer, which bounds the blobs that a peer
/// without reads holds.
const QUEUED_MAX_BYTES: u32 = 1 << 20;
const NONE: u32 = u32::MAX;

/// Immutable bytes that may be shared by many answers: a file, a stored item. Cloning must be
/// cheap.
pub trait Blob: Clone {
    /// The bytes, the same at every call.
    fn bytes(&self) -> &[u8];

    /// The stored checksums of [`Blob::bytes`], for transports that send checksums: they need not
    /// read all bytes of a long blob again. `None`, the default: there are none.
    #[inline]
    fn sums(&self) -> Option<&PrefixSums> {
        None
    }
}

impl Blob for &'static [u8] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Where the bytes of an entry lie: in a chunk, by its index, or in a blob.
#[derive(Clone)]
enum Source<B> {
    Free,
    Chunk(u32),
    Blob(B),
}

/// One range, a member of one queue or of the free list.
#[derive(Clone)]
struct Entry<B> {
    source: Source<B>,
    start: u32,
    end: u32,
    next: u32,
}

impl<B: Blob> Entry<B> {
    /// The stored sums of the bytes from `offset` on.
    #[inline(always)]
    fn sums_from(&self, offset: usize) -> Option<RangeSums<'_>> {
        let Source::Blob(blob) = &self.source else { return None };
        Some(RangeSums::new(blob.bytes(), blob.sums()?, self.start as usize + offset))
    }
}

/// The ranges and chunks of one worker; its size is fixed at start-up.
pub struct Pool<B> {
    entries: Vec<Entry<B>>,
    free_entry: u32,
    free_entries: u32,
    chunks: Vec<u8>,
    free_chunks: Vec<u32>,
    /// Whether empty queues are refused, because other connections have waited longer.
    refuses_newcomers: bool,
    /// What a queue leaves free that begins an answer, and one that goes on with it.
    begin_above: Free,
    go_on_above: Free,
}

/// Free entries and chunks.
#[derive(Clone, Copy)]
struct Free {
    entries: u32,
    chunks: usize,
}

impl Free {
    /// What [`Reply::has_capacity`] promises needs more than this.
    const PROMISE: Free =
        Free { entries: CAPACITY_ENTRIES as u32 - 1, chunks: CAPACITY_COPY_BYTES / CHUNK_BYTES };

    /// One in `part` of all entries and chunks, and at least [`Free::PROMISE`].
    fn one_in(part: usize, entries: u32, chunks: usize) -> Free {
        Free {
            entries: (entries / part as u32).max(Free::PROMISE.entries),
            chunks: (chunks / part).max(Free::PROMISE.chunks),
        }
    }
}

impl<B: Blob> Pool<B> {
    /// A pool of `entries` ranges and `chunks` chunks of [`CHUNK_BYTES`]; both below 2³².
    pub fn new(entries: usize, chunks: usize) -> Self {
        let count = u32::try_from(entries).expect("limits bound the pool below 2^32 entries");
        let chunk_count = u32::try_from(chunks).expect("limits bound the pool below 2^32 chunks");
        Pool {
            entries: (1..=count)
                .map(|next| Entry {
                    source: Source::Free,
                    start: 0,
                    end: 0,
                    next: if next == count { NONE } else { next },
                })
                .collect(),
            free_entry: if count == 0 { NONE } else { 0 },
            free_entries: count,
            chunks: vec![0; chunks * CHUNK_BYTES],
            free_chunks: (0..chunk_count).rev().collect(),
            refuses_newcomers: false,
            begin_above: Free::one_in(BEGIN_PART, count, chunks),
            go_on_above: Free::one_in(GO_ON_PART, count, chunks),
        }
    }

    /// Bytes of memory that [`Pool::new`] takes for these arguments.
    pub const fn memory_bytes(entries: usize, chunks: usize) -> usize {
        entries * size_of::<Entry<B>>() + chunks * (CHUNK_BYTES + size_of::<u32>())
    }

    /// Free entries and chunks: all of them, if every queue is cleared.
    pub fn free(&self) -> (usize, usize) {
        (self.free_entries as usize, self.free_chunks.len())
    }

    /// Whether the pool can promise capacity to any queue.
    #[inline]
    pub fn can_promise(&self) -> bool {
        self.has_more_than(Free::PROMISE)
    }

    /// Whether `queue` may take [`CAPACITY_COPY_BYTES`] and [`CAPACITY_SHARES`] now: the result of
    /// [`Reply::has_capacity`], and the condition to resume a refused handler.
    #[inline]
    pub fn has_capacity(&self, queue: &Queue) -> bool {
        if queue.len == 0 {
            return self.has_more_than(self.begin_above) && !self.refuses_newcomers;
        }
        let above = if queue.len < ANSWER_BYTES { Free::PROMISE } else { self.go_on_above };
        queue.count + CAPACITY_ENTRIES <= QUEUE_ENTRIES
            && queue.len < QUEUED_MAX_BYTES
            && self.has_more_than(above)
    }

    /// Bytes that `queue` may copy beyond [`CAPACITY_COPY_BYTES`], without the capacity that other
    /// queues need.
    pub(crate) fn copyable(&self, queue: &Queue) -> usize {
        let entries = (QUEUE_ENTRIES - CAPACITY_ENTRIES).saturating_sub(queue.count);
        let spare = |free: usize, all: usize| {
            free.saturating_sub(all / GO_ON_PART + usize::from(CAPACITY_ENTRIES))
        };
        let (free_entries, free_chunks) = self.free();
        let chunks = spare(free_chunks, self.chunks.len() / CHUNK_BYTES);
        usize::from(entries).min(spare(free_entries, self.entries.len())).min(chunks) * CHUNK_BYTES
    }

    /// Sets whether empty queues are refused, because an empty queue waits for capacity and comes
    /// first. Otherwise a connection whose next request acknowledges its last answer would always
    /// be first to take the freed capacity.
    pub fn refuse_newcomers(&mut self, refuse: bool) {
        self.refuses_newcomers = refuse;
    }

    #[inline]
    fn has_more_than(&self, above: Free) -> bool {
        self.free_entries > above.entries && self.free_chunks.len() > above.chunks
    }

    #[inline(always)]
    fn bytes_of<'a>(&'a self, entry: &'a Entry<B>) -> &'a [u8] {
        let range = entry.start as usize..entry.end as usize;
        match &entry.source {
            Source::Free => &[],
            Source::Chunk(index) => {
                let base = *index as usize * CHUNK_BYTES;
                &self.chunks[base + range.start..base + range.end]
            }
            Source::Blob(blob) => &blob.bytes()[range],
        }
    }

    #[inline(always)]
    fn allocate(
        &mut self,
        source: impl FnOnce() -> Source<B>,
        start: u32,
        end: u32,
    ) -> Option<u32> {
        let index = self.free_entry;
        if index == NONE {
            return None;
        }
        let entry = &mut self.entries[index as usize];
        self.free_entry = entry.next;
        self.free_entries -= 1;
        // A free entry has nothing to drop.
        let new = Entry { source: source(), start, end, next: NONE };
        std::mem::forget(std::mem::replace(entry, new));
        Some(index)
    }

    #[inline(always)]
    fn release(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        match entry.source {
            Source::Chunk(chunk) => {
                // An index needs no drop, which would look again at what the source is.
                std::mem::forget(std::mem::replace(&mut entry.source, Source::Free));
                self.free_chunks.push(chunk);
            }
            _ => entry.source = Source::Free,
        }
        entry.next = self.free_entry;
        self.free_entry = index;
        self.free_entries += 1;
    }
}

/// The send queue of one connection: the entries from `head` to `tail`. The transport has read the
/// bytes before the cursor once.
///
/// Invariant: `len` is the sum of the entries' lengths, and `read` ≤ `len` of these bytes lie
/// before the cursor. Call [`clear`](Queue::clear) before dropping a queue, or its entries leak.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// `NONE` if the queue is empty. Then `tail` and `cursor` are `NONE` too.
    head: u32,
    tail: u32,
    /// The entry of the cursor, which is `offset` bytes from its start, or at the end of the tail.
    cursor: u32,
    offset: u32,
    len: u32,
    read: u32,
    /// The stream offset of the first held byte, modulo 2³².
    start: u32,
    count: u16,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            head: NONE,
            tail: NONE,
            cursor: NONE,
            offset: 0,
            len: 0,
            read: 0,
            start: 0,
            count: 0,
        }
    }
}

impl Queue {
    /// Bytes held: unacknowledged and unsent.
    #[inline]
    pub fn len(&self) -> u64 {
        u64::from(self.len)
    }

    /// Whether everything queued has been acknowledged.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The stream offset of the first held byte, modulo 2³²: how many bytes of this connection were
    /// acknowledged before it. The byte at `offset` of [`Queue::read_at`] is number
    /// `start + offset` of the stream. A queue holds less than 2³² bytes, so the places of held
    /// bytes are distinct. [`Queue::clear`] counts the bytes that it frees.
    #[inline]
    pub fn start(&self) -> u32 {
        self.start
    }

    /// Bytes not yet read with [`Queue::read_next`].
    #[inline]
    pub fn unread(&self) -> u64 {
        u64::from(self.len - self.read)
    }

    /// Fills `buf` with the next bytes at the cursor and moves past them. Returns how many.
    #[inline(always)]
    pub fn read_next<B: Blob>(&mut self, pool: &Pool<B>, buf: &mut [u8]) -> usize {
        let len = buf.len() as u32;
        match pool.entries.get(self.cursor as usize) {
            // Most answers are one chunk.
            Some(&Entry { source: Source::Chunk(chunk), start, end, next })
                if self.offset + len <= end - start =>
            {
                let at = chunk as usize * CHUNK_BYTES + (start + self.offset) as usize;
                buf.copy_from_slice(&pool.chunks[at..at + buf.len()]);
                self.read += len;
                self.offset += len;
                if self.offset == end - start && self.cursor != self.tail {
                    (self.cursor, self.offset) = (next, 0);
                }
                buf.len()
            }
            _ => self.read_entries(pool, buf),
        }
    }

    /// As [`Queue::read_next`], from any entries.
    #[inline(never)]
    fn read_entries<B: Blob>(&mut self, pool: &Pool<B>, buf: &mut [u8]) -> usize {
        let mut filled = 0;
        while let Some(entry) = pool.entries.get(self.cursor as usize) {
            let bytes = &pool.bytes_of(entry)[self.offset as usize..];
            let n = bytes.len().min(buf.len() - filled);
            buf[filled..filled + n].copy_from_slice(&bytes[..n]);
            filled += n;
            self.offset += n as u32;
            if n < bytes.len() || self.cursor == self.tail {
                break;
            }
            (self.cursor, self.offset) = (entry.next, 0);
        }
        self.read += filled as u32;
        filled
    }

    /// Fills `buf` with the bytes from `offset` past the first unacknowledged one; returns how
    /// many.
    pub fn read_at<B: Blob>(&self, pool: &Pool<B>, offset: u64, buf: &mut [u8]) -> usize {
        let mut skip = offset;
        let mut filled = 0;
        for bytes in self.slices(pool) {
            if skip >= bytes.len() as u64 {
                skip -= bytes.len() as u64;
                continue;
            }
            let bytes = &bytes[skip as usize..];
            skip = 0;
            let n = bytes.len().min(buf.len() - filled);
            buf[filled..filled + n].copy_from_slice(&bytes[..n]);
            filled += n;
            if filled == buf.len() {
                break;
            }
        }
        filled
    }

    /// The held bytes in stream order, from the first unacknowledged one; no slice is empty.
    pub fn slices<'a, B: Blob>(
        &self,
        pool: &'a Pool<B>,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, B> {
        let mut next = self.head;
        std::iter::from_fn(move || {
            let entry = pool.entries.get(next as usize)?;
            next = entry.next;
            Some(pool.bytes_of(entry))
        })
    }

    /// Frees the first `n` bytes (at most [`Queue::len`]): they have been acknowledged. A cursor
    /// among them moves past them.
    #[inline(always)]
    pub fn acknowledge<B: Blob>(&mut self, pool: &mut Pool<B>, n: u64) {
        if self.count == 1 && n == self.len() {
            // A short answer.
            pool.release(self.head);
            self.begin_again();
        } else {
            self.acknowledge_entries(pool, n);
        }
    }

    /// As [`Queue::acknowledge`], of any number of entries.
    #[inline(never)]
    fn acknowledge_entries<B: Blob>(&mut self, pool: &mut Pool<B>, n: u64) {
        assert!(n <= self.len(), "acknowledged {n} bytes of {}", self.len);
        if n == self.len() {
            return self.acknowledge_all(pool);
        }
        let mut left = n as u32;
        self.len -= left;
        self.read = self.read.saturating_sub(left);
        self.start = self.start.wrapping_add(left);
        while self.head != NONE {
            let entry = &mut pool.entries[self.head as usize];
            let held = entry.end - entry.start;
            if left < held {
                entry.start += left;
                if self.cursor == self.head {
                    self.offset = self.offset.saturating_sub(left);
                }
                return;
            }
            left -= held;
            let freed = std::mem::replace(&mut self.head, entry.next);
            if self.cursor == freed {
                (self.cursor, self.offset) = (self.head, 0);
            }
            if self.head == NONE {
                self.tail = NONE;
            }
            self.count -= 1;
            pool.release(freed);
        }
    }

    /// Frees all bytes, as [`Queue::acknowledge`] does.
    fn acknowledge_all<B: Blob>(&mut self, pool: &mut Pool<B>) {
        let mut next = self.head;
        while let Some(entry) = pool.entries.get(next as usize) {
            let freed = std::mem::replace(&mut next, entry.next);
            pool.release(freed);
        }
        self.begin_again();
    }

    /// All entries were freed, and their bytes count as acknowledged.
    #[inline(always)]
    fn begin_again(&mut self) {
        *self = Queue { start: self.start.wrapping_add(self.len), ..Queue::default() };
    }

    /// Frees all bytes.
    pub fn clear<B: Blob>(&mut self, pool: &mut Pool<B>) {
        self.acknowledge_all(pool);
    }

    /// Queues the bytes of `blob` from `start` to `end`. Returns `false` if no entry is free.
    pub(crate) fn share<B: Blob>(
        &mut self,
        pool: &mut Pool<B>,
        blob: B,
        start: u32,
        end: u32,
    ) -> bool {
        self.append(pool, || Source::Blob(blob), start, end)
    }

    #[inline(always)]
    fn append<B: Blob>(
        &mut self,
        pool: &mut Pool<B>,
        source: impl FnOnce() -> Source<B>,
        start: u32,
        end: u32,
    ) -> bool {
        let Some(len) = self.len.checked_add(end - start) else { return false };
        let Some(index) = pool.allocate(source, start, end) else { return false };
        if self.read == self.len {
            (self.cursor, self.offset) = (index, 0);
        }
        match pool.entries.get_mut(self.tail as usize) {
            Some(tail) => tail.next = index,
            None => self.head = index,
        }
        self.tail = index;
        self.count += 1;
        self.len = len;
        true
    }

    /// Appends the front of `bytes` to the tail's chunk. Returns how many bytes fit.
    fn extend_tail<B: Blob>(&mut self, pool: &mut Pool<B>, bytes: &[u8]) -> usize {
        let Some(entry) = pool.entries.get_mut(self.tail as usize) else { return 0 };
        let Source::Chunk(chunk) = entry.source else { return 0 };
        let n = bytes.len().min(CHUNK_BYTES - entry.end as usize);
        let at = chunk as usize * CHUNK_BYTES + entry.end as usize;
        pool.chunks[at..at + n].copy_from_slice(&bytes[..n]);
        entry.end += n as u32;
        self.len += n as u32;
        n
    }

    /// Queues copies of all `parts`. Returns `false` if chunks or entries run out half-way.
    #[inline(always)]
    pub(crate) fn copy_all<B: Blob, const N: usize>(
        &mut self,
        pool: &mut Pool<B>,
        parts: [&[u8]; N],
    ) -> bool {
        let len = parts.iter().map(|part| part.len()).sum();
        let Some(mut space) = self.extend_in_one_chunk(pool, len) else {
            return parts.iter().all(|part| self.copy(pool, part));
        };
        for part in parts {
            let (front, behind) = space.split_at_mut(part.len());
            front.copy_from_slice(part);
            space = behind;
        }
        true
    }

    /// Appends `len` bytes to the tail's chunk, or to a new chunk if the tail has none. Returns the
    /// memory for them; `None` if they do not fit one chunk.
    #[inline(always)]
    fn extend_in_one_chunk<'p, B: Blob>(
        &mut self,
        pool: &'p mut Pool<B>,
        len: usize,
    ) -> Option<&'p mut [u8]> {
        let at = if let Some(Entry { source: Source::Chunk(chunk), end, .. }) =
            pool.entries.get_mut(self.tail as usize)
        {
            let at = *chunk as usize * CHUNK_BYTES + *end as usize;
            if len > CHUNK_BYTES - *end as usize {
                return None;
            }
            *end += len as u32;
            self.len += len as u32;
            at
        } else {
            if len == 0 || len > CHUNK_BYTES {
                return None;
            }
            let chunk = pool.free_chunks.pop()?;
            if !self.append(pool, || Source::Chunk(chunk), 0, len as u32) {
                pool.free_chunks.push(chunk);
                return None;
            }
            chunk as usize * CHUNK_BYTES
        };
        Some(&mut pool.chunks[at..at + len])
    }

    /// Queues a copy of `bytes`. Returns `false` if chunks or entries run out half-way.
    pub(crate) fn copy<B: Blob>(&mut self, pool: &mut Pool<B>, bytes: &[u8]) -> bool {
        let mut rest = &bytes[self.extend_tail(pool, bytes)..];
        if rest.is_empty() {
            return true;
        }
        if rest.len() > CHUNK_BYTES {
            let Some(last) = self.append_chunks(pool, rest) else { return false };
            rest = last;
        }
        self.append_chunk(pool, rest)
    }

    /// Queues copies of whole chunks. Returns the rest, of up to [`CHUNK_BYTES`].
    #[inline(never)]
    fn append_chunks<'b, B: Blob>(
        &mut self,
        pool: &mut Pool<B>,
        mut bytes: &'b [u8],
    ) -> Option<&'b [u8]> {
        while bytes.len() > CHUNK_BYTES {
            let (chunk, behind) = bytes.split_at(CHUNK_BYTES);
            if !self.append_chunk(pool, chunk) {
                return None;
            }
            bytes = behind;
        }
        Some(bytes)
    }

    /// Queues a copy of up to [`CHUNK_BYTES`] in a chunk of its own.
    #[inline(always)]
    fn append_chunk<B: Blob>(&mut self, pool: &mut Pool<B>, bytes: &[u8]) -> bool {
        let Some(chunk) = pool.free_chunks.pop() else { return false };
        let at = chunk as usize * CHUNK_BYTES;
        pool.chunks[at..at + bytes.len()].copy_from_slice(bytes);
        let is_queued = self.append(pool, || Source::Chunk(chunk), 0, bytes.len() as u32);
        if !is_queued {
            pool.free_chunks.push(chunk);
        }
        is_queued
    }
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
