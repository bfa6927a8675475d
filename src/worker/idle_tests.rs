use super::*;

/// Serves packets that come every `gap_us` from `from_us` on until `count` have come. An iteration
/// takes a microsecond, a nap its time, a sleep ends with the next packet. Returns the steps taken,
/// a step of several iterations once, and the time of the end.
fn serve(idle: &mut Idle, from_us: u64, gap_us: u64, count: u64) -> (Vec<Step>, u64) {
    let (mut steps, mut last) = (Vec::new(), None);
    let (mut now_us, mut taken) = (from_us, 0);
    while taken < count {
        let come = (now_us - from_us) / gap_us;
        if come > taken {
            idle.worked(now_us, (come - taken) as usize);
            (taken, last) = (come, None);
            now_us += 1;
            continue;
        }
        let step = idle.step(now_us);
        if last.replace(step) != Some(step) {
            steps.push(step);
        }
        now_us = match step {
            Step::Spin => now_us + 1,
            Step::Nap => now_us + NAP_US,
            Step::Sleep => from_us + (taken + 1) * gap_us,
        };
    }
    (steps, now_us)
}

fn share(steps: &[Step], step: Step) -> f64 {
    steps.iter().filter(|one| **one == step).count() as f64 / steps.len() as f64
}

#[test]
fn a_worker_sleeps_between_packets_that_come_slowly() {
    let mut idle = Idle::new(false);
    let (steps, _) = serve(&mut idle, 0, 100, 3200);
    assert_eq!(share(&steps, Step::Nap), 0.0);
    // The trials.
    assert!(share(&steps, Step::Spin) < 1.1 / f64::from(TRIAL_INTERVAL));
}

#[test]
fn a_worker_naps_while_packets_come_fast_and_sleeps_when_they_do_not() {
    let mut idle = Idle::new(false);
    let (_, now_us) = serve(&mut idle, 0, 15, 1000);
    let (steps, now_us) = serve(&mut idle, now_us, 15, 1000);
    assert!(share(&steps, Step::Nap) > 0.9, "{steps:?}");
    let (_, now_us) = serve(&mut idle, now_us, 100, 100);
    let (steps, _) = serve(&mut idle, now_us, 100, 100);
    assert_eq!(share(&steps, Step::Nap), 0.0, "{steps:?}");
}

#[test]
fn a_nap_is_followed_by_sleep() {
    let mut idle = Idle::new(false);
    let (_, now_us) = serve(&mut idle, 0, 15, 1000);
    idle.worked(now_us, 1);
    let steps: Vec<Step> = (0..3).map(|_| idle.step(now_us)).collect();
    assert_eq!(steps, [Step::Nap, Step::Sleep, Step::Sleep]);
}

#[test]
fn a_worker_spins_if_work_always_comes_at_once_and_ends_if_it_does_not() {
    let mut idle = Idle::new(false);
    let (_, now_us) = serve(&mut idle, 0, 5, 1000 * u64::from(TRIAL_INTERVAL));
    let (steps, now_us) = serve(&mut idle, now_us, 5, 1000);
    assert_eq!(share(&steps, Step::Spin), 1.0, "{steps:?}");
    let (steps, _) = serve(&mut idle, now_us, 1000, 320);
    assert!(share(&steps, Step::Sleep) > 0.9, "{steps:?}");
}

#[test]
fn a_few_misses_do_not_end_the_spinning() {
    let mut idle = Idle::new(false);
    let (_, now_us) = serve(&mut idle, 0, 5, 1000 * u64::from(TRIAL_INTERVAL));
    let (_, now_us) = serve(&mut idle, now_us, 5, 1000);
    let (_, now_us) = serve(&mut idle, now_us, 100, 2);
    let (steps, _) = serve(&mut idle, now_us, 5, 1000);
    assert_eq!(share(&steps, Step::Spin), 1.0, "{steps:?}");
}

#[test]
fn busy_polling_never_sleeps() {
    assert!(!Idle::new(false).always_spins() && Idle::new(true).always_spins());
}
