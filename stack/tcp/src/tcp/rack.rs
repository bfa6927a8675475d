//! RACK (RFC 8985 §6): a segment is lost if one sent later, by more than the reordering window, has
//! arrived.
//!
//! The input is one [`AckSample`] for each acknowledgement, the result is the status of each run.
//! The reordering window adapts to the path. Nothing is sent or resized here.

use crate::flight::{self, AckSample, Flight, Run, Status};
use crate::seq::Seq;

/// §6.2: recoveries for which a spurious retransmission keeps the reordering window large.
const PERSIST: u8 = 16;

/// RACK's variables of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rack {
    /// RACK.xmit_ts: when the most recently sent of the delivered segments was sent.
    sent_at_us: u32,
    /// RACK.end_seq: where that segment ended.
    end: Seq,
    /// RACK.rtt: the round trip of that segment; 0 before the first.
    rtt_us: u32,
    /// RACK.fack: the highest sequence number delivered.
    fack: Seq,
    /// RACK.dsack_round: SND.NXT when the reordering window last grew. It grows once a round trip.
    dsack_round: Option<Seq>,
    /// RACK.reo_wnd_mult, less one: quarters of the shortest round trip in the reordering window.
    window_steps: u8,
    /// RACK.reo_wnd_persist: recoveries until the window is small again.
    reo_wnd_persist: u8,
    is_reordering: bool,
}

/// Connection state that RACK reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RackState {
    pub(crate) now_us: u32,
    pub(crate) srtt_us: u32,
    pub(crate) min_rtt_us: u32,
    /// Whether the connection is in fast recovery, or after a timeout.
    pub(crate) in_recovery: bool,
    /// Whether SACK has reported three segments or more.
    pub(crate) many_sacked: bool,
}

/// Result of [`Rack::detect`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Detected {
    /// Bytes newly marked lost.
    pub(crate) bytes: u32,
    /// Newly lost runs that were retransmissions.
    pub(crate) retransmissions: u32,
    /// Time until all runs that are late now will be lost, in microseconds.
    pub(crate) timer_us: Option<u32>,
}

impl Rack {
    /// Loss detection starts. Until now nothing was out of order.
    pub(crate) fn begin(&mut self, una: Seq) {
        self.fack = una;
    }

    pub(crate) fn fack(&self) -> Seq {
        self.fack
    }

    /// §6.2 steps 2 and 3. `echo_age_ms` is the age of the timestamp that the peer echoes, if any.
    pub(crate) fn delivered(
        &mut self,
        sample: &AckSample,
        now_us: u32,
        min_rtt_us: u32,
        echo_age_ms: Option<u32>,
    ) {
        self.fack = sample.fack;
        self.is_reordering |= sample.reordered;
        let Some((sent_at_us, end, retransmitted)) = sample.latest else { return };
        let rtt_us = now_us.wrapping_sub(sent_at_us);
        let is_older = echo_age_ms.is_some_and(|age_ms| age_ms > rtt_us / 1000 + 1);
        if retransmitted && (rtt_us < min_rtt_us || is_older) {
            // The original segment arrived. The retransmission is still in flight.
            return;
        }
        if self.rtt_us == 0 || flight::is_later((sent_at_us, end), (self.sent_at_us, self.end)) {
            (self.sent_at_us, self.end, self.rtt_us) = (sent_at_us, end, rtt_us.max(1));
        }
    }

    /// §6.2 step 4: a D-SACK reports a spurious retransmission, so the reordering window was too
    /// small.
    pub(crate) fn on_dsack(&mut self, una: Seq, nxt: Seq) {
        if self.dsack_round.is_none_or(|round| una.at_or_after(round)) {
            self.dsack_round = Some(nxt);
            self.window_steps = self.window_steps.saturating_add(1);
            self.reo_wnd_persist = PERSIST;
        }
    }

    /// §6.2 step 4: a recovery is over.
    pub(crate) fn recovered(&mut self) {
        self.reo_wnd_persist = self.reo_wnd_persist.saturating_sub(1);
        if self.reo_wnd_persist == 0 {
            (self.window_steps, self.dsack_round) = (0, None);
        }
    }

    /// §6.2 step 4: the reordering window.
    fn window_us(&self, state: &RackState) -> u32 {
        if !self.is_reordering && (state.in_recovery || state.many_sacked) {
            return 0;
        }
        (state.min_rtt_us / 4).saturating_mul(u32::from(self.window_steps) + 1).min(state.srtt_us)
    }

    /// §6.2 step 5: marks late runs lost.
    pub(crate) fn detect(
        &self,
        flight: &mut Flight,
        pool: &mut flight::Pool,
        una: Seq,
        state: &RackState,
    ) -> Detected {
        let mut detected = Detected::default();
        if self.rtt_us == 0 {
            return detected;
        }
        let threshold_us = self.rtt_us.saturating_add(self.window_us(state));
        let new_status = |_: Seq, run: &Run| {
            let is_overtaken =
                flight::is_later((self.sent_at_us, self.end), (run.sent_at_us, run.end));
            if run.status != Status::Outstanding || !is_overtaken {
                return run.status;
            }
            let waited_us = state.now_us.wrapping_sub(run.sent_at_us);
            if waited_us >= threshold_us {
                detected.retransmissions += u32::from(run.retransmitted);
                return Status::Lost;
            }
            let left_us = threshold_us - waited_us;
            detected.timer_us = Some(detected.timer_us.map_or(left_us, |timer| timer.max(left_us)));
            run.status
        };
        detected.bytes = flight.mark_lost(pool, una, new_status).0;
        detected
    }

    /// §6.3: after a timeout the first segment is lost, and every segment that is late.
    pub(crate) fn is_lost_on_timeout(
        &self,
        start: Seq,
        una: Seq,
        run: &Run,
        state: &RackState,
    ) -> bool {
        let threshold_us = self.rtt_us.saturating_add(self.window_us(state));
        start == una || state.now_us.wrapping_sub(run.sent_at_us) >= threshold_us
    }
}
