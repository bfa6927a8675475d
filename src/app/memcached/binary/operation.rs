//! Maps an opcode to its operation, and to whether the request is quiet, so that only errors are
//! reported.

use crate::store::Mode;

pub(super) const STAT: u8 = 0x10;

/// The operation of an opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Get {
        with_key: bool,
    },
    /// `touch`, or `gat` if the answer includes the value.
    Touch {
        with_value: bool,
        with_key: bool,
    },
    Store(Mode),
    Join(Mode),
    Delete,
    Count {
        decrement: bool,
    },
    Quit,
    Flush,
    Noop,
    Version,
    Stat,
    /// Authentication. Not supported.
    Sasl,
}

/// The operation of an opcode, and whether the opcode is quiet.
pub(super) fn operation(opcode: u8) -> Option<(Operation, bool)> {
    use Operation::{
        Count, Delete, Flush, Get, Join, Noop, Quit, Sasl, Stat, Store, Touch, Version,
    };
    Some(match opcode {
        0x00 => (Get { with_key: false }, false),
        0x01 => (Store(Mode::Set), false),
        0x02 => (Store(Mode::Add), false),
        0x03 => (Store(Mode::Replace), false),
        0x04 => (Delete, false),
        0x05 => (Count { decrement: false }, false),
        0x06 => (Count { decrement: true }, false),
        0x07 => (Quit, false),
        0x08 => (Flush, false),
        0x09 => (Get { with_key: false }, true),
        0x0a => (Noop, false),
        0x0b => (Version, false),
        0x0c => (Get { with_key: true }, false),
        0x0d => (Get { with_key: true }, true),
        0x0e => (Join(Mode::Append), false),
        0x0f => (Join(Mode::Prepend), false),
        STAT => (Stat, false),
        0x11 => (Store(Mode::Set), true),
        0x12 => (Store(Mode::Add), true),
        0x13 => (Store(Mode::Replace), true),
        0x14 => (Delete, true),
        0x15 => (Count { decrement: false }, true),
        0x16 => (Count { decrement: true }, true),
        0x17 => (Quit, true),
        0x18 => (Flush, true),
        0x19 => (Join(Mode::Append), true),
        0x1a => (Join(Mode::Prepend), true),
        0x1c => (Touch { with_value: false, with_key: false }, false),
        0x1d => (Touch { with_value: true, with_key: false }, false),
        0x1e => (Touch { with_value: true, with_key: false }, true),
        0x20..=0x22 => (Sasl, false),
        0x23 => (Touch { with_value: true, with_key: true }, false),
        0x24 => (Touch { with_value: true, with_key: true }, true),
        _ => return None,
    })
}
