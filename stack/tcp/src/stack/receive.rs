//! Receives a burst of packets: parses each, and passes its segment to the owner of its four-tuple.

use super::{BURST, GROUP, Stack};
use crate::config::Config;
use crate::demux::{Owner, Tuple};
use crate::drop::DropReason;
use crate::rate_limit::Response;
use crate::tcp::{Context, Shared, Transmit, input, near_timer};
use crate::wire::{Incoming, Link, Packet, Segment, ip};
use crate::{icmp, icmpv6, path_mtu, wire};
use simoom_io::application::Application;
use smoltcp::time::Instant;

impl<A: Application> Stack<A> {
    /// Takes a burst of at most [`BURST`] packets. The application receives the requests in them
    /// before this returns. [`Stack::flush`] sends the results, except resets, SYN-ACKs and
    /// duplicate acknowledgements, which are sent at once.
    ///
    /// With [`Config::reports_strays`], bit `i` of the result is set if packet `i` belongs to a
    /// connection unknown to this stack. The caller passes it to another worker or to
    /// [`Stack::refuse`].
    pub fn receive<T: Transmit>(
        &mut self,
        now: Instant,
        packets: &[Packet<'_>],
        app: &mut A,
        tx: &mut T,
    ) -> u64 {
        assert!(packets.len() <= BURST, "a burst of {} packets", packets.len());
        self.set_clock(now);
        self.shared.counters.packets_received += packets.len() as u64;
        match packets.len() {
            0..=1 => self.receive_group::<1, T>(packets, app, tx),
            2..=GROUP => self.receive_group::<GROUP, T>(packets, app, tx),
            _ => self.receive_group::<BURST, T>(packets, app, tx),
        }
    }

    /// Takes at most `N` packets. Parses all of them before handling any, so that their cache
    /// misses overlap.
    #[inline]
    pub(super) fn receive_group<const N: usize, T: Transmit>(
        &mut self,
        packets: &[Packet<'_>],
        app: &mut A,
        tx: &mut T,
    ) -> u64 {
        // Element by element: a repeat expression would copy the constant into each slot.
        let mut group: [Option<Arrival<'_>>; N] = std::array::from_fn(|_| None);
        let group = &mut group[..packets.len()];
        let mut strays = 0;
        for (index, (slot, packet)) in group.iter_mut().zip(packets).enumerate() {
            strays |= u64::from(self.parse(*packet, slot, tx)) << index;
        }
        let mut guesses = [0; N];
        if N > 1 {
            self.prefetch(group, &mut guesses[..packets.len()]);
            if app.prefetches() {
                prefetch_input::<N, A>(group, app);
            }
        }
        for (index, (arrival, guess)) in group.iter().zip(guesses).enumerate() {
            if let Some(arrival) = arrival
                && !self.dispatch(arrival, guess, app, tx)
            {
                strays |= 1 << index;
            }
        }
        strays
    }

    /// Answers a packet that no worker knows. A segment gets a reset (RFC 9293 §3.10.7.1), anything
    /// else no answer.
    pub fn refuse<T: Transmit>(&mut self, now: Instant, packet: Packet<'_>, tx: &mut T) {
        self.set_clock(now);
        match wire::parse(packet, self.shared.config.checksums) {
            Ok(Incoming::Tcp(segment)) => self.send_refusal(&segment, tx),
            Ok(Incoming::Icmp(_, header, body) | Incoming::Icmpv6(_, header, body))
                if path_mtu::is_too_big(body, header.destination.is_v4()) =>
            {
                self.take_too_big(None);
            }
            _ => {}
        }
    }

    /// Parses a packet. A segment is put in `slot` for its owner. Anything else is answered here,
    /// or dropped. Returns whether the packet is for another worker.
    pub(super) fn parse<'p, T: Transmit>(
        &mut self,
        packet: Packet<'p>,
        slot: &mut Option<Arrival<'p>>,
        tx: &mut T,
    ) -> bool {
        match wire::common::parse(packet, self.shared.config.checksums) {
            Some(segment) => *slot = Some(self.arrival(segment)),
            None => return self.parse_other(packet, slot, tx),
        }
        false
    }

    /// Not inlined, so that the code for the common layout is straight.
    #[inline(never)]
    fn parse_other<'p, T: Transmit>(
        &mut self,
        packet: Packet<'p>,
        slot: &mut Option<Arrival<'p>>,
        tx: &mut T,
    ) -> bool {
        let checksums = self.shared.config.checksums;
        if let Some(segment) = wire::common::parse_options(packet, checksums) {
            *slot = Some(self.arrival(segment));
            return false;
        }
        match wire::parse(packet, checksums) {
            Ok(Incoming::Tcp(segment)) => *slot = Some(self.arrival(segment)),
            Ok(Incoming::Arp(link, body)) => return self.take_arp(link, body, tx),
            Ok(Incoming::Icmpv6(link, header, body)) if wire::ndp::is_ours(body) => {
                return self.take_ndp(link, &header, body, tx);
            }
            Ok(Incoming::Icmp(link, header, body) | Incoming::Icmpv6(link, header, body)) => {
                return self.take_icmp(link, &header, body, tx);
            }
            Err(reason) => self.shared.drop(reason),
        }
        false
    }

    #[inline(always)]
    fn arrival<'p>(&self, segment: Segment<'p>) -> Arrival<'p> {
        Arrival { hash: self.keyed.hash(&Tuple::of(&segment)), segment }
    }

    /// Handles an ICMP or ICMPv6 message. Returns whether it is for another worker.
    fn take_icmp<T: Transmit>(
        &mut self,
        link: Link,
        header: &ip::Header,
        body: &[u8],
        tx: &mut T,
    ) -> bool {
        let is_v4 = header.destination.is_v4();
        if path_mtu::is_too_big(body, is_v4) {
            return self.too_big(header, body);
        }
        let Shared { config, counters, rate_limiter, tick, .. } = &mut self.shared;
        let may = || rate_limiter.take(Response::Echo, *tick, counters);
        let sent = match is_v4 {
            true => icmp::answer(link, header, body, config, may, tx),
            false => icmpv6::answer(link, header, body, config, may, tx),
        };
        match sent {
            Ok(sent) => self.shared.counters.echo_replies += u64::from(sent),
            Err(reason) => self.shared.drop(reason),
        }
        false
    }

    /// Prefetches the cache lines that the group's connections need, so that the misses overlap.
    /// The loops are short, and the first and the last do not depend on what they read, so that the
    /// processor can look ahead. Writes the probable connection of each segment to `ids`.
    fn prefetch(&self, group: &[Option<Arrival<'_>>], ids: &mut [u32]) {
        let slots = group
            .iter()
            .flatten()
            .fold(0, |seen, arrival| seen ^ self.demux.prefetch(arrival.hash));
        std::hint::black_box(slots);
        for (id, arrival) in ids.iter_mut().zip(group) {
            if let Some(arrival) = arrival
                && let Some(Owner::Connection(owner)) = self.demux.guess(arrival.hash)
            {
                *id = owner;
            }
        }
        self.prefetch_connections(ids);
    }

    pub(super) fn prefetch_connections(&self, ids: &[u32]) {
        let mut seen = 0u32;
        for &id in ids {
            if let Some(tcb) = self.tcbs.get(id as usize) {
                seen ^= tcb.prefetch() ^ self.shared.wheel.prefetch(near_timer(id));
            }
        }
        std::hint::black_box(seen);
    }

    /// Passes a segment to its owner, probably the connection `guess`. Returns `false` if the
    /// segment is a stray for the caller.
    #[inline]
    fn dispatch<T: Transmit>(
        &mut self,
        arrival: &Arrival<'_>,
        guess: u32,
        app: &mut A,
        tx: &mut T,
    ) -> bool {
        let tuple = arrival.tuple();
        if self.tcbs.get(guess as usize).is_some_and(|tcb| tcb.hot.tuple == tuple) {
            // Its first segment has passed `check_segment`.
            self.shared.counters.segments_received += 1;
            self.for_connection(guess, arrival, app, tx);
            return true;
        }
        self.dispatch_by_hash(arrival, app, tx)
    }

    /// Passes a segment to its owner in the table, if it is valid for any connection.
    #[inline(never)]
    fn dispatch_by_hash<T: Transmit>(
        &mut self,
        arrival: &Arrival<'_>,
        app: &mut A,
        tx: &mut T,
    ) -> bool {
        let owner = self.owner_of(arrival.hash, &arrival.tuple());
        // An owner's first segment has passed the checks.
        if owner.is_none()
            && let Err(reason) = check_segment(&arrival.segment, &self.shared.config)
        {
            self.shared.drop(reason);
            return true;
        }
        self.shared.counters.segments_received += 1;
        match owner {
            Some(Owner::Connection(id)) => self.for_connection(id, arrival, app, tx),
            Some(Owner::HalfOpen(index)) => return self.for_half_open(index, arrival, app, tx),
            Some(Owner::TimeWait(index)) => self.for_time_wait(index, arrival, tx),
            None => return self.for_listener(arrival, app, tx),
        }
        true
    }

    #[inline(always)]
    pub(super) fn owner_of(&self, hash: u32, tuple: &Tuple) -> Option<Owner> {
        self.demux.find(hash, |owner| match owner {
            Owner::Connection(id) => self.tcbs[id as usize].hot.tuple == *tuple,
            Owner::HalfOpen(index) => self.half_open.get(index).tuple == *tuple,
            Owner::TimeWait(index) => self.time_wait.get(index).tuple == *tuple,
        })
    }

    #[inline]
    pub(super) fn for_connection<T: Transmit>(
        &mut self,
        id: u32,
        arrival: &Arrival<'_>,
        app: &mut A,
        tx: &mut T,
    ) {
        let (tcb, segment) = (&mut self.tcbs[id as usize], &arrival.segment);
        let mut cx = Context { id, shared: &mut self.shared, app, tx };
        let outcome = input::segment_arrives(tcb, segment, &mut cx);
        self.apply((id, |_: &Self| arrival.hash), outcome, app, tx);
    }
}

/// Lets the application prefetch for a group's input, before any of it is delivered.
#[inline]
fn prefetch_input<const N: usize, A: Application>(group: &[Option<Arrival<'_>>], app: &mut A) {
    let mut inputs = [(0, &[][..]); N];
    let mut count = 0;
    for Arrival { segment, .. } in group.iter().flatten() {
        if let Some(first) = segment.payload.parts().next() {
            inputs[count] = (segment.local_port, first);
            count += 1;
        }
    }
    app.prefetch(&inputs[..count]);
}

/// A segment with the hash of its four-tuple.
pub(super) struct Arrival<'a> {
    pub(super) hash: u32,
    pub(super) segment: Segment<'a>,
}

impl Arrival<'_> {
    #[inline]
    pub(super) fn tuple(&self) -> Tuple {
        Tuple::of(&self.segment)
    }
}

/// The checks that need no connection.
#[inline]
fn check_segment(segment: &Segment<'_>, config: &Config) -> Result<(), DropReason> {
    if !config.has(&segment.local) {
        return Err(DropReason::NotOurs);
    }
    if segment.remote_port == 0 || segment.local_port == 0 {
        return Err(DropReason::TcpPort);
    }
    Ok(())
}
