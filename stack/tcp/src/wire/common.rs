//! The fast path of a received segment: reads the layout that most segments have, at fixed offsets.
//! Input: a packet. Output: its segment, or nothing.
//!
//! A packet has this layout if all of this holds:
//!
//! - It lies in one buffer. Its Ethernet header has no tag.
//! - Its IPv4 header has no options. It is no fragment.
//! - Its TCP header has no options, or timestamps alone (RFC 7323 appendix A). [`parse_options`]
//!   reads those with any options: SYNs have more.
//!
//! Nothing is refused here. [`super::parse`] reads all other packets, valid or not, and for these
//! packets it yields the same, which a property test checks.

use super::checksum::Sum;
use super::tcp::{HEADER_BYTES, TIMESTAMPS_BYTES};
use super::{Address, ChecksumPolicy, Ecn, Flags, Link, Options, Packet, Payload, Segment};
use crate::seq::Seq;

const IP_AT: usize = 14;
const TCP_AT: usize = IP_AT + 20;
const OPTIONS_AT: usize = TCP_AT + HEADER_BYTES;
/// EtherType, version and header length of IPv4, without the type of service that follows.
const IPV4: u32 = u32::from_be_bytes([0x08, 0x00, 0x45, 0]);
/// The fields that [`IPV4`] names.
const IPV4_MASK: u32 = u32::from_be_bytes([0xff, 0xff, 0xff, 0]);
/// Fragment offset 0 and no more fragments, any TTL, TCP.
const WHOLE_TCP: u32 = u32::from_be_bytes([0, 0, 0, super::ip::TCP]);
/// The fields that [`WHOLE_TCP`] names.
const WHOLE_TCP_MASK: u32 = u32::from_be_bytes([0x3f, 0xff, 0, 0xff]);
/// Two NOPs, the kind of timestamps, and their length.
const TIMESTAMPS: [u8; 4] = [1, 1, 8, 10];

/// The segment of a packet that has the layout and is valid. Inlined into its caller, which stores
/// the fields directly.
#[inline(always)]
pub(crate) fn parse<'a>(packet: Packet<'a>, checksums: ChecksumPolicy) -> Option<Segment<'a>> {
    read::<false>(packet, checksums)
}

/// As [`parse`], with any options.
#[inline(always)]
pub(crate) fn parse_options<'a>(
    packet: Packet<'a>,
    checksums: ChecksumPolicy,
) -> Option<Segment<'a>> {
    read::<true>(packet, checksums)
}

#[inline(always)]
fn read<'a, const ANY_OPTIONS: bool>(
    packet: Packet<'a>,
    checksums: ChecksumPolicy,
) -> Option<Segment<'a>> {
    let [frame] = packet.0 else { return None };
    let head: &[u8; OPTIONS_AT] = frame.first_chunk()?;
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    if word(12) & IPV4_MASK != IPV4 || word(20) & WHOLE_TCP_MASK != WHOLE_TCP {
        return None;
    }
    let end = IP_AT + usize::from(half(IP_AT + 2));
    let (payload_at, timestamps) = match head[TCP_AT + 12] >> 4 {
        5 => (OPTIONS_AT, None),
        words if ANY_OPTIONS => (TCP_AT + 4 * usize::from(words), None),
        8 => (OPTIONS_AT + TIMESTAMPS_BYTES, Some(timestamps(frame)?)),
        _ => return None,
    };
    let (tcp, payload) = (frame.get(TCP_AT..end)?, frame.get(payload_at..end)?);
    // As they lie in memory.
    let source = u32::from_ne_bytes([head[26], head[27], head[28], head[29]]);
    let destination = u32::from_ne_bytes([head[30], head[31], head[32], head[33]]);
    let ip: &[u8; TCP_AT - IP_AT] = head[IP_AT..].first_chunk()?;
    // So few words cannot carry out of 64 bits.
    let [protocol, len] = [super::ip::TCP.into(), tcp.len() as u16].map(|half: u16| half.to_be());
    let ends = u64::from(source) + u64::from(destination);
    let pseudo = Sum::default().add_u64(ends + u64::from(protocol) + u64::from(len));
    let remote = Address::from_v4(source.to_ne_bytes());
    if !Sum::default().add_bytes(ip).is_valid()
        || !remote.is_unicast_v4()
        || !is_right(pseudo, tcp, [head[50], head[51]], checksums)
    {
        return None;
    }
    let options = match ANY_OPTIONS {
        true => super::tcp::parse_options(frame.get(OPTIONS_AT..payload_at)?).ok()?,
        false => Options { timestamps, ..Options::default() },
    };
    Some(Segment {
        link: Link { mac: [head[6], head[7], head[8], head[9], head[10], head[11]], vlan: 0 },
        local: Address::from_v4(destination.to_ne_bytes()),
        remote,
        local_port: half(TCP_AT + 2),
        remote_port: half(TCP_AT),
        seq: Seq(word(TCP_AT + 4)),
        ack: Seq(word(TCP_AT + 8)),
        flags: Flags(head[TCP_AT + 13] & Flags::KNOWN),
        ecn: Ecn::of(head[IP_AT + 1]),
        window: half(TCP_AT + 14),
        options,
        payload: Payload::new(payload, &[], 0),
    })
}

/// The values of the timestamps option, if that is where the options begin.
#[inline(always)]
fn timestamps(frame: &[u8]) -> Option<(u32, u32)> {
    let (kind, &[a, b, c, d, e, f, g, h, ..]) =
        frame.get(OPTIONS_AT..)?.first_chunk::<TIMESTAMPS_BYTES>()?.split_first_chunk::<4>()?
    else {
        return None;
    };
    let values = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    (*kind == TIMESTAMPS).then_some(values)
}

#[inline(always)]
fn is_right(pseudo: Sum, tcp: &[u8], field: [u8; 2], policy: ChecksumPolicy) -> bool {
    (policy == ChecksumPolicy::AcceptPartial && pseudo.fold().to_ne_bytes() == field)
        || pseudo.add_bytes(tcp).is_valid()
}
