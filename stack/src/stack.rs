//! The stack of one worker: its tables, and the way of a segment through them.

use crate::application::{Application, Closed};
use crate::config::{Config, Limits};
use crate::counters::Counters;
use crate::demux::{Demux, Owner, Tuple};
use crate::drop::{DropReason, Drops};
use crate::keyed::Keyed;
use crate::listen::{HalfOpen, HalfOpenTable};
use crate::send::Reply;
use crate::seq::Seq;
use crate::tcp::input::{self, Context};
use crate::tcp::output::{self, Numbers, Way};
use crate::tcp::{
    Budget, Fate, Hot, Marks, Shared, State, Tcb, Transmit, congestion, deliver, far_timer, near_timer, timeout,
};
use crate::time_wait::{TimeWaitTable, Verdict};
use crate::timer::{Tick, Wheel};
use crate::wire::{self, Address, Flags, Incoming, Link, Packet, Segment};
use crate::{arp, icmp, keep, listen, reassembly, send};
use smoltcp::time::{Duration, Instant};
use std::collections::VecDeque;

#[cfg(any(test, feature = "testing"))]
#[path = "testing/inspect.rs"]
mod inspect;
#[cfg(any(test, feature = "testing"))]
pub use inspect::Inspection;

/// The most packets that [`Stack::receive`] takes at once.
pub const BURST: usize = 64;
/// Packets that are read before the first of them is handled: enough for their cache misses to overlap.
const GROUP: usize = 16;

/// The TCP stack of one worker, with the application's state for each of its connections.
///
/// The caller owns the clock, the frames and the application, and calls, for each turn of its loop:
///
/// 1. [`Stack::receive`] with the packets that came, at most [`BURST`] at a time;
/// 2. [`Stack::expire`], if [`Stack::next_deadline`] has passed;
/// 3. [`Stack::flush`], which sends what the first two brought about.
///
/// Nothing is sent later than the flush that follows its cause, and nothing happens between calls. `now` must never
/// go back.
pub struct Stack<A: Application> {
    shared: Shared<A::Blob>,
    keyed: Keyed,
    ports: Vec<u16>,
    accepts: bool,
    demux: Demux,
    tcbs: Vec<Tcb<A::Conn>>,
    free: Vec<u32>,
    half_open: HalfOpenTable,
    time_wait: TimeWaitTable,
    /// The list that a flush works through, while `shared.ready` takes what comes for the next.
    flushing: Vec<u32>,
}

/// A connection of this stack, until its `closed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId(u32);

impl ConnId {
    /// A number below [`crate::Limits::connections`], given again to later connections.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where an active open goes.
#[derive(Clone, Copy, Debug)]
pub struct Connect {
    /// One of this stack's addresses.
    pub local: Address,
    /// The port on this side.
    pub local_port: u16,
    /// The other side.
    pub remote: Address,
    /// Its port.
    pub remote_port: u16,
    /// The next hop.
    pub link: Link,
    /// Handed to [`Application::opened`].
    pub token: u32,
}

/// Why an active open was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The four-tuple is in use.
    InUse,
    /// The connection table is full.
    Full,
    /// The local address is none of this stack's.
    NotOurs,
    /// The transmitter had no free frame; try again after a flush.
    NoFrame,
}

/// What a stack holds; all zero but for idle connections after everything was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Connections with a control block.
    pub connections: usize,
    /// Half-open connections.
    pub half_open: usize,
    /// Entries of the send pool in use.
    pub send_entries: usize,
    /// Chunks of the send pool in use.
    pub send_chunks: usize,
    /// Buffers with kept input.
    pub kept: usize,
    /// Reassembly blocks in use.
    pub reassembly_blocks: usize,
}

impl<A: Application> Stack<A> {
    /// A stack that listens nowhere yet. All the memory it will ever have is taken here.
    pub fn new(config: Config, now: Instant) -> Self {
        let limits = config.limits;
        let owners = limits.connections + limits.half_open + limits.time_wait;
        let timers = limits.timers();
        let tick = Tick::at(now);
        let shared = Shared {
            now,
            tick,
            send: send::Pool::new(limits.send_entries as usize, limits.send_chunks as usize),
            keep: keep::Pool::new(limits.keep_small as usize, limits.keep_large as usize),
            reassembly: reassembly::Pool::new(limits.reassembly_blocks as usize),
            wheel: Wheel::new(timers, tick),
            ready: Vec::with_capacity(limits.connections as usize),
            waiting: VecDeque::with_capacity(limits.connections as usize),
            challenges: Budget::new(config.answers_per_second),
            resets: Budget::new(config.answers_per_second),
            counters: Counters::default(),
            drops: Drops::default(),
            config,
        };
        Stack {
            keyed: Keyed::new(shared.config.secret),
            shared,
            ports: Vec::new(),
            accepts: true,
            demux: Demux::new(owners),
            tcbs: (0..limits.connections).map(|_| Tcb::default()).collect(),
            free: (0..limits.connections).rev().collect(),
            half_open: HalfOpenTable::new(limits.half_open),
            time_wait: TimeWaitTable::new(limits.time_wait),
            flushing: Vec::with_capacity(limits.connections as usize),
        }
    }

    /// Answers SYNs to this port from now on.
    pub fn listen(&mut self, port: u16) {
        if !self.ports.contains(&port) {
            self.ports.push(port);
        }
    }

    /// What is counted: [`Counters`] and [`Drops`].
    pub fn counters(&self) -> (&Counters, &Drops) {
        (&self.shared.counters, &self.shared.drops)
    }

    /// What is held.
    pub fn census(&self) -> Census {
        let limits = &self.shared.config.limits;
        let (entries, chunks) = self.shared.send.free();
        let (small, large) = self.shared.keep.free();
        Census {
            connections: self.connections(),
            half_open: self.half_open.len() as usize,
            send_entries: limits.send_entries as usize - entries,
            send_chunks: limits.send_chunks as usize - chunks,
            kept: (limits.keep_small + limits.keep_large) as usize - small - large,
            reassembly_blocks: limits.reassembly_blocks as usize - self.shared.reassembly.free(),
        }
    }

    /// Connections with a control block: open, opening or closing.
    pub fn connections(&self) -> usize {
        self.tcbs.len() - self.free.len()
    }

    /// When to call [`Stack::expire`] next, as time from now; `None` while no timer is set.
    pub fn next_deadline(&self) -> Option<Duration> {
        let next = self.shared.wheel.next_deadline()?;
        Some(Duration::from_millis(self.shared.tick.until(next).max(0) as u64))
    }

    fn set_clock(&mut self, now: Instant) {
        self.shared.now = now;
        self.shared.tick = Tick::at(now);
    }

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
    fn receive_group<const N: usize, T: Transmit>(
        &mut self,
        packets: &[Packet<'_>],
        app: &mut A,
        tx: &mut T,
    ) -> u64 {
        let mut group: [Option<Arrival<'_>>; N] = [const { None }; N];
        for (place, packet) in group.iter_mut().zip(packets) {
            *place = self.parse(*packet, tx);
        }
        if N > 1 {
            self.touch(&group);
        }
        let mut strays = 0;
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
            self.send_refusal(&segment, tx);
        }
    }

    /// Reads a packet; answers what needs no connection.
    fn parse<'p, T: Transmit>(&mut self, packet: Packet<'p>, tx: &mut T) -> Option<Arrival<'p>> {
        let Shared { config, counters, .. } = &mut self.shared;
        let result = match wire::parse(packet, config.checksums) {
            Ok(Incoming::Tcp(segment)) => match check_segment(&segment, config) {
                Ok(()) => {
                    counters.segments_received += 1;
                    let tuple = Tuple::of(&segment);
                    return Some(Arrival { hash: self.keyed.hash(&tuple), tuple, segment });
                }
                Err(reason) => Err(reason),
            },
            Ok(Incoming::Arp(link, body)) => arp::answer(link, body, config, tx).map(|sent| {
                counters.arp_replies += u64::from(sent);
            }),
            Ok(Incoming::Icmp(link, header, body)) => icmp::answer(link, &header, body, config, tx).map(|sent| {
                counters.echo_replies += u64::from(sent);
            }),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = result {
            self.shared.drop(reason);
        }
        None
    }

    /// Reads a word of each line that the group's connections will need, so that the misses overlap instead of
    /// following one another. Two short loops, so that the processor looks far enough ahead.
    fn touch<const N: usize>(&self, group: &[Option<Arrival<'_>>; N]) {
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

    fn touch_connections(&self, ids: &[u32]) {
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
    fn dispatch<T: Transmit>(&mut self, arrival: &Arrival<'_>, app: &mut A, tx: &mut T) -> bool {
        let Arrival { hash, tuple, segment } = arrival;
        let owner = self.owner_of(*hash, tuple);
        match owner {
            Some(Owner::Connection(id)) => self.to_connection(id, segment, app, tx),
            Some(Owner::HalfOpen(index)) => self.to_half_open(index, arrival, app, tx),
            Some(Owner::TimeWait(index)) => self.to_time_wait(index, arrival, tx),
            None => return self.to_listener(arrival, tx),
        }
        true
    }

    #[inline]
    fn to_connection<T: Transmit>(&mut self, id: u32, segment: &Segment<'_>, app: &mut A, tx: &mut T) {
        let mut cx = Context { id, shared: &mut self.shared, app, tx };
        let fate = input::segment_arrives(&mut self.tcbs[id as usize], segment, &mut cx);
        self.settle(id, fate, app, tx);
    }

    fn listens(&self, port: u16) -> bool {
        self.accepts && self.ports.contains(&port)
    }

    /// §3.10.7.2 LISTEN, and §3.10.7.1 CLOSED for what nobody listens to.
    fn to_listener<T: Transmit>(&mut self, arrival: &Arrival<'_>, tx: &mut T) -> bool {
        let segment = &arrival.segment;
        if segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK) && self.listens(segment.local_port) {
            self.open_half(arrival, None, tx);
            return true;
        }
        if self.shared.config.reports_strays && !segment.flags.has(Flags::SYN) {
            self.shared.drop(DropReason::Stray);
            return false;
        }
        self.send_refusal(segment, tx);
        true
    }

    /// Answers a SYN. What an earlier connection of this four-tuple has `used_up`, this one begins beyond
    /// (RFC 9293 §3.6.1 MAY-2).
    fn open_half<T: Transmit>(&mut self, arrival: &Arrival<'_>, used_up: Option<Seq>, tx: &mut T) {
        // Room for the control block is kept from the start: a handshake that completes finds one.
        if self.half_open.len() as usize >= self.free.len() {
            return self.shared.drop(DropReason::ConnectionsFull);
        }
        let iss = self.keyed.initial_seq(&arrival.tuple, self.shared.now);
        let iss = used_up.map_or(iss, |used_up| iss.max(used_up + u32::from(u16::MAX)));
        let Some(index) = self.half_open.insert(&arrival.segment, arrival.tuple, iss, &self.keyed, self.shared.now)
        else {
            return self.shared.drop(DropReason::HalfOpenFull);
        };
        self.demux.insert(arrival.hash, Owner::HalfOpen(index));
        let timer = self.half_open_timer(index);
        self.shared.wheel.schedule(timer, HalfOpen::first_deadline(self.shared.tick));
        self.send_syn_ack(index, tx);
    }

    fn send_syn_ack<T: Transmit>(&mut self, index: u32, tx: &mut T) {
        let Shared { config, tick, counters, .. } = &mut self.shared;
        if self.half_open.get(index).send_syn_ack(config, *tick, tx) {
            counters.segments_sent += 1;
            counters.syn_acks_sent += 1;
        }
    }

    /// §3.10.7.1: what belongs to nobody is reset.
    fn send_refusal<T: Transmit>(&mut self, segment: &Segment<'_>, tx: &mut T) {
        self.shared.drop(DropReason::NoListener);
        self.send_reset(segment, tx);
    }

    /// A reset with the numbers that make the sender believe it, unless the segment was one.
    fn send_reset<T: Transmit>(&mut self, segment: &Segment<'_>, tx: &mut T) {
        if segment.flags.has(Flags::RST) || !self.shared.resets.take(self.shared.tick) {
            return;
        }
        let numbers = if segment.flags.has(Flags::ACK) {
            Numbers { seq: segment.ack, ack: Seq(0), flags: Flags::RST, window: 0 }
        } else {
            let ack = segment.seq + segment.len();
            Numbers { seq: Seq(0), ack, flags: Flags::RST.with(Flags::ACK), window: 0 }
        };
        let tuple = Tuple::of(segment);
        let way = Way { tuple: &tuple, link: &segment.link };
        output::stateless(&way, numbers, &self.shared.config, &mut self.shared.counters, tx);
    }

    /// §3.10.7.4 SYN-RECEIVED, for a connection that a peer opens.
    fn to_half_open<T: Transmit>(&mut self, index: u32, arrival: &Arrival<'_>, app: &mut A, tx: &mut T) {
        let entry = *self.half_open.get(index);
        match entry.judge(&arrival.segment, &self.shared.config) {
            listen::Verdict::Complete => self.complete(index, entry, arrival, app, tx),
            listen::Verdict::Repeat => self.send_syn_ack(index, tx),
            listen::Verdict::Forget => self.forget_half_open(index, arrival.hash),
            listen::Verdict::Challenge(reason) => {
                self.shared.drop(reason);
                self.challenge_half_open(&entry, tx);
            }
            listen::Verdict::Refuse => {
                self.shared.drop(DropReason::BadAck);
                self.send_reset(&arrival.segment, tx);
            }
            listen::Verdict::Drop(reason) => self.shared.drop(reason),
        }
    }

    fn challenge_half_open<T: Transmit>(&mut self, entry: &HalfOpen, tx: &mut T) {
        let Shared { config, tick, counters, challenges, .. } = &mut self.shared;
        if challenges.take(*tick) && entry.send_ack(config, *tick, tx) {
            counters.segments_sent += 1;
            counters.pure_acks_sent += 1;
            counters.challenge_acks += 1;
        }
    }

    fn forget_half_open(&mut self, index: u32, hash: u32) {
        self.shared.wheel.cancel(self.half_open_timer(index));
        self.demux.remove(hash, Owner::HalfOpen(index));
        self.half_open.remove(index);
    }

    /// The handshake's last segment: the connection gets its control block, and handles the segment.
    fn complete<T: Transmit>(
        &mut self,
        index: u32,
        entry: HalfOpen,
        arrival: &Arrival<'_>,
        app: &mut A,
        tx: &mut T,
    ) {
        let id = self.free.pop().expect("a block is kept for each half-open connection");
        self.shared.wheel.cancel(self.half_open_timer(index));
        self.demux.replace(arrival.hash, Owner::HalfOpen(index), Owner::Connection(id));
        self.half_open.remove(index);
        let tcb = &mut self.tcbs[id as usize];
        tcb.hot = Hot { marks: tcb.hot.marks, tuple: entry.tuple, link: entry.link, ..Hot::default() };
        tcb.hot.take_syn(entry.irs, &entry.options(), &self.shared);
        tcb.hot.state = State::Established;
        tcb.hot.ts_offset = entry.ts_offset;
        tcb.hot.snd.una = entry.iss + 1;
        tcb.hot.snd.nxt = entry.iss + 1;
        tcb.hot.snd.wnd = u32::from(arrival.segment.window) << tcb.hot.snd_scale;
        tcb.hot.snd.wl1 = arrival.segment.seq;
        tcb.hot.snd.cwnd = congestion::initial_window(u32::from(tcb.hot.mss), entry.repeats());
        tcb.cold.max_wnd = tcb.hot.snd.wnd;
        tcb.cold.ssthresh = u32::MAX;
        tcb.cold.recover = entry.iss;
        tcb.warm.heard_at = self.shared.tick;
        match entry.round_trip_us(self.shared.now) {
            Some(rtt_us) => tcb.warm.rtt.measured(rtt_us),
            None => tcb.warm.rtt.handshake_repeated(),
        }
        self.shared.counters.passive_opens += 1;
        input::open(tcb, &mut Context { id, shared: &mut self.shared, app, tx }, false);
        self.to_connection(id, &arrival.segment, app, tx);
    }

    fn to_time_wait<T: Transmit>(&mut self, index: u32, arrival: &Arrival<'_>, tx: &mut T) {
        match self.time_wait.get(index).judge(&arrival.segment) {
            Verdict::Ignore => {}
            Verdict::Acknowledge => self.acknowledge_time_wait(index, tx),
            Verdict::Restart => {
                self.acknowledge_time_wait(index, tx);
                self.schedule_time_wait(index);
            }
            Verdict::Reuse if !self.listens(arrival.segment.local_port) => self.acknowledge_time_wait(index, tx),
            Verdict::Reuse => {
                let used_up = self.time_wait.get(index).snd_nxt;
                self.shared.counters.time_wait_reused += 1;
                self.forget_time_wait(index);
                self.open_half(arrival, Some(used_up), tx);
            }
        }
    }

    fn acknowledge_time_wait<T: Transmit>(&mut self, index: u32, tx: &mut T) {
        let entry = self.time_wait.get(index);
        let mut options = wire::Options::default();
        if let Some((last, offset)) = entry.timestamps {
            options.timestamps = Some((self.shared.tick.millis().wrapping_add(offset), last));
        }
        let numbers = Numbers { seq: entry.snd_nxt, ack: entry.rcv_nxt, flags: Flags::ACK, window: u16::MAX };
        let way = Way { tuple: &entry.tuple, link: &entry.link };
        if output::emit(&way, numbers, &options, 0, &self.shared.config, tx, |_| 0) {
            self.shared.counters.segments_sent += 1;
            self.shared.counters.pure_acks_sent += 1;
        }
    }

    fn schedule_time_wait(&mut self, index: u32) {
        let at = self.shared.tick.plus(self.shared.config.time_wait_ms);
        self.shared.wheel.schedule(self.time_wait_timer(index), at);
    }

    fn forget_time_wait(&mut self, index: u32) {
        let hash = self.keyed.hash(&self.time_wait.get(index).tuple);
        self.shared.wheel.cancel(self.time_wait_timer(index));
        self.demux.remove(hash, Owner::TimeWait(index));
        self.time_wait.remove(index);
    }

    fn half_open_timer(&self, index: u32) -> u32 {
        2 * self.shared.config.limits.connections + index
    }

    fn time_wait_timer(&self, index: u32) -> u32 {
        2 * self.shared.config.limits.connections + self.shared.config.limits.half_open + index
    }

    /// Does what has to be done with a connection after an event.
    #[inline]
    fn settle<T: Transmit>(&mut self, id: u32, fate: Fate, app: &mut A, tx: &mut T) {
        match fate {
            Fate::Lives => {}
            Fate::Lingers => self.linger(id, app, tx),
            Fate::Ends(how) => self.end(id, how, app),
        }
    }

    /// The connection is over: the application hears of it, and its block is free again.
    fn end(&mut self, id: u32, how: Closed, app: &mut A) {
        let hash = self.keyed.hash(&self.tcbs[id as usize].hot.tuple);
        self.demux.remove(hash, Owner::Connection(id));
        self.free_tcb(id, how, app);
    }

    fn free_tcb(&mut self, id: u32, how: Closed, app: &mut A) {
        let tcb = &mut self.tcbs[id as usize];
        self.shared.count_closed(how);
        tcb.release(&mut self.shared);
        self.shared.wheel.cancel(near_timer(id));
        self.shared.wheel.cancel(far_timer(id));
        if tcb.hot.marks.has(Marks::OPENED)
            || tcb.hot.state == State::SynSent
            || tcb.hot.state == State::SynReceived
        {
            app.closed(&mut tcb.conn, how);
        }
        let still_listed = tcb.hot.marks.only(Marks::READY.with(Marks::WAITING));
        *tcb = Tcb::default();
        tcb.hot.marks = still_listed;
        self.free.push(id);
    }

    /// The connection goes to TIME_WAIT.
    fn linger<T: Transmit>(&mut self, id: u32, app: &mut A, tx: &mut T) {
        let tcb = &mut self.tcbs[id as usize];
        if tcb.hot.marks.has(Marks::ACK_NOW) {
            // The peer's FIN. No flush follows that would look at this connection.
            output::acknowledge(tcb, &mut self.shared, tx);
        }
        let Some((index, is_taken)) = self.time_wait.place() else { return self.end(id, Closed::Finished, app) };
        if is_taken {
            self.shared.counters.time_wait_evicted += 1;
            self.forget_time_wait(index);
        }
        let hot = &self.tcbs[id as usize].hot;
        let hash = self.keyed.hash(&hot.tuple);
        self.time_wait.insert(hot);
        self.demux.replace(hash, Owner::Connection(id), Owner::TimeWait(index));
        self.schedule_time_wait(index);
        self.free_tcb(id, Closed::Finished, app);
    }

    /// Does what has come due. What is to be sent waits for [`Stack::flush`], save retransmissions and probes.
    pub fn expire<T: Transmit>(&mut self, now: Instant, app: &mut A, tx: &mut T) {
        self.set_clock(now);
        let mut due = [0; GROUP];
        loop {
            let count = self.shared.wheel.expire(self.shared.tick, &mut due);
            if count == 0 {
                return;
            }
            // The wheel's numbers are far apart in memory: their misses overlap too.
            let ids: [u32; GROUP] = std::array::from_fn(|index| due[index] / 2);
            self.touch_connections(&ids[..count]);
            for &timer in &due[..count] {
                self.expire_one(timer, app, tx);
            }
        }
    }

    fn expire_one<T: Transmit>(&mut self, timer: u32, app: &mut A, tx: &mut T) {
        let Limits { connections, half_open, .. } = self.shared.config.limits;
        let others = timer.checked_sub(2 * connections);
        match others {
            None => {
                let id = timer / 2;
                let tcb = &mut self.tcbs[id as usize];
                // Another timer of this batch may have ended it.
                if tcb.hot.state != State::Closed {
                    tcb.fired(timer);
                    let fate = timeout::expire(tcb, &mut Context { id, shared: &mut self.shared, app, tx });
                    self.settle(id, fate, app, tx);
                }
            }
            Some(index) if index < half_open => self.expire_half_open(index, tx),
            Some(index) => self.forget_time_wait(index - half_open),
        }
    }

    fn expire_half_open<T: Transmit>(&mut self, index: u32, tx: &mut T) {
        match self.half_open.retry(index, self.shared.tick) {
            Some(at) => {
                self.shared.wheel.schedule(self.half_open_timer(index), at);
                self.send_syn_ack(index, tx);
            }
            None => {
                self.shared.counters.half_open_expired += 1;
                let hash = self.keyed.hash(&self.half_open.get(index).tuple);
                self.forget_half_open(index, hash);
            }
        }
    }

    /// Sends all that may be sent: answers, acknowledgements, resets that the application asked for. What the
    /// transmitter has no frame for stays for the next call.
    pub fn flush<T: Transmit>(&mut self, now: Instant, app: &mut A, tx: &mut T) {
        self.set_clock(now);
        self.resume_waiting(app, tx);
        std::mem::swap(&mut self.flushing, &mut self.shared.ready);
        let mut blocked = false;
        for place in 0..self.flushing.len() {
            let id = self.flushing[place];
            self.tcbs[id as usize].hot.marks.clear(Marks::READY);
            if blocked {
                self.shared.make_ready(&mut self.tcbs[id as usize].hot, id);
            } else {
                blocked = !self.flush_one(id, app, tx);
            }
        }
        self.flushing.clear();
    }

    #[inline]
    fn flush_one<T: Transmit>(&mut self, id: u32, app: &mut A, tx: &mut T) -> bool {
        let tcb = &mut self.tcbs[id as usize];
        if tcb.hot.state == State::Closed {
            return true;
        }
        if tcb.hot.marks.has(Marks::ABORT) {
            output::reset(&tcb.hot, tcb.hot.snd.nxt, &mut self.shared, tx);
            self.end(id, Closed::Aborted, app);
            return true;
        }
        let sent_all = output::flush::<A, T>(tcb, &mut self.shared, tx);
        if !sent_all {
            self.shared.make_ready(&mut tcb.hot, id);
        }
        tcb.arm(id, &mut self.shared);
        sent_all
    }

    /// Lets applications go on for which there was no room in the send pool.
    fn resume_waiting<T: Transmit>(&mut self, app: &mut A, tx: &mut T) {
        for _ in 0..self.shared.waiting.len() {
            let Some(id) = self.shared.waiting.pop_front() else { break };
            let tcb = &mut self.tcbs[id as usize];
            tcb.hot.marks.clear(Marks::WAITING);
            if tcb.hot.state == State::Closed || !tcb.hot.marks.has(Marks::WANTS_ROOM) {
                continue;
            }
            deliver::resume(tcb, &mut Context { id, shared: &mut self.shared, app, tx });
            if tcb.hot.marks.has(Marks::WANTS_ROOM) && !tcb.hot.marks.has(Marks::WAITING) {
                tcb.hot.marks.set(Marks::WAITING);
                self.shared.waiting.push_back(id);
            }
        }
    }

    /// Begins an active open (RFC 9293 §3.10.1); [`Application::opened`] or [`Application::closed`] follows.
    pub fn connect<T: Transmit>(&mut self, now: Instant, to: &Connect, tx: &mut T) -> Result<ConnId, ConnectError> {
        self.connect_with(now, to, A::Conn::default(), tx)
    }

    /// As [`Stack::connect`], with the application's state for the connection: a client whose attempt is refused
    /// finds in it which one that was.
    pub fn connect_with<T: Transmit>(
        &mut self,
        now: Instant,
        to: &Connect,
        conn: A::Conn,
        tx: &mut T,
    ) -> Result<ConnId, ConnectError> {
        self.set_clock(now);
        if !self.shared.config.addresses.iter().any(|local| local.address == to.local) {
            return Err(ConnectError::NotOurs);
        }
        let tuple =
            Tuple { remote: to.remote, local: to.local, remote_port: to.remote_port, local_port: to.local_port };
        let hash = self.keyed.hash(&tuple);
        if self.owner_of(hash, &tuple).is_some() {
            return Err(ConnectError::InUse);
        }
        if self.free.len() <= self.half_open.len() as usize {
            return Err(ConnectError::Full);
        }
        let id = *self.free.last().ok_or(ConnectError::Full)?;
        let tcb = &mut self.tcbs[id as usize];
        let iss = self.keyed.initial_seq(&tuple, now);
        tcb.hot = Hot { marks: tcb.hot.marks, tuple, link: to.link, state: State::SynSent, ..Hot::default() };
        tcb.hot.ts_offset = self.keyed.timestamp_offset(&tuple);
        tcb.hot.snd.una = iss;
        tcb.cold.ssthresh = u32::MAX;
        tcb.cold.recover = iss;
        tcb.cold.token = to.token;
        tcb.warm.heard_at = self.shared.tick;
        if !output::syn(tcb, &mut self.shared, tx) {
            let still_listed = tcb.hot.marks.only(Marks::READY.with(Marks::WAITING));
            *tcb = Tcb::default();
            tcb.hot.marks = still_listed;
            return Err(ConnectError::NoFrame);
        }
        self.free.pop();
        self.demux.insert(hash, Owner::Connection(id));
        self.shared.counters.active_opens += 1;
        let tcb = &mut self.tcbs[id as usize];
        tcb.conn = conn;
        tcb.arm(id, &mut self.shared);
        Ok(ConnId(id))
    }

    #[inline]
    fn owner_of(&self, hash: u32, tuple: &Tuple) -> Option<Owner> {
        self.demux.find(hash, |owner| match owner {
            Owner::Connection(id) => self.tcbs[id as usize].hot.tuple == *tuple,
            Owner::HalfOpen(index) => self.half_open.get(index).tuple == *tuple,
            Owner::TimeWait(index) => self.time_wait.get(index).tuple == *tuple,
        })
    }

    /// Lets the application act on an open connection of its own accord: a client that sends its next request.
    /// Returns `None` if the connection is not open. What is queued goes out with the next [`Stack::flush`].
    pub fn with<R>(
        &mut self,
        id: ConnId,
        act: impl FnOnce(&mut A::Conn, &mut Reply<'_, A::Blob>) -> R,
    ) -> Option<R> {
        let tcb = self.tcbs.get_mut(id.index())?;
        let is_open = matches!(tcb.hot.state, State::Established | State::CloseWait);
        (is_open && !tcb.hot.marks.has(Marks::CLOSING)).then(|| tcb.call::<A, R>(id.0, &mut self.shared, act))
    }

    /// Accepts no further connection; SYNs are refused.
    pub fn stop_accepting(&mut self) {
        self.accepts = false;
    }

    /// Closes every connection that nothing is queued for, nothing is kept for, and that `may_close` agrees to: nobody
    /// waits for anything there. Call again for those that have finished since.
    pub fn close_idle(&mut self, may_close: impl Fn(&A::Conn) -> bool) {
        for id in 0..self.tcbs.len() as u32 {
            let tcb = &mut self.tcbs[id as usize];
            let is_open = tcb.hot.state == State::Established && !tcb.hot.marks.has(Marks::CLOSING);
            if is_open && tcb.hot.queue.is_empty() && tcb.cold.kept.is_empty() && may_close(&tcb.conn) {
                tcb.close(&mut self.shared);
                self.shared.make_ready(&mut tcb.hot, id);
            }
        }
    }

    /// Resets every connection that is left.
    pub fn abort_all<T: Transmit>(&mut self, app: &mut A, tx: &mut T) {
        for id in 0..self.tcbs.len() as u32 {
            let hot = &self.tcbs[id as usize].hot;
            if hot.state != State::Closed {
                if hot.state != State::SynSent {
                    // RFC 9293 §3.10.5: a SYN alone is not taken back.
                    output::reset(hot, hot.snd.nxt, &mut self.shared, tx);
                }
                self.end(id, Closed::Aborted, app);
            }
        }
    }
}

/// A segment with its four-tuple and that one's hash.
struct Arrival<'a> {
    hash: u32,
    tuple: Tuple,
    segment: Segment<'a>,
}

/// What can be said of a segment without knowing its connection.
#[inline]
fn check_segment(segment: &Segment<'_>, config: &Config) -> Result<(), DropReason> {
    if !config.addresses.iter().any(|local| local.address == segment.local) {
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
