//! Frames that are longer than what a transport keeps: gathered here until they are complete.

/// Bytes that were consumed and not decoded.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    /// Bytes at the front that were decoded.
    start: usize,
}

impl Gathered {
    /// What is not decoded.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Bytes of memory that are used.
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Appends `bytes`.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The first `n` bytes are decoded. Memory is given back with the last.
    pub(super) fn consume(&mut self, n: usize) {
        self.start += n;
        if self.is_empty() {
            *self = Gathered::default();
        }
    }
}
