//! Entry points for fuzzing: bytes decide what happens, and for any bytes the stack's guarantees
//! must hold.
//!
//! [`frames`] plays a stranger: frames of any content, some of them well-formed segments for
//! connections in different states. [`operations`] plays two applications and the link between
//! them. Both panic if a guarantee is broken, so that a fuzzer, a property test and a committed
//! input can all run them.

mod frames;
mod operations;

pub use frames::frames;
pub use operations::operations;

use crate::Limits;
use crate::prefix::PrefixLengths;

/// Bytes taken one by one; zero when there are none left.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        front
    }

    /// A distance, small more often than not.
    fn distance(&mut self) -> u32 {
        let word = self.word();
        match word >> 14 {
            0 => u32::from(word & 0x3f),
            1 => u32::from(word & 0x3f).wrapping_neg(),
            2 => u32::from(word & 0x3fff) * 8,
            _ => u32::from(word) << 16,
        }
    }
}

const LIMITS: Limits = Limits {
    connections: 12,
    half_open: 4,
    // Counted, and never reached.
    connections_per_prefix: u32::MAX,
    prefix_lengths: PrefixLengths { v4: 24, v6: 64 },
    connections_per_port: u32::MAX,
    time_wait: 3,
    send_entries: 40,
    send_chunks: 24,
    small_input_buffers: 3,
    large_input_buffers: 1,
    reassembly_blocks: 6,
    flight_runs: 20,
    neighbours: 4,
    unresolved: 4,
};
