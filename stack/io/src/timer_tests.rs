use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const TIMERS: u32 = 8;

#[derive(Clone, Debug)]
enum Step {
    Schedule(u32, u32),
    Cancel(u32),
    Wait(u32),
    WaitForNext,
}

fn next_due(wheel: &mut Wheel, now: Tick) -> Option<u32> {
    let mut due = [0];
    (wheel.expire(now, &mut due) > 0).then_some(due[0])
}

fn step() -> impl Strategy<Value = Step> {
    let delay = prop_oneof![0u32..200, 0u32..70_000, 0u32..40_000_000];
    prop_oneof![
        4 => (0..TIMERS, delay.clone()).prop_map(|(timer, delay)| Step::Schedule(timer, delay)),
        1 => (0..TIMERS).prop_map(Step::Cancel),
        2 => delay.prop_map(Step::Wait),
        3 => Just(Step::WaitForNext),
    ]
}

proptest! {
    /// Against a sorted map: each timer fires, never early and never late; also across
    /// the wrap of the millisecond count.
    #[test]
    fn fires_like_a_sorted_map(
        start in prop_oneof![Just(1u32), Just(u32::MAX - 1000), any::<u32>()],
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let start = Tick(start.max(1));
        let mut wheel = Wheel::new(TIMERS, start);
        let mut now = start;
        let mut model: BTreeMap<u32, Tick> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Schedule(timer, delay) => {
                    wheel.schedule(timer, now.plus(delay));
                    // What is due when it is set fires at the next tick.
                    model.insert(timer, now.plus(delay.max(1)));
                }
                Step::Cancel(timer) => {
                    wheel.cancel(timer);
                    model.remove(&timer);
                }
                Step::Wait(millis) => now = now.plus(millis),
                Step::WaitForNext => if let Some(next) = wheel.next_deadline() {
                    let sooner_than_any = model.values().all(|at| next.until(*at) >= 0 || at.is_due(now));
                    prop_assert!(sooner_than_any, "next deadline {next:?} after one of {model:?}");
                    if now.until(next) > 0 { now = next; }
                },
            }
            let mut due = [0; 3];
            loop {
                let count = wheel.expire(now, &mut due);
                if count == 0 {
                    break;
                }
                for timer in &due[..count] {
                let at = model.remove(timer).expect("only a set timer fires");
                prop_assert!(at.is_due(now), "{timer} fired early");
                }
            }
            prop_assert!(model.values().all(|at| !at.is_due(now)), "late at {now:?}: {model:?}");
            for timer in 0..TIMERS {
                prop_assert_eq!(wheel.scheduled(timer), model.get(&timer).copied().unwrap_or(Tick::NEVER));
            }
        }
    }
}

proptest! {
    /// Driven lazily, as the transports do: deadlines that are put off leave their timer alone and
    /// are looked at when it fires. Each comes to pass once, in the tick that it names.
    #[test]
    fn a_lazily_set_timer_misses_no_deadline(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut now, mut deadlines) = (Tick(1), BTreeMap::new());
        let mut wheel = Wheel::new(TIMERS, now);
        for step in steps {
            match step {
                Step::Schedule(timer, delay) => {
                    let deadline = now.plus(delay.max(1));
                    deadlines.insert(timer, deadline);
                    wheel.bring_forward(timer, deadline);
                }
                Step::Cancel(timer) => {
                    deadlines.remove(&timer);
                    wheel.cancel(timer);
                }
                Step::Wait(millis) => now = now.plus(millis),
                Step::WaitForNext => now = wheel.next_deadline().filter(|next| now.until(*next) > 0).unwrap_or(now),
            }
            while let Some(timer) = next_due(&mut wheel, now) {
                let deadline = deadlines[&timer];
                if deadline.is_due(now) {
                    deadlines.remove(&timer);
                } else {
                    wheel.bring_forward(timer, deadline);
                }
            }
            prop_assert!(deadlines.values().all(|deadline| !deadline.is_due(now)), "late at {now:?}: {deadlines:?}");
            prop_assert_eq!(wheel.next_deadline().is_none(), deadlines.is_empty());
        }
    }
}

#[test]
fn putting_off_leaves_the_timer_and_bringing_forward_moves_it() {
    let mut wheel = Wheel::new(1, Tick(1));
    wheel.bring_forward(0, Tick(800));
    wheel.bring_forward(0, Tick(5_000));
    assert_eq!(wheel.scheduled(0), Tick(800));
    wheel.bring_forward(0, Tick(80));
    assert_eq!([79, 80, 80].map(|now| next_due(&mut wheel, Tick(now))), [None, Some(0), None]);
    assert_eq!(wheel.next_deadline(), None);
}

#[test]
fn timers_that_are_set_for_now_whenever_they_fire_do_not_hold_up_the_wheel() {
    for start in [0, 1, 5000, u64::from(u32::MAX) - 1] {
        let tick = |ms: u64| Tick::from_millis(start + ms);
        let mut wheel = Wheel::new(3, tick(0));
        let mut fired = 0;
        for ms in 0..10 {
            // A time before the wheel's, the same, the next one.
            [tick(0), tick(ms), tick(ms + 1)].iter().zip(0..).for_each(|(at, timer)| {
                wheel.bring_forward(timer, *at);
            });
            while let Some(timer) = next_due(&mut wheel, tick(ms)) {
                fired += 1;
                assert!(
                    fired <= 6 * (ms + 1),
                    "timer {timer} holds up the wheel at {start} + {ms}"
                );
                wheel.bring_forward(timer, [tick(0), tick(ms), tick(ms + 1)][timer as usize]);
            }
        }
        assert!(fired >= 18, "{fired} at {start}");
    }
}

#[test]
fn a_slot_gives_all_its_timers_whichever_is_cancelled() {
    for gone in 0..5 {
        let mut wheel = Wheel::new(5, Tick(1));
        (0..5).for_each(|timer| wheel.schedule(timer, Tick(100)));
        wheel.cancel(gone);
        let mut out: Vec<u32> = std::iter::from_fn(|| next_due(&mut wheel, Tick(1000))).collect();
        out.sort_unstable();
        assert_eq!(out, (0..5).filter(|timer| *timer != gone).collect::<Vec<u32>>());
    }
}

#[test]
fn never_is_sooner_than_nothing() {
    let now = Tick(5);
    assert!(now.is_sooner_than(Tick::NEVER) && !Tick::NEVER.is_sooner_than(now));
    assert_eq!(Tick::NEVER.sooner(now), now);
    assert!(!Tick::NEVER.is_due(now));
}
