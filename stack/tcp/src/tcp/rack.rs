//! RACK (RFC 8985 §6): what was sent before something that has arrived, and long enough before, is
//! lost.
//!
//! In come deliveries, out goes a judgement of each run. How long is long enough, the reordering
//! window, adapts to what the path does. Nothing is sent or resized here.

use crate::flight::{self, Delivery, Flight, Run, Status};
use crate::seq::Seq;

/// §6.2: reports of needless repetitions keep the window wide for so many recoveries.
const PERSIST: u8 = 16;

/// What RACK remembers of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rack {
    /// The most recently sent of all that was delivered: when it was sent,
    sent_at_us: u32,
    /// where it ended,
    end: Seq,
    /// and how long its round trip took; 0 before there was any.
    rtt_us: u32,
    /// The highest number delivered.
    fack: Seq,
    /// A reordering window is widened once a round: until this is acknowledged.
    round: Option<Seq>,
    /// Quarters of the shortest round trip in the reordering window, less one.
    widened: u8,
    /// Recoveries until it is narrow again.
    persist: u8,
    is_reordering: bool,
}

/// What RACK needs to know of a connection to judge its runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    pub(crate) now_us: u32,
    pub(crate) srtt_us: u32,
    pub(crate) min_rtt_us: u32,
    /// In fast recovery, or after a timeout.
    pub(crate) in_recovery: bool,
    /// Three segments are reported by SACK, or more.
    pub(crate) many_sacked: bool,
}

/// What [`Rack::detect`] found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// Bytes newly taken for lost,
    pub(crate) bytes: u32,
    /// and runs of them that had been sent again before.
    pub(crate) repeats: u32,
    /// When to look again: what is suspected now will be lost then.
    pub(crate) again_us: Option<u32>,
}

impl Rack {
    /// Loss is looked for from here on; until now nothing was out of order.
    pub(crate) fn begin(&mut self, una: Seq) {
        self.fack = una;
    }

    pub(crate) fn fack(&self) -> Seq {
        self.fack
    }

    /// §6.2 steps 2 and 3. The timestamp that the peer echoes, if it does, is so old.
    pub(crate) fn delivered(
        &mut self,
        delivery: &Delivery,
        now_us: u32,
        min_rtt_us: u32,
        echo_age_ms: Option<u32>,
    ) {
        self.fack = delivery.fack;
        self.is_reordering |= delivery.reordered;
        let Some((sent_at_us, end, repeated)) = delivery.latest else { return };
        let rtt_us = now_us.wrapping_sub(sent_at_us);
        let is_older = echo_age_ms.is_some_and(|age_ms| age_ms > rtt_us / 1000 + 1);
        if repeated && (rtt_us < min_rtt_us || is_older) {
            // It is the first sending that arrived; this one is still on its way.
            return;
        }
        if self.rtt_us == 0 || flight::is_later((sent_at_us, end), (self.sent_at_us, self.end)) {
            (self.sent_at_us, self.end, self.rtt_us) = (sent_at_us, end, rtt_us.max(1));
        }
    }

    /// §6.2 step 4: a D-SACK says that something was repeated needlessly, so the window was too
    /// small.
    pub(crate) fn repeated_needlessly(&mut self, una: Seq, nxt: Seq) {
        if self.round.is_none_or(|round| una.at_or_after(round)) {
            self.round = Some(nxt);
            self.widened = self.widened.saturating_add(1);
            self.persist = PERSIST;
        }
    }

    /// §6.2 step 4: a recovery is over.
    pub(crate) fn recovered(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            (self.widened, self.round) = (0, None);
        }
    }

    /// §6.2 step 4: how much later than expected something may arrive.
    fn window_us(&self, at: &Circumstances) -> u32 {
        if !self.is_reordering && (at.in_recovery || at.many_sacked) {
            return 0;
        }
        (at.min_rtt_us / 4).saturating_mul(u32::from(self.widened) + 1).min(at.srtt_us)
    }

    /// §6.2 step 5: takes for lost what is.
    pub(crate) fn detect(
        &self,
        flight: &mut Flight,
        pool: &mut flight::Pool,
        una: Seq,
        at: &Circumstances,
    ) -> Found {
        let mut found = Found::default();
        if self.rtt_us == 0 {
            return found;
        }
        let patience_us = self.rtt_us.saturating_add(self.window_us(at));
        let verdict = |_: Seq, run: &Run| {
            let is_overtaken =
                flight::is_later((self.sent_at_us, self.end), (run.sent_at_us, run.end));
            if run.status != Status::Out || !is_overtaken {
                return run.status;
            }
            let waited_us = at.now_us.wrapping_sub(run.sent_at_us);
            if waited_us >= patience_us {
                found.repeats += u32::from(run.repeated);
                return Status::Lost;
            }
            let left_us = patience_us - waited_us;
            found.again_us = Some(found.again_us.map_or(left_us, |again| again.max(left_us)));
            run.status
        };
        found.bytes = flight.judge(pool, una, verdict).0;
        found
    }

    /// §6.3: after a timeout the first segment is lost, and what was sent so long ago that it
    /// should have arrived.
    pub(crate) fn is_lost_on_timeout(
        &self,
        start: Seq,
        una: Seq,
        run: &Run,
        at: &Circumstances,
    ) -> bool {
        let patience_us = self.rtt_us.saturating_add(self.window_us(at));
        start == una || at.now_us.wrapping_sub(run.sent_at_us) >= patience_us
    }
}
