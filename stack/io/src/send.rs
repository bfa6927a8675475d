//! What is still to be sent, and what is sent but not acknowledged: ranges of immutable bytes.
//!
//! A handler queues answers through a [`Reply`]. A transport reads them, in stream order, when the
//! window or the socket allows, and reads them again to retransmit. Nothing here knows of segments.
//! All ranges and all copied bytes live in one [`Pool`] of fixed size per worker; a connection's
//! [`Queue`] is three indices and a few counts. Running out is a state: [`Reply::has_capacity`]
//! says no until acknowledgements free entries.
//!
//! # A layer between handler and transport
//!
//! A layer such as TLS turns ranges of the queue into records when a transport first sends them,
//! and must produce the same records when the transport retransmits. The queue gives it what it
//! needs for that: held bytes can be read any number of times ([`Queue::read_at`],
//! [`Queue::slices`]), and [`Queue::start`] tells their place in the stream.

#[cfg(doc)]
use crate::reply::Reply;

/// Bytes of one chunk: the unit in which [`Reply::copy`] takes space from the pool. A response head
/// fits in one.
pub const CHUNK_BYTES: usize = 512;
/// [`Reply::has_capacity`] promises this many bytes to [`Reply::copy`] until it is asked again.
pub const CAPACITY_COPY_BYTES: usize = 2 * CHUNK_BYTES;
/// [`Reply::has_capacity`] promises this many calls of [`Reply::share`] until it is asked again.
pub const CAPACITY_SHARES: usize = 2;
/// One connection may queue at most this many entries, so that one cannot starve the others of the
/// pool.
pub const QUEUE_ENTRIES: u16 = 64;
/// An answer up to this long is whole once it is begun, and no more is promised to each of many
/// connections: two full segments of Ethernet, which a peer acknowledges at once, and a part of a
/// third.
pub const ANSWER_BYTES: u32 = (8 * CHUNK_BYTES) as u32;

/// Entries that the promise of [`Reply::has_capacity`] can use up: its shares, its copies, and one
/// copy more because a share between two copies starts a new chunk.
const CAPACITY_ENTRIES: u16 = (CAPACITY_COPY_BYTES / CHUNK_BYTES + CAPACITY_SHARES + 1) as u16;
/// An answer is begun while more than one in so many of the entries and chunks are left; the last
/// of them are for those begun before. Half an answer is worse than none: its peer may delay the
/// acknowledgement that would make room.
const BEGIN_PART: usize = 8;
/// A queue that holds [`ANSWER_BYTES`] goes on while more than one in so many are left: however
/// many peers never read what they asked for, the others have that to be answered from.
const GO_ON_PART: usize = 2;
/// A queue that holds this much takes no further answer, so that a peer that does not read holds
/// little of what answers are made of.
const QUEUED_MAX_BYTES: u32 = 1 << 20;
const NONE: u32 = u32::MAX;

/// Immutable bytes that may be shared by many answers: a file, a stored item. Cloning must be
/// cheap.
pub trait Blob: Clone {
    /// The bytes, the same at every call.
    fn bytes(&self) -> &[u8];
}

impl Blob for &'static [u8] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Where the bytes of an entry lie. A chunk is named by its index; a free entry holds nothing.
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

/// The ranges and chunks of one worker; its size is fixed at start-up.
pub struct Pool<B> {
    entries: Vec<Entry<B>>,
    free_entry: u32,
    free_entries: u32,
    chunks: Vec<u8>,
    free_chunks: Vec<u32>,
    /// Whoever holds nothing is refused: others wait who came before.
    refuses_newcomers: bool,
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
        }
    }

    /// Bytes of memory that [`Pool::new`] takes for these arguments.
    pub const fn memory_bytes(entries: usize, chunks: usize) -> usize {
        entries * size_of::<Entry<B>>() + chunks * (CHUNK_BYTES + size_of::<u32>())
    }

    /// Entries and chunks that no queue holds: with every queue cleared, all of them.
    pub fn free(&self) -> (usize, usize) {
        (self.free_entries as usize, self.free_chunks.len())
    }

    /// Whether there is capacity for any queue at all.
    #[inline]
    pub fn keeps_promise(&self) -> bool {
        let (entries, chunks) = self.free();
        entries >= usize::from(CAPACITY_ENTRIES) && chunks > CAPACITY_COPY_BYTES / CHUNK_BYTES
    }

    /// Whether `queue` may take [`CAPACITY_COPY_BYTES`] and [`CAPACITY_SHARES`] now: what
    /// [`Reply::has_capacity`] answers, and what lets a refused handler go on.
    #[inline]
    pub fn has_capacity(&self, queue: &Queue) -> bool {
        let short = queue.count + CAPACITY_ENTRIES <= QUEUE_ENTRIES && queue.len < QUEUED_MAX_BYTES;
        let plenty = match queue.len {
            0 => self.has_more_than_one_in(BEGIN_PART) && !self.refuses_newcomers,
            1..ANSWER_BYTES => true,
            _ => self.has_more_than_one_in(GO_ON_PART),
        };
        self.keeps_promise() && short && plenty
    }

    /// Bytes that `queue` may copy beyond [`CAPACITY_COPY_BYTES`]; the capacity that other queues
    /// need is not counted.
    pub(crate) fn copyable(&self, queue: &Queue) -> usize {
        let entries = (QUEUE_ENTRIES - CAPACITY_ENTRIES).saturating_sub(queue.count);
        let spare = |free: usize, all: usize| {
            free.saturating_sub(all / GO_ON_PART + usize::from(CAPACITY_ENTRIES))
        };
        let (free_entries, free_chunks) = self.free();
        let chunks = spare(free_chunks, self.chunks.len() / CHUNK_BYTES);
        usize::from(entries).min(spare(free_entries, self.entries.len())).min(chunks) * CHUNK_BYTES
    }

    /// Says whether a queue that holds nothing waits for room, so that those that come later wait
    /// behind it. Without that, who has just had an answer acknowledged by its next request would
    /// always be the first to take what it gave.
    pub fn refuse_newcomers(&mut self, refuse: bool) {
        self.refuses_newcomers = refuse;
    }

    fn has_more_than_one_in(&self, part: usize) -> bool {
        let (entries, chunks) = self.free();
        entries > self.entries.len() / part && chunks > self.chunks.len() / CHUNK_BYTES / part
    }

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

    fn take(&mut self, source: Source<B>, start: u32, end: u32) -> Option<u32> {
        let index = self.free_entry;
        if index == NONE {
            return None;
        }
        let entry = &mut self.entries[index as usize];
        self.free_entry = entry.next;
        self.free_entries -= 1;
        *entry = Entry { source, start, end, next: NONE };
        Some(index)
    }

    fn give(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        if let Source::Chunk(chunk) = std::mem::replace(&mut entry.source, Source::Free) {
            self.free_chunks.push(chunk);
        }
        entry.next = self.free_entry;
        self.free_entry = index;
        self.free_entries += 1;
    }
}

/// The send queue of one connection: the entries from `head` to `tail`, of which the bytes before
/// the cursor have been read once already.
///
/// Invariant: `len` is the sum of the entries' lengths, and `read` ≤ `len` is how many of them lie
/// before the cursor. A queue must be [`clear`](Queue::clear)ed before it is dropped, or its
/// entries stay taken.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// `NONE` when the queue is empty, and then so are `tail` and `cursor`.
    head: u32,
    tail: u32,
    /// The entry that the cursor stands in, `offset` bytes from its start, or at the very end of
    /// the tail.
    cursor: u32,
    offset: u32,
    len: u32,
    read: u32,
    /// The place of the first held byte in the stream, modulo 2³².
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

    /// Bytes that were not yet read with [`Queue::read_next`].
    #[inline]
    pub fn unread(&self) -> u64 {
        u64::from(self.len - self.read)
    }

    /// Fills `buf` with the next bytes at the cursor and moves past them; returns how many.
    pub fn read_next<B: Blob>(&mut self, pool: &Pool<B>, buf: &mut [u8]) -> usize {
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

    /// Gives back the first `n` bytes (at most [`Queue::len`]): they have been delivered. A cursor
    /// that stood among them moves past them.
    pub fn acknowledge<B: Blob>(&mut self, pool: &mut Pool<B>, n: u64) {
        assert!(n <= self.len(), "acknowledged {n} bytes of {}", self.len);
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
            pool.give(freed);
        }
    }

    /// Gives back everything.
    pub fn clear<B: Blob>(&mut self, pool: &mut Pool<B>) {
        self.acknowledge(pool, self.len());
    }

    /// Queues the bytes of `blob` from `start` to `end`. Says no if there is no entry for it.
    pub(crate) fn share<B: Blob>(
        &mut self,
        pool: &mut Pool<B>,
        blob: B,
        start: u32,
        end: u32,
    ) -> bool {
        self.append(pool, Source::Blob(blob), start, end)
    }

    fn append<B: Blob>(
        &mut self,
        pool: &mut Pool<B>,
        source: Source<B>,
        start: u32,
        end: u32,
    ) -> bool {
        let Some(len) = self.len.checked_add(end - start) else { return false };
        let Some(index) = pool.take(source, start, end) else { return false };
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

    /// Appends to the tail's chunk what fits into it; returns how many bytes that were.
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

    /// Queues a copy of `bytes`. Says no if that ends half-way for want of a chunk or an entry.
    pub(crate) fn copy<B: Blob>(&mut self, pool: &mut Pool<B>, bytes: &[u8]) -> bool {
        let mut rest = &bytes[self.extend_tail(pool, bytes)..];
        while !rest.is_empty() {
            let Some(chunk) = pool.free_chunks.pop() else { return false };
            let n = rest.len().min(CHUNK_BYTES);
            let at = chunk as usize * CHUNK_BYTES;
            pool.chunks[at..at + n].copy_from_slice(&rest[..n]);
            if !self.append(pool, Source::Chunk(chunk), 0, n as u32) {
                pool.free_chunks.push(chunk);
                return false;
            }
            rest = &rest[n..];
        }
        true
    }
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
