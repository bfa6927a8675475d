//! The receive window: how much this side can take, and how much of that it says.

use super::{Marks, Shared, Tcb};
use crate::keep::LARGE_BYTES;

/// The window to advertise, scaled down; RCV.NXT + RCV.WND moves right in steps worth having (receiver's
/// silly-window avoidance, RFC 9293 §3.8.6.2.2), and never left.
#[inline]
pub(super) fn window_field<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) -> u16 {
    if window_growth(tcb, shared) >= u32::from(tcb.hot.mss).min(shared.config.receive_window_bytes / 2) {
        tcb.hot.rcv.edge = tcb.hot.rcv.nxt + advertisable(tcb, shared);
    }
    let scale = tcb.hot.rcv_scale;
    let window = tcb.hot.rcv.edge.since(tcb.hot.rcv.nxt);
    // Rounded up: rounded down, the edge would move left by a few bytes.
    let field = (window + ((1 << scale) - 1)) >> scale;
    field.min(u32::from(u16::MAX)) as u16
}

/// Bytes that can be taken, as far as the header's field can say so.
#[inline]
fn advertisable<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> u32 {
    receive_space(tcb, shared).min(u32::from(u16::MAX) << tcb.hot.rcv_scale)
}

/// By how much the right edge of the receive window could move.
#[inline]
fn window_growth<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> u32 {
    (tcb.hot.rcv.nxt + advertisable(tcb, shared)).since(tcb.hot.rcv.edge)
}

/// Whether the peer should hear of a window that has opened by two segments or half its size.
#[inline]
pub(super) fn opens_window<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> bool {
    window_growth(tcb, shared) >= (2 * u32::from(tcb.hot.mss)).min(shared.config.receive_window_bytes / 2)
        && !tcb.hot.marks.has(Marks::FIN_TAKEN)
}

/// Bytes that can be taken from the peer: less than the whole window only while input is kept. An application that
/// waits for the rest of a request may be sent a whole window more, or it might wait for ever; one that reads later is
/// sent what the window has left.
#[inline]
pub(crate) fn receive_space<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> u32 {
    let window = shared.config.receive_window_bytes;
    let kept = tcb.cold.kept.len();
    match (kept, tcb.cold.reads_later) {
        (0, _) => window,
        (_, false) => window.min((LARGE_BYTES - kept) as u32),
        (_, true) => window.min(LARGE_BYTES as u32).saturating_sub(kept as u32),
    }
}
