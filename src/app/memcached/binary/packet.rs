//! A packet without its value: extras and key in place. Checks their lengths against the operation.

use super::header::Header;
use super::operation::Operation;

/// A packet without its value.
pub(super) struct Packet<'a> {
    pub(super) header: Header,
    pub(super) quiet: bool,
    pub(super) extras: &'a [u8],
    pub(super) key: &'a [u8],
}

impl Packet<'_> {
    pub(super) fn value_len(&self) -> u32 {
        self.header.body_len - self.header.front_len() as u32
    }

    pub(super) fn is_formed_as(&self, operation: Operation) -> bool {
        let Header { extras_len, body_len, .. } = self.header;
        let (has_key, has_value) = (!self.key.is_empty(), self.value_len() > 0);
        match operation {
            Operation::Get { .. } | Operation::Delete => extras_len == 0 && has_key && !has_value,
            Operation::Touch { .. } => extras_len == 4 && has_key,
            Operation::Store(_) => extras_len == 8 && has_key,
            Operation::Join(_) => extras_len == 0 && has_key,
            Operation::Count { .. } => extras_len == 20 && has_key && !has_value,
            Operation::Quit | Operation::Noop | Operation::Version => body_len == 0,
            Operation::Flush => matches!(extras_len, 0 | 4) && !has_key && !has_value,
            Operation::Stat => extras_len == 0,
            Operation::Sasl if self.header.opcode == 0x20 => body_len == 0,
            Operation::Sasl => extras_len == 0 && has_key,
        }
    }

    /// 32 bits of the extras, from this offset.
    pub(super) fn extra32(&self, at: usize) -> u32 {
        self.extras
            .get(at..)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// 64 bits of the extras, from this offset.
    pub(super) fn extra64(&self, at: usize) -> u64 {
        self.extras
            .get(at..)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    pub(super) fn compare(&self) -> Option<u64> {
        Some(self.header.cas).filter(|cas| *cas != 0)
    }
}
