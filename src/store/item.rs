//! Handles: on a stored item ([`Item`]), on one that is being written ([`Reservation`]), and a
//! guard for callers that copy bytes at once ([`ItemGuard`]). Items and reservations may outlive
//! the store.

use super::NewItem;
use super::arena::{Header, MayRead, Offset, Place, UNIT_BYTES};
use super::layout::{self, BINARY_KEY, Layout};
use super::memory::Memory;
use super::shard::Shard;
use super::table::{Entry, Slot};
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
    place: Place<'a>,
    /// The pins of the item's frame.
    pins: &'a AtomicU64,
}

impl<'a> ItemGuard<'a> {
    /// Pins the item of an entry; `None` if the slot has another entry by then. The second read of
    /// the slot makes the pin valid: if it finds the entry again, the pin precedes the removal of
    /// the entry, and the thread that reuses the frame sees the pin.
    #[inline(always)]
    pub(super) fn of(
        shard: &'a Arc<Shard>,
        memory: &'a Memory,
        slot: &Slot,
        entry: Entry,
    ) -> Option<ItemGuard<'a>> {
        let at = entry.offset();
        let place = memory.arena.place(at);
        let guard = ItemGuard { shard, at, place, pins: shard.pin_guard(memory.frame(at)) };
        slot.confirm(entry).then_some(guard)
    }

    /// Whether `key` is the key of the item.
    #[inline(always)]
    pub(super) fn is_key(&self, key: &[u8]) -> bool {
        layout::is_key(self.place, key, self)
    }

    #[inline(always)]
    pub(super) fn header(&self) -> &Header {
        self.place.header(self)
    }

    /// The shard that holds the guard.
    #[inline(always)]
    pub(super) fn shard(&self) -> &'a Shard {
        self.shard
    }

    /// As [`Item::line`].
    #[inline(always)]
    pub fn line(&self) -> &[u8] {
        self.place.line(0..Layout::read(self.header()).line_bytes(), self)
    }

    /// As [`Item::value_range`].
    #[inline]
    pub fn value_range(&self) -> Range<usize> {
        Layout::read(self.header()).value()
    }

    /// As [`Item::meta`].
    #[inline]
    pub(super) fn meta(&self) -> Meta {
        layout::meta(&self.shard.memory.arena, self.at, self)
    }

    /// Makes a handle. Returns with it whether the shard had no pin on the frame before.
    #[inline]
    pub(super) fn pin(&self) -> (Item, bool) {
        Item::pin(self.shard, self.at, self)
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
    /// Pins the item at `at`, which the caller may read. Returns with the handle whether the shard
    /// had no pin on the frame before.
    #[inline]
    pub(super) fn pin(shard: &Arc<Shard>, at: Offset, _held: &impl MayRead) -> (Item, bool) {
        let first = shard.pin(at);
        let item = Item { shard: Arc::clone(shard), at };
        shard.hold(at, item.layout());
        (item, first)
    }

    #[inline]
    pub(super) fn offset(&self) -> Offset {
        self.at
    }

    #[inline]
    pub(super) fn header(&self) -> &Header {
        self.shard.memory.arena.header(self.at, self)
    }

    #[inline]
    pub(super) fn layout(&self) -> Layout {
        Layout::read(self.header())
    }

    /// The response of a text `get`: `VALUE <key> <flags> <bytes>\r\n<value>\r\n`.
    #[inline]
    pub fn line(&self) -> &[u8] {
        self.shard.memory.arena.line(self.at, 0..self.layout().line_bytes(), self)
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        layout::key(&self.shard.memory.arena, self.at, self)
    }

    /// The range of the value in [`Item::line`]. `\r\n` follows it.
    #[inline]
    pub fn value_range(&self) -> Range<usize> {
        self.layout().value()
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        self.shard.memory.arena.line(self.at, self.value_range(), self)
    }

    /// The metadata as it is now. The item flags are at least as new as the cas unique.
    pub fn meta(&self) -> Meta {
        layout::meta(&self.shard.memory.arena, self.at, self)
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
        Item::pin(&self.shard, self.at, self).0
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

/// The claim of a [`Reservation`] to its space. Only this file makes one.
#[derive(Debug)]
pub(super) struct Claim(());

/// Space in the store for one value. Write the value, then pass it to [`super::Store::commit`].
/// Dropping the reservation frees the space. 24 bytes.
pub struct Reservation {
    shard: Arc<Shard>,
    at: Offset,
    claim: Claim,
    written: u32,
    incoming: bool,
    linked: bool,
}

impl Reservation {
    /// Reserves space that [`super::Store::occupy`] has just counted as live. Only the functions
    /// that allocate it call this, once for each allocation.
    #[inline(always)]
    pub(super) fn of(shard: &Arc<Shard>, at: Offset) -> Reservation {
        Reservation {
            shard: Arc::clone(shard),
            at,
            claim: Claim(()),
            written: 0,
            incoming: false,
            linked: false,
        }
    }

    /// Turns a reservation into one for a value that a client is still sending.
    pub(super) fn incoming(mut self) -> Reservation {
        self.incoming = true;
        self.shard.begin_incoming(self.layout().units());
        self
    }

    /// Writes the header and the line of a new item, except the value.
    #[inline(always)]
    pub(super) fn render(&mut self, layout: Layout, new: &NewItem<'_>) {
        let header = self.header();
        header.exptime.store(new.exptime, Relaxed);
        header.item_flags.store(if new.binary_key { BINARY_KEY } else { 0 }, Relaxed);
        layout::render(&self.shard.memory.arena, self.at, layout, new, &mut self.claim);
    }

    /// Copies a complete item, which the caller may read. The reservation has the item's layout.
    pub(super) fn copy(&mut self, from: Offset, held: &impl MayRead) {
        layout::copy(&self.shard.memory.arena, (from, held), (self.at, &mut self.claim));
        self.written = self.layout().value_bytes as u32;
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
        self.shard.memory.arena.header(self.at, self)
    }

    pub(super) fn layout(&self) -> Layout {
        Layout::read(self.header())
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        layout::key(&self.shard.memory.arena, self.at, self)
    }

    /// The part of the value that was written.
    pub(super) fn value(&self) -> &[u8] {
        let start = self.layout().value().start;
        self.shard.memory.arena.line(self.at, start..start + self.written as usize, self)
    }

    /// Appends to the value, up to its length. Returns the bytes taken.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.remaining());
        let offset = self.layout().value().start + self.written as usize;
        self.shard.memory.arena.write_line(self.at, offset, &bytes[..n], &mut self.claim);
        self.written += n as u32;
        n
    }

    /// Writes the whole value of a new reservation with this layout.
    #[inline(always)]
    pub(super) fn fill(&mut self, layout: Layout, value: &[u8]) {
        let start = layout.value().start;
        self.shard.memory.arena.write_line(self.at, start, value, &mut self.claim);
        self.written = value.len() as u32;
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
