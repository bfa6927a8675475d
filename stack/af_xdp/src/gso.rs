//! Generic segmentation offload (GSO): TCP packets longer than the MTU, which the kernel or the NIC
//! cuts into segments.
//!
//! AF_XDP has no such offload: each frame is one packet. In zero-copy mode a frame costs little. In
//! the other modes the kernel makes an `sk_buff` of each, and over veth it runs the receiver after
//! each. A packet socket with PACKET_VNET_HDR (net/packet/af_packet.c) takes packets of up to
//! 64 KiB, as the kernel's own TCP makes them. Its packets pass the queueing discipline and egress
//! filters of the interface, which frames of AF_XDP do not.

use super::{Error, sys};
use std::io;
use std::os::fd::OwnedFd;

/// Bytes of `struct virtio_net_hdr` of `<linux/virtio_net.h>`, which precedes each packet.
const VNET_HEADER_BYTES: usize = 10;
const VIRTIO_NET_HDR_F_NEEDS_CSUM: u8 = 1;
const VIRTIO_NET_HDR_GSO_TCPV4: u8 = 1;
const VIRTIO_NET_HDR_GSO_TCPV6: u8 = 4;
/// Where the checksum is in a TCP header.
const CHECKSUM_OFFSET: u16 = 16;
/// Bytes of the longest packet: 65,535 of IPv4, and a tagged Ethernet header.
const MAX_BYTES: usize = 65_535 + 18;
/// Bytes that may wait in the kernel for the NIC, with its overhead.
const SEND_BUFFER_BYTES: i32 = 4 << 20;

/// How a packet is to be cut. All segments have its headers, with their own lengths, sequence
/// numbers and checksums; FIN and PSH are on the last one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Whether it is a packet of IPv6.
    pub is_ipv6: bool,
    /// Bytes before the TCP header.
    pub tcp_at: u16,
    /// Bytes of all headers.
    pub header_bytes: u16,
    /// Payload bytes of each segment but the last, which may have fewer. A packet with no more than
    /// that is sent as it is, with its checksum completed.
    pub segment_bytes: u16,
}

impl Gso {
    fn vnet_header(self) -> [u8; VNET_HEADER_BYTES] {
        let kind = if self.is_ipv6 { VIRTIO_NET_HDR_GSO_TCPV6 } else { VIRTIO_NET_HDR_GSO_TCPV4 };
        let Gso { header_bytes, segment_bytes, tcp_at, .. } = self;
        let fields = [header_bytes, segment_bytes, tcp_at, CHECKSUM_OFFSET].map(u16::to_ne_bytes);
        let mut header = [0; VNET_HEADER_BYTES];
        header[..2].copy_from_slice(&[VIRTIO_NET_HDR_F_NEEDS_CSUM, kind]);
        header[2..].copy_from_slice(fields.as_flattened());
        header
    }
}

/// Sends GSO packets on one interface, and receives nothing.
#[derive(Debug)]
pub struct GsoSender {
    socket: OwnedFd,
    /// Space for the header and one packet.
    buffer: Box<[u8]>,
}

/// Sends by this socket, which keeps the boundaries of packets.
impl From<OwnedFd> for GsoSender {
    fn from(socket: OwnedFd) -> GsoSender {
        GsoSender { socket, buffer: vec![0; VNET_HEADER_BYTES + MAX_BYTES].into() }
    }
}

impl GsoSender {
    /// Bytes of the longest packet, with its headers.
    pub const MAX_BYTES: usize = MAX_BYTES;

    /// Opens a packet socket in the calling thread's network namespace, for the interface with
    /// index `ifindex`. Needs CAP_NET_RAW.
    pub fn open(ifindex: u32) -> Result<GsoSender, Error> {
        sys::packet_socket(ifindex, SEND_BUFFER_BYTES).map(GsoSender::from).map_err(Error::Socket)
    }

    /// Sends one packet. `write` writes it, an Ethernet frame of at most [`GsoSender::MAX_BYTES`],
    /// and returns its length. Its TCP checksum field has the sum of the pseudo-header, not
    /// complemented. An error means that the packet was not sent: `WouldBlock` if the NIC is
    /// behind.
    pub fn send(&mut self, gso: Gso, write: impl FnOnce(&mut [u8]) -> usize) -> io::Result<()> {
        let (header, packet) = self.buffer.split_at_mut(VNET_HEADER_BYTES);
        header.copy_from_slice(&gso.vnet_header());
        let len = VNET_HEADER_BYTES + write(packet);
        sys::send_packet(&self.socket, &self.buffer[..len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_laid_out_as_the_kernel_reads_it() {
        let gso = Gso { is_ipv6: false, tcp_at: 34, header_bytes: 66, segment_bytes: 1448 };
        let field = |header: [u8; VNET_HEADER_BYTES], at: usize| {
            u16::from_ne_bytes([header[at], header[at + 1]])
        };
        let header = gso.vnet_header();
        assert_eq!(header[..2], [1, 1], "NEEDS_CSUM, GSO_TCPV4");
        assert_eq!([2, 4, 6, 8].map(|at| field(header, at)), [66, 1448, 34, 16]);
        assert_eq!(Gso { is_ipv6: true, ..gso }.vnet_header()[..2], [1, 4], "GSO_TCPV6");
    }
}
