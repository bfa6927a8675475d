//! Path MTU (RFC 1191, RFC 8201): routers' reports that a packet was too big, and a cache of path
//! MTUs.
//!
//! Parses an ICMP message that quotes a TCP segment of this side. The connection decides whether to
//! accept the report (`tcp::path`). [`Paths`] caches destinations behind a link with a small MTU,
//! so that the next connection begins with segments that fit.

use crate::demux::Tuple;
use crate::seq::Seq;
use crate::wire::checksum::Sum;
use crate::wire::{Address, ip, ipv4, ipv6};
use simoom_io::timer::Tick;

/// Cached destinations. When the cache is full, the oldest is evicted.
const MAX_PATHS: usize = 64;
/// RFC 1191 §6.3, RFC 8201 §4: after ten minutes the path MTU may have grown.
const LIFE_MS: u32 = 600_000;
/// Smaller than the MTU of any path on today's Internet. A forged report cannot go below it (RFC
/// 5927 §7.2).
const FLOOR_V4: u16 = 552;
/// RFC 1191 §7.1: common link MTUs, for routers that report none.
const PLATEAUS: [u16; 6] = [8166, 4352, 2002, 1492, 1006, FLOOR_V4];

/// Destination unreachable: fragmentation needed and DF set (RFC 1191 §4).
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];
/// Packet too big (RFC 4443 §3.2).
const PACKET_TOO_BIG: [u8; 2] = [2, 0];
/// Type, code, checksum, and four bytes that depend on the type.
const ICMP_HEADER_BYTES: usize = 8;

/// The smallest path MTU towards `remote` that is accepted.
pub(crate) fn floor(remote: &Address) -> u16 {
    if remote.is_v4() { FLOOR_V4 } else { ipv6::MIN_MTU }
}

/// A router's report about a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooBig {
    /// The packet's four-tuple.
    pub(crate) tuple: Tuple,
    pub(crate) seq: Seq,
    /// The largest packet that fits, not below the floor, and smaller than this packet.
    pub(crate) mtu: u16,
}

/// Whether an ICMP message reports a packet that was too big.
pub(crate) fn is_too_big(body: &[u8], is_v4: bool) -> bool {
    body.starts_with(if is_v4 { &FRAGMENTATION_NEEDED } else { &PACKET_TOO_BIG })
}

/// Parses a packet-too-big message to `header.destination`. `None` if it is malformed or quotes no
/// segment of this side.
pub(crate) fn read(header: &ip::Header, body: &[u8]) -> Option<TooBig> {
    let (fixed, quote) = body.split_first_chunk::<ICMP_HEADER_BYTES>()?;
    if header.destination.is_v4() {
        // (The checksum of ICMPv6 was verified with the header.)
        let reported = u16::from_be_bytes([fixed[6], fixed[7]]);
        return if Sum::default().add_bytes(body).is_valid() {
            read_v4(header, reported, quote)
        } else {
            None
        };
    }
    let reported = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    // RFC 8201 §4: every IPv6 link has this MTU.
    if reported < u32::from(ipv6::MIN_MTU) {
        return None;
    }
    read_v6(header, u16::try_from(reported).unwrap_or(u16::MAX), quote)
}

fn read_v4(header: &ip::Header, reported: u16, quote: &[u8]) -> Option<TooBig> {
    let fixed = quote.first_chunk::<{ ipv4::HEADER_BYTES }>()?;
    let quoted_bytes = u16::from_be_bytes([fixed[2], fixed[3]]);
    let source = Address::from_v4([fixed[12], fixed[13], fixed[14], fixed[15]]);
    let remote = Address::from_v4([fixed[16], fixed[17], fixed[18], fixed[19]]);
    // This side sends no IP options.
    if fixed[0] != 0x45 || fixed[9] != ip::TCP || source != header.destination {
        return None;
    }
    let mtu = match reported {
        0 => PLATEAUS.into_iter().find(|&plateau| plateau < quoted_bytes)?,
        reported => reported,
    };
    quoted_tcp(source, remote, mtu, quoted_bytes, &quote[ipv4::HEADER_BYTES..])
}

fn read_v6(header: &ip::Header, reported: u16, quote: &[u8]) -> Option<TooBig> {
    let fixed = quote.first_chunk::<{ ipv6::HEADER_BYTES }>()?;
    let quoted_bytes =
        u16::from_be_bytes([fixed[4], fixed[5]]).saturating_add(ipv6::HEADER_BYTES as u16);
    let address = |at: usize| Address::from_v6(std::array::from_fn(|byte| fixed[at + byte]));
    let (source, remote) = (address(8), address(24));
    // This side sends no extension headers.
    if fixed[0] >> 4 != 6 || fixed[6] != ip::TCP || source != header.destination || remote.is_v4() {
        return None;
    }
    quoted_tcp(source, remote, reported, quoted_bytes, &quote[ipv6::HEADER_BYTES..])
}

/// The quote has at least the ports and the sequence number (RFC 792). RFC 5927 §7.2: a packet that
/// is not larger than the reported MTU was not too big.
fn quoted_tcp(
    local: Address,
    remote: Address,
    reported: u16,
    quoted_bytes: u16,
    tcp: &[u8],
) -> Option<TooBig> {
    let tcp = tcp.first_chunk::<8>()?;
    let local_port = u16::from_be_bytes([tcp[0], tcp[1]]);
    let remote_port = u16::from_be_bytes([tcp[2], tcp[3]]);
    let seq = Seq(u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]));
    let mtu = reported.max(floor(&remote));
    (mtu < quoted_bytes).then_some(TooBig {
        tuple: Tuple { remote, local, remote_port, local_port },
        seq,
        mtu,
    })
}

/// Cached destinations with a small path MTU.
pub(crate) struct Paths {
    entries: [Option<Path>; MAX_PATHS],
    next: usize,
    /// No destination is cached, so a lookup needs no search.
    is_empty: bool,
}

#[derive(Clone, Copy)]
struct Path {
    remote: Address,
    mtu: u16,
    until: Tick,
}

impl Paths {
    pub(crate) fn new() -> Paths {
        Paths { entries: [None; MAX_PATHS], next: 0, is_empty: true }
    }

    /// Caches the path MTU to `remote`.
    pub(crate) fn lowered(&mut self, remote: Address, mtu: u16, now: Tick) {
        let known =
            self.entries.iter().position(|path| path.is_some_and(|path| path.remote == remote));
        let index = known.unwrap_or_else(|| {
            let next = self.next;
            self.next = (next + 1) % MAX_PATHS;
            next
        });
        self.entries[index] = Some(Path { remote, mtu, until: now.plus(LIFE_MS) });
        self.is_empty = false;
    }

    /// The path to `remote` carries packets of `mtu` bytes. `most`: no larger one is ever sent.
    pub(crate) fn raised(&mut self, remote: &Address, mtu: u16, most: u16) {
        for entry in &mut self.entries {
            match entry {
                Some(path) if path.remote == *remote && mtu >= most => *entry = None,
                Some(path) if path.remote == *remote => path.mtu = path.mtu.max(mtu),
                _ => {}
            }
        }
    }

    /// The path MTU to `remote`, if it is cached.
    #[inline]
    pub(crate) fn mtu(&self, remote: &Address, now: Tick) -> Option<u16> {
        if self.is_empty {
            return None;
        }
        let path = self.entries.iter().flatten().find(|path| path.remote == *remote)?;
        (!path.until.is_due(now)).then_some(path.mtu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_1191_section_6_3_a_path_is_forgotten_after_ten_minutes() {
        let (mut paths, remote) = (Paths::new(), Address::from_v4([198, 18, 0, 1]));
        let at = |seconds: u64| Tick::from_millis(1000 * seconds);
        assert_eq!(paths.mtu(&remote, at(1)), None);
        paths.lowered(remote, 1400, at(1));
        assert_eq!(paths.mtu(&remote, at(600)), Some(1400));
        assert_eq!(paths.mtu(&remote, at(601)), None);
        assert_eq!(paths.mtu(&Address::from_v4([198, 18, 0, 2]), at(2)), None);
    }

    #[test]
    fn a_path_that_carries_more_is_cached_with_that_and_forgotten_at_the_most() {
        let (mut paths, remote) = (Paths::new(), Address::from_v4([198, 18, 0, 1]));
        let now = Tick::from_millis(5);
        paths.lowered(remote, 1280, now);
        paths.raised(&Address::from_v4([198, 18, 0, 2]), 1500, 1500);
        assert_eq!(paths.mtu(&remote, now), Some(1280));
        for (raised, expected) in [(1400, Some(1400)), (1300, Some(1400)), (1500, None)] {
            paths.raised(&remote, raised, 1500);
            assert_eq!(paths.mtu(&remote, now), expected);
        }
    }

    #[test]
    fn the_oldest_path_gives_way() {
        let mut paths = Paths::new();
        let remote = |n: usize| Address::from_v4([198, 18, (n / 250) as u8, (n % 250) as u8 + 1]);
        let now = Tick::from_millis(5);
        for n in 0..=MAX_PATHS {
            paths.lowered(remote(n), 1000 + n as u16, now);
            paths.lowered(remote(n), 600 + n as u16, now);
        }
        assert_eq!(paths.mtu(&remote(0), now), None);
        assert_eq!(paths.mtu(&remote(1), now), Some(601));
        assert_eq!(paths.mtu(&remote(MAX_PATHS), now), Some(600 + MAX_PATHS as u16));
    }
}
