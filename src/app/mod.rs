//! The applications: bytes in, ranges of bytes out; the same ones over every transport.

use std::sync::Arc;

/// The immutable bytes that answers are made of.
#[derive(Clone, Debug)]
pub enum Blob {
    /// Bytes built into the program.
    Static(&'static [u8]),
    /// Bytes held in memory, a file's say, shared by all answers that carry them.
    Shared(Arc<[u8]>),
}

impl simoom_stack::Blob for Blob {
    fn bytes(&self) -> &[u8] {
        match self {
            Blob::Static(bytes) => bytes,
            Blob::Shared(bytes) => bytes,
        }
    }
}
