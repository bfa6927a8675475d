//! Sends segments: new data that the windows allow, the FIN behind it, acknowledgements, and
//! retransmissions (RFC 9293 §3.8.6.2, RFC 5681, RFC 6298 §5).
//!
//! All state is in the control block. A frame is written straight from the ranges of the send
//! queue. If the transmitter has no free frame, the block is unchanged and the next flush
//! continues.

use super::congestion::{control, initial_window};
use super::recovery::Frto;
use super::segment::{Numbers, Path, emit, emit_text, partial_from, stateless, template};
use super::window::{opens_window, window_field};
use super::{
    ConnFlags, Gso, Hot, Phase, Shared, State, Tcb, TimerEvent, Transmit, ecn, pace, path_search,
    recovery, sack, timeout,
};
use crate::drop::DropReason;
use crate::seq::Seq;
use crate::wire::tcp::{Flags, Options, Template};
use crate::wire::{Ecn, TxChecksum};
use simoom_io::application::Application;
use simoom_io::send::{Blob, Reader};
use simoom_io::timer::Tick;

/// Data sent within this fraction of a round trip counts as sent at the same time.
const BLUR: u32 = 64;

/// Sends everything that may be sent now. Returns `false` if the transmitter ran out of frames.
#[inline]
pub(crate) fn flush<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    shared: &mut Shared<A::Blob>,
    tx: &mut T,
) -> bool {
    let sent_all = match tcb.hot.state {
        State::SynSent | State::Closed => return true,
        // Only acknowledgements of unacceptable segments (RFC 9293 §3.10.7.4).
        State::SynReceived => acknowledge_if_due(tcb, shared, tx),
        _ => flush_by_all_rules(tcb, shared, tx),
    };
    if !sent_all {
        shared.drop(DropReason::NoTransmitFrame);
    }
    sent_all
}

/// Sends everything that may be sent in a synchronized state. Returns as [`flush`].
#[inline]
fn flush_by_all_rules<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    retransmit_lost(tcb, shared, tx)
        && send_new(tcb, shared, tx)
        && acknowledge_if_due(tcb, shared, tx)
}

/// Whether a flush would send nothing and change nothing: everything queued was acknowledged, and
/// nothing received waits for an acknowledgement. This is so after most acknowledgements without
/// text.
#[inline(always)]
pub(super) fn has_nothing_to_send<C>(tcb: &Tcb<C>) -> bool {
    const TO_DO: ConnFlags = ConnFlags::READY
        .with(ConnFlags::ACK_OWED)
        .with(ConnFlags::ACK_NOW)
        .with(ConnFlags::REPORT_OWED)
        .with(ConnFlags::RATE_BASED)
        .with(ConnFlags::CWND_LIMITED);
    let Hot { snd, phase, flags, queue, .. } = &tcb.hot;
    !flags.has(TO_DO)
        && queue.is_empty()
        && snd.nxt == snd.una
        && *phase == Phase::Open
        && !is_fin_due(tcb)
}

/// Whether one short segment is all that there is to send, with the FIN if this side closes, and it
/// may be sent now: the fast path of a short answer. Every other rule of [`send_new`] then has no
/// effect. The segment acknowledges all that was received, and advertises the window, so
/// [`acknowledge_if_due`] has nothing to do. Otherwise see [`flush`].
#[inline(always)]
pub(crate) fn is_short<C>(tcb: &Tcb<C>) -> bool {
    const RARE: ConnFlags = ConnFlags::RATE_BASED
        .with(ConnFlags::CWND_LIMITED)
        .with(ConnFlags::REPORT_OWED)
        .with(ConnFlags::FIN_SENT)
        .with(ConnFlags::ECN);
    let Hot { state, snd, phase, flags, mss, queue, .. } = &tcb.hot;
    let (unread, mss) = (queue.unread() as u32, u32::from(*mss));
    *state == State::Established
        && *phase == Phase::Open
        && !flags.has(RARE)
        && !tcb.warm.flow.is_aborted()
        && snd.nxt == snd.una
        && unread > 0
        // With the FIN, it is at most `mss` long in sequence space: a single segment to the timers.
        && unread < mss
        && unread <= snd.wnd
        // No restart after an idle time, and the window is not fully used.
        && snd.cwnd <= initial_window(mss, 0)
        && unread + mss < snd.cwnd
}

/// Sends the segment of [`is_short`]. Returns `false` without a free frame.
#[inline(always)]
pub(crate) fn send_short<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let (len, fin) = (tcb.hot.queue.unread() as u32, tcb.warm.flow.is_closing());
    let fin_flag = if fin { Flags::FIN } else { Flags::default() };
    let flags = Flags::ACK.with(Flags::PSH).with(fin_flag);
    let window = window_field(tcb, shared);
    if !emit_new_text(tcb, len, (flags, Ecn::NOT_CAPABLE), window, shared, tx) {
        return false;
    }
    count_sent(len, 1, shared);
    advance(tcb, len, fin);
    // Nothing is in flight that it could extend.
    let (end, now_us, blur_us) = (tcb.hot.snd.nxt, shared.now_us(), 0);
    tcb.warm.flight.sent(&mut shared.flight, end, now_us, blur_us);
    // Directly before the start, which then needs no test of what this sets.
    forget_persist_timer(tcb);
    timeout::start(tcb, true, shared);
    data_waits(tcb, shared);
    debug_assert!(!owes_acknowledgement(tcb, shared), "the segment carries it");
    true
}

/// Sends queued bytes for the first time, and the FIN with the last segment.
#[inline]
fn send_new<C, B: Blob, T: Transmit>(tcb: &mut Tcb<C>, shared: &mut Shared<B>, tx: &mut T) -> bool {
    let mss = u32::from(tcb.hot.mss);
    let is_rate_based = tcb.hot.flags.has(ConnFlags::RATE_BASED);
    if tcb.in_flight() > 0 {
        if tcb.cold.search.is_on() && path_search::holds_back(tcb, shared, tx) {
            return true;
        }
    } else if (tcb.hot.snd.cwnd > initial_window(mss, 0) || is_rate_based)
        && tcb.hot.queue.unread() > 0
    {
        control::restarted(tcb, shared);
    }
    let is_paced = pace::is_due(tcb, shared);
    let unread = tcb.hot.queue.unread();
    let mut longest = if unread > 2 * u64::from(mss) { gso_text(tcb, tx) } else { mss };
    let is_run = unread > u64::from(mss) && longest == mss && !is_paced && !is_rate_based;
    if is_run && !send_run(tcb, shared, tx) {
        return false;
    }
    loop {
        let in_flight = tcb.in_flight();
        let unread = tcb.hot.queue.unread() as u32;
        let fin_due = is_fin_due(tcb);
        if unread == 0 && !fin_due {
            if in_flight + mss > tcb.hot.snd.cwnd {
                limited(tcb);
            } else if tcb.hot.flags.has(ConnFlags::CWND_LIMITED) {
                no_longer_limited(tcb);
            }
            if is_rate_based {
                control::check_app_limited(tcb, shared);
            }
            return true;
        }
        let window = tcb.hot.snd.wnd.saturating_sub(in_flight);
        let allowed = tcb.hot.snd.cwnd.saturating_sub(recovery::pipe(tcb));
        let mut len = unread.min(longest).min(window).min(allowed);
        if len > mss && len < unread {
            len -= len % mss;
        }
        if unread > 0 && len < unread.min(mss) && is_silly_window(tcb, len, in_flight) {
            if allowed < window {
                limited(tcb);
            }
            arm_persist_timer(tcb, shared);
            return true;
        }
        if !tcb.warm.flight.has_capacity(&shared.flight) {
            // No run is free to track a new segment. An acknowledgement will free one.
            return true;
        }
        if is_paced && (in_flight > 0 || is_rate_based || len > mss) {
            let Some(now) = pace::allowance(tcb, len, shared) else { return true };
            len = now;
        }
        let fin = fin_due && len == unread;
        // What follows a GSO packet goes the same way, so that it does not overtake the packet.
        if longest > mss && send_gso(tcb, len, fin, shared, tx) {
            continue;
        }
        longest = mss;
        if !send_one(tcb, len.min(mss), fin && len <= mss, shared, tx) {
            return false;
        }
    }
}

/// Bytes of text that the longest packet of the transmitter has: whole segments, one if it takes no
/// GSO packets. A CWR is for one segment (RFC 3168 §6.1.2).
#[inline]
fn gso_text<C, T: Transmit>(tcb: &Tcb<C>, tx: &T) -> u32 {
    let mss = u32::from(tcb.hot.mss);
    let max = tx.gso_max_bytes().saturating_sub(Template::MAX_BYTES) as u32;
    if max < 2 * mss || ecn::of_new_text(tcb, mss).0.has(Flags::CWR) {
        return mss;
    }
    max / mss * mss
}

/// Sends the next `len` new bytes in one packet, which is cut into segments behind the stack, and
/// the FIN with the last of them if `fin` is set. Returns `false` if the transmitter does not take
/// it now.
#[inline(never)]
fn send_gso<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    len: u32,
    fin: bool,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let numbers = numbers_of_new_text(tcb, len, fin, shared);
    let timestamps = timestamps(&tcb.hot, shared);
    let hot = &mut tcb.hot;
    let path = Path { tuple: &hot.tuple, link: &hot.link };
    let ends = (&path, &shared.config.mac);
    let template = template(ends, numbers, timestamps, len as usize, TxChecksum::Partial);
    let (tcp_at, payload_at) = template.offsets();
    let gso = Gso {
        is_ipv6: !hot.tuple.remote.is_v4(),
        tcp_at: tcp_at as u16,
        header_bytes: payload_at as u16,
        segment_bytes: hot.mss,
    };
    let (mut queue, pool) = (hot.queue, &shared.send);
    let is_sent = tx.transmit_gso(gso, |packet| {
        let mut reader = Reader::new(&mut queue, pool, template.needs_sum());
        template.emit_frame(packet, numbers.seq, |buf| reader.read(buf))
    });
    if is_sent {
        let segments = len.div_ceil(u32::from(hot.mss)).max(1);
        hot.queue = queue;
        shared.counters.gso_packets_sent += 1;
        sent(tcb, len, fin, segments, shared);
    } else {
        shared.counters.gso_packets_refused += 1;
    }
    is_sent
}

/// The fast path of an answer of several segments: sends those that the windows allow now. They
/// differ in SEG.SEQ alone, except for the last one of the queue, so their headers are written
/// once, and they are accounted for once. For a connection without loss, whose segments are not
/// paced, not sampled and not ECN-capable. Returns `false` if the transmitter ran out of frames.
#[inline(never)]
fn send_run<C, B: Blob, T: Transmit>(tcb: &mut Tcb<C>, shared: &mut Shared<B>, tx: &mut T) -> bool {
    let window = tcb.hot.snd.wnd.min(tcb.hot.snd.cwnd).saturating_sub(tcb.in_flight());
    let (unread, mss) = (tcb.hot.queue.unread() as u32, u32::from(tcb.hot.mss));
    let count = if unread <= window { unread.div_ceil(mss) } else { window / mss };
    let is_plain = tcb.hot.phase == Phase::Open && !tcb.hot.flags.has(ConnFlags::ECN);
    if count < 2 || !is_plain || !tcb.warm.flight.has_capacity(&shared.flight) {
        return true;
    }
    send_segments(tcb, count, shared, tx)
}

/// Sends the next `count` segments, at least one. All are full but the last one of the queue, which
/// has the FIN too if this side closes.
fn send_segments<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    count: u32,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let (unread, mss) = (tcb.hot.queue.unread() as u32, u32::from(tcb.hot.mss));
    let len = unread.min(count * mss);
    let is_whole = len == unread;
    let fin = is_whole && is_fin_due(tcb);
    let numbers = Numbers::plain(
        tcb.hot.snd.nxt,
        tcb.hot.rcv.nxt,
        ecn::flags(tcb),
        window_field(tcb, shared),
    );
    let timestamps = timestamps(&tcb.hot, shared);
    let hot = &mut tcb.hot;
    let path = Path { tuple: &hot.tuple, link: &hot.link };
    let (ends, checksum) = ((&path, &shared.config.mac), shared.config.tx_checksum);
    let mut template = template(ends, numbers, timestamps, mss as usize, checksum);
    let partial_from = partial_from(&path, &shared.config);
    let mut reader = Reader::new(&mut hot.queue, &shared.send, template.needs_sum());
    let (mut seq, mut full_left) = (numbers.seq, count - u32::from(is_whole));
    let segments = tx.transmit_run(partial_from, count, |frame| {
        if full_left == 0 {
            let flags = if fin { Flags::PSH.with(Flags::FIN) } else { Flags::PSH };
            template.make_last((len - (count - 1) * mss) as usize, flags);
        }
        let bytes = template.emit_frame(frame, seq, |buf| reader.read(buf));
        (seq, full_left) = (seq + mss, full_left.wrapping_sub(1));
        bytes
    });
    if segments > 0 {
        sent(tcb, len.min(segments * mss), fin && segments == count, segments, shared);
    }
    segments == count
}

/// Whether the FIN follows the last byte of the queue.
#[inline]
fn is_fin_due<C>(tcb: &Tcb<C>) -> bool {
    tcb.warm.flow.is_closing() && !tcb.hot.flags.has(ConnFlags::FIN_SENT)
}

/// The congestion window is fully used: acknowledgements of the data in flight may grow it.
fn limited<C>(tcb: &mut Tcb<C>) {
    tcb.hot.flags.set(ConnFlags::CWND_LIMITED);
    tcb.cold.limited_until = tcb.hot.snd.nxt;
}

/// The congestion window is no longer fully used. Acknowledgements of data sent while it was still
/// grow it.
#[cold]
fn no_longer_limited<C>(tcb: &mut Tcb<C>) {
    if tcb.hot.snd.una.at_or_after(tcb.cold.limited_until) {
        tcb.hot.flags.clear(ConnFlags::CWND_LIMITED);
    }
}

/// Whether sending `len` bytes, less than a full segment, would be silly (sender's silly-window
/// avoidance, RFC 9293 §3.8.6.2.1). Half of the largest window seen may be sent.
fn is_silly_window<C>(tcb: &Tcb<C>, len: u32, in_flight: u32) -> bool {
    len == 0 || in_flight > 0 || len < tcb.cold.max_wnd / 2
}

/// Arms the persist timer: data waits for the peer's window (RFC 9293 §3.8.6.1). If data is in
/// flight, its acknowledgement comes anyway and its timer stays.
fn arm_persist_timer<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) {
    if tcb.hot.retransmit_at == Tick::NEVER {
        let rto_ms = tcb.warm.rtt.rto_ms(shared.config.min_rto_ms, tcb.cold.timeouts);
        tcb.hot.retransmit_at = shared.tick.plus(rto_ms);
    }
    data_waits(tcb, shared);
}

/// The numbers of a segment with the next `len` new bytes, and with FIN if `fin` is set.
#[inline(always)]
fn numbers_of_new_text<C, B>(
    tcb: &mut Tcb<C>,
    len: u32,
    fin: bool,
    shared: &mut Shared<B>,
) -> Numbers {
    let (ecn_flags, ecn) = ecn::of_new_text(tcb, len);
    let mut flags = ecn::flags(tcb).with(ecn_flags);
    if u64::from(len) == tcb.hot.queue.unread() {
        flags = flags.with(Flags::PSH);
    }
    if fin {
        flags = flags.with(Flags::FIN);
    }
    let window = window_field(tcb, shared);
    Numbers { seq: tcb.hot.snd.nxt, ack: tcb.hot.rcv.nxt, flags, ecn, window }
}

/// Sends the next `len` new bytes, and the FIN if `fin` is set.
fn send_one<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    len: u32,
    fin: bool,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let Numbers { flags, ecn, window, .. } = numbers_of_new_text(tcb, len, fin, shared);
    let is_sent = emit_new_text(tcb, len, (flags, ecn), window, shared, tx);
    if is_sent {
        sent(tcb, len, fin, 1, shared);
    }
    is_sent
}

/// Writes a segment with the next `len` new bytes. Not inlined: with a second copy of it the
/// compiler would not inline the transmitter.
#[inline(never)]
fn emit_new_text<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    len: u32,
    (flags, ecn): (Flags, Ecn),
    window: u16,
    shared: &Shared<B>,
    tx: &mut T,
) -> bool {
    let timestamps = timestamps(&tcb.hot, shared);
    let hot = &mut tcb.hot;
    let numbers = Numbers { seq: hot.snd.nxt, ack: hot.rcv.nxt, flags, ecn, window };
    let path = Path { tuple: &hot.tuple, link: &hot.link };
    let (queue, pool) = (&mut hot.queue, &shared.send);
    emit_text(&path, numbers, timestamps, len as usize, &shared.config, tx, |buf| {
        queue.read_next(pool, buf)
    })
}

/// Counts `segments` sent with `len` new bytes in all.
#[inline(always)]
fn count_sent<B>(len: u32, segments: u32, shared: &mut Shared<B>) {
    shared.counters.segments_sent += u64::from(segments);
    shared.counters.bytes_sent += u64::from(len);
}

/// `len` new bytes were sent, in so many segments, and the FIN if `fin` is set.
#[inline(always)]
fn sent<C, B>(tcb: &mut Tcb<C>, len: u32, fin: bool, segments: u32, shared: &mut Shared<B>) {
    count_sent(len, segments, shared);
    if tcb.in_flight() == 0 {
        forget_persist_timer(tcb);
    }
    advance(tcb, len, fin);
    if len > 0 {
        ecn::sent_new_text(tcb);
    }
    let (now_us, blur_us) = (shared.now_us(), tcb.warm.rtt.srtt_us() / BLUR);
    let is_new = tcb.warm.flight.sent(&mut shared.flight, tcb.hot.snd.nxt, now_us, blur_us);
    if tcb.hot.flags.has(ConnFlags::RATE_BASED) {
        control::sent(tcb, len + u32::from(fin), is_new, shared);
    }
    recovery::sent(tcb, len + u32::from(fin));
    let behind_first = match segments {
        1 => 0,
        _ => len + u32::from(fin) - u32::from(tcb.hot.mss),
    };
    arm_retransmission(tcb, tcb.in_flight() - behind_first, shared);
}

/// Moves SND.NXT past `len` bytes, and the FIN if `fin` is set, with which everything received was
/// acknowledged.
#[inline(always)]
fn advance<C>(tcb: &mut Tcb<C>, len: u32, fin: bool) {
    let hot = &mut tcb.hot;
    if fin {
        hot.flags.set(ConnFlags::FIN_SENT);
        hot.state = if hot.state == State::CloseWait { State::LastAck } else { State::FinWait1 };
    }
    hot.snd.nxt += len + u32::from(fin);
    acknowledged(hot);
    tcb.warm.ack_at = Tick::NEVER;
}

/// New text is sent while nothing is in flight. The persist timer may be running: its deadline and
/// backoff do not apply to the new segment. A peer that opens its window by a byte now and then
/// stays stalled.
#[inline(always)]
fn forget_persist_timer<C>(tcb: &mut Tcb<C>) {
    tcb.hot.retransmit_at = Tick::NEVER;
    tcb.cold.timeouts = 0;
}

/// Sends the next `len` bytes without window and silly-window checks: when the persist timer
/// expires (RFC 9293 §3.8.6.2.1), or as a loss probe.
pub(crate) fn send_next<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    len: u32,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let is_last = u64::from(len) == tcb.hot.queue.unread();
    send_one(tcb, len, is_last && is_fin_due(tcb), shared, tx)
}

/// Arms the retransmission timer after segments were sent (RFC 6298 §5.1). With the first of them,
/// `in_flight` bytes were in flight.
#[inline]
pub(super) fn arm_retransmission<C, B>(tcb: &mut Tcb<C>, in_flight: u32, shared: &Shared<B>) {
    // The peer may delay the acknowledgement of one segment, but not of two (RFC 8985 §7.2).
    let is_second =
        || tcb.cold.timer_event == TimerEvent::LossProbe && in_flight <= 2 * u32::from(tcb.hot.mss);
    if tcb.hot.retransmit_at == Tick::NEVER || is_second() {
        timeout::rearm(tcb, shared);
    }
    data_waits(tcb, shared);
}

/// Data waits for the peer's window or acknowledgement, from now on if none did.
#[inline(always)]
fn data_waits<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) {
    if tcb.cold.stalled_since == Tick::NEVER {
        tcb.cold.stalled_since = shared.tick;
    }
}

/// Retransmits segments marked lost, as far as the windows allow.
#[inline]
fn retransmit_lost<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    // RFC 5682 §2.1 step 2.b: new data comes first.
    if tcb.hot.phase == Phase::Open || tcb.recovery.frto == Frto::Second {
        return true;
    }
    while let Some((start, end)) = next_lost(tcb, shared) {
        let is_rate_based = tcb.hot.flags.has(ConnFlags::RATE_BASED);
        let len = end.since(start).min(u32::from(tcb.hot.mss));
        if is_rate_based && pace::allowance(tcb, len, shared).is_none() {
            return true;
        }
        if retransmit(tcb, start, end, shared, tx).is_none() {
            return false;
        }
        if start == tcb.hot.snd.una {
            timeout::rearm(tcb, shared);
        }
    }
    true
}

/// The next run to retransmit, if the windows allow it.
fn next_lost<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> Option<(Seq, Seq)> {
    if tcb.recovery.lost == 0 || recovery::pipe(tcb) >= tcb.hot.snd.cwnd {
        return None;
    }
    let una = tcb.hot.snd.una;
    let lost = tcb.warm.flight.first_lost(&shared.flight, una)?;
    (lost.0.since(una) < tcb.hot.snd.wnd.max(1)).then_some(lost)
}

/// Retransmits one segment from the bytes between `seq` and `end`. Returns how much sequence space
/// it took, or `None` without a free frame.
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
    let reaches_fin = hot.flags.has(ConnFlags::FIN_SENT) && end == hot.snd.nxt;
    let data_left = end.since(seq) - u32::from(reaches_fin);
    let len = data_left.min(u32::from(hot.mss));
    let fin = reaches_fin && len == data_left;
    let flags = ecn_flags.with(if fin { Flags::FIN } else { Flags::PSH });
    let path = Path { tuple: &hot.tuple, link: &hot.link };
    // A retransmission is not ECN-capable (RFC 3168 §6.1.5).
    let numbers = Numbers::plain(seq, hot.rcv.nxt, flags, window);
    let (queue, pool, offset) = (&hot.queue, &shared.send, u64::from(seq.since(hot.snd.una)));
    if !emit(&path, numbers, &options, len as usize, &shared.config, tx, |buf| {
        queue.read_at(pool, offset, buf)
    }) {
        return None;
    }
    shared.counters.segments_sent += 1;
    shared.counters.retransmissions += 1;
    acknowledged(hot);
    tcb.warm.ack_at = Tick::NEVER;
    recovery::retransmitted(tcb, seq, len + u32::from(fin), shared);
    Some(len + u32::from(fin))
}

/// Sends a pure acknowledgement if one is due now, or arms the delayed-ACK timer.
#[inline]
fn acknowledge_if_due<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    if owes_acknowledgement(tcb, shared) {
        return acknowledge(tcb, shared, tx);
    }
    if tcb.hot.flags.has(ConnFlags::ACK_OWED) && tcb.warm.ack_at == Tick::NEVER {
        if shared.config.delayed_ack_ms == 0 {
            return acknowledge(tcb, shared, tx);
        }
        tcb.warm.ack_at = shared.tick.plus(shared.config.delayed_ack_ms);
    }
    true
}

/// Whether an acknowledgement is due now, without waiting for text to carry it.
#[inline]
fn owes_acknowledgement<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> bool {
    tcb.hot.flags.has(ConnFlags::ACK_NOW) || tcb.owes_report() || opens_window(tcb, shared)
}

/// Sends a pure acknowledgement now, with SACK blocks for data held beyond a gap (RFC 2018 §4).
pub(crate) fn acknowledge<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let numbers = Numbers::plain(
        acceptable_seq(&tcb.hot),
        tcb.hot.rcv.nxt,
        ecn::flags(tcb),
        window_field(tcb, shared),
    );
    let sent = match sack::has_report(tcb) {
        true => emit_report(tcb, numbers, shared, tx),
        false => {
            let path = Path { tuple: &tcb.hot.tuple, link: &tcb.hot.link };
            let timestamps = timestamps(&tcb.hot, shared);
            emit_text(&path, numbers, timestamps, 0, &shared.config, tx, |_| 0)
        }
    };
    if !sent {
        return false;
    }
    shared.counters.segments_sent += 1;
    shared.counters.pure_acks_sent += 1;
    shared.counters.dsacks_sent += u64::from(tcb.owes_report());
    tcb.hot.flags.clear(ConnFlags::REPORT_OWED);
    acknowledged(&mut tcb.hot);
    tcb.warm.ack_at = Tick::NEVER;
    true
}

/// Writes an acknowledgement with SACK blocks.
#[inline(never)]
fn emit_report<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    numbers: Numbers,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let mut options = data_options(&tcb.hot, shared);
    sack::report(tcb, shared, &mut options);
    let path = Path { tuple: &tcb.hot.tuple, link: &tcb.hot.link };
    emit(&path, numbers, &options, 0, &shared.config, tx, |_| 0)
}

/// The sequence number of a segment without text: SND.NXT, or the window's right edge if the peer
/// has shrunk its window below SND.NXT. The peer would drop a segment beyond the edge, with its
/// acknowledgement (RFC 9293 §3.10.7.4, first check).
#[inline]
fn acceptable_seq(hot: &Hot) -> Seq {
    (hot.snd.una + hot.snd.wnd).min(hot.snd.nxt)
}

/// Sends a probe: a segment without text just before the peer's window, which the peer must
/// acknowledge (RFC 9293 §3.10.7.4). Used for keep-alive (§3.8.4) and, as in Linux, for the zero
/// window (§3.8.6.1).
pub(crate) fn probe<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let window = window_field(tcb, shared);
    let options = data_options(&tcb.hot, shared);
    let path = Path { tuple: &tcb.hot.tuple, link: &tcb.hot.link };
    let numbers = Numbers::plain(tcb.hot.snd.una - 1, tcb.hot.rcv.nxt, ecn::flags(tcb), window);
    let sent = emit(&path, numbers, &options, 0, &shared.config, tx, |_| 0);
    shared.counters.segments_sent += u64::from(sent);
    sent
}

/// Resets a connection with the sequence number that the peer accepts, and with timestamps if they
/// are in use (RFC 7323 §3.2).
pub(crate) fn reset<B: Blob, T: Transmit>(
    hot: &Hot,
    seq: Seq,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let path = Path { tuple: &hot.tuple, link: &hot.link };
    let numbers = Numbers::plain(seq, hot.rcv.nxt, Flags::RST.with(Flags::ACK), 0);
    let options = data_options(hot, shared);
    stateless(&path, numbers, &options, &shared.config, &mut shared.counters, tx)
}

/// Sends a reset for an acknowledgement of data never sent, while the connection is not
/// synchronized. The reset has SEQ=SEG.ACK and no ACK (RFC 9293 §3.10.7.3, §3.10.7.4).
pub(crate) fn refuse_ack<B: Blob, T: Transmit>(
    hot: &Hot,
    ack: Seq,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let path = Path { tuple: &hot.tuple, link: &hot.link };
    let numbers = Numbers::plain(ack, Seq(0), Flags::RST, 0);
    stateless(&path, numbers, &Options::default(), &shared.config, &mut shared.counters, tx)
}

/// Records that everything received so far has been acknowledged.
#[inline]
fn acknowledged(hot: &mut Hot) {
    hot.rcv.acked = hot.rcv.nxt;
    hot.flags.clear(ConnFlags::ACK_OWED.with(ConnFlags::ACK_NOW));
}

/// The options of every segment after the handshake.
#[inline]
fn data_options<B>(hot: &Hot, shared: &Shared<B>) -> Options {
    Options { timestamps: timestamps(hot, shared), ..Options::default() }
}

/// TSval and TSecr of every segment after the handshake, if timestamps are in use.
#[inline]
fn timestamps<B>(hot: &Hot, shared: &Shared<B>) -> Option<(u32, u32)> {
    hot.flags
        .has(ConnFlags::TIMESTAMPS)
        .then(|| (shared.tick.millis().wrapping_add(hot.ts_offset), hot.rcv.ts_recent))
}
