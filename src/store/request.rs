//! Arguments and results of the store's calls, except conditions ([`super::condition`]).

use super::{Item, Meta};

/// Limit of the length of a key.
pub const KEY_MAX_BYTES: usize = 250;

/// An exptime in the past. Stands for a negative exptime of a client.
pub const EXPIRED: u32 = 1;

/// A new item, without its value.
#[derive(Clone, Copy, Debug)]
pub struct NewItem<'a> {
    /// 1 to [`KEY_MAX_BYTES`] bytes.
    pub key: &'a [u8],
    /// The client's flags.
    pub flags: u32,
    /// Unix seconds; 0 means never.
    pub exptime: u32,
    /// Length of the value. Exactly this many bytes must be written before the commit.
    pub value_bytes: usize,
    /// Whether the client sent the key in base64 because a text command cannot hold its bytes. Only
    /// stored for [`Meta::binary_key`].
    pub binary_key: bool,
}

/// Why no space was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveError {
    /// The item, with key and metadata, would exceed [`super::Settings::item_max_bytes`].
    TooLarge,
    /// Out of memory: senders pin what could be evicted.
    OutOfMemory,
}

/// What to do while a thread's share of the memory for incoming values is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The caller dropped another reservation of this thread. Look again.
    Dropped,
    /// This thread has no other reservation: others that use the same share have filled it. The
    /// value may exceed it.
    Exceed,
    /// The caller will ask again: fail with [`ReserveError::OutOfMemory`], and do not count that.
    Wait,
}

impl Full {
    /// The answer of a caller that drops reservations and never waits.
    pub fn unless_dropped(dropped: bool) -> Full {
        if dropped { Full::Dropped } else { Full::Exceed }
    }
}

/// How to fetch an item. The default is a plain `get`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fetch {
    /// Set the exptime (`gat`, meta flag T).
    pub touch: Option<u32>,
    /// Leave access time, hit flag and eviction order unchanged (meta command `me`, or `mg` without
    /// a flag that bumps).
    pub peek: bool,
    /// Let one client win the right to recache an item that expires in less than this many seconds
    /// (meta flag R).
    pub recache_below: Option<u32>,
    /// Compare `recache_below` with the exptime set by `touch`, instead of the exptime before.
    pub recache_after_touch: bool,
    /// On a miss create an empty item with this exptime, and win it (meta flag N).
    pub vivify: Option<u32>,
    /// Cas unique of an item created by `vivify`; assigned by the store if `None`.
    pub vivify_cas: Option<u64>,
    /// [`Meta::binary_key`] of an item created by `vivify`.
    pub binary_key: bool,
}

/// A fetched item, with its metadata before the fetch.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// A handle on the item.
    pub item: Item,
    /// Metadata before the fetch. If this fetch created the item, its metadata after it.
    pub meta: Meta,
    /// Whether this fetch created the item ([`Fetch::vivify`]).
    pub created: bool,
    /// Whether this fetch wins the right to recache the item (meta flag W).
    pub won: bool,
    /// Whether an earlier fetch won that right (meta flag Z).
    pub token_sent: bool,
}

/// How to increment or decrement a number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Amount to add or subtract.
    pub delta: u64,
    /// Subtract, down to 0. Otherwise add, wrapping at 64 bits.
    pub decrement: bool,
    /// Only change an item with this cas unique.
    pub compare: Option<u64>,
    /// Cas unique that the item gets; assigned by the store if `None`.
    pub cas: Option<u64>,
    /// Set the exptime of an existing item.
    pub exptime: Option<u32>,
    /// If there is no item: create one with this number and this exptime.
    pub create: Option<(u64, u32)>,
    /// [`Meta::binary_key`] of an item created by `create`.
    pub binary_key: bool,
}

/// Result of [`super::Store::count`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The number was changed or created.
    Value {
        /// The number now.
        value: u64,
        /// Metadata of the item now.
        meta: Meta,
        /// Whether this call created the item.
        created: bool,
    },
    /// There is no item, and [`Count::create`] is `None`.
    NotFound,
    /// The cas unique of the item differs.
    Exists,
    /// The value is not a decimal number of 64 bits.
    NonNumeric,
    /// Out of memory: senders pin what could be evicted.
    OutOfMemory,
}

/// One item in a dump.
#[derive(Debug)]
pub struct Visit<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The metadata.
    pub meta: Meta,
    /// Bytes that the item takes.
    pub size_bytes: usize,
    /// Class of the item, as in [`super::ClassStatistics`].
    pub class: u32,
}
