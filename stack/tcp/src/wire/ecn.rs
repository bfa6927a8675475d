//! The two bits of an IP header that say what congestion a packet has met (RFC 3168 §5): in IPv4's
//! type of service, in IPv6's traffic class, the low ones.

/// What those two bits say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ecn(u8);

impl Ecn {
    /// The sender does not understand them; a router that is congested drops the packet.
    pub const NOT_CAPABLE: Ecn = Ecn(0b00);
    /// ECT(0): the sender understands them; a router that is congested may mark the packet instead.
    pub const CAPABLE: Ecn = Ecn(0b10);
    /// CE: a router was congested.
    pub const CONGESTED: Ecn = Ecn(0b11);

    /// Those of a type of service or traffic class.
    #[inline]
    pub const fn of(traffic_class: u8) -> Ecn {
        Ecn(traffic_class & 0b11)
    }

    /// A type of service or traffic class with these, and nothing else.
    #[inline]
    pub const fn traffic_class(self) -> u8 {
        self.0
    }
}
