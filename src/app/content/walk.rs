//! Finds the files under a root. Input: a directory. Output: request paths and their files. Opens
//! no file. The tree may change during the walk ([`super::root`]).
//!
//! A symbolic link to a directory gives each file below it a second path. Directories that link to
//! each other have one path for each order of the links. That number grows with the factorial.
//! Hence three rules:
//!
//! - The walk lists a directory once, however many paths lead to it. No path contains the same
//!   directory twice.
//! - The walk finds paths in the order of their number of links: first each file's own path, then
//!   the paths through one link, and so on.
//! - All paths through one link are served. A directory that has [`LINKED_PATHS_MAX`] paths through
//!   links gets no further path through several links.

use super::data::Identity;
use super::root::Root;
use super::skipped::{Reason, Skipped};
use super::watch::Watch;
use rustix::fs::{AtFlags, Dir, FileType, Stat, fstat, statat};
use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Above this number of paths through links, only paths through a single link are added.
pub(super) const LINKED_PATHS_MAX: u32 = 64;
/// Memory for a file besides its content: heads, table entries and a path of common length.
const FILE_OVERHEAD_BYTES: u64 = 512;
/// Memory for a further path of a file, besides the path's bytes: a table entry.
const PATH_OVERHEAD_BYTES: u64 = 96;
/// The send queue stores ranges below 4 GiB. A content and its head must stay below that.
pub(super) const FILE_MAX_BYTES: u64 = (1 << 32) - 4096;
/// RFC 8615. The only name with a leading dot that is always served.
const WELL_KNOWN: &[u8] = b".well-known";

/// What the walk looks for.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    /// Memory limit, in bytes.
    pub(super) limit_bytes: usize,
    /// Whether to find names that begin with a dot.
    pub(super) dotfiles: bool,
    /// Whether files may be read from disk for each request, so that their content needs no memory.
    pub(super) disk: bool,
}

/// The result of the walk.
#[derive(Default)]
pub(super) struct Tree {
    /// The files, each inode once.
    pub(super) files: Vec<Found>,
    /// Request paths, each with an index in `files`.
    pub(super) paths: Vec<(Vec<u8>, usize)>,
    /// Request paths of directories, each with a trailing slash.
    pub(super) directories: Vec<Vec<u8>>,
    /// The directories themselves, which a watch observes.
    pub(super) watched: Vec<PathBuf>,
    /// The number of symbolic links that were followed.
    pub(super) links: usize,
    pub(super) skipped: Skipped,
    /// Memory that the whole tree needs, without the content of its files.
    pub(super) overhead_bytes: u64,
    /// Bytes of the files.
    pub(super) content_bytes: u64,
}

/// A file to read.
pub(super) struct Found {
    /// A canonical path.
    pub(super) path: PathBuf,
    /// The version of the file during the walk.
    pub(super) identity: Identity,
    /// Whether it is read from disk for each request.
    pub(super) on_disk: bool,
}

/// Device and inode.
type Inode = (u64, u64);

struct Directory {
    /// A canonical path.
    path: PathBuf,
    inode: Inode,
    /// `None` until the directory is listed.
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
    /// Ends with a slash.
    request_path: Vec<u8>,
}

struct Walk<'a> {
    root: &'a Root,
    settings: Settings,
    directories: Vec<Directory>,
    directory_of: HashMap<Inode, usize>,
    file_of: HashMap<Inode, usize>,
    visits: Vec<Visit>,
    /// Visits with as many links as the current visit, and visits with one more.
    next: VecDeque<usize>,
    behind_links: VecDeque<usize>,
    watch: Option<&'a mut Watch>,
    tree: Tree,
}

/// Walks the tree under `root`. Watches each directory with `watch` before it reads it. Calls
/// `progress` for each directory with the result so far. If the tree exceeds the limit, the walk
/// only counts its paths and follows no further link.
pub(super) fn walk<'a>(
    root: &'a Root,
    settings: Settings,
    watch: Option<&'a mut Watch>,
    mut progress: impl FnMut(&Tree),
) -> io::Result<Tree> {
    let stat = root.stat(root.path())?;
    let mut walk = Walk {
        root,
        settings,
        directories: Vec::new(),
        directory_of: HashMap::new(),
        file_of: HashMap::new(),
        visits: Vec::new(),
        next: VecDeque::new(),
        behind_links: VecDeque::new(),
        watch,
        tree: Tree::default(),
    };
    let directory = walk.directory(root.path().to_path_buf(), &stat);
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
        self.tree.overhead_bytes += request_path.len() as u64 + PATH_OVERHEAD_BYTES;
        self.tree.directories.push(request_path);
    }

    fn is_too_large(&self) -> bool {
        let content_bytes = if self.settings.disk { 0 } else { self.tree.content_bytes };
        self.tree.overhead_bytes + content_bytes > self.settings.limit_bytes as u64
    }

    fn path_of(&self, directory: usize, entry: &Entry) -> PathBuf {
        self.directories[directory].path.join(OsStr::from_bytes(&entry.name))
    }

    fn file(&mut self, visit: usize, entry: &Entry, file: usize) {
        let request_path = [self.visits[visit].request_path.as_slice(), &entry.name].concat();
        self.tree.overhead_bytes += request_path.len() as u64 + PATH_OVERHEAD_BYTES;
        if !self.is_too_large() {
            self.tree.paths.push((request_path, file));
        }
    }

    /// Queues a visit of the directory under the path of `visit` and the entry.
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

    /// Whether the path of `visit` contains the directory.
    fn leads_through(&self, visit: usize, directory: usize) -> bool {
        let above = |visit: &usize| self.visits[*visit].parent;
        std::iter::successors(Some(visit), above)
            .any(|visit| self.visits[visit].directory == directory)
    }

    /// The servable entries of a directory, by name.
    fn list(&mut self, directory: usize) -> Vec<Entry> {
        let Directory { path, inode, .. } = &self.directories[directory];
        let (path, inode) = (path.clone(), *inode);
        self.tree.watched.push(path.clone());
        if let Some(watch) = &mut self.watch {
            watch.add(&path);
        }
        let opened =
            self.root.directory(&path).and_then(|opened| Ok((names_in(&opened, inode)?, opened)));
        match opened {
            Ok((names, opened)) => {
                names.into_iter().filter_map(|name| self.entry(&path, &opened, name)).collect()
            }
            Err(error) => {
                self.tree.skipped.note(&path, Reason::Unreadable(error));
                Vec::new()
            }
        }
    }

    /// The entry `name` of the open directory at `path`.
    fn entry(&mut self, path: &Path, directory: &OwnedFd, name: Vec<u8>) -> Option<Entry> {
        let path = path.join(OsStr::from_bytes(&name));
        let target = if self.is_hidden(&name) {
            Err(Reason::Dotfile)
        } else {
            statat(directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| Reason::Unreadable(error.into()))
                .and_then(|stat| self.target(&path, &stat))
        };
        match target {
            Ok((target, is_link)) => {
                self.tree.links += usize::from(is_link);
                Some(Entry { name, is_link, target })
            }
            Err(reason) => {
                self.tree.skipped.note(&path, reason);
                None
            }
        }
    }

    /// Whether the name is a dotfile's and dotfiles are not served.
    fn is_hidden(&self, name: &[u8]) -> bool {
        is_hidden(name, self.settings.dotfiles)
    }

    /// Resolves `path` and reports whether it is a link. `stat` describes the link itself.
    fn target(&mut self, path: &Path, stat: &Stat) -> Result<(Target, bool), Reason> {
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            let (canonical, stat) = self.follow(path)?;
            Ok((self.served(canonical, &stat)?, true))
        } else {
            Ok((self.served(path.to_path_buf(), stat)?, false))
        }
    }

    /// The target of the link at `path`, which must lie under the root.
    fn follow(&self, path: &Path) -> Result<(PathBuf, Stat), Reason> {
        let canonical = path.canonicalize().map_err(Reason::Unreadable)?;
        let Ok(relative) = canonical.strip_prefix(self.root.path()) else {
            return Err(Reason::OutOfRoot(canonical));
        };
        // Kubernetes mounts a ConfigMap as links into a directory with a name that begins with two
        // dots.
        let is_hidden =
            |name: &OsStr| self.is_hidden(name.as_bytes()) && !name.as_bytes().starts_with(b"..");
        if relative.iter().any(is_hidden) {
            return Err(Reason::ToDotfile);
        }
        let stat = self.root.stat(&canonical).map_err(Reason::Unreadable)?;
        Ok((canonical, stat))
    }

    /// The directory or file at `canonical`.
    fn served(&mut self, canonical: PathBuf, stat: &Stat) -> Result<Target, Reason> {
        let bytes = stat.st_size as u64;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(Target::Directory(self.directory(canonical, stat))),
            FileType::RegularFile if bytes > FILE_MAX_BYTES && !self.settings.disk => {
                Err(Reason::TooLarge(bytes))
            }
            FileType::RegularFile => Ok(Target::File(self.found(canonical, stat))),
            kind => Err(Reason::Special(kind_of(kind))),
        }
    }

    fn directory(&mut self, path: PathBuf, stat: &Stat) -> usize {
        let inode = inode_of(stat);
        *self.directory_of.entry(inode).or_insert_with(|| {
            self.directories.push(Directory { path, inode, entries: None, linked_paths: 0 });
            self.directories.len() - 1
        })
    }

    /// The file at `path`.
    fn found(&mut self, path: PathBuf, stat: &Stat) -> usize {
        *self.file_of.entry(inode_of(stat)).or_insert_with(|| {
            self.tree.overhead_bytes += FILE_OVERHEAD_BYTES;
            self.tree.content_bytes += stat.st_size as u64;
            self.tree.files.push(Found { path, identity: Identity::of(stat), on_disk: false });
            self.tree.files.len() - 1
        })
    }
}

/// Whether the name is a dotfile's and `dotfiles` are not served.
pub(super) fn is_hidden(name: &[u8], dotfiles: bool) -> bool {
    name.starts_with(b".") && name != WELL_KNOWN && !dotfiles
}

/// The sorted names in an open directory. Fails if its inode differs from the expected one.
fn names_in(directory: &OwnedFd, inode: Inode) -> io::Result<Vec<Vec<u8>>> {
    if inode_of(&fstat(directory)?) != inode {
        return Err(io::Error::other("another directory took its place"));
    }
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn inode_of(stat: &Stat) -> Inode {
    (stat.st_dev, stat.st_ino)
}

fn kind_of(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::Symlink => "a symbolic link that was changed meanwhile",
        _ => "a device",
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
