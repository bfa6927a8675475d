//! Handles: on a stored item, and on one that is being written, both of which outlive the store if
//! need be; and a glance at an item, for who copies what it needs of it at once.

use super::arena::{Header, Offset};
use super::layout::{self, Layout};
use super::shard::Shard;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A handle on an item: its bytes stay as they are, wherever they are in the store, until the last
/// handle goes, even if the item is replaced, expires or is evicted meanwhile. 16 bytes; cloning is
/// cheap.
///
/// It pins a frame of the store, so it should live no longer than the bytes take to be sent; what
/// is small is better copied.
pub struct Item {
    shard: Arc<Shard>,
    at: Offset,
}

/// A glance at an item: its bytes stay as they are for as long as this is held, which must not be
/// while anything else is waited for. It counts towards no bound, and costs less than an [`Item`].
pub struct ItemGuard<'a> {
    shard: &'a Arc<Shard>,
    at: Offset,
}

impl<'a> ItemGuard<'a> {
    /// A glance at whatever item is at that place.
    #[inline]
    pub(super) fn at(shard: &'a Arc<Shard>, at: Offset) -> ItemGuard<'a> {
        shard.pin_guard(at);
        ItemGuard { shard, at }
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

    /// A handle on the item, and whether its frame was not pinned before.
    #[inline]
    pub(super) fn pin(&self) -> (Item, bool) {
        let first = self.shard.pin(self.at);
        (Item::pinned(self.shard, self.at), first)
    }
}

impl Drop for ItemGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.shard.unpin_guard(self.at);
    }
}

/// What is known of an item besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The client's flags.
    pub flags: u32,
    /// Changes whenever the item does; never 0 unless a client asked for it.
    pub cas: u64,
    /// Unix seconds, 0 for never.
    pub exptime: u32,
    /// When it was last fetched, or stored if it never was; unix seconds.
    pub last_access: u32,
    /// Whether it was ever fetched.
    pub fetched: bool,
    /// Whether it was marked stale.
    pub stale: bool,
    /// Whether a client has won the right to renew it.
    pub token_sent: bool,
    /// Whether the key came base64-encoded.
    pub binary_key: bool,
}

impl Item {
    /// A handle on the item at a place that this stripe has pinned; it takes the pin over.
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

    /// What a text `get` answers: `VALUE <key> <flags> <bytes>\r\n<value>\r\n`.
    #[inline]
    pub fn line(&self) -> &[u8] {
        self.shard.memory.arena.line(self.at, 0..self.layout().line_bytes())
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        layout::key(&self.shard.memory.arena, self.at)
    }

    /// Where in [`Item::line`] the value is; it is followed by `\r\n`.
    #[inline]
    pub fn value_range(&self) -> Range<usize> {
        self.layout().value()
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        self.shard.memory.arena.line(self.at, self.value_range())
    }

    /// Everything else, as it is now. A cas unique that is read here never comes with older marks
    /// than its own.
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

/// Space in the store for one value that is still coming. Write it, then give it to
/// [`super::Store::commit`]; dropped before that, it gives the space back. 24 bytes.
pub struct Reservation {
    shard: Arc<Shard>,
    at: Offset,
    written: u32,
    incoming: bool,
    linked: bool,
}

impl Reservation {
    /// The holder of a place among the items, which was counted as live.
    pub(super) fn complete(shard: &Arc<Shard>, at: Offset) -> Reservation {
        Reservation { shard: Arc::clone(shard), at, written: 0, incoming: false, linked: false }
    }

    /// The holder of a place among the items to which a whole value was copied.
    pub(super) fn written(shard: &Arc<Shard>, at: Offset) -> Reservation {
        let mut reservation = Reservation::complete(shard, at);
        reservation.written = reservation.layout().value_bytes as u32;
        reservation
    }

    /// The holder of a place among the values that clients are still sending.
    pub(super) fn incoming(shard: &Arc<Shard>, at: Offset) -> Reservation {
        let mut reservation = Reservation::complete(shard, at);
        reservation.incoming = true;
        shard.begin_incoming(reservation.layout().units());
        reservation
    }

    pub(super) fn is_incoming(&self) -> bool {
        self.incoming
    }

    /// The same place, now among the items.
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

    /// What was written of the value.
    pub(super) fn value(&self) -> &[u8] {
        let start = self.layout().value().start;
        self.shard.memory.arena.line(self.at, start..start + self.written as usize)
    }

    /// Appends to the value as much of `bytes` as it lacks; returns how much that was.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.remaining());
        let offset = self.layout().value().start + self.written as usize;
        self.shard.memory.arena.write_line(self.at, offset, &bytes[..n]);
        self.written += n as u32;
        n
    }

    /// Bytes of the value, written or not.
    pub fn value_bytes(&self) -> usize {
        self.layout().value_bytes
    }

    /// Bytes that the value still lacks.
    pub fn remaining(&self) -> usize {
        self.layout().value_bytes - self.written as usize
    }

    /// Leaves the place to the entry that now names it.
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
