//! The receive window: how much this side can accept, and how much of that it advertises.
//!
//! An application usually reads input as it arrives, in place, so a window takes no memory of its
//! own. Pools bound the memory of unread input and of text behind a gap.
//!
//! All connections begin with the same window. Auto-tuning doubles it when the peer fills half of
//! it within a round trip, until the window no longer limits the peer, or the shared budget is used
//! up. A connection that is idle, or for which a pool had no memory, returns to the first window.
//! An advertised window is never taken back (RFC 9293 §3.8.6, SHLD-14): the right edge stays until
//! the smaller window reaches it.

use super::{ConnFlags, Shared, Tcb};
use crate::Config;
use crate::reassembly::{BLOCK_BYTES, MAX_BLOCKS};
use simoom_io::input::LARGE_BYTES;
use simoom_io::timer::Tick;

/// Idle time after which a connection gives back the growth of its window.
const IDLE_MS: u32 = 10_000;
/// A window for 10 Gbit/s is large enough.
const ENOUGH_BYTES_PER_US: u32 = 1250;
/// The round trip to assume before the first measurement.
const UNKNOWN_RTT_US: u32 = 100_000;

/// The window of a connection that reads its input, after `doublings` doublings.
#[inline]
fn window_bytes(doublings: u8, config: &Config) -> u32 {
    match doublings {
        0 => config.receive_window_bytes,
        _ => (config.receive_window_bytes << doublings).min(config.max_receive_window_bytes),
    }
}

/// Bytes by which the window exceeds the first window.
fn extra_bytes(doublings: u8, config: &Config) -> u32 {
    window_bytes(doublings, config) - config.receive_window_bytes
}

/// Starts measuring the peer's rate, before its first text.
pub(crate) fn begin<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) {
    tcb.warm.rate_from = tcb.hot.rcv.nxt;
    tcb.cold.rate_at_us = shared.now_us();
}

/// RCV.NXT has advanced.
#[inline(always)]
pub(super) fn received<C, B>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    let half = window_bytes(tcb.hot.window_doublings, &shared.config) / 2;
    if tcb.hot.rcv.nxt.since(tcb.warm.rate_from) >= half {
        received_half(tcb, shared);
    }
}

/// Half of the window has arrived. If that took no longer than a round trip, the window may limit
/// the peer. Doubling it leaves space for what the peer sends in a round trip, so that the peer's
/// slow start is not held up.
#[cold]
fn received_half<C, B>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    let now_us = shared.now_us();
    let took_us = now_us.wrapping_sub(std::mem::replace(&mut tcb.cold.rate_at_us, now_us));
    tcb.warm.rate_from = tcb.hot.rcv.nxt;
    let rtt_us = match tcb.warm.rtt.srtt_us() {
        0 => UNKNOWN_RTT_US,
        srtt_us => srtt_us,
    };
    let (doublings, config) = (tcb.hot.window_doublings, &shared.config);
    let now_bytes = window_bytes(doublings, config);
    let more = window_bytes(doublings + 1, config).saturating_sub(now_bytes);
    let is_enough = now_bytes >= rtt_us.saturating_mul(ENOUGH_BYTES_PER_US);
    // Without window scaling, the header cannot express a larger window.
    let is_scaled = tcb.hot.flags.has(ConnFlags::SCALES);
    if took_us > rtt_us || more == 0 || is_enough || !is_scaled || !tcb.holds_nothing() {
        return;
    }
    if u64::from(more) > shared.window_budget {
        shared.counters.windows_kept_small += 1;
        return;
    }
    shared.window_budget -= u64::from(more);
    shared.counters.windows_widened += 1;
    tcb.hot.window_doublings += 1;
}

/// Returns the connection to the first window. The right edge stays until RCV.NXT plus the first
/// window is beyond it.
pub(super) fn shrink<C, B>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    let doublings = std::mem::take(&mut tcb.hot.window_doublings);
    shared.window_budget += u64::from(extra_bytes(doublings, &shared.config));
}

/// When an idle connection returns to the first window.
#[inline]
pub(super) fn shrink_at<C>(tcb: &Tcb<C>) -> Tick {
    if tcb.hot.window_doublings == 0 {
        Tick::NEVER
    } else {
        tcb.warm.last_received_at.plus(IDLE_MS)
    }
}

/// The reassembly blocks that a connection may hold: more with a large window, in which more can
/// arrive behind a gap.
#[inline]
pub(super) fn reassembly_blocks(doublings: u8, config: &Config) -> u16 {
    let more = extra_bytes(doublings, config) / BLOCK_BYTES as u32;
    MAX_BLOCKS.saturating_add(more.try_into().unwrap_or(u16::MAX))
}

/// The window to advertise, scaled down. RCV.NXT + RCV.WND moves right in steps of at least a
/// segment (receiver's silly-window avoidance, RFC 9293 §3.8.6.2.2), and never left.
///
/// The scaled value is rounded down: rounded up, the peer could send beyond the edge, where its
/// bytes are dropped. So the edge that the peer sees may move left by less than a unit, which RFC
/// 7323 §2.4 requires senders to accept. Bytes up to the edge advertised before are still accepted.
#[inline(always)]
pub(super) fn window_field<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) -> u16 {
    let step = u32::from(tcb.hot.mss).min(shared.config.receive_window_bytes / 2);
    if may_grow(tcb, step, shared) {
        move_edge(tcb, step, shared);
    }
    let window = tcb.hot.rcv.edge.since(tcb.hot.rcv.nxt) >> tcb.hot.scales.rcv();
    window.min(u32::from(u16::MAX)) as u16
}

/// Moves the right edge if it moves by `step` bytes.
#[inline(never)]
fn move_edge<C, B>(tcb: &mut Tcb<C>, step: u32, shared: &Shared<B>) {
    if can_grow(tcb, step, shared) {
        tcb.hot.rcv.edge = tcb.hot.rcv.nxt + advertisable(tcb, shared);
    }
}

/// Bytes that can be accepted, bounded by the header's field.
#[inline]
fn advertisable<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> u32 {
    receive_space(tcb, shared).min(u32::from(u16::MAX) << tcb.hot.scales.rcv())
}

/// Whether the right edge of the receive window can move by `step` bytes.
#[inline]
fn can_grow<C, B>(tcb: &Tcb<C>, step: u32, shared: &Shared<B>) -> bool {
    may_grow(tcb, step, shared)
        && (tcb.hot.rcv.nxt + advertisable(tcb, shared)).since(tcb.hot.rcv.edge) >= step
}

/// Whether the right edge can move by `step` bytes if no input is held. What is held can only make
/// the window smaller. Mostly the window is wide open, and the edge moves once in many segments.
#[inline(always)]
fn may_grow<C, B>(tcb: &Tcb<C>, step: u32, shared: &Shared<B>) -> bool {
    let window = window_bytes(tcb.hot.window_doublings, &shared.config);
    tcb.hot.rcv.edge.since(tcb.hot.rcv.nxt) + step <= window
}

/// Whether to send a window update: the window has opened by two segments or half its size.
#[inline]
pub(super) fn opens_window<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> bool {
    let step = (2 * u32::from(tcb.hot.mss)).min(shared.config.receive_window_bytes / 2);
    can_grow(tcb, step, shared) && !tcb.hot.flags.has(ConnFlags::FIN_TAKEN)
}

/// Bytes that can be accepted from the peer: less than the window only while input is held. An
/// application that waits for the rest of a request gets a whole window more, or it might wait for
/// ever. An application that reads later, or in the next iteration, gets what is left of the
/// window.
#[inline]
pub(crate) fn receive_space<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> u32 {
    let window = window_bytes(tcb.hot.window_doublings, &shared.config);
    let held = tcb.held();
    let flow = tcb.warm.flow;
    match (held, flow.reads_later() || flow.has_yielded()) {
        (0, _) => window,
        (_, false) => window.min(LARGE_BYTES.saturating_sub(held) as u32),
        (_, true) => window.min(LARGE_BYTES as u32).saturating_sub(held as u32),
    }
}
