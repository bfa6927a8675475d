//! The bytes that a library user's handler sends: static, owned, shared, or in the store.

use super::Blob;
use crate::store::{Item, Store};
use std::ops::Range;
use std::sync::Arc;

/// The longest value that is copied when it cannot be shared.
const COPIED_MAX_BYTES: usize = 16 << 10;

/// The bytes of a response.
#[derive(Clone, Debug)]
pub enum Bytes {
    /// Bytes built into the program.
    Static(&'static [u8]),
    /// Bytes owned by this response.
    Owned(Vec<u8>),
    /// Bytes shared by many responses.
    Shared(Arc<[u8]>),
    /// A range of an item of the store ([`Item::line`]).
    Item(Item, Range<usize>),
}

impl Bytes {
    /// Returns the bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Static(bytes) => bytes,
            Bytes::Owned(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
            Bytes::Item(item, range) => &item.line()[range.clone()],
        }
    }

    /// The value of `item`, without a copy. When this thread has pinned the maximum number of items
    /// of `store`, a value of up to 16 KiB is copied. A longer value returns `None`: report that it
    /// cannot be sent now. So slow readers pin a bounded part of the memory.
    pub fn of_item(store: &Store, item: Item) -> Option<Bytes> {
        if !store.is_at_pin_limit(true) {
            return Some(item.into());
        }
        let value = item.value();
        (value.len() <= COPIED_MAX_BYTES).then(|| value.to_vec().into())
    }

    /// Converts the bytes for sharing. Returns them and the range to send. Copies owned bytes.
    pub(in crate::app) fn into_blob(self) -> (Blob, Range<usize>) {
        let all = 0..self.as_slice().len();
        match self {
            Bytes::Static(bytes) => (Blob::Static(bytes), all),
            Bytes::Owned(bytes) => (Blob::Shared(bytes.into()), all),
            Bytes::Shared(bytes) => (Blob::Shared(bytes), all),
            Bytes::Item(item, range) => (Blob::Item(item), range),
        }
    }
}

impl From<&'static str> for Bytes {
    fn from(text: &'static str) -> Bytes {
        Bytes::Static(text.as_bytes())
    }
}

impl From<&'static [u8]> for Bytes {
    fn from(bytes: &'static [u8]) -> Bytes {
        Bytes::Static(bytes)
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Bytes {
        Bytes::Owned(text.into_bytes())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes::Owned(bytes)
    }
}

impl From<Arc<[u8]>> for Bytes {
    fn from(bytes: Arc<[u8]>) -> Bytes {
        Bytes::Shared(bytes)
    }
}

/// The value of the item.
impl From<Item> for Bytes {
    fn from(item: Item) -> Bytes {
        let range = item.value_range();
        Bytes::Item(item, range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Commit, NewItem, Settings};

    #[test]
    fn at_the_pin_limit_short_values_are_copied_and_long_ones_are_not_sent() {
        let store = Store::new(&Settings { memory_bytes: 8 << 20, ..Settings::default() });
        let store = store.expect("the bounds are kept");
        let mut held = Vec::new();
        for n in 0..100 {
            for (name, value_bytes) in [("long", 100_000), ("short", 100)] {
                let key = format!("{name} {n}");
                let key = key.as_bytes();
                let new = NewItem { key, flags: 0, exptime: 0, value_bytes, binary_key: true };
                let mut reservation = store.reserve(&new, 1).expect("something can be evicted");
                reservation.write(&vec![b'v'; value_bytes]);
                store.commit(reservation, &Commit::default(), 1);
            }
            let get = |name: &str| store.get(format!("{name} {n}").as_bytes(), 1).expect(name);
            let (long, short) = (get("long"), get("short"));
            if store.is_at_pin_limit(true) {
                assert!(Bytes::of_item(&store, long.clone()).is_none());
                let copied = Bytes::of_item(&store, short.clone());
                assert!(matches!(copied, Some(Bytes::Owned(value)) if value == [b'v'; 100]));
                return;
            }
            assert!(matches!(Bytes::of_item(&store, short), Some(Bytes::Item(..))));
            held.push(long);
        }
        panic!("{} values of 100 kB are held of 8 MiB", held.len());
    }
}
