//! The control block: all that is known of one connection, and what every room of [`super`] does
//! with it.

use super::congestion::Control;
use super::held::{Backlog, Held};
use super::recovery::Recovery;
use super::rtt::RttEstimator;
use super::{Marks, Phase, Shared, State, ecn, window};
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
    /// SND.WND, scaled up: bytes from `una` on that the peer takes.
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
    /// The right edge of the window as last advertised; it never moves left (RFC 9293 §3.8.6).
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
    /// Of windows that the peer sends, and of those that this side sends.
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

/// What every segment of a connection touches: two cache lines.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hot {
    pub(crate) tuple: Tuple,
    pub(crate) link: Link,
    pub(crate) state: State,
    pub(crate) scales: Scales,
    /// How often the receive window was doubled.
    pub(crate) widened: u8,
    pub(crate) phase: Phase,
    pub(crate) marks: Marks,
    /// Payload bytes of a full segment to the peer, options subtracted.
    pub(crate) mss: u16,
    pub(crate) snd: Snd,
    pub(crate) rcv: Rcv,
    /// Added to the clock for TSval, so that connections do not tell the uptime.
    pub(crate) ts_offset: u32,
    /// Deadline of what [`Due`] says.
    pub(crate) resend_at: Tick,
    pub(crate) queue: Queue,
}

/// What a request touches besides: one cache line when the application's part is at most 24 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Warm {
    pub(crate) rtt: RttEstimator,
    pub(crate) flight: Flight,
    pub(crate) ack_at: Tick,
    /// The deadline that the application set; once it has closed, when to give up waiting for the
    /// peer to close.
    pub(crate) app_at: Tick,
    /// When the wheel looks at the near deadlines: not later than any of them.
    pub(crate) near_at: Tick,
    /// When the peer was last heard.
    pub(crate) heard_at: Tick,
    /// When the wheel looks at the far deadlines: not later than any of them.
    pub(crate) far_at: Tick,
    /// RCV.NXT when the peer's rate was last looked at.
    pub(crate) rate_from: Seq,
    /// What the application has asked for.
    pub(crate) flow: Flow,
}

/// What `resend_at` is the deadline of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Due {
    /// A retransmission, or a probe of a shut window.
    #[default]
    Retransmission,
    /// A tail loss probe (RFC 8985 §7).
    LossProbe,
    /// A look at what was out of order (RFC 8985 §6.3).
    Reordering,
    /// The next segment of a paced connection.
    Pacing,
}

/// What is touched only when something is out of the ordinary; down to `peer_fin`, now and then,
/// when nothing is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cold {
    pub(crate) input: InputBuffer,
    pub(crate) reassembly: Reassembly,
    /// The largest window that the peer ever offered, for silly-window avoidance.
    pub(crate) max_wnd: u32,
    /// SND.NXT when loss was detected (RFC 6582).
    pub(crate) recover: Seq,
    /// Since when data waits for the peer's window or acknowledgement; [`Tick::NEVER`] if none
    /// does.
    pub(crate) stalled_since: Tick,
    pub(crate) due: Due,
    /// Timeouts in a row without progress.
    pub(crate) timeouts: u8,
    /// Keep-alive probes in a row without an answer.
    pub(crate) probes: u8,
    /// There is input behind that in `input`, in `backlog`.
    pub(crate) has_backlog: bool,
    /// The sequence number of the peer's FIN, once FIN_SEEN.
    pub(crate) peer_fin: Seq,
    /// SND.NXT when the congestion window was last in full use, if CWND_LIMITED.
    pub(crate) limited_until: Seq,
    /// What the application passed to an active open.
    pub(crate) token: u32,
    /// Which of the connections that were ever opened it is.
    pub(crate) opened: u32,
    pub(crate) ecn: ecn::State,
    /// When the peer's rate was last looked at, in microseconds modulo 2³².
    pub(crate) rate_at_us: u32,
    /// When the next segment may go out, in the same time, if this connection is paced.
    pub(crate) paced_us: u32,
    /// Input behind that in `input`.
    pub(crate) backlog: Backlog,
    /// What was received again, to be reported once (RFC 2883), if REPORT_OWED.
    pub(crate) duplicate: (Seq, Seq),
    /// Since when input is held of which the application has consumed nothing more.
    pub(crate) held_since: Tick,
    /// As much as a full segment holds was acknowledged at once.
    pub(crate) full_arrived: bool,
}

/// A connection's control block: what every segment needs first, what only loss needs last.
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
    /// Whether something was received again and not reported yet.
    #[inline]
    pub(crate) fn owes_report(&self) -> bool {
        self.hot.marks.has(Marks::REPORT_OWED)
    }

    /// Handles an event between transport and application, and does what is asked for.
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
            most_blocks: window::reassembly_blocks(self.hot.widened, &shared.config),
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

    /// Does what only the transport can do.
    #[inline]
    fn serve<B: Blob>(&mut self, id: u32, requests: Requests, shared: &mut Shared<B>) {
        let Requests { deadline, wants_capacity, yields, overflow, overfull } = requests;
        if let Some(deadline) = deadline {
            self.warm.app_at =
                deadline.map_or(Tick::NEVER, |after| shared.tick.plus(millis(after)));
        }
        if wants_capacity {
            if !self.hot.marks.has(Marks::WAITING) {
                self.hot.marks.set(Marks::WAITING);
                shared.waiting.push_back(id);
                shared.counters.waits_for_room += 1;
            }
            if self.hot.queue.is_empty() {
                shared.send.refuse_newcomers(true);
            }
        }
        if yields {
            shared.make_yielded(&mut self.hot, id);
        }
        shared.counters.answer_overflow += u64::from(overflow);
        shared.counters.input_overfull += u64::from(overfull);
        shared.make_ready(&mut self.hot, id);
    }

    /// This side will send no more than what is queued, and reads no more.
    pub(crate) fn close<B: Blob>(&mut self, id: u32, shared: &mut Shared<B>) {
        self.event(id, shared, |exchange| {
            exchange.close();
        });
    }

    /// The connection is reset at the next flush.
    pub(crate) fn abort<B: Blob>(&mut self, id: u32, shared: &mut Shared<B>) {
        self.event(id, shared, |exchange| {
            exchange.abort();
        });
    }

    /// Gives everything back that the connection holds.
    pub(crate) fn release<B: Blob>(&mut self, shared: &mut Shared<B>) {
        self.hot.queue.clear(&mut shared.send);
        self.warm.flight.clear(&mut shared.flight);
        self.clear_held(shared);
        self.cold.reassembly.clear(&mut shared.inputs.reassembly);
        window::narrow(self, shared);
    }

    /// Makes the block as new, for another connection. Lists that it still stands on keep it, and
    /// it keeps their marks.
    pub(crate) fn vacate(&mut self)
    where
        C: Default,
    {
        let lists = Marks::READY.with(Marks::WAITING).with(Marks::YIELDED);
        let still_listed = self.hot.marks.only(lists);
        *self = Tcb::default();
        self.hot.marks = still_listed;
    }

    /// The deadlines that come and go with every exchange: milliseconds to seconds ahead.
    #[inline]
    fn near_deadline(&self) -> Tick {
        self.hot.resend_at.sooner(self.warm.ack_at)
    }

    /// The deadlines that a connection mostly puts off: seconds to hours ahead.
    #[inline]
    fn far_deadline<B>(&self, shared: &Shared<B>) -> Tick {
        let config = &shared.config;
        let keep_alive = if config.keep_alive_ms == 0 || self.in_flight() > 0 {
            Tick::NEVER
        } else {
            self.warm.heard_at.plus(
                config.keep_alive_ms + u32::from(self.cold.probes) * config.keep_alive_interval_ms,
            )
        };
        self.warm.app_at.sooner(keep_alive).sooner(window::rests_at(self))
    }

    /// Makes sure that the wheel looks at this connection in time. Deadlines that moved further
    /// away leave the wheel alone; near and far ones have a timer each, so that a retransmission
    /// deadline does not take the idle deadline out of its place.
    #[inline]
    pub(crate) fn arm<B>(&mut self, id: u32, shared: &mut Shared<B>) {
        let near = self.near_deadline();
        if near == Tick::NEVER {
            // Everything is acknowledged, just now: the neighbours in the wheel's list are still in
            // the cache, which they will not be when the timer fires.
            if self.warm.near_at != Tick::NEVER {
                self.warm.near_at = Tick::NEVER;
                shared.wheel.cancel(near_timer(id));
            }
        } else if near.is_sooner_than(self.warm.near_at) {
            self.warm.near_at = near;
            shared.wheel.schedule(near_timer(id), near);
        }
        let far = self.far_deadline(shared);
        if far.is_sooner_than(self.warm.far_at) {
            self.warm.far_at = far;
            shared.wheel.schedule(far_timer(id), far);
        }
    }

    /// The wheel has come to one of this connection's timers.
    pub(crate) fn fired(&mut self, timer: u32) {
        let at =
            if timer.is_multiple_of(2) { &mut self.warm.near_at } else { &mut self.warm.far_at };
        *at = Tick::NEVER;
    }

    /// A word of each cache line.
    #[inline]
    pub(crate) fn touch(&self) -> u32 {
        u32::from(self.hot.mss)
            ^ self.hot.queue.len() as u32
            ^ self.warm.rtt.srtt_us()
            ^ self.cold.max_wnd
    }

    /// Sequence numbers sent and not acknowledged, a FIN among them.
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

/// The timer for its far deadlines.
#[inline]
pub(crate) const fn far_timer(id: u32) -> u32 {
    2 * id + 1
}

/// A duration in whole milliseconds, rounded up, at most 2³⁰.
pub(crate) fn millis(duration: smoltcp::time::Duration) -> u32 {
    duration.total_micros().div_ceil(1000).min(1 << 30) as u32
}
