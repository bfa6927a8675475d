//! The control block: the state of one connection, and the operations that every module of
//! [`super`] uses.

use super::congestion::Control;
use super::held::{Backlog, Held};
use super::path_search::Search;
use super::recovery::Recovery;
use super::rtt::RttEstimator;
use super::{ConnFlags, Phase, Shared, State, ecn, window};
use crate::config::Config;
use crate::demux::Tuple;
use crate::flight::Flight;
use crate::reassembly::Reassembly;
use crate::seq::Seq;
use crate::wire::Link;
use simoom_io::send::Queue;
use simoom_io::timer::Tick;
use simoom_io::{Blob, Exchange, Flow, InputBuffer, Requests};
use std::mem::offset_of;

/// The send sequence space, RFC 9293 §3.3.1: SND.UNA ≤ SND.NXT.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Snd {
    pub(crate) una: Seq,
    pub(crate) nxt: Seq,
    /// SND.WND, scaled up: bytes from `una` on that the peer accepts.
    pub(crate) wnd: u32,
    /// SEG.SEQ of the last window update.
    pub(crate) wl1: Seq,
    /// Congestion window in bytes.
    pub(crate) cwnd: u32,
}

/// The receive sequence space, RFC 9293 §3.3.1.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rcv {
    pub(crate) nxt: Seq,
    /// The right edge of the window as last advertised. It never moves left (RFC 9293 §3.8.6).
    pub(crate) edge: Seq,
    /// RCV.NXT as last acknowledged (RFC 7323: Last.ACK.sent).
    pub(crate) acked: Seq,
    /// TS.Recent (RFC 7323 §4.3).
    pub(crate) ts_recent: u32,
}

/// The shifts of windows (RFC 7323 §2), each at most 14.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scales(u8);

impl Scales {
    /// `snd` is the shift of the peer's windows, `rcv` the shift of this side's.
    pub(crate) fn new(snd: u8, rcv: u8) -> Scales {
        Scales(snd << 4 | rcv)
    }

    #[inline]
    pub(crate) fn snd(self) -> u8 {
        self.0 >> 4
    }

    #[inline]
    pub(crate) fn rcv(self) -> u8 {
        self.0 & 0xf
    }
}

/// State that every segment uses: two cache lines.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hot {
    pub(crate) tuple: Tuple,
    pub(crate) link: Link,
    pub(crate) state: State,
    pub(crate) scales: Scales,
    /// How many times auto-tuning has doubled the receive window.
    pub(crate) window_doublings: u8,
    pub(crate) phase: Phase,
    pub(crate) flags: ConnFlags,
    /// Payload bytes of a full segment to the peer, options subtracted.
    pub(crate) mss: u16,
    pub(crate) snd: Snd,
    pub(crate) rcv: Rcv,
    /// Added to the clock for TSval, so that timestamps do not reveal the uptime.
    pub(crate) ts_offset: u32,
    /// Deadline of `timer_event`.
    pub(crate) retransmit_at: Tick,
    pub(crate) queue: Queue,
}

/// State that a request uses beyond [`Hot`]: one cache line if the application's state is at most
/// 24 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Warm {
    pub(crate) rtt: RttEstimator,
    pub(crate) flight: Flight,
    pub(crate) ack_at: Tick,
    /// The application's deadline. After the application has closed: when to stop waiting for the
    /// peer to close.
    pub(crate) app_at: Tick,
    /// When the near timer fires: not later than any near deadline.
    pub(crate) near_at: Tick,
    /// When the last acceptable segment of the peer arrived.
    pub(crate) last_received_at: Tick,
    /// When the far timer fires: not later than any far deadline.
    pub(crate) far_at: Tick,
    /// RCV.NXT when the peer's rate was last measured.
    pub(crate) rate_from: Seq,
    /// What the application has requested.
    pub(crate) flow: Flow,
    /// The last text arrived soon after the segment before it ([`BUSY_MS`]).
    pub(crate) is_busy: bool,
}

/// A peer that sends text within this time after its last segment probably sends more before a
/// near timer of this connection fires.
pub(crate) const BUSY_MS: i32 = 50;

/// The timer event that `retransmit_at` is the deadline of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TimerEvent {
    /// A retransmission, or a probe of a zero window.
    #[default]
    Retransmission,
    /// A tail loss probe (RFC 8985 §7).
    LossProbe,
    /// The RACK reordering timer (RFC 8985 §6.3).
    Reordering,
    /// The next segment of a paced connection.
    Pacing,
}

/// State that an ordinary request does not use. The fields before `peer_fin` are used now and then.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cold {
    pub(crate) input: InputBuffer,
    pub(crate) reassembly: Reassembly,
    /// The largest window that the peer has advertised, for silly-window avoidance.
    pub(crate) max_wnd: u32,
    /// SND.NXT when loss was detected (RFC 6582).
    pub(crate) recover: Seq,
    /// Since when data waits for the peer's window or acknowledgement. [`Tick::NEVER`] if no data
    /// waits.
    pub(crate) stalled_since: Tick,
    pub(crate) timer_event: TimerEvent,
    /// How often the retransmission or persist timer has backed off (RFC 6298 §5.5).
    pub(crate) timeouts: u8,
    /// Consecutive keep-alive probes without an answer.
    pub(crate) probes: u8,
    /// `backlog` holds input that follows the bytes in `input`.
    pub(crate) has_backlog: bool,
    /// The sequence number of the peer's FIN, if FIN_SEEN is set.
    pub(crate) peer_fin: Seq,
    /// SND.NXT when the congestion window was last fully used, if CWND_LIMITED is set.
    pub(crate) limited_until: Seq,
    /// The token that the application passed to an active open.
    pub(crate) token: u32,
    /// The connection's number among all that the stack has opened.
    pub(crate) opened: u32,
    pub(crate) ecn: ecn::State,
    /// When the peer's rate was last measured, in microseconds modulo 2³².
    pub(crate) rate_at_us: u32,
    /// When the next segment of a paced connection may be sent, in microseconds modulo 2³².
    pub(crate) paced_us: u32,
    /// Input that follows the bytes in `input`.
    pub(crate) backlog: Backlog,
    /// The duplicate to report once by D-SACK (RFC 2883), if REPORT_OWED is set.
    pub(crate) duplicate: (Seq, Seq),
    /// When the application last consumed input, or when the first held byte arrived.
    pub(crate) held_since: Tick,
    /// More input followed that which is held, and there was no memory for it.
    pub(crate) lacks_input: bool,
    /// The application read later, and is not shown what is held before that is as much as it has
    /// seen.
    pub(crate) was_put_off: bool,
    /// The peer has acknowledged at least one full segment at once.
    pub(crate) full_arrived: bool,
    /// The search for a larger path MTU.
    pub(crate) search: Search,
}

/// A connection's control block. What every segment needs comes first, what only loss recovery
/// needs comes last.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Tcb<C> {
    pub(crate) hot: Hot,
    pub(crate) warm: Warm,
    pub(crate) conn: C,
    pub(crate) cold: Cold,
    pub(crate) recovery: Recovery,
    pub(crate) control: Control,
}

const _: () = assert!(
    offset_of!(Tcb<[u64; 4]>, cold) + offset_of!(Cold, peer_fin) <= 256,
    "what a request touches outgrew four cache lines"
);
const _: () =
    assert!(size_of::<Hot>() <= 128, "the hot part of a control block outgrew two cache lines");
const _: () = assert!(
    size_of::<Tcb<[u64; 8]>>() <= 512,
    "a control block outgrew its share of a connection's 1 KiB"
);

impl<C> Tcb<C> {
    /// Whether a duplicate was received and is not reported yet.
    #[inline]
    pub(crate) fn owes_report(&self) -> bool {
        self.hot.flags.has(ConnFlags::REPORT_OWED)
    }

    /// Handles one event between transport and application, and carries out the application's
    /// requests.
    #[inline]
    pub(crate) fn event<B: Blob, R>(
        &mut self,
        id: u32,
        shared: &mut Shared<B>,
        event: impl FnOnce(&mut Exchange<'_, C, B, Held<'_>>) -> R,
    ) -> R {
        let input = Held {
            cold: &mut self.cold,
            inputs: &mut shared.inputs,
            counters: &mut shared.counters,
            config: &shared.config,
            window_doublings: self.hot.window_doublings,
            tick: shared.tick,
        };
        let Hot { queue, .. } = &mut self.hot;
        let mut exchange =
            Exchange::new(&mut self.conn, &mut self.warm.flow, queue, &mut shared.send, input);
        let result = event(&mut exchange);
        let requests = exchange.requests();
        self.serve(id, requests, shared);
        result
    }

    /// Carries out the requests that need the transport.
    #[inline]
    fn serve<B: Blob>(&mut self, id: u32, requests: Requests, shared: &mut Shared<B>) {
        self.set_deadline(requests.deadline, shared);
        let Requests { deadline: _, wants_capacity, yields, overflow, overfull } = requests;
        if wants_capacity | yields | overflow | overfull {
            self.serve_rare(id, [wants_capacity, yields, overflow, overfull], shared);
        }
        shared.make_ready(&mut self.hot, id);
    }

    /// Sets the application's deadline if it has asked for another.
    #[inline]
    pub(super) fn set_deadline<B>(
        &mut self,
        deadline: Option<Option<smoltcp::time::Duration>>,
        shared: &Shared<B>,
    ) {
        if let Some(deadline) = deadline {
            self.warm.app_at =
                deadline.map_or(Tick::NEVER, |after| shared.tick.plus(millis(after)));
        }
    }

    /// Carries out requests other than for a deadline. Most events have none.
    #[inline(never)]
    fn serve_rare<B: Blob>(
        &mut self,
        id: u32,
        [wants_capacity, yields, overflow, overfull]: [bool; 4],
        shared: &mut Shared<B>,
    ) {
        if wants_capacity {
            let is_new = shared.make_waiting(&mut self.hot, id);
            shared.counters.waits_for_capacity += u64::from(is_new);
        }
        if yields {
            shared.make_yielded(&mut self.hot, id);
        }
        shared.counters.answer_overflow += u64::from(overflow);
        shared.counters.input_overfull += u64::from(overfull);
    }

    /// Closes this side: it sends what is queued, and reads no more.
    pub(crate) fn close<B: Blob>(&mut self, id: u32, shared: &mut Shared<B>) {
        self.event(id, shared, |exchange| {
            exchange.close();
        });
    }

    /// Resets the connection at the next flush.
    pub(crate) fn abort<B: Blob>(&mut self, id: u32, shared: &mut Shared<B>) {
        self.event(id, shared, |exchange| {
            exchange.abort();
        });
    }

    /// Frees everything that the connection holds of the pools.
    pub(crate) fn release<B: Blob>(&mut self, shared: &mut Shared<B>) {
        self.hot.queue.clear(&mut shared.send);
        self.warm.flight.clear(&mut shared.flight);
        self.clear_held(shared);
        self.cold.reassembly.clear(&mut shared.inputs.reassembly);
        window::shrink(self, shared);
    }

    /// Resets the block to its default for the next connection. If a worker list still contains the
    /// block, the flag of that list stays set. Timers stay in the wheel as well: they mostly fire
    /// before the deadlines of the next connection, which then need no change of the wheel.
    pub(crate) fn reset_block(&mut self)
    where
        C: Default,
    {
        let lists = ConnFlags::READY.with(ConnFlags::WAITING).with(ConnFlags::YIELDED);
        let still_listed = self.hot.flags.only(lists);
        let Warm { near_at, far_at, .. } = self.warm;
        *self = Tcb::default();
        self.hot.flags = still_listed;
        (self.warm.near_at, self.warm.far_at) = (near_at, far_at);
    }

    /// The next deadline that changes with every exchange: milliseconds to seconds ahead.
    #[inline]
    fn near_deadline(&self) -> Tick {
        self.hot.retransmit_at.sooner(self.warm.ack_at)
    }

    /// The next deadline that a connection mostly postpones: seconds to hours ahead.
    #[inline]
    fn far_deadline<B>(&self, shared: &Shared<B>) -> Tick {
        let keep_alive = self.keep_alive_at(&shared.config);
        self.warm.app_at.sooner(keep_alive).sooner(window::shrink_at(self))
    }

    /// When the next keep-alive probe is due, or the peer is given up. [`Tick::NEVER`] if
    /// keep-alive is off, or while segments are in flight (RFC 9293 §3.8.4).
    #[inline]
    pub(super) fn keep_alive_at(&self, config: &Config) -> Tick {
        if self.in_flight() > 0 {
            return Tick::NEVER;
        }
        let keep_alive_ms = config.keep_alive_ms(self.hot.tuple.local_port);
        if keep_alive_ms == 0 {
            return Tick::NEVER;
        }
        let interval_ms = config.keep_alive_interval_ms.min(keep_alive_ms);
        let idle_ms = keep_alive_ms + u32::from(self.cold.probes) * interval_ms;
        self.warm.last_received_at.plus(idle_ms)
    }

    /// Schedules this connection's timers. A deadline that moved away leaves the wheel alone: the
    /// timer fires early and is set again. Near and far deadlines have a timer each, so that a
    /// retransmission deadline does not displace the idle deadline.
    #[inline(always)]
    pub(crate) fn arm<B>(&mut self, id: u32, shared: &mut Shared<B>) {
        // After an answer, each timer has one deadline: keep-alive waits for the acknowledgement.
        let is_plain = self.in_flight() > 0
            && self.hot.retransmit_at != Tick::NEVER
            && self.warm.ack_at == Tick::NEVER
            && self.hot.window_doublings == 0;
        if !is_plain {
            return self.arm_any(id, shared);
        }
        let (near, far) = (self.hot.retransmit_at, self.warm.app_at);
        debug_assert_eq!((near, far), (self.near_deadline(), self.far_deadline(shared)));
        self.schedule_near(id, near, shared);
        self.schedule_far(id, far, shared);
    }

    /// As [`Tcb::arm`], whatever the deadlines are.
    #[inline(never)]
    pub(super) fn arm_any<B>(&mut self, id: u32, shared: &mut Shared<B>) {
        let near = self.near_deadline();
        if near == Tick::NEVER {
            // Everything was acknowledged just now. The neighbours in the wheel's list are still in
            // the cache, and they will not be when the timer fires. A busy connection needs the
            // timer again before that.
            if self.warm.near_at != Tick::NEVER && !self.warm.is_busy {
                self.warm.near_at = Tick::NEVER;
                shared.wheel.cancel(near_timer(id));
            }
        } else {
            self.schedule_near(id, near, shared);
        }
        self.schedule_far(id, self.far_deadline(shared), shared);
    }

    #[inline(always)]
    fn schedule_near<B>(&mut self, id: u32, at: Tick, shared: &mut Shared<B>) {
        if at.is_sooner_than(self.warm.near_at) {
            self.warm.near_at = at;
            shared.wheel.schedule(near_timer(id), at);
        }
    }

    #[inline(always)]
    fn schedule_far<B>(&mut self, id: u32, at: Tick, shared: &mut Shared<B>) {
        if at.is_sooner_than(self.warm.far_at) {
            self.warm.far_at = at;
            shared.wheel.schedule(far_timer(id), at);
        }
    }

    /// One of this connection's timers has fired.
    pub(crate) fn fired(&mut self, timer: u32) {
        let at =
            if timer.is_multiple_of(2) { &mut self.warm.near_at } else { &mut self.warm.far_at };
        *at = Tick::NEVER;
    }

    /// Reads a word of each cache line.
    #[inline]
    pub(crate) fn prefetch(&self) -> u32 {
        u32::from(self.hot.mss)
            ^ self.hot.queue.len() as u32
            ^ self.warm.rtt.srtt_us()
            ^ self.cold.max_wnd
    }

    /// Sequence numbers sent and not acknowledged, including a FIN.
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.hot.snd.nxt.since(self.hot.snd.una)
    }
}

/// The timer for a connection's near deadlines.
#[inline]
pub(crate) const fn near_timer(id: u32) -> u32 {
    2 * id
}

/// The timer for a connection's far deadlines.
#[inline]
pub(crate) const fn far_timer(id: u32) -> u32 {
    2 * id + 1
}

/// A duration in whole milliseconds, rounded up, at most 2³⁰.
pub(crate) fn millis(duration: smoltcp::time::Duration) -> u32 {
    (duration.total_micros().saturating_add(999) / 1000).min(1 << 30) as u32
}
