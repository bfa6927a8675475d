//! ARP (RFC 826): its packets, read and written.
//!
//! In comes what follows an Ethernet header, out goes an [`Arp`], and back. What one means is for
//! the rooms beside this one to judge.

use crate::drop::DropReason;
use crate::tcp::Transmit;
use crate::wire::{Address, Link, Mac, ethernet};
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, Ipv4Address};

/// Everybody on the link.
pub(crate) const BROADCAST: Mac = [0xff; 6];
/// The hardware address of one whose is sought.
pub(crate) const UNKNOWN: Mac = [0; 6];

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Who has this address?
    Request,
    /// The sender has it.
    Reply,
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arp {
    pub(crate) operation: Operation,
    pub(crate) sender_mac: Mac,
    /// 0.0.0.0 in the probe of one that asks whether an address is free (RFC 5227 §1.1).
    pub(crate) sender: Address,
    pub(crate) target_mac: Mac,
    pub(crate) target: Address,
}

impl Arp {
    /// Reads a packet; one from a hardware address that no host can have is none.
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

    /// Sends the packet to `link`; returns whether there was a frame for it.
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

    /// The question who has `target`: to everybody, or to the one that had it last.
    pub(crate) fn request(mac: Mac, sender: Address, target: Address) -> Arp {
        Arp { operation: Operation::Request, sender_mac: mac, sender, target_mac: UNKNOWN, target }
    }

    /// RFC 5227 §1.1: whether anybody has `target`, asked by one that has no address yet.
    pub(crate) fn probe(mac: Mac, target: Address) -> Arp {
        Arp::request(mac, Address::from_v4([0; 4]), target)
    }

    /// RFC 5227 §1.1: says that `address` is at `mac`, as a request, which more hosts take note of
    /// than of a reply.
    pub(crate) fn announcement(mac: Mac, address: Address) -> Arp {
        Arp::request(mac, address, address)
    }

    /// The answer to this question.
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
