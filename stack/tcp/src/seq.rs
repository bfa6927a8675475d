//! TCP sequence numbers: 32 bits that wrap, compared by signed distance (RFC 9293 §3.4).

use std::ops::{Add, AddAssign, Sub};

/// A sequence number. It has no total order: two numbers compare only if they lie less than 2³¹
/// apart. So the comparisons are methods and not operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seq(pub u32);

impl Seq {
    /// Whether `self` comes before `other`.
    pub const fn before(self, other: Seq) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether `self` comes before `other` or is the same.
    pub const fn at_or_before(self, other: Seq) -> bool {
        !other.before(self)
    }

    /// Whether `self` comes after `other`.
    pub const fn after(self, other: Seq) -> bool {
        other.before(self)
    }

    /// Whether `self` comes after `other` or is the same.
    pub const fn at_or_after(self, other: Seq) -> bool {
        !self.before(other)
    }

    /// Bytes from `earlier` to `self`; 0 if `earlier` is later.
    pub const fn since(self, earlier: Seq) -> u32 {
        if self.before(earlier) { 0 } else { self.0.wrapping_sub(earlier.0) }
    }

    /// The later of two.
    pub const fn max(self, other: Seq) -> Seq {
        if self.before(other) { other } else { self }
    }

    /// The earlier of two.
    pub const fn min(self, other: Seq) -> Seq {
        if self.before(other) { self } else { other }
    }
}

impl Add<u32> for Seq {
    type Output = Seq;

    fn add(self, bytes: u32) -> Seq {
        Seq(self.0.wrapping_add(bytes))
    }
}

impl AddAssign<u32> for Seq {
    fn add_assign(&mut self, bytes: u32) {
        *self = *self + bytes;
    }
}

impl Sub<u32> for Seq {
    type Output = Seq;

    fn sub(self, bytes: u32) -> Seq {
        Seq(self.0.wrapping_sub(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_survives_the_wrap(start: u32, distance in 1u32..0x7fff_ffff) {
            let (a, b) = (Seq(start), Seq(start) + distance);
            prop_assert!(a.before(b) && b.after(a) && a.at_or_before(b) && b.at_or_after(a));
            prop_assert!(!b.before(a) && !a.after(b));
            prop_assert_eq!((b.since(a), a.since(b)), (distance, 0));
            prop_assert_eq!((a.max(b), b.max(a)), (b, b));
        }
    }
}
