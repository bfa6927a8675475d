//! Proportional Rate Reduction (RFC 9937): how much may be sent for each acknowledgement during
//! fast recovery, so that the data in flight comes down to the slow-start threshold evenly, and not
//! below.

/// Counts of one fast recovery, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Prr {
    delivered: u32,
    out: u32,
    /// RecoverFS: bytes in flight when recovery began.
    flight: u32,
}

impl Prr {
    /// §6.2: recovery begins with `flight` bytes in flight that SACK had not reported before this
    /// acknowledgement.
    pub(crate) fn begin(flight: u32) -> Prr {
        Prr { delivered: 0, out: 0, flight: flight.max(1) }
    }

    /// `bytes` were sent.
    pub(crate) fn sent(&mut self, bytes: u32) {
        self.out = self.out.saturating_add(bytes);
    }

    /// §6.2: `delivered` bytes arrived and `pipe` bytes are in flight. Returns the congestion
    /// window. `is_safe`: SND.UNA advanced, and no further loss was detected.
    pub(crate) fn window(
        &mut self,
        delivered: u32,
        pipe: u32,
        ssthresh: u32,
        mss: u32,
        is_safe: bool,
    ) -> u32 {
        self.delivered = self.delivered.saturating_add(delivered);
        let allowed = if pipe > ssthresh {
            let target = u64::from(self.delivered) * u64::from(ssthresh);
            (target.div_ceil(u64::from(self.flight)) as u32).saturating_sub(self.out)
        } else {
            let conserving = self.delivered.saturating_sub(self.out).max(delivered);
            let growing = if is_safe { conserving.saturating_add(mss) } else { conserving };
            growing.min(ssthresh - pipe)
        };
        // The first lost segment is retransmitted at once.
        let allowed = if self.out == 0 { allowed.max(mss) } else { allowed };
        pipe.saturating_add(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    /// RFC 9937 §6.2: one of 20 segments is lost and the window is halved. One segment is sent for
    /// every two that are delivered.
    #[test]
    fn rfc_9937_section_6_2_comes_down_evenly() {
        let (mut prr, mut pipe, mut sent) = (Prr::begin(20 * MSS), 17 * MSS, 0);
        for acks in 0..18 {
            let delivered = if acks == 0 { 3 * MSS } else { MSS };
            pipe -= if acks == 0 { 0 } else { MSS };
            let cwnd = prr.window(delivered, pipe, 10 * MSS, MSS, false);
            while pipe + MSS <= cwnd {
                prr.sent(MSS);
                (pipe, sent) = (pipe + MSS, sent + 1);
            }
        }
        assert_eq!((pipe, sent), (10 * MSS, 10));
    }

    #[test]
    fn rfc_9937_section_6_2_the_first_goes_out_at_once() {
        assert_eq!(Prr::begin(100 * MSS).window(0, 50 * MSS, 10 * MSS, MSS, false), 51 * MSS);
    }

    #[test]
    fn rfc_9937_section_6_2_conserves_packets_below_the_threshold_and_grows_while_it_is_safe() {
        let mut prr = Prr::begin(20 * MSS);
        prr.sent(MSS);
        assert_eq!(prr.window(2 * MSS, 2 * MSS, 10 * MSS, MSS, false), 4 * MSS);
        assert_eq!(prr.window(MSS, 4 * MSS, 10 * MSS, MSS, true), 7 * MSS);
        assert_eq!(prr.window(90 * MSS, 9 * MSS, 10 * MSS, MSS, true), 10 * MSS);
    }
}
