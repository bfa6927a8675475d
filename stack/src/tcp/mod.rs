//! One TCP connection: its control block and the rules that change it.
//!
//! [`input`] takes a segment and changes the block, [`output`] looks at the block and writes segments, [`timeout`]
//! does what time alone brings about. None of them keeps anything elsewhere: the block is the connection. What all
//! connections of a worker share, pools, wheel and counters, stands in [`Shared`].

pub(crate) mod congestion;
pub(crate) mod deliver;
pub(crate) mod input;
pub(crate) mod output;
pub(crate) mod rtt;
pub(crate) mod timeout;

use crate::application::{Application, Closed};
use crate::config::Config;
use crate::counters::Counters;
use crate::demux::Tuple;
use crate::drop::{DropReason, Drops};
use crate::keep::{self, Kept};
use crate::reassembly::{self, Reassembly};
use crate::send::{self, Queue, Reply, Wishes};
use crate::seq::Seq;
use crate::timer::{Tick, Wheel};
use crate::wire::Link;
use rtt::RttEstimator;
use smoltcp::time::Instant;
use std::collections::VecDeque;

/// The states of RFC 9293 §3.3.2 that a control block can be in. LISTEN, passive SYN-RECEIVED and TIME-WAIT have
/// tables of their own; CLOSED is a free block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// The block is free.
    #[default]
    Closed,
    /// An active open's SYN is out.
    SynSent,
    /// Both sides sent a SYN at once.
    SynReceived,
    /// Data flows both ways.
    Established,
    /// This side has closed; its FIN is not acknowledged.
    FinWait1,
    /// This side has closed; the other has not.
    FinWait2,
    /// The other side has closed; this side has not.
    CloseWait,
    /// Both closed at once; this side's FIN is not acknowledged.
    Closing,
    /// Both have closed, the other first; this side's FIN is not acknowledged.
    LastAck,
}

/// One-bit facts of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(u16);

impl Marks {
    /// On the list of connections that the next flush looks at.
    pub(crate) const READY: Marks = Marks(1 << 0);
    /// On the list of connections that wait for the send pool.
    pub(crate) const WAITING: Marks = Marks(1 << 1);
    /// Something was received that is not acknowledged yet.
    pub(crate) const ACK_OWED: Marks = Marks(1 << 2);
    /// ... and must be at the next flush.
    pub(crate) const ACK_NOW: Marks = Marks(1 << 3);
    /// Both sides sent timestamps in their SYN.
    pub(crate) const TIMESTAMPS: Marks = Marks(1 << 4);
    /// Both sides permitted SACK.
    pub(crate) const SACK: Marks = Marks(1 << 5);
    /// The application has closed: a FIN follows what is queued, input is discarded.
    pub(crate) const CLOSING: Marks = Marks(1 << 6);
    /// The FIN has been sent, at SND.NXT - 1.
    pub(crate) const FIN_SENT: Marks = Marks(1 << 7);
    /// The peer's FIN has come, at `peer_fin`; there may be a gap before it.
    pub(crate) const FIN_SEEN: Marks = Marks(1 << 15);
    /// The peer's FIN has been taken.
    pub(crate) const FIN_TAKEN: Marks = Marks(1 << 8);
    /// The application refused input for want of room.
    pub(crate) const WANTS_ROOM: Marks = Marks(1 << 9);
    /// A segment is being timed (RFC 6298 §3).
    pub(crate) const TIMED: Marks = Marks(1 << 10);
    /// Fast recovery (RFC 6582), until `recover` is acknowledged.
    pub(crate) const RECOVERY: Marks = Marks(1 << 11);
    /// After a timeout everything in flight is sent again, from `resend` on.
    pub(crate) const RESENDING: Marks = Marks(1 << 12);
    /// The application asked for a reset.
    pub(crate) const ABORT: Marks = Marks(1 << 13);
    /// `opened` has been called, so `closed` must be.
    pub(crate) const OPENED: Marks = Marks(1 << 14);
    /// Both sides sent a window scale.
    pub(crate) const SCALES: Marks = Marks(1 << 15);

    #[inline]
    pub(crate) const fn has(self, mark: Marks) -> bool {
        self.0 & mark.0 != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, mark: Marks) {
        self.0 |= mark.0;
    }

    #[inline]
    pub(crate) fn clear(&mut self, mark: Marks) {
        self.0 &= !mark.0;
    }

    /// Those of `marks` that are set.
    pub(crate) const fn only(self, marks: Marks) -> Marks {
        Marks(self.0 & marks.0)
    }

    #[inline]
    pub(crate) const fn with(self, mark: Marks) -> Marks {
        Marks(self.0 | mark.0)
    }
}

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

/// What every segment of a connection touches: two cache lines.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hot {
    pub(crate) tuple: Tuple,
    pub(crate) link: Link,
    pub(crate) state: State,
    /// Shift of windows that the peer sends.
    pub(crate) snd_scale: u8,
    /// Shift of windows that this side sends.
    pub(crate) rcv_scale: u8,
    /// Acknowledgements in a row that acknowledged nothing new.
    pub(crate) duplicate_acks: u8,
    pub(crate) marks: Marks,
    /// Payload bytes of a full segment to the peer, options subtracted.
    pub(crate) mss: u16,
    pub(crate) snd: Snd,
    pub(crate) rcv: Rcv,
    /// Added to the clock for TSval, so that connections do not tell the uptime.
    pub(crate) ts_offset: u32,
    /// Retransmission or persist deadline.
    pub(crate) resend_at: Tick,
    /// When the wheel looks at the near deadlines: not later than any of them.
    pub(crate) near_at: Tick,
    pub(crate) queue: Queue,
}

/// What a request touches besides: one cache line when the application's part is at most 24 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Warm {
    pub(crate) rtt: RttEstimator,
    /// The segment being timed ends here,
    pub(crate) timed_seq: Seq,
    /// and was sent at this time, in microseconds modulo 2³².
    pub(crate) timed_at_us: u32,
    pub(crate) ack_at: Tick,
    /// The deadline that the application set; once it has closed, when to give up waiting for the peer to close.
    pub(crate) app_at: Tick,
    /// When the peer was last heard.
    pub(crate) heard_at: Tick,
    /// When the wheel looks at the far deadlines: not later than any of them.
    pub(crate) far_at: Tick,
}

/// What is touched only when something is out of the ordinary.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cold {
    pub(crate) kept: Kept,
    pub(crate) reassembly: Reassembly,
    /// Where the latest out-of-order segment began, to report it first (RFC 2018 §4).
    pub(crate) latest_gap: Seq,
    /// The sequence number of the peer's FIN, once FIN_SEEN.
    pub(crate) peer_fin: Seq,
    pub(crate) ssthresh: u32,
    /// SND.NXT when loss was detected (RFC 6582).
    pub(crate) recover: Seq,
    /// While RESENDING: the next byte to send again.
    pub(crate) resend: Seq,
    /// The largest window that the peer ever offered, for silly-window avoidance.
    pub(crate) max_wnd: u32,
    /// Timeouts in a row without progress.
    pub(crate) timeouts: u8,
    /// Keep-alive probes in a row without an answer.
    pub(crate) probes: u8,
    /// Since when data waits for the peer's window or acknowledgement; [`Tick::NEVER`] if none does.
    pub(crate) stalled_since: Tick,
    /// What the application passed to an active open.
    pub(crate) token: u32,
}

/// A connection's control block.
#[derive(Debug, Default)]
pub(crate) struct Tcb<C> {
    pub(crate) hot: Hot,
    pub(crate) warm: Warm,
    pub(crate) conn: C,
    pub(crate) cold: Cold,
}

const _: () = assert!(size_of::<Hot>() <= 128, "the hot part of a control block outgrew two cache lines");
const _: () =
    assert!(size_of::<Tcb<[u64; 8]>>() <= 512, "a control block outgrew its share of a connection's 1 KiB");

/// What all connections of a worker share.
pub(crate) struct Shared<B> {
    pub(crate) config: Config,
    pub(crate) now: Instant,
    pub(crate) tick: Tick,
    pub(crate) send: send::Pool<B>,
    pub(crate) keep: keep::Pool,
    pub(crate) reassembly: reassembly::Pool,
    pub(crate) wheel: Wheel,
    /// Connections for the next flush to look at; each at most once, so the list never grows.
    pub(crate) ready: Vec<u32>,
    /// Connections whose application waits for the send pool; each at most once.
    pub(crate) waiting: VecDeque<u32>,
    /// Challenge ACKs (RFC 5961 §7).
    pub(crate) challenges: Budget,
    /// Resets for segments without a connection.
    pub(crate) resets: Budget,
    pub(crate) counters: Counters,
    pub(crate) drops: Drops,
}

/// A limit per second, for answers that a stranger can provoke.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget {
    per_second: u32,
    left: u32,
    until: Tick,
}

impl Budget {
    pub(crate) fn new(per_second: u32) -> Budget {
        Budget { per_second, left: 0, until: Tick::NEVER }
    }

    /// Takes one; `false` if this second's are used up.
    pub(crate) fn take(&mut self, now: Tick) -> bool {
        if self.until == Tick::NEVER || self.until.is_due(now) {
            (self.left, self.until) = (self.per_second, now.plus(1000));
        }
        let allowed = self.left > 0;
        self.left -= u32::from(allowed);
        allowed
    }
}

/// Takes the frames that the stack writes.
pub trait Transmit {
    /// Lends a frame of at least [`Config::frame_bytes`] to `write`, which returns how many bytes of it to send.
    /// Returns `false`, without calling `write`, when no frame is free: the stack tries again at the next flush.
    fn transmit(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool;
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes on.
    Lives,
    /// It is over on both sides and goes to TIME_WAIT.
    Lingers,
    /// It is over.
    Ends(Closed),
}

impl<B: send::Blob> Shared<B> {
    /// Puts a connection on the list for the next flush.
    #[inline]
    pub(crate) fn make_ready(&mut self, hot: &mut Hot, id: u32) {
        if !hot.marks.has(Marks::READY) {
            hot.marks.set(Marks::READY);
            self.ready.push(id);
        }
    }

    /// Counts a connection that is over.
    pub(crate) fn count_closed(&mut self, how: Closed) {
        let counters = &mut self.counters;
        let counter = match how {
            Closed::Finished => &mut counters.closed_finished,
            Closed::ResetByPeer => &mut counters.closed_reset_by_peer,
            Closed::TimedOut => &mut counters.closed_timed_out,
            Closed::Refused => &mut counters.closed_refused,
            Closed::Aborted => &mut counters.closed_aborted,
        };
        *counter += 1;
    }

    /// Counts a dropped segment.
    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.drops.note(reason);
    }
}

impl<C> Tcb<C> {
    /// Calls the application with a [`Reply`] and acts on what it asked for.
    #[inline]
    pub(crate) fn call<A: Application<Conn = C>, R>(
        &mut self,
        id: u32,
        shared: &mut Shared<A::Blob>,
        call: impl FnOnce(&mut C, &mut Reply<'_, A::Blob>) -> R,
    ) -> R {
        let (result, wishes) = self.ask::<A, R>(&mut shared.send, call);
        self.act(id, wishes, shared);
        result
    }

    /// Calls the application; what it asks for is returned, for [`Tcb::act`]. Input may meanwhile lie in the keep.
    #[inline]
    pub(crate) fn ask<A: Application<Conn = C>, R>(
        &mut self,
        send: &mut send::Pool<A::Blob>,
        call: impl FnOnce(&mut C, &mut Reply<'_, A::Blob>) -> R,
    ) -> (R, Wishes) {
        let mut wishes = Wishes::default();
        let result = call(&mut self.conn, &mut Reply::new(send, &mut self.hot.queue, &mut wishes));
        (result, wishes)
    }

    /// Does what the application asked for.
    #[inline]
    pub(crate) fn act<B: send::Blob>(&mut self, id: u32, wishes: Wishes, shared: &mut Shared<B>) {
        let Wishes { close, abort, overflow, wants_room, timeout } = wishes;
        if let Some(timeout) = timeout {
            self.warm.app_at = timeout.map_or(Tick::NEVER, |after| shared.tick.plus(millis(after)));
        }
        if wants_room {
            self.hot.marks.set(Marks::WANTS_ROOM);
            if !self.hot.marks.has(Marks::WAITING) {
                self.hot.marks.set(Marks::WAITING);
                shared.waiting.push_back(id);
            }
        }
        shared.counters.answer_overflow += u64::from(overflow);
        if abort || overflow {
            self.hot.marks.set(Marks::ABORT);
        }
        if close || abort || overflow {
            self.close(shared);
        }
        shared.make_ready(&mut self.hot, id);
    }

    /// This side will send no more than what is queued, and reads no more.
    pub(crate) fn close<B: send::Blob>(&mut self, shared: &mut Shared<B>) {
        self.hot.marks.set(Marks::CLOSING);
        self.hot.marks.clear(Marks::WANTS_ROOM);
        self.cold.kept.clear(&mut shared.keep);
        self.warm.app_at = Tick::NEVER;
    }

    /// Gives everything back that the connection holds.
    pub(crate) fn release<B: send::Blob>(&mut self, shared: &mut Shared<B>) {
        self.hot.queue.clear(&mut shared.send);
        self.cold.kept.clear(&mut shared.keep);
        self.cold.reassembly.clear(&mut shared.reassembly);
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
            self.warm
                .heard_at
                .plus(config.keep_alive_ms + u32::from(self.cold.probes) * config.keep_alive_interval_ms)
        };
        self.warm.app_at.sooner(keep_alive)
    }

    /// Makes sure that the wheel looks at this connection in time. Deadlines that moved further away leave the
    /// wheel alone; near and far ones have a timer each, so that a retransmission deadline does not take the idle
    /// deadline out of its place.
    #[inline]
    pub(crate) fn arm<B>(&mut self, id: u32, shared: &mut Shared<B>) {
        let near = self.near_deadline();
        if near == Tick::NEVER {
            // Everything is acknowledged, just now: the neighbours in the wheel's list are still in the cache, which
            // they will not be when the timer fires.
            if self.hot.near_at != Tick::NEVER {
                self.hot.near_at = Tick::NEVER;
                shared.wheel.cancel(near_timer(id));
            }
        } else if near.is_sooner_than(self.hot.near_at) {
            self.hot.near_at = near;
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
        let at = if timer.is_multiple_of(2) { &mut self.hot.near_at } else { &mut self.warm.far_at };
        *at = Tick::NEVER;
    }

    /// A word of each cache line.
    #[inline]
    pub(crate) fn touch(&self) -> u32 {
        u32::from(self.hot.mss) ^ self.hot.queue.len() as u32 ^ self.warm.timed_seq.0 ^ self.cold.max_wnd
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
