//! Pacing: the data that the windows allow is spread over the round trip, so that a short queue on
//! the path does not overflow.
//!
//! Decides for a segment whether to send it now or at a tick of the retransmission timer, at the
//! rate of the connection's controller. Controllers by window are paced on paths whose round trip
//! is long against that tick, and not during loss recovery: there [`super::prr`] clocks segments by
//! acknowledgements. Controllers by rate are always paced.

use super::congestion::{control, initial_window};
use super::{ConnFlags, Phase, Shared, Tcb, TimerEvent};

/// Burst size, as time: one tick of the timer.
const TICK_US: u32 = 1000;
/// Unused sending time that is credited after a late tick.
const CREDIT_US: u32 = 2 * TICK_US;

/// Whether the connection is paced.
#[inline]
pub(super) fn is_due<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> bool {
    tcb.warm.rtt.min_us() >= shared.config.paced_from_us || tcb.hot.flags.has(ConnFlags::RATE_BASED)
}

/// How many of `len` bytes of a paced connection may be sent now, one after the other: all of them
/// or whole segments. Their time is charged. `None`: they have to wait.
#[inline(never)]
pub(super) fn allowance<C, B>(tcb: &mut Tcb<C>, len: u32, shared: &mut Shared<B>) -> Option<u32> {
    let mss = u32::from(tcb.hot.mss);
    if let Some(at_most) = exempt(tcb, shared) {
        return Some(len.min(at_most.div_ceil(mss).saturating_mul(mss)));
    }
    let (rate, quantum) = control::pacing(tcb, shared);
    let duration_us = |bytes: u32| (u64::from(bytes) * 1_000_000 / rate).min(1 << 30) as u32;
    let segment = len.min(mss);
    let burst_us = duration_us(quantum.saturating_sub(segment)).max(TICK_US);
    let now_us = shared.now_us();
    let ahead_us = tcb.cold.paced_us.wrapping_sub(now_us) as i32;
    // A time further ahead than one round trip is stale: the clock has wrapped. Where a segment
    // takes longer than a round trip, it may be ahead by a burst.
    let max_us = tcb.warm.rtt.srtt_us().max(burst_us.saturating_add(duration_us(segment)));
    let is_recent = (-(CREDIT_US as i32)..=max_us as i32).contains(&ahead_us);
    let ahead_us = if is_recent { ahead_us } else { -(CREDIT_US as i32) };
    if ahead_us > burst_us as i32 {
        let wait_ms = (ahead_us as u32 - burst_us).div_ceil(1000);
        let at = shared.tick.plus(wait_ms);
        if at.is_sooner_than(tcb.hot.retransmit_at) {
            (tcb.cold.timer_event, tcb.hot.retransmit_at) = (TimerEvent::Pacing, at);
        }
        return None;
    }
    let len = if len > mss {
        // Segments are sent until the next one would be ahead of the burst.
        let left_us = burst_us.wrapping_sub(ahead_us as u32);
        len.min((left_us / duration_us(mss).max(1)).saturating_add(1).saturating_mul(mss))
    } else {
        len
    };
    tcb.cold.paced_us = now_us.wrapping_add_signed(ahead_us).wrapping_add(duration_us(len));
    Some(len)
}

/// How many bytes are not paced, if some are not. Even a short queue has space for the initial
/// window (RFC 6928).
fn exempt<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> Option<u32> {
    let left = initial_window(u32::from(tcb.hot.mss), 0).saturating_sub(tcb.in_flight());
    let is_rate_based = tcb.hot.flags.has(ConnFlags::RATE_BASED);
    if left > 0 && !(is_rate_based && control::has_delivered(tcb, shared)) {
        return Some(left);
    }
    (!is_rate_based && tcb.hot.phase != Phase::Open).then_some(u32::MAX)
}
