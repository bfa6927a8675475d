//! The kinds of tunnels that the steering program takes packets out of, in the form of its map.

use std::fmt;

/// The UDP port of GUE that IANA has assigned.
pub const GUE_PORT_DEFAULT: u16 = 6080;
/// `TUNNEL_IPIP`, `TUNNEL_GRE` and `TUNNEL_GUE` of bpf/layout.h.
const KINDS: [u32; 3] = [1, 2, 4];
/// The most bytes of a GRE header: with checksum, key and sequence number.
const GRE_MAX_BYTES: u16 = 16;
/// Bytes of a UDP header and a GUE header without extensions.
const GUE_BYTES: u16 = 8 + 4;
const IPV4_BYTES: u16 = 20;
/// With the option of RFC 2473 §4.1, which Linux adds.
const IPV6_BYTES: u16 = 40 + 8;

/// A kind of tunnel by which an L4 load balancer passes packets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tunnel {
    /// IP in IP (RFC 2003, RFC 2473, RFC 4213): IPVS, Katran.
    Ipip,
    /// Generic routing encapsulation (RFC 2784, RFC 2890).
    Gre,
    /// Generic UDP encapsulation, variants 0 and 1, to this port. The port is not 0.
    Gue(u16),
}

impl Tunnel {
    /// Parses `ipip`, `gre`, `gue` or `gue:PORT`.
    pub fn parse(text: &str) -> Result<Tunnel, String> {
        let wrong = || "write ipip, gre, gue or gue:PORT with a port from 1 to 65535".to_owned();
        match text.split_once(':') {
            None if text == "ipip" => Ok(Tunnel::Ipip),
            None if text == "gre" => Ok(Tunnel::Gre),
            None if text == "gue" => Ok(Tunnel::Gue(GUE_PORT_DEFAULT)),
            Some(("gue", port)) => match port.parse() {
                Ok(0) | Err(_) => Err(wrong()),
                Ok(port) => Ok(Tunnel::Gue(port)),
            },
            _ => Err(wrong()),
        }
    }

    /// Checks that no kind is named twice: GUE has one port. The error names the second.
    pub fn check(all: &[Tunnel]) -> Result<(), Tunnel> {
        let kind = |tunnel: &Tunnel| std::mem::discriminant(tunnel);
        let twice = all.iter().enumerate().find(|(index, tunnel)| {
            all[..*index].iter().any(|earlier| kind(earlier) == kind(tunnel))
        });
        twice.map_or(Ok(()), |(_, tunnel)| Err(*tunnel))
    }

    /// The most bytes that these tunnels put in front of a packet; 0 without any.
    pub(crate) fn max_bytes(all: &[Tunnel], has_ipv6_end: bool) -> u16 {
        let outer = if has_ipv6_end { IPV6_BYTES } else { IPV4_BYTES };
        let of_one = |tunnel: &Tunnel| match tunnel {
            Tunnel::Ipip => outer,
            Tunnel::Gre => outer + GRE_MAX_BYTES,
            Tunnel::Gue(_) => outer + GUE_BYTES,
        };
        all.iter().map(of_one).max().unwrap_or(0)
    }
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tunnel::Ipip => f.write_str("ipip"),
            Tunnel::Gre => f.write_str("gre"),
            Tunnel::Gue(port) => write!(f, "gue:{port}"),
        }
    }
}

/// `struct tunnel_end` of bpf/layout.h; the port is in network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TunnelEnd {
    kinds: u32,
    gue_port: u16,
}

impl TunnelEnd {
    /// Bytes of the map's value.
    pub(crate) const BYTES: usize = 8;

    pub(crate) fn of(tunnels: &[Tunnel]) -> TunnelEnd {
        let mut end = TunnelEnd::default();
        for tunnel in tunnels {
            match tunnel {
                Tunnel::Ipip => end.kinds |= KINDS[0],
                Tunnel::Gre => end.kinds |= KINDS[1],
                Tunnel::Gue(port) => {
                    end.kinds |= KINDS[2];
                    end.gue_port = port.to_be();
                }
            }
        }
        end
    }

    /// The map's value: the members of the C structure.
    pub(crate) fn bytes(self) -> [u8; TunnelEnd::BYTES] {
        let [a, b, c, d] = self.kinds.to_ne_bytes();
        let [e, f] = self.gue_port.to_ne_bytes();
        [a, b, c, d, e, f, 0, 0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_printed() {
        for text in ["ipip", "gre", "gue:6080", "gue:1", "gue:65535"] {
            assert_eq!(Tunnel::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Tunnel::parse("gue"), Ok(Tunnel::Gue(GUE_PORT_DEFAULT)));
        for text in ["", "vxlan", "IPIP", "gue:0", "gue:65536", "gue:", "gre:1", "ipip:1"] {
            assert!(Tunnel::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_kind_is_named_twice() {
        assert_eq!(Tunnel::check(&[Tunnel::Ipip, Tunnel::Gre, Tunnel::Gue(1)]), Ok(()));
        assert_eq!(Tunnel::check(&[Tunnel::Gue(1), Tunnel::Gue(2)]), Err(Tunnel::Gue(2)));
    }

    #[test]
    fn the_map_has_the_bytes_of_the_header() {
        let header = include_str!("../../bpf/layout.h");
        for (name, kind) in ["IPIP", "GRE", "GUE"].into_iter().zip(KINDS) {
            assert!(header.contains(&format!("#define TUNNEL_{name} {kind}\n")), "{name}");
        }
        let end = TunnelEnd::of(&[Tunnel::Ipip, Tunnel::Gue(0x0102)]);
        assert_eq!(end.bytes()[..4], 5u32.to_ne_bytes());
        assert_eq!(end.bytes()[4..], [1, 2, 0, 0]);
    }

    #[test]
    fn the_longest_headers_count() {
        let all = [Tunnel::Ipip, Tunnel::Gre];
        assert_eq!([false, true].map(|v6| Tunnel::max_bytes(&all, v6)), [36, 64]);
        assert_eq!(Tunnel::max_bytes(&[], true), 0);
        assert_eq!(Tunnel::max_bytes(&[Tunnel::Gue(1)], false), 32);
    }
}
