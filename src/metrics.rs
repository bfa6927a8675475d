//! Counters on their way from the workers to whoever asks.
//!
//! A worker adds to plain integers of its own and, a few times a second, publishes all of them on
//! its [`Sheet`]; readers (the admin endpoint, the summary at shutdown) read the [`Board`] of all
//! sheets. So counting costs the data path an addition, and reading disturbs it not at all.

pub(crate) mod catalog;
mod declared;

pub(crate) use declared::{CONNECTIONS_LIMIT, CONNECTIONS_OPEN, check, declared, of_service};
pub use simoom_io::{Kind, Metric, Unit, counters};

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// A metric's declaration and its value.
pub type Count = (&'static Metric, u64);

/// `text` for as long as the process runs: for names that a user chooses when a server is made. The
/// same text is stored once.
pub(crate) fn interned(text: &str) -> &'static str {
    static ALL: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(text) {
        return known;
    }
    let text: &'static str = Box::leak(text.into());
    all.insert(text);
    text
}

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

    /// Replaces what was published. No name may occur twice: Prometheus refuses such a scrape.
    /// Returns false, and publishes nothing, while a reader holds the counters: the data path does
    /// not wait, the caller tries again later.
    pub fn publish(&self, counts: impl Iterator<Item = Count>) -> bool {
        let Ok(mut sheet) = self.counts.try_lock() else { return false };
        sheet.clear();
        sheet.extend(counts);
        debug_assert_eq!(first_twice(&sheet), None, "published twice by {}", self.label);
        true
    }

    /// What was published last.
    pub fn read(&self) -> Vec<Count> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A name that occurs twice.
fn first_twice(counts: &[Count]) -> Option<&'static str> {
    let mut names = BTreeSet::new();
    counts.iter().map(|(metric, _)| metric.name).find(|name| !names.insert(*name))
}

/// How old published counters may get while they change.
const PUBLISH_MS: u64 = 250;

/// A worker's own end of its sheet: brings the counters there while they change, and once more when
/// they have stopped changing. So it wakes a worker that has nothing else to do, but once.
pub(crate) struct Publisher {
    sheet: Arc<Sheet>,
    counts: Vec<Count>,
    next_ms: u64,
    /// Something has happened since the counters were published.
    stale: bool,
}

impl Publisher {
    pub(crate) fn new(sheet: Arc<Sheet>) -> Publisher {
        Publisher { sheet, counts: Vec::with_capacity(256), next_ms: 0, stale: true }
    }

    /// Something that counts has happened.
    pub(crate) fn touch(&mut self) {
        self.stale = true;
    }

    /// When to publish next; `None` while nothing happens.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.stale.then_some(self.next_ms)
    }

    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        self.next_ms().is_some_and(|next_ms| next_ms <= now_ms)
    }

    /// Publishes what `collect` pushes.
    pub(crate) fn publish(&mut self, now_ms: u64, collect: impl FnOnce(&mut Vec<Count>)) {
        self.counts.clear();
        collect(&mut self.counts);
        add_up(&mut self.counts);
        let published = self.sheet.publish(self.counts.iter().copied());
        (self.stale, self.next_ms) = (!published, now_ms + PUBLISH_MS);
    }
}

/// Leaves one count of each name, their sum: two handlers of one kind publish the same metrics.
fn add_up(counts: &mut Vec<Count>) {
    let mut at = 0;
    while let Some(&(metric, value)) = counts.get(at) {
        match counts[..at].iter_mut().find(|(known, _)| known.name == metric.name) {
            Some((_, sum)) => {
                *sum += value;
                counts.remove(at);
            }
            None => at += 1,
        }
    }
}

/// The sheets of all workers, shared by all clones: a reader sees the workers that start later,
/// too.
#[derive(Clone, Debug, Default)]
pub struct Board {
    sheets: Arc<Mutex<Vec<Arc<Sheet>>>>,
}

impl Board {
    /// Adds a worker's sheet.
    pub fn add(&self, sheet: Arc<Sheet>) {
        self.sheets.lock().unwrap_or_else(PoisonError::into_inner).push(sheet);
    }

    /// One sheet a worker, in the order in which they were added.
    pub fn sheets(&self) -> Vec<Arc<Sheet>> {
        self.sheets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Each counter's sum over all sheets, in the order of first appearance.
    pub fn totals(&self) -> Vec<Count> {
        let mut totals: Vec<Count> = Vec::new();
        for (metric, value) in self.sheets().iter().flat_map(|sheet| sheet.read()) {
            match totals.iter_mut().find(|(known, _)| known.name == metric.name) {
                Some((_, total)) => *total += value,
                None => totals.push((metric, value)),
            }
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static A: Metric = Metric::new("a", "The first.");
    static B: Metric = Metric::new("b", "The second.");
    static C: Metric = Metric::new("c", "The third.");

    #[test]
    fn totals_add_up_over_workers() {
        let board = Board::default();
        ["worker 0", "worker 1"].iter().for_each(|worker| board.add(Sheet::new(*worker)));
        board.sheets()[0].publish([(&A, 3), (&B, 1)].into_iter());
        board.sheets()[1].publish([(&A, 4)].into_iter());
        assert_eq!(board.totals(), [(&A, 7), (&B, 1)]);
    }

    #[test]
    fn a_sheet_that_is_being_read_is_not_waited_for_but_comes_up_again() {
        let sheet = Sheet::new("worker 0");
        let mut publisher = Publisher::new(Arc::clone(&sheet));
        let reading = sheet.counts.lock().unwrap();
        publisher.publish(1000, |counts| counts.push((&A, 1)));
        drop(reading);
        assert!(sheet.read().is_empty() && publisher.next_ms() == Some(1000 + PUBLISH_MS));
        publisher.publish(2000, |counts| counts.push((&A, 1)));
        assert_eq!((sheet.read(), publisher.next_ms()), (vec![(&A, 1)], None));
    }

    #[test]
    fn counters_go_out_at_once_then_a_few_times_a_second_and_not_while_nothing_happens() {
        let sheet = Sheet::new("worker 0");
        let mut publisher = Publisher::new(Arc::clone(&sheet));
        assert!(publisher.is_due(0));
        publisher.publish(1000, |counts| counts.push((&A, 1)));
        assert_eq!((publisher.next_ms(), publisher.is_due(u64::MAX)), (None, false));
        publisher.touch();
        assert_eq!(publisher.next_ms(), Some(1000 + PUBLISH_MS));
        assert!(!publisher.is_due(999 + PUBLISH_MS) && publisher.is_due(1000 + PUBLISH_MS));
        publisher.publish(2000, |counts| counts.push((&A, 2)));
        assert_eq!(sheet.read(), [(&A, 2)]);
    }

    #[test]
    fn handlers_of_one_kind_are_counted_together() {
        let sheet = Sheet::new("worker 0");
        let mut publisher = Publisher::new(Arc::clone(&sheet));
        let twice = [(&A, 1), (&B, 2), (&A, 4), (&C, 8), (&B, 16)];
        publisher.publish(1000, |counts| counts.extend(twice));
        assert_eq!(sheet.read(), [(&A, 5), (&B, 18), (&C, 8)]);
    }

    #[test]
    fn a_sheet_shows_only_what_was_published_last() {
        let sheet = Sheet::new("worker 0");
        sheet.publish([(&A, 1), (&B, 2)].into_iter());
        sheet.publish([(&A, 5)].into_iter());
        assert_eq!(sheet.read(), [(&A, 5)]);
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "published twice by worker 0")]
    fn a_name_that_is_published_twice_fails_an_assertion() {
        Sheet::new("worker 0").publish([(&A, 1), (&A, 2)].into_iter());
    }
}
