//! Next hops of active opens: a SYN goes out at once if its next hop's hardware address is known,
//! and else when it is.

use super::{ConnectError, Stack};
use crate::drop::DropReason;
use crate::neighbour::cache::Found;
use crate::neighbour::{Conflict, Moment, Taken};
use crate::tcp::{Shared, State, Transmit, handshake};
use crate::wire::{Address, Link, Mac, ip};
use simoom_io::application::{Application, Closed};
use smoltcp::time::Instant;

/// What is known of the way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// The hardware address of the next hop.
    Known(Mac),
    /// The next hop is being asked for its hardware address.
    Awaited,
    /// It does not answer.
    Unreachable,
    /// No route leads there, or the local address is not dedicated: the answers to its questions
    /// are the kernel's.
    NoRoute,
}

impl<A: Application> Stack<A> {
    /// Finds out whether `remote` can be reached from `local`, and asks for the next hop if it is
    /// not known. Call again, after [`Stack::receive`] or [`Stack::expire`], while it is awaited.
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
        self.tend_neighbours(tx);
        match found {
            Found::Known(mac) => NextHop::Known(mac),
            Found::Awaited(_) | Found::Full => NextHop::Awaited,
            Found::Failed => NextHop::Unreachable,
        }
    }

    /// Another host that was heard with an address of this stack's since this was last asked.
    pub fn take_conflict(&mut self) -> Option<Conflict> {
        self.shared.neighbours.take_conflict()
    }

    /// Where the SYN of an active open goes, or the number of the neighbour that it has to wait
    /// for.
    pub(super) fn way_to(
        &mut self,
        local: &Address,
        remote: &Address,
    ) -> Result<Result<Link, usize>, ConnectError> {
        let Shared { neighbours, config, tick, .. } = &mut self.shared;
        match neighbours.next_hop(remote, local, config, *tick) {
            None => Err(ConnectError::NoRoute),
            Some(Found::Known(mac)) => Ok(Ok(Link { mac, vlan: 0 })),
            Some(Found::Awaited(neighbour)) if neighbours.may_wait() => Ok(Err(neighbour)),
            Some(Found::Awaited(_) | Found::Full) => Err(ConnectError::Waiting),
            Some(Found::Failed) => Err(ConnectError::Unreachable),
        }
    }

    /// Asks and announces what is due, and sets the timer for the next time.
    pub(super) fn tend_neighbours<T: Transmit>(&mut self, tx: &mut T) {
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

    /// An ARP packet. Returns whether it is a stray for the caller.
    pub(super) fn take_arp<T: Transmit>(&mut self, link: Link, body: &[u8], tx: &mut T) -> bool {
        let Shared { neighbours, config, counters, answers, tick, .. } = &mut self.shared;
        let taken =
            neighbours.take_arp(link, body, Moment { now: *tick, config, counters, answers }, tx);
        self.is_stray(taken, DropReason::Arp)
    }

    /// A message of neighbour discovery. Returns whether it is a stray for the caller.
    pub(super) fn take_ndp<T: Transmit>(
        &mut self,
        link: Link,
        header: &ip::Header,
        body: &[u8],
        tx: &mut T,
    ) -> bool {
        let Shared { neighbours, config, counters, answers, tick, .. } = &mut self.shared;
        let taken = neighbours.take_ndp(
            link,
            header,
            body,
            Moment { now: *tick, config, counters, answers },
            tx,
        );
        self.is_stray(taken, DropReason::Ndp)
    }

    fn is_stray(&mut self, taken: Result<Taken, DropReason>, unasked: DropReason) -> bool {
        match taken {
            Ok(Taken::Done) => {}
            Ok(Taken::Stray) if self.shared.config.reports_strays => {
                self.shared.drop(DropReason::Stray);
                return true;
            }
            Ok(Taken::Stray) => self.shared.drop(unasked),
            Err(reason) => self.shared.drop(reason),
        }
        false
    }

    /// Sends the SYNs whose next hop is known by now, and gives up those whose next hop did not
    /// answer.
    pub(super) fn open_settled<T: Transmit>(&mut self, app: &mut A, tx: &mut T) {
        while let Some((waiter, mac)) = self.shared.neighbours.settled() {
            let Some(mac) = mac else {
                self.end(waiter.id, Closed::Unreachable, app);
                continue;
            };
            let tcb = &mut self.tcbs[waiter.id as usize];
            debug_assert!(tcb.hot.state == State::SynSent, "only a SYN waits for a next hop");
            tcb.hot.link = Link { mac, vlan: 0 };
            if !handshake::syn(tcb, &mut self.shared, tx) {
                // With the next flush.
                self.shared.neighbours.wait(waiter.id, waiter.neighbour);
                return;
            }
            tcb.arm(waiter.id, &mut self.shared);
        }
    }

    /// What this connection has sent is not answered: perhaps its next hop has gone, or moved.
    pub(super) fn doubt_next_hop<T: Transmit>(&mut self, id: u32, tx: &mut T) {
        let Shared { neighbours, config, tick, .. } = &mut self.shared;
        if config.routes.is_empty() {
            return;
        }
        let hot = &mut self.tcbs[id as usize].hot;
        if let Some(mac) = neighbours.doubt(&hot.tuple.remote, &hot.tuple.local, config, *tick) {
            hot.link.mac = mac;
        }
        self.tend_neighbours(tx);
    }
}
