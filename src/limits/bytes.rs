//! A number of bytes as people read it.

use std::fmt;

/// A number of bytes with a unit: `512 B`, `1.5 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bytes(bytes) = *self;
        if bytes < 1024 {
            return write!(f, "{bytes} B");
        }
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let power = (bytes.ilog2() / 10).min(units.len() as u32);
        // Rounding to tenths may reach 1024 of a unit, shown as 1024.0 KiB.
        let value = bytes as f64 / 2f64.powi(power as i32 * 10);
        write!(f, "{value:.1} {}", units[power as usize - 1])
    }
}
