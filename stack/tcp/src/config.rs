//! The configuration of a stack: addresses, limits and times. After start-up only the MTU and the
//! addresses change ([`crate::Stack::set_mtu`], [`crate::Stack::serve`]).

use crate::cookie::Outstanding;
use crate::demux;
use crate::neighbour::Route;
use crate::prefix::PrefixLengths;
use crate::reassembly;
use crate::tcp::congestion::Congestion;
use crate::wire::{Address, ChecksumPolicy, Mac, TxChecksum};
use simoom_io::send;

/// Bytes a second that a peer must acknowledge on average over the send timeout, while answers are
/// queued for it. Other transports of the same applications use it too.
pub const READ_RATE_MIN: u32 = 1000;

/// The configuration of one worker's stack. Times are in milliseconds.
#[derive(Clone, Debug)]
pub struct Config {
    /// The interface's hardware address.
    pub mac: Mac,
    /// The addresses that segments may be for.
    pub addresses: Vec<LocalAddress>,
    /// Addresses and ports that accept connections. If empty, every listening port of every address
    /// of this stack does.
    pub listen_addresses: Vec<(Address, u16)>,
    /// Addresses that no peer can have, besides this stack's own: those of the host, and the
    /// broadcast addresses of its networks. Segments from them are not answered (RFC 1812 §5.3.8).
    pub no_peers: Vec<Address>,
    /// Addresses that the host had, and that a peer may have now ([`crate::Stack::host_has`]).
    pub lost_addresses: Vec<Address>,
    /// The routes of active opens. Without routes, each active open must pass its next hop's
    /// hardware address.
    pub routes: Vec<Route>,
    /// The index of the interface, which applications get with link-local addresses. 0 for none.
    pub zone: u32,
    /// Whether this stack announces its dedicated addresses at the start (RFC 5227 §2.3). Set for
    /// one worker of a device.
    pub announces: bool,
    /// Largest IP packet, in bytes: 576 to 9000, and with an address of IPv6 not below 1280 (RFC
    /// 8200 §5).
    pub mtu: u16,
    /// Bytes that tunnels put in front of packets to this side, whose segments have to be so much
    /// smaller. A few tens at most.
    pub tunnel_bytes: u16,
    /// Whether a kernel's incomplete checksums are accepted (veth only).
    pub checksums: ChecksumPolicy,
    /// What the checksum of transmitted segments holds. [`crate::Transmit::transmit_segment`]
    /// completes a partial one.
    pub tx_checksum: TxChecksum,
    /// Whether segments without a connection are strays for another worker
    /// ([`crate::Stack::receive`] returns them), or get a reset.
    pub reports_strays: bool,
    /// Secret of this stack, from which initial sequence numbers (RFC 6528), timestamp offsets and
    /// hash keys are derived. The workers of a device share it.
    pub secret: [u64; 4],
    /// Until when a SYN cookie may come back. The workers of a device share it.
    pub cookies: Outstanding,
    /// The sizes of all tables and pools.
    pub limits: Limits,
    /// The congestion control of connections.
    pub congestion: Congestion,
    /// The congestion control of connections that peers open to these ports, instead of
    /// `congestion`. Memory is allocated for the algorithms in use only.
    pub congestion_of_ports: Vec<(u16, Congestion)>,
    /// Explicit congestion notification.
    pub ecn: EcnPolicy,
    /// First receive window, in bytes: 2048 to 2³⁰.
    pub receive_window_bytes: u32,
    /// Upper bound for receive-window auto-tuning, in bytes, up to 2³⁰. A value below
    /// `receive_window_bytes` turns auto-tuning off.
    pub max_receive_window_bytes: u32,
    /// Shortest round trip, in microseconds, from which connections are paced. `u32::MAX` turns
    /// pacing off.
    pub paced_from_us: u32,
    /// Shortest retransmission timeout. RFC 6298 says 1000; Linux and most others use 200.
    pub min_rto_ms: u32,
    /// How long an acknowledgement may wait for data to ride on; at most 500 (RFC 9293 §3.8.6.3).
    /// 0: until the flush.
    pub delayed_ack_ms: u32,
    /// Send timeout: a connection is reset if its peer acknowledges nothing for this time, with a
    /// zero window or not. It is also reset if the peer acknowledges less than [`READ_RATE_MIN`] on
    /// average and is behind by this time.
    pub send_timeout_ms: u32,
    /// The send timeout and keep-alive of connections to these local ports, instead of
    /// `send_timeout_ms` and `keep_alive_ms`.
    pub timeouts_of_ports: Vec<PortTimeouts>,
    /// How long a connection that this side has closed waits for the peer to close.
    pub close_timeout_ms: u32,
    /// Duration of TIME-WAIT: 2 MSL.
    pub time_wait_ms: u32,
    /// Idle time before the first keep-alive probe (RFC 9293 §3.8.4 says at least two hours). 0
    /// turns keep-alive off.
    pub keep_alive_ms: u32,
    /// Time between keep-alive probes.
    pub keep_alive_interval_ms: u32,
    /// Keep-alive probes without an answer after which a connection is reset.
    pub keep_alive_probes: u8,
    /// How many times the SYN of an active open is retransmitted. Seven, with the interval doubled
    /// each time, are the three minutes that RFC 9293 §3.8.3 MUST-23 requires.
    pub syn_retries: u8,
    /// Whether to send SYN cookies (RFC 4987 §3.6) when there are many half-open connections.
    pub syn_cookies: bool,
    /// Time for a neighbour to answer the first solicitation. It doubles for each further
    /// solicitation (RFC 4861 §10: a second).
    pub neighbour_retry_ms: u32,
    /// Rate limit of challenge ACKs (RFC 5961 §7), resets for strangers, acknowledgements in
    /// TIME-WAIT, echo replies, and neighbour replies: about this many of each kind a second.
    pub responses_per_second: u32,
}

/// The timeouts of connections to a local port, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortTimeouts {
    /// The local port.
    pub port: u16,
    /// See [`Config::send_timeout_ms`].
    pub send_timeout_ms: u32,
    /// See [`Config::keep_alive_ms`].
    pub keep_alive_ms: u32,
}

/// Policy for explicit congestion notification (RFC 3168).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EcnPolicy {
    /// Never use ECN.
    Off,
    /// Use ECN if the peer asks for it.
    #[default]
    Accept,
    /// Use ECN if the peer asks for it, and ask for it in active opens.
    Request,
}

/// An address of this stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address.
    pub address: Address,
    /// Whether the address is not the kernel's, so that the stack answers ARP, neighbour discovery,
    /// ICMP and ICMPv6 for it.
    pub dedicated: bool,
}

/// The sizes of all tables and pools of one stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Concurrent connections.
    pub connections: u32,
    /// Half-open connections: answered SYNs whose acknowledgement is outstanding.
    pub half_open: u32,
    /// Concurrent connections from one source prefix, without half-open ones; 0 for no limit.
    /// Prefixes with the same slot in the table of counts are counted together.
    pub connections_per_prefix: u32,
    /// The length of the prefixes.
    pub prefix_lengths: PrefixLengths,
    /// Concurrent connections to each port given to [`Stack::listen`](crate::Stack::listen),
    /// without half-open ones; 0 for no limit.
    pub connections_per_port: u32,
    /// Entries of the TIME-WAIT table. When it is full, the oldest is evicted.
    pub time_wait: u32,
    /// Ranges that are queued or unacknowledged.
    pub send_entries: u32,
    /// Chunks of [`simoom_io::send::CHUNK_BYTES`] for copied answers.
    pub send_chunks: u32,
    /// Small input buffers, for incomplete requests.
    pub small_input_buffers: u32,
    /// Large input buffers, for incomplete requests.
    pub large_input_buffers: u32,
    /// Blocks for data that arrived out of order.
    pub reassembly_blocks: u32,
    /// Scoreboard runs ([`crate::flight`]) beyond the one that each connection has.
    pub flight_runs: u32,
    /// Entries of the neighbour cache.
    pub neighbours: u32,
    /// Connections whose SYN waits for a neighbour's hardware address.
    pub unresolved: u32,
}

impl Limits {
    /// Limits in proportion to the number of connections, for a server of many small answers.
    ///
    /// An idle connection takes the control block alone. The pools for data in flight stop growing
    /// at 65,536 connections. Up to half as many connections can have an answer of
    /// [`send::ANSWER_BYTES`] copied at the same time.
    pub fn for_connections(connections: u32) -> Limits {
        let active = connections.clamp(64, 65_536);
        let send_chunks = active.min(32_768) * send::ANSWER_BYTES / send::CHUNK_BYTES as u32;
        Limits {
            connections,
            half_open: active.min(16_384),
            connections_per_prefix: 0,
            prefix_lengths: PrefixLengths::default(),
            connections_per_port: 0,
            time_wait: active,
            send_entries: send_chunks * 2,
            send_chunks,
            small_input_buffers: active / 2,
            large_input_buffers: (active / 64).max(16),
            reassembly_blocks: (active / 4).clamp(256, 4096),
            flight_runs: active * 4,
            neighbours: 64,
            unresolved: connections.clamp(1, 1024),
        }
    }
}

impl Limits {
    /// Upper bound for each limit, so that an index fits where it is stored.
    pub const MAX: u32 = demux::Owner::MAX_INDEX;

    /// Timers of the wheel: two for each connection, one for each entry of the small tables, one
    /// for all neighbours.
    pub(crate) fn timers(&self) -> u32 {
        self.neighbour_timer() + 1
    }

    /// The last timer of the wheel.
    pub(crate) fn neighbour_timer(&self) -> u32 {
        2 * self.connections + self.half_open + self.time_wait
    }
}

impl Config {
    /// The defaults for one worker on an Ethernet interface.
    pub fn new(mac: Mac, addresses: Vec<LocalAddress>, secret: [u64; 4], limits: Limits) -> Config {
        Config {
            mac,
            addresses,
            listen_addresses: Vec::new(),
            no_peers: Vec::new(),
            lost_addresses: Vec::new(),
            routes: Vec::new(),
            zone: 0,
            announces: false,
            mtu: 1500,
            tunnel_bytes: 0,
            checksums: ChecksumPolicy::Verify,
            tx_checksum: TxChecksum::Full,
            reports_strays: false,
            secret,
            cookies: Outstanding::default(),
            limits,
            congestion: Congestion::default(),
            congestion_of_ports: Vec::new(),
            ecn: EcnPolicy::default(),
            receive_window_bytes: 64 * 1024,
            // The largest window with a shift of 4: 10 MB/s at 100 ms.
            max_receive_window_bytes: 0xffff << 4,
            paced_from_us: 4000,
            min_rto_ms: 200,
            delayed_ack_ms: 40,
            send_timeout_ms: 60_000,
            timeouts_of_ports: Vec::new(),
            close_timeout_ms: 30_000,
            time_wait_ms: 60_000,
            keep_alive_ms: 7_200_000,
            keep_alive_interval_ms: 75_000,
            keep_alive_probes: 9,
            syn_retries: 7,
            syn_cookies: true,
            neighbour_retry_ms: 1000,
            responses_per_second: 1000,
        }
    }

    #[inline]
    fn timeouts_of(&self, port: u16) -> Option<&PortTimeouts> {
        self.timeouts_of_ports.iter().find(|timeouts| timeouts.port == port)
    }

    /// The send timeout of connections to this local port.
    #[inline]
    pub(crate) fn send_timeout_ms(&self, port: u16) -> u32 {
        self.timeouts_of(port).map_or(self.send_timeout_ms, |timeouts| timeouts.send_timeout_ms)
    }

    /// The idle time before keep-alive probes on connections to this local port; 0 for none.
    #[inline]
    pub(crate) fn keep_alive_ms(&self, port: u16) -> u32 {
        self.timeouts_of(port).map_or(self.keep_alive_ms, |timeouts| timeouts.keep_alive_ms)
    }

    /// Whether `address` is one of this stack's.
    #[inline]
    pub(crate) fn has(&self, address: &Address) -> bool {
        self.addresses.iter().any(|local| local.address == *address)
    }

    /// Whether a peer can have `address`.
    pub(crate) fn may_be_peer(&self, address: &Address) -> bool {
        !(self.has(address) || self.no_peers.contains(address))
            || self.lost_addresses.contains(address)
    }

    /// Whether this address accepts connections to this port, if the port listens.
    pub(crate) fn serves(&self, local: &Address, port: u16) -> bool {
        self.listen_addresses.is_empty() || self.listen_addresses.contains(&(*local, port))
    }

    /// Whether `address` is this stack's and not the kernel's.
    pub(crate) fn is_dedicated(&self, address: &Address) -> bool {
        self.dedicated(address).is_some()
    }

    /// The number of a dedicated address among all of this stack's.
    pub(crate) fn dedicated(&self, address: &Address) -> Option<usize> {
        self.addresses.iter().position(|local| local.dedicated && local.address == *address)
    }

    /// Minimum size of a frame of [`crate::Transmit`], in bytes.
    pub fn frame_bytes(&self) -> usize {
        crate::wire::ethernet::MAX_HEADER_BYTES + usize::from(self.mtu)
    }

    /// The MSS option's value for this peer: the payload that fits the MTU without options (RFC
    /// 6691 §2).
    pub(crate) fn mss(&self, remote: &Address) -> u16 {
        self.mtu - (crate::wire::ip::header_bytes(remote) + crate::wire::tcp::HEADER_BYTES) as u16
    }

    /// The MSS option's value that this side sends.
    pub(crate) fn offered_mss(&self, remote: &Address) -> u16 {
        self.mss(remote).saturating_sub(self.tunnel_bytes)
    }

    /// The window-scale shift with which the receive window fits the header's 16 bits (RFC 7323
    /// §2.3).
    pub(crate) fn window_shift(&self) -> u8 {
        let max = self.receive_window_bytes.max(self.max_receive_window_bytes);
        let bits = u32::BITS - max.leading_zeros();
        bits.saturating_sub(u16::BITS).min(14) as u8
    }

    /// Bytes by which all receive windows together may be wider than at first. A window takes
    /// memory only while there is a gap in what arrives, which is the exception: there are four
    /// times as many as the reassembly holds.
    pub(crate) fn window_budget_bytes(&self) -> u64 {
        4 * u64::from(self.limits.reassembly_blocks) * reassembly::BLOCK_BYTES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_shift_is_the_smallest_that_fits_the_header() {
        let limits = Limits::for_connections(1);
        for max in [1, 0xffff, 0x1_0000, 0x1_ffff, 0x2_0000, 0xf_fff0, 0x3fff_c000, u32::MAX] {
            let config = Config {
                receive_window_bytes: 1,
                max_receive_window_bytes: max,
                ..Config::new([0; 6], Vec::new(), [0; 4], limits)
            };
            let shift = config.window_shift();
            assert!(shift == 14 || max >> shift <= 0xffff, "{max:#x}: {shift}");
            assert!(shift == 0 || max >> (shift - 1) > 0xffff, "{max:#x}: {shift}");
        }
    }
}
