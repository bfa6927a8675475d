//! ARP packets (RFC 826): parsing and writing.
//!
//! Converts between the payload of an Ethernet frame and an [`Arp`]. The modules beside this one
//! decide what a packet means.

use crate::drop::DropReason;
use crate::tcp::Transmit;
use crate::wire::{Address, Link, Mac, ethernet};
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, Ipv4Address};

/// The broadcast address.
pub(crate) const BROADCAST: Mac = [0xff; 6];
/// The hardware address in requests, where it is not known.
pub(crate) const UNKNOWN: Mac = [0; 6];

/// The operation of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Asks for the owner of an address.
    Request,
    /// Tells the sender's hardware address.
    Reply,
}

/// One ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arp {
    pub(crate) operation: Operation,
    pub(crate) sender_mac: Mac,
    /// 0.0.0.0 in a probe (RFC 5227 §1.1).
    pub(crate) sender: Address,
    pub(crate) target_mac: Mac,
    pub(crate) target: Address,
}

impl Arp {
    /// Parses a packet. A sender with an impossible hardware address is an error.
    pub(crate) fn parse(body: &[u8]) -> Result<Arp, DropReason> {
        let packet = ArpPacket::new_checked(body).map_err(|_| DropReason::Arp)?;
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_hardware_addr,
            target_protocol_addr,
        }) = ArpRepr::parse(&packet)
        else {
            return Err(DropReason::Arp);
        };
        let operation = match operation {
            ArpOperation::Request => Operation::Request,
            ArpOperation::Reply => Operation::Reply,
            ArpOperation::Unknown(_) => return Err(DropReason::Arp),
        };
        if !source_hardware_addr.is_unicast() || source_hardware_addr.0 == UNKNOWN {
            return Err(DropReason::Arp);
        }
        Ok(Arp {
            operation,
            sender_mac: source_hardware_addr.0,
            sender: Address::from(source_protocol_addr),
            target_mac: target_hardware_addr.0,
            target: Address::from(target_protocol_addr),
        })
    }

    /// Sends the packet to `link`. Returns whether a frame was free.
    pub(crate) fn send<T: Transmit>(&self, link: &Link, tx: &mut T) -> bool {
        let repr = ArpRepr::EthernetIpv4 {
            operation: match self.operation {
                Operation::Request => ArpOperation::Request,
                Operation::Reply => ArpOperation::Reply,
            },
            source_hardware_addr: EthernetAddress(self.sender_mac),
            source_protocol_addr: Ipv4Address::from(self.sender.v4()),
            target_hardware_addr: EthernetAddress(self.target_mac),
            target_protocol_addr: Ipv4Address::from(self.target.v4()),
        };
        tx.transmit(|frame| {
            let at = ethernet::emit(frame, &self.sender_mac, link, ethernet::ARP);
            repr.emit(&mut ArpPacket::new_unchecked(&mut frame[at..at + repr.buffer_len()]));
            at + repr.buffer_len()
        })
    }

    /// A request for `target`, to be sent by broadcast or to its last owner.
    pub(crate) fn request(mac: Mac, sender: Address, target: Address) -> Arp {
        Arp { operation: Operation::Request, sender_mac: mac, sender, target_mac: UNKNOWN, target }
    }

    /// A probe for `target`, from a host without an address (RFC 5227 §1.1).
    pub(crate) fn probe(mac: Mac, target: Address) -> Arp {
        Arp::request(mac, Address::from_v4([0; 4]), target)
    }

    /// An announcement that `address` is at `mac` (RFC 5227 §1.1). It is a request, which more
    /// hosts process than a reply.
    pub(crate) fn announcement(mac: Mac, address: Address) -> Arp {
        Arp::request(mac, address, address)
    }

    /// The reply to this request.
    pub(crate) fn reply(&self, mac: Mac) -> Arp {
        Arp {
            operation: Operation::Reply,
            sender_mac: mac,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
        }
    }
}
