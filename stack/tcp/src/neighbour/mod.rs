//! Neighbours: the hosts on the link.
//!
//! Resolves the next hops of active opens ([`cache`], [`route`], [`waiting`]), and checks that no
//! other host has this stack's addresses: [`probing`] before they are used, [`announcement`] from
//! then on. The input is [`arp`] packets, messages of neighbour discovery ([`ndp`]), lookups and
//! the time. Passive connections use none of it: they reply to the hardware address that the
//! segments come from.

pub(crate) mod announcement;
pub(crate) mod arp;
pub(crate) mod cache;
pub(crate) mod ndp;
pub mod probing;
pub(crate) mod route;
pub(crate) mod waiting;

pub use announcement::Conflict;
pub use route::Route;

use crate::config::Config;
use crate::counters::Counters;
use crate::drop::DropReason;
use crate::keyed::Keyed;
use crate::rate_limit::{RateLimiter, Response};
use crate::tcp::Transmit;
use crate::wire::ndp::Message;
use crate::wire::{self, Address, Link, Mac, ip};
use announcement::Announcement;
use arp::{Arp, BROADCAST, Operation};
use cache::{Advertised, Cache, Lookup, Neighbour, State};
use simoom_io::timer::Tick;
use waiting::{Waiter, Waiting};

/// Result of handling an ARP packet or a neighbour-discovery message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The packet was for this stack.
    Done,
    /// The packet answers a solicitation that another worker may have sent.
    Stray,
}

/// The time, and the parts of the stack that handling a packet needs.
pub(crate) struct Context<'a> {
    pub(crate) now: Tick,
    pub(crate) config: &'a Config,
    pub(crate) counters: &'a mut Counters,
    pub(crate) rate_limiter: &'a mut RateLimiter,
}

/// A stack's neighbour cache, waiting connections and announcements.
pub(crate) struct Neighbours {
    cache: Cache,
    waiting: Waiting,
    announcement: Announcement,
}

impl Neighbours {
    pub(crate) fn new(config: &Config, keyed: Keyed, now: Tick) -> Neighbours {
        Neighbours {
            cache: Cache::new(config.limits.neighbours, config.neighbour_retry_ms, keyed),
            waiting: Waiting::new(config.limits.unresolved),
            announcement: Announcement::new(config.addresses.len(), config.announces, now),
        }
    }

    pub(crate) fn memory_bytes(neighbours: u32, unresolved: u32) -> usize {
        Cache::memory_bytes(neighbours) + Waiting::memory_bytes(unresolved)
    }

    /// Looks up the next hop from `local` to `remote`; `None` if there is no route. If it is not
    /// known, the next [`Neighbours::expire`] sends a solicitation.
    pub(crate) fn next_hop(
        &mut self,
        remote: &Address,
        local: &Address,
        config: &Config,
        now: Tick,
    ) -> Option<Lookup> {
        if !config.is_dedicated(local) {
            // Only the kernel receives replies to its own addresses.
            return None;
        }
        let hop = route::next_hop(&config.routes, remote)?;
        Some(self.cache.look_up(&hop, local, now))
    }

    /// Probes the next hop of `remote`, because segments are not acknowledged. Returns where to
    /// send now.
    pub(crate) fn probe(
        &mut self,
        remote: &Address,
        local: &Address,
        config: &Config,
        now: Tick,
    ) -> Option<Mac> {
        let hop = route::next_hop(&config.routes, remote)?;
        match self.cache.probe(&hop, local, now) {
            Lookup::Known(mac) => Some(mac),
            Lookup::Awaited(_) | Lookup::Failed | Lookup::Full => None,
        }
    }

    /// A connection has been opened through `mac`.
    pub(crate) fn reached(&mut self, mac: &Mac, now: Tick) {
        self.cache.reached(mac, now);
    }

    /// The number of waiting connections.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether another connection may wait.
    pub(crate) fn may_wait(&self) -> bool {
        !self.waiting.is_full()
    }

    /// Adds a connection that waits for this neighbour.
    pub(crate) fn wait(&mut self, id: u32, neighbour: usize) {
        self.waiting.add(Waiter { id, neighbour });
    }

    /// Removes a waiting connection.
    pub(crate) fn forget(&mut self, id: u32) {
        if !self.waiting.is_empty() {
            self.waiting.forget(id);
        }
    }

    /// The next connection whose neighbour is resolved, and the hardware address for its SYN;
    /// `None` if the neighbour did not answer.
    pub(crate) fn next_resolved(&mut self) -> Option<(Waiter, Option<Mac>)> {
        if self.waiting.is_empty() {
            return None;
        }
        let waiter =
            self.waiting.take(|neighbour| self.cache.get(neighbour).state != State::Incomplete)?;
        let Neighbour { state, mac, .. } = self.cache.get(waiter.neighbour);
        Some((waiter, (*state != State::Failed).then_some(*mac)))
    }

    /// Sends solicitations and announcements that are due.
    pub(crate) fn expire<T: Transmit>(
        &mut self,
        now: Tick,
        config: &Config,
        counters: &mut Counters,
        tx: &mut T,
    ) {
        let failed = self.cache.expire(now, |neighbour| {
            let asked = solicit(neighbour, config.mac, tx);
            let counter = match neighbour.address.is_v4() {
                true => &mut counters.arp_requests_sent,
                false => &mut counters.neighbour_solicitations_sent,
            };
            *counter += u64::from(asked);
            asked
        });
        counters.neighbours_unreachable += failed;
        let ours =
            config.addresses.iter().filter(|local| local.dedicated).map(|local| &local.address);
        counters.address_announcements += self.announcement.expire(now, config.mac, ours, tx);
    }

    /// When to call [`Neighbours::expire`] next.
    pub(crate) fn next_at(&self) -> Tick {
        self.cache.next_at().sooner(self.announcement.next_at())
    }

    /// The latest conflict since the last call.
    pub(crate) fn take_conflict(&mut self) -> Option<Conflict> {
        self.announcement.take_conflict()
    }

    /// Handles an ARP packet (RFC 826), after the check for conflicts (RFC 5227 §2.4).
    pub(crate) fn take_arp<T: Transmit>(
        &mut self,
        link: Link,
        body: &[u8],
        cx: Context<'_>,
        tx: &mut T,
    ) -> Result<Taken, DropReason> {
        let Context { now, config, counters, rate_limiter } = cx;
        let arp = Arp::parse(body)?;
        if let Some(index) = config.dedicated(&arp.sender) {
            if arp.sender_mac == config.mac {
                return Err(DropReason::Arp);
            }
            let conflict = Conflict { address: arp.sender, mac: arp.sender_mac };
            self.defend(index, conflict, Context { now, config, counters, rate_limiter }, tx);
            return Ok(Taken::Done);
        }
        if config.dedicated(&arp.target).is_none() {
            return Err(DropReason::Arp);
        }
        let kind = if arp.operation == Operation::Reply {
            Advertised::Solicited
        } else {
            Advertised::Unsolicited
        };
        let known = self.cache.update(&arp.sender, &arp.sender_mac, kind, now);
        match arp.operation {
            Operation::Request => {
                let may = rate_limiter.take(Response::Neighbour, now, counters);
                counters.arp_replies += u64::from(may && arp.reply(config.mac).send(&link, tx));
                Ok(Taken::Done)
            }
            Operation::Reply if known => Ok(Taken::Done),
            Operation::Reply => Ok(Taken::Stray),
        }
    }
}

impl Neighbours {
    /// Handles a neighbour-discovery message (RFC 4861 §7.2.3, §7.2.5), after the check for
    /// conflicts (RFC 4862 §5.4).
    pub(crate) fn take_ndp<T: Transmit>(
        &mut self,
        link: Link,
        header: &ip::Header,
        body: &[u8],
        cx: Context<'_>,
        tx: &mut T,
    ) -> Result<Taken, DropReason> {
        let Context { now, config, counters, rate_limiter } = cx;
        match wire::ndp::parse(header, body)? {
            Message::Solicitation { target, source_mac } => {
                let may = || rate_limiter.take(Response::Neighbour, now, counters);
                let sent = ndp::advertise(link, header, target, source_mac, config, may, tx)?;
                counters.neighbour_replies += u64::from(sent);
                if let Some(mac) = source_mac.filter(|_| !header.source.is_unspecified()) {
                    self.cache.update(&header.source, &mac, Advertised::Unsolicited, now);
                }
                Ok(Taken::Done)
            }
            Message::Advertisement { target, target_mac, solicited, overrides, .. } => {
                let mac = target_mac.unwrap_or(link.mac);
                if mac[0] & 1 == 1 {
                    return Err(DropReason::Ndp);
                }
                if let Some(index) = config.dedicated(&target) {
                    if mac != config.mac {
                        let conflict = Conflict { address: target, mac };
                        self.defend(
                            index,
                            conflict,
                            Context { now, config, counters, rate_limiter },
                            tx,
                        );
                    }
                    return Ok(Taken::Done);
                }
                let kind = if solicited { Advertised::Solicited } else { Advertised::Unsolicited };
                let known = self.cache.advertised(&target, target_mac, (kind, overrides), now);
                if known { Ok(Taken::Done) } else { Ok(Taken::Stray) }
            }
        }
    }

    /// Defends one of this stack's addresses that another host uses.
    fn defend<T: Transmit>(
        &mut self,
        index: usize,
        conflict: Conflict,
        cx: Context<'_>,
        tx: &mut T,
    ) {
        let Context { now, config, counters, .. } = cx;
        counters.address_conflicts += 1;
        counters.address_defences +=
            u64::from(self.announcement.disputed(index, conflict, config.mac, now, tx));
    }
}

/// Solicits a neighbour: by broadcast or multicast, or by unicast if its hardware address was
/// known.
fn solicit<T: Transmit>(neighbour: &Neighbour, mac: Mac, tx: &mut T) -> bool {
    if !neighbour.address.is_v4() {
        let only = (neighbour.state != State::Incomplete).then_some(neighbour.mac);
        return ndp::solicit(mac, &neighbour.local, &neighbour.address, only, tx);
    }
    let to = if neighbour.state == State::Incomplete { BROADCAST } else { neighbour.mac };
    Arp::request(mac, neighbour.local, neighbour.address).send(&Link { mac: to, vlan: 0 }, tx)
}
