use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const ENTRIES: u32 = 12;

#[derive(Clone, Debug)]
enum Step {
    Deadline(u32, u64),
    Cancel(u32),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let after = prop_oneof![0..40u64, 0..3_000u64, 0..200_000u64];
    let pass = prop_oneof![Just(0u64), 0..20u64, 0..1_000u64, 0..100_000u64];
    prop_oneof![
        4 => (0..ENTRIES, after).prop_map(|(index, after)| Step::Deadline(index, after)),
        1 => (0..ENTRIES).prop_map(Step::Cancel),
        3 => pass.prop_map(Step::Pass),
    ]
}

fn cases() -> u32 {
    if cfg!(miri) { 4 } else { 512 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Driven as a worker drives it, each deadline fires once: not before its time, and at most a tick after it.
    #[test]
    fn fires_as_a_map_of_deadlines_would(steps in proptest::collection::vec(step(), 1..200)) {
        let mut wheel = Wheel::new(ENTRIES as usize);
        let mut deadlines: BTreeMap<u32, u64> = BTreeMap::new();
        let mut now_ms = 0;
        for step in steps {
            match step {
                Step::Deadline(index, after) => {
                    deadlines.insert(index, now_ms + after);
                    wheel.arm(index, now_ms + after);
                }
                Step::Cancel(index) => {
                    deadlines.remove(&index);
                    wheel.disarm(index);
                }
                Step::Pass(ms) => {
                    now_ms += ms;
                    while let Some(index) = wheel.expired(now_ms) {
                        let deadline = deadlines[&index];
                        if deadline <= now_ms {
                            deadlines.remove(&index);
                        } else {
                            wheel.arm(index, deadline);
                        }
                    }
                    for (index, deadline) in &deadlines {
                        prop_assert!(deadline + 2 * TICK_MS > now_ms, "{index} is late: {deadline} at {now_ms}");
                    }
                }
            }
            match (wheel.next_ms(), deadlines.values().min()) {
                (None, None) => {}
                (Some(next), Some(first)) => prop_assert!(next < (first + TICK_MS).max(now_ms + 2 * TICK_MS)),
                other => prop_assert!(false, "wheel and map differ: {other:?}"),
            }
        }
    }
}

#[test]
fn putting_off_leaves_the_entry_and_bringing_forward_moves_it() {
    let mut wheel = Wheel::new(1);
    wheel.arm(0, 800);
    wheel.arm(0, 5_000);
    assert_eq!(wheel.next_ms(), Some(800));
    wheel.arm(0, 80);
    assert_eq!(wheel.next_ms(), Some(80));
    assert_eq!(wheel.expired(79), None);
    assert_eq!((wheel.expired(80), wheel.expired(80), wheel.next_ms()), (Some(0), None, None));
}

#[test]
fn the_sleep_ends_when_the_entry_is_ready() {
    let mut wheel = Wheel::new(1);
    for deadline in [1, 7, 8, 9, 4095, 4096, 32_000] {
        let base = wheel.now * TICK_MS;
        wheel.arm(0, base + deadline);
        let next = wheel.next_ms().unwrap();
        assert!(next >= base + deadline && wheel.expired(next) == Some(0), "{deadline}");
    }
}

#[test]
fn beyond_the_span_an_entry_comes_early_and_is_armed_again() {
    let mut wheel = Wheel::new(1);
    let deadline = 3 * BUCKETS as u64 * TICK_MS;
    let mut looks = 0;
    wheel.arm(0, deadline);
    while let Some(now_ms) = wheel.next_ms() {
        assert_eq!(wheel.expired(now_ms), Some(0));
        looks += 1;
        if now_ms < deadline {
            wheel.arm(0, deadline);
        }
    }
    assert_eq!(looks, 4);
}

#[test]
fn a_bucket_gives_all_its_entries_whichever_is_disarmed() {
    for gone in 0..5 {
        let mut wheel = Wheel::new(5);
        (0..5).for_each(|index| wheel.arm(index, 100));
        wheel.disarm(gone);
        let mut out: Vec<u32> = std::iter::from_fn(|| wheel.expired(1000)).collect();
        out.sort_unstable();
        assert_eq!(out, (0..5).filter(|index| *index != gone).collect::<Vec<u32>>());
    }
}
