//! The neighbour cache: the hardware addresses of next hops, their NUD state, and when to solicit
//! (RFC 4861 §7.3). IPv4 uses the same rules; RFC 1122 §2.3.2 leaves them to the host.
//!
//! Nothing is sent here. The table is small and of a fixed size, and searched linearly: an active
//! open looks into it once, a segment never.

use crate::keyed::Keyed;
use crate::wire::{Address, Mac};
use simoom_io::timer::Tick;

/// RFC 4861 §10: how long a confirmation is valid, on average.
const REACHABLE_MS: u32 = 30_000;
/// RFC 4861 §10: how long TCP may take to confirm a neighbour before it is probed.
const DELAY_MS: u32 = 5_000;
/// RFC 4861 §10: solicitations without an answer.
const MAX_SOLICITATIONS: u8 = 3;
/// Time until the next attempt if no frame was free.
const NO_FRAME_MS: u32 = 10;
/// For this time after a confirmation, an unsolicited packet does not change the hardware address.
const LOCK_MS: u32 = 1_000;

/// NUD state (RFC 4861 §7.3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// The entry is free.
    #[default]
    Free,
    /// A solicitation was sent; the hardware address is not known.
    Incomplete,
    /// The address was confirmed recently.
    Reachable,
    /// The address was confirmed once.
    Stale,
    /// The address is stale and in use. TCP will soon confirm it or not.
    Delay,
    /// The neighbour is being probed.
    Probe,
    /// The neighbour did not answer, and is not solicited for the retry time.
    Failed,
}

/// One neighbour.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Neighbour {
    pub(crate) address: Address,
    /// The address of this stack that solicitations come from.
    pub(crate) local: Address,
    pub(crate) mac: Mac,
    pub(crate) state: State,
    /// Solicitations sent in the current state.
    asked: u8,
    /// When the state's timer expires.
    at: Tick,
    used_at: Tick,
    confirmed_at: Tick,
}

/// Whether a neighbour's packet answers a solicitation (RFC 4861 §7.2.5, the Solicited flag).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advertised {
    /// An answer to a solicitation.
    Solicited,
    /// A solicitation of the neighbour's own, or an announcement.
    Unsolicited,
}

/// Result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The hardware address.
    Known(Mac),
    /// The address is being resolved, in the entry with this number.
    Awaited(usize),
    /// A recent resolution has failed.
    Failed,
    /// All entries are being resolved.
    Full,
}

/// The neighbour cache.
pub(crate) struct Cache {
    entries: Vec<Neighbour>,
    keyed: Keyed,
    retry_ms: u32,
}

impl Cache {
    /// A cache of `capacity` neighbours. The first solicitation is retransmitted after `retry_ms`.
    pub(crate) fn new(capacity: u32, retry_ms: u32, keyed: Keyed) -> Cache {
        Cache { entries: vec![Neighbour::default(); capacity as usize], keyed, retry_ms }
    }

    pub(crate) fn memory_bytes(capacity: u32) -> usize {
        capacity as usize * size_of::<Neighbour>()
    }

    pub(crate) fn get(&self, index: usize) -> &Neighbour {
        &self.entries[index]
    }

    /// Looks up `address` for a packet from `local`. Starts resolution if it is not known.
    pub(crate) fn look_up(&mut self, address: &Address, local: &Address, now: Tick) -> Lookup {
        let Some(index) = self.position(address).or_else(|| self.slot()) else {
            return Lookup::Full;
        };
        let entry = &mut self.entries[index];
        if entry.state == State::Free || entry.address != *address {
            let (address, local) = (*address, *local);
            *entry = Neighbour {
                address,
                local,
                state: State::Incomplete,
                at: now,
                ..Neighbour::default()
            };
        }
        entry.used_at = now;
        if entry.state == State::Reachable && entry.at.is_due(now) {
            entry.state = State::Stale;
        }
        if entry.state == State::Stale {
            (entry.state, entry.at) = (State::Delay, now.plus(DELAY_MS));
        }
        match entry.state {
            State::Incomplete => Lookup::Awaited(index),
            State::Failed => Lookup::Failed,
            _ => Lookup::Known(entry.mac),
        }
    }

    /// Updates the hardware address of a neighbour. Returns whether the cache has an entry for it.
    pub(crate) fn update(
        &mut self,
        address: &Address,
        mac: &Mac,
        kind: Advertised,
        now: Tick,
    ) -> bool {
        let Some(index) = self.position(address) else { return false };
        let entry = &mut self.entries[index];
        let was_asked = matches!(entry.state, State::Incomplete | State::Probe);
        match kind {
            Advertised::Solicited if was_asked => {
                entry.mac = *mac;
                self.confirm(index, now);
            }
            // RFC 4861 §7.2.3: a solicitation tells the address, but does not confirm that packets
            // arrive.
            _ if entry.state == State::Incomplete => {
                (entry.mac, entry.state, entry.at) = (*mac, State::Delay, now.plus(DELAY_MS));
            }
            _ if entry.state != State::Failed && entry.mac != *mac && !entry.is_locked(now) => {
                (entry.mac, entry.state, entry.at) = (*mac, State::Stale, Tick::NEVER);
            }
            _ => {}
        }
        true
    }

    /// Handles a neighbour advertisement with the target's hardware address, if it has one (RFC
    /// 4861 §7.2.5). Returns whether the cache has an entry for it.
    pub(crate) fn advertised(
        &mut self,
        address: &Address,
        mac: Option<Mac>,
        (kind, overrides): (Advertised, bool),
        now: Tick,
    ) -> bool {
        let Some(index) = self.position(address) else { return false };
        let entry = &mut self.entries[index];
        let is_known = entry.state != State::Incomplete;
        match mac {
            None if !is_known => true,
            Some(mac) if is_known && !overrides && mac != entry.mac => {
                // Without the Override flag, another hardware address is not taken.
                if entry.state == State::Reachable {
                    (entry.state, entry.at) = (State::Stale, Tick::NEVER);
                }
                true
            }
            _ => {
                let mac = mac.unwrap_or(entry.mac);
                self.update(address, &mac, kind, now)
            }
        }
    }

    /// TCP confirms a neighbour: a segment sent to it was acknowledged (RFC 4861 §7.3.1).
    pub(crate) fn reached(&mut self, mac: &Mac, now: Tick) {
        let through = |entry: &Neighbour| {
            entry.mac == *mac
                && matches!(
                    entry.state,
                    State::Stale | State::Delay | State::Probe | State::Reachable
                )
        };
        if let Some(index) = self.entries.iter().position(through) {
            self.confirm(index, now);
        }
    }

    /// Probes a neighbour at once: segments sent to it are not acknowledged. Not within the retry
    /// time of a confirmation: it may have been solicited just before (RFC 4861 §7.3.3).
    pub(crate) fn probe(&mut self, address: &Address, local: &Address, now: Tick) -> Lookup {
        let found = self.look_up(address, local, now);
        if let (Lookup::Known(_), Some(index)) = (found, self.position(address)) {
            let entry = &mut self.entries[index];
            let is_confirmed = entry.is_confirmed_within(self.retry_ms, now);
            if matches!(entry.state, State::Reachable | State::Delay) && !is_confirmed {
                (entry.state, entry.asked, entry.at) = (State::Probe, 0, now);
            }
        }
        found
    }

    /// Handles expired timers. `ask` sends a solicitation and returns whether a frame was free.
    /// Returns how many neighbours failed to answer.
    pub(crate) fn expire(&mut self, now: Tick, mut ask: impl FnMut(&Neighbour) -> bool) -> u64 {
        let mut failed = 0;
        for entry in self.entries.iter_mut().filter(|entry| entry.waits() && entry.at.is_due(now)) {
            match entry.state {
                State::Failed => *entry = Neighbour::default(),
                State::Probe if entry.asked == MAX_SOLICITATIONS => *entry = Neighbour::default(),
                State::Incomplete if entry.asked == MAX_SOLICITATIONS => {
                    (entry.state, entry.at) = (State::Failed, now.plus(self.retry_ms));
                    failed += 1;
                }
                _ => {
                    if entry.state == State::Delay {
                        (entry.state, entry.asked) = (State::Probe, 0);
                    }
                    let asked = ask(entry);
                    // Exponential backoff.
                    let after_ms = if asked { self.retry_ms << entry.asked } else { NO_FRAME_MS };
                    entry.asked += u8::from(asked);
                    entry.at = now.plus(after_ms);
                }
            }
        }
        failed
    }

    /// When to call [`Cache::expire`] next.
    pub(crate) fn next_at(&self) -> Tick {
        self.entries
            .iter()
            .filter(|entry| entry.waits())
            .fold(Tick::NEVER, |next, entry| next.sooner(entry.at))
    }

    fn confirm(&mut self, index: usize, now: Tick) {
        let entry = &mut self.entries[index];
        let half = REACHABLE_MS / 2;
        let reachable_ms = half + self.keyed.below(REACHABLE_MS, now.millis() ^ index as u32);
        (entry.state, entry.at, entry.confirmed_at) =
            (State::Reachable, now.plus(reachable_ms), now);
    }

    fn position(&self, address: &Address) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| entry.state != State::Free && entry.address == *address)
    }

    /// The slot for a new entry: a free one, or the least recently used.
    fn slot(&self) -> Option<usize> {
        let may_go = |entry: &Neighbour| !matches!(entry.state, State::Incomplete | State::Failed);
        let idle = |entry: &Neighbour| entry.state == State::Free;
        self.entries.iter().position(idle).or_else(|| {
            let known = self.entries.iter().enumerate().filter(|(_, entry)| may_go(entry));
            known
                .reduce(|a, b| if b.1.used_at.is_sooner_than(a.1.used_at) { b } else { a })
                .map(|(index, _)| index)
        })
    }
}

impl Neighbour {
    /// Whether the entry has a timer.
    fn waits(&self) -> bool {
        matches!(self.state, State::Incomplete | State::Delay | State::Probe | State::Failed)
    }

    fn is_locked(&self, now: Tick) -> bool {
        self.is_confirmed_within(LOCK_MS, now)
    }

    fn is_confirmed_within(&self, millis: u32, now: Tick) -> bool {
        self.confirmed_at != Tick::NEVER && !self.confirmed_at.plus(millis).is_due(now)
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
