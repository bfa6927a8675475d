//! Which files of a content are served, and what the content holds besides.
//!
//! Versions of a content share their tables, so an update leaves the files that it replaces in
//! place. [`Uses`] counts them. Before they outweigh what is served, [`Content::compacted`] leaves
//! them out. It reads no file and takes no lock: workers change to it as to any other version.

use super::data::Data;
use super::file::File;
use super::grown::{List, Map};
use super::read::Known;
use super::table::Table;
use super::{Content, Entry};
use crate::app::Checksummed;
use std::collections::{HashMap, HashSet};
use std::hash::RandomState;
use std::sync::{Arc, Weak};

/// Superseded bytes that a content may have however little it serves.
pub(super) const SUPERSEDED_MIN_BYTES: u64 = 4 << 20;

/// How often files and their bytes are used.
#[derive(Clone, Debug, Default)]
pub(super) struct Uses {
    /// The number of paths that serve a file. 1 for a file that is not in the map.
    paths: Map<u32, u32, RandomState>,
    /// The number of served files that share bytes, by the address of the bytes.
    sharers: Map<usize, u32, RandomState>,
    /// All that the content holds.
    held: Amount,
    /// What it holds and does not serve.
    superseded: Amount,
    /// The bytes that the version before served, and this one does not.
    released: Vec<Weak<Checksummed>>,
}

/// An amount of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) files: usize,
    pub(super) on_disk: usize,
    pub(super) memory_bytes: usize,
    /// Bytes of files that are read from disk.
    pub(super) disk_bytes: u64,
}

impl Amount {
    /// The file without its bytes.
    fn of(file: &File) -> Amount {
        let on_disk = file.on_disk();
        Amount {
            files: 1,
            on_disk: on_disk.is_some().into(),
            memory_bytes: file.memory_bytes() + size_of::<File>(),
            disk_bytes: on_disk.map_or(0, |file| file.len()),
        }
    }

    fn of_bytes(bytes: &Checksummed) -> Amount {
        Amount { memory_bytes: Data::memory_bytes_of(bytes), ..Amount::default() }
    }

    fn add(&mut self, more: Amount) {
        self.files += more.files;
        self.on_disk += more.on_disk;
        self.memory_bytes += more.memory_bytes;
        self.disk_bytes += more.disk_bytes;
    }

    fn subtract(&mut self, less: Amount) {
        self.files -= less.files;
        self.on_disk -= less.on_disk;
        self.memory_bytes -= less.memory_bytes;
        self.disk_bytes -= less.disk_bytes;
    }
}

fn address(bytes: &Arc<Checksummed>) -> usize {
    Arc::as_ptr(bytes) as usize
}

impl Uses {
    /// The uses in `tables`, which serve all `files`.
    fn of(tables: &[Table], files: &List<File>) -> Uses {
        let mut uses = Uses::default();
        for (index, file) in files.iter().enumerate() {
            uses.push(file, index as u32);
        }
        for index in tables.iter().flat_map(Table::files) {
            uses.serve(files, index);
        }
        let is_once = |index: &u32| uses.paths.get(index) == Some(&1);
        let shared = (0..files.len() as u32).filter(|index| !is_once(index));
        let shared: Vec<(u32, u32)> =
            shared.filter_map(|index| Some((index, *uses.paths.get(&index)?))).collect();
        uses.paths = Map::default();
        for (index, paths) in shared {
            uses.paths.insert(index, paths);
        }
        uses
    }

    /// Adds a file that no path serves yet. Returns whether its bytes are new.
    pub(super) fn push(&mut self, file: &File, index: u32) -> bool {
        let bytes = file.bytes();
        self.paths.insert(index, 0);
        let mut amount = Amount::of(file);
        let is_new = self.sharers.get(&address(bytes)).is_none();
        if is_new {
            self.sharers.insert(address(bytes), 0);
            amount.add(Amount::of_bytes(bytes));
        }
        self.held.add(amount);
        self.superseded.add(amount);
        is_new
    }

    /// A path serves the file from now on, in all its forms.
    pub(super) fn serve(&mut self, files: &List<File>, index: u32) {
        let paths = self.paths.get(&index).copied().unwrap_or(1);
        self.paths.insert(index, paths + 1);
        if paths > 0 {
            return;
        }
        for file in forms(files, index) {
            let bytes = file.bytes();
            let sharers = self.sharers.get(&address(bytes)).copied().unwrap_or(0);
            self.sharers.insert(address(bytes), sharers + 1);
            self.superseded.subtract(Amount::of(file));
            if sharers == 0 {
                self.superseded.subtract(Amount::of_bytes(bytes));
            }
        }
    }

    /// A path serves the file no more.
    pub(super) fn release(&mut self, files: &List<File>, index: u32) {
        let paths = self.paths.get(&index).copied().unwrap_or(1);
        self.paths.insert(index, paths - 1);
        if paths > 1 {
            return;
        }
        for file in forms(files, index) {
            let bytes = file.bytes();
            let sharers = self.sharers.get(&address(bytes)).copied().unwrap_or(1);
            self.sharers.insert(address(bytes), sharers - 1);
            self.superseded.add(Amount::of(file));
            if sharers == 1 {
                self.superseded.add(Amount::of_bytes(bytes));
                self.released.push(Arc::downgrade(bytes));
            }
        }
    }

    /// The next version begins.
    pub(super) fn next(self) -> Uses {
        Uses { released: Vec::new(), ..self }
    }

    /// Whether a served file has these bytes.
    pub(super) fn is_served(&self, bytes: &Arc<Checksummed>) -> bool {
        self.sharers.get(&address(bytes)).is_some_and(|sharers| *sharers > 0)
    }

    pub(super) fn superseded(&self) -> Amount {
        self.superseded
    }

    pub(super) fn served(&self) -> Amount {
        let mut served = self.held;
        served.subtract(self.superseded);
        served
    }
}

/// A file and the files with its content in a coding.
fn forms(files: &List<File>, index: u32) -> impl Iterator<Item = &File> {
    let file = files.get(index as usize);
    [file].into_iter().chain(file.forms().map(|index| files.get(index as usize)))
}

impl Content {
    /// Counts the uses of a content that was loaded beside `previous`.
    pub(super) fn count_uses(&mut self, previous: Option<&Content>) {
        self.uses = Uses::of(&self.sites, &self.files);
        let Some(previous) = previous else { return };
        // Several files may share the bytes.
        let mut told = HashSet::new();
        for bytes in previous.files.iter().map(File::bytes) {
            let is_released = previous.uses.is_served(bytes) && !self.uses.is_served(bytes);
            if is_released && told.insert(address(bytes)) {
                self.uses.released.push(Arc::downgrade(bytes));
            }
        }
    }

    /// The bytes that the version before served, and this one does not. They take memory until the
    /// last answer that needs them is sent, and until the content is compacted.
    pub(crate) fn released(&self) -> &[Weak<Checksummed>] {
        &self.uses.released
    }

    /// Whether [`Content::compacted`] holds less.
    pub(crate) fn has_superseded(&self) -> bool {
        self.uses.superseded.files > 0
    }

    /// Whether more is superseded than served, in memory or on disk, or there are more than
    /// `entries_max` files beside those that the versions share.
    pub(super) fn is_to_be_compacted(&self, entries_max: usize) -> bool {
        let (served, superseded) = (self.uses.served(), self.uses.superseded());
        let is_most = |superseded: u64, served: u64| superseded > served.max(SUPERSEDED_MIN_BYTES);
        is_most(superseded.memory_bytes as u64, served.memory_bytes as u64)
            || is_most(superseded.disk_bytes, served.disk_bytes)
            || self.files.added() > entries_max
    }

    /// The same content without what is superseded. The bytes of the others are shared.
    pub(crate) fn compacted(&self) -> Content {
        let mut moved = Moved { from: &self.files, files: List::default(), to: HashMap::new() };
        let sites: Vec<Table> =
            self.sites.iter().map(|table| table.mapped(|entry| moved.entry(entry))).collect();
        let mut known = Known::default();
        for (identity, data) in self.known.iter() {
            if self.uses.is_served(data.checksummed()) {
                known.insert(*identity, data.clone());
            }
        }
        let uses = Uses { released: self.uses.released.clone(), ..Uses::of(&sites, &moved.files) };
        Content {
            memory_bytes: self.served_memory_bytes(),
            files: moved.files,
            sites,
            known,
            uses,
            ..self.clone()
        }
    }
}

/// The served files of a content, on their way to another.
struct Moved<'a> {
    from: &'a List<File>,
    files: List<File>,
    to: HashMap<u32, u32>,
}

impl Moved<'_> {
    fn entry(&mut self, entry: Entry) -> Entry {
        match entry {
            Entry::File(index) => Entry::File(self.file(index)),
            Entry::Redirect(_) | Entry::Ruled(_) => entry,
        }
    }

    fn file(&mut self, index: u32) -> u32 {
        if let Some(to) = self.to.get(&index) {
            return *to;
        }
        let file = self.from.get(index as usize).clone();
        let file = file.with_forms(|form| self.push(self.from.get(form as usize).clone()));
        let to = self.push(file);
        self.to.insert(index, to);
        to
    }

    fn push(&mut self, file: File) -> u32 {
        self.files.push(file);
        self.files.len() as u32 - 1
    }
}

#[cfg(test)]
#[path = "uses_tests.rs"]
mod tests;
