//! Calls the controller of a connection: the only code that knows both a control block and a
//! [`Controller`].

use super::{Ack, Controller, Idle, Lost, Path, RateSample, Signal, Window};
use crate::flight::{AckSample, Stamp};
use crate::tcp::{ConnFlags, Phase, Shared, Tcb, pace, rate, recovery};
use simoom_io::timer::Tick;

/// The largest window that a peer can advertise.
const MAX_BYTES: u32 = 1 << 30;

/// What a connection keeps of congestion control besides its controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control {
    /// Slow-start threshold in bytes.
    pub(crate) ssthresh: u32,
    /// Since when nothing is in flight, if the window was above the initial one.
    idle_since: Tick,
    /// The connection's entry in its table of controllers.
    pub(super) slot: u32,
    /// Which table.
    pub(super) table: u8,
    /// Whether the entry is this connection's, and not that of an earlier one.
    pub(super) has_begun: bool,
}

impl Default for Control {
    fn default() -> Control {
        Control::new(0, 0)
    }
}

impl Control {
    pub(super) fn new(slot: u32, table: u8) -> Control {
        Control { ssthresh: u32::MAX, idle_since: Tick::NEVER, slot, table, has_begun: false }
    }

    /// The connection went idle: nothing is in flight.
    #[inline]
    pub(crate) fn went_idle(&mut self, now: Tick) {
        self.idle_since = now;
    }
}

/// Chooses the controller of a new connection: that of the port to which a peer has opened it, or
/// the default.
pub(crate) fn begin<C, B>(tcb: &mut Tcb<C>, id: u32, port: Option<u16>, shared: &Shared<B>) {
    let (control, is_rate_based) = shared.controllers.choose(id, port);
    tcb.control = control;
    if is_rate_based {
        tcb.hot.flags.set(ConnFlags::RATE_BASED);
    }
}

/// Grows the window by delivered data.
pub(crate) fn acknowledged<C, B>(tcb: &mut Tcb<C>, sample: &AckSample, shared: &mut Shared<B>) {
    let sent_once = sample.sent_once.filter(|_| !sample.retransmitted);
    let now_us = shared.now_us();
    let rtt_us = sent_once.map(|(_, last_us)| now_us.wrapping_sub(last_us).max(1));
    on_ack(tcb, sample.bytes, rtt_us, None, shared);
}

#[inline]
fn on_ack<C, B>(
    tcb: &mut Tcb<C>,
    acked: u32,
    rtt_us: Option<u32>,
    rate: Option<&RateSample>,
    shared: &mut Shared<B>,
) {
    let path = path(tcb, shared);
    let (una, nxt, is_paced) = (tcb.hot.snd.una, tcb.hot.snd.nxt, pace::is_due(tcb, shared));
    let ack = Ack { path: &path, acked, rtt_us, una, nxt, is_paced, rate };
    let mut window = Window { cwnd: tcb.hot.snd.cwnd, ssthresh: tcb.control.ssthresh };
    shared.controllers.on_ack(&mut tcb.control, &ack, &mut window);
    tcb.hot.snd.cwnd = window.cwnd.min(MAX_BYTES);
    tcb.control.ssthresh = window.ssthresh;
}

/// An acknowledgement for a controller by rate: takes a sample of the delivery rate.
/// `newly_lost` bytes were marked lost.
pub(crate) fn sampled<C, B>(
    tcb: &mut Tcb<C>,
    sample: &AckSample,
    newly_lost: u32,
    shared: &mut Shared<B>,
) {
    if sample.bytes == 0 {
        return;
    }
    let (now_us, slot) = (shared.now_us(), tcb.control.slot as usize);
    let sampler = &mut shared.controllers.samplers[slot];
    let mut rate = sampler.acknowledged(sample, tcb.warm.rtt.min_us(), now_us);
    rate.newly_lost = newly_lost;
    rate.is_cwnd_limited = tcb.hot.flags.has(ConnFlags::CWND_LIMITED)
        && tcb.hot.snd.una.at_or_before(tcb.cold.limited_until);
    // The last segment sent, so that queues which it met count and earlier ones do not.
    let sent_once = sample.latest.filter(|(.., retransmitted)| !retransmitted);
    let rtt_us = sent_once.map(|(sent_at_us, ..)| now_us.wrapping_sub(sent_at_us).max(1));
    on_ack(tcb, sample.bytes, rtt_us, Some(&rate), shared);
    if shared.controllers.of(&mut tcb.control).holds_back() {
        shared.controllers.samplers[slot].mark_app_limited(recovery::pipe(tcb));
    }
}

/// §4.1.2.4 of the draft, before an acknowledgement changes what is in flight and after
/// everything was sent: whether the application limits the rate.
#[cold]
pub(crate) fn check_app_limited<C, B>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    let in_flight = recovery::pipe(tcb);
    if tcb.hot.queue.unread() == 0 && in_flight < tcb.hot.snd.cwnd && tcb.recovery.lost == 0 {
        shared.controllers.samplers[tcb.control.slot as usize].mark_app_limited(in_flight);
    }
}

/// `bytes` were sent for the first time. `is_new`: a run begins with them.
#[cold]
pub(crate) fn sent<C, B>(tcb: &mut Tcb<C>, bytes: u32, is_new: bool, shared: &mut Shared<B>) {
    let stamp = stamp(tcb, bytes, recovery::pipe(tcb), shared);
    tcb.warm.flight.stamp_last(&mut shared.flight, stamp, is_new);
}

/// The stamp of `bytes` that are sent, with which `in_flight` bytes are in flight.
pub(crate) fn stamp<C, B>(
    tcb: &Tcb<C>,
    bytes: u32,
    in_flight: u32,
    shared: &mut Shared<B>,
) -> Stamp {
    let now_us = shared.now_us();
    match shared.controllers.samplers.get_mut(tcb.control.slot as usize) {
        Some(sampler) if tcb.hot.flags.has(ConnFlags::RATE_BASED) => {
            sampler.sent(bytes, in_flight, now_us)
        }
        _ => Stamp::default(),
    }
}

/// Tells a controller by rate of the runs that were just marked lost, at least one.
pub(crate) fn lost<C, B>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    if !tcb.hot.flags.has(ConnFlags::RATE_BASED) {
        return;
    }
    let path = path(tcb, shared);
    let mut window = Window { cwnd: tcb.hot.snd.cwnd, ssthresh: tcb.control.ssthresh };
    let Shared { flight, controllers, .. } = shared;
    for (start, end, stamp) in flight.newly_lost() {
        let sampler = &mut controllers.samplers[tcb.control.slot as usize];
        let lost = Lost {
            start: *start,
            end: *end,
            sent_in_flight: stamp.in_flight,
            lost_since_sent: sampler.lost(end.since(*start), stamp),
            prior_delivered: stamp.delivered,
            is_app_limited: stamp.is_app_limited,
            delivered: sampler.delivered,
        };
        controllers.of(&mut tcb.control).on_lost(&lost, &path, &mut window);
    }
    tcb.hot.snd.cwnd = window.cwnd;
    tcb.control.ssthresh = window.ssthresh;
}

/// Whether any bytes of a connection with a controller by rate have been delivered.
pub(crate) fn has_delivered<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> bool {
    shared.controllers.samplers[tcb.control.slot as usize].delivered > 0
}

/// Tells the controller of congestion. Returns the window as it was before.
pub(crate) fn congested<C, B>(tcb: &mut Tcb<C>, signal: Signal, shared: &mut Shared<B>) -> Window {
    let before = Window { cwnd: tcb.hot.snd.cwnd, ssthresh: tcb.control.ssthresh };
    consult(tcb, shared, |controller, path, window| controller.on_congestion(signal, path, window));
    before
}

/// Recovery is over.
pub(crate) fn recovered<C, B>(tcb: &mut Tcb<C>, signal: Signal, shared: &mut Shared<B>) {
    consult(tcb, shared, |controller, path, window| controller.on_recovered(signal, path, window));
}

/// The last congestion was none.
pub(crate) fn undo<C, B>(tcb: &mut Tcb<C>, before: &Window, shared: &mut Shared<B>) {
    consult(tcb, shared, |controller, path, window| controller.on_undo(before, path, window));
}

/// Data is about to be sent after an idle time.
#[cold]
pub(crate) fn restarted<C, B>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    let sampler = shared.controllers.samplers.get(tcb.control.slot as usize);
    let is_rate_based = tcb.hot.flags.has(ConnFlags::RATE_BASED);
    let idle_ms = match std::mem::take(&mut tcb.control.idle_since) {
        Tick::NEVER if !is_rate_based => return,
        Tick::NEVER => 0,
        since => since.until(shared.tick).max(0) as u32,
    };
    let idle = Idle {
        idle_ms,
        rto_ms: tcb.warm.rtt.rto_ms(shared.config.min_rto_ms, 0),
        is_app_limited: sampler.is_some_and(rate::Sampler::is_app_limited),
    };
    consult(tcb, shared, |controller, path, window| controller.on_restart(&idle, path, window));
}

/// Pacing rate in bytes a second, at least 1, and the largest burst in bytes.
pub(crate) fn pacing<C, B>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) -> (u64, u32) {
    consult(tcb, shared, |controller, path, window| {
        (controller.pacing_rate(path, window).max(1), controller.send_quantum(path, window))
    })
}

/// Lets the controller act on the window.
#[inline]
fn consult<C, B, R>(
    tcb: &mut Tcb<C>,
    shared: &mut Shared<B>,
    act: impl FnOnce(&mut dyn Controller, &Path, &mut Window) -> R,
) -> R {
    let path = path(tcb, shared);
    let mut window = Window { cwnd: tcb.hot.snd.cwnd, ssthresh: tcb.control.ssthresh };
    let result = act(shared.controllers.of(&mut tcb.control), &path, &mut window);
    tcb.hot.snd.cwnd = window.cwnd.min(MAX_BYTES);
    tcb.control.ssthresh = window.ssthresh;
    result
}

#[inline]
fn path<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> Path {
    Path {
        now: shared.tick,
        now_us: shared.now_us(),
        mss: u32::from(tcb.hot.mss),
        srtt_us: tcb.warm.rtt.srtt_us(),
        min_rtt_us: tcb.warm.rtt.min_us(),
        flight_size: tcb.in_flight(),
        in_flight: recovery::pipe(tcb),
        in_recovery: matches!(tcb.hot.phase, Phase::Recovery | Phase::Loss),
        has_sack: tcb.hot.flags.has(ConnFlags::SACK),
    }
}
