//! What both versions of IP have in common: the header's fields for the layers above, and the
//! choice of a version when a packet is written.

use super::checksum::Sum;
use super::{Address, Ecn, ethernet, ipv4, ipv6};

/// Protocol number of ICMP, which goes over IPv4.
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// Initial TTL or hop limit (RFC 1700, RFC 8504 §5.1).
pub const HOP_LIMIT: u8 = 64;

/// The fields of a received header that the layers above use.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Protocol of the payload behind all extension headers.
    pub protocol: u8,
    /// The ECN field.
    pub ecn: Ecn,
    /// TTL or hop limit: 255 if no router has touched the packet, whose sender began with that.
    pub hop_limit: u8,
}

/// An IP version, for code that is compiled for each version.
pub(crate) trait Version {
    /// The EtherType of its packets.
    const ETHERTYPE: u16;
    /// The length of the header that [`emit`] writes.
    const HEADER_BYTES: usize;
    /// The place of the length in this header: of the packet, or of what follows the header.
    const LENGTH_OFFSET: usize;
    /// The place of the header's checksum, if it has one.
    const CHECKSUM_OFFSET: Option<usize>;

    /// Writes a header; see [`emit`].
    fn emit(bytes: &mut [u8], ends: [&Address; 2], protocol: u8, ecn: Ecn, payload_len: usize);

    /// Labels the flow between ports (RFC 6437), in a header that [`Version::emit`] has written.
    fn label(_bytes: &mut [u8], _ends: [&Address; 2], _ports: [u16; 2]) {}

    /// What an address of this version adds to the pseudo-header's sum.
    fn sum(address: &Address) -> Sum;
}

/// IPv4, as a type.
pub(crate) struct V4;
/// IPv6, as a type.
pub(crate) struct V6;

impl Version for V4 {
    const ETHERTYPE: u16 = ethernet::IPV4;
    const HEADER_BYTES: usize = ipv4::HEADER_BYTES;
    const LENGTH_OFFSET: usize = 2;
    const CHECKSUM_OFFSET: Option<usize> = Some(10);

    #[inline(always)]
    fn emit(
        bytes: &mut [u8],
        [source, destination]: [&Address; 2],
        protocol: u8,
        ecn: Ecn,
        payload_len: usize,
    ) {
        ipv4::emit(bytes, source, destination, protocol, ecn, payload_len);
    }

    #[inline(always)]
    fn sum(address: &Address) -> Sum {
        Sum::default().add_bytes(&address.v4())
    }
}

impl Version for V6 {
    const ETHERTYPE: u16 = ethernet::IPV6;
    const HEADER_BYTES: usize = ipv6::HEADER_BYTES;
    const LENGTH_OFFSET: usize = 4;
    const CHECKSUM_OFFSET: Option<usize> = None;

    #[inline(always)]
    fn emit(
        bytes: &mut [u8],
        [source, destination]: [&Address; 2],
        protocol: u8,
        ecn: Ecn,
        payload_len: usize,
    ) {
        ipv6::emit(bytes, source, destination, protocol, HOP_LIMIT, ecn, payload_len);
    }

    #[inline(always)]
    fn label(bytes: &mut [u8], ends: [&Address; 2], ports: [u16; 2]) {
        ipv6::label(bytes, ends, ports);
    }

    #[inline(always)]
    fn sum(address: &Address) -> Sum {
        Sum::default().add_bytes(&address.octets())
    }
}

/// The EtherType of packets to and from `address`.
#[inline]
pub fn ethertype(address: &Address) -> u16 {
    if address.is_v4() { ethernet::IPV4 } else { ethernet::IPV6 }
}

/// The length of the header that [`emit`] writes for packets to and from `address`.
#[inline]
pub fn header_bytes(address: &Address) -> usize {
    if address.is_v4() { ipv4::HEADER_BYTES } else { ipv6::HEADER_BYTES }
}

/// Writes the header for `payload_len` bytes that follow. Both addresses are of one version.
#[inline]
pub fn emit(
    bytes: &mut [u8],
    source: &Address,
    destination: &Address,
    protocol: u8,
    ecn: Ecn,
    payload_len: usize,
) {
    let ends = [source, destination];
    if destination.is_v4() {
        V4::emit(bytes, ends, protocol, ecn, payload_len);
    } else {
        V6::emit(bytes, ends, protocol, ecn, payload_len);
    }
}
