use super::*;
use proptest::prelude::*;

const UNA: Seq = Seq(u32::MAX - 3000);

fn all(flight: &Flight, pool: &Pool) -> Vec<(u32, u32, Status)> {
    flight
        .runs(pool, UNA)
        .map(|(start, run)| (start.since(UNA), run.end.since(UNA), run.status))
        .collect()
}

fn in_flight(bytes: u32, pool: &mut Pool) -> Flight {
    let mut flight = Flight::default();
    flight.sent(pool, UNA + bytes, 10, 0);
    flight
}

#[test]
fn what_is_sent_together_is_one_run() {
    let (mut pool, mut flight) = (Pool::new(1, 10, false), Flight::default());
    for (end, at) in [(100, 5), (200, 5), (300, 6), (400, 50)] {
        flight.sent(&mut pool, UNA + end, at, 1);
    }
    assert_eq!(
        all(&flight, &pool),
        [(0, 300, Status::Outstanding), (300, 400, Status::Outstanding)]
    );
    let mut sample = AckSample::default();
    flight.acknowledge(&mut pool, UNA, UNA + 350, &mut sample);
    assert_eq!((sample.bytes, sample.sent_once), (350, Some((5, 50))));
    assert_eq!(flight.runs(&pool, UNA + 350).count(), 1);
}

/// Runs in the free list.
fn free_runs(pool: &Pool) -> usize {
    let next = |at: &u32| pool.runs.get(*at as usize).map(|run| run.next);
    std::iter::successors(Some(pool.free), next).take_while(|at| *at != NONE).count()
}

#[test]
fn a_flight_of_one_run_that_was_sent_once_takes_none_of_the_pool() {
    let (mut pool, mut flight) = (Pool::new(1, 0, false), Flight::default());
    for round in 0..3 {
        assert!(flight.sent(&mut pool, UNA + 100, 10 + round, 5));
        assert!(!flight.sent(&mut pool, UNA + 200, 15 + round, 5), "at the same time");
        assert_eq!(all(&flight, &pool), [(0, 200, Status::Outstanding)]);
        assert_eq!(
            (flight.is_empty(), flight.has_capacity(&pool), free_runs(&pool)),
            (false, true, 1)
        );
        assert_eq!(flight.acknowledge_single(UNA + 100), None, "a part");
        assert_eq!(flight.acknowledge_single(UNA + 200), Some(10 + round));
        assert!(flight.is_empty());
    }
    flight.sent(&mut pool, UNA + 100, 10, 5);
    assert_eq!(flight.mark_front_lost(&mut pool, UNA, 100), 100);
    assert_eq!((flight.acknowledge_single(UNA + 100), free_runs(&pool)), (None, 0));
    flight.clear(&mut pool);
    assert_eq!(free_runs(&pool), 1);
}

#[test]
fn blocks_are_told_apart_and_together_again() {
    let mut pool = Pool::new(1, 10, false);
    let mut flight = in_flight(1000, &mut pool);
    let mut sample = AckSample::default();
    flight.sack(&mut pool, UNA, UNA + 200, UNA + 300, &mut sample);
    flight.sack(&mut pool, UNA, UNA + 400, UNA + 500, &mut sample);
    assert_eq!(all(&flight, &pool).len(), 5);
    flight.sack(&mut pool, UNA, UNA + 100, UNA + 600, &mut sample);
    assert_eq!(
        all(&flight, &pool),
        [
            (0, 100, Status::Outstanding),
            (100, 600, Status::Sacked),
            (600, 1000, Status::Outstanding)
        ]
    );
    assert_eq!((sample.bytes, sample.sacked), (500, 500));
    assert_eq!(flight.mark_lost(&mut pool, UNA, |_, _| Status::Lost), (500, 500));
    assert_eq!(all(&flight, &pool), [(0, 1000, Status::Lost)]);
    assert_eq!(flight.retransmitted(&mut pool, UNA, (UNA, UNA + 50), 99, Stamp::default()), 50);
    assert_eq!(flight.first_lost(&pool, UNA), Some((UNA + 50, UNA + 1000)));
}

/// A window of which every second segment arrives. What is not noted would be marked lost, and
/// would count as in flight.
#[test]
fn a_thousand_segments_with_gaps_between_them_are_noted() {
    let mut pool = Pool::new(1, 2000, false);
    let (mut flight, mut sample) = (in_flight(1000, &mut pool), AckSample::default());
    for left in (1..1000).step_by(2) {
        assert!(flight.sack(&mut pool, UNA, UNA + left, UNA + left + 1, &mut sample), "{left}");
    }
    assert_eq!(sample.sacked, 500);
}

#[test]
fn without_a_run_to_spare_reports_of_parts_are_not_noted() {
    let mut pool = Pool::new(1, 0, false);
    let mut flight = in_flight(1000, &mut pool);
    let mut sample = AckSample::default();
    flight.sack(&mut pool, UNA, UNA + 200, UNA + 300, &mut sample);
    assert_eq!((sample.sacked, all(&flight, &pool)), (0, vec![(0, 1000, Status::Outstanding)]));
    assert_eq!(flight.mark_front_lost(&mut pool, UNA, 100), 1000);
    assert_eq!(flight.retransmitted(&mut pool, UNA, (UNA, UNA + 100), 99, Stamp::default()), 1000);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Sent(u32),
    Acked(u32),
    Sacked(u32, u32),
    Lost(u32),
    Retransmitted(u32, u32),
    UnmarkLost,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u32..200).prop_map(Step::Sent),
        (0u32..300).prop_map(Step::Acked),
        (0u32..1000, 1u32..200).prop_map(|(at, len)| Step::Sacked(at, len)),
        (0u32..1000).prop_map(Step::Lost),
        (0u32..1000, 1u32..200).prop_map(|(at, len)| Step::Retransmitted(at, len)),
        Just(Step::UnmarkLost),
    ]
}

proptest! {
    /// Compares runs with a status for each byte: they agree, amounts add up, and everything is
    /// freed.
    #[test]
    fn runs_tell_what_became_of_each_byte(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut pool, mut flight) = (Pool::new(3, 600, false), Flight::default());
        let (mut una, mut nxt, mut now) = (UNA, UNA, 0);
        let mut model: std::collections::VecDeque<Status> = Default::default();
        for step in steps {
            now += 1;
            let within = |at: u32, len: u32, all: usize| {
                let left = at.min(all as u32);
                (left, (left + len).min(all as u32))
            };
            match step {
                Step::Sent(len) => {
                    nxt += len;
                    flight.sent(&mut pool, nxt, now / 4, 0);
                    model.extend((0..len).map(|_| Status::Outstanding));
                }
                Step::Acked(len) => {
                    let len = len.min(model.len() as u32);
                    let runs: Vec<_> = flight.runs(&pool, una).collect();
                    let single = match &runs[..] {
                        [(_, run)] if run.status == Status::Outstanding && !run.retransmitted => {
                            (run.end == una + len).then_some(run.sent_at_us)
                        }
                        _ => None,
                    };
                    let found = flight.acknowledge_single(una + len);
                    if found.is_some() {
                        prop_assert_eq!(found, single);
                        prop_assert!(flight.is_empty() && flight.has_capacity(&pool));
                        model.clear();
                        una += len;
                        continue;
                    }
                    let mut sample = AckSample::default();
                    flight.acknowledge(&mut pool, una, una + len, &mut sample);
                    let gone: Vec<Status> = model.drain(..len as usize).collect();
                    let count = |status| gone.iter().filter(|s| **s == status).count() as u32;
                    prop_assert_eq!(sample.acked_sacked, count(Status::Sacked));
                    prop_assert_eq!(sample.unmarked_lost, count(Status::Lost));
                    prop_assert_eq!(sample.bytes, len - count(Status::Sacked));
                    una += len;
                }
                Step::Sacked(at, len) => {
                    let (left, right) = within(at, len, model.len());
                    let mut sample = AckSample::default();
                    flight.sack(&mut pool, una, una + left, una + right, &mut sample);
                    let mut fresh = 0;
                    for status in model.range_mut(left as usize..right as usize) {
                        fresh += u32::from(std::mem::replace(status, Status::Sacked) != Status::Sacked);
                    }
                    prop_assert_eq!(sample.sacked, fresh);
                }
                Step::Lost(upto) => {
                    let limit = una + upto;
                    let wanted = |end: Seq, status| end.at_or_before(limit) && status == Status::Outstanding;
                    let runs: Vec<_> = flight.runs(&pool, una).collect();
                    let new_status = |_, run: &Run| if wanted(run.end, run.status) { Status::Lost } else { run.status };
                    let (out, sacked) = flight.mark_lost(&mut pool, una, new_status);
                    let mut expected = 0;
                    for (start, run) in runs {
                        if wanted(run.end, run.status) {
                            expected += run.end.since(start);
                            let range = start.since(una) as usize..run.end.since(una) as usize;
                            model.range_mut(range).for_each(|status| *status = Status::Lost);
                        }
                    }
                    prop_assert_eq!((out, sacked), (expected, 0));
                }
                Step::Retransmitted(at, len) => {
                    let (left, right) = within(at, len, model.len());
                    let unmarked = flight.retransmitted(&mut pool, una, (una + left, una + right), now / 4, Stamp::default());
                    let mut expected = 0;
                    for status in model.range_mut(left as usize..right as usize) {
                        if *status == Status::Lost {
                            expected += 1;
                        }
                        if *status != Status::Sacked {
                            *status = Status::Outstanding;
                        }
                    }
                    prop_assert_eq!(unmarked, expected);
                }
                Step::UnmarkLost => {
                    flight.unmark_lost(&mut pool, una);
                    model.iter_mut().filter(|s| **s == Status::Lost).for_each(|status| *status = Status::Outstanding);
                }
            }
            let mut end = una;
            for (start, run) in flight.runs(&pool, una) {
                prop_assert_eq!(start, end);
                prop_assert!(run.end.after(start));
                for status in model.range(start.since(una) as usize..run.end.since(una) as usize) {
                    prop_assert_eq!(*status, run.status);
                }
                end = run.end;
            }
            prop_assert_eq!(end, nxt);
        }
        flight.clear(&mut pool);
        prop_assert_eq!((pool.spare(), free_runs(&pool)), (600, 603));
    }
}
