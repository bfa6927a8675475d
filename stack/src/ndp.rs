//! Neighbour discovery for dedicated addresses (RFC 4861): solicitations are answered, the rest is counted and left.

use crate::config::Config;
use crate::drop::DropReason;
use crate::tcp::Transmit;
use crate::wire::ndp::{self, Message};
use crate::wire::{Address, Link, ip};

/// Answers a solicitation for a dedicated address of this stack (§7.2.4). Returns whether a reply was sent.
pub(crate) fn answer<T: Transmit>(
    link: Link,
    header: &ip::Header,
    body: &[u8],
    config: &Config,
    tx: &mut T,
) -> Result<bool, DropReason> {
    let Message::Solicitation { target, source_mac } = ndp::parse(header, body)? else {
        return Err(DropReason::Ndp);
    };
    let is_asked = header.destination == target || header.destination == target.solicited_node();
    if !config.is_dedicated(&target) || !is_asked {
        return Err(DropReason::Ndp);
    }
    // Who has no address yet wants to know whether it may take this one: all must hear that it may not.
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
    let reply = Message::Advertisement { target, target_mac, router: false, solicited, overrides: true };
    Ok(tx.transmit(|frame| ndp::emit(frame, &config.mac, &link, [&target, &to], &reply)))
}
