//! An ARP packet as a packet script writes it.
//!
//! ```text
//! arp request from 198.18.0.2 for 198.18.0.1 to all
//! arp reply from 198.18.0.1 at 2:0:0:0:0:1 for 198.18.0.2
//! ```
//!
//! `at` is the sender's hardware address; by default the peer's or the stack's own. `to` is the
//! destination of the frame; by default any.

use crate::neighbour::arp::{Arp, BROADCAST, Operation, UNKNOWN};
use crate::tcp::Transmit;
use crate::wire::{Address, Link, Mac, ethernet};
use std::fmt;
use std::net::Ipv4Addr;

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpNotation {
    is_request: bool,
    from: Ipv4Addr,
    at: Option<Mac>,
    target: Ipv4Addr,
    to: Option<Mac>,
}

impl ArpNotation {
    /// Reads the words behind `arp`.
    pub(super) fn parse(words: &[&str]) -> Result<ArpNotation, String> {
        let [operation, words @ ..] = words else {
            return Err("`arp` needs `request` or `reply`".to_owned());
        };
        let is_request = match *operation {
            "request" => true,
            "reply" => false,
            other => return Err(format!("`{other}` is neither `request` nor `reply`")),
        };
        let mut read = ArpNotation {
            is_request,
            from: Ipv4Addr::UNSPECIFIED,
            at: None,
            target: Ipv4Addr::UNSPECIFIED,
            to: None,
        };
        for pair in words.chunks(2) {
            match pair {
                ["from", ip] => read.from = address(ip)?,
                ["for", ip] => read.target = address(ip)?,
                ["at", mac] => read.at = Some(hardware(mac)?),
                ["to", "all"] => read.to = Some(BROADCAST),
                ["to", mac] => read.to = Some(hardware(mac)?),
                _ => return Err(format!("`{}` is no part of an ARP packet", pair.join(" "))),
            }
        }
        Ok(read)
    }

    /// The frame to `stack`, from `peer` or from the sender in the line.
    pub(super) fn frame(&self, peer: Mac, stack: Mac) -> Vec<u8> {
        let sender_mac = self.at.unwrap_or(peer);
        let arp = Arp {
            operation: if self.is_request { Operation::Request } else { Operation::Reply },
            sender_mac,
            sender: Address::from(self.from),
            target_mac: if self.is_request { UNKNOWN } else { stack },
            target: Address::from(self.target),
        };
        let mut sink = Sink(Vec::new());
        arp.send(&Link { mac: self.to.unwrap_or(stack), vlan: 0 }, &mut sink);
        sink.0
    }

    /// What a frame says, if it is an ARP packet.
    pub(super) fn read(frame: &[u8]) -> Option<ArpNotation> {
        let (_, ethertype, body) = ethernet::parse(frame).ok()?;
        let arp = (ethertype == ethernet::ARP).then(|| Arp::parse(body).ok())??;
        Some(ArpNotation {
            is_request: arp.operation == Operation::Request,
            from: Ipv4Addr::from(arp.sender.v4()),
            at: Some(arp.sender_mac),
            target: Ipv4Addr::from(arp.target.v4()),
            to: frame.first_chunk().copied(),
        })
    }

    /// Whether `sent`, by the stack with hardware address `mac`, is what this line expects.
    pub(super) fn matches(&self, sent: &ArpNotation, mac: Mac) -> bool {
        let expected = ArpNotation { at: self.at.or(Some(mac)), to: self.to.or(sent.to), ..*self };
        expected == *sent
    }
}

struct Sink(Vec<u8>);

impl Transmit for Sink {
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        self.0 = vec![0; 64];
        let len = write(&mut self.0);
        self.0.truncate(len);
        true
    }
}

fn address(word: &str) -> Result<Ipv4Addr, String> {
    word.parse().map_err(|_| format!("`{word}` is not an IPv4 address"))
}

/// A hardware address in hexadecimal, with colons.
pub(super) fn hardware(word: &str) -> Result<Mac, String> {
    let bytes: Result<Vec<u8>, _> =
        word.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    bytes
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| format!("`{word}` is not a hardware address"))
}

impl fmt::Display for ArpNotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = if self.is_request { "request" } else { "reply" };
        write!(f, "arp {operation} from {}", self.from)?;
        for (word, mac) in [(" at ", self.at), (" to ", self.to)] {
            let Some([a, b, c, d, e, g]) = mac else { continue };
            write!(f, "{word}{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{g:x}")?;
        }
        write!(f, " for {}", self.target)
    }
}
