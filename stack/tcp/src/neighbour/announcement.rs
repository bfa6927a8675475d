//! Announces this stack's addresses at the start, and defends them against other hosts (RFC 5227
//! §2.3 and §2.4).
//!
//! No address is ever given up: clients look for a server at its address (§2.4 (c)), and two forged
//! packets must not end that. [`super::probing`] checks beforehand that an address is free.

use super::arp::{Arp, BROADCAST};
use super::ndp;
use crate::tcp::Transmit;
use crate::wire::{Address, Link, Mac};
use simoom_io::timer::Tick;
use std::fmt;

/// RFC 5227 §1.1: ANNOUNCE_NUM and ANNOUNCE_INTERVAL.
const ANNOUNCEMENTS: u8 = 2;
const ANNOUNCE_INTERVAL_MS: u32 = 2_000;
/// RFC 5227 §1.1: DEFEND_INTERVAL.
const DEFEND_INTERVAL_MS: u32 = 10_000;
/// Time until the next attempt if no frame was free.
const NO_FRAME_MS: u32 = 10;

/// Another host that uses one of this stack's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The address.
    pub address: Address,
    /// The other host's hardware address.
    pub mac: Mac,
}

impl fmt::Display for Conflict {
    /// The address and the host: "192.0.2.7, at 02:00:00:00:00:09".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.mac;
        write!(f, "{}, at {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}", self.address)
    }
}

/// State of announcements and defences.
pub(crate) struct Announcement {
    left: u8,
    /// The next address of the current round.
    next: usize,
    at: Tick,
    /// For each address, when another host last used it.
    disputed_at: Vec<Tick>,
    last: Option<Conflict>,
}

impl Announcement {
    /// State for `addresses` addresses. The first announcement is due `at`.
    pub(crate) fn new(addresses: usize, announces: bool, at: Tick) -> Announcement {
        Announcement {
            left: if announces { ANNOUNCEMENTS } else { 0 },
            next: 0,
            at: if announces { at } else { Tick::NEVER },
            disputed_at: vec![Tick::NEVER; addresses],
            last: None,
        }
    }

    /// When to call [`Announcement::expire`] next.
    pub(crate) fn next_at(&self) -> Tick {
        self.at
    }

    /// Sends announcements of `addresses` that are due, from `mac`. Returns how many.
    pub(crate) fn expire<'a, T: Transmit>(
        &mut self,
        now: Tick,
        mac: Mac,
        addresses: impl Iterator<Item = &'a Address>,
        tx: &mut T,
    ) -> u64 {
        if !self.at.is_due(now) {
            return 0;
        }
        let mut sent = 0;
        for address in addresses.skip(self.next) {
            if !announce(mac, *address, tx) {
                self.at = now.plus(NO_FRAME_MS);
                return sent;
            }
            (self.next, sent) = (self.next + 1, sent + 1);
        }
        (self.left, self.next) = (self.left - 1, 0);
        self.at = if self.left > 0 { now.plus(ANNOUNCE_INTERVAL_MS) } else { Tick::NEVER };
        sent
    }

    /// Another host uses the address with number `index`. Announces the address, unless there was
    /// another conflict within ten seconds. Returns whether it did.
    pub(crate) fn disputed<T: Transmit>(
        &mut self,
        index: usize,
        conflict: Conflict,
        ours: Mac,
        now: Tick,
        tx: &mut T,
    ) -> bool {
        self.last = Some(conflict);
        let last = std::mem::replace(&mut self.disputed_at[index], now);
        let is_recent = last != Tick::NEVER && !last.plus(DEFEND_INTERVAL_MS).is_due(now);
        !is_recent && announce(ours, conflict.address, tx)
    }

    /// The latest conflict since the last call.
    pub(crate) fn take_conflict(&mut self) -> Option<Conflict> {
        self.last.take()
    }
}

fn announce<T: Transmit>(mac: Mac, address: Address, tx: &mut T) -> bool {
    if !address.is_v4() {
        return ndp::announce(mac, &address, tx);
    }
    Arp::announcement(mac, address).send(&Link { mac: BROADCAST, vlan: 0 }, tx)
}
