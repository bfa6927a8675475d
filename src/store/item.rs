//! Handles: on a stored item, and on one that is being written.

use super::first::Stored;
use std::ops::Range;
use std::sync::Arc;

/// A handle on an item: its bytes stay as they are, wherever they are in the store, until the last handle goes, even
/// if the item is replaced, expires or is evicted meanwhile. 16 bytes; cloning is cheap.
///
/// It pins memory of the store, so it should live no longer than the bytes take to be sent.
#[derive(Clone)]
pub struct Item(pub(super) Arc<Stored>);

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
    /// What a text `get` answers: `VALUE <key> <flags> <bytes>\r\n<value>\r\n`.
    #[inline]
    pub fn line(&self) -> &[u8] {
        self.0.line()
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        self.0.key()
    }

    /// Where in [`Item::line`] the value is; it is followed by `\r\n`.
    #[inline]
    pub fn value_range(&self) -> Range<usize> {
        self.0.value_range()
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        &self.line()[self.value_range()]
    }

    /// Everything else, as it is now. A cas unique that is read here never comes with older marks than its own.
    pub fn meta(&self) -> Meta {
        self.0.meta()
    }

    /// The cas unique as it is now.
    pub fn cas(&self) -> u64 {
        self.meta().cas
    }

    /// Bytes of the store that the item takes, metadata included.
    pub fn size_bytes(&self) -> usize {
        self.0.size_bytes()
    }
}

impl simoom_stack::Blob for Item {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.line()
    }
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Item({:?}, {} bytes)", String::from_utf8_lossy(self.key()), self.value_range().len())
    }
}

/// Space in the store for one value that is still coming. Write it, then give it to [`super::Store::commit`]; dropped
/// before that, it gives the space back. 24 bytes.
#[derive(Debug)]
pub struct Reservation {
    pub(super) stored: Box<Stored>,
    pub(super) written: usize,
}

impl Reservation {
    /// Appends to the value as much of `bytes` as it lacks; returns how much that was.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.remaining());
        let at = self.stored.value_range().start + self.written;
        self.stored.line[at..at + n].copy_from_slice(&bytes[..n]);
        self.written += n;
        n
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        self.stored.key()
    }

    /// Bytes of the value, written or not.
    pub fn value_bytes(&self) -> usize {
        self.stored.value_range().len()
    }

    /// Bytes that the value still lacks.
    pub fn remaining(&self) -> usize {
        self.stored.value_range().len() - self.written
    }
}
