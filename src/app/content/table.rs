//! The paths of one site.

use super::Entry;
use super::grown::Map;
use super::hash::PathHasher;
use super::rules::Rules;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

/// A map from paths to entries, and the rules for the other paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    entries: Map<Box<[u8]>, Entry, BuildHasherDefault<PathHasher>>,
    /// The entries of paths that rules apply to.
    ruled: Vec<Entry>,
    rules: Arc<Rules>,
    path_bytes: usize,
}

impl Table {
    /// Looks up `path`, which must be decoded and free of dot segments.
    #[inline]
    pub(crate) fn get(&self, path: &[u8]) -> Option<Entry> {
        self.entries.get(path).copied()
    }

    /// The file that is served for `path`, whether a rule applies or not.
    pub(super) fn file(&self, path: &[u8]) -> Option<u32> {
        self.file_of(self.get(path)?)
    }

    /// The files that are served, one for each path.
    pub(super) fn files(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().filter_map(|(_, entry)| self.file_of(*entry))
    }

    fn file_of(&self, entry: Entry) -> Option<u32> {
        match entry {
            Entry::Ruled(index) => self.file_of(self.ruled(index)),
            Entry::File(index) => Some(index),
            Entry::Redirect(_) => None,
        }
    }

    /// A table of its own with the same paths and rules, and with entries that `change` gives.
    pub(super) fn mapped(&self, mut change: impl FnMut(Entry) -> Entry) -> Table {
        let mut table = Table { rules: self.rules.clone(), ..Table::default() };
        for (path, entry) in self.entries.iter() {
            let entry = match *entry {
                Entry::Ruled(index) => {
                    table.ruled.push(change(self.ruled(index)));
                    Entry::Ruled(table.ruled.len() as u32 - 1)
                }
                entry => change(entry),
            };
            table.insert(path, entry);
        }
        table
    }

    /// The entry under a rule, for [`Entry::Ruled`].
    pub(super) fn ruled(&self, index: u32) -> Entry {
        self.ruled[index as usize]
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(super) fn insert(&mut self, path: &[u8], entry: Entry) {
        if self.entries.insert(path.into(), entry) {
            self.path_bytes += path.len();
        }
    }

    /// Replaces the entry of a path under the rules that are set, or adds one.
    pub(super) fn replace(&mut self, path: &[u8], entry: Entry) {
        let is_ruled = self.rules.apply_to_files() && self.rules.apply_to(path);
        let entry = if is_ruled {
            self.ruled.push(entry);
            Entry::Ruled(self.ruled.len() as u32 - 1)
        } else {
            entry
        };
        self.insert(path, entry);
    }

    pub(super) fn remove(&mut self, path: &[u8]) {
        self.entries.remove(path.into());
    }

    /// The number of paths whose entries differ from those that all versions share.
    pub(super) fn changes(&self) -> usize {
        self.entries.changes()
    }

    /// Sets the rules. Entries whose path a rule applies to become [`Entry::Ruled`].
    pub(super) fn apply(&mut self, rules: Rules) {
        if rules.apply_to_files() {
            for (path, entry) in self.entries.iter_mut() {
                if rules.apply_to(path) {
                    self.ruled.push(*entry);
                    // There are at most as many as files.
                    *entry = Entry::Ruled(self.ruled.len() as u32 - 1);
                }
            }
        }
        self.rules = Arc::new(rules);
    }

    /// Bytes of memory outside the struct.
    pub(super) fn memory_bytes(&self) -> usize {
        let entries = self.entries.capacity() * (size_of::<(Box<[u8]>, Entry)>() + 1);
        self.path_bytes + entries + self.ruled.capacity() * size_of::<Entry>()
    }
}
