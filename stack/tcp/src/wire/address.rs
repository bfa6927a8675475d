//! One type for the addresses of both IP versions, of a size that lets tables hold either.

use super::Mac;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP address: IPv6, or IPv4 mapped into it (RFC 4291 §2.5.5.2).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Address([u8; 16]);

impl Address {
    /// The address of the four bytes of an IPv4 header field.
    #[inline]
    pub fn from_v4(bytes: [u8; 4]) -> Address {
        Address::from_halves(0, u64::from(u32::from_le_bytes(bytes)) << 32 | 0xffff_0000)
    }

    /// The address of the sixteen bytes of an IPv6 header field.
    #[inline]
    pub const fn from_v6(bytes: [u8; 16]) -> Address {
        Address(bytes)
    }

    /// Whether this is an IPv4 address.
    #[inline]
    pub fn is_v4(&self) -> bool {
        let [low, high] = [self.halves().0, self.halves().1];
        low == 0 && high as u32 == 0xffff_0000
    }

    /// The sixteen bytes.
    #[inline]
    pub fn octets(&self) -> [u8; 16] {
        self.0
    }

    /// The last four bytes: the IPv4 address, where this is one.
    #[inline]
    pub fn v4(&self) -> [u8; 4] {
        *self.0.last_chunk().expect("an address has sixteen bytes")
    }

    /// Both halves as integers, for hashing.
    #[inline]
    pub fn halves(&self) -> (u64, u64) {
        let value = u128::from_le_bytes(self.0);
        (value as u64, (value >> 64) as u64)
    }

    /// The address of what [`Address::halves`] gives.
    #[inline]
    pub fn from_halves(low: u64, high: u64) -> Address {
        Address((u128::from(high) << 64 | u128::from(low)).to_le_bytes())
    }

    /// [`Address::is_unicast`] of an address that is known to be IPv4.
    #[inline(always)]
    pub(super) fn is_unicast_v4(&self) -> bool {
        let first = (self.halves().1 >> 32) as u8;
        first != 0 && first != 127 && first < 224
    }

    /// Both halves as they lie in memory, for checksums.
    #[inline]
    pub(super) fn ne_halves(&self) -> (u64, u64) {
        let value = u128::from_ne_bytes(self.0);
        (value as u64, (value >> 64) as u64)
    }

    /// Whether a packet may come from here: not unspecified, multicast, broadcast or loopback (RFC
    /// 1122 §3.2.1.3, RFC 4291 §2.5).
    #[inline]
    pub fn is_unicast(&self) -> bool {
        const LOOPBACK: Address = Address(Ipv6Addr::LOCALHOST.octets());
        if self.is_v4() {
            return self.is_unicast_v4();
        }
        !self.is_unspecified() && !self.is_multicast() && *self != LOOPBACK
    }
}

/// Methods for IPv6 only.
impl Address {
    /// Every node of the link (RFC 4291 §2.7.1).
    pub const ALL_NODES: Address = Address([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// Whether this is `::`, the unspecified address.
    pub fn is_unspecified(&self) -> bool {
        self.0 == [0; 16]
    }

    /// Whether this is a multicast address (RFC 4291 §2.7).
    #[inline]
    pub fn is_multicast(&self) -> bool {
        self.0[0] == 0xff
    }

    /// The solicited-node multicast address (RFC 4291 §2.7.1).
    pub fn solicited_node(&self) -> Address {
        let [.., a, b, c] = self.0;
        Address([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
    }

    /// The hardware address of a multicast address (RFC 2464 §7).
    pub fn multicast_mac(&self) -> Mac {
        let [.., a, b, c, d] = self.0;
        [0x33, 0x33, a, b, c, d]
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Address {
        match ip {
            IpAddr::V4(v4) => Address::from_v4(v4.octets()),
            IpAddr::V6(v6) => Address(v6.octets()),
        }
    }
}

impl From<Ipv4Addr> for Address {
    fn from(ip: Ipv4Addr) -> Address {
        Address::from_v4(ip.octets())
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> IpAddr {
        Ipv6Addr::from(address.0).to_canonical()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
