//! How many answers a second strangers can provoke: what is sent without a connection, or to
//! somebody who has not shown that a connection is theirs.
//!
//! In comes the kind of an answer that is about to be sent, out goes whether it may be; what may
//! not is counted. Each kind has an allowance of its own, so that a flood of one leaves the others
//! alone. All have the same size ([`crate::Config::answers_per_second`], a worker): 1000, as Linux
//! allows for ICMP. Answers are hardly ever longer than what asked for them and mostly under 100
//! bytes, so that is under 1 Mbit/s of reflection, and a thousandth of what a core sends; and it is
//! far more than hosts of one link ask in earnest. Whoever is not answered asks again: SYN, FIN,
//! echo and neighbour solicitation are all repeated.
//!
//! How many there are varies from second to second between half as many and half as many more, so
//! that a stranger who sees the limit reached cannot tell how many answers others got
//! (CVE-2016-5696).

use crate::counters::Counters;
use crate::keyed::Keyed;
use simoom_io::timer::Tick;

/// A kind of answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// An acknowledgement that makes the peer prove itself (RFC 5961 §7), or answers what is out of
    /// its window.
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

const KINDS: usize = Answer::Neighbour as usize + 1;

/// The allowances of one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    keyed: Keyed,
    per_second: u32,
    allowances: [Allowance; KINDS],
}

/// What is left of one kind, until when.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: u32,
    until: Tick,
}

impl Answers {
    pub(crate) fn new(per_second: u32, keyed: Keyed) -> Answers {
        Answers {
            keyed,
            per_second,
            allowances: [Allowance { left: 0, until: Tick::NEVER }; KINDS],
        }
    }

    /// Takes one; `false`, and counted, if this second's are used up.
    pub(crate) fn take(&mut self, kind: Answer, now: Tick, counters: &mut Counters) -> bool {
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

fn suppressed(kind: Answer, counters: &mut Counters) -> &mut u64 {
    match kind {
        Answer::Challenge => &mut counters.challenge_acks_suppressed,
        Answer::Reset => &mut counters.resets_suppressed,
        Answer::TimeWait => &mut counters.time_wait_acks_suppressed,
        Answer::Echo => &mut counters.echo_replies_suppressed,
        Answer::Neighbour => &mut counters.neighbour_replies_suppressed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::time::Instant;

    const ALL: [Answer; KINDS] =
        [Answer::Challenge, Answer::Reset, Answer::TimeWait, Answer::Echo, Answer::Neighbour];

    /// How many of 200 are allowed at this second.
    fn taken(answers: &mut Answers, kind: Answer, second: i64, counters: &mut Counters) -> u64 {
        let now = Tick::at(Instant::from_secs(second));
        (0..200).filter(|_| answers.take(kind, now, counters)).count() as u64
    }

    #[test]
    fn each_kind_has_its_own_allowance_every_second_and_what_is_refused_is_counted() {
        let mut counters = Counters::default();
        let mut answers = Answers::new(100, Keyed::new([1, 2, 3, 4]));
        for kind in ALL {
            let before = *suppressed(kind, &mut counters);
            let first = taken(&mut answers, kind, 1, &mut counters);
            assert!((50..=150).contains(&first), "{kind:?}: {first}");
            assert_eq!(*suppressed(kind, &mut counters) - before, 200 - first);
            assert_eq!(taken(&mut answers, kind, 1, &mut counters), 0);
            assert!(taken(&mut answers, kind, 2, &mut counters) >= 50);
        }
    }

    #[test]
    fn cve_2016_5696_how_many_there_are_differs_from_second_to_second() {
        let mut counters = Counters::default();
        let mut answers = Answers::new(100, Keyed::new([1, 2, 3, 4]));
        let counts: Vec<u64> = (1..20)
            .map(|second| taken(&mut answers, Answer::Challenge, second, &mut counters))
            .collect();
        assert!(counts.iter().any(|count| *count != counts[0]), "{counts:?}");
    }
}
