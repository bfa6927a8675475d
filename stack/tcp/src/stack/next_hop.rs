//! Next hops of active opens: a SYN is sent once its next hop's hardware address is known.

use super::{ConnectError, Stack};
use crate::drop::DropReason;
use crate::neighbour::cache::Lookup;
use crate::neighbour::{Conflict, Context, Taken};
use crate::tcp::{Shared, State, Transmit, handshake};
use crate::wire::{Address, Link, Mac, ip};
use simoom_io::application::{Application, Closed};
use smoltcp::time::Instant;

/// The next hop to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// The hardware address of the next hop.
    Known(Mac),
    /// The hardware address of the next hop is being resolved.
    Awaited,
    /// The next hop does not answer.
    Unreachable,
    /// There is no route, or the local address is not dedicated, so that the kernel receives the
    /// replies.
    NoRoute,
}

impl<A: Application> Stack<A> {
    /// Looks up the next hop from `local` to `remote`, and resolves it if it is not known. Call
    /// again after [`Stack::receive`] or [`Stack::expire`], while it is [`NextHop::Awaited`].
    pub fn next_hop<T: Transmit>(
        &mut self,
        now: Instant,
        local: &Address,
        remote: &Address,
        tx: &mut T,
    ) -> NextHop {
        self.set_clock(now);
        let Shared { neighbours, config, tick, .. } = &mut self.shared;
        let Some(found) = neighbours.next_hop(remote, local, config, *tick) else {
            return NextHop::NoRoute;
        };
        self.expire_neighbours(tx);
        match found {
            Lookup::Known(mac) => NextHop::Known(mac),
            Lookup::Awaited(_) | Lookup::Full => NextHop::Awaited,
            Lookup::Failed => NextHop::Unreachable,
        }
    }

    /// Returns the latest address conflict since the last call: another host uses an address of
    /// this stack.
    pub fn take_conflict(&mut self) -> Option<Conflict> {
        self.shared.neighbours.take_conflict()
    }

    /// The link addresses for the SYN of an active open, or the number of the neighbour that it
    /// waits for.
    pub(super) fn route_to(
        &mut self,
        local: &Address,
        remote: &Address,
    ) -> Result<Result<Link, usize>, ConnectError> {
        let Shared { neighbours, config, tick, .. } = &mut self.shared;
        match neighbours.next_hop(remote, local, config, *tick) {
            None => Err(ConnectError::NoRoute),
            Some(Lookup::Known(mac)) => Ok(Ok(Link { mac, vlan: 0 })),
            Some(Lookup::Awaited(neighbour)) if neighbours.may_wait() => Ok(Err(neighbour)),
            Some(Lookup::Awaited(_) | Lookup::Full) => Err(ConnectError::Waiting),
            Some(Lookup::Failed) => Err(ConnectError::Unreachable),
        }
    }

    /// Sends solicitations and announcements that are due, and sets the timer for the next.
    pub(super) fn expire_neighbours<T: Transmit>(&mut self, tx: &mut T) {
        let Shared { neighbours, config, counters, tick, wheel, .. } = &mut self.shared;
        neighbours.expire(*tick, config, counters, tx);
        let (timer, next) = (config.limits.neighbour_timer(), neighbours.next_at());
        if next != wheel.scheduled(timer) {
            match next == simoom_io::timer::Tick::NEVER {
                true => wheel.cancel(timer),
                false => wheel.schedule(timer, next),
            }
        }
    }

    /// Handles an ARP packet. Returns whether it is a stray for the caller.
    pub(super) fn take_arp<T: Transmit>(&mut self, link: Link, body: &[u8], tx: &mut T) -> bool {
        let Shared { neighbours, config, counters, rate_limiter, tick, .. } = &mut self.shared;
        let taken = neighbours.take_arp(
            link,
            body,
            Context { now: *tick, config, counters, rate_limiter },
            tx,
        );
        self.is_stray(taken, DropReason::Arp)
    }

    /// Handles a message of neighbour discovery. Returns whether it is a stray for the caller.
    pub(super) fn take_ndp<T: Transmit>(
        &mut self,
        link: Link,
        header: &ip::Header,
        body: &[u8],
        tx: &mut T,
    ) -> bool {
        let Shared { neighbours, config, counters, rate_limiter, tick, .. } = &mut self.shared;
        let taken = neighbours.take_ndp(
            link,
            header,
            body,
            Context { now: *tick, config, counters, rate_limiter },
            tx,
        );
        self.is_stray(taken, DropReason::Ndp)
    }

    fn is_stray(&mut self, taken: Result<Taken, DropReason>, unsolicited: DropReason) -> bool {
        match taken {
            Ok(Taken::Done) => {}
            Ok(Taken::Stray) if self.shared.config.reports_strays => {
                self.shared.drop(DropReason::Stray);
                return true;
            }
            Ok(Taken::Stray) => self.shared.drop(unsolicited),
            Err(reason) => self.shared.drop(reason),
        }
        false
    }

    /// Sends the SYNs whose next hop has been resolved, and closes connections whose next hop did
    /// not answer.
    pub(super) fn open_resolved<T: Transmit>(&mut self, app: &mut A, tx: &mut T) {
        while let Some((waiter, mac)) = self.shared.neighbours.next_resolved() {
            let Some(mac) = mac else {
                self.end(waiter.id, Closed::Unreachable, app);
                continue;
            };
            let tcb = &mut self.tcbs[waiter.id as usize];
            debug_assert!(tcb.hot.state == State::SynSent, "only a SYN waits for a next hop");
            tcb.hot.link = Link { mac, vlan: 0 };
            if !handshake::syn(tcb, &mut self.shared, tx) {
                // Try again with the next flush.
                self.shared.neighbours.wait(waiter.id, waiter.neighbour);
                return;
            }
            tcb.arm(waiter.id, &mut self.shared);
        }
    }

    /// Probes the next hop of a connection whose segments are not acknowledged (NUD): it may be
    /// gone, or have another hardware address.
    pub(super) fn probe_next_hop<T: Transmit>(&mut self, id: u32, tx: &mut T) {
        let Shared { neighbours, config, tick, .. } = &mut self.shared;
        if config.routes.is_empty() {
            return;
        }
        let hot = &mut self.tcbs[id as usize].hot;
        if let Some(mac) = neighbours.probe(&hot.tuple.remote, &hot.tuple.local, config, *tick) {
            hot.link.mac = mac;
        }
        self.expire_neighbours(tx);
    }
}
