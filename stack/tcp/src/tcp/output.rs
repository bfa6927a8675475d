//! Segments go out: what the windows allow of the send queue, the FIN behind it, acknowledgements,
//! and again what was lost (RFC 9293 §3.8.6.2, RFC 5681, RFC 6298 §5).
//!
//! The control block says it all; nothing is remembered between calls. A frame is written straight
//! from the ranges of the send queue. When the transmitter has no frame left, the block is
//! unchanged and the next flush goes on.

use super::congestion::initial_window;
use super::recovery::Frto;
use super::segment::{Numbers, Way, emit, stateless};
use super::window::{opens_window, window_field};
use super::{
    Due, Hot, Marks, Phase, Shared, State, Tcb, Transmit, ecn, pace, recovery, sack, timeout,
};
use crate::drop::DropReason;
use crate::seq::Seq;
use crate::wire::tcp::{Flags, Options};
use simoom_io::application::Application;
use simoom_io::send::Blob;
use simoom_io::timer::Tick;

/// What is sent within so small a part of a round trip counts as sent at once.
const BLUR: u32 = 64;

/// Sends all that may be sent now. Returns `false` if the transmitter had no frame for something.
#[inline]
pub(crate) fn flush<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    shared: &mut Shared<A::Blob>,
    tx: &mut T,
) -> bool {
    let sent_all = match tcb.hot.state {
        State::SynSent | State::Closed => return true,
        // Nothing but what an unacceptable segment is answered with (RFC 9293 §3.10.7.4).
        State::SynReceived => acknowledge_if_due(tcb, shared, tx),
        _ => {
            resend(tcb, shared, tx)
                && send_new(tcb, shared, tx)
                && acknowledge_if_due(tcb, shared, tx)
        }
    };
    if !sent_all {
        shared.drop(DropReason::NoTransmitFrame);
    }
    sent_all
}

/// Sends queued bytes for the first time, and the FIN with the last of them.
#[inline]
fn send_new<C, B: Blob, T: Transmit>(tcb: &mut Tcb<C>, shared: &mut Shared<B>, tx: &mut T) -> bool {
    let mss = u32::from(tcb.hot.mss);
    if tcb.in_flight() == 0 && tcb.hot.snd.cwnd > initial_window(mss, 0) {
        resume(tcb, shared);
    }
    loop {
        let in_flight = tcb.in_flight();
        let unread = tcb.hot.queue.unread() as u32;
        let fin_due = tcb.warm.flow.is_closing() && !tcb.hot.marks.has(Marks::FIN_SENT);
        if unread == 0 && !fin_due {
            if in_flight + mss > tcb.hot.snd.cwnd {
                limited(tcb);
            } else if tcb.hot.marks.has(Marks::CWND_LIMITED) {
                no_longer_limited(tcb);
            }
            return true;
        }
        let window = tcb.hot.snd.wnd.saturating_sub(in_flight);
        let allowed = tcb.hot.snd.cwnd.saturating_sub(recovery::pipe(tcb));
        let len = unread.min(mss).min(window).min(allowed);
        if unread > 0 && len < unread.min(mss) && holds_back(tcb, len, in_flight) {
            if allowed < window {
                limited(tcb);
            }
            start_waiting(tcb, shared);
            return true;
        }
        if !tcb.warm.flight.takes_more(&shared.flight) {
            // What is sent now could not be told from what was reported: an acknowledgement will
            // make room.
            return true;
        }
        if in_flight > 0 && pace::holds(tcb, len, shared) {
            return true;
        }
        let fin = fin_due && len == unread;
        if !send_one(tcb, len, fin, shared, tx) {
            return false;
        }
    }
}

/// The congestion window is in full use: what is in flight now says something about the path.
fn limited<C>(tcb: &mut Tcb<C>) {
    tcb.hot.marks.set(Marks::CWND_LIMITED);
    tcb.cold.limited_until = tcb.hot.snd.nxt;
}

/// It is not any more: acknowledgements of what was in flight then still count.
#[cold]
fn no_longer_limited<C>(tcb: &mut Tcb<C>) {
    if tcb.hot.snd.una.at_or_after(tcb.cold.limited_until) {
        tcb.hot.marks.clear(Marks::CWND_LIMITED);
    }
}

/// A window that was out of use for a while is not trusted whole (RFC 5681 §4.1).
#[cold]
fn resume<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) {
    if tcb.hot.queue.unread() > 0 {
        let initial = initial_window(u32::from(tcb.hot.mss), 0);
        let rto_ms = tcb.warm.rtt.rto_ms(shared.config.min_rto_ms, 0);
        tcb.hot.snd.cwnd = tcb.control.resume(tcb.hot.snd.cwnd, shared.tick, rto_ms, initial);
    }
}

/// Whether a part of what could fill a segment had better wait (sender's silly-window avoidance,
/// RFC 9293 §3.8.6.2.1): unless it is half of the largest window seen.
fn holds_back<C>(tcb: &Tcb<C>, len: u32, in_flight: u32) -> bool {
    len == 0 || in_flight > 0 || len < tcb.cold.max_wnd / 2
}

/// Data waits for the peer's window: probe it from time to time (RFC 9293 §3.8.6.1), unless what is
/// in flight brings an acknowledgement anyway.
fn start_waiting<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) {
    if tcb.hot.resend_at == Tick::NEVER {
        let rto_ms = tcb.warm.rtt.rto_ms(shared.config.min_rto_ms, tcb.cold.timeouts);
        tcb.hot.resend_at = shared.tick.plus(rto_ms);
    }
    if tcb.cold.stalled_since == Tick::NEVER {
        tcb.cold.stalled_since = shared.tick;
    }
}

/// Sends the next `len` new bytes, and the FIN if that is due.
#[inline]
fn send_one<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    len: u32,
    fin: bool,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let (ecn_flags, ecn) = ecn::of_new_text(tcb, len);
    let mut flags = ecn::flags(tcb).with(ecn_flags);
    if u64::from(len) == tcb.hot.queue.unread() {
        flags = flags.with(Flags::PSH);
    }
    if fin {
        flags = flags.with(Flags::FIN);
    }
    let window = window_field(tcb, shared);
    let options = data_options(&tcb.hot, shared);
    let hot = &mut tcb.hot;
    let way = Way { tuple: &hot.tuple, link: &hot.link };
    let numbers = Numbers { seq: hot.snd.nxt, ack: hot.rcv.nxt, flags, ecn, window };
    let (queue, pool) = (&mut hot.queue, &shared.send);
    let sent = emit(&way, numbers, &options, len as usize, &shared.config, tx, |buf| {
        queue.read_next(pool, buf)
    });
    if !sent {
        return false;
    }
    shared.counters.segments_sent += 1;
    shared.counters.bytes_sent += u64::from(len);
    if fin {
        hot.marks.set(Marks::FIN_SENT);
        hot.state = if hot.state == State::CloseWait { State::LastAck } else { State::FinWait1 };
    }
    if hot.snd.nxt == hot.snd.una {
        // The persist timer may be running; its time and backoff are not those of what is sent now.
        // But a peer that opens its window by a byte now and then stays stalled.
        hot.resend_at = Tick::NEVER;
        tcb.cold.timeouts = 0;
    }
    hot.snd.nxt += len + u32::from(fin);
    acknowledged(hot);
    tcb.warm.ack_at = Tick::NEVER;
    if len > 0 {
        ecn::sent_new_text(tcb);
    }
    let (now_us, blur_us) = (shared.now_us(), tcb.warm.rtt.srtt_us() / BLUR);
    tcb.warm.flight.sent(&mut shared.flight, tcb.hot.snd.nxt, now_us, blur_us);
    recovery::sent(tcb, len + u32::from(fin));
    expect_answer(tcb, shared);
    true
}

/// Sends the next `len` bytes, windows and silliness aside: when the persist timer has run out over
/// what silly-window avoidance holds back (RFC 9293 §3.8.6.2.1), or as a probe.
pub(crate) fn send_next<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    len: u32,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let fin_due = tcb.warm.flow.is_closing() && !tcb.hot.marks.has(Marks::FIN_SENT);
    let is_last = u64::from(len) == tcb.hot.queue.unread();
    send_one(tcb, len, fin_due && is_last, shared, tx)
}

/// What was sent is to be acknowledged in time (RFC 6298 §5.1).
#[inline]
pub(super) fn expect_answer<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) {
    let is_second = tcb.cold.due == Due::LossProbe && tcb.in_flight() <= 2 * u32::from(tcb.hot.mss);
    // The acknowledgement of one segment may be delayed, of two not (RFC 8985 §7.2).
    if tcb.hot.resend_at == Tick::NEVER || is_second {
        timeout::rearm(tcb, shared);
    }
    if tcb.cold.stalled_since == Tick::NEVER {
        tcb.cold.stalled_since = shared.tick;
    }
}

/// Sends again what is taken for lost, as far as the windows allow.
#[inline]
fn resend<C, B: Blob, T: Transmit>(tcb: &mut Tcb<C>, shared: &mut Shared<B>, tx: &mut T) -> bool {
    // RFC 5682 §2.1 step 2.b: new data comes first.
    if tcb.hot.phase == Phase::Open || tcb.recovery.frto == Frto::Second {
        return true;
    }
    while let Some((start, end)) = next_lost(tcb, shared) {
        if retransmit(tcb, start, end, shared, tx).is_none() {
            return false;
        }
        if start == tcb.hot.snd.una {
            timeout::rearm(tcb, shared);
        }
    }
    true
}

/// What is to be sent again next, if the windows allow it.
fn next_lost<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> Option<(Seq, Seq)> {
    if tcb.recovery.lost == 0 || recovery::pipe(tcb) >= tcb.hot.snd.cwnd {
        return None;
    }
    let una = tcb.hot.snd.una;
    let lost = tcb.warm.flight.first_lost(&shared.flight, una)?;
    (lost.0.since(una) < tcb.hot.snd.wnd.max(1)).then_some(lost)
}

/// Sends one segment again, of what lies between `seq` and `end`; returns how much sequence space
/// it took, `None` without a free frame.
pub(super) fn retransmit<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    seq: Seq,
    end: Seq,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> Option<u32> {
    let window = window_field(tcb, shared);
    let options = data_options(&tcb.hot, shared);
    let ecn_flags = ecn::flags(tcb);
    let hot = &mut tcb.hot;
    let reaches_fin = hot.marks.has(Marks::FIN_SENT) && end == hot.snd.nxt;
    let data_left = end.since(seq) - u32::from(reaches_fin);
    let len = data_left.min(u32::from(hot.mss));
    let fin = reaches_fin && len == data_left;
    let flags = ecn_flags.with(if fin { Flags::FIN } else { Flags::PSH });
    let way = Way { tuple: &hot.tuple, link: &hot.link };
    // Not for routers to mark (RFC 3168 §6.1.5).
    let numbers = Numbers::plain(seq, hot.rcv.nxt, flags, window);
    let (queue, pool, offset) = (&hot.queue, &shared.send, u64::from(seq.since(hot.snd.una)));
    if !emit(&way, numbers, &options, len as usize, &shared.config, tx, |buf| {
        queue.read_at(pool, offset, buf)
    }) {
        return None;
    }
    shared.counters.segments_sent += 1;
    shared.counters.retransmissions += 1;
    acknowledged(hot);
    tcb.warm.ack_at = Tick::NEVER;
    recovery::resent(tcb, seq, len + u32::from(fin), shared);
    Some(len + u32::from(fin))
}

/// Sends an acknowledgement alone if one is due now; sets its time if it may wait.
#[inline]
fn acknowledge_if_due<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    if tcb.hot.marks.has(Marks::ACK_NOW) || tcb.owes_report() || opens_window(tcb, shared) {
        return acknowledge(tcb, shared, tx);
    }
    if tcb.hot.marks.has(Marks::ACK_OWED) && tcb.warm.ack_at == Tick::NEVER {
        tcb.warm.ack_at = shared.tick.plus(shared.config.delayed_ack_ms);
    }
    true
}

/// Sends an acknowledgement now, with the runs of data held beyond a gap (RFC 2018 §4).
pub(crate) fn acknowledge<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let window = window_field(tcb, shared);
    let mut options = data_options(&tcb.hot, shared);
    if sack::has_report(tcb) {
        sack::report(tcb, shared, &mut options);
    }
    let way = Way { tuple: &tcb.hot.tuple, link: &tcb.hot.link };
    let numbers =
        Numbers::plain(acceptable_seq(&tcb.hot), tcb.hot.rcv.nxt, ecn::flags(tcb), window);
    if !emit(&way, numbers, &options, 0, &shared.config, tx, |_| 0) {
        return false;
    }
    shared.counters.segments_sent += 1;
    shared.counters.pure_acks_sent += 1;
    shared.counters.dsacks_sent += u64::from(tcb.owes_report());
    tcb.hot.marks.clear(Marks::REPORT_OWED);
    acknowledged(&mut tcb.hot);
    tcb.warm.ack_at = Tick::NEVER;
    true
}

/// The sequence number of a segment without text: SND.NXT, unless the peer has drawn its window
/// back behind it. It would drop that unread, the acknowledgement with it (RFC 9293 §3.10.7.4,
/// first check).
#[inline]
fn acceptable_seq(hot: &Hot) -> Seq {
    let edge = hot.snd.una + hot.snd.wnd;
    if edge.before(hot.snd.nxt) { edge } else { hot.snd.nxt }
}

/// A probe that makes the peer say where it stands: a segment without text just before its window,
/// which it must answer (RFC 9293 §3.10.7.4). It serves keep-alive (§3.8.4) and, as in Linux, the
/// shut window (§3.8.6.1).
pub(crate) fn probe<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let window = window_field(tcb, shared);
    let options = data_options(&tcb.hot, shared);
    let way = Way { tuple: &tcb.hot.tuple, link: &tcb.hot.link };
    let numbers = Numbers::plain(tcb.hot.snd.una - 1, tcb.hot.rcv.nxt, ecn::flags(tcb), window);
    let sent = emit(&way, numbers, &options, 0, &shared.config, tx, |_| 0);
    shared.counters.segments_sent += u64::from(sent);
    sent
}

/// Resets a connection, with the sequence number that makes the peer accept it, and timestamps
/// where those are in use (RFC 7323 §3.2).
pub(crate) fn reset<B: Blob, T: Transmit>(
    hot: &Hot,
    seq: Seq,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let way = Way { tuple: &hot.tuple, link: &hot.link };
    let numbers = Numbers::plain(seq, hot.rcv.nxt, Flags::RST.with(Flags::ACK), 0);
    let options = data_options(hot, shared);
    stateless(&way, numbers, &options, &shared.config, &mut shared.counters, tx)
}

/// Answers an acknowledgement of what was never sent while the connection is not synchronized: a
/// reset with that number, and without one of its own (RFC 9293 §3.10.7.3, §3.10.7.4).
pub(crate) fn refuse_ack<B: Blob, T: Transmit>(
    hot: &Hot,
    ack: Seq,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let way = Way { tuple: &hot.tuple, link: &hot.link };
    let numbers = Numbers::plain(ack, Seq(0), Flags::RST, 0);
    stateless(&way, numbers, &Options::default(), &shared.config, &mut shared.counters, tx)
}

/// Everything received so far has been acknowledged.
#[inline]
fn acknowledged(hot: &mut Hot) {
    hot.rcv.acked = hot.rcv.nxt;
    hot.marks.clear(Marks::ACK_OWED.with(Marks::ACK_NOW));
}

/// The options of every segment after the handshake.
#[inline]
fn data_options<B>(hot: &Hot, shared: &Shared<B>) -> Options {
    let mut options = Options::default();
    if hot.marks.has(Marks::TIMESTAMPS) {
        options.timestamps =
            Some((shared.tick.millis().wrapping_add(hot.ts_offset), hot.rcv.ts_recent));
    }
    options
}
