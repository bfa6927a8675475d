//! The receive window: how much this side can take, and how much of that it says.
//!
//! An application mostly reads what arrives at once, where it lies, so that a window takes no
//! memory of its own; what is kept unread or waits behind a gap does, and that is bounded by pools.
//! All connections begin with the same window. One whose peer fills half of it within a round trip
//! is given twice as much, until the window no longer is what holds the peer up, or the budget that
//! all share is used up. A connection that is idle, or for which a pool had no room, goes back to
//! the first window. What was once offered is never taken back (RFC 9293 §3.8.6, SHLD-14): the
//! right edge stays where it is until the window behind it is small again.

use super::{Marks, Shared, Tcb};
use crate::Config;
use crate::reassembly::{BLOCK_BYTES, MAX_BLOCKS};
use simoom_io::input::LARGE_BYTES;
use simoom_io::timer::Tick;

/// A connection that has been idle for so long gives back what its window was widened by.
const REST_MS: u32 = 10_000;
/// A window for 10 Gbit/s is wide enough.
const ENOUGH_BYTES_PER_US: u32 = 1250;
/// Where a round trip could not be measured.
const UNKNOWN_RTT_US: u32 = 100_000;

/// The window of a connection that reads its input, once it was doubled so many times.
#[inline]
fn window_bytes(widened: u8, config: &Config) -> u32 {
    match widened {
        0 => config.receive_window_bytes,
        _ => (config.receive_window_bytes << widened).min(config.receive_window_most_bytes),
    }
}

/// By how much it is wider than at first.
fn widened_bytes(widened: u8, config: &Config) -> u32 {
    window_bytes(widened, config) - config.receive_window_bytes
}

/// The peer's first text is yet to come.
pub(crate) fn begin<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) {
    tcb.warm.rate_from = tcb.hot.rcv.nxt;
    tcb.cold.rate_at_us = shared.now_us();
}

/// RCV.NXT has moved.
#[inline]
pub(super) fn received<C, B>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    let half = window_bytes(tcb.hot.widened, &shared.config) / 2;
    if tcb.hot.rcv.nxt.since(tcb.warm.rate_from) >= half {
        received_half(tcb, shared);
    }
}

/// Half of the window has arrived. If that took no longer than a round trip, the peer may well be
/// waiting for the window rather than for its own: it is to be twice what the peer sends in a round
/// trip, so that slow start on the other side is not held up.
#[cold]
fn received_half<C, B>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    let now_us = shared.now_us();
    let took_us = now_us.wrapping_sub(std::mem::replace(&mut tcb.cold.rate_at_us, now_us));
    tcb.warm.rate_from = tcb.hot.rcv.nxt;
    let rtt_us = match tcb.warm.rtt.srtt_us() {
        0 => UNKNOWN_RTT_US,
        srtt_us => srtt_us,
    };
    let (widened, config) = (tcb.hot.widened, &shared.config);
    let now_bytes = window_bytes(widened, config);
    let more = window_bytes(widened + 1, config).saturating_sub(now_bytes);
    let is_enough = now_bytes >= rtt_us.saturating_mul(ENOUGH_BYTES_PER_US);
    // What the header cannot say is not worth having.
    let is_scaled = tcb.hot.marks.has(Marks::SCALES);
    if took_us > rtt_us || more == 0 || is_enough || !is_scaled || !tcb.holds_nothing() {
        return;
    }
    if u64::from(more) > shared.window_budget {
        shared.counters.windows_kept_small += 1;
        return;
    }
    shared.window_budget -= u64::from(more);
    shared.counters.windows_widened += 1;
    tcb.hot.widened += 1;
}

/// The connection goes back to the first window: to what that gives beyond RCV.NXT, once this is
/// right of the edge.
pub(super) fn narrow<C, B>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    let widened = std::mem::take(&mut tcb.hot.widened);
    shared.window_budget += u64::from(widened_bytes(widened, &shared.config));
}

/// When an idle connection goes back to the first window.
#[inline]
pub(super) fn rests_at<C>(tcb: &Tcb<C>) -> Tick {
    if tcb.hot.widened == 0 { Tick::NEVER } else { tcb.warm.heard_at.plus(REST_MS) }
}

/// The reassembly blocks that a connection may hold: in a wide window, more can arrive behind a
/// gap.
#[inline]
pub(super) fn reassembly_blocks(widened: u8, config: &Config) -> u16 {
    let more = widened_bytes(widened, config) / BLOCK_BYTES as u32;
    MAX_BLOCKS.saturating_add(more.try_into().unwrap_or(u16::MAX))
}

/// The window to advertise, scaled down; RCV.NXT + RCV.WND moves right in steps worth having
/// (receiver's silly-window avoidance, RFC 9293 §3.8.6.2.2), and never left.
///
/// What does not fill a unit of the scale is not offered: rounded up, the peer could send beyond
/// the edge, where its bytes are dropped. So the edge that the peer sees may move left by less than
/// a unit, which RFC 7323 §2.4 has senders bear. Bytes up to the edge as it was offered before are
/// still taken.
#[inline]
pub(super) fn window_field<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) -> u16 {
    if window_growth(tcb, shared)
        >= u32::from(tcb.hot.mss).min(shared.config.receive_window_bytes / 2)
    {
        tcb.hot.rcv.edge = tcb.hot.rcv.nxt + advertisable(tcb, shared);
    }
    let window = tcb.hot.rcv.edge.since(tcb.hot.rcv.nxt) >> tcb.hot.scales.rcv();
    window.min(u32::from(u16::MAX)) as u16
}

/// Bytes that can be taken, as far as the header's field can say so.
#[inline]
fn advertisable<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> u32 {
    receive_space(tcb, shared).min(u32::from(u16::MAX) << tcb.hot.scales.rcv())
}

/// By how much the right edge of the receive window could move.
#[inline]
fn window_growth<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> u32 {
    (tcb.hot.rcv.nxt + advertisable(tcb, shared)).since(tcb.hot.rcv.edge)
}

/// Whether the peer should hear of a window that has opened by two segments or half its size.
#[inline]
pub(super) fn opens_window<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> bool {
    window_growth(tcb, shared)
        >= (2 * u32::from(tcb.hot.mss)).min(shared.config.receive_window_bytes / 2)
        && !tcb.hot.marks.has(Marks::FIN_TAKEN)
}

/// Bytes that can be taken from the peer: less than the whole window only while input is held. An
/// application that waits for the rest of a request may be sent a whole window more, or it might
/// wait for ever; one that reads later, or in the next iteration, is sent what the window has left.
#[inline]
pub(crate) fn receive_space<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> u32 {
    let window = window_bytes(tcb.hot.widened, &shared.config);
    let held = tcb.held();
    let flow = tcb.warm.flow;
    match (held, flow.reads_later() || flow.has_yielded()) {
        (0, _) => window,
        (_, false) => window.min(LARGE_BYTES.saturating_sub(held) as u32),
        (_, true) => window.min(LARGE_BYTES as u32).saturating_sub(held as u32),
    }
}
