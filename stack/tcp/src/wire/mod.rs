//! Bytes on the wire: from received frames to typed segments, and back.
//!
//! Parses a [`Packet`], in the one or several buffers of the NIC, to an [`Incoming`] whose fields
//! have been checked against the packet's length and checksums, or to the reason to drop it.
//! Nothing here keeps state or depends on a connection.
//!
//! The code here parses and writes TCP, IPv4, IPv6 and neighbour discovery. The rarer ARP and
//! ICMPv4 go through `smoltcp::wire` (see `arp` and `icmp`).

pub mod address;
pub mod checksum;
pub(crate) mod common;
pub mod ecn;
pub mod ethernet;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod tcp;

pub use address::Address;
pub use ecn::Ecn;
pub use ethernet::{Link, Mac};
pub use tcp::{Flags, Options, Payload, Segment};

use crate::drop::DropReason;

/// One received packet, in the buffers that it came in: one, or a chain when the NIC (or a kernel
/// peer's segmentation offload) handed over more than a buffer holds. All headers must lie in the
/// first.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a>(pub &'a [&'a [u8]]);

impl<'a> Packet<'a> {
    /// Bytes in all buffers together.
    pub fn len(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }

    /// Whether there is no byte at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A parsed packet.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// A TCP segment with its payload.
    Tcp(Segment<'a>),
    /// An ARP packet, after its Ethernet header.
    Arp(Link, &'a [u8]),
    /// An ICMPv4 message, with its link and IP header.
    Icmp(Link, ip::Header, &'a [u8]),
    /// An ICMPv6 message with a correct checksum, with its link and IP header.
    Icmpv6(Link, ip::Header, &'a [u8]),
}

/// Which TCP checksums are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumPolicy {
    /// Only a correct one.
    #[default]
    Verify,
    /// Also one that holds only the pseudo-header's sum, which a kernel of the same machine leaves
    /// for a NIC to complete. Use it only where such a kernel may send: of the segments from
    /// outside this machine, one in 65,536 has that sum by chance, and is then not verified.
    AcceptPartial,
}

/// What the checksum field of a written segment holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TxChecksum {
    /// The checksum.
    #[default]
    Full,
    /// The sum of the pseudo-header alone, not complemented. The kernel or the NIC completes it: it
    /// sums from the TCP header to the end and writes the complement (CHECKSUM_PARTIAL of Linux).
    Partial,
}

/// Reads a packet down to its transport header.
pub fn parse<'a>(
    packet: Packet<'a>,
    checksums: ChecksumPolicy,
) -> Result<Incoming<'a>, DropReason> {
    let [head, rest @ ..] = packet.0 else { return Err(DropReason::Truncated) };
    match ethernet::parse(head)? {
        (link, ethernet::IPV4, body) => over_ipv4(link, body, rest, checksums),
        (link, ethernet::IPV6, body) => over_ipv6(link, body, rest, checksums),
        (link, ethernet::ARP, body) => Ok(Incoming::Arp(link, body)),
        _ => Err(DropReason::Ethertype),
    }
}

fn over_ipv4<'a>(
    link: Link,
    body: &'a [u8],
    rest: &'a [&'a [u8]],
    checksums: ChecksumPolicy,
) -> Result<Incoming<'a>, DropReason> {
    let (header, body, rest_len) = ipv4::parse(body, length(rest))?;
    match header.protocol {
        ip::TCP => {
            tcp::parse::<ip::V4>(link, &header, Payload::new(body, rest, rest_len), checksums)
                .map(Incoming::Tcp)
        }
        ip::ICMP if rest_len == 0 => Ok(Incoming::Icmp(link, header, body)),
        _ => Err(DropReason::Protocol),
    }
}

#[inline]
fn over_ipv6<'a>(
    link: Link,
    body: &'a [u8],
    rest: &'a [&'a [u8]],
    checksums: ChecksumPolicy,
) -> Result<Incoming<'a>, DropReason> {
    let (header, body, rest_len) = ipv6::parse(body, length(rest))?;
    match header.protocol {
        ip::TCP => {
            tcp::parse::<ip::V6>(link, &header, Payload::new(body, rest, rest_len), checksums)
                .map(Incoming::Tcp)
        }
        ip::ICMPV6 if rest_len == 0 => icmpv6(link, header, body),
        _ => Err(DropReason::Protocol),
    }
}

#[inline]
fn length(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

/// RFC 4443 §2.3: the checksum covers a pseudo-header.
fn icmpv6(link: Link, header: ip::Header, body: &[u8]) -> Result<Incoming<'_>, DropReason> {
    let sum =
        checksum::pseudo_header(&header.source, &header.destination, ip::ICMPV6, body.len() as u16);
    if sum.add_bytes(body).is_valid() {
        Ok(Incoming::Icmpv6(link, header, body))
    } else {
        Err(DropReason::Icmp)
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "ipv6_tests.rs"]
mod ipv6_tests;
