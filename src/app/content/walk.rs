//! Finding the files under a root: a directory goes in, request paths and the files behind them come
//! out. No file is opened.
//!
//! A symbolic link to a directory gives all that is below it a second path. Directories that link to
//! each other have as many paths as there are orders to follow the links in, a number that grows with
//! the factorial. Hence:
//!
//! - A directory is listed once, however many paths lead to it. A path never leads through the same
//!   directory twice.
//! - Paths are found in the order of the links that they follow: each file's own path first, then the
//!   paths through one link, and so on.
//! - All paths through one link are served. Of those through more, a directory has no further ones
//!   once [`LINKED_PATHS_MAX`] paths through links lead to it.

use super::Settings;
use super::file::mime_of;
use super::skipped::{Reason, Skipped};
use mime_guess::Mime;
use std::collections::{HashMap, VecDeque};
use std::fs::{self, DirEntry, FileType, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// More paths through links lead to a directory only if they follow a single link.
pub(super) const LINKED_PATHS_MAX: u32 = 64;
/// What a file takes besides its content: heads, table entries and a path of common length.
const FILE_OVERHEAD_BYTES: u64 = 512;
/// What a further path of a file takes besides its bytes: a table entry.
const PATH_OVERHEAD_BYTES: u64 = 96;
/// Contents are queued as ranges below 4 GiB; with the head before them they must stay below that.
pub(super) const FILE_MAX_BYTES: u64 = (1 << 32) - 4096;
/// RFC 8615. Of the names that begin with a dot, the one that is meant to be served.
const WELL_KNOWN: &[u8] = b".well-known";

/// What the walk found.
#[derive(Default)]
pub(super) struct Tree {
    /// Each inode once for each type that its names give it.
    pub(super) files: Vec<Found>,
    /// Request paths, each with its index in `files`.
    pub(super) paths: Vec<(Vec<u8>, usize)>,
    /// Request paths, each with its slash at the end.
    pub(super) directories: Vec<Vec<u8>>,
    pub(super) skipped: Skipped,
    /// Of memory, for all of it.
    pub(super) needed_bytes: u64,
}

/// A file to be read.
pub(super) struct Found {
    /// Canonical.
    pub(super) path: PathBuf,
    pub(super) mime: Mime,
}

/// Device and inode.
type Inode = (u64, u64);

struct Directory {
    /// Canonical.
    path: PathBuf,
    /// `None` until it is listed.
    entries: Option<Vec<Entry>>,
    linked_paths: u32,
}

struct Entry {
    name: Vec<u8>,
    is_link: bool,
    target: Target,
}

#[derive(Clone, Copy)]
enum Target {
    /// Index in [`Walk::directories`].
    Directory(usize),
    /// Index in [`Tree::files`].
    File(usize),
}

/// One path that leads to a directory.
struct Visit {
    directory: usize,
    /// Index in [`Walk::visits`]; `None` for the root.
    parent: Option<usize>,
    links: u32,
    /// With the slash at its end.
    request_path: Vec<u8>,
}

struct Walk<'a> {
    root: &'a Path,
    settings: Settings,
    directories: Vec<Directory>,
    directory_of: HashMap<Inode, usize>,
    file_of: HashMap<(Inode, Mime), usize>,
    visits: Vec<Visit>,
    /// Visits that follow as many links as the present one, and those that follow one more.
    next: VecDeque<usize>,
    behind_links: VecDeque<usize>,
    tree: Tree,
}

/// Walks the tree under `root`, a canonical path. `progress` is called for each directory with what was
/// found so far. A tree that needs more than the limit is not found whole: its paths are only counted,
/// and links are not followed any more.
pub(super) fn walk(root: &Path, settings: Settings, mut progress: impl FnMut(&Tree)) -> io::Result<Tree> {
    let metadata = fs::metadata(root)?;
    // An error for the root is the caller's to report.
    fs::read_dir(root)?;
    let mut walk = Walk {
        root,
        settings,
        directories: Vec::new(),
        directory_of: HashMap::new(),
        file_of: HashMap::new(),
        visits: Vec::new(),
        next: VecDeque::new(),
        behind_links: VecDeque::new(),
        tree: Tree::default(),
    };
    let directory = walk.directory(root.to_path_buf(), &metadata);
    walk.visits.push(Visit { directory, parent: None, links: 0, request_path: b"/".to_vec() });
    walk.next.push_back(0);
    loop {
        while let Some(visit) = walk.next.pop_front() {
            walk.visit(visit);
            progress(&walk.tree);
        }
        if walk.behind_links.is_empty() {
            return Ok(walk.tree);
        }
        std::mem::swap(&mut walk.next, &mut walk.behind_links);
    }
}

impl Walk<'_> {
    fn visit(&mut self, visit: usize) {
        let directory = self.visits[visit].directory;
        let (entries, is_first) = match self.directories[directory].entries.take() {
            Some(entries) => (entries, false),
            None => (self.list(directory), true),
        };
        for entry in &entries {
            match entry.target {
                Target::File(file) => self.file(visit, entry, file),
                Target::Directory(target) => {
                    if let Err(reason) = self.subdirectory(visit, entry, target)
                        && (is_first || matches!(reason, Reason::TooManyPaths))
                    {
                        self.tree.skipped.note(&self.path_of(directory, entry), reason);
                    }
                }
            }
        }
        self.directories[directory].entries = Some(entries);
        let request_path = self.visits[visit].request_path.clone();
        self.tree.needed_bytes += request_path.len() as u64 + PATH_OVERHEAD_BYTES;
        self.tree.directories.push(request_path);
    }

    fn is_too_large(&self) -> bool {
        self.tree.needed_bytes > self.settings.limit_bytes as u64
    }

    fn path_of(&self, directory: usize, entry: &Entry) -> PathBuf {
        self.directories[directory].path.join(std::ffi::OsStr::from_bytes(&entry.name))
    }

    fn file(&mut self, visit: usize, entry: &Entry, file: usize) {
        let request_path = [self.visits[visit].request_path.as_slice(), &entry.name].concat();
        self.tree.needed_bytes += request_path.len() as u64 + PATH_OVERHEAD_BYTES;
        if !self.is_too_large() {
            self.tree.paths.push((request_path, file));
        }
    }

    /// Lets a directory be visited by the path of `visit` and the entry.
    fn subdirectory(&mut self, visit: usize, entry: &Entry, target: usize) -> Result<(), Reason> {
        if entry.is_link && self.is_too_large() {
            return Ok(());
        }
        if self.leads_through(visit, target) {
            return Err(Reason::Loop);
        }
        let links = self.visits[visit].links + u32::from(entry.is_link);
        let linked_paths = &mut self.directories[target].linked_paths;
        if links > 1 && *linked_paths >= LINKED_PATHS_MAX {
            return Err(Reason::TooManyPaths);
        }
        *linked_paths += u32::from(links > 0);
        let request_path = [self.visits[visit].request_path.as_slice(), &entry.name, b"/"].concat();
        let queue = if entry.is_link { &mut self.behind_links } else { &mut self.next };
        queue.push_back(self.visits.len());
        self.visits.push(Visit { directory: target, parent: Some(visit), links, request_path });
        Ok(())
    }

    /// Whether the path of `visit` leads through the directory or to it.
    fn leads_through(&self, visit: usize, directory: usize) -> bool {
        let above = |visit: &usize| self.visits[*visit].parent;
        std::iter::successors(Some(visit), above).any(|visit| self.visits[visit].directory == directory)
    }

    /// What lies in a directory and can be served, by name.
    fn list(&mut self, directory: usize) -> Vec<Entry> {
        let path = self.directories[directory].path.clone();
        let listed = fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<DirEntry>>>);
        let mut listed = listed.unwrap_or_else(|error| {
            self.tree.skipped.note(&path, Reason::Unreadable(error));
            Vec::new()
        });
        listed.sort_by_cached_key(DirEntry::file_name);
        listed.iter().filter_map(|entry| self.entry(&path, entry)).collect()
    }

    fn entry(&mut self, directory: &Path, entry: &DirEntry) -> Option<Entry> {
        let name = entry.file_name().as_bytes().to_vec();
        let path = directory.join(entry.file_name());
        let target = if name.starts_with(b".") && name != WELL_KNOWN && !self.settings.dotfiles {
            Err(Reason::Dotfile)
        } else {
            entry.file_type().map_err(Reason::Unreadable).and_then(|kind| self.target(&path, kind))
        };
        match target {
            Ok((target, is_link)) => Some(Entry { name, is_link, target }),
            Err(reason) => {
                self.tree.skipped.note(&path, reason);
                None
            }
        }
    }

    /// What `path` names, and whether it is a link.
    fn target(&mut self, path: &Path, kind: FileType) -> Result<(Target, bool), Reason> {
        let canonical =
            if kind.is_symlink() { path.canonicalize().map_err(Reason::Unreadable)? } else { path.to_path_buf() };
        if !canonical.starts_with(self.root) {
            return Err(Reason::OutOfRoot(canonical));
        }
        let metadata = fs::metadata(&canonical).map_err(Reason::Unreadable)?;
        let kind = (metadata.file_type(), kind.is_symlink());
        match kind {
            (kind, is_link) if kind.is_dir() => {
                Ok((Target::Directory(self.directory(canonical, &metadata)), is_link))
            }
            (kind, _) if !kind.is_file() => Err(Reason::Special(kind_of(kind))),
            _ if metadata.len() > FILE_MAX_BYTES => Err(Reason::TooLarge(metadata.len())),
            (_, is_link) => Ok((Target::File(self.found(path, canonical, &metadata)), is_link)),
        }
    }

    fn directory(&mut self, path: PathBuf, metadata: &Metadata) -> usize {
        *self.directory_of.entry((metadata.dev(), metadata.ino())).or_insert_with(|| {
            self.directories.push(Directory { path, entries: None, linked_paths: 0 });
            self.directories.len() - 1
        })
    }

    /// The file at `path`, of the type that the last name in `named` says.
    fn found(&mut self, named: &Path, path: PathBuf, metadata: &Metadata) -> usize {
        let mime = mime_of(named);
        let key = ((metadata.dev(), metadata.ino()), mime.clone());
        *self.file_of.entry(key).or_insert_with(|| {
            self.tree.needed_bytes += metadata.len() + FILE_OVERHEAD_BYTES;
            self.tree.files.push(Found { path, mime });
            self.tree.files.len() - 1
        })
    }
}

fn kind_of(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
