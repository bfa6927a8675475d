//! The PROXY protocol, versions 1 and 2, of connections from named networks.
//!
//! Input: the first bytes of a connection. Output: the length of the header, and the address of the
//! client that the proxy speaks for. Each connection from these networks must begin with a header:
//! a server that guesses lets clients choose their address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The first bytes of version 1.
const WORD: &[u8] = b"PROXY ";
/// The longest line of version 1, with its CR LF.
const LINE_MAX_BYTES: usize = 107;
/// The longest header of version 2 that is accepted, with its extensions.
const HEADER_MAX_BYTES: usize = 2048;

/// A network, such as 10.0.0.0/8, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Parses `ADDRESS` or `ADDRESS/BITS`. An error says what is wrong.
    pub fn parse(text: &str) -> Result<Network, String> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address
            .parse()
            .map_err(|_| "an address, or a network such as 10.0.0.0/8".to_owned())?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(max), str::parse).ok().filter(|bits| *bits <= max);
        let bits = bits.ok_or_else(|| format!("a prefix of 0 to {max} bits"))?;
        Ok(Network { address, bits })
    }

    /// Whether the address lies in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differ = network.to_bits() ^ address.to_bits();
                differ.checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differ = network.to_bits() ^ address.to_bits();
                differ.checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// A header that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) len: usize,
    /// The client; `None` if the proxy speaks for itself, or the address is of another kind.
    pub(super) client: Option<IpAddr>,
}

/// The bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// Parses the header at the start of `bytes`; `None` until it is whole.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Invalid> {
    let begins_with = |word: &[u8]| {
        let len = word.len().min(bytes.len());
        bytes[..len] == word[..len]
    };
    if begins_with(SIGNATURE) {
        binary(bytes)
    } else if begins_with(WORD) {
        line(bytes)
    } else {
        Err(Invalid)
    }
}

/// Version 2: signature, version and command, family, length, addresses, extensions.
fn binary(bytes: &[u8]) -> Result<Option<Header>, Invalid> {
    let Some(([.., command, family, high, low], rest)) = bytes.split_first_chunk::<16>() else {
        return Ok(None);
    };
    let body_len = usize::from(u16::from_be_bytes([*high, *low]));
    let len = 16 + body_len;
    if len > HEADER_MAX_BYTES || !matches!(command, 0x20 | 0x21) {
        return Err(Invalid);
    }
    let Some(body) = rest.get(..body_len) else { return Ok(None) };
    let client = match (command, family) {
        (0x21, 0x11 | 0x12) => {
            let octets: [u8; 4] =
                *body.first_chunk().filter(|_| body.len() >= 12).ok_or(Invalid)?;
            Some(Ipv4Addr::from(octets).into())
        }
        (0x21, 0x21 | 0x22) => {
            let octets: [u8; 16] =
                *body.first_chunk().filter(|_| body.len() >= 36).ok_or(Invalid)?;
            Some(Ipv6Addr::from(octets).to_canonical())
        }
        _ => None,
    };
    Ok(Some(Header { len, client }))
}

/// Version 1: `PROXY TCP4 CLIENT SERVER PORT PORT` or `PROXY UNKNOWN`.
fn line(bytes: &[u8]) -> Result<Option<Header>, Invalid> {
    let window = &bytes[..bytes.len().min(LINE_MAX_BYTES)];
    let Some(end) = memchr::memmem::find(window, b"\r\n") else {
        return if bytes.len() >= LINE_MAX_BYTES { Err(Invalid) } else { Ok(None) };
    };
    let text = std::str::from_utf8(&window[..end]).map_err(|_| Invalid)?;
    let mut words = text.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Some(Header { len: end + 2, client: None }));
    }
    let mut address = || words.next()?.parse::<IpAddr>().ok();
    let (client, server) = (address().ok_or(Invalid)?, address().ok_or(Invalid)?);
    let fits = match family {
        Some("TCP4") => client.is_ipv4() && server.is_ipv4(),
        Some("TCP6") => client.is_ipv6() && server.is_ipv6(),
        _ => false,
    };
    let ports = words.by_ref().take(2).filter(|port| port.parse::<u16>().is_ok()).count();
    if !fits || ports != 2 || words.next().is_some() {
        return Err(Invalid);
    }
    Ok(Some(Header { len: end + 2, client: Some(client.to_canonical()) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, body].concat()
    }

    #[test]
    fn headers_of_both_versions_arrive_byte_by_byte() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0, 80, 0, 80];
        let v6 = [[0x20; 32].to_vec(), vec![0; 4], b"extension".to_vec()].concat();
        let address = |text: &str| Some(text.parse().unwrap());
        let table: [(Vec<u8>, Option<IpAddr>); 6] = [
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 5 80\r\n".to_vec(), address("192.0.2.1")),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 5 80\r\n".to_vec(), address("2001:db8::1")),
            (b"PROXY UNKNOWN what ever\r\n".to_vec(), None),
            (v2(0x21, 0x11, &v4), address("192.0.2.1")),
            (v2(0x21, 0x21, &v6), address("2020:2020:2020:2020:2020:2020:2020:2020")),
            (v2(0x20, 0, b""), None),
        ];
        for (header, client) in table {
            let whole = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            for len in 0..header.len() {
                assert_eq!(parse(&whole[..len]), Ok(None), "{len} of {header:?}");
            }
            let expected = Header { len: header.len(), client };
            assert_eq!(parse(&whole), Ok(Some(expected)), "{header:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 2001:db8::1 198.51.100.1 5 80\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 5\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 5 80 1\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 5 65536\r\n",
            b"PROXY \xff\r\n",
            &[b"PROXY ".to_vec(), vec![b'x'; 110]].concat(),
            &v2(0x31, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x21, &[0; 35]),
            &v2(0x21, 0x11, &[0; 4096]),
        ] {
            assert_eq!(parse(bytes), Err(Invalid), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_network_contains_its_addresses() {
        for (network, address, is_in) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("::/0", "::1", true),
        ] {
            let parsed = Network::parse(network).unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), is_in, "{network} {address}");
        }
        for text in ["", "a", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }
}
