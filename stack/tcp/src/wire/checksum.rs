//! The checksums of segments: [`Sum`], and what TCP and ICMPv6 add for the pseudo-header.

use super::Address;
pub use simoom_io::checksum::Sum;

/// The pseudo-header of `len` bytes over IP (RFC 9293 §3.1, RFC 8200 §8.1). What maps an IPv4
/// address into an IPv6 one sums up to nothing, so both versions are one.
#[inline]
pub fn pseudo_header(source: &Address, destination: &Address, protocol: u8, len: u16) -> Sum {
    let add = |sum: Sum, address: &Address| {
        let (high, low) = address.ne_halves();
        sum.add_u64(high).add_u64(low)
    };
    add(add(Sum::default(), source), destination).add_u16(u16::from(protocol)).add_u16(len)
}
