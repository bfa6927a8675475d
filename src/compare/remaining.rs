//! How long a comparison takes, and how long it still takes.

use super::options::Choice;
use super::plans::{Plan, Point};
use super::run::{WARM_UP, is_quick};
use std::time::{Duration, Instant};

/// Start and end of server and load, in each case.
const AROUND: Duration = Duration::from_millis(600);
/// To open a connection.
const OPENING: Duration = Duration::from_micros(7);

/// The time that the plans of a comparison take: estimated at first, then corrected by the time
/// that those before took.
pub(super) struct Remaining {
    began: Instant,
    /// Upper estimates, in the order of the plans.
    estimates: Vec<Duration>,
}

impl Remaining {
    /// The comparison begins now. A process may have so many `files` open.
    pub(super) fn of(choice: &Choice, files: u64) -> Remaining {
        let estimates = choice.plans.iter().map(|plan| estimate(choice, plan, files)).collect();
        Remaining { began: Instant::now(), estimates }
    }

    /// The estimate for all plans.
    pub(super) fn total(&self) -> Duration {
        self.estimates.iter().sum()
    }

    /// Time since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Time left after the plans before `plan`, and this part of it, from 0 to 1.
    pub(super) fn after(&self, plan: usize, part: f64) -> Duration {
        left(&self.estimates, plan, part, self.elapsed())
    }
}

fn left(estimates: &[Duration], plan: usize, part: f64, elapsed: Duration) -> Duration {
    let seconds = |estimates: &[Duration]| estimates.iter().sum::<Duration>().as_secs_f64();
    let (before, rest) = estimates.split_at(plan.min(estimates.len()));
    let done = seconds(before) + part * rest.first().map_or(0.0, Duration::as_secs_f64);
    // The first case corrects nothing.
    let factor = if done > 0.0 { elapsed.as_secs_f64() / done } else { 1.0 };
    Duration::from_secs_f64((seconds(estimates) - done).max(0.0) * factor)
}

/// Upper estimate of the duration of a plan.
fn estimate(choice: &Choice, plan: &Plan, files: u64) -> Duration {
    let points = plan.points.iter().filter(|point| !choice.quick || is_quick(plan, point));
    let each = |point: &Point| {
        let targets = choice.targets.iter().filter(|target| {
            target.speaks(plan.workload) && (plan.for_ceiling || !target.is_ceiling)
        });
        let targets =
            targets.filter(|target| u64::from(target.files_needed(point.connections)) <= files);
        let measured = choice.measured.mul_f64(f64::from(plan.stretch) + WARM_UP);
        (measured + AROUND + OPENING * point.connections) * targets.count() as u32
    };
    points.map(each).sum::<Duration>() * choice.repeats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_the_time_taken() {
        let estimates = [10, 20, 30].map(Duration::from_secs);
        let left = |plan, part, elapsed| {
            left(&estimates, plan, part, Duration::from_secs(elapsed)).as_secs()
        };
        assert_eq!(left(0, 0.0, 0), 60, "the estimate");
        assert_eq!(left(1, 0.0, 10), 50, "as estimated");
        assert_eq!(left(1, 0.5, 10), 20, "twice as fast");
        assert_eq!(left(2, 1.0, 100), 0);
        assert_eq!(left(3, 0.0, 100), 0);
    }
}
