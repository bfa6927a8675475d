//! Pacing: on a long path, the data that the windows allow is spread over the round trip, so that a
//! short queue on the path does not overflow.
//!
//! Decides for a segment, while others are in flight, whether to send it now or at a tick of the
//! retransmission timer. Paths whose round trip is short against that tick are not paced. Nor is
//! loss recovery: there [`super::prr`] clocks segments by acknowledgements.

use super::congestion::initial_window;
use super::{Phase, Shared, Tcb, TimerEvent};

/// Burst size, as time: one tick of the timer.
const TICK_US: u32 = 1000;
/// Unused sending time that is credited after a late tick.
const CREDIT_US: u32 = 2 * TICK_US;
/// Pacing rate in slow start, in percent of the window each round trip. More than doubling, so that
/// a path without a short queue loses at most an eighth of a round trip.
const SLOW_START_PERCENT: u64 = 400;
const AVOIDANCE_PERCENT: u64 = 120;

/// Whether the path is long enough for pacing.
#[inline]
pub(super) fn is_due<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> bool {
    tcb.warm.rtt.min_us() >= shared.config.paced_from_us
}

/// Whether a segment of `len` bytes has to wait. If not, its time is charged.
#[inline]
pub(super) fn must_wait<C, B>(tcb: &mut Tcb<C>, len: u32, shared: &Shared<B>) -> bool {
    is_due(tcb, shared) && must_wait_on_long_path(tcb, len, shared)
}

fn must_wait_on_long_path<C, B>(tcb: &mut Tcb<C>, len: u32, shared: &Shared<B>) -> bool {
    // Even a short queue has space for the initial window (RFC 6928).
    if tcb.hot.phase != Phase::Open || tcb.in_flight() < initial_window(u32::from(tcb.hot.mss), 0) {
        return false;
    }
    let now_us = shared.now_us();
    let ahead_us = tcb.cold.paced_us.wrapping_sub(now_us) as i32;
    // A time further ahead than one round trip is stale: the clock has wrapped.
    let is_recent = (-(CREDIT_US as i32)..=tcb.warm.rtt.srtt_us() as i32).contains(&ahead_us);
    if is_recent && ahead_us > TICK_US as i32 {
        let wait_ms = (ahead_us as u32 - TICK_US).div_ceil(1000);
        let at = shared.tick.plus(wait_ms);
        if at.is_sooner_than(tcb.hot.retransmit_at) {
            (tcb.cold.timer_event, tcb.hot.retransmit_at) = (TimerEvent::Pacing, at);
        }
        return true;
    }
    let from_us = if is_recent { tcb.cold.paced_us } else { now_us.wrapping_sub(CREDIT_US) };
    tcb.cold.paced_us = from_us.wrapping_add(duration_us(tcb, len));
    false
}

/// How long `len` bytes take at the connection's pacing rate: at most a round trip.
fn duration_us<C>(tcb: &Tcb<C>, len: u32) -> u32 {
    let (cwnd, ssthresh) = (tcb.hot.snd.cwnd, tcb.control.ssthresh);
    let percent = if cwnd < ssthresh / 2 { SLOW_START_PERCENT } else { AVOIDANCE_PERCENT };
    (u64::from(len) * u64::from(tcb.warm.rtt.srtt_us()) * 100
        / (u64::from(cwnd.max(len)) * percent)) as u32
}
