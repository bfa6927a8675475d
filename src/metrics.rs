//! The path of counters from the workers to their readers.
//!
//! A worker increments integers of its own, and publishes all of them in its [`Snapshot`] up to
//! four times a second. Readers (the admin endpoint, the summary at shutdown) read the snapshots of
//! all workers from the [`Registry`]. So counting costs the data path an addition, and reading
//! costs it nothing.

pub(crate) mod catalog;
mod declared;

pub(crate) use declared::{CONNECTIONS_LIMIT, CONNECTIONS_OPEN, check, declared, of_service};
pub use simoom_io::{Kind, Metric, Unit, counters};

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// A metric's declaration and its value.
pub type Count = (&'static Metric, u64);

/// Stores `text` for the life of the process: for names that a user chooses when building a server.
/// Equal texts are stored once.
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
pub struct Snapshot {
    label: String,
    counts: Mutex<Vec<Count>>,
}

impl Snapshot {
    /// An empty snapshot of the worker with this label.
    pub fn new(label: impl Into<String>) -> Arc<Snapshot> {
        Arc::new(Snapshot { label: label.into(), counts: Mutex::new(Vec::with_capacity(256)) })
    }

    /// The name of the worker.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Replaces the counters. No name may occur twice: Prometheus rejects such a scrape. Returns
    /// false and changes nothing if a reader holds the lock: the data path does not wait, but
    /// retries later.
    pub fn publish(&self, counts: impl Iterator<Item = Count>) -> bool {
        let Ok(mut snapshot) = self.counts.try_lock() else { return false };
        snapshot.clear();
        snapshot.extend(counts);
        debug_assert_eq!(first_twice(&snapshot), None, "published twice by {}", self.label);
        true
    }

    /// The counters that were published last.
    pub fn read(&self) -> Vec<Count> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A name that occurs twice.
fn first_twice(counts: &[Count]) -> Option<&'static str> {
    let mut names = BTreeSet::new();
    counts.iter().map(|(metric, _)| metric.name).find(|name| !names.insert(*name))
}

/// Interval at which changing counters are published.
const PUBLISH_MS: u64 = 250;

/// Publishes the counters of a worker to its snapshot: at intervals while they change, and once
/// after they have stopped changing. So it wakes an idle worker once.
pub(crate) struct Exporter {
    snapshot: Arc<Snapshot>,
    counts: Vec<Count>,
    /// The metrics that were collected last, and the place of each among those with other names.
    places: Vec<(&'static Metric, usize)>,
    next_ms: u64,
    /// Whether the counters may have changed since they were published.
    stale: bool,
}

impl Exporter {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Exporter {
        let (counts, places) = (Vec::with_capacity(256), Vec::with_capacity(256));
        Exporter { snapshot, counts, places, next_ms: 0, stale: true }
    }

    /// Notes that counters may have changed.
    pub(crate) fn touch(&mut self) {
        self.stale = true;
    }

    /// When to publish next; `None` if the counters are unchanged.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.stale.then_some(self.next_ms)
    }

    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        self.next_ms().is_some_and(|next_ms| next_ms <= now_ms)
    }

    /// Publishes the counters that `collect` pushes.
    pub(crate) fn publish(&mut self, now_ms: u64, collect: impl FnOnce(&mut Vec<Count>)) {
        self.counts.clear();
        collect(&mut self.counts);
        self.add_up();
        let published = self.snapshot.publish(self.counts.iter().copied());
        (self.stale, self.next_ms) = (!published, now_ms + PUBLISH_MS);
    }

    /// Replaces counts of one metric by their sum: two handlers of one kind publish the same
    /// metrics. Nearly always the same metrics come in the same order as the last time.
    fn add_up(&mut self) {
        let mut pairs = self.places.iter().zip(&self.counts);
        let is_known = self.places.len() == self.counts.len()
            && pairs.all(|((known, _), (metric, _))| std::ptr::eq(*known, *metric));
        if !is_known {
            self.find_places();
        }
        let mut len = 0;
        for (at, (_, place)) in self.places.iter().enumerate() {
            let count = self.counts[at];
            if *place == len {
                self.counts[len] = count;
                len += 1;
            } else {
                self.counts[*place].1 += count.1;
            }
        }
        self.counts.truncate(len);
    }

    /// Finds the place of each metric by its name.
    #[cold]
    fn find_places(&mut self) {
        self.places.clear();
        let mut len = 0;
        for (metric, _) in &self.counts {
            let known = self.places.iter().find(|(known, _)| known.name == metric.name);
            let place = known.map_or(len, |(_, place)| *place);
            len += usize::from(place == len);
            self.places.push((*metric, place));
        }
    }
}

/// The snapshots of all workers. Clones share them: a reader also sees workers that start later.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    snapshots: Arc<Mutex<Vec<Arc<Snapshot>>>>,
}

impl Registry {
    /// Adds the snapshot of a worker.
    pub fn add(&self, snapshot: Arc<Snapshot>) {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).push(snapshot);
    }

    /// The snapshots, in the order in which they were added.
    pub fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The sum of each counter over all snapshots, in the order of first appearance.
    pub fn totals(&self) -> Vec<Count> {
        let mut totals: Vec<Count> = Vec::new();
        for (metric, value) in self.snapshots().iter().flat_map(|snapshot| snapshot.read()) {
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
        let registry = Registry::default();
        ["worker 0", "worker 1"].iter().for_each(|worker| registry.add(Snapshot::new(*worker)));
        registry.snapshots()[0].publish([(&A, 3), (&B, 1)].into_iter());
        registry.snapshots()[1].publish([(&A, 4)].into_iter());
        assert_eq!(registry.totals(), [(&A, 7), (&B, 1)]);
    }

    #[test]
    fn a_snapshot_that_is_being_read_is_published_later() {
        let snapshot = Snapshot::new("worker 0");
        let mut exporter = Exporter::new(Arc::clone(&snapshot));
        let reading = snapshot.counts.lock().unwrap();
        exporter.publish(1000, |counts| counts.push((&A, 1)));
        drop(reading);
        assert!(snapshot.read().is_empty() && exporter.next_ms() == Some(1000 + PUBLISH_MS));
        exporter.publish(2000, |counts| counts.push((&A, 1)));
        assert_eq!((snapshot.read(), exporter.next_ms()), (vec![(&A, 1)], None));
    }

    #[test]
    fn counters_go_out_at_once_then_a_few_times_a_second_and_not_while_nothing_happens() {
        let snapshot = Snapshot::new("worker 0");
        let mut exporter = Exporter::new(Arc::clone(&snapshot));
        assert!(exporter.is_due(0));
        exporter.publish(1000, |counts| counts.push((&A, 1)));
        assert_eq!((exporter.next_ms(), exporter.is_due(u64::MAX)), (None, false));
        exporter.touch();
        assert_eq!(exporter.next_ms(), Some(1000 + PUBLISH_MS));
        assert!(!exporter.is_due(999 + PUBLISH_MS) && exporter.is_due(1000 + PUBLISH_MS));
        exporter.publish(2000, |counts| counts.push((&A, 2)));
        assert_eq!(snapshot.read(), [(&A, 2)]);
    }

    #[test]
    fn handlers_of_one_kind_are_counted_together() {
        let snapshot = Snapshot::new("worker 0");
        let mut exporter = Exporter::new(Arc::clone(&snapshot));
        let twice = [(&A, 1), (&B, 2), (&A, 4), (&C, 8), (&B, 16)];
        for _ in 0..2 {
            exporter.publish(1000, |counts| counts.extend(twice));
            assert_eq!(snapshot.read(), [(&A, 5), (&B, 18), (&C, 8)]);
        }
        exporter
            .publish(1000, |counts| counts.extend([(&B, 3), (&A, 1), (&A, 4), (&C, 8), (&B, 1)]));
        assert_eq!(snapshot.read(), [(&B, 4), (&A, 5), (&C, 8)], "another order");
    }

    #[test]
    fn a_snapshot_shows_only_what_was_published_last() {
        let snapshot = Snapshot::new("worker 0");
        snapshot.publish([(&A, 1), (&B, 2)].into_iter());
        snapshot.publish([(&A, 5)].into_iter());
        assert_eq!(snapshot.read(), [(&A, 5)]);
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "published twice by worker 0")]
    fn a_name_that_is_published_twice_fails_an_assertion() {
        Snapshot::new("worker 0").publish([(&A, 1), (&A, 2)].into_iter());
    }
}
