//! Limits the log lines about one state to one a second. Returns when a line about the current
//! state is due, and the number of changes without a line.

use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_secs(1);

/// State of the limit.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    told_at: Option<Instant>,
    /// Changes since the last line.
    changes: u64,
}

impl ChangeLog {
    /// Records a check of the state. If a line is due at `now`, returns the number of earlier
    /// changes without a line.
    pub(super) fn due(&mut self, changed: bool, now: Instant) -> Option<u64> {
        self.changes += u64::from(changed);
        let is_early = self.told_at.is_some_and(|at| now.saturating_duration_since(at) < PERIOD);
        if self.changes == 0 || is_early {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.changes) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_second_tells_of_all_changes_and_the_last_state_is_told() {
        let (mut log, start) = (ChangeLog::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let told: Vec<Option<u64>> = [(0, false), (10, true), (500, true), (900, true)]
            .into_iter()
            .chain([(1000, false), (1010, false), (1500, false), (3000, true)])
            .map(|(ms, changed)| log.due(changed, at(ms)))
            .collect();
        assert_eq!(told, [None, Some(0), None, None, None, Some(1), None, Some(0)]);
    }
}
