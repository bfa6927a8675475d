//! Why a packet was not taken, each reason with a counter of its own.

macro_rules! drops {
    ($($(#[doc = $help:literal])+ $variant:ident => $counter:ident,)*) => {
        /// The reason for which a packet, or what it asked for, was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum DropReason { $($(#[doc = $help])+ $variant,)* }

        impl DropReason {
            /// Every reason.
            pub const ALL: &[DropReason] = &[$(DropReason::$variant,)*];
        }

        simoom_io::counters! {
            /// How often a packet was dropped, by [`DropReason`].
            pub struct Drops { $($(#[doc = $help])+ $counter,)* }
        }

        impl Drops {
            /// Counts one.
            #[inline]
            pub fn note(&mut self, reason: DropReason) {
                match reason { $(DropReason::$variant => self.$counter += 1,)* }
            }
        }
    };
}

drops! {
    /// Packets that end before their headers do.
    Truncated => drop_truncated,
    /// Frames that carry neither IP nor ARP.
    Ethertype => drop_ethertype,
    /// IP packets with an impossible version, header length or total length.
    IpHeader => drop_ip_header,
    /// IPv4 packets with a wrong header checksum.
    IpChecksum => drop_ip_checksum,
    /// IPv6 packets with extension headers that are malformed, too many, or not to be skipped (RFC
    /// 8200 §4).
    IpExtension => drop_ip_extension,
    /// IP fragments.
    Fragment => drop_fragment,
    /// Packets from an address that no host can have.
    IpSource => drop_ip_source,
    /// Packets for an address that is not claimed.
    NotOurs => drop_not_ours,
    /// IP packets with neither TCP nor an ICMP message that is answered.
    Protocol => drop_protocol,
    /// ARP packets that are malformed or not for Simoom.
    Arp => drop_arp,
    /// ICMP and ICMPv6 messages that are malformed or not answered.
    Icmp => drop_icmp,
    /// Neighbour discovery messages that are malformed or not for Simoom (RFC 4861 §7.1).
    Ndp => drop_ndp,
    /// TCP segments with an impossible data offset.
    TcpHeader => drop_tcp_header,
    /// TCP segments with a wrong checksum.
    TcpChecksum => drop_tcp_checksum,
    /// TCP segments with an impossible option length.
    TcpOptions => drop_tcp_options,
    /// TCP segments with port 0.
    TcpPort => drop_tcp_port,
    /// Segments for a listening port that have neither ACK nor RST and are not a plain SYN (RFC
    /// 9293 §3.10.7.2).
    TcpFlags => drop_tcp_flags,
    /// Segments for no connection and no listener; answered with a reset unless they are resets.
    NoListener => drop_no_listener,
    /// Payload that can precede a late SYN cookie: not reset, and retransmitted by the peer (RFC
    /// 4987 §3.6).
    NoCookie => drop_no_cookie,
    /// Segments for no connection of this worker that another worker may know.
    Stray => drop_stray,
    /// SYNs not answered because the connection table was full.
    ConnectionsFull => drop_connections_full,
    /// SYNs not answered because the table of half-open connections was full.
    HalfOpenFull => drop_half_open_full,
    /// SYNs not answered because the port had all its connections.
    PortFull => drop_port_full,
    /// SYNs not answered because the source prefix had all its connections.
    PrefixFull => drop_prefix_full,
    /// Segments outside the receive window (RFC 9293 §3.10.7.4).
    OutsideWindow => drop_outside_window,
    /// Segments with an older timestamp than the last in order (RFC 7323 §5.3, PAWS).
    Paws => drop_paws,
    /// Resets not exactly at RCV.NXT, answered with a challenge ACK (RFC 5961 §3).
    BlindReset => drop_blind_reset,
    /// SYNs on a synchronized connection, answered with a challenge ACK (RFC 5961 §4).
    BlindSyn => drop_blind_syn,
    /// Segments whose acknowledgement is too old or of unsent data (RFC 5961 §5).
    BadAck => drop_bad_ack,
    /// Segments without an acknowledgement where one is required.
    NoAck => drop_no_ack,
    /// Segments with data after the peer's FIN, or for a connection closed by Simoom.
    LateData => drop_late_data,
    /// Segments whose data found no buffer; the peer retransmits it.
    NoReceiveBuffer => drop_no_receive_buffer,
    /// Segments out of order beyond the limit of one connection or of all.
    ReassemblyFull => drop_reassembly_full,
    /// Segments not sent because the device had no free frame; the connection retries.
    NoTransmitFrame => drop_no_transmit_frame,
}
