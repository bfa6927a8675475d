//! Rate limits for responses to strangers: responses without a connection, or to a peer that has
//! not proved that a connection is its own.
//!
//! Each kind of response has a limit of its own, so that a flood of one kind does not suppress the
//! others. All limits are [`crate::Config::responses_per_second`] a worker: 1000, as Linux allows
//! for ICMP. A response is hardly ever longer than what provokes it and usually under 100 bytes, so
//! the reflected traffic stays under 1 Mbit/s, a thousandth of what a core sends. It is far more
//! than the hosts of one link need. A host without a response retries: SYN, FIN, echo and neighbour
//! solicitation are all retransmitted. Suppressed responses are counted.
//!
//! The limit of each second varies randomly by half, so that a stranger who sees it reached cannot
//! infer how many responses others got (CVE-2016-5696).

use crate::counters::Counters;
use crate::keyed::Keyed;
use simoom_io::timer::Tick;

/// A kind of response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    /// A challenge ACK (RFC 5961 §7), or the acknowledgement of a segment outside the window.
    Challenge,
    /// A reset for a segment without a connection (RFC 9293 §3.10.7.1).
    Reset,
    /// An acknowledgement in TIME-WAIT.
    TimeWait,
    /// An ICMP or ICMPv6 echo reply.
    Echo,
    /// An ARP reply or neighbour advertisement.
    Neighbour,
}

const KINDS: usize = Response::Neighbour as usize + 1;

/// The rate limits of one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateLimiter {
    keyed: Keyed,
    per_second: u32,
    allowances: [Allowance; KINDS],
}

/// What is left of one kind until `until`.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: u32,
    until: Tick,
}

impl RateLimiter {
    pub(crate) fn new(per_second: u32, keyed: Keyed) -> RateLimiter {
        RateLimiter {
            keyed,
            per_second,
            allowances: [Allowance { left: 0, until: Tick::NEVER }; KINDS],
        }
    }

    /// Takes one response from the limit. Returns `false`, and counts it, if this second's limit is
    /// used up.
    pub(crate) fn take(&mut self, kind: Response, now: Tick, counters: &mut Counters) -> bool {
        let allowance = &mut self.allowances[kind as usize];
        if allowance.until == Tick::NEVER || allowance.until.is_due(now) {
            let half = self.per_second.div_ceil(2);
            allowance.left = half + self.keyed.below(self.per_second + 1, now.millis());
            allowance.until = now.plus(1000);
        }
        let allowed = allowance.left > 0;
        allowance.left -= u32::from(allowed);
        *suppressed(kind, counters) += u64::from(!allowed);
        allowed
    }
}

fn suppressed(kind: Response, counters: &mut Counters) -> &mut u64 {
    match kind {
        Response::Challenge => &mut counters.challenge_acks_suppressed,
        Response::Reset => &mut counters.resets_suppressed,
        Response::TimeWait => &mut counters.time_wait_acks_suppressed,
        Response::Echo => &mut counters.echo_replies_suppressed,
        Response::Neighbour => &mut counters.neighbour_replies_suppressed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::time::Instant;

    const ALL: [Response; KINDS] = [
        Response::Challenge,
        Response::Reset,
        Response::TimeWait,
        Response::Echo,
        Response::Neighbour,
    ];

    /// How many of 200 responses are allowed in this second.
    fn taken(
        limiter: &mut RateLimiter,
        kind: Response,
        second: i64,
        counters: &mut Counters,
    ) -> u64 {
        let now = Tick::at(Instant::from_secs(second));
        (0..200).filter(|_| limiter.take(kind, now, counters)).count() as u64
    }

    #[test]
    fn each_kind_has_its_own_allowance_every_second_and_what_is_refused_is_counted() {
        let mut counters = Counters::default();
        let mut limiter = RateLimiter::new(100, Keyed::new([1, 2, 3, 4]));
        for kind in ALL {
            let before = *suppressed(kind, &mut counters);
            let first = taken(&mut limiter, kind, 1, &mut counters);
            assert!((50..=150).contains(&first), "{kind:?}: {first}");
            assert_eq!(*suppressed(kind, &mut counters) - before, 200 - first);
            assert_eq!(taken(&mut limiter, kind, 1, &mut counters), 0);
            assert!(taken(&mut limiter, kind, 2, &mut counters) >= 50);
        }
    }

    #[test]
    fn cve_2016_5696_how_many_there_are_differs_from_second_to_second() {
        let mut counters = Counters::default();
        let mut limiter = RateLimiter::new(100, Keyed::new([1, 2, 3, 4]));
        let counts: Vec<u64> = (1..20)
            .map(|second| taken(&mut limiter, Response::Challenge, second, &mut counters))
            .collect();
        assert!(counts.iter().any(|count| *count != counts[0]), "{counts:?}");
    }
}
