//! LISTEN, and SYN-RECEIVED for connections that a peer opens (RFC 9293 §3.10.7.1, §3.10.7.2 and
//! §3.10.7.4).

use super::Stack;
use super::receive::Arrival;
use crate::cookie;
use crate::demux::{Owner, Tuple};
use crate::drop::DropReason;
use crate::listen;
use crate::listen::HalfOpen;
use crate::rate_limit::Response;
use crate::seq::Seq;
use crate::tcp::segment::{Numbers, Path, stateless};
use crate::tcp::{
    ConnFlags, Context, Shared, State, Transmit, congestion, ecn, handshake, path_search, window,
};
use crate::wire::{Address, Flags, Options, Segment};
use simoom_io::application::Application;

impl<A: Application> Stack<A> {
    /// Whether a SYN to the local end of this four-tuple is accepted.
    pub(super) fn listens(&self, tuple: &Tuple) -> bool {
        self.accepts && self.has_listener(tuple.local_port, &tuple.local)
    }

    fn has_listener(&self, port: u16, local: &Address) -> bool {
        self.ports.contains(port) && self.shared.config.serves(local, port)
    }

    /// §3.10.7.2 LISTEN, and §3.10.7.1 CLOSED without a listener.
    pub(super) fn for_listener<T: Transmit>(
        &mut self,
        arrival: &Arrival<'_>,
        app: &mut A,
        tx: &mut T,
    ) -> bool {
        let segment = &arrival.segment;
        if !self.shared.config.may_be_peer(&segment.remote) {
            self.shared.drop(DropReason::IpSource);
            return true;
        }
        if !segment.flags.has_any(Flags::ACK.with(Flags::RST)) && self.listens(&arrival.tuple()) {
            match segment.flags.only_synchronize() {
                true => self.open_half(arrival, None, tx),
                false => self.shared.drop(DropReason::TcpFlags),
            }
            return true;
        }
        if self.may_bear_cookie(segment) && self.complete_cookie(arrival, app, tx) {
            return true;
        }
        if self.shared.config.reports_strays && !segment.flags.has(Flags::SYN) {
            self.shared.drop(DropReason::Stray);
            return false;
        }
        self.send_refusal(segment, tx);
        true
    }

    /// Answers a SYN. The initial sequence number is beyond `used_up`, the last one of an earlier
    /// connection with this four-tuple (RFC 9293 §3.6.1 MAY-2).
    pub(super) fn open_half<T: Transmit>(
        &mut self,
        arrival: &Arrival<'_>,
        used_up: Option<Seq>,
        tx: &mut T,
    ) {
        let tuple = arrival.tuple();
        let Some(left) = self.may_open(&tuple) else { return };
        let (half_open, free) = (self.half_open.len() as usize, self.free.len());
        // Handshakes by cookie hold nothing. Half of the blocks are left for them, and so is the
        // last capacity of a port and of a prefix: no number of forged SYNs uses it up.
        let is_crowded =
            self.half_open.is_full() || 2 * half_open >= free || half_open >= left as usize;
        if is_crowded && self.shared.config.syn_cookies {
            return self.send_cookie(arrival, tx);
        }
        let (iss, ts_offset) = self.keyed.initial(&tuple, self.shared.now);
        let iss = used_up.map_or(iss, |used_up| iss.max(used_up + u32::from(u16::MAX)));
        let numbers = (iss, ts_offset);
        let mut entry = HalfOpen::of(&arrival.segment, tuple, numbers, self.shared.now);
        entry.ecn = ecn::is_asked(&arrival.segment, self.shared.config.ecn);
        let retry_at = entry.retry_at();
        let Some(index) = self.half_open.insert(entry) else {
            return self.shared.drop(DropReason::HalfOpenFull);
        };
        self.demux.insert(arrival.hash, Owner::HalfOpen(index));
        // The timer of an earlier entry stays in the wheel, and is set again when it fires.
        self.shared.wheel.bring_forward(self.half_open_timer(index), retry_at);
        self.send_syn_ack(index, tx);
    }

    /// How many more connections there is capacity for, if at least one. Counts the drop if not.
    pub(super) fn may_open(&mut self, tuple: &Tuple) -> Option<u32> {
        // A control block is reserved from the start: a handshake that completes finds one.
        if self.half_open.len() as usize >= self.free.len() {
            self.shared.drop(DropReason::ConnectionsFull);
            return None;
        }
        self.capacity_left(tuple)
    }

    /// How many more connections the limits of its prefix and of its port admit, if at least one.
    /// Counts the drop if not.
    fn capacity_left(&mut self, tuple: &Tuple) -> Option<u32> {
        let of_prefix = self.prefixes.left(&tuple.remote);
        if of_prefix == 0 {
            self.shared.drop(DropReason::PrefixFull);
            return None;
        }
        let of_port = self.ports.admits(tuple.local_port);
        if of_port.is_none() {
            self.shared.drop(DropReason::PortFull);
        }
        of_port.map(|of_port| of_prefix.min(of_port))
    }

    /// Answers a SYN with a cookie and stores nothing. The peer's acknowledgement returns the
    /// cookie to [`Stack::complete_cookie`].
    fn send_cookie<T: Transmit>(&mut self, arrival: &Arrival<'_>, tx: &mut T) {
        let (tuple, segment) = (arrival.tuple(), &arrival.segment);
        let Shared { config, tick, now, counters, .. } = &mut self.shared;
        let iss = cookie::make(&self.keyed, &tuple, segment.seq, segment.options.mss, *now);
        let numbers = (iss, self.keyed.timestamp_offset(&tuple));
        let mut entry = HalfOpen::of(segment, tuple, numbers, *now);
        entry.ecn = ecn::is_asked(segment, config.ecn);
        config.cookies.sent(*tick);
        if entry.send_cookie(config, *tick, tx) {
            counters.segments_sent += 1;
            counters.syn_acks_sent += 1;
            counters.syn_cookies_sent += 1;
        }
    }

    /// Whether a cookie may come back that a worker of the device has sent.
    pub(super) fn has_cookies_out(&self) -> bool {
        self.shared.config.cookies.is_any(self.shared.tick)
    }

    /// Whether cookies are outstanding, and a segment without a connection could carry one.
    fn may_bear_cookie(&self, segment: &Segment<'_>) -> bool {
        // Also when no SYN is accepted any more: the peer believes that it is connected.
        self.has_cookies_out()
            && segment.flags.only_acknowledge()
            && self.has_listener(segment.local_port, &segment.local)
    }

    /// Completes the handshake if its last segment carries a valid cookie. Returns whether it does.
    fn complete_cookie<T: Transmit>(
        &mut self,
        arrival: &Arrival<'_>,
        app: &mut A,
        tx: &mut T,
    ) -> bool {
        let (tuple, segment) = (arrival.tuple(), &arrival.segment);
        let (irs, iss, now) = (segment.seq - 1, segment.ack - 1, self.shared.now);
        let Some(mss) = cookie::check(&self.keyed, &tuple, irs, iss, now) else {
            self.shared.counters.syn_cookies_failed += 1;
            return false;
        };
        if self.half_open.len() as usize >= self.free.len() {
            // The peer believes that it is connected, and will retransmit.
            self.shared.drop(DropReason::ConnectionsFull);
            return true;
        }
        if self.capacity_left(&tuple).is_none() {
            return true;
        }
        self.shared.counters.syn_cookies_received += 1;
        let entry = HalfOpen::of_cookie(segment, tuple, mss, &self.keyed);
        let id = self.free.pop().expect("there are more blocks than half-open connections");
        self.demux.insert(arrival.hash, Owner::Connection(id));
        self.establish(id, &entry, arrival, app, tx);
        true
    }

    pub(super) fn send_syn_ack<T: Transmit>(&mut self, index: u32, tx: &mut T) {
        let Shared { config, tick, counters, .. } = &mut self.shared;
        if self.half_open.get(index).send_syn_ack(config, *tick, tx) {
            counters.segments_sent += 1;
            counters.syn_acks_sent += 1;
        }
    }

    /// Whether a segment may belong to a connection whose cookie is still in flight, reordered or
    /// lost.
    fn may_follow_cookie(&self, segment: &Segment<'_>) -> bool {
        !segment.is_empty()
            && self.may_bear_cookie(segment)
            && cookie::may_be(&self.keyed, &Tuple::of(segment), segment.ack - 1, self.shared.now)
    }

    /// §3.10.7.1: resets a segment without a connection.
    pub(super) fn send_refusal<T: Transmit>(&mut self, segment: &Segment<'_>, tx: &mut T) {
        if self.may_follow_cookie(segment) {
            return self.shared.drop(DropReason::NoCookie);
        }
        self.shared.drop(DropReason::NoListener);
        self.send_reset(segment, tx);
    }

    /// Sends a reset that the sender accepts, unless the segment is a reset.
    pub(super) fn send_reset<T: Transmit>(&mut self, segment: &Segment<'_>, tx: &mut T) {
        if segment.flags.has(Flags::RST) {
            return;
        }
        if !self.is_answered_anyway(segment) && !self.shared.may_respond(Response::Reset) {
            return;
        }
        let numbers = if segment.flags.has(Flags::ACK) {
            Numbers::plain(segment.ack, Seq(0), Flags::RST, 0)
        } else {
            let ack = segment.seq + segment.len();
            Numbers::plain(Seq(0), ack, Flags::RST.with(Flags::ACK), 0)
        };
        let tuple = Tuple::of(segment);
        let path = Path { tuple: &tuple, link: &segment.link };
        stateless(
            &path,
            numbers,
            &Options::default(),
            &self.shared.config,
            &mut self.shared.counters,
            tx,
        );
    }

    /// Whether a segment is a SYN for a served port, while no connection is accepted any more. Its
    /// reset is not longer than the SYN-ACK of a stack that accepts, and SYN-ACKs are not limited.
    /// So a limit protects nobody here, and a client without a reset waits for seconds instead of
    /// trying another server.
    fn is_answered_anyway(&self, segment: &Segment<'_>) -> bool {
        segment.flags.has(Flags::SYN)
            && !segment.flags.has(Flags::ACK)
            && self.has_listener(segment.local_port, &segment.local)
    }

    /// §3.10.7.4 SYN-RECEIVED, for a passive open. Returns `false` if the segment is a stray for
    /// the caller: a SYN and its retransmission may have reached two workers, and the peer
    /// acknowledges the SYN-ACK of only one.
    pub(super) fn for_half_open<T: Transmit>(
        &mut self,
        index: u32,
        arrival: &Arrival<'_>,
        app: &mut A,
        tx: &mut T,
    ) -> bool {
        let entry = *self.half_open.get(index);
        if self.shared.config.reports_strays && entry.is_for_other_worker(&arrival.segment) {
            self.shared.drop(DropReason::Stray);
            return false;
        }
        match entry.action(&arrival.segment, &self.shared.config) {
            listen::Action::Complete => self.complete(index, &entry, arrival, app, tx),
            listen::Action::Retransmit => {
                let asks = ecn::is_asked(&arrival.segment, self.shared.config.ecn);
                self.half_open.get_mut(index).syn_again(&arrival.segment, asks);
                self.send_syn_ack(index, tx);
            }
            listen::Action::Forget => self.forget_half_open(index, arrival.hash),
            listen::Action::Challenge(reason) => {
                self.shared.drop(reason);
                self.challenge_half_open(&entry, tx);
            }
            listen::Action::Refuse => {
                self.shared.drop(DropReason::BadAck);
                self.send_reset(&arrival.segment, tx);
            }
            listen::Action::Drop(reason) => self.shared.drop(reason),
        }
        true
    }

    pub(super) fn challenge_half_open<T: Transmit>(&mut self, entry: &HalfOpen, tx: &mut T) {
        if !self.shared.may_respond(Response::Challenge) {
            return;
        }
        let Shared { config, tick, counters, .. } = &mut self.shared;
        if entry.send_ack(config, *tick, tx) {
            counters.segments_sent += 1;
            counters.pure_acks_sent += 1;
            counters.challenge_acks += 1;
        }
    }

    pub(super) fn forget_half_open(&mut self, index: u32, hash: u32) {
        self.demux.remove(hash, Owner::HalfOpen(index));
        self.half_open.remove(index);
    }

    /// The handshake's last segment: allocates the control block, and processes the segment.
    pub(super) fn complete<T: Transmit>(
        &mut self,
        index: u32,
        entry: &HalfOpen,
        arrival: &Arrival<'_>,
        app: &mut A,
        tx: &mut T,
    ) {
        if self.capacity_left(&entry.tuple).is_none() {
            // Other connections took the capacity. The peer believes that it is connected, and will
            // retransmit.
            return;
        }
        let id = self.free.pop().expect("a block is reserved for each half-open connection");
        self.demux.replace(arrival.hash, Owner::HalfOpen(index), Owner::Connection(id));
        self.half_open.remove(index);
        self.establish(id, entry, arrival, app, tx);
    }

    /// Sets up the control block of a connection whose handshake `arrival` has completed.
    fn establish<T: Transmit>(
        &mut self,
        id: u32,
        entry: &HalfOpen,
        arrival: &Arrival<'_>,
        app: &mut A,
        tx: &mut T,
    ) {
        self.count_in(&entry.tuple);
        let tcb = &mut self.tcbs[id as usize];
        debug_assert!(tcb.hot.state == State::Closed, "a free block is reset");
        (tcb.hot.tuple, tcb.hot.link) = (entry.tuple, entry.link);
        if let Some(max) = tcb.hot.take_syn(entry.irs, &entry.options(), &self.shared) {
            path_search::begin(tcb, max, &self.shared);
        }
        window::begin(tcb, &self.shared);
        if entry.ecn {
            tcb.hot.flags.set(ConnFlags::ECN);
            self.shared.counters.ecn_connections += 1;
        }
        tcb.hot.state = State::Established;
        tcb.hot.ts_offset = entry.ts_offset;
        tcb.hot.snd.una = entry.iss + 1;
        tcb.hot.snd.nxt = entry.iss + 1;
        tcb.hot.snd.wnd = u32::from(arrival.segment.window) << tcb.hot.scales.snd();
        tcb.hot.snd.wl1 = arrival.segment.seq;
        tcb.hot.snd.cwnd =
            congestion::initial_window(u32::from(tcb.hot.mss), entry.retransmissions());
        congestion::control::begin(tcb, id, Some(entry.tuple.local_port), &self.shared);
        tcb.cold.max_wnd = tcb.hot.snd.wnd;
        tcb.cold.recover = entry.iss;
        tcb.warm.last_received_at = self.shared.tick;
        match entry.round_trip_us(self.shared.now) {
            Some(rtt_us) => {
                tcb.warm.rtt.measured(rtt_us);
                tcb.warm.rtt.shortest(rtt_us, self.shared.tick);
            }
            None => tcb.warm.rtt.handshake_retransmitted(),
        }
        self.shared.counters.passive_opens += 1;
        handshake::open(tcb, &mut Context { id, shared: &mut self.shared, app, tx }, false);
        self.for_connection(id, arrival, app, tx);
    }
}
