//! A burst of packets comes in: each is read, and its segment handed to whoever owns its four-tuple.

use super::{BURST, GROUP, Stack};
use crate::answers::Answer;
use crate::application::Application;
use crate::config::Config;
use crate::demux::{Owner, Tuple};
use crate::drop::DropReason;
use crate::tcp::{Context, Shared, Transmit, input, near_timer};
use crate::wire::{Flags, Incoming, Packet, Segment};
use crate::{icmp, icmpv6, path_mtu, wire};
use smoltcp::time::Instant;

impl<A: Application> Stack<A> {
    /// Takes a burst of at most [`BURST`] packets. Requests in them reach the application before this returns; what
    /// is to be sent waits for [`Stack::flush`], save resets, SYN-ACKs and duplicate acknowledgements.
    ///
    /// With [`Config::reports_strays`], bit `i` of the result says that packet `i` belongs to a connection that
    /// this stack does not know: it is for another worker, or for [`Stack::refuse`].
    pub fn receive<T: Transmit>(&mut self, now: Instant, packets: &[Packet<'_>], app: &mut A, tx: &mut T) -> u64 {
        assert!(packets.len() <= BURST, "a burst of {} packets", packets.len());
        self.set_clock(now);
        self.shared.counters.packets_received += packets.len() as u64;
        let mut strays = 0;
        for (index, group) in packets.chunks(GROUP).enumerate() {
            let found = match group {
                [one] => self.receive_group::<1, T>(&[*one], app, tx),
                _ => self.receive_group::<GROUP, T>(group, app, tx),
            };
            strays |= found << (index * GROUP);
        }
        strays
    }

    /// Takes at most `N` packets, reading all of them before any is handled.
    #[inline]
    pub(super) fn receive_group<const N: usize, T: Transmit>(
        &mut self,
        packets: &[Packet<'_>],
        app: &mut A,
        tx: &mut T,
    ) -> u64 {
        let mut group: [Option<Arrival<'_>>; N] = [const { None }; N];
        let mut strays = 0;
        for (index, (place, packet)) in group.iter_mut().zip(packets).enumerate() {
            match self.parse(*packet, tx) {
                Read::Segment(arrival) => *place = Some(arrival),
                Read::Stray => strays |= 1 << index,
                Read::Done => {}
            }
        }
        if N > 1 {
            self.touch(&group);
            announce(&group, app);
        }
        for (index, arrival) in group.iter().enumerate() {
            if let Some(arrival) = arrival
                && !self.dispatch(arrival, app, tx)
            {
                strays |= 1 << index;
            }
        }
        strays
    }

    /// Answers a packet that no worker knows as RFC 9293 §3.10.7.1 says: with a reset.
    pub fn refuse<T: Transmit>(&mut self, now: Instant, packet: Packet<'_>, tx: &mut T) {
        self.set_clock(now);
        if let Ok(Incoming::Tcp(segment)) = wire::parse(packet, self.shared.config.checksums) {
            match self.may_bear_cookie(&segment) {
                true => self.shared.drop(DropReason::NoCookie),
                false => self.send_refusal(&segment, tx),
            }
        }
    }

    /// Reads a packet; answers what needs no connection.
    pub(super) fn parse<'p, T: Transmit>(&mut self, packet: Packet<'p>, tx: &mut T) -> Read<'p> {
        let Shared { config, counters, answers, tick, .. } = &mut self.shared;
        let result = match wire::parse(packet, config.checksums) {
            Ok(Incoming::Tcp(segment)) => match check_segment(&segment, config) {
                Ok(()) => {
                    counters.segments_received += 1;
                    let tuple = Tuple::of(&segment);
                    return Read::Segment(Arrival { hash: self.keyed.hash(&tuple), tuple, segment });
                }
                Err(reason) => Err(reason),
            },
            Ok(Incoming::Arp(link, body)) => {
                return if self.take_arp(link, body, tx) { Read::Stray } else { Read::Done };
            }
            Ok(Incoming::Icmp(_, header, body) | Incoming::Icmpv6(_, header, body))
                if path_mtu::is_too_big(body, header.destination.is_v4()) =>
            {
                self.too_big(&header, body)
            }
            Ok(Incoming::Icmp(link, header, body)) => {
                let may = || answers.take(Answer::Echo, *tick, counters);
                icmp::answer(link, &header, body, config, may, tx).map(|sent| {
                    counters.echo_replies += u64::from(sent);
                })
            }
            Ok(Incoming::Icmpv6(link, header, body)) if wire::ndp::is_ours(body) => {
                return if self.take_ndp(link, &header, body, tx) { Read::Stray } else { Read::Done };
            }
            Ok(Incoming::Icmpv6(link, header, body)) => {
                let may = || answers.take(Answer::Echo, *tick, counters);
                icmpv6::answer(link, &header, body, config, may, tx).map(|sent| {
                    counters.echo_replies += u64::from(sent);
                })
            }
            Err(reason) => Err(reason),
        };
        if let Err(reason) = result {
            self.shared.drop(reason);
        }
        Read::Done
    }

    /// Reads a word of each line that the group's connections will need, so that the misses overlap instead of
    /// following one another. Two short loops, so that the processor looks far enough ahead.
    pub(super) fn touch<const N: usize>(&self, group: &[Option<Arrival<'_>>; N]) {
        let mut ids = [0; N];
        for (id, arrival) in ids.iter_mut().zip(group) {
            if let Some(arrival) = arrival
                && let Some(Owner::Connection(owner)) = self.demux.guess(arrival.hash)
            {
                *id = owner;
            }
        }
        self.touch_connections(&ids);
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

    /// Hands a segment to its owner. Returns `false` if it is a stray for the caller.
    #[inline]
    pub(super) fn dispatch<T: Transmit>(&mut self, arrival: &Arrival<'_>, app: &mut A, tx: &mut T) -> bool {
        let Arrival { hash, tuple, segment } = arrival;
        let owner = self.owner_of(*hash, tuple);
        match owner {
            Some(Owner::Connection(id)) => self.for_connection(id, segment, app, tx),
            Some(Owner::HalfOpen(index)) => self.for_half_open(index, arrival, app, tx),
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
    pub(super) fn for_connection<T: Transmit>(&mut self, id: u32, segment: &Segment<'_>, app: &mut A, tx: &mut T) {
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
    app.expected(&inputs[..count]);
}

/// A segment with its four-tuple and that one's hash.
pub(super) struct Arrival<'a> {
    pub(super) hash: u32,
    pub(super) tuple: Tuple,
    pub(super) segment: Segment<'a>,
}

/// What a packet turned out to be.
pub(super) enum Read<'a> {
    /// A segment, for its owner.
    Segment(Arrival<'a>),
    /// It was answered, or dropped.
    Done,
    /// It is for another worker.
    Stray,
}

/// What can be said of a segment without knowing its connection.
#[inline]
fn check_segment(segment: &Segment<'_>, config: &Config) -> Result<(), DropReason> {
    if !config.has(&segment.local) {
        return Err(DropReason::NotOurs);
    }
    let flags = segment.flags;
    let has_any = flags.has(Flags::SYN) || flags.has(Flags::ACK) || flags.has(Flags::RST);
    let contradicts = flags.has(Flags::SYN) && (flags.has(Flags::RST) || flags.has(Flags::FIN));
    if !has_any || contradicts || segment.remote_port == 0 || segment.local_port == 0 {
        return Err(DropReason::TcpFlags);
    }
    Ok(())
}
