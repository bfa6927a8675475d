//! The ECN field of an IP header (RFC 3168 §5): the two low bits of IPv4's type of service or
//! IPv6's traffic class.

/// The ECN field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ecn(u8);

impl Ecn {
    /// Not-ECT: the sender does not support ECN. A congested router drops the packet.
    pub const NOT_CAPABLE: Ecn = Ecn(0b00);
    /// ECT(0): the sender supports ECN. A congested router may mark the packet instead of dropping
    /// it.
    pub const CAPABLE: Ecn = Ecn(0b10);
    /// CE: a router was congested.
    pub const CONGESTED: Ecn = Ecn(0b11);

    /// The field in a type of service or traffic class.
    #[inline]
    pub const fn of(traffic_class: u8) -> Ecn {
        Ecn(traffic_class & 0b11)
    }

    /// A type of service or traffic class with this field, all other bits 0.
    #[inline]
    pub const fn traffic_class(self) -> u8 {
        self.0
    }
}
