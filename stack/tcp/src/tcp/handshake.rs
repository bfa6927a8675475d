//! The handshake of a connection with a control block: SYN-SENT (RFC 9293 §3.10.7.3), a
//! simultaneous open, and the options that both SYNs agree on. (A passive open begins in
//! [`crate::listen`].)

use super::ack;
use super::segment::{Numbers, Path, emit};
use super::{
    ConnFlags, Context, Hot, Outcome, Scales, Shared, State, Stop, Tcb, Transmit, congestion,
    deliver, ecn, output, path_search, window,
};
use crate::config::Config;
use crate::drop::DropReason;
use crate::flight::{AckSample, Stamp};
use crate::listen::syn_window;
use crate::seq::Seq;
use crate::wire::tcp::{Flags, Options};
use crate::wire::{Address, Segment, ip};
use simoom_io::application::{Application, Closed, ConnectionId, Opened};
use simoom_io::send::Blob;
use simoom_io::timer::Tick;

/// The handshake of a simultaneous open is complete: takes the peer's window, tells the
/// application, and delivers what came with the peer's SYN and with this segment.
#[cold]
#[inline(never)]
pub(super) fn established<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    is_syn_ack: bool,
    cx: &mut Context<'_, A, T>,
) -> Outcome {
    // The window of a SYN-ACK is not scaled (RFC 7323 §2.2), and its ECN flags are no echo.
    let shift = if is_syn_ack { 0 } else { tcb.hot.scales.snd() };
    if !is_syn_ack {
        ecn::arrived(tcb, segment, cx.shared);
    }
    tcb.hot.snd.wnd = u32::from(segment.window) << shift;
    tcb.hot.snd.wl1 = segment.seq;
    tcb.cold.max_wnd = tcb.cold.max_wnd.max(tcb.hot.snd.wnd);
    syn_acknowledged(tcb, segment, cx);
    deliver::queued(tcb, cx);
    if !segment.payload.is_empty() || segment.flags.has(Flags::FIN) {
        return deliver::behind_syn(tcb, segment, cx);
    }
    Outcome::Continue
}

/// The peer has acknowledged this side's SYN: the connection is established.
fn syn_acknowledged<A: Application, T>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) {
    let (una, nxt) = (tcb.hot.snd.una, tcb.hot.snd.nxt);
    let mut sample = AckSample::default();
    tcb.warm.flight.acknowledge(&mut cx.shared.flight, una, nxt, &mut sample);
    ack::measure(tcb, &sample, segment, cx.shared);
    if tcb.cold.timeouts > 0 {
        tcb.warm.rtt.handshake_retransmitted();
    }
    tcb.hot.state = State::Established;
    tcb.hot.snd.una = nxt;
    tcb.hot.retransmit_at = Tick::NEVER;
    tcb.cold.stalled_since = Tick::NEVER;
    tcb.cold.timeouts = 0;
    open(tcb, cx, true);
}

/// Tells the application that the connection is established.
pub(crate) fn open<A: Application, T>(
    tcb: &mut Tcb<A::Conn>,
    cx: &mut Context<'_, A, T>,
    active: bool,
) {
    let (app, tuple) = (&mut *cx.app, &tcb.hot.tuple);
    let ends = app.wants_ends(tuple.local_port).then(|| tuple.ends(cx.shared.config.zone));
    cx.shared.opened = cx.shared.opened.wrapping_add(1);
    tcb.cold.opened = cx.shared.opened;
    let id = ConnectionId(u64::from(tcb.cold.opened) << 32 | u64::from(cx.id));
    let opened = Opened { local_port: tuple.local_port, active, token: tcb.cold.token, id, ends };
    tcb.hot.flags.set(ConnFlags::OPENED);
    tcb.event(cx.id, cx.shared, |exchange| exchange.open(app, opened));
}

/// §3.10.7.3: SYN-SENT.
#[cold]
#[inline(never)]
pub(super) fn syn_sent<A: Application, T: Transmit>(
    tcb: &mut Tcb<A::Conn>,
    segment: &Segment<'_>,
    cx: &mut Context<'_, A, T>,
) -> Result<Outcome, Stop> {
    if tcb.hot.snd.nxt == tcb.hot.snd.una {
        // The SYN still waits for the next hop and was not sent.
        return Err(Stop::Dropped(DropReason::BadAck));
    }
    let has_ack = segment.flags.has(Flags::ACK);
    let is_reset = segment.flags.has(Flags::RST);
    if has_ack && segment.ack != tcb.hot.snd.nxt {
        if !is_reset {
            output::refuse_ack(&tcb.hot, segment.ack, cx.shared, cx.tx);
        }
        return Err(Stop::Dropped(DropReason::BadAck));
    }
    if is_reset {
        // Anybody may have sent a reset without an acceptable acknowledgement.
        return if has_ack {
            Ok(Outcome::Closed(Closed::Refused))
        } else {
            Err(Stop::Dropped(DropReason::BlindReset))
        };
    }
    if !segment.flags.has(Flags::SYN) {
        return Err(Stop::Dropped(DropReason::NoAck));
    }
    if let Some(max) = tcb.hot.take_syn(segment.seq, &segment.options, cx.shared) {
        path_search::begin(tcb, max, cx.shared);
    }
    if ecn::is_agreed(segment, cx.shared.config.ecn) {
        ecn::agreed(tcb, tcb.cold.timeouts > 0, cx.shared);
    }
    window::begin(tcb, cx.shared);
    tcb.hot.snd.wnd = u32::from(segment.window);
    tcb.hot.snd.wl1 = segment.seq;
    tcb.cold.max_wnd = tcb.hot.snd.wnd.max(1);
    tcb.warm.last_received_at = cx.shared.tick;
    tcb.hot.snd.cwnd = congestion::initial_window(u32::from(tcb.hot.mss), tcb.cold.timeouts);
    let behind_syn = Segment { seq: segment.seq + 1, ..*segment };
    if !has_ack {
        tcb.hot.state = State::SynReceived;
        deliver::queue(tcb, &behind_syn, cx.shared);
        syn(tcb, cx.shared, cx.tx);
        return Ok(Outcome::Continue);
    }
    tcb.hot.flags.set(ConnFlags::ACK_NOW);
    cx.shared.neighbours.reached(&segment.link.mac, cx.shared.tick);
    syn_acknowledged(tcb, segment, cx);
    // Fourth step: other controls and text are processed as in ESTABLISHED.
    if !segment.payload.is_empty() || segment.flags.has(Flags::FIN) {
        return Ok(deliver::behind_syn(tcb, &behind_syn, cx));
    }
    Ok(Outcome::Continue)
}

impl Hot {
    /// Applies the peer's SYN: its initial sequence number and its options. An option is in force
    /// if both SYNs have it. Returns the MSS without the path's bound, if the path to the peer is
    /// known to have a small MTU.
    pub(crate) fn take_syn<B>(
        &mut self,
        seq: Seq,
        options: &Options,
        shared: &Shared<B>,
    ) -> Option<u16> {
        self.rcv.nxt = seq + 1;
        self.rcv.acked = seq + 1;
        self.rcv.edge = self.rcv.nxt + shared.config.receive_window_bytes.min(u32::from(u16::MAX));
        if let Some(shift) = options.window_scale {
            self.scales = Scales::new(shift, shared.config.window_shift());
            self.flags.set(ConnFlags::SCALES);
        }
        let mut overhead = 0;
        if let Some((value, _)) = options.timestamps {
            self.rcv.ts_recent = value;
            self.flags.set(ConnFlags::TIMESTAMPS);
            overhead = crate::wire::tcp::TIMESTAMPS_BYTES as u16;
        }
        if options.sack_permitted {
            self.flags.set(ConnFlags::SACK);
        }
        let remote = &self.tuple.remote;
        self.mss = effective_mss(options.mss, remote, &shared.config) - overhead;
        let mtu = shared.paths.mtu(remote, shared.tick)?;
        let fits = mtu - (ip::header_bytes(remote) + crate::wire::tcp::HEADER_BYTES) as u16;
        let max = self.mss;
        self.mss = max.min(fits - overhead);
        (self.mss < max).then_some(max)
    }
}

/// Payload of a full segment without options: the smaller of both sides' maxima. The minimum is 88
/// bytes, so that a peer cannot make this side send thousands of segments for one answer.
fn effective_mss(offered: Option<u16>, remote: &Address, config: &Config) -> u16 {
    const MINIMUM: u16 = 88;
    offered.unwrap_or(default_mss(remote)).clamp(MINIMUM, config.mss(remote))
}

/// The MSS of a peer that sends no MSS option (RFC 9293 §3.7.1 MUST-15).
pub(crate) fn default_mss(remote: &Address) -> u16 {
    if remote.is_v4() { 536 } else { 1220 }
}

/// Sends this side's SYN in SYN-SENT, or its SYN-ACK in SYN-RECEIVED.
pub(crate) fn syn<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    let is_answer = tcb.hot.state == State::SynReceived;
    let flags = if is_answer { Flags::SYN.with(Flags::ACK) } else { Flags::SYN };
    let flags = flags.with(ecn::of_syn(tcb, is_answer, shared.config.ecn));
    let hot = &mut tcb.hot;
    // A SYN-ACK has only options that the peer's SYN had (RFC 7323 §1.3, RFC 2018 §2).
    let scales = !is_answer || hot.flags.has(ConnFlags::SCALES);
    let stamps = !is_answer || hot.flags.has(ConnFlags::TIMESTAMPS);
    let clock = shared.tick.millis().wrapping_add(hot.ts_offset);
    let options = Options {
        mss: Some(shared.config.offered_mss(&hot.tuple.remote)),
        window_scale: scales.then(|| shared.config.window_shift()),
        sack_permitted: !is_answer || hot.flags.has(ConnFlags::SACK),
        timestamps: stamps.then_some((clock, hot.rcv.ts_recent)),
        ..Options::default()
    };
    let window = syn_window(&shared.config);
    let path = Path { tuple: &hot.tuple, link: &hot.link };
    let numbers = Numbers::plain(hot.snd.una, hot.rcv.nxt, flags, window);
    let sent = emit(&path, numbers, &options, 0, &shared.config, tx, |_| 0);
    if sent {
        shared.counters.segments_sent += 1;
        hot.snd.nxt = hot.snd.una + 1;
        let (una, nxt, now_us) = (hot.snd.una, hot.snd.nxt, shared.now_us());
        match tcb.warm.flight.is_empty() {
            true => _ = tcb.warm.flight.sent(&mut shared.flight, nxt, now_us, 0),
            false => {
                let stamp = Stamp::default();
                let flight = &mut shared.flight;
                tcb.warm.flight.retransmitted(flight, una, (una, nxt), now_us, stamp);
            }
        }
        output::arm_retransmission(tcb, tcb.in_flight(), shared);
    }
    sent
}
