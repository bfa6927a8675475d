//! Segments that are too big for the path: a router reports it (RFC 1191, RFC 8201), they are lost
//! without a report (RFC 4821 §7.7), or the MTU of the interface was lowered.
//!
//! The data is retransmitted at once in smaller segments. This is no congestion, so the threshold
//! stays, and the window has as many segments as before. [`super::path_search`] looks for a larger
//! MSS: ten minutes later, or once smaller segments arrive where larger ones were lost without a
//! report.

use super::{ConnFlags, Shared, State, Tcb, path_search, recovery};
use crate::path_mtu::{TooBig, floor};
use crate::wire::{ip, ipv6, tcp};
use simoom_io::send::Blob;
use simoom_io::timer::Tick;

/// The first MTU to try in a black hole (RFC 8899 §5.1.2 has 1200 for UDP). Every IPv6 link carries
/// it, and so do most tunnels.
const BASE_MTU: u16 = ipv6::MIN_MTU;
/// Consecutive timeouts that mean a black hole, if no full segment was ever acknowledged.
const TIMEOUTS_UNPROVED: u8 = 2;
/// Consecutive timeouts that mean a black hole, if full segments were acknowledged or SACKed: then
/// the usual cause is congestion.
const TIMEOUTS_PROVED: u8 = 5;

/// A router reports that a segment was too big. Anybody can forge such a report, so it must quote a
/// segment in flight (RFC 5927 §4.1). Returns whether it was accepted.
pub(crate) fn too_big<C, B: Blob>(
    tcb: &mut Tcb<C>,
    report: &TooBig,
    shared: &mut Shared<B>,
) -> bool {
    let is_out = report.seq.at_or_after(tcb.hot.snd.una) && report.seq.before(tcb.hot.snd.nxt);
    if is_out && lower_mss(tcb, report.mtu, shared) {
        shared.paths.lowered(tcb.hot.tuple.remote, report.mtu, shared.tick);
    } else if is_out {
        path_search::reported(tcb, report.mtu.saturating_sub(overhead(tcb)));
    }
    is_out
}

/// Lowers the MSS if full segments no longer fit the interface. Returns whether it was lowered.
pub(crate) fn fit_link<C, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) -> bool {
    let to = shared.config.mtu;
    // The MSS is not known before the peer's SYN.
    if matches!(tcb.hot.state, State::SynSent | State::Closed) || to >= mtu(tcb) {
        return false;
    }
    shared.counters.path_mtu_lowered += 1;
    tcb.cold.search.shrunk(tcb.hot.mss, shared.tick);
    if tcb.in_flight() == 0 || tcb.hot.state == State::SynReceived {
        set_mss(tcb, to);
    } else {
        cut_to(tcb, to, shared);
    }
    true
}

/// The retransmission timer expired again: full segments may be too big for a link whose router
/// sends no report, or whose reports are lost. A peer that is gone looks the same, so the path is
/// cached only when smaller segments arrive.
pub(super) fn timed_out<C, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    path_search::timed_out(tcb, shared);
    let is_full = tcb.in_flight() >= u32::from(tcb.hot.mss);
    // SACKed segments have arrived, perhaps before the path changed.
    let is_proved = tcb.cold.full_arrived || tcb.recovery.sacked > 0;
    let threshold = if is_proved { TIMEOUTS_PROVED } else { TIMEOUTS_UNPROVED };
    if !is_full || !tcb.recovery.stalls.is_multiple_of(threshold) {
        return;
    }
    let least = floor(&tcb.hot.tuple.remote);
    let mtu = if mtu(tcb) > BASE_MTU { BASE_MTU } else { least };
    let before = tcb.cold.search.suspected_mss(tcb.hot.mss);
    if lower_mss(tcb, mtu, shared) {
        shared.counters.path_black_holes += 1;
        tcb.cold.search.suspect(tcb.hot.snd.una, before);
        // The timeout still counts (RFC 5681 §3.1).
        tcb.hot.snd.cwnd = u32::from(tcb.hot.mss);
    }
}

/// Lowers the MSS to fit packets of `to` bytes. Returns whether it was larger.
fn lower_mss<C, B: Blob>(tcb: &mut Tcb<C>, to: u16, shared: &mut Shared<B>) -> bool {
    if to >= mtu(tcb) {
        return false;
    }
    shared.counters.path_mtu_lowered += 1;
    tcb.cold.search.shrunk(tcb.hot.mss, shared.tick);
    cut_to(tcb, to, shared);
    true
}

/// Sets the MSS to fit packets of `to` bytes, and retransmits in such segments.
fn cut_to<C, B: Blob>(tcb: &mut Tcb<C>, to: u16, shared: &mut Shared<B>) {
    set_mss(tcb, to);
    tcb.cold.full_arrived = false;
    recovery::cut_smaller(tcb, shared);
}

/// Lowers the MSS to fit packets of `to` bytes. The congestion window shrinks in proportion: it
/// counts segments that the path carries (RFC 5681 §3.1).
fn set_mss<C>(tcb: &mut Tcb<C>, to: u16) {
    let (old, new) = (u64::from(tcb.hot.mss), u64::from(to - overhead(tcb)));
    tcb.hot.mss = new as u16;
    let window = u64::from(tcb.hot.snd.cwnd) * new / old.max(1);
    tcb.hot.snd.cwnd = window.max(new) as u32;
}

/// The interface carries larger packets than before.
pub(crate) fn link_raised<C>(tcb: &mut Tcb<C>, now: Tick) {
    tcb.cold.search.hasten(now);
}

/// The largest MSS that the interface carries.
pub(super) fn max_mss<C, B>(tcb: &Tcb<C>, shared: &Shared<B>) -> u16 {
    shared.config.mtu - overhead(tcb)
}

/// The largest packet of a connection, in bytes.
pub(super) fn mtu<C>(tcb: &Tcb<C>) -> u16 {
    tcb.hot.mss + overhead(tcb)
}

/// Bytes of headers and options in a full segment.
fn overhead<C>(tcb: &Tcb<C>) -> u16 {
    let options = if tcb.hot.flags.has(ConnFlags::TIMESTAMPS) { tcp::TIMESTAMPS_BYTES } else { 0 };
    (ip::header_bytes(&tcb.hot.tuple.remote) + tcp::HEADER_BYTES + options) as u16
}
