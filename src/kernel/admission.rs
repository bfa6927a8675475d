//! Connection limits of a worker, by port and by source network. An accepted socket gets a share of
//! both limits, or is refused and counted by reason. The share is released when the connection
//! ends.

use super::Settings;
use super::accept::remote;
use super::counters::Counters;
use simoom_tcp::ports::{Port, Ports};
use simoom_tcp::prefix::Prefixes;
use simoom_tcp::{Address, Limits};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;

/// The limits that a connection counts against.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    port: u16,
    /// Index of the counter of the source network, if networks are limited.
    place: Option<u32>,
}

/// The limits of one worker and their current use.
pub(super) struct Admission {
    ports: Ports,
    prefixes: Prefixes,
    /// The share of each connection, by its index in the table.
    shares: Vec<Share>,
}

impl Admission {
    pub(super) fn new(settings: &Settings) -> Admission {
        let mut ports = Ports::default();
        settings.port_limits.iter().for_each(|(port, limit)| ports.listen(*port, *limit));
        let hash = RandomState::new();
        let secret = std::array::from_fn(|number| hash.hash_one(number));
        Admission {
            ports,
            prefixes: Prefixes::with_secret(&limits(settings), secret),
            shares: vec![Share::default(); settings.connections],
        }
    }

    pub(super) fn memory_bytes(settings: &Settings) -> usize {
        Prefixes::memory_bytes(&limits(settings)) + settings.connections * size_of::<Share>()
    }

    /// Reserves a share for a socket accepted at `port`. `None` if a limit is reached.
    pub(super) fn share(
        &mut self,
        socket: &OwnedFd,
        port: u16,
        counters: &mut Counters,
    ) -> Option<Share> {
        self.ports.admits(port)?;
        // Without a limit by network the peer address is not needed: saves a getpeername(2).
        let place = match self.prefixes.is_limited() {
            true => {
                remote(socket).and_then(|remote| self.prefixes.slot(&Address::from(remote.ip())))
            }
            false => None,
        };
        if place.is_some_and(|place| !self.prefixes.has_capacity_at(place)) {
            counters.prefix_refused += 1;
            return None;
        }
        Some(Share { port, place })
    }

    /// Assigns `share` to the connection at `index` of the table.
    pub(super) fn take(&mut self, index: u32, share: Share) {
        self.ports.add(share.port);
        share.place.into_iter().for_each(|place| self.prefixes.add_at(place));
        self.shares[index as usize] = share;
    }

    /// Releases the share of the connection at `index` of the table.
    pub(super) fn release(&mut self, index: u32) {
        let share = std::mem::take(&mut self.shares[index as usize]);
        self.ports.remove(share.port);
        share.place.into_iter().for_each(|place| self.prefixes.remove_at(place));
    }

    pub(super) fn ports(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter()
    }
}

fn limits(settings: &Settings) -> Limits {
    let connections = u32::try_from(settings.connections).unwrap_or(u32::MAX / 2);
    let Settings { connections_per_prefix, prefix_lengths, .. } = *settings;
    Limits { connections_per_prefix, prefix_lengths, ..Limits::for_connections(connections) }
}
