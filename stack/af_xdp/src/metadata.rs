//! TX metadata: the bytes before a transmitted frame that ask for a checksum
//! (`struct xsk_tx_metadata` of `<linux/if_xdp.h>`).
//!
//! In comes the place of a checksum in a packet, out go the bytes for the kernel or the NIC. Which
//! modes and drivers heed the request is decided in [`super::drivers`].

use rustix::net::xdp::XdpUmemRegFlags;

/// Size of the structure. Kernels before 6.15 know its first 16 bytes alone, and take any length
/// below 256 that is a multiple of 8.
pub(crate) const BYTES: u32 = 24;

/// Option of a TX descriptor: metadata lies before the frame.
pub(crate) const XDP_TX_METADATA: u32 = 1 << 1;

/// Flag of a UMEM: `tx_metadata_len` is set. From Linux 6.11 on.
const XDP_UMEM_TX_METADATA_LEN: u32 = 1 << 2;

/// Flag of the metadata: complete the checksum.
const XDP_TXMD_FLAGS_CHECKSUM: u64 = 1 << 1;

/// The place of a checksum that the kernel or the NIC completes.
///
/// The checksum is the complement of the ones'-complement sum of all bytes from `start` to the end
/// of the packet. The packet has the sum of the pseudo-header in the place of the checksum, not
/// complemented, so that it is part of that sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Where the sum begins, in bytes from the start of the packet: the TCP or UDP header.
    pub start: u16,
    /// The place of the checksum, in bytes from `start`: 16 for TCP, 6 for UDP.
    pub offset: u16,
}

/// The metadata that asks for `checksum`, as far as it has meaning.
#[inline]
pub(crate) fn request(checksum: Checksum) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&XDP_TXMD_FLAGS_CHECKSUM.to_ne_bytes());
    bytes[8..10].copy_from_slice(&checksum.start.to_ne_bytes());
    bytes[10..].copy_from_slice(&checksum.offset.to_ne_bytes());
    bytes
}

/// Flags to register a UMEM with `headroom` bytes of metadata before each frame.
pub(crate) fn registration_flags(headroom: u32) -> XdpUmemRegFlags {
    let flags = if headroom > 0 { XDP_UMEM_TX_METADATA_LEN } else { 0 };
    XdpUmemRegFlags::from_bits_retain(flags)
}
