//! Delivery-rate samples (draft-ietf-ccwg-bbr §4.1): how fast the path delivers what is sent.
//!
//! Each run in flight carries a [`Stamp`] of what had been delivered when it was sent. Its
//! acknowledgement gives the bytes delivered since then, over the longer of two times: that in
//! which they were sent, and that in which they were acknowledged. Only connections with a
//! controller by rate have a [`Sampler`].

use crate::flight::{AckSample, Stamp};

/// Bytes of memory that one connection's sampler takes.
pub(super) const SAMPLER_BYTES: usize = size_of::<Sampler>();

/// What one acknowledgement says about the rate of the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateSample {
    /// RS.delivery_rate in bytes a second; 0 if the interval is too short to be believed.
    pub delivery_rate: u64,
    /// RS.delivered: bytes delivered over the interval of the sample.
    pub delivered: u32,
    /// RS.interval.
    pub interval_us: u32,
    /// RS.prior_delivered: [`RateSample::total_delivered`] when the acknowledged segment was sent.
    /// `None` if it is not known which segment was delivered.
    pub prior_delivered: Option<u32>,
    /// RS.is_app_limited: whether the application limited the connection when the segment was sent.
    pub is_app_limited: bool,
    /// RS.tx_in_flight: bytes in flight just after the segment was sent.
    pub sent_in_flight: u32,
    /// RS.lost: bytes marked lost since the segment was sent.
    pub lost: u32,
    /// RS.newly_lost: bytes marked lost by this acknowledgement.
    pub newly_lost: u32,
    /// C.delivered: bytes delivered over the lifetime of the connection, modulo 2³².
    pub total_delivered: u32,
    /// C.is_cwnd_limited: whether the congestion window was fully used in the last round trip.
    pub is_cwnd_limited: bool,
}

/// The per-connection state of §4.1.2.1.1.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sampler {
    /// C.delivered, modulo 2³².
    pub(crate) delivered: u32,
    /// C.lost, modulo 2³².
    lost: u32,
    /// C.delivered_time, in microseconds modulo 2³².
    delivered_at_us: u32,
    /// C.first_send_time.
    first_sent_at_us: u32,
    /// C.app_limited: the value of `delivered` at which the connection is no longer
    /// application-limited.
    app_limited: Option<u32>,
}

impl Sampler {
    /// §4.1.2.2: `bytes` are sent, and with them `in_flight` bytes are in flight.
    pub(crate) fn sent(&mut self, bytes: u32, in_flight: u32, now_us: u32) -> Stamp {
        if in_flight <= bytes {
            (self.first_sent_at_us, self.delivered_at_us) = (now_us, now_us);
        }
        Stamp {
            delivered: self.delivered,
            lost: self.lost,
            delivered_at_us: self.delivered_at_us,
            first_sent_at_us: self.first_sent_at_us,
            in_flight,
            is_app_limited: self.app_limited.is_some(),
        }
    }

    /// `bytes` are marked lost. Returns the bytes lost since `stamp`.
    pub(crate) fn lost(&mut self, bytes: u32, stamp: &Stamp) -> u32 {
        self.lost = self.lost.wrapping_add(bytes);
        self.lost.wrapping_sub(stamp.lost)
    }

    /// §4.1.2.3: an acknowledgement.
    pub(crate) fn acknowledged(
        &mut self,
        sample: &AckSample,
        min_rtt_us: u32,
        now_us: u32,
    ) -> RateSample {
        self.delivered = self.delivered.wrapping_add(sample.bytes);
        self.delivered_at_us = now_us;
        let is_past = |limit: u32| (self.delivered.wrapping_sub(limit) as i32) > 0;
        self.app_limited = self.app_limited.filter(|limit| !is_past(*limit));
        let mut rate = RateSample { total_delivered: self.delivered, ..RateSample::default() };
        let Some((sent_at_us, ..)) = sample.latest else { return rate };
        let stamp = sample.latest_stamp;
        let send_elapsed_us = sent_at_us.wrapping_sub(stamp.first_sent_at_us);
        let ack_elapsed_us = now_us.wrapping_sub(stamp.delivered_at_us);
        self.first_sent_at_us = sent_at_us;
        rate.interval_us = send_elapsed_us.max(ack_elapsed_us);
        rate.delivered = self.delivered.wrapping_sub(stamp.delivered);
        rate.prior_delivered = Some(stamp.delivered);
        rate.is_app_limited = stamp.is_app_limited;
        rate.sent_in_flight = stamp.in_flight;
        rate.lost = self.lost.wrapping_sub(stamp.lost);
        // A shorter interval means that a retransmission was spurious.
        if rate.interval_us >= min_rtt_us.max(1) {
            rate.delivery_rate =
                u64::from(rate.delivered) * 1_000_000 / u64::from(rate.interval_us);
        }
        rate
    }

    /// §4.1.2.4: the application has nothing to send while the window has space. What is in flight,
    /// and what is sent until it is delivered, does not show how much the path can carry.
    pub(crate) fn mark_app_limited(&mut self, in_flight: u32) {
        self.app_limited = Some(self.delivered.wrapping_add(in_flight));
    }

    pub(crate) fn is_app_limited(&self) -> bool {
        self.app_limited.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::Seq;

    fn delivered(bytes: u32, sent_at_us: u32, stamp: Stamp) -> AckSample {
        AckSample {
            bytes,
            latest: Some((sent_at_us, Seq(0), false)),
            latest_stamp: stamp,
            ..AckSample::default()
        }
    }

    /// Ten segments of 1000 bytes, one each millisecond, acknowledged 10 ms later: a megabyte a
    /// second.
    #[test]
    fn section_4_1_1_2_the_rate_is_what_was_delivered_over_the_interval() {
        let mut sampler = Sampler::default();
        let stamps: Vec<Stamp> =
            (0..10).map(|n| sampler.sent(1000, (n + 1) * 1000, n * 1000)).collect();
        assert_eq!(stamps.iter().map(|stamp| stamp.in_flight).max(), Some(10_000));
        for n in 0..10u32 {
            let sample = delivered(1000, n * 1000, stamps[n as usize]);
            let rate = sampler.acknowledged(&sample, 10_000, 10_000 + n * 1000);
            assert_eq!(rate.total_delivered, (n + 1) * 1000);
            assert_eq!(rate.interval_us, 10_000 + n * 1000);
            assert_eq!(rate.delivery_rate, u64::from((n + 1) * 1_000_000 / (10 + n)));
        }
        let stamp = sampler.sent(1000, 1000, 30_000);
        let rate = sampler.acknowledged(&delivered(1000, 30_000, stamp), 10_000, 40_000);
        assert_eq!((rate.delivery_rate, rate.interval_us), (100_000, 10_000), "idle time is none");
    }

    /// §4.1.1.2.2: acknowledgements that arrive together say nothing about the rate; what was sent
    /// in that time does.
    #[test]
    fn section_4_1_1_2_3_compressed_acknowledgements_do_not_raise_the_rate() {
        let mut sampler = Sampler::default();
        let first = sampler.sent(1000, 1000, 0);
        let second = sampler.sent(1000, 2000, 50_000);
        let one = sampler.acknowledged(&delivered(1000, 0, first), 10_000, 100_000);
        let two = sampler.acknowledged(&delivered(1000, 50_000, second), 10_000, 100_100);
        assert_eq!((one.interval_us, two.interval_us), (100_000, 100_100));
        let third = sampler.sent(1000, 1000, 120_000);
        let rate = sampler.acknowledged(&delivered(1000, 120_000, third), 10_000, 120_050);
        assert_eq!(rate.delivery_rate, 0, "an interval below the shortest round trip");
    }

    #[test]
    fn section_4_1_2_4_samples_of_a_bubble_are_application_limited() {
        let mut sampler = Sampler::default();
        let stamp = sampler.sent(1000, 1000, 0);
        sampler.mark_app_limited(1000);
        assert!(!sampler.acknowledged(&delivered(1000, 0, stamp), 1, 10_000).is_app_limited);
        let stamp = sampler.sent(1000, 1000, 20_000);
        let rate = sampler.acknowledged(&delivered(1000, 20_000, stamp), 1, 30_000);
        assert!(rate.is_app_limited && !sampler.is_app_limited(), "the bubble is delivered");
        assert!(!sampler.sent(1000, 1000, 40_000).is_app_limited);
    }

    #[test]
    fn losses_are_counted_since_each_segment_was_sent() {
        let mut sampler = Sampler::default();
        let first = sampler.sent(1000, 1000, 0);
        assert_eq!(sampler.lost(1000, &first), 1000);
        let second = sampler.sent(1000, 1000, 10);
        assert_eq!(sampler.lost(500, &second), 500);
        assert_eq!(sampler.acknowledged(&delivered(500, 10, second), 1, 100).lost, 500);
    }
}
