//! Counters on their way from the workers to whoever asks.
//!
//! A worker adds to plain integers of its own and, a few times a second, publishes all of them on its [`Sheet`];
//! readers (the admin endpoint, the summary at shutdown) read the [`Board`] of all sheets. So counting costs the
//! data path an addition, and reading disturbs it not at all.

use std::sync::{Arc, Mutex, PoisonError};

/// A counter's name, as its field is called, and its value.
pub type Count = (&'static str, u64);

/// The last published counters of one worker.
#[derive(Debug)]
pub struct Sheet {
    label: String,
    counts: Mutex<Vec<Count>>,
}

impl Sheet {
    /// An empty sheet for the worker that `label` names.
    pub fn new(label: impl Into<String>) -> Arc<Sheet> {
        Arc::new(Sheet { label: label.into(), counts: Mutex::new(Vec::with_capacity(256)) })
    }

    /// The worker's name.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Replaces what was published. Says no, and leaves it, if a reader holds the sheet: the data path does not wait,
    /// it comes again later.
    pub fn publish(&self, counts: impl Iterator<Item = Count>) -> bool {
        let Ok(mut sheet) = self.counts.try_lock() else { return false };
        sheet.clear();
        sheet.extend(counts);
        true
    }

    /// What was published last.
    pub fn read(&self) -> Vec<Count> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The sheets of all workers.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// One sheet a worker, in the order of the workers.
    pub sheets: Vec<Arc<Sheet>>,
}

impl Board {
    /// Each counter's sum over all sheets, in the order of first appearance.
    pub fn totals(&self) -> Vec<Count> {
        let mut totals: Vec<Count> = Vec::new();
        for (name, value) in self.sheets.iter().flat_map(|sheet| sheet.read()) {
            match totals.iter_mut().find(|(known, _)| *known == name) {
                Some((_, total)) => *total += value,
                None => totals.push((name, value)),
            }
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up_over_workers() {
        let board = Board { sheets: vec![Sheet::new("worker 0"), Sheet::new("worker 1")] };
        board.sheets[0].publish([("requests", 3), ("only_here", 1)].into_iter());
        board.sheets[1].publish([("requests", 4)].into_iter());
        assert_eq!(board.totals(), [("requests", 7), ("only_here", 1)]);
    }

    #[test]
    fn a_sheet_that_is_being_read_is_not_waited_for() {
        let sheet = Sheet::new("worker 0");
        let reading = sheet.counts.lock().unwrap();
        assert!(!sheet.publish([("a", 1)].into_iter()));
        drop(reading);
        assert!(sheet.read().is_empty() && sheet.publish([("a", 1)].into_iter()));
    }

    #[test]
    fn a_sheet_shows_only_what_was_published_last() {
        let sheet = Sheet::new("worker 0");
        sheet.publish([("a", 1), ("b", 2)].into_iter());
        sheet.publish([("a", 5)].into_iter());
        assert_eq!(sheet.read(), [("a", 5)]);
    }
}
