//! The IPv4 header (RFC 791).

use super::checksum::Sum;
use super::ip::{HOP_LIMIT, Header};
use super::{Address, Ecn};
use crate::drop::DropReason;

/// Length of the header as written here: without options.
pub const HEADER_BYTES: usize = 20;

/// Reads and checks the header at the front of `bytes`, which `rest_len` further bytes follow in
/// other buffers. Returns it with the payload in this buffer and the payload's length in the
/// others: link-layer padding is off.
#[inline(always)]
pub fn parse(bytes: &[u8], rest_len: usize) -> Result<(Header, &[u8], usize), DropReason> {
    let Some(fixed) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(DropReason::Truncated);
    };
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if fixed[0] >> 4 != 4 || header_len < HEADER_BYTES || total_len < header_len {
        return Err(DropReason::IpHeader);
    }
    if bytes.len() < header_len || bytes.len() + rest_len < total_len {
        return Err(DropReason::Truncated);
    }
    // The sum of a known length, of a header without options, is a few additions.
    let sum = match header_len {
        HEADER_BYTES => Sum::default().add_bytes(fixed),
        _ => Sum::default().add_bytes(&bytes[..header_len]),
    };
    if !sum.is_valid() {
        return Err(DropReason::IpChecksum);
    }
    // More fragments, or a fragment offset: the steering program drops these before they come here.
    if u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff != 0 {
        return Err(DropReason::Fragment);
    }
    let header = Header {
        source: Address::from_v4([fixed[12], fixed[13], fixed[14], fixed[15]]),
        destination: Address::from_v4([fixed[16], fixed[17], fixed[18], fixed[19]]),
        protocol: fixed[9],
        hop_limit: fixed[8],
        ecn: Ecn::of(fixed[1]),
    };
    if !header.source.is_unicast_v4() {
        return Err(DropReason::IpSource);
    }
    let here = total_len.min(bytes.len());
    Ok((header, &bytes[header_len..here], total_len - here))
}

/// Writes a header of [`HEADER_BYTES`] for `payload_len` bytes that follow; never to be fragmented
/// (RFC 1191).
#[inline]
pub fn emit(
    bytes: &mut [u8],
    source: &Address,
    destination: &Address,
    protocol: u8,
    ecn: Ecn,
    payload_len: usize,
) {
    const DONT_FRAGMENT: u8 = 0x40;
    let total_len = ((HEADER_BYTES + payload_len) as u16).to_be_bytes();
    let (s, d) = (source.v4(), destination.v4());
    let header: &mut [u8; HEADER_BYTES] =
        bytes.first_chunk_mut().expect("a frame has space for its headers");
    let start = [0x45, ecn.traffic_class(), total_len[0], total_len[1], 0, 0, DONT_FRAGMENT, 0];
    // Summed before it is written, without a look at memory.
    let ends = Sum::default().add_bytes(&s).add_sum(Sum::default().add_bytes(&d));
    let [a, b] = ends.add_bytes(&start).add_bytes(&[HOP_LIMIT, protocol]).finish();
    header[..8].copy_from_slice(&start);
    header[8..12].copy_from_slice(&[HOP_LIMIT, protocol, a, b]);
    header[12..16].copy_from_slice(&s);
    header[16..].copy_from_slice(&d);
}
