//! Why a packet was dropped, each reason with a counter of its own.

macro_rules! drops {
    ($($(#[$doc:meta])* $variant:ident => $counter:ident,)*) => {
        /// Why a packet, or the request in it, was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum DropReason { $($(#[$doc])* $variant,)* }

        impl DropReason {
            /// Every reason.
            pub const ALL: &[DropReason] = &[$(DropReason::$variant,)*];
        }

        simoom_io::counters! {
            /// How often a packet was dropped, by [`DropReason`].
            pub struct Drops { $($(#[$doc])* $counter,)* }
        }

        impl Drops {
            /// Counts one drop.
            #[inline]
            pub fn note(&mut self, reason: DropReason) {
                match reason { $(DropReason::$variant => self.$counter += 1,)* }
            }
        }
    };
}

drops! {
    /// The packet ends before its headers do.
    Truncated => drop_truncated,
    /// Neither IP nor ARP.
    Ethertype => drop_ethertype,
    /// IP version, header length or total length impossible.
    IpHeader => drop_ip_header,
    /// IP header checksum wrong.
    IpChecksum => drop_ip_checksum,
    /// IPv6 extension headers that make no sense, are too many, lead on to another node, or have an
    /// option that is not known and may not be passed over (RFC 8200 §4).
    IpExtension => drop_ip_extension,
    /// An IP fragment.
    Fragment => drop_fragment,
    /// A source address that no host can have.
    IpSource => drop_ip_source,
    /// Not for an address of this stack.
    NotOurs => drop_not_ours,
    /// Neither TCP nor a supported ICMP message.
    Protocol => drop_protocol,
    /// Malformed ARP, or ARP not for this stack.
    Arp => drop_arp,
    /// Malformed ICMP or ICMPv6, or of an unsupported kind.
    Icmp => drop_icmp,
    /// Malformed neighbour discovery (RFC 4861 §7.1), or not for this stack.
    Ndp => drop_ndp,
    /// TCP data offset impossible.
    TcpHeader => drop_tcp_header,
    /// TCP checksum wrong.
    TcpChecksum => drop_tcp_checksum,
    /// A TCP option's length is impossible.
    TcpOptions => drop_tcp_options,
    /// A port is 0.
    TcpPort => drop_tcp_port,
    /// For a listening port, without ACK or RST, and not a plain SYN (RFC 9293 §3.10.7.2).
    TcpFlags => drop_tcp_flags,
    /// No connection and no listener. A reset is sent, unless the segment is a reset.
    NoListener => drop_no_listener,
    /// Text that may follow a late SYN cookie (RFC 4987 §3.6). No reset is sent, and the peer
    /// retransmits.
    NoCookie => drop_no_cookie,
    /// A stray: no connection and not a SYN, where another worker may have the connection.
    Stray => drop_stray,
    /// The connection table is full: the SYN is not answered.
    ConnectionsFull => drop_connections_full,
    /// The table of half-open connections is full: the SYN is not answered.
    HalfOpenFull => drop_half_open_full,
    /// The port's connection limit is reached: the SYN is not answered.
    PortFull => drop_port_full,
    /// The connection limit of the source prefix is reached: the SYN is not answered.
    PrefixFull => drop_prefix_full,
    /// Outside the receive window (RFC 9293 §3.10.7.4, first check).
    OutsideWindow => drop_outside_window,
    /// A timestamp older than TS.Recent (RFC 7323 §5.3, PAWS).
    Paws => drop_paws,
    /// A reset that is not exactly at RCV.NXT (RFC 5961 §3): challenged.
    BlindReset => drop_blind_reset,
    /// A SYN on a synchronized connection (RFC 5961 §4): challenged.
    BlindSyn => drop_blind_syn,
    /// An acknowledgement of data never sent, or too old (RFC 5961 §5): challenged.
    BadAck => drop_bad_ack,
    /// No ACK bit where it is required.
    NoAck => drop_no_ack,
    /// Data after the peer's FIN.
    LateData => drop_late_data,
    /// No buffer was free for the data. The peer retransmits it.
    NoReceiveBuffer => drop_no_receive_buffer,
    /// Out-of-order data beyond the limit of one connection, or of the pool.
    ReassemblyFull => drop_reassembly_full,
    /// The device had no free transmit frame. The connection tries again.
    NoTransmitFrame => drop_no_transmit_frame,
}
