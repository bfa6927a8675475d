//! A segment arrives on a connection (RFC 9293 §3.10.7.3 and §3.10.7.4), in the order of the steps given there.
//!
//! The control block is changed and marked; what has to be sent because of it goes out at the next flush, so that a
//! burst of segments is answered once. Only what must be sent per segment is sent at once: duplicate
//! acknowledgements, retransmissions and resets.

use super::congestion;
use super::deliver;
use super::output;
use super::{Fate, Hot, Marks, Shared, State, Tcb, Transmit};
use crate::application::{Application, Closed, Opened};
use crate::drop::DropReason;
use crate::send::Blob;
use crate::seq::Seq;
use crate::timer::Tick;
use crate::wire::{Flags, Options, Segment};

/// What a connection is given to work with while it handles one event.
pub(crate) struct Context<'a, A: Application, T> {
    pub(crate) id: u32,
    pub(crate) shared: &'a mut Shared<A::Blob>,
    pub(crate) app: &'a mut A,
    pub(crate) tx: &'a mut T,
}

/// Why the steps were left before the last one.
enum Stop {
    /// The segment is dropped; the connection is as before.
    Dropped(DropReason),
    /// The connection is over.
    Over(Fate),
}

/// Handles one segment whose four-tuple is the connection's.
pub(crate) fn segment_arrives<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Fate {
    let steps =
        if tcb.hot.state == State::SynSent { syn_sent(tcb, segment, cx) } else { synchronized(tcb, segment, cx) };
    cx.shared.make_ready(&mut tcb.hot, cx.id);
    match steps {
        Ok(fate) | Err(Stop::Over(fate)) => fate,
        Err(Stop::Dropped(reason)) => {
            cx.shared.drop(reason);
            Fate::Lives
        }
    }
}

/// §3.10.7.4: any state in which the peer's initial sequence number is known.
fn synchronized<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Result<Fate, Stop> {
    tcb.warm.heard_at = cx.shared.tick;
    let segment = &without_repeated_syn(tcb, segment);
    check_sequence(tcb, segment, cx.shared)?;
    check_reset_and_syn(&mut tcb.hot, segment, cx.shared)?;
    if !segment.flags.has(Flags::ACK) {
        return Err(Stop::Dropped(DropReason::NoAck));
    }
    check_ack(tcb, segment, cx)?;
    tcb.cold.probes = 0;
    update_ts_recent(&mut tcb.hot, segment);
    if tcb.hot.state == State::SynReceived {
        established(tcb, segment, cx);
    }
    if segment.ack.at_or_after(tcb.hot.snd.una) {
        process_ack(tcb, segment, cx)?;
    }
    if !segment.payload.is_empty() || segment.flags.has(Flags::FIN) {
        return Ok(deliver::text_and_fin(tcb, segment, cx));
    }
    Ok(Fate::Lives)
}

/// In a simultaneous open the peer's SYN-ACK repeats the SYN that was taken already; what is new is its ACK.
fn without_repeated_syn<'a, C>(tcb: &Tcb<C>, segment: &Segment<'a>) -> Segment<'a> {
    let mut segment = *segment;
    if tcb.hot.state == State::SynReceived && segment.flags.has(Flags::SYN) && segment.seq + 1 == tcb.hot.rcv.nxt {
        segment.flags.0 &= !Flags::SYN.0;
        segment.seq += 1;
    }
    segment
}

/// First step: the sequence number, and PAWS before it (RFC 7323 §5.3).
#[inline]
fn check_sequence<C, B: Blob>(tcb: &mut Tcb<C>, segment: &Segment<'_>, shared: &mut Shared<B>) -> Result<(), Stop> {
    let hot = &mut tcb.hot;
    let is_reset = segment.flags.has(Flags::RST);
    if let Some((value, _)) = segment.options.timestamps
        && hot.marks.has(Marks::TIMESTAMPS)
        && !is_reset
        && Seq(value).before(Seq(hot.rcv.ts_recent))
    {
        hot.marks.set(Marks::ACK_NOW);
        return Err(Stop::Dropped(DropReason::Paws));
    }
    if is_acceptable(hot, segment) {
        return Ok(());
    }
    if !is_reset && (!segment.is_empty() || shared.challenges.take(shared.tick)) {
        hot.marks.set(Marks::ACK_NOW);
    }
    // §3.10.7.4: a shut window still lets valid acknowledgements and resets through.
    if hot.rcv.edge == hot.rcv.nxt && segment.seq == hot.rcv.nxt {
        return Ok(());
    }
    Err(Stop::Dropped(DropReason::OutsideWindow))
}

/// The four cases of §3.10.7.4's table.
#[inline]
fn is_acceptable(hot: &Hot, segment: &Segment<'_>) -> bool {
    let (nxt, edge) = (hot.rcv.nxt, hot.rcv.edge);
    let (start, len) = (segment.seq, segment.len());
    match (len, edge == nxt) {
        (0, true) => start == nxt,
        (0, false) => start.at_or_after(nxt) && start.before(edge),
        (_, true) => false,
        (_, false) => start.before(edge) && (start + len).after(nxt),
    }
}

/// Second and fourth step: RST and SYN, each challenged unless it is beyond doubt (RFC 5961 §3.2 and §4.2).
#[inline]
fn check_reset_and_syn<B: Blob>(hot: &mut Hot, segment: &Segment<'_>, shared: &mut Shared<B>) -> Result<(), Stop> {
    if segment.flags.has(Flags::RST) {
        if segment.seq == hot.rcv.nxt {
            return Err(Stop::Over(Fate::Ends(match hot.state {
                State::SynReceived => Closed::Refused,
                _ => Closed::ResetByPeer,
            })));
        }
        challenge(hot, shared);
        return Err(Stop::Dropped(DropReason::BlindReset));
    }
    if segment.flags.has(Flags::SYN) {
        challenge(hot, shared);
        return Err(Stop::Dropped(DropReason::BlindSyn));
    }
    Ok(())
}

/// Sends a challenge ACK at the next flush, within the limit of RFC 5961 §7.
fn challenge<B: Blob>(hot: &mut Hot, shared: &mut Shared<B>) {
    if shared.challenges.take(shared.tick) {
        shared.counters.challenge_acks += 1;
        hot.marks.set(Marks::ACK_NOW);
    }
}

/// Fifth step, its checks: SND.UNA - MAX.SND.WND ≤ SEG.ACK ≤ SND.NXT (RFC 5961 §5.2).
#[inline]
fn check_ack<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Result<(), Stop> {
    let snd = &tcb.hot.snd;
    let is_fine = segment.ack.at_or_before(snd.nxt) && segment.ack.at_or_after(snd.una - tcb.cold.max_wnd);
    if tcb.hot.state == State::SynReceived && !(is_fine && segment.ack.after(snd.una)) {
        output::refuse_ack(&tcb.hot, segment.ack, cx.shared, cx.tx);
        return Err(Stop::Dropped(DropReason::BadAck));
    }
    if is_fine {
        return Ok(());
    }
    challenge(&mut tcb.hot, cx.shared);
    Err(Stop::Dropped(DropReason::BadAck))
}

/// RFC 7323 §4.3: TS.Recent follows segments that span the last acknowledgement sent.
#[inline]
fn update_ts_recent(hot: &mut Hot, segment: &Segment<'_>) {
    if let Some((value, _)) = segment.options.timestamps
        && segment.seq.at_or_before(hot.rcv.acked)
    {
        hot.rcv.ts_recent = value;
    }
}

/// The handshake is complete: the application learns of the connection.
fn established<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) {
    tcb.hot.snd.wl1 = segment.seq;
    syn_acknowledged(tcb, cx);
}

/// This side's SYN is acknowledged, and the connection established.
fn syn_acknowledged<A: Application, T>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) {
    measure(tcb, tcb.hot.snd.nxt, cx.shared);
    if tcb.cold.timeouts > 0 {
        tcb.warm.rtt.handshake_repeated();
    }
    tcb.hot.state = State::Established;
    tcb.hot.snd.una = tcb.hot.snd.nxt;
    tcb.hot.resend_at = Tick::NEVER;
    tcb.cold.stalled_since = Tick::NEVER;
    tcb.cold.timeouts = 0;
    open(tcb, cx, true);
}

/// Tells the application that the connection is established.
pub(crate) fn open<A: Application, T>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>, active: bool) {
    let opened = Opened { local_port: tcb.hot.tuple.local_port, active, token: tcb.cold.token };
    tcb.hot.marks.set(Marks::OPENED);
    let app = &mut *cx.app;
    tcb.call::<A, _>(cx.id, cx.shared, |conn, reply| app.opened(conn, opened, reply));
}

/// Fifth step: what the acknowledgement brings, SEG.ACK being at least SND.UNA.
#[inline]
fn process_ack<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Result<(), Stop> {
    let old_wnd = tcb.hot.snd.wnd;
    if tcb.hot.snd.wl1.at_or_before(segment.seq) {
        tcb.hot.snd.wnd = u32::from(segment.window) << tcb.hot.snd_scale;
        tcb.hot.snd.wl1 = segment.seq;
        tcb.cold.max_wnd = tcb.cold.max_wnd.max(tcb.hot.snd.wnd);
    }
    if segment.ack == tcb.hot.snd.una {
        let is_duplicate = segment.is_empty() && tcb.in_flight() > 0 && tcb.hot.snd.wnd == old_wnd;
        if is_duplicate {
            duplicate_ack(tcb, cx);
        }
        return Ok(());
    }
    let acked = segment.ack.since(tcb.hot.snd.una);
    measure(tcb, segment.ack, cx.shared);
    let is_partial = grow_or_recover(tcb, segment.ack, acked);
    advance(tcb, segment.ack, acked, cx.shared);
    if is_partial {
        output::retransmit(tcb, segment.ack, cx.shared, cx.tx);
    }
    if tcb.hot.marks.has(Marks::FIN_SENT) && segment.ack == tcb.hot.snd.nxt {
        return fin_acknowledged(tcb, cx.shared);
    }
    Ok(())
}

/// Takes a round-trip measurement if the timed segment is acknowledged (RFC 6298 §3: one per round trip).
#[inline]
fn measure<C, B>(tcb: &mut Tcb<C>, ack: Seq, shared: &Shared<B>) {
    if tcb.hot.marks.has(Marks::TIMED) && ack.at_or_after(tcb.warm.timed_seq) {
        tcb.hot.marks.clear(Marks::TIMED);
        let now_us = shared.now.total_micros() as u32;
        tcb.warm.rtt.measured(now_us.wrapping_sub(tcb.warm.timed_at_us));
    }
}

/// Moves SND.UNA and gives back what was delivered.
#[inline]
fn advance<C, B: Blob>(tcb: &mut Tcb<C>, ack: Seq, acked: u32, shared: &mut Shared<B>) {
    let fin = tcb.hot.marks.has(Marks::FIN_SENT) && ack == tcb.hot.snd.nxt;
    tcb.hot.snd.una = ack;
    tcb.hot.queue.acknowledge(&mut shared.send, u64::from(acked - u32::from(fin)));
    tcb.hot.duplicate_acks = 0;
    tcb.cold.timeouts = 0;
    if ack.after(tcb.cold.recover) {
        // Kept close behind, so that it still compares after 2^31 bytes without loss.
        tcb.cold.recover = ack - 1;
    }
    if ack == tcb.hot.snd.nxt {
        tcb.hot.resend_at = Tick::NEVER;
        tcb.cold.stalled_since = Tick::NEVER;
        tcb.hot.marks.clear(Marks::RESENDING);
    } else {
        tcb.cold.stalled_since = shared.tick;
        // RFC 6298 §5.3.
        tcb.hot.resend_at = shared.tick.plus(tcb.warm.rtt.rto_ms(shared.config.min_rto_ms, 0));
        if tcb.hot.marks.has(Marks::RESENDING) {
            tcb.cold.resend = tcb.cold.resend.max(ack);
        }
    }
}

/// The congestion window after something new was acknowledged (RFC 5681 §3.1, RFC 6582 §3.2 step 3). Returns
/// whether it was a partial acknowledgement, after which the next segment is known to be lost.
#[inline]
fn grow_or_recover<C>(tcb: &mut Tcb<C>, ack: Seq, acked: u32) -> bool {
    let mss = u32::from(tcb.hot.mss);
    if tcb.hot.marks.has(Marks::RECOVERY) {
        if ack.before(tcb.cold.recover) {
            tcb.hot.snd.cwnd = congestion::deflate(tcb.hot.snd.cwnd, acked, mss);
            return true;
        }
        tcb.hot.marks.clear(Marks::RECOVERY);
        let in_flight = tcb.hot.snd.nxt.since(ack);
        tcb.hot.snd.cwnd = tcb.cold.ssthresh.min(in_flight.max(mss) + mss);
    } else if tcb.in_flight() + mss > tcb.hot.snd.cwnd || tcb.hot.marks.has(Marks::RESENDING) {
        // A window that was not in full use says nothing about the path (RFC 7661 §4.3).
        tcb.hot.snd.cwnd = congestion::grow(tcb.hot.snd.cwnd, tcb.cold.ssthresh, acked, mss);
    }
    false
}

/// RFC 5681 §3.2: the third in a row means loss; further ones mean that segments leave the path.
fn duplicate_ack<A: Application, T: Transmit>(tcb: &mut Tcb<A::Conn>, cx: &mut Context<'_, A, T>) {
    const THRESHOLD: u8 = 3;
    let mss = u32::from(tcb.hot.mss);
    tcb.hot.duplicate_acks = tcb.hot.duplicate_acks.saturating_add(1);
    if tcb.hot.marks.has(Marks::RECOVERY) {
        tcb.hot.snd.cwnd = tcb.hot.snd.cwnd.saturating_add(mss).min(1 << 30);
        return;
    }
    // RFC 6582 §3.2 step 2: not for what was sent before the last recovery or timeout.
    let covered = tcb.hot.snd.una.after(tcb.cold.recover) && !tcb.hot.marks.has(Marks::RESENDING);
    if tcb.hot.duplicate_acks == THRESHOLD && covered {
        cx.shared.counters.fast_retransmissions += 1;
        tcb.cold.recover = tcb.hot.snd.nxt;
        tcb.cold.ssthresh = congestion::threshold_after_loss(tcb.in_flight(), mss);
        tcb.hot.snd.cwnd = tcb.cold.ssthresh + u32::from(THRESHOLD) * mss;
        tcb.hot.marks.set(Marks::RECOVERY);
        tcb.hot.marks.clear(Marks::TIMED);
        output::retransmit(tcb, tcb.hot.snd.una, cx.shared, cx.tx);
    }
}

/// The peer has everything, this side's FIN included.
fn fin_acknowledged<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) -> Result<(), Stop> {
    match tcb.hot.state {
        State::FinWait1 => {
            tcb.hot.state = State::FinWait2;
            tcb.warm.app_at = shared.tick.plus(shared.config.close_timeout_ms);
            Ok(())
        }
        State::Closing => Err(Stop::Over(Fate::Lingers)),
        State::LastAck => Err(Stop::Over(Fate::Ends(Closed::Finished))),
        _ => Ok(()),
    }
}

/// §3.10.7.3: SYN-SENT.
fn syn_sent<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Result<Fate, Stop> {
    let has_ack = segment.flags.has(Flags::ACK);
    let is_reset = segment.flags.has(Flags::RST);
    if has_ack && segment.ack != tcb.hot.snd.nxt {
        if !is_reset {
            output::refuse_ack(&tcb.hot, segment.ack, cx.shared, cx.tx);
        }
        return Err(Stop::Dropped(DropReason::BadAck));
    }
    if is_reset {
        // A reset without an acceptable acknowledgement may be anybody's.
        return if has_ack { Ok(Fate::Ends(Closed::Refused)) } else { Err(Stop::Dropped(DropReason::BlindReset)) };
    }
    if !segment.flags.has(Flags::SYN) {
        return Err(Stop::Dropped(DropReason::NoAck));
    }
    tcb.hot.take_syn(segment.seq, &segment.options, cx.shared);
    tcb.hot.snd.wnd = u32::from(segment.window);
    tcb.hot.snd.wl1 = segment.seq;
    tcb.cold.max_wnd = tcb.hot.snd.wnd.max(1);
    tcb.warm.heard_at = cx.shared.tick;
    tcb.hot.snd.cwnd = congestion::initial_window(u32::from(tcb.hot.mss), tcb.cold.timeouts);
    if !has_ack {
        tcb.hot.state = State::SynReceived;
        output::syn(tcb, cx.shared, cx.tx);
        return Ok(Fate::Lives);
    }
    tcb.hot.marks.set(Marks::ACK_NOW);
    syn_acknowledged(tcb, cx);
    Ok(Fate::Lives)
}

impl Hot {
    /// Takes over what the peer's SYN says: where its data starts, and which options hold from now on. An option
    /// that this side's SYN offered is in force if the peer's has it too.
    pub(crate) fn take_syn<B>(&mut self, seq: Seq, options: &Options, shared: &Shared<B>) {
        self.rcv.nxt = seq + 1;
        self.rcv.acked = seq + 1;
        self.rcv.edge = self.rcv.nxt + shared.config.receive_window_bytes.min(u32::from(u16::MAX));
        if let Some(shift) = options.window_scale {
            (self.snd_scale, self.rcv_scale) = (shift, shared.config.window_shift());
            self.marks.set(Marks::SCALES);
        }
        let mut overhead = 0;
        if let Some((value, _)) = options.timestamps {
            self.rcv.ts_recent = value;
            self.marks.set(Marks::TIMESTAMPS);
            overhead = crate::wire::tcp::TIMESTAMPS_BYTES as u16;
        }
        if options.sack_permitted {
            self.marks.set(Marks::SACK);
        }
        self.mss = effective_mss(options.mss, shared.config.mss()) - overhead;
    }
}

/// Payload of a full segment without options: the smaller of both sides' maxima. A peer that names none gets 536
/// (RFC 9293 §3.7.1 MUST-15); one that names less than 88 gets 88, so that it cannot make this side send thousands
/// of segments for one answer.
pub(crate) fn effective_mss(offered: Option<u16>, ours: u16) -> u16 {
    const DEFAULT: u16 = 536;
    const MINIMUM: u16 = 88;
    offered.unwrap_or(DEFAULT).clamp(MINIMUM, ours)
}
