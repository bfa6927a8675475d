//! Reads successive parts of a send queue, such as segments: their bytes and their checksums.
//!
//! It keeps its place in the entry between two parts. Bytes of a blob that has sums stored
//! ([`Blob::sums`]) are copied, and not summed up again.

use super::{Blob, Pool, Queue};
use crate::checksum::{RangeSums, Sum};

/// The bytes at the cursor of a queue, as [`Queue::read_next`] reads them, and their sums.
pub struct Reader<'a, B> {
    queue: &'a mut Queue,
    pool: &'a Pool<B>,
    /// Whether sums are told.
    sums: bool,
    /// The bytes behind the cursor in its entry.
    unread: &'a [u8],
    /// The sums of these bytes, if the blob has them.
    stored: Option<RangeSums<'a>>,
}

impl<'a, B: Blob> Reader<'a, B> {
    /// Reads `queue` from its cursor on. Without `sums` all of them are 0.
    pub fn new(queue: &'a mut Queue, pool: &'a Pool<B>, sums: bool) -> Reader<'a, B> {
        let mut reader = Reader { queue, pool, sums, unread: &[], stored: None };
        reader.enter();
        reader
    }

    /// Fills `buf` with the next bytes and moves past them. Returns the sum of these bytes, as
    /// bytes that start at an even offset.
    ///
    /// # Panics
    /// If `buf` is longer than [`Queue::unread`].
    #[inline(always)]
    pub fn read(&mut self, buf: &mut [u8]) -> Sum {
        if buf.len() > self.unread.len() {
            return self.read_on(buf);
        }
        let sum = self.read_here(buf);
        if self.unread.is_empty() {
            self.next_entry();
        }
        sum
    }

    /// Reads `buf` from this entry.
    #[inline(always)]
    fn read_here(&mut self, buf: &mut [u8]) -> Sum {
        let n = buf.len();
        let (bytes, unread) = self.unread.split_at(n);
        buf.copy_from_slice(bytes);
        self.unread = unread;
        self.queue.offset += n as u32;
        self.queue.read += n as u32;
        match &mut self.stored {
            Some(stored) => stored.next(n),
            None if self.sums => Sum::default().add_bytes(buf),
            None => Sum::default(),
        }
    }

    /// Reads `buf` from this entry and from those behind it.
    #[inline(never)]
    fn read_on(&mut self, buf: &mut [u8]) -> Sum {
        let (mut sum, mut filled) = (Sum::default(), 0);
        while filled < buf.len() {
            let n = self.unread.len().min(buf.len() - filled);
            let part = self.read_here(&mut buf[filled..filled + n]);
            sum = sum.add_sum_at(part, filled);
            filled += n;
            if self.unread.is_empty() && !self.next_entry() {
                assert!(filled == buf.len(), "a read past the end of the queue");
            }
        }
        sum
    }

    /// Moves the cursor to the start of the next entry, if there is one.
    fn next_entry(&mut self) -> bool {
        if self.queue.cursor == self.queue.tail {
            return false;
        }
        let entry = &self.pool.entries[self.queue.cursor as usize];
        (self.queue.cursor, self.queue.offset) = (entry.next, 0);
        self.enter();
        true
    }

    /// Finds the bytes behind the cursor.
    fn enter(&mut self) {
        let Some(entry) = self.pool.entries.get(self.queue.cursor as usize) else { return };
        let offset = self.queue.offset as usize;
        self.unread = &self.pool.bytes_of(entry)[offset..];
        self.stored = if self.sums { entry.sums_from(offset) } else { None };
    }
}
