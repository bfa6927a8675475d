//! Search for a larger path MTU (RFC 8899, RFC 4821 §7), on connections whose path has shrunk.
//!
//! A probe is a segment of new data that is larger than the MSS. More data must wait: the segments
//! behind a probe show its loss. The MSS grows when the probe is acknowledged. A lost probe is
//! retransmitted in smaller segments, and is no congestion (RFC 4821 §7.5). Only connections with
//! SACK search: others detect one loss in a round trip.

use super::{ConnFlags, Phase, Shared, Tcb, Transmit, output, path};
use crate::seq::Seq;
use simoom_io::send::Blob;
use simoom_io::timer::Tick;

/// RFC 8899 §5.1.1, PMTU_RAISE_TIMER; RFC 1191 §6.3 allows no sooner.
const RAISE_MS: u32 = 600_000;
/// The time from a lost probe to the next one (RFC 8899 §5.1.1, PROBE_TIMER).
const PAUSE_MS: u32 = 1000;
/// RFC 8899 §5.1.2, MAX_PROBES: as many lost probes mean that the size does not fit.
const MAX_PROBES: u8 = 3;
/// A gain of fewer bytes is not probed for.
const STEP: u16 = 32;
/// Full segments that wait behind a probe: their SACK shows its loss.
const BEHIND: u32 = 3;

/// The search of one connection. Sizes are payloads of full segments, as the MSS.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Search {
    /// When the next probe may be sent. [`Tick::NEVER`]: the path has not shrunk.
    at: Tick,
    /// The outstanding probe: where it begins, and its size; 0 without one.
    start: Seq,
    len: u16,
    /// The size that both ends and the interface allow.
    max: u16,
    /// The size to probe next.
    next: u16,
    /// The smallest size that is known not to fit.
    too_big: u16,
    /// Probes of this size that were lost.
    lost: u8,
    /// The outstanding probe is lost, and is retransmitted.
    is_lost: bool,
    /// The path may be a black hole for larger segments: SND.UNA when the MSS was lowered for that.
    /// Nothing that was sent since is acknowledged.
    suspected: Option<Seq>,
    /// The MSS before that suspicion. It is probed first, once smaller segments arrive: an outage
    /// looks like a black hole. 0 if it was tried, or without a suspicion.
    restores: u16,
}

impl Search {
    /// Whether there is anything to search for.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.at != Tick::NEVER
    }

    /// The MSS was lowered from `mss`.
    pub(super) fn shrunk(&mut self, mss: u16, now: Tick) {
        self.start_over(if self.is_on() { self.max } else { mss }, now.plus(RAISE_MS));
    }

    /// The MSS was lowered from `mss` because larger segments vanish without a report.
    pub(super) fn suspect(&mut self, una: Seq, mss: u16) {
        (self.suspected, self.restores, self.next) = (Some(una), mss, mss);
    }

    /// The largest MSS that is suspected to vanish, or `mss`.
    pub(super) fn suspected_mss(&self, mss: u16) -> u16 {
        self.restores.max(mss)
    }

    /// The interface carries larger packets than before.
    pub(super) fn hasten(&mut self, now: Tick) {
        if self.is_on() {
            self.start_over(self.max, now);
        }
    }

    fn start_over(&mut self, max: u16, at: Tick) {
        *self = Search { at, max, next: max, too_big: max + 1, ..Search::default() };
    }

    /// Another size is next, or nothing for a long time.
    fn choose(&mut self, next: u16, mss: u16, at: Tick) {
        (self.next, self.at, self.lost) = (next, at, 0);
        if mss >= self.max {
            *self = Search::default();
        } else if next < mss.saturating_add(STEP) {
            self.start_over(self.max, at.plus(RAISE_MS));
        }
    }

    /// A probe was lost.
    fn failed(&mut self, mss: u16, now: Tick) {
        let len = std::mem::take(&mut self.len);
        (self.is_lost, self.at) = (false, now.plus(PAUSE_MS));
        self.lost += 1;
        if self.lost >= MAX_PROBES {
            (self.too_big, self.restores) = (self.too_big.min(len), 0);
            self.choose(mss.midpoint(self.too_big), mss, self.at);
        }
    }

    /// Where the outstanding probe ends.
    fn end(&self) -> Seq {
        self.start + u32::from(self.len)
    }
}

/// The connection begins with a smaller MSS than `max`, because the path is known.
#[cold]
pub(crate) fn begin<C, B>(tcb: &mut Tcb<C>, max: u16, shared: &Shared<B>) {
    tcb.cold.search.shrunk(max, shared.tick);
}

/// Data is in flight: sends a probe if one is due. Returns whether other data must wait until the
/// windows have space for the probe.
#[cold]
pub(super) fn holds_back<C, B: Blob, T: Transmit>(
    tcb: &mut Tcb<C>,
    shared: &mut Shared<B>,
    tx: &mut T,
) -> bool {
    settle(tcb, shared);
    confirm(tcb, shared);
    let search = tcb.cold.search;
    let is_due = search.at.is_due(shared.tick) && search.len == 0;
    if !is_due || tcb.hot.phase != Phase::Open || !tcb.hot.flags.has(ConnFlags::SACK) {
        return false;
    }
    let len = u32::from(search.next.min(path::max_mss(tcb, shared)));
    let mss = u32::from(tcb.hot.mss);
    let has_more = tcb.hot.queue.unread() >= u64::from(len + BEHIND * mss);
    if len <= mss || !has_more || !tcb.warm.flight.has_capacity(&shared.flight) {
        return false;
    }
    let (wnd, cwnd) = (tcb.hot.snd.wnd, tcb.hot.snd.cwnd);
    if wnd.min(cwnd).saturating_sub(tcb.in_flight()) < len {
        return true;
    }
    let start = tcb.hot.snd.nxt;
    if output::send_next(tcb, len, shared, tx) {
        shared.counters.path_mtu_probes += 1;
        let search = &mut tcb.cold.search;
        (search.start, search.len, search.is_lost) = (start, len as u16, false);
    }
    false
}

/// Caches the path of a suspected black hole once smaller segments arrive. A peer that is gone
/// answers to none of them: other connections to its address, such as those behind the same NAT,
/// keep their segments. The search begins at once (RFC 8899 §5.2), since the path may have carried
/// nothing at all.
fn confirm<C, B>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    if tcb.cold.search.suspected.is_some_and(|una| tcb.hot.snd.una.after(una)) {
        (tcb.cold.search.suspected, tcb.cold.search.at) = (None, shared.tick);
        shared.paths.lowered(tcb.hot.tuple.remote, path::mtu(tcb), shared.tick);
    }
}

/// Concludes from an acknowledged probe.
fn settle<C, B: Blob>(tcb: &mut Tcb<C>, shared: &mut Shared<B>) {
    let search = &mut tcb.cold.search;
    if search.len == 0 || tcb.hot.snd.una.before(search.end()) {
        return;
    }
    if search.is_lost {
        return search.failed(tcb.hot.mss, shared.tick);
    }
    let mss = std::mem::take(&mut search.len);
    tcb.hot.mss = mss;
    let next = match std::mem::take(&mut search.restores) {
        // The MSS is what it was before an outage. What was known of larger ones still holds.
        1.. => mss,
        0 if search.too_big > search.max => search.max,
        0 => mss.midpoint(search.too_big),
    };
    search.choose(next, mss, shared.tick);
    shared.counters.path_mtu_raised += 1;
    let (mtu, most) = (path::mtu(tcb), shared.config.mtu);
    shared.paths.raised(&tcb.hot.tuple.remote, mtu, most);
}

/// Whether all bytes marked lost belong to the outstanding probe: it was too big for the path, or
/// was lost like any segment. That is no reason to reduce the window.
pub(super) fn explains_loss<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) -> bool {
    let search = &mut tcb.cold.search;
    if search.len == 0 {
        return false;
    }
    let first = tcb.warm.flight.first_lost(&shared.flight, tcb.hot.snd.una);
    let is_probe = first.is_some_and(|(start, _)| {
        start.at_or_after(search.start) && (start + tcb.recovery.lost).at_or_before(search.end())
    });
    search.is_lost |= is_probe;
    is_probe
}

/// These bytes are retransmitted. If some belong to the outstanding probe, it is lost, whatever was
/// lost with it: its acknowledgement will be that of smaller segments.
pub(super) fn retransmitted<C>(tcb: &mut Tcb<C>, (from, to): (Seq, Seq)) {
    let search = &mut tcb.cold.search;
    search.is_lost |= search.len > 0 && from.before(search.end()) && to.after(search.start);
}

/// A router reports the size that fits, in response to a probe.
pub(super) fn reported<C>(tcb: &mut Tcb<C>, mss: u16) {
    let search = &mut tcb.cold.search;
    if mss < search.len {
        (search.next, search.too_big, search.lost) = (mss, mss + 1, 0);
    }
}

/// The retransmission timer expired: the probe says nothing any more.
pub(super) fn timed_out<C, B>(tcb: &mut Tcb<C>, shared: &Shared<B>) {
    if tcb.cold.search.len > 0 {
        tcb.cold.search.failed(tcb.hot.mss, shared.tick);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick::NEVER;

    fn search(max: u16) -> Search {
        let mut search = Search::default();
        search.shrunk(max, NOW.plus(1));
        search
    }

    /// Sizes that are probed on a path that carries segments of `fits`, and the last MSS.
    fn probed(mut mss: u16, max: u16, fits: u16) -> (Vec<u16>, u16) {
        let mut search = search(max);
        search.hasten(NOW.plus(1));
        let mut sizes = Vec::new();
        while sizes.len() < 100 && search.at.is_due(NOW.plus(RAISE_MS)) {
            sizes.push(search.next);
            search.len = search.next;
            if search.next <= fits {
                mss = std::mem::take(&mut search.len);
                let next = if search.too_big > max { max } else { mss.midpoint(search.too_big) };
                search.choose(next, mss, NOW.plus(1));
            } else {
                search.failed(mss, NOW.plus(1));
            }
        }
        (sizes, mss)
    }

    #[test]
    fn rfc_8899_section_5_3_2_the_search_ends_near_the_largest_size_that_fits() {
        assert_eq!(probed(1240, 1460, 9000), (vec![1460], 1460));
        for (max, fits) in [(1460, 1400), (1460, 1240), (1460, 1459), (8960, 1460), (8960, 4000)] {
            let (sizes, mss) = probed(1240, max, fits);
            assert!(mss <= fits && fits - mss < 2 * STEP, "{max} {fits}: {sizes:?}, {mss}");
            let lost = sizes.iter().filter(|size| **size > fits).count();
            assert!(lost.is_multiple_of(MAX_PROBES.into()) && sizes.len() < 40, "{sizes:?}");
        }
    }

    #[test]
    fn a_path_that_shrinks_again_is_left_alone_for_ten_minutes() {
        let mut search = search(1460);
        (search.len, search.lost) = (1460, 2);
        search.shrunk(1240, NOW.plus(5));
        assert_eq!((search.len, search.lost, search.max, search.next), (0, 0, 1460, 1460));
        assert!(!search.at.is_due(NOW.plus(RAISE_MS)) && search.at.is_due(NOW.plus(RAISE_MS + 5)));
        search.hasten(NOW.plus(9));
        assert!(search.at.is_due(NOW.plus(9)));
    }
}
