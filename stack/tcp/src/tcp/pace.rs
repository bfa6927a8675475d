//! Pacing: on a long path, what the windows allow goes out over the round trip instead of all at
//! once, so that a short queue on the way is not overrun by what it could have carried.
//!
//! In come segments about to be sent while others are in flight; each is let go, or held until a
//! tick of the timer that serves retransmissions otherwise. Nothing is held on a path so short that
//! the timer's tick is no small part of the round trip, nor while loss is repaired: then every
//! segment waits for a delivery as it is ([`super::prr`]).

use super::congestion::initial_window;
use super::{Due, Phase, Shared, Tcb};

/// What may go out at once: the time between two ticks of the timer,
const TICK_US: u32 = 1000;
/// and what could have gone out before, had the worker looked in time.
const CREDIT_US: u32 = 2 * TICK_US;
/// In percent of the window a round trip: in slow start more than it doubles by, so that a path
/// without a short queue loses an eighth of a round trip at most, later enough to fill it.
const SLOW_START_PERCENT: u64 = 400;
const AVOIDANCE_PERCENT: u64 = 120;

/// Whether the path is long enough.
#[inline]
pub(super) fn is_due<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> bool {
    tcb.warm.rtt.min_us() >= shared.config.paced_from_us
}

/// Whether a segment of `len` bytes has to wait. One that has not counts as sent.
#[inline]
pub(super) fn holds<C, B>(tcb: &mut Tcb<C>, len: u32, shared: &Shared<B>) -> bool {
    is_due(tcb, shared) && holds_on_long_path(tcb, len, shared)
}

fn holds_on_long_path<C, B>(tcb: &mut Tcb<C>, len: u32, shared: &Shared<B>) -> bool {
    // A short queue has room for what every connection begins with (RFC 6928).
    if tcb.hot.phase != Phase::Open || tcb.in_flight() < initial_window(u32::from(tcb.hot.mss), 0) {
        return false;
    }
    let now_us = shared.now_us();
    let ahead_us = tcb.cold.paced_us.wrapping_sub(now_us) as i32;
    // Further ahead than a window can put it, it is from so long ago that the clock came round.
    let is_recent = (-(CREDIT_US as i32)..=tcb.warm.rtt.srtt_us() as i32).contains(&ahead_us);
    if is_recent && ahead_us > TICK_US as i32 {
        let wait_ms = (ahead_us as u32 - TICK_US).div_ceil(1000);
        let at = shared.tick.plus(wait_ms);
        if at.is_sooner_than(tcb.hot.resend_at) {
            (tcb.cold.due, tcb.hot.resend_at) = (Due::Pacing, at);
        }
        return true;
    }
    let from_us = if is_recent { tcb.cold.paced_us } else { now_us.wrapping_sub(CREDIT_US) };
    tcb.cold.paced_us = from_us.wrapping_add(takes_us(tcb, len));
    false
}

/// How long `len` bytes take at the connection's pace: no longer than a round trip.
fn takes_us<C>(tcb: &Tcb<C>, len: u32) -> u32 {
    let (cwnd, ssthresh) = (tcb.hot.snd.cwnd, tcb.control.ssthresh);
    let percent = if cwnd < ssthresh / 2 { SLOW_START_PERCENT } else { AVOIDANCE_PERCENT };
    (u64::from(len) * u64::from(tcb.warm.rtt.srtt_us()) * 100
        / (u64::from(cwnd.max(len)) * percent)) as u32
}
