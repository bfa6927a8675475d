//! Gathers frames that exceed the transport's input buffer, until they are complete.

/// Consumed bytes that are not decoded yet.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    /// Decoded bytes at the front.
    start: usize,
}

impl Gathered {
    /// The undecoded bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Whether there are no undecoded bytes.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Bytes of memory in use.
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

    /// Removes the first `n` bytes, which are decoded. Frees the memory with the last byte.
    pub(super) fn consume(&mut self, n: usize) {
        self.start += n;
        if self.is_empty() {
            *self = Gathered::default();
        }
    }
}
