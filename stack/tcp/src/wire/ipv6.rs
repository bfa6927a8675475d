//! The IPv6 header and the extension headers that an end node meets (RFC 8200 §3 and §4).
//!
//! Parses a packet down to the payload behind its last extension header. Options that may be
//! skipped are skipped. A packet is dropped if an unknown option requires it, or if it asks to be
//! forwarded.

use super::ip::{self, Header};
use super::{Address, Ecn};
use crate::drop::DropReason;

/// Length of the header as written here: without extension headers.
pub const HEADER_BYTES: usize = 40;
/// The smallest MTU that a link of IPv6 may have (RFC 8200 §5).
pub const MIN_MTU: u16 = 1280;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
/// Extension headers that are walked, as in bpf/steer.bpf.c: no sane chain is longer.
const MAX_EXTENSIONS: usize = 5;
/// More fragments, or a fragment offset (§4.5).
const IS_FRAGMENT: u16 = 0xfff9;

/// Reads and checks the header at the front of `bytes`, which `rest_len` further bytes follow in
/// other buffers. Returns it with the payload in this buffer and the payload's length in the
/// others: link-layer padding is off.
#[inline]
pub fn parse(bytes: &[u8], rest_len: usize) -> Result<(Header, &[u8], usize), DropReason> {
    let Some((fixed, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(DropReason::Truncated);
    };
    if fixed[0] >> 4 != 6 {
        return Err(DropReason::IpHeader);
    }
    let payload_len = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    if body.len() + rest_len < payload_len {
        return Err(DropReason::Truncated);
    }
    let here = payload_len.min(body.len());
    let (source, destination) = (address(&fixed[8..24]), address(&fixed[24..40]));
    let (mut protocol, mut payload) = (fixed[6], &body[..here]);
    if protocol != ip::TCP {
        (protocol, payload) = walk(protocol, payload)?;
    }
    check_addresses(&source, &destination, protocol)?;
    let ecn = Ecn::of((fixed[0] << 4) | (fixed[1] >> 4));
    let header = Header { source, destination, protocol, hop_limit: fixed[7], ecn };
    Ok((header, payload, payload_len - here))
}

#[inline]
fn address(bytes: &[u8]) -> Address {
    let bytes: [u8; 16] = bytes.try_into().expect("the slice is an address long");
    Address::from_v6(bytes)
}

/// No host has an IPv4-mapped address (RFC 4291 §2.5.5.2): it would reach the connections of that
/// IPv4 address. A host without an address may send neighbour discovery (RFC 4861 §4.3), and
/// nothing else.
#[inline]
fn check_addresses(
    source: &Address,
    destination: &Address,
    protocol: u8,
) -> Result<(), DropReason> {
    if destination.is_v4() {
        return Err(DropReason::NotOurs);
    }
    let may_be_unspecified = protocol == ip::ICMPV6 && source.is_unspecified();
    let is_host = source.is_unicast() && !source.is_v4();
    if is_host || may_be_unspecified { Ok(()) } else { Err(DropReason::IpSource) }
}

/// Walks the extension headers; returns the first protocol that is none, and what follows them.
fn walk(first: u8, bytes: &[u8]) -> Result<(u8, &[u8]), DropReason> {
    let (mut protocol, mut rest) = (first, bytes);
    for place in 0..=MAX_EXTENSIONS {
        if !matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
            return Ok((protocol, rest));
        }
        let Some(&[next, len, a, b]) = rest.first_chunk::<4>() else {
            return Err(DropReason::IpExtension);
        };
        // A fragment header has a fixed length and no field for it.
        let len = if protocol == FRAGMENT { 8 } else { (usize::from(len) + 1) * 8 };
        let Some((extension, after)) = rest.split_at_checked(len) else {
            return Err(DropReason::IpExtension);
        };
        match protocol {
            // §4.3: only right behind the IPv6 header.
            HOP_BY_HOP if place > 0 => return Err(DropReason::IpExtension),
            // §4.4: this node is no intermediate node of a route of any type; RFC 5095 deprecates
            // type 0.
            ROUTING if b > 0 => return Err(DropReason::IpExtension),
            ROUTING => {}
            // RFC 6946: a fragment that is the whole packet is treated as one.
            FRAGMENT if u16::from_be_bytes([a, b]) & IS_FRAGMENT != 0 => {
                return Err(DropReason::Fragment);
            }
            FRAGMENT => {}
            _ => check_options(&extension[2..])?,
        }
        (protocol, rest) = (next, after);
    }
    Err(DropReason::IpExtension)
}

/// §4.2: whether all options may be skipped.
fn check_options(mut options: &[u8]) -> Result<(), DropReason> {
    const PAD1: u8 = 0;
    /// The two bits that say what to do with an unknown option: 0 is to skip it.
    const ACTION: u8 = 0xc0;
    while let [kind, rest @ ..] = options {
        if *kind == PAD1 {
            options = rest;
            continue;
        }
        let Some((&len, value)) = rest.split_first() else { return Err(DropReason::IpExtension) };
        if kind & ACTION != 0 || value.len() < usize::from(len) {
            return Err(DropReason::IpExtension);
        }
        options = &value[usize::from(len)..];
    }
    Ok(())
}

/// Writes a header of [`HEADER_BYTES`] for `payload_len` bytes that follow.
#[inline]
pub fn emit(
    bytes: &mut [u8],
    source: &Address,
    destination: &Address,
    protocol: u8,
    hop_limit: u8,
    ecn: Ecn,
    payload_len: usize,
) {
    let header: &mut [u8; HEADER_BYTES] =
        bytes.first_chunk_mut().expect("a frame has space for its headers");
    // The traffic class lies across two bytes.
    let class = ecn.traffic_class();
    header[..4].copy_from_slice(&[0x60 | class >> 4, class << 4, 0, 0]);
    header[4..6].copy_from_slice(&(payload_len as u16).to_be_bytes());
    header[6..8].copy_from_slice(&[protocol, hop_limit]);
    header[8..24].copy_from_slice(&source.octets());
    header[24..40].copy_from_slice(&destination.octets());
}

/// Writes the flow label: all packets of a connection, including resets, have the same label, so
/// that load balancing by it keeps them in order.
#[inline]
pub(super) fn label(bytes: &mut [u8], ends: [&Address; 2], ports: [u16; 2]) {
    let [_, high, middle, low] = flow_label(ends, ports).to_be_bytes();
    bytes[1] |= high;
    bytes[2..4].copy_from_slice(&[middle, low]);
}

/// RFC 6437 §3 and appendix A: 20 bits that depend on the five-tuple alone, evenly spread, and
/// never 0.
#[inline]
fn flow_label([source, destination]: [&Address; 2], [from, to]: [u16; 2]) -> u32 {
    // Odd, and their bits in no pattern: the golden ratio's and the square root of 3's.
    const ODD: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xbb67_ae85_84ca_a73b];
    let ((s0, s1), (d0, d1)) = (source.halves(), destination.halves());
    let ports = u64::from(from) << 16 | u64::from(to);
    let prefixes = (s0 ^ d0.rotate_left(32)).wrapping_mul(ODD[0]);
    let hosts = (s1 ^ d1.rotate_left(32) ^ ports ^ prefixes >> 32).wrapping_mul(ODD[1]);
    let mixed = (hosts ^ hosts >> 32).wrapping_mul(ODD[0]);
    ((mixed >> 44) as u32).max(1)
}
