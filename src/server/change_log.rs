//! At most one line of the log a second for a state that may change without end. In come changes,
//! out goes when a line about the state of the moment is due, and how many changes no line told of.

use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_secs(1);

/// The lines about one state.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    told_at: Option<Instant>,
    /// Changes since the last line.
    changes: u64,
}

impl ChangeLog {
    /// To be called at each look at the state. Returns how many changes before the last one no line
    /// told of, if a line is due at `now`.
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
