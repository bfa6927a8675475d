//! The neighbour cache: which hardware address a next hop has, how sure that is, and when to ask
//! (RFC 4861 §7.3; for IPv4 the same, RFC 1122 §2.3.2 leaves it to the host).
//!
//! In come look-ups, what neighbours say of themselves, and the time; out go hardware addresses and
//! questions to be asked. Nothing is sent here. The table is small and of a fixed size, and is
//! searched from its start: an active open looks into it once, a segment never.

use crate::keyed::Keyed;
use crate::wire::{Address, Mac};
use simoom_io::timer::Tick;

/// RFC 4861 §10: how long a confirmation is good for, on average.
const REACHABLE_MS: u32 = 30_000;
/// RFC 4861 §10: how long a use waits for a confirmation from above before the neighbour is asked.
const DELAY_MS: u32 = 5_000;
/// RFC 4861 §10: questions without an answer.
const MAX_SOLICITATIONS: u8 = 3;
/// When to try again for want of a frame.
const NO_FRAME_MS: u32 = 10;
/// An address that was just confirmed is not given up for another that nobody asked for.
const LOCK_MS: u32 = 1_000;

/// How sure a neighbour's hardware address is (RFC 4861 §7.3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// No neighbour at all.
    #[default]
    Free,
    /// It was asked for.
    Incomplete,
    /// It was confirmed lately.
    Reachable,
    /// It was right once.
    Stale,
    /// It is in use, and was right once: whoever uses it will soon know.
    Delay,
    /// The neighbour is asked whether it is still there.
    Probe,
    /// Nobody answered; for a while it is not asked for again.
    Failed,
}

/// One neighbour.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Neighbour {
    pub(crate) address: Address,
    /// The address of this stack that asks.
    pub(crate) local: Address,
    pub(crate) mac: Mac,
    pub(crate) state: State,
    /// Questions asked since the state began.
    asked: u8,
    /// When something is to be done or, REACHABLE, until when it is that.
    at: Tick,
    used_at: Tick,
    confirmed_at: Tick,
}

/// How a neighbour came to tell its hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advertised {
    /// It answers.
    Solicited,
    /// It asks, or tells everybody.
    Unsolicited,
}

/// What a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The hardware address.
    Known(Mac),
    /// Not known yet; the entry with this number is asked for.
    Awaited(usize),
    /// It was asked for in vain just now.
    Failed,
    /// All entries are being asked for.
    Full,
}

/// The table.
pub(crate) struct Cache {
    entries: Vec<Neighbour>,
    keyed: Keyed,
    retry_ms: u32,
}

impl Cache {
    /// A table of `capacity` neighbours; the first question is repeated after `retry_ms`.
    pub(crate) fn new(capacity: u32, retry_ms: u32, keyed: Keyed) -> Cache {
        Cache { entries: vec![Neighbour::default(); capacity as usize], keyed, retry_ms }
    }

    pub(crate) fn memory_bytes(capacity: u32) -> usize {
        capacity as usize * size_of::<Neighbour>()
    }

    pub(crate) fn get(&self, index: usize) -> &Neighbour {
        &self.entries[index]
    }

    /// Looks `address` up for a packet from `local`. What is not known is asked for from now on.
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

    /// A neighbour has told its hardware address. Returns whether anybody here knows or wants it.
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
            // RFC 4861 §7.2.3: who asks can be spoken to, but has not shown that it hears.
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

    /// What was sent through a neighbour was answered: it is there (RFC 4861 §7.3.1).
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

    /// What was sent through a neighbour was not answered: it is asked at once whether it is there.
    pub(crate) fn probe(&mut self, address: &Address, local: &Address, now: Tick) -> Lookup {
        let found = self.look_up(address, local, now);
        if let (Lookup::Known(_), Some(index)) = (found, self.position(address)) {
            let entry = &mut self.entries[index];
            if matches!(entry.state, State::Reachable | State::Delay) {
                (entry.state, entry.asked, entry.at) = (State::Probe, 0, now);
            }
        }
        found
    }

    /// Does what is due: `ask` asks for a neighbour, and says whether it could. Returns how many
    /// were asked for in vain.
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
                    // Twice as long each time: who does not answer at once is not helped by haste.
                    let after_ms = if asked { self.retry_ms << entry.asked } else { NO_FRAME_MS };
                    entry.asked += u8::from(asked);
                    entry.at = now.plus(after_ms);
                }
            }
        }
        failed
    }

    /// When [`Cache::expire`] has something to do.
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

    /// The place for one more: a free one, or that of the neighbour that was not used for longest.
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
    /// Whether time alone changes it.
    fn waits(&self) -> bool {
        matches!(self.state, State::Incomplete | State::Delay | State::Probe | State::Failed)
    }

    fn is_locked(&self, now: Tick) -> bool {
        self.confirmed_at != Tick::NEVER && !self.confirmed_at.plus(LOCK_MS).is_due(now)
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
