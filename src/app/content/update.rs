//! Replaces the files whose names changed, in a content that shares all others. So the cost of a
//! change does not depend on the number of files.
//!
//! An update knows less than a load: it handles files that appear, change and vanish in directories
//! that were known before, without links. In any other case all files are loaded again.

use super::build::{Builder, ByPath};
use super::coding::Coding;
use super::data::{Data, Identity};
use super::read::{self, Loaded};
use super::root::Root;
use super::table::Table;
use super::walk::{FILE_MAX_BYTES, Tree, is_hidden};
use super::watch::Changed;
use super::{Content, Settings};
use crate::clock::unix_time;
use rustix::fs::{FileType, Stat};
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Changed paths that a content may have, whatever the number of its files.
const CHANGES_MIN: usize = 1000;
/// The part of its files that may be changed paths.
const CHANGES_PART: usize = 8;

/// Where the files of a content come from.
#[derive(Debug)]
pub(super) struct Origin {
    roots: Vec<Option<Arc<Root>>>,
    /// The site and the request path of each directory.
    directories: HashMap<PathBuf, (usize, Vec<u8>)>,
}

/// The result of an update.
pub(crate) enum Update {
    /// Nothing that is served changed.
    Unchanged,
    Changed(Box<Content>),
    /// All files must be loaded.
    Unknown,
}

/// The update is not possible.
struct Unknown;

impl Origin {
    /// `None` if an update is not possible: a path depends on more than its own file.
    pub(super) fn of<'a>(
        settings: &Settings,
        sites: impl Iterator<Item = (Option<Arc<Root>>, &'a Tree)>,
    ) -> Option<Origin> {
        if settings.compress || settings.sites().iter().any(|site| site.autoindex) {
            return None;
        }
        let mut origin = Origin { roots: Vec::new(), directories: HashMap::new() };
        for (site, (root, tree)) in sites.enumerate() {
            let is_plain = tree.links == 0
                && tree.paths.len() == tree.files.len()
                && tree.watched.len() == tree.directories.len();
            if !is_plain {
                return None;
            }
            origin.roots.push(root);
            for (directory, path) in tree.watched.iter().zip(&tree.directories) {
                let place = (site, path.clone());
                if origin.directories.insert(directory.clone(), place).is_some() {
                    return None;
                }
            }
        }
        Some(origin)
    }
}

impl Content {
    /// A content with the files that `changes` names as they are now.
    pub(crate) fn update(&self, settings: &Settings, changes: &[Changed]) -> Update {
        let Some(origin) = &self.origin else { return Update::Unknown };
        let changed: usize = self.sites.iter().map(Table::changes).sum();
        let changes_max = CHANGES_MIN.max(self.files() / CHANGES_PART);
        let Ok(names) = names(origin, settings, changes) else { return Update::Unknown };
        if names.is_empty() {
            return Update::Unchanged;
        }
        if changed + names.len() > changes_max {
            return Update::Unknown;
        }
        let now = unix_time().as_secs();
        let content = self.clone();
        let content = Content { fingerprint: None, uses: content.uses.next(), ..content };
        let mut updater = Updater { origin, settings, builder: Builder::of(content, now) };
        match names.iter().try_for_each(|(directory, name)| updater.update(directory, name)) {
            Ok(()) => {
                let content = updater.builder.finish();
                let is_sparse = content.is_to_be_compacted(changes_max);
                Update::Changed(Box::new(if is_sparse { content.compacted() } else { content }))
            }
            Err(Unknown) => Update::Unknown,
        }
    }
}

/// The directories and names of the files that depend on `changes`.
fn names<'c>(
    origin: &Origin,
    settings: &Settings,
    changes: &'c [Changed],
) -> Result<BTreeSet<(&'c Path, &'c [u8])>, Unknown> {
    let sites = settings.sites();
    let mut names = BTreeSet::new();
    for Changed { directory, name } in changes {
        let (site, path) = origin.directories.get(directory).ok_or(Unknown)?;
        let site = sites[*site];
        if is_hidden(name, site.dotfiles) {
            continue;
        }
        let path = [path, name.as_slice()].concat();
        if site.error_pages.iter().any(|(_, page)| page.as_bytes() == path) {
            return Err(Unknown);
        }
        names.insert((directory.as_path(), name.as_slice()));
        for coding in Coding::ALL {
            if let Some(coded) = name.strip_suffix(coding.suffix()) {
                names.insert((directory.as_path(), coded));
            }
        }
    }
    Ok(names)
}

struct Updater<'a> {
    origin: &'a Origin,
    settings: &'a Settings,
    builder: Builder,
}

impl Updater<'_> {
    fn update(&mut self, directory: &Path, name: &[u8]) -> Result<(), Unknown> {
        let origin = self.origin;
        let (index, directory_path) = origin.directories.get(directory).ok_or(Unknown)?;
        let root = origin.roots[*index].as_ref().ok_or(Unknown)?;
        let site = self.settings.sites()[*index];
        let site_index = u32::try_from(*index).map_err(|_| Unknown)?;
        let path = [directory_path, name].concat();
        let is_index = name == b"index.html";
        let Some(loaded) = self.file(root, directory, name)? else {
            // The directory loses its page, too. A load tells that a fallback is missing.
            let is_fallback = |fallback: &str| fallback.as_bytes() == path;
            if is_index || site.fallbacks().any(is_fallback) {
                return Err(Unknown);
            }
            self.builder.set(site_index, &path, None);
            return Ok(());
        };
        let mut forms = Vec::new();
        for coding in Coding::ALL {
            let form = [name, coding.suffix()].concat();
            if let Some(loaded) = self.file(root, directory, &form)? {
                forms.push(([directory_path, form.as_slice()].concat(), loaded));
            }
        }
        let mut files: ByPath<'_> =
            forms.iter().map(|(path, loaded)| (path.as_slice(), loaded)).collect();
        files.insert(&path, &loaded);
        let entry = self.builder.replace((site_index, site), &path, &loaded, &files);
        if is_index {
            self.builder.table(site_index).get(directory_path).ok_or(Unknown)?;
            self.builder.set(site_index, directory_path, Some(entry));
        }
        Ok(())
    }

    /// The file as it is now; `None` if there is none.
    fn file(
        &self,
        root: &Arc<Root>,
        directory: &Path,
        name: &[u8],
    ) -> Result<Option<Loaded>, Unknown> {
        let path = directory.join(OsStr::from_bytes(name));
        let stat = match root.stat(&path) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(_) => return Err(Unknown),
        };
        let is_plain =
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1;
        if !is_plain {
            return Err(Unknown);
        }
        self.load(root, &path, &stat)
    }

    /// Loads the file with this `stat`; `None` if its name is gone meanwhile. A writer that renames
    /// a finished file to its name does that: a load of all files would tell no more.
    fn load(&self, root: &Arc<Root>, path: &Path, stat: &Stat) -> Result<Option<Loaded>, Unknown> {
        let identity = Identity::of(stat);
        if let Some(data) = self.builder.known(&identity) {
            let data: Arc<Data> = data.clone();
            return Ok(Some(Loaded { data, identity }));
        }
        match self.read(root, path, &identity)? {
            Ok(loaded) => Ok(Some(loaded)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(_) => Err(Unknown),
        }
    }

    fn read(
        &self,
        root: &Arc<Root>,
        path: &Path,
        identity: &Identity,
    ) -> Result<io::Result<Loaded>, Unknown> {
        let disk = self.settings.disk;
        let large_bytes = disk.map_or(u64::MAX, |disk| disk.large_bytes);
        if identity.bytes > large_bytes.min(FILE_MAX_BYTES) {
            disk.ok_or(Unknown)?;
            return Ok(read::open_only(root, path));
        }
        let most_bytes =
            disk.map_or(u64::MAX, |d| d.memory_bytes.saturating_add(d.memory_bytes / 8));
        let limit_bytes = most_bytes.min(self.settings.limit_bytes as u64);
        let held_bytes = self.builder.memory_bytes() as u64;
        Ok(read::read_file(root, path, |bytes| held_bytes + bytes <= limit_bytes))
    }
}

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
