//! Segments that are too big for the path: a router says so (RFC 1191, RFC 8201), or they vanish
//! without a word (RFC 4821 §7.7).
//!
//! What is too big is cut smaller and sent again at once; that is no congestion, and the window
//! stays what it is. The segments of a connection never grow again: the next connection tries, once
//! what is remembered of the path has aged.

use super::{Marks, Shared, Tcb, recovery};
use crate::path_mtu::{TooBig, floor};
use crate::wire::{ip, ipv6, tcp};
use simoom_io::send::Blob;

/// Where full segments vanish, this is tried first (RFC 8899 §5.1.2 has 1200 for UDP): every link
/// of IPv6 carries it, and so do most tunnels.
const BASE_MTU: u16 = ipv6::MIN_MTU;
/// So many timeouts in a row are taken for that, on a connection of which no full segment ever
/// arrived,
const TIMEOUTS_UNPROVED: u8 = 2;
/// and on one of which some did: mostly it is congestion there.
const TIMEOUTS_PROVED: u8 = 5;

/// A router says that a segment was too big. Anybody can say so: it must have been one that is on
/// its way (RFC 5927 §4.1). Returns whether it is believed.
pub(crate) fn too_big<C, B: Blob>(tcb: &mut Tcb<C>, said: &TooBig, shared: &mut Shared<B>) -> bool {
    let is_out = said.seq.at_or_after(tcb.hot.snd.una) && said.seq.before(tcb.hot.snd.nxt);
    if is_out {
        narrow(tcb, said.mtu, shared);
    }
    is_out
}

/// The retransmission timer ran out, not for the first time: full segments may be too big for a
/// link whose router does not say so, or is not heard.
pub(super) fn timed_out<C, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    let is_full = tcb.in_flight() >= u32::from(tcb.hot.mss);
    let patience = if tcb.cold.full_arrived { TIMEOUTS_PROVED } else { TIMEOUTS_UNPROVED };
    // What SACK reports has arrived.
    if !is_full || tcb.recovery.sacked > 0 || !tcb.cold.timeouts.is_multiple_of(patience) {
        return;
    }
    let least = floor(&tcb.hot.tuple.remote);
    let mtu = if mtu(tcb) > BASE_MTU { BASE_MTU } else { least };
    if narrow(tcb, mtu, shared) {
        shared.counters.path_black_holes += 1;
        // It was a timeout all the same (RFC 5681 §3.1).
        tcb.hot.snd.cwnd = u32::from(tcb.hot.mss);
    }
}

/// Segments are at most so large from now on, with their headers. Returns whether that is news.
fn narrow<C, B: Blob>(tcb: &mut Tcb<C>, to: u16, shared: &mut Shared<B>) -> bool {
    if to >= mtu(tcb) {
        return false;
    }
    shared.counters.path_mtu_lowered += 1;
    shared.paths.narrowed(tcb.hot.tuple.remote, to, shared.tick);
    tcb.hot.mss = to - overhead(tcb);
    tcb.cold.full_arrived = false;
    recovery::cut_smaller(tcb, shared);
    true
}

/// The largest packet of a connection.
fn mtu<C>(tcb: &Tcb<C>) -> u16 {
    tcb.hot.mss + overhead(tcb)
}

/// What is not payload of a full segment.
fn overhead<C>(tcb: &Tcb<C>) -> u16 {
    let options = if tcb.hot.marks.has(Marks::TIMESTAMPS) { tcp::TIMESTAMPS_BYTES } else { 0 };
    (ip::header_bytes(&tcb.hot.tuple.remote) + tcp::HEADER_BYTES + options) as u16
}
