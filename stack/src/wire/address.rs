//! One type for the addresses of both IP versions, of a size that lets tables hold either.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP address: IPv6, or IPv4 mapped into it (RFC 4291 §2.5.5.2).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Address([u8; 16]);

impl Address {
    /// The address of the four bytes of an IPv4 header field.
    #[inline]
    pub fn from_v4(bytes: [u8; 4]) -> Address {
        let mut mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
        mapped[12..].copy_from_slice(&bytes);
        Address(mapped)
    }

    /// The last four bytes: the IPv4 address, where this is one.
    #[inline]
    pub fn v4(&self) -> [u8; 4] {
        [self.0[12], self.0[13], self.0[14], self.0[15]]
    }

    /// Both halves as integers, for hashing.
    #[inline]
    pub fn halves(&self) -> (u64, u64) {
        let value = u128::from_le_bytes(self.0);
        (value as u64, (value >> 64) as u64)
    }

    /// Whether a packet may come from here: not unspecified, multicast, broadcast or loopback (RFC 1122 §3.2.1.3).
    #[inline]
    pub fn is_unicast(&self) -> bool {
        let [first, ..] = self.v4();
        first != 0 && first != 127 && first < 224
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
