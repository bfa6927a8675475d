//! Duplicate-address detection before an address is used (RFC 5227 §2.1.1, RFC 4862 §5.4): three
//! probes, at intervals that differ from host to host, and a wait for late answers.
//!
//! The input is the time and every packet of the link. The result is probes and, if another host
//! has or wants an address, a [`Conflict`]. Nothing may answer for the addresses meanwhile. The
//! caller has the clock and the socket.

use super::Conflict;
use super::arp::{Arp, BROADCAST, Operation};
use super::ndp;
use crate::keyed::Keyed;
use crate::tcp::Transmit;
use crate::wire::{Address, Link, Mac, ethernet};
use smoltcp::time::{Duration, Instant};

/// RFC 5227 §1.1: PROBE_NUM.
const PROBES: u8 = 3;

/// Duplicate-address detection of several addresses.
#[derive(Debug)]
pub struct Probing {
    mac: Mac,
    addresses: Vec<Address>,
    keyed: Keyed,
    unit: Duration,
    asked: u8,
    at: Instant,
}

impl Probing {
    /// Probes `addresses` for the interface with hardware address `mac`. The first probe is sent
    /// within one `unit`, the others one to two units apart, and the end is two units after the
    /// last: RFC 5227 §1.1 with a unit of a second. `secret` makes the intervals differ from those
    /// of other hosts.
    pub fn new(
        mac: Mac,
        addresses: Vec<Address>,
        secret: [u64; 4],
        unit: Duration,
        now: Instant,
    ) -> Probing {
        let mut probing =
            Probing { mac, addresses, keyed: Keyed::new(secret), unit, asked: 0, at: now };
        probing.at = now + probing.up_to_a_unit();
        probing
    }

    /// When to call [`Probing::poll`] next; `None` when detection is over and the addresses are
    /// free.
    pub fn next_at(&self) -> Option<Instant> {
        (self.asked <= PROBES).then_some(self.at)
    }

    /// Sends probes that are due.
    pub fn poll<T: Transmit>(&mut self, now: Instant, tx: &mut T) {
        if self.asked > PROBES || now < self.at {
            return;
        }
        if self.asked < PROBES {
            for address in &self.addresses {
                // An address without a free frame is probed in the next round.
                match address.is_v4() {
                    true => {
                        Arp::probe(self.mac, *address).send(&Link { mac: BROADCAST, vlan: 0 }, tx)
                    }
                    false => ndp::probe(self.mac, address, tx),
                };
            }
        }
        self.asked += 1;
        let wait =
            if self.asked < PROBES { self.unit + self.up_to_a_unit() } else { self.unit * 2 };
        self.at = now + wait;
    }

    /// Checks a frame from the link. It is a conflict if another host uses one of the addresses, or
    /// probes for it at the same time.
    pub fn on_frame(&self, frame: &[u8]) -> Result<(), Conflict> {
        match ndp::claimed(frame) {
            Some(conflict)
                if conflict.mac != self.mac && self.addresses.contains(&conflict.address) =>
            {
                return Err(conflict);
            }
            _ => {}
        }
        let Ok((_, ethernet::ARP, body)) = ethernet::parse(frame) else { return Ok(()) };
        let Ok(arp) = Arp::parse(body) else { return Ok(()) };
        if arp.sender_mac == self.mac {
            return Ok(());
        }
        let is_probe =
            arp.operation == Operation::Request && arp.sender == Address::from_v4([0; 4]);
        let disputed = if is_probe { arp.target } else { arp.sender };
        match self.addresses.contains(&disputed) {
            true => Err(Conflict { address: disputed, mac: arp.sender_mac }),
            false => Ok(()),
        }
    }

    fn up_to_a_unit(&self) -> Duration {
        let max_us = self.unit.total_micros().min(u64::from(u32::MAX)) as u32;
        Duration::from_micros(self.keyed.below(max_us, u32::from(self.asked)).into())
    }
}
