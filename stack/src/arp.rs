//! ARP for dedicated addresses (RFC 826): requests are answered, the rest is counted and left.

use crate::config::Config;
use crate::drop::DropReason;
use crate::tcp::Transmit;
use crate::wire::{Address, Link, ethernet};
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};

/// Answers an ARP request for a dedicated address of this stack. Returns whether a reply was sent.
pub(crate) fn answer<T: Transmit>(
    link: Link,
    body: &[u8],
    config: &Config,
    tx: &mut T,
) -> Result<bool, DropReason> {
    let packet = ArpPacket::new_checked(body).map_err(|_| DropReason::Arp)?;
    let repr = ArpRepr::parse(&packet).map_err(|_| DropReason::Arp)?;
    let ArpRepr::EthernetIpv4 {
        operation, source_hardware_addr, source_protocol_addr, target_protocol_addr, ..
    } = repr
    else {
        return Err(DropReason::Arp);
    };
    let target = Address::from(target_protocol_addr);
    let is_ours = config.is_dedicated(&target);
    if operation != ArpOperation::Request || !is_ours || !source_hardware_addr.is_unicast() {
        return Err(DropReason::Arp);
    }
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(config.mac),
        source_protocol_addr: target_protocol_addr,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    Ok(tx.transmit(|frame| {
        let at = ethernet::emit(frame, &config.mac, &link, ethernet::ARP);
        reply.emit(&mut ArpPacket::new_unchecked(&mut frame[at..at + reply.buffer_len()]));
        at + reply.buffer_len()
    }))
}
