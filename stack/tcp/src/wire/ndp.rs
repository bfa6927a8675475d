//! Neighbour solicitations and advertisements (RFC 4861 §4.3 and §4.4).
//!
//! A message is parsed with all the checks of §7.1, so that it is valid and comes from this link.
//! It is written with IP header and checksum.

use super::checksum;
use super::{Address, Ecn, Link, Mac, ethernet, ip, ipv6};
use crate::drop::DropReason;

/// ICMPv6 type of a neighbour solicitation.
pub const SOLICITATION: u8 = 135;
/// ICMPv6 type of a neighbour advertisement.
pub const ADVERTISEMENT: u8 = 136;
/// §7.1: the hop limit of every message. A forwarded packet has less.
const HOP_LIMIT: u8 = 255;
/// Type, code, checksum, flags, target.
const FIXED_BYTES: usize = 24;
/// A link-layer address option for Ethernet.
const OPTION_BYTES: usize = 8;
/// The longest message written: with Ethernet and IP header and the one option.
pub const MAX_BYTES: usize =
    ethernet::MAX_HEADER_BYTES + ipv6::HEADER_BYTES + FIXED_BYTES + OPTION_BYTES;

const SOURCE_MAC: u8 = 1;
const TARGET_MAC: u8 = 2;
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// A message about an address, the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A neighbour solicitation. From the unspecified address it is a probe for the target (RFC
    /// 4862 §5.4).
    Solicitation {
        /// The solicited address.
        target: Address,
        /// The sender's hardware address, if the message has it.
        source_mac: Option<Mac>,
    },
    /// A neighbour advertisement.
    Advertisement {
        /// The advertised address.
        target: Address,
        /// The target's hardware address. It may be missing in the answer to a unicast
        /// solicitation.
        target_mac: Option<Mac>,
        /// The sender is a router.
        router: bool,
        /// The advertisement answers a solicitation.
        solicited: bool,
        /// The advertisement overrides a cached hardware address.
        overrides: bool,
    },
}

/// Whether an ICMPv6 message is one of the two.
pub fn is_ours(message: &[u8]) -> bool {
    matches!(message.first(), Some(&(SOLICITATION | ADVERTISEMENT)))
}

/// Reads a message that came under `header`, its checksum checked already (§7.1.1, §7.1.2).
pub fn parse(header: &ip::Header, message: &[u8]) -> Result<Message, DropReason> {
    let Some((fixed, options)) = message.split_first_chunk::<FIXED_BYTES>() else {
        return Err(DropReason::Ndp);
    };
    let target = Address::from_v6(std::array::from_fn(|at| fixed[8 + at]));
    if header.hop_limit != HOP_LIMIT || fixed[1] != 0 || target.is_multicast() {
        return Err(DropReason::Ndp);
    }
    let (kind, flags) = (fixed[0], fixed[4]);
    match kind {
        SOLICITATION => {
            let source_mac = mac_option(options, SOURCE_MAC)?;
            let asks_for_all =
                header.destination == target.solicited_node() && source_mac.is_none();
            if header.source.is_unspecified() && !asks_for_all {
                return Err(DropReason::Ndp);
            }
            Ok(Message::Solicitation { target, source_mac })
        }
        ADVERTISEMENT => {
            let solicited = flags & SOLICITED != 0;
            if header.source.is_unspecified() || header.destination.is_multicast() && solicited {
                return Err(DropReason::Ndp);
            }
            let target_mac = mac_option(options, TARGET_MAC)?;
            let (router, overrides) = (flags & ROUTER != 0, flags & OVERRIDE != 0);
            Ok(Message::Advertisement { target, target_mac, router, solicited, overrides })
        }
        _ => Err(DropReason::Ndp),
    }
}

/// The hardware address in the option of this kind; others are passed over (§4.6). No option may be
/// of length 0.
fn mac_option(mut options: &[u8], wanted: u8) -> Result<Option<Mac>, DropReason> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        let Some((option, rest)) =
            options.split_at_checked(usize::from(units) * 8).filter(|_| units > 0)
        else {
            return Err(DropReason::Ndp);
        };
        if kind == wanted && option.len() == OPTION_BYTES {
            found = Some(std::array::from_fn(|at| option[2 + at]));
        }
        options = rest;
    }
    if options.is_empty() { Ok(found) } else { Err(DropReason::Ndp) }
}

/// Writes a frame with a message from `source` to `destination`; returns its length, at most
/// [`MAX_BYTES`].
pub fn emit(
    frame: &mut [u8],
    mac: &Mac,
    link: &Link,
    [source, destination]: [&Address; 2],
    message: &Message,
) -> usize {
    let (kind, flags, target, option) = match *message {
        Message::Solicitation { target, source_mac } => {
            (SOLICITATION, 0, target, (SOURCE_MAC, source_mac))
        }
        Message::Advertisement { target, target_mac, router, solicited, overrides } => {
            let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
            let flags =
                flag(router, ROUTER) | flag(solicited, SOLICITED) | flag(overrides, OVERRIDE);
            (ADVERTISEMENT, flags, target, (TARGET_MAC, target_mac))
        }
    };
    let at = ethernet::emit(frame, mac, link, ethernet::IPV6);
    let mut body = [0; FIXED_BYTES + OPTION_BYTES];
    (body[0], body[4]) = (kind, flags);
    body[8..FIXED_BYTES].copy_from_slice(&target.octets());
    let mut len = FIXED_BYTES;
    if let (kind, Some(address)) = option {
        (body[FIXED_BYTES], body[FIXED_BYTES + 1]) = (kind, 1);
        body[FIXED_BYTES + 2..].copy_from_slice(&address);
        len += OPTION_BYTES;
    }
    let sum = checksum::pseudo_header(source, destination, ip::ICMPV6, len as u16)
        .add_bytes(&body[..len]);
    body[2..4].copy_from_slice(&sum.finish());
    ipv6::emit(&mut frame[at..], source, destination, ip::ICMPV6, HOP_LIMIT, Ecn::NOT_CAPABLE, len);
    let start = at + ipv6::HEADER_BYTES;
    frame[start..start + len].copy_from_slice(&body[..len]);
    start + len
}
