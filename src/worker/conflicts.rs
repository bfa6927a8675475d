//! Rate limit of the log for address conflicts: one line in 10 s, for any number of claims by a
//! neighbour.

/// Time between two lines, in microseconds: the defence interval of RFC 5227 section 2.4.
const LOG_PERIOD_US: u64 = 10_000_000;

/// State of the rate limit.
#[derive(Default)]
pub(super) struct Conflicts {
    logged: u64,
    /// Earliest time of the next line.
    next_us: u64,
}

impl Conflicts {
    /// The number of conflicts since the last line, if a line is due; `total` counts all so far.
    pub(super) fn due(&mut self, now_us: u64, total: u64) -> Option<u64> {
        if total == self.logged || now_us < self.next_us {
            return None;
        }
        self.next_us = now_us.saturating_add(LOG_PERIOD_US);
        Some(total - std::mem::replace(&mut self.logged, total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_has_the_number_of_conflicts() {
        let mut conflicts = Conflicts::default();
        let s = 1_000_000;
        for (now_us, total, due) in [
            (5 * s, 0, None),
            (6 * s, 1, Some(1)),
            (7 * s, 5, None),
            (16 * s - 1, 900, None),
            (16 * s, 901, Some(900)),
            (30 * s, 901, None),
            (31 * s, 902, Some(1)),
        ] {
            assert_eq!(conflicts.due(now_us, total), due, "{now_us} {total}");
        }
    }
}
