//! Handles: on a stored item ([`Item`]), on one that is being written ([`Reservation`]), and a
//! guard for callers that copy bytes at once ([`ItemGuard`]). Items and reservations may outlive
//! the store.

use super::arena::{Header, Offset, UNIT_BYTES};
use super::layout::{self, Layout};
use super::shard::Shard;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A handle on an item. Its bytes do not change until the last handle is dropped, even if the item
/// is replaced, expires or is evicted. 16 bytes; cloning is cheap.
///
/// The handle pins a frame of the store. Hold it no longer than it takes to send the bytes, and
/// copy small items instead.
pub struct Item {
    shard: Arc<Shard>,
    at: Offset,
}

/// A guard on an item. Its bytes do not change while the guard is held. The holder must not wait
/// for anything. A guard counts towards no limit and costs less than an [`Item`].
pub struct ItemGuard<'a> {
    shard: &'a Arc<Shard>,
    at: Offset,
    /// The pins of the item's frame.
    pins: &'a AtomicU64,
}

impl<'a> ItemGuard<'a> {
    /// Pins the item at `at`.
    #[inline]
    pub(super) fn at(shard: &'a Arc<Shard>, at: Offset) -> ItemGuard<'a> {
        ItemGuard { shard, at, pins: shard.pin_guard(at) }
    }

    #[inline]
    pub(super) fn offset(&self) -> Offset {
        self.at
    }

    #[inline]
    pub(super) fn header(&self) -> &Header {
        self.shard.memory.arena.header(self.at)
    }

    /// As [`Item::line`].
    #[inline]
    pub fn line(&self) -> &[u8] {
        self.shard.memory.arena.line(self.at, 0..Layout::read(self.header()).line_bytes())
    }

    /// Makes a handle. Returns with it whether the shard had no pin on the frame before.
    #[inline]
    pub(super) fn pin(&self) -> (Item, bool) {
        let first = self.shard.pin(self.at);
        (Item::pinned(self.shard, self.at), first)
    }
}

impl Drop for ItemGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        Shard::unpin_guard(self.pins);
    }
}

/// The metadata of an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The client's flags.
    pub flags: u32,
    /// The cas unique. Changes whenever the item does; 0 only if a client set it.
    pub cas: u64,
    /// Unix seconds; 0 means never.
    pub exptime: u32,
    /// Time of the last fetch, or of the store if there was none, in Unix seconds.
    pub last_access: u32,
    /// Whether a client fetched the item.
    pub fetched: bool,
    /// Whether the item is stale.
    pub stale: bool,
    /// Whether a client has won the right to recache the item.
    pub token_sent: bool,
    /// Whether the client sent the key in base64.
    pub binary_key: bool,
}

impl Item {
    /// Makes a handle on the item at `at`. Takes over a pin of the shard.
    #[inline]
    pub(super) fn pinned(shard: &Arc<Shard>, at: Offset) -> Item {
        let item = Item { shard: Arc::clone(shard), at };
        shard.hold(at, item.layout());
        item
    }

    #[inline]
    pub(super) fn offset(&self) -> Offset {
        self.at
    }

    #[inline]
    pub(super) fn header(&self) -> &Header {
        self.shard.memory.arena.header(self.at)
    }

    #[inline]
    pub(super) fn layout(&self) -> Layout {
        Layout::read(self.header())
    }

    /// The response of a text `get`: `VALUE <key> <flags> <bytes>\r\n<value>\r\n`.
    #[inline]
    pub fn line(&self) -> &[u8] {
        self.shard.memory.arena.line(self.at, 0..self.layout().line_bytes())
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        layout::key(&self.shard.memory.arena, self.at)
    }

    /// The range of the value in [`Item::line`]. `\r\n` follows it.
    #[inline]
    pub fn value_range(&self) -> Range<usize> {
        self.layout().value()
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        self.shard.memory.arena.line(self.at, self.value_range())
    }

    /// The metadata as it is now. The item flags are at least as new as the cas unique.
    pub fn meta(&self) -> Meta {
        layout::meta(&self.shard.memory.arena, self.at)
    }

    /// The cas unique as it is now.
    pub fn cas(&self) -> u64 {
        self.header().cas.load(Relaxed)
    }

    /// Bytes of the store that the item takes, metadata included.
    pub fn size_bytes(&self) -> usize {
        self.layout().total_bytes()
    }
}

impl Clone for Item {
    fn clone(&self) -> Item {
        self.shard.pin(self.at);
        Item::pinned(&self.shard, self.at)
    }
}

impl Drop for Item {
    #[inline]
    fn drop(&mut self) {
        self.shard.release(self.at, self.layout());
        self.shard.unpin(self.at);
    }
}

impl simoom_io::Blob for Item {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.line()
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Item({:?}, {} bytes)",
            String::from_utf8_lossy(self.key()),
            self.value_range().len()
        )
    }
}

/// Space in the store for one value. Write the value, then pass it to [`super::Store::commit`].
/// Dropping the reservation frees the space. 24 bytes.
pub struct Reservation {
    shard: Arc<Shard>,
    at: Offset,
    written: u32,
    incoming: bool,
    linked: bool,
}

impl Reservation {
    /// Reserves space among the items, already counted as live.
    pub(super) fn complete(shard: &Arc<Shard>, at: Offset) -> Reservation {
        Reservation { shard: Arc::clone(shard), at, written: 0, incoming: false, linked: false }
    }

    /// Reserves space among the items, with a complete value already copied to it.
    pub(super) fn written(shard: &Arc<Shard>, at: Offset) -> Reservation {
        let mut reservation = Reservation::complete(shard, at);
        reservation.written = reservation.layout().value_bytes as u32;
        reservation
    }

    /// Reserves space among the values that clients are still sending.
    pub(super) fn incoming(shard: &Arc<Shard>, at: Offset) -> Reservation {
        let mut reservation = Reservation::complete(shard, at);
        reservation.incoming = true;
        shard.begin_incoming(reservation.layout().units());
        reservation
    }

    pub(super) fn is_incoming(&self) -> bool {
        self.incoming
    }

    /// Turns a reservation for an incoming value into one among the items.
    pub(super) fn admitted(mut self) -> Reservation {
        self.shard.end_incoming(self.layout().units());
        self.incoming = false;
        self
    }

    pub(super) fn offset(&self) -> Offset {
        self.at
    }

    pub(super) fn header(&self) -> &Header {
        self.shard.memory.arena.header(self.at)
    }

    pub(super) fn layout(&self) -> Layout {
        Layout::read(self.header())
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        layout::key(&self.shard.memory.arena, self.at)
    }

    /// The part of the value that was written.
    pub(super) fn value(&self) -> &[u8] {
        let start = self.layout().value().start;
        self.shard.memory.arena.line(self.at, start..start + self.written as usize)
    }

    /// Appends to the value, up to its length. Returns the bytes taken.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.remaining());
        let offset = self.layout().value().start + self.written as usize;
        self.shard.memory.arena.write_line(self.at, offset, &bytes[..n]);
        self.written += n as u32;
        n
    }

    /// Length of the value.
    pub fn value_bytes(&self) -> usize {
        self.layout().value_bytes
    }

    /// Bytes of memory that it takes, those of the key and its own included.
    pub fn memory_bytes(&self) -> u64 {
        u64::from(self.layout().units()) * UNIT_BYTES as u64
    }

    /// Bytes of the value still to be written.
    pub fn remaining(&self) -> usize {
        self.layout().value_bytes - self.written as usize
    }

    /// Leaves the space to the entry that now refers to it.
    pub(super) fn linked(mut self) {
        self.linked = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.linked {
            return;
        }
        let units = self.layout().units();
        if self.incoming {
            self.shard.end_incoming(units);
        }
        self.shard.memory.subtract(self.at, units);
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reservation({} bytes to come)", self.remaining())
    }
}
