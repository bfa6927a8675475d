//! Sends messages of neighbour discovery (RFC 4861), and detects conflicts in received ones.
//! [`crate::wire::ndp`] parses and writes the messages.

use super::Conflict;
use crate::config::Config;
use crate::drop::DropReason;
use crate::tcp::Transmit;
use crate::wire::ndp::{self, Message};
use crate::wire::{self, Address, ChecksumPolicy, Incoming, Link, Mac, Packet, ip};

/// Answers a solicitation for a dedicated address of this stack (§7.2.4). Returns whether an
/// advertisement was sent. `may` is the rate limit, called only for a valid solicitation.
pub(crate) fn advertise<T: Transmit>(
    link: Link,
    header: &ip::Header,
    target: Address,
    source_mac: Option<Mac>,
    config: &Config,
    may: impl FnOnce() -> bool,
    tx: &mut T,
) -> Result<bool, DropReason> {
    let is_for_target =
        header.destination == target || header.destination == target.solicited_node();
    if !config.is_dedicated(&target) || !is_for_target {
        return Err(DropReason::Ndp);
    }
    // The sender has no address and probes for this one. All hosts must receive that it is in use.
    let (to, mac, solicited) = if header.source.is_unspecified() {
        (Address::ALL_NODES, Address::ALL_NODES.multicast_mac(), false)
    } else {
        (header.source, source_mac.unwrap_or(link.mac), true)
    };
    if mac[0] & 1 == 1 && solicited {
        return Err(DropReason::Ndp);
    }
    let link = Link { mac, ..link };
    let target_mac = Some(config.mac);
    let reply =
        Message::Advertisement { target, target_mac, router: false, solicited, overrides: true };
    Ok(may() && tx.transmit(|frame| ndp::emit(frame, &config.mac, &link, [&target, &to], &reply)))
}

/// Solicits the hardware address of `target`: by multicast, or by unicast to `only` (§7.2.2).
pub(super) fn solicit<T: Transmit>(
    mac: Mac,
    source: &Address,
    target: &Address,
    only: Option<Mac>,
    tx: &mut T,
) -> bool {
    let solicitation = Message::Solicitation { target: *target, source_mac: Some(mac) };
    let to = if only.is_some() { *target } else { target.solicited_node() };
    let link = Link { mac: only.unwrap_or_else(|| to.multicast_mac()), vlan: 0 };
    tx.transmit(|frame| ndp::emit(frame, &mac, &link, [source, &to], &solicitation))
}

/// Sends a probe for `target` from the unspecified address (RFC 4862 §5.4.2).
pub(super) fn probe<T: Transmit>(mac: Mac, target: &Address, tx: &mut T) -> bool {
    let solicitation = Message::Solicitation { target: *target, source_mac: None };
    let to = target.solicited_node();
    let link = Link { mac: to.multicast_mac(), vlan: 0 };
    tx.transmit(|frame| {
        ndp::emit(frame, &mac, &link, [&Address::from_v6([0; 16]), &to], &solicitation)
    })
}

/// Announces that `address` is at `mac` (§7.2.6).
pub(super) fn announce<T: Transmit>(mac: Mac, address: &Address, tx: &mut T) -> bool {
    let target_mac = Some(mac);
    let message = Message::Advertisement {
        target: *address,
        target_mac,
        router: false,
        solicited: false,
        overrides: true,
    };
    let to = Address::ALL_NODES;
    let link = Link { mac: to.multicast_mac(), vlan: 0 };
    tx.transmit(|frame| ndp::emit(frame, &mac, &link, [address, &to], &message))
}

/// The address that the sender of a frame claims, or probes for (RFC 4862 §5.4.3 and §5.4.4).
pub(super) fn claimed(frame: &[u8]) -> Option<Conflict> {
    let parts = [frame];
    let Ok(Incoming::Icmpv6(link, header, body)) =
        wire::parse(Packet(&parts), ChecksumPolicy::Verify)
    else {
        return None;
    };
    if !ndp::is_ours(body) {
        return None;
    }
    match ndp::parse(&header, body).ok()? {
        Message::Advertisement { target, target_mac, .. } => {
            Some(Conflict { address: target, mac: target_mac.unwrap_or(link.mac) })
        }
        Message::Solicitation { target, .. } if header.source.is_unspecified() => {
            Some(Conflict { address: target, mac: link.mac })
        }
        Message::Solicitation { .. } => None,
    }
}
