//! What is asked of a store and what comes of it, beyond conditions ([`super::condition`]).

use super::{Item, Meta};

/// Bytes of the longest key.
pub const KEY_MAX_BYTES: usize = 250;

/// An exptime that has always passed: what a negative exptime of a client becomes.
pub const EXPIRED: u32 = 1;

/// An item to be, before its value has come.
#[derive(Clone, Copy, Debug)]
pub struct NewItem<'a> {
    /// 1 to [`KEY_MAX_BYTES`] bytes.
    pub key: &'a [u8],
    /// The client's flags.
    pub flags: u32,
    /// Unix seconds, 0 for never.
    pub exptime: u32,
    /// Bytes of the value; exactly as many must be written before the commit.
    pub value_bytes: usize,
    /// Whether the key came base64-encoded and holds bytes that a text command could not; only kept
    /// for [`Meta::binary_key`].
    pub binary_key: bool,
}

/// Why no space was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveError {
    /// The item, its key and metadata included, would exceed [`super::Settings::item_max_bytes`].
    TooLarge,
    /// No memory could be had: what could be evicted is pinned by senders.
    OutOfMemory,
}

/// How an item is fetched. The default is what `get` does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fetch {
    /// Sets the exptime (`gat`, the meta flag T).
    pub touch: Option<u32>,
    /// Leaves access time, hit mark and eviction order as they are (the meta command `me`, or `mg`
    /// without a flag that bumps).
    pub peek: bool,
    /// One client wins the right to renew an item that lives no longer than this many seconds (the
    /// meta flag R).
    pub recache_below: Option<u32>,
    /// Whether `recache_below` looks at the exptime that `touch` sets; else at that before.
    pub recache_after_touch: bool,
    /// On a miss an item without a value and with this exptime is made, and won (the meta flag N).
    pub vivify: Option<u32>,
    /// The cas unique of an item made by `vivify`; one of the store's own counting if `None`.
    pub vivify_cas: Option<u64>,
    /// What [`Meta::binary_key`] of an item made by `vivify` says.
    pub binary_key: bool,
}

/// A fetched item, and how it was just before.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The item.
    pub item: Item,
    /// Its metadata just before the fetch; of an item made by it, that item's.
    pub meta: Meta,
    /// It was made by this fetch ([`Fetch::vivify`]).
    pub created: bool,
    /// This fetch wins the right to renew it (the meta flag W).
    pub won: bool,
    /// An earlier fetch won that right (the meta flag Z).
    pub token_sent: bool,
}

/// How a number is counted up or down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// By how much.
    pub delta: u64,
    /// Down, not below 0; else up, wrapping at 64 bits.
    pub decrement: bool,
    /// Only an item with this cas unique.
    pub compare: Option<u64>,
    /// The cas unique that the item gets; one of the store's own counting if `None`.
    pub cas: Option<u64>,
    /// Sets the exptime of an item that was there.
    pub exptime: Option<u32>,
    /// Where there is no item: make one with this number and this exptime.
    pub create: Option<(u64, u32)>,
    /// What [`Meta::binary_key`] of an item made by `create` says.
    pub binary_key: bool,
}

/// What came of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Done.
    Value {
        /// The number now.
        value: u64,
        /// The item's metadata now.
        meta: Meta,
        /// The item was made by this call.
        created: bool,
    },
    /// There is no item, and none was to be made.
    NotFound,
    /// The item has another cas unique.
    Exists,
    /// The value is not a number of 64 bits.
    NonNumeric,
    /// No memory could be had: what could be evicted is pinned by senders.
    OutOfMemory,
}

/// One item shown to a dump.
#[derive(Debug)]
pub struct Visit<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The rest.
    pub meta: Meta,
    /// Bytes that it takes.
    pub size_bytes: usize,
    /// Its class, as in [`super::ClassStatistics`].
    pub class: u32,
}
