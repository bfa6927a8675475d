//! Bytes that a handler of a user answers with, wherever they lie.

use super::Blob;
use crate::store::{Item, Store};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of an answer.
#[derive(Clone, Debug)]
pub enum Bytes {
    /// Bytes built into the program.
    Static(&'static [u8]),
    /// Bytes made for this answer.
    Owned(Vec<u8>),
    /// Bytes that many answers share.
    Shared(Arc<[u8]>),
    /// A range of an item of the store ([`Item::line`]).
    Item(Item, Range<usize>),
}

impl Bytes {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Static(bytes) => bytes,
            Bytes::Owned(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
            Bytes::Item(item, range) => &item.line()[range.clone()],
        }
    }

    /// The value of `item`. It is copied if this thread holds as many items of `store` as it may.
    pub fn of_item(store: &Store, item: Item) -> Bytes {
        if store.is_at_pin_limit(true) { item.value().to_vec().into() } else { item.into() }
    }

    /// The same, to be shared, and the range of it that is meant. Owned bytes are copied.
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
