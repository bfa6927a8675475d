//! What a NIC with segmentation offload does: cuts a GSO packet into segments.

use crate::Gso;
use crate::wire::checksum::Sum;
use crate::wire::ip;
use std::ops::Range;

/// Bits of the TCP header's byte 13.
const FIN: u8 = 1;
const PSH: u8 = 8;
const CWR: u8 = 0x80;

const IP_CHECKSUM: Range<usize> = 10..12;
const SEQ: Range<usize> = 4..8;
const FLAGS: usize = 13;
const CHECKSUM: Range<usize> = 16..18;

/// The segments of a packet. Panics if its lengths, its IP checksum or the sum of its pseudo-header
/// are wrong.
pub(super) fn cut(packet: &[u8], gso: Gso) -> Vec<Vec<u8>> {
    let (tcp_at, payload_at) = (usize::from(gso.tcp_at), usize::from(gso.header_bytes));
    let headers = &packet[..payload_at];
    let right = with_lengths(headers, gso, packet.len() - tcp_at);
    assert_eq!(headers, right, "the lengths of a GSO packet");
    let partial = pseudo_header(headers, gso, packet.len() - tcp_at).fold();
    let field = &headers[tcp_at..][CHECKSUM];
    assert_eq!(field, partial.to_ne_bytes(), "the pseudo-header's sum");
    let seq = u32::from_be_bytes(headers[tcp_at..][SEQ].try_into().expect("four bytes"));
    let step = usize::from(gso.segment_bytes);
    let payload = &packet[payload_at..];
    let starts = (0..payload.len().max(1)).step_by(step);
    let segment = |start: usize| {
        let text = &payload[start..payload.len().min(start + step)];
        let tcp_len = payload_at - tcp_at + text.len();
        let mut segment = with_lengths(headers, gso, tcp_len);
        segment.extend_from_slice(text);
        let pseudo = pseudo_header(&segment, gso, tcp_len);
        let tcp = &mut segment[tcp_at..];
        tcp[SEQ].copy_from_slice(&seq.wrapping_add(start as u32).to_be_bytes());
        let is_last = start + text.len() == payload.len();
        tcp[FLAGS] &= if is_last { 0xff } else { !(FIN | PSH) };
        tcp[FLAGS] &= if start == 0 { 0xff } else { !CWR };
        tcp[CHECKSUM].fill(0);
        let checksum = pseudo.add_bytes(tcp).finish();
        tcp[CHECKSUM].copy_from_slice(&checksum);
        segment
    };
    starts.map(segment).collect()
}

/// The headers of a packet with `tcp_len` bytes of TCP.
fn with_lengths(headers: &[u8], gso: Gso, tcp_len: usize) -> Vec<u8> {
    let mut headers = headers.to_vec();
    let ip = &mut headers[..usize::from(gso.tcp_at)];
    let ip_at = ip.len() - if gso.is_ipv6 { 40 } else { 20 };
    let ip = &mut ip[ip_at..];
    if gso.is_ipv6 {
        ip[4..6].copy_from_slice(&(tcp_len as u16).to_be_bytes());
    } else {
        ip[2..4].copy_from_slice(&((20 + tcp_len) as u16).to_be_bytes());
        ip[IP_CHECKSUM].fill(0);
        let checksum = Sum::default().add_bytes(ip).finish();
        ip[IP_CHECKSUM].copy_from_slice(&checksum);
    }
    headers
}

/// The sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1).
fn pseudo_header(packet: &[u8], gso: Gso, tcp_len: usize) -> Sum {
    let addresses = if gso.is_ipv6 { 32 } else { 8 };
    let tcp_at = usize::from(gso.tcp_at);
    let sum = Sum::default().add_bytes(&packet[tcp_at - addresses..tcp_at]);
    sum.add_u16(ip::TCP.into()).add_u16(tcp_len as u16)
}
