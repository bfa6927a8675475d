//! The Ethernet II header, with or without one 802.1Q tag.

use crate::drop::DropReason;

/// A hardware address.
pub type Mac = [u8; 6];

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of an 802.1Q tag.
const VLAN: u16 = 0x8100;
/// The longest header written or read: two addresses, one tag, the EtherType.
pub const MAX_HEADER_BYTES: usize = 18;

/// The link-layer destination of a reply to a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The peer's hardware address.
    pub mac: Mac,
    /// The VLAN identifier, 1 to 4094, of a tagged frame; 0 for an untagged one.
    pub vlan: u16,
}

/// Reads the header; returns where the frame came from, its EtherType and what follows.
#[inline]
pub fn parse(frame: &[u8]) -> Result<(Link, u16, &[u8]), DropReason> {
    let Some((header, body)) = frame.split_first_chunk::<14>() else {
        return Err(DropReason::Truncated);
    };
    let mac = [header[6], header[7], header[8], header[9], header[10], header[11]];
    let ethertype = u16::from_be_bytes([header[12], header[13]]);
    if ethertype != VLAN {
        return Ok((Link { mac, vlan: 0 }, ethertype, body));
    }
    let Some((tag, body)) = body.split_first_chunk::<4>() else {
        return Err(DropReason::Truncated);
    };
    let vlan = u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff;
    Ok((Link { mac, vlan }, u16::from_be_bytes([tag[2], tag[3]]), body))
}

/// The length of the header that [`emit`] writes.
#[inline]
pub fn header_bytes(to: &Link) -> usize {
    if to.vlan == 0 { 14 } else { MAX_HEADER_BYTES }
}

/// Writes the header of an untagged frame from `source` to `to`; returns its length.
#[inline(always)]
pub(crate) fn emit_untagged(frame: &mut [u8], source: &Mac, to: &Mac, ethertype: u16) -> usize {
    let header = &mut frame[..14];
    header[..6].copy_from_slice(to);
    header[6..12].copy_from_slice(source);
    header[12..].copy_from_slice(&ethertype.to_be_bytes());
    14
}

/// Writes the header of a frame from `source` to `to`; returns its length.
#[inline]
pub fn emit(frame: &mut [u8], source: &Mac, to: &Link, ethertype: u16) -> usize {
    if to.vlan == 0 {
        return emit_untagged(frame, source, &to.mac, ethertype);
    }
    frame[..6].copy_from_slice(&to.mac);
    frame[6..12].copy_from_slice(source);
    frame[12..14].copy_from_slice(&VLAN.to_be_bytes());
    frame[14..16].copy_from_slice(&to.vlan.to_be_bytes());
    frame[16..18].copy_from_slice(&ethertype.to_be_bytes());
    18
}
