//! What a stack is told when it is made: its addresses, its limits, its times. All of it fixed from
//! then on.

use crate::demux;
use crate::neighbour::Route;
use crate::reassembly;
use crate::wire::{Address, ChecksumPolicy, Mac};
use simoom_io::send;

/// Bytes a second that a peer must take on average, over the send timeout, of what is queued for
/// it: over this stack, and over any other transport of the same applications.
pub const READ_RATE_MIN: u32 = 1000;

/// The configuration of one worker's stack. Times are in milliseconds.
#[derive(Clone, Debug)]
pub struct Config {
    /// The interface's hardware address.
    pub mac: Mac,
    /// The addresses that segments may be for.
    pub addresses: Vec<LocalAddress>,
    /// The only places where connections are accepted; none: wherever an address of this stack and
    /// a listening port meet.
    pub places: Vec<(Address, u16)>,
    /// Addresses that no peer has besides this stack's own: those of the host, and the broadcast
    /// addresses of its networks. Who claims to be one of them is not answered (RFC 1812 §5.3.8).
    pub no_peers: Vec<Address>,
    /// The ways of active opens. Without any, each has to bring its next hop's hardware address.
    pub routes: Vec<Route>,
    /// Whether this stack announces its dedicated addresses at the start (RFC 5227 §2.3); one
    /// worker of a device does.
    pub announces: bool,
    /// Largest IP packet, in bytes: 576 to 9000, and with an address of IPv6 not below 1280 (RFC
    /// 8200 §5).
    pub mtu: u16,
    /// Whether a kernel's unfinished checksums are taken (veth only).
    pub checksums: ChecksumPolicy,
    /// Whether segments without a connection are left to another worker ([`crate::Stack::receive`]
    /// returns them) or answered with a reset.
    pub reports_strays: bool,
    /// Secret of this stack, from which initial sequence numbers (RFC 6528), timestamp offsets and
    /// hash keys are derived. The workers of a device share it.
    pub secret: [u64; 4],
    /// How much of everything there is.
    pub limits: Limits,
    /// How the congestion window grows, and what loss does to it.
    pub congestion: Congestion,
    /// Whether routers may mark packets instead of dropping them.
    pub ecn: EcnPolicy,
    /// Bytes offered to a peer to send ahead, at first: 2048 to 2³⁰.
    pub receive_window_bytes: u32,
    /// ... and at most, once it is seen to send so fast; up to 2³⁰. Less than the former means that
    /// windows stay as they are.
    pub max_receive_window_bytes: u32,
    /// On a path whose shortest round trip is not less, in microseconds, what is sent is spread
    /// over the round trip; `u32::MAX` for no path.
    pub paced_from_us: u32,
    /// Shortest retransmission timeout; RFC 6298 says 1000, Linux and most others use 200.
    pub min_rto_ms: u32,
    /// How long an acknowledgement may wait for data to ride on; at most 500 (RFC 9293 §3.8.6.3).
    pub delayed_ack_ms: u32,
    /// A connection whose peer acknowledges nothing for so long is reset, its window shut or not;
    /// so is one that acknowledges less than [`READ_RATE_MIN`] on average, once it is behind by so
    /// long.
    pub send_timeout_ms: u32,
    /// How long a connection that this side has closed waits for the peer to close.
    pub close_timeout_ms: u32,
    /// How long a closed connection's addresses are kept from being mistaken for a new one's: 2
    /// MSL.
    pub time_wait_ms: u32,
    /// Idle time before the first keep-alive probe, 0 for none (RFC 9293 §3.8.4 says at least two
    /// hours).
    pub keep_alive_ms: u32,
    /// Time between keep-alive probes.
    pub keep_alive_interval_ms: u32,
    /// A connection is given up after so many probes without an answer.
    pub keep_alive_probes: u8,
    /// How often the SYN of an active open is repeated. Seven times, twice as long apart each, are
    /// the three minutes that RFC 9293 §3.8.3 MUST-23 asks for.
    pub syn_retries: u8,
    /// Whether SYNs are answered with cookies (RFC 4987 §3.6) when half-open connections are many.
    pub syn_cookies: bool,
    /// How long a neighbour has to answer the first question for its hardware address; twice as
    /// long the second time, and so on (RFC 4861 §10: a second).
    pub neighbour_retry_ms: u32,
    /// Challenge ACKs (RFC 5961 §7), resets for strangers, acknowledgements in TIME-WAIT, echo
    /// replies, and answers to neighbours: about so many of each a second.
    pub responses_per_second: u32,
}

/// A congestion control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// CUBIC (RFC 9438) with HyStart++ (RFC 9406), what most of the Internet uses.
    #[default]
    Cubic,
    /// RFC 5681 as it stands.
    NewReno,
}

/// Explicit congestion notification (RFC 3168): whether connections use it whose peers do too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EcnPolicy {
    /// None does.
    Off,
    /// Those do whose peer asks for it.
    #[default]
    Accept,
    /// Active opens ask for it, too.
    Request,
}

/// An address of this stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address.
    pub address: Address,
    /// Whether the kernel does not have it, so that the stack answers ARP, neighbour
    /// discovery, ICMP and ICMPv6 for it too.
    pub dedicated: bool,
}

/// The sizes of all tables and pools of one stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: u32,
    /// Answered SYNs whose acknowledgement is outstanding.
    pub half_open: u32,
    /// Connections at once from one source /24 of IPv4 or /64 of IPv6, half-open ones not counted;
    /// 0 for no such limit. Prefixes that meet in the table which counts them are counted together.
    pub connections_per_prefix: u32,
    /// Connections at once to each port that [`Stack::listen`](crate::Stack::listen) is given,
    /// half-open ones not counted; 0 for no such limit.
    pub connections_per_port: u32,
    /// Entries of the TIME_WAIT table; the oldest gives way.
    pub time_wait: u32,
    /// Ranges queued to be sent or unacknowledged.
    pub send_entries: u32,
    /// Chunks of [`simoom_io::send::CHUNK_BYTES`] for copied answers.
    pub send_chunks: u32,
    /// Small buffers for incomplete requests.
    pub small_input_buffers: u32,
    /// Large buffers for incomplete requests.
    pub large_input_buffers: u32,
    /// Blocks for data that arrived out of order.
    pub reassembly_blocks: u32,
    /// Runs of the scoreboards ([`crate::flight`]) beyond the one that each connection has.
    pub flight_runs: u32,
    /// Neighbours whose hardware addresses are known or asked for.
    pub neighbours: u32,
    /// Connections whose SYN waits for a neighbour's hardware address.
    pub unresolved: u32,
}

impl Limits {
    /// Limits in proportion to the number of connections, for a server of many small answers.
    ///
    /// Memory for idle connections is the control block alone; what is in flight shares pools that
    /// stop growing at 65,536 connections. Up to half as many can all have an answer of
    /// [`send::ANSWER_BYTES`] copied at once.
    pub fn for_connections(connections: u32) -> Limits {
        let active = connections.clamp(64, 65_536);
        let send_chunks = active.min(32_768) * send::ANSWER_BYTES / send::CHUNK_BYTES as u32;
        Limits {
            connections,
            half_open: active.min(16_384),
            connections_per_prefix: 0,
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
    /// The most of any one table, so that an index fits where it is stored.
    pub const MAX: u32 = demux::Owner::MAX_INDEX;

    /// Timers of the wheel: two a connection, one for each entry of the small tables, one for all
    /// neighbours.
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
            places: Vec::new(),
            no_peers: Vec::new(),
            routes: Vec::new(),
            announces: false,
            mtu: 1500,
            checksums: ChecksumPolicy::Verify,
            reports_strays: false,
            secret,
            limits,
            congestion: Congestion::default(),
            ecn: EcnPolicy::default(),
            receive_window_bytes: 64 * 1024,
            // What the header's field can say with a shift of 4: 10 MB/s at 100 ms.
            max_receive_window_bytes: 0xffff << 4,
            paced_from_us: 4000,
            min_rto_ms: 200,
            delayed_ack_ms: 40,
            send_timeout_ms: 60_000,
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

    /// Whether `address` is one of this stack's.
    #[inline]
    pub(crate) fn has(&self, address: &Address) -> bool {
        self.addresses.iter().any(|local| local.address == *address)
    }

    /// Whether a peer can have `address`.
    pub(crate) fn may_be_peer(&self, address: &Address) -> bool {
        !self.has(address) && !self.no_peers.contains(address)
    }

    /// Whether connections to this port of this address are accepted, where its port listens.
    pub(crate) fn serves(&self, local: &Address, port: u16) -> bool {
        self.places.is_empty() || self.places.contains(&(*local, port))
    }

    /// Whether `address` is this stack's and not the kernel's.
    pub(crate) fn is_dedicated(&self, address: &Address) -> bool {
        self.dedicated(address).is_some()
    }

    /// The number of a dedicated address among all of this stack's.
    pub(crate) fn dedicated(&self, address: &Address) -> Option<usize> {
        self.addresses.iter().position(|local| local.dedicated && local.address == *address)
    }

    /// Bytes that a frame lent by [`crate::Transmit`] must have.
    pub fn frame_bytes(&self) -> usize {
        crate::wire::ethernet::MAX_HEADER_BYTES + usize::from(self.mtu)
    }

    /// The MSS option's value: what fits the MTU without options (RFC 6691 §2) to and from this
    /// address.
    pub(crate) fn mss(&self, remote: &Address) -> u16 {
        self.mtu - (crate::wire::ip::header_bytes(remote) + crate::wire::tcp::HEADER_BYTES) as u16
    }

    /// The shift with which the receive window fits the header's 16 bits (RFC 7323 §2.3).
    pub(crate) fn window_shift(&self) -> u8 {
        let most = self.receive_window_bytes.max(self.max_receive_window_bytes);
        (0..14).find(|shift| most >> shift <= u32::from(u16::MAX)).unwrap_or(14)
    }

    /// Bytes by which all receive windows together may be wider than at first. A window takes
    /// memory only while there is a gap in what arrives, which is the exception: there are four
    /// times as many as the reassembly holds.
    pub(crate) fn window_budget_bytes(&self) -> u64 {
        4 * u64::from(self.limits.reassembly_blocks) * reassembly::BLOCK_BYTES as u64
    }
}
