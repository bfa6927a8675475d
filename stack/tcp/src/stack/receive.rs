//! A burst of packets comes in: each is read, and its segment handed to whoever owns its
//! four-tuple.

use super::{BURST, GROUP, Stack};
use crate::answers::Answer;
use crate::config::Config;
use crate::demux::{Owner, Tuple};
use crate::drop::DropReason;
use crate::tcp::{Context, Shared, Transmit, input, near_timer};
use crate::wire::{Incoming, Link, Packet, Segment, ip};
use crate::{icmp, icmpv6, path_mtu, wire};
use simoom_io::application::Application;
use smoltcp::time::Instant;

impl<A: Application> Stack<A> {
    /// Takes a burst of at most [`BURST`] packets. Requests in them reach the application before
    /// this returns; what is to be sent waits for [`Stack::flush`], save resets, SYN-ACKs and
    /// duplicate acknowledgements.
    ///
    /// With [`Config::reports_strays`], bit `i` of the result says that packet `i` belongs to a
    /// connection that this stack does not know: it is for another worker, or for
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

    /// Takes at most `N` packets, reading all of them before any is handled, so that their cache
    /// misses overlap.
    #[inline]
    pub(super) fn receive_group<const N: usize, T: Transmit>(
        &mut self,
        packets: &[Packet<'_>],
        app: &mut A,
        tx: &mut T,
    ) -> u64 {
        // One by one, as a repeated constant would be copied whole into each place.
        let mut group: [Option<Arrival<'_>>; N] = std::array::from_fn(|_| None);
        let mut strays = 0;
        for (index, (place, packet)) in group.iter_mut().zip(packets).enumerate() {
            strays |= u64::from(self.parse(*packet, place, tx)) << index;
        }
        let mut guesses = [0; N];
        if N > 1 {
            self.touch(&group, &mut guesses);
            announce(&group, app);
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

    /// Answers a packet that no worker knows: a segment as RFC 9293 §3.10.7.1 says, with a reset,
    /// and nothing else.
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

    /// Reads a packet: a segment is put in its place, for its owner; all else is answered here, or
    /// dropped. Returns whether it is for another worker.
    pub(super) fn parse<'p, T: Transmit>(
        &mut self,
        packet: Packet<'p>,
        place: &mut Option<Arrival<'p>>,
        tx: &mut T,
    ) -> bool {
        match wire::parse_segment(packet, self.shared.config.checksums) {
            Some(segment) => self.admit(segment, place),
            None => return self.parse_other(packet, place, tx),
        }
        false
    }

    /// Apart, so that the way of a segment over IPv4 is one straight run.
    #[inline(never)]
    fn parse_other<'p, T: Transmit>(
        &mut self,
        packet: Packet<'p>,
        place: &mut Option<Arrival<'p>>,
        tx: &mut T,
    ) -> bool {
        match wire::parse(packet, self.shared.config.checksums) {
            Ok(Incoming::Tcp(segment)) => self.admit(segment, place),
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

    /// Puts a segment in its place, unless it makes no sense for whatever connection.
    #[inline(always)]
    fn admit<'p>(&mut self, segment: Segment<'p>, place: &mut Option<Arrival<'p>>) {
        match check_segment(&segment, &self.shared.config) {
            Ok(()) => {
                self.shared.counters.segments_received += 1;
                let tuple = Tuple::of(&segment);
                *place = Some(Arrival { hash: self.keyed.hash(&tuple), tuple, segment });
            }
            Err(reason) => self.shared.drop(reason),
        }
    }

    /// An ICMP message, of either version of IP. Returns whether it is for another worker.
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
        let Shared { config, counters, answers, tick, .. } = &mut self.shared;
        let may = || answers.take(Answer::Echo, *tick, counters);
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

    /// Reads a word of each line that the group's connections will need, so that the misses overlap
    /// instead of following one another. Short loops, and nothing in the first and the last depends
    /// on what is read, so that the processor looks far enough ahead. Leaves the connections that
    /// the segments probably are for.
    fn touch<const N: usize>(&self, group: &[Option<Arrival<'_>>; N], ids: &mut [u32; N]) {
        let slots =
            group.iter().flatten().fold(0, |seen, arrival| seen ^ self.demux.touch(arrival.hash));
        std::hint::black_box(slots);
        for (id, arrival) in ids.iter_mut().zip(group) {
            if let Some(arrival) = arrival
                && let Some(Owner::Connection(owner)) = self.demux.guess(arrival.hash)
            {
                *id = owner;
            }
        }
        self.touch_connections(ids);
    }

    pub(super) fn touch_connections(&self, ids: &[u32]) {
        let mut seen = 0u32;
        for &id in ids {
            if let Some(tcb) = self.tcbs.get(id as usize) {
                seen ^= tcb.touch() ^ self.shared.wheel.touch(near_timer(id));
            }
        }
        std::hint::black_box(seen);
    }

    /// Hands a segment to its owner, which may be the connection `guess`. Returns `false` if it is
    /// a stray for the caller.
    #[inline]
    fn dispatch<T: Transmit>(
        &mut self,
        arrival: &Arrival<'_>,
        guess: u32,
        app: &mut A,
        tx: &mut T,
    ) -> bool {
        let Arrival { hash, tuple, segment } = arrival;
        if self.tcbs.get(guess as usize).is_some_and(|tcb| tcb.hot.tuple == *tuple) {
            self.for_connection(guess, segment, app, tx);
            return true;
        }
        match self.owner_of(*hash, tuple) {
            Some(Owner::Connection(id)) => self.for_connection(id, segment, app, tx),
            Some(Owner::HalfOpen(index)) => return self.for_half_open(index, arrival, app, tx),
            Some(Owner::TimeWait(index)) => self.for_time_wait(index, arrival, tx),
            None => return self.for_listener(arrival, app, tx),
        }
        true
    }

    #[inline]
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
        segment: &Segment<'_>,
        app: &mut A,
        tx: &mut T,
    ) {
        let mut cx = Context { id, shared: &mut self.shared, app, tx };
        let fate = input::segment_arrives(&mut self.tcbs[id as usize], segment, &mut cx);
        self.settle(id, fate, app, tx);
    }
}

/// Tells the application of a group's input before any of it is offered.
#[inline]
fn announce<const N: usize, A: Application>(group: &[Option<Arrival<'_>>; N], app: &mut A) {
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

/// A segment with its four-tuple and that one's hash.
pub(super) struct Arrival<'a> {
    pub(super) hash: u32,
    pub(super) tuple: Tuple,
    pub(super) segment: Segment<'a>,
}

/// What can be said of a segment without knowing its connection.
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
